"""A chunkserver that only pretends: it plays its whole contract with the master, and stores no bytes.

A replica is a version, a length and something that stands for its bytes: if both are equal, replicas are alike.
Everything that the master relies on is played: whose orders are obeyed, versions that never fall, leases that end with
their version, doubt after a loss of power, copies that report progress, removals that name a version, numbered reports.
"""

# ruff: noqa: ASYNC110 - in virtual time, looking again costs nothing

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import (
    AlreadyExists,
    Corrupted,
    ForeignNamespace,
    InvalidRequest,
    NotFound,
    StaleVersion,
    Superseded,
    TabletopError,
    Unavailable,
)
from runtime.node import NodeService
from runtime.wire import chunkserver_pb2, chunkserver_pb2_grpc, common_pb2, master_pb2, node_pb2_grpc

if TYPE_CHECKING:
    from tests.unit.master_fakes import Scene


@dataclass
class Replica:
    """What is on the disk of one chunk. `content` stands for its bytes."""

    version: int
    length: int = 0
    content: Any = 0
    unsure: bool = False
    doubtful: int = 0  # blocks that do not match their checksum since the loss of power
    damaged: bool = False


@dataclass
class Lease:
    """A right to order mutations, as this server believes."""

    version: int
    until: float
    secondaries: tuple[str, ...]


