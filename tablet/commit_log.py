"""The commit log: what was promised, before it is anywhere else (BT 5.3).

The problem. A mutation is answered when it cannot be lost any more; the memtable is lost with the process. So the
mutation goes to a log first, and opening a tablet reads back what no SSTable holds yet.

The idea. One log per memtable. Its frames are those of `runtime/record_log.py`; the payload of a mutation is the row
and its fragment, as the memtable will keep it:

    u8 1 | u16 tablet length | u32 rows | tablet | i64 last timestamp |
        (u32 row length | u32 fragment length | row | fragment) …

The tablet's name is there because a tablet server writes one log for all its tablets (BT 6); a tablet that stands alone
has none. The timestamp is the highest that the tablet itself has given so far, so that none comes twice, whatever the
wall clock does between two openings. The first frame of each log, u8 0 and JSON, says what the log is, and up to which
sequence earlier logs were durable when it was begun. Sequences go on from log to log.

Durability. With `sync="fsync"` a write is answered once it is on stable storage; concurrent writers share a sync (group
commit). With `sync="os"` it is answered once the operating system has it: it survives the death of the process,
but a power cut may take the last writes, always a suffix of them: if the tail of one log is lost, a later log is
dropped. A record whose sync failed was never answered and changed nothing that anybody saw; so each header says up to
which record earlier logs were *acknowledged*: what they hold beyond it counts for nothing, and need not be there.

Tail or damage? An unreadable record is damage if anything behind it says that it had been durable: a frame of this log
or of a later one. So that the last rows have one behind them too, a tablet writes a *mark*, an empty record, after an
explicit sync and when it is closed. Whole records behind it are no proof by themselves, since a power cut may lose one
unsynced page and keep the next; but the event that tells of the dropped tail counts them.

Invariants: (1) the records that are replayed are a prefix of those that were answered, and hold every durable one; (2)
no frame claims that a record is durable before all acknowledged ones up to it are, in this log and in earlier ones.
"""

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, NoSpace, TabletopError
from runtime.record_log import MAGIC as FRAME_MAGIC
from runtime.record_log import Ended, LogReader, LogWriter, ReadFile
from tablet.events import CommitLogReplayed, LogTailDropped
from tablet.manifest import log_name
from tablet.storage import Storage, StoredFile

FORMAT = 2
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
_TIMESTAMP = struct.Struct("<q")
_ONLY_ROW = struct.Struct("<qII")


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The first record of a log. Every acknowledged record up to `durable_sequence` was durable when the log was begun.
    `acknowledged_sequence`: the records of earlier logs up to this one count, and those beyond it do not."""

    tablet: str
    number: int
    durable_sequence: int
    acknowledged_sequence: int

    def encode(self) -> bytes:
        """The record's payload."""
        fields = {
            "kind": KIND,
            "format": FORMAT,
            "tablet": self.tablet,
            "number": self.number,
            "durable_sequence": self.durable_sequence,
            "acknowledged_sequence": self.acknowledged_sequence,
        }
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
        numbers = [fields[name] for name in ("number", "durable_sequence", "acknowledged_sequence")]
        header = LogHeader(fields["tablet"], *numbers)
        if not isinstance(header.tablet, str) or any(type(number) is not int for number in numbers):
            raise Corrupted(f"{name}: its header cannot be read (a field has another type than it should have)")
        return header
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(f"{name}: its header cannot be read ({error})") from error


def encode_rows(tablet: bytes, rows: Sequence[RowFragment], last_timestamp: int = 0) -> bytes:
    """The payload of mutations that are logged together."""
    parts = [_ROWS.pack(ROWS_KIND, len(tablet), len(rows)), tablet, _TIMESTAMP.pack(last_timestamp)]
    for row, fragment in rows:
        parts += (_ROW.pack(len(row), len(fragment)), row, fragment)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Mutations:
    """What a record holds: mutations of a tablet's rows, and the last timestamp that the tablet had given."""

    tablet: bytes
    rows: list[RowFragment]
    last_timestamp: int


