"""The folder of a tablet that has worked for a while: what every run begins with.

    rows 00-29   written first, and in the first SSTable
    rows 10-19   written again, 05 deleted; the second SSTable
    rows 20-34   written again or for the first time; the third SSTable
    rows 00-09   written again, and 40-49: in the log alone, in three blocks of it
    `before`     a snapshot of the three SSTables

So there is an older value of many rows in an older file: who passes over a damaged block in silence gives that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cluster.cords.structures import TABLET_ROLE, Places
from cluster.cords.terms import Block, Subject, Workload
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import DeleteRow
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.reader import SSTable
from tablet.engine.world.eventual import finished
from tablet.engine.world.options import Options, SyncMode
from tablet.engine.world.storage import DiskStorage

DESK, FOLDER, COLUMN = "desk", "t", b"f:a"
BUILDING_SEED, RUNNING_SEED = 21, 22
SNAPSHOT = "before"
_QUIET_SECONDS = 1.0  # in which the mark of what is durable is written
_VALUE_BYTES = 300
_BLOCK_BYTES = 2048


@dataclass(frozen=True, slots=True)
class TabletKind:
    """One row group of the matrix."""

    name: str
    sync: SyncMode
    is_closed: bool

    @property
    def role(self) -> str:
        """Whose files they are."""
        return TABLET_ROLE

    @property
    def node(self) -> str:
        """On which node the folder lies."""
        return DESK

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """What is done to it."""
        return tuple(workload for workload in Workload if workload.subject is Subject.TABLET)

    @property
    def options(self) -> Options:
        """No cache, so that each read is one of the disk; no flush that nobody asks for."""
        return Options(
            sync=self.sync, block_cache_bytes=0, scan_cache_bytes=0, flush_on_close_bytes=1 << 30, garbage_seconds=0
        )


TABLET_KINDS = (TabletKind("tablet that syncs", "fsync", False), TabletKind("tablet closed in order", "os", True))


@dataclass(frozen=True, slots=True)
class TabletImage:
    """The files, what was acknowledged, where the parts of the SSTables are, and the rows of each data block, by path,
    offset and bytes."""

    files: Mapping[str, bytes]
    rows: Mapping[bytes, bytes | None]
    parts: Mapping[tuple[str, str], Places]
    rows_of_blocks: Mapping[tuple[str, int, int], frozenset[bytes]]

    def rows_in(self, block: Block) -> frozenset[bytes]:
        """The rows of the data blocks that share a byte with this one."""
        found: frozenset[bytes] = frozenset()
        for (path, offset, count), rows in self.rows_of_blocks.items():
            if path == block.path and offset < block.offset + block.count and block.offset < offset + count:
                found |= rows
        return found


def row_of(number: int) -> bytes:
    """The key of a row."""
    return b"row%02d" % number


def value_of(letter: str, number: int) -> bytes:
    """Bytes without zeros, which tell when they were written, and to which row."""
    piece = b"%s%02d-" % (letter.encode(), number)
    return (piece * (_VALUE_BYTES // len(piece) + 1))[:_VALUE_BYTES]


async def opened(world: SimulatedWorld, kind: TabletKind) -> Engine:
    """The tablet in the folder, at work. Raises what `Engine.open` raises."""
    engine = await Engine.open(DiskStorage(world.disk, FOLDER), world, kind.options)
    engine.start()
    return engine


@cache
def image_of_tablet(kind: TabletKind) -> TabletImage:
    """Bring a tablet into the known state, and end it."""
    with Simulation(BUILDING_SEED) as simulation:
        world = simulation.add_node(DESK)
        rows = simulation.run(simulation.on(world, _built(world, kind)))
        simulation.kill(DESK)
        files = world.simulated_disk.files()
        after = simulation.restart(DESK)
        parts, rows_of_blocks = simulation.run(simulation.on(after, _laid_out(after, sorted(files))))
        return TabletImage(files, rows, parts, rows_of_blocks)


async def _built(world: SimulatedWorld, kind: TabletKind) -> dict[bytes, bytes | None]:
    await world.disk.make_directory(FOLDER)
    engine = await opened(world, kind)
    await engine.set_locality_group(LocalityGroup(block_bytes=_BLOCK_BYTES, compression="none"))
    await engine.create_family("f")
    rows: dict[bytes, bytes | None] = {}

    async def write(letter: str, first: int, end: int) -> None:
        for number in range(first, end):
            rows[row_of(number)] = value_of(letter, number)
            await engine.put(row_of(number), COLUMN, value_of(letter, number))

    await write("a", 0, 30)
    await engine.flush()
    await write("b", 10, 20)
    await engine.write(row_of(5), [DeleteRow()])
    rows[row_of(5)] = None
    await engine.flush()
    await write("c", 20, 35)
    await engine.flush()
    await engine.save_snapshot(SNAPSHOT)
    await write("d", 0, 5)
    await write("d", 6, 10)
    await write("d", 40, 50)
    if kind.is_closed:
        await engine.close()
    await world.clock.sleep(_QUIET_SECONDS)
    return rows


async def _laid_out(
    world: SimulatedWorld, paths: list[str]
) -> tuple[dict[tuple[str, str], Places], dict[tuple[str, int, int], frozenset[bytes]]]:
    parts: dict[tuple[str, str], Places] = {}
    rows_of_blocks: dict[tuple[str, int, int], frozenset[bytes]] = {}
    storage = DiskStorage(world.disk, FOLDER)
    for path in paths:
        if not path.endswith(".sst"):
            continue
        table = await SSTable.open(storage, path.removeprefix(f"{FOLDER}/"), 0, BlockCache(0))
        ranges = [table.block_range(place) for place in range(table.blocks)]
        parts["SSTable data block", path] = tuple(ranges)
        for place, (offset, count) in enumerate(ranges):
            rows_of_blocks[path, offset, count] = frozenset((await finished(table.block(place))).chunk().rows)
        for what, offset, count in table.parts:
            name = f"SSTable {what.partition(' ')[0]}"
            parts[name, path] = (*parts.get((name, path), ()), (offset, count))
        await table.close()
    return parts, rows_of_blocks
