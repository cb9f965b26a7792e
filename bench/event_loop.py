"""How long background work holds the event loop: small rows and large ones, overwritten until there is much to merge.

    python -m bench.event_loop

While writers write, another task does nothing but wait for its turn and note the processor time between two of them. In
such a round each other task has at most one turn, so the longest round is no shorter than the longest slice of a flush
or a compaction (BT 5.4). Processor time is that of this thread alone; what else runs on the machine does not count.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.events import MemorySink
from runtime.real.world import RealWorld
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import Family, Schema
from tablet.engine.tree.budget import Budget
from tablet.engine.world.options import Options
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

_MIB = 1024 * 1024
_WRITERS = 8
_TABLE, _COLUMN = "bench", b"f:v"


@dataclass(frozen=True, slots=True)
class Load:
    """So many writes to as many row keys at random, through memtables of so many bytes."""

    writes: int
    value_bytes: int
    memtable_bytes: int


LOADS = (
    Load(writes=400_000, value_bytes=20, memtable_bytes=16 * _MIB),
    Load(writes=100_000, value_bytes=1000, memtable_bytes=32 * _MIB),
    Load(writes=2_000, value_bytes=100_000, memtable_bytes=32 * _MIB),
)


async def rounds(folder: Path, load: Load) -> list[float]:
    """The processor time of each round, in seconds, shortest first."""
    world = RealWorld(node="bench", root=folder, token="", sink=MemorySink())
    folders = DiskFolders(world.disk, "tablets")
    await folders.prepare()
    budget = Budget(
        block_cache_bytes=16 * _MIB, pinned_bytes=0, scan_cache_bytes=16 * _MIB, memtable_bytes=load.memtable_bytes
    )
    tablets = await Tablets.open(folders, world, Options(), budget=budget)
    await tablets.create_table(_TABLE, Schema().with_family(Family("f")), [])
    choice = random.Random(1)
    value = choice.randbytes(load.value_bytes)
    found: list[float] = []

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            found.append(time.thread_time() - before)

    async def write(count: int) -> None:
        for _ in range(count):
            await tablets.write(_TABLE, b"row%010d" % choice.randrange(load.writes), [SetCell(_COLUMN, value)])
            await asyncio.sleep(0)

    tablets.start()
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(write(load.writes // _WRITERS) for _ in range(_WRITERS)))
    watching.cancel()
    await tablets.close()
    return sorted(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.event_loop", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--share", type=float, default=1.0, help="So much of each load (default: 1, all).")
    chosen = parser.parse_args(arguments)
    print("| writes | bytes a value | longest round, ms | one in a thousand is longer than, ms |\n|--:|--:|--:|--:|")
    for load in LOADS:
        load = Load(max(_WRITERS, int(load.writes * chosen.share)), load.value_bytes, load.memtable_bytes)
        with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
            found = asyncio.run(rounds(Path(folder), load))
        rare = found[min(len(found) - 1, len(found) * 999 // 1000)]
        print(f"| {load.writes:,} | {load.value_bytes:,} | {1000 * found[-1]:.1f} | {1000 * rare:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
