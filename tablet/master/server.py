"""The tablet master as a node: wiring, one tenure after the other, start and stop."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from gfs.client import Client
from lockservice.client.session import OwnLockService
from lockservice.interface import Session
from runtime.errors import Conflict, NotActing, NotFound, TabletopError
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire import node_pb2_grpc, tables_pb2_grpc
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import RpcServer, World
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.location.places import MASTER_PATH, ROOT_PATH, GfsPaths
from tablet.master.events import TabletMasterActs, TabletMasterStepsDown
from tablet.master.service import TabletMasterServicer
from tablet.master.settings import TabletMasterSettings
from tablet.master.tenure import Tenure
from tablet.storage.folders import storage_settings

_AGAIN_SECONDS = 0.5
_WAIT_SECONDS = 3600.0
_GRACE_SECONDS = 1.0


class TabletMasterNode:
    """One tablet master: it acts while it holds the lock of the masters, and waits for it otherwise."""

    bulk_address = ""  # It moves no file data.

    def __init__(self, world: World, settings: TabletMasterSettings) -> None:
        self._world = world
        self._settings = settings
        self._client = Client(world, settings.master_address, storage_settings())
        self._locks = OwnLockService(world, settings.lock_service)
        patience = TableClientSettings(call_seconds=settings.call_seconds, patience_seconds=settings.patience_seconds)
        self._tables = TableClient(world, settings.lock_service, patience, find_root=self._find_root)
        self._session: Session | None = None
        self._tenure: Tenure | None = None
        self._rpc: RpcServer | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._shutdown = asyncio.Event()
        self._tenures = 0

    @property
    def control_address(self) -> str:
        """Where it is reached; final once it serves."""
        return self._rpc.address if self._rpc else self._settings.control_address

    @property
    def tenure(self) -> Tenure | None:
        """The present one; None while it does not act."""
        return self._tenure if self._tenure is not None and not self._tenure.is_over else None

    def _acting(self) -> Tenure:
        if self.tenure is None:
            raise NotActing(f"{self._world.node} does not hold the lock of the tablet masters; ask who does")
        return self.tenure

    async def start(self) -> None:
        """Answer, and wait for the lock. Raises Conflict (port in use)."""
        rpc = self._world.network.rpc_server(self._settings.control_address)
        tables_pb2_grpc.add_TabletMasterServicer_to_server(
            TabletMasterServicer(self._world, self._acting), rpc.registrar
        )
        node = NodeService(
            self._world,
            role="tabletmaster",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        node_pb2_grpc.add_NodeServicer_to_server(node, rpc.registrar)
        await rpc.start()
        self._rpc = rpc
        self._loops = [self._world.spawn(self._live(), "one tenure after the other")]
        self._world.events.emit(NodeStarted(role="tabletmaster"))

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has called Shutdown."""
        await self._shutdown.wait()

    async def stop(self) -> None:
        """Give the lock back and stop; the tablet servers serve on."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        await self._tables.close()
        await self._client.close()
        self._world.events.emit(NodeStopped())

    async def _live(self) -> None:
        while True:
            try:
                await self._try_to_act()
            except TabletopError:  # The lock service does not answer, or another master was quicker.
                await self._world.clock.sleep(_AGAIN_SECONDS)

    async def _try_to_act(self) -> None:
        session = self._session = await self._locks.open_session()
        try:
            lock = await session.acquire(MASTER_PATH, wait_seconds=_WAIT_SECONDS, lock_delay_seconds=0.0)
            address = self.control_address.encode()
            try:
                await session.write(MASTER_PATH, address, sequencer=lock)
            except NotFound:
                with suppress(Conflict):
                    await session.create(MASTER_PATH, address)
                await session.write(MASTER_PATH, address, sequencer=lock)
            self._tenures += 1
            self._world.events.emit(TabletMasterActs(lock.generation))
            self._tenure = Tenure(self._world, self._settings, session, lock, self._client, self._tables, GfsPaths())
            try:
                await self._tenure.run()
            finally:
                self._tenure = None
                self._world.events.emit(TabletMasterStepsDown())
        finally:
            await session.close()

    async def _find_root(self) -> TabletPlace:
        if self._session is None:
            raise NotActing(f"{self._world.node} has no session with the lock service")
        return TabletPlace.FromString((await self._session.read(ROOT_PATH))[0])

    def check_invariants(self) -> None:
        """Assert what must hold at any moment."""
        if self.tenure is not None:
            names = [place.tablet for place in self.tenure.places]
            assert len(names) == len(set(names)), names

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside its counters."""
        tenure = self.tenure
        since = tenure.waiting.since if tenure else {}
        now = self._world.clock.now()
        yield Measure("tablets_waiting", "Tablets that nobody serves.", {"": len(since)})
        longest = max((now - begun for begun in since.values()), default=0.0)
        yield Measure("tablet_longest_wait_seconds", "For how long nobody serves one of them.", {"": longest})
        generation = tenure.lock.generation if tenure else 0
        yield Measure("tablet_master_generation", "Of the lock by which it acts; 0: it does not.", {"": generation})

    def counters(self) -> dict[str, int]:
        """What it has counted, for Describe."""
        tenure = self.tenure
        return {
            "acting": int(tenure is not None),
            "tenures": self._tenures,
            "rounds": tenure.rounds if tenure else 0,
            "tablets": len(tenure.places) if tenure else 0,
            "tablet_servers": len(tenure.servers.alive) if tenure else 0,
        }
