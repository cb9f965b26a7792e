"""Unary calls through an imposed fault: each envelope of a carried stream is judged alone.

It may be lost, late, doubled, or overtaken, as in the simulated world (runtime/simulated/carrier.py), and unlike what
TCP does to one that is alone. A server's stream that has lost answers must not end in good order: its caller would take
what was not answered for what was never begun. So it ends as a broken one.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from runtime.carried.client import ClientStream
from runtime.carried.end import End
from runtime.carried.letters import Answer, Call, Letter
from runtime.faults.links import Kind
from runtime.faults.table import CLIENTS, FaultTable
from runtime.guard import Guard
from runtime.real.carrier import Carrier, Dialler, Way
from runtime.rpc import NodeRegistrar, PlainChannel
from runtime.wire.carry_pb2 import Envelope, Envelopes

NODE = "tabletop-node"  # The metadata by which a node says who it is, when it opens a stream.
STALL_SECONDS = 20.0
DOUBLES = 1 << 62  # Added to the number of a doubled request: the server takes it for another call.
_SOONEST_DOUBLE_SECONDS = 0.001  # A request never comes after its double, so that a refusal of it is one of both.

Peer = Callable[[], str]


class FaultyWay(Way):
    """A way on which envelopes meet the faults from `here` to `there`. `broke` is called when it has stalled."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, table: FaultTable, here: str, there: Peer, broke: Callable[[str], None]
    ) -> None:
        super().__init__(loop)
        self._table = table
        self._here = here
        self._there = there
        self._broke = broke
        self._leaving: deque[Envelope] = deque()
        self._delayed = 0
        self._has_lost_answers = False
        self._stalled_at: float | None = None

    async def write_all(self, end: End, stream: Any) -> None:
        """Send what the end has to send and the faults let through, until it is over or aborted."""
        while not self.is_aborted:
            while taken := end.taken(Envelope):
                for letter, envelope in taken:
                    self._send(letter, envelope)
            if self._leaving:
                message = Envelopes()
                while self._leaving:
                    message.envelopes.append(self._leaving.popleft())
                await stream.write(message)
            elif end.is_over and not self._delayed:
                if self._has_lost_answers:
                    self.reason = grpc.StatusCode.UNAVAILABLE, "answers were lost on the way"
                    self.is_aborted = True
                return
            else:
                await self.rest()

    def receiver(self, stream: Any) -> Callable[[Envelope], None]:
        """What comes from another node was judged there; what comes from a client is judged here."""
        arrived: Callable[[Envelope], None] = stream.arrived
        if self._there() != CLIENTS:
            return arrived

        def judged(envelope: Envelope) -> None:
            kind = Kind.REQUEST if envelope.kind == Envelope.REQUEST else None
            for late, found in self._fates(envelope, kind, CLIENTS, self._here):
                if late:
                    self._loop.call_later(late, arrived, found)
                else:
                    arrived(found)

        return judged

    def _send(self, letter: Letter, envelope: Envelope) -> None:
        kind = None
        if isinstance(letter, Call):
            kind = Kind.REQUEST
        elif isinstance(letter, Answer) and envelope.kind != Envelope.REFUSAL:
            kind = Kind.REPLY
        fates = list(self._fates(envelope, kind, self._here, self._there()))
        if not fates and kind is Kind.REPLY:
            self._has_lost_answers = True
        for late, found in fates:
            if late:
                self._delayed += 1
                self._loop.call_later(late, self._leave, found)
            else:
                self._leaving.append(found)

    def _leave(self, envelope: Envelope) -> None:
        self._delayed -= 1
        self._leaving.append(envelope)
        self.wake()

    def _fates(
        self, envelope: Envelope, kind: Kind | None, source: str, target: str
    ) -> Iterable[tuple[float, Envelope]]:
        """The envelopes that become of one, with the seconds by which they are late."""
        way = self._table.way(source, target, kind)
        if way.blocked:
            self._note_stall(source, target)
            return
        self._stalled_at = None
        faults = way.faults
        if faults.loss and random.random() < faults.loss:
            return
        late = faults.delay + faults.jitter * random.random()
        yield late, envelope
        if kind is Kind.REQUEST and faults.duplication and random.random() < faults.duplication:
            double = Envelope()
            double.CopyFrom(envelope)
            double.number += DOUBLES
            yield late + _SOONEST_DOUBLE_SECONDS, double

    def _note_stall(self, source: str, target: str) -> None:
        if self._stalled_at is None:
            self._stalled_at = self._loop.time()
            self._loop.call_later(STALL_SECONDS, self._look_at_the_stall, self._stalled_at, source, target)

    def _look_at_the_stall(self, since: float, source: str, target: str) -> None:
        if not self.is_aborted and self._stalled_at == since and self._table.way(source, target, None).blocked:
            self._broke(f"nothing got through for {STALL_SECONDS:g} seconds")


class FaultyDialler(Dialler):
    """Opens streams on which this node's requests meet faults, and says which node it is."""

    def __init__(
        self, plain: PlainChannel, guard: Guard, spawn: Any, table: FaultTable, here: str, there: Peer
    ) -> None:
        super().__init__(plain, guard, spawn)
        self._metadata = (*self._metadata, (NODE, here))
        self._table = table
        self._here = here
        self._there = there

    def way(self, stream: ClientStream) -> Way:
        """A way for one stream."""
        return FaultyWay(asyncio.get_running_loop(), self._table, self._here, self._there, stream.broke)


class FaultyCarrier(Carrier):
    """Serves streams on which this node's answers meet faults, and so do the requests of clients."""

    def __init__(self, registrar: NodeRegistrar, guard: Guard, table: FaultTable, here: str) -> None:
        super().__init__(registrar, guard)
        self._table = table
        self._here = here

    def way(self, context: Any) -> Way:
        """A way for one stream."""
        found = {key: str(value) for key, value in context.invocation_metadata() or ()}
        peer = found.get(NODE, CLIENTS)

        def broke(words: str) -> None:
            way.reason = grpc.StatusCode.UNAVAILABLE, words
            way.abort()

        way = FaultyWay(asyncio.get_running_loop(), self._table, self._here, lambda: peer, broke)
        return way
