"""Channels and servers, as generated stubs and servicers see them in both worlds.

The problem. Generated code knows nothing of tokens, causes, clocks or our errors, and the two worlds must treat all
four alike. And a unary call of `grpc.aio` is dear, and hardly anything of its price is ours. The idea is one wrapper on
each side. `NodeChannel` is what a generated stub is made with. `NodeRegistrar` is what a generated
`add_…Servicer_to_server` is handed. Between the two a call goes one of two ways:

    unary         as an envelope in the one stream that carries all unary calls between two peers: see carried/
    with streams  as plain gRPC, over the world's raw channel and server

Every servicer is registered for both ways: who calls from elsewhere, with `grpcurl` or from another language, uses
plain gRPC for unary methods too. Our own stubs never do. What a call carries is the same on both ways:

    call      authorization: Bearer TOKEN, tabletop-lamport, tabletop-cause     ->  checked, noted, set for the handler
    reply     tabletop-lamport                                                 <-  noted
    error     status code and details, tabletop-error: KIND, tabletop-definite,
              tabletop-servers: cs1,cs3                                        <-  raised again as the same class

(these are the names of the plain way's metadata; an envelope has fields, and the token is shown once for a stream). So
a servicer raises `NotFound("…")`, and the caller's `await stub.Stat(request, timeout=5)` raises `NotFound("…")`.

Every call has a deadline, and the time in which the connection is made counts. Whether a call that failed certainly
never left is known from the transport, never from the words of a status: before a plain call the channel is asked for
its connection (`ready`), and a world that knows of a call that no servicer has seen raises `NeverLeft`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, NoReturn, cast

import grpc
import grpc.aio

from runtime.carried.channel import CarriedChannel
from runtime.carried.server import Method
from runtime.errors import InternalError, TabletopError, error_from_wire, status_code
from runtime.events import current_cause, set_cause
from runtime.guard import DEFAULT_TIMEOUT_SECONDS, DETAILS_LIMIT, Guard, unanswered


class NeverLeft(grpc.aio.AioRpcError):
    """What a world raises for a call that certainly reached no servicer and never will."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


Ready = Callable[[float], Awaitable[float]]


async def always_ready(timeout: float) -> float:
    """For a transport without connections: a call may leave at any time."""
    return timeout


