"""The caller's end of a stream: the calls in flight, by number.

How a stream ends says what became of the calls that have no answer yet:

    never opened                   they never left                                       definite
    ended in good order            the server answered all that it had begun: these      definite
                                   it never began
    broke                          those that had left may have been done                indefinite
                                   those that still waited here never left               definite
    was rejected                   the server read none of them, and says why            the error that it gave

An answer is looked up in the table of the stream on which it came. A stream that ended takes no answers, so numbers may
begin at 1 in each: an answer of an earlier stream cannot reach a call of a later one.
"""

import asyncio
import copy
from collections.abc import Callable

import grpc

from runtime.carried.deadlines import Deadlines
from runtime.carried.end import End, Transport
from runtime.carried.letters import Call, Cancellation
from runtime.errors import TabletopError
from runtime.events import EventLog
from runtime.guard import unanswered
from runtime.wire.carry_pb2 import Envelope

STOPPED = "it has stopped, and did not begin the call"


class ClientStream(End):
    """One stream to one address, from before it is opened until it has ended. `ended(in_order)` is called then."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: EventLog,
        address: str,
        ended: Callable[["ClientStream", bool], None],
    ) -> None:
        super().__init__(loop, events)
        self.takes_calls = True
        self.has_answered = False
        self._address = address
        self._ended = ended
        self._calls: dict[int, Call] = {}
        self._numbers = 0
        self._deadlines = Deadlines(loop, self._calls, self._expire)
        self._is_closed = False

    # What callers do.

    def begin(self, call: Call) -> None:
        """Send a call."""
        self._numbers += 1
        call.number = self._numbers
        self._calls[call.number] = call
        self._deadlines.add(call.deadline, call.number)
        self.put(call)

    def give_up(self, call: Call) -> None:
        """Nobody waits for this call any more. The server hears of it, if it may have heard of the call."""
        if self._calls.pop(call.number, None) is not None and call.has_left:
            self.put(Cancellation(call))

    # What the transport does.

    def opened(self, transport: Transport) -> None:
        """There is a stream: calls can leave."""
        self._transport = transport
        if self._letters:
            self._wake()

    def arrived(self, envelope: Envelope) -> None:
        """Take what the server sent."""
        self._events.received(envelope.lamport)
        kind = envelope.kind
        if kind == Envelope.DRAIN:
            self._drain()
            return
        call = self._calls.pop(envelope.number, None)
        if call is None:
            return  # It was given up, or timed out.
        self.has_answered = True
        if kind == Envelope.REFUSAL:
            _settle(call, self._unavailable(call, STOPPED, never_began=True))
        else:
            _settle(call, envelope)

    def refused(self, words: str) -> None:
        """There is no stream, and there will be none."""
        self._end(lambda call: self._unavailable(call, words, never_began=True))

    def broke(self, words: str) -> None:
        """The stream is gone: what had left may have been done."""
        self._end(lambda call: self._unavailable(call, words, never_began=not call.has_left))

    def rejected(self, error: TabletopError) -> None:
        """The server wants no stream of ours."""
        self._end(lambda _: _again(error))

    def ended_in_order(self) -> None:
        """The server has ended the stream, after it had answered every call that it had begun."""
        self._end(lambda call: self._unavailable(call, STOPPED, never_began=True), in_order=True)

    # Inside.

    def _drain(self) -> None:
        """The server is stopping: later calls go elsewhere, and those that still wait here do not leave."""
        self.takes_calls = False
        for call in [call for call in self._calls.values() if not call.has_left]:
            del self._calls[call.number]
            _settle(call, self._unavailable(call, STOPPED, never_began=True))

    def _expire(self, call: Call) -> None:
        code, never_left = grpc.StatusCode.DEADLINE_EXCEEDED, not call.has_left
        details = "no connection in time" if never_left else "no answer in time"
        self.give_up(call)
        _settle(call, unanswered(call.path, self._address, code, details, never_began=never_left))

    def _unavailable(self, call: Call, words: str, *, never_began: bool) -> TabletopError:
        return unanswered(call.path, self._address, grpc.StatusCode.UNAVAILABLE, words, never_began=never_began)

    def _end(self, fate: Callable[[Call], TabletopError], *, in_order: bool = False) -> None:
        if self._is_closed:
            return
        self._is_closed, self.takes_calls = True, False
        self._ended(self, in_order)
        self._deadlines.close()
        calls = list(self._calls.values())
        self._calls.clear()
        self._close()
        for call in calls:
            _settle(call, fate(call))
        if self._transport is not None:
            self._transport.abort()


def _again(error: TabletopError) -> TabletopError:
    """The same error for another caller: each raises its own."""
    other = copy.copy(error)
    other.is_answer = True
    return other


def _settle(call: Call, answer: Envelope | TabletopError) -> None:
    if not call.answer.done():
        call.answer.set_result(answer)
