"""One hundred tablets in one server: opened, written, split, merged and opened again, within one budget of memory.

    python -m bench.hundred_tablets
    python -m bench.hundred_tablets --tablets 100 --rows 50000 --budget 16

Each stage prints what it took and the most that caches and memtables held together in it, of the budget. At the end
every row is read back. That the rows are right and the budget is kept is checked, and the exit code says so; how quick
it is, is only printed.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from runtime.events import MemorySink
from runtime.real.world import RealWorld
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import Family, Schema
from tablet.engine.tree.budget import Budget
from tablet.engine.world.options import Options
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

TABLE, COLUMN = "bench", b"f:v"
_VALUE_BYTES = 200
_WRITERS = 8
_READS = 5_000
_MIB = 1024 * 1024
_LARGEST_WRITE = 1024
"""More than any row here takes in a memtable: each writer may be one ahead of what was reserved."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage took. `peak_bytes`: the most that caches and memtables held."""

    name: str
    seconds: float
    operations: int
    tablets: int
    peak_bytes: int


class Course:
    """The stages, one after the other, on one folder."""

    def __init__(self, folder: Path, tablets: int, rows: int, budget_bytes: int) -> None:
        self.stages: list[Stage] = []
        self.budget_bytes = budget_bytes
        self.largest_overrun = 0
        self.wrong_rows = 0
        self._folder = folder
        self._count = tablets
        self._rows = rows
        self._choice = random.Random(1)
        self._peak = 0
        self._budget = Budget(block_cache_bytes=0, pinned_bytes=0, scan_cache_bytes=0, memtable_bytes=_MIB)
        self._tablets: Tablets | None = None

    async def run(self) -> None:
        """All stages."""
        tablets = await self._stage("open, empty", 1, self._open)
        await self._stage("create", self._count, lambda: self._create(tablets))
        tablets.start()
        await self._stage("write", self._rows, lambda: self._write(tablets, 0))
        await self._stage("split each", self._count, lambda: self._split(tablets))
        await self._stage("write again", self._rows, lambda: self._write(tablets, 1))
        await self._stage("merge in pairs", self._count, lambda: self._merge(tablets))
        await self._stage("random reads", _READS, lambda: self._read(tablets))
        await self._stage("close", 1, tablets.close)
        tablets = await self._stage("open, full", self._count, self._open)
        await self._stage("scan, and compare", self._rows, lambda: self._compare(tablets))
        await tablets.close()

    async def _stage(self, name: str, operations: int, work: Callable[[], Awaitable[Result]]) -> Result:
        self._peak = 0
        started = time.perf_counter()
        result = await work()
        self._look()
        seconds = time.perf_counter() - started
        alive = len(self._tablets.catalogue.tablets) if self._tablets is not None else 0
        self.stages.append(Stage(name, seconds, operations, alive, self._peak))
        return result

    def _look(self) -> None:
        """Note what is in memory, and whether any part of it is more than its budget."""
        figures = self._budget.figures()
        self._peak = max(self._peak, figures.used_bytes)
        overruns = (
            figures.block_cache_bytes - figures.block_cache_limit,
            figures.pinned_bytes - figures.pinned_limit,
            figures.scan_cache_bytes - figures.scan_cache_limit,
            figures.reserved_bytes - figures.memtable_limit,
            figures.memtable_bytes - figures.reserved_bytes - _WRITERS * _LARGEST_WRITE,
        )
        self.largest_overrun = max(self.largest_overrun, *overruns)

    async def _open(self) -> Tablets:
        world = RealWorld(node="bench", root=self._folder, token="", sink=MemorySink())
        folders = DiskFolders(world.disk, "tablets")
        await folders.prepare()
        part = self.budget_bytes // 4
        self._budget = Budget(
            block_cache_bytes=part, pinned_bytes=0, scan_cache_bytes=part, memtable_bytes=self.budget_bytes - 2 * part
        )
        self._tablets = await Tablets.open(folders, world, Options(), budget=self._budget)
        return self._tablets

    async def _create(self, tablets: Tablets) -> None:
        bounds = [_row(place * self._rows // self._count) for place in range(1, self._count)]
        await tablets.create_table(TABLE, Schema().with_family(Family("f")), bounds)

    async def _write(self, tablets: Tablets, turn: int) -> None:
        numbers = list(range(self._rows))
        self._choice.shuffle(numbers)

        async def writer(share: Sequence[int]) -> None:
            for place, number in enumerate(share):
                await tablets.write(TABLE, _row(number), [SetCell(COLUMN, _value(number, turn))])
                if place % 50 == 0:
                    self._look()

        await asyncio.gather(*(writer(numbers[first::_WRITERS]) for first in range(_WRITERS)))

    async def _split(self, tablets: Tablets) -> None:
        for name in tablets.catalogue.names():
            await tablets.split(name)
            self._look()

    async def _merge(self, tablets: Tablets) -> None:
        names = tablets.catalogue.names()
        for lower, upper in zip(names[::2], names[1::2], strict=True):
            await tablets.merge(lower, upper)
            self._look()

    async def _read(self, tablets: Tablets) -> None:
        for place in range(_READS):
            number = self._choice.randrange(self._rows)
            self.wrong_rows += await tablets.get(TABLE, _row(number), COLUMN) != _value(number, 1)
            if place % 50 == 0:
                self._look()

    async def _compare(self, tablets: Tablets) -> None:
        number = 0
        async for row in tablets.scan(TABLE):
            self.wrong_rows += (row.key, row.value(COLUMN)) != (_row(number), _value(number, 1))
            number += 1
            if number % 500 == 0:
                self._look()
        self.wrong_rows += abs(self._rows - number)


def _row(number: int) -> bytes:
    return b"row%08d" % number


def _value(number: int, turn: int) -> bytes:
    return random.Random(2 * number + turn).randbytes(_VALUE_BYTES)


def table(course: Course) -> str:
    """The stages as a Markdown table."""
    lines = ["| stage | tablets | seconds | ms each | memory at most, KiB |", "|---|--:|--:|--:|--:|"]
    for stage in course.stages:
        each = 1000 * stage.seconds / max(1, stage.operations)
        peak = f"{stage.peak_bytes / 1024:,.0f}"
        lines.append(f"| {stage.name} | {stage.tablets} | {stage.seconds:.2f} | {each:.3f} | {peak} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the table; 1 if a row is wrong or the budget was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.hundred_tablets", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tablets", type=int, default=100, help="How many there are at first.")
    parser.add_argument("--rows", type=int, default=20_000, help="Rows of 200 random bytes.")
    parser.add_argument("--budget", type=float, default=8.0, help="MiB for caches and memtables of all tablets.")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        course = Course(Path(folder), chosen.tablets, chosen.rows, int(chosen.budget * _MIB))
        asyncio.run(course.run())
    print(table(course))
    peak = max(stage.peak_bytes for stage in course.stages)
    kept = course.largest_overrun <= 0
    whether = "kept" if kept else "NOT KEPT"
    print(f"\nBudget {course.budget_bytes / 1024:,.0f} KiB, used at most {peak / 1024:,.0f}: {whether}")
    print(f"{chosen.rows:,} rows: {'all as written' if not course.wrong_rows else f'{course.wrong_rows:,} WRONG'}")
    return 0 if kept and not course.wrong_rows else 1


if __name__ == "__main__":
    sys.exit(main())
