"""Looking at a tablet from outside: what its folder holds, as one report, without changing a byte.

The problem. Students, and whoever is called at night, ask of a tablet: which files are there, what is in them, and what
does a read cost? The engine knows, but an engine that is opened to be asked replays its log and begins a new one.

The idea. A report is made from the manifest, the SSTables' indexes and filters and the listing of the folder, through a
storage that can only read. It needs no lock, and so shows the folder of a running engine as well: all files of one
listing are opened first (`held`), and can be read to the end they had then though the engine goes on and removes them.
The effort depends on the number of files, not of rows.

What is measured and what is estimated. Sizes, ranges and counts are the files' own. The false-positive rate is
*measured*, with keys that are certainly absent. Amplification is estimated from the shape of the tree: what a running
engine really read and wrote is in its `figures()`, which nobody stores.

What we simplify. `tier` is a file's size as a power of the policy's fan-in, relative to the smallest file of its group:
size tiering has no levels of its own.
"""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from runtime.errors import Conflict, NotFound, TabletopError
from runtime.world import Buffer
from tablet.bloom import HashedKey, column_key
from tablet.caches import BlockCache
from tablet.compaction import PolicySettings, TableSize, policy_named
from tablet.manifest import (
    FolderListing,
    Manifest,
    TableReference,
    load_current,
    manifest_name,
    sorted_out,
    table_missing,
)
from tablet.opening import open_state
from tablet.options import EngineWorld, Options
from tablet.schema import Family, LocalityGroup
from tablet.sstable_reader import SSTable
from tablet.sstable_writer import TableProperties
from tablet.state import TabletState
from tablet.storage import Storage, StoredFile

PROBES = 4_000
"""Absent keys that are asked of each SSTable's filters, to measure their false-positive rate."""

_ATTEMPTS = 20
_MOVED = "the tablet is in use, and its files change faster than they can be opened; try again, or close it first"


class ReadOnlyFile:
    """A stored file that can be read, and nothing else."""

    def __init__(self, file: StoredFile) -> None:
        self.path = file.path
        self._file = file

    async def read_at(self, offset: int, count: int) -> bytes:
        """As the file underneath."""
        return await self._file.read_at(offset, count)

    async def append(self, data: Buffer) -> int:
        """Never."""
        _refuse(f"append to {self.path}")

    async def truncate(self, size: int) -> None:
        """Never."""
        _refuse(f"truncate {self.path}")

    async def size(self) -> int:
        """As the file underneath."""
        return await self._file.size()

    async def sync(self) -> None:
        """Nothing was written."""

    async def close(self) -> None:
        """As the file underneath."""
        await self._file.close()


