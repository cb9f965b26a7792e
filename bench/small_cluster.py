"""How much memory a cluster of six processes takes: `python -m bench.small_cluster`.

A class of thirty has thirty clusters, perhaps on one machine. What counts is the proportional set size (PSS, from
/proc/PID/smaps_rollup): memory that processes share, such as libraries, is divided among them, so that the sum over all
of them is what the machine has to have. Clusters of one master and five chunkservers are started one after the other:
as `tabletop up` makes them, with `--small`, and with `--small` beside another one. Each is measured at rest, and again
after one client has written and read some files.

Linux only: other systems have no smaps_rollup.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.report import machine
from cluster.real import RealCluster
from cluster.settings import ClusterSettings

MEGABYTE = 1_000_000
FILE_BYTES = 16 * MEGABYTE
SETTINGS = ClusterSettings(chunkservers=5, chunk_bytes=1 << 20, lease_seconds=10.0)
SMALL = ClusterSettings(chunkservers=5, chunk_bytes=1 << 20, lease_seconds=10.0, small=True)


def proportional_bytes(process_id: int) -> int:
    """The proportional set size of a process, in bytes. Raises OSError where there is no such file."""
    for line in Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{process_id}/smaps_rollup names no Pss")


async def measured(cluster: RealCluster) -> tuple[int, int]:
    """The sum over all processes of a cluster, and how many they are."""
    ids = [report.process_id for report in await cluster.nodes()]
    return sum(proportional_bytes(process_id) for process_id in ids), len(ids)


async def one_cluster(name: str, settings: ClusterSettings, files: int, neighbours: int) -> list[object]:
    """A row of the table: the cluster at rest, and after work."""
    with tempfile.TemporaryDirectory(prefix="tabletop-memory-") as home:
        clusters = [RealCluster(f"memory{number}", home=Path(home), owned=True) for number in range(1 + neighbours)]
        try:
            for cluster in clusters:
                await cluster.start(settings)
            cluster, client = clusters[0], clusters[0].client()
            rest, count = await measured(cluster)
            for number in range(files):
                await client.write_file(f"/{number}", bytes(FILE_BYTES))
                await client.read_file(f"/{number}")
            work, _ = await measured(cluster)
        finally:
            for cluster in clusters:
                await cluster.stop(purge=True)
    return [name, count, f"{rest / MEGABYTE:.0f}", f"{work / MEGABYTE:.0f}"]


async def _measure(files: int) -> list[list[object]]:
    return [
        await one_cluster("tabletop up", SETTINGS, files, 0),
        await one_cluster("tabletop up --small", SMALL, files, 0),
        await one_cluster("--small, beside another one", SMALL, files, 1),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=8, help=f"of {FILE_BYTES // MEGABYTE} MB each, to be written")
    rows = asyncio.run(_measure(parser.parse_args(arguments).files))
    print(machine())
    print("| cluster | processes | PSS at rest, MB | after work, MB |\n|---|--:|--:|--:|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


if __name__ == "__main__":
    main()
