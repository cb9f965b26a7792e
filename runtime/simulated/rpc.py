"""Plain gRPC between simulated nodes: a channel and a server under which generated stubs and servicers run unmodified.

Unary calls of our own stubs do not come here: they are carried (carrier.py). Calls that stream do, and the unary calls
of strangers.

The problem. `grpc.aio` needs real sockets and a C thread that polls them; it cannot live on a virtual clock. The idea:
generated stubs ask their channel only for `unary_unary` and its three kin, and generated code asks a server only to
register handlers by name. So a channel and a server with this small surface are enough, and everything above them is
the same code as in the real world. Messages are serialised on both ways, so that no object is shared between nodes.

A call in hops:

    unary request      start + message                       ->
    unary answer                                             <-  message + status
    streamed request   start, then one hop a message, end    ->  in order, at most WINDOW unread
    streamed answer                                          <-  one hop a message, then the status

The request and the answer are separate hops, so that an answer can be lost after the work was done. A node that is
dead when the start arrives refuses (`refused`), one that dies later resets its calls, one that is cut off says nothing,
and the caller's deadline ends the wait. A stream has no gaps: after a hop that was lost, nothing more of
that direction arrives. A handler is cancelled when its caller cancels, or dies, and in any case at the deadline.

What we simplify. Initial metadata travels with the answer, compression and message size limits do not exist.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import Any

import grpc
import grpc.aio

from runtime.faults.links import Kind
from runtime.rpc import NeverLeft
from runtime.simulated.fabric import Fabric, context_of
from runtime.simulated.loop import Life
from runtime.simulated.messages import method_of
from runtime.simulated.rpc_server import END, WINDOW, Inbox, Pairs, ServerCall, same


class SimulatedChannel:
    """What a generated stub is made with: calls go to one address."""

    def __init__(self, fabric: Fabric, life: Life, address: str) -> None:
        self._fabric = fabric
        self._life = life
        self._address = address

    def unary_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """A callable that takes a request and gives an awaitable call."""
        return self._caller(path, request_serializer, response_deserializer, False, False)

    def unary_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """A callable that takes a request and gives a call to iterate over."""
        return self._caller(path, request_serializer, response_deserializer, False, True)

    def stream_unary(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """A callable that takes an iterator of requests and gives an awaitable call."""
        return self._caller(path, request_serializer, response_deserializer, True, False)

    def stream_stream(self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any) -> Any:
        """A callable that takes an iterator of requests and gives a call to iterate over."""
        return self._caller(path, request_serializer, response_deserializer, True, True)

    async def close(self, grace: float | None = None) -> None:
        """There is no connection to close."""

    def _caller(self, path: str, serialize: Any, deserialize: Any, streams_up: bool, streams_down: bool) -> Any:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = ()) -> ClientCall:
            pending = ClientCall(self._fabric, self._life, self._address, path, deserialize, timeout, metadata)
            if streams_up:
                pending.send_stream(request, serialize)
            else:
                pending.send_unary(serialize(request) if serialize else request)
            return pending

        return call


# A cancellation comes behind the request, and finds a handler that has begun.
CANCELLED_AFTER_NANOSECONDS = 1000


class ClientCall:
    """One call as its caller holds it: to be awaited, or iterated over, or cancelled."""

    def __init__(
        self,
        fabric: Fabric,
        life: Life,
        address: str,
        path: str,
        deserialize: Any,
        timeout: float | None,
        metadata: Iterable[tuple[str, str | bytes]] | None,
    ) -> None:
        self._fabric = fabric
        self._loop = fabric.loop
        self._life = life
        self._address = address
        self._path = path
        self._deserialize = deserialize or same
        self._metadata: Pairs = tuple(metadata or ())
        self._server: ServerCall | None = None
        self._peer: Life | None = None
        self._sent_at = 0
        self._inbox = Inbox(self._loop)
        self._credit = asyncio.Semaphore(WINDOW)
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._message: Any = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._initial: Pairs = ()
        self._trailing: Pairs = ()
        self._timeout = timeout
        self._alarm: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None
        self._unmourn: list[Callable[[], None]] = []
        self._cancelled_here = False
        self._doubled = False
        self.refused = False  # Certainly no servicer has seen this call.
        self._sent = 0
        self._delivered = 0
        if timeout is not None:
            self._alarm = self._loop.call_later(max(0.0, timeout), self._expire)

    # Sending.

    def send_unary(self, data: bytes) -> None:
        """Start the call with its only message."""
        self._start(data)
        door = self._fabric.doors.get(self._address)
        if door is not None and self._fabric.duplicates(self._life.node, door.life.node):
            fate = self._fabric.judge(self._life.node, door.life.node, Kind.REQUEST, method_of(self._path), data)
            self._send_ghost(door, data, None if fate is None else fate.late, 0 if fate is None else fate.number)

    def _send_ghost(self, door: Any, data: bytes, late: int | None, message: int) -> None:
        """The request once more, whose answer nobody takes. `late`: None if it is lost."""
        self._doubled = True
        if late is not None:
            ghost = ServerCall(door, self._path, self._metadata, None, self._life, self._timeout)
            self._fabric.hop(self._life, door.life, ghost.begin, data, late=late, message=message)

    def send_stream(self, requests: Any, serialize: Any) -> None:
        """Start the call, and send the messages of an iterator as there is room."""
        self._start(None)
        self._sender = self._loop.create_task(self._send_all(requests, serialize or same))

    def _start(self, data: bytes | None) -> None:
        door = self._fabric.doors.get(self._address)
        if door is None or not hasattr(door, "handler"):
            self._refused()
            return
        self._peer = door.life
        self._server = ServerCall(door, self._path, self._metadata, self, self._life, self._timeout)
        self._unmourn.append(self._fabric.when_ended(door.life, self._reset))
        self._unmourn.append(self._fabric.when_ended(self._life, self._tell_cancelled))
        self._send(Kind.REQUEST, data or b"", self._server.begin, data)

    async def _send_all(self, requests: Any, serialize: Any) -> None:
        try:
            async for request in _iterated(requests):
                await self._credit.acquire()
                if self._server is None or self._done.done():
                    return
                part = serialize(request)
                self._send(Kind.STREAM, part, self._server.receive, part)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._finish(grpc.StatusCode.UNKNOWN, f"the caller's own stream failed: {error!r}")
            self._tell_cancelled()
            return
        if self._server is not None:
            self._hop(self._server.receive, END)

    def _send(self, kind: Kind, body: bytes, arrive: Callable[..., None], *arguments: Any) -> None:
        """Send a message, unless a hook holds it up, or has ended this life in the middle of its callback."""
        assert self._peer is not None
        if not self._life.alive:
            return
        fate = self._fabric.judge(self._life.node, self._peer.node, kind, method_of(self._path), body)
        if fate is None or not self._life.alive:
            self._sent += 1  # The other side waits for this number, and takes nothing that comes after it.
            return
        self._hop(arrive, *arguments, late=fate.late, message=fate.number)
        door = self._fabric.doors.get(self._address)
        is_unary_request = kind is Kind.REQUEST and arguments == (body,)
        if is_unary_request and fate.again is not None and door is not None:
            self._send_ghost(door, body, fate.again, fate.number)

    def _hop(self, arrive: Callable[..., None], *arguments: Any, late: int = 0, message: int = 0) -> None:
        assert self._peer is not None and self._server is not None
        deliver = self._server.deliver
        self._sent_at = self._fabric.hop(
            self._life,
            self._peer,
            deliver,
            self._sent,
            arrive,
            arguments,
            not_before=self._sent_at,
            late=late,
            message=message,
        )
        self._sent += 1

    def grant(self) -> None:
        """The other side has read a message."""
        self._credit.release()

    def _refused(self) -> None:
        """Nobody listens. A node that can be reached says so; one that cannot lets the caller wait."""
        host = self._address.rpartition(":")[0]
        here, there = self._life.node, host
        if self._fabric.is_blocked(here, there) or self._fabric.is_blocked(there, here):
            return
        delay = self._fabric.delay_nanoseconds(here, there) + self._fabric.delay_nanoseconds(there, here)
        self._loop.call_at_nanoseconds(self._loop.nanoseconds + delay, self.refuse, "connection refused")

    # Receiving: these run in the caller's life.

    def deliver(self, number: int, arrive: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Take what the other side sent, up to the first hop that was lost: a connection has no gaps."""
        if number == self._delivered:
            self._delivered += 1
            arrive(*arguments)

    def receive(self, data: bytes, initial: Pairs) -> None:
        """A streamed answer's message."""
        if not self._done.done():
            self._initial = initial
            self._inbox.put(data)

    def finish(self, code: grpc.StatusCode, details: str, initial: Pairs, trailing: Pairs, data: Any) -> None:
        """The status, with the message of a unary answer."""
        if not self._done.done():
            self._initial, self._trailing, self._message = initial, trailing, data
            self._finish(code, details)

    def refuse(self, reason: str) -> None:
        """Nobody has taken the call."""
        if not self._done.done():
            self.refused = not self._doubled
            self._finish(grpc.StatusCode.UNAVAILABLE, f"failed to connect to {self._address}: {reason}")

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if self._done.done():
            return
        self._code, self._details = code, details
        self._done.set_result(None)
        self._inbox.put(END)
        if self._alarm is not None:
            self._alarm.cancel()
        for forget in self._unmourn:
            forget()
        self._unmourn.clear()
        if self._sender is not None and not self._sender.done() and asyncio.current_task() is not self._sender:
            self._sender.cancel()

    def _expire(self) -> None:
        self._finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._tell_cancelled()

    def _reset(self) -> None:
        """The serving life ended: its machine resets the connection, if it can still be heard."""
        here, there = self._life.node, self._peer.node if self._peer else ""
        if not self._fabric.is_blocked(there, here):
            due = self._loop.nanoseconds + self._fabric.delay_nanoseconds(there, here)
            context = context_of(self._life)
            details = f"connection to {self._address} reset by peer"
            self._loop.call_at_nanoseconds(due, self._finish, grpc.StatusCode.UNAVAILABLE, details, context=context)

    def _tell_cancelled(self) -> None:
        if self._server is not None:
            self._sent_at += CANCELLED_AFTER_NANOSECONDS
            self._hop(self._server.cancelled_by_caller)

    # What a caller does with it.

    def cancel(self) -> bool:
        """Give the call up; True if it was still going on."""
        if self._done.done():
            return False
        self._cancelled_here = True
        self._finish(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
        self._tell_cancelled()
        return True

    def done(self) -> bool:
        """Whether the status is known."""
        return self._done.done()

    def cancelled(self) -> bool:
        """Whether it was cancelled here."""
        return self._code is grpc.StatusCode.CANCELLED

    async def code(self) -> grpc.StatusCode:
        """The status code, once it is known."""
        await self._settled()
        assert self._code is not None
        return self._code

    async def details(self) -> str:
        """The status's text, once it is known."""
        await self._settled()
        return self._details

    async def initial_metadata(self) -> Pairs:
        """What the servicer sent ahead."""
        await self._settled()
        return self._initial

    async def trailing_metadata(self) -> Pairs:
        """What the servicer sent with the status."""
        await self._settled()
        return self._trailing

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def _settled(self) -> None:
        if not self._done.done():
            await asyncio.shield(self._done)

    async def _answer(self) -> Any:
        try:
            await self._settled()
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._raise_unless_ok()
        return self._deserialize(self._message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                item = await self._inbox.get()
            except asyncio.CancelledError:
                self.cancel()
                raise
            if item is END:
                self._raise_unless_ok()
                return
            if self._server is not None and not self._done.done():
                self._hop(self._server.grant)
            yield self._deserialize(item)

    def _raise_unless_ok(self) -> None:
        if self._cancelled_here:
            raise asyncio.CancelledError
        if self._code is not grpc.StatusCode.OK:
            assert self._code is not None
            if self.refused:
                raise NeverLeft(self._code, self._details)
            initial, trailing = grpc.aio.Metadata(*self._initial), grpc.aio.Metadata(*self._trailing)
            raise grpc.aio.AioRpcError(self._code, initial, trailing, self._details)


async def _iterated(requests: Any) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