class ReadOnlyStorage:
    """A tablet's storage that can list and read, and nothing else: what every tool here looks through."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def open(self, name: str) -> ReadOnlyFile:
        """As the storage underneath."""
        return ReadOnlyFile(await self._storage.open(name))

    async def list(self) -> list[str]:
        """As the storage underneath."""
        return await self._storage.list()

    async def create(self, name: str) -> StoredFile:
        """Never."""
        _refuse(f"create {name}")

    async def rename(self, source: str, target: str) -> None:
        """Never."""
        _refuse(f"rename {source}")

    async def remove(self, name: str) -> None:
        """Never."""
        _refuse(f"remove {name}")

    async def lock(self) -> None:
        """Needless: whoever only reads disturbs nobody."""

    async def unlock(self) -> None:
        """Needless."""


class HeldFile(ReadOnlyFile):
    """A file as it was when it was opened: of what is appended later, nothing is seen. Closed by who holds it."""

    def __init__(self, file: StoredFile, size: int) -> None:
        super().__init__(file)
        self._size = size

    async def read_at(self, offset: int, count: int) -> bytes:
        """As the file underneath, up to the end that it had."""
        return await super().read_at(offset, max(0, min(count, self._size - offset)))

    async def size(self) -> int:
        """In bytes, as it was."""
        return self._size

    async def close(self) -> None:
        """Not yet: it may be opened once more."""


class HeldStorage(ReadOnlyStorage):
    """The files of one listing, all open: a folder at one moment, whatever happens to it meanwhile."""

    def __init__(self, storage: Storage, names: Sequence[str]) -> None:
        super().__init__(storage)
        self._names = names
        self._files: dict[str, ReadOnlyFile] = {}

    async def hold(self) -> bool:
        """Open everything that is a tablet's; whether the folder was the same before and afterwards. What cannot be
        opened is met again by who needs it."""
        listing = sorted_out(self._names)
        kinds = (listing.manifests, listing.tables, listing.logs, listing.snapshots)
        for name in (*(name for kind in kinds for name in kind.values()), *listing.temporary):
            with suppress(TabletopError):
                file = await super().open(name)
                self._files[name] = file
                self._files[name] = HeldFile(file, await file.size())
        return await super().list() == self._names

    async def open(self, name: str) -> ReadOnlyFile:
        """The file as it was."""
        return self._files[name] if name in self._files else await super().open(name)

    async def list(self) -> list[str]:
        """The names there were."""
        return [*self._names]

    async def let_go(self) -> None:
        """Close everything."""
        for file in self._files.values():
            await ReadOnlyFile.close(file)


@asynccontextmanager
async def held(storage: Storage) -> AsyncIterator[HeldStorage]:
    """The folder as it is at one moment. Raises Conflict if a running engine leaves no such moment."""
    for _ in range(_ATTEMPTS):
        files = HeldStorage(storage, await storage.list())
        try:
            if await files.hold():
                yield files
                return
        finally:
            await files.let_go()
    raise Conflict(_MOVED)


@asynccontextmanager
async def opened_for_reading(storage: Storage, world: EngineWorld) -> AsyncIterator[TabletState]:
    """The tablet as an engine would open it at this moment, without a lock or a byte changed: only the sweep and the
    first write of an opening change anything. The events that it emits tell of the recovery, step by step.

    Raises what an opening raises: NotFound, IncompatibleFormat, Corrupted, DiskFailure; and Conflict, as `held`.
    """
    async with held(storage) as files:
        await load_folder(files)
        state, _ = await open_state(files, world, Options(create=False, sweeps=False), tablet="")
        try:
            yield state
        finally:
            await state.close()


@dataclass(frozen=True, slots=True)
class FilterReport:
    """The Bloom filters of one SSTable. `fill`: the share of bits set. `measured_rate`: of `probes` absent keys, the
    share that was not rejected; `wanted_rate` is what they were sized for."""

    partitions: int
    entries: int
    stored_bytes: int
    bits_per_entry: float
    fill: float
    wanted_rate: float
    measured_rate: float
    probes: int


@dataclass(frozen=True, slots=True)
class TableReport:
    """One SSTable. `age` 0 is the newest of its group. `problem`: why it cannot be opened, or nothing."""

    name: str
    age: int
    tier: int
    file_bytes: int
    properties: TableProperties
    filters: FilterReport | None
    problem: str


@dataclass(frozen=True, slots=True)
class Amplification:
    """What the shape of the tree costs, estimated. `scan_tables`: files that a scan merges. `absent_blocks`: blocks
    that a read of an absent key touches. `space`: stored bytes over those of the largest file, which holds most of what
    is live. `rewrites`: how often a byte was written into SSTables, if each tier is one rewriting."""

    scan_tables: int
    absent_blocks: float
    space: float
    rewrites: float


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One locality group, its SSTables the newest first. `next_compaction`: what the default policy would do now."""

    settings: LocalityGroup
    families: tuple[str, ...]
    tables: tuple[TableReport, ...]
    amplification: Amplification
    next_compaction: str

    @property
    def file_bytes(self) -> int:
        """All SSTables."""
        return sum(table.file_bytes for table in self.tables)

    @property
    def rows(self) -> int:
        """Rows of all SSTables; one that stands in two counts twice."""
        return sum(table.properties.rows for table in self.tables)


@dataclass(frozen=True, slots=True)
class FileReport:
    """Any other file. `needed`: whether opening the tablet reads it."""

    name: str
    kind: str
    file_bytes: int
    needed: bool


@dataclass(frozen=True, slots=True)
class TreeReport:
    """A tablet's folder."""

    manifest: Manifest
    groups: tuple[GroupReport, ...]
    files: tuple[FileReport, ...]

    @property
    def file_bytes(self) -> int:
        """Everything that is there."""
        return sum(group.file_bytes for group in self.groups) + sum(file.file_bytes for file in self.files)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the SSTables, as far as opening them tells; `verify_folder` looks at every byte."""
        return [table.problem for group in self.groups for table in group.tables if table.problem]


async def inspect(storage: Storage) -> TreeReport:
    """Look at a tablet. Raises NotFound for a folder without one, IncompatibleFormat, Corrupted, DiskFailure, and
    Conflict if a running engine changes the files faster than they are opened."""
    async with held(storage) as files:
        manifest, listing = await load_folder(files)
        try:
            return await _tree(files, manifest, listing)
        except NotFound as error:
            raise table_missing(manifest, error) from error


async def load_folder(storage: Storage) -> tuple[Manifest, FolderListing]:
    """The newest manifest and the files by kind. Raises as `inspect`."""
    names = await storage.list()
    manifest = await load_current(storage, names)
    if manifest is None:
        raise NotFound("the folder holds no tablet: there is no manifest in it, nor any other file of a tablet")
    return manifest, sorted_out(names)


async def open_table(storage: Storage, reference: TableReference) -> SSTable:
    """Open an SSTable without a cache. Raises NotFound, IncompatibleFormat, Corrupted, DiskFailure."""
    return await SSTable.open(storage, reference.name, reference.number, BlockCache(0))


async def file_bytes(storage: Storage, name: str) -> int:
    """The length of one file."""
    file = await storage.open(name)
    try:
        return await file.size()
    finally:
        await file.close()


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "file"), counted(2_000, "row")
    ('1 file', '2,000 rows')
    """
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def tier_of(size: int, smallest: int, fan_in: int) -> int:
    """How many times a file of `size` bytes is `fan_in` times larger than the smallest.

    >>> [tier_of(megabytes, 4, 4) for megabytes in (4, 7, 9, 16, 70)]
    [0, 0, 1, 1, 2]
    """
    return max(0, round(math.log(max(1, size) / max(1, smallest), fan_in)))


