"""A tablet's log in a simulated GFS: written at offsets, or by record append? In virtual time.

    python -m bench.tablet_log

Each line is one file that one writer appends records to, one after the other, 256 KB chunks, three replicas: in peace,
and with a chunkserver that holds a replica killed in the middle. `bytes` is what the file has in the end for each byte
that was written; `repeated` counts records that are in the file more than once.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.simulated.world import Simulation

RECORDS = 400
CHUNK_BYTES = 256 * 1024
Append = Callable[[bytes], Awaitable[object]]


async def _story(cluster: SimulatedCluster, kind: str, size: int, *, kills: bool) -> str:
    await cluster.start()
    client, loop = cluster.client(), asyncio.get_running_loop()
    await client.create("/log")
    file = await client.open("/log", "r+b")
    end = 0

    async def at_offset(record: bytes) -> None:
        nonlocal end
        await file.pwrite(end, record)
        end += len(record)

    append: Append = at_offset if kind == "at offsets" else file.record_append
    latencies = []
    for number in range(RECORDS):
        if kills and number == RECORDS // 2:
            await cluster.kill("cs2")
        begun = loop.time()
        await append(_record(number, size))
        latencies.append(loop.time() - begun)
    await file.close()
    content = await client.read_file("/log")
    repeated = sum(content.count(_record(number, size)) > 1 for number in range(RECORDS))
    overhead = len(content) / (RECORDS * size)
    middle, most = 1000 * statistics.median(latencies), max(latencies)
    return f"{middle:8.3f} ms  {most:8.3f} s  {overhead:6.3f} bytes  {repeated} repeated"


def _record(number: int, size: int) -> bytes:
    return number.to_bytes(8, "big") + b"\xff" * (size - 8)


def main() -> None:
    """Print one line for each way, size, and fate."""
    for kills in (False, True):
        for size in (1024, 16 * 1024):
            for kind in ("at offsets", "record append"):
                with Simulation(5, quiet=True) as simulation:
                    settings = ClusterSettings(chunkservers=4, chunk_bytes=CHUNK_BYTES, lease_seconds=10.0)
                    cluster = SimulatedCluster(simulation, settings)
                    line = simulation.run(_story(cluster, kind, size, kills=kills))
                print(f"{'one killed' if kills else 'in peace':<11}{size:>7} {kind:<14}{line}")


if __name__ == "__main__":
    main()
