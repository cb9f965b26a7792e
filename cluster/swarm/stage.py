"""The cluster of one run, the faults that strike it, and who starts its nodes again.

Faults are counted: two pauses of one node that overlap end with the later one, and a node that two faults keep down is
started when both are over. Each beginning and end is recorded in true time beside the servers' events.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.interface import wait_until
from cluster.roles import MASTER, node_settings, role_of
from cluster.servers import Server, make_server
from cluster.settings import ClusterSettings
from cluster.swarm.insight import Insight, Replica
from cluster.swarm.losses import Hindrance, PowerCut
from cluster.swarm.plan import Plan
from cluster.swarm.workload import CLIENTS
from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.errors import TabletopError
from runtime.events import Event, MemorySink, Record
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.loop import SimulatedLoop
from runtime.simulated.tape import Plain
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation

MASTER_ADDRESS = f"{MASTER}:7000"
JUDGE = "judge"
CAPACITY_BYTES = 1 << 40
_AGAIN_SECONDS = 1.0
# How long a node that works may take to stop in good order, or to start.
STOP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the run's own diary: a fault that began or ended."""

    time: float
    text: str


class TimedSink(MemorySink):
    """Keeps records with their true times, and tells a listener of each."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self.times: list[float] = []
        self.listener: Callable[[float, Record], None] | None = None
        self._loop = loop

    def write(self, record: Record) -> None:
        """Keep it."""
        self.records.append(record)
        self.times.append(self._loop.time())
        if self.listener is not None:
            self.listener(self.times[-1], record)


class Stage:
    """Nodes, clients and disks of one run."""

    def __init__(self, plan: Plan) -> None:
        setup = self.setup = plan.setup
        self.simulation = Simulation(plan.seed, plain=[Plain(name) for name in plan.plain_streams])
        self.sink = TimedSink(self.simulation.loop)
        self.simulation.sink = self.sink
        self.insight = Insight(self)
        self.sink.listener = self.insight.hear
        self.diary: list[Told] = []
        self.complaints: list[str] = []
        self.cuts: list[PowerCut] = []
        self.hindrances: list[Hindrance] = []
        self.spoiled: dict[tuple[str, int], bytes] = {}
        self._servers: dict[str, Server | None] = {}
        self._down: dict[str, int] = {}
        self._starters: dict[str, asyncio.Task[None]] = {}
        self._settings = ClusterSettings(
            chunkservers=setup.chunkservers,
            replicas=setup.replicas,
            chunk_bytes=setup.chunk_bytes,
            lease_seconds=setup.lease_seconds,
            heartbeat_seconds=setup.heartbeat_seconds,
            durability=setup.durability,
        )
        self._settings.check()
        self.client_settings = ClientSettings(
            location_seconds=setup.location_seconds,
            inline_bytes=setup.inline_bytes,
            write_piece_bytes=setup.write_piece_bytes,
        )
        for name in (*self.server_names(), *CLIENTS, JUDGE):
            self.simulation.add_node(name, capacity_bytes=CAPACITY_BYTES)

    # Looking.

    @property
    def now(self) -> float:
        """True virtual seconds."""
        return self.simulation.loop.time()

    def server_names(self) -> list[str]:
        """The master first."""
        return self._settings.node_names()

    def chunkserver_names(self) -> list[str]:
        """All chunkservers."""
        return [name for name in self.server_names() if name != MASTER]

    def world(self, node: str) -> SimulatedWorld:
        """The node's present life."""
        return self.simulation.world(node)

    def disk(self, node: str) -> SimulatedDisk:
        """A node's disk."""
        return self.simulation.world(node).simulated_disk

    def server(self, node: str) -> Any:
        """The node's server if it lives and has started, or None."""
        return self._servers.get(node) if self.world(node).life.alive else None

    def is_well(self, node: str) -> bool:
        """Whether a node serves and nothing is wrong with it that would keep it from serving."""
        return self.server(node) is not None and not self.world(node).life.paused and not self._down.get(node)

    def is_spoiled(self, replica: Replica) -> bool:
        """Whether a fault has damaged this replica, and nothing has replaced it since."""
        return self.spoiled.get((replica.server, replica.handle)) == replica.data

    def client(self, node: str) -> Client:
        """A new client on a node."""
        return Client(self.world(node), MASTER_ADDRESS, self.client_settings)

    # Starting and ending nodes.

    async def start(self) -> None:
        """Start every server; returns when all chunkservers have registered."""
        for name in self.server_names():
            await self._start_server(name)
        await wait_until(self._all_registered, what="all chunkservers have registered", timeout_seconds=60.0)

    async def _all_registered(self) -> bool:
        servers = self.insight.core().servers.all()
        return sum(server.is_alive for server in servers) == self.setup.chunkservers

    def tell(self, text: str) -> None:
        """Write a line into the diary."""
        self.diary.append(Told(self.now, text))

    def hold_down(self, node: str) -> None:
        """One more fault keeps the node down."""
        self._down[node] = self._down.get(node, 0) + 1

    def release(self, node: str) -> None:
        """A fault no longer keeps the node down; the last one's end starts it."""
        self._down[node] -= 1
        if not self._down[node]:
            self.revive(node)

    def revive(self, node: str) -> None:
        """See to it that the node is started as soon as nothing keeps it down."""
        starter = self._starters.get(node)
        if starter is None or starter.done():
            self._starters[node] = asyncio.get_running_loop().create_task(self._bring_up(node), name=f"start {node}")

    async def all_up(self) -> None:
        """Return when nothing is being started any more."""
        while starters := [starter for starter in self._starters.values() if not starter.done()]:
            await asyncio.wait(starters)

    def kill(self, node: str) -> None:
        """End a node at once."""
        self.simulation.kill(node)
        self._servers[node] = None

    def power_cut(self, node: str) -> None:
        """End a node with its machine."""
        self.simulation.power_cut(node)
        self._servers[node] = None
        self.cuts.append(PowerCut(self.now, node))

    async def stop(self, node: str) -> None:
        """Stop a node in good order; it must not take for ever."""
        server = self._servers.get(node)
        world = self.world(node)
        if server is None or not world.life.alive:
            return
        self._servers[node] = None
        begun = self.now
        try:
            await asyncio.wait_for(self.simulation.on(world, server.stop()), STOP_SECONDS)
        except NodeEnded:
            return
        except TimeoutError:
            self.complaints.append(f"{node} was asked at {begun:.3f} s to stop and has not after {STOP_SECONDS:g} s")
        except TabletopError as error:
            self.tell(f"{node} did not stop cleanly: {type(error).__name__}: {error.message}")
        if self.world(node) is world:
            self.simulation.kill(node)

    async def _bring_up(self, node: str) -> None:
        while not self._down.get(node) and self.server(node) is None:
            self.simulation.restart(node)
            try:
                await self._start_server(node)
            except NodeEnded:
                pass
            except TabletopError as error:
                self.tell(f"{node} could not start: {type(error).__name__}: {error.message}")
                self.kill(node)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _start_server(self, node: str) -> None:
        world = self.world(node)
        address = MASTER_ADDRESS if node == MASTER else f"{node}:0"
        settings = node_settings(node, "swarm", self._settings, address=address, master_address=MASTER_ADDRESS)
        if node == MASTER:
            setup = self.setup
            settings |= {
                "trash_grace_seconds": setup.trash_grace_seconds,
                "namespace_scan_seconds": setup.namespace_scan_seconds,
                "checkpoint_log_bytes": setup.checkpoint_log_bytes,
                "dead_after_seconds": setup.dead_after_heartbeats * setup.heartbeat_seconds,
            }
        server = make_server(world, role_of(node), settings)
        await self.simulation.on(world, server.start())
        self._servers[node] = server
        asyncio.get_running_loop().create_task(self._follow(node, world, server), name=f"follow {node}")

    async def _follow(self, node: str, world: SimulatedWorld, server: Server) -> None:
        """A server that ends by its own decision is started again, as a supervisor would do."""
        try:
            await self.simulation.on(world, server.wait_for_shutdown())
        except NodeEnded:
            return
        self.tell(f"{node} ends by its own decision")
        await self.stop(node)
        self.revive(node)


def records_of(sink: TimedSink, kind: type[Event]) -> list[tuple[float, Record]]:
    """All records of one kind of event, with their true times."""
    return [
        (time, record) for time, record in zip(sink.times, sink.records, strict=True) if isinstance(record.event, kind)
    ]


def described(setup: object) -> str:
    """The settings of a run in one line."""
    return ", ".join(f"{field.name}={getattr(setup, field.name)}" for field in dataclasses.fields(setup))  # type: ignore[arg-type]
