"""Leases: what a writer asks for (GFS 3.1).

A writer asks who orders the mutations of a chunk. If somebody holds a lease, that is the answer. If not, the chunk's
version is raised on all its replicas (`raising.py`), one of them becomes primary, and the writer is told of it after
that.

A primary whose answer was lost may believe in a lease at a number that no client was ever told: it orders nothing.

A chunk that files share is copied before anybody gets a lease: the writer's file has a chunk of its own from then on
(`first_writes.py`).

A file is asked for by its path and its id. The path alone would lead to another file that has taken the name meanwhile.
A file that gets its next chunk may have room in the present one. Its primary is told to append no records there any
more, and later leases on it give no right to (3.3): a client that remembers it as the last is sent on.

A grant holds the path's read lock, so that a rename or a deletion, which ends the leases first, cannot be overtaken by
one.

A client that complains of a secondary says that the primary and that secondary do not reach each other, not which of
them is to blame. So the next lease goes to a third replica, and whoever has failed with two different ones is left out.
Otherwise a primary that a partition has parted from all others would have its clients complain one good replica away
after the other. With two replicas there is no third to ask: the secondary is left out, and the chunk is copied before
the next lease begins (`raising.py`).

What we simplify. A client's complaint counts when it comes twice and the server answers the master; GFS does not say
what it does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from master.chunks.leases import Lease, LeaseState
from master.core import Core
from master.namespace import paths
from master.namespace.namespace import FileEntry
from master.namespace.namespace_locks import plan_locks
from master.protocol.first_writes import FirstWrites
from master.protocol.moving import Moving
from master.protocol.new_chunks import NewChunks
from master.protocol.raising import Raising, in_order
from master.protocol.settling import Settling
from master.servers.servers import Server
from runtime.errors import Conflict, InvalidRequest, NotFound, Unavailable, shown
from runtime.settings import MOST_CHUNKS
from runtime.wire import master_pb2

_COMPLAINTS_BEFORE_ACTING = 2
_LOOK_SECONDS = 0.1
_PAIRS_REMEMBERED_SECONDS = 60.0


@dataclass(slots=True)
class _Complaint:
    """What clients say of one server of one lease, and who held the lease then."""

    count: int = 0
    primary: str = ""


class Granting:
    """Finds or makes the lease that a writer needs."""

    def __init__(
        self,
        core: Core,
        raising: Raising,
        settling: Settling,
        new_chunks: NewChunks,
        first_writes: FirstWrites,
        moving: Moving,
    ) -> None:
        self._core = core
        self._moving = moving
        self._raising = raising
        self._settling = settling
        self._new_chunks = new_chunks
        self._first_writes = first_writes
        self._complaints: dict[int, dict[str, _Complaint]] = {}
        # Pairs of servers of a chunk that failed each other, the primary first, and when.
        self._failed_pairs: dict[int, dict[tuple[str, str], float]] = {}

    async def find_lease_holder(self, request: master_pb2.FindLeaseHolderRequest, patience_seconds: float) -> Lease:
        """The live lease on a file's chunk, granted now if there is none; the chunk is created if `allocate`.

        Raises NotFound, IsADirectory, InvalidRequest, Conflict (the path names another file now), NoSpace (all
        definite), Unavailable (try again).
        """
        core, path, index = self._core, request.path, request.index
        paths.check_path(path)
        if paths.is_hidden(path):
            raise InvalidRequest(f"{shown(path)} was deleted and cannot be written; rename it back first")
        deadline = core.now + patience_seconds
        handles = self._file(request).handles
        if index < len(handles):
            lease = core.leases.holder(handles[index], core.now)
            for name in filter(None, (request.full, request.suspect)):
                # A secondary whose disk is full has failed its primary, and the client cannot tell why.
                self._moving.note_full(handles[index], name)
            is_content = not request.suspect and not request.refused_version and not request.full
            if lease is not None and is_content and not self._has_unheard(lease):
                return lease
            await self._make_way(handles[index], request, deadline)
        is_new = index >= len(handles)
        locks = plan_locks(write=[path]) if is_new else plan_locks(read=[path])
        async with core.locks.hold(locks):
            handles = self._file(request).handles
            if index >= len(handles):
                _check_index(path, index, len(handles), request.allocate)
                if not is_new:
                    raise Unavailable(f"{shown(path)} has changed meanwhile; ask again", definite=True)
                core.refuse_in_safe_mode()
                if index:
                    await self._end_appends(handles[index - 1], deadline)
                return await self._new_chunks.append(path, index)
            handle = handles[index]
            if core.state.chunks.is_frozen(handle):
                handle = await self._first_writes.own_chunk(path, index, deadline)
            return await self._lease_on(handle, request, deadline, file_goes_on=index + 1 < len(handles))

    def _file(self, request: master_pb2.FindLeaseHolderRequest) -> FileEntry:
        return opened_file(self._core.state.namespace.file(request.path), request.path, request.file_id)

    # Chunks that exist

    async def _make_way(self, handle: int, request: master_pb2.FindLeaseHolderRequest, deadline: float) -> None:
        """End a lease that serves this client no more, and wait for the end of one that cannot be ended. No lock on
        the path is held meanwhile: it may take as long as a lease. Raises Unavailable at the deadline."""
        core = self._core
        lease, unwanted = core.leases.holder(handle, core.now), 0
        if lease is not None and await self._is_to_be_replaced(lease, request):
            async with core.guard(handle, for_client=True, until=deadline):
                present = core.leases.holder(handle, core.now)
                if present is not None and present.version == lease.version:
                    unwanted = lease.version
                    if not await core.revoke(handle, self._complaint(lease, request), until=deadline):
                        core.leases.let_run_out(handle)
        while True:
            core.leases.expire(core.now)
            present = core.leases.lease(handle)
            is_held = core.leases.holder(handle, core.now) is not None
            if present is None or (is_held and present.version != unwanted) or present.until <= core.now:
                return
            if core.now >= deadline:
                raise Unavailable(
                    f"chunk {handle:#x} may be under a lease whose primary does not answer; "
                    f"it ends in {present.until - core.now:.1f} s: try again then",
                    definite=True,
                )
            await core.pause(max(0.001, min(present.until - core.now, deadline - core.now, _LOOK_SECONDS)))

    def _has_unheard(self, lease: Lease) -> bool:
        """Whether a server of an adopted lease has not registered since this master started."""
        found = [self._core.servers.find(name) for name in (lease.primary, *lease.secondaries)]
        return any(server is None or not server.address.control for server in found)

    async def _is_to_be_replaced(self, lease: Lease, request: master_pb2.FindLeaseHolderRequest) -> bool:
        """Whether a lease that a client complains about must end: its primary has disowned it, a suspect is silent, or
        the client insists. Also one whose servers do not all come back. Raises Unavailable while they may."""
        if self._has_unheard(lease):
            self._refuse_unless_settled(lease.handle)
            return True
        if request.refused_version == lease.version:
            return True
        if self._moving.is_waited_for(lease.handle) and self._may_be_moved(lease.handle):
            return True
        if request.suspect not in (lease.primary, *lease.secondaries):
            return False
        complaint = self._complaints.setdefault(lease.handle, {}).setdefault(request.suspect, _Complaint())
        complaint.count += 1
        complaint.primary = lease.primary
        if complaint.count >= _COMPLAINTS_BEFORE_ACTING or self._pairs_with(lease.handle, request.suspect):
            complaint.count = max(complaint.count, _COMPLAINTS_BEFORE_ACTING)
            return True
        server = self._core.servers.find(request.suspect)
        return server is None or not server.is_alive or not await self._core.calls.answers(request.suspect)

    def _refuse_unless_settled(self, handle: int) -> None:
        if not self._core.is_settled():
            raise Unavailable(
                f"the master has just started and has not heard yet from all servers of chunk {handle:#x}; try again "
                "in a moment",
                definite=True,
            )

    def _complaint(self, lease: Lease, request: master_pb2.FindLeaseHolderRequest) -> str:
        if request.refused_version == lease.version:
            return f"{lease.primary} has disowned it"
        if request.full:
            return f"the disk of {request.full} is full"
        return f"{request.suspect} failed a writer" if request.suspect else "one of its servers has not come back"

    async def _lease_on(
        self, handle: int, request: master_pb2.FindLeaseHolderRequest, deadline: float, *, file_goes_on: bool
    ) -> Lease:
        core = self._core
        async with core.guard(handle, for_client=True, until=deadline):
            if handle not in core.state.chunks:
                raise NotFound(f"chunk {handle:#x} was deleted meanwhile; look the file up again")
            if (lease := core.leases.holder(handle, core.now)) is not None:
                if self._has_unheard(lease):
                    raise Unavailable(f"chunk {handle:#x} has just changed hands; ask again", definite=True)
                return lease
            core.leases.expire(core.now)
            if core.leases.state(handle) is not LeaseState.ABSENT:
                raise Unavailable(f"chunk {handle:#x} is changing hands; ask again", definite=True)
            if self._moving.is_waited_for(handle) and self._may_be_moved(handle):
                raise Unavailable(
                    f"a replica of chunk {handle:#x} is on a full disk, and is copied to another one; try again in a "
                    "moment",
                    definite=True,
                )
            if not core.participants(handle):
                await self._settling.settle(handle)
            return await self._grant(handle, request.suspect, file_goes_on=file_goes_on)

    async def _grant(self, handle: int, suspect: str, *, file_goes_on: bool) -> Lease:
        """Give the lease to one of the chunk's replicas; the caller holds the guard, and no lease lives.

        A secondary that clients insist on is left out when it has failed with two primaries. A primary is not: it may
        have failed its clients only because one of its secondaries failed it, and then its replica is one of the good
        ones. It is the last to be primary again. Whoever it was, the comparison of the replicas tells which of them
        missed something.
        """
        core = self._core
        complaint = self._complaints.get(handle, {}).get(suspect, _Complaint())
        is_insisted = complaint.count >= _COMPLAINTS_BEFORE_ACTING
        if is_insisted and complaint.primary != suspect:
            self._note_failed_pair(handle, complaint.primary, suspect)
        alive = self._without_leaving(handle, core.participants(handle))
        without = self._to_be_left_out(handle, [server.name for server in alive], suspect) if is_insisted else ""
        targets = self._in_order(handle, [server for server in alive if server.name != without] or alive)
        current = core.state.chunks.replicas(handle)
        if is_insisted:
            targets.sort(key=lambda server: (server.name not in current, bool(self._pairs_with(handle, server.name))))
            targets.sort(key=lambda server: server.name == suspect)
        elif suspect:  # Its lease may be over before a client has given up waiting for it, so that nobody insists.
            targets.sort(key=lambda server: (server.name not in current, server.name == suspect))
        core.leases.begin(handle)
        try:
            raised = await self._raising.raise_version(
                handle, targets, reason="a lease is granted", is_grant=True, file_goes_on=file_goes_on
            )
            self._complaints.pop(handle, None)
            return core.begin_lease(handle, raised.version, raised.members, raised.answered)
        finally:
            if core.leases.state(handle) is LeaseState.GRANTING:
                core.leases.end(handle)

    def _may_be_moved(self, handle: int) -> bool:
        """Whether the chunk lacks a copy in the place of one on a full disk, and there is a server for it."""
        core, standing = self._core, self._moving.standing(handle)
        if not standing.lacks or not standing.leaving:
            return False
        needed = core.reserve_bytes + core.state.chunks.length(handle)
        able = [server for server in self._moving.open_servers() if server.free >= needed]
        replicas = core.state.chunks.replicas(handle)
        return any(server.name not in replicas and not server.is_troubled(core.now) for server in able)

    def _without_leaving(self, handle: int, servers: list[Server]) -> list[Server]:
        """Replicas that are to leave take no part in what is written once there are enough others: a chunk that is
        always written could never be moved, and one on a full disk not be appended to."""
        leaving = self._moving.standing(handle).leaving
        staying = [server for server in servers if server.name not in leaving]
        current = self._core.state.chunks.replicas(handle)
        enough = sum(server.name in current for server in staying) >= self._core.state.chunks.chunk(handle).goal
        return staying if enough else servers

    def _note_failed_pair(self, handle: int, primary: str, secondary: str) -> None:
        now, lasts = self._core.now, self._remembered_seconds
        self._failed_pairs.setdefault(handle, {})[primary, secondary] = now
        for known, pairs in list(self._failed_pairs.items()):
            kept = {pair: noted for pair, noted in pairs.items() if now - noted <= lasts}
            if kept:
                self._failed_pairs[known] = kept
            else:
                del self._failed_pairs[known]

    @property
    def _remembered_seconds(self) -> float:
        """How long two servers are known to have failed each other: however short leases are, a client takes its time
        until it complains of the next pair."""
        return max(_PAIRS_REMEMBERED_SECONDS, self._core.settings.lease_seconds)

    def _pairs_with(self, handle: int, server: str) -> set[str]:
        """The servers with which this one has failed lately, as replicas of the chunk."""
        oldest = self._core.now - self._remembered_seconds
        pairs = [pair for pair, noted in self._failed_pairs.get(handle, {}).items() if noted >= oldest]
        return {name for pair in pairs if server in pair for name in pair if name != server}

    def _to_be_left_out(self, handle: int, names: Sequence[str], suspect: str) -> str:
        """The replica to go on without; empty if there is none. Of two that fail each other it is the secondary."""
        counts = {name: len(self._pairs_with(handle, name) & set(names)) for name in names}
        worst = max(names, key=lambda name: (counts[name], name == suspect), default="")
        if not worst or not counts[worst] or (len(names) > 2 and counts[worst] < 2):
            return ""
        return worst

    def _in_order(self, handle: int, servers: Sequence[Server]) -> list[Server]:
        """The primary first: none with a damaged replica, as long as there is another."""
        current = self._core.state.chunks.replicas(handle)
        return sorted(in_order(handle, servers), key=lambda server: server.name not in current)

    # Leases that end before their time

    async def _end_appends(self, handle: int, deadline: float) -> None:
        """Return when no record can be appended any more to the last chunk of a file that gets another one (GFS 3.3):
        clients may remember it as the last for as long as they like, and readers may have left it. The caller holds the
        path's write lock, so that no lease begins meanwhile. Raises as `fence`."""
        if not await self._core.end_appends(handle, until=deadline):
            await self.fence([handle], deadline=deadline, thoroughly=True, reason="its file goes on in another chunk")

    async def fence(
        self,
        handles: Sequence[int],
        *,
        deadline: float,
        thoroughly: bool,
        reason: str = "its file changes its name",
    ) -> None:
        """Return when nobody who was told of a lease on these chunks can have a mutation acknowledged any more.

        A primary that answers gives its lease up. One that does not is fenced off by a higher version on those replicas
        that can be reached. `thoroughly`: chunks without a lease that the master knows of as well, unless it is sure
        that nobody can be writing them; after a start this is done in any case, for as long as leases may live that
        the run before has given. Raises Unavailable if neither is possible."""
        held = [handle for handle in handles if self._core.leases.state(handle) is not LeaseState.ABSENT]
        if thoroughly or not self._knows_all_leases():
            chunks = self._core.state.chunks
            held = [handle for handle in handles if handle in chunks and not chunks.length_is_settled(handle)]
        work = (self._fence_one(handle, deadline, reason) for handle in held)
        done = await asyncio.gather(*work, return_exceptions=True)
        for problem in done:  # After all have ended: none goes on when the caller lets go of the path.
            if isinstance(problem, BaseException):
                raise problem

    async def _fence_one(self, handle: int, deadline: float, reason: str) -> None:
        core = self._core
        async with core.guard(handle, for_client=True, until=deadline):
            if handle not in core.state.chunks or core.state.chunks.length_is_settled(handle):
                return
            is_revoked = await core.revoke(handle, reason, until=deadline)
            if is_revoked and core.state.chunks.length_is_settled(handle):
                return
            try:
                if alive := core.participants(handle):
                    await self._raising.raise_version(handle, in_order(handle, alive), reason="a writer is fenced off")
                else:
                    await self._settling.settle(handle)
            except Unavailable:
                # Otherwise a file whose servers, or their disks, are gone for good could never be deleted. But one that
                # says nothing at all may be serving a writer.
                names = [server.name for server in core.participants(handle)]
                if not self._has_run_out(handle) or not all([await core.calls.answers(name) for name in names]):
                    raise

    def _has_run_out(self, handle: int) -> bool:
        """Whether no lease on the chunk lives by the clock, not even one from an earlier run of the master. What safety
        rests on are versions, but there may be no replica left that takes one."""
        core = self._core
        return self._knows_all_leases() and core.leases.blocked_until(handle, core.now) <= core.now

    def _knows_all_leases(self) -> bool:
        """Whether the leases that an earlier run of the master gave have ended by the clock."""
        return self._core.now >= self._core.started + self._core.settings.lease_seconds


def opened_file(entry: FileEntry, path: str, file_id: int) -> FileEntry:
    """The entry, if it is the file that the client has opened (0: any). Raises Conflict."""
    if file_id not in (0, entry.file_id):
        raise Conflict(
            f"{shown(path)} is another file now (number {entry.file_id}, expected {file_id}): the one that was opened "
            "has been renamed, replaced or deleted; open the path again"
        )
    return entry


def _check_index(path: str, index: int, count: int, allocate: bool) -> None:
    if index >= MOST_CHUNKS:
        raise InvalidRequest(f"chunk {index} of {shown(path)}: a file may have {MOST_CHUNKS} chunks")
    if index > count or not allocate:
        raise NotFound(f"{shown(path)} has {count} chunks, there is no number {index}; look the file up again")
