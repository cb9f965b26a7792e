"""A log of records in one file: framed, checksummed, numbered, and honest about its end.

The problem. A log is read only after something went wrong, and then it must answer one question: is this unreadable
record the *tail*, the write that the crash interrupted and that nobody was promised, or is it *damage* to a record
that was once acknowledged? Dropping the first is right, dropping the second loses data in silence. A checksum alone
cannot tell them apart, because a disk may write the sectors of two unsynced records in either order.

The idea. Each frame says how far the log was known to be durable when the frame was written. If an unreadable record
at offset o is followed by a readable frame that says "durable through p" with p > o, the unreadable record had been
synced, so it is damage, and the reader refuses. Otherwise nobody was told that it is safe, so it is the tail.

A frame (little-endian, 28 bytes and the payload):

    u32 magic | u32 payload length | u32 CRC32C | u64 sequence | u64 durable through | payload

The CRC32C covers everything behind itself and the length. Sequences rise by one from frame to frame. Zero bytes
between frames are padding (GFS 3.3), a frame with a sequence already seen is a duplicate of an append that was
retried; both are skipped.

>>> frame = encode_frame(b"hello", sequence=1, durable_through=0)
>>> len(frame), frame[28:]
(33, b'hello')

Invariants: (1) frames stand in the file in sequence order; (2) `durable through` never exceeds the frame's own
offset; (3) after a failed write the file is cut back to the last whole frame, at once, or the
writer refuses further work.

What we simplify. Damage to the very last durable frames, with no frame after them, looks like a torn tail. A master
that replicates its log (GFS 5.1.1) would compare copies.
"""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import crc32c

from runtime.errors import Corrupted, DiskFailure, InvalidRequest, TabletopError
from runtime.world import Buffer

MAGIC = 0x4C_54_54_01
HEADER = struct.Struct("<IIIQQ")
HEADER_BYTES = HEADER.size
PAYLOAD_LIMIT_BYTES = 64 * 1024 * 1024

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_CHECKED = struct.Struct("<IQQ")
_READ_BYTES = 1024 * 1024


