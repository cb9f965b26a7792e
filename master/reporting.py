"""What chunkservers say of themselves, and what they are answered (GFS 2.6.2, 3.1, 4.4, 4.5, 5.2).

The problem. Where replicas are is known best by the servers that hold them: disks fail, folders are emptied, machines
are renamed, and "a chunkserver has the final word over what chunks it does or does not have". The idea: the master
believes what it is told in registrations and heartbeats, compares versions, and keeps none of it on disk.

A registration lists everything a server holds. A heartbeat carries what changed since the last one, a few replicas in
turn for garbage collection, and the leases that its primaries want extended; the answer names extensions and garbage.

What we simplify. A registration is one message however many chunks it lists.
"""

from collections.abc import Iterable

from master.core import Core
from master.events import (
    ChunkserverRegistered,
    CorruptionReported,
    GarbageNamed,
    LeaseRevoked,
    ReplicaFound,
)
from master.garbage import GARBAGE, Verdict, judge_replica
from master.records import ServerJoined, VersionConfirmed
from master.servers import Address, Registration, Server
from runtime.errors import Conflict, InvalidRequest, NotFound, TabletopError, shown
from runtime.wire import common_pb2, master_pb2

_BREATHE_EVERY = 1000


class Reporting:
    """Listens to chunkservers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._adopting: dict[int, None] = {}

    async def register(self, request: master_pb2.RegisterRequest) -> master_pb2.RegisterReply:
        """A server starts, or comes back. Raises InvalidRequest, Conflict, or what the log raises for a new name."""
        core = self._core
        said = _registration(request)
        name = said.address.server
        before = core.servers.find(name)
        if before is not None and await self._is_taken(before, said):
            raise Conflict(
                f"there is already a live chunkserver {shown(name)} at {before.address.control}; "
                f"stop it, or give the one at {said.address.control} another name"
            )
        if name not in core.state.servers:
            await core.commit(ServerJoined(name))
        if core.servers.register(said, core.now):
            for lease in core.leases.end_those_of(name):
                core.emit(LeaseRevoked(handle=lease.handle, primary=name, reason="it has restarted"))
        core.condemned.pop(name, None)
        await self._forget_absent(name, {state.handle for state in request.chunks})
        self._reject_cut_short(name, request.chunks)
        garbage = await self._judge_all(name, request.chunks)
        core.emit(ChunkserverRegistered(server=name, chunks=len(request.chunks)))
        return master_pb2.RegisterReply(
            heartbeat_seconds=core.settings.heartbeat_seconds,
            garbage=self._condemn(name, garbage),
            chunk_bytes=core.settings.chunk_bytes,
        )

    async def heartbeat(self, request: master_pb2.HeartbeatRequest) -> master_pb2.HeartbeatReply:
        """A sign of life. `known` is false if the server has to register (again)."""
        core = self._core
        name = request.server
        if not core.servers.heartbeat(
            name, request.incarnation, total=request.disk_total_bytes, free=request.disk_free_bytes, now=core.now
        ):
            return master_pb2.HeartbeatReply(known=False)
        for handle in request.deleted:
            core.condemned.get(name, {}).pop(handle, None)
            core.unwanted.get(name, {}).pop(handle, None)
            if handle in core.state.chunks and not core.is_forming(handle):
                core.lose_replica(handle, name, "the server deleted it")
        garbage = await self._judge_all(name, [*request.changed, *request.sample])
        garbage += [handle for handle in core.unwanted.get(name, {}) if self._may_go(handle, name)]
        return master_pb2.HeartbeatReply(
            known=True, extensions=self._extensions(name, request.extend), garbage=self._condemn(name, garbage)
        )

    async def report_corruption(self, report: master_pb2.CorruptionReport) -> None:
        """A replica does not match its checksums: it no longer counts, and will be replaced (GFS 5.2).

        The last replica goes on counting: most of its blocks may be sound. Raises NotFound for an unknown server.
        """
        core = self._core
        server = core.servers.find(report.server)
        if server is None or server.incarnation != report.incarnation:
            raise NotFound(f"{shown(report.server)} is not registered in this incarnation; register first")
        core.emit(
            CorruptionReported(handle=report.handle, server=report.server, block=report.block, found=report.found)
        )
        if report.handle not in core.state.chunks:
            return
        replicas = core.state.chunks.replicas(report.handle)
        if report.server in replicas and len(core.live_servers(replicas)) > 1:
            core.unwanted.setdefault(report.server, {})[report.handle] = "corrupt"
            core.lose_replica(report.handle, report.server, "corrupt")

    async def _is_taken(self, before: Server, said: Registration) -> bool:
        """Whether another server lives under this name: two would pass for each other's replicas."""
        if not before.is_alive or before.incarnation == said.incarnation:
            return False
        return before.address.control != said.address.control and await self._core.calls.answers(before.name)

    # Judging

    def _reject_cut_short(self, server: str, states: Iterable[common_pb2.ChunkState]) -> None:
        """A server that comes back with less of a chunk than was reported before has lost what it had acknowledged.

        With durability "replicated" a power cut takes unsynced bytes and leaves the version, so that the version alone
        cannot expose such a replica (GFS 4.5). While other live servers hold the chunk, it is replaced by a copy of
        theirs. A server that was killed in the middle of a mutation that the others have applied is treated alike.
        """
        core = self._core
        for state in states:
            handle, chunks = state.handle, core.state.chunks
            if handle not in chunks or core.is_forming(handle) or state.version != chunks.version(handle):
                continue
            others = [other for other in core.live_servers(chunks.replicas(handle)) if other.name != server]
            if others and state.length < chunks.length(handle):
                core.unwanted.setdefault(server, {})[handle] = "cut short"
                reason = f"it came back with {state.length} of {chunks.length(handle)} bytes"
                core.lose_replica(handle, server, reason)

    async def _judge_all(self, server: str, states: Iterable[common_pb2.ChunkState]) -> list[int]:
        """Take note of reported replicas; returns the handles of those that are garbage."""
        garbage: list[int] = []
        for number, state in enumerate(states, start=1):
            if self._judge(server, state) in GARBAGE:
                garbage.append(state.handle)
            if number % _BREATHE_EVERY == 0:
                await self._core.world.breathe()
        return garbage

    def _judge(self, server: str, state: common_pb2.ChunkState) -> Verdict:
        core, handle = self._core, state.handle
        chunks = core.state.chunks
        known = handle in chunks
        verdict = judge_replica(
            reported=state.version,
            version=chunks.version(handle) if known else None,
            attempted=chunks.attempted(handle) if known else None,
            is_forming=core.is_forming(handle),
            is_unwanted=handle in core.unwanted.get(server, {}),
        )
        if verdict is Verdict.CURRENT and handle in core.condemned.get(server, {}):
            return Verdict.UNWANTED  # It was told to delete it, and will.
        if verdict is Verdict.CURRENT:
            if chunks.add_replica(handle, server):
                core.emit(ReplicaFound(handle=handle, server=server, version=state.version))
            chunks.note_length(handle, state.length)
        elif verdict is Verdict.STALE:
            core.lose_replica(handle, server, f"it has version {state.version}, not {chunks.version(handle)}")
        elif verdict is Verdict.NEWER and handle not in self._adopting:
            self._adopting[handle] = None
            core.world.spawn(
                self._adopt(server, handle, state.version, state.length), f"adopt a version of {handle:#x}"
            )
        elif verdict is Verdict.UNWANTED and not self._may_go(handle, server):
            return Verdict.FORMING  # It may still be needed as a last resort.
        return verdict

    async def _adopt(self, server: str, handle: int, version: int, length: int) -> None:
        """The master failed in the middle of a grant: take the higher version to be up-to-date (GFS 4.5)."""
        core = self._core
        chunks = core.state.chunks
        try:
            async with core.guard(handle):
                if handle not in chunks or version <= chunks.version(handle):
                    return
                await core.commit(VersionConfirmed(handle, version))
                if handle in chunks and chunks.version(handle) == version:
                    for other in chunks.replicas(handle):
                        core.lose_replica(handle, other, f"{server} has the higher version {version}")
                    chunks.add_replica(handle, server)
                    chunks.note_length(handle, length)
                    core.emit(ReplicaFound(handle=handle, server=server, version=version))
        except TabletopError:
            pass  # The log refused, and has said so. The replica will be reported again.
        finally:
            self._adopting.pop(handle, None)

    async def _forget_absent(self, server: str, reported: set[int]) -> None:
        """A registration lists everything: what it does not list is not there."""
        core = self._core
        unwanted = core.unwanted.get(server, {})
        for handle in [handle for handle in unwanted if handle not in reported]:
            del unwanted[handle]
        held = core.state.chunks.held_by(server)
        for number, handle in enumerate(held, start=1):
            if handle not in reported and not core.is_forming(handle):
                core.lose_replica(handle, server, "the server does not have it")
            if number % _BREATHE_EVERY == 0:
                await core.world.breathe()

    def _may_go(self, handle: int, server: str) -> bool:
        """Whether an unwanted replica may be deleted: enough good ones exist, or it stands in the way of a good one."""
        core = self._core
        if handle not in core.state.chunks:
            return True
        if core.is_forming(handle):
            return False
        chunk = core.state.chunks.chunk(handle)
        good = core.live_servers(chunk.replicas)
        if len(good) >= chunk.goal:
            return True
        others = [
            other
            for other in core.servers.alive()
            if other.name not in chunk.replicas and handle not in core.unwanted.get(other.name, {})
        ]
        return bool(good) and not others

    def _condemn(self, server: str, garbage: list[int]) -> list[int]:
        """Remember what a server is told to delete: no good replica is put there before it has."""
        if not garbage:
            return garbage
        condemned = self._core.condemned.setdefault(server, {})
        before = len(condemned)
        condemned.update(dict.fromkeys(garbage))
        if len(condemned) > before:
            self._core.emit(GarbageNamed(server=server, count=len(condemned) - before))
        return garbage

    def _extensions(self, server: str, wanted: Iterable[common_pb2.ChunkState]) -> list[master_pb2.LeaseExtension]:
        core = self._core
        seconds = core.settings.lease_seconds
        return [
            master_pb2.LeaseExtension(handle=state.handle, version=state.version, milliseconds=int(seconds * 1000))
            for state in wanted
            if core.leases.extend(state.handle, server, state.version, core.now + seconds)
        ]


def _registration(request: master_pb2.RegisterRequest) -> Registration:
    place = request.location
    if not place.server or not place.control_address or not place.bulk_address or not request.incarnation:
        raise InvalidRequest(
            f"a registration needs a name, two addresses and an incarnation; found {shown(place.server)} at "
            f"{shown(place.control_address)} and {shown(place.bulk_address)}, incarnation {request.incarnation}"
        )
    return Registration(
        Address(place.server, place.control_address, place.bulk_address),
        request.incarnation,
        request.rack,
        request.disk_total_bytes,
        request.disk_free_bytes,
    )
