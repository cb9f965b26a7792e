"""What chunkservers say of themselves, and what they are answered (GFS 2.6.2, 3.1, 4.4, 4.5, 5.2).

The problem. Where replicas are is known best by the servers that hold them: disks fail, folders are emptied, machines
are renamed, and "a chunkserver has the final word over what chunks it does or does not have". The idea: the master
believes what it is told in registrations and heartbeats, compares versions, and keeps none of it on disk.

A registration lists everything a server holds, and the leases it has, of which a master that has just started cannot
know. A heartbeat carries what changed since the last one, a few replicas in turn for garbage collection, and the leases
that its primaries want extended; the answer names extensions and removals.

A removal names a version: a replica with a newer one is another replica, and stays. A replica of an unknown chunk is an
orphan and removed at once, unless its number was never given out: then this master's log has lost its end, and nothing
is removed that only the lost part could explain. A server of another namespace is refused, and none of its chunks is
touched.

What we simplify. A registration is one message however many chunks it lists.
"""

from collections.abc import Iterable

from master.balance.heat import Heat
from master.balance.racks import Place
from master.chunks.judging import Reported, judge_report
from master.chunks.replicas import READABLE, ReplicaState
from master.core import Core
from master.events import (
    ChunkserverRegistered,
    CorruptionReported,
    LeaseAdopted,
    LeaseRevoked,
    RemovalOrdered,
    ReplicaReportOutdated,
    ReportOutdated,
    StrangerRefused,
)
from master.log.records import ServerJoined
from master.servers.servers import Address, Registration, Server
from runtime.errors import Conflict, ForeignNamespace, InvalidRequest, NotFound, Superseded, shown
from runtime.wire import common_pb2, master_pb2

_YIELD_EVERY = 1000


