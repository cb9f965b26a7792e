"""The master as a server: wiring, start and stop."""

import asyncio
from collections.abc import Iterator

from master.core import Core
from master.events import MasterFailed
from master.parts import Parts
from master.serving.measures import master_measures
from master.settings import MasterSettings
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire import master_pb2_grpc, node_pb2_grpc
from runtime.world import RpcServer, World

_GRACE_SECONDS = 1.0


class MasterServer:
    """One master. `start` returns when it serves; its log and checkpoints lie in the world's disk, in `log/`."""

    bulk_address = ""  # A master moves no file data.

    def __init__(self, world: World, settings: MasterSettings) -> None:
        self.core = Core(world, settings)
        self.parts = Parts(self.core)
        self.creating = self.parts.creating
        self.granting = self.parts.granting
        self.repair = self.parts.repair
        self.admission = self.parts.admission
        self.reporting = self.parts.reporting
        self.moving = self.parts.moving
        self.snapshotting = self.parts.snapshotting
        self.draining = self.parts.draining
        self.reclaiming = self.parts.reclaiming
        self._world = world
        self._settings = settings
        self._rpc: RpcServer | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._shutdown = asyncio.Event()

    @property
    def acting_parts(self) -> Parts | None:
        """What it is made of: this master always acts."""
        return self.parts

    @property
    def control_address(self) -> str:
        """Where it is reached; final once it serves."""
        return self._rpc.address if self._rpc else self._settings.control_address

    async def start(self) -> None:
        """Recover and serve. Raises Corrupted, IncompatibleFormat, Conflict (folder or port in use), DiskFailure."""
        await self._world.disk.lock("")
        try:
            await self._start()
        except BaseException:
            await self._world.disk.unlock("")
            raise

    async def _start(self) -> None:
        await self.core.recover()
        rpc = self._world.network.rpc_server(self._settings.control_address)
        master_pb2_grpc.add_MasterServicer_to_server(self.parts.service, rpc.registrar)
        master_pb2_grpc.add_ChunkserverRegistryServicer_to_server(self.parts.registry, rpc.registrar)
        node = NodeService(
            self._world,
            role="master",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        node_pb2_grpc.add_NodeServicer_to_server(node, rpc.registrar)
        await rpc.start()
        self._rpc = rpc
        self._loops = [*self.parts.begin(), self._world.spawn(self._end_when_failed(), "watch for failure")]
        self._world.events.emit(NodeStarted(role="master"))

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has called Shutdown, or this run of the master must not go on (`failure` says why)."""
        await self._shutdown.wait()

    @property
    def failure(self) -> str:
        """Why this run of the master had to end by itself; empty if it did not."""
        return self.core.failure

    async def _end_when_failed(self) -> None:
        """A master whose log may tell another story than its memory serves nobody: what its next run replays
        decides."""
        await self.core.failed.wait()
        self._world.events.emit(MasterFailed(reason=self.core.failure))
        self.core.stopping.set()
        if self._rpc is not None:
            await self._rpc.stop(0.0)
        self._shutdown.set()

    async def stop(self) -> None:
        """Stop serving, finish what was begun, close the log."""
        self.core.stopping.set()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        await self.core.drain()
        await self.core.log.close()
        await self._world.disk.unlock("")
        self._world.events.emit(NodeStopped())

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant of any part does not hold."""
        self.core.check_invariants()

    def counters(self) -> dict[str, int]:
        """What it counted since its start, for Describe."""
        return self.parts.counters()

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside that."""
        return master_measures(self.core)
