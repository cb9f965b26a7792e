"""A log of records in one file: framed, checksummed, numbered, and honest about its end.

The problem. A log is read only after something went wrong, and then it must answer one question: is this unreadable
record the *tail*, the write that the crash interrupted and that nobody was promised, or is it *damage* to a record
that was once acknowledged? Dropping the first is right, dropping the second loses data in silence. A checksum alone
cannot tell them apart, because a disk may write the sectors of two unsynced records in either order.

The idea. Each frame says up to which record everything was known to be durable when the frame was written. If record s
cannot be read and a readable frame after it says "durable up to d" with d >= s, record s had been synced, so it is
damage, and the reader refuses. Otherwise nobody was told that it is safe, so it is the tail. A record's number, unlike
an offset, means the same in every file: where one log continues another, a frame of the later testifies for the former.

A frame (little-endian, 32 bytes and the payload):

    u32 magic | u32 payload length | u32 CRC32C | u32 identity | u64 sequence | u64 durable sequence | payload

The CRC32C covers everything after itself and the length. Sequences rise by one from frame to frame.

Record append (GFS 3.3) writes at least once: an attempt that failed leaves zeros, torn frames or whole ones in the
middle of the file, and the record stands after them again; the file system pads. So a reader looks for the next frame
after bytes that are none. A frame with a sequence already seen is a duplicate. The one with the next sequence proves
that nothing between held a record that counts. If it never comes, the rule above tells tail from damage. The
*identity* is the file's own: a record may hold bytes that look like a frame, of another log for instance, and a reader
that searches must not take them for one.

>>> frame = encode_frame(b"hello", sequence=1, durable_sequence=0)
>>> len(frame), frame[32:]
(37, b'hello')

Invariants: (1) if repetitions are left out, frames stand in the file in sequence order; (2) `durable sequence` is below
the frame's own sequence; (3) in one file, a sequence stands for one payload: after a failed write the file is cut back
to the last whole frame, at once, or the writer refuses further work, and another file continues the log; (4) what a
record brings about is brought about in the log's order, by whoever completes the record: it does not depend on whether
its writer still waits.

What we simplify. Damage to the very last durable frames, with no frame after them, looks like a torn tail here. Whoever
keeps a log that must not lose them writes down elsewhere how far it is durable (`durable_mark.py`).
"""

import asyncio
import re
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol, runtime_checkable

import crc32c

from runtime.errors import (
    Corrupted,
    DiskFailure,
    IncompatibleFormat,
    InternalError,
    InvalidRequest,
    TabletopError,
)
from runtime.queued_record import QueuedRecord
from runtime.world import Buffer

MAGIC = 0x4C_54_54_03
"""Its first byte is the version of the frames: 3."""

HEADER = struct.Struct("<IIIIQQ")
HEADER_BYTES = HEADER.size
PAYLOAD_LIMIT_BYTES = 64 * 1024 * 1024

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_CHECKED = struct.Struct("<IIQQ")
_OLD_HEADER = struct.Struct("<IIIQQ")
_OLD_CHECKED = struct.Struct("<IQQ")
_NOT_ZERO = re.compile(rb"[^\0]")
_READ_BYTES = 1024 * 1024
_GROUP_BYTES = 4 * 1024 * 1024
"""No group of records that are written together is larger, unless it is one record: GFS appends a quarter of a chunk at
most (GFS 3.3), and nobody should wait for very much of others."""


class AppendFile(Protocol):
    """The part of `world.File` that a log writer needs."""

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset."""

    async def truncate(self, size: int) -> None:
        """Cut to `size` bytes."""

    async def sync(self) -> None:
        """Make everything durable."""


@runtime_checkable
class PromptAppendFile(Protocol):
    """A file that takes what is appended without making its writer wait."""

    def append_now(self, data: Buffer) -> int:
        """As `AppendFile.append`."""


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
    acknowledged as durable. `later_records`: how many whole frames lie there, of records after one that is missing."""

    kind: Literal["clean", "torn"]
    offset: int
    dropped_bytes: int
    reason: str
    later_records: int = 0


Ended = Callable[[int | None], None]
"""Told how a record ended: its sequence once it is as safe as was asked for, or None if it failed."""
Fence = Callable[[], Awaitable[None]]
"""Raises if somebody else may have read the log by now: asked when a record is as safe as was asked for, and before
anybody is told."""


