"""Point reads alone: how many our engine and LevelDB answer in a second of processor time.

A store of each is written once and then opened again and again, in turns. Each time the caches are empty: rows are read
that are there, each once, then keys that are not. The best turn counts. Processor time and the best of several turns
say something on a machine that is busy with other things too, where rates by the clock say little.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.report import Row, table
from bench.tablet_contestants import OURS, RIVAL, contestant_named
from bench.tablet_workload import ABSENT, COLD, READS, Rows, wait_until_quiet

TURNS = 8
_BATCH = 1000


def points(rows: int) -> str:
    """The table."""
    found: dict[tuple[str, str], float] = {}
    names = [name for name in (OURS, RIVAL) if contestant_named(name).installed]
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        for name in names:
            _write(name, rows, Path(folder) / name)
        for turn in range(TURNS):
            for name in names if turn % 2 == 0 else names[::-1]:
                for what, rate in _read(name, rows, turn, Path(folder) / name).items():
                    found[what, name] = max(rate, found.get((what, name), rate))
    lines = [Row(what, "/s") for what in (COLD, ABSENT)]
    for line, what in zip(lines, (COLD, ABSENT), strict=True):
        for name in names:
            line.add(name, found[what, name])
    return table(lines, names, [(OURS, RIVAL)] if len(names) > 1 else [])


def _write(name: str, rows: int, folder: Path) -> None:
    contestant = contestant_named(name)
    drawn = Rows(rows, 0, contestant)
    store = contestant.make(folder, True)
    for number in drawn.shuffled():
        store.put(drawn.key(number), drawn.value(number))
    if not store.settle():
        wait_until_quiet()
    store.close()


def _read(name: str, rows: int, seed: int, folder: Path) -> dict[str, float]:
    """The rate of each kind of read, of a store that was opened just now."""
    contestant = contestant_named(name)
    drawn = Rows(rows, seed, contestant)
    written = Rows(rows, 0, contestant)
    store = contestant.make(folder, True)
    numbers = drawn.some(READS)
    cold = _rate(store.get, list(map(drawn.key, numbers)), list(map(written.value, numbers)))
    absent = _rate(store.get, list(map(drawn.absent_key, numbers)), [None] * len(numbers))
    store.close()
    return {COLD: cold, ABSENT: absent}


def _rate(get: Callable[[Any], Any], keys: Sequence[Any], expected: Sequence[Any]) -> float:
    spent = 0.0
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        begin = time.process_time()
        answers = [get(key) for key in batch]
        spent += time.process_time() - begin
        if answers != expected[start : start + _BATCH]:
            raise AssertionError("a read gave something else than was written")
    return len(keys) / spent
