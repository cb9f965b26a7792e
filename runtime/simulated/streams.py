"""Bulk byte streams between simulated nodes, with latency and a fair share of the bandwidth.

The problem. What makes a pipelined push worth having (GFS 3.2) is that a node's network card can receive and send at
the same time, at full speed, and that flows over one card share it. The idea: each node has an upward and a downward
bandwidth. A write is cut into segments; each segment occupies the sender's card and then the receiver's for as long as
its bytes take. How a card chooses among several streams is told in cards.py.

A stream behaves as TCP does, above all in how it ends:

    order       a segment that is lost, or sent into a partition, is sent again after a while; a stream never has a gap
    stall       a segment that did not get through for STALL_SECONDS breaks the stream at its sender
    slow reader the buffer is bounded: a writer waits, for as long as it takes, until there is room
    kill        the dead process's machine ends the stream in good order, or resets it if bytes lay there unread
    power cut   nobody says anything: a writer stalls, a reader waits until it loses patience, or the node is back
    hooks       a segment that one drops is sent again as well, and the hook is asked again
    corruption  a bit of a segment flips, and nobody is told
    late bytes  what arrives for a process that ended, or an end that was closed, is answered with a reset

What we simplify. No slow start, and a retransmission is for free.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from runtime.errors import DiskFailure, Unavailable
from runtime.faults.links import Kind
from runtime.simulated.cards import Card, FairCard, Passage
from runtime.simulated.fabric import EMPTY, Fabric, context_of
from runtime.simulated.loop import NANOSECONDS, Life
from runtime.simulated.messages import AS_SENT, BULK_METHOD, Fate
from runtime.world import Buffer, ByteStream, File

SEGMENT_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024
STALL_SECONDS = 20.0
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 3.0


@dataclass(slots=True)
class _Parcel:
    """What a pipe carries, and for how long it has tried."""

    number: int
    arrive: Callable[..., None]
    arguments: tuple[Any, ...]
    segment: Buffer | None
    waited: float = 0.0
    message: int = 0  # the number of its last attempt


class Pipe:
    """One direction of a connection: carries calls to the other side, each of them once and in order, or stalls."""

    def __init__(self, fabric: Fabric, source: Life, target: Life, gone: Callable[[str], None]) -> None:
        """`gone` is told, in the source's life, when nothing gets through any more, and why."""
        self._fabric = fabric
        self._loop = fabric.loop
        self._source = source
        self._target = target
        self._gone = gone
        self._due = 0
        self._sent = 0
        self._delivered = 0
        self._ahead: dict[int, _Parcel] = {}

    def number(self) -> int:
        """The place in the order of what is to be sent later with this number."""
        self._sent += 1
        return self._sent - 1

    def send(
        self,
        arrive: Callable[..., None],
        *arguments: Any,
        not_before: int = 0,
        segment: Buffer | None = None,
        number: int | None = None,
    ) -> None:
        """Have `arrive` called in the target's life, after everything that has a lower number: without one, what was
        sent before. `segment`: the bytes that are sent, for the hooks."""
        delay = self._fabric.delay_nanoseconds(self._source.node, self._target.node)
        self._due = max(self._loop.nanoseconds + delay, not_before + delay, self._due)
        # First the number: a hook may end this life, whose machine then sends the end of the stream.
        parcel = _Parcel(self.number() if number is None else number, arrive, arguments, segment)
        self._attempt(self._due, parcel)

    def _attempt(self, due: int, parcel: "_Parcel") -> None:
        fate: Fate | None = AS_SENT
        if parcel.segment is not None:
            source, target = self._source.node, self._target.node
            fate = self._fabric.judge(source, target, Kind.BULK, BULK_METHOD, parcel.segment)
        if fate is None:
            self._loop.call_at_nanoseconds(due, self._again, parcel, context=EMPTY)
        else:
            parcel.message = fate.number
            self._loop.call_at_nanoseconds(due + fate.late, self._try, parcel, context=EMPTY)

    def _try(self, parcel: "_Parcel") -> None:
        source, target = self._source.node, self._target.node
        if self._fabric.is_blocked(source, target) or self._fabric.loses(source, target):
            self._fabric.note(parcel.message, arrived=False)
            self._again(parcel)
        elif self._target.alive:
            self._fabric.note(parcel.message, arrived=True)
            self._ahead[parcel.number] = parcel
            while self._delivered in self._ahead:
                first = self._ahead.pop(self._delivered)
                self._loop.call_soon(first.arrive, *first.arguments, context=context_of(self._target))
                self._delivered += 1
        elif self._fabric.is_blocked(target, source):
            self._fabric.note(parcel.message, arrived=False)
            self._again(parcel)
        else:
            self._fabric.note(parcel.message, arrived=False)
            self._fabric.hop(self._target, self._source, self._gone, "reset by peer")

    def _again(self, parcel: "_Parcel") -> None:
        waited = parcel.waited
        if waited >= STALL_SECONDS:
            reason = f"nothing got through for {STALL_SECONDS:g} seconds"
            self._loop.call_soon(self._gone, reason, context=context_of(self._source))
            return
        pause = min(max(FIRST_RETRY_SECONDS, waited), LONGEST_RETRY_SECONDS, STALL_SECONDS - waited)
        parcel.waited = waited + pause
        self._attempt(self._loop.nanoseconds + int(pause * NANOSECONDS), parcel)


