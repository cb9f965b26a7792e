"""The commit log: what was promised, before it is anywhere else (BT 5.3).

The problem. A mutation is answered when it cannot be lost any more; the memtable is lost with the process. So the
mutation goes to a log first, and opening a tablet reads back what no SSTable holds yet.

The idea. One log per memtable. Its frames are those of `runtime/record_log.py`; the payload of a mutation is the row
and its fragment, as the memtable will keep it:

    u8 1 | u16 tablet length | u32 rows | tablet | (u32 row length | u32 fragment length | row | fragment) …

The tablet's name is there because a tablet server writes one log for all its tablets (BT 6); a tablet that stands alone
has none. The first frame of each log, u8 0 and JSON, says what the log is, and up to which sequence earlier logs were
durable when it was begun. Sequences go on from log to log.

Durability. With `sync="fsync"` a write is answered once it is on stable storage; concurrent writers share a sync (group
commit). With `sync="os"` it is answered once the operating system has it: it survives the death of the process,
but a power cut may take the last writes, always a suffix of them: if the tail of one log is lost, a later log is
dropped. What was never answered is promised to nobody: a record whose sync failed, or whose writer was cancelled before
it, may be lost and a later log count. So each header says up to which record earlier logs are *required*.

Tail or damage? An unreadable record is damage if anything behind it says that it had been durable: a frame behind it,
the header of the next log, or the *closing mark*, an empty record that a tablet writes after the last sync when it is
closed. Whole records behind it are no proof by themselves, since a power cut may lose one unsynced page and keep the
next; but the event that tells of the dropped tail counts them.

Invariant: the records that are replayed are a prefix of those that were answered, and hold every durable one.
"""

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType
from typing import Literal

from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, NoSpace, TabletopError
from runtime.record_log import MAGIC as FRAME_MAGIC
from runtime.record_log import LogReader, LogWriter, ReadFile
from tablet.events import LogTailDropped
from tablet.manifest import log_name
from tablet.storage import Storage, StoredFile

FORMAT = 1
KIND = "tabletop commit log"
HEADER_KIND = 0
ROWS_KIND = 1

SyncMode = Literal["fsync", "os"]
RowFragment = tuple[bytes, bytes]
"""(row, encoded fragment)"""

_ADVICE = {
    Corrupted: "restore the file from a copy",
    IncompatibleFormat: "use the version that wrote it, or put the right file in its place",
}
_FRAME_START = FRAME_MAGIC.to_bytes(4, "little")
_ROWS = struct.Struct("<BHI")
_ROW = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The first record of a log. Every record up to `durable_sequence` was durable when the log was begun; without all
    up to `required_sequence` the log does not count (None: without all that were written)."""

    tablet: str
    number: int
    durable_sequence: int
    required_sequence: int | None = None

    def encode(self) -> bytes:
        """The record's payload."""
        fields = {
            "kind": KIND,
            "format": FORMAT,
            "tablet": self.tablet,
            "number": self.number,
            "durable_sequence": self.durable_sequence,
        }
        if self.required_sequence is not None:
            fields["required_sequence"] = self.required_sequence
        return bytes((HEADER_KIND,)) + json.dumps(fields).encode()


def decode_header(payload: bytes, name: str) -> LogHeader:
    """The reverse. Raises IncompatibleFormat for a log that is not a tablet's or of a future version, Corrupted."""
    if payload[:1] == b"{":
        raise IncompatibleFormat(f"{name} is not a tablet's commit log: it holds a manifest under a log's name")
    if payload[:1] != bytes((HEADER_KIND,)):
        raise IncompatibleFormat(f"{name} is not a tablet's commit log: its first record is no header")
    try:
        fields = json.loads(payload[1:])
        if fields["kind"] != KIND or fields["format"] != FORMAT:
            raise IncompatibleFormat(
                f"{name} is a {fields['kind']!r} of format {fields['format']}; this program reads {KIND!r} of {FORMAT}"
            )
        header = LogHeader(
            fields["tablet"], fields["number"], fields["durable_sequence"], fields.get("required_sequence")
        )
        if not (
            isinstance(header.tablet, str)
            and all(type(value) is int for value in (header.number, header.durable_sequence))
            and type(header.required_sequence) in (int, NoneType)
        ):
            raise Corrupted(f"{name}: its header cannot be read (a field has another type than it should have)")
        return header
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(f"{name}: its header cannot be read ({error})") from error


def encode_rows(tablet: bytes, rows: Sequence[RowFragment]) -> bytes:
    """The payload of mutations that are logged together."""
    parts = [_ROWS.pack(ROWS_KIND, len(tablet), len(rows)), tablet]
    for row, fragment in rows:
        parts += (_ROW.pack(len(row), len(fragment)), row, fragment)
    return b"".join(parts)


