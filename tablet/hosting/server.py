"""A tablet server as a node: wiring, lives one after the other, start and stop."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from gfs.client import Client
from lockservice.client.session import OwnLockService
from lockservice.interface import Session, SessionState
from runtime.errors import NotServed, TabletopError
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire import node_pb2_grpc, tables_pb2_grpc
from runtime.wire.tables_pb2 import TabletPlace, TabletServerFigures
from runtime.world import RpcServer, World
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.hosting.figures import Pace, figures_of
from tablet.hosting.life import Life
from tablet.hosting.service import TabletServicer
from tablet.hosting.settings import TabletServerSettings
from tablet.hosting.splitting import split
from tablet.location.numbers import new_numbers
from tablet.location.places import ROOT_PATH, ROOT_TABLET, GfsPaths
from tablet.storage.folders import storage_settings

_AGAIN_SECONDS = 0.5
_GRACE_SECONDS = 1.0


class TabletServerNode:
    """One tablet server. `start` returns when it answers; it may be given tablets when it has its lock."""

    bulk_address = ""  # It moves no file data.

    def __init__(self, world: World, settings: TabletServerSettings) -> None:
        self._world = world
        self._settings = settings
        self._client = Client(world, settings.master_address, storage_settings())
        self._locks = OwnLockService(world, settings.lock_service)
        self._tables = TableClient(world, settings.lock_service, find_root=self._find_root)
        self._rows = MetadataRows(self._tables, world.node)
        self._servicer = TabletServicer(self.life, self._rows, self._new_numbers, self.figures)
        self._life: Life | None = None
        self._rpc: RpcServer | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._shutdown = asyncio.Event()
        self._lives = self._splits = 0
        self._pace = Pace()
        self._life_began = 0.0

    @property
    def control_address(self) -> str:
        """Where it is reached; final once it serves."""
        return self._rpc.address if self._rpc else self._settings.control_address

    def life(self) -> Life:
        """The present life. Raises NotServed while there is none."""
        if self._life is None or self._life.reason:
            raise NotServed(f"{self._world.node} has no lock of the lock service at this moment, and serves no tablet")
        return self._life

    @property
    def present(self) -> Life | None:
        """The present life, for judges."""
        return self._life

    async def start(self) -> None:
        """Answer. Raises Conflict (port in use)."""
        rpc = self._world.network.rpc_server(self._settings.control_address)
        tables_pb2_grpc.add_TabletServerServicer_to_server(self._servicer, rpc.registrar)
        node = NodeService(
            self._world,
            role="tabletserver",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        node_pb2_grpc.add_NodeServicer_to_server(node, rpc.registrar)
        await rpc.start()
        self._rpc = rpc
        self._loops = [
            self._world.spawn(self._live(), "live, again and again"),
            self._world.spawn(self._keep_house(), "split what has grown"),
        ]
        self._world.events.emit(NodeStarted(role="tabletserver"))

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has called Shutdown."""
        await self._shutdown.wait()

    async def stop(self) -> None:
        """Give the lock back, and stop. What is in memory is in the log, too, for whoever takes over."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._life is not None:
            await self._life.end("it was stopped")
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        await self._tables.close()
        await self._client.close()
        self._world.events.emit(NodeStopped())

    async def _live(self) -> None:
        while True:
            try:
                life = await Life.begin(
                    self._world, self._settings, self._client, self._locks, self.control_address, GfsPaths()
                )
            except TabletopError:  # The lock service or the file system does not answer.
                await self._world.clock.sleep(_AGAIN_SECONDS)
                continue
            self._life, self._lives, self._life_began = life, self._lives + 1, self._world.clock.now()
            await self._until_over(life)

    async def _until_over(self, life: Life) -> None:
        """Wait for the end of the session, or until the log is another one's: then the lock is lost, too."""
        while not life.session.expired.is_set() and not life.reason:
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await life.session.expired.wait()
        await life.end("its session with the lock service is over")

    async def _keep_house(self) -> None:
        while True:
            self._pace.note(self._world.clock.now(), self._rows_served)
            await self._world.clock.sleep(self._settings.house_seconds)
            life = self._life
            if life is None or not self._settings.split_bytes:
                continue
            for name in list(life.engines):
                if name not in life.engines or name == ROOT_TABLET:
                    continue  # While others were split, it was split, merged or unloaded.
                if life.file_bytes(name) < self._settings.split_bytes:
                    continue
                with suppress(TabletopError):  # It is tried again.
                    await split(life, self._rows, self._new_numbers, name)
                    self._splits += 1

    async def _session(self) -> Session:
        return self.life().session

    async def _find_root(self) -> TabletPlace:
        return TabletPlace.FromString((await (await self._session()).read(ROOT_PATH))[0])

    async def _new_numbers(self, count: int) -> int:
        return await new_numbers(await self._session(), count)

    @property
    def _rows_served(self) -> int:
        return self._servicer.reads + self._servicer.rows_scanned + self._servicer.mutations

    def figures(self) -> TabletServerFigures:
        """How it is now: for whoever watches."""
        now = self._world.clock.now()
        pace = self._pace.per_second(now, self._rows_served)
        return figures_of(self._world.node, self._life, pace, now - self._life_began)

    def check_invariants(self) -> None:
        """Assert what must hold at any moment."""
        if self._life is not None:
            self._life.check_invariants()

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside its counters."""
        found = self.figures()
        yield Measure("tablets_loading", "Tablets that are being loaded.", {"": len(found.loading)})
        yield Measure("memtable_bytes", "In the memtables of all tablets.", {"": found.memtable_bytes})
        yield Measure("tablet_rows_per_second", "Rows read and written lately.", {"": found.rows_per_second})
        yield Measure("tablet_log_segments", "Segments of the log that a tablet needs.", {"": found.log_segments})
        sizes = {tablet.tablet: tablet.file_bytes for tablet in found.tablets}
        yield Measure("tablet_file_bytes", "SSTables of each tablet that is served here.", sizes, "tablet")
        states = {state.value: float(found.session == state.value) for state in SessionState}
        yield Measure("lock_session", "1 for the state of the session with the lock service.", states, "state")

    def counters(self) -> dict[str, int]:
        """What it has counted, for Describe."""
        life = self._life
        return {
            "tablets": len(life.engines) if life else 0,
            "lives": self._lives,
            "rows_read": self._servicer.reads,
            "scans": self._servicer.scans,
            "mutations": self._servicer.mutations,
            "rows_scanned": self._servicer.rows_scanned,
            "has_lock": int(life is not None and life.is_safe),
            "log_bytes": life.log.file_bytes if life else 0,
            "splits": self._splits,
        }
