"""Views: what a reader sees of a tablet at one moment.

A view is never changed but for the count of its readers. While it has any, the SSTables in it stay open (BT 6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tablet.engine.model.fragments import family_of
from tablet.engine.model.schema import Family, Schema
from tablet.engine.sstable.directory import Directory
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.scan_cache import ScanKey

Tables = tuple[SSTable, ...]
ColumnPlace = tuple[Family, ScanKey, Directory]
"""Where a column is: its family, what the scan cache calls its newest version, and the SSTables to be asked."""
_COLUMNS_KNOWN = 1000
"""A view remembers where so many columns are."""


@dataclass(slots=True)
class Asked:
    """Who is asked in a scan: memtables, and the SSTables of some locality groups, which are also all `tables`, one
    group after the other. `families`: those of these groups, if there are other groups."""

    memtables: tuple[Memtable, ...]
    groups: Sequence[Tables]
    tables: Sequence[SSTable]
    families: frozenset[bytes] | None


@dataclass(slots=True, eq=False)
class View:
    """What a reader sees: the newest first. `pins` counts the readers that use it now. `directories`: of the groups
    that were asked for, what tells which SSTables may hold a row; `columns`: where those are that were asked for.
    `judges_single_cells`: as its schema. `only_group`: whom a scan asks, if there is one group and all times are
    wanted."""

    generation: int
    schema: Schema
    memtables: tuple[Memtable, ...]
    tables: Mapping[str, Tables]
    pins: int = 0
    families: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    directories: dict[str, Directory] = field(default_factory=dict)
    columns: dict[bytes, ColumnPlace] = field(default_factory=dict)
    judges_single_cells: bool = field(init=False)
    only_group: Asked | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.judges_single_cells = self.schema.judges_single_cells
        if len(self.schema.groups) == 1:
            (name,) = self.schema.groups
            tables = self.tables.get(name, ())
            self.only_group = Asked(self.memtables, (tables,), tables, None)

    def all_tables(self) -> list[SSTable]:
        """The SSTables of all groups."""
        return [table for group in self.tables.values() for table in group]

    def directory(self, group: str) -> Directory:
        """The SSTables of a locality group, by the rows that they may hold."""
        found = self.directories.get(group)
        if found is None:
            found = self.directories[group] = Directory(self.tables.get(group, ()))
        return found

    def place_of(self, column: bytes) -> ColumnPlace | None:
        """Where a column is; None if its family is not known."""
        family = self.schema.families.get(family_of(column))
        if family is None:
            return None
        if len(self.columns) >= _COLUMNS_KNOWN:
            self.columns.clear()
        key = (family.group, column, True)
        found = self.columns[column] = (family, key, self.directory(family.group))
        return found

    def count_questions(self) -> None:
        """Let the SSTables know how often their filters were asked."""
        for directory in self.directories.values():
            directory.count()


def families_by_group(schema: Schema) -> dict[str, frozenset[bytes]]:
    """Which families each locality group holds."""
    found: dict[str, set[bytes]] = {name: set() for name in schema.groups}
    for name, family in schema.families.items():
        found[family.group].add(name)
    return {group: frozenset(names) for group, names in found.items()}