class SimulatedStream:
    """One end of a connection."""

    def __init__(self, fabric: Fabric, life: Life, peer: str, cards: Callable[[str], tuple[Card, Card]]) -> None:
        self.peer = peer
        self._fabric = fabric
        self._loop = fabric.loop
        self._life = life
        self._cards = cards
        self._other: SimulatedStream | None = None
        self._pipe: Pipe | None = None
        self._received: deque[memoryview] = deque()
        self._unread = 0  # Bytes written here that the other end has not read yet, as far as is known here.
        self._untold = 0  # Bytes read here that the other end has not been told of.
        self._ended = False  # The other end closed.
        self._closed = False
        self._broken = ""
        self._number = fabric.stream_number()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._forget: Callable[[], None] | None = None

    def join(self, other: "SimulatedStream") -> None:
        """Make the two ends one connection."""
        for one, another in ((self, other), (other, self)):
            one._other = another
            one._pipe = Pipe(one._fabric, one._life, another._life, one._lost)
            one._forget = one._fabric.when_ended(one._life, one._died)

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
        self._untold += count
        if self._untold >= SEGMENT_BYTES:
            assert self._other is not None and self._pipe is not None
            self._pipe.send(self._other._was_read, self._untold)
            self._untold = 0
        return count

    # Writing.

    async def write(self, data: Buffer) -> None:
        """Send all of `data`; waits while the other end's buffer is full. Raises Unavailable."""
        view = memoryview(bytes(data))
        for begin in range(0, len(view), SEGMENT_BYTES):
            await self._write_segment(view[begin : begin + SEGMENT_BYTES])

    async def _write_segment(self, segment: memoryview) -> None:
        self._check()
        while self._unread + len(segment) > BUFFER_BYTES:
            self._writer = self._loop.create_future()
            await self._writer
            self._check()
        assert self._other is not None and self._pipe is not None
        if not self._life.alive:
            await self._loop.create_future()  # A hook has ended this life in the middle of its callback.
        self._unread += len(segment)
        up, down = self._cards(self._life.node)[0], self._cards(self._other._life.node)[1]
        if isinstance(up, FairCard):
            self._take_turns(segment, up, down)
            return
        left = up.occupy(self._loop.nanoseconds, len(segment))
        begun = left - int(len(segment) * NANOSECONDS / up.bytes_per_second)
        shared = self._fabric.distances.cards(self._life.node, self._other._life.node)
        through = max(card.occupy(begun, len(segment)) for card in (*shared, down))
        arriving = self._fabric.corrupted(self._life.node, self._other._life.node, segment)
        self._pipe.send(self._other._arrived, arriving, not_before=max(left, through), segment=segment)

    def _take_turns(self, segment: memoryview, up: FairCard, down: Card) -> None:
        """Send a segment over cards that other streams use as well; what is sent after it arrives after it."""
        assert self._other is not None and self._pipe is not None
        other, pipe = self._other, self._pipe
        number = pipe.number()

        def through() -> None:
            arriving = self._fabric.corrupted(self._life.node, other._life.node, segment)
            pipe.send(other._arrived, arriving, segment=segment, number=number)

        shared = self._fabric.distances.cards(self._life.node, other._life.node)
        cards = [card for card in (up, *shared, down) if isinstance(card, FairCard)]
        Passage(self._number, len(segment), cards, through).start()

    async def send_file(self, file: File, offset: int, count: int) -> None:
        """Send a part of a file. Raises Unavailable, also if the file is shorter, or the disk does not give it."""
        done = 0
        while done < count:
            try:
                data = await file.read_at(offset + done, min(BUFFER_BYTES // 4, count - done))
            except DiskFailure as error:
                raise Unavailable(f"{file.path} cannot be read: {error.message}") from error
            if not data:
                raise Unavailable(f"{file.path} ended {count - done} bytes before what was announced")
            await self.write(data)
            done += len(data)

    async def close(self) -> None:
        """End the stream in good order."""
        if not self._closed and not self._broken and self._other is not None and self._pipe is not None:
            self._pipe.send(self._other._was_closed)
        self._let_go()

    def abort(self) -> None:
        """Reset the connection."""
        if not self._closed:
            self._send_reset()
        self._let_go()

    # Arrivals: these run in this end's life.

    def _arrived(self, segment: memoryview) -> None:
        if self._closed:
            self._send_reset()
        elif not self._broken:
            self._received.append(segment)
            _wake(self._reader)

    def _was_read(self, count: int) -> None:
        self._unread -= count
        _wake(self._writer)

    def _was_closed(self) -> None:
        self._ended = True
        _wake(self._reader)

    def _lost(self, reason: str) -> None:
        """The connection is gone."""
        if not self._broken and not self._closed:
            self._broken = f"the connection to {self.peer} is gone: {reason}"
            self._received.clear()
            _wake(self._reader)
            _wake(self._writer)

    # Endings.

    def _send_reset(self) -> None:
        if self._other is not None:
            self._fabric.hop(self._life, self._other._life, self._other._lost, "reset by peer")

    def _died(self) -> None:
        """The process ended; its machine closes the connection for it, in good order if nothing was left unread."""
        if self._closed or self._broken or self._other is None or self._pipe is None:
            return
        if self._received:
            self._send_reset()
        else:
            self._pipe.send(self._other._was_closed)

    def _let_go(self) -> None:
        self._closed = True
        self._received.clear()
        if self._forget is not None:
            self._forget()
            self._forget = None
        _wake(self._reader)
        _wake(self._writer)

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
