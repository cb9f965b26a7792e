"""Placement by consistent hashing with virtual nodes: a second policy, to compare the paper's with. Pure.

The problem. The paper's master decides freely where a replica goes, and so has to remember it. Other systems (Dynamo,
Cassandra) compute it: whoever knows the servers knows where every chunk belongs. With a hash modulo the number of
servers, nearly every chunk would belong elsewhere when one server joins. The idea: servers and chunks are points on a
ring, and a chunk belongs to the servers that come next on it. When a server joins, only what lies just before its
points changes hands: of N servers' chunks about one in N. A server has many points, its *virtual nodes*, for with one
each the parts of the ring would differ much in size.

The rule of racks is the same as in the paper's policy: among the servers that break it least, the next on the ring is
taken. A server without room, or that has just failed to take a copy, is passed over.

>>> servers = [Candidate(f"cs{n}", "", total=100, free=90, recent_creations=0) for n in range(1, 6)]
>>> policy = ByHash()
>>> before = {handle: policy.choose(servers, handle=handle, count=1, needed_bytes=1) for handle in range(1000)}
>>> after = {handle: policy.choose(servers[:4], handle=handle, count=1, needed_bytes=1) for handle in range(1000)}
>>> all(after[handle] == before[handle] for handle in before if before[handle] != ("cs5",))
True

What we simplify. All servers have the same number of points: disks of one size. What clients ask is still answered from
the master's table, which knows where replicas are, and not only where they belong.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from master.balance.placement import Candidate, Move, Stored, fitting_of
from master.balance.racks import Topology

VIRTUAL_NODES = 64


class Ring:
    """The points of some servers, in order."""

    def __init__(self, names: Sequence[str], virtual_nodes: int = VIRTUAL_NODES) -> None:
        points = sorted((_position(f"{name}#{number}"), name) for name in names for number in range(virtual_nodes))
        self._positions = [position for position, _ in points]
        self._names = [name for _, name in points]
        self._count = len(dict.fromkeys(names))

    def order(self, handle: int) -> Iterator[str]:
        """The servers in the order in which the ring has them after a chunk's point, each once."""
        begin = bisect_right(self._positions, _position(f"chunk {handle}"))
        seen: dict[str, None] = {}
        for step in range(len(self._names)):
            name = self._names[(begin + step) % len(self._names)]
            if name not in seen:
                seen[name] = None
                yield name
                if len(seen) == self._count:
                    return


class ByHash:
    """Consistent hashing. Remembers the ring of all servers that it was ever asked about: points of one that is not
    meant are passed over, which gives the same order as a ring without them."""

    def __init__(self, virtual_nodes: int = VIRTUAL_NODES) -> None:
        self._virtual_nodes = virtual_nodes
        self._names: dict[str, None] = {}
        self._ring = Ring(())

    def choose(
        self,
        candidates: Sequence[Candidate],
        *,
        handle: int,
        count: int,
        needed_bytes: int,
        present: Sequence[Candidate] = (),
    ) -> tuple[str, ...]:
        """The next servers on the ring, within the rule of racks."""
        fitting = {server.name: server for server in fitting_of(candidates, needed_bytes=needed_bytes, present=present)}
        topology = Topology(server.place for server in (*fitting.values(), *present))
        ring = self._ring_of([server.name for server in (*candidates, *present)])
        order = [fitting[name] for name in ring.order(handle) if name in fitting]
        taken = [server.place for server in present]
        chosen: list[str] = []
        while order and len(chosen) < count:
            costs = {place: topology.cost([*taken, place]) for place in dict.fromkeys(one.place for one in order)}
            best = min(order, key=lambda server: (server.is_troubled, costs[server.place]))
            order.remove(best)
            taken.append(best.place)
            chosen.append(best.name)
        return tuple(chosen)

    def remove(self, holders: Sequence[Candidate], *, handle: int, count: int, topology: Topology) -> tuple[str, ...]:
        """Those without which the rule of racks is kept, the farthest on the ring first."""
        names = [server.name for server in holders]
        order = [name for name in self._ring_of(names).order(handle) if name in names]
        left, removed = list(holders), list[str]()
        while left and len(removed) < count:
            costs = {one.name: topology.cost([other.place for other in left if other is not one]) for one in left}
            worst = min(left, key=lambda server: (costs[server.name], -order.index(server.name)))
            left.remove(worst)
            removed.append(worst.name)
        return tuple(removed)

    def moves(
        self, servers: Sequence[Candidate], chunks: Sequence[Stored], *, loads: Mapping[str, int], most: int
    ) -> list[Move]:
        """Replicas that are not where the ring has them."""
        known = {server.name for server in servers}
        found: list[Move] = []
        for chunk in chunks:
            if len(found) >= most:
                break
            if not known.issuperset(chunk.replicas):
                continue  # Of a server that is silent now: it may be back before a copy would be complete.
            belongs = self.choose(servers, handle=chunk.handle, count=len(chunk.replicas), needed_bytes=chunk.length)
            gone = [name for name in chunk.replicas if name not in belongs]
            missing = [name for name in belongs if name not in chunk.replicas]
            if gone and missing:
                found.append(Move(chunk.handle, gone[0], missing[0]))
        return found

    def _ring_of(self, names: Sequence[str]) -> Ring:
        new = [name for name in names if name not in self._names]
        if new:
            self._names |= dict.fromkeys(new)
            self._ring = Ring(list(self._names), self._virtual_nodes)
        return self._ring


def _position(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
