"""Where new replicas go, which surplus ones leave, and what is moved to even out the disks (GFS 4.2, 4.3). Pure.

The problem. A chunk's replicas should survive a disk, a machine, a rack and a data centre; disks should fill evenly;
and a server that has just joined, empty, should not receive every new chunk at once, for a creation is followed by a
heavy write.

The idea, the paper's three rules in its order: prefer servers with below-average disk use; limit recent creations on
each; spread the replicas over racks. The last is a constraint on the set (`racks.py`), so it is asked first of each
next choice. But before all that comes whether a server can take a replica at all: one that has just failed to is the
last to be asked again. Otherwise a server whose disk takes nothing, and is the emptiest or alone in its rack for that
very reason, would be asked for ever.

A `Policy` is a plug: `ByUse` is the paper's, `hashing.py` has another one, and a master is given one of them by name.
Both keep the rule of racks, and neither knows of clocks, messages or leases.

>>> servers = [Candidate(name, rack, total=100, free=90, recent_creations=0) for name, rack in
...            (("cs1", "a"), ("cs2", "a"), ("cs3", "b"))]
>>> plan_placement(servers, count=2, needed_bytes=10)
('cs1', 'cs3')
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from master.balance.racks import Place, Topology


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may take a replica. `total` and `free` are bytes of disk. `is_troubled`: one that it was to take
    lately could not be made there."""

    name: str
    rack: str
    total: int
    free: int
    recent_creations: float
    is_troubled: bool = False
    data_centre: str = ""

    @property
    def use(self) -> float:
        """The used part of its disk, from 0 to 1."""
        return 1.0 - self.free / self.total if self.total else 1.0

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.data_centre, self.rack)


@dataclass(frozen=True, slots=True)
class Stored:
    """A chunk that has its goal of replicas: how many bytes, and on which servers."""

    handle: int
    length: int
    replicas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A replica that would be better elsewhere: a copy is made at `destination`, then the one at `source` leaves."""

    handle: int
    source: str
    destination: str


class Policy(Protocol):
    """Where replicas belong. Names of servers, in and out; the first of equals in `candidates` is chosen."""

    def choose(
        self,
        candidates: Sequence[Candidate],
        *,
        handle: int,
        count: int,
        needed_bytes: int,
        present: Sequence[Candidate] = (),
    ) -> tuple[str, ...]:
        """Up to `count` servers for new replicas of a chunk, best first; fewer if not enough have space. `present` hold
        one that stays: they are not chosen, and their places count as taken."""

    def remove(self, holders: Sequence[Candidate], *, handle: int, count: int, topology: Topology) -> tuple[str, ...]:
        """Which `count` of a chunk's replicas are too many."""

    def moves(
        self, servers: Sequence[Candidate], chunks: Sequence[Stored], *, loads: Mapping[str, int], most: int
    ) -> list[Move]:
        """Up to `most` replicas that should be elsewhere, of these chunks. `loads`: the bytes of all replicas on each
        server, of all chunks there are."""


# Servers whose use differs from the average by less than this count as average: otherwise the emptiest of several
# equal servers would take every new chunk until the next heartbeat.
USE_TOLERANCE = 0.02
# Likewise, servers whose recent creations differ by less than this count as equal. Were the count exact, the same few
# sets of servers would take turns, and when one dies, the rest of its set alone would have to feed all the clones.
CREATION_TOLERANCE = 4
# Replicas are moved while the fullest server has more than the emptiest by this part of the mean, and not for less.
BALANCE_TOLERANCE = 0.1


class ByUse:
    """The paper's policy."""

    def choose(
        self,
        candidates: Sequence[Candidate],
        *,
        handle: int,
        count: int,
        needed_bytes: int,
        present: Sequence[Candidate] = (),
    ) -> tuple[str, ...]:
        """By disk use, recent creations and racks."""
        return plan_placement(candidates, count=count, needed_bytes=needed_bytes, present=present)

    def remove(self, holders: Sequence[Candidate], *, handle: int, count: int, topology: Topology) -> tuple[str, ...]:
        """Those in crowded places, then those on the fullest disks."""
        return plan_removal(holders, count=count, topology=topology)

    def moves(
        self, servers: Sequence[Candidate], chunks: Sequence[Stored], *, loads: Mapping[str, int], most: int
    ) -> list[Move]:
        """From the server that stores most, for its disk, to the one that stores least."""
        return plan_moves(servers, chunks, loads=loads, most=most)


