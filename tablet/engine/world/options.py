"""How an engine is set up, and what it needs of its world."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from runtime.errors import InvalidRequest
from runtime.events import EventLog
from runtime.world import Clock

SyncMode = Literal["fsync", "os"]

POLICY_NAMES = ("size_tiered", "leveling", "everything")
"""The compaction policies that `maintenance/policies.py` has."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """`fan_in`: how many files to merge at a time. `max_tables`: how many may stand before any merge will do."""

    fan_in: int = 4
    max_tables: int = 12


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a running engine; none is stored with the data.

    Memory is bounded by `memtable_bytes` times one plus `frozen_memtables`, the two caches, `pinned_bytes` for the
    blocks of in-memory locality groups, and a few bytes per row for index and filters. `sync`: "fsync" (a power cut
    takes nothing that was acknowledged) or "os" (a killed process loses nothing, a power cut may take the last writes).
    `flush_on_close_bytes`: a memtable larger than this is flushed at a clean close, for a quick reopening.
    `whole_blocks`: a point read always reads whole blocks; for a storage on which a small read costs as much as a large
    one. `sweeps`: whether the engine removes files that it no longer needs; where tablets share SSTables, their master
    does that (BT 6). `garbage_seconds`: about so long after it was written, what is deleted or older than its family's
    `MaxAge` is off the disk, though nothing is written any more; 0: only if a compaction comes by for another reason.
    """

    sync: SyncMode = "os"
    memtable_bytes: int = 64 * 1024 * 1024
    frozen_memtables: int = 1
    block_cache_bytes: int = 64 * 1024 * 1024
    whole_blocks: bool = False
    scan_cache_bytes: int = 16 * 1024 * 1024
    pinned_bytes: int = 64 * 1024 * 1024
    policy: str = "size_tiered"
    policy_settings: PolicySettings = PolicySettings()
    stall_tables: int = 24
    garbage_seconds: float = 24 * 3600.0
    flush_on_close_bytes: int = 4 * 1024 * 1024
    create: bool = True
    sweeps: bool = True

    def check(self) -> None:
        """Raise InvalidRequest for settings that make no sense."""
        if self.policy not in POLICY_NAMES:
            names = ", ".join(POLICY_NAMES)
            raise InvalidRequest(f"there is no compaction policy {self.policy!r}; choose one of {names}")
        if self.sync not in ("fsync", "os"):
            raise InvalidRequest(f'sync is {self.sync!r}; choose "fsync" or "os"')
        if self.memtable_bytes < 1024:
            raise InvalidRequest(f"memtable_bytes is {self.memtable_bytes}; choose at least 1,024")
        if self.frozen_memtables < 1:
            raise InvalidRequest(f"frozen_memtables is {self.frozen_memtables}; one must be allowed to wait")
        if self.garbage_seconds < 0:
            raise InvalidRequest(f"garbage_seconds is {self.garbage_seconds}; choose seconds, or 0 for never")
        if self.policy_settings.fan_in < 2:
            raise InvalidRequest(f"fan_in is {self.policy_settings.fan_in}; a merge takes at least 2 files")
        if self.policy_settings.fan_in > self.stall_tables:
            raise InvalidRequest(
                f"fan_in is {self.policy_settings.fan_in}, but writes wait at {self.stall_tables} files for a merge; "
                f"choose a smaller fan_in or more stall_tables"
            )
        if self.stall_tables <= self.policy_settings.max_tables:
            raise InvalidRequest(
                f"stall_tables is {self.stall_tables}; it must be above max_tables, {self.policy_settings.max_tables}"
            )


class EngineWorld(Protocol):
    """The part of `runtime.world.World` that an engine stands on."""

    clock: Clock
    events: EventLog

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> Any:
        """Run `work` in the background."""

    async def breathe(self) -> None:
        """Let others run, between two slices of long work."""