def encode_frame(payload: Buffer, sequence: int, durable_sequence: int, identity: int = 0) -> bytes:
    """One frame. `durable_sequence`: every record up to this one is known to be durable. `identity`: the file's own, of
    32 bits."""
    length = len(payload)
    checksum = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, identity, sequence, durable_sequence)))
    return HEADER.pack(MAGIC, length, checksum, identity, sequence, durable_sequence) + payload


class LogWriter:
    """Appends records to a file, one after another; concurrent committers share one sync (group commit).

    The file's end must be at `offset`, which a reader's `LogEnd.offset` gives after a torn tail was cut off.
    `durable_sequence`: every record up to this one is durable, those of earlier files too; without it, all before
    `next_sequence` are. `acknowledged_sequence`: the last promised record whose writer was told that it is written,
    or would have been if it had waited; `claimed_sequence`: the highest durable sequence in a frame of this writer.
    `identity`: what the file's frames are told by. A file may take what is appended more than once, and padding.
    `fence`: a record of which it says no is neither acknowledged nor refused for certain, and the file takes no more.
    """

    def __init__(
        self,
        file: AppendFile,
        *,
        next_sequence: int = 1,
        offset: int = 0,
        durable_sequence: int | None = None,
        acknowledged_sequence: int | None = None,
        identity: int = 0,
        fence: Fence | None = None,
    ) -> None:
        self.next_sequence = next_sequence
        self.offset = offset
        self.durable_sequence = next_sequence - 1 if durable_sequence is None else durable_sequence
        self.acknowledged_sequence = next_sequence - 1 if acknowledged_sequence is None else acknowledged_sequence
        self.claimed_sequence = 0
        self.is_busy = False
        self.is_over = False
        """Nobody knows how the file ends: it takes no more records, but another file may continue the log."""
        self.syncs = 0
        self._file = file
        self._identity = identity
        self._fence = fence
        self._append_now = file.append_now if isinstance(file, PromptAppendFile) and fence is None else None
        self._broken: TabletopError | None = None
        self._must_cut = False
        self._free: asyncio.Event | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._waiting: deque[QueuedRecord] = deque()

    async def append(self, payload: Buffer, ended: Ended | None = None, *, promised: bool = True) -> int:
        """Write one record without a sync; returns its sequence. Survives a kill, not a power cut.

        `ended` is called when the record is written or has failed, whether or not the caller still waits. `promised`:
        if the record is lost, something is missing. Raises InvalidRequest for a payload above the limit, NoSpace
        (definite, the log is as before) or DiskFailure.
        """
        if self.is_busy:
            return await self._queued(payload, ended, durable=False, promised=promised)
        return await self.write_alone(payload, ended, durable=False, promised=promised)

    async def commit(self, payload: Buffer, ended: Ended | None = None) -> int:
        """Write one record and return its sequence once it is durable. `ended` and errors as in `append`."""
        return await self.begin_commit(payload, ended)

    def begin_commit(self, payload: Buffer, ended: Ended | None = None) -> "asyncio.Future[int]":
        """As `commit`, but returns at once: what is to be awaited. Records that are begun one after the other, without
        a wait between, follow one another in the log."""
        return self._queued(payload, ended, durable=True, promised=True)

    async def write_alone(
        self, payload: Buffer, ended: Ended | None = None, *, durable: bool, promised: bool = True
    ) -> int:
        """As `append` or, if it is to be `durable`, as `commit`, while nobody else is writing, and with no need of an
        event loop: the record is written in the caller's own time. If the caller is cancelled, it is cut off again."""
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        assert not self.is_busy
        self.is_busy = True
        written: int | None = None
        try:
            sequence = await self._write((payload,), is_synced_next=durable)
            if durable:
                await self._sync_file()
            written = sequence
            if promised:
                self.acknowledged_sequence = sequence
            return sequence
        finally:
            if ended is not None:
                ended(written)
            self._end_writing()

    def write_now(self, payload: Buffer) -> int | Coroutine[Any, Any, NoReturn] | None:
        """As `write_alone` without a sync: the sequence, if nothing must be waited for; None, and nothing was done, if
        something must; a coroutine that clears up and raises the error, if the file refused the record."""
        append = self._append_now
        if append is None or self.is_busy or self._must_cut or self._broken or len(payload) > PAYLOAD_LIMIT_BYTES:
            return None
        sequence, durable = self.next_sequence, self.durable_sequence
        data = encode_frame(payload, sequence, durable, self._identity)
        following, size = sequence + 1, len(data)
        self._must_cut = True
        try:
            end = append(data) + size
        except TabletopError as error:
            return self._refused(error)
        # Nothing is called between these lines, so that an interrupt finds the record counted or to be cut off.
        self.next_sequence, self.offset, self.claimed_sequence, self._must_cut = following, end, durable, False
        self.acknowledged_sequence = sequence
        return sequence

    async def _refused(self, error: TabletopError) -> NoReturn:
        """At once: a crash now must not leave a whole frame behind whose writer is told that nothing happened."""
        self.is_busy = True
        try:
            await self._cut_back()
        finally:
            self._end_writing()
        raise error

    def _end_writing(self) -> None:
        self.is_busy = False
        if self._waiting:
            self._start_flusher()
        if self._free is not None:
            self._free.set()
            self._free = None

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

    def _queued(self, payload: Buffer, ended: Ended | None, *, durable: bool, promised: bool) -> "asyncio.Future[int]":
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(payload)
        self._check()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(QueuedRecord(payload, durable, promised, ended, future))
        if not self.is_busy:
            self._start_flusher()
        return future

    def _start_flusher(self) -> None:
        """Write and sync groups in a task of their own: a committer that is cancelled does not tear the others down.
        Whoever commits before the loop turns to that task is part of the first group."""
        self.is_busy = True
        self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        group: list[QueuedRecord] = []
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    durable = any(queued.durable for queued in group)
                    first = await self._write([queued.payload for queued in group], is_synced_next=durable)
                    if durable:
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

    def _next_group(self) -> list[QueuedRecord]:
        group = [self._waiting.popleft()]
        size = len(group[0].payload)
        while self._waiting and size + len(self._waiting[0].payload) <= _GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1].payload)
        return group

    async def _write(self, payloads: Sequence[Buffer], *, is_synced_next: bool) -> int:
        """Write a group of records; returns the sequence of the first, the others follow it. If no sync follows, the
        fence is asked here: a caller that is cancelled meanwhile takes its record back."""
        if self._broken is not None:
            raise self._broken
        if self._must_cut:
            await self._cut_back()
        first, count, durable, identity = self.next_sequence, len(payloads), self.durable_sequence, self._identity
        if count == 1:
            data = encode_frame(payloads[0], first, durable, identity)
        else:
            data = b"".join(
                [encode_frame(each, place, durable, identity) for place, each in enumerate(payloads, first)]
            )
        following, size = first + count, len(data)
        self._must_cut = True
        try:
            end = await self._file.append(data) + size
        except TabletopError:
            # At once: a crash now must not leave whole frames behind whose writers are told that nothing happened.
            await self._cut_back()
            await self._ask_fence()  # Whoever owns the log now may have read them before they were cut off.
            raise
        if not is_synced_next:
            await self._ask_fence()
        # Nothing is called between these lines, so that an interrupt finds the record counted or to be cut off.
        self.next_sequence, self.offset, self.claimed_sequence, self._must_cut = following, end, durable, False
        return first

    async def _cut_back(self) -> None:
        """The last write failed or was cancelled, and may have left half a record, or whole ones of a group. Their
        writers are told that nothing happened only after a sync: the kernel may have written the records already, and
        a cut that is not durable would give them back after a power cut."""
        try:
            await self._file.truncate(self.offset)
            await self._file.sync()
        except TabletopError as error:
            self.is_over = True
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
        await self._ask_fence()

    async def _ask_fence(self) -> None:
        """Raise what the fence says. What was written last may count or not, so nothing may follow it in this file."""
        if self._fence is None:
            return
        try:
            await self._fence()
        except TabletopError as error:
            self.is_over, self._broken = True, error
            raise type(error)(error.message, definite=False) from error

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken


