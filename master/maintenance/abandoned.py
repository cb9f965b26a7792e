"""What killed clients leave under temporary names (GFS 2.7.2, 4.4).

The problem. A client writes a new file, or a whole folder, under a temporary name, and renames it when it is complete.
A client that is killed before that leaves the temporary name behind, and nobody else knows what it was for. The idea:
the master looks at all temporary names now and then, and remembers when something about each has last changed: a chunk
or a file came or went, or one of its chunks got a lease. What has not changed for a long while is deleted as a
user would delete it, so that it can be had back for the grace period.

A folder counts as a whole: the files in it have their final names already, and only what is above them is temporary.

What we simplify. A client that stood still for longer than `abandoned_seconds` finds its file gone, and fails.
"""

from dataclasses import dataclass

from master.core import Core
from master.events import FileDeleted
from master.log.records import EntryMoved
from master.namespace.namespace_locks import plan_locks


@dataclass(frozen=True, slots=True)
class Extent:
    """What lies at and below a temporary name, so far as it shows that somebody works on it."""

    files: int
    chunks: int
    highest_file_id: int
    versions: int
    """The sum of its chunks' versions: it rises with each lease, also with one that lived between two looks."""


class Abandoned:
    """Finds and deletes what was abandoned."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._unchanged: dict[str, tuple[Extent, float]] = {}  # path -> what was there, and since when

    async def delete(self) -> int:
        """Delete what was abandoned; returns how many entries. Raises what the log raises."""
        core = self._core
        now = core.now
        seen: dict[str, tuple[Extent, float]] = {}
        due: list[str] = []
        for path in core.state.namespace.temporary():
            extent = self._extent(path)
            before, since = self._unchanged.get(path, (extent, now))
            if extent != before or self._is_written(path):
                since = now
            seen[path] = extent, since
            if now - since >= core.settings.abandoned_seconds:
                due.append(path)
        self._unchanged = seen
        deleted = 0
        for path in due:
            async with core.locks.hold(plan_locks(write=[path])):
                extent, _ = seen[path]
                if core.state.namespace.find(path) is None or self._extent(path) != extent or self._is_written(path):
                    continue
                hidden = core.hidden_name(path)
                await core.commit(EntryMoved(path, hidden, "", extent.files))
            core.emit(FileDeleted(path=path, hidden=hidden, files=extent.files))
            deleted += 1
        return deleted

    def _extent(self, path: str) -> Extent:
        files = [file for _, file in self._core.state.namespace.files_in(path)]
        handles = [handle for file in files for handle in file.handles]
        return Extent(
            files=len(files),
            chunks=len(handles),
            highest_file_id=max((file.file_id for file in files), default=0),
            versions=sum(map(self._core.state.chunks.version, handles)),
        )

    def _is_written(self, path: str) -> bool:
        core, now = self._core, self._core.now
        below = core.state.namespace.files_in(path)
        return any(core.leases.holder(handle, now) is not None for _, file in below for handle in file.handles)
