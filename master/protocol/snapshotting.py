"""Snapshots of files and trees (GFS 3.4, 4.1).

The problem. A user wants a copy of a large data set within a second, while others may be writing to it, and the copy
must hold exactly what was acknowledged before it. The idea, as in the paper, "standard copy-on-write": first nobody can
write any more, then one record is logged, then the names are duplicated, and the copies share the chunks of what they
are copies of. No chunk is copied before one of its files is written again (`first_writes.py`).

    1  read locks on the directories above, write locks on source and target: nothing below the source changes, and
       nobody gets a lease on a chunk there, until the snapshot is taken                            namespace_locks.py
    2  leases on chunks below the source are revoked, or fenced off by a higher version: every mutation that was
       acknowledged is on all replicas, and no more can come                                        granting.py
    3  ONE record is logged, whatever the number of files; it reserves their ids as well            records.py
    4  the entries are duplicated, the chunks get one file more and are frozen                      state.py

Only chunks that somebody may have written need a call to anybody. Right after a start the master does not know which
ones these are, as the leases of the run before may live: then all chunks below the source are fenced off, as many as
time permits, and a client that asks again finds these done.

A snapshot of a tree is one moment for all files in it. A write that is under way at that moment may be in it, or not.

What we simplify. The tree is walked, in steps, to count its files; the duplication itself is one step."""

from itertools import islice

from master.core import Core
from master.events import SnapshotPrepared, SnapshotTaken
from master.log.records import SnapshotTakenAt
from master.namespace import paths
from master.namespace.namespace import FileEntry
from master.namespace.namespace_locks import plan_locks
from master.protocol.granting import Granting, opened_file
from master.protocol.new_chunks import NewChunks
from runtime.errors import Conflict, shown
from runtime.wire import master_pb2

_FENCED_AT_ONCE = 512
# A primary counts its lease by its own clock, which may be a little slower than this one.
_CLOCK_ERROR = 1.1


class Snapshotting:
    """Takes snapshots."""

    def __init__(self, core: Core, granting: Granting, new_chunks: NewChunks) -> None:
        self._core = core
        self._granting = granting
        self._new_chunks = new_chunks

    async def take(self, request: master_pb2.SnapshotRequest, deadline: float) -> int:
        """Take a snapshot; returns how many files it has.

        Raises NotFound, AlreadyExists, NotADirectory, InvalidRequest, Conflict (another file than the one that was
        meant), Unavailable (a writer can be neither asked nor fenced off before the deadline), and what the log raises.
        """
        core, source, target, named = self._core, request.source, request.target, request.request
        paths.check_path(source)
        paths.check_may_be_made(target)
        core.refuse_in_safe_mode()
        async with core.locks.hold(plan_locks(write=[source, target])):
            namespace = core.state.namespace
            namespace.check_snapshot(source, target)
            self._check_meant(source, request.file_id)
            files, handles = await self._survey(source, target)
            await self._end_writing(handles, deadline)
            first = await self._new_chunks.new_numbers(files)
            who = named.client, named.number, named.oldest
            core.emit(SnapshotPrepared(source=source, target=target, files=files, first_file_id=first))
            await core.commit(SnapshotTakenAt(source, target, first, files, *who, core.world.clock.wall_microseconds()))
            core.emit(SnapshotTaken(source=source, target=target, files=files))
        return files

    def _check_meant(self, path: str, file_id: int) -> None:
        entry = self._core.state.namespace.get(path)
        if isinstance(entry, FileEntry):
            opened_file(entry, path, file_id)
        elif file_id:
            raise Conflict(f"{shown(path)} is a directory now, expected file {file_id}: that one has been renamed")

    async def _survey(self, source: str, target: str) -> tuple[int, list[int]]:
        """How many files there are at and below the source, and which of their chunks somebody may be writing. Raises
        InvalidRequest if a path would be too long."""
        core, chunks = self._core, self._core.state.chunks
        may_be_open = dict.fromkeys(chunks.open_chunks()) if self._knows_all_leases() else None
        files, found = 0, list[int]()
        for batch in core.state.namespace.batches_in(source):
            core.state.namespace.check_grown(source, target, batch.longest)
            files += batch.files
            if may_be_open is None:
                found += [handle for handle in batch.handles if not chunks.length_is_settled(handle)]
            elif may_be_open:
                found += [handle for handle in batch.handles if handle in may_be_open]
            await core.world.breathe()
        return files, found

    async def _end_writing(self, handles: list[int], deadline: float) -> None:
        left = iter(handles)
        while some := list(islice(left, _FENCED_AT_ONCE)):
            await self._granting.fence(some, deadline=deadline, thoroughly=True, reason="a snapshot is taken")

    def _knows_all_leases(self) -> bool:
        """Whether the leases that an earlier run of the master gave have ended, by whatever clock."""
        core = self._core
        return core.now >= core.started + _CLOCK_ERROR * core.settings.lease_seconds
