"""The stores that the tablet engine is measured beside, each behind the same few calls.

    tabletop      our engine, embedded, as it comes
    tabletop-compiled   the same, its inner modules compiled (`compiled_engine.py`), if that was done
    tabletop-8k   the same with blocks of 8 KB instead of 64 KB; only if it is named
    leveldb       LevelDB (plyvel) as it comes, with the Bloom filter of 10 bits a key that its manual recommends
    leveldb-64    the same with as much memory as our engine: a write buffer and a block cache of 64 MiB
    rocksdb       RocksDB (rocksdict) with the same filter and a cache of 64 MiB
    bloomkv       an LSM tree from PyPI; msgpack and murmur hashing in C, all else Python
    yellowdb      an LSM tree from PyPI, in Python only

Whoever is not installed is left out, and that is said. Nobody syncs each write: a killed process loses nothing, a power
cut may take the last writes. Two needed help to take part, which is in their favour and printed with every table:

- bloomkv syncs its log at every write and has no switch for that. The benchmark takes the sync out.
- yellowdb as it comes grinds to a halt behind 64 MiB of rows, for it begins a new log at every write from there on; and
  its Bloom filters know only every 78th key, so that it finds hardly a row again. With one memtable and without filters
  it answers right, and this is how it runs here.
"""

import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import tablet.engine
from bench import compiled_engine
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.world.options import Options

MEBIBYTE = 1024 * 1024
MEMORY_BYTES = 64 * MEBIBYTE
FILTER_BITS = 10
SMALL_BLOCK_BYTES = 8 * 1024
_LEVELS = 7


class Store(Protocol):
    """What is asked of each. Keys and values are bytes or texts, as the contestant says."""

    def put(self, key: Any, value: Any) -> None:
        """Write one row."""

    def get(self, key: Any) -> Any:
        """The value, or None."""

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All keys and values, in order."""

    def scan_from(self, key: Any) -> Iterator[tuple[Any, Any]] | None:
        """Keys and values from one on. None: the store cannot begin in the middle."""

    def put_many(self, rows: Sequence[tuple[Any, Any]]) -> bool:
        """Write some rows in one call. False: the store has none for that, and nothing was written."""

    def settle(self) -> bool:
        """Do the background work that is due. False: it is done by threads, which must be waited for."""

    def sorted_files(self) -> int:
        """How many sorted files or levels a read may have to ask."""

    def blocks_touched(self) -> int | None:
        """Blocks that reads have asked for so far, from the cache or not. None: the store does not count them."""

    def close(self) -> None:
        """Let go of the folder."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of them. `filters`: the settings of the Bloom filter that can be measured. `most_rows`: it is too slow for
    more. `only_if_named`: it takes part if it is asked for. `compiled`: its process takes the engine from where it was
    compiled."""

    name: str
    module: str
    make: Callable[[Path, bool], Store]
    memory: str
    pure_python: bool = False
    filters: tuple[bool, ...] = (True, False)
    text_keys: bool = False
    text_values: bool = False
    most_rows: int | None = None
    only_if_named: bool = False
    compiled: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be imported here."""
        return importlib.util.find_spec(self.module) is not None and (not self.compiled or compiled_engine.is_current())

    def rows(self, wanted: int) -> int:
        """How many rows it gets, if others get `wanted`."""
        return min(wanted, self.most_rows or wanted)


