"""A cluster of simulated nodes: the same servers, the same interface, in virtual time.

    simulation = Simulation(seed=7)
    cluster = SimulatedCluster(simulation, ClusterSettings(chunkservers=3, chunk_bytes=256 * 1024))

    async def story():
        await cluster.start()
        await cluster.client().write_file("/a", b"hello")
        await cluster.kill("cs1")
        return await cluster.client().read_file("/a")

    simulation.run(story())

Faults are imposed (`impose`), written down as a plan (faultplan.py, fault_runner.py), or asked of the simulation by
node name. The client stands on a node of its own, called "client"; with several clients these are "client1",
"client2", ...

A server that ends by itself is seen: its life is ended, as its program would end, and it counts as FAILED. Nothing
here waits for a node that has died in the meantime: whoever starts or stops one that is killed gets Unavailable.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cluster import faults
from cluster.faultplan import Target, What
from cluster.imposing import SimulatedFaults, no_such_fault
from cluster.interface import (
    DESCRIBE_SECONDS,
    START_SECONDS,
    STATUS_SECONDS,
    Corruption,
    Imposed,
    NodeReport,
    NodeState,
    best_status,
    wait_until,
)
from cluster.leaving import require_drained
from cluster.placement import Placement
from cluster.roles import CHUNKSERVER_ROLE, LOCK, MASTER, node_settings, role_of
from cluster.servers import Server, make_server
from cluster.settings import LARGEST_SIMULATED_CLUSTER, ClusterSettings
from cluster.topology import place_of
from gfs.client import Client
from gfs.settings import ClientSettings
from master.balance.racks import NOWHERE
from master.failover.replicated import ReplicatedMaster
from master.server import MasterServer
from runtime.errors import Conflict, NotFound, TabletopError, TimedOut, Unavailable
from runtime.events import Record
from runtime.simulated.disk import DEFAULT_CAPACITY_BYTES, SimulatedDisk
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation
from runtime.wire import master_pb2, master_pb2_grpc, node_pb2, node_pb2_grpc
from tablet.client.client import TableClient
from tablet.client.settings import TableClientSettings
from tablet.master.server import TabletMasterNode

CLIENT = "client"
MASTER_ADDRESS = f"{MASTER}:7000"
LOCK_ADDRESS = f"{LOCK}:7000"
T = TypeVar("T")
SLACK_SECONDS = 0.5
END_SECONDS = 60.0  # for a server that ends by itself to stop in good order


@dataclass(slots=True)
class _Run:
    """One life of a server, from its start to its end."""

    world: SimulatedWorld
    server: Server
    state: NodeState = NodeState.STARTING
    note: str = ""


class SimulatedCluster:
    """One cluster in a simulation. Made before the simulation runs, started inside of it.

    `capacity_bytes` is the size of every chunkserver's disk. `overrides` are fields of servers' settings, by role
    ("chunkserver") or by node ("cs2", which goes before its role); changes of it count from the next start.
    """

    def __init__(
        self,
        simulation: Simulation,
        settings: ClusterSettings,
        *,
        name: str = "simulated",
        capacity_bytes: int = DEFAULT_CAPACITY_BYTES,
        client_settings: ClientSettings | None = None,
        clients: int = 1,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        settings.check(largest=LARGEST_SIMULATED_CLUSTER)
        self.simulation = simulation
        self.name = name
        self.settings = settings
        self.overrides = {key: dict(values) for key, values in (overrides or {}).items()}
        self._client_settings = client_settings
        self._capacity_bytes = capacity_bytes
        self._runs: dict[str, _Run] = {}
        self.held_down: dict[str, int] = {}
        self._faults: SimulatedFaults | None = None
        for node in settings.node_names():
            if role_of(node) == CHUNKSERVER_ROLE:
                self._add_chunkserver(node)
            else:
                simulation.add_node(node)
        names = [CLIENT] if clients == 1 else [f"{CLIENT}{number}" for number in range(1, clients + 1)]
        self._clients = {name: self._new_client(simulation.add_node(name)) for name in names}

    async def start(self) -> None:
        """Start every node; returns when every chunkserver has registered with the master, and every other master is in
        sync with it."""
        names = self.settings.chunkserver_names()
        if self.settings.has_lock_service:
            await self._start_server(LOCK)
        if self.settings.masters > 1:
            await self._start_masters()
        else:
            await self._start_server(MASTER)
        await asyncio.gather(*(self._start_server(name) for name in names))
        await wait_until(
            self._all_registered,
            what=f"all {len(names)} chunkservers have registered",
            timeout_seconds=START_SECONDS,
        )
        if self.settings.tablet_servers:
            await asyncio.gather(*map(self._start_server, self.settings.tablet_node_names()))
            await wait_until(self._tables_are_served, what="tables are served", timeout_seconds=START_SECONDS)

    async def _start_masters(self) -> None:
        """Start the masters: the first acts."""
        for name in self.settings.master_names():
            await self._start_server(name)
            await wait_until(self._somebody_acts, what="a master acts", timeout_seconds=START_SECONDS)
        await wait_until(self._all_in_sync, what="all masters are in sync", timeout_seconds=START_SECONDS)

    async def _tables_are_served(self) -> bool:
        """Whether a tablet master acts, has seen all tablet servers, and has METADATA served."""
        servers = [self.server(name) for name in self.settings.tablet_node_names()]
        tenures = [server.tenure for server in servers if isinstance(server, TabletMasterNode)]
        return any(
            tenure is not None and tenure.rounds > 0 and len(tenure.servers.alive) >= self.settings.tablet_servers
            for tenure in tenures
        )

    async def _somebody_acts(self) -> bool:
        return self.acting_master() is not None

    async def _all_in_sync(self) -> bool:
        master = self.acting_master()
        standing = master.standing() if isinstance(master, ReplicatedMaster) else None
        return standing is not None and all(found.in_sync for found in standing.followers)

    async def who_acts(self) -> str:
        """The node of the master that acts; the only one, if there is one. Raises Unavailable while none does."""
        if self.settings.masters > 1 and self.acting_master() is None:
            raise Unavailable("none of the masters acts at this moment; try again")
        return self.acting_name()

    def acting_name(self) -> str:
        """The node of the master that acts now; of the first one if none does."""
        server = self.acting_master()
        return next((name for name in self.settings.master_names() if self.server(name) is server), MASTER)

    def acting_master(self) -> MasterServer | ReplicatedMaster | None:
        """The server of the master that acts; None if none does. Of two, of which one does not know yet that it was
        replaced, the later one. For judges."""
        servers = [self.server(name) for name in self.settings.master_names()]
        acting = [server for server in servers if isinstance(server, ReplicatedMaster) and server.core is not None]
        if isinstance(servers[0], MasterServer):
            return servers[0]
        return max(acting, key=lambda server: server.standing().epoch, default=None)

    @property
    def master_address(self) -> str:
        """Where the master is reached: of several all addresses, with commas between."""
        return ",".join(f"{name}:7000" for name in self.settings.master_names())

    async def add_chunkservers(self, count: int) -> list[str]:
        """Make the cluster larger by so many chunkservers and start them; returns their names when they serve."""
        before = self.settings.node_names()
        self.settings = replace(self.settings, chunkservers=self.settings.chunkservers + count)
        self.settings.check(largest=LARGEST_SIMULATED_CLUSTER)
        added = [name for name in self.settings.node_names() if name not in before]
        for name in added:
            self._add_chunkserver(name)
        await asyncio.gather(*(self._start_server(name) for name in added))

        async def are_known() -> bool:
            with contextlib.suppress(TabletopError):
                alive = {server.location.server for server in (await self.status()).servers if server.alive}
                return alive.issuperset(added)
            return False

        await wait_until(are_known, what=f"{', '.join(added)} have registered", timeout_seconds=START_SECONDS)
        return added

    async def remove_chunkserver(self, node: str) -> None:
        """Stop a chunkserver that is drained and empty, and have the master forget it. Raises Conflict (chunks need it
        yet), NotFound, Unavailable."""
        self._require(node)
        await require_drained(self, node)
        if self.is_running(node):
            await self.stop_node(node)
        await self.client().operators.remove_server(node)
        self.settings = self.settings.without(node)

    def _add_chunkserver(self, node: str) -> None:
        self.simulation.add_node(node, capacity_bytes=self._capacity_bytes)
        place = place_of(node, self.settings.topology)
        if place != NOWHERE:
            self.simulation.fabric.distances.place(node, place.data_centre, place.rack)

    async def stop(self) -> None:
        """Stop every living node in good order. One that fails to stop, or is killed meanwhile, hinders no other."""
        for name in self.settings.stopping_order():
            if self.is_running(name):
                with contextlib.suppress(TabletopError):
                    await self.stop_node(name)

    async def start_node(self, node: str) -> None:
        """Start a node that does not run, on its disk; returns when it serves. Raises Conflict if it runs, Unavailable
        if it is killed before it serves, and what the server raises that cannot start: it is FAILED then."""
        self._require(node)
        if self.is_running(node):
            raise Conflict(f"{node} of cluster {self.name!r} is running; stop or kill it first")
        if node in self._clients:
            self._clients[node] = self._new_client(self.simulation.restart(node))
            return
        if not self.simulation.world(node).life.alive:
            self.simulation.restart(node)
        await self._start_server(node)

    async def stop_node(self, node: str) -> None:
        """Stop a node in good order, after the end of its pauses. Raises Conflict if it does not run, Unavailable if
        it is killed before it has stopped."""
        self._require_living(node)
        if node in self._clients:
            self.simulation.kill(node)  # A client has nothing to put in order.
            return
        self.simulation.resume(node)
        run = self._runs[node]
        run.state = NodeState.STARTING  # It does not serve any more.
        try:
            await self.simulation.on(run.world, run.server.stop())
        except NodeEnded as error:
            raise Unavailable(f"{node} was killed while it stopped") from error
        except TabletopError as error:
            self._end(run, NodeState.FAILED, error.message)
            raise
        self._end(run, NodeState.STOPPED)

    async def nodes(self) -> list[NodeReport]:
        """What each node is at this moment, the master first."""
        return list(await asyncio.gather(*(self._look_at(name) for name in self.settings.node_names())))

    async def status(self, *, chunks: bool = False) -> master_pb2.ClusterStatus:
        """What the acting master knows; if none acts, what a shadow knows."""
        request = master_pb2.ClusterStatusRequest(chunks=chunks, may_be_old=self.settings.masters > 1)
        if self.settings.masters == 1:
            return await self._status_at(MASTER_ADDRESS, request)
        asked = (self._status_at(f"{name}:7000", request) for name in self.settings.master_names())
        return best_status(await asyncio.gather(*asked, return_exceptions=True))

    async def _status_at(self, address: str, request: master_pb2.ClusterStatusRequest) -> master_pb2.ClusterStatus:
        stub = master_pb2_grpc.MasterStub(self.client_world.network.channel(address))
        return await _answered(stub.GetClusterStatus(request, timeout=STATUS_SECONDS), STATUS_SECONDS)

    def client(self, number: int = 1) -> Client:
        """The file system of this cluster, as one of its clients sees it, counted from 1."""
        return self._clients[self.client_names()[number - 1]]

    def table_client(self, number: int = 1, settings: TableClientSettings | None = None) -> TableClient:
        """A new client of this cluster's tables, on the node of one of its clients, counted from 1."""
        return TableClient(self.simulation.world(self.client_names()[number - 1]), LOCK_ADDRESS, settings)

    def client_names(self) -> list[str]:
        """The nodes of the clients."""
        return list(self._clients)

    @property
    def client_world(self) -> SimulatedWorld:
        """The world of the first client."""
        return self.simulation.world(self.client_names()[0])

    def server(self, node: str) -> Server | None:
        """The server of a node, while it serves: for judges."""
        run = self._runs.get(node)
        return run.server if run is not None and self.is_running(node) and run.state is NodeState.SERVING else None

    def check_invariants(self) -> None:
        """Have every server that serves check its own invariants. Raises AssertionError."""
        for node in self.settings.node_names():
            check = getattr(self.server(node), "check_invariants", None)
            if check is not None:
                check()

    def events(self, node: str) -> list[Record]:
        """The node's records."""
        self._require(node)
        return [record for record in self.simulation.sink.records if record.node == node]

    async def kill(self, node: str) -> None:
        """End the node: nothing of it runs any more, its disk keeps what was written."""
        self._require_living(node)
        self.simulation.kill(node)

    async def power_cut(self, node: str) -> None:
        """Take the power from the node's machine, also if its server does not run: what was not synced may be lost."""
        self._require(node)
        self.simulation.power_cut(node)

    async def power_cut_all(self) -> None:
        """Take the power from all servers in one instant."""
        for node in self.settings.node_names():
            self.simulation.power_cut(node)

    async def restart(self, node: str) -> None:
        """Start the node again on its disk, after a stop in good order if it lives."""
        self._require(node)
        if self.is_running(node):
            with contextlib.suppress(Unavailable):  # It was killed while it stopped.
                await self.stop_node(node)
        await self.start_node(node)

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

    async def impose(self, what: What, target: Target, *, seconds: float | None = None) -> Imposed:
        """Have a fault strike now."""
        if self._faults is None:  # Not earlier: what draws from the tape changes nothing of runs without faults.
            self._faults = SimulatedFaults(self, Placement(self))
        return await self._faults.impose(what, target, seconds)

    def imposed(self) -> list[Imposed]:
        """The imposed faults that last, oldest first."""
        return [] if self._faults is None else self._faults.imposed()

    async def heal(self, number: int | None = None) -> list[Imposed]:
        """End one imposed fault, or all."""
        if self._faults is not None:
            return await self._faults.heal(number)
        if number is not None:
            raise no_such_fault(number, [])
        return []

    def _disk_of(self, node: str) -> SimulatedDisk:
        return self.simulation.world(node).simulated_disk

    async def _start_server(self, node: str) -> None:
        world = self.simulation.world(node)
        address = f"{node}:0" if role_of(node) == CHUNKSERVER_ROLE else f"{node}:7000"
        settings = node_settings(
            node,
            self.name,
            self.settings,
            address=address,
            master_address=self.master_address,
            lock_address=LOCK_ADDRESS if self.settings.has_lock_service else "",
        )
        for key in dict.fromkeys((role_of(node), node)):
            settings |= self.overrides.get(key, {})
        run = self._runs[node] = _Run(world, make_server(world, role_of(node), settings))
        try:
            await self.simulation.on(world, run.server.start())
        except NodeEnded as error:
            raise Unavailable(f"{node} was killed before it served") from error
        except TabletopError as error:
            self._end(run, NodeState.FAILED, error.message)
            raise
        run.state = NodeState.SERVING
        watch = self._watch(run)
        self.simulation.loop.create_task(watch, name=f"watch {node}", context=contextvars.Context())

    async def _watch(self, run: _Run) -> None:
        """Do what the node's program does when its server ends by itself: stop it, and end."""
        note = "it ended by itself"
        try:
            await self.simulation.on(run.world, run.server.wait_for_shutdown())
            if run.state is NodeState.SERVING:
                run.state = NodeState.STARTING
                async with asyncio.timeout(END_SECONDS):
                    await self.simulation.on(run.world, run.server.stop())
                self._end(run, NodeState.FAILED, note)
        except (TabletopError, TimeoutError) as error:
            self._end(run, NodeState.FAILED, str(error) or note)
        except NodeEnded:
            pass

    def _end(self, run: _Run, state: NodeState, note: str = "") -> None:
        """The program of this run ends, if it has not been killed already."""
        if run.world.life.alive:
            run.state, run.note = state, note
            self.simulation.kill(run.world.node)

    def _new_client(self, world: SimulatedWorld) -> Client:
        return Client(world, self.master_address, self._client_settings)

    def is_running(self, node: str) -> bool:
        """Whether there is a process of the node: one that starts, serves, stands still or stops."""
        started = node in self._runs or node in self._clients
        return started and self.simulation.world(node).life.alive

    async def _all_registered(self) -> bool:
        try:
            status = await self.status()
        except TabletopError:
            return False
        return sum(server.alive for server in status.servers) >= self.settings.chunkservers

    async def _look_at(self, node: str) -> NodeReport:
        role, life = role_of(node), self.simulation.world(node).life
        run = self._runs.get(node)
        if run is None:
            return NodeReport(node, role, NodeState.STOPPED)
        if not life.alive:
            if run.state in (NodeState.STOPPED, NodeState.FAILED):
                return NodeReport(node, role, run.state, note=run.note)
            return NodeReport(node, role, NodeState.DEAD, note="it was killed")
        if life.paused:
            return NodeReport(node, role, NodeState.PAUSED, 0, run.server.control_address, run.server.bulk_address)
        if run.state is NodeState.STARTING:
            return NodeReport(node, role, NodeState.STARTING)
        control, bulk = run.server.control_address, run.server.bulk_address
        try:
            found = await self._described(control)
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

    async def _described(self, address: str) -> node_pb2.NodeDescription:
        stub, request = node_pb2_grpc.NodeStub(self.client_world.network.channel(address)), node_pb2.DescribeRequest()
        try:
            return await _answered(stub.Describe(request, timeout=DESCRIBE_SECONDS), DESCRIBE_SECONDS)
        except Unavailable:
            # It may be the stream to an earlier life, of which nobody has said that it is over.
            return await _answered(stub.Describe(request, timeout=DESCRIBE_SECONDS), DESCRIBE_SECONDS)

    def _require(self, node: str) -> None:
        known = [*self.settings.node_names(), *self._clients]
        if node not in known:
            raise NotFound(f"no node {node!r} in cluster {self.name!r}; there are: {', '.join(known)}")

    def _require_living(self, node: str) -> None:
        self._require(node)
        if not self.is_running(node):
            raise Conflict(f"{node} of cluster {self.name!r} is not running; restart it first")


async def _answered(call: Awaitable[T], seconds: float) -> T:
    """The answer to a call that somebody outside makes by a client's way. If the client is killed in that moment,
    nothing of it runs any more, not even the deadline of the call. Raises TimedOut."""
    try:
        async with asyncio.timeout(seconds + SLACK_SECONDS):
            return await call
    except TimeoutError:
        raise TimedOut(f"no answer in {seconds:g} seconds: the client whose way was used has ended") from None