class PlainChannel:
    """Calls as plain gRPC, on top of a world's raw channel.

    `ready` waits until a call can leave, at most so many seconds, and returns how many are left; it raises NeverLeft.
    """

    def __init__(self, raw: Any, address: str, guard: Guard, ready: Ready = always_ready) -> None:
        self.raw = raw
        self._address = address
        self._guard = guard
        self._events = guard.events
        self.ready = ready

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A callable `(request, timeout=seconds)` to be awaited: what others than our own stubs do."""
        return self._unary(path, self.raw.unary_unary(path, *arguments, **options))

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A callable `(requests, timeout=seconds)` to be awaited."""
        return self._unary(path, self.raw.stream_unary(path, *arguments, **options))

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., AsyncIterator[Any]]:
        """A callable `(request, timeout=seconds)` to be iterated."""
        return self._stream(path, self.raw.unary_stream(path, *arguments, **options))

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., AsyncIterator[Any]]:
        """A callable `(requests, timeout=seconds)` to be iterated."""
        return self._stream(path, self.raw.stream_stream(path, *arguments, **options))

    def translated(self, path: str, error: grpc.aio.AioRpcError) -> TabletopError:
        """Our error for what gRPC raised."""
        found = {key: str(value) for key, value in error.trailing_metadata() or ()}
        if "tabletop-lamport" in found:
            self._events.received(int(found["tabletop-lamport"]))
        details = error.details() or ""
        if "tabletop-error" in found:
            answered = error_from_wire(
                found["tabletop-error"],
                details,
                definite=found.get("tabletop-definite") == "1",
                servers=tuple(filter(None, found.get("tabletop-servers", "").split(","))),
            )
            answered.is_answer = True
            return answered
        return unanswered(path, self._address, error.code(), details, never_began=isinstance(error, NeverLeft))

    def _unary(self, path: str, raw_call: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(request: Any, *, timeout: float | None = None) -> Any:
            try:
                remaining = await self.ready(timeout or DEFAULT_TIMEOUT_SECONDS)
                pending = raw_call(request, timeout=remaining, metadata=self._metadata())
                reply = await pending
                self._note(await pending.trailing_metadata())
            except grpc.aio.AioRpcError as error:
                raise self.translated(path, error) from None
            return reply

        return call

    def _stream(self, path: str, raw_call: Any) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, *, timeout: float | None = None) -> AsyncIterator[Any]:
            pending = None
            try:
                remaining = await self.ready(timeout or DEFAULT_TIMEOUT_SECONDS)
                pending = raw_call(request, timeout=remaining, metadata=self._metadata())
                async for reply in pending:
                    yield reply
                self._note(await pending.trailing_metadata())
            except grpc.aio.AioRpcError as error:
                raise self.translated(path, error) from None
            finally:
                if pending is not None:
                    pending.cancel()

        return call

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", self._guard.authorization),
            ("tabletop-lamport", str(self._events.sent())),
            ("tabletop-cause", current_cause()),
        )

    def _note(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        for key, value in metadata or ():
            if key == "tabletop-lamport":
                self._events.received(int(value))


class NodeChannel:
    """A channel for generated stubs: its unary calls are carried, the others are plain."""

    def __init__(self, carried: CarriedChannel, plain: PlainChannel) -> None:
        self.carried = carried
        self.plain = plain
        self.unary_unary = carried.unary_unary
        self.unary_stream = plain.unary_stream
        self.stream_unary = plain.stream_unary
        self.stream_stream = plain.stream_stream

    def as_channel(self) -> grpc.aio.Channel:
        """This object under the type that generated stubs ask for; they use only the four methods above."""
        return cast(grpc.aio.Channel, self)


class NodeRegistrar:
    """What the generated `add_…Servicer_to_server` is handed. It guards every handler and gives it to the raw server;
    `methods` are the unary ones by path, for calls that are carried, and `services` the names of all."""

    def __init__(self, raw: Any, guard: Guard) -> None:
        self.services: list[str] = []
        self.methods: dict[str, Method] = {}
        self._raw = raw
        self._guard = guard
        self._events = guard.events

    def as_server(self) -> grpc.aio.Server:
        """This object under the type that generated code asks for; it uses only the two methods below."""
        return cast(grpc.aio.Server, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing to do: generated code registers every method by name as well, and those are the guarded ones."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Guard and register the methods of one service."""
        self.services.append(service)
        guarded = {name: self._guarded(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._raw.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))
        self._raw.add_registered_method_handlers(service, guarded)

    def _guarded(self, method: str, handler: Any) -> Any:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        decode, encode = handler.request_deserializer, handler.response_serializer
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if self._guard.observer is not None:
            observer = self._guard.observer
            observe = observer.observed_stream if handler.response_streaming else observer.observed
            behaviour = observe(method, behaviour)
        if handler.unary_unary:
            self.methods[f"/{method}"] = Method(method, behaviour, decode, encode)
        guard = self._guarded_stream if handler.response_streaming else self._guarded_unary
        return make(guard(method, behaviour), request_deserializer=decode, response_serializer=encode)

    def _guarded_unary(self, method: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            try:
                self.admit(method, context)
                reply = await behaviour(request, context)
            except Exception as error:
                await self.abort(method, context, error)
            context.set_trailing_metadata((("tabletop-lamport", str(self._events.sent())),))
            return reply

        return serve

    def _guarded_stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                self.admit(method, context)
                async for reply in behaviour(request, context):
                    yield reply
            except Exception as error:
                await self.abort(method, context, error)
            context.set_trailing_metadata((("tabletop-lamport", str(self._events.sent())),))

        return serve

    def admit(self, method: str, context: Any) -> None:
        """Check a plain call's token, and take note of its clock and its cause. Raises Unauthenticated."""
        found = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self._guard.check(method, found.get("authorization"))
        if "tabletop-lamport" in found:
            self._events.received(int(found["tabletop-lamport"]))
        set_cause(found.get("tabletop-cause", ""))

    async def abort(self, method: str, context: Any, error: Exception) -> NoReturn:
        """End a plain call with an error: raises."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        told = self._guard.to_be_told(method, error)
        trailing = (
            ("tabletop-error", type(told).__name__),
            ("tabletop-definite", "1" if told.definite else "0"),
            ("tabletop-servers", ",".join(told.servers)),
            ("tabletop-lamport", str(self._events.sent())),
        )
        await context.abort(status_code(told), told.message[:DETAILS_LIMIT], trailing)
        raise InternalError("context.abort returned")
