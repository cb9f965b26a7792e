"""What the file system does in a second, beside the machine's limits and MooseFS where that is installed.

    python -m bench.file_system [--megabytes 1024] [--rounds 3] [--without-moosefs] [--rows bulk create folder ...]

All contestants take turns within one run. Each has three copies of every byte on this one machine, in the page cache at
the end of a write (nobody syncs each copy to the disk): Tabletop with durability "replicated", MooseFS as it comes.
Everybody begins with a settled disk and an empty page cache. Sources and sinks are memory, so that a local disk's speed
does not count twice. `bench/small_files.py` says how small operations are measured.
"""

import argparse
import asyncio
import os
import shutil
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench import moosefs, small_files
from bench.measuring import MEGABYTE, Rows, settle, timed, timed_call
from bench.report import machine, table
from bench.small_files import SmallFolder, SmallMooseFs, SmallTabletop, small_folder
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from gfs.client import Client

BULK = "bulk"
WRITE, READ = "write one file, 3 copies", "read it back"


class Tabletop:
    """Our own file system."""

    def __init__(self, client: Client, megabytes: int) -> None:
        self._client = client
        self._megabytes = megabytes
        self._block = os.urandom(MEGABYTE)

    async def write(self, path: str) -> None:
        """Write one large file from memory."""
        left = self._megabytes

        async def source(target: memoryview) -> int:
            nonlocal left
            if left == 0:
                return 0
            left -= 1
            target[:MEGABYTE] = self._block
            return min(len(target), MEGABYTE)

        await self._client.write_file_from(path, source)

    async def read(self, path: str) -> None:
        """Read it and look at nothing."""

        async def sink(piece: memoryview) -> None:
            return None

        await self._client.read_file_into(path, sink)

    async def bulk(self, rows: Rows, number: int) -> None:
        """One round of bulk figures."""
        amount = self._megabytes * MEGABYTE / 1e6
        settle()
        rows.add(WRITE, "MB/s", "tabletop", amount, await timed(self.write(f"/big{number}")))
        settle()
        rows.add(READ, "MB/s", "tabletop", amount, await timed(self.read(f"/big{number}")))
        await self._client.delete(f"/big{number}", immediately=True)


class MooseFs:
    """MooseFS through its mount, as any program uses it."""

    def __init__(self, mount: Path, megabytes: int) -> None:
        self._mount = mount
        self._megabytes = megabytes
        self._block = os.urandom(MEGABYTE)

    def bulk(self, rows: Rows, number: int) -> None:
        """One round of bulk figures."""
        path = self._mount / f"big{number}"
        amount = self._megabytes * MEGABYTE / 1e6
        settle()
        rows.add(WRITE, "MB/s", "moosefs", amount, timed_call(lambda: self._write(path)))
        settle()
        rows.add(READ, "MB/s", "moosefs", amount, timed_call(lambda: self._read(path)))
        path.unlink()

    def _write(self, path: Path) -> None:
        with path.open("wb", 0) as file:
            for _ in range(self._megabytes):
                file.write(self._block)
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        buffer = bytearray(MEGABYTE)
        with path.open("rb", 0) as file:
            while file.readinto(buffer):
                pass


def machine_limits(rows: Rows, folder: Path, megabytes: int) -> None:
    """What the machine itself does: one synced copy of the file, and one TCP stream over loopback."""
    amount = megabytes * MEGABYTE / 1e6
    block = os.urandom(MEGABYTE)
    source = folder / "source"
    with source.open("wb", 0) as file:
        for _ in range(megabytes):
            file.write(block)

    settle()

    def copy() -> None:
        with source.open("rb") as here, (folder / "copy").open("wb") as there:
            shutil.copyfileobj(here, there, MEGABYTE)
            os.fsync(there.fileno())

    rows.add(WRITE, "MB/s", "cp + sync", amount, timed_call(copy))
    rows.add(READ, "MB/s", "one TCP", amount, timed_call(lambda: _raw_stream(megabytes, block)))
    source.unlink()
    (folder / "copy").unlink()


def _raw_stream(megabytes: int, block: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def send() -> None:
            with socket.create_connection(door.getsockname()) as connection:
                for _ in range(megabytes):
                    connection.sendall(block)

        sender = threading.Thread(target=send)
        sender.start()
        connection, _ = door.accept()
        buffer = bytearray(MEGABYTE)
        with connection:
            while connection.recv_into(buffer):
                pass
        sender.join()


def _memory(cluster: RealCluster) -> str:
    found = []
    for name in cluster.settings.node_names():
        ready = cluster.folder.node(name).read_ready()
        if ready is not None:
            found.append(f"{name} {psutil.Process(ready.identity.process_id).memory_info().rss / MEGABYTE:.0f}")
    return "resident MiB afterwards: " + ", ".join(found)


async def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.file_system", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-moosefs", action="store_true")
    every = (BULK, *small_files.GROUPS)
    parser.add_argument("--rows", nargs="+", choices=every, default=every, help="only these")
    options = parser.parse_args()
    missing = "left out" if options.without_moosefs else moosefs.available()
    rows = Rows()
    print(f"{machine()}; {options.megabytes} MiB, {options.rounds} rounds; MooseFS: {missing or 'installed'}")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tabletop-bench-")))
        mount = None
        if not missing:
            home.chmod(0o755)  # MooseFS works as a user of its own.
            mount = stack.enter_context(moosefs.mounted(home / "moosefs"))
        folder = stack.enter_context(small_folder()) if small_files.FOLDER in options.rows else None
        cluster = RealCluster("bench", home=home, owned=True)
        await cluster.start(ClusterSettings(chunkservers=3, replicas=3))
        try:
            for number in range(options.rounds):
                print(f"round {number + 1}")
                if BULK in options.rows:
                    await _bulk(rows, number, options.megabytes, home, cluster, mount)
                await _small(rows, number, options.rows, folder, home, cluster, mount)
            print(_memory(cluster))
        finally:
            await cluster.stop(purge=True)
    contestants = ["tabletop", "moosefs", "cp + sync", "one TCP"]
    print()
    print(table(list(rows.rows.values()), contestants, [("tabletop", "moosefs")]))


async def _bulk(rows: Rows, number: int, megabytes: int, home: Path, cluster: RealCluster, mount: Path | None) -> None:
    machine_limits(rows, home, megabytes)
    await Tabletop(cluster.client(), megabytes).bulk(rows, number)
    if mount is not None:
        MooseFs(mount, megabytes).bulk(rows, number)


async def _small(
    rows: Rows,
    number: int,
    groups: list[str],
    folder: SmallFolder | None,
    home: Path,
    cluster: RealCluster,
    mount: Path | None,
) -> None:
    ours = SmallTabletop(cluster.client(), home, cluster.name)
    rival = None if mount is None else SmallMooseFs(mount)
    if small_files.CREATE in groups or small_files.STAT in groups:
        await ours.names(rows, number, groups)
        if rival is not None:
            rival.names(rows, number, groups)
    if small_files.WRITES in groups:
        await ours.writes(rows, number)
        if rival is not None:
            rival.writes(rows, number)
    if folder is not None:
        await ours.folder(rows, number, folder)
        if rival is not None:
            rival.folder(rows, number, folder)


if __name__ == "__main__":
    asyncio.run(main())
