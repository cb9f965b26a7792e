"""What both worlds' RPC channels and servers share.

The problem. Generated stubs and servicers know nothing of tokens, causes, clocks or our errors, and the two worlds
must treat all four alike. The idea is one wrapper on each side. `NodeChannel` stands between a generated stub and the
world's raw channel, `NodeRegistrar` between a generated `add_…Servicer_to_server` and the world's raw server:

    call      authorization: Bearer TOKEN, tabletop-lamport, tabletop-cause     ->  checked, noted, set for the handler
    reply     tabletop-lamport                                                 <-  noted
    error     status code and details, tabletop-error: KIND, tabletop-definite,
              tabletop-servers: cs1,cs3                                        <-  raised again as the same class

So a servicer raises `NotFound("…")`, and the caller's `await stub.Stat(request, timeout=5)` raises `NotFound("…")`.

Every call has a deadline, and the time in which the connection is made counts. Whether a call that failed certainly
never left is known from the transport, never from the words of a status: before a call the channel is asked for its
connection (`ready`), and a world that knows of a call that no servicer has seen raises `NeverLeft`.
"""

import hmac
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, cast

import grpc
import grpc.aio

from runtime.errors import (
    InternalError,
    TabletopError,
    Unauthenticated,
    error_from_status,
    error_from_wire,
    status_code,
)
from runtime.events import Event, EventLog, current_cause, set_cause

DEFAULT_TIMEOUT_SECONDS = 30.0
DETAILS_LIMIT = 2000


# How the transport says that a connection could not be made, or broke: words of its own, about its own insides.
_TRANSPORT_WORDS = ("ipv4:", "ipv6:", "Socket closed", "GOAWAY", "Stream removed", "Connection reset")


def _in_words(code: grpc.StatusCode, details: str) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details == "Deadline Exceeded":
        return "no answer in time"
    if code is grpc.StatusCode.UNAVAILABLE and any(words in details for words in _TRANSPORT_WORDS):
        return "the connection was refused, or broke"
    return details or code.name


class NeverLeft(grpc.aio.AioRpcError):
    """What a world raises for a call that certainly reached no servicer and never will."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


Ready = Callable[[float], Awaitable[float]]


async def always_ready(timeout: float) -> float:
    """For a transport without connections: a call may leave at any time."""
    return timeout


@dataclass(frozen=True, slots=True)
class HandlerFailed(Event):
    """A servicer raised something that is not one of our errors: a bug."""

    sentence: ClassVar[str] = "bug in {method}: {trace}"
    method: str
    trace: str


class NodeChannel:
    """A channel for generated stubs, on top of a world's raw one.

    `ready` waits until a call can leave, at most so many seconds, and returns how many are left; it raises NeverLeft.
    """

    def __init__(self, raw: Any, address: str, token: str, events: EventLog, ready: Ready = always_ready) -> None:
        self.raw = raw
        self.address = address
        self._token = token
        self._events = events
        self._ready = ready

    def as_channel(self) -> grpc.aio.Channel:
        """This object under the type that generated stubs ask for; they use only the four methods below."""
        return cast(grpc.aio.Channel, self)

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A callable `(request, timeout=seconds)` to be awaited."""
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

    def _unary(self, path: str, raw_call: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(request: Any, *, timeout: float | None = None) -> Any:
            try:
                remaining = await self._ready(timeout or DEFAULT_TIMEOUT_SECONDS)
                pending = raw_call(request, timeout=remaining, metadata=self._metadata())
                reply = await pending
                self._note(await pending.trailing_metadata())
            except grpc.aio.AioRpcError as error:
                raise self._translated(path, error) from None
            return reply

        return call

    def _stream(self, path: str, raw_call: Any) -> Callable[..., AsyncIterator[Any]]:
        async def call(request: Any, *, timeout: float | None = None) -> AsyncIterator[Any]:
            pending = None
            try:
                remaining = await self._ready(timeout or DEFAULT_TIMEOUT_SECONDS)
                pending = raw_call(request, timeout=remaining, metadata=self._metadata())
                async for reply in pending:
                    yield reply
                self._note(await pending.trailing_metadata())
            except grpc.aio.AioRpcError as error:
                raise self._translated(path, error) from None
            finally:
                if pending is not None:
                    pending.cancel()

        return call

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", f"Bearer {self._token}"),
            ("tabletop-lamport", str(self._events.sent())),
            ("tabletop-cause", current_cause()),
        )

    def _note(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        for key, value in metadata or ():
            if key == "tabletop-lamport":
                self._events.received(int(value))

    def _translated(self, path: str, error: grpc.aio.AioRpcError) -> TabletopError:
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
        method = path.rpartition("/")[2]
        words = _in_words(error.code(), details)
        translated = error_from_status(error.code(), f"{method} at {self.address}: {words}")
        if isinstance(error, NeverLeft):
            translated.definite = True
        return translated


class NodeRegistrar:
    """What the generated `add_…Servicer_to_server` is handed: guards every handler, then gives it to the raw server."""

    def __init__(self, raw: Any, token: str, events: EventLog) -> None:
        self._raw = raw
        self._token = token
        self._events = events

    def as_server(self) -> grpc.aio.Server:
        """This object under the type that generated code asks for; it uses only the two methods below."""
        return cast(grpc.aio.Server, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing to do: generated code registers every method by name as well, and those are the guarded ones."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Guard and register the methods of one service."""
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
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        guard = self._guarded_stream if handler.response_streaming else self._guarded_unary
        return make(
            guard(method, behaviour),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded_unary(self, method: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            try:
                self._admit(method, context)
                reply = await behaviour(request, context)
            except Exception as error:
                await self._abort(method, context, error)
            context.set_trailing_metadata((("tabletop-lamport", str(self._events.sent())),))
            return reply

        return serve

    def _guarded_stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                self._admit(method, context)
                async for reply in behaviour(request, context):
                    yield reply
            except Exception as error:
                await self._abort(method, context, error)
            context.set_trailing_metadata((("tabletop-lamport", str(self._events.sent())),))

        return serve

    def _admit(self, method: str, context: Any) -> None:
        found = {key: str(value) for key, value in context.invocation_metadata() or ()}
        if not hmac.compare_digest(found.get("authorization", "").encode(), f"Bearer {self._token}".encode()):
            what = "a wrong" if "authorization" in found else "no"
            raise Unauthenticated(f"{method}: {what} cluster token; use the token file in the cluster's state folder")
        if "tabletop-lamport" in found:
            self._events.received(int(found["tabletop-lamport"]))
        set_cause(found.get("tabletop-cause", ""))

    async def _abort(self, method: str, context: Any, error: Exception) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, TabletopError):
            self._events.emit(HandlerFailed(method=method, trace="".join(traceback.format_exception(error))))
            error = InternalError(f"bug in {method}: {type(error).__name__}: {error}; see that node's log")
        trailing = (
            ("tabletop-error", type(error).__name__),
            ("tabletop-definite", "1" if error.definite else "0"),
            ("tabletop-servers", ",".join(error.servers)),
            ("tabletop-lamport", str(self._events.sent())),
        )
        await context.abort(status_code(error), error.message[:DETAILS_LIMIT], trailing)
        raise InternalError("context.abort returned")
