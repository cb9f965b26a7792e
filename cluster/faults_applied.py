"""What each kind of fault does to a simulated cluster.

Faults that last give back what ends them. Damage is done once: to the stored bytes of one replica, in the cache and on
the platter, behind the back of a server that may be running.
"""

from dataclasses import replace
from fnmatch import fnmatchcase

from cluster.damage import damage_each, files_of_replica
from cluster.faultplan import (
    BadLink,
    ClockDrift,
    DiskTrouble,
    Isolate,
    Lasting,
    LogTrouble,
    NoEnd,
    Partition,
    Pause,
    ReplicaTrouble,
    RottenEnd,
    RottenFile,
    RottenRecord,
    SlowNode,
    StreamsReset,
    WallOffset,
)
from cluster.faulty import FaultyNodes
from cluster.placement import PlacedChunk, Placement
from cluster.tablet_targets import newest_log
from runtime.errors import NotFound
from runtime.faults.links import Kind, LinkFaults
from runtime.faults.undo import Undo, all_of
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.fabric import ANY
from runtime.simulated.messages import DROP, Delay, Double, Message, Verdict
from runtime.simulated.world import Simulation


def impose(
    what: Lasting, cluster: FaultyNodes, placement: Placement | None, nodes: list[str], others: list[str]
) -> tuple[Undo, str]:
    """Begin a fault that lasts at each of the nodes; returns what ends it, and details for its sentence."""
    details = ""
    if isinstance(what, LogTrouble):
        if placement is None:
            raise NotFound("there is no file system here, and no log of a tablet server")
        what = ReplicaTrouble(what.fault, *newest_log(placement.places(), what.server))
    if isinstance(what, ReplicaTrouble):
        chunk = known_chunk(placement, what.path, what.chunk)
        fault = replace(what.fault, path=files_of_replica(chunk.handle))
        details = f"the replica of chunk {what.chunk} of {what.path} ({fault.path}*)"
        what = DiskTrouble(fault)
    return all_of([undo for node in nodes for undo in _imposed(what, cluster, node, others)]), details


def _imposed(what: Lasting, cluster: FaultyNodes, node: str, others: list[str]) -> list[Undo]:
    simulation = cluster.simulation
    world = simulation.world(node)
    match what:
        case Pause():
            return [simulation.pause(node)]
        case Partition() | Isolate() | BadLink() | StreamsReset() | SlowNode():
            return _of_network(what, simulation, node, others)
        case ClockDrift(drift):
            return [world.simulated_clock.drift(drift)]
        case WallOffset(seconds):
            return [world.simulated_clock.offset_wall(seconds)]
        case DiskTrouble(fault):
            return [world.simulated_disk.impose(fault)]
        case RottenFile():
            return [rot_for_a_while(what, world.simulated_disk)]
        case RottenEnd():
            if not cluster.is_running(node):
                _rot_end(what, world.simulated_disk)
            return []
        case ReplicaTrouble() | LogTrouble():
            raise AssertionError(f"{what} was made a fault of its files before")


def _of_network(
    what: Partition | Isolate | BadLink | StreamsReset | SlowNode,
    simulation: Simulation,
    node: str,
    others: list[str],
) -> list[Undo]:
    match what:
        case Partition(one_way=one_way):
            return [simulation.partition([node], [other for other in others if other != node], one_way=one_way)]
        case Isolate(hears, speaks):
            rest = [other for other in simulation.nodes() if other != node]
            outward = [] if speaks else [simulation.partition([node], rest, one_way=True)]
            inward = [] if hears else [simulation.partition(rest, [node], one_way=True)]
            return outward + inward
        case BadLink(faults, other, one_way, kind):
            peers = [ANY] if other is None else [name for name in others if name != node]
            ways = [(node, peer) for peer in peers] + ([] if one_way else [(peer, node) for peer in peers])
            if kind is None:
                return [simulation.impose(faults, source, target) for source, target in ways]
            return [_of_kind(simulation, faults, kind, source, target) for source, target in ways]
        case StreamsReset(other, one_sided):
            for peer in [ANY] if other is None else [name for name in others if name != node]:
                simulation.reset(node, peer, one_sided=one_sided)
            return []
        case SlowNode(seconds):
            return [simulation.slow(node, seconds)]


def _of_kind(simulation: Simulation, faults: LinkFaults, kind: Kind, source: str, target: str) -> Undo:
    """A bad link for messages of one kind. What flips bits is for bulk streams as a whole, and left out here."""
    chances = simulation.tape.stream(f"faults of {kind.value} messages")

    def hook(message: Message) -> Verdict | None:
        if message.kind is not kind or source not in (message.source, ANY) or target not in (message.target, ANY):
            return None
        if chances.chance(faults.loss):
            return DROP
        if kind is Kind.REQUEST and chances.chance(faults.duplication):
            return Double(faults.delay)
        return Delay(faults.delay + faults.jitter * chances.between(0.0, 1.0))

    return simulation.on_message(hook)


def known_chunk(placement: Placement | None, path: str, index: int) -> PlacedChunk:
    """The chunk at a place in a file. Raises NotFound."""
    chunk = placement.chunk(path, index) if placement is not None else None
    if chunk is None:
        raise NotFound(f"nobody knows a chunk {index} of {path}")
    return chunk


def _rot_end(what: RottenEnd, disk: SimulatedDisk) -> None:
    names = [path for path in disk.paths() if fnmatchcase(path, what.pattern) and len(disk.content(path).cached)]
    if names:
        size = len(disk.content(names[-1]).cached)
        count = min(what.count, size)
        disk.rot(names[-1], size - count, count=count)


def rot_for_a_while(what: RottenFile, disk: SimulatedDisk) -> Undo:
    """Flip bits of the file that fits. Returns what flips them back, if the same file is still there."""
    names = [path for path in disk.paths() if fnmatchcase(path, what.pattern) and len(disk.content(path).cached)]
    names = names[: len(names) - what.spares]
    if not names:
        return _nothing
    path = names[min(what.number, len(names) - 1)]
    content = disk.content(path)
    offset = min(int(what.place * len(content.cached)), len(content.cached) - 1)
    count = min(what.count, len(content.cached) - offset)
    disk.rot(path, offset, count=count)

    def undo() -> None:
        # It may have been renamed meanwhile.
        now = next((name for name in disk.paths() if disk.content(name) is content), None)
        if now is not None and len(content.cached) >= offset + count:
            disk.rot(now, offset, count=count)

    return undo


def _nothing() -> None:
    """No file was there that could rot."""


def damage(what: NoEnd, cluster: FaultyNodes, placement: Placement | None, nodes: list[str]) -> str:
    """Damage what is stored at each of the nodes; returns what was done, in words. Raises NotFound, or what a disk
    raises, if nothing could be damaged."""
    handle = 0 if isinstance(what, RottenRecord) else known_chunk(placement, what.path, what.chunk).handle
    return damage_each(what, {node: cluster.simulation.world(node).simulated_disk for node in nodes}, handle)
