"""Bugs in where copies are: racks, drains, hot chunks (GFS 2.5, 4.2, 4.3)."""

from typing import Any

from cluster.swarm.bug_tools import Planted, bug, replaced, together
from master.balance.heat import Heat
from master.balance.racks import Topology
from master.balance.standing import Standing, plan_standing
from master.maintenance import repair
from master.maintenance.salvaging import Salvaging
from master.protocol import moving
from master.protocol.moving import Moving

_judge = Heat.judge


@bug
def racks_ignored() -> Planted:
    """Copies of one chunk are spread over racks and data centres, and spread again when they have come together.

    Without the rule, a chunk may have all its copies in one rack, and is away when that rack is (GFS 4.2)."""

    def breaks(self: Topology, places: Any) -> int:
        return 0

    def cost(self: Topology, places: Any) -> tuple[int, int, int]:
        return (0, 0, 0)

    return together(replaced(Topology, "breaks", breaks), replaced(Topology, "cost", cost))


@bug
def together_copies_stay() -> Planted:
    """A look at all chunks finds those whose copies have come together in one rack, and has one of them moved.

    Without the rule, what is copied while a rack is away stays in the others when it is back (GFS 4.2, 4.3)."""

    def none(self: Moving, window: Any) -> None:
        return None

    return replaced(Moving, "_judge_places", none)


@bug
def drained_copies_count_for_good() -> Planted:
    """The copies on a server that is drained do not count towards the goal: others are made in their place.

    Without the rule, a server is called drained and keeps what it has, and its chunks lose a copy when it goes
    (GFS 4.3)."""

    def standing(*, leaving: Any = (), **facts: Any) -> Standing:
        return plan_standing(**facts)

    return replaced(moving, "plan_standing", standing)


@bug
def hot_copies_stay() -> Planted:
    """A chunk that was hot loses its additional copies when it is not read any more.

    Without the rule, whatever was read much once takes the place of more copies for ever (GFS 2.5)."""

    def judge(self: Heat, handle: int, *, goal: int, now: float) -> int:
        before = self.extra(handle)
        after = _judge(self, handle, goal=goal, now=now)
        if after < before and handle in self._chunks:
            self._chunks[handle].extra = before
        return max(before, after)

    return replaced(Heat, "judge", judge)


@bug
def full_replica_stays() -> Planted:
    """A replica on a server whose disk is full is moved when a client's bytes do not fit.

    Without the rule, a chunk with one replica there can never grow again, though other servers have room (GFS 3.3,
    4.3)."""

    def note_full(self: Moving, handle: int, server: str) -> None:
        return None

    return replaced(Moving, "note_full", note_full)


@bug
def sick_disk_keeps_others_from_being_copied() -> Planted:
    """A replica whose disk takes no version any more is left out after a few tries, and the others are copied.

    Without the rule, a chunk that has lost one replica for good and has another one on such a disk stays below its
    goal, though whole replicas and free servers are there (GFS 4.3)."""
    return replaced(repair, "_TRIES_WITH_ALL", 10**9)


@bug
def last_replica_waits_for_its_disk() -> Planted:
    """A chunk whose replicas are all on disks that take no version is copied as it is, once nobody can be writing it.

    Without the rule, the last replica on a disk that fails every write is read, and never copied, until that disk fails
    altogether (GFS 4.3, 5.2)."""

    async def sources(self: Salvaging, handle: int, servers: object) -> tuple[str, ...]:
        return ()

    return replaced(Salvaging, "sources", sources)
