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
    corruption    the chance that a bit of a bulk segment flips           what TCP's 16-bit checksum does not see

Faults are counted: each gives an `Undo`, several on one way combine (delays and jitters add up, chances are those of
independent events), and the end of one ends no other. A hook (`on_message`, see messages.py) decides about single
messages.

What we simplify. A lost hop stays lost: gRPC over TCP would send it again until the connection breaks. The caller sees
the same thing in the end, no answer before its deadline. Calls are never corrupted: a flipped bit nearly always breaks
the framing of HTTP/2, which ends the connection, and that is a lost hop again. Bulk bytes are framed by nothing but
our own headers, so there a flipped bit arrives.
"""

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from runtime.faults.links import SOUND, Kind, LinkFaults
from runtime.faults.undo import Imposed, Undo
from runtime.simulated.cards import Card, CardMaker
from runtime.simulated.distances import Distances, WayOut
from runtime.simulated.loop import LIFE, NANOSECONDS, Life, SimulatedLoop
from runtime.simulated.messages import AS_SENT, Delay, Double, Drop, Fate, Message, MessageHook, Watcher
from runtime.simulated.tape import Tape
from runtime.world import Buffer

ANY = "*"


class Fabric:
    """All links of one simulation."""

    def __init__(
        self,
        loop: SimulatedLoop,
        tape: Tape,
        *,
        latency_seconds: float,
        ways: WayOut | None = None,
        make_card: CardMaker = Card,
    ) -> None:
        self.loop = loop
        self.distances = Distances(ways, make_card)  # between racks and data centres
        self.latency_seconds = latency_seconds
        self.doors: dict[str, Any] = {}  # what listens at each "node:port": an RPC server or a bulk listener
        self.hops = 0
        self.watcher: Watcher | None = None
        self._latency = tape.stream("network latency")
        self._faults = tape.stream("network faults")
        self._dark: dict[str, bool] = {}
        self._blocks = Imposed[tuple[str, str]](self._forget_combinations)
        self._links = Imposed[tuple[str, str, LinkFaults]](self._forget_combinations)
        self._slow_nodes = Imposed[tuple[str, float]](self._forget_combinations)
        self._combined: dict[tuple[str, str], _Way] = {}  # what all faults together make of a way
        self._hooks = Imposed[MessageHook]()
        self._messages = 0
        self._mourners: dict[int, dict[int, Callable[[], None]]] = {}
        self._connections: dict[int, tuple[str, str, Callable[[bool], None]]] = {}
        self._ports: dict[str, int] = {}
        self._numbers = 0
        self._streams = 0

    # Faults. "*" stands for any node.

    def block(self, source: str, target: str) -> Undo:
        """Let nothing pass from `source` to `target`."""
        return self._blocks.add((source, target))

    def impose(self, faults: LinkFaults, source: str = ANY, target: str = ANY) -> Undo:
        """Make one way slow, lossy, or given to duplicates."""
        return self._links.add((source, target, faults))

    def slow(self, node: str, seconds: float) -> Undo:
        """Delay everything that the node sends or receives."""
        return self._slow_nodes.add((node, seconds))

    def on_message(self, hook: MessageHook) -> Undo:
        """Ask `hook` about every message that is sent. Several hooks are asked in the order in which they came; the
        message is lost if one says so, and late by the sum of what they say. Raise nothing in a hook."""
        return self._hooks.add(hook)

    def heal(self) -> None:
        """End every fault of the network. Hooks stay, and a machine without power stays dark."""
        self._blocks.clear()
        self._links.clear()
        self._slow_nodes.clear()

    def set_dark(self, node: str, dark: bool) -> None:
        """A machine without power hears and says nothing, not even that nobody is there. `heal` does not end it."""
        if dark:
            self._dark[node] = True
        else:
            self._dark.pop(node, None)

    def is_blocked(self, source: str, target: str) -> bool:
        """Whether messages from `source` to `target` vanish."""
        if self._dark and (source in self._dark or target in self._dark):
            return True
        return bool(self._blocks) and self._way(source, target).blocked

    def faults(self, source: str, target: str) -> LinkFaults:
        """What is wrong with the way from `source` to `target`, all faults together."""
        return self._way(source, target).faults if self._links or self._slow_nodes else SOUND

    def _way(self, source: str, target: str) -> "_Way":
        found = self._combined.get((source, target))
        if found is not None:
            return found
        blocked = any(_matches(rule, source, target) for rule in self._blocks.values())
        faults = SOUND
        for from_node, to_node, more in self._links.values():
            if _matches((from_node, to_node), source, target):
                faults = faults.and_also(more)
        for node, seconds in self._slow_nodes.values():
            for end in (source, target):
                if node in (end, ANY):
                    faults = faults.and_also(LinkFaults(delay=seconds))
        found = self._combined[source, target] = _Way(blocked, faults)
        return found

    def _forget_combinations(self) -> None:
        self._combined.clear()

    # Hops.

    def delay_nanoseconds(self, source: str, target: str) -> int:
        """How long a hop takes, by the link's state and the tape."""
        seconds = self.latency_seconds * self._latency.between(0.75, 1.25)
        if self.distances:
            seconds += self.distances.seconds(source, target)
        faults = self.faults(source, target)
        if faults is not SOUND:
            seconds += faults.delay + faults.jitter * self._faults.between(0.0, 1.0)
        return int(seconds * NANOSECONDS)

    def hop(
        self,
        source: Life,
        target: Life,
        arrive: Callable[..., None],
        *arguments: Any,
        not_before: int = 0,
        late: int = 0,
        orphaned: Callable[[], None] | None = None,
        message: int = 0,
    ) -> int:
        """Carry something; `arrive` runs in the target's life, `late` nanoseconds after the time that the link takes.
        `orphaned` runs instead, in nobody's, if the target's machine is up and its life is over. Returns the virtual
        time of arrival in nanoseconds (also of what will be lost), so that a stream can keep its order by passing it as
        `not_before`. `message`: the number of the message that is carried, for a watcher."""
        self.hops += 1
        due = max(self.loop.nanoseconds + self.delay_nanoseconds(source.node, target.node), not_before) + late
        if self.is_blocked(source.node, target.node) or self.loses(source.node, target.node):
            self.note(message, arrived=False)
            return due
        self.loop.call_at_nanoseconds(
            due, self._arrived, source.node, target, arrive, arguments, orphaned, message, context=EMPTY
        )
        return due

    def note(self, message: int, *, arrived: bool) -> None:
        """Tell the watcher, if there is one, what became of a message; 0 is none."""
        if self.watcher is not None and message:
            if arrived:
                self.watcher.arrived(message)
            else:
                self.watcher.lost(message)

    def judge(self, source: str, target: str, kind: Kind, method: str, body: Buffer, status: str = "") -> Fate | None:
        """What the hooks say about a message that is being sent: None if it is lost."""
        self._messages += 1
        if not self._hooks and self.watcher is None:
            return AS_SENT
        message = Message(self._messages, method, kind, source, target, body, status)
        if self.watcher is not None:
            self.watcher.sent(message)
        late, lost, again = 0.0, False, None
        for hook in self._hooks.values():
            verdict = hook(message)
            lost = lost or isinstance(verdict, Drop)
            late += verdict.seconds if isinstance(verdict, Delay) else 0.0
            again = verdict.seconds if isinstance(verdict, Double) else again
        number = 0 if self.watcher is None else message.number
        if lost:
            self.note(number, arrived=False)
            return None
        return Fate(int(late * NANOSECONDS), None if again is None else int((late + again) * NANOSECONDS), number)

    def loses(self, source: str, target: str) -> bool:
        """Whether the tape lets this message be lost."""
        return self._faults.chance(self.faults(source, target).loss)

    def duplicates(self, source: str, target: str) -> bool:
        """Whether this request is to arrive twice."""
        return self._faults.chance(self.faults(source, target).duplication)

    def corrupted(self, source: str, target: str, data: Buffer) -> Buffer:
        """The bytes as they arrive: with one bit flipped, if the tape says so."""
        if not len(data) or not self._faults.chance(self.faults(source, target).corruption):
            return data
        damaged = bytearray(data)
        bit = self._faults.below(8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
        return memoryview(damaged)

    def _arrived(
        self,
        source: str,
        target: Life,
        arrive: Callable[..., None],
        arguments: tuple[Any, ...],
        orphaned: Callable[[], None] | None,
        message: int,
    ) -> None:
        is_blocked = self.is_blocked(source, target.node)
        self.note(message, arrived=not is_blocked and target.alive)
        if is_blocked:
            return  # A link that was cut while the message was under way has lost it.
        if target.alive:
            self.loop.call_soon(arrive, *arguments, context=context_of(target))
        elif orphaned is not None:
            orphaned()

    def stream_number(self) -> int:
        """A number for an end of a bulk stream: what it has in the queues of cards goes by it."""
        self._streams += 1
        return self._streams

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

    def note_connection(self, one: str, other: str, break_it: Callable[[bool], None]) -> Callable[[], None]:
        """There is a stream of calls between two nodes, which `reset` breaks; returns what forgets it."""
        self._numbers += 1
        number = self._numbers
        self._connections[number] = (one, other, break_it)

        def forget() -> None:
            self._connections.pop(number, None)

        return forget

    def reset(self, node: str, other: str = ANY, *, one_sided: bool = False) -> None:
        """Break every stream of calls between the two, as a router does that has forgotten them. Both ends are told, or
        (`one_sided`) the callers' alone: servers serve on, and learn of it by what comes of their answers."""
        for one, another, break_it in list(self._connections.values()):
            if _matches((node, other), one, another) or _matches((node, other), another, one):
                break_it(one_sided)

    def ended(self, life: Life) -> None:
        """Tell whoever waits for it that a life is over: its doors close and its connections break."""
        for act in list(self._mourners.pop(id(life), {}).values()):
            act()


@dataclass(frozen=True, slots=True)
class _Way:
    blocked: bool
    faults: LinkFaults


def _matches(rule: tuple[str, str], source: str, target: str) -> bool:
    return rule[0] in (source, ANY) and rule[1] in (target, ANY)


EMPTY = Context()


def context_of(life: Life) -> Context:
    """A context in which callbacks belong to this life, without anybody's cause."""
    context = Context()
    context.run(LIFE.set, life)
    return context
