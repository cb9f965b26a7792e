"""What the file system does in a second, beside the machine's limits and MooseFS where that is installed.

    python -m bench.file_system [--megabytes 1024] [--rounds 3] [--without-moosefs]

All contestants take turns within one run. Each has three copies of every byte on this one machine, in the page cache at
the end of a write (nobody syncs each copy to the disk): Tabletop with durability "replicated", MooseFS as it comes.
Everybody begins with a settled disk and an empty page cache. Sources and
sinks are memory, so that a local disk's speed does not count twice.
"""

import argparse
import asyncio
import mmap
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench import moosefs
from bench.report import Row, machine, table
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from gfs.client import Client

MEGABYTE = 1024 * 1024
FILES = 2000
SMALL_WRITES = 500
SMALL_BYTES = 1024
FILES_IN_FLIGHT = 32
TOUCHED_BYTES = 4 * 1024 * MEGABYTE

WRITE, READ = "write one file, 3 copies", "read it back"
CREATE, STAT = f"create {FILES:,} files", f"stat {FILES:,} files"
CREATE_MANY, STAT_MANY = f"create, {FILES_IN_FLIGHT} in flight", f"stat, {FILES_IN_FLIGHT} in flight"
SMALL, SMALL_MANY = "1 KB writes, one at a time, acknowledged", "1 KB writes, 4 in flight"


class Rows:
    """All rows of the run, by name, in order of first use."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(self, what: str, unit: str, contestant: str, amount: float, seconds: float) -> None:
        """Note one measurement and show it at once."""
        self.rows.setdefault(what, Row(what, unit)).add(contestant, amount / seconds)
        print(f"  {contestant:<10} {what}: {amount / seconds:,.1f} {unit}", flush=True)


async def timed(work: Awaitable[object]) -> float:
    """Seconds that awaiting `work` takes."""
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def timed_call(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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

    async def small(self, rows: Rows, number: int) -> None:
        """One round of small operations."""
        client = self._client
        for label_create, label_stat, in_flight in ((CREATE, STAT, 1), (CREATE_MANY, STAT_MANY, FILES_IN_FLIGHT)):
            folder = f"/small{number}-{in_flight}"
            await client.make_directory(folder)

            async def create(name: int, folder: str = folder) -> None:
                await client.create(f"{folder}/{name}")

            async def stat(name: int, folder: str = folder) -> None:
                await client.stat(f"{folder}/{name}")

            rows.add(label_create, "/s", "tabletop", FILES, await timed(_each(create, FILES, in_flight)))
            rows.add(label_stat, "/s", "tabletop", FILES, await timed(_each(stat, FILES, in_flight)))
        data = os.urandom(SMALL_BYTES)

        async def one_at_a_time() -> None:
            async with await client.open(f"/log{number}", "xb") as file:
                for _ in range(SMALL_WRITES):
                    await file.write(data)
                    await file.flush()

        rows.add(SMALL, "/s", "tabletop", SMALL_WRITES, await timed(one_at_a_time()))
        await client.create(f"/many{number}")

        async def every_fourth(first: int) -> None:
            async with await client.open(f"/many{number}", "r+b") as file:
                for place in range(first, SMALL_WRITES, 4):
                    await file.pwrite(place * SMALL_BYTES, data)
                    await file.flush()

        rows.add(SMALL_MANY, "/s", "tabletop", SMALL_WRITES, await timed(_each(every_fourth, 4, 4)))


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

    def small(self, rows: Rows, number: int) -> None:
        """One round of small operations."""
        folder = self._mount / f"small{number}"
        folder.mkdir()

        def create() -> None:
            for name in range(FILES):
                os.close(os.open(folder / str(name), os.O_CREAT | os.O_WRONLY))

        def stat() -> None:
            for name in range(FILES):
                (folder / str(name)).stat()

        def append() -> None:
            with (self._mount / f"log{number}").open("ab", 0) as file:
                for _ in range(SMALL_WRITES):
                    file.write(b"x" * SMALL_BYTES)
                    os.fsync(file.fileno())

        rows.add(CREATE, "/s", "moosefs", FILES, timed_call(create))
        rows.add(STAT, "/s", "moosefs", FILES, timed_call(stat))
        rows.add(SMALL, "/s", "moosefs", SMALL_WRITES, timed_call(append))

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


async def _each(work: Callable[[int], Awaitable[None]], count: int, in_flight: int) -> None:
    """Do `work` for 0..count, so many at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def settle() -> None:
    """Let everybody begin alike: nothing waits to be written to the disk, nothing is in the page cache, and the free
    memory is really there. (A virtual machine is given memory at the first touch, which costs as much as the copy of a
    page; whoever writes after somebody else has freed a file would be spared that.)"""
    os.sync()
    _empty_page_cache()
    with mmap.mmap(-1, TOUCHED_BYTES) as memory:
        for begin in range(0, TOUCHED_BYTES, mmap.PAGESIZE):
            memory[begin] = 1


def _empty_page_cache() -> None:
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        print("  (the page cache could not be emptied: reads come from memory)")


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
    parser.add_argument("--bulk-only", action="store_true")
    options = parser.parse_args()
    missing = "left out" if options.without_moosefs else moosefs.available()
    rows = Rows()
    print(f"{machine()}; {options.megabytes} MiB, {options.rounds} rounds; MooseFS: {missing or 'installed'}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tabletop-bench-")))
        rival = None
        if not missing:
            folder.chmod(0o755)  # MooseFS works as a user of its own.
            rival = MooseFs(stack.enter_context(moosefs.mounted(folder / "moosefs")), options.megabytes)
        cluster = RealCluster("bench", home=folder, owned=True)
        await cluster.start(ClusterSettings(chunkservers=3, replicas=3))
        try:
            ours = Tabletop(cluster.client(), options.megabytes)
            for number in range(options.rounds):
                print(f"round {number + 1}")
                machine_limits(rows, folder, options.megabytes)
                await ours.bulk(rows, number)
                if rival is not None:
                    rival.bulk(rows, number)
                if not options.bulk_only:
                    await ours.small(rows, number)
                    if rival is not None:
                        rival.small(rows, number)
            print(_memory(cluster))
        finally:
            await cluster.stop(purge=True)
    contestants = ["tabletop", "moosefs", "cp + sync", "one TCP"]
    print()
    print(table(list(rows.rows.values()), contestants, [("tabletop", "moosefs")]))


if __name__ == "__main__":
    asyncio.run(main())
