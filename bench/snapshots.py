"""Snapshots: of a tree of many files, and the first write after one (GFS 3.4).

    python -m bench.snapshots [--files 100000] [--megabytes 64] [--rounds 3]

**The tree.** A master and a client in one process, over loopback and a log on disk. The master knows that many files,
of one chunk each, in directories of a hundred. What is measured: the whole call as its client sees it, the processor
time of both, and the longest step, for which the master serves nobody, in processor time too: as a task that wants to
run every millisecond finds it. Beside it the same for a rename of the tree, which changes as many names and no chunk.

**The first write.** A cluster of three chunkservers, three copies. A file of one chunk is written over in one place,
4 KiB at a time: a file that shares nothing, and one of which a snapshot was just taken, for the first time and for the
second. What is measured: the call as its client sees it, and what the chunkservers count of copied bytes.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import MEGABYTE
from bench.report import machine
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from gfs.client import Client
from master.log.records import ChunkAllocated, DirectoriesMade, FileCreated, HandlesReserved
from master.log.state import MasterState
from master.server import MasterServer
from master.settings import MasterSettings
from runtime.real.world import RealWorld

FILES_A_DIRECTORY = 100
SERVERS = ("cs1", "cs2", "cs3")
PIECE_BYTES = 4096
_TICK_SECONDS = 0.001


@dataclass(slots=True)
class Taken:
    """How long a call took by the clock, and in processor time of this process, and its longest step. Seconds."""

    wall: float
    processor: float
    longest_step: float

    def __str__(self) -> str:
        return (
            f"{self.wall * 1000:8.0f} ms by the clock, {self.processor * 1000:6.0f} ms of the processor, "
            f"longest step {self.longest_step * 1000:4.0f} ms"
        )


async def taken(work: Awaitable[object]) -> Taken:
    """Await `work` while looking how long others have to wait."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.process_time()
            await asyncio.sleep(_TICK_SECONDS)
            longest = max(longest, time.process_time() - began)

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0.05)
    longest, wall, processor = 0.0, time.perf_counter(), time.process_time()
    await work
    found = Taken(time.perf_counter() - wall, time.process_time() - processor, 0.0)
    await asyncio.sleep(2 * _TICK_SECONDS)
    ticking.cancel()
    found.longest_step = longest
    return found


def fill(state: MasterState, files: int) -> None:
    """Files of one chunk below /crawl."""
    state.apply(HandlesReserved(2 * files + 2))
    state.apply(DirectoriesMade(("/crawl",), 1))
    for number in range(files):
        directory = f"/crawl/site-{number // FILES_A_DIRECTORY:06d}"
        if number % FILES_A_DIRECTORY == 0:
            state.apply(DirectoriesMade((directory,), 1))
        path = f"{directory}/part-{number % FILES_A_DIRECTORY:05d}-of-{FILES_A_DIRECTORY:05d}"
        state.apply(FileCreated(path, 3, number, state.chunks.reserve_handle()))
        state.apply(ChunkAllocated(path, 0, state.chunks.reserve_handle(), 1, SERVERS))


async def measure_tree(files: int, rounds: int) -> None:
    """Snapshots and renames of one tree."""
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        worlds = [RealWorld(node=name, root=f"{folder}/{name}", token="bench") for name in ("master", "client")]
        server = MasterServer(worlds[0], MasterSettings(lease_seconds=0.5))
        await server.start()
        fill(server.core.state, files)
        client = Client(worlds[1], server.control_address)
        await asyncio.sleep(1.0)  # The leases of a run before would have ended.
        records = server.counters()["log_records"]
        for number in range(rounds):
            print(f"  snapshot {await taken(client.snapshot('/crawl', f'/copy-{number}'))}")
        print(f"  {server.counters()['log_records'] - records} log records for {rounds} snapshots of {files:,} files")
        for number in range(rounds):
            print(f"  rename   {await taken(client.rename(f'/copy-{number}', f'/moved-{number}'))}")
        print(f"  checkpoint's pause: {await taken(_snapshot_of_state(server))}")
        server.check_invariants()
        await client.close()
        await server.stop()
        for world in worlds:
            await world.close()


async def _snapshot_of_state(server: MasterServer) -> None:
    server.core.state.snapshot()


async def copied_bytes(cluster: RealCluster) -> int:
    """What all chunkservers have copied since their start."""
    reports = await cluster.nodes()
    return sum(report.counters.get("bytes_cloned", 0) for report in reports)


async def measure_first_write(megabytes: int, rounds: int) -> None:
    """Writes to a chunk that is shared, and to one that is not."""
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as home:
        cluster = RealCluster("bench", home=Path(home), owned=True)
        await cluster.start(ClusterSettings(chunkservers=3, replicas=3))
        try:
            client, piece = cluster.client(), os.urandom(PIECE_BYTES)
            for number in range(rounds):
                path = f"/{number}"
                await client.write_file(path, os.urandom(megabytes * MEGABYTE))
                async with await client.open(path, "r+b") as file:
                    plain = await taken(file.pwrite(0, piece))
                    took = await taken(client.snapshot(path, f"{path}-copy"))
                    before = await copied_bytes(cluster)
                    first = await taken(file.pwrite(0, piece))
                    copied = await copied_bytes(cluster) - before
                    second = await taken(file.pwrite(0, piece))
                print(f"  not shared        {plain.wall * 1000:8.1f} ms")
                print(f"  the snapshot      {took.wall * 1000:8.1f} ms")
                print(
                    f"  the first write   {first.wall * 1000:8.1f} ms, {copied / MEGABYTE:.0f} MiB copied on 3 servers"
                )
                print(f"  the second write  {second.wall * 1000:8.1f} ms")
        finally:
            await cluster.stop(purge=True)


async def main() -> None:
    """Measure, and print each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.snapshots", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=60, help="in the file that is written, of one chunk")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"a tree of {options.files:,} files")
    await measure_tree(options.files, options.rounds)
    print(f"a file of {options.megabytes} MiB")
    await measure_first_write(options.megabytes, options.rounds)


if __name__ == "__main__":
    asyncio.run(main())
