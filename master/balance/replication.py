"""Which chunks to clone, from where to where, and which surplus replicas to remove (GFS 4.3).

The problem. When a server dies, ten thousand chunks lose a replica at once. Cloning them all together would starve the
clients; cloning them in any order may lose a chunk that was down to its last copy.

The idea. Order by need, then limit what runs. Need, as in the paper: chunks that block a client first; then by how far
a chunk is from its goal (lost two of three before lost one); live files before deleted ones. Limits: so many clones in
the cluster, so many at one server (as source or destination), and a throttle on each clone's bandwidth, which the
destination keeps.

`plan_replication` is pure: it sees a snapshot and returns orders. `repair.py` carries them out.

A chunk that has its goal may need a copy as well: one of its replicas is to leave, for its server is drained, or its
disk cannot grow, or another rack is safer; or it is read more than its copies can bear (`standing.py`). Such needs come
after all chunks that lack something: nothing of them is in danger.

A server without any replica of the chunk is the best destination. If there is none, a copy may take the place of a
replica that does not count (stale, damaged): it is replaced in one step when the copy is complete.

>>> need = Need(handle=1, goal=3, replicas=("cs1",), is_deleted=False, is_waited_for=False)
>>> servers = [Candidate(f"cs{n}", "", total=100, free=90, recent_creations=0) for n in (1, 2, 3)]
>>> plan_replication([need], servers, running=(), limits=Limits(), needed_bytes=1)
[CloneOrder(handle=1, source='cs1', destination='cs2')]

What we simplify. One clone a chunk at a time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from master.balance.placement import ByUse, Candidate, Policy
from master.balance.racks import Topology
from master.balance.standing import MISPLACED

DEFAULT_POLICY = ByUse()


@dataclass(frozen=True, slots=True)
class Need:
    """A chunk that needs a copy. `replicas` are the holders of current ones, `leaving` those of them whose replica is
    to go when there is a copy, `damaged` those of corrupt ones, `replaceable` those whose replica a copy may replace,
    `blocked` those that can take none now. `urgency`: of chunks that lack nothing, 0 comes first. `destination`: the
    only server that the copy may be made on; empty: as the policy says. `length`: how many bytes are to be copied."""

    handle: int
    goal: int
    replicas: tuple[str, ...]
    is_deleted: bool
    is_waited_for: bool
    damaged: tuple[str, ...] = ()
    replaceable: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    urgency: int = 0
    destination: str = ""
    length: int = 0


@dataclass(frozen=True, slots=True)
class CloneOrder:
    """Copy a chunk from `source` to `destination`."""

    handle: int
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How many clones may run at once, in the cluster and at one server."""

    clones: int = 8
    clones_per_server: int = 2


def priority(need: Need) -> tuple[bool, bool, int, int, int]:
    """The sort key of a need: the most pressing sorts first.

    >>> lost_two = Need(1, 3, ("cs1",), False, False)
    >>> lost_one = Need(2, 3, ("cs1", "cs2"), False, False)
    >>> deleted = Need(3, 3, ("cs1",), True, False)
    >>> waited_for = Need(4, 3, ("cs1", "cs2"), False, True)
    >>> [need.handle for need in sorted([deleted, lost_one, lost_two, waited_for], key=priority)]
    [4, 1, 2, 3]
    """
    return (not need.is_waited_for, need.is_deleted, len(need.replicas) - need.goal, need.urgency, need.handle)


def plan_replication(
    needs: Sequence[Need],
    servers: Sequence[Candidate],
    *,
    running: Sequence[CloneOrder],
    limits: Limits,
    needed_bytes: int,
    policy: Policy = DEFAULT_POLICY,
    closed: Collection[str] = (),
) -> list[CloneOrder]:
    """The clones to start now, most pressing first, within the limits.

    `servers` are the live ones; the first of equals is chosen. Those in `closed` take nothing new.
    """
    by_name = {server.name: server for server in servers}
    load = {server.name: 0 for server in servers}
    for order in running:
        for name in (order.source, order.destination):
            load[name] = load.get(name, 0) + 1
    busy = {order.handle for order in running}
    orders: list[CloneOrder] = []
    for need in sorted((need for need in needs if need.handle not in busy), key=priority):
        if len(running) + len(orders) >= limits.clones:
            break
        found = _plan_one(need, by_name, load, limits, needed_bytes, policy, closed)
        if found is not None:
            orders.append(found)
            load[found.source] += 1
            load[found.destination] += 1
    return orders


def _plan_one(
    need: Need,
    servers: Mapping[str, Candidate],
    load: Mapping[str, int],
    limits: Limits,
    needed_bytes: int,
    policy: Policy,
    closed: Collection[str],
) -> CloneOrder | None:
    able = need.replicas or need.damaged
    sources = [name for name in able if name in servers and load[name] < limits.clones_per_server]
    if not sources:
        return None
    present = [servers[name] for name in need.replicas if name in servers and name not in need.leaving]
    idle = [server for server in servers.values() if load[server.name] < limits.clones_per_server]
    idle = [server for server in idle if server.name not in (*closed, *need.leaving)]
    if need.destination:
        idle = [server for server in idle if server.name == need.destination]
    free = [server for server in idle if server.name not in (*need.replaceable, *need.blocked, *need.damaged)]
    taken = [server for server in idle if server.name in need.replaceable]
    target: tuple[str, ...] = ()
    for is_troubled in (False, True):
        for group in (free, taken):
            fit = [server for server in group if server.is_troubled == is_troubled]
            target = target or policy.choose(
                fit, handle=need.handle, count=1, needed_bytes=needed_bytes + need.length, present=present
            )
    if not target or (need.urgency == MISPLACED and not _spreads(need, servers, target[0], closed)):
        return None
    source = min(sources, key=lambda name: (name == target[0], load[name], able.index(name)))
    return CloneOrder(need.handle, source, target[0])


def _spreads(need: Need, servers: Mapping[str, Candidate], target: str, closed: Collection[str]) -> bool:
    """Whether a copy at the target keeps the rule of racks better: the only server that could may be busy now."""
    topology = Topology(server.place for server in servers.values() if server.name not in closed)
    before = [servers[name].place for name in need.replicas if name in servers]
    staying = [servers[name].place for name in need.replicas if name in servers and name not in need.leaving]
    return topology.breaks([*staying, servers[target].place]) < topology.breaks(before)
