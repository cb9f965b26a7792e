"""Where our engine's time goes, by module and by function.

`cProfile` counts every call and so makes short functions look slower than they are: trust the order, not the
microseconds. A function in C (a checksum, compression, a system call) is shown by itself, and counts for the module
that calls it.
"""

import cProfile
import pstats
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

from bench.tablet_contestants import OURS, Tabletop, contestant_named
from bench.tablet_workload import READS, Rows

_MODULES = 8
_FUNCTIONS = 8
_BUILT_IN = "~"
_ROOMS = ("tablet", "runtime", "bench", "sortedcontainers")

Where = tuple[str, int, str]


def profile(rows: int) -> str:
    """Random writes, random reads and a scan of our engine: the modules and functions that take the time."""
    numbers = Rows(rows, 0, contestant_named(OURS))
    content = [(numbers.key(number), numbers.value(number)) for number in numbers.shuffled()]
    keys = [numbers.key(number) for number in numbers.some(READS)]
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        store = Tabletop(Path(folder), True)
        parts = [_profiled(f"{rows:,} random writes", rows, lambda: _drain(starmap(store.put, content)))]
        store.settle()
        parts.append(_profiled(f"{len(keys):,} random reads", len(keys), lambda: _drain(map(store.get, keys))))
        parts.append(_profiled(f"a scan of {rows:,} rows", rows, lambda: _drain(store.scan())))
        store.close()
    return "\n\n".join(parts)


def _drain(steps: Any) -> None:
    for _ in steps:
        pass


def _profiled(title: str, operations: int, work: Callable[[], None]) -> str:
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats: Any = pstats.Stats(profiler)
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for where, (_, _, own, _, callers) in stats.stats.items():
        functions[_function(where)] += own
        if where[0] != _BUILT_IN:
            modules[_module(where[0])] += own
        for caller, (_, _, share, _) in callers.items():
            if where[0] == _BUILT_IN:
                modules[_module(caller[0])] += share
    total = stats.total_tt
    lines = [f"{title}: {total / operations * 1e6:.1f} µs each under the profiler"]
    lines += _shares("by module", modules.most_common(_MODULES), total, operations)
    lines += _shares("by function", functions.most_common(_FUNCTIONS), total, operations)
    return "\n".join(lines)


def _shares(title: str, found: Sequence[tuple[str, float]], total: float, operations: int) -> list[str]:
    return [f"  {title}", *(f"    {own / total:6.1%} {own / operations * 1e6:7.2f} µs  {name}" for name, own in found)]


def _function(where: Where) -> str:
    path, line, name = where
    return name.strip("<>") if path == _BUILT_IN else f"{_module(path)}:{line} {name}"


def _module(path: str) -> str:
    parts = Path(path).parts
    start = next((place for place, part in enumerate(parts) if part in _ROOMS), len(parts) - 1)
    return "/".join(parts[start:])
