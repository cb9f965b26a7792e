"""What the master hears from this server: registration, heartbeats, damage (GFS 2.6.2, 3.1, 4.4, 5.2).

The problem. The master persists neither where replicas are nor how long they are, and it must learn when a server dies,
without asking a thousand of them. The idea: the server speaks first, regularly. At start, and whenever the master does
not know it, it says all it has; with each heartbeat what has changed, and a few of its chunks in turn. The answers
carry lease extensions, and the names of replicas that nobody needs.

Reports are numbered, so that the master can tell an old one that was delayed from a new one. Answers say who gives
them, as orders do (`authority.py`): a master of another namespace, or one that was replaced, is not obeyed.

Invariants:
1. A lease is extended from the moment at which the heartbeat was sent, not from that of the answer.
2. A replica is removed only if its version is at most the one that the master named, and while the order holds: the
   last answer has it, and its time, counted from the sending of that heartbeat, is not over. A removal that has begun
   is ended, whatever becomes of the order. It is durable before it is told.
3. What an unanswered heartbeat told is told again.
4. Nothing is done for a master before its namespace and epoch are on stable storage.

Of several masters one acts, and this conversation is with that one. Who is not in charge says so, and whom to ask; who
does not answer is followed by the next of the list. The others hear only what is held here (`shadow_reports.py`).

What we simplify. A master that does not answer is asked again every heartbeat, without growing pauses; only one that
refuses, or is refused, is asked less often.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from chunkserver.events import (
    ChunkPutAside,
    ChunksDeleted,
    CorruptionFound,
    LeaseEnded,
    MasterLost,
    MasterRefused,
    Registered,
    RemovalBegun,
    RemovalFailed,
    RemovalOver,
    RemovalRefused,
)
from chunkserver.mutation.advancing import to_wire
from chunkserver.mutation.authority import Obedience
from chunkserver.mutation.leases import LeaseTable
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.chunk_store import ChunkStore, CorruptBlock
from chunkserver.storage.identity import IdentityFile
from chunkserver.storage.opening import Unreadable
from chunkserver.storage.reads import ReadCounts
from runtime.errors import ForeignNamespace, NotActing, Superseded, TabletopError, TimedOut
from runtime.wire.common_pb2 import Location, Removal
from runtime.wire.master_pb2 import (
    ChunkReads,
    CorruptionReport,
    HeartbeatReply,
    HeartbeatRequest,
    HeldLease,
    RegisterRequest,
)
from runtime.wire.master_pb2_grpc import ChunkserverRegistryStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.master_pb2_grpc import ChunkserverRegistryAsyncStub

_CHANGES_AT_ONCE = 4096
_REMOVALS_BETWEEN_BREATHS = 16
_LEASE_MEMORY_SECONDS = 30.0
_LONGEST_HEARTBEAT_SECONDS = 3600.0  # What asks for more, or for no number at all, is not followed.
_LONGEST_PAUSE_SECONDS = 5.0  # between two tries with a master that is refused, or refuses
# A master that has restarted knows nothing of damage found before, and one that knew of no other replica yet has let
# the damaged one count: so all known damage is told again every few heartbeats, until the replica is gone.
_HEARTBEATS_BETWEEN_REPORTS = 10


@dataclass(frozen=True, slots=True)
class _RemovalOrder:
    """Up to which version a replica is to be removed, and until when the order holds, in seconds of this clock."""

    version: int
    until: float


class Heartbeats:
    """The conversation with the master."""

    def __init__(
        self,
        world: World,
        settings: ChunkserverSettings,
        store: ChunkStore,
        leases: LeaseTable,
        identity: IdentityFile,
        obedience: Obedience,
        unreadable: Unreadable,
        reads: ReadCounts,
    ) -> None:
        self.chunk_bytes = settings.chunk_bytes
        self.masters = settings.master_address.split(",")
        self.master_address = self.masters[0]  # of the one that acts, as far as is known
        self.on_changed: Callable[[int], None] = _nobody  # told of each chunk that changes, and of each that is removed
        self.answered: float | None = None  # when the master last answered a heartbeat, by this server's clock
        self.counters = {"heartbeats": 0, "registrations": 0, "chunks_deleted": 0, "corrupt_blocks": 0}
        self._world = world
        self._settings = settings
        self._store = store
        self._leases = leases
        self._identity = identity
        self._obedience = obedience
        self._unreadable = unreadable
        self._reads = reads
        self._is_trying_again = False
        self._incarnation = world.random.getrandbits(64)
        self._sequence = 0
        self._location = Location(server=world.node)
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._is_registered = False
        self._is_master_lost = False
        self._refusals = 0  # in a row
        self._changed: dict[int, None] = {}
        self._removed: dict[int, int] = {}  # Versions, by chunk, to be told.
        self._to_remove: dict[int, _RemovalOrder] = {}
        self._unremovable: dict[int, None] = {}
        self._is_removing = False
        self._sampled = -1
        self._damage: dict[tuple[int, int, int], CorruptBlock] = {}
        self._unreported: dict[tuple[int, int, int], CorruptBlock] = {}
        self._is_reporting = False
        store.on_change = self._note_change
        store.on_corruption = self._note_corruption

    @property
    def incarnation(self) -> int:
        """Drawn at the start of this process."""
        return self._incarnation

    async def run(self, location: Location) -> None:
        """Register, send heartbeats, for ever."""
        self._location = location
        while True:
            began = self._world.clock.now()
            await self._speak(began)
            if (self.counters["heartbeats"] + 1) % _HEARTBEATS_BETWEEN_REPORTS == 0:
                self._report_again()
            self._report_damage()
            self._remove_what_is_left()
            self._try_again()
            for lease in self._leases.drop_expired(self._world.clock.now(), _LEASE_MEMORY_SECONDS):
                if not lease.is_revoked:
                    self._world.events.emit(LeaseEnded(lease.handle, lease.version, "it was not extended"))
            await self._world.clock.sleep(max(0.0, began + self._pause_seconds() - self._world.clock.now()))

    async def _speak(self, began: float) -> None:
        """One heartbeat, with the master that acts: of several each is asked once, until one answers."""
        for _ in self.masters:
            try:
                if self._is_registered:
                    await self._beat(began)
                if not self._is_registered:  # A master that has just started learns at once who is there.
                    await self._register()
                self._is_master_lost, self._refusals = False, 0
                return
            except (ForeignNamespace, Superseded) as error:
                self._is_registered = False
                if not self._refusals:
                    self._world.events.emit(MasterRefused(master=self.master_address, reason=error.message))
                self._refusals += 1
                self._turn(error)
            except TabletopError as error:
                if not self._is_master_lost:
                    self._world.events.emit(MasterLost(master=self.master_address, reason=error.message))
                self._is_master_lost = True
                self._turn(error)
                if isinstance(error, TimedOut):
                    return  # The next heartbeat is due.

    def _turn(self, error: TabletopError) -> None:
        """Ask another master next: the one that was named, or the next of the list."""
        if len(self.masters) > 1:
            self._is_registered = False
            named = [address for address in error.servers if address in self.masters]
            if isinstance(error, NotActing) and named and named[0] != self.master_address:
                self.master_address = named[0]
            else:
                self.master_address = self.masters[(self.masters.index(self.master_address) + 1) % len(self.masters)]

    def _pause_seconds(self) -> float:
        grown = self._heartbeat_seconds * 2.0 ** min(self._refusals, 16)
        return max(self._heartbeat_seconds, min(grown, _LONGEST_PAUSE_SECONDS))

    async def _register(self) -> None:
        usage = await self._world.disk.usage()
        told = list(self._store.states())
        self._changed.clear()
        self._removed.clear()
        self._sequence += 1
        identity, now = self._identity.now, self._world.clock.now()
        reply = await self._stub().Register(
            RegisterRequest(
                location=self._location,
                incarnation=self._incarnation,
                disk_total_bytes=usage.total_bytes,
                disk_free_bytes=usage.free_bytes,
                chunks=map(to_wire, told),
                namespace=identity.namespace,
                disk=identity.disk,
                life=identity.life,
                sequence=self._sequence,
                leases=[
                    HeldLease(
                        handle=lease.handle,
                        version=lease.version,
                        milliseconds=int((lease.until - now) * 1000),
                        secondaries=[secondary.server for secondary in lease.secondaries],
                    )
                    for lease in self._leases.held(now)
                ],
                unreadable=self._unreadable.handles(),
            ),
            timeout=max(self._settings.call_seconds, 10.0),
        )
        await self._obedience.check(reply.authority)
        self._is_registered = True
        self._report_again()
        if 0 < reply.heartbeat_seconds <= _LONGEST_HEARTBEAT_SECONDS:
            self._heartbeat_seconds = reply.heartbeat_seconds
        self.chunk_bytes = reply.chunk_bytes or self.chunk_bytes
        self.counters["registrations"] += 1
        self._world.events.emit(Registered(master=self.master_address, chunks=len(told)))
        self._note_removals(reply.removals, now)

    async def _beat(self, sent_at: float) -> None:
        usage = await self._world.disk.usage()
        changed = [handle for handle, _ in zip(self._changed, range(_CHANGES_AT_ONCE), strict=False)]
        told = [state for handle in changed if (state := self._store.state(handle)) is not None]
        removed = dict(self._removed)
        sample = self._store.states_after(self._sampled, self._settings.sample_chunks)
        wanted = [lease.handle for lease in self._leases.to_extend(sent_at, self._heartbeat_seconds)]
        self._sequence += 1
        request = HeartbeatRequest(
            server=self._world.node,
            incarnation=self._incarnation,
            disk_total_bytes=usage.total_bytes,
            disk_free_bytes=usage.free_bytes,
            changed=map(to_wire, told),
            sample=map(to_wire, sample),
            extend=[to_wire(state) for handle in wanted if (state := self._store.state(handle)) is not None],
            removed=[Removal(handle=handle, version=version) for handle, version in removed.items()],
            sequence=self._sequence,
            reads=[ChunkReads(handle=handle, bytes=count) for handle, count in self._reads.take()],
        )
        for handle in changed:
            del self._changed[handle]
        try:
            reply = await self._stub().Heartbeat(request, timeout=self._settings.call_seconds)
        except BaseException:
            self._changed.update(dict.fromkeys(changed))
            raise
        for handle, version in removed.items():
            if self._removed.get(handle) == version:
                del self._removed[handle]
        self.counters["heartbeats"] += 1
        self.answered = self._world.clock.now()
        self._sampled = sample[-1].handle if 0 < len(sample) == self._settings.sample_chunks else -1
        await self._follow(reply, sent_at)

    async def _follow(self, reply: HeartbeatReply, sent_at: float) -> None:
        await self._obedience.check(reply.authority)
        if not reply.known:
            self._is_registered = False
            return
        for extension in reply.extensions:
            until = sent_at + extension.milliseconds / 1000
            self._leases.extend(extension.handle, version=extension.version, until=until)
        self._note_removals(reply.removals, sent_at)

    # Removals

    def _note_removals(self, removals: Iterable[Removal], sent_at: float) -> None:
        """The last answer says everything: what it does not name any more is not to be removed any more."""
        begun = {handle: order for handle, order in self._to_remove.items() if self._store.is_half_removed(handle)}
        self._to_remove = {
            removal.handle: _RemovalOrder(removal.version, sent_at + removal.milliseconds / 1000)
            for removal in removals
        }
        for handle, order in begun.items():
            self._to_remove.setdefault(handle, order)
        self._remove_what_is_left()

    def _holds(self, handle: int, version: int) -> bool:
        """Whether the master wants a replica of up to this version removed at this moment, as far as is known."""
        order = self._to_remove.get(handle)
        return order is not None and version <= order.version and self._world.clock.now() < order.until

    def _begins(self, handle: int, version: int) -> bool:
        """Whether a replica may be touched now."""
        if not self._holds(handle, version):
            return False
        self._world.events.emit(RemovalBegun(handle, version))
        return True

    def _remove_what_is_left(self) -> None:
        if self._to_remove and not self._is_removing:
            self._is_removing = True
            self._world.spawn(self._remove_all(), "remove replicas")

    async def _remove_all(self) -> None:
        """Try each removal once. One that fails stays, and is tried again with the next heartbeat, while it holds."""
        removed: list[int] = []
        try:
            for handle, order in list(self._to_remove.items()):
                version = order.version
                try:
                    gone = await self._store.remove(
                        handle, version=version, holds=partial(self._begins, handle, version)
                    )
                except Superseded:
                    if not self._holds(handle, version) and self._to_remove.pop(handle, None) is not None:
                        self._world.events.emit(RemovalOver(handle, version))
                    continue
                except TabletopError as error:
                    if handle not in self._unremovable:
                        self._unremovable[handle] = None
                        self._world.events.emit(RemovalFailed(handle, error.message))
                    continue
                if (now := self._to_remove.get(handle)) is not None and now.version == version:
                    del self._to_remove[handle]
                self._unremovable.pop(handle, None)
                if gone is None:
                    self._changed[handle] = None  # It is newer than the master believes.
                    self._world.events.emit(RemovalRefused(handle, version))
                else:
                    removed.append(handle)
                    self._forget(handle, gone)
                if len(removed) % _REMOVALS_BETWEEN_BREATHS == 0:
                    await self._world.breathe()
        finally:
            self._is_removing = False
            self.counters["chunks_deleted"] += len(removed)
            if removed:
                names = tuple(hex(handle) for handle in removed[:10])
                self._world.events.emit(ChunksDeleted(count=len(removed), handles=names))

    def _forget(self, handle: int, version: int) -> None:
        self._removed[handle] = version
        self.on_changed(handle)
        if self._store.state(handle) is None:
            self._changed.pop(handle, None)
            self._leases.forget(handle)
        self._damage = {key: block for key, block in self._damage.items() if key[0] != handle}

    # What the disk refused

    def _try_again(self) -> None:
        """Creations and copies that are half done, chunks that could not be read, and damaged ones, whose metadata may
        be gone."""
        if (self._store.unfinished() or self._unreadable.handles() or self._damage) and not self._is_trying_again:
            self._is_trying_again = True
            self._world.spawn(self._try_all_again(), "try again what the disk refused")

    async def _try_all_again(self) -> None:
        try:
            for handle in self._store.unfinished():
                await self._store.finish(handle)
            for handle in await self._unreadable.try_again():
                self._removed[handle] = 0
            lost = await self._store.put_lost_aside(dict.fromkeys(handle for handle, _, _ in self._damage))
            for handle, version in lost.items():
                self._forget(handle, version)
                self._world.events.emit(ChunkPutAside(handle, "its metadata file is gone"))
        except TabletopError:
            pass  # The disk refuses still: the next heartbeat tries again.
        finally:
            self._is_trying_again = False

    # Damage

    def _note_change(self, handle: int) -> None:
        self._changed[handle] = None
        self.on_changed(handle)
        if self._damage and (state := self._store.state(handle)) is not None and not state.is_damaged:
            # It is whole again; what may be damaged later is another matter.
            self._damage = {key: block for key, block in self._damage.items() if key[0] != handle}

    def _note_corruption(self, found: CorruptBlock) -> None:
        key = (found.handle, found.version, found.block)
        if key in self._damage:
            return
        self._damage[key] = self._unreported[key] = found
        self.counters["corrupt_blocks"] += 1
        self._world.events.emit(CorruptionFound(found.handle, found.block, "verification", found.found))
        self._report_damage()

    def _report_again(self) -> None:
        """Tell all damage once more that is still there, under the version that the replica has now."""
        kept = {}
        for key, block in self._damage.items():
            state = self._store.state(block.handle)
            if state is not None and state.is_damaged:
                kept[key] = replace(block, version=state.version)
        self._damage = kept
        self._unreported.update(kept)

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
        return ChunkserverRegistryStub(self._world.network.channel(self.master_address))


def _nobody(handle: int) -> None:
    """Nobody is told."""
