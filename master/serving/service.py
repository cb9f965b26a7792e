"""The master's two gRPC faces: to clients, and to chunkservers.

Reads answer from memory and take no locks: memory holds only what is durable, and changes in one step. Mutations take
the locks of `namespace_locks.py`, check, log, apply, answer, and run to their end even if the client has gone. A
mutation that is asked for twice, because its answer was lost or the network doubled it, is made once (`requests.py`).

Renaming and deleting a file end the leases on its chunks first: whoever had it open under the old name cannot write it
any more (GFS 3.1: the master may revoke a lease "to disable mutations on a file that is being renamed"). Of a directory
only the leases that the master knows of are ended."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from master.chunks.leases import Lease
from master.core import Core
from master.events import EntryRenamed, FileDeleted, FileReplaced, ReplicationSet
from master.log.records import DirectoriesMade, EntryMoved, EntryRemoved, GoalChanged
from master.maintenance.draining import Draining
from master.maintenance.reclaiming import Reclaiming
from master.maintenance.repair import Repair
from master.namespace import paths
from master.namespace.namespace import DirectoryEntry, Entry, FileEntry
from master.namespace.namespace_locks import plan_locks
from master.protocol.admission import Admission
from master.protocol.checking import Checking
from master.protocol.granting import Granting, opened_file
from master.protocol.moving import Moving
from master.protocol.reporting import Reporting
from master.protocol.snapshotting import Snapshotting
from master.servers.chunkservers import location, locations
from master.serving.creating import Creating, checked_goal, default_goal
from master.serving.once import Once
from master.serving.snapshots import list_snapshots
from master.serving.status import cluster_status, safe_mode_status
from master.serving.trash import Trash, add_policies
from runtime.errors import Conflict, InvalidRequest, NotADirectory, TabletopError, Unavailable, shown
from runtime.wire import common_pb2, master_pb2, master_pb2_grpc

_ENTRIES_A_REPLY = 500
_FILES_A_CALL = 512
_MOST_HINTS = 4  # chunks in a row whose last bytes may all be gone
_ANSWER_SECONDS = 0.5  # kept back from a caller's deadline, for the way home


class MasterService(master_pb2_grpc.MasterServicer):
    """What clients call."""

    def __init__(
        self,
        core: Core,
        creating: Creating,
        granting: Granting,
        repair: Repair,
        reclaiming: Reclaiming,
        admission: Admission,
        snapshotting: Snapshotting,
        moving: Moving,
        draining: Draining,
    ) -> None:
        self._core = core
        self._moving = moving
        self._draining = draining
        self._creating = creating
        self._granting = granting
        self._repair = repair
        self._reclaiming = reclaiming
        self._admission = admission
        self._snapshotting = snapshotting
        self._checking = Checking(core)
        self._trash = Trash(core)
        self._once = Once(core)

    # Mutations of the namespace

    async def Create(self, request: master_pb2.CreateRequest, context: Any) -> master_pb2.FileInfo:
        """Make an empty file. Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest, TooFewServers."""
        return self._info(
            request.path, self._made(request, await self._do_once(request.request, self._creating.create, request))
        )

    async def CreateFiles(self, request: master_pb2.CreateFilesRequest, context: Any) -> master_pb2.CreateFilesReply:
        """Make files; each result says what became of its item, as by Create, or Unavailable: it is to be asked for
        alone. Raises InvalidRequest (too many)."""
        items = request.items
        if len(items) > _FILES_A_CALL:
            raise InvalidRequest(f"{len(items)} files in one call; expected at most {_FILES_A_CALL}")

        async def create(places: Sequence[int]) -> Sequence[int | TabletopError]:
            chosen = [items[place] for place in places]
            return await self._creating.create_all(chosen, with_chunks=request.with_chunks)

        names = [item.request for item in items]
        outcomes = await self._core.uninterrupted(self._once.do_all(names, create))
        pairs = zip(items, outcomes, strict=True)
        return master_pb2.CreateFilesReply(results=[self._result(item, outcome) for item, outcome in pairs])

    def _result(self, request: master_pb2.CreateRequest, outcome: int | TabletopError) -> master_pb2.CreateFileResult:
        if isinstance(outcome, TabletopError):
            kind = type(outcome).__name__
            return master_pb2.CreateFileResult(error_kind=kind, message=outcome.message, definite=outcome.definite)
        entry = self._made(request, outcome)
        result = master_pb2.CreateFileResult(file=self._info(request.path, entry))
        lease = self._core.leases.holder(entry.handles[0], self._core.now) if entry.handles else None
        if lease is not None:
            with suppress(Unavailable):  # Then FindLeaseHolder is asked, which says why.
                result.holder.CopyFrom(self._lease_holder(lease, 0))
        return result

    def _made(self, request: master_pb2.CreateRequest, file_id: int) -> FileEntry:
        """The file that this request has created."""
        entry = self._core.state.namespace.find(request.path)
        if isinstance(entry, FileEntry) and entry.file_id == file_id:
            return entry
        # It was created, and renamed or deleted before this repetition of the answer.
        goal = request.replication_goal or default_goal(self._core, request.path)
        return FileEntry(goal, self._core.world.clock.wall_microseconds(), (), file_id)

    async def MakeDirectory(self, request: master_pb2.MakeDirectoryRequest, context: Any) -> master_pb2.FileInfo:
        """Make a directory. Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest."""
        await self._do_once(request.request, self._make_directory, request)
        entry = self._core.state.namespace.find(request.path)
        made = entry if isinstance(entry, DirectoryEntry) else DirectoryEntry(0, 0)
        return self._info(request.path, made)

    async def Delete(self, request: master_pb2.DeleteRequest, context: Any) -> master_pb2.DeleteReply:
        """Hide a file or tree, or forget it at once.

        Raises NotFound, DirectoryNotEmpty, InvalidRequest, Conflict (another file than the one that was meant),
        Unavailable (a writer can be neither asked nor fenced off now)."""
        deadline = self._deadline(context)
        return master_pb2.DeleteReply(files=await self._do_once(request.request, self._delete, request, deadline))

    async def Rename(self, request: master_pb2.RenameRequest, context: Any) -> master_pb2.RenameReply:
        """Give an entry another path.

        Raises NotFound, AlreadyExists, NotADirectory, Conflict, InvalidRequest, Unavailable (as Delete).
        """
        await self._do_once(request.request, self._rename, request, self._deadline(context))
        return master_pb2.RenameReply()

    async def SetReplication(
        self, request: master_pb2.SetReplicationRequest, context: Any
    ) -> master_pb2.SetReplicationReply:
        """Give a file another replication goal; its chunks follow in the background.

        Raises NotFound, IsADirectory, NotADirectory, InvalidRequest, TooFewServers, Conflict (another file than the
        one that was meant)."""
        before = await self._do_once(request.request, self._set_replication, request)
        return master_pb2.SetReplicationReply(previous_goal=before)

    async def Snapshot(self, request: master_pb2.SnapshotRequest, context: Any) -> master_pb2.SnapshotReply:
        """A second copy of a file or a tree, at once (GFS 3.4).

        Raises NotFound, AlreadyExists, NotADirectory, InvalidRequest, Conflict, Unavailable (as Delete)."""
        files = await self._do_once(request.request, self._snapshotting.take, request, self._deadline(context))
        return master_pb2.SnapshotReply(files=files)

    async def _do_once(self, named: master_pb2.RequestId, work: Callable[..., Awaitable[int]], *arguments: Any) -> int:
        return await self._core.uninterrupted(self._once.do(named, lambda: work(*arguments)))

    def _deadline(self, context: Any) -> float:
        """When an answer to this caller must be on its way, by the master's clock."""
        remaining = context.time_remaining()
        patience = self._core.settings.lease_wait_seconds
        if remaining is not None:
            patience = min(patience, max(0.0, remaining - _ANSWER_SECONDS))
        return self._core.now + patience

    async def _make_directory(self, request: master_pb2.MakeDirectoryRequest) -> int:
        core, path, named = self._core, request.path, request.request
        core.refuse_in_safe_mode()
        while True:
            # Look first, so that only what is missing need be locked for writing, and look again under the locks.
            missing = core.state.namespace.plan_directories(path, parents=request.parents)
            async with core.locks.hold(plan_locks(read=[path], write=missing)):
                still_missing = core.state.namespace.plan_directories(path, parents=request.parents)
                if any(name not in missing for name in still_missing):
                    continue
                if still_missing:
                    now = core.world.clock.wall_microseconds()
                    await core.commit(
                        DirectoriesMade(tuple(still_missing), now, named.client, named.number, named.oldest)
                    )
                return 0

    async def _delete(self, request: master_pb2.DeleteRequest, deadline: float) -> int:
        core, path, named = self._core, request.path, request.request
        paths.check_path(path)
        core.refuse_in_safe_mode()
        async with core.locks.hold(plan_locks(write=[path])):
            self._check_meant(path, request.file_id)
            core.state.namespace.check_delete(path, recursive=request.recursive)
            await self._end_leases(path, deadline)
            files = sum(1 for _ in core.state.namespace.files_in(path))
            if request.immediately or paths.is_hidden(path) or core.keeps_nothing(path):
                await self._reclaiming.reclaim(EntryRemoved(path, files, named.client, named.number, named.oldest))
                return files
            hidden = core.hidden_name(path)
            await core.commit(EntryMoved(path, hidden, "", files, named.client, named.number, named.oldest))
        core.emit(FileDeleted(path=path, hidden=hidden, files=files))
        return files

    async def _rename(self, request: master_pb2.RenameRequest, deadline: float) -> int:
        core, source, target, named = self._core, request.source, request.target, request.request
        paths.check_path(source)
        paths.check_may_be_made(target)
        core.refuse_in_safe_mode()
        async with core.locks.hold(plan_locks(write=[source, target])):
            self._check_meant(source, request.file_id)
            core.state.namespace.check_rename(source, target, replace=request.replace)
            await self._end_leases(source, deadline)
            replaced = ""
            if core.state.namespace.find(target) is not None:
                await self._end_leases(target, deadline)
                replaced = core.hidden_name(target)
            await core.commit(EntryMoved(source, target, replaced, 0, named.client, named.number, named.oldest))
        if replaced:
            core.emit(FileReplaced(path=target, hidden=replaced))
        core.emit(EntryRenamed(source=source, target=target))
        return 0

    async def _set_replication(self, request: master_pb2.SetReplicationRequest) -> int:
        core, path, goal, named = self._core, request.path, request.replication_goal, request.request
        paths.check_path(path)
        core.refuse_in_safe_mode()
        async with core.locks.hold(plan_locks(write=[path])):
            entry = opened_file(core.state.namespace.file(path), path, request.file_id)
            if not goal:
                raise InvalidRequest(f"a replication goal of 0 for {shown(path)}; expected at least 1")
            if checked_goal(core, path, goal) != entry.goal:
                await core.commit(GoalChanged(path, goal, entry.goal, named.client, named.number, named.oldest))
        if goal != entry.goal:
            core.emit(ReplicationSet(path=path, goal=goal, before=entry.goal))
        return entry.goal

    def _check_meant(self, path: str, file_id: int) -> None:
        """Raise Conflict if the path names something else than the one file that was meant (0: any entry)."""
        entry = self._core.state.namespace.find(path)
        if isinstance(entry, FileEntry):
            opened_file(entry, path, file_id)
        elif entry is not None and file_id:
            raise Conflict(
                f"{shown(path)} is a directory now, expected file {file_id}: that one has been renamed or deleted"
            )

    async def _end_leases(self, path: str, deadline: float) -> None:
        """End the leases on all chunks at and below a path, whose write lock the caller holds, so that no others
        come."""
        namespace = self._core.state.namespace
        entry = namespace.find(path)
        if isinstance(entry, FileEntry):
            await self._granting.fence(entry.handles, deadline=deadline, thoroughly=True)
            return
        leased = [handle for _, file in namespace.files_in(path) for handle in file.handles]
        await self._granting.fence(leased, deadline=deadline, thoroughly=False)

    # Reading the namespace

    async def Stat(self, request: master_pb2.StatRequest, context: Any) -> master_pb2.FileInfo:
        """The facts of one entry. Raises NotFound, NotADirectory, InvalidRequest, Unavailable (right after a start)."""
        entry = self._core.state.namespace.get(paths.check_path(request.path))
        if isinstance(entry, FileEntry) and entry.handles:
            self._check_known(request.path, entry.handles[-1])
        return self._info(request.path, entry)

    async def List(self, request: master_pb2.ListRequest, context: Any) -> master_pb2.ListReply:
        """Some entries of a directory, in path order, behind `after`. Raises NotFound, NotADirectory,
        InvalidRequest, Unavailable (right after a start, if only chunkservers not heard of yet know a length)."""
        core, namespace = self._core, self._core.state.namespace
        path = paths.check_path(request.path)
        if isinstance(namespace.get(path), FileEntry):
            raise NotADirectory(f"{shown(path)} is a file; stat it, or list {shown(paths.parent_of(path))}")
        page = namespace.descendants if request.recursive else namespace.children
        limit = min(request.limit or _ENTRIES_A_REPLY, _ENTRIES_A_REPLY)
        entries = page(path, after=request.after, limit=limit)
        if not core.is_settled():
            for name, entry in entries:
                last = entry.handles[-1:] if isinstance(entry, FileEntry) else ()
                if last and not core.state.chunks.length_is_settled(*last):
                    self._check_known(name, *last)
        return master_pb2.ListReply(
            entries=[self._info(name, entry) for name, entry in entries], is_last=len(entries) < limit
        )

    # Chunks

    async def FindLocations(
        self, request: master_pb2.FindLocationsRequest, context: Any
    ) -> master_pb2.FindLocationsReply:
        """Where chunks are; a few more than asked for.

        Raises NotFound, IsADirectory, Conflict (another file than the one that was opened), Unavailable (after a
        start)."""
        core = self._core
        entry = core.state.namespace.file(paths.check_path(request.path))
        opened_file(entry, request.path, request.file_id)
        stop = min(len(entry.handles), request.first_index + request.count)
        for handle in entry.handles[request.first_index : stop]:
            self._check_known(request.path, handle)
        if request.count:
            stop = min(len(entry.handles), stop + core.settings.read_ahead_chunks)
        elif entry.handles:
            self._check_known(request.path, entry.handles[-1])
        return master_pb2.FindLocationsReply(
            file=self._info(request.path, entry),
            chunks=[self._locations(index, entry.handles[index]) for index in range(request.first_index, stop)],
        )

    async def FindLeaseHolder(self, request: master_pb2.FindLeaseHolderRequest, context: Any) -> master_pb2.LeaseHolder:
        """Who orders the mutations of a chunk.

        Raises NotFound, IsADirectory, Conflict (another file than the one that was opened), NoSpace, Unavailable (try
        again)."""
        core = self._core
        patience = self._deadline(context) - core.now
        lease = await core.uninterrupted(self._granting.find_lease_holder(request, patience))
        return self._lease_holder(lease, request.index)

    def _lease_holder(self, lease: Lease, index: int) -> master_pb2.LeaseHolder:
        """Raises Unavailable if not all of its servers can be named."""
        core = self._core
        names = (lease.primary, *lease.secondaries)
        found = [server for name in names if (server := core.servers.find(name)) is not None and server.address.control]
        if len(found) < len(names):
            # The lease is from before this master's start, and not all of its servers have registered again.
            raise Unavailable(f"{', '.join(names)} have not all registered yet; ask again in a moment", definite=True)
        servers = locations(found)
        length = core.state.chunks.length(lease.handle) if lease.handle in core.state.chunks else 0
        return master_pb2.LeaseHolder(
            handle=lease.handle,
            version=lease.version,
            index=index,
            length=length,
            primary=servers[0],
            secondaries=servers[1:],
            lease_milliseconds=max(0, int((lease.until - core.now) * 1000)),
        )

    async def GetClusterStatus(
        self, request: master_pb2.ClusterStatusRequest, context: Any
    ) -> master_pb2.ClusterStatus:
        """What is, now. Raises InvalidRequest."""
        return await cluster_status(self._core, self._repair, self._moving, self._draining, request)

    async def Drain(self, request: master_pb2.DrainRequest, context: Any) -> master_pb2.DrainReply:
        """Let chunkservers leave, or stay after all. Raises InvalidRequest, NotFound, TooFewServers."""
        await self._core.uninterrupted(self._draining.drain(list(request.servers), cancel=request.cancel))
        self._moving.hurry()
        return master_pb2.DrainReply()

    async def RemoveServer(self, request: master_pb2.RemoveServerRequest, context: Any) -> master_pb2.RemoveServerReply:
        """Forget a chunkserver on which nothing is left. Raises NotFound, Conflict."""
        await self._core.uninterrupted(self._draining.remove(request.server))
        return master_pb2.RemoveServerReply()

    async def AdmitReplica(self, request: master_pb2.AdmitReplicaRequest, context: Any) -> master_pb2.AdmitReplicaReply:
        """Let a chunk without a current replica go on with one that was put aside.

        Raises NotFound, Conflict, Unavailable (its server does not answer now)."""
        version = await self._do_once(request.request, self._admission.admit, request, self._deadline(context))
        return master_pb2.AdmitReplicaReply(version=version)

    async def VerifyChunk(self, request: master_pb2.VerifyChunkRequest, context: Any) -> master_pb2.VerifyChunkReply:
        """Have a chunk's replicas read now. Raises NotFound, Unavailable."""
        remaining = context.time_remaining()
        most = 2 * self._core.settings.verify_seconds
        answer_by = self._core.now + (most if remaining is None else min(most, max(0.0, remaining - _ANSWER_SECONDS)))
        found = await self._core.uninterrupted(
            self._checking.verify(request.handle, request.server, deadline=self._deadline(context), answer_by=answer_by)
        )
        return master_pb2.VerifyChunkReply(
            replicas=[
                master_pb2.VerifiedReplica(
                    server=replica.server,
                    state=replica.state.value,
                    version=replica.version,
                    length=replica.length,
                    digest=replica.digest,
                    damaged_blocks=replica.damaged_blocks,
                    problem=replica.problem,
                )
                for replica in found
            ]
        )

    async def ListTrash(self, request: master_pb2.ListTrashRequest, context: Any) -> master_pb2.ListTrashReply:
        """What was deleted and can be had back. Raises InvalidRequest."""
        return await self._trash.list(request)

    async def ListFileSnapshots(
        self, request: master_pb2.FileSnapshotsRequest, context: Any
    ) -> master_pb2.FileSnapshotsReply:
        """What snapshots there are of a file or a tree. Raises InvalidRequest."""
        return await list_snapshots(self._core, request)

    async def SetPolicy(self, request: master_pb2.SetPolicyRequest, context: Any) -> master_pb2.SetPolicyReply:
        """Let a directory say something for all below it. Raises NotFound, NotADirectory, InvalidRequest,
        TooFewServers."""
        await self._do_once(request.request, self._trash.set_policy, request)
        return master_pb2.SetPolicyReply()

    async def ChangeSafeMode(self, request: master_pb2.SafeModeRequest, context: Any) -> master_pb2.SafeMode:
        """Whether the master is in safe mode; enter or leave it first if asked to."""

        async def change() -> int:
            named = request.request
            is_on = request.action == master_pb2.SafeModeRequest.ENTER
            await self._core.set_safe_mode(is_on, (named.client, named.number, named.oldest))
            return 0

        if request.action != master_pb2.SafeModeRequest.GET:
            await self._do_once(request.request, change)
        return safe_mode_status(self._core)

    def _check_known(self, path: str, handle: int) -> None:
        """Right after a start no location is known: say so, instead of calling the chunk lost."""
        core = self._core
        if handle in core.state.chunks and not core.readable(handle) and not core.is_settled():
            raise Unavailable(
                f"the master has just started and has not heard yet where chunk {handle:#x} of {shown(path)} is; "
                "try again in a moment",
                definite=True,
            )

    def _info(self, path: str, entry: Entry) -> master_pb2.FileInfo:
        core = self._core
        if isinstance(entry, DirectoryEntry):
            info = master_pb2.FileInfo(
                path=path,
                is_directory=True,
                entry_count=entry.entries,
                created_microseconds=entry.created_microseconds,
                chunk_bytes=core.settings.chunk_bytes,
                length_is_settled=True,
            )
            add_policies(core, info)
            return info
        info = master_pb2.FileInfo(
            path=path,
            replication_goal=entry.goal,
            chunk_count=len(entry.handles),
            chunk_bytes=core.settings.chunk_bytes,
            created_microseconds=entry.created_microseconds,
            length_is_settled=True,
            file_id=entry.file_id,
        )
        self._add_length(info, entry.handles)
        return info

    def _add_length(self, info: master_pb2.FileInfo, handles: tuple[int, ...]) -> None:
        """How long the file is: it ends in the last chunk that is not empty. (A chunk may have been made for bytes that
        never came.) Unless all chunks behind that one are settled, the client has to ask the replicas of the tail. A
        length that is not settled is a hint: bytes that were never acknowledged may be gone, so that the tail goes on
        to a chunk that certainly holds bytes."""
        chunks = self._core.state.chunks
        tail: list[int] = []
        hints = 0
        for index in reversed(range(len(handles))):
            handle = handles[index]
            tail.append(index)
            is_settled, length = chunks.length_is_settled(handle), chunks.length(handle)
            info.length_is_settled = info.length_is_settled and is_settled
            if length and not hints:
                info.length = index * self._core.settings.chunk_bytes + length
            hints += length > 0
            if length and (is_settled or hints == _MOST_HINTS):
                break
        if not info.length_is_settled:
            info.tail.extend(self._locations(index, handles[index]) for index in reversed(tail))

    def _locations(self, index: int, handle: int) -> common_pb2.ChunkLocations:
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        return common_pb2.ChunkLocations(
            index=index,
            handle=handle,
            version=chunk.version,
            length=chunk.length,
            replicas=[location(server.address) for server in core.readable(handle)],
        )


class RegistryService(master_pb2_grpc.ChunkserverRegistryServicer):
    """What chunkservers call."""

    def __init__(self, core: Core, reporting: Reporting) -> None:
        self._core = core
        self._reporting = reporting

    async def Register(self, request: master_pb2.RegisterRequest, context: Any) -> master_pb2.RegisterReply:
        """A server starts, or comes back. Raises InvalidRequest, Conflict."""
        return await self._core.uninterrupted(self._reporting.register(request))

    async def Heartbeat(self, request: master_pb2.HeartbeatRequest, context: Any) -> master_pb2.HeartbeatReply:
        """A sign of life."""
        return await self._reporting.heartbeat(request)

    async def ReportCorruption(self, request: master_pb2.CorruptionReport, context: Any) -> master_pb2.CorruptionReply:
        """A replica is bad. Raises NotFound for a server that has to register first."""
        await self._reporting.report_corruption(request)
        return master_pb2.CorruptionReply()
