"""The command line of the swarm: ./scripts/swarm."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.swarm.pictures import timeline_of
from cluster.swarm.shrink import SHRINK_SECONDS, Shrinker
from cluster.swarm.swarms import ENGINE, FILES, LOCKS, MASTERS, SWARMS, RunResult, Swarm
from cluster.swarm.sweep import Report, Sweep
from cluster.timeline.formats import Format, write_timeline
from runtime.errors import TabletopError

FOLDER = Path(".swarm")
SHOWN_FAILURES = 20
BUG_SEEDS = 500


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; the exit code says whether a judge found anything."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Whatever follows the order of a hash must be the same in every run.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "cluster.swarm.command", *(arguments or sys.argv[1:])])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.timeline and options.replay is None and not options.shrink:
        parser.error("--timeline draws one run: name it with --replay, or add --shrink")
    swarm = SWARMS[options.which]
    if options.bugs is not None:
        names = options.bugs.split(",") if options.bugs else list(swarm.bugs)
        return _measure_bugs(swarm, names, options.jobs, options.first_seed, options.seeds or BUG_SEEDS)
    if options.replay is not None:
        with swarm.planted(options.bug):
            return _replay(swarm, options)
    return _sweep(swarm, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/swarm", description="Random work under random faults over a simulated cluster, judged."
    )
    which = parser.add_mutually_exclusive_group()
    for swarm, text in (
        (MASTERS, "the file system's cluster, with three masters and a lock service in every seed"),
        (ENGINE, "several tablets on one log, in place of the file system's cluster"),
        (LOCKS, "the lock service and its clients"),
    ):
        which.add_argument(
            swarm.option.strip(), dest="which", action="store_const", const=swarm.name, default=FILES.name, help=text
        )
    parser.add_argument("--seeds", type=int, help="how many seeds to run (default: 200)")
    parser.add_argument("--seconds", type=float, help="run for so long instead")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (default: one a core)")
    parser.add_argument("--replay", metavar="SEED", help="run one seed, or a plan in a file, and tell its story")
    parser.add_argument("--timeline", metavar="FILE", help="with --replay or --shrink: write the run as a picture too")
    parser.add_argument(
        "--format",
        choices=[form.value for form in Format],
        default=Format.HTML.value,
        help="what --timeline writes: a page for a browser (html), or what Perfetto or ShiViz opens",
    )
    parser.add_argument("--shrink", action="store_true", help="make the failing run smaller first")
    parser.add_argument("--shrink-seconds", type=float, default=SHRINK_SECONDS, help="for so long at most")
    names = ", ".join((*FILES.bugs, *ENGINE.bugs, *LOCKS.bugs))
    parser.add_argument("--bug", default="", metavar="NAME", help=f"plant a bug: {names}")
    parser.add_argument(
        "--bugs",
        nargs="?",
        const="",
        metavar="NAMES",
        help="for each planted bug (or those named), how many seeds find it",
    )
    return parser


def _sweep(swarm: Swarm, options: argparse.Namespace) -> int:
    seeds = options.seeds if options.seeds is not None or options.seconds is not None else 200
    begun = time.monotonic()
    sweep = Sweep(
        swarm.name,
        first=options.first_seed,
        seeds=seeds,
        seconds=options.seconds,
        jobs=options.jobs,
        bug=options.bug,
        progress=_show_progress,
    )
    report = sweep.run()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    _print_report(report, swarm.marks, time.monotonic() - begun)
    if not report.failures:
        return 0
    seed = min(report.failures)
    bug = f" --bug {options.bug}" if options.bug else ""
    if options.shrink:
        with swarm.planted(options.bug):
            _shrink_and_tell(swarm, swarm.draw(seed), options)
    print(f"Failed: seed {seed}: {report.failures[seed][0][0]}: {report.failures[seed][0][1][:200]}")
    print(f"Again: ./scripts/swarm{swarm.option} --replay {seed}{bug}    (with --shrink: made smaller first)")
    return 1


def _show_progress(report: Report) -> None:
    if sys.stderr.isatty():
        text = f"\r{report.seeds} seeds, {len(report.failures)} failed, {report.seeds_an_hour():.0f} an hour and core "
        print(text, end="", file=sys.stderr, flush=True)


def _print_report(report: Report, marks: Sequence[str], seconds: float) -> None:
    for seed in sorted(report.failures)[:SHOWN_FAILURES]:
        for judge, text in report.failures[seed][:2]:
            print(f"seed {seed}: {judge}: {text[:300]}")
    if len(report.failures) > SHOWN_FAILURES:
        print(f"… and {len(report.failures) - SHOWN_FAILURES} more seeds that failed")
    print(
        f"{report.seeds} seeds in {seconds:.0f} s ({report.seeds_an_hour():.0f} an hour on one core), "
        f"{report.operations} operations, {report.virtual_seconds / 3600:.1f} virtual hours"
        f"{'; interrupted' if report.is_interrupted else ''}"
    )
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(report.struck.items()))
    print(f"Faults: {faults or 'none'}")
    if report.undecided:
        seeds = ", ".join(str(seed) for seed in sorted(report.undecided))
        print(f"Undecided order of operations: {len(report.undecided)} seeds: {seeds}")
    never = report.never_reached(marks)
    print(f"Rare states never reached: {'; '.join(never) if never else 'none, all were reached'}")
    print(f"{len(report.failures)} of {report.seeds} seeds failed")


def _replay(swarm: Swarm, options: argparse.Namespace) -> int:
    path = Path(options.replay)
    plan = swarm.draw(int(options.replay)) if options.replay.isdigit() else swarm.from_json(path.read_text())
    if options.shrink:
        return _shrink_and_tell(swarm, plan, options)
    result = _run(swarm, plan, options)
    _print_story(swarm, result, options.replay, options)
    return int(bool(result.verdicts))


def _run(swarm: Swarm, plan: Any, options: argparse.Namespace) -> RunResult:
    """Run a plan, and keep its messages if they are to be drawn."""
    found: RunResult = (swarm.watch if options.timeline else swarm.run)(plan)
    return found


def _shrink_and_tell(swarm: Swarm, plan: Any, options: argparse.Namespace) -> int:
    result = swarm.run(plan)
    if not result.verdicts:
        _print_story(swarm, _run(swarm, plan, options), plan.seed, options)
        return 0
    smaller = Shrinker(plan, swarm.worst(result), swarm.run, seconds=options.shrink_seconds).shrink()
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{swarm.name}-{plan.seed}.json"
    path.write_text(smaller.to_json())
    _print_story(swarm, _run(swarm, smaller, options), path, options)
    return 1


def _print_story(swarm: Swarm, result: RunResult, replayed: object, options: argparse.Namespace) -> None:
    """The story as text, and as a file if one is asked for."""
    planted = f" --bug {options.bug}" if options.bug else ""
    replay = f"./scripts/swarm{swarm.option} --replay {replayed}{planted}"
    for line in swarm.tell(result, replay):
        print(line)
    if options.timeline:
        timeline = timeline_of(result, replay)
        try:
            size = write_timeline(timeline, Path(options.timeline), Format(options.format))
        except TabletopError as error:
            raise SystemExit(f"swarm: {error.message}") from None
        print(
            f"Timeline: {options.timeline}, {size / 1e6:.1f} MB: {len(timeline.moments)} records, "
            f"{len(timeline.arrows)} messages"
        )


def _measure_bugs(swarm: Swarm, names: list[str], jobs: int, first: int, seeds: int) -> int:
    """Within how many seeds each planted bug is found."""
    missed = 0
    for name in names:
        swarm.planted(name)  # Raises NotFound before anything runs.
        verdict = _hunt(swarm, name, jobs, first, seeds)
        missed += verdict is None
        print(f"{name}: {verdict or f'not found in {seeds} seeds'}", flush=True)
    print(f"{len(names) - missed} of {len(names)} planted bugs were found")
    return int(missed > 0)


def _hunt(swarm: Swarm, name: str, jobs: int, first: int, seeds: int) -> str | None:
    """How a bug was found; None if it was not. A seed that fails without the bug as well has not found it."""
    at = first
    while at < first + seeds:
        sweep = Sweep(swarm.name, first=at, seeds=first + seeds - at, jobs=jobs, bug=name, stop_at_first=True)
        report = sweep.run()
        if report.is_interrupted:
            raise SystemExit(1)
        if not report.failures:
            return None
        seed = min(report.failures)
        if not swarm.run(swarm.draw(seed)).verdicts:
            judge, text = report.failures[seed][0]
            return f"found by seed {seed}, after {seed - first + 1}: {judge}: {text[:160]}"
        at = seed + 1
    return None


if __name__ == "__main__":
    sys.exit(main())
