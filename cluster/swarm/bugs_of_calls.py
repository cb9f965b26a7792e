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

    Without the rule, an answer that was late for a stream that broke is handed to the oldest call of the same method
    that is in flight to that address (simulation: StreamsReset, late messages)."""

    paths: WeakKeyDictionary[ClientStream, dict[int, str]] = WeakKeyDictionary()
    waiting: WeakKeyDictionary[EventLog, dict[str, list[Call]]] = WeakKeyDictionary()

    def begin(self: ClientStream, call: Call) -> None:
        _begin(self, call)
        paths.setdefault(self, {})[call.number] = call.path
        calls = waiting.setdefault(self._events, {}).setdefault(self._address, [])
        calls[:] = [other for other in calls if other.wanted] + [call]

    def arrives(self: ClientWay, envelope: Envelope) -> None:
        stream = self.stream
        if not self.is_closed:
            self._received += 1
            self._receive(envelope)
            return
        path = paths.get(stream, {}).get(envelope.number)
        for call in waiting.get(stream._events, {}).get(self._address, []):
            if call.path == path and call.wanted:
                call.answer.set_result(envelope)
                return

    return together(replaced(ClientStream, "begin", begin), replaced(ClientWay, "_arrives", arrives))


@bug
def broken_stream_is_definite() -> Planted:
    """A call that had left when its stream broke may have been done.

    Without the rule, its caller hears for certain that it was not: it gives up what may be there, or says of a change
    that stands that it never happened (GFS 3.1)."""

    def broke(self: ClientStream, words: str) -> None:
        self._end(lambda call: self._unavailable(call, words, never_began=True))

    return replaced(ClientStream, "broke", broke)
