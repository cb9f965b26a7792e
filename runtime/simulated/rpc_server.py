"""The serving side of a simulated call: what servicers are registered with, and the calls that they serve.

How a call travels, and what is lost on the way, is told in rpc.py.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from runtime.faults.links import Kind
from runtime.guard import Guard
from runtime.rpc import NodeRegistrar
from runtime.simulated.fabric import Fabric, context_of
from runtime.simulated.loop import Life
from runtime.simulated.messages import method_of

if TYPE_CHECKING:
    from runtime.simulated.carrier import ServerWay
    from runtime.simulated.rpc import ClientCall

WINDOW = 16
Pairs = tuple[tuple[str, str | bytes], ...]
END = object()
T = TypeVar("T")


class Inbox:
    """Messages of one direction of one call, in order, read by one task; each reading gives the sender room again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        """Add a message, or END, or an error."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        """The next item."""
        while not self._items:
            self._reader = self._loop.create_future()
            await self._reader
        return self._items.popleft()


class SimulatedServer:
    """What servicers are registered with; listens at one address once it is started."""

    def __init__(self, fabric: Fabric, life: Life, guard: Guard) -> None:
        self.fabric = fabric
        self.life = life
        self.guard = guard
        self.registrar = NodeRegistrar(self, guard)
        self.address = ""
        self.calls: dict[int, ServerCall] = {}
        self.streams: dict[int, ServerWay] = {}
        self._handlers: dict[str, Any] = {}
        self._numbers = 0

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing to do: every method is registered by name as well."""

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """Take the methods of one service."""
        for name, handler in handlers.items():
            self._handlers[f"/{service}/{name}"] = handler

    def handler(self, path: str) -> Any:
        """The handler of a method, or None."""
        return self._handlers.get(path)

    def start(self, address: str) -> bool:
        """Listen; False if the address is taken."""
        bound = self.fabric.bind(self.life, address, self)
        if bound is not None:
            self.address = bound
        return bound is not None

    def note(self, call: "ServerCall") -> Callable[[], None]:
        """Remember a running call; returns what forgets it."""
        return self._note(self.calls, call)

    def note_stream(self, way: "ServerWay") -> Callable[[], None]:
        """Remember a carried stream; returns what forgets it."""
        return self._note(self.streams, way)

    def _note(self, running: dict[int, T], one: T) -> Callable[[], None]:
        self._numbers += 1
        number = self._numbers
        running[number] = one

        def forget() -> None:
            running.pop(number, None)

        return forget

    async def stop(self, grace: float | None) -> None:
        """Accept no more calls, wait for the running ones as long as the grace, then cut them."""
        self.fabric.doors.pop(self.address, None)
        for way in list(self.streams.values()):
            way.stream.drain()
        tasks = [call.task for call in self.calls.values() if call.task is not None]
        tasks += [task for way in self.streams.values() for task in way.stream.tasks()]
        tasks = [task for task in tasks if task is not asyncio.current_task()]
        if tasks and grace:
            await asyncio.wait(tasks, timeout=grace)
        await asyncio.sleep(0)  # Streams that have drained end now.
        for call in list(self.calls.values()):
            call.cut()
        for way in list(self.streams.values()):
            way.cut()


