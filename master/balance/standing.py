"""How a chunk stands: how many replicas are wanted, which of them stay, and which are to leave (GFS 4.3). Pure.

The problem. A chunk may need one copy more for many reasons: a server has died, an operator drains one, a disk cannot
grow and clients append, all copies are in one rack, a server has just joined and is empty, or half the cluster reads
this chunk. A mechanism of its own for each would be six ways to lose the last copy. The idea: there is one. A replica
that should not be where it is counts as *leaving*. It is a replica like the others, and read and written as before,
until there are as many others as are wanted; a copy is made as for any chunk that lacks one, and then the leaving
replica is one too many, and goes as any of these does, after the others have been verified (`repair.py`).

    reason              who says so                                              urgency
    drain, full disk    an operator; a client whose bytes did not fit            0
    misplaced           the look at all chunks: a rule of racks is broken        1
    hot                 the heartbeats: it is read more than its copies bear     2
    move                the placement policy: the disks are uneven               3

Only the first two interrupt a writer. All others wait until nobody has a lease on the chunk.

>>> plan_standing(goal=3, replicas=("cs1", "cs2", "cs3"), leaving=("cs2",))
Standing(wanted=3, staying=('cs1', 'cs3'), leaving=('cs2',), urgency=0, destination='')
>>> plan_standing(goal=3, replicas=("cs1", "cs2", "cs3"), leaving=("cs2",)).excess
0
>>> plan_standing(goal=3, replicas=("cs1", "cs2", "cs3", "cs4"), leaving=("cs2",)).excess
1
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from master.balance.placement import Candidate, Move
from master.balance.racks import Topology

DRAINED, MISPLACED, HOT, MOVED = range(4)
"""Urgencies of chunks that lack nothing."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is wanted of a chunk's current replicas, by servers. `urgency` and `destination` are as in `Need`."""

    wanted: int
    staying: tuple[str, ...]
    leaving: tuple[str, ...] = ()
    urgency: int = DRAINED
    destination: str = ""

    @property
    def lacks(self) -> bool:
        """Whether another copy is needed."""
        return len(self.staying) < self.wanted

    @property
    def excess(self) -> int:
        """How many replicas are too many: none as long as the leaving ones are needed."""
        return 0 if self.lacks else len(self.leaving) + len(self.staying) - self.wanted


def plan_standing(
    *,
    goal: int,
    replicas: Sequence[str],
    leaving: Collection[str] = (),
    extra: int = 0,
    misplaced: str = "",
    move: Move | None = None,
) -> Standing:
    """How a chunk stands. `leaving` are servers that are drained or full; `extra`: how many more copies than the goal a
    hot chunk gets; `misplaced`: the replica that breaks a rule of racks; `move`: what the policy plans. Of several
    reasons only the most urgent is acted upon."""
    wanted = goal + extra
    going = tuple(name for name in replicas if name in leaving)
    staying = tuple(name for name in replicas if name not in leaving)
    if going or len(replicas) < goal:
        return Standing(wanted, staying, going)
    if misplaced in replicas and len(replicas) <= wanted:
        return Standing(wanted, _without(replicas, misplaced), (misplaced,), MISPLACED)
    if len(replicas) < wanted:
        return Standing(wanted, staying, (), HOT)
    if move is not None and move.source in replicas:
        is_done = move.destination in replicas
        if is_done or len(replicas) == wanted:
            return Standing(wanted, _without(replicas, move.source), (move.source,), MOVED, move.destination)
    return Standing(wanted, staying)


def misplaced_replica(
    holders: Sequence[Candidate], others: Sequence[Candidate], topology: Topology, *, needed_bytes: int
) -> str:
    """The replica that should be elsewhere for the rule of racks; empty if the rule is kept, or cannot be kept better.

    `others` are the servers that may take a copy.
    """
    places = [server.place for server in holders]
    before = topology.breaks(places)
    if not before:
        return ""
    able = dict.fromkeys(
        server.place
        for server in others
        if server.free >= needed_bytes and not server.is_troubled and all(server.name != one.name for one in holders)
    )
    for at, server in sorted(enumerate(holders), key=lambda pair: (-pair[1].use, pair[1].name)):
        rest = places[:at] + places[at + 1 :]
        if any(topology.breaks([*rest, place]) < before for place in able):
            return server.name
    return ""


def _without(replicas: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(other for other in replicas if other != name)
