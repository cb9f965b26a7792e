"""One process's world.

>>> async def main():
...     world = RealWorld(node="desk", root=folder, token="secret")
...     await world.disk.make_directory("a/b")
...     names = await world.disk.list("a")
...     await world.close()
...     return names
>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     asyncio.run(main())
['b']
"""

import asyncio
import os
import random
import secrets
import subprocess
import traceback
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import psutil

from runtime.events import EventLog, MemorySink, Sink, TaskFailed
from runtime.guard import Observer
from runtime.real.clock import RealClock
from runtime.real.disk import RealDisk
from runtime.real.network import RealNetwork
from runtime.world import Clock, Disk, Network, Random

T = TypeVar("T")

LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACOS_BOOT_ID = ("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")


class RealWorld:
    """The operating system behind the interfaces of `runtime.world`."""

    def __init__(
        self,
        *,
        node: str,
        root: str | os.PathLike[str],
        token: str,
        sink: Sink | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.node = node
        self.clock: Clock = RealClock()
        self.random: Random = random.Random()
        self.disk: Disk = self._disk_at(RealDisk(root))
        self.events = EventLog(node, sink or MemorySink(), self.clock.wall_microseconds)
        self._sockets = self._network(token, self.events, observer)
        self.network: Network = self._sockets
        self._tasks: dict[asyncio.Task[Any], str] = {}

    def _disk_at(self, disk: RealDisk) -> Disk:
        return disk

    def _network(self, token: str, events: EventLog, observer: Observer | None) -> RealNetwork:
        return RealNetwork(token, events, self.spawn, self.random, observer)

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` in the background; an exception that escapes it is recorded as TaskFailed."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = name
        task.add_done_callback(self._ended)
        return task

    async def breathe(self) -> None:
        """Let other tasks run."""
        await asyncio.sleep(0)

    async def in_background(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def resident_bytes(self) -> int:
        """Resident set size of this process."""
        return int(psutil.Process().memory_info().rss)

    def boot_id(self) -> str:
        """The kernel's name for the time since this machine was started."""
        return _boot_id()

    def plain_channel(self, address: str) -> grpc.aio.Channel:
        """A channel whose unary calls are plain gRPC."""
        return self._sockets.plain_channel(address)

    def process_id(self) -> int:
        """The process id."""
        return os.getpid()

    async def close(self) -> None:
        """Cancel what runs in the background and close every channel."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sockets.close()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        name = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.events.emit(TaskFailed(task=name, trace="".join(traceback.format_exception(error))))


@cache
def _boot_id() -> str:
    try:
        if LINUX_BOOT_ID.exists():
            return LINUX_BOOT_ID.read_text(encoding="ascii").strip()
        found = subprocess.run(MACOS_BOOT_ID, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        if found:
            return found
    except (OSError, subprocess.SubprocessError):
        pass
    # Nothing says whether the machine was started anew: assume it of every process, which is safe and costs time.
    return secrets.token_hex(16)
