"""A log of records in one file: framed, checksummed, numbered, and honest about its end.

The problem. A log is read only after something went wrong, and then it must answer one question: is this unreadable
record the *tail*, the write that the crash interrupted and that nobody was promised, or is it *damage* to a record
that was once acknowledged? Dropping the first is right, dropping the second loses data in silence. A checksum alone
cannot tell them apart, because a disk may write the sectors of two unsynced records in either order.

The idea. Each frame says up to which record everything was known to be durable when the frame was written. If record s
cannot be read and a readable frame after it says "durable up to d" with d >= s, record s had been synced, so it is
damage, and the reader refuses. Otherwise nobody was told that it is safe, so it is the tail. A record's number, unlike
an offset, means the same in every file: where one log continues another, a frame of the later testifies for the former.

A frame (little-endian, 28 bytes and the payload):

    u32 magic | u32 payload length | u32 CRC32C | u64 sequence | u64 durable sequence | payload

The CRC32C covers everything after itself and the length. Sequences rise by one from frame to frame. Zero bytes
between frames are padding (GFS 3.3), a frame with a sequence already seen is a duplicate of an append that was
retried; both are skipped.

>>> frame = encode_frame(b"hello", sequence=1, durable_sequence=0)
>>> len(frame), frame[28:]
(33, b'hello')

Invariants: (1) frames stand in the file in sequence order; (2) `durable sequence` is below the frame's own sequence;
(3) after a failed write the file is cut back to the last whole frame, at once, or the writer refuses further work;
(4) what a record brings about is brought about in the log's order, by whoever completes the record: it does not depend
on whether its writer still waits.

What we simplify. Damage to the very last durable frames, with no frame after them, looks like a torn tail. A master
that replicates its log (GFS 5.1.1) would compare copies.
"""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

import crc32c

from runtime.errors import (
    Corrupted,
    DiskFailure,
    IncompatibleFormat,
    InternalError,
    InvalidRequest,
    TabletopError,
)
from runtime.world import Buffer

MAGIC = 0x4C_54_54_02
"""Its first byte is the version of the frames: 2."""

HEADER = struct.Struct("<IIIQQ")
HEADER_BYTES = HEADER.size
PAYLOAD_LIMIT_BYTES = 64 * 1024 * 1024

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_OLD_MAGIC = 0x4C_54_54_01
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
    """How a log ended. `offset` is the end of the last whole frame; what lies after it (`dropped_bytes`) was never
    acknowledged as durable."""

    kind: Literal["clean", "torn"]
    offset: int
    dropped_bytes: int
    reason: str


Ended = Callable[[int | None], None]
"""Told how a record ended: its sequence once it is as safe as was asked for, or None if it failed."""


def encode_frame(payload: Buffer, sequence: int, durable_sequence: int) -> bytes:
    """One frame. `durable_sequence`: every record up to this one is known to be durable."""
    length = len(payload)
    checksum = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, sequence, durable_sequence)))
    return HEADER.pack(MAGIC, length, checksum, sequence, durable_sequence) + payload


class _Queued:
    """A record that waits for its group. `ended` is called exactly once."""

    __slots__ = ("durable", "ended", "future", "payload", "promised")

    def __init__(
        self, payload: Buffer, durable: bool, promised: bool, ended: Ended | None, future: "asyncio.Future[int]"
    ) -> None:
        self.payload = payload
        self.durable = durable
        self.promised = promised
        self.ended = ended
        self.future = future

    def succeed(self, sequence: int) -> None:
        """The record is written: bring about what it stands for, then tell its writer, if there still is one."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(sequence)
        if not self.future.done():
            self.future.set_result(sequence)

    def fail(self, error: TabletopError) -> None:
        """The record is not written, or nobody knows."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(None)
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # A writer that was cancelled meanwhile does not fetch it.


