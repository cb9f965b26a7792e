"""Bulk byte streams between simulated nodes, with latency and a fair share of the bandwidth.

The problem. What makes a pipelined push worth having (GFS 3.2) is that a node's network card can receive and send at
the same time, at full speed, and that flows over one card share it. The idea: each node has an upward and a downward
bandwidth. A write is cut into segments; each segment occupies the sender's card and then the receiver's for as long
as its bytes take, and a card serves the streams that want it in turn, one segment at a time. With segments much
smaller than transfers this comes to a fair share of each card.

A stream's order is kept; its buffer is bounded, so that a slow reader stops the writer. The death of an end resets the
stream. A partition swallows segments: the stream stalls, and fails after STALL_SECONDS if nothing moves.

What we simplify. No slow start and no retransmission. A lost segment breaks the stream at once, instead of waiting for
retransmissions that a fault would also lose.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from runtime.errors import Unavailable
from runtime.simulated.fabric import Fabric
from runtime.simulated.loop import NANOSECONDS, Life
from runtime.world import Buffer, ByteStream, File

SEGMENT_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
STALL_SECONDS = 20.0


class Card:
    """One direction of one node's network card: serves segments in order of arrival."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0
        self.bytes_carried = 0

    def occupy(self, now: int, count: int) -> int:
        """Carry `count` bytes from `now` (nanoseconds) or when the card is free; returns when it is done."""
        self._free_at = max(now, self._free_at) + int(count * NANOSECONDS / self.bytes_per_second)
        self.bytes_carried += count
        return self._free_at


