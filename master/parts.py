"""What a master is made of, on top of its memory: the same for one alone and for one that acts among several."""

import asyncio

from master.admission import Admission
from master.core import Core
from master.creating import Creating
from master.draining import Draining
from master.first_writes import FirstWrites
from master.granting import Granting
from master.mending import Mending
from master.moving import Moving
from master.new_chunks import NewChunks
from master.raising import Raising
from master.reclaiming import Reclaiming
from master.repair import Repair
from master.reporting import Reporting
from master.service import MasterService, RegistryService
from master.settling import Settling
from master.snapshotting import Snapshotting


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