def decode_rows(payload: bytes) -> Mutations:
    """The reverse. Raises Corrupted if the lengths do not add up.

    >>> found = decode_rows(encode_rows(b"users", [(b"r1", b"fragment"), (b"r2", b"")], 7))
    >>> found.tablet, found.rows, found.last_timestamp
    (b'users', [(b'r1', b'fragment'), (b'r2', b'')], 7)
    """
    try:
        kind, tablet_length, count = _ROWS.unpack_from(payload)
        position = _ROWS.size + tablet_length
        tablet = payload[_ROWS.size : position]
        rows: list[RowFragment] = []
        (last_timestamp,) = _TIMESTAMP.unpack_from(payload, position)
        position += _TIMESTAMP.size
        for _ in range(count if kind == ROWS_KIND else 0):
            row_length, fragment_length = _ROW.unpack_from(payload, position)
            position += _ROW.size
            row_end = position + row_length
            rows.append((payload[position:row_end], payload[row_end : (position := row_end + fragment_length)]))
    except struct.error as error:
        raise Corrupted(f"a log record of {len(payload)} bytes ends early ({error})") from error
    if kind != ROWS_KIND or position != len(payload):
        raise Corrupted(f"a log record of {len(payload)} bytes and kind {kind} has rows of {position} bytes")
    return Mutations(tablet, rows, last_timestamp)


class CommitLog:
    """One log being written. `inline`: there is no event loop, so a commit is an append and a sync of its own."""

    def __init__(
        self, file: StoredFile, header: LogHeader, *, next_sequence: int, sync: SyncMode, inline: bool
    ) -> None:
        self.number = header.number
        self._file = file
        self._sync_mode = sync
        self._inline = inline
        self._tablet = header.tablet.encode()
        self._one = _ROWS.pack(ROWS_KIND, len(self._tablet), 1) + self._tablet
        self._writer = LogWriter(
            file,
            next_sequence=next_sequence,
            durable_sequence=header.durable_sequence,
            acknowledged_sequence=header.acknowledged_sequence,
        )
        self._first_sequence = next_sequence
        self._mark_sequence = 0

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
                await log._writer.append(header.encode(), promised=False)
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
        """Every acknowledged record up to this one is known to be durable."""
        return self._writer.durable_sequence

    @property
    def acknowledged_sequence(self) -> int:
        """The last record that was acknowledged, or would have been if its writer had waited."""
        return self._writer.acknowledged_sequence

    @property
    def is_free(self) -> bool:
        """Whether `write` may be called: nobody else is writing, and no sync is shared."""
        return self._inline or (self._sync_mode == "os" and not self._writer.is_busy)

    @property
    def file_bytes(self) -> int:
        """The length of the log."""
        return self._writer.offset

    @property
    def syncs(self) -> int:
        """How often it was synced."""
        return self._writer.syncs

    def write_one(self, row: bytes, fragment: bytes, last_timestamp: int = 0) -> Awaitable[int]:
        """As `write`, of one mutation."""
        sizes = _ONLY_ROW.pack(last_timestamp, len(row), len(fragment))
        return self._written(b"".join((self._one, sizes, row, fragment)))

    def write(self, rows: Sequence[RowFragment], last_timestamp: int = 0) -> Awaitable[int]:
        """Log mutations in one record, while the log `is_free`; returns its sequence when it is as durable as the mode
        says. If the caller is cancelled, the record is taken back. `last_timestamp`: the highest that the tablet gave.

        Raises NoSpace (definite) or DiskFailure.
        """
        return self._written(encode_rows(self._tablet, rows, last_timestamp))

    def queue(self, rows: Sequence[RowFragment], ended: Ended, last_timestamp: int = 0) -> Awaitable[int]:
        """As `write`, at any time. `ended` is called in the order of the log, once the record is as durable as the mode
        says (with its sequence) or has failed (with None): whether or not the caller still waits."""
        write = self._writer.append if self._sync_mode == "os" else self._writer.commit
        return write(encode_rows(self._tablet, rows, last_timestamp), ended)

    def settled(self) -> Awaitable[None]:
        """Wait until no record is being written, and none is left behind whose writer was cancelled within it."""
        return self._writer.settled()

    async def sync(self) -> None:
        """Make everything written so far durable."""
        await self._writer.sync()

    async def write_mark(self) -> None:
        """After a sync: say behind the last rows that they are durable, lest damage to them look like a tail.

        Not synced itself, for whatever it says is true without it. Raises NoSpace, DiskFailure."""
        durable = self._writer.durable_sequence
        if durable > max(self._writer.claimed_sequence, self._first_sequence) and durable != self._mark_sequence:
            self._mark_sequence = await self._writer.append(encode_rows(self._tablet, ()), promised=False)

    async def close(self) -> None:
        """Let go of the file."""
        await self._file.close()

    def _written(self, payload: bytes) -> Awaitable[int]:
        return self._writer.append(payload) if self._sync_mode == "os" else self._writer.commit_alone(payload)


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


