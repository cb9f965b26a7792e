"""Carried streams over `grpc.aio`: one bidirectional gRPC stream for each pair of peers.

At each end one task reads and one writes. Writing waits until gRPC has taken a message; what gathers meanwhile is the
next one. At the server's end nothing more is read while its own queue is full, so that a caller who does not read its
answers is held up by HTTP/2, and then by its own queue.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from runtime.carried.client import ClientStream
from runtime.carried.end import End
from runtime.carried.server import Method, ServerStream
from runtime.guard import Guard
from runtime.rpc import NeverLeft, NodeRegistrar, PlainChannel
from runtime.wire.carry_pb2 import Envelope, Envelopes

CARRIER = "tabletop.Carrier"
CARRY = f"/{CARRIER}/Carry"
WELCOME = ("tabletop-carry", "1")  # The server's initial metadata.
CONNECT_SECONDS = 20.0
LEAVE_SECONDS = 0.5  # How long a server that stops waits for streams on which nothing runs: they need a moment.


class Way:
    """What wakes the task that writes. `reason` is what a server's stream ends with that is aborted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: asyncio.Future[None] | None = None
        self.is_aborted = False
        self.reason = grpc.StatusCode.INVALID_ARGUMENT, "two calls have one number"

    def wake(self) -> None:
        """Let the writer look again."""
        if self._call is not None and not self._call.done():
            self._call.set_result(None)

    def abort(self) -> None:
        """End the writer, and with it the stream."""
        self.is_aborted = True
        self.wake()

    async def write_all(self, end: End, stream: Any) -> None:
        """Send what the end has to send, until it is over or aborted."""
        while not self.is_aborted:
            message = Envelopes()
            if end.taken(message.envelopes.add):
                await stream.write(message)
            elif end.is_over:
                return
            else:
                await self.rest()

    async def rest(self) -> None:
        """Wait until somebody wakes the writer."""
        self._call = self._loop.create_future()
        await self._call

    def receiver(self, end: ClientStream | ServerStream) -> Callable[[Envelope], None]:
        """What is handed each envelope that comes."""
        return end.arrived


class Dialler:
    """How a real client opens a stream to one address."""

    def __init__(self, plain: PlainChannel, guard: Guard, spawn: Any) -> None:
        self._plain = plain
        self._metadata: tuple[tuple[str, str], ...] = (("authorization", guard.authorization),)
        self._spawn = spawn
        self._carry = plain.raw.stream_stream(
            CARRY, request_serializer=Envelopes.SerializeToString, response_deserializer=Envelopes.FromString
        )

    def __call__(self, stream: ClientStream, pause: float) -> None:
        """Open the stream after a pause, in the background."""
        self._spawn(self._run(stream, pause), "carried calls")

    async def _run(self, stream: ClientStream, pause: float) -> None:
        try:
            await asyncio.sleep(pause)
            await self._plain.ready(CONNECT_SECONDS)
            await self._talk(stream)
        except NeverLeft as error:
            stream.refused(error.details() or "")
        except grpc.aio.AioRpcError as error:
            translated = self._plain.translated(CARRY, error)
            if translated.is_answer:
                stream.rejected(translated)
            else:
                stream.broke(error.details() or error.code().name)
        finally:
            stream.broke("it was closed here")

    async def _talk(self, stream: ClientStream) -> None:
        call = self._carry(metadata=self._metadata)
        # Nothing is written before the server has taken the stream: gRPC would forget its refusal over a failed write.
        if WELCOME not in tuple(await call.initial_metadata()):
            await call.read()  # Raises what the server said instead.
            return
        way = self.way(stream)
        reading = asyncio.create_task(self._read(way.receiver(stream), call))
        writing = asyncio.create_task(self._write(way, stream, call))
        stream.opened(way)
        try:
            await asyncio.wait([reading])
            reading.result()
            stream.ended_in_order()
        finally:
            await self._leave(call, way, reading, writing)

    def way(self, stream: ClientStream) -> Way:
        """A way for one stream."""
        return Way(asyncio.get_running_loop())

    async def _read(self, arrived: Callable[[Envelope], None], call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            for envelope in message.envelopes:
                arrived(envelope)

    async def _write(self, way: Way, stream: ClientStream, call: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # The reader hears of it, and why.
            await way.write_all(stream, call)
            await call.done_writing()

    async def _leave(self, call: Any, way: Way, *tasks: "asyncio.Task[None]") -> None:
        """End the stream with a word to the server, if it listens: what is cut off leaves tasks of gRPC behind."""
        way.abort()
        await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
        call.cancel()
        for task in tasks:
            await _ended(task)


class Carrier:
    """The service that answers carried calls, for one server."""

    def __init__(self, registrar: NodeRegistrar, guard: Guard) -> None:
        self._registrar = registrar
        self._guard = guard
        self._methods: Mapping[str, Method] = registrar.methods
        self._streams: dict[ServerStream, asyncio.Task[Any]] = {}
        self._is_draining = False

    def register(self, server: grpc.aio.Server) -> None:
        """Serve at this server."""
        handlers = {
            "Carry": grpc.stream_stream_rpc_method_handler(
                self._serve,
                request_deserializer=Envelopes.FromString,
                response_serializer=Envelopes.SerializeToString,
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CARRIER, handlers),))
        server.add_registered_method_handlers(CARRIER, handlers)

    async def drain(self) -> None:
        """Take no more calls. Returns when the streams on which nothing runs have ended; the others follow by
        themselves when they have answered."""
        self._is_draining = True
        idle = [task for stream, task in self._streams.items() if not stream.tasks()]
        for stream in self._streams:
            stream.drain()
        if idle:
            await asyncio.wait(idle, timeout=LEAVE_SECONDS)

    async def _serve(self, requests: Any, context: Any) -> None:
        method = CARRY[1:]
        try:
            self._registrar.admit(method, context)
        except Exception as error:
            await self._registrar.abort(method, context, error)
        await context.send_initial_metadata((WELCOME,))
        way = self.way(context)
        stream = ServerStream(asyncio.get_running_loop(), self._guard, self._methods, context.peer(), way)
        task = asyncio.current_task()
        assert task is not None
        self._streams[stream] = task
        reading = asyncio.create_task(self._read(stream, context, way))
        if self._is_draining:
            stream.drain()
        try:
            await way.write_all(stream, context)
        finally:
            del self._streams[stream]
            stream.broke()
            await _ended(reading)
        if way.is_aborted:
            await context.abort(*way.reason)

    def way(self, context: Any) -> Way:
        """A way for one stream."""
        return Way(asyncio.get_running_loop())

    async def _read(self, stream: ServerStream, context: Any, way: Way) -> None:
        arrived = way.receiver(stream)
        while (message := await context.read()) is not grpc.aio.EOF:
            for envelope in message.envelopes:
                arrived(envelope)
            while stream.is_full:
                await stream.room()
        stream.broke()  # The caller has left, and takes no more answers.
        way.wake()


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # Nobody else asks for it.
