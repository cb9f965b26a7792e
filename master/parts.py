"""What a master is made of, on top of its memory: the same for one alone and for one that acts among several."""

import asyncio

from master.admission import Admission
from master.core import Core
from master.creating import Creating
from master.granting import Granting
from master.mending import Mending
from master.new_chunks import NewChunks
from master.raising import Raising
from master.repair import Repair
from master.reporting import Reporting
from master.service import MasterService, RegistryService
from master.settling import Settling


class Parts:
    """The protocols of one core, and its two faces."""

    def __init__(self, core: Core) -> None:
        self.core = core
        raising = Raising(core)
        mending = Mending(core)
        settling = Settling(core, raising, mending)
        new_chunks = NewChunks(core, raising)
        self.creating = Creating(core, new_chunks)
        self.granting = Granting(core, raising, settling, new_chunks)
        self.repair = Repair(core, raising, settling, mending)
        self.admission = Admission(core, raising)
        self.reporting = Reporting(core)
        self.service = MasterService(core, self.creating, self.granting, self.repair, self.admission)
        self.registry = RegistryService(core, self.reporting)

    def begin(self) -> list[asyncio.Task[None]]:
        """Start the work in the background."""
        spawn = self.core.world.spawn
        return [
            spawn(self.repair.watch_clock(), "watch the clock"),
            spawn(self.repair.mend_chunks(), "mend chunks"),
            spawn(self.repair.scan_names(), "scan names"),
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
