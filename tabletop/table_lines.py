r"""Rows as lines of text: JSON lines and CSV, that keep every byte and every timestamp.

JSON lines: one row a line, its cells as a scan gives them. A text is UTF-8; bytes that are no UTF-8 are an object:

    {"row": "com.example/a", "cells": [{"column": "page:title", "timestamp": 1700000000000000, "value": "A"}]}
    {"row": {"base64": "/w=="}, "cells": [{"column": "page:icon", "timestamp": 5, "value": {"base64": "iVBORw=="}}]}

CSV: one cell a line. The last field names those that are written in base64:

    row,column,timestamp,value,base64
    com.example/a,page:title,1700000000000000,A,
    com.example/a,page:icon,5,iVBORw==,value

A CSV file may also have a row a line, as tables elsewhere have: the first field is the row key, and each other one is
named by a column of ours. Empty fields are no cells.

    row,page:title,page:lang
    com.example/b,B,en

Timestamps are microseconds. Without one the tablet server gives the present time. What is wrong in a line is told with
the line's number, what was found, and what was expected.
"""

import base64
import binascii
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, TextIO

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import check_column, check_row, check_timestamp
from tablet.engine.model.operations import SetCell
from tablet.engine.model.rows import Cell

CSV_FIELDS = ("row", "column", "timestamp", "value", "base64")
_BYTE_FIELDS = ("row", "column", "value")
_NOT_IN_CSV = "\0\r"
"""Characters that not every reader of CSV leaves as they are."""
_CELLS_A_ROW = 1000
_SHOWN = 60


class Line(NamedTuple):
    """What a line says, or several neighbouring lines of CSV about one row."""

    number: int
    row: bytes
    cells: list[SetCell]

    @property
    def size(self) -> int:
        """Bytes of the row key, the columns and the values."""
        return len(self.row) + sum(len(cell.column) + len(cell.value) for cell in self.cells)


def to_json(row: bytes, cells: Iterable[Cell]) -> str:
    r"""A row as a line.

    >>> to_json(b"a", [Cell(b"f:x", 5, b"\xff")])
    '{"row": "a", "cells": [{"column": "f:x", "timestamp": 5, "value": {"base64": "/w=="}}]}\n'
    """
    found = [{"column": _text(cell.column), "timestamp": cell.timestamp, "value": _text(cell.value)} for cell in cells]
    return json.dumps({"row": _text(row), "cells": found}, ensure_ascii=False) + "\n"


def to_csv(row: bytes, cells: Iterable[Cell]) -> Iterator[list[str]]:
    r"""A row as the fields of lines.

    >>> list(to_csv(b"a", [Cell(b"f:x", 5, b"\xff")]))
    [['a', 'f:x', '5', '/w==', 'value']]
    """
    for cell in cells:
        given = zip(_BYTE_FIELDS, (row, cell.column, cell.value), strict=True)
        texts = {name: _text(data, without=_NOT_IN_CSV) for name, data in given}
        encoded = [name for name, text in texts.items() if not isinstance(text, str)]
        plain = {name: text if isinstance(text, str) else text["base64"] for name, text in texts.items()}
        yield [plain["row"], plain["column"], str(cell.timestamp), plain["value"], " ".join(encoded)]


def from_json(file: TextIO, name: str) -> Iterator[Line]:
    """The rows of JSON lines. Raises InvalidRequest, naming `name` and the line."""
    for number, text in enumerate(file, 1):
        if text.strip():
            with_place = _Place(name, number)
            try:
                found = json.loads(text)
            except ValueError as error:
                with_place.wrong(text.rstrip("\n"), f"one JSON object ({error})")
            yield with_place.row_of(found)


def from_csv(file: TextIO, name: str) -> Iterator[Line]:
    """The rows of CSV, with neighbouring lines of one row in one. Raises InvalidRequest, naming `name` and the line."""
    reader = csv.reader(file, strict=True)
    header = next(reader, None) or []
    read = _reader_of(header, _Place(name, 1))
    waiting: Line | None = None
    while True:
        place = _Place(name, reader.line_num + 1)
        try:
            fields = next(reader, None)
        except csv.Error as error:
            place.wrong(str(error), "a line of CSV")
        if fields is None:
            break
        if not fields:
            continue
        if len(fields) != len(header):
            place.wrong(f"{len(fields)} fields", f"the {len(header)} of the first line: {','.join(header)}")
        line = read(fields, place)
        if waiting is not None and waiting.row == line.row and len(waiting.cells) < _CELLS_A_ROW:
            waiting.cells.extend(line.cells)
            continue
        if waiting is not None:
            yield waiting
        waiting = line
    if waiting is not None:
        yield waiting


