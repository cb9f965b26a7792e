"""Bugs in how calls travel: answers, ends of streams, doubt (runtime/carried; GFS 3.1, 3.2)."""

from weakref import WeakKeyDictionary

from cluster.swarm.bug_tools import Planted, bug, replaced, together
from runtime.carried.client import ClientStream
from runtime.carried.letters import Call
from runtime.events import EventLog
from runtime.simulated.carrier import ClientWay
from runtime.wire.carry_pb2 import Envelope

_begin = ClientStream.begin


@bug
def answer_of_an_earlier_stream() -> Planted:
    """An answer is looked up among the calls of the stream on which it came.

    Without the rule, there is one table for all streams to an address, and numbers begin anew in each: an answer that
    was late for a broken stream is handed to another call of the next one (simulation: StreamsReset)."""

    tables: WeakKeyDictionary[EventLog, dict[str, dict[int, Call]]] = WeakKeyDictionary()

    def begin(self: ClientStream, call: Call) -> None:
        _begin(self, call)
        tables.setdefault(self._events, {}).setdefault(self._address, {})[call.number] = call

    def arrives(self: ClientWay, envelope: Envelope) -> None:
        stream = self.stream
        if self.is_closed:
            late = tables.get(stream._events, {}).get(self._address, {}).get(envelope.number)
            if late is not None and not late.answer.done():
                late.answer.set_result(envelope)
        else:
            self._received += 1
            self._receive(envelope)

    return together(replaced(ClientStream, "begin", begin), replaced(ClientWay, "_arrives", arrives))


@bug
def broken_stream_is_definite() -> Planted:
    """A call that had left when its stream broke may have been done.

    Without the rule, its caller hears for certain that it was not: it gives up what may be there, or says of a change
    that stands that it never happened (GFS 3.1)."""

    def broke(self: ClientStream, words: str) -> None:
        self._end(lambda call: self._unavailable(call, words, never_began=True))

    return replaced(ClientStream, "broke", broke)
