"""What a node of a cluster of processes is at this moment: by its files, its process, and what it answers."""

from dataclasses import dataclass

from cluster import processes
from cluster.folder import NodeFolder
from cluster.interface import DESCRIBE_SECONDS, NodeReport, NodeState
from cluster.processes import ProcessIdentity, ProcessState
from cluster.roles import role_of
from runtime.errors import TimedOut, Unavailable
from runtime.events import Record
from runtime.wire import node_pb2, node_pb2_grpc
from runtime.world import World


@dataclass(frozen=True, slots=True)
class Recorded:
    """The records of several nodes, and how many lines of the files of each were none."""

    records: list[Record]
    damaged_lines: dict[str, int]


def processes_of(folder: NodeFolder) -> list[ProcessIdentity]:
    """The living processes of a node: one, or none."""
    ready = folder.read_ready()
    if ready is not None and processes.state_of(ready.identity) is not ProcessState.GONE:
        return [ready.identity]
    return processes.find_programs(folder.path)


async def look_at(folder: NodeFolder, world: World) -> NodeReport:
    """Look at a node, and ask it within a second, if its process runs."""
    name, role = folder.name, role_of(folder.name)
    ready = folder.read_ready()
    if ready is None:
        return _unready(name, role, folder)
    state = processes.state_of(ready.identity)
    number, control, bulk = ready.identity.process_id, ready.control_address, ready.bulk_address
    if state is ProcessState.GONE:
        return NodeReport(name, role, NodeState.DEAD, note=f"its process {number} is gone")
    if state is ProcessState.PAUSED:
        return NodeReport(name, role, NodeState.PAUSED, number, control, bulk, note="stopped by a signal")
    try:
        stub = node_pb2_grpc.NodeStub(world.network.channel(ready.control_address))
        found = await stub.Describe(node_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS)
    except (Unavailable, TimedOut) as error:
        return NodeReport(name, role, NodeState.HUNG, number, control, bulk, note=error.message)
    return NodeReport(
        name,
        role,
        NodeState.SERVING,
        number,
        control,
        bulk,
        uptime_seconds=found.uptime_seconds,
        resident_bytes=found.resident_bytes,
        version=found.version,
        counters=dict(found.counters),
        metrics_address=ready.metrics_address,
    )


def _unready(name: str, role: str, folder: NodeFolder) -> NodeReport:
    living = processes_of(folder)
    if living:
        paused = processes.state_of(living[0]) is ProcessState.PAUSED
        state = NodeState.PAUSED if paused else NodeState.STARTING
        return NodeReport(name, role, state, living[0].process_id)
    failure = folder.read_failure()
    if failure is not None:
        return NodeReport(name, role, NodeState.FAILED, note=failure[1])
    return NodeReport(name, role, NodeState.STOPPED)