def log_reader(file: ReadFile, name: str, presumed_sequence: int | None = None) -> LogReader:
    """Reads a commit log, whose header stands at offset 0, and should have this sequence."""
    return LogReader(file, name, presumed_sequence=presumed_sequence, from_start=True)


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
    last_timestamp: int = 0
    dropped: tuple[LogTailDropped, ...] = ()
    left_out: tuple[int, ...] = ()
    replayed: tuple[CommitLogReplayed, ...] = ()
    _before: tuple[str, str] = ("", "")
    """The log before the present one, and how it ended."""

    @property
    def records(self) -> int:
        """How many were newer than the SSTables."""
        return sum(log.records for log in self.replayed)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of the logs that are read, or left out, in their order."""
        return tuple(sorted(number for number in self.logs if number >= self.first_number))

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[RowFragment]]]:
        self.last_sequence = self.flushed_sequence
        numbers = self.numbers
        headers = [await self._header(number) for number in numbers]
        for place, number in enumerate(numbers):
            following = headers[place + 1] if place + 1 < len(numbers) else None
            file = await self.storage.open(self.logs[number])
            try:
                async for sequence, rows in self._one(file, number, self.logs[number], following):
                    yield sequence, rows
                await file.sync()
            except _Gap as gap:
                await self._refuse_if_durable(numbers[place:], gap.sequence)
                self.left_out = numbers[place:]
                self.dropped += (gap.event,)
                return
            finally:
                await file.close()

    async def _header(self, number: int) -> LogHeader | None:
        """A log's header, if it can be read: trouble is told of when the log's turn comes."""
        file = await self.storage.open(self.logs[number])
        try:
            async for record in log_reader(file, self.logs[number]):
                return decode_header(record.payload, self.logs[number])
        except (Corrupted, IncompatibleFormat):
            pass
        finally:
            await file.close()
        return None

    async def _one(
        self, file: StoredFile, number: int, name: str, following: LogHeader | None
    ) -> AsyncIterator[tuple[int, list[RowFragment]]]:
        reader = log_reader(file, name, self.last_sequence + 1)
        first, records, row_count = True, 0, 0
        async for record in reader:
            rows: list[RowFragment] = []
            try:
                if first:
                    header = decode_header(record.payload, "it")
                elif following is not None and record.sequence > following.acknowledged_sequence:
                    continue  # It was never answered, and the tablet went on without it.
                elif record.sequence > self.flushed_sequence:
                    mutations = decode_rows(record.payload)
                    rows = mutations.rows
                    self.last_timestamp = max(self.last_timestamp, mutations.last_timestamp)
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
                records, row_count = records + 1, row_count + len(rows)
                yield record.sequence, rows
            self.last_sequence = max(self.last_sequence, record.sequence)
        self.replayed += (CommitLogReplayed(name, records, row_count),)
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
        """The log counts only if everything that was acknowledged before it is there. What had been durable must be."""
        if header.acknowledged_sequence <= self.last_sequence:
            return
        if header.durable_sequence > self.last_sequence:
            raise self._had_been_durable(name, header.durable_sequence, sequence)
        missing = f"records {self.last_sequence + 1} to {sequence - 1} are missing before it"
        raise _Gap(LogTailDropped(name, 0, size, missing), sequence)

    async def _refuse_if_durable(self, numbers: Sequence[int], sequence: int) -> None:
        """Raise Corrupted if a frame of these logs says that what is missing before `sequence` had been durable."""
        for number in numbers:
            file = await self.storage.open(self.logs[number])
            try:
                reader = log_reader(file, self.logs[number])
                with suppress(Corrupted, IncompatibleFormat):
                    async for _ in reader:
                        pass
            finally:
                await file.close()
            if reader.durable_sequence > self.last_sequence:
                raise self._had_been_durable(self.logs[number], reader.durable_sequence, sequence)

    def _had_been_durable(self, name: str, durable: int, sequence: int) -> Corrupted:
        before, end = self._before
        missing = f"records {self.last_sequence + 1} to {sequence - 1} are missing before it"
        culprit = f"{before}: {end}, but {name} says" if before else f"{name}: {missing}, but it says"
        return Corrupted(
            f"{culprit} that all up to record {durable} had been durable; restore {before or 'the log before it'} "
            f"from a copy"
        )


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

    def __init__(self, event: LogTailDropped, sequence: int) -> None:
        super().__init__(event.reason)
        self.event = event
        self.sequence = sequence
