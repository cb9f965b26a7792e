"""What the master hears from this server: registration, heartbeats, damage (GFS 2.6.2, 3.1, 4.4, 5.2).

The problem. The master persists neither where replicas are nor how long they are, and it must learn when a server dies,
without asking a thousand of them. The idea: the server speaks first, regularly. At start, and whenever the master does
not know it, it says all it has; with each heartbeat what has changed, and a few of its chunks in turn. The answers
carry lease extensions, and the names of replicas that nobody needs.

Invariants:
1. A lease is extended from the moment at which the heartbeat was sent, not from that of the answer.
2. A replica is deleted only if it still has the version at which the master judged it.
3. What an unanswered heartbeat told is told again.

What we simplify. The master's absence is met by asking again every heartbeat, without growing pauses.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from chunkserver.advancing import to_wire
from chunkserver.chunk_store import ChunkStore, CorruptBlock, ReplicaState
from chunkserver.events import ChunksDeleted, CorruptionFound, LeaseEnded, MasterLost, Registered
from chunkserver.leases import LeaseTable
from chunkserver.settings import ChunkserverSettings
from runtime.errors import TabletopError
from runtime.wire.common_pb2 import Location
from runtime.wire.master_pb2 import CorruptionReport, HeartbeatReply, HeartbeatRequest, RegisterRequest
from runtime.wire.master_pb2_grpc import ChunkserverRegistryStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.master_pb2_grpc import ChunkserverRegistryAsyncStub

_CHANGES_AT_ONCE = 4096
_DELETIONS_BETWEEN_BREATHS = 16
_LEASE_MEMORY_SECONDS = 30.0
# A master that has restarted knows nothing of damage found before, and one that knew of no other replica yet has let
# the damaged one count: so all known damage is told again every few heartbeats, until the replica is gone.
_HEARTBEATS_BETWEEN_REPORTS = 10


class Heartbeats:
    """The conversation with the master."""

    def __init__(self, world: World, settings: ChunkserverSettings, store: ChunkStore, leases: LeaseTable) -> None:
        self.chunk_bytes = settings.chunk_bytes
        self.counters = {"heartbeats": 0, "registrations": 0, "chunks_deleted": 0, "corrupt_blocks": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._leases = leases
        self._incarnation = world.random.getrandbits(64)
        self._location = Location(server=world.node)
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._is_registered = False
        self._is_master_lost = False
        self._changed: dict[int, None] = {}
        self._deleted: dict[int, None] = {}
        self._garbage: dict[int, int] = {}
        self._is_deleting = False
        self._sampled = -1
        self._damage: dict[tuple[int, int, int], CorruptBlock] = {}
        self._unreported: dict[tuple[int, int, int], CorruptBlock] = {}
        self._is_reporting = False
        store.on_change = self._note_change
        store.on_corruption = self._note_corruption

    def is_known_bad(self, handle: int) -> bool:
        """Whether damage was found in the replica that is here now."""
        state = self._store.state(handle)
        return state is not None and any(key[:2] == (handle, state.version) for key in self._damage)

    async def run(self, location: Location) -> None:
        """Register, send heartbeats, for ever."""
        self._location = location
        while True:
            began = self._world.clock.now()
            try:
                if not self._is_registered:
                    await self._register()
                else:
                    await self._beat(began)
                self._is_master_lost = False
            except TabletopError as error:
                if not self._is_master_lost:
                    self._world.events.emit(MasterLost(master=self._settings.master_address, reason=error.message))
                self._is_master_lost = True
            if (self.counters["heartbeats"] + 1) % _HEARTBEATS_BETWEEN_REPORTS == 0:
                self._unreported.update(self._damage)
            self._report_damage()
            for lease in self._leases.drop_expired(self._world.clock.now(), _LEASE_MEMORY_SECONDS):
                if not lease.is_revoked:
                    self._world.events.emit(LeaseEnded(lease.handle, lease.version, "it was not extended"))
            await self._world.clock.sleep(max(0.0, began + self._heartbeat_seconds - self._world.clock.now()))

    async def _register(self) -> None:
        usage = await self._world.disk.usage()
        told = list(self._store.states())
        self._changed.clear()
        self._deleted.clear()
        reply = await self._stub().Register(
            RegisterRequest(
                location=self._location,
                incarnation=self._incarnation,
                rack=self._settings.rack,
                disk_total_bytes=usage.total_bytes,
                disk_free_bytes=usage.free_bytes,
                chunks=map(to_wire, told),
            ),
            timeout=max(self._settings.call_seconds, 10.0),
        )
        self._is_registered = True
        self._unreported.update(self._damage)
        self._heartbeat_seconds = reply.heartbeat_seconds or self._heartbeat_seconds
        self.chunk_bytes = reply.chunk_bytes or self.chunk_bytes
        self.counters["registrations"] += 1
        self._world.events.emit(Registered(master=self._settings.master_address, chunks=len(told)))
        self._delete_garbage(reply.garbage, told)

    async def _beat(self, sent_at: float) -> None:
        usage = await self._world.disk.usage()
        changed = [handle for handle, _ in zip(self._changed, range(_CHANGES_AT_ONCE), strict=False)]
        told = [state for handle in changed if (state := self._store.state(handle)) is not None]
        deleted = list(self._deleted)
        sample = self._store.states_after(self._sampled, self._settings.sample_chunks)
        wanted = [lease.handle for lease in self._leases.to_extend(sent_at, self._heartbeat_seconds)]
        request = HeartbeatRequest(
            server=self._world.node,
            incarnation=self._incarnation,
            disk_total_bytes=usage.total_bytes,
            disk_free_bytes=usage.free_bytes,
            changed=map(to_wire, told),
            sample=map(to_wire, sample),
            extend=[to_wire(state) for handle in wanted if (state := self._store.state(handle)) is not None],
            deleted=deleted,
        )
        for handle in changed:
            del self._changed[handle]
        try:
            reply = await self._stub().Heartbeat(request, timeout=self._settings.call_seconds)
        except BaseException:
            self._changed.update(dict.fromkeys(changed))
            raise
        for handle in deleted:
            self._deleted.pop(handle, None)
        self.counters["heartbeats"] += 1
        self._sampled = sample[-1].handle if 0 < len(sample) == self._settings.sample_chunks else -1
        self._follow(reply, sent_at, [*told, *sample])

    def _follow(self, reply: HeartbeatReply, sent_at: float, told: list[ReplicaState]) -> None:
        if not reply.known:
            self._is_registered = False
            return
        for extension in reply.extensions:
            until = sent_at + extension.milliseconds / 1000
            self._leases.extend(extension.handle, version=extension.version, until=until)
        self._delete_garbage(reply.garbage, told)

    # Garbage

    def _delete_garbage(self, handles: Iterable[int], told: list[ReplicaState]) -> None:
        """Delete what the master judged. A replica that it names without having been told of it just now is deleted
        only if it did not change since the question was sent."""
        versions = {state.handle: state.version for state in told}
        for handle in handles:
            state = self._store.state(handle)
            if state is not None and (handle in versions or handle not in self._changed):
                self._garbage[handle] = versions.get(handle, state.version)
        if self._garbage and not self._is_deleting:
            self._is_deleting = True
            self._world.spawn(self._delete_all(), "delete garbage")

    async def _delete_all(self) -> None:
        deleted: list[int] = []
        try:
            while self._garbage:
                handle, version = next(iter(self._garbage.items()))
                del self._garbage[handle]
                if await self._store.delete(handle, version=version):
                    deleted.append(handle)
                    self._deleted[handle] = None
                    self._changed.pop(handle, None)
                    self._leases.forget(handle)
                    self._damage = {key: block for key, block in self._damage.items() if key[0] != handle}
                if len(deleted) % _DELETIONS_BETWEEN_BREATHS == 0:
                    await self._world.breathe()
        finally:
            self._is_deleting = False
            self.counters["chunks_deleted"] += len(deleted)
            if deleted:
                names = tuple(hex(handle) for handle in deleted[:10])
                self._world.events.emit(ChunksDeleted(count=len(deleted), handles=names))

    # Damage

    def _note_change(self, handle: int) -> None:
        self._changed[handle] = None

    def _note_corruption(self, found: CorruptBlock) -> None:
        key = (found.handle, found.version, found.block)
        if key in self._damage:
            return
        self._damage[key] = self._unreported[key] = found
        self.counters["corrupt_blocks"] += 1
        self._world.events.emit(CorruptionFound(found.handle, found.block, "verification", found.found))
        self._report_damage()

    def _report_damage(self) -> None:
        if self._unreported and self._is_registered and not self._is_reporting:
            self._is_reporting = True
            self._world.spawn(self._report_all(), "report damage")

    async def _report_all(self) -> None:
        try:
            while self._unreported:
                key, found = next(iter(self._unreported.items()))
                report = CorruptionReport(
                    server=self._world.node,
                    incarnation=self._incarnation,
                    handle=found.handle,
                    version=found.version,
                    block=found.block,
                    found=found.found,
                )
                await self._stub().ReportCorruption(report, timeout=self._settings.call_seconds)
                self._unreported.pop(key, None)
        except TabletopError:
            pass  # The master is away: the next heartbeat tries again.
        finally:
            self._is_reporting = False

    def _stub(self) -> "ChunkserverRegistryAsyncStub":
        return ChunkserverRegistryStub(self._world.network.channel(self._settings.master_address))
