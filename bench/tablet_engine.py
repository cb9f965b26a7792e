"""What the tablet engine does in a second, beside LevelDB, RocksDB and engines in pure Python where they are installed.

    python -m bench.tablet_engine [--rows 200000] [--rounds 3] [--only NAME ...]
    python -m bench.tablet_engine --growth [--sizes 10000,...] [--plot growth.svg]
    python -m bench.tablet_engine --profile
    python -m bench.tablet_engine --points                          point reads alone, beside LevelDB, in processor time
    python -m bench.tablet_engine --wide                            cells of rows with few columns, and with very many
    python -m bench.tablet_engine --keep FOLDER --rows 1000000      only our store, left in FOLDER

`tablet_contestants.py` says who takes part and with which settings, `tablet_workload.py` what is measured and how. Each
contestant has a process of its own; in every second round they run in the opposite order. One that is too slow for all
the rows gets fewer, and is compared with ours with as many.

    pip install plyvel rocksdict && pip install --no-deps bloomkv==1.3.1 yellowdb==1.0.0 mmh3 msgpack

gets the others. With `--record FILE` what is measured goes to a file as well, and the tables show all that is in it: so
a long run can be done in pieces (`--rounds 0` only shows it).
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import compiled_engine
from bench.report import Row, machine, table
from bench.tablet_contestants import CONTESTANTS, OURS, RIVAL, Contestant, contestant_named
from bench.tablet_growth import growth_tables, picture
from bench.tablet_points import points
from bench.tablet_profile import profile
from bench.tablet_wide_rows import wide_rows
from bench.tablet_workload import (
    ABSENT_BLOCKS,
    BLOCKS,
    COSTS,
    FILES,
    MEMORY,
    OVERWRITTEN,
    PROCESSOR_TIMES,
    RATES,
    SCAN,
    UNFILTERED_BLOCKS,
    VALUE_BYTES,
    Measured,
)

SIZES = (10_000, 50_000, 200_000, 1_000_000, 2_000_000)
GROWING = (OURS, RIVAL)
_LONGEST_SECONDS = 900
_UNITS = {
    SCAN: "rows/s",
    OVERWRITTEN: "rows/s",
    FILES: "",
    BLOCKS: "",
    ABSENT_BLOCKS: "",
    UNFILTERED_BLOCKS: "",
    MEMORY: "MiB",
    **dict.fromkeys(PROCESSOR_TIMES, "µs"),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one contestant's process found. `growth`: the short course. `wanted`: the rows that were asked for, of which
    it got `rows`."""

    contestant: str
    wanted: int
    rows: int
    growth: bool
    found: Measured

    @property
    def label(self) -> str:
        """The contestant's name in a table, with its own number of rows if that is smaller."""
        return self.contestant if self.rows == self.wanted else f"{self.contestant}, {self.rows:,} rows"


class Record:
    """All turns so far, in memory and perhaps in a file, a line of JSON for each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._turns: list[Turn] = []
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                fields = json.loads(line)
                self._turns.append(Turn(**{**fields, "found": Measured(**fields["found"])}))

    def add(self, turn: Turn) -> None:
        """Keep a turn."""
        self._turns.append(turn)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(turn)) + "\n")

    def turns(self, *, growth: bool) -> list[Turn]:
        """Those of one course."""
        return [turn for turn in self._turns if turn.growth == growth]


def take_turn(
    contestant: Contestant,
    wanted: int,
    rows: int,
    seed: int,
    *,
    growth: bool,
    keep: Path | None = None,
    value_bytes: int = VALUE_BYTES,
) -> Turn | None:
    """Measure a contestant in a process of its own. None, after a line that says so, if it fails or takes too long."""
    turn = Turn(contestant.name, wanted, rows, growth, Measured())
    command = [sys.executable, "-P", "-m", "bench.tablet_workload", contestant.name, "--rows", str(rows)]
    command += ["--value-bytes", str(value_bytes)]
    command += ["--seed", str(seed), *(["--growth"] if growth else []), *(["--keep", str(keep)] if keep else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST_SECONDS, check=False, env=_environment(contestant)
        )
    except subprocess.TimeoutExpired:
        print(f"  {turn.label}: not done after {_LONGEST_SECONDS} seconds, left out")
        return None
    if done.returncode:
        print(f"  {turn.label}: failed, left out\n{done.stderr}")
        return None
    found = Measured.from_json(done.stdout.splitlines()[-1])
    for what, figure in {**found.rates, **found.costs}.items():
        print(f"  {turn.label:<24} {what:<44} {figure:>14,.2f}")
    for what, count in found.wrong.items():
        print(f"  {turn.label}: {count:,} WRONG OR MISSING ROWS in {what}")
    sys.stdout.flush()
    return replace(turn, found=found)


def _environment(contestant: Contestant) -> dict[str, str]:
    """Where the contestant's process finds its modules: first those that were compiled for it, then this source."""
    path = [str(compiled_engine.TARGET)] if contestant.compiled else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(compiled_engine.ROOT), *sys.path[1:]])}


