"""Small operations and a folder of small files: the part of `bench.file_system` in which calls cost more than bytes.

Every row means the same for both contestants:

- *create*, *stat*: empty files in one directory; `in flight` are tasks of one client program here, and threads of one
  program on MooseFS's mount, which carries as many requests as the kernel hands it. Between the two there is a pause,
  longer than the second for which that mount believes what it knows: what is measured are answers of the master.
- *synced kilobytes*: each writer appends to a file of its own, and goes on when the kilobyte is on every replica: a
  `flush` here, an `fsync` there.
- *the folder*: `tabletop fs put` and `get`, each a command in a process of its own, beside `cp -r` and a `sync -f` of
  where it went. The local side is in memory. Before each of them the disk is settled and the page, name and inode
  caches are empty: nobody has anything warm but the servers' own memory, and MooseFS its running mount. Everything that
  was got is compared with what was put.

What is promised is not the same: Tabletop syncs the master's log before it answers a change of names, and a chunk's
metadata before the chunk exists; MooseFS does neither. The bytes themselves nobody syncs (durability "replicated").
"""

import asyncio
import filecmp
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.measuring import Rows, settle, timed, timed_call
from gfs.client import Client

CREATE, STAT, WRITES, FOLDER = "create", "stat", "writes", "folder"
GROUPS = (CREATE, STAT, WRITES, FOLDER)
IN_FLIGHT = (1, 4, 32)
FILES = 2000
WRITES_OF_EACH = {1: 500, 4: 250, 32: 50}
SMALL_BYTES = 1024
FOLDER_FILES = 10_000
FOLDER_DIRECTORIES = 50
PUT, GET = f"put {FOLDER_FILES:,} files of 1 to 20 KB", "get them again"
SMALLEST, LARGEST = 1_000, 20_000
FORGOTTEN_SECONDS = 2.0
SHARED_MEMORY = Path("/dev/shm")


def _label(group: str, in_flight: int) -> str:
    what = {CREATE: f"create {FILES:,} files", STAT: f"stat {FILES:,} files", WRITES: "synced kilobytes"}[group]
    return f"{what}, {in_flight} in flight"


@dataclass(frozen=True, slots=True)
class SmallFolder:
    """A local folder of small files, in memory, and where its copies may go."""

    path: Path
    files: int
    copies: Path

    def check(self, copy: Path) -> None:
        """Raise AssertionError unless the copy is the same, byte for byte."""
        names = sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())
        _, different, missing = filecmp.cmpfiles(self.path, copy, names, shallow=False)
        assert len(names) == self.files and not different and not missing, f"{different[:3]} {missing[:3]} differ"


@contextmanager
def small_folder() -> Iterator[SmallFolder]:
    """A folder of files of 1 to 20 KB, the same in every run."""
    chance = random.Random(10)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as root:
        source = Path(root) / "source"
        for number in range(FOLDER_DIRECTORIES):
            (source / f"{number:02}").mkdir(parents=True)
        for number in range(FOLDER_FILES):
            path = source / f"{number % FOLDER_DIRECTORIES:02}" / f"{number}.bin"
            path.write_bytes(chance.randbytes(chance.randint(SMALLEST, LARGEST)))
        yield SmallFolder(source, FOLDER_FILES, Path(root))


