"""What stands before every servicer and behind every stub, whichever way a call travels.

A call travels as plain gRPC (rpc.py) or in a stream that it shares with others (carried/). Both check the cluster's
token, record a servicer's bug, and put a call that got no answer into the same words.
"""

import hmac
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import grpc

from runtime.errors import InternalError, TabletopError, Unauthenticated, error_from_status
from runtime.events import Event, EventLog

DEFAULT_TIMEOUT_SECONDS = 30.0
DETAILS_LIMIT = 2000

# How the transport says that a connection could not be made, or broke: words of its own, about its own insides.
_TRANSPORT_WORDS = ("ipv4:", "ipv6:", "Socket closed", "GOAWAY", "Stream removed", "Connection reset")


@dataclass(frozen=True, slots=True)
class HandlerFailed(Event):
    """A servicer raised something that is not one of our errors: a bug."""

    sentence: ClassVar[str] = "bug in {method}: {trace}"
    method: str
    trace: str


class Observer(Protocol):
    """Counts and times calls."""

    def observed(self, method: str, behaviour: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        """A method's handler that is observed."""

    def observed_stream(self, method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        """The same for one whose answer is a stream."""


class Guard:
    """What one node asks of those that call it, and tells those that it calls."""

    def __init__(self, token: str, events: EventLog, observer: Observer | None = None) -> None:
        self.events = events
        self.observer = observer
        self.authorization = f"Bearer {token}"

    def check(self, method: str, authorization: str | None) -> None:
        """Raises Unauthenticated, unless the caller shows the cluster's token."""
        if not hmac.compare_digest((authorization or "").encode(), self.authorization.encode()):
            what = "no" if authorization is None else "a wrong"
            raise Unauthenticated(f"{method}: {what} cluster token; use the token file in the cluster's state folder")

    def to_be_told(self, method: str, error: Exception) -> TabletopError:
        """What the caller hears of an error that a servicer raised. A bug is recorded here."""
        if isinstance(error, TabletopError):
            return error
        self.events.emit(HandlerFailed(method=method, trace="".join(traceback.format_exception(error))))
        return InternalError(f"bug in {method}: {type(error).__name__}: {error}; see that node's log")


def unanswered(
    path: str, address: str, code: grpc.StatusCode, details: str, *, never_began: bool = False
) -> TabletopError:
    """The error for a call that no servicer has answered. `never_began`: certainly none has seen it, or ever will."""
    error = error_from_status(code, f"{path.rpartition('/')[2]} at {address}: {_in_words(code, details)}")
    if never_began:
        error.definite = True
    return error


def _in_words(code: grpc.StatusCode, details: str) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details == "Deadline Exceeded":
        return "no answer in time"
    if code is grpc.StatusCode.UNAVAILABLE and any(words in details for words in _TRANSPORT_WORDS):
        return "the connection was refused, or broke"
    return details or code.name
