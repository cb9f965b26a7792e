"""The master's work on names in the background: what is deleted, or left behind, is forgotten (GFS 4.4).

The loop scans the names. A deletion whose grace period is over is forgotten for good: its chunks become orphans, which
chunkservers hear of with their heartbeats. What killed clients have left under temporary names is deleted
(`abandoned.py`). A scan that meets an error ends, and the next one goes on: it has nobody to tell.
"""

from master.core import Core
from master.events import FileReclaimed
from master.log.records import EntryRemoved
from master.maintenance.abandoned import Abandoned
from master.maintenance.garbage import Sightings, is_due
from master.namespace import paths
from master.namespace.hidden_names import deletion_of
from master.namespace.namespace_locks import plan_locks
from runtime.errors import TabletopError

_RECLAIMED_IN_ONE_SCAN = 1000
_HIDDEN_IN_ONE_PAGE = 500


class Reclaiming:
    """Forgets what nobody wants any more."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._abandoned = Abandoned(core)
        self._sightings: dict[int | None, Sightings] = {}  # by the time for which things are kept; None: the cluster's

    async def scan_names(self) -> None:
        """Loop: reclaim deleted files whose grace period is over, and delete what killed clients have left."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.settings.namespace_scan_seconds)
            if core.holds_still:
                continue
            try:
                await core.uninterrupted(self.reclaim_due())
                await core.uninterrupted(self.delete_abandoned())
            except TabletopError:
                continue  # The log refused, and has said so.

    async def reclaim_due(self) -> int:
        """Forget the entries whose grace period is over; returns how many. Raises what the log raises."""
        core, grace = self._core, self._core.settings.trash_grace_seconds
        now, due = core.world.clock.wall_microseconds(), list[str]()
        seen: dict[int | None, int] = {None: self._seen_through(None)}
        after = ""
        while page := core.state.namespace.children(paths.HIDDEN_ROOT, after=after, limit=_HIDDEN_IN_ONE_PAGE):
            for path, _ in page:
                kept = deletion_of(path).kept_seconds
                if kept not in seen:
                    seen[kept] = self._seen_through(kept)
                if is_due(path, now_microseconds=now, grace_seconds=grace, seen_through=seen[kept]):
                    due.append(path)
                after = path
            if len(due) >= _RECLAIMED_IN_ONE_SCAN:
                break
            await core.world.breathe()
        for path in due:
            async with core.locks.hold(plan_locks(write=[path])):
                await self.reclaim(EntryRemoved(path))
        return len(due)

    def _seen_through(self, kept_seconds: int | None) -> int:
        """The last stamp that has been there for so long; None: for as long as the cluster keeps things."""
        seconds = self._core.settings.trash_grace_seconds if kept_seconds is None else kept_seconds
        sightings = self._sightings.setdefault(kept_seconds, Sightings(grace_seconds=seconds))
        return sightings.seen_through(self._core.now, self._core.state.last_stamp)

    async def reclaim(self, record: EntryRemoved) -> None:
        """Forget one entry for good, its chunks become orphans; the caller holds its write lock. Raises what the log
        raises."""
        core = self._core
        if core.state.namespace.find(record.path) is None:
            return  # It was brought back, or reclaimed by somebody else.
        entry, _ = core.state.namespace.deleted_entry(record.path)
        forgotten = await core.commit(record)
        core.emit(FileReclaimed(path=entry, chunks=len(forgotten)))

    async def delete_abandoned(self) -> int:
        """Delete what killed clients have left under temporary names; returns how many. Raises what the log raises."""
        return await self._abandoned.delete()
