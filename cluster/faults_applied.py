"""What each kind of fault does to a simulated cluster.

Faults that last give back what ends them. Damage is done once: to the stored bytes of one replica, in the cache and on
the platter, behind the back of a server that may be running.
"""

from fnmatch import fnmatchcase

from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_format import SLOT_BYTES, TABLE_OFFSET, decode_slots
from cluster.faultplan import (
    BadLink,
    ClockDrift,
    Damage,
    DiskTrouble,
    Isolate,
    Lasting,
    Partition,
    Pause,
    RottenBlock,
    RottenEnd,
    RottenFile,
    RottenHeader,
    RottenTable,
    SlowNode,
    StreamsReset,
    TornBlock,
    TornHeader,
    WallOffset,
)
from cluster.faulty import FaultyNodes
from cluster.placement import Placement
from runtime.errors import TabletopError
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.fabric import ANY
from runtime.simulated.undo import Undo, all_of

# What of a header slot rots: the magic number stays, so that only the checksum tells.
_ROTTEN_AT, _ROTTEN_BYTES = 16, 4
_CHECKSUM_BYTES = 4


def impose(what: Lasting, cluster: FaultyNodes, nodes: list[str], others: list[str]) -> Undo:
    """Begin a fault that lasts at each of the nodes; returns what ends it."""
    return all_of([undo for node in nodes for undo in _imposed(what, cluster, node, others)])


def _imposed(what: Lasting, cluster: FaultyNodes, node: str, others: list[str]) -> list[Undo]:
    simulation = cluster.simulation
    world = simulation.world(node)
    match what:
        case Pause():
            return [simulation.pause(node)]
        case Partition(one_way=one_way):
            return [simulation.partition([node], [other for other in others if other != node], one_way=one_way)]
        case Isolate(hears, speaks):
            rest = [other for other in simulation.nodes() if other != node]
            outward = [] if speaks else [simulation.partition([node], rest, one_way=True)]
            inward = [] if hears else [simulation.partition(rest, [node], one_way=True)]
            return outward + inward
        case BadLink(faults, other, one_way):
            peers = [ANY] if other is None else [name for name in others if name != node]
            away = [simulation.impose(faults, node, peer) for peer in peers]
            return away if one_way else away + [simulation.impose(faults, peer, node) for peer in peers]
        case StreamsReset(other, one_sided):
            for peer in [ANY] if other is None else [name for name in others if name != node]:
                simulation.reset(node, peer, one_sided=one_sided)
            return []
        case SlowNode(seconds):
            return [simulation.slow(node, seconds)]
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


def damage(what: Damage, cluster: FaultyNodes, placement: Placement | None, nodes: list[str]) -> str:
    """Damage the replica at each of the nodes. Returns why nothing could be damaged, empty if something was."""
    chunk = placement.chunk(what.path, what.chunk) if placement is not None else None
    if chunk is None:
        return f"nobody knows a chunk {what.chunk} of {what.path}"
    problem = ""
    done = 0
    for node in nodes:
        try:
            _damage_one(what, cluster.simulation.world(node).simulated_disk, chunk.handle)
            done += 1
        except TabletopError as error:
            problem = error.message
    return "" if done else problem


def _damage_one(what: Damage, disk: SimulatedDisk, handle: int) -> None:
    data, metadata = data_path(handle), metadata_path(handle)
    match what:
        case RottenBlock(block=block):
            disk.rot(data, block * BLOCK_BYTES, count=min(4, len(disk.content(data).cached) - block * BLOCK_BYTES))
        case TornBlock(block=block):
            begin = block * BLOCK_BYTES
            disk.tear(data, begin, max(2, min(BLOCK_BYTES, len(disk.content(data).cached) - begin)))
        case RottenHeader(slot=None):
            for slot in _written_slots(disk, metadata):
                disk.rot(metadata, slot * SLOT_BYTES + _ROTTEN_AT, count=_ROTTEN_BYTES)
        case RottenHeader(slot="newest"):
            headers = decode_slots(bytes(disk.content(metadata).cached), handle)
            newest = max(headers, key=lambda slot: headers[slot].sequence, default=0)
            disk.rot(metadata, newest * SLOT_BYTES + _ROTTEN_AT, count=_ROTTEN_BYTES)
        case RottenHeader(slot=int(slot)):
            disk.rot(metadata, slot * SLOT_BYTES + _ROTTEN_AT, count=_ROTTEN_BYTES)
        case RottenTable(block=block):
            disk.rot(metadata, TABLE_OFFSET + block * _CHECKSUM_BYTES, count=_CHECKSUM_BYTES)
        case TornHeader(slot=slot):
            written = bytes(disk.content(metadata).cached[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]).rstrip(b"\0")
            disk.tear(metadata, slot * SLOT_BYTES, len(written))


def _written_slots(disk: SimulatedDisk, metadata: str) -> list[int]:
    stored = disk.content(metadata).cached
    slots = range(TABLE_OFFSET // SLOT_BYTES)
    return [slot for slot in slots if any(stored[slot * SLOT_BYTES : slot * SLOT_BYTES + _ROTTEN_AT + _ROTTEN_BYTES])]
