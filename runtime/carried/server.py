"""The server's end of a stream: the calls that it serves, each in a task of its own.

No call waits for another. A call is over when its servicer has returned; if its caller has cancelled it, or its
deadline has passed, its task is cancelled and nobody is answered. A server that stops *drains* its streams: it says so,
serves what it has begun, refuses what still comes, and ends the stream after its last answer, so that a caller whose
call got none knows that it never began.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio

from runtime.carried.deadlines import Deadlines
from runtime.carried.end import End, Transport
from runtime.carried.letters import Answer, Drain, failed, refusal, reply, status
from runtime.events import set_cause
from runtime.guard import Guard
from runtime.wire.carry_pb2 import Envelope


@dataclass(frozen=True, slots=True)
class Method:
    """One unary method of a servicer."""

    name: str  # "tabletop.Master/Stat", for messages
    behaviour: Callable[[Any, Any], Awaitable[Any]]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


class ServedCall:
    """One call as the serving node holds it. It is also the servicer's `context`, as far as servicers use one."""

    __slots__ = ("_loop", "_peer", "deadline", "has_begun", "is_wanted", "number", "path", "status", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: str, path: str, number: int, deadline: float) -> None:
        self._loop = loop
        self._peer = peer
        self.path = path
        self.number = number
        self.deadline = deadline
        self.has_begun = False
        self.is_wanted = True
        self.status: tuple[grpc.StatusCode, str] = (grpc.StatusCode.UNKNOWN, "")
        self.task: asyncio.Task[None] | None = None

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline."""
        return max(0.0, self.deadline - self._loop.time())

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """End the call with a status: raises. There is no metadata here."""
        self.status = (code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    def cancelled(self) -> bool:
        """Whether the caller gave up, or its deadline has passed."""
        return not self.is_wanted

    def peer(self) -> str:
        """Who called."""
        return self._peer


class ServerStream(End):
    """One stream from one caller. `methods` are those of all servicers, by path."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        guard: Guard,
        methods: Mapping[str, Method],
        peer: str,
        transport: Transport,
    ) -> None:
        super().__init__(loop, guard.events)
        self._guard = guard
        self._methods = methods
        self._peer = peer
        self._transport = transport
        self._running: dict[int, ServedCall] = {}
        self._deadlines = Deadlines(loop, self._running, self._give_up)
        self._is_draining = False

    @property
    def is_over(self) -> bool:
        """Whether it has drained."""
        return self._is_draining and not self._running

    def tasks(self) -> list["asyncio.Task[None]"]:
        """Those of the calls that run."""
        return [call.task for call in self._running.values() if call.task is not None]

    # What the transport does.

    def arrived(self, envelope: Envelope) -> None:
        """Take what the caller sent."""
        self._events.received(envelope.lamport)
        kind = envelope.kind
        if kind == Envelope.REQUEST:
            self._begin(envelope)
        elif kind == Envelope.CANCEL:
            call = self._running.get(envelope.number)
            if call is not None:
                self._give_up(call)

    def broke(self) -> None:
        """The stream is gone, and so is whoever waits for an answer."""
        self._close()
        self._is_draining = True
        self._deadlines.close()
        for call in list(self._running.values()):
            self._give_up(call)

    # What the server does.

    def drain(self) -> None:
        """Serve what has begun, refuse what still comes, then end the stream."""
        if not self._is_draining:
            self._is_draining = True
            self.put(Drain())

    # Inside.

    def _begin(self, envelope: Envelope) -> None:
        path, number = envelope.method, envelope.number
        if self._is_draining:
            self.put(refusal(path, number))
            return
        method = self._methods.get(path)
        if method is None:
            self.put(status(path, number, grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {path}"))
            return
        if number in self._running:
            assert self._transport is not None
            self._transport.abort()  # No caller of ours gives two calls one number.
            return
        deadline = self._loop.time() + max(0.0, envelope.seconds)
        call = ServedCall(self._loop, self._peer, path, number, deadline)
        self._running[number] = call
        self._deadlines.add(deadline, number)
        call.task = self._loop.create_task(self._serve(call, method, envelope), name=f"serve {path}")

    async def _serve(self, call: ServedCall, method: Method, envelope: Envelope) -> None:
        call.has_begun = True
        answer: Answer | None = None
        try:
            set_cause(envelope.cause)
            body = method.encode(await method.behaviour(method.decode(envelope.body), call))
            answer = reply(call.path, call.number, body)
        except asyncio.CancelledError:
            answer = status(call.path, call.number, grpc.StatusCode.CANCELLED, "cancelled on the server")
            raise
        except grpc.aio.AbortError:
            answer = status(call.path, call.number, *call.status)
        except Exception as error:
            answer = failed(call.path, call.number, self._guard.to_be_told(method.name, error))
        finally:
            self._over(call, answer)

    def _over(self, call: ServedCall, answer: Answer | None) -> None:
        del self._running[call.number]
        if call.is_wanted and answer is not None:
            self.put(answer)
        elif self.is_over:
            self._wake()

    def _give_up(self, call: ServedCall) -> None:
        """Nobody waits for the answer: the handler is cancelled, as gRPC does. Once: what it still does is its own."""
        if not call.is_wanted:
            return
        call.is_wanted = False
        if not call.has_begun:
            del self._running[call.number]  # A task that is cancelled before its first step runs none of its code.
        if call.task is not None:
            call.task.cancel()