class Tabletop:
    """Our engine, embedded."""

    def __init__(self, folder: Path, filters: bool, group: LocalityGroup = LocalityGroup()) -> None:  # noqa: B008
        self._table = tablet.engine.open(folder)
        if b"f" not in self._table.engine.schema.families:
            self._table.set_locality_group(group if filters else replace(group, bloom_keys="none"))
            self._table.create_family("f")

    def put(self, key: bytes, value: bytes) -> None:
        """Write one row."""
        self._table.put(key, b"f:", value)

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self._table.get(key, b"f:")

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All rows."""
        return self._table.items(b"f:")

    def scan_from(self, key: bytes) -> Iterator[tuple[Any, Any]]:
        """Rows from one on."""
        return iter(self._table.items(b"f:", key))

    def put_many(self, rows: Sequence[tuple[bytes, bytes]]) -> bool:
        """Each row is atomic, and logged with others."""
        self._table.write_many((key, (SetCell(b"f:", value),)) for key, value in rows)
        return True

    def settle(self) -> bool:
        """Flush what is frozen, and merge what the policy would."""
        self._table.settle()
        return True

    def sorted_files(self) -> int:
        """SSTables, all of which may hold any row."""
        return len(self._table.figures().tables)

    def blocks_touched(self) -> int | None:
        """As the block cache was asked."""
        figures = self._table.figures()
        return sum(cache.hits + cache.misses for cache in (figures.block_cache, figures.pinned_blocks))

    def close(self) -> None:
        """Let go."""
        self._table.close()


class LevelDb:
    """LevelDB through plyvel."""

    def __init__(self, folder: Path, filters: bool, memory_bytes: int | None = None) -> None:
        plyvel: Any = importlib.import_module("plyvel")
        self._base = plyvel.DB(
            str(folder),
            create_if_missing=True,
            bloom_filter_bits=FILTER_BITS if filters else 0,
            write_buffer_size=memory_bytes,
            lru_cache_size=memory_bytes,
        )
        self.put: Callable[[bytes, bytes], None] = self._base.put
        self.get: Callable[[bytes], bytes | None] = self._base.get

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All rows."""
        found: Iterable[tuple[Any, Any]] = self._base.iterator()
        return found

    def scan_from(self, key: bytes) -> Iterator[tuple[Any, Any]]:
        """Rows from one on."""
        found: Iterator[tuple[Any, Any]] = self._base.iterator(start=key)
        return found

    def put_many(self, rows: Sequence[tuple[bytes, bytes]]) -> bool:
        """All of them atomically."""
        with self._base.write_batch() as batch:
            for key, value in rows:
                batch.put(key, value)
        return True

    def settle(self) -> bool:
        """A thread of its own does that."""
        return False

    def sorted_files(self) -> int:
        """The files of level 0, which may overlap, and the levels below that hold anything."""
        stats = self._base.get_property(b"leveldb.stats").decode()
        files = {int(level): int(count) for level, count in re.findall(r"^ *(\d+) +(\d+) ", stats, re.MULTILINE)}
        return files.pop(0, 0) + sum(count > 0 for count in files.values())

    def blocks_touched(self) -> int | None:
        """Not to be had."""
        return None

    def close(self) -> None:
        """Let go."""
        self._base.close()


class RocksDb:
    """RocksDB through rocksdict, with bytes for keys and values."""

    def __init__(self, folder: Path, filters: bool) -> None:
        rocksdict: Any = importlib.import_module("rocksdict")
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(rocksdict.Cache(MEMORY_BYTES))
        if filters:
            blocks.set_bloom_filter(FILTER_BITS, False)
        options = rocksdict.Options(raw_mode=True)
        options.set_block_based_table_factory(blocks)
        self._base = rocksdict.Rdict(str(folder), options)
        self.put: Callable[[bytes, bytes], None] = self._base.put
        self.get: Callable[[bytes], bytes | None] = self._base.get

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All rows."""
        found: Iterable[tuple[Any, Any]] = self._base.items()
        return found

    def scan_from(self, key: bytes) -> Iterator[tuple[Any, Any]]:
        """Rows from one on."""
        found: Iterator[tuple[Any, Any]] = self._base.items(from_key=key)
        return found

    def put_many(self, rows: Sequence[tuple[bytes, bytes]]) -> bool:
        """Not measured."""
        return False

    def settle(self) -> bool:
        """Threads of its own do that."""
        return False

    def sorted_files(self) -> int:
        """The files of level 0, which may overlap, and the levels below that hold anything."""
        count = [int(self._base.property_value(f"rocksdb.num-files-at-level{level}") or 0) for level in range(_LEVELS)]
        return count[0] + sum(files > 0 for files in count[1:])

    def blocks_touched(self) -> int | None:
        """Not asked for: counting slows it down."""
        return None

    def close(self) -> None:
        """Let go."""
        self._base.close()


class BloomKv:
    """bloomkv: keys and values are texts."""

    def __init__(self, folder: Path, filters: bool) -> None:
        bloomkv: Any = importlib.import_module("bloomkv")
        log: Any = importlib.import_module("bloomkv.lsm_tree.wal")
        log.os = _WithoutSync()
        self._manager = bloomkv.StorageManager(str(folder))
        with contextlib.redirect_stdout(sys.stderr):
            there = (folder / "rows").exists()
            self._base = (self._manager.load_collection if there else self._manager.create_collection)("rows")
        self.put: Callable[[str, str], None] = self._base.put
        self.get: Callable[[str], str | None] = self._base.get

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All rows."""
        found: Iterable[tuple[Any, Any]] = self._base.range_query("", "~")
        return found

    def scan_from(self, key: str) -> None:
        """It makes a list of all rows before it gives the first."""

    def put_many(self, rows: Sequence[tuple[str, str]]) -> bool:
        """There is no such call."""
        return False

    def settle(self) -> bool:
        """A thread of its own does that."""
        return False

    def sorted_files(self) -> int:
        """All files: those of the lower levels overlap too."""
        return sum(len(level) for level in self._base.levels)

    def blocks_touched(self) -> int | None:
        """It has no blocks."""
        return None

    def close(self) -> None:
        """Let go."""
        self._manager.close_all()


