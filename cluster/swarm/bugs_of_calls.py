"""Bugs in how calls travel: answers, ends of streams, doubt (runtime/carried; GFS 3.1, 3.2)."""

from grpc import StatusCode

from cluster.swarm.bug_tools import Planted, bug, replaced, together
from runtime.carried.client import ClientStream
from runtime.carried.letters import Call
from runtime.guard import unanswered
from runtime.wire.carry_pb2 import Envelope

_arrived = ClientStream.arrived


@bug
def answers_in_order_of_calls() -> Planted:
    """An answer goes to the call whose number it names.

    Without the rule, it goes to the oldest call that has none, as if a server answered in order: whoever asked while
    another call was slow, or was lost, is told what another one wanted to know (simulation)."""

    def arrived(self: ClientStream, envelope: Envelope) -> None:
        if envelope.number in self._calls:
            envelope.number = next(number for number, call in self._calls.items() if call.has_left)
        _arrived(self, envelope)

    return replaced(ClientStream, "arrived", arrived)


@bug
def unanswered_is_definite() -> Planted:
    """A call that has left may have been done, whatever ended the wait for its answer.

    Without the rule, a caller whose stream broke, or whose time was up, hears for certain that nothing was done: it
    says of a change that stands that it never happened (GFS 3.1)."""

    def broke(self: ClientStream, words: str) -> None:
        self._end(lambda call: self._unavailable(call, words, never_began=True))

    def expire(self: ClientStream, call: Call) -> None:
        self.give_up(call)
        error = unanswered(call.path, self._address, StatusCode.DEADLINE_EXCEEDED, "no answer", never_began=True)
        if call.wanted:
            call.answer.set_result(error)

    return together(replaced(ClientStream, "broke", broke), replaced(ClientStream, "_expire", expire))
