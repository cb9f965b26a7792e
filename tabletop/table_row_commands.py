"""`tabletop table get`, `scan` and `count`: rows of a table, read through its tablet servers (BT 3)."""

import os
import sys
from collections.abc import AsyncIterator
from typing import Annotated, NamedTuple

import typer

from runtime.errors import NotFound, shown
from tablet.client.client import TableClient
from tablet.engine.model.filter_tree import CellsPerRow, Chain, RowRegex, StripValue
from tablet.engine.model.filters import ReadFilter, RowFilter
from tablet.engine.model.ranges import RowRange
from tablet.location.messages import FoundRow
from tablet.tools.dumping import readable
from tabletop import wording
from tabletop.console import flush_bytes, output, print_bytes
from tabletop.options import DESK, ClusterOption
from tabletop.table_commands import RowArgument, TableArgument, with_tables

PrefixOption = Annotated[str, typer.Option("--prefix", help="Only rows that begin with it.")]
StartOption = Annotated[str, typer.Option("--start", help="Begin at this row.")]
EndOption = Annotated[str, typer.Option("--end", help="Stop before this row.")]
RegexOption = Annotated[str, typer.Option("--regex", help="Only rows whose whole key matches this RE2 expression.")]


class Rows(NamedTuple):
    """Which rows of a table are meant."""

    prefix: str = ""
    start: str = ""
    end: str = ""
    regex: str = ""

    @property
    def bounds(self) -> tuple[bytes, bytes]:
        """The range that they lie in."""
        found = RowRange.with_prefix(os.fsencode(self.prefix))
        found = found.within(RowRange(os.fsencode(self.start), os.fsencode(self.end)))
        return found.start, found.end

    def filtered(self, cells: RowFilter) -> RowFilter:
        """These cells of those rows."""
        return Chain(RowRegex(os.fsencode(self.regex)), cells) if self.regex else cells

    def scan(
        self, tables: TableClient, table: str, cells: RowFilter, *, limit: int = 0, reverse: bool = False
    ) -> AsyncIterator[FoundRow]:
        """The rows with these cells."""
        wanted = self.filtered(cells)
        return tables.scan(table, *self.bounds, wanted=wanted, limit=limit or None, reverse=reverse)


def get(
    table: TableArgument,
    row: RowArgument,
    column: Annotated[str, typer.Argument(metavar="[COLUMN]", help="Only this one, written family:qualifier.")] = "",
    versions: Annotated[int, typer.Option("--versions", min=0, help="Of each column, the newest; 0: all.")] = 1,
    cluster: ClusterOption = DESK,
) -> None:
    """Print a row, a line for each cell; or the newest value of one column, byte for byte.

    The exit code is 1 if there is none.

    \b
        tabletop table get users ada
        tabletop table get users ada --versions 0
        tabletop table get users ada profile:picture > picture.png
    """
    key, name = os.fsencode(row), os.fsencode(column)
    cells = ReadFilter(columns=[name] if name else None, versions=versions or None)

    async def look(tables: TableClient) -> FoundRow:
        found = await tables.read(table, key, cells)
        if found is None:
            raise NotFound(f"table {table} has no {f'{shown(column)} in ' if column else ''}row {shown(row)}")
        return found

    found = with_tables(cluster, look)
    if not name or versions != 1:
        print_row(found)
        return
    value = found[1][0].value
    print_bytes(value + b"\n" if sys.stdout.isatty() else value)
    flush_bytes()


def scan(
    table: TableArgument,
    prefix: PrefixOption = "",
    start: StartOption = "",
    end: EndOption = "",
    regex: RegexOption = "",
    column: Annotated[str, typer.Option("--column", help="Only this one, written family:qualifier.")] = "",
    versions: Annotated[int, typer.Option("--versions", min=0, help="Of each column, the newest; 0: all.")] = 1,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Stop after so many rows; 0: show all.")] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the last row to the first.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Print rows in order, a line for each cell: its value and the timestamp, in microseconds.

    \b
        tabletop table scan users --prefix a --column profile:name
        tabletop table scan users --start b --end d --versions 0
        tabletop table scan users --reverse --limit 1
    """
    rows = Rows(prefix, start, end, regex)
    cells = ReadFilter(columns=[os.fsencode(column)] if column else None, versions=versions or None)

    async def show(tables: TableClient) -> None:
        async for found in rows.scan(tables, table, cells, limit=limit, reverse=reverse):
            print_row(found)

    with_tables(cluster, show)


def count(
    table: TableArgument,
    prefix: PrefixOption = "",
    start: StartOption = "",
    end: EndOption = "",
    regex: RegexOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Print how many rows there are. All of them are read, by their servers; no value is sent.

    \b
        tabletop table count users --prefix a
    """
    rows = Rows(prefix, start, end, regex)

    async def work(tables: TableClient) -> int:
        return sum([1 async for _ in rows.scan(tables, table, Chain(CellsPerRow(1), StripValue()))])

    print(with_tables(cluster, work))


def print_row(found: FoundRow) -> None:
    """A line for each cell."""
    for cell in found[1]:
        value = f"{readable(cell.value)} ({wording.count(len(cell.value), 'byte')})"
        output.print(f"{readable(found[0])}  {readable(cell.column)} @{cell.timestamp} = {value}", markup=False)