def plan_placement(
    candidates: Sequence[Candidate],
    *,
    count: int,
    needed_bytes: int,
    present: Sequence[Candidate] = (),
) -> tuple[str, ...]:
    """Names of up to `count` servers for new replicas of one chunk, best first; fewer if not enough have space.

    Among equals the one that stands first in `candidates` is chosen: shuffle them to share out the load.
    `present` are the servers that hold the chunk already: they are not chosen, and their racks count as taken.
    """
    fitting = fitting_of(candidates, needed_bytes=needed_bytes, present=present)
    taken = [server.place for server in present]
    average = sum(server.use for server in fitting) / len(fitting) if fitting else 0.0
    by_place: dict[Place, list[_Ranked]] = {}
    for at, server in enumerate(fitting):
        by_place.setdefault(server.place, []).append(_ranked(server, average, at))
    for ranked in by_place.values():
        ranked.sort(reverse=True)  # The best is the last, and is taken first.
    topology = Topology([*by_place, *taken])
    chosen: list[str] = []
    while by_place and len(chosen) < count:
        costs = {place: topology.cost([*taken, place]) if len(by_place) > 1 else () for place in by_place}
        # Only the best at each place can be the best of all.
        best = min(by_place, key=lambda place: (by_place[place][-1][0], costs[place], by_place[place][-1]))
        chosen.append(fitting[by_place[best].pop()[-1]].name)
        taken.append(best)
        if not by_place[best]:
            del by_place[best]
    return tuple(chosen)


def fitting_of(
    candidates: Sequence[Candidate], *, needed_bytes: int, present: Sequence[Candidate] = ()
) -> list[Candidate]:
    """Those that have room, and no replica of the chunk."""
    held = {server.name for server in present}
    return [server for server in candidates if server.name not in held and server.free >= needed_bytes]


def plan_removal(holders: Sequence[Candidate], *, count: int, topology: Topology | None = None) -> tuple[str, ...]:
    """Which of a chunk's surplus replicas to remove: those whose absence breaks no rule of racks, of these the ones in
    crowded racks, and then those on the fullest disks."""
    left = list(holders)
    known = topology or Topology(server.place for server in holders)
    removed: list[str] = []
    while left and len(removed) < count:
        costs = [known.cost([other.place for other in left if other is not server]) for server in left]
        worst = min(range(len(left)), key=lambda at: (costs[at], -left[at].use, _reversed(left[at].name)))
        removed.append(left.pop(worst).name)
    return tuple(removed)


def plan_moves(
    servers: Sequence[Candidate], chunks: Sequence[Stored], *, loads: Mapping[str, int], most: int
) -> list[Move]:
    """Moves that make the stored parts of the disks more alike, each from the fullest server to the emptiest.

    None breaks the rule of racks, and none makes the destination fuller than the source was. What is compared is what
    this file system stores, not what else is on a disk: several servers may share one.
    """
    by_name = {server.name: server for server in servers if server.total}
    if len(by_name) < 2:
        return []
    topology = Topology(server.place for server in by_name.values())
    stored = {name: loads.get(name, 0) for name in by_name}
    mean = sum(stored[name] / by_name[name].total for name in by_name) / len(by_name)
    left, found = list(chunks), list[Move]()
    while len(found) < most:
        shares = {name: stored[name] / by_name[name].total for name in by_name}
        source, target = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
        gap = (shares[source] - shares[target]) * min(by_name[source].total, by_name[target].total)
        if shares[source] - shares[target] <= BALANCE_TOLERANCE * mean:
            break
        chunk = _best_to_move(left, by_name, topology, source, target, gap / 2)
        if chunk is None:
            break
        left.remove(chunk)
        stored[source] -= chunk.length
        stored[target] += chunk.length
        found.append(Move(chunk.handle, source, target))
    return found


def _best_to_move(
    chunks: Sequence[Stored],
    servers: Mapping[str, Candidate],
    topology: Topology,
    source: str,
    target: str,
    most_bytes: float,
) -> Stored | None:
    """The largest chunk of the source that may go to the target."""
    best: Stored | None = None
    for chunk in chunks:
        fits = source in chunk.replicas and target not in chunk.replicas and 0 < chunk.length <= most_bytes
        if not fits or chunk.length > servers[target].free or (best is not None and chunk.length <= best.length):
            continue
        places = {name: servers[name].place for name in chunk.replicas if name in servers}
        after = [place for name, place in places.items() if name != source] + [servers[target].place]
        if topology.breaks(after) <= topology.breaks(list(places.values())):
            best = chunk
    return best


def _reversed(name: str) -> tuple[int, ...]:
    """A key by which the last of several names sorts first."""
    return tuple(-ord(character) for character in name)


_Ranked = tuple[bool, bool, int, int]


def _ranked(server: Candidate, average: float, at: int) -> _Ranked:
    """How good a server is, whatever its place, the lower the better; and its place in the list."""
    is_fuller = server.use > average + USE_TOLERANCE
    return (server.is_troubled, is_fuller, int(server.recent_creations / CREATION_TOLERANCE), at)
