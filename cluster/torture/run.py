"""A torture run from its first process to its verdict.

The cluster has a folder of its own and belongs to the calling process, so that its nodes end with it however it ends.
The folder stays if anything was found wrong, and goes otherwise.
"""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from cluster.torture.files import FileWork
from cluster.torture.history import History
from cluster.torture.judging import Counted
from cluster.torture.resting import Memory
from cluster.torture.tables.work import TableWork
from cluster.torture.trouble import Trouble
from runtime.errors import InvalidRequest
from runtime.events import MemorySink, Record
from runtime.real.event_file import FileSink
from runtime.real.world import RealWorld

CLIENTS = 4
MOST_MINUTES = 24 * 60.0


@dataclass(frozen=True, slots=True)
class TortureOptions:
    """What to do, and for how long."""

    minutes: float = 3.0
    seed: int = 0
    clients: int = CLIENTS

    def check(self) -> None:
        """Raises InvalidRequest."""
        if not 0 < self.minutes <= MOST_MINUTES:
            raise InvalidRequest(f"{self.minutes:g} minutes: expected more than 0 and at most {MOST_MINUTES:g}")


@dataclass(frozen=True, slots=True)
class TortureVerdict:
    """What came of it. `folder` is there if something was found wrong."""

    violations: list[str]
    counted: Counted
    folder: Path | None

    largest: tuple[int, str] = (0, "")
    """The most memory, in bytes, that any node took, and which one."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations


class Torture:
    """One run. `phase`, `history` and `out` may be looked at while it goes on."""

    def __init__(
        self, settings: ClusterSettings, options: TortureOptions, echo: Callable[[str], None] | None = None
    ) -> None:
        settings.check()
        options.check()
        self.phase = "starting processes"
        self.home = Path(tempfile.mkdtemp(prefix="tabletop-torture-"))
        self.history = History(self.home / "history.jsonl", echo)
        self._settings = settings
        self._options = options
        self._cluster = RealCluster("torture", home=self.home, owned=True)
        self._memory = Memory(self._cluster)
        self._trouble: Trouble | None = None
        self._breaking_ends: float | None = None  # by the history's clock

    @property
    def out(self) -> dict[str, str]:
        """Nodes that are broken on purpose at this moment, and how."""
        return self._trouble.out if self._trouble is not None else {}

    @property
    def seconds_left(self) -> float:
        """Until the faults end."""
        return 0.0 if self._breaking_ends is None else max(0.0, self._breaking_ends - self.history.seconds)

    async def run(self) -> TortureVerdict:
        """Do all of it. However it ends, no process is left, and no folder unless it tells of a violation."""
        keep = True
        try:
            await self._cluster.start(self._settings)
            counted = await self._with_clients()
            keep = bool(self.history.violations)
        except asyncio.CancelledError:
            keep = bool(self.history.violations)
            raise
        finally:
            self.phase = "taking everything down"
            self.history.close()
            await self._cluster.stop()
            if not keep:
                shutil.rmtree(self.home, ignore_errors=True)
        return TortureVerdict(self.history.violations, counted, self.home if keep else None, self._memory.largest)

    async def _with_clients(self) -> Counted:
        sink = _Twice(self.home / "clients.jsonl")
        folder = self._cluster.folder
        worlds = [
            RealWorld(node=f"c{number}", root=folder.path, token=folder.token(), sink=sink)
            for number in range(1, self._options.clients + 1)
        ]
        work = (TableWork if self._settings.tablet_servers else FileWork)(
            self._cluster, worlds, self._options.seed, self.history
        )
        try:
            return await self._tortured(work, sink)
        finally:
            await work.close()
            for world in worlds:
                await world.close()
            sink.close()

    async def _tortured(self, work: "TableWork | FileWork", sink: "_Twice") -> Counted:
        await work.prepare()
        self._trouble = work.trouble()
        self.phase = "breaking things"
        self._breaking_ends = self.history.seconds + self._options.minutes * 60
        stop_faults, stop_clients = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._memory.watch(), name="memory")
            working = [group.create_task(worker.run(stop_clients), name=worker.name) for worker in work.workers]
            breaking = group.create_task(self._trouble.run(stop_faults), name="faults")
            await asyncio.sleep(self.seconds_left)
            self.phase = "healing"
            stop_faults.set()
            await breaking
            stop_clients.set()
            await asyncio.gather(*working)
            watching.cancel()
        self.phase = f"comparing every {work.compared}"
        for complaint in self._memory.complaints():
            self.history.violation(complaint)
        return await work.judge(sink.memory.records)


class _Twice:
    """A sink that keeps records in memory and in a file."""

    def __init__(self, path: Path) -> None:
        self.memory = MemorySink()
        self._file = FileSink(path, largest_bytes=sys.maxsize)  # All of it is evidence.

    def write(self, record: Record) -> None:
        """Keep a record."""
        self.memory.write(record)
        self._file.write(record)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def drawn_seed() -> int:
    """A seed for who names none."""
    return secrets.randbelow(1_000_000)
