"""Bugs in what operators rely on: the trash, safe mode, the check of everything (GFS 2.6.2, 4.4, 5.2)."""

from typing import Any

from cluster.swarm.bug_tools import Planted, bug, replaced
from master.core import Core
from master.maintenance import reclaiming
from master.maintenance.garbage import is_due
from master.namespace.hidden_names import root_of


@bug
def trash_time_of_a_tree_is_forgotten() -> Planted:
    """What a directory keeps for its own time is forgotten after that time.

    Without the rule, a deleted file goes after the cluster's time, though its directory has promised a longer one
    (GFS 4.4)."""

    def ordinary(hidden: str, **facts: Any) -> bool:
        return is_due(root_of(hidden).partition("+")[0], **facts)

    return replaced(reclaiming, "is_due", ordinary)


@bug
def safe_mode_is_not_kept() -> Planted:
    """While an operator keeps the master in safe mode, no name changes, and nothing is copied or removed.

    Without the rule, the cluster that is to hold still for an operator goes on changing (GFS leaves it open)."""
    return replaced(Core, "holds_still", property(lambda self: False))


@bug
def repair_begins_before_servers_have_reported() -> Planted:
    """A master that has just started orders neither copies nor removals until its servers have reported.

    Without the rule, it has chunks copied whose replicas nobody has told it of yet (GFS 2.6.2)."""
    return replaced(Core, "is_starting", property(lambda self: False))