def run_rounds(
    contestants: Sequence[Contestant], rows: int, rounds: int, record: Record, value_bytes: int = VALUE_BYTES
) -> None:
    """Every contestant once a round, in the opposite order in every second one."""
    done = len([turn for turn in record.turns(growth=False) if turn.contestant == OURS and turn.rows == rows])
    lineup = [(contestant, contestant.rows(rows)) for contestant in contestants]
    ours = [contestant for contestant in contestants if contestant.name == OURS]
    fewer = sorted({count for _, count in lineup if count < rows})
    lineup += [(contestant, count) for contestant in ours for count in fewer]
    for number in range(done, done + rounds):
        print(f"round {number + 1}")
        for contestant, count in lineup if number % 2 == 0 else reversed(lineup):
            _take_and_record(contestant, rows, count, number, record, growth=False, value_bytes=value_bytes)


def run_growth(contestants: Sequence[Contestant], sizes: Iterable[int], record: Record) -> None:
    """The short course at each size."""
    for number, rows in enumerate(sizes):
        print(f"{rows:,} rows")
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            _take_and_record(contestant, rows, contestant.rows(rows), number, record, growth=True)


def _take_and_record(
    contestant: Contestant,
    wanted: int,
    rows: int,
    seed: int,
    record: Record,
    *,
    growth: bool,
    value_bytes: int = VALUE_BYTES,
) -> None:
    turn = take_turn(contestant, wanted, rows, seed, growth=growth, value_bytes=value_bytes)
    if turn is not None:
        record.add(turn)


def tables(turns: Sequence[Turn], wanted: int) -> str:
    """Rates with their ratios, then costs: the medians of the turns with so many rows, in Markdown."""
    rates = {what: Row(what, _UNITS.get(what, "/s")) for what in RATES}
    costs = {what: Row(what, _UNITS.get(what, "x")) for what in COSTS}
    names = [contestant.name for contestant in CONTESTANTS]
    chosen = [turn for turn in turns if turn.wanted == wanted]
    chosen.sort(key=lambda turn: (names.index(turn.contestant), -turn.rows))
    for turn in chosen:
        for rows, figures in ((rates, turn.found.rates), (costs, turn.found.costs)):
            for what, figure in figures.items():
                rows[what].add(turn.label, figure)
    ours = {turn.rows: turn.label for turn in chosen if turn.contestant == OURS}
    rivals = [RIVAL, *(contestant.name for contestant in CONTESTANTS if contestant.pure_python)]
    theirs = {turn.label: turn.rows for name in rivals for turn in chosen if turn.contestant == name}
    ratios = [(ours[count], label) for label, count in theirs.items() if count in ours]
    shown = list(dict.fromkeys(turn.label for turn in chosen))
    first = table([row for row in rates.values() if row.figures], shown, ratios)
    second = table([row for row in costs.values() if row.figures], shown)
    return f"{first}\n\n{second}"


def wrong_answers(turns: Sequence[Turn]) -> list[str]:
    """A line for whatever came back wrong, at its worst."""
    worst: dict[tuple[str, str], int] = {}
    for turn in turns:
        for what, count in turn.found.wrong.items():
            worst[turn.contestant, what] = max(count, worst.get((turn.contestant, what), 0))
    return [f"{name}: up to {count:,} wrong or missing rows in {what}" for (name, what), count in worst.items()]


def settings(contestants: Sequence[Contestant]) -> str:
    """Who takes part, and with what memory."""
    return "\n".join(f"- {contestant.name}: {contestant.memory}" for contestant in contestants)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print the tables."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"{options.keep} is not empty; choose another folder for the store")
    print(f"{machine()}; values of {options.value_bytes:,} random bytes, keys of 16")
    if options.profile:
        print(profile(options.rows))
        return
    if options.points:
        print(points(options.rows))
        return
    if options.wide:
        print(wide_rows())
        return
    if options.keep:
        take_turn(contestant_named(OURS), options.rows, options.rows, 0, growth=True, keep=options.keep)
        return
    record = Record(options.record)
    usual = [contestant.name for contestant in CONTESTANTS if not contestant.only_if_named]
    names = options.only or (GROWING if options.growth else usual)
    contestants = [contestant_named(name) for name in names]
    for contestant in contestants:
        if not contestant.installed:
            print(f"{contestant.name} is not installed: left out")
    contestants = [contestant for contestant in contestants if contestant.installed]
    print(settings(contestants))
    if options.growth:
        run_growth(contestants, options.sizes if options.rounds else (), record)
        turns = record.turns(growth=True)
        found = {(turn.contestant, turn.wanted): turn.found for turn in turns}
        print("\n" + growth_tables(found))
        if options.plot:
            options.plot.write_text(picture(found), encoding="utf-8")
    else:
        run_rounds(contestants, options.rows, options.rounds, record, options.value_bytes)
        turns = record.turns(growth=False)
        print("\n" + tables(turns, options.rows))
    for line in wrong_answers(turns):
        print(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.tablet_engine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--value-bytes", type=int, default=VALUE_BYTES, help="how long a value is (default: 1000)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these contestants")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what is measured, and show all that is there")
    parser.add_argument("--growth", action="store_true", help="how figures grow with the rows; ours and LevelDB's")
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="rows, with commas between")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the growth")
    parser.add_argument("--profile", action="store_true", help="where our engine's time goes, by function")
    parser.add_argument("--points", action="store_true", help="point reads alone, in processor time")
    parser.add_argument("--wide", action="store_true", help="wide rows: cells and slices of rows of several widths")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="only make a store of ours, and leave it there")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
