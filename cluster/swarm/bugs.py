"""Planted bugs: each takes one rule out of the servers, from outside, for as long as a context manager is open.

They prove the swarm (it must find each of them), and are there for exercises: `./scripts/swarm --bug NAME` hunts with
the bug in place, and `--replay SEED --bug NAME --shrink` tells the story of what it broke. Nothing in the servers knows
of them. Where two rules guard the same thing, both go: one alone would be missed by nobody.

    bugs_of_versions.py   which replica counts: versions, leases, reports, comparisons   GFS 3.1, 4.5
    bugs_of_disks.py      what a disk keeps: syncs, headers, copies, removals            GFS 3.1, 4.3, 4.4, 5.2
    bugs_of_calls.py      how calls travel: answers, ends of streams, doubt              GFS 3.1, 3.2
    bugs_of_records.py    record append: who says where a record goes                            GFS 3.3
    bugs_of_masters.py    several masters: what is answered, who takes over              GFS 2.6.3, 5.1.3
    bugs_of_snapshots.py  snapshots: leases, references, copies before the first write                     GFS 3.4
    bugs_of_placements.py where copies are: racks, drains, hot chunks                    GFS 2.5, 4.2, 4.3
    bugs_of_operators.py  the trash, safe mode, checks                                   GFS 2.6.2, 4.4, 5.2
    bugs_of_the_paper.py  one sentence of the paper left out: leases, padding, checksums, the log, stale replicas
    bugs_of_names.py      names, requests, clients, the master's log                     GFS 2.6.3, 2.7.1, 4.1
"""

import contextlib
import inspect
from collections.abc import Mapping

from cluster.swarm import (
    bugs_of_calls,
    bugs_of_disks,
    bugs_of_masters,
    bugs_of_names,
    bugs_of_operators,
    bugs_of_placements,
    bugs_of_records,
    bugs_of_snapshots,
    bugs_of_the_paper,
    bugs_of_versions,
)
from cluster.swarm.bug_tools import BUGS, Bug, Planted
from runtime.errors import NotFound

__all__ = ["BUGS", "described", "planted"]
_MODULES = (
    bugs_of_versions,
    bugs_of_disks,
    bugs_of_calls,
    bugs_of_records,
    bugs_of_names,
    bugs_of_masters,
    bugs_of_snapshots,
    bugs_of_placements,
    bugs_of_operators,
    bugs_of_the_paper,
)


def planted(name: str, bugs: Mapping[str, Bug] = BUGS) -> Planted:
    """The bug of this name, of those of one swarm; none for "". Raises NotFound."""
    if not name:
        return contextlib.nullcontext()
    if name not in bugs:
        raise NotFound(f"no planted bug {name!r}; there are: {', '.join(bugs)}")
    return bugs[name]()


def described(name: str, bugs: Mapping[str, Bug] = BUGS) -> str:
    """What the bug of this name breaks, in words."""
    return inspect.cleandoc(bugs[name].__doc__ or "")