def measure_filters(table: SSTable) -> FilterReport | None:
    """Ask the filters of an SSTable for keys that it certainly does not hold. None if it has no filters."""
    filters = table.filters
    if not filters:
        return None
    probes = [HashedKey(column_key(b"\xff\xfe absent %d" % number, b"")) for number in range(PROBES)]
    mistakes = sum(filters[number % len(filters)].may_contain(probe) for number, probe in enumerate(probes))
    properties = table.properties
    return FilterReport(
        partitions=len(filters),
        entries=properties.bloom_entries,
        stored_bytes=properties.bloom_bytes,
        bits_per_entry=8 * properties.bloom_bytes / max(1, properties.bloom_entries),
        fill=sum(found.fill_ratio for found in filters) / len(filters),
        wanted_rate=properties.false_positive_rate,
        measured_rate=mistakes / PROBES,
        probes=PROBES,
    )


def amplification_of(tables: Sequence[TableReport]) -> Amplification:
    """What the shape of a group's tree costs."""
    total = sum(table.file_bytes for table in tables)
    largest = max((table.file_bytes for table in tables), default=0)
    rates = [table.filters.measured_rate if table.filters is not None else 1.0 for table in tables]
    written = sum(table.file_bytes * (1 + table.tier) for table in tables)
    return Amplification(len(tables), sum(rates), total / max(1, largest), written / max(1, total))


def next_compaction(references: Sequence[TableReference]) -> str:
    """What the default policy would merge now, in words."""
    sizes = [TableSize(reference.name, reference.number, reference.file_bytes) for reference in references]
    options = Options()
    plan = policy_named(options.policy)(sizes, options.policy_settings)
    return "none is due" if plan is None else f"merge {', '.join(plan.names)}: {plan.reason}"


async def _tree(storage: Storage, manifest: Manifest, listing: FolderListing) -> TreeReport:
    groups = []
    for name, settings in manifest.schema.groups.items():
        families = tuple(_families(list(manifest.schema.families.values()), name))
        references = manifest.tables.get(name, ())
        smallest = min((reference.file_bytes for reference in references), default=0)
        tables = []
        for age, reference in enumerate(references):
            tables.append(await _table(storage, reference, age, smallest))
        shape = amplification_of(tables)
        groups.append(GroupReport(settings, families, tuple(tables), shape, next_compaction(references)))
    return TreeReport(manifest, tuple(groups), tuple(await _other_files(storage, manifest, listing)))


async def _table(storage: Storage, reference: TableReference, age: int, smallest: int) -> TableReport:
    problem, filters = "", None
    try:
        table = await open_table(storage, reference)
    except NotFound:
        raise
    except TabletopError as error:
        problem = error.message
    else:
        try:
            filters = measure_filters(table)
        finally:
            await table.close()
    tier = tier_of(reference.file_bytes, smallest, PolicySettings().fan_in)
    return TableReport(reference.name, age, tier, reference.file_bytes, reference.properties, filters, problem)


async def _other_files(storage: Storage, manifest: Manifest, listing: FolderListing) -> list[FileReport]:
    current = manifest_name(manifest.number)
    referred = {reference.name for reference in manifest.references()}
    found = [(name, "manifest", name == current) for _, name in sorted(listing.manifests.items())]
    found += [(name, "log", number >= manifest.log_number) for number, name in sorted(listing.logs.items())]
    found += [(name, "snapshot", False) for _, name in sorted(listing.snapshots.items())]
    found += [(name, "SSTable", False) for _, name in sorted(listing.tables.items()) if name not in referred]
    found += [(name, "unfinished", False) for name in listing.temporary]
    return [FileReport(name, kind, await file_bytes(storage, name), needed) for name, kind, needed in found]


def _families(families: Sequence[Family], group: str) -> list[str]:
    return [family.name for family in families if family.group == group]


def _refuse(what: str) -> NoReturn:
    raise AssertionError(f"a tool that only looks was about to {what}")
