"""Carried streams between simulated nodes: the same ends as in the real world, over hops of the fabric.

The ends (runtime/carried) put letters, and this transport takes them, as gRPC does in the real world. But here each
envelope is judged and travels alone: a hook or a link may lose it, delay it, or double it, and envelopes overtake one
another. TCP does none of this within a stream, so the simulated world is harsher. What it does as TCP does is to end:

    kill             the dead process's machine resets its streams
    reset            somebody on the way breaks the streams between two nodes, both of which live
    power cut        nobody says anything; the machine resets what still comes once it is on again
    partition        a stream whose envelopes have not got through for STALL_SECONDS breaks at its sender
    stop             a server that has drained ends its streams in good order
    late envelopes   what comes for an end that is closed, or whose process is dead, is answered with a reset

A stream that ended in good order tells a caller that its unanswered calls never began. Here an answer may have been
lost on the way to that end, which TCP excludes; so the end of a stream says how many answers were sent, and an end with
a gap is a broken stream.

What we simplify. A stream is opened in no time where somebody listens, and its token is checked then.
"""

import abc
from collections.abc import Callable
from typing import Any

import grpc

from runtime.carried.client import ClientStream
from runtime.carried.end import End
from runtime.carried.letters import CODES, Answer, Call, Cancellation, Letter
from runtime.carried.server import ServerStream
from runtime.errors import TabletopError, Unauthenticated
from runtime.faults.links import Kind
from runtime.guard import Guard
from runtime.simulated.fabric import Fabric, context_of
from runtime.simulated.loop import NANOSECONDS, Life
from runtime.simulated.messages import AS_SENT, method_of
from runtime.simulated.rpc import CANCELLED_AFTER_NANOSECONDS
from runtime.simulated.rpc_server import SimulatedServer
from runtime.simulated.streams import STALL_SECONDS
from runtime.wire.carry_pb2 import Envelope

CONNECT_SECONDS = 5.0
DIAL_AGAIN_SECONDS = 0.2
DOUBLES = 1 << 62  # Added to the number of a doubled request: the server takes it for another call.