class LogWriter:
    """Appends records to a file, one after another; concurrent committers share one sync (group commit).

    The file's end must be at `offset`, which a reader's `LogEnd.offset` gives after a torn tail was cut off.
    `durable_sequence`: every record up to this one is durable, those of earlier files too; without it, all before
    `next_sequence` are. `acknowledged_sequence`: the last promised record whose writer was told that it is written,
    or would have been if it had waited; `claimed_sequence`: the highest durable sequence in a frame of this writer.
    """

    def __init__(
        self,
        file: AppendFile,
        *,
        next_sequence: int = 1,
        offset: int = 0,
        durable_sequence: int | None = None,
        acknowledged_sequence: int | None = None,
    ) -> None:
        self.next_sequence = next_sequence
        self.offset = offset
        self.durable_sequence = next_sequence - 1 if durable_sequence is None else durable_sequence
        self.acknowledged_sequence = next_sequence - 1 if acknowledged_sequence is None else acknowledged_sequence
        self.claimed_sequence = 0
        self.is_busy = False
        self.syncs = 0
        self._file = file
        self._broken: TabletopError | None = None
        self._must_cut = False
        self._free: asyncio.Event | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._waiting: deque[_Queued] = deque()

    async def append(self, payload: Buffer, ended: Ended | None = None, *, promised: bool = True) -> int:
        """Write one record without a sync; returns its sequence. Survives a kill, not a power cut.

        `ended` is called when the record is written or has failed, whether or not the caller still waits. `promised`:
        if the record is lost, something is missing. Raises InvalidRequest for a payload above the limit, NoSpace
        (definite, the log is as before) or DiskFailure.
        """
        if self.is_busy:
            return await self._queued(payload, ended, durable=False, promised=promised)
        return await self._alone(payload, ended, durable=False, promised=promised)

    async def commit(self, payload: Buffer, ended: Ended | None = None) -> int:
        """Write one record and return its sequence once it is durable. `ended` and errors as in `append`."""
        return await self._queued(payload, ended, durable=True, promised=True)

    async def commit_alone(self, payload: Buffer) -> int:
        """As `commit`, without an event loop: nobody else may be writing."""
        return await self._alone(payload, None, durable=True, promised=True)

    async def sync(self) -> None:
        """Make everything appended so far durable. Raises DiskFailure."""
        self._check()
        await self._sync_file()

    async def settled(self) -> None:
        """Return when no record is being written, and none is left behind whose writer was cancelled within it."""
        while self.is_busy:
            if self._flusher is not None and not self._flusher.done():
                await asyncio.wait([self._flusher])
            else:
                self._free = asyncio.Event()
                await self._free.wait()
        if self._must_cut and not self.is_busy and self._broken is None:
            with suppress(TabletopError):  # The log is broken now; what follows it says where it ended.
                await self._cut_back()

    async def _alone(self, payload: Buffer, ended: Ended | None, *, durable: bool, promised: bool) -> int:
        """Write a record in the caller's own time: if the caller is cancelled, the record is cut off again."""
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        assert not self.is_busy
        self.is_busy = True
        written: int | None = None
        try:
            sequence = await self._write((payload,))
            if durable:
                await self._sync_file()
            written = sequence
            if promised:
                self.acknowledged_sequence = sequence
            return sequence
        finally:
            if ended is not None:
                ended(written)
            self.is_busy = False
            if self._waiting:
                self._start_flusher()
            if self._free is not None:
                self._free.set()
                self._free = None

    async def _queued(self, payload: Buffer, ended: Ended | None, *, durable: bool, promised: bool) -> int:
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        self._check()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Queued(payload, durable, promised, ended, future))
        if not self.is_busy:
            self._start_flusher()
        return await future

    def _start_flusher(self) -> None:
        """Write and sync groups in a task of their own: a committer that is cancelled does not tear the others down.
        Whoever commits before the loop turns to that task is part of the first group."""
        self.is_busy = True
        self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        group: list[_Queued] = []
        try:
            while self._waiting:
                group = list(self._waiting)
                self._waiting.clear()
                try:
                    first = await self._write([queued.payload for queued in group])
                    if any(queued.durable for queued in group):
                        await self._sync_file()
                except TabletopError as error:
                    for queued in group:
                        queued.fail(error)
                else:
                    for sequence, queued in enumerate(group, first):
                        if queued.promised:
                            self.acknowledged_sequence = sequence
                        queued.succeed(sequence)
        except BaseException as error:
            # Nobody knows what the file holds now: nothing may be written after it, and nobody may wait for it.
            kind = InternalError if isinstance(error, Exception) else DiskFailure
            self._broken = kind(f"the log's writer was stopped in the middle of a group ({error!r}); restart this node")
            for queued in (*group, *self._waiting):
                queued.fail(self._broken)
            self._waiting.clear()
            raise
        finally:
            self.is_busy = False

    async def _write(self, payloads: Sequence[Buffer]) -> int:
        """Write a group of records; returns the sequence of the first, the others follow it."""
        if self._broken is not None:
            raise self._broken
        if self._must_cut:
            await self._cut_back()
        first, count, durable = self.next_sequence, len(payloads), self.durable_sequence
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
        self.next_sequence, self.offset, self.claimed_sequence, self._must_cut = following, end, durable, False
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

    async def _sync_file(self) -> None:
        sequence = self.next_sequence - 1
        try:
            await self._file.sync()
        except TabletopError as error:
            # A failed sync may have dropped the dirty pages: nothing written since the last good one can be trusted.
            self._broken = DiskFailure(f"the log could not be synced: {error}; restart this node on a sound disk")
            raise self._broken from error
        self.syncs += 1
        self.durable_sequence = max(self.durable_sequence, sequence)

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken


class LogReader:
    """Iterates over the records of one log, then `end` says how it ended.

    `first_sequence`: that of the first record, if it is known. `presumed_sequence`: what it should be, by which an
    unreadable first record is judged. `from_start`: the first record stands at offset 0, so zeros there are what is
    left of it and no padding. `durable_sequence`: the highest that a frame has claimed so far. Raises Corrupted for
    damage to a record that was durable, naming `name`, the offset and the record's sequence; IncompatibleFormat for
    older frames.
    """

    def __init__(
        self,
        file: ReadFile,
        name: str,
        *,
        first_sequence: int | None = None,
        presumed_sequence: int | None = None,
        from_start: bool = False,
    ) -> None:
        self.end = LogEnd("clean", 0, 0, "")
        self.duplicates = 0
        self.durable_sequence = 0
        self._file = file
        self._name = name
        self._expected = first_sequence
        self._presumed = presumed_sequence
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
            problem, sequence, durable, payload = _parse(window, position, size - offset)
            if not problem and self._expected is not None and sequence > self._expected:
                problem, offset = f"record {self._expected} is missing before record {sequence}", self.end.offset
            elif self._from_start and offset and not self.end.offset:
                problem, offset = f"{offset} zeros stand where it begins", 0
            if problem:
                self._refuse_old_frames(window, position)
                await self._judge(offset, size, problem)
                return
            self.durable_sequence = max(self.durable_sequence, durable)
            if self._expected is None or sequence == self._expected:
                yield LogRecord(offset, sequence, payload)
                self._expected = sequence + 1
            else:
                self.duplicates += 1
            offset += needed
            self.end = LogEnd("clean", offset, size - offset, "")
        self.end = LogEnd("clean", self.end.offset, size - self.end.offset, "padding" if size > self.end.offset else "")

    async def _judge(self, offset: int, size: int, problem: str) -> None:
        """Tail or damage? Look for a later frame that says that the unreadable record had been durable."""
        record = f"record {self._expected}" if self._expected is not None else "the first record"
        needed = self._expected if self._expected is not None else self._presumed
        rest = await self._file.read_at(offset, size - offset)
        found = rest.find(_MAGIC_BYTES)
        while found >= 0:
            bad, sequence, durable, _ = _parse(rest, found, len(rest) - found)
            if not bad:
                needed = sequence - 1 if needed is None else needed
                self.durable_sequence = max(self.durable_sequence, durable)
            if not bad and needed is not None and durable >= needed:
                raise Corrupted(
                    f"{self._name}: {record} at offset {offset} is damaged ({problem}), and record {sequence} "
                    f"at offset {offset + found} shows that it had been durable; restore the file from a copy"
                )
            found = rest.find(_MAGIC_BYTES, found + 1)
        reason = f"{record} at offset {offset} is not as it was written, or not wholly written ({problem})"
        self.end = LogEnd("torn", offset, size - offset, reason)

    def _refuse_old_frames(self, window: bytes, position: int) -> None:
        if window[position : position + 4] == _OLD_MAGIC.to_bytes(4, "little"):
            raise IncompatibleFormat(
                f"{self._name} has frames of format 1, this program reads format 2; use the version that wrote it"
            )


def _payload_length(window: bytes, position: int) -> int:
    """The length a header claims, or 0 where it cannot be one."""
    if len(window) - position < HEADER_BYTES:
        return 0
    magic, length, _, _, _ = HEADER.unpack_from(window, position)
    return length if magic == MAGIC and length <= PAYLOAD_LIMIT_BYTES else 0


def _parse(window: bytes, position: int, remaining: int) -> tuple[str, int, int, bytes]:
    """(what is wrong or "", sequence, durable sequence, payload) of the frame at `position`."""
    if remaining < HEADER_BYTES:
        return f"{remaining} bytes left, a header has {HEADER_BYTES}", 0, 0, b""
    magic, length, checksum, sequence, durable = HEADER.unpack_from(window, position)
    if magic != MAGIC:
        return f"found {magic:#010x} where a frame begins with {MAGIC:#010x}", 0, 0, b""
    if length > PAYLOAD_LIMIT_BYTES or HEADER_BYTES + length > remaining:
        return f"its length says {length} bytes, {remaining - HEADER_BYTES} are left", 0, 0, b""
    payload = window[position + HEADER_BYTES : position + HEADER_BYTES + length]
    actual = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, sequence, durable)))
    if actual != checksum:
        return f"CRC32C is {actual:#010x}, its header says {checksum:#010x}", 0, 0, b""
    return "", sequence, durable, payload


def _too_large(payload: Buffer) -> InvalidRequest:
    return InvalidRequest(
        f"a record of {len(payload):,} bytes does not fit into a log, which takes {PAYLOAD_LIMIT_BYTES:,}; split it"
    )