class AppendFile(Protocol):
    """The part of `world.File` that a log writer needs."""

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset."""

    async def truncate(self, size: int) -> None:
        """Cut to `size` bytes."""

    async def sync(self) -> None:
        """Make everything durable."""


class ReadFile(Protocol):
    """The part of `world.File` that a log reader needs."""

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes."""

    async def size(self) -> int:
        """Length in bytes."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record as read: where its frame begins, its number and its payload."""

    offset: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How a log ended. `offset` is the end of the last whole frame; what lies behind it (`dropped_bytes`) was never
    acknowledged as durable."""

    kind: Literal["clean", "torn"]
    offset: int
    dropped_bytes: int
    reason: str


def encode_frame(payload: Buffer, sequence: int, durable_through: int) -> bytes:
    """One frame. `durable_through` is the offset up to which the log is known to be synced."""
    length = len(payload)
    checksum = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, sequence, durable_through)))
    return HEADER.pack(MAGIC, length, checksum, sequence, durable_through) + payload


class LogWriter:
    """Appends records to a file, one after another; concurrent committers share one sync (group commit).

    The file's end must be at `offset`, which a reader's `LogEnd.offset` gives after a torn tail was cut off.
    `durable_sequence` is the last record that this writer's syncs have made durable, 0 before the first.
    """

    def __init__(self, file: AppendFile, *, next_sequence: int = 1, offset: int = 0) -> None:
        self.next_sequence = next_sequence
        self.offset = offset
        self.durable_through = offset
        self.durable_sequence = 0
        self.syncs = 0
        self._file = file
        self._broken: TabletopError | None = None
        self._busy = False
        self._must_cut = False
        self._flusher: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Buffer, bool, asyncio.Future[int]]] = deque()

    async def append(self, payload: Buffer) -> int:
        """Write one record without a sync; returns its sequence. Survives a kill, not a power cut.

        Raises InvalidRequest for a payload above the limit, NoSpace (definite, the log is as before) or DiskFailure.
        """
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        if self._busy:
            return await self._queued(payload, durable=False)
        self._busy = True
        try:
            return await self._write((payload,))
        finally:
            self._busy = False
            if self._waiting:
                self._start_flusher()

    async def commit(self, payload: Buffer) -> int:
        """Write one record and return its sequence once it is durable. Errors as `append`."""
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        return await self._queued(payload, durable=True)

    async def sync(self) -> None:
        """Make everything appended so far durable. Raises DiskFailure."""
        self._check()
        await self._sync_file(self.offset)

    async def settled(self) -> None:
        """Return when no record is being written: also none whose writer was cancelled and waits no more."""
        while self._flusher is not None and not self._flusher.done():
            await asyncio.wait([self._flusher])

    async def _queued(self, payload: Buffer, *, durable: bool) -> int:
        self._check()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((payload, durable, future))
        if not self._busy:
            self._start_flusher()
        return await future

    def _start_flusher(self) -> None:
        """Write and sync groups in a task of their own: a committer that is cancelled does not tear the others down.
        Whoever commits before the loop turns to that task is part of the first group."""
        self._busy = True
        self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._waiting:
                group = list(self._waiting)
                self._waiting.clear()
                try:
                    first = await self._write([payload for payload, _, _ in group])
                    if any(durable for _, durable, _ in group):
                        await self._sync_file(self.offset)
                except TabletopError as error:
                    _fail(group, error)
                except BaseException:
                    _fail(group, DiskFailure("the log's writer was stopped in the middle of a group"))
                    raise
                else:
                    for sequence, (_, _, future) in enumerate(group, first):
                        if not future.done():
                            future.set_result(sequence)
        finally:
            self._busy = False

    async def _write(self, payloads: Sequence[Buffer]) -> int:
        """Write a group of records; returns the sequence of the first, the others follow it."""
        if self._broken is not None:
            raise self._broken
        if self._must_cut:
            await self._cut_back()
        first, count, durable = self.next_sequence, len(payloads), self.durable_through
        if count == 1:
            data = encode_frame(payloads[0], first, durable)
        else:
            data = b"".join([encode_frame(payload, first + place, durable) for place, payload in enumerate(payloads)])
        following, end = first + count, self.offset + len(data)
        self._must_cut = True
        try:
            await self._file.append(data)
        except TabletopError:
            # At once: a crash now must not leave whole frames behind whose writers are told that nothing happened.
            await self._cut_back()
            raise
        # Nothing is called between these lines, so that an interrupt finds the record counted or to be cut off.
        self.next_sequence, self.offset, self._must_cut = following, end, False
        return first

    async def _cut_back(self) -> None:
        """The last write failed or was cancelled, and may have left half a record."""
        try:
            await self._file.truncate(self.offset)
        except TabletopError as error:
            self._broken = DiskFailure(
                f"the log took half a record and cannot be cut back: {error}; restart this node on a sound disk"
            )
            raise self._broken from error
        self._must_cut = False

    async def _sync_file(self, target: int) -> None:
        sequence = self.next_sequence - 1
        try:
            await self._file.sync()
        except TabletopError as error:
            # A failed sync may have dropped the dirty pages: nothing written since the last good one can be trusted.
            self._broken = DiskFailure(f"the log could not be synced: {error}; restart this node on a sound disk")
            raise self._broken from error
        self.syncs += 1
        self.durable_through = max(self.durable_through, target)
        self.durable_sequence = max(self.durable_sequence, sequence)

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken


class LogReader:
    """Iterates over the records of one log, then `end` says how it ended.

    `first_sequence`: that of the first record, if it is known. `from_start`: the first record stands at offset 0, so
    zeros there are what is left of it and no padding. Raises Corrupted for damage to a record that was durable, naming
    `name`, the offset and the record's sequence.
    """

    def __init__(
        self, file: ReadFile, name: str, *, first_sequence: int | None = None, from_start: bool = False
    ) -> None:
        self.end = LogEnd("clean", 0, 0, "")
        self.duplicates = 0
        self._file = file
        self._name = name
        self._expected = first_sequence
        self._from_start = from_start

    async def __aiter__(self) -> AsyncIterator[LogRecord]:
        size = await self._file.size()
        offset = 0
        window, window_start = b"", 0
        while True:
            position = offset - window_start
            if len(window) - position < HEADER_BYTES and window_start + len(window) < size:
                count = min(_READ_BYTES, size - offset)
                window, window_start, position = await self._file.read_at(offset, count), offset, 0
            if position >= len(window):
                break
            if window[position] == 0:
                stripped = len(window) - position - len(window[position:].lstrip(b"\0"))
                offset += stripped
                continue
            needed = HEADER_BYTES + _payload_length(window, position)
            if needed > len(window) - position and offset + needed <= size:
                count = min(max(needed, _READ_BYTES), size - offset)
                window, window_start = await self._file.read_at(offset, count), offset
                position = 0
            problem, sequence, payload = _parse(window, position, size - offset)
            if not problem and self._expected is not None and sequence > self._expected:
                problem, offset = f"record {self._expected} is missing before record {sequence}", self.end.offset
            elif self._from_start and offset and not self.end.offset:
                problem, offset = f"{offset} zeros stand where it begins", 0
            if problem:
                await self._judge(offset, size, problem)
                return
            if self._expected is None or sequence == self._expected:
                yield LogRecord(offset, sequence, payload)
                self._expected = sequence + 1
            else:
                self.duplicates += 1
            offset += needed
            self.end = LogEnd("clean", offset, size - offset, "")
        self.end = LogEnd("clean", self.end.offset, size - self.end.offset, "padding" if size > self.end.offset else "")

    async def _judge(self, offset: int, size: int, problem: str) -> None:
        """Tail or damage? Look for a later frame that says the log was durable past `offset`."""
        record = f"record {self._expected}" if self._expected is not None else "the first record"
        rest = await self._file.read_at(offset, size - offset)
        found = rest.find(_MAGIC_BYTES)
        while found >= 0:
            bad, sequence, _ = _parse(rest, found, len(rest) - found)
            if not bad and HEADER.unpack_from(rest, found)[4] > offset:
                raise Corrupted(
                    f"{self._name}: {record} at offset {offset} is damaged ({problem}), and record {sequence} "
                    f"at offset {offset + found} shows that it had been durable; restore the file from a copy"
                )
            found = rest.find(_MAGIC_BYTES, found + 1)
        reason = f"{record} at offset {offset} is not as it was written, or not wholly written ({problem})"
        self.end = LogEnd("torn", offset, size - offset, reason)


def _payload_length(window: bytes, position: int) -> int:
    """The length a header claims, or 0 where it cannot be one."""
    if len(window) - position < HEADER_BYTES:
        return 0
    magic, length, _, _, _ = HEADER.unpack_from(window, position)
    return length if magic == MAGIC and length <= PAYLOAD_LIMIT_BYTES else 0


def _parse(window: bytes, position: int, remaining: int) -> tuple[str, int, bytes]:
    """(what is wrong or "", sequence, payload) of the frame at `position`."""
    if remaining < HEADER_BYTES:
        return f"{remaining} bytes left, a header has {HEADER_BYTES}", 0, b""
    magic, length, checksum, sequence, durable_through = HEADER.unpack_from(window, position)
    if magic != MAGIC:
        return f"found {magic:#010x} where a frame begins with {MAGIC:#010x}", 0, b""
    if length > PAYLOAD_LIMIT_BYTES or HEADER_BYTES + length > remaining:
        return f"its length says {length} bytes, {remaining - HEADER_BYTES} are left", 0, b""
    payload = window[position + HEADER_BYTES : position + HEADER_BYTES + length]
    actual = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, sequence, durable_through)))
    if actual != checksum:
        return f"CRC32C is {actual:#010x}, its header says {checksum:#010x}", 0, b""
    return "", sequence, payload


def _too_large(payload: Buffer) -> InvalidRequest:
    return InvalidRequest(
        f"a record of {len(payload):,} bytes does not fit into a log, which takes {PAYLOAD_LIMIT_BYTES:,}; split it"
    )


def _fail(group: list[tuple[Buffer, bool, "asyncio.Future[int]"]], error: TabletopError) -> None:
    for _, _, future in group:
        if not future.done():
            future.set_exception(error)
            future.exception()  # A committer that was cancelled meanwhile does not fetch it.
