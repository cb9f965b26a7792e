"""One file that everybody reads: how fast, before and after the master has given it more copies (GFS 2.5).

    python -m bench.hot_file [--clients 24] [--chunkservers 12] [--seconds 30]

A simulated cluster, whose network cards carry 12.5 MB/s each way, as those of the paper's section 6.1: what limits the
readers is what the servers can send, and nothing else. The clients, each on a machine of its own, read the one chunk of
a file over and over. Time is virtual, and every figure follows from the seed. "one server" is what a single card can
send: with all clients at the same replica it would be the limit.
"""

import argparse
import asyncio

from bench.report import machine
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.settings import ClientSettings
from runtime.simulated.world import Simulation

CARD_BYTES_PER_SECOND = 12.5e6
CHUNK_BYTES = 4 * 1024 * 1024
COPIES = 3
PATH = "/tool"


class Readers:
    """Clients that read the file again and again, and count bytes."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self.bytes = 0

    async def read_for_ever(self, number: int) -> None:
        """One client."""
        while True:
            data = await self._cluster.client(number).read_file(PATH)
            self.bytes += len(data)

    async def rate(self, seconds: float) -> float:
        """Megabytes a second that all of them got during the next seconds."""
        before = self.bytes
        await asyncio.sleep(seconds)
        return (self.bytes - before) / seconds / 1e6


async def measure(cluster: SimulatedCluster, seconds: float) -> list[tuple[str, int, float]]:
    """What was seen in each phase: its name, the copies at its end, megabytes a second."""
    await cluster.start()
    await cluster.client().write_file(PATH, bytes(CHUNK_BYTES))
    readers, found = Readers(cluster), []
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(readers.read_for_ever(number + 1)) for number in range(len(cluster.client_names()))]
    for phase, wait in (("at first", 0.0), ("when it is hot", 2 * seconds)):
        await asyncio.sleep(wait)
        rate = await readers.rate(5.0 if phase == "at first" else seconds)
        found.append((phase, await _copies(cluster), rate))
    for task in tasks[1:]:
        task.cancel()
    await asyncio.sleep(4 * seconds)
    found.append(("one client left", await _copies(cluster), await readers.rate(seconds)))
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(4 * seconds)
    found.append(("nobody reads any more", await _copies(cluster), await readers.rate(seconds)))
    return found


async def _copies(cluster: SimulatedCluster) -> int:
    [chunk] = (await cluster.status(chunks=True)).chunks
    return len(chunk.chunk.replicas)


def main() -> None:
    """Measure with hot copies and without, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hot_file", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--chunkservers", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30.0, help="of virtual time, for each figure")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"{machine()}; {options.clients} clients, cards of {CARD_BYTES_PER_SECOND / 1e6:g} MB/s\n")
    print("| copies | phase | copies then | read, MB/s | of what one server can send |\n|---|---|--:|--:|--:|")
    for name, most in (("as its goal", 0), ("up to 6 more", 6)):
        with Simulation(options.seed, bytes_per_second=CARD_BYTES_PER_SECOND) as simulation:
            cluster = SimulatedCluster(
                simulation,
                ClusterSettings(
                    chunkservers=options.chunkservers, replicas=COPIES, chunk_bytes=CHUNK_BYTES, lease_seconds=5.0
                ),
                clients=options.clients,
                client_settings=ClientSettings(location_seconds=10.0, read_seconds=30.0),
                overrides={"master": {"hot_bytes_per_second": 4_000_000, "hot_copies": most}},
            )
            for phase, copies, rate in simulation.run(measure(cluster, options.seconds)):
                share = rate * 1e6 / CARD_BYTES_PER_SECOND
                print(f"| {name} | {phase} | {copies} | {rate:.1f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