class FakeChunkserver(chunkserver_pb2_grpc.ChunkserverServicer):
    """Holds versions and lengths. `mishaps` are errors for the next orders, `after_mishaps` for orders that were
    carried out and whose answer is lost."""

    def __init__(self, scene: "Scene", name: str, *, rack: str = "", free: int = 900 * 2**20) -> None:
        self.scene, self.name, self.rack, self.free = scene, name, rack, free
        self.total = 1000 * 2**20
        # On its disk.
        self.chunks: dict[int, Replica] = {}
        self.namespace = 0
        self.epoch = 0
        self.disk = scene.new_disk_number()
        self.life = 0
        # In its memory.
        self.leases: dict[int, Lease] = {}
        self.removed: list[common_pb2.Removal] = []
        self.changed: list[int] = []
        self.extend: list[int] = []
        self.sequence = 0
        self.incarnation = 0
        # What a test may set.
        self.mishaps: list[TabletopError | None] = []
        self.after_mishaps: list[TabletopError | None] = []
        self.clones: list[Any] = []
        self.verified: list[int] = []
        self.mends: list[Any] = []
        self.mend_mishaps: list[TabletopError | None] = []
        self.clone_seconds = 0.05
        self.clone_stalls = False
        self.report_delays: list[float] = []  # how long the next reports are under way
        self.reply_losses = 0  # how many of the next answers to heartbeats are lost
        self.unreadable: list[int] = []  # chunks that it has, and cannot read since its start
        self.on_revoke: Callable[[], None] = lambda: None  # what happens before a lease ends; it may raise
        self.reads: dict[int, int] = {}  # bytes of chunks that it says it sends, with each heartbeat
        self.beating = True
        self.obeys_removals = True

    async def start(self, address: str = "any:0") -> None:
        self.incarnation += 1
        self.life += 1
        self.sequence = 0
        self.leases.clear()
        self.removed.clear()
        self.changed.clear()
        self.world = self.scene.new_world(self.name)
        self.rpc = self.scene.new_rpc_server(address)
        chunkserver_pb2_grpc.add_ChunkserverServicer_to_server(self, self.rpc.registrar)
        node = NodeService(self.world, role="chunkserver", cluster="t", control_address=lambda: self.rpc.address)
        node_pb2_grpc.add_NodeServicer_to_server(node, self.rpc.registrar)
        await self.rpc.start()
        self.world.spawn(self._live(), "live")

    async def kill(self) -> None:
        """End the process; its machine keeps its power, and so all that was written."""
        self.world.kill()
        await self.rpc.stop(0)

    async def cut_power(self) -> None:
        """End the machine: from now on nobody knows whether the last bytes of its replicas are there."""
        await self.kill()
        for replica in self.chunks.values():
            replica.unsure = True

    def empty_disk(self) -> None:
        """Give the server (which does not run) a new disk."""
        self.chunks.clear()
        self.namespace = self.epoch = self.life = 0
        self.disk = self.scene.new_disk_number()

    def silence(self, *, beating: bool = False) -> None:
        """Neither answer nor (unless said so) send heartbeats, like a paused process."""
        if self.rpc.address not in self.scene.board.silent:
            self.scene.board.silent.append(self.rpc.address)
        self.beating = beating

    def speak(self) -> None:
        if self.rpc.address in self.scene.board.silent:
            self.scene.board.silent.remove(self.rpc.address)
        self.beating = True

    @property
    def can_be_reached(self) -> bool:
        return self.rpc.address in self.scene.board.handlers and self.rpc.address not in self.scene.board.silent

    def state(self, handle: int) -> common_pb2.ChunkState:
        held = self.chunks.get(handle, Replica(0))
        return common_pb2.ChunkState(
            handle=handle, version=held.version, length=held.length, unsure=held.unsure, damaged=held.damaged
        )

    def version(self, handle: int) -> int:
        return self.chunks[handle].version

    def write(self, handle: int, length: int, *, content: Any = None) -> None:
        """Pretend that a mutation made the replica so long."""
        held = self.chunks[handle]
        held.length, held.content = length, length if content is None else content
        self.changed.append(handle)

    def lose(self, handle: int) -> None:
        """Pretend that somebody removed the replica, and that the server has noticed."""
        held = self.chunks.pop(handle)
        self.removed.append(common_pb2.Removal(handle=handle, version=held.version))

    # What it says

    async def _live(self) -> None:
        while True:
            with contextlib.suppress(TabletopError):
                await self.register()
                while await self._beat():
                    await asyncio.sleep(self.scene.settings.heartbeat_seconds)
            await asyncio.sleep(0.1)

    def registration(self) -> master_pb2.RegisterRequest:
        """What it would say of itself now; each call has the next number."""
        self.sequence += 1
        now = asyncio.get_running_loop().time()
        return master_pb2.RegisterRequest(
            location=common_pb2.Location(
                server=self.name, control_address=self.rpc.address, bulk_address="bulk:1", rack=self.rack
            ),
            incarnation=self.incarnation,
            disk_total_bytes=self.total,
            disk_free_bytes=self.free,
            chunks=[
                self.state(handle) for handle in sorted(self.chunks, reverse=True) if handle not in self.unreadable
            ],
            unreadable=self.unreadable,
            namespace=self.namespace,
            disk=self.disk,
            life=self.life,
            sequence=self.sequence,
            leases=[
                master_pb2.HeldLease(
                    handle=handle,
                    version=lease.version,
                    milliseconds=int((lease.until - now) * 1000),
                    secondaries=lease.secondaries,
                )
                for handle, lease in self.leases.items()
                if lease.until > now
            ],
        )

    async def register(self) -> None:
        while not self.beating:
            await asyncio.sleep(0.05)
        request = self.registration()
        await self._under_way()
        reply = await self.scene.registry.Register(request, timeout=5)
        self._obey(reply.authority)
        self._remove(reply.removals)

    async def _beat(self) -> bool:
        while not self.beating:
            await asyncio.sleep(0.05)
        sent = asyncio.get_running_loop().time()
        removed, changed = self.removed, self.changed
        self.removed, self.changed = [], []
        try:
            reply = await self._heartbeat(removed, changed)
        except TabletopError:
            self.removed, self.changed = [*removed, *self.removed], [*changed, *self.changed]
            raise
        if reply.authority.namespace:
            self._obey(reply.authority)
        self._remove(reply.removals)
        for item in reply.extensions:
            lease = self.leases.get(item.handle)
            if lease is not None and lease.version == item.version:
                lease.until = sent + item.milliseconds / 1000
        return bool(reply.known)

    def heartbeat(self, changed: list[int], removed: list[common_pb2.Removal] | None = None) -> Any:
        """What it would say now; each call has the next number."""
        self.sequence += 1
        return master_pb2.HeartbeatRequest(
            server=self.name,
            incarnation=self.incarnation,
            disk_total_bytes=self.total,
            disk_free_bytes=self.free,
            removed=removed or [],
            changed=[self.state(handle) for handle in changed if handle in self.chunks],
            sample=[self.state(handle) for handle in sorted(self.chunks) if handle not in self.unreadable],
            extend=[self.state(handle) for handle in self.extend if handle in self.leases],
            sequence=self.sequence,
        )

    async def _heartbeat(self, removed: list[common_pb2.Removal], changed: list[int]) -> Any:
        request = self.heartbeat(changed, removed)
        request.reads.extend(
            master_pb2.ChunkReads(handle=handle, bytes=count)
            for handle, count in self.reads.items()
            if handle in self.chunks
        )
        await self._under_way()
        reply = await self.scene.registry.Heartbeat(request, timeout=5)
        if self.reply_losses:
            self.reply_losses -= 1
            raise Unavailable("the answer to the heartbeat was lost")
        return reply

    async def _under_way(self) -> None:
        if self.report_delays:
            await asyncio.sleep(self.report_delays.pop(0))

    def _remove(self, removals: Any) -> None:
        for removal in removals:
            held = self.chunks.get(removal.handle)
            if held is None:
                self.removed.append(removal)  # It was removed before, and that answer was lost.
            elif self.obeys_removals and held.version <= removal.version:
                del self.chunks[removal.handle]
                self.leases.pop(removal.handle, None)
                self.removed.append(removal)

    # What it is told

    def _obey(self, authority: common_pb2.Authority) -> None:
        assert authority.namespace and authority.epoch, "an order without an author"
        assert authority.server in ("", self.name), "an order to another server"
        if self.namespace not in (0, authority.namespace):
            raise ForeignNamespace(f"{self.name} belongs to namespace {self.namespace}, not {authority.namespace}")
        if authority.epoch < self.epoch:
            raise Superseded(f"{self.name} obeys epoch {self.epoch}, the order is from {authority.epoch}")
        self.namespace, self.epoch = authority.namespace, authority.epoch

    async def AdvanceChunks(self, request: Any, context: Any) -> Any:
        self._obey(request.authority)
        return chunkserver_pb2.AdvanceChunksReply(results=[self._advance(item) for item in request.items])

    def _advance(self, item: Any) -> Any:
        try:
            _raise_next(self.mishaps)
            if item.admit:
                self._admit(item)
            elif item.from_version == 0:
                self._create(item)
            else:
                self._raise(item)
            _raise_next(self.after_mishaps)
        except TabletopError as error:
            return chunkserver_pb2.AdvanceResult(
                handle=item.handle,
                state=self.state(item.handle),
                error_kind=type(error).__name__,
                message=error.message,
            )
        held = self.chunks[item.handle]
        return chunkserver_pb2.AdvanceResult(
            handle=item.handle,
            done=True,
            state=self.state(item.handle),
            digest=_digest(held),
            doubtful_blocks=held.doubtful if held.unsure else 0,
        )

    def _create(self, item: Any) -> None:
        held = self.chunks.get(item.handle)
        if held is not None and (held.version, held.length) != (item.to_version, 0):
            raise AlreadyExists(f"{self.name} has chunk {item.handle:#x} at version {held.version} already")
        if held is None:
            self.chunks[item.handle] = Replica(item.to_version)
            self._begin_lease(item)

    def _raise(self, item: Any) -> None:
        held = self.chunks.get(item.handle)
        if held is None:
            raise NotFound(f"{self.name} has no chunk {item.handle:#x}")
        if not item.from_version <= held.version <= item.to_version:
            raise StaleVersion(f"{self.name} has version {held.version}, not {item.from_version} to {item.to_version}")
        if held.version < item.to_version:
            held.version = item.to_version
            self.leases.pop(item.handle, None)
            self._begin_lease(item)

    def _admit(self, item: Any) -> None:
        held = self.chunks.get(item.handle)
        if held is None or held.version != item.to_version:
            raise StaleVersion(f"{self.name} does not have version {item.to_version}")
        held.unsure, held.doubtful = False, 0

    def _begin_lease(self, item: Any) -> None:
        if item.lease_milliseconds:
            until = asyncio.get_running_loop().time() + item.lease_milliseconds / 1000
            secondaries = tuple(peer.server for peer in item.secondaries)
            self.leases[item.handle] = Lease(item.to_version, until, secondaries)

    async def RevokeLeases(self, request: Any, context: Any) -> Any:
        self._obey(request.authority)
        if request.appends_only:
            return chunkserver_pb2.RevokeLeasesReply()
        self.on_revoke()
        for name in request.leases:
            lease = self.leases.get(name.handle)
            if lease is not None and lease.version <= name.version:
                del self.leases[name.handle]
        return chunkserver_pb2.RevokeLeasesReply(
            states=[self.state(name.handle) for name in request.leases if name.handle in self.chunks]
        )

    async def Clone(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._obey(request.authority)
        self.clones.append(request)
        _raise_next(self.mishaps)
        held = self.chunks.get(request.handle)
        if held is not None and held.version == request.version and not held.unsure and not held.damaged:
            yield chunkserver_pb2.CloneProgress(done=self.state(request.handle))
            return
        found = await self._copied(request)
        left, copied = self.clone_seconds, 0
        while left > 0 or self.clone_stalls:
            await asyncio.sleep(min(1.0, left) if left > 0 else 1.0)
            left -= 1.0
            copied += 0 if self.clone_stalls else 1000
            yield chunkserver_pb2.CloneProgress(copied_bytes=copied, total_bytes=2**20)
        self.chunks[request.handle] = found
        _raise_next(self.after_mishaps)
        yield chunkserver_pb2.CloneProgress(done=self.state(request.handle))

    async def _copied(self, request: Any) -> Replica:
        """What the first good source has now: a mutation meanwhile would be missed."""
        for place in request.sources:
            source = self.scene.chunkservers[place.server]
            held = source.chunks.get(request.handle)
            if not source.can_be_reached or held is None or held.version != request.version:
                continue
            if not held.unsure and not held.damaged:
                return Replica(held.version, held.length, held.content)
        raise Unavailable(f"none of {[place.server for place in request.sources]} has version {request.version} whole")

    async def GetChunkStates(self, request: Any, context: Any) -> Any:
        held = [handle for handle in request.handles if handle in self.chunks]
        return chunkserver_pb2.ChunkStatesReply(states=[self.state(handle) for handle in held])

    async def VerifyReplica(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._obey(request.authority)
        self.verified.append(request.handle)
        held = self.chunks.get(request.handle)
        if held is None or held.version < request.version:
            raise StaleVersion(f"{self.name} does not have version {request.version} of chunk {request.handle:#x}")
        if held.unsure:
            raise Unavailable(f"{self.name} has lost power and awaits comparison", definite=True)
        reply = chunkserver_pb2.VerifyReply(
            state=self.state(request.handle), digest=_digest(held), damaged_blocks=int(held.damaged)
        )
        yield chunkserver_pb2.VerifyProgress(done=reply)

    async def MendReplica(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """A damaged replica has one damaged block: who has the same bytes, whatever its version, has it whole."""
        self._obey(request.authority)
        self.mends.append(request)
        _raise_next(self.mend_mishaps)
        held = self.chunks.get(request.handle)
        if held is None or held.version < request.version:
            raise StaleVersion(f"{self.name} does not have version {request.version} of chunk {request.handle:#x}")
        others = [self.scene.chunkservers[place.server] for place in request.sources]
        mended = 0
        if held.damaged and not held.unsure:
            found = [other.chunks.get(request.handle) for other in others if other.can_be_reached]
            if any(one is not None and not one.damaged and one.content == held.content for one in found):
                held.damaged, mended = False, 1
        left = held.doubtful if held.unsure else int(held.damaged)
        reply = chunkserver_pb2.MendReply(state=self.state(request.handle), mended_blocks=mended, left_blocks=left)
        yield chunkserver_pb2.MendProgress(done=reply)

    async def report_corruption(self, handle: int, *, version: int | None = None, block: int = 0) -> None:
        """A block has rotted, and the server has found it."""
        held = self.chunks[handle]
        held.damaged = True
        await self.scene.registry.ReportCorruption(
            master_pb2.CorruptionReport(
                server=self.name,
                incarnation=self.incarnation,
                handle=handle,
                version=held.version if version is None else version,
                block=block,
            ),
            timeout=5,
        )

    async def Write(self, request: Any, context: Any) -> Any:
        raise InvalidRequest("a pretended chunkserver takes no writes")

    async def Apply(self, request: Any, context: Any) -> Any:
        raise Corrupted("a pretended chunkserver applies nothing")


def _digest(held: Replica) -> int:
    return hash((held.length, held.content)) % 2**64


def _raise_next(mishaps: list[TabletopError | None]) -> None:
    if mishaps and (error := mishaps.pop(0)) is not None:
        raise error
