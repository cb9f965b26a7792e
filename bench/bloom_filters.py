"""The Bloom filter policies side by side: how often they are wrong, how large they are, and what they cost.

    python -m bench.bloom_filters

A filter is over one partition of 20,000 keys, rows and rows with a column. Asking includes hashing the key, once. For
the write path rows are written at random through memtables of 1 MiB, with the flushes and compactions that are due and
a flush at the end. A read of an absent row asks an embedded tablet of three SSTables.

One contestant is not a policy of ours: pybloom-live's own loop, `add` and `in`, for each key.

Time is processor time, the best of many short rounds, with the order of the contestants turned round in every other
one: what else runs on the machine makes a round longer, never shorter.
"""

import argparse
import contextlib
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from pybloom_live import BloomFilter

import tablet.engine
from bench.report import Row, table
from tablet.engine.model.schema import BloomPolicy, LocalityGroup
from tablet.engine.sstable.bloom.named import POLICIES
from tablet.engine.sstable.bloom.policy import PARTITION_KEYS, Filter, FilterPolicy, Sieve, T, column_key
from tablet.engine.sstable.bloom.sliced import SlicedFilter, SlicedPolicy
from tablet.engine.world.options import Options

_RATES = (0.01, 0.004)
_RATE = 0.004
_MEMTABLE_BYTES = 1024 * 1024
_COLUMN = b"f:v"
_NONE, _LOOP = "no filters", "pybloom-live, one by one"
CONTESTANTS = (*POLICIES, _LOOP, _NONE)
_WRITE = "random write"
_TIMES = ("ns", "µs")


class _LoopFilter(SlicedFilter):
    """Asked by the library's own `in`."""

    __slots__ = ()

    def may_contain(self, key: bytes) -> bool:
        """False if the key was certainly not put in."""
        return key.decode("latin-1") in self.bloom


class _LoopPolicy(SlicedPolicy):
    """Filled by the library's own `add`."""

    def build(self, keys: Sequence[bytes], false_positive_rate: float) -> SlicedFilter:
        """A filter over these keys."""
        bloom = BloomFilter(len(keys), false_positive_rate)
        for key in keys:
            bloom.add(key.decode("latin-1"), skip_check=True)
        return _LoopFilter(bloom)

    def decode(self, data: bytes) -> SlicedFilter:
        """The reverse of `encode`."""
        return _LoopFilter(super().decode(data).bloom)

    def sieve(self, filters: Sequence[tuple[SlicedFilter, T]]) -> Sieve[T]:
        """Each filter hashes the key for itself."""
        return lambda key: tuple([what for found, what in filters if found.may_contain(key)])