class SmallTabletop:
    """Our own file system: many tasks share one client."""

    name = "tabletop"

    def __init__(self, client: Client, home: Path, cluster: str) -> None:
        self._client = client
        self._environment = {**os.environ, "TABLETOP_HOME": str(home), "TABLETOP_CLUSTER": cluster}
        self._data = os.urandom(SMALL_BYTES)

    async def names(self, rows: Rows, number: int, groups: list[str]) -> None:
        """Create files, and look at them."""
        client = self._client
        for in_flight in IN_FLIGHT:
            folder = f"/small{number}-{in_flight}"
            await client.make_directory(folder)

            async def create(name: int, folder: str = folder) -> None:
                await client.create(f"{folder}/{name}")

            async def stat(name: int, folder: str = folder) -> None:
                await client.stat(f"{folder}/{name}")

            rows.add(_label(CREATE, in_flight), "/s", self.name, FILES, await timed(_each(create, in_flight)))
            if STAT in groups:
                await asyncio.sleep(FORGOTTEN_SECONDS)
                rows.add(_label(STAT, in_flight), "/s", self.name, FILES, await timed(_each(stat, in_flight)))

    async def writes(self, rows: Rows, number: int) -> None:
        """Append kilobytes, each of them acknowledged."""
        for in_flight in IN_FLIGHT:
            count = WRITES_OF_EACH[in_flight]

            async def one(writer: int, in_flight: int = in_flight, count: int = count) -> None:
                async with await self._client.open(f"/log{number}-{in_flight}-{writer}", "xb") as file:
                    for _ in range(count):
                        await file.write(self._data)
                        await file.flush()

            seconds = await timed(asyncio.gather(*(one(writer) for writer in range(in_flight))))
            rows.add(_label(WRITES, in_flight), "/s", self.name, in_flight * count, seconds)

    async def folder(self, rows: Rows, number: int, folder: SmallFolder) -> None:
        """Put a folder of small files, and get it again."""
        there, copy = f"/folder{number}", folder.copies / f"tabletop{number}"

        def command(*words: str) -> None:
            program = [sys.executable, "-m", "tabletop", "fs", *words]
            subprocess.run(program, check=True, env=self._environment, capture_output=True)

        for what, words in ((PUT, ("put", str(folder.path), there)), (GET, ("get", there, str(copy)))):
            settle(names=True)
            seconds = await asyncio.to_thread(timed_call, partial(command, *words))
            rows.add(what, "/s", self.name, folder.files, seconds)
        folder.check(copy)
        shutil.rmtree(copy)
        await self._client.delete(there, recursive=True, immediately=True)


class SmallMooseFs:
    """MooseFS through its mount, as any program uses it: many threads share it."""

    name = "moosefs"

    def __init__(self, mount: Path) -> None:
        self._mount = mount

    def names(self, rows: Rows, number: int, groups: list[str]) -> None:
        """Create files, and look at them."""
        for in_flight in IN_FLIGHT:
            folder = self._mount / f"small{number}-{in_flight}"
            folder.mkdir()

            def create(name: int, folder: Path = folder) -> None:
                os.close(os.open(folder / str(name), os.O_CREAT | os.O_WRONLY))

            def stat(name: int, folder: Path = folder) -> None:
                os.stat(folder / str(name))

            rows.add(_label(CREATE, in_flight), "/s", self.name, FILES, _in_threads(create, FILES, in_flight))
            if STAT in groups:
                time.sleep(FORGOTTEN_SECONDS)
                rows.add(_label(STAT, in_flight), "/s", self.name, FILES, _in_threads(stat, FILES, in_flight))

    def writes(self, rows: Rows, number: int) -> None:
        """Append kilobytes, each of them synced."""
        for in_flight in IN_FLIGHT:
            count = WRITES_OF_EACH[in_flight]

            def one(writer: int, in_flight: int = in_flight, count: int = count) -> None:
                with (self._mount / f"log{number}-{in_flight}-{writer}").open("xb", 0) as file:
                    for _ in range(count):
                        file.write(b"x" * SMALL_BYTES)
                        os.fsync(file.fileno())

            seconds = _in_threads(one, in_flight, in_flight)
            rows.add(_label(WRITES, in_flight), "/s", self.name, in_flight * count, seconds)

    def folder(self, rows: Rows, number: int, folder: SmallFolder) -> None:
        """Put a folder of small files, and get it again."""
        there, copy = self._mount / f"folder{number}", folder.copies / f"moosefs{number}"
        for what, source, target in ((PUT, folder.path, there), (GET, there, copy)):
            settle(names=True)
            rows.add(what, "/s", self.name, folder.files, timed_call(partial(_copy, source, target)))
        folder.check(copy)
        shutil.rmtree(copy)
        shutil.rmtree(there)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    subprocess.run(["sync", "-f", str(target)], check=True)


async def _each(work: Callable[[int], Awaitable[None]], in_flight: int) -> None:
    """Do `work` for every file, so many at a time."""
    numbers = iter(range(FILES))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def _in_threads(work: Callable[[int], None], count: int, in_flight: int) -> float:
    """Seconds that `work` takes for 0..count, so many threads at a time."""
    numbers = iter(range(count))
    failures: list[BaseException] = []

    def worker() -> None:
        try:
            for number in numbers:
                work(number)
        except BaseException as error:
            failures.append(error)

    def all_of_them() -> None:
        threads = [threading.Thread(target=worker) for _ in range(in_flight)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = timed_call(all_of_them)
    if failures:
        raise failures[0]
    return seconds
