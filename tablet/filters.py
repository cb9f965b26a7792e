"""What a read wants to see of a row, and which cells that leaves (BT 2, 3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tablet.cells import PUT, Entries, Entry, family_of
from tablet.schema import Family


@dataclass(frozen=True, slots=True)
class ReadFilter:
    """Every condition that is given must hold. Columns are "family:qualifier"; `column_pattern` is a regular expression
    over the whole column; `versions` is how many of each column, newest first; start <= timestamp < end, microseconds.
    """

    families: frozenset[bytes] | None = None
    columns: frozenset[bytes] | None = None
    column_pattern: bytes | None = None
    versions: int | None = None
    start_timestamp: int | None = None
    end_timestamp: int | None = None

    @property
    def only_column(self) -> bytes | None:
        """The one column that is asked for, if it is one."""
        return next(iter(self.columns)) if self.columns is not None and len(self.columns) == 1 else None

    @property
    def wants_latest(self) -> bool:
        """Whether the newest version of each column is enough."""
        return self.versions == 1 and self.start_timestamp is None and self.end_timestamp is None

    @property
    def wanted_families(self) -> frozenset[bytes] | None:
        """The families that can hold anything of interest; None for all."""
        if self.columns is None:
            return self.families
        named = frozenset(map(family_of, self.columns))
        return named if self.families is None else named & self.families


EVERYTHING = ReadFilter()
LATEST = ReadFilter(versions=1)


def visible(entries: Entries, families: Mapping[bytes, Family], now: int, wanted: ReadFilter) -> Entries:
    """The cells of one row that a reader sees: no markers, no garbage, and only what the filter wants.

    `now` is in microseconds.
    """
    kept: list[Entry] = []
    pattern = re.compile(wanted.column_pattern, re.DOTALL) if wanted.column_pattern is not None else None
    newest = None if wanted.end_timestamp is None else wanted.end_timestamp - 1
    column_before: bytes | None = None
    rank = taken = 0
    family: Family | None = None
    interesting = False
    for entry in entries:
        column, minus, kind, _ = entry
        if kind != PUT:
            continue
        if column != column_before:
            column_before, rank, taken = column, 0, 0
            name = family_of(column)
            family = families.get(name)
            interesting = (
                family is not None
                and (wanted.families is None or name in wanted.families)
                and (wanted.columns is None or column in wanted.columns)
                and (pattern is None or pattern.fullmatch(column) is not None)
            )
        else:
            rank += 1
        if not interesting or family is None or (family.rule is not None and family.is_garbage(rank, now + minus)):
            continue
        if (newest is not None and -minus > newest) or (
            wanted.start_timestamp is not None and -minus < wanted.start_timestamp
        ):
            continue
        if wanted.versions is not None and taken >= wanted.versions:
            continue
        taken += 1
        kept.append(entry)
    return tuple(kept)
