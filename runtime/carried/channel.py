"""What a stub calls: unary calls to one address, over one stream at a time.

A stream is opened by the first call that needs one, and again by the first call after it ended. After a failure that
takes a pause, longer each time and drawn by lot, so that the clients of a server that comes back do not all arrive at
once; the calls wait here meanwhile. A stream that drains is replaced at once: it ends when its calls have.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import grpc

from runtime.carried.client import ClientStream
from runtime.carried.letters import CODES, Call
from runtime.errors import TabletopError, error_from_wire
from runtime.events import EventLog, current_cause
from runtime.guard import DEFAULT_TIMEOUT_SECONDS, unanswered
from runtime.wire.carry_pb2 import Envelope
from runtime.world import Random

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5


class Dial(Protocol):
    """How a transport begins: it waits for `pause` seconds, then opens the stream, or has it refused."""

    def __call__(self, stream: ClientStream, pause: float) -> None:
        """Return at once. `stream.opened` may be called now, the stream's endings later."""


class CarriedChannel:
    """The unary half of a channel for generated stubs."""

    def __init__(self, address: str, events: EventLog, random: Random, dial: Dial) -> None:
        self._address = address
        self._events = events
        self._random = random
        self._dial = dial
        self._stream: ClientStream | None = None
        self._failures = 0  # of streams, in a row
        self._not_before = 0.0  # The earliest time for another attempt.

    def unary_unary(
        self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A callable `(request, timeout=seconds)` to be awaited."""

        async def call(request: Any, *, timeout: float | None = None) -> Any:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + (timeout or DEFAULT_TIMEOUT_SECONDS)
            stream = self._stream
            if stream is None or not stream.takes_calls or stream.is_full:
                stream = await self._stream_with_room(loop, path, deadline)
            body = request_serializer(request)
            pending = Call(path, body, current_cause(), deadline, loop.create_future())
            stream.begin(pending)
            try:
                answer = await pending.answer
            except asyncio.CancelledError:
                stream.give_up(pending)
                raise
            if isinstance(answer, TabletopError):
                raise answer
            if answer.kind != Envelope.REPLY:
                raise self._failure(path, answer)
            return response_deserializer(answer.body)

        return call

    def close(self) -> None:
        """Break the stream."""
        if self._stream is not None:
            self._stream.broke("it was closed here")

    async def _stream_with_room(self, loop: asyncio.AbstractEventLoop, path: str, deadline: float) -> ClientStream:
        """The stream for a new call, once it takes one. Raises TimedOut, definite."""
        while (stream := self._present(loop)).is_full:
            try:
                async with asyncio.timeout_at(deadline):
                    await stream.room()
            except TimeoutError:
                words = "too many calls wait to be sent"
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                raise unanswered(path, self._address, code, words, never_began=True) from None
        return stream

    def _present(self, loop: asyncio.AbstractEventLoop) -> ClientStream:
        stream = self._stream
        if stream is None or not stream.takes_calls:
            stream = self._stream = ClientStream(loop, self._events, self._address, self._ended)
            self._dial(stream, max(0.0, self._not_before - loop.time()))
        return stream

    def _ended(self, stream: ClientStream, in_order: bool) -> None:
        if in_order or stream.has_answered:
            self._failures = 0
        if not in_order:
            longest = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
            self._failures += 1
            pause = self._random.uniform(longest / 2, longest)
            self._not_before = asyncio.get_running_loop().time() + pause

    def _failure(self, path: str, envelope: Envelope) -> TabletopError:
        failure = envelope.failure
        if not failure.error:
            code = CODES.get(failure.code, grpc.StatusCode.UNKNOWN)
            return unanswered(path, self._address, code, failure.message)
        error = error_from_wire(
            failure.error, failure.message, definite=failure.definite, servers=tuple(failure.servers)
        )
        error.is_answer = True
        return error
