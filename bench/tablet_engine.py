"""What the tablet engine does in a second, beside LevelDB (plyvel) and RocksDB (rocksdict) where they are installed.

    python -m bench.tablet_engine [--rows 200000] [--rounds 3]

Values have 1000 random bytes, keys 16; writes are not synced one by one by any contestant. All take turns within one
run.
"""

import argparse
import importlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import tablet.engine
from bench.report import Row, machine, table

VALUE_BYTES = 1000
POOL_BYTES = 16 * 1024 * 1024
READS = 20_000
HOT = 5_000


class Store(Protocol):
    """What is asked of each contestant."""

    name: str

    def put(self, key: bytes, value: bytes) -> None:
        """Write one row."""

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""

    def scan(self) -> Iterable[object]:
        """All rows, in order."""

    def close(self) -> None:
        """Let go of the folder."""


class Tabletop:
    """Our engine, embedded."""

    name = "tabletop"

    def __init__(self, folder: Path) -> None:
        self._table = tablet.engine.open(folder)
        if b"f" not in self._table.engine.schema.families:
            self._table.create_family("f")

    def put(self, key: bytes, value: bytes) -> None:
        """Write one row."""
        self._table.put(key, b"f:", value)

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self._table.get(key, b"f:")

    def scan(self) -> Iterable[object]:
        """All rows."""
        return self._table.scan()

    def close(self) -> None:
        """Let go."""
        self._table.close()


class LevelDb:
    """LevelDB through plyvel."""

    name = "leveldb"

    def __init__(self, folder: Path) -> None:
        plyvel: Any = importlib.import_module("plyvel")
        self._base = plyvel.DB(str(folder), create_if_missing=True, bloom_filter_bits=10)
        self.put: Callable[[bytes, bytes], None] = self._base.put
        self.get: Callable[[bytes], bytes | None] = self._base.get

    def scan(self) -> Iterable[object]:
        """All rows."""
        found: Iterable[object] = self._base.iterator()
        return found

    def close(self) -> None:
        """Let go."""
        self._base.close()


class RocksDb:
    """RocksDB through rocksdict, with bytes for keys and values."""

    name = "rocksdb"

    def __init__(self, folder: Path) -> None:
        rocksdict: Any = importlib.import_module("rocksdict")
        self._base = rocksdict.Rdict(str(folder), rocksdict.Options(raw_mode=True))

    def put(self, key: bytes, value: bytes) -> None:
        """Write one row."""
        self._base[key] = value

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        found: bytes | None = self._base.get(key)
        return found

    def scan(self) -> Iterable[object]:
        """All rows."""
        found: Iterable[object] = self._base.items()
        return found

    def close(self) -> None:
        """Let go."""
        self._base.close()


def installed() -> list[Callable[[Path], Store]]:
    """The contestants that can be imported."""
    found: list[Callable[[Path], Store]] = [Tabletop]
    for module, contestant in (("plyvel", LevelDb), ("rocksdict", RocksDb)):
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{module} is not installed: left out")
        else:
            found.append(contestant)
    return found


def measure(make: Callable[[Path], Store], rows: int, seed: int, add: Callable[[str, str, str, float], None]) -> None:
    """One round of one contestant in a folder of its own."""
    draw = random.Random(seed)
    pool = draw.randbytes(POOL_BYTES)  # Values that nobody can compress.
    places = [draw.randrange(POOL_BYTES - VALUE_BYTES) for _ in range(rows)]
    keys = [b"%016d" % number for number in range(rows)]
    shuffled = draw.sample(keys, rows)
    some = draw.sample(keys, min(READS, rows))
    hot = draw.sample(keys, min(HOT, rows))
    absent = [key[:-1] + b"x" for key in some]
    with tempfile.TemporaryDirectory(prefix="tabletop-bench-") as folder:
        for label, order in (("sequential writes", keys), ("random writes", shuffled)):
            store = make(Path(folder) / label.split()[0])
            begin = time.perf_counter()
            for key, place in zip(order, places, strict=True):
                store.put(key, pool[place : place + VALUE_BYTES])
            add(store.name, label, "/s", rows / (time.perf_counter() - begin))
            if label == "sequential writes":
                store.close()
        for label, wanted in (("random reads", some), ("reads of 5,000 hot rows", hot * 4), ("absent keys", absent)):
            begin = time.perf_counter()
            for key in wanted:
                store.get(key)
            add(store.name, label, "/s", len(wanted) / (time.perf_counter() - begin))
        begin = time.perf_counter()
        count = sum(1 for _ in store.scan())
        add(store.name, "scan", "rows/s", count / (time.perf_counter() - begin))
        store.close()
        begin = time.perf_counter()
        make(Path(folder) / "random").close()
        add(store.name, "reopenings", "/s", 1 / (time.perf_counter() - begin))


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.tablet_engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}; {options.rows:,} rows, {options.rounds} rounds")
    contestants = installed()
    found: dict[str, Row] = {}

    def add(contestant: str, what: str, unit: str, figure: float) -> None:
        found.setdefault(what, Row(what, unit)).add(contestant, figure)
        print(f"  {contestant:<10} {what}: {figure:,.0f} {unit}", flush=True)

    for number in range(options.rounds):
        print(f"round {number + 1}")
        for contestant in contestants:
            measure(contestant, options.rows, number, add)
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"peak resident memory of all in one process: {peak:,.0f} MiB")
    print()
    print(table(list(found.values()), ["tabletop", "leveldb", "rocksdb"], ours="tabletop", against="leveldb"))


if __name__ == "__main__":
    main()