def filters(contestant: str, keys: int, seed: int) -> dict[str, tuple[str, float]]:
    """Figures of one contestant's filters, each with its unit."""
    policy = _LoopPolicy() if contestant == _LOOP else _policy(contestant)
    draw = random.Random(seed)
    rows = [b"%016d" % draw.randrange(10**16) for _ in range(keys // 2)]
    present = [*rows, *(column_key(row, _COLUMN) for row in rows)]
    absent = [b"x" + key for key in present]
    found: dict[str, tuple[str, float]] = {}
    for rate in _RATES:
        built = policy.build(present, rate)
        asked = [b"%d %d" % (seed, number) for number in range(2 * keys)]
        mistakes = sum(built.may_contain(key) for key in asked)
        found[f"mistakes, asked for {rate:.1%}"] = "%", 100 * mistakes / len(asked)
        found[f"bits a key, asked for {rate:.1%}"] = "", 8 * len(built.encode()) / len(present)
    three = [policy.build(present, _RATE)] * 3
    found["build, a key"] = "ns", 1e9 * _seconds(lambda: policy.build(present, _RATE)) / keys
    found["ask, present, one filter"] = "ns", _asking(policy, three[:1], present)
    found["ask, absent, one filter"] = "ns", _asking(policy, three[:1], absent)
    found["ask, absent, three filters"] = "ns", _asking(policy, three, absent)
    return found


def writing(contestant: str, rows: int, value_bytes: int, seed: int) -> float:
    """Microseconds that a write costs, with its share of flushes and compactions."""
    draw = random.Random(seed)
    value = draw.randbytes(value_bytes)
    order = [b"%016d" % draw.randrange(10 * rows) for _ in range(rows)]
    with _store(contestant) as store:
        begin = time.process_time()
        for row in order:
            store.put(row, _COLUMN, value, 1)
        store.flush()
        return 1e6 * (time.process_time() - begin) / rows


def reading(contestant: str, rows: int, seed: int) -> float:
    """Microseconds that a read of an absent row costs in a tablet of three SSTables."""
    draw = random.Random(seed)
    with _store(contestant) as store:
        for _ in range(3):
            for _ in range(rows // 3):
                store.put(b"%016d" % draw.randrange(10**16), _COLUMN, b"v" * 100, 1)
            store.flush()
        asked = [b"%016d" % draw.randrange(10**16) for _ in range(rows // 3)]
        return 1e6 * _seconds(lambda: [store.get(row, _COLUMN) for row in asked]) / len(asked)


def _policy(name: str) -> Any:
    return next(policy for known, policy in POLICIES.items() if known == name)


@contextlib.contextmanager
def _store(contestant: str) -> Iterator[Any]:
    """An empty tablet whose SSTables have filters of this contestant."""
    name: BloomPolicy = "blocked" if contestant == "blocked" else "pybloom-live"
    group = LocalityGroup(
        bloom_policy=name, bloom_keys="none" if contestant == _NONE else "row+column", false_positive_rate=_RATE
    )
    loop: dict[Any, Any] = {"pybloom-live": _LoopPolicy()} if contestant == _LOOP else {}
    with mock.patch.dict(POLICIES, loop), tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        options = Options(memtable_bytes=_MEMTABLE_BYTES, scan_cache_bytes=0)
        with tablet.engine.open(Path(folder), options) as store:
            store.set_locality_group(group)
            store.create_family("f")
            gc.collect()
            yield store


def _seconds(act: Callable[[], object]) -> float:
    """The better of two."""
    best = float("inf")
    for _ in range(2):
        begin = time.process_time()
        act()
        best = min(best, time.process_time() - begin)
    return best


def _asking(policy: FilterPolicy, found: Sequence[Filter], keys: Sequence[bytes]) -> float:
    """Nanoseconds to ask all these filters about a key."""
    sieve = policy.sieve([(one, number) for number, one in enumerate(found)])

    def ask() -> None:
        for key in keys:
            sieve(key)

    return 1e9 * _seconds(ask) / len(keys)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.bloom_filters", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=12, help="Turns of each contestant (default: 12).")
    parser.add_argument("--keys", type=int, default=PARTITION_KEYS, help="Keys of a filter (default: a partition).")
    parser.add_argument("--rows", type=int, default=8_000, help="Rows that are written (default: 8,000).")
    chosen = parser.parse_args(arguments)
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for number in range(chosen.rounds):
        for contestant in CONTESTANTS if number % 2 == 0 else CONTESTANTS[::-1]:
            for what, (unit, figure) in _round(contestant, chosen.keys, chosen.rows, number).items():
                found.setdefault((what, unit), {}).setdefault(contestant, []).append(figure)
    lines = []
    for (what, unit), figures in found.items():
        lines.append(Row(what, unit))
        middle = statistics.median if unit not in _TIMES else min
        for contestant, values in figures.items():
            lines[-1].add(contestant, middle(values))
    print(table(lines, CONTESTANTS))
    print("\nWhat filters add to a write:\n")
    print("| | " + " | ".join(CONTESTANTS[:-1]) + " |\n|---|" + "--:|" * (len(CONTESTANTS) - 1))
    for (what, _), figures in found.items():
        if what.startswith(_WRITE):
            shares = [min(figures[contestant]) / min(figures[_NONE]) - 1 for contestant in CONTESTANTS[:-1]]
            print(f"| {what} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    return 0


def _round(contestant: str, keys: int, rows: int, seed: int) -> dict[str, tuple[str, float]]:
    """All figures of one contestant, each with its unit."""
    found = {f"{_WRITE} of {size:,} bytes": ("µs", writing(contestant, rows, size, seed)) for size in (100, 1000)}
    found["absent row read, three SSTables"] = "µs", reading(contestant, rows, seed)
    return found if contestant == _NONE else filters(contestant, keys, seed) | found


if __name__ == "__main__":
    sys.exit(main())
