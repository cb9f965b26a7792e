"""A cluster of simulated nodes: the same servers, the same interface, in virtual time.

    simulation = Simulation(seed=7)
    cluster = SimulatedCluster(simulation, ClusterSettings(chunkservers=3, chunk_bytes=256 * 1024))

    async def story():
        await cluster.start()
        await cluster.client().write_file("/a", b"hello")
        await cluster.kill("cs1")
        return await cluster.client().read_file("/a")

    simulation.run(story())

Faults that only a simulation has (partitions, power cuts, slow disks, skewed clocks) are asked of the simulation, by
node name. The client stands on a node of its own, called "client".
"""

import asyncio

from cluster import faults
from cluster.interface import (
    DESCRIBE_SECONDS,
    START_SECONDS,
    STATUS_SECONDS,
    Corruption,
    NodeReport,
    NodeState,
    wait_until,
)
from cluster.roles import MASTER, node_settings, role_of
from cluster.servers import Server, make_server
from cluster.settings import ClusterSettings
from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.errors import Conflict, NotFound, TabletopError, TimedOut, Unavailable
from runtime.events import Record
from runtime.simulated.disk import DEFAULT_CAPACITY_BYTES, SimulatedDisk
from runtime.simulated.world import SimulatedWorld, Simulation
from runtime.wire import master_pb2, master_pb2_grpc, node_pb2, node_pb2_grpc

CLIENT = "client"
MASTER_ADDRESS = f"{MASTER}:7000"


class SimulatedCluster:
    """One cluster in a simulation. Made before the simulation runs, started inside of it.

    `capacity_bytes` is the size of every chunkserver's disk.
    """

    def __init__(
        self,
        simulation: Simulation,
        settings: ClusterSettings,
        *,
        name: str = "simulated",
        capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
        client_settings: ClientSettings | None = None,
    ) -> None:
        settings.check()
        self.simulation = simulation
        self.name = name
        self.settings = settings
        self._servers: dict[str, Server] = {}
        self._stopped: dict[str, bool] = {}
        for node in settings.node_names():
            if node == MASTER:
                simulation.add_node(node)
            else:
                simulation.add_node(node, capacity_bytes=capacity_bytes)
        self._client_world = simulation.add_node(CLIENT)
        self._client = Client(self._client_world, MASTER_ADDRESS, client_settings)

    async def start(self) -> None:
        """Start every node; returns when every chunkserver has registered with the master."""
        await self._start_server(MASTER)
        names = [name for name in self.settings.node_names() if name != MASTER]
        await asyncio.gather(*(self._start_server(name) for name in names))
        await wait_until(
            self._all_registered,
            what=f"all {len(names)} chunkservers have registered",
            timeout_seconds=START_SECONDS,
        )

    async def stop(self) -> None:
        """Stop every living node in good order."""
        for name in self.settings.node_names():
            if self.simulation.world(name).life.alive:
                self.simulation.resume(name)
                await self._stop_server(name)

    async def nodes(self) -> list[NodeReport]:
        """What each node is at this moment, the master first."""
        return list(await asyncio.gather(*(self._look_at(name) for name in self.settings.node_names())))

    async def status(self, *, chunks: bool = False) -> master_pb2.ClusterStatus:
        """What the master knows."""
        stub = master_pb2_grpc.MasterStub(self.client_world.network.channel(MASTER_ADDRESS))
        return await stub.GetClusterStatus(master_pb2.ClusterStatusRequest(chunks=chunks), timeout=STATUS_SECONDS)

    def client(self) -> Client:
        """The file system of this cluster."""
        return self._client

    @property
    def client_world(self) -> SimulatedWorld:
        """The world of the node "client"."""
        return self._client_world

    def events(self, node: str) -> list[Record]:
        """The node's records."""
        self._require(node)
        return [record for record in self.simulation.sink.records if record.node == node]

    async def kill(self, node: str) -> None:
        """End the node: nothing of it runs any more, its disk keeps what was written."""
        self._require_living(node)
        self.simulation.kill(node)

    async def restart(self, node: str) -> None:
        """Start the node again on its disk, after a stop in good order if it lives."""
        self._require(node)
        if self.simulation.world(node).life.alive:
            self.simulation.resume(node)
            await self._stop_server(node)
        self.simulation.restart(node)
        await self._start_server(node)

    async def pause(self, node: str) -> None:
        """Freeze the node."""
        self._require_living(node)
        self.simulation.pause(node)

    async def resume(self, node: str) -> None:
        """Let a paused node go on."""
        self._require_living(node)
        self.simulation.resume(node)

    async def corrupt(self, path: str, chunk_index: int, block: int, server: str = "") -> Corruption:
        """Flip bits on the disk of a server."""
        return await faults.corrupt(self, self._disk_of, path, chunk_index, block, server)

    def _disk_of(self, node: str) -> SimulatedDisk:
        return self.simulation.world(node).simulated_disk

    async def _start_server(self, node: str) -> None:
        world = self.simulation.world(node)
        address = MASTER_ADDRESS if node == MASTER else f"{node}:0"
        settings = node_settings(node, self.name, self.settings, address=address, master_address=MASTER_ADDRESS)
        server = self._servers[node] = make_server(world, role_of(node), settings)
        self._stopped[node] = False
        await self.simulation.on(world, server.start())

    async def _stop_server(self, node: str) -> None:
        await self.simulation.on(self.simulation.world(node), self._servers[node].stop())
        self._stopped[node] = True
        self.simulation.kill(node)

    async def _all_registered(self) -> bool:
        try:
            status = await self.status()
        except TabletopError:
            return False
        return sum(server.alive for server in status.servers) >= self.settings.chunkservers

    async def _look_at(self, node: str) -> NodeReport:
        role, life = role_of(node), self.simulation.world(node).life
        server = self._servers.get(node)
        if server is None or self._stopped[node]:
            return NodeReport(node, role, NodeState.STOPPED)
        if not life.alive:
            return NodeReport(node, role, NodeState.DEAD, note="it was killed")
        control, bulk = server.control_address, server.bulk_address
        if life.paused:
            return NodeReport(node, role, NodeState.PAUSED, 0, control, bulk)
        try:
            stub = node_pb2_grpc.NodeStub(self.client_world.network.channel(control))
            found = await stub.Describe(node_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS)
        except (Unavailable, TimedOut) as error:
            return NodeReport(node, role, NodeState.HUNG, 0, control, bulk, note=error.message)
        return NodeReport(
            node,
            role,
            NodeState.SERVING,
            0,
            control,
            bulk,
            uptime_seconds=found.uptime_seconds,
            version=found.version,
            counters=dict(found.counters),
        )

    def _require(self, node: str) -> None:
        known = self.settings.node_names()
        if node not in known:
            raise NotFound(f"no node {node!r} in cluster {self.name!r}; there are: {', '.join(known)}")

    def _require_living(self, node: str) -> None:
        self._require(node)
        if not self.simulation.world(node).life.alive:
            raise Conflict(f"{node} of cluster {self.name!r} is not running; restart it first")
