"""One chunkserver on its world: what is made of what, and the loops in the background."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from chunkserver.events import MetadataRepaired
from chunkserver.heartbeats import Heartbeats
from chunkserver.mutation.advancing import Advancing
from chunkserver.mutation.authority import Obedience
from chunkserver.mutation.leases import LeaseTable
from chunkserver.mutation.mutations import Mutations
from chunkserver.mutation.push_buffer import PushBuffer
from chunkserver.service import ChunkserverService
from chunkserver.settings import ChunkserverSettings
from chunkserver.shadow_reports import ShadowReports
from chunkserver.storage.block_mender import BlockMender
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.identity import IdentityFile
from chunkserver.storage.opening import open_store
from chunkserver.storage.reads import ReadCounts
from chunkserver.storage.scrubber import Scrubber
from chunkserver.storage.writeback import WriteBack
from chunkserver.transfer.cloning import Cloning
from chunkserver.transfer.data_flow import DataFlow
from chunkserver.transfer.mending import Mending
from runtime.bulk_pool import BulkPool
from runtime.errors import TabletopError
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire.chunkserver_pb2_grpc import add_ChunkserverServicer_to_server
from runtime.wire.common_pb2 import Location
from runtime.wire.node_pb2_grpc import add_NodeServicer_to_server
from runtime.world import Listener, RpcServer, World

_GRACE_SECONDS = 1.0
_AGEING_SECONDS = 1.0
_IDLE_CONNECTIONS = 8  # to each other chunkserver


class ChunkserverServer:
    """A chunkserver. Addresses are final after `start`."""

    def __init__(self, world: World, settings: ChunkserverSettings) -> None:
        self._world = world
        self._settings = settings
        self._buffer = PushBuffer(settings.push_buffer_bytes)
        self._links = BulkPool(world, idle_connections=_IDLE_CONNECTIONS)
        self._leases = LeaseTable()
        self._shutdown = asyncio.Event()
        self._rpc: RpcServer | None = None
        self._listener: Listener | None = None
        self._store: ChunkStore | None = None
        self._heartbeats: Heartbeats | None = None
        self._identity: IdentityFile | None = None
        self._write_back: WriteBack | None = None
        self._mutations: Mutations | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._counters: list[dict[str, int]] = []

    @property
    def control_address(self) -> str:
        """host:port of the gRPC server."""
        return self._rpc.address if self._rpc is not None else self._settings.control_address

    @property
    def bulk_address(self) -> str:
        """host:port of the bulk listener."""
        return self._listener.address if self._listener is not None else self._settings.bulk_address

    async def start(self) -> None:
        """Open the disk, serve, and begin to look for the master; returns when it serves.

        Raises Conflict (folder or port in use), IncompatibleFormat, DiskFailure; then nothing is left open.
        """
        try:
            opened = await open_store(self._world, self._settings)
            store, identity = self._store, self._identity = opened.store, opened.identity
            obedience = Obedience(identity, self._world.node)
            reads = ReadCounts()
            heartbeats = self._heartbeats = Heartbeats(
                self._world, self._settings, store, self._leases, identity, obedience, opened.unreadable, reads
            )
            mutations = self._mutations = Mutations(self._world, self._settings, store, self._buffer, self._leases)
            mender = BlockMender(self._world.disk, store, self._world.breathe)
            flow = DataFlow(self._world, self._settings, store, self._buffer, mender, self._links, reads)
            mending = Mending(self._world, self._settings, store, mender, self._links)
            cloning = Cloning(
                self._world,
                self._settings,
                store,
                self._links,
                chunk_bytes=lambda: heartbeats.chunk_bytes,
                on_installed=self._forget_mutations,
            )
            advancing = Advancing(
                self._world,
                store,
                self._leases,
                mutations,
                obedience,
                chunk_bytes=lambda: heartbeats.chunk_bytes,
                forward_seconds=self._settings.forward_seconds,
            )
            scrubber = Scrubber(
                self._world,
                self._settings,
                store,
                lambda: flow.counters["reads"] + flow.counters["pushes"] + mutations.counters["mutations_applied"],
            )
            write_back = self._write_back = WriteBack(self._world, self._settings, store)
            store.on_repair = lambda handle, found: self._world.events.emit(MetadataRepaired(handle, found))
            parts = (heartbeats, mutations, flow, cloning, mending, scrubber, write_back)
            self._counters = [part.counters for part in parts]
            service = ChunkserverService(self._world, store, advancing, mutations, cloning, mending, obedience)
            await self._open_doors(service, flow)
        except BaseException:
            await self._close()
            raise
        location = Location(
            server=self._world.node,
            control_address=self.control_address,
            bulk_address=self.bulk_address,
            rack=self._settings.rack,
            data_centre=self._settings.data_centre,
        )
        self._world.events.emit(NodeStarted(role="chunkserver"))
        self._loops = [
            self._world.spawn(heartbeats.run(location), "heartbeats"),
            self._world.spawn(scrubber.run(), "scrubber"),
            self._world.spawn(write_back.run(), "background sync"),
            self._world.spawn(self._age_buffer(), "ageing of pushed data"),
        ]
        if len(heartbeats.masters) > 1:
            shadows = ShadowReports(self._world, self._settings, store, heartbeats)
            self._loops += [
                self._world.spawn(shadows.run(location, name), f"report to {name}") for name in heartbeats.masters
            ]

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has asked it to stop (Node.Shutdown)."""
        await self._shutdown.wait()

    async def stop(self) -> None:
        """Stop in good order: everything is synced, so that a loss of power from now on loses nothing."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._close()
        self._world.events.emit(NodeStopped())

    def counters(self) -> dict[str, int]:
        """What was counted since the start."""
        found = {name: value for part in self._counters for name, value in part.items()}
        store = self._store
        return {**found, "chunks": len(store) if store else 0, "push_buffer_bytes": self._buffer.held_bytes}

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside that."""
        heartbeats = self._heartbeats
        if heartbeats is not None and heartbeats.answered is not None:
            age = self._world.clock.now() - heartbeats.answered
            yield Measure("heartbeat_age_seconds", "Since the master last answered a heartbeat.", {"": age})
        yield Measure("leases_held", "Chunks of which it is primary.", {"": len(self._leases)})

    def check_invariants(self) -> None:
        """Raise AssertionError if what is in memory contradicts itself."""
        self._leases.check_invariants()
        self._buffer.check_invariants()
        if self._store is not None:
            self._store.check_invariants()
        if self._mutations is not None:
            self._mutations.check_invariants()

    def _forget_mutations(self, handle: int) -> None:
        """A copy has taken the place of a replica."""
        self._leases.forget(handle)
        if self._mutations is not None:
            self._mutations.begin_version(handle)

    async def _open_doors(self, service: ChunkserverService, flow: DataFlow) -> None:
        self._listener = await self._world.network.listen(self._settings.bulk_address, flow.serve)
        self._rpc = self._world.network.rpc_server(self._settings.control_address)
        add_ChunkserverServicer_to_server(service, self._rpc.registrar)
        node: Any = NodeService(
            self._world,
            role="chunkserver",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            bulk_address=lambda: self.bulk_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        add_NodeServicer_to_server(node, self._rpc.registrar)
        await self._rpc.start()

    async def _close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        self._links.close()
        if self._store is not None:
            try:
                await self._end_life(self._store)
            finally:
                await self._store.close()
                await self._world.disk.unlock("")
        self._listener = self._rpc = self._store = None

    async def _end_life(self, store: ChunkStore) -> None:
        """Sync everything, and note that it is; if that cannot be, the next start looks at everything itself."""
        if self._write_back is None or self._identity is None:
            return
        with suppress(TabletopError):
            await self._write_back.sync_all()
            is_at_rest = store.is_at_rest
            await store.close()
            if is_at_rest:
                await self._identity.end_life()

    async def _age_buffer(self) -> None:
        while True:
            await self._world.clock.sleep(_AGEING_SECONDS)
            self._buffer.drop_aged(self._world.clock.now(), self._settings.push_age_seconds)
