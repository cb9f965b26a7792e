"""The command line of the swarm: ./scripts/swarm."""

import argparse
import os
import sys
import time
from pathlib import Path

from cluster.swarm.bugs import BUGS, planted
from cluster.swarm.plan import Plan
from cluster.swarm.run import Result, draw_plan, run_plan
from cluster.swarm.shrink import SHRINK_SECONDS, Shrinker, worst
from cluster.swarm.story import tell
from cluster.swarm.sweep import Report, Sweep

FOLDER = Path(".swarm")
SHOWN_FAILURES = 20
BUG_SEEDS = 500


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; the exit code says whether a judge found anything."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Whatever follows the order of a hash must be the same in every run.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "cluster.swarm.command", *(arguments or sys.argv[1:])])
    options = _parser().parse_args(arguments)
    if options.bugs is not None:
        names = options.bugs.split(",") if options.bugs else list(BUGS)
        return _measure_bugs(names, options.jobs, options.first_seed, options.seeds or BUG_SEEDS)
    if options.replay is not None:
        with planted(options.bug):
            return _replay(options)
    return _sweep(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/swarm", description="Random work under random faults over a simulated cluster, judged."
    )
    parser.add_argument("--seeds", type=int, help="how many seeds to run (default: 200)")
    parser.add_argument("--seconds", type=float, help="run for so long instead")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (default: one a core)")
    parser.add_argument("--replay", metavar="SEED", help="run one seed, or a plan in a file, and tell its story")
    parser.add_argument("--shrink", action="store_true", help="make the failing run smaller first")
    parser.add_argument("--shrink-seconds", type=float, default=SHRINK_SECONDS, help="for so long at most")
    parser.add_argument("--bug", default="", metavar="NAME", help=f"plant a bug: {', '.join(BUGS)}")
    parser.add_argument(
        "--bugs",
        nargs="?",
        const="",
        metavar="NAMES",
        help="for each planted bug (or those named), how many seeds find it",
    )
    return parser


def _sweep(options: argparse.Namespace) -> int:
    seeds = options.seeds if options.seeds is not None or options.seconds is not None else 200
    begun = time.monotonic()
    sweep = Sweep(
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
    _print_report(report, time.monotonic() - begun)
    if not report.failures:
        return 0
    seed = min(report.failures)
    bug = f" --bug {options.bug}" if options.bug else ""
    if options.shrink:
        with planted(options.bug):
            _shrink_and_tell(draw_plan(seed), options)
    print(f"Failed: seed {seed}: {report.failures[seed][0][0]}: {report.failures[seed][0][1][:200]}")
    print(f"Again: ./scripts/swarm --replay {seed}{bug}    (with --shrink: made smaller first)")
    return 1


def _show_progress(report: Report) -> None:
    if sys.stderr.isatty():
        text = f"\r{report.seeds} seeds, {len(report.failures)} failed, {report.seeds_an_hour():.0f} an hour and core "
        print(text, end="", file=sys.stderr, flush=True)


def _print_report(report: Report, seconds: float) -> None:
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
        print(f"Undecided order of the namespace: {len(report.undecided)} seeds: {seeds}")
    never = report.never_reached()
    print(f"Rare states never reached: {'; '.join(never) if never else 'none, all were reached'}")
    print(f"{len(report.failures)} of {report.seeds} seeds failed")


def _replay(options: argparse.Namespace) -> int:
    path = Path(options.replay)
    plan = draw_plan(int(options.replay)) if options.replay.isdigit() else Plan.from_json(path.read_text())
    if options.shrink:
        return _shrink_and_tell(plan, options)
    result = run_plan(plan)
    _print_story(result, f"./scripts/swarm --replay {options.replay}")
    return int(result.failed)


def _shrink_and_tell(plan: Plan, options: argparse.Namespace) -> int:
    result = run_plan(plan)
    if not result.failed:
        _print_story(result, f"./scripts/swarm --replay {plan.seed}")
        return 0
    smaller = Shrinker(plan, worst(result), seconds=options.shrink_seconds).shrink()
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"seed-{plan.seed}.json"
    path.write_text(smaller.to_json())
    bug = f" --bug {options.bug}" if options.bug else ""
    _print_story(run_plan(smaller), f"./scripts/swarm --replay {path}{bug}")
    return 1


def _print_story(result: Result, replay: str) -> None:
    for line in tell(result, replay):
        print(line)


def _measure_bugs(names: list[str], jobs: int, first: int, seeds: int) -> int:
    """Within how many seeds each planted bug is found."""
    missed = 0
    for name in names:
        planted(name)  # Raises NotFound before anything runs.
        verdict = _hunt(name, jobs, first, seeds)
        missed += verdict is None
        print(f"{name}: {verdict or f'not found in {seeds} seeds'}", flush=True)
    print(f"{len(names) - missed} of {len(names)} planted bugs were found")
    return int(missed > 0)


def _hunt(name: str, jobs: int, first: int, seeds: int) -> str | None:
    """How a bug was found; None if it was not. A seed that fails without the bug as well has not found it."""
    at = first
    while at < first + seeds:
        report = Sweep(first=at, seeds=first + seeds - at, jobs=jobs, bug=name, stop_at_first=True).run()
        if report.is_interrupted:
            raise SystemExit(1)
        if not report.failures:
            return None
        seed = min(report.failures)
        if not run_plan(draw_plan(seed)).failed:
            judge, text = report.failures[seed][0]
            return f"found by seed {seed}, after {seed - first + 1}: {judge}: {text[:160]}"
        at = seed + 1
    return None


if __name__ == "__main__":
    sys.exit(main())
