"""`tabletop tablet get` and `scan`: the rows of a tablet's folder, without Python, a lock, or a byte changed.

The idea. An opening reads the manifest, the SSTables' indexes and the log; only its sweep and its first write change
anything. So the tablet is opened as an engine opens it, through a storage that can only read and with the sweep left
out, and is asked by the engine's own reader. Beside a running engine that gives the rows of one moment, for the storage
holds the files of that moment (`tablet/tools/inspection.py`).
"""

import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import NotFound, shown
from tablet.embedded.inline import InlineWorld, RecentEvents
from tablet.engine.model.checks import check_column, check_row
from tablet.engine.model.filter_program import prepared
from tablet.engine.model.filter_tree import Chain, RowRegex
from tablet.engine.model.filters import LATEST, ReadFilter, RowFilter
from tablet.engine.model.fragments import family_of
from tablet.engine.model.ranges import RowRange, united
from tablet.engine.model.rows import Row
from tablet.engine.serving.reading import Reader
from tablet.engine.serving.scanning import Scan
from tablet.engine.tree.state import TabletState
from tablet.engine.world.eventual import finished
from tablet.tools.dumping import readable
from tablet.tools.read_only import opened_for_reading
from tabletop import wording
from tabletop.console import flush_bytes, output, perform, print_bytes
from tabletop.tablet_commands import FolderArgument, naming, storage_of


def get(
    path: FolderArgument,
    row: Annotated[str, typer.Argument(metavar="ROW", help="The row key.")],
    column: Annotated[str, typer.Argument(metavar="COLUMN", help="Written family:qualifier.")],
) -> None:
    """Print the newest value of one column of one row, byte for byte. Exit code 1 if there is none.

    \b
        tabletop tablet get data/ com.example/a page:title
        tabletop tablet get data/ com.example/a page:picture > picture.png
    """
    perform(_get(path, os.fsencode(row), os.fsencode(column)))


def scan(
    path: FolderArgument,
    prefix: Annotated[
        list[str] | None, typer.Option("--prefix", help="Only rows that begin with it, or with one of several.")
    ] = None,
    regex: Annotated[str, typer.Option("--regex", help="Only rows whose whole key matches this RE2 expression.")] = "",
    column: Annotated[str, typer.Option("--column", help="Only this one, written family:qualifier.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Stop after so many rows; 0: show all.")] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the last row to the first.")] = False,
) -> None:
    """Print rows in order, a line for each column: its newest value and the timestamp, in microseconds.

    Only what the options ask for is read: several prefixes are several ranges in one scan, an expression narrows the
    scan to the keys that it can match, and --reverse with --limit reads the end of the tablet.

    \b
        tabletop tablet scan data/ --prefix com.example/ --column page:title --limit 20
        tabletop tablet scan data/ --prefix com.a/ --prefix com.b/ --regex '.*/index'
        tabletop tablet scan data/ --limit 1 --reverse
    """
    prefixes = [os.fsencode(one) for one in prefix or ()]
    perform(_scan(path, prefixes, os.fsencode(regex), os.fsencode(column), limit, reverse=reverse))


async def _get(path: Path, row: bytes, column: bytes) -> None:
    check_row(row)
    async with _opened(path) as state:
        _check_column(state, column)
        value = await finished(Reader(state).newest_value(row, column))
    if value is None:
        raise NotFound(f"{path} has no {readable(column)} in row {shown(readable(row))}")
    print_bytes(value + b"\n" if sys.stdout.isatty() else value)
    flush_bytes()


async def _scan(path: Path, prefixes: list[bytes], regex: bytes, column: bytes, limit: int, *, reverse: bool) -> None:
    printed = 0
    wanted: RowFilter = ReadFilter(columns=frozenset({column}), versions=1) if column else LATEST
    if regex:
        wanted = Chain(RowRegex(regex), wanted)
    async with _opened(path) as state:
        if column:
            _check_column(state, column)
        bounds = RowRange(state.manifest.start_row, state.manifest.end_row)
        ranges = [part.within(bounds) for part in united(map(RowRange.with_prefix, prefixes or [b""]))]
        rows = Scan(state, ranges, prepared(wanted), reverse=reverse)
        while batch := await finished(rows.next_batch()):
            for row in batch:
                if limit and printed == limit:
                    return
                _print_row(row)
                printed += 1


def _print_row(row: Row) -> None:
    for cell in row:
        value = f"{readable(cell.value)} ({wording.count(len(cell.value), 'byte')})"
        output.print(f"{readable(row.key)}  {readable(cell.column)} @{cell.timestamp} = {value}", markup=False)


def _check_column(state: TabletState, column: bytes) -> None:
    check_column(column)
    state.manifest.schema.family(family_of(column).decode("utf-8", "backslashreplace"))


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[TabletState]:
    """The tablet as it is at this moment, for reading only. Raises as `inspection.inspect`."""
    world = InlineWorld(RecentEvents(deque(maxlen=1)))
    with naming(path):
        async with opened_for_reading(storage_of(path), world) as state:
            yield state