def _reader_of(header: Sequence[str], place: "_Place") -> Callable[[Sequence[str], "_Place"], Line]:
    """What makes a row of the fields of a line."""
    if list(header) == list(CSV_FIELDS) or list(header) == list(CSV_FIELDS[:-1]):
        return _cell_of
    if len(header) < 2 or not all(":" in name for name in header[1:]):
        place.wrong(",".join(header), f"{','.join(CSV_FIELDS)}, or row and then columns, written family:qualifier")
    columns = [place.column_of(name) for name in header[1:]]

    def wide(fields: Sequence[str], place: _Place) -> Line:
        cells = [
            SetCell(column, place.bytes_of("value", text))
            for column, text in zip(columns, fields[1:], strict=True)
            if text
        ]
        if not cells:
            place.wrong("no value", "at least one")
        return Line(place.number, place.row_key_of(fields[0]), cells)

    return wide


def _cell_of(fields: Sequence[str], place: "_Place") -> Line:
    texts = dict(zip(CSV_FIELDS, fields, strict=False))
    encoded = texts.get("base64", "").split()
    unknown = [name for name in encoded if name not in _BYTE_FIELDS]
    if unknown:
        place.wrong(f"base64 {' '.join(unknown)!r}", f"some of {' '.join(_BYTE_FIELDS)}")
    given = {name: {"base64": texts[name]} if name in encoded else texts[name] for name in _BYTE_FIELDS}
    stamp = texts["timestamp"]
    if stamp and not stamp.removeprefix("-").isdecimal():
        place.wrong(f"the timestamp {stamp!r}", "microseconds as a whole number, or nothing for now")
    cell = place.cell_of(given["column"], int(stamp) if stamp else None, given["value"])
    return Line(place.number, place.row_key_of(given["row"]), [cell])


class _Place(NamedTuple):
    """Where a line is, for whoever must be told that it is wrong."""

    file: str
    number: int

    def wrong(self, found: object, expected: str) -> NoReturn:
        """Raises InvalidRequest."""
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        short = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        raise InvalidRequest(f"{self.file}, line {self.number}: found {short or 'nothing'}; expected {expected}")

    def row_of(self, found: Any) -> Line:
        if not isinstance(found, dict) or set(found) != {"row", "cells"} or not isinstance(found["cells"], list):
            self.wrong(found, 'an object with "row" and a list of "cells"')
        if not found["cells"]:
            self.wrong("no cells", "at least one")
        cells = []
        for cell in found["cells"]:
            if not isinstance(cell, dict) or not {"column", "value"} <= set(cell) <= {"column", "value", "timestamp"}:
                self.wrong(cell, 'a cell, with "column", "value", and perhaps "timestamp"')
            stamp = cell.get("timestamp")
            if stamp is not None and type(stamp) is not int:
                self.wrong(f"the timestamp {json.dumps(stamp)}", "microseconds as a whole number, or none for now")
            cells.append(self.cell_of(cell["column"], stamp, cell["value"]))
        return Line(self.number, self.row_key_of(found["row"]), cells)

    def cell_of(self, column: Any, timestamp: int | None, value: Any) -> SetCell:
        if timestamp is not None:
            self._checked(lambda: check_timestamp(timestamp))
        return SetCell(self.column_of(column), self.bytes_of("value", value), timestamp)

    def column_of(self, given: Any) -> bytes:
        column = self.bytes_of("column", given)
        self._checked(lambda: check_column(column))
        return column

    def row_key_of(self, given: Any) -> bytes:
        row = self.bytes_of("row", given)
        self._checked(lambda: check_row(row))
        return row

    def bytes_of(self, what: str, given: Any) -> bytes:
        """A text as UTF-8, or the bytes of {"base64": …}."""
        try:
            if isinstance(given, str):
                return given.encode()
            if isinstance(given, dict) and set(given) == {"base64"}:
                return base64.b64decode(given["base64"], validate=True)
        except (UnicodeEncodeError, binascii.Error, TypeError, ValueError) as error:
            self.wrong(given if isinstance(given, dict) else ascii(given), f"the {what} as UTF-8 or base64 ({error})")
        self.wrong(given, f'the {what} as a text or as {{"base64": "…"}}')

    def _checked(self, check: Callable[[], None]) -> None:
        try:
            check()
        except InvalidRequest as error:
            raise InvalidRequest(f"{self.file}, line {self.number}: {error.message}") from error


def _text(data: bytes, without: str = "") -> str | dict[str, str]:
    """Bytes as a text if they are UTF-8 without some characters; else in base64."""
    try:
        text = data.decode()
        if not any(character in text for character in without):
            return text
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(data).decode()}
