"""The file that a node's events go to, and back from it.

The problem. Events are recorded on every path, also where something fails, so that recording must never fail itself:
not on a full disk, not on one that is gone. And a node that runs for weeks must not fill the disk with its records.

The idea. A record that cannot be written is counted; as soon as one can be written again, a record says how many are
missing. A line that was written in part is ended before the next. When the file is full it gets the name of the first
old one, and the oldest is removed:

    events.jsonl    events.jsonl.1    events.jsonl.2    events.jsonl.3        newest first

Invariants:
1. `write` never raises.
2. A line that is not a whole record spoils no other: whoever reads is told how many there are.
3. The files never take more than (`kept` + 1) times `largest_bytes`, and a record.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from runtime.events import EventsLost, Record, record_from_json
from runtime.settings import MEBIBYTE

LARGEST_BYTES = 8 * MEBIBYTE
KEPT = 3


class FileSink:
    """Appends records to a file, one JSON line each; a line reaches the page cache before `write` returns."""

    def __init__(self, path: str | os.PathLike[str], *, largest_bytes: int = LARGEST_BYTES, kept: int = KEPT) -> None:
        self._path = Path(path)
        self._largest_bytes = largest_bytes
        self._kept = kept
        self._descriptor = _opened(self._path)
        self._size = os.fstat(self._descriptor).st_size
        # The program before may have been killed, or the disk full, in the middle of a line.
        self._is_torn = self._size > 0 and not _ends_a_line(self._path)
        self._lost = 0

    def write(self, record: Record) -> None:
        """Append one line, or count it as lost."""
        try:
            if self._size >= self._largest_bytes:
                self._turn()
            if self._lost:
                missing = Record(record.lamport, record.wall_microseconds, record.node, "", EventsLost(self._lost))
                self._append(missing.to_json())
                self._lost = 0
            self._append(record.to_json())
        except OSError:
            self._lost += 1

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _append(self, line: str) -> None:
        data = (("\n" if self._is_torn else "") + line + "\n").encode("ascii")
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        finally:
            self._size += done
            if done:
                self._is_torn = done < len(data)

    def _turn(self) -> None:
        names = old_names(self._path, self._kept)
        with contextlib.suppress(OSError):
            for younger, older in reversed(list(zip([self._path, *names], names, strict=False))):
                if younger.exists():
                    younger.replace(older)
            fresh = _opened(self._path)
            os.close(self._descriptor)
            self._descriptor, self._size, self._is_torn = fresh, 0, False


@dataclass(frozen=True, slots=True)
class EventFile:
    """What was read: the records, oldest first, and how many lines were none."""

    records: list[Record]
    damaged_lines: int


def read_events(path: Path, *, kept: int = KEPT) -> EventFile:
    """All records that are kept at `path`; a line that is still being written is left out."""
    records: list[Record] = []
    damaged = 0
    for line in _lines([*reversed(old_names(path, kept)), path]):
        record = _parsed(line)
        if record is None:
            damaged += 1
        else:
            records.append(record)
    return EventFile(records, damaged)


def old_names(path: Path, kept: int = KEPT) -> list[Path]:
    """The names of the older files, the youngest first."""
    return [path.with_name(f"{path.name}.{number}") for number in range(1, kept + 1)]


class EventTail:
    """Follows a file: what was appended since the last look. It begins at the end of what is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = ""
        self._file: TextIO | None = None
        self._look_for_file(from_end=True)

    def new_records(self) -> list[Record]:
        """The records that were appended since the last call, also those before the file was turned."""
        found = self._read()
        if self._look_for_file(from_end=False):
            found += self._read()
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> list[Record]:
        if self._file is None:
            return []
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        return [record for line in lines if line and (record := _parsed(line)) is not None]

    def _look_for_file(self, *, from_end: bool) -> bool:
        """Whether there is another file under the name than before; it is open then."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), found):
            return False
        self.close()
        self._rest = ""
        self._file = self._path.open(encoding="utf-8", errors="replace", newline="\n")
        if from_end:
            self._file.seek(0, os.SEEK_END)
        return True


def _parsed(line: str) -> Record | None:
    try:
        return record_from_json(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _lines(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        try:
            file = path.open(encoding="utf-8", errors="replace", newline="\n")
        except FileNotFoundError:
            continue
        with file:
            yield from (line for line in file if line.endswith("\n") and line != "\n")


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
