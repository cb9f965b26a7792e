"""Bugs in how several masters keep one log, and in who takes over (GFS 2.6.3, 5.1.3)."""

from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from master.failover import replicated
from master.failover.following import FollowedLog
from master.failover.handing_over import HandingOver
from master.failover.mastership import Charter
from master.failover.shipping import Shipping


@bug
def answers_before_the_shadows() -> Planted:
    """A change is answered when its record is on all masters that are in sync.

    Without the rule, it is answered when it is on the acting master's own disk: if that one dies then, who takes over
    knows nothing of it (GFS 2.6.3)."""
    return replaced(Shipping, "confirmed", nothing)


@bug
def takeover_by_one_that_is_behind() -> Planted:
    """Only a master that the charter names may take over.

    Without the rule, whoever gets the lock acts: one that was away for a while forgets what was answered meanwhile
    (GFS 5.1.3)."""

    def why_not(charter: Charter | None, name: str, *, namespace: int, last_epoch: int) -> str:
        return ""

    def taken_over(charter: Charter | None, name: str) -> Charter:
        return Charter(name, 1 if charter is None else charter.epoch + 1, (name,))

    return together(replaced(replicated, "why_not", why_not), replaced(replicated, "taken_over", taken_over))


@bug
def no_epoch_raise_at_takeover() -> Planted:
    """Who takes over raises the epoch.

    Without the rule, chunkservers and shadows cannot tell the new master from the one before, which may not know yet
    that it was replaced; and two logs with the same epochs and other records pass for one (GFS 5.1.3)."""

    def taken_over(charter: Charter | None, name: str) -> Charter:
        if charter is None:
            return Charter(name, 1, (name,))
        return Charter(name, charter.epoch, charter.in_sync, charter.agreed, charter.namespace)

    return replaced(replicated, "taken_over", taken_over)


@bug
def full_master_stays() -> Planted:
    """An acting master that has no room for its log hands over to one that has.

    Without the rule, the cluster refuses every change for as long as one disk of three is full: its master holds the
    lock, and answers whoever asks it that it cannot (GFS 5.1.3)."""

    async def successor(self: HandingOver) -> str:
        return ""

    return replaced(HandingOver, "successor", successor)


@bug
def safe_mode_ends_with_its_master() -> Planted:
    """What an operator has said of safe mode holds for whoever acts.

    Without the rule, a failover ends it: the cluster that is to hold still for an operator goes on changing, and nobody
    has told him (GFS leaves it open; 5.1.3 for the failover)."""

    def take_charge(self: FollowedLog) -> None:
        _take_charge(self)
        self.state.safe_mode = False

    _take_charge = FollowedLog.take_charge
    return replaced(FollowedLog, "take_charge", take_charge)
