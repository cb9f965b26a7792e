"""The lock service as a server: wiring, start and stop."""

import asyncio
from collections.abc import Iterator

from lockservice.server.core import LockCore
from lockservice.server.service import LockServicer
from lockservice.settings import LockServiceSettings
from runtime.events import NodeStarted, NodeStopped
from runtime.measures import Measure
from runtime.node import NodeService
from runtime.wire import lockservice_pb2_grpc, node_pb2_grpc
from runtime.world import RpcServer, World

_GRACE_SECONDS = 1.0


class LockServer:
    """One lock service. `start` returns when it serves; its log lies in the world's disk, in `log/`."""

    bulk_address = ""  # It moves no file data.

    def __init__(self, world: World, settings: LockServiceSettings) -> None:
        self.core = LockCore(world, settings)
        self._world = world
        self._settings = settings
        self._rpc: RpcServer | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._shutdown = asyncio.Event()

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
            await self.core.log.close()
            await self._world.disk.unlock("")
            raise

    async def _start(self) -> None:
        await self.core.log.recover()
        rpc = self._world.network.rpc_server(self._settings.control_address)
        lockservice_pb2_grpc.add_LockServiceServicer_to_server(LockServicer(self.core), rpc.registrar)
        node = NodeService(
            self._world,
            role="lockservice",
            cluster=self._settings.cluster,
            control_address=lambda: self.control_address,
            counters=self.counters,
            stop=self._shutdown.set,
        )
        node_pb2_grpc.add_NodeServicer_to_server(node, rpc.registrar)
        await rpc.start()
        self._rpc = rpc
        self._loops = [
            self._world.spawn(self.core.watch_clock(), "watch the clock"),
            self._world.spawn(self._end_when_failed(), "watch for failure"),
        ]
        self._world.events.emit(NodeStarted(role="lockservice"))

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has called Shutdown, or this run must not go on (`failure` says why)."""
        await self._shutdown.wait()

    @property
    def failure(self) -> str:
        """Why this run had to end by itself; empty if it did not."""
        return self.core.log.failure

    async def _end_when_failed(self) -> None:
        """A lock service whose log may tell another story than its memory serves nobody: the next run replays it."""
        await self.core.end_when_failed()
        if self._rpc is not None:
            await self._rpc.stop(0.0)
        self._shutdown.set()

    async def stop(self) -> None:
        """Stop serving, finish the change under way, close the log. Sessions go on at the next start."""
        await self.core.drain()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._rpc is not None:
            await self._rpc.stop(_GRACE_SECONDS)
        await self.core.log.close()
        await self._world.disk.unlock("")
        self._world.events.emit(NodeStopped())

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant of any part does not hold."""
        self.core.check_invariants()

    def measures(self) -> Iterator[Measure]:
        """What it can be measured by, beside its counters."""
        state = self.core.state
        held = sum(entry.holder != 0 for entry in state.locks.values())
        withheld = len(state.locks) - held
        yield Measure("locks_held", "Locks that a session holds.", {"": held})
        yield Measure("locks_withheld", "Locks that nobody gets until their delay is over.", {"": withheld})
        ephemeral = sum(entry.owner != 0 for entry in state.files.values())
        yield Measure("ephemeral_files", "Files that go with a session.", {"": ephemeral})

    def counters(self) -> dict[str, int]:
        """What it has, for Describe."""
        state = self.core.state
        return {
            "epoch": state.epoch,
            "sessions": len(state.sessions),
            "lock_files": len(state.files),
            "locks": len(state.locks),
            "log_records": self.core.log.next_sequence - 1,
            "log_bytes": self.core.log.log_bytes,
        }
