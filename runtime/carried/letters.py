"""What waits to be sent: letters, each of which becomes one envelope when it leaves.

A letter is written as late as possible, so that the remaining seconds of a request and its Lamport time are those of
the moment at which it leaves, and a request whose caller has given up in the meantime does not leave at all.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from runtime.errors import TabletopError, status_code
from runtime.guard import DETAILS_LIMIT
from runtime.wire.carry_pb2 import Envelope, Failure

Make = Callable[..., Envelope]
SMALL_BYTES = 64  # What a letter without a body counts for, and what is added to a body for the rest.
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Letter(Protocol):
    """What a queue holds. `size` is in bytes, about; `wanted`: whether it is still worth sending."""

    size: int

    @property
    def wanted(self) -> bool:
        """False if whoever wrote it has no more use for it."""

    def written(self, make: Make, now: float, lamport: int) -> Envelope:
        """The envelope, made by `make` with its fields; the letter leaves now."""


class Call:
    """A request, and what its caller waits for: an Envelope, or the error to be raised."""

    __slots__ = ("answer", "arrival", "body", "cause", "deadline", "has_left", "number", "path", "size")

    def __init__(
        self, path: str, body: bytes, cause: str, deadline: float, answer: "asyncio.Future[Envelope | TabletopError]"
    ) -> None:
        self.path = path
        self.body = body
        self.cause = cause
        self.deadline = deadline
        self.answer = answer
        self.size = len(body) + SMALL_BYTES
        self.number = 0
        self.has_left = False
        self.arrival: int | None = None  # For a transport that knows when it will arrive.

    @property
    def wanted(self) -> bool:
        """False once it is answered, or given up."""
        return not self.answer.done()

    def written(self, make: Make, now: float, lamport: int) -> Envelope:
        """The request, with what is left of its caller's patience."""
        self.has_left = True
        return make(
            number=self.number,
            lamport=lamport,
            body=self.body,
            method=self.path,
            seconds=self.deadline - now,
            cause=self.cause,
        )


class Cancellation:
    """Word that a call was given up after it had left."""

    __slots__ = ("call",)
    size = SMALL_BYTES
    wanted = True

    def __init__(self, call: Call) -> None:
        self.call = call

    def written(self, make: Make, now: float, lamport: int) -> Envelope:
        """The word."""
        return make(kind=Envelope.CANCEL, number=self.call.number, lamport=lamport)


class Answer:
    """What ends a call: `fields` of the envelope. `path` and `code` are those of the call, for whoever looks on."""

    __slots__ = ("code", "fields", "path", "size")
    wanted = True

    def __init__(self, path: str, code: int, size: int, **fields: Any) -> None:
        self.path = path
        self.code = code
        self.size = size + SMALL_BYTES
        self.fields = fields

    def written(self, make: Make, now: float, lamport: int) -> Envelope:
        """The answer."""
        return make(lamport=lamport, **self.fields)


class Drain:
    """Word that the server takes no more calls."""

    size = SMALL_BYTES
    wanted = True

    def written(self, make: Make, now: float, lamport: int) -> Envelope:
        """The word."""
        return make(kind=Envelope.DRAIN, lamport=lamport)


def reply(path: str, number: int, body: bytes) -> Answer:
    """The answer of a servicer."""
    return Answer(path, 0, len(body), kind=Envelope.REPLY, number=number, body=body)


def status(path: str, number: int, code: grpc.StatusCode, message: str) -> Answer:
    """A bare gRPC status."""
    failure = Failure(code=code.value[0], message=message[:DETAILS_LIMIT])
    return Answer(path, code.value[0], len(failure.message), kind=Envelope.FAILURE, number=number, failure=failure)


def failed(path: str, number: int, error: TabletopError) -> Answer:
    """One of our errors."""
    failure = Failure(
        code=status_code(error).value[0],
        message=error.message[:DETAILS_LIMIT],
        error=type(error).__name__,
        definite=error.definite,
        servers=error.servers,
    )
    return Answer(path, failure.code, failure.ByteSize(), kind=Envelope.FAILURE, number=number, failure=failure)


def refusal(path: str, number: int) -> Answer:
    """Word that a call never began."""
    return Answer(path, grpc.StatusCode.UNAVAILABLE.value[0], 0, kind=Envelope.REFUSAL, number=number)
