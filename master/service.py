"""The master's two gRPC faces: to clients, and to chunkservers.

Reads answer from memory and take no locks: memory holds only what is durable, and changes in one step. Mutations take
the locks of `namespace_locks.py`, check, log, apply, answer, and run to their end even if the client has gone.
"""

from collections.abc import AsyncIterator
from typing import Any

from master import paths
from master.chunkservers import location, locations
from master.core import Core
from master.events import EntryRenamed, FileCreated, FileDeleted
from master.granting import Granting
from master.namespace import DirectoryEntry, Entry, FileEntry
from master.namespace_locks import plan_locks
from master.records import DirectoriesMade, EntryMoved
from master.records import FileCreated as FileCreatedRecord
from master.repair import Repair
from master.reporting import Reporting
from master.settings import LARGEST_GOAL
from master.status import cluster_status
from runtime.errors import InvalidRequest, NotADirectory, TooFewServers, Unavailable, shown
from runtime.wire import common_pb2, master_pb2, master_pb2_grpc

_ENTRIES_A_REPLY = 500
_ANSWER_SECONDS = 0.5  # kept back from a caller's deadline, for the way home


class MasterService(master_pb2_grpc.MasterServicer):
    """What clients call."""

    def __init__(self, core: Core, granting: Granting, repair: Repair) -> None:
        self._core = core
        self._granting = granting
        self._repair = repair

    # Mutations of the namespace

    async def Create(self, request: master_pb2.CreateRequest, context: Any) -> master_pb2.FileInfo:
        """Make an empty file. Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest, TooFewServers."""
        return await self._core.uninterrupted(self._create(request))

    async def MakeDirectory(self, request: master_pb2.MakeDirectoryRequest, context: Any) -> master_pb2.FileInfo:
        """Make a directory. Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest."""
        return await self._core.uninterrupted(self._make_directory(request))

    async def Delete(self, request: master_pb2.DeleteRequest, context: Any) -> master_pb2.DeleteReply:
        """Hide a file or tree, or forget it at once. Raises NotFound, DirectoryNotEmpty, InvalidRequest."""
        return await self._core.uninterrupted(self._delete(request))

    async def Rename(self, request: master_pb2.RenameRequest, context: Any) -> master_pb2.RenameReply:
        """Give an entry another path. Raises NotFound, AlreadyExists, NotADirectory, Conflict, InvalidRequest."""
        return await self._core.uninterrupted(self._rename(request))

    async def _create(self, request: master_pb2.CreateRequest) -> master_pb2.FileInfo:
        core, path = self._core, request.path
        paths.check_may_be_made(path)
        goal = self._goal(path, request.replication_goal)
        async with core.locks.hold(plan_locks(write=[path])):
            core.state.namespace.check_create(path)
            await core.commit(FileCreatedRecord(path, goal, core.world.clock.wall_microseconds()))
            entry = core.state.namespace.file(path)
        core.emit(FileCreated(path=path, goal=goal))
        return self._info(path, entry)

    async def _make_directory(self, request: master_pb2.MakeDirectoryRequest) -> master_pb2.FileInfo:
        core, path = self._core, request.path
        while True:
            # Look first, so that only what is missing need be locked for writing, and look again under the locks.
            missing = core.state.namespace.plan_directories(path, parents=request.parents)
            async with core.locks.hold(plan_locks(read=[path], write=missing)):
                still_missing = core.state.namespace.plan_directories(path, parents=request.parents)
                if any(name not in missing for name in still_missing):
                    continue
                if still_missing:
                    now = core.world.clock.wall_microseconds()
                    await core.commit(DirectoriesMade(tuple(still_missing), now))
                return self._info(path, core.state.namespace.get(path))

    async def _delete(self, request: master_pb2.DeleteRequest) -> master_pb2.DeleteReply:
        core, path = self._core, request.path
        paths.check_path(path)
        async with core.locks.hold(plan_locks(write=[path])):
            core.state.namespace.check_delete(path, recursive=request.recursive)
            files = sum(1 for _ in core.state.namespace.files_in(path))
            forget = request.immediately or paths.is_hidden(path)
            if not forget:
                hidden = paths.hidden_name(path, core.state.unused_stamp(core.world.clock.wall_microseconds()))
                await core.commit(EntryMoved(path, hidden, ""))
                core.emit(FileDeleted(path=path, hidden=hidden, files=files))
        if forget:
            await self._repair.reclaim(path)
        return master_pb2.DeleteReply(files=files)

    async def _rename(self, request: master_pb2.RenameRequest) -> master_pb2.RenameReply:
        core, source, target = self._core, request.source, request.target
        paths.check_path(source)
        paths.check_may_be_made(target)
        async with core.locks.hold(plan_locks(write=[source, target])):
            core.state.namespace.check_rename(source, target, replace=request.replace)
            replaced = ""
            if core.state.namespace.find(target) is not None:
                replaced = paths.hidden_name(target, core.state.unused_stamp(core.world.clock.wall_microseconds()))
            await core.commit(EntryMoved(source, target, replaced))
        core.emit(EntryRenamed(source=source, target=target))
        return master_pb2.RenameReply()

    def _goal(self, path: str, wanted: int) -> int:
        goal = wanted or self._core.settings.replication_goal
        known = len(self._core.servers)
        if goal > LARGEST_GOAL:
            raise InvalidRequest(f"a replication goal of {goal} for {shown(path)}; expected at most {LARGEST_GOAL}")
        if goal > known:
            raise TooFewServers(
                f"{shown(path)} should have {goal} replicas, but only {known} chunkservers ever registered; "
                f"start more, or ask for at most {known}"
            )
        return goal

    # Reading the namespace

    async def Stat(self, request: master_pb2.StatRequest, context: Any) -> master_pb2.FileInfo:
        """The facts of one entry. Raises NotFound, NotADirectory, InvalidRequest, Unavailable (right after a start)."""
        entry = self._core.state.namespace.get(paths.check_path(request.path))
        if isinstance(entry, FileEntry) and entry.handles:
            self._check_known(request.path, entry.handles[-1])
        return self._info(request.path, entry)

    async def List(self, request: master_pb2.ListRequest, context: Any) -> AsyncIterator[master_pb2.ListReply]:
        """The entries of a directory, in path order, a few hundred a message. Raises NotFound, NotADirectory."""
        namespace = self._core.state.namespace
        path = paths.check_path(request.path)
        if isinstance(namespace.get(path), FileEntry):
            raise NotADirectory(f"{shown(path)} is a file; stat it, or list {shown(paths.parent_of(path))}")
        page = namespace.descendants if request.recursive else namespace.children
        after = ""
        while entries := page(path, after=after, limit=_ENTRIES_A_REPLY):
            yield master_pb2.ListReply(entries=[self._info(name, entry) for name, entry in entries])
            after = entries[-1][0]
            await self._core.world.breathe()

    # Chunks

    async def FindLocations(
        self, request: master_pb2.FindLocationsRequest, context: Any
    ) -> master_pb2.FindLocationsReply:
        """Where chunks are; a few more than asked for. Raises NotFound, IsADirectory, Unavailable (after a start)."""
        core = self._core
        entry = core.state.namespace.file(paths.check_path(request.path))
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
        """Who orders the mutations of a chunk. Raises NotFound, IsADirectory, NoSpace, Unavailable (try again)."""
        core = self._core
        remaining = context.time_remaining()
        patience = core.settings.lease_wait_seconds
        if remaining is not None:
            patience = min(patience, max(0.0, remaining - _ANSWER_SECONDS))
        lease = await core.uninterrupted(
            self._granting.find_lease_holder(
                request.path,
                request.index,
                allocate=request.allocate,
                suspect=request.suspect,
                patience_seconds=patience,
            )
        )
        found = [core.servers.find(name) for name in (lease.primary, *lease.secondaries)]
        servers = locations([server for server in found if server is not None])
        length = core.state.chunks.length(lease.handle) if lease.handle in core.state.chunks else 0
        return master_pb2.LeaseHolder(
            handle=lease.handle,
            version=lease.version,
            index=request.index,
            length=length,
            primary=servers[0],
            secondaries=servers[1:],
            lease_milliseconds=max(0, int((lease.until - core.now) * 1000)),
        )

    async def GetClusterStatus(
        self, request: master_pb2.ClusterStatusRequest, context: Any
    ) -> master_pb2.ClusterStatus:
        """What is, now."""
        return await cluster_status(self._core, clones_running=self._repair.clones_running, with_chunks=request.chunks)

    def _check_known(self, path: str, handle: int) -> None:
        """Right after a start no location is known: say so, instead of calling the chunk lost."""
        core = self._core
        if handle in core.state.chunks and not core.state.chunks.replicas(handle) and not core.is_settled():
            raise Unavailable(
                f"the master has just started and has not heard yet where chunk {handle:#x} of {shown(path)} is; "
                "try again in a moment",
                definite=True,
            )

    def _info(self, path: str, entry: Entry) -> master_pb2.FileInfo:
        core = self._core
        if isinstance(entry, DirectoryEntry):
            return master_pb2.FileInfo(
                path=path,
                is_directory=True,
                entry_count=entry.entries,
                created_microseconds=entry.created_microseconds,
                chunk_bytes=core.settings.chunk_bytes,
                length_is_settled=True,
            )
        info = master_pb2.FileInfo(
            path=path,
            replication_goal=entry.goal,
            chunk_count=len(entry.handles),
            chunk_bytes=core.settings.chunk_bytes,
            created_microseconds=entry.created_microseconds,
            length_is_settled=True,
        )
        if entry.handles:
            last = entry.handles[-1]
            info.length = (len(entry.handles) - 1) * core.settings.chunk_bytes + core.state.chunks.length(last)
            info.length_is_settled = core.lease_may_live_until(last) <= core.now and (
                core.is_settled() or bool(core.state.chunks.replicas(last))
            )
            if not info.length_is_settled:
                info.last_chunk.CopyFrom(self._locations(len(entry.handles) - 1, last))
        return info

    def _locations(self, index: int, handle: int) -> common_pb2.ChunkLocations:
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        return common_pb2.ChunkLocations(
            index=index,
            handle=handle,
            version=chunk.version,
            length=chunk.length,
            replicas=[location(server.address) for server in core.live_servers(chunk.replicas)],
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
