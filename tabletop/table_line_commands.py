"""`tabletop table import` and `export`: rows as CSV or JSON lines (`table_lines.py` says how they are written)."""

import csv
import enum
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from runtime.errors import InvalidRequest, NotFound, shown
from tablet.client.client import TableClient
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.fragments import family_of
from tablet.engine.model.schema import Schema
from tablet.location.messages import FoundRow
from tablet.tools.dumping import readable
from tabletop import wording
from tabletop.console import output, remark
from tabletop.options import DESK, ClusterOption
from tabletop.progress import Meter, shown_count, shown_progress
from tabletop.table_commands import TableArgument, with_tables
from tabletop.table_lines import CSV_FIELDS, Line, from_csv, from_json, to_csv, to_json
from tabletop.table_row_commands import EndOption, PrefixOption, RegexOption, Rows, StartOption

_BATCH_ROWS = 2000
_BATCH_BYTES = 8 * 1024 * 1024
STANDARD = "-"


class Format(enum.Enum):
    """How rows are written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Default: by the file's name; JSON lines unless it ends in .csv.")
]


def import_rows(
    table: TableArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="- for standard input.")],
    format_: FormatOption = None,
    cluster: ClusterOption = DESK,
) -> None:
    """Write the rows of a CSV or JSON lines file into a table, in batches. The whole file is checked first.

    \b
    JSON lines:  {"row": "ada", "cells": [{"column": "profile:name", "timestamp": 5, "value": "Ada"}]}
    CSV, cells:  row,column,timestamp,value,base64
                 ada,profile:name,5,Ada,
    CSV, rows:   row,profile:name,profile:city
                 ada,Ada,London

    Bytes that are no text are written in base64: {"base64": "/w=="} in JSON; in CSV the last field names the fields
    that are. Without a timestamp (microseconds) it is the present time. A wrong line is named, and then nothing was
    written. Cells with timestamps may be imported again.

    \b
        tabletop table import users users.csv
        tabletop table export users | tabletop table import copy -
    """

    async def work(tables: TableClient) -> int:
        schema = (await tables.tables()).get(table)
        if schema is None:
            raise NotFound(f"there is no table {shown(table)}; `tabletop table ls` shows which there are")
        with _readable_twice(file) as path:
            rows = bytes_ = 0
            for line in _lines(path, file, format_, table, schema):
                rows, bytes_ = rows + 1, bytes_ + line.size
            with shown_progress("imported", bytes_, rows, "row") as meter:
                await write_lines(tables, table, _lines(path, file, format_, table, schema), meter, file)
        return rows

    rows = with_tables(cluster, work, changes=True)
    output.print(f"imported {wording.count(rows, 'row')} into {table}", markup=False)


def export(
    table: TableArgument,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Default: standard output.")] = STANDARD,
    format_: FormatOption = None,
    prefix: PrefixOption = "",
    start: StartOption = "",
    end: EndOption = "",
    regex: RegexOption = "",
    versions: Annotated[int, typer.Option("--versions", min=0, help="Of each column, the newest; 0: all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if there is one.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Write a table's rows as CSV or JSON lines, with every byte, version and timestamp, for `table import`.

    Each row is as of one moment; different rows are not. A file has its name only when it is complete.

    \b
        tabletop table export users users.jsonl
        tabletop table export users users.csv --prefix a --versions 1
    """
    rows = Rows(prefix, start, end, regex)
    if file != STANDARD and os.path.lexists(file) and not overwrite:
        raise typer.BadParameter(f"there is a file {shown(file)}; use --overwrite to replace it")

    async def work(tables: TableClient) -> int:
        found = 0
        with _whole_file(file) as opened, shown_count("exported", "row") as meter:
            write = _writer(opened, _format_of(file, format_))
            async for row in rows.scan(tables, table, ReadFilter(versions=versions or None)):
                meter.advance(bytes_done=write(row), files_done=1)
                found += 1
        return found

    found = with_tables(cluster, work)
    remark(f"exported {wording.count(found, 'row')} of {table}")


async def write_lines(tables: TableClient, table: str, lines: Iterator[Line], meter: Meter, name: str) -> None:
    """Write rows in batches. Raises the first failure, and says with it which rows are in."""
    done = 0
    for batch in _batches(lines):
        failures = await tables.mutate_many(table, [(line.row, line.cells) for line in batch])
        wrong = [(line, failure) for line, failure in zip(batch, failures, strict=True) if failure is not None]
        done += len(batch) - len(wrong)
        if wrong:
            line, failure = wrong[0]
            raise type(failure)(
                f"{name}, line {line.number}: row {shown(readable(line.row))} was not written: {failure.message}. "
                f"Of the rows up to line {batch[-1].number}, {wording.count(done, 'row')} are in the table and "
                f"{len(wrong):,} failed; what follows was not begun",
                definite=all(failure.definite for _, failure in wrong),
            )
        meter.advance(bytes_done=sum(line.size for line in batch), files_done=len(batch))


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += line.size
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(path: Path, name: str, format_: Format | None, table: str, schema: Schema) -> Iterator[Line]:
    """The lines of a file, each checked. Raises InvalidRequest."""
    read: Callable[[TextIO, str], Iterator[Line]] = from_csv if _format_of(name, format_) is Format.CSV else from_json
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        for line in read(file, "standard input" if name == STANDARD else name):
            for cell in line.cells:
                if family_of(cell.column) not in schema.families:
                    known = ", ".join(family.decode() for family in schema.families)
                    raise InvalidRequest(
                        f"{name}, line {line.number}: found column {shown(readable(cell.column))}; expected one of the "
                        f"families of table {table}: {known}"
                    )
            yield line


@contextmanager
def _readable_twice(file: str) -> Iterator[Path]:
    """The file, or a copy of what comes from standard input: it is read once to check it, and once to write it."""
    if file != STANDARD:
        yield Path(file)
        return
    with tempfile.NamedTemporaryFile(prefix="tabletop-import-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


@contextmanager
def _whole_file(file: str) -> Iterator[TextIO]:
    """Where to write to: standard output, or a file that gets its name when all is in it."""
    if file == STANDARD:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield sys.stdout
        return
    part = Path(f"{file}.part")
    with ExitStack() as undone:
        undone.callback(part.unlink, missing_ok=True)
        with part.open("w", encoding="utf-8", newline="") as opened:
            yield opened
        part.replace(file)
        undone.pop_all()


def _writer(file: TextIO, format_: Format) -> Callable[[FoundRow], int]:
    """What writes a row and says how many characters that were."""
    if format_ is Format.JSON_LINES:
        return lambda found: file.write(to_json(*found))
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(CSV_FIELDS)

    def write(found: FoundRow) -> int:
        rows: Sequence[Sequence[str]] = list(to_csv(*found))
        lines.writerows(rows)
        return sum(sum(map(len, fields)) + len(fields) for fields in rows)

    return write


def _format_of(name: str, chosen: Format | None) -> Format:
    return chosen or (Format.CSV if name.lower().endswith(".csv") else Format.JSON_LINES)
