"""`tabletop sweep`: one scenario with many seeds, in several processes, on this machine or on a Dask cluster.

The workers, their watchdog and the report are those of the swarm (cluster/swarm/sweep.py).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.scenarios import telling
from cluster.scenarios.loading import load_scenario
from cluster.scenarios.running import ScenarioPlan, run_simulated
from cluster.scenarios.shrinking import TapeShrinker, write_tape
from cluster.scenarios.sweeping import kind_of
from cluster.swarm.bugs import planted
from cluster.swarm.dask_pool import dask_pool
from cluster.swarm.sweep import Report, Sweep
from tabletop import wording
from tabletop.console import ExitCode, endings, notes, output, perform, remark
from tabletop.scenario_commands import BugOption, FileArgument, replay_command

FOLDER = Path(".scenarios")
LINE_SECONDS = 5.0
SHOWN_FAILURES = 10
LARGEST_BATCH = 20


def sweep(
    file: FileArgument,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds to run.")] = 200,
    jobs: Annotated[
        int, typer.Option("--jobs", min=0, help="Processes at once. Default: one a core, or all that Dask has.")
    ] = 0,
    first_seed: Annotated[int, typer.Option("--first-seed", min=0, help="The first seed.")] = 0,
    all_seeds: Annotated[bool, typer.Option("--all", help="Go on after the first seed that fails.")] = False,
    shrink_seconds: Annotated[
        float, typer.Option("--shrink-seconds", min=0, help="For how long to make the first failure plainer; 0: not.")
    ] = 30.0,
    dask: Annotated[
        str, typer.Option("--dask", metavar="ADDRESS", help="Run on the Dask cluster whose scheduler is there.")
    ] = "",
    bug: BugOption = "",
) -> None:
    """Run a scenario with many seeds in the simulated world; tell the first that fails, and make it plainer.

    A failing seed is a run that can be had again, as often as one likes. It is then shrunk: as many choices of its
    schedule as possible become plain ones while it still fails, and what is left is what matters. The last lines say
    how to see both again. The exit code is 0 if the scenario held with every seed, 1 if not.

    \b
        tabletop sweep drill.py --seeds 1000 --jobs 4
        tabletop sweep drill.py --seeds 500 --bug digest-not-compared
        tabletop sweep drill.py --seeds 100000 --dask tcp://desk-1:8786
    """
    with endings():
        scenario = load_scenario(file)
        where = f"{file.partition('::')[0]}::{scenario.name}"
        planted(bug)  # Raises NotFound before anything runs.
        running = Sweep(kind_of(where), first=first_seed, seeds=seeds, bug=bug, stop_at_first=not all_seeds)
        running.jobs = jobs or os.cpu_count() or 1
        running.batch = max(1, min(LARGEST_BATCH, seeds // (2 * running.jobs)))
    begun = time.monotonic()
    report = running.report
    try:
        with _progress(running, seeds):
            perform(_on_dask(running, file, dask, jobs) if dask else running.go())
    except typer.Exit:
        if report.seeds:  # It was interrupted, and has found out something until then.
            _print_report(scenario.name, report, seeds, time.monotonic() - begun)
        raise
    with endings():
        _print_report(scenario.name, report, seeds, time.monotonic() - begun)
        if report.failures:
            _tell_failure(where, report, shrink_seconds, bug)
    raise typer.Exit(ExitCode.FAILED if report.failures else ExitCode.DONE)


async def _on_dask(running: Sweep, file: str, address: str, jobs: int) -> None:
    path = Path(file.partition("::")[0])
    pool, threads = await dask_pool(address, [path])
    running.pool, running.jobs = pool, jobs or threads
    # A worker finds the file in its working folder.
    running.kind = running.kind.replace(str(path), path.name)
    try:
        await running.go()
    finally:
        await pool.close()


@contextmanager
def _progress(running: Sweep, seeds: int) -> Iterator[None]:
    """Tell how far it is: a bar in a terminal, otherwise a line every few seconds."""
    if not notes.is_terminal:
        running.progress = _Lines(seeds)
        yield
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        task = progress.add_task(_words(Report()), total=seeds)
        running.progress = lambda report: progress.update(task, completed=report.seeds, description=_words(report))
        yield


class _Lines:
    """Prints a line every few seconds."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._shown = time.monotonic()

    def __call__(self, report: Report) -> None:
        if time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            remark(f"{report.seeds:,} of {wording.count(self._seeds, 'seed')}, {_words(report)}")


def _words(report: Report) -> str:
    return f"{wording.count(len(report.failures), 'failure')}"


def _print_report(name: str, report: Report, seeds: int, seconds: float) -> None:
    for seed in sorted(report.failures)[:SHOWN_FAILURES]:
        for judge, text in report.failures[seed][:2]:
            output.print(f"✘ seed {seed}: {judge}: {text[:400]}", style="red", markup=False)
    more = len(report.failures) - SHOWN_FAILURES
    if more > 0:
        output.print(f"… and {more:,} more seeds that failed", markup=False)
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(report.struck.items())) or "none"
    ran = f"{report.seeds:,} of {seeds:,} seeds" if report.seeds < seeds else wording.count(seeds, "seed")
    output.print(
        f"{name}: {ran} in {wording.duration(seconds)}, {report.operations:,} operations, "
        f"{report.virtual_seconds / 3600:.1f} hours of the clusters' time; faults: {faults}",
        markup=False,
    )
    if report.undecided:
        output.print(f"Undecided, not passed: seeds {', '.join(map(str, sorted(report.undecided)[:10]))}", markup=False)
    if not report.failures and report.seeds == seeds:
        output.print("✔ it holds with every seed that was run.", style="green", markup=False)


def _tell_failure(where: str, report: Report, shrink_seconds: float, bug: str) -> None:
    """The first failure once more, plainer, and how to see it."""
    seed = min(report.failures)
    judge = report.failures[seed][0][0]
    scenario = load_scenario(where)
    plan = ScenarioPlan(scenario, seed)
    again = replay_command(where, plan, bug=bug)
    if judge in ("worker", "watchdog") or not shrink_seconds:
        output.print(f"Again: {again}", markup=False)
        return
    with planted(bug), notes.status(f"seed {seed}: looking for a plainer schedule that fails too …"):
        shrunk = TapeShrinker(plan, lambda one: run_simulated(one, recorded=True), seconds=shrink_seconds).shrink()
    if not shrunk.result.verdicts:
        output.print(
            f"Seed {seed} does not fail here. Something decides the run that its seed does not: the order of a set, "
            "the clock on the wall, a variable that an earlier seed has changed.",
            style="red",
            markup=False,
        )
        output.print(f"Again: PYTHONHASHSEED=0 {again}", markup=False)
        return
    output.print(f"Seed {seed}, shrunk: {shrunk.in_words()}. It says then:", markup=False)
    for line in telling.verdict_lines(shrunk.result):
        output.print(line, style="red" if line.startswith("✘") else "", markup=False)
    tape = FOLDER / f"{scenario.name}-{seed}.json"
    write_tape(tape, shrunk.plan)
    output.print(f"Again: {again}", markup=False)
    output.print(f"Plain: {replay_command(where, plan, tape, bug)}    (--story tells all of it)", markup=False)
