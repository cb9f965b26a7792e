"""Views: what a reader sees of a tablet at one moment.

A view is never changed but for the count of its readers. While it has any, the SSTables in it stay open (BT 6).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tablet.engine.model.schema import Schema
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable

Tables = tuple[SSTable, ...]


@dataclass(slots=True, eq=False)
class View:
    """What a reader sees: the newest first. `pins` counts the readers that use it now."""

    generation: int
    schema: Schema
    memtables: tuple[Memtable, ...]
    tables: Mapping[str, Tables]
    pins: int = 0
    families: Mapping[str, frozenset[bytes]] = field(default_factory=dict)

    def all_tables(self) -> list[SSTable]:
        """The SSTables of all groups."""
        return [table for group in self.tables.values() for table in group]


def families_by_group(schema: Schema) -> dict[str, frozenset[bytes]]:
    """Which families each locality group holds."""
    found: dict[str, set[bytes]] = {name: set() for name in schema.groups}
    for name, family in schema.families.items():
        found[family.group].add(name)
    return {group: frozenset(names) for group, names in found.items()}
