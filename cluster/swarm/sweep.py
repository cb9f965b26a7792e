"""Many seeds in several processes.

Each worker is a fresh process with a fixed hash seed and a batch of seeds. A worker that says nothing for longer than a
seed may take is ended, and the seed that it was at is a failure like any other. An interruption from the keyboard ends
the sweep with what was found so far.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

BATCH = 20
WALL_SECONDS = 60.0
"""A seed that takes longer, by the clock on the wall, is a finding."""
SILENCE_SECONDS = WALL_SECONDS + 60.0


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


@dataclass(slots=True)
class Sweep:
    """What to run: `kind` is the name of the swarm; `seeds` of them, or for so many `seconds`; with `stop_at_first`
    only to the first failure."""

    kind: str
    first: int = 0
    seeds: int | None = None
    seconds: float | None = None
    jobs: int = 1
    bug: str = ""
    stop_at_first: bool = False
    progress: Callable[[Report], None] = lambda report: None
    report: Report = field(default_factory=Report)
    _next: int = 0
    _deadline: float = 0.0

    def run(self) -> Report:
        """Run it to its end, or to an interruption."""
        self._next = self.first
        self._deadline = time.monotonic() + (self.seconds if self.seconds is not None else 1e9)
        try:
            asyncio.run(self._run())
        except KeyboardInterrupt:
            self.report.is_interrupted = True
        return self.report

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.jobs):
                group.create_task(self._work())

    async def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            await self._run_batch(*batch)

    def _next_batch(self) -> tuple[int, int] | None:
        if time.monotonic() > self._deadline or (self.stop_at_first and self.report.failures):
            return None
        left = BATCH if self.seeds is None else min(BATCH, self.first + self.seeds - self._next)
        if left <= 0:
            return None
        self._next += left
        return self._next - left, left

    async def _run_batch(self, first: int, count: int) -> None:
        arguments = [self.kind, str(first), str(count), *([self.bug] if self.bug else [])]
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cluster.swarm.worker",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            limit=1 << 24,
        )
        at = first
        try:
            assert worker.stdout is not None
            while raw := await asyncio.wait_for(worker.stdout.readline(), SILENCE_SECONDS):
                line = json.loads(raw)
                if "begins" in line:
                    at = line["begins"]
                    continue
                self.report.take(line)
                self.progress(self.report)
                if time.monotonic() > self._deadline or (self.stop_at_first and self.report.failures):
                    return
            if await worker.wait():
                self.report.failures[at] = [["worker", f"the process ended with exit code {worker.returncode}"]]
                self._go_on_behind(at, first + count)
        except TimeoutError:
            self.report.failures[at] = [["watchdog", f"no end after {SILENCE_SECONDS:g} s on the clock on the wall"]]
            self._go_on_behind(at, first + count)
        finally:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    def _go_on_behind(self, at: int, end: int) -> None:
        """The rest of a batch whose worker came to a bad end is not run."""
        self.report.struck["seeds not run"] = self.report.struck.get("seeds not run", 0) + end - at - 1
