"""Many seeds in several processes, on this machine or on several.

Each worker is a fresh process with a fixed hash seed and a batch of seeds. A worker that says nothing for longer than a
seed may take is ended, and the seed that it was at is a failure like any other. An interruption from the keyboard ends
the sweep with what was found so far.

Where the workers run is the business of a *pool*: here are those of this machine, in dask_pool.py those of others.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

BATCH = 20
PROCESSOR_SECONDS = 60.0
"""A seed that takes more time of a processor is a finding. How busy the machine is does not count."""
SILENCE_SECONDS = 10 * PROCESSOR_SECONDS
"""So long, by the clock on the wall, a worker may say nothing."""


@dataclass(slots=True)
class Report:
    """What a sweep found. `failures`: the verdicts of each seed that failed."""

    seeds: int = 0
    operations: int = 0
    undecided: list[int] = field(default_factory=list)
    failures: dict[int, list[list[str]]] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    is_interrupted: bool = False

    def take(self, line: dict[str, Any]) -> None:
        """Add the summary of one seed."""
        self.seeds += 1
        self.operations += line["operations"]
        self.cpu_seconds += line["cpu_seconds"]
        self.virtual_seconds += line["virtual_seconds"]
        if line["is_undecided"]:
            self.undecided.append(line["seed"])
        if line["verdicts"]:
            self.failures[line["seed"]] = line["verdicts"]
        for mark in line["marks"]:
            self.marks[mark] = self.marks.get(mark, 0) + 1
        for kind, count in line["struck"].items():
            self.struck[kind] = self.struck.get(kind, 0) + count

    def never_reached(self, marks: Iterable[str]) -> list[str]:
        """Those of the marks that no seed reached."""
        return [mark for mark in marks if mark not in self.marks]

    def seeds_an_hour(self) -> float:
        """On one core, by the processor time of the workers: whoever else is busy does not count."""
        return self.seeds / self.cpu_seconds * 3600.0 if self.cpu_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Some seeds for one worker. `kind` is the name of the swarm (swarms.py)."""

    kind: str
    first: int
    count: int
    bug: str = ""

    def arguments(self) -> list[str]:
        """What a worker is called with."""
        bug = [self.bug] if self.bug else []
        return [sys.executable, "-m", "cluster.swarm.worker", self.kind, str(self.first), str(self.count), *bug]


class WorkerEnded(Exception):
    """A worker did not come to the end of its batch."""


class Pool(Protocol):
    """Runs batches, several at a time."""

    def lines(self, batch: Batch) -> AsyncGenerator[dict[str, Any], None]:
        """What the worker of a batch says, line by line: `{"begins": seed}`, and a summary of each seed.

        Raises WorkerEnded, and TimeoutError if it says nothing for too long."""


def worker_environment() -> dict[str, str]:
    """Whatever follows the order of a hash is to be the same in every worker; and it finds this very code."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}


class LocalPool:
    """Processes on this machine."""

    async def lines(self, batch: Batch) -> AsyncGenerator[dict[str, Any], None]:
        """See Pool."""
        worker = await asyncio.create_subprocess_exec(
            *batch.arguments(),
            stdout=asyncio.subprocess.PIPE,
            env=worker_environment(),
            limit=1 << 24,
            start_new_session=True,  # A Ctrl-C is for this process, which ends its workers.
        )
        try:
            assert worker.stdout is not None
            while raw := await asyncio.wait_for(worker.stdout.readline(), SILENCE_SECONDS):
                yield json.loads(raw)
            if await worker.wait():
                raise WorkerEnded(f"the process ended with exit code {worker.returncode}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()


@dataclass(slots=True)
class Sweep:
    """What to run: `kind` is the name of the swarm; `seeds` of them, or for so many `seconds`; with `stop_at_first`
    only to the first failure. `jobs`: how many batches at a time, each of `batch` seeds at most."""

    kind: str
    first: int = 0
    seeds: int | None = None
    seconds: float | None = None
    jobs: int = 1
    bug: str = ""
    stop_at_first: bool = False
    progress: Callable[[Report], None] = lambda report: None
    pool: Pool = field(default_factory=LocalPool)
    batch: int = BATCH
    report: Report = field(default_factory=Report)
    _next: int = 0
    _deadline: float = 0.0

    def run(self) -> Report:
        """Run it to its end, or to an interruption."""
        try:
            asyncio.run(self.go())
        except KeyboardInterrupt:
            self.report.is_interrupted = True
        return self.report

    async def go(self) -> None:
        """Run it to its end."""
        self._next = self.first
        self._deadline = time.monotonic() + (self.seconds if self.seconds is not None else 1e9)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.jobs):
                group.create_task(self._work())

    async def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            await self._run_batch(batch)

    def _next_batch(self) -> Batch | None:
        if time.monotonic() > self._deadline or (self.stop_at_first and self.report.failures):
            return None
        left = self.batch if self.seeds is None else min(self.batch, self.first + self.seeds - self._next)
        if left <= 0:
            return None
        self._next += left
        return Batch(self.kind, self._next - left, left, self.bug)

    async def _run_batch(self, batch: Batch) -> None:
        at = batch.first
        try:
            async with contextlib.aclosing(self.pool.lines(batch)) as lines:
                async for line in lines:
                    if "begins" in line:
                        at = line["begins"]
                        continue
                    self.report.take(line)
                    self.progress(self.report)
                    if time.monotonic() > self._deadline or (self.stop_at_first and self.report.failures):
                        return
        except WorkerEnded as error:
            self.report.failures[at] = [["worker", str(error)]]
            self._go_on_behind(at, batch.first + batch.count)
        except TimeoutError:
            self.report.failures[at] = [["watchdog", f"no end after {SILENCE_SECONDS:g} s on the clock on the wall"]]
            self._go_on_behind(at, batch.first + batch.count)

    def _go_on_behind(self, at: int, end: int) -> None:
        """The rest of a batch whose worker came to a bad end is not run."""
        self.report.struck["seeds not run"] = self.report.struck.get("seeds not run", 0) + end - at - 1
