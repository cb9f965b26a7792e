"""What a master is made of, on top of its memory: the same for one alone and for one that acts among several."""

import asyncio

from master.core import Core
from master.maintenance.draining import Draining
from master.maintenance.reclaiming import Reclaiming
from master.maintenance.repair import Repair
from master.protocol.admission import Admission
from master.protocol.first_writes import FirstWrites
from master.protocol.granting import Granting
from master.protocol.mending import Mending
from master.protocol.moving import Moving
from master.protocol.new_chunks import NewChunks
from master.protocol.raising import Raising
from master.protocol.reporting import Reporting
from master.protocol.settling import Settling
from master.protocol.snapshotting import Snapshotting
from master.serving.creating import Creating
from master.serving.service import MasterService, RegistryService


class Parts:
    """The protocols of one core, and its two faces."""

    def __init__(self, core: Core) -> None:
        self.core = core
        raising = Raising(core)
        mending = Mending(core)
        settling = Settling(core, raising, mending)
        self.moving = Moving(core)
        new_chunks = NewChunks(core, raising, self.moving)
        self.creating = Creating(core, new_chunks)
        first_writes = FirstWrites(core, raising, settling, new_chunks)
        self.granting = Granting(core, raising, settling, new_chunks, first_writes, self.moving)
        self.snapshotting = Snapshotting(core, self.granting, new_chunks)
        self.repair = Repair(core, raising, settling, mending, self.moving)
        self.draining = Draining(core)
        self.reclaiming = Reclaiming(core)
        self.admission = Admission(core, raising)
        self.reporting = Reporting(core, self.moving.heat)
        self.service = MasterService(
            core,
            self.creating,
            self.granting,
            self.repair,
            self.reclaiming,
            self.admission,
            self.snapshotting,
            self.moving,
            self.draining,
        )
        self.registry = RegistryService(core, self.reporting)

    def begin(self) -> list[asyncio.Task[None]]:
        """Start the work in the background."""
        spawn = self.core.world.spawn
        return [
            spawn(self.repair.watch_clock(), "watch the clock"),
            spawn(self.repair.mend_chunks(), "mend chunks"),
            spawn(self.reclaiming.scan_names(), "scan names"),
            spawn(self.moving.keep_looking(), "look at all chunks"),
        ]

    def counters(self) -> dict[str, int]:
        """What was counted since the start, for Describe."""
        core = self.core
        return {
            "log_records": core.log.next_sequence - 1,
            "log_bytes": core.log.log_bytes,
            "log_syncs": core.log.syncs,
            "advance_calls": core.calls.calls,
            "advance_items": core.calls.items,
            "files": core.state.namespace.files,
            "chunks": len(core.state.chunks),
            "leases": len(core.leases),
            "clones_running": self.repair.clones_running,
        }