class Reporting:
    """Listens to chunkservers."""

    def __init__(self, core: Core, heat: Heat) -> None:
        self._core = core
        self._heat = heat

    async def register(self, request: master_pb2.RegisterRequest) -> master_pb2.RegisterReply:
        """A server starts, or comes back.

        Raises InvalidRequest, ForeignNamespace, Conflict (the name is taken), Superseded (a later report has come), or
        what the log raises for a new name."""
        core = self._core
        said = _registration(request)
        name = said.address.server
        self._refuse_stranger(name, request.namespace)
        if core.servers.is_outdated(said):
            core.emit(ReportOutdated(server=name, sequence=said.sequence))
            raise Superseded(f"a later report of {shown(name)} has come already; this one is not judged")
        before = core.servers.find(name)
        if before is not None and await self._is_taken(before, said):
            raise Conflict(
                f"there is already a live chunkserver {shown(name)} at {before.address.control}; "
                f"stop it, or give the one at {said.address.control} another name"
            )
        if name not in core.state.servers:
            await core.commit(ServerJoined(name))
        if core.servers.is_outdated(said):
            raise Superseded(f"a later report of {shown(name)} has come meanwhile; this one is not judged")
        core.listening[name] = said
        try:
            if core.servers.register(said, core.now):
                for lease in core.leases.end_those_of(name):
                    core.emit(LeaseRevoked(handle=lease.handle, primary=name, reason="it has restarted"))
            await self._judge_registration(said, request.chunks, request.unreadable)
        finally:
            if core.listening.get(name) is said:
                del core.listening[name]
        core.look_at_safe_mode()
        self._adopt_leases(name, request.leases)
        core.emit(ChunkserverRegistered(server=name, chunks=len(request.chunks)))
        return master_pb2.RegisterReply(
            heartbeat_seconds=core.settings.heartbeat_seconds,
            removals=self._removals(name),
            chunk_bytes=core.settings.chunk_bytes,
            authority=core.authority,
        )

    async def heartbeat(self, request: master_pb2.HeartbeatRequest) -> master_pb2.HeartbeatReply:
        """A sign of life. `known` is false if the server has to register (again)."""
        core = self._core
        name = request.server
        known = core.servers.heartbeat(
            name,
            request.incarnation,
            sequence=request.sequence,
            total=request.disk_total_bytes,
            free=request.disk_free_bytes,
            now=core.now,
        )
        if not known:
            if known is None:
                core.emit(ReportOutdated(server=name, sequence=request.sequence))
            return master_pb2.HeartbeatReply(known=known is None, authority=core.authority)
        for read in request.reads:
            if read.handle in core.state.chunks:
                self._heat.note(read.handle, read.bytes, now=core.now)
        for removal in request.removed:
            self._note_removed(name, removal)
        for number, state in enumerate([*request.changed, *request.sample], start=1):
            self._judge(name, state, is_registration=False)
            if number % _YIELD_EVERY == 0:
                await core.world.breathe()
                server = core.servers.find(name)
                if server is None or not server.is_alive or server.sequence != request.sequence:
                    return master_pb2.HeartbeatReply(known=True, authority=core.authority)  # A later one has come.
        return master_pb2.HeartbeatReply(
            known=True,
            extensions=self._extensions(name, request.extend),
            removals=self._removals(name),
            authority=core.authority,
        )

    async def report_corruption(self, report: master_pb2.CorruptionReport) -> None:
        """A replica does not match its checksums: it no longer counts, and will be replaced (GFS 5.2).

        Raises NotFound for an unknown server.
        """
        core = self._core
        server = core.servers.find(report.server)
        if server is None or server.incarnation != report.incarnation:
            raise NotFound(f"{shown(report.server)} is not registered in this incarnation; register first")
        core.emit(
            CorruptionReported(handle=report.handle, server=report.server, block=report.block, found=report.found)
        )
        state = core.replicas.state(report.handle, report.server)
        if state not in (ReplicaState.CURRENT, ReplicaState.SURPLUS) or report.handle not in core.state.chunks:
            return
        if report.version < core.state.chunks.version(report.handle):
            return  # It was found before the version rose: if the damage is still there, it will be found again.
        core.judge(
            report.handle,
            report.server,
            ReplicaState.CORRUPT,
            version=report.version,
            reason=f"block {report.block} is corrupt: {report.found}",
        )

    def _refuse_stranger(self, name: str, namespace: int) -> None:
        core = self._core
        if namespace in (0, core.state.identity):
            return
        core.emit(StrangerRefused(server=name, found=namespace, expected=core.state.identity))
        raise ForeignNamespace(
            f"the chunks of {shown(name)} belong to namespace {namespace:016x}, this master keeps "
            f"{core.state.identity:016x}; start the master on its own state folder, or give the server an empty one"
        )

    async def _is_taken(self, before: Server, said: Registration) -> bool:
        """Whether another server lives under this name: two would pass for each other's replicas."""
        if not before.is_alive or before.incarnation == said.incarnation:
            return False
        return before.address.control != said.address.control and await self._core.calls.answers(before.name)

    # Judging

    async def _judge_registration(
        self, said: Registration, states: Iterable[common_pb2.ChunkState], unreadable: Iterable[int]
    ) -> None:
        """A registration lists everything: what it does not list is not there."""
        core, server = self._core, said.address.server
        reported: set[int] = set()
        for number, state in enumerate(states, start=1):
            reported.add(state.handle)
            self._judge(server, state, is_registration=True)
            if number % _YIELD_EVERY == 0:
                await core.world.breathe()
                if core.listening.get(server) is not said:
                    raise Superseded(f"a later report of {shown(server)} has come meanwhile; this one is not judged")
        for handle in unreadable:
            reported.add(handle)
            if handle in core.state.chunks and core.replicas.state(handle, server) in READABLE:
                reason = "its server cannot read its files now"
                core.judge(handle, server, ReplicaState.UNREADABLE, version=0, reason=reason)
        gone = [handle for handle in core.state.chunks.held_by(server) if handle not in reported]
        others = [state for state in ReplicaState if state not in (ReplicaState.FORMING, ReplicaState.ABSENT)]
        gone += [
            replica.handle for replica in core.replicas.of_server(server, *others) if replica.handle not in reported
        ]
        for handle in gone:
            core.judge(handle, server, ReplicaState.ABSENT, reason="the server does not have it")

    def _judge(self, server: str, state: common_pb2.ChunkState, *, is_registration: bool) -> None:
        core, handle = self._core, state.handle
        chunks, was = core.state.chunks, core.replicas.state(handle, server)
        is_known = handle in chunks
        verdict = judge_report(
            Reported(state.version, state.unsure, state.damaged),
            version=chunks.version(handle) if is_known else None,
            attempted=chunks.attempted(handle) if is_known else 0,
            is_member=is_known and server in chunks.members(handle),
            was=was,
            is_registration=is_registration,
            condemned_through=core.replicas.version(handle, server),
            is_of_admission=chunks.is_of_admission(handle, state.version),
        )
        if was is ReplicaState.CONDEMNED and verdict is not was:
            core.judge(handle, server, ReplicaState.ABSENT)
        if verdict is was:
            if was is ReplicaState.CURRENT and state.version >= chunks.version(handle):
                chunks.note_length(handle, state.length)
            elif was is ReplicaState.CURRENT:
                core.emit(ReplicaReportOutdated(handle=handle, server=server, version=state.version))
            elif was is ReplicaState.STALE and is_known:
                core.judge(
                    handle, server, was, version=state.version, reason=_why_stale(state.version, chunks.version(handle))
                )
            return
        if verdict is ReplicaState.STALE:
            reason = _why_stale(state.version, chunks.version(handle))
        else:
            reason = "its server has lost power" if state.unsure else ""
        core.judge(handle, server, verdict, version=state.version, reason=reason, length=state.length)
        if verdict is ReplicaState.ORPHAN and handle < core.state.handle_limit:
            core.judge(handle, server, ReplicaState.CONDEMNED, version=state.version, reason="its chunk is not known")

    def _note_removed(self, server: str, removal: common_pb2.Removal) -> None:
        """What was removed is not there, whatever it was taken for meanwhile. A copy that was made after the
        removal has a higher version: a clone raises it first."""
        core, handle = self._core, removal.handle
        state = core.replicas.state(handle, server)
        known = core.replicas.version(handle, server)
        if state is ReplicaState.CURRENT:
            known = core.state.chunks.version(handle)
        is_gone = state is ReplicaState.CONDEMNED or removal.version >= known
        if is_gone and state not in (ReplicaState.ABSENT, ReplicaState.FORMING):
            core.judge(handle, server, ReplicaState.ABSENT, reason="the server removed it")

    def _removals(self, server: str) -> list[common_pb2.Removal]:
        """What the server is to remove: said with every answer until it has said that it is done, or the order is
        over (`repair.py` gives another one, if the others are verified again)."""
        if self._core.failure:
            return []  # What looks like an orphan may belong to a record that the next run of this master finds.
        if self._core.is_starting or self._core.holds_still:
            return []  # Safe mode. An order that is not repeated is over.
        core, orders = self._core, []
        for replica in core.replicas.of_server(server, ReplicaState.CONDEMNED):
            # Of a chunk that is forgotten nothing is ever needed again, so that these orders have no end.
            is_known = replica.handle in core.state.chunks
            seconds = replica.until - core.now if is_known else core.removal_seconds
            if seconds > 0:
                milliseconds = int(seconds * 1000)
                orders.append(
                    common_pb2.Removal(handle=replica.handle, version=replica.version, milliseconds=milliseconds)
                )
        if orders:
            core.emit(RemovalOrdered(server=server, count=len(orders)))
        return orders

    def _adopt_leases(self, server: str, leases: Iterable[master_pb2.HeldLease]) -> None:
        """Leases that an earlier run of this master granted: they count as if this one had granted them."""
        core = self._core
        for held in leases:
            chunks = core.state.chunks
            if held.handle not in chunks or chunks.version(held.handle) != held.version:
                continue
            if chunks.attempted(held.handle) != held.version:
                continue  # A raise had begun: some of its secondaries may refuse everything under it.
            if chunks.is_frozen(held.handle):
                continue  # A snapshot has fenced it off.
            if core.is_guarded(held.handle) or core.leases.lease(held.handle) is not None:
                continue
            until = core.now + held.milliseconds / 1000
            chunks.unsettle_length(held.handle)
            core.leases.adopt(
                held.handle, version=held.version, primary=server, secondaries=tuple(held.secondaries), until=until
            )
            core.emit(LeaseAdopted(handle=held.handle, version=held.version, primary=server))

    def _extensions(self, name: str, wanted: Iterable[common_pb2.ChunkState]) -> list[master_pb2.LeaseExtension]:
        core = self._core
        seconds = core.settings.lease_seconds
        return [
            master_pb2.LeaseExtension(handle=state.handle, version=state.version, milliseconds=int(seconds * 1000))
            for state in wanted
            if core.leases.extend(state.handle, name, state.version, core.now + seconds)
        ]


def _why_stale(found: int, version: int) -> str:
    if found > version:
        return f"it was left out of version {version}, and has the number {found} of an admission that failed"
    return f"it has version {found}, not {version}"


def _registration(request: master_pb2.RegisterRequest) -> Registration:
    place = request.location
    if not place.server or not place.control_address or not place.bulk_address or not request.incarnation:
        raise InvalidRequest(
            f"a registration needs a name, two addresses and an incarnation; found {shown(place.server)} at "
            f"{shown(place.control_address)} and {shown(place.bulk_address)}, incarnation {request.incarnation}"
        )
    return Registration(
        Address(place.server, place.control_address, place.bulk_address, Place(place.data_centre, place.rack)),
        request.incarnation,
        request.disk_total_bytes,
        request.disk_free_bytes,
        request.disk,
        request.life,
        request.sequence,
    )
