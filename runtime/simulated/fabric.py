"""The network between simulated nodes: who reaches whom, how late, and what gets lost.

The problem. A protocol is wrong in the cases that a quiet network never shows: a reply that is lost after the work
was done, a message that arrives after its sender has given up, a node that hears but cannot answer. The idea: every
message is one *hop* from one life of a node to one life of another; a hop takes a while, or never arrives. What a hop
does on arrival is a callback in the receiver's life, so a dead receiver does nothing and a paused one does it later.

Links are one-way: `block("a", "b")` leaves the way from b to a open. Faults of a link:

    blocked       nothing arrives, and nobody is told                     partition, isolation
    delay         seconds added to every hop                              slow link, slow node
    jitter        up to so many more, drawn for each hop: this reorders   reordering
    loss          the chance that a hop never arrives                     lost requests and lost replies
    duplication   the chance that a unary request arrives twice           retries below us

What we simplify. A lost hop stays lost: gRPC over TCP would send it again until the connection breaks. The caller sees
the same thing in the end, no answer before its deadline.
"""

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from runtime.simulated.loop import LIFE, NANOSECONDS, Life, SimulatedLoop
from runtime.simulated.tape import Tape


@dataclass(frozen=True, slots=True)
class LinkFaults:
    """What is wrong with the way from one node to another. Seconds and probabilities."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0


SOUND = LinkFaults()


class Fabric:
    """All links of one simulation."""

    def __init__(self, loop: SimulatedLoop, tape: Tape, *, latency_seconds: float) -> None:
        self.loop = loop
        self.latency_seconds = latency_seconds
        self.doors: dict[str, Any] = {}  # what listens at each "node:port": an RPC server or a bulk listener
        self.hops = 0
        self._latency = tape.stream("network latency")
        self._faults = tape.stream("network faults")
        self._blocked: dict[tuple[str, str], bool] = {}
        self._dark: dict[str, bool] = {}
        self._links: dict[tuple[str, str], LinkFaults] = {}
        self._slow: dict[str, float] = {}
        self._mourners: dict[int, dict[int, Callable[[], None]]] = {}
        self._ports: dict[str, int] = {}
        self._numbers = 0

    # Faults.

    def block(self, source: str, target: str) -> None:
        """Let nothing pass from `source` to `target`."""
        self._blocked[source, target] = True

    def unblock(self, source: str, target: str) -> None:
        """Undo `block`."""
        self._blocked.pop((source, target), None)

    def set_dark(self, node: str, dark: bool) -> None:
        """A machine without power hears and says nothing, not even that nobody is there. `heal` does not end it."""
        if dark:
            self._dark[node] = True
        else:
            self._dark.pop(node, None)

    def set_faults(self, source: str, target: str, faults: LinkFaults) -> None:
        """Set what is wrong with one way; "*" stands for any node."""
        self._links[source, target] = faults

    def set_slow(self, node: str, seconds: float) -> None:
        """Add a delay to everything that the node sends or receives; 0 ends it."""
        self._slow[node] = seconds

    def heal(self) -> None:
        """End every fault of the network."""
        self._blocked.clear()
        self._links.clear()
        self._slow.clear()

    def is_blocked(self, source: str, target: str) -> bool:
        """Whether messages from `source` to `target` vanish."""
        if self._dark and (source in self._dark or target in self._dark):
            return True
        return (source, target) in self._blocked

    def faults(self, source: str, target: str) -> LinkFaults:
        """What is wrong with the way from `source` to `target`."""
        if not self._links:
            return SOUND
        for key in ((source, target), (source, "*"), ("*", target), ("*", "*")):
            if key in self._links:
                return self._links[key]
        return SOUND

    # Hops.

    def delay_nanoseconds(self, source: str, target: str) -> int:
        """How long a hop takes, by the link's state and the tape."""
        seconds = self.latency_seconds * self._latency.between(0.75, 1.25)
        if self._slow:
            seconds += self._slow.get(source, 0.0) + self._slow.get(target, 0.0)
        faults = self.faults(source, target)
        if faults is not SOUND:
            seconds += faults.delay + faults.jitter * self._faults.between(0.0, 1.0)
        return int(seconds * NANOSECONDS)

    def hop(self, source: Life, target: Life, arrive: Callable[..., None], *arguments: Any, not_before: int = 0) -> int:
        """Carry a message; `arrive` runs in the target's life. Returns the virtual time of arrival in nanoseconds (also
        of a message that will be lost), so that a stream can keep its order by passing it as `not_before`."""
        self.hops += 1
        due = max(self.loop.nanoseconds + self.delay_nanoseconds(source.node, target.node), not_before)
        if self.is_blocked(source.node, target.node) or self.loses(source.node, target.node):
            return due
        self.loop.call_at_nanoseconds(due, self._arrived, source.node, target, arrive, arguments, context=EMPTY)
        return due

    def loses(self, source: str, target: str) -> bool:
        """Whether the tape lets this message be lost."""
        return self._faults.chance(self.faults(source, target).loss)

    def duplicates(self, source: str, target: str) -> bool:
        """Whether this request is to arrive twice."""
        return self._faults.chance(self.faults(source, target).duplication)

    def _arrived(self, source: str, target: Life, arrive: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        # A link that was cut while the message was under way has lost it.
        if target.alive and not self.is_blocked(source, target.node):
            self.loop.call_soon(arrive, *arguments, context=context_of(target))

    # Addresses and deaths.

    def bind(self, life: Life, address: str, door: Any) -> str | None:
        """Put a door at an address (port 0: any free one); returns the address, or None if it is taken."""
        host, _, port = address.rpartition(":")
        if port == "0":
            number = self._ports.get(host, 7000) + 1
            while f"{host}:{number}" in self.doors:
                number += 1
            self._ports[host] = number
            address = f"{host}:{number}"
        if address in self.doors:
            return None
        self.doors[address] = door
        self.when_ended(life, lambda: self.doors.pop(address, None))
        return address

    def when_ended(self, life: Life, act: Callable[[], Any]) -> Callable[[], None]:
        """Have `act` done when this life is killed or stopped; returns what takes that back."""
        self._numbers += 1
        number = self._numbers
        mourners = self._mourners.setdefault(id(life), {})
        mourners[number] = act

        def forget() -> None:
            mourners.pop(number, None)

        return forget

    def ended(self, life: Life) -> None:
        """Tell whoever waits for it that a life is over: its doors close and its connections break."""
        for act in list(self._mourners.pop(id(life), {}).values()):
            act()


EMPTY = Context()


def context_of(life: Life) -> Context:
    """A context in which callbacks belong to this life, without anybody's cause."""
    context = Context()
    context.run(LIFE.set, life)
    return context