class ServerCall:
    """One call as the serving node holds it. It is also the servicer's `context`."""

    def __init__(
        self,
        server: SimulatedServer,
        path: str,
        metadata: Pairs,
        client: "ClientCall | None",
        caller: Life,
        timeout: float | None,
    ) -> None:
        self._server = server
        self._fabric = server.fabric
        self._loop = server.fabric.loop
        self._path = path
        self._metadata = metadata
        self._client = client
        self._caller = caller
        self._timeout = timeout
        self._deadline: float | None = None
        self._initial: Pairs = ()
        self._trailing: Pairs = ()
        self._status: tuple[grpc.StatusCode, str] = (grpc.StatusCode.OK, "")
        self._finished = False
        self._inbox = Inbox(self._loop)
        self._credit = asyncio.Semaphore(WINDOW)
        self._answered_at = 0
        self._answered = 0
        self._delivered = 0
        self._alarm: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    # Arrivals: these run in the server's life.

    def deliver(self, number: int, arrive: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Take what the caller sent, up to the first hop that was lost."""
        if number == self._delivered:
            self._delivered += 1
            arrive(*arguments)

    def begin(self, data: bytes | None) -> None:
        """The call arrives; `data` is the only message of a unary request."""
        if self._fabric.doors.get(self._server.address) is not self._server:
            self._finished = True
            self._hop("refuse", "it has stopped")
            return
        handler = self._server.handler(self._path)
        if handler is None:
            self._finish(grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {self._path}")
            return
        if self._timeout is not None:
            # As in gRPC, a request says how long its caller waits, not until when: on a slow way it lives longer.
            self._deadline = self._loop.time() + self._timeout
            # The caller's word that it gave up may be lost, or the caller be dead: the deadline holds here as well.
            self._alarm = self._loop.call_at(self._deadline, self.cancelled_by_caller)
        self.task = self._loop.create_task(
            self._serve(handler, data), name=f"serve {self._path}", context=context_of(self._server.life)
        )
        self.task.add_done_callback(self._ended(self._server.note(self)), context=Context())

    def receive(self, item: Any) -> None:
        """A streamed request's message, or its end."""
        self._inbox.put(item)

    def grant(self) -> None:
        """The caller has read a message."""
        self._credit.release()

    def cancelled_by_caller(self) -> None:
        """The caller gave up: the handler is cancelled, as gRPC does."""
        self._finished = True
        if self.task is not None:
            self.task.cancel()

    def cut(self) -> None:
        """The server stops without waiting."""
        self._finish(grpc.StatusCode.UNAVAILABLE, f"{self._server.address} is stopping")
        if self.task is not None:
            self.task.cancel()

    # Serving.

    async def _serve(self, handler: Any, data: bytes | None) -> None:
        decode, encode = handler.request_deserializer or same, handler.response_serializer or same
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        request = self._requests(decode) if handler.request_streaming else decode(data)
        answer: Any = None
        try:
            if handler.response_streaming:
                async for reply in behaviour(request, self):
                    await self._credit.acquire()
                    part = encode(reply)
                    self._send(Kind.STREAM, part, "receive", part, self._initial)
            else:
                answer = encode(await behaviour(request, self))
        except grpc.aio.AbortError:
            self._finish(*self._status)
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "cancelled on the server")
            raise
        except Exception as error:
            self._finish(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
        else:
            self._finish(*self._status, answer)

    async def _requests(self, decode: Any) -> AsyncIterator[Any]:
        while (item := await self._inbox.get()) is not END:
            if self._client is not None:
                self._hop("grant")
            yield decode(item)

    def _finish(self, code: grpc.StatusCode, details: str, answer: Any = None) -> None:
        if not self._finished:
            self._finished = True
            reply = (code, details, self._initial, self._trailing, answer)
            self._send(Kind.REPLY, answer or b"", "finish", *reply, status=code.name)

    def _send(self, kind: Kind, body: bytes, method: str, *arguments: Any, status: str = "") -> None:
        """Send a message, unless a hook holds it up, or has ended this life in the middle of its callback."""
        if self._client is None or not self._server.life.alive:
            return
        here, there = self._server.life.node, self._caller.node
        fate = self._fabric.judge(here, there, kind, method_of(self._path), body, status)
        if fate is None or not self._server.life.alive:
            self._answered += 1  # The caller waits for this number, and takes nothing that comes after it.
        else:
            self._hop(method, *arguments, late=fate.late, message=fate.number)

    def _hop(self, method: str, *arguments: Any, late: int = 0, message: int = 0) -> None:
        if self._client is not None:
            arrive = getattr(self._client, method)
            deliver = self._client.deliver
            self._answered_at = self._fabric.hop(
                self._server.life,
                self._caller,
                deliver,
                self._answered,
                arrive,
                arguments,
                not_before=self._answered_at,
                late=late,
                message=message,
            )
            self._answered += 1

    def _ended(self, forget: Callable[[], None]) -> Callable[[Any], None]:
        def ended(_: Any) -> None:
            forget()
            if self._alarm is not None:
                self._alarm.cancel()

        return ended

    # The servicer's context.

    def invocation_metadata(self) -> Pairs:
        """What the caller sent along."""
        return self._metadata

    def set_trailing_metadata(self, pairs: Iterable[tuple[str, str | bytes]]) -> None:
        """Set what goes with the status."""
        self._trailing = tuple(pairs)

    async def send_initial_metadata(self, pairs: Iterable[tuple[str, str | bytes]]) -> None:
        """Set what goes ahead of the answer."""
        self._initial = tuple(pairs)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> None:
        """End the call with a status: raises."""
        self._trailing = tuple(trailing_metadata) or self._trailing
        self._status = (code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status code that goes with a normal return."""
        self._status = (code, self._status[1])

    def set_details(self, details: str) -> None:
        """Set the text that goes with a normal return."""
        self._status = (self._status[0], details)

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline, None if it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def cancelled(self) -> bool:
        """Whether the caller gave up."""
        return self._finished

    def peer(self) -> str:
        """Who called."""
        return f"simulated:{self._caller.node}"


def same(value: Any) -> Any:
    return value