class _WithoutSync:
    """The module `os`, whose `fsync` does nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """Trust the operating system, as all others do here."""


class YellowDb:
    """yellowdb, set up so that it finds again what was written: keys are texts, values bytes."""

    def __init__(self, folder: Path, filters: bool) -> None:
        yellowdb: Any = importlib.import_module("yellowdb")
        config = yellowdb.Config()
        config.enable_concurrent_memtables = False
        config.enable_bloom_filter = filters
        config.set_memtable_size(MEMORY_BYTES)
        config.set_cache_size(MEMORY_BYTES)
        self._base = yellowdb.YellowDB(data_directory=str(folder))
        self.put: Callable[[str, bytes], None] = self._base.set
        self.get: Callable[[str], bytes | None] = self._base.get

    def scan(self) -> Iterable[tuple[Any, Any]]:
        """All rows."""
        found: Iterable[tuple[Any, Any]] = self._base.scan()
        return found

    def scan_from(self, key: str) -> None:
        """It makes a list of all rows before it gives the first."""

    def put_many(self, rows: Sequence[tuple[str, bytes]]) -> bool:
        """There is no such call."""
        return False

    def settle(self) -> bool:
        """Merges happen within a write."""
        return True

    def sorted_files(self) -> int:
        """All files: those of a level overlap."""
        return sum(len(level) for level in self._base.compactor.levels.values())

    def blocks_touched(self) -> int | None:
        """It has no blocks."""
        return None

    def close(self) -> None:
        """Let go."""
        self._base.close()


def _tabletop_8k(folder: Path, filters: bool) -> Store:
    return Tabletop(folder, filters, LocalityGroup(block_bytes=SMALL_BLOCK_BYTES))


def _leveldb_64(folder: Path, filters: bool) -> Store:
    return LevelDb(folder, filters, MEMORY_BYTES)


def _our_memory() -> str:
    options = Options()
    return (
        f"memtable {options.memtable_bytes // MEBIBYTE} MiB, block cache {options.block_cache_bytes // MEBIBYTE} MiB, "
        f"scan cache {options.scan_cache_bytes // MEBIBYTE} MiB"
    )


OURS = "tabletop"
RIVAL = "leveldb"

CONTESTANTS = (
    Contestant(OURS, "tablet.engine", Tabletop, _our_memory()),
    Contestant("tabletop-compiled", "tablet.engine", Tabletop, "as tabletop", only_if_named=True, compiled=True),
    Contestant("tabletop-8k", "tablet.engine", _tabletop_8k, "the same, with blocks of 8 KB", only_if_named=True),
    Contestant(RIVAL, "plyvel", LevelDb, "as it comes: write buffer 4 MiB, block cache 8 MiB"),
    Contestant("leveldb-64", "plyvel", _leveldb_64, "write buffer 64 MiB, block cache 64 MiB"),
    Contestant("rocksdb", "rocksdict", RocksDb, "write buffer 64 MiB, block cache 64 MiB"),
    Contestant(
        "bloomkv",
        "bloomkv",
        BloomKv,
        "as it comes: memtable 4 MiB, no cache; its sync at every write is taken out",
        pure_python=True,
        filters=(True,),
        text_keys=True,
        text_values=True,
        most_rows=20_000,
    ),
    Contestant(
        "yellowdb",
        "yellowdb",
        YellowDb,
        "memtable 64 MiB, row cache 64 MiB; one memtable and no Bloom filter, without which it loses rows",
        pure_python=True,
        filters=(False,),
        text_keys=True,
    ),
)


def contestant_named(name: str) -> Contestant:
    """A contestant by its name. Raises LookupError with the names there are."""
    for contestant in CONTESTANTS:
        if contestant.name == name:
            return contestant
    raise LookupError(f"there is no contestant {name!r}; choose of {', '.join(one.name for one in CONTESTANTS)}")