class Way(abc.ABC):
    """One end's transport: takes its letters and carries them to the other side."""

    end: End
    _other: "Way"

    def __init__(self, fabric: Fabric, life: Life) -> None:
        self.life = life
        self.is_closed = False
        self._fabric = fabric
        self._loop = fabric.loop
        self._context = context_of(life)
        self._received = 0
        self._stalled_at: int | None = None
        self._forget: Callable[[], None] | None = None
        self._forget_connection: Callable[[], None] | None = None

    def join(self, other: "Way") -> None:
        """Make the two sides one connection."""
        for one, another in ((self, other), (other, self)):
            one._other = another
            one._forget = one._fabric.when_ended(one.life, one._died)
        self._forget_connection = self._fabric.note_connection(self.life.node, other.life.node, self._break)

    def _break(self, one_sided: bool) -> None:
        """Somebody between the two has broken the connection."""
        for side in (self,) if one_sided else (self, self._other):
            if not side.is_closed:
                self._loop.call_soon(side.lost, "reset on the way", context=side._context)

    # What an end asks of its transport.

    def wake(self) -> None:
        """There is something to take."""
        self._loop.call_soon(self._carry, context=self._context)

    def abort(self) -> None:
        """Break the connection."""
        if not self.is_closed:
            self._close()
            self._reset()

    # Sending.

    def _carry(self) -> None:
        while not self.is_closed and (taken := self.end.taken(Envelope)):
            for letter, envelope in taken:
                if not self.life.alive:
                    return  # A hook has ended this life: what it had not sent never leaves.
                self._send(letter, envelope)
        if not self.is_closed and self.end.is_over:
            self._finish()

    @abc.abstractmethod
    def _send(self, letter: Letter, envelope: Envelope) -> None:
        """Have an envelope judged, and send it."""

    def _hop(self, envelope: Envelope, *, late: int = 0, not_before: int = 0, message: int = 0) -> int:
        here, there = self.life, self._other.life
        if self._fabric.is_blocked(here.node, there.node):
            self._note_stall()
        else:
            self._stalled_at = None
        return self._fabric.hop(
            here,
            there,
            self._other._arrives,
            envelope,
            not_before=not_before,
            late=late,
            orphaned=self._other._reset,
            message=message,
        )

    def _note_stall(self) -> None:
        if self._stalled_at is None:
            self._stalled_at = self._loop.nanoseconds
            self._loop.call_later(STALL_SECONDS, self._look_at_the_stall)

    def _look_at_the_stall(self) -> None:
        if self.is_closed or self._stalled_at is None:
            return
        if not self._fabric.is_blocked(self.life.node, self._other.life.node):
            self._stalled_at = None
        elif self._loop.nanoseconds - self._stalled_at >= STALL_SECONDS * NANOSECONDS:
            self.lost(f"nothing got through for {STALL_SECONDS:g} seconds")
        else:
            self._loop.call_later(STALL_SECONDS, self._look_at_the_stall)

    def _tell(self, act: Callable[..., None], *arguments: Any, not_before: int = 0) -> None:
        """Tell the other side how the stream ended: lost only where nothing gets through."""
        here, there = self.life.node, self._other.life.node
        if not self._fabric.is_blocked(here, there):
            due = max(self._loop.nanoseconds + self._fabric.delay_nanoseconds(here, there), not_before)
            self._loop.call_at_nanoseconds(due, act, *arguments, context=context_of(self._other.life))

    # Arrivals: these run in this side's life.

    def _arrives(self, envelope: Envelope) -> None:
        if self.is_closed:
            self._reset()
            return
        self._received += 1
        self._receive(envelope)

    @abc.abstractmethod
    def _receive(self, envelope: Envelope) -> None:
        """Hand an envelope to the end."""

    @abc.abstractmethod
    def lost(self, reason: str) -> None:
        """The connection is gone."""

    # Endings.

    def _finish(self) -> None:
        """This side has nothing more to say."""
        self.abort()

    def _died(self) -> None:
        """The process ended; its machine resets its connections, if it can still be heard."""
        self.abort()

    def _reset(self) -> None:
        """What came is for an end that is closed, or for a process that is dead on a machine that is up."""
        self._tell(self._other.lost, "reset by peer")

    def _close(self) -> None:
        self.is_closed = True
        for forget in (self._forget, self._forget_connection):
            if forget is not None:
                forget()


class ClientWay(Way):
    """The caller's side."""

    def __init__(self, fabric: Fabric, life: Life, address: str, stream: ClientStream) -> None:
        super().__init__(fabric, life)
        self.end = self.stream = stream
        self._address = address
        self._doubled: dict[int, bool] = {}

    def _send(self, letter: Letter, envelope: Envelope) -> None:
        if isinstance(letter, Cancellation):
            if letter.call.arrival is not None:
                self._hop(envelope, not_before=letter.call.arrival + CANCELLED_AFTER_NANOSECONDS)
            return
        assert isinstance(letter, Call)
        fabric, here, there = self._fabric, self.life.node, self._other.life.node
        method = method_of(letter.path)
        fate = fabric.judge(here, there, Kind.REQUEST, method, letter.body)
        if fate is not None and self.life.alive:
            letter.arrival = self._hop(envelope, late=fate.late, message=fate.number)
            if fate.again is not None:
                self._double(envelope, fate.again, fate.number)
        if fabric.duplicates(here, there) and self.life.alive:
            again = fabric.judge(here, there, Kind.REQUEST, method, letter.body)
            self._double(envelope, None if again is None else again.late, 0 if again is None else again.number)

    def _double(self, envelope: Envelope, late: int | None, message: int) -> None:
        """The request once more, whose answer nobody takes. `late`: None if it is lost."""
        self._doubled[envelope.number] = True
        if late is not None:
            double = Envelope()
            double.CopyFrom(envelope)
            double.number += DOUBLES
            self._hop(double, late=late, message=message)

    def _receive(self, envelope: Envelope) -> None:
        if envelope.kind == Envelope.REFUSAL and envelope.number in self._doubled:
            envelope.kind = Envelope.FAILURE  # This one never began, but its double may have.
            envelope.failure.code, envelope.failure.message = grpc.StatusCode.UNAVAILABLE.value[0], "it has stopped"
        self.stream.arrived(envelope)

    def lost(self, reason: str) -> None:
        """What had left may have been done."""
        self._close()
        self.stream.broke(f"connection to {self._address} {reason}")

    def finished(self, answers: int) -> None:
        """The server has ended the stream, after so many answers."""
        if answers == self._received and not self._doubled:
            self._close()
            self.stream.ended_in_order()
        else:
            self.lost("it has stopped")

    def rejected(self, error: TabletopError) -> None:
        """The server wants no stream of ours."""
        self._close()
        self.stream.rejected(error)


