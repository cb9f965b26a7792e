"""How long readers and writers wait when the acting master is killed, and what several masters cost (GFS 5.1.3).

    python -m bench.failover [--rounds 3] [--masters 3] [--creations 1500]

A cluster of three masters, a lock service and three chunkservers, at the default settings. One task reads a file again
and again, one writes new ones; then the process of the master that acts is killed. The longest of their operations is
what an application has noticed. After each round the killed master is started again. Then sixteen tasks create empty
files, in turns on this cluster and on one with a single master.
"""

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from bench.report import machine
from cluster.interface import wait_until
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from gfs.client import Client

BEFORE_SECONDS, AFTER_SECONDS = 2.0, 10.0
TASKS = 16


async def longest(work: "Work", until: float) -> float:
    """Do it again and again up to that moment; returns the seconds of the longest."""
    loop, worst, number = asyncio.get_running_loop(), 0.0, 0
    while loop.time() < until:
        begun = loop.time()
        await work(number)
        worst, number = max(worst, loop.time() - begun), number + 1
        await asyncio.sleep(0.02)
    return worst


class Work:
    """One operation of a reader or a writer, with a name of its own each time."""

    def __init__(self, client: Client, prefix: str, *, writes: bool) -> None:
        self._client = client
        self._prefix = prefix
        self._writes = writes

    async def __call__(self, number: int) -> None:
        """Do it."""
        if self._writes:
            await self._client.write_file(f"{self._prefix}-{number}", b"written" * 100)
        else:
            await self._client.read_file(self._prefix)


async def one_round(cluster: RealCluster, number: int) -> tuple[str, float, float]:
    """Kill the acting master; returns its name, and the longest read and write in seconds."""
    client, loop = cluster.client(), asyncio.get_running_loop()
    await client.write_file(f"/read-{number}", b"read" * 25_000)
    [acting] = [name for name, found in (await cluster.standings()).items() if found is not None and found.acting]
    until = loop.time() + BEFORE_SECONDS + AFTER_SECONDS
    reading = asyncio.create_task(longest(Work(client, f"/read-{number}", writes=False), until))
    writing = asyncio.create_task(longest(Work(client, f"/write-{number}", writes=True), until))
    await asyncio.sleep(BEFORE_SECONDS)
    await cluster.kill(acting)
    waited = await reading, await writing
    await cluster.restart(acting)
    await wait_until(lambda: all_in_sync(cluster), what="all masters are in sync", timeout_seconds=60.0)
    return acting, *waited


async def all_in_sync(cluster: RealCluster) -> bool:
    """Whether each of the others could take over."""
    found = [standing for standing in (await cluster.standings()).values() if standing is not None]
    followers = [follower for standing in found if standing.acting for follower in standing.followers]
    return bool(followers) and all(follower.in_sync for follower in followers)


async def creations(client: Client, folder: str, count: int) -> float:
    """Files created a second."""
    loop = asyncio.get_running_loop()
    await client.make_directory(folder)
    begun = loop.time()

    async def some(task: int) -> None:
        for number in range(count // TASKS):
            await client.create(f"{folder}/{task}-{number}")

    await asyncio.gather(*map(some, range(TASKS)))
    return count / (loop.time() - begun)


@contextlib.asynccontextmanager
async def running(home: str, name: str, masters: int) -> AsyncIterator[RealCluster]:
    """A cluster, for as long as the block runs."""
    cluster = RealCluster(name, home=Path(home), owned=True)
    try:
        await cluster.start(ClusterSettings(chunkservers=3, masters=masters))
        yield cluster
    finally:
        await cluster.stop(purge=True)


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--masters", type=int, default=3)
    parser.add_argument("--creations", type=int, default=1500, help="files in each turn")
    options = parser.parse_args()
    print(f"{machine()}; {options.masters} masters, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as home:
        async with running(home, "several", options.masters) as several:
            for number in range(options.rounds):
                killed, read, written = await one_round(several, number)
                print(f"{killed} killed: the longest read took {read:.2f} s, the longest write {written:.2f} s")
            async with running(home, "one", 1) as one:
                for number in range(options.rounds):
                    for name, cluster in (("one master", one), (f"{options.masters} masters", several)):
                        speed = await creations(cluster.client(), f"/many-{number}", options.creations)
                        print(f"{name}: {speed:,.0f} files created a second")


if __name__ == "__main__":
    asyncio.run(main())
