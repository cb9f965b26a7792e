"""The cluster of one run, the faults that strike it, and a diary of what went wrong by the way.

A fault that could destroy the last good copy of a chunk is forbidden while it could: what it would cause is no mistake
of the servers.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from cluster.fault_runner import FaultBegan, FaultEnded, FaultRunner
from cluster.faultplan import (
    Damage,
    DiskTrouble,
    EmptyDisk,
    Fault,
    Isolate,
    Kill,
    OperationFails,
    Partition,
    Pause,
    PowerCut,
    ReplicaTrouble,
    RottenRecord,
    Stop,
    WrongFolder,
)
from cluster.roles import CHUNKSERVER_ROLE, MASTER_ROLE, role_of
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from cluster.swarm.history import Kind
from cluster.swarm.insight import Insight
from cluster.swarm.losses import Hindrance
from cluster.swarm.losses import PowerCut as Cut
from cluster.swarm.narrow_faults import RotInLog, is_vouched_for
from cluster.swarm.plan import Plan
from cluster.swarm.workload import CLIENTS
from gfs.settings import ClientSettings
from runtime.errors import TabletopError
from runtime.events import MemorySink, NodeStarted, Record
from runtime.faults.disk import DroppedWrites, OpenError, ReadError, SyncError, WriteError
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.loop import SimulatedLoop
from runtime.simulated.tape import Plain
from runtime.simulated.world import Simulation

# A server that ended by itself is started again after so long, as by a supervisor.
REVIVE_SECONDS = 2.0
# A file that a killed client was writing is deleted when nobody has written it for so long.
ABANDONED_SECONDS = 90.0
# How long a node that works may take to stop in good order, and all faults to end.
STOP_SECONDS = 90.0
HEAL_SECONDS = 200.0
# The copies of a disk that was damaged are not counted on for so long: what is wrong with them may not show yet.
REST_SECONDS = 10.0
_OF_DISKS = DiskTrouble | ReplicaTrouble | EmptyDisk | OperationFails
_SILENCING = Kill | PowerCut | Stop | Pause | Isolate | Partition
_ERRORS = (ReadError, WriteError, SyncError, DroppedWrites, OpenError)


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
        self.plan = plan
        self.simulation = Simulation(plan.seed, plain=[Plain(name) for name in plan.plain_streams])
        self.sink = TimedSink(self.simulation.loop)
        self.simulation.sink = self.sink
        self.complaints: list[str] = []
        self.cuts: list[Cut] = []
        self.hindrances: list[Hindrance] = []
        self.struck: dict[str, int] = {}
        self._killed: dict[str, float] = {}
        self._begun: dict[tuple[int, str], float] = {}
        self._troubled: dict[str, float] = {}  # disks, and until when nobody counts on their copies
        self._misled: dict[int, None] = {}  # faults that have a server on a wrong folder
        self._rot: list[RotInLog] = []
        self._started = 0.0
        goals = [planned.count for planned in plan.operations if planned.kind is Kind.SET_REPLICATION]
        self._fewest_replicas = min([setup.replicas, *goals])
        self.cluster = SimulatedCluster(
            self.simulation,
            ClusterSettings(
                chunkservers=setup.chunkservers,
                replicas=setup.replicas,
                chunk_bytes=setup.chunk_bytes,
                lease_seconds=setup.lease_seconds,
                heartbeat_seconds=setup.heartbeat_seconds,
                durability=setup.durability,
                masters=setup.masters,
                topology=setup.topology,
                placement=setup.placement,
            ),
            name="swarm",
            client_settings=ClientSettings(
                own_host=setup.client_host,
                location_seconds=setup.location_seconds,
                inline_bytes=setup.inline_bytes,
                write_piece_bytes=setup.write_piece_bytes,
                patience_seconds=setup.patience_seconds,
                write_seconds=setup.write_seconds,
                write_patience_seconds=setup.write_patience_seconds,
                shadow_seconds=0.0,  # What a shadow says may be old, and no judge could tell that from a mistake.
            ),
            clients=len(CLIENTS) + 1,
            overrides={
                MASTER_ROLE: {
                    "trash_grace_seconds": setup.trash_grace_seconds,
                    "namespace_scan_seconds": setup.namespace_scan_seconds,
                    "checkpoint_log_bytes": setup.checkpoint_log_bytes,
                    "abandoned_seconds": ABANDONED_SECONDS,
                    "shadow_memory_bytes": setup.shadow_memory_bytes,
                    "hot_bytes_per_second": setup.hot_bytes_per_second,
                    "dead_after_seconds": setup.dead_after_heartbeats * setup.heartbeat_seconds,
                },
                CHUNKSERVER_ROLE: {"scrub_bytes_per_second": setup.scrub_bytes_per_second},
            },
        )
        self.insight = Insight(self.cluster)
        self.sink.listener = self._hear
        self.faults = FaultRunner(self.cluster, plan.faults, revive_seconds=REVIVE_SECONDS, forbid=self._forbid)

    # Looking.

    @property
    def now(self) -> float:
        """True virtual seconds."""
        return self.simulation.loop.time()

    def server_names(self) -> list[str]:
        """The master first."""
        return self.cluster.settings.node_names()

    def chunkserver_names(self) -> list[str]:
        """All chunkservers."""
        return self.cluster.settings.chunkserver_names()

    def disk(self, node: str) -> SimulatedDisk:
        """A node's disk."""
        return self.simulation.world(node).simulated_disk

    def complain(self, text: str) -> None:
        """Note something that must not be, whatever the history says."""
        self.complaints.append(f"at {self.now:.3f} s: {text}")

    # The course of a run.

    def begin_faults(self) -> None:
        """Let the faults happen; their times count from now."""
        self._started = self.now
        self.faults.begin()

    async def heal(self) -> None:
        """End all faults, and start every node that does not run. An operator mends what has rotted in logs."""
        for rot in self._rot:
            rot.mend()
        try:
            async with asyncio.timeout(HEAL_SECONDS):
                await self.faults.heal_all()
        except TimeoutError:
            self.complain(f"a node neither stops nor starts within {HEAL_SECONDS:g} s after all faults ended")
        except TabletopError as error:
            self.complain(f"a node does not start though nothing is wrong: {type(error).__name__}: {error.message}")

    async def restart(self, node: str, *, in_good_order: bool) -> None:
        """End a node and start it again; it must not take for ever."""
        try:
            if not in_good_order:
                with contextlib.suppress(TabletopError):
                    await self.cluster.kill(node)
            async with asyncio.timeout(STOP_SECONDS):
                await self.cluster.restart(node)
        except TimeoutError:
            self.complain(f"{node} is not back {STOP_SECONDS:g} s after it was asked to restart")
            self.simulation.kill(node)
            await self.cluster.start_node(node)
        except TabletopError as error:
            self.complain(f"{node} does not restart: {type(error).__name__}: {error.message}")

    # What faults do, and may do.

    def _hear(self, time: float, record: Record) -> None:
        self.insight.hear(time, record)
        event = record.event
        if isinstance(event, NodeStarted) and record.node in self._killed:
            self.hindrances.append(Hindrance(self._killed.pop(record.node), time, record.node))
        if isinstance(event, FaultBegan):
            self._note_begin(time, self.plan.faults[event.number], event)
        elif isinstance(event, FaultEnded):
            fault = self.plan.faults[event.number]
            self._misled.pop(event.number, None)
            for node in event.nodes.split(", "):
                begun = self._begun.pop((event.number, node), None)
                if begun is not None:
                    self.hindrances.append(Hindrance(begun, time, node))
                if node in self._troubled and isinstance(fault.what, _OF_DISKS):
                    self._troubled[node] = time + REST_SECONDS
                    self.cuts.append(Cut(time, node))

    def _note_begin(self, time: float, fault: Fault, event: FaultBegan) -> None:
        kind = type(fault.what).__name__
        self.struck[kind] = self.struck.get(kind, 0) + 1
        nodes = event.nodes.split(", ")
        if isinstance(fault.what, PowerCut | EmptyDisk | Damage) or self._is_error(fault):
            # What a disk loses by damage or an error it has lost as by a power cut.
            self.cuts.extend(Cut(time, node) for node in nodes)
        if isinstance(fault.what, Kill):
            for node in nodes:  # Nothing of it is synced before it runs again.
                self._killed.setdefault(node, time)
        if isinstance(fault.what, RottenRecord):
            self._rot[-1].note()
        if isinstance(fault.what, Pause | DiskTrouble | ReplicaTrouble | OperationFails):
            for node in nodes:
                self._begun[event.number, node] = time
        elif isinstance(fault.what, WrongFolder):
            self._misled[event.number] = None

    def _is_error(self, fault: Fault) -> bool:
        what = fault.what
        if isinstance(what, DiskTrouble | ReplicaTrouble):
            return isinstance(what.fault, _ERRORS)
        return isinstance(what, OperationFails)

    def _forbid(self, fault: Fault, nodes: list[str]) -> str:
        """Why a fault must not strike now: it could destroy the last good copy of something."""
        what = fault.what
        if isinstance(what, WrongFolder) and (self._misled or not self._all_have_a_namespace()):
            return "a new server would join a master on a wrong folder, and the cluster would have lost it"
        if isinstance(what, RottenRecord):
            return self._forbid_rot(what, nodes)
        if not self._is_error(fault) and not isinstance(what, Damage | EmptyDisk):
            return self._why_alone(nodes) if isinstance(what, _SILENCING) else ""
        if self._misled:
            return "the master is on a wrong folder, and nobody knows who has the last good copy of what"
        now = self.now
        self._troubled = {node: until for node, until in self._troubled.items() if until > now}
        for node in nodes:
            if role_of(node) != CHUNKSERVER_ROLE:
                continue
            handles = None
            if isinstance(what, Damage | ReplicaTrouble):
                handles = [self.insight.handle_at(what.path, what.chunk)]
            if not self.insight.may_destroy(node, handles, self._troubled):
                return f"{node} may have the last good copy of something"
            if handles is None and not self.insight.others_take_chunks(node, self._troubled):
                return f"new chunks would be on {node} alone"
            self._troubled[node] = now + (fault.seconds or 0.0) + REST_SECONDS
        return ""

    def _forbid_rot(self, what: RottenRecord, nodes: list[str]) -> str:
        """One record of one master at a time, which a later one tells from a torn end."""
        if self._rot:
            return "another record has rotted already"
        if len(nodes) != 1 or not is_vouched_for(self.disk(nodes[0]), what.number):
            return f"nothing says that record {what.number} had been durable"
        self._rot.append(RotInLog(self.disk(nodes[0])))
        return ""

    def _why_alone(self, nodes: list[str]) -> str:
        """Why these nodes must not fall silent: a chunk could go on with nothing but a replica whose damage nobody has
        found yet, and the sound ones would be stale."""
        troubled = [node for node, until in self._troubled.items() if until > self.now]
        silent = {*nodes, *(name for name in self.chunkserver_names() if not self.insight.is_well(name))}
        others = [node for node in silent if role_of(node) == CHUNKSERVER_ROLE and node not in troubled]
        if troubled and len(others) >= self._fewest_replicas - 1:
            return f"the replicas on {', '.join(troubled)} may be damaged, and could be left alone"
        return ""

    def may_be_admitted(self, node: str) -> bool:
        """Whether the replicas on a node may be taken by force for the only ones: they are not damaged."""
        return self._troubled.get(node, 0.0) <= self.now

    def _all_have_a_namespace(self) -> bool:
        return all(self.insight.belongs_to_a_namespace(name) for name in self.chunkserver_names())


def described(setup: Any) -> str:
    """The settings of a run in one line."""
    return ", ".join(f"{field.name}={getattr(setup, field.name)}" for field in dataclasses.fields(setup))
