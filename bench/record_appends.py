"""Record append beside writes at offsets: eight clients and one file, or one client and its own (GFS 3.3).

    python -m bench.record_appends [--megabytes 64] [--rounds 3]

All take turns within one run, on a cluster of three chunkservers with three copies. Every record and every write is
acknowledged by all replicas before its client sends the next one. The clients are tasks of one process, with
connections of their own. Records are raw bytes of one size: what `gfs.records` adds is 28 bytes and a checksum.
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from bench.measuring import MEGABYTE, Rows, timed
from bench.report import machine, table
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from gfs.client import Client

CLIENTS = 8
SIZES = {"1 KiB": 1024, "64 KiB": 64 * 1024, "1 MiB": MEGABYTE}
SMALL_BYTES = 16 * 1024
"""Of smaller records the number counts, and not the bytes."""
MOST_RECORDS = 4000
WRITER, APPENDER, APPENDERS = "1 writer", "1 appender", f"{CLIENTS} appenders"


async def write(client: Client, path: str, data: bytes, count: int) -> None:
    """One client writes at offsets, one write after the other."""
    async with await client.open(path, "xb") as file:
        for number in range(count):
            await file.pwrite(number * len(data), data)


async def append(clients: list[Client], path: str, data: bytes, count: int) -> None:
    """Clients append to one file, each one record after the other."""
    await clients[0].create(path)

    async def some(client: Client) -> None:
        for _ in range(count // len(clients)):
            await client.record_append(path, data)

    await asyncio.gather(*map(some, clients))


async def one_round(rows: Rows, clients: list[Client], name: str, number: int, megabytes: int) -> None:
    """All contestants with records of one size."""
    size = SIZES[name]
    count = min(MOST_RECORDS, megabytes * MEGABYTE // size) // CLIENTS * CLIENTS
    data, what = os.urandom(size), f"records of {name}"
    unit, amount = ("/s", count) if size < SMALL_BYTES else ("MB/s", count * size / 1e6)
    paths = [f"/{number}-{size}-{kind}" for kind in ("written", "appended", "shared")]
    rows.add(what, unit, WRITER, amount, await timed(write(clients[0], paths[0], data, count)))
    rows.add(what, unit, APPENDER, amount, await timed(append(clients[:1], paths[1], data, count)))
    rows.add(what, unit, APPENDERS, amount, await timed(append(clients, paths[2], data, count)))
    for path in paths:
        await clients[0].delete(path, immediately=True)


async def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.record_appends", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64, help="in one file, at most")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = Rows()
    print(f"{machine()}; {options.megabytes} MiB, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as home:
        cluster = RealCluster("bench", home=Path(home), owned=True)
        await cluster.start(ClusterSettings(chunkservers=3, replicas=3))
        try:
            first = cluster.client()
            clients = [first, *(Client(first.world, cluster.folder.require().master) for _ in range(CLIENTS - 1))]
            for number in range(options.rounds):
                print(f"round {number + 1}")
                for name in SIZES:
                    await one_round(rows, clients, name, number, options.megabytes)
            for client in clients[1:]:
                await client.close()
        finally:
            await cluster.stop(purge=True)
    print()
    print(table(list(rows.rows.values()), [WRITER, APPENDER, APPENDERS], [(APPENDERS, WRITER)]))


if __name__ == "__main__":
    asyncio.run(main())