class SimulatedStream:
    """One end of a connection."""

    def __init__(self, fabric: Fabric, life: Life, peer: str, cards: Callable[[str], tuple[Card, Card]]) -> None:
        self.peer = peer
        self._fabric = fabric
        self._loop = fabric.loop
        self._life = life
        self._cards = cards
        self._other: SimulatedStream | None = None
        self._received: deque[memoryview] = deque()
        self._buffered = 0  # Bytes received here and not read yet.
        self._unread = 0  # Bytes written here that the other end has not read yet.
        self._sent_at = 0
        self._ended = False  # The other end closed.
        self._closed = False
        self._broken = ""
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._unmourn: list[Callable[[], None]] = []

    def join(self, other: "SimulatedStream") -> None:
        """Make the two ends one connection. Each learns of the other's death by a reset."""
        self._other, other._other = other, self
        for dying, left in ((self, other), (other, self)):
            dying._unmourn.append(self._fabric.when_ended(dying._life, dying._send_reset))
            assert left._other is dying

    # Reading.

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises EOFError at a clean end before the first of them, Unavailable otherwise."""
        target = bytearray(count)
        await self._read(memoryview(target), clean_end_allowed=True)
        return bytes(target)

    async def read_into(self, target: memoryview) -> None:
        """Fill `target`. Raises Unavailable."""
        await self._read(target, clean_end_allowed=False)

    async def _read(self, target: memoryview, *, clean_end_allowed: bool) -> None:
        done = 0
        while done < len(target):
            self._check()
            if self._received:
                done += self._take(target[done:])
                continue
            if self._ended:
                if done == 0 and clean_end_allowed:
                    raise EOFError(f"{self.peer} closed the connection")
                raise Unavailable(f"{self.peer} closed the connection in the middle of a message")
            self._reader = self._loop.create_future()
            await self._reader

    def _take(self, target: memoryview) -> int:
        piece = self._received.popleft()
        count = min(len(piece), len(target))
        target[:count] = piece[:count]
        if count < len(piece):
            self._received.appendleft(piece[count:])
        self._buffered -= count
        if self._other is not None and not self._closed:
            self._fabric.hop(self._life, self._other._life, self._other._was_read, count)
        return count

    # Writing.

    async def write(self, data: Buffer) -> None:
        """Send all of `data`; waits while the other end's buffer is full. Raises Unavailable."""
        view = memoryview(bytes(data))
        for begin in range(0, len(view), SEGMENT_BYTES):
            await self._write_segment(view[begin : begin + SEGMENT_BYTES])

    async def _write_segment(self, segment: memoryview) -> None:
        while self._unread + len(segment) > BUFFER_BYTES:
            self._check()
            self._writer = self._loop.create_future()
            alarm = self._loop.call_later(STALL_SECONDS, self._stalled)
            try:
                await self._writer
            finally:
                alarm.cancel()
        self._check()
        assert self._other is not None
        other = self._other
        self._unread += len(segment)
        up, down = self._cards(self._life.node)[0], self._cards(other._life.node)[1]
        left = up.occupy(self._loop.nanoseconds, len(segment))
        arrived = down.occupy(left - int(len(segment) * NANOSECONDS / up.bytes_per_second), len(segment))
        due = max(left, arrived) + self._fabric.delay_nanoseconds(self._life.node, other._life.node)
        faults = self._fabric.faults(self._life.node, other._life.node)
        if faults.loss and self._fabric.loses(self._life.node, other._life.node):
            self._break(f"the connection to {self.peer} lost a segment")
            self._send_reset()
            raise Unavailable(self._broken)
        self._sent_at = self._fabric.hop(
            self._life, other._life, other._arrived, segment, not_before=max(due, self._sent_at)
        )

    async def send_file(self, file: File, offset: int, count: int) -> None:
        """Send a part of a file. Raises Unavailable, also if the file is shorter, and what the disk raises."""
        done = 0
        while done < count:
            data = await file.read_at(offset + done, min(BUFFER_BYTES // 4, count - done))
            if not data:
                raise Unavailable(f"{file.path} ended {count - done} bytes before what was announced")
            await self.write(data)
            done += len(data)

    async def close(self) -> None:
        """End the stream in good order."""
        if not self._closed and not self._broken and self._other is not None:
            self._sent_at = self._fabric.hop(
                self._life, self._other._life, self._other._was_closed, not_before=self._sent_at
            )
        self._let_go()

    def abort(self) -> None:
        """Reset the connection."""
        if not self._closed:
            self._send_reset()
        self._let_go()

    # Arrivals: these run in this end's life.

    def _arrived(self, segment: memoryview) -> None:
        if not self._closed:
            self._received.append(segment)
            self._buffered += len(segment)
            _wake(self._reader)

    def _was_read(self, count: int) -> None:
        self._unread -= count
        _wake(self._writer)

    def _was_closed(self) -> None:
        self._ended = True
        _wake(self._reader)

    def _break(self, reason: str) -> None:
        if not self._broken and not self._closed:
            self._broken = reason
            self._received.clear()
            _wake(self._reader)
            _wake(self._writer)

    def _stalled(self) -> None:
        self._break(f"nothing moved on the connection to {self.peer} for {STALL_SECONDS:g} seconds")

    # Endings.

    def _send_reset(self) -> None:
        """A machine resets the connections of a process that ended."""
        if self._other is not None:
            reason = f"the connection to {self._other.peer} is gone: reset by peer"
            self._fabric.hop(self._life, self._other._life, self._other._break, reason, not_before=self._sent_at)

    def _let_go(self) -> None:
        self._closed = True
        self._received.clear()
        for forget in self._unmourn:
            forget()
        self._unmourn.clear()

    def _check(self) -> None:
        if self._broken:
            raise Unavailable(self._broken)
        if self._closed:
            raise Unavailable(f"the connection to {self.peer} was closed here")


class SimulatedListener:
    """An open door for bulk streams."""

    def __init__(
        self, fabric: Fabric, life: Life, serve: Callable[[ByteStream], Awaitable[None]], spawn: Callable[..., Any]
    ) -> None:
        self.address = ""
        self.life = life
        self._fabric = fabric
        self._serve = serve
        self._spawn = spawn

    def start(self, address: str) -> bool:
        """Listen; False if the address is taken."""
        bound = self._fabric.bind(self.life, address, self)
        self.address = bound or address
        return bound is not None

    def accept(self, stream: SimulatedStream) -> None:
        """Serve a new stream: runs in this listener's life."""
        self._spawn(self._attend(stream), f"stream from {stream.peer}")

    async def close(self) -> None:
        """Accept no more."""
        self._fabric.doors.pop(self.address, None)

    async def _attend(self, stream: SimulatedStream) -> None:
        try:
            await self._serve(stream)
        except (Unavailable, EOFError):
            pass  # The other side went away: its business.
        finally:
            await stream.close()


def _wake(future: "asyncio.Future[None] | None") -> None:
    if future is not None and not future.done():
        future.set_result(None)
