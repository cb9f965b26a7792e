"""Bulk streams through an imposed fault.

A stream is TCP: nothing is lost for good and nothing overtakes. A lossy way makes it late, by the time in which the
lost segment is sent again; a partition stalls it, and it breaks at its sender when nothing got through for
STALL_SECONDS. A flipped bit arrives: there is nothing below that would notice it.
"""

import asyncio
import contextlib
import random
import struct
from collections import deque
from collections.abc import Callable

from google.protobuf.message import DecodeError

from runtime.errors import DiskFailure, Unavailable
from runtime.faults.links import Kind
from runtime.faults.table import CLIENTS, FaultTable, Way
from runtime.real.experiments.disk import FaultyFile
from runtime.real.experiments.links import STALL_SECONDS
from runtime.real.network import RealStream
from runtime.wire import bulk_pb2
from runtime.world import Buffer, File

RESEND_SECONDS = 0.2
LOOK_SECONDS = 0.02  # How often a stream that is held up looks whether it may go on.
BUFFER_BYTES = 1024 * 1024  # What may wait in a stream that is late, as in a socket's buffer.
LONGEST_GREETING_BYTES = 64 * 1024  # What says it is longer is none, and the server's to refuse.
PIECE_BYTES = 256 * 1024
_FRAME = struct.Struct("<II")


class FaultyStream:
    """A TCP connection between this node and `there`. Without, it was accepted: who calls is in its greeting."""

    def __init__(self, inner: RealStream, table: FaultTable, here: str, there: Callable[[], str] | None) -> None:
        self.peer = inner.peer
        self._inner = inner
        self._table = table
        self._here = here
        self._there = there or (lambda: "")
        self._greeting: bytes | None = b"" if there is None else None
        self._queue: deque[tuple[float, bytes]] = deque()  # (the earliest time, the bytes)
        self._queued = 0
        self._last_due = 0.0
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._problem = ""

    # Reading.

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises EOFError at a clean end before the first of them, Unavailable otherwise."""
        await self._held_up_for_clients()
        data = await self._inner.read_exactly(count)
        if self._greeting is not None:
            self._listen(data)
        return data

    async def read_into(self, target: memoryview) -> None:
        """Fill `target`. Raises Unavailable."""
        await self._held_up_for_clients()
        await self._inner.read_into(target)

    def _listen(self, data: bytes) -> None:
        """Learn who calls from the greeting, as the server reads it: a frame, and a header (runtime/bulk.py)."""
        assert self._greeting is not None
        self._greeting += data
        if len(self._greeting) < _FRAME.size:
            return
        end = _FRAME.size + _FRAME.unpack_from(self._greeting)[0]
        if len(self._greeting) >= end or end > LONGEST_GREETING_BYTES:
            sender = CLIENTS
            with contextlib.suppress(DecodeError):
                sender = bulk_pb2.Hello.FromString(self._greeting[_FRAME.size : end]).sender or CLIENTS
            self._there = lambda: sender
            self._greeting = None

    async def _held_up_for_clients(self) -> None:
        """What a client sends meets its faults here, since nobody judges it there."""
        source = self._there()
        if source == CLIENTS:
            await self._passes(lambda: self._way(source, self._here))
            late = self._late(self._way(source, self._here))
            if late:
                await asyncio.sleep(late)

    # Writing.

    async def write(self, data: Buffer) -> None:
        """Send all of `data`. Raises Unavailable."""
        way = self._way(self._here, self._there())
        if self._pump is None and not way.blocked and way.faults.delay + way.faults.jitter + way.faults.loss == 0:
            await self._inner.write(_flipped(data, way.faults.corruption))
            return
        while self._queued >= BUFFER_BYTES and not self._problem:
            self._room.clear()
            await self._room.wait()
        self._check()
        loop = asyncio.get_running_loop()
        self._last_due = max(self._last_due, loop.time() + self._late(way))
        self._queue.append((self._last_due, bytes(_flipped(data, way.faults.corruption))))
        self._queued += len(data)
        if self._pump is None:
            self._pump = loop.create_task(self._carry(), name=f"late bytes to {self.peer}")

    async def send_file(self, file: File, offset: int, count: int) -> None:
        """Send a part of a file. Raises Unavailable, also if the file is shorter, or the disk does not give it."""
        assert isinstance(file, FaultyFile)
        way = self._way(self._here, self._there())
        if self._pump is None and way == Way() and not file.has_faults():
            await self._inner.send_file(file.inner, offset, count)
            return
        done = 0
        while done < count:
            try:
                data = await file.read_at(offset + done, min(PIECE_BYTES, count - done))
            except DiskFailure as error:
                raise Unavailable(f"{file.path} cannot be read: {error.message}") from error
            if not data:
                raise Unavailable(f"{file.path} ended {count - done} bytes before what was announced")
            await self.write(data)
            done += len(data)

    async def close(self) -> None:
        """Finish writing, in the background where bytes are late, and let go."""
        if self._pump is None:
            await self._inner.close()
        else:
            self._pump.add_done_callback(lambda _: self._inner.finish())

    def finish(self) -> None:
        """What `close` does, for who cannot wait."""
        if self._pump is None:
            self._inner.finish()
        else:
            self._pump.add_done_callback(lambda _: self._inner.finish())

    async def drained(self) -> None:
        """Return when nothing is late any more."""
        if (pump := self._pump) is not None:
            await asyncio.wait([pump])

    def abort(self) -> None:
        """Reset the connection."""
        self._fail("it was dropped here")
        if self._pump is not None:
            self._pump.cancel()
        self._inner.abort()

    async def _carry(self) -> None:
        """Send what is late, until nothing is."""
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                due, data = self._queue[0]
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._passes(lambda: self._way(self._here, self._there()))
                await self._inner.write(data)
                self._queue.popleft()
                self._queued -= len(data)
                self._room.set()
        except Unavailable as error:
            self._fail(error.message)
            self._inner.abort()
        finally:
            self._pump = None

    def _fail(self, problem: str) -> None:
        self._problem = self._problem or problem
        self._queue.clear()
        self._queued = 0
        self._room.set()

    def _check(self) -> None:
        if self._problem:
            raise Unavailable(f"the connection to {self.peer} is gone: {self._problem}")

    # Faults.

    def _way(self, source: str, target: str) -> Way:
        return self._table.way(source, target, Kind.BULK)

    async def _passes(self, way: Callable[[], Way]) -> None:
        await passes(way, STALL_SECONDS, self.peer)

    def _late(self, way: Way) -> float:
        late = way.faults.delay + way.faults.jitter * random.random()
        while way.faults.loss and random.random() < min(way.faults.loss, 0.95):
            late += RESEND_SECONDS
        return late


async def passes(way: Callable[[], Way], seconds: float, peer: str) -> None:
    """Return when a way is not blocked. Raises Unavailable if it still is after so many seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while way().blocked:
        if loop.time() >= deadline:
            raise Unavailable(f"the connection to {peer} is gone: nothing got through for {seconds:g} seconds")
        await asyncio.sleep(LOOK_SECONDS)


def _flipped(data: Buffer, chance: float) -> Buffer:
    if not chance or not len(data) or random.random() >= chance:
        return data
    damaged = bytearray(data)
    bit = random.randrange(8 * len(damaged))
    damaged[bit // 8] ^= 1 << bit % 8
    return damaged