class LogReader:
    """Iterates over the records of one log, then `end` says how it ended.

    `first_sequence`: that of the first record, if it is known. `presumed_sequence`: what it should be, by which an
    unreadable first record is judged. `begins`: whether a payload may be that of the first record; such a log has no
    padding at its start, and its first record is also found after the remains of an append that failed. `identity`:
    that of the log's frames, as its first record has it. `durable_sequence`: the highest that a frame has claimed so
    far. `duplicates` and `skipped_bytes`: what was passed over between the records. Raises Corrupted for damage to a
    record that was durable, naming `name`, the offset and the record's sequence; IncompatibleFormat for older frames.
    """

    def __init__(
        self,
        file: ReadFile,
        name: str,
        *,
        first_sequence: int | None = None,
        presumed_sequence: int | None = None,
        begins: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.end = LogEnd("clean", 0, 0, "")
        self.duplicates = 0
        self.skipped_bytes = 0
        self.durable_sequence = 0
        self.identity: int | None = None
        self._file = file
        self._name = name
        self._expected = first_sequence
        self._presumed = presumed_sequence
        self._begins = begins
        self._gap: _Gap | None = None
        self._whole_until = 0

    async def __aiter__(self) -> AsyncIterator[LogRecord]:
        size = await self._file.size()
        offset = 0
        window, window_start = b"", 0
        searching = False
        while True:
            position = offset - window_start
            if len(window) - position < HEADER_BYTES and window_start + len(window) < size:
                count = min(_READ_BYTES, size - offset)
                window, window_start, position = await self._file.read_at(offset, count), offset, 0
                if len(window) < count:  # The file is shorter than it said.
                    size = offset + len(window)
            if position >= len(window):
                break
            if searching:
                found = window.find(_MAGIC_BYTES, position)
                if found < 0:
                    offset = window_start + len(window)
                    if offset < size:  # A magic number may lie across the border of two windows.
                        offset -= len(_MAGIC_BYTES) - 1
                    continue
                offset, searching = window_start + found, False
                continue  # The header may lie across the border of two windows.
            if window[position] == 0:
                found_byte = _NOT_ZERO.search(window, position)
                offset = window_start + (found_byte.start() if found_byte is not None else len(window))
                continue
            needed = HEADER_BYTES + _payload_length(window, position, self.identity)
            if needed > len(window) - position and offset + needed <= size:
                count = min(max(needed, _READ_BYTES), size - offset)
                window, window_start, position = await self._file.read_at(offset, count), offset, 0
                if len(window) < count:
                    size = offset + len(window)
            problem, sequence, durable, identity, payload = _parse(window, position, size - offset, self.identity)
            if problem:
                if self._gap is None:
                    await self._refuse_old_frame(offset, size)
                    self._gap = _Gap(offset, problem)
                offset, searching = offset + 1, True
                continue
            self.durable_sequence = max(self.durable_sequence, durable)
            if (sequence == self._expected and self._gap is None) or self._takes(offset, sequence, durable, payload):
                self.identity = identity
                self._expected = sequence + 1
                yield LogRecord(offset, sequence, payload)
            offset += needed
            if self._gap is None:
                self._whole_until = offset
        self._finish(size)

    def _takes(self, offset: int, sequence: int, durable: int, payload: bytes) -> bool:
        """Whether a whole frame is the record that comes next. It proves that the bytes passed over held no record
        that counts, for there is no room for one between two sequences."""
        gap, expected = self._gap, self._expected
        if expected is None:
            is_next = gap is None and (not offset or self._begins is None)
            is_next = is_next or (self._begins is not None and self._begins(payload))
            if not is_next and gap is None:
                gap = self._gap = _Gap(0, f"{offset} zeros stand where it begins")
        else:
            is_next = sequence == expected
            if sequence < expected:
                self.duplicates += 1
            elif not is_next and gap is None:
                missing = f"record {expected} is missing before record {sequence}"
                gap = self._gap = _Gap(self._whole_until, missing)
        if is_next or (expected is not None and sequence < expected and gap is not None and not gap.later_records):
            if gap is not None:
                self.skipped_bytes += offset - gap.offset
            self._gap = None
        elif gap is not None and (expected is None or sequence > expected):
            gap.later_records += 1
            needed = expected if expected is not None else self._presumed
            if gap.witness is None and durable >= (sequence - 1 if needed is None else needed):
                gap.witness = (sequence, offset)
            if needed is None:
                self._presumed = sequence - 1
        return is_next

    def _finish(self, size: int) -> None:
        """The record that should come next is not there. Tail or damage? A later frame that says that it had been
        durable decides."""
        gap = self._gap
        if gap is None:
            dropped = size - self._whole_until
            self.end = LogEnd("clean", self._whole_until, dropped, "padding" if dropped else "")
            return
        record = f"record {self._expected}" if self._expected is not None else "the first record"
        if gap.witness is not None:
            sequence, offset = gap.witness
            raise Corrupted(
                f"{self._name}: {record} at offset {gap.offset} is damaged ({gap.problem}), and record {sequence} "
                f"at offset {offset} shows that it had been durable; restore the file from a copy"
            )
        reason = f"{record} at offset {gap.offset} is not as it was written, or not wholly written ({gap.problem})"
        self.end = LogEnd("torn", gap.offset, size - gap.offset, reason, gap.later_records)

    async def _refuse_old_frame(self, offset: int, size: int) -> None:
        """Raise IncompatibleFormat if a whole frame of an older format stands here. One flipped bit in a frame of today
        makes its version an older one, too: that is damage like any other."""
        header = await self._file.read_at(offset, _OLD_HEADER.size)
        if len(header) < _OLD_HEADER.size or header[1:4] != _MAGIC_BYTES[1:] or not 0 < header[0] < _MAGIC_BYTES[0]:
            return
        _, length, checksum, *numbers = _OLD_HEADER.unpack(header)
        if length > min(PAYLOAD_LIMIT_BYTES, size - offset - _OLD_HEADER.size):
            return
        payload = await self._file.read_at(offset + _OLD_HEADER.size, length)
        if crc32c.crc32c(payload, crc32c.crc32c(_OLD_CHECKED.pack(length, *numbers))) == checksum:
            raise IncompatibleFormat(
                f"{self._name} has frames of format {header[0]}, this program reads format {_MAGIC_BYTES[0]}; use the "
                f"version that wrote it"
            )


@dataclass(slots=True)
class _Gap:
    """Bytes where a record should be: where they begin, what is wrong with them, how many records follow that come
    later in the log, and the first of those that says that the missing one had been durable."""

    offset: int
    problem: str
    later_records: int = 0
    witness: tuple[int, int] | None = None


def _payload_length(window: bytes, position: int, identity: int | None) -> int:
    """The length a header claims, or 0 where it cannot be one of this log."""
    if len(window) - position < HEADER_BYTES:
        return 0
    magic, length, _, found, _, _ = HEADER.unpack_from(window, position)
    ours = magic == MAGIC and length <= PAYLOAD_LIMIT_BYTES and (identity is None or found == identity)
    return length if ours else 0


def _parse(window: bytes, position: int, remaining: int, expected: int | None) -> tuple[str, int, int, int, bytes]:
    """(what is wrong or "", sequence, durable sequence, identity, payload) of the frame at `position`."""
    if remaining < HEADER_BYTES:
        return f"{remaining} bytes left, a header has {HEADER_BYTES}", 0, 0, 0, b""
    magic, length, checksum, identity, sequence, durable = HEADER.unpack_from(window, position)
    if magic != MAGIC:
        return f"found {magic:#010x} where a frame begins with {MAGIC:#010x}", 0, 0, 0, b""
    if expected is not None and identity != expected:
        return f"its identity is {identity:#010x}, that of this log is {expected:#010x}", 0, 0, 0, b""
    if length > PAYLOAD_LIMIT_BYTES or HEADER_BYTES + length > remaining:
        return f"its length says {length} bytes, {remaining - HEADER_BYTES} are left", 0, 0, 0, b""
    payload = window[position + HEADER_BYTES : position + HEADER_BYTES + length]
    actual = crc32c.crc32c(payload, crc32c.crc32c(_CHECKED.pack(length, identity, sequence, durable)))
    if actual != checksum:
        return f"CRC32C is {actual:#010x}, its header says {checksum:#010x}", 0, 0, 0, b""
    return "", sequence, durable, identity, payload


def _too_large(payload: Buffer) -> InvalidRequest:
    return InvalidRequest(
        f"a record of {len(payload):,} bytes does not fit into a log, which takes {PAYLOAD_LIMIT_BYTES:,}; split it"
    )
