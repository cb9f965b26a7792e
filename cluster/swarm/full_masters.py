"""Whether an acting master that has no room for its log hands over to one that has (GFS 5.1.3).

In some of the seeds with several masters the disk of the acting one fills up for a while. The judge looks at all of
them many times a second. He complains when a tenure has refused changes for want of space, again and again, for
`_PATIENCE_SECONDS`, and another master could have acted the whole time: named in the charter, level, and with room on
its disk, of which the judge sees more than any master is told.
"""

import random
from typing import Any

from cluster.faultplan import At, DiskTrouble, Fault, TheMaster
from cluster.simulated import SimulatedCluster
from cluster.swarm.plan import Setup
from master.failover.handing_over import plan_successor
from master.log.reserve import RESERVE_BYTES
from runtime.faults.disk import FullDisk

WITH_FULL_MASTERS = 0.35
"""Of the seeds with several masters."""
_PATIENCE_SECONDS = 5.0
_REFUSALS = 3
_APART_SECONDS = 1.2


def full_masters(seed: int, setup: Setup) -> tuple[Fault, ...]:
    """In some of the seeds the acting master's disk fills up. Drawn apart from all else."""
    chance = random.Random(f"full masters {seed}")
    if chance.random() >= WITH_FULL_MASTERS:
        return ()
    when = chance.uniform(2.0, 0.6 * setup.trouble_seconds)
    return (Fault(At(round(when, 3)), DiskTrouble(FullDisk()), TheMaster(), chance.choice([8.0, 25.0, 60.0])),)


class FullMasterWatch:
    """Looks at the masters of one run."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._tenure = 0
        self._refusals: list[float] = []  # of the tenure, by its own clock, since another one could act

    def look(self) -> str:
        """What is wrong, in words; "" if nothing is."""
        acting: Any = self._cluster.acting_master()
        if acting is None or acting._tenure is None:
            return ""
        shipping, now = acting._tenure.shipping, acting._world.clock.now()
        seen = [shadow.seen(shipping.charter, now) for shadow in shipping.shadows.values()]
        roomy = [shadow.name for shadow in seen if self._has_room(shadow.name)]
        successor = plan_successor(seen, roomy, patience=acting._settings.shadow_patience_seconds)
        if shipping.charter.epoch != self._tenure or not successor:
            self._tenure, self._refusals = shipping.charter.epoch, []
            return ""
        refused = acting._refused_at
        if now - refused < _APART_SECONDS and (not self._refusals or refused - self._refusals[-1] >= _APART_SECONDS):
            self._refusals.append(refused)
        if len(self._refusals) < _REFUSALS or now - self._refusals[0] < _PATIENCE_SECONDS:
            return ""
        return (
            f"the acting master of epoch {self._tenure} has refused changes for {now - self._refusals[0]:.1f} s, as "
            f"its disk is full, and {successor} could have acted the whole time"
        )

    def _has_room(self, name: str) -> bool:
        server: Any = self._cluster.server(name)
        if server is None:
            return False
        has_refused = server._world.clock.now() - server._refused_at < 2 * _PATIENCE_SECONDS + 30.0
        disk: Any = self._cluster.simulation.world(name).simulated_disk
        return not has_refused and int(disk._free()) >= 4 * RESERVE_BYTES
