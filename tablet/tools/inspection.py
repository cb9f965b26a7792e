"""Looking at a tablet from outside: what its folder holds, as one report, without changing a byte.

The problem. Students, and whoever is called at night, ask of a tablet: which files are there, what is in them, and what
does a read cost? The engine knows, but an engine that is opened to be asked replays its log and begins a new one.

The idea. A report is made from the manifest, the SSTables' indexes and filters and the listing of the folder, through
storage that can only read (`read_only.py`). The effort depends on the number of files, not of rows.

What is measured and what is estimated. Sizes, ranges and counts are the files' own. The false-positive rate is
*measured*, with keys that are certainly absent. Amplification is estimated from the shape of the tree: what a running
engine really read and wrote is in its `figures()`, which nobody stores.

What we simplify. `tier` is a file's size as a power of the policy's fan-in, relative to the smallest file of its group:
size tiering has no levels of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import NotFound, TabletopError
from tablet.engine.maintenance.policies import TableSize, policy_named
from tablet.engine.model.schema import Family, LocalityGroup
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.bloom.policy import column_key
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.manifest import Manifest, TableReference, table_missing
from tablet.engine.world.names import FolderListing, manifest_name
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import Storage
from tablet.tools.read_only import held, load_folder

PROBES = 4_000
"""Absent keys that are asked of each SSTable's filters, to measure their false-positive rate."""


@dataclass(frozen=True, slots=True)
class FilterReport:
    """The Bloom filters of one SSTable, made by one policy. `fill`: the share of bits set. `measured_rate`: of `probes`
    absent keys, the share that was not rejected; `wanted_rate` is what they were sized for."""

    policy: str
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
    """One SSTable. `age` 0 is the newest of its group. `problem`: why it cannot be opened, or nothing. `reference`:
    what the manifest says of it, as which of its rows count."""

    name: str
    age: int
    tier: int
    file_bytes: int
    properties: TableProperties
    filters: FilterReport | None
    problem: str
    reference: TableReference


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
    probes = [column_key(b"\xff\xfe absent %d" % number, b"") for number in range(PROBES)]
    mistakes = sum(filters[number % len(filters)].may_contain(probe) for number, probe in enumerate(probes))
    properties = table.properties
    return FilterReport(
        policy=properties.bloom_policy,
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
    sizes = [TableSize(reference.name, reference.number, reference.charged_bytes) for reference in references]
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
    size, properties = reference.file_bytes, reference.properties
    return TableReport(reference.name, age, tier, size, properties, filters, problem, reference)


async def _other_files(storage: Storage, manifest: Manifest, listing: FolderListing) -> list[FileReport]:
    current = manifest_name(manifest.number)
    referred = {reference.name for reference in manifest.references()}
    found = [(name, "manifest", name == current) for _, name in sorted(listing.manifests.items())]
    found += [(name, "log", number in manifest.log_numbers) for number, name in sorted(listing.logs.items())]
    found += [(name, "snapshot", False) for _, name in sorted(listing.snapshots.items())]
    found += [(name, "SSTable", False) for _, name in sorted(listing.tables.items()) if name not in referred]
    found += [(name, "unfinished", False) for name in listing.temporary]
    return [FileReport(name, kind, await file_bytes(storage, name), needed) for name, kind, needed in found]


def _families(families: Sequence[Family], group: str) -> list[str]:
    return [family.name for family in families if family.group == group]