def decode_rows(payload: bytes) -> tuple[bytes, list[RowFragment]]:
    """(tablet, its mutations). Raises Corrupted if the lengths do not add up.

    >>> decode_rows(encode_rows(b"users", [(b"r1", b"fragment"), (b"r2", b"")]))
    (b'users', [(b'r1', b'fragment'), (b'r2', b'')])
    """
    try:
        kind, tablet_length, count = _ROWS.unpack_from(payload)
        position = _ROWS.size + tablet_length
        tablet = payload[_ROWS.size : position]
        rows: list[RowFragment] = []
        for _ in range(count if kind == ROWS_KIND else 0):
            row_length, fragment_length = _ROW.unpack_from(payload, position)
            position += _ROW.size
            row_end = position + row_length
            rows.append((payload[position:row_end], payload[row_end : (position := row_end + fragment_length)]))
    except struct.error as error:
        raise Corrupted(f"a log record of {len(payload)} bytes ends early ({error})") from error
    if kind != ROWS_KIND or position != len(payload):
        raise Corrupted(f"a log record of {len(payload)} bytes and kind {kind} has rows of {position} bytes")
    return tablet, rows


class CommitLog:
    """One log being written. `inline`: there is no event loop, so a commit is an append and a sync of its own."""

    def __init__(
        self, file: StoredFile, header: LogHeader, *, next_sequence: int, sync: SyncMode, inline: bool
    ) -> None:
        self.number = header.number
        self._file = file
        self._durable_sequence = header.durable_sequence
        self._sync_mode = sync
        self._inline = inline
        self._tablet = header.tablet.encode()
        self._one = _ROWS.pack(ROWS_KIND, len(self._tablet), 1) + self._tablet
        self._writer = LogWriter(file, next_sequence=next_sequence)
        self._first_sequence = next_sequence

    @classmethod
    async def create(
        cls, storage: Storage, header: LogHeader, *, next_sequence: int, sync: SyncMode, inline: bool
    ) -> "CommitLog":
        """Begin a log; its header takes one sequence. Raises NoSpace, DiskFailure, and then leaves no file behind if
        the disk lets it be removed: who has no room to begin a log tries again, and each time under a new number."""
        name = log_name(header.number)
        try:
            file = await storage.create(name)
            log = cls(file, header, next_sequence=next_sequence, sync=sync, inline=inline)
            try:
                await log._writer.append(header.encode())
            except BaseException:
                await file.close()
                raise
        except (NoSpace, DiskFailure):
            with suppress(TabletopError):
                await storage.remove(name)
            raise
        return log

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record."""
        return self._writer.next_sequence - 1

    @property
    def durable_sequence(self) -> int:
        """Every record up to this one is known to be durable."""
        return max(self._durable_sequence, self._writer.durable_sequence)

    @property
    def file_bytes(self) -> int:
        """The length of the log."""
        return self._writer.offset

    @property
    def syncs(self) -> int:
        """How often it was synced."""
        return self._writer.syncs

    def write_one(self, row: bytes, fragment: bytes) -> Awaitable[int]:
        """Log one row's mutation; returns its sequence when it is as durable as the mode says.

        Raises NoSpace (definite) or DiskFailure.
        """
        return self._written(b"".join((self._one, _ROW.pack(len(row), len(fragment)), row, fragment)))

    def write(self, rows: Sequence[RowFragment]) -> Awaitable[int]:
        """Log mutations of several rows in one record."""
        return self._written(encode_rows(self._tablet, rows))

    def settled(self) -> Awaitable[None]:
        """Wait until no record is being written: also none whose writer was cancelled and waits no more."""
        return self._writer.settled()

    async def sync(self) -> None:
        """Make everything written so far durable."""
        await self._writer.sync()

    async def write_closing_mark(self) -> None:
        """After the last sync: say behind the last rows that they are durable, lest damage to them look like a tail.

        Not synced itself, for whatever it says is true without it. Raises NoSpace, DiskFailure."""
        if self.last_sequence > self._first_sequence and self.durable_sequence == self.last_sequence:
            await self._writer.append(encode_rows(self._tablet, ()))

    async def close(self) -> None:
        """Let go of the file."""
        await self._file.close()

    def _written(self, payload: bytes) -> Awaitable[int]:
        if self._sync_mode == "os":
            return self._writer.append(payload)
        return self._append_and_sync(payload) if self._inline else self._writer.commit(payload)

    async def _append_and_sync(self, payload: bytes) -> int:
        sequence = await self._writer.append(payload)
        await self._writer.sync()
        return sequence


def refuse_foreign(header: LogHeader, name: str, number: int | None, tablet: str | None) -> None:
    """Raise Corrupted if a log is not that of this number and tablet (None: any)."""
    wrong = []
    if number is not None and header.number != number:
        wrong.append(f"log {header.number}, expected log {number}")
    if tablet is not None and header.tablet != tablet:
        wrong.append(f"a log of tablet {header.tablet!r}, expected tablet {tablet!r}")
    if wrong:
        raise Corrupted(
            f"{name} says that it is {', and '.join(wrong)}: it was copied or renamed; put the right file in its place"
        )


def log_reader(file: ReadFile, name: str) -> LogReader:
    """Reads a commit log, whose header stands at offset 0."""
    return LogReader(file, name, from_start=True)


def zeros_at_end(reader: LogReader) -> str:
    """What the zeros are that a commit log ended in; empty if there are none. A tablet writes no padding: a file's
    length may outlive the bytes that a power cut took."""
    end = reader.end
    return f"only zeros from offset {end.offset} on: no record" if end.kind == "clean" and end.dropped_bytes else ""


@dataclass(slots=True)
class Replay:
    """Reads back the logs from `first_number` on: iterate, then look at what was found. Raises Corrupted and
    IncompatibleFormat with the log, the offset and the record."""

    storage: Storage
    logs: Mapping[int, str]
    first_number: int
    flushed_sequence: int
    tablet: str | None = None
    """Whose logs they must be; None: anybody's."""
    last_sequence: int = 0
    records: int = 0
    dropped: tuple[LogTailDropped, ...] = ()
    left_out: tuple[int, ...] = ()
    _before: tuple[str, str] = ("", "")
    """The log before the present one, and how it ended."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of the logs that are read, or left out, in their order."""
        return tuple(sorted(number for number in self.logs if number >= self.first_number))

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[RowFragment]]]:
        self.last_sequence = self.flushed_sequence
        numbers = self.numbers
        for place, number in enumerate(numbers):
            file = await self.storage.open(self.logs[number])
            try:
                async for sequence, rows in self._one(file, number, self.logs[number]):
                    yield sequence, rows
                await file.sync()
            except _Gap as gap:
                self.left_out = numbers[place:]
                self.dropped += (gap.event,)
                return
            finally:
                await file.close()

    async def _one(self, file: StoredFile, number: int, name: str) -> AsyncIterator[tuple[int, list[RowFragment]]]:
        reader = log_reader(file, name)
        first = True
        async for record in reader:
            rows: list[RowFragment] = []
            try:
                if first:
                    header = decode_header(record.payload, "it")
                elif record.sequence > self.flushed_sequence:
                    _, rows = decode_rows(record.payload)
            except (Corrupted, IncompatibleFormat) as error:
                raise type(error)(
                    f"{name} cannot be used, for its record {record.sequence} at offset {record.offset}: "
                    f"{error.message}; {_ADVICE[type(error)]}"
                ) from error
            if first:
                refuse_foreign(header, name, number, self.tablet)
                self._check_order(header, record.sequence, name, await file.size())
                first = False
            if rows:
                self.records += 1
                yield record.sequence, rows
            self.last_sequence = max(self.last_sequence, record.sequence)
        self._before = (name, f"ends at offset {reader.end.offset} with record {self.last_sequence}")
        if zeros := zeros_at_end(reader):
            self.dropped += (LogTailDropped(name, reader.end.offset, reader.end.dropped_bytes, zeros),)
        if reader.end.kind == "torn":
            reason = reader.end.reason
            self._before = (name, reason)
            if behind := await whole_records_behind(file, reader.end.offset):
                reason += f", and {behind} whole ones behind it count for nothing: right after a power cut, else damage"
            self.dropped += (LogTailDropped(name, reader.end.offset, reader.end.dropped_bytes, reason),)

    def _check_order(self, header: LogHeader, sequence: int, name: str, size: int) -> None:
        """The log must begin where the one before ended, unless what is missing was never durable; then it counts only
        if what is missing was never answered."""
        if sequence <= self.last_sequence + 1:
            return
        missing = f"records {self.last_sequence + 1} to {sequence - 1} are missing before it"
        if header.durable_sequence > self.last_sequence:
            before, end = self._before
            culprit = f"{before}: {end}, but {name} says" if before else f"{name}: {missing}, but it says"
            raise Corrupted(
                f"{culprit} that all up to record {header.durable_sequence} had been durable; restore "
                f"{before or 'the log before it'} from a copy"
            )
        required = header.required_sequence if header.required_sequence is not None else sequence - 1
        if required > self.last_sequence:
            raise _Gap(LogTailDropped(name, 0, size, missing))


class _Rest:
    """A log from some offset on, for a `LogReader`."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._start = start

    async def read_at(self, offset: int, count: int) -> bytes:
        return self._data[self._start + offset : self._start + offset + count]

    async def size(self) -> int:
        return len(self._data) - self._start


async def whole_records_behind(file: StoredFile, offset: int) -> int:
    """How many whole records follow an unreadable one at `offset`, up to the next unreadable one."""
    rest = await file.read_at(offset, await file.size() - offset)
    start = rest.find(_FRAME_START, 1)
    while start >= 0:
        reader = LogReader(_Rest(rest, start), "the rest")
        found = 0
        with suppress(Corrupted):  # Of a second damage behind: the first one is told anyway.
            async for _ in reader:
                found += 1
        if found:
            return found
        start = rest.find(_FRAME_START, start + 1)
    return 0


class _Gap(Exception):
    """A log begins behind records that were lost, legally, with the tail of the one before."""

    def __init__(self, event: LogTailDropped) -> None:
        super().__init__(event.reason)
        self.event = event