class ServerWay(Way):
    """The server's side."""

    _other: ClientWay

    def __init__(self, server: SimulatedServer, peer: str) -> None:
        super().__init__(server.fabric, server.life)
        guard, methods = server.guard, server.registrar.methods
        self.end = self.stream = ServerStream(server.fabric.loop, guard, methods, peer, self)
        self._ended = server.note_stream(self)
        self._sent = 0
        self._last_arrival = 0

    def _send(self, letter: Letter, envelope: Envelope) -> None:
        if envelope.number >= DOUBLES:
            return
        fate = AS_SENT
        self._sent += 1
        if isinstance(letter, Answer) and envelope.kind != Envelope.REFUSAL:
            here, there, code = self.life.node, self._other.life.node, CODES[letter.code].name
            judged = self._fabric.judge(here, there, Kind.REPLY, method_of(letter.path), envelope.body, code)
            if judged is None or not self.life.alive:
                return
            fate = judged
        arrival = self._hop(envelope, late=fate.late, message=fate.number)
        self._last_arrival = max(self._last_arrival, arrival - fate.late)

    def _receive(self, envelope: Envelope) -> None:
        self.stream.arrived(envelope)

    def lost(self, reason: str) -> None:
        """Nobody waits for answers any more."""
        self._close()
        self.stream.broke()

    def reject(self, error: TabletopError) -> None:
        """Have the caller told why this stream is not wanted."""
        self._close()
        self._tell(self._other.rejected, error)

    def cut(self) -> None:
        """The server has waited long enough."""
        self.abort()
        self.stream.broke()

    def _finish(self) -> None:
        self._close()
        self._tell(self._other.finished, self._sent, not_before=self._last_arrival + 1)

    def _close(self) -> None:
        super()._close()
        self._ended()


class Dialler:
    """How a simulated client opens a stream to one address."""

    def __init__(self, fabric: Fabric, life: Life, address: str, guard: Guard) -> None:
        self._fabric = fabric
        self._loop = fabric.loop
        self._life = life
        self._address = address
        self._guard = guard

    def __call__(self, stream: ClientStream, pause: float) -> None:
        """Open the stream, or have it refused."""
        if pause:
            self._loop.call_later(pause, self._dial, stream, CONNECT_SECONDS)
        else:
            self._dial(stream, CONNECT_SECONDS)

    def _dial(self, stream: ClientStream, patience: float) -> None:
        fabric, door = self._fabric, self._fabric.doors.get(self._address)
        if isinstance(door, SimulatedServer):
            self._open(stream, door)
            return
        here, there = self._life.node, self._address.rpartition(":")[0]
        if not fabric.is_blocked(here, there) and not fabric.is_blocked(there, here):
            delay = fabric.delay_nanoseconds(here, there) + fabric.delay_nanoseconds(there, here)
            words = f"failed to connect to {self._address}: connection refused"
            self._loop.call_at_nanoseconds(self._loop.nanoseconds + delay, stream.refused, words)
        elif patience > 0:
            self._loop.call_later(DIAL_AGAIN_SECONDS, self._dial, stream, patience - DIAL_AGAIN_SECONDS)
        else:
            stream.refused(f"failed to connect to {self._address}: no answer in {CONNECT_SECONDS:g} seconds")

    def _open(self, stream: ClientStream, door: SimulatedServer) -> None:
        here = ClientWay(self._fabric, self._life, self._address, stream)
        there = ServerWay(door, f"simulated:{self._life.node}")
        here.join(there)
        stream.opened(here)
        try:
            door.guard.check("tabletop.Carrier/Carry", self._guard.authorization)
        except Unauthenticated as error:
            there.reject(error)
