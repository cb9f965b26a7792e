"""Which SSTables of a locality group may hold anything of a row: all their filters asked at once (BT 6).

The problem. A point read must ask every SSTable. File by file that is a binary search in each index, the choice of a
filter and a question to it, only to hear "no" from nearly all of them.

The idea. A filter covers a *partition* of its file: rows from one to another. The borders of all partitions of all
files cut the rows into intervals, and within an interval a read always asks the same filters. They are collected once
for each interval. Then a read needs one binary search among the borders, one hash of its key, and a loop over words;
no file is looked into that denies the row, or to whose rows it does not belong.

Rows between two partitions, outside of a file, or outside of the spans that count for the tablet belong to no partition
of it. A row that continues in the file's next partition is an interval of its own: it is there, and which filters know
its column depends on the column.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from tablet.engine.model.spans import EVERYWHERE
from tablet.engine.sstable.bloom.named import policy_of
from tablet.engine.sstable.bloom.policy import SEPARATOR, Filter, Sieve
from tablet.engine.sstable.reader import SSTable

_AFTER = b"\0"
"""Added to a row, the first text after it."""


class _Partition(NamedTuple):
    """Rows of an SSTable that one filter covers, if the file has filters. `crossing`: a row in several partitions."""

    table: SSTable
    filter: Filter | None
    crossing: bool

    @property
    def panel(self) -> tuple[str, bool]:
        """Neighbours in age that agree in this are asked together: the policy, and whether filters know columns."""
        if self.filter is None:
            return "", self.crossing
        return self.table.properties.bloom_policy, self.table.column_keys


class _Panel:
    """SSTables that are asked together. `asked`: how often, since that was last counted. `passed` tells which of them
    may hold a key: that of the row or, if `by_column`, of the row and column; `corrected`, if there is more to it."""

    __slots__ = ("asked", "by_column", "corrected", "passed", "tables")

    def __init__(self, partitions: Sequence[_Partition]) -> None:
        self.tables = tables = tuple([partition.table for partition in partitions])
        self.asked = 0
        self.by_column = False
        self.passed: Sieve[SSTable] = lambda key: tables
        self.corrected: Callable[[tuple[SSTable, ...], bytes, bytes | None], tuple[SSTable, ...]] | None = None
        first = partitions[0]
        if first.crossing:
            self.corrected = self._with_column
        elif first.filter is not None:
            policy = policy_of(first.table.name, first.table.properties.bloom_policy)
            self.passed = policy.sieve([(partition.filter, partition.table) for partition in partitions])
            self.by_column = first.table.column_keys
            if any(table.marker_keys for table in tables):
                self.corrected = self._with_deletions

    def _with_deletions(self, passed: tuple[SSTable, ...], row: bytes, column: bytes | None) -> tuple[SSTable, ...]:
        """Those too that may hold a deletion of the row or of a family, which hides columns that they do not know."""
        if column is None or len(passed) == len(self.tables):
            return passed
        deleting = [table for table in self.passed(row + SEPARATOR) if table.marker_keys]
        return tuple([table for table in self.tables if table in passed or table in deleting]) if deleting else passed

    def _with_column(self, passed: tuple[SSTable, ...], row: bytes, column: bytes | None) -> tuple[SSTable, ...]:
        """Those whose row, which is there, may have the column."""
        return tuple([table for table in passed if table.wide_row_may_hold(row, column)])


class Directory:
    """The SSTables of a locality group, the newest first, by the rows that they may hold."""

    def __init__(self, tables: Sequence[SSTable]) -> None:
        borders = [list(_partitions(table)) for table in tables]
        self._begins = sorted({b"", *(begin for parts in borders for begin, _ in parts)})
        columns = [_spread(parts, self._begins) for parts in borders]
        self._panels = [
            tuple([_Panel(list(group)) for _, group in groupby(filter(None, row), key=lambda part: part.panel)])
            for row in zip(*columns, strict=True)
        ] or [()]

    def asked(self, row: bytes, column: bytes | None) -> tuple[SSTable, ...]:
        """The SSTables that may hold something of the row, or of one column of it, in their order. No I/O."""
        found: tuple[SSTable, ...] = ()
        for panel in self._panels[bisect_right(self._begins, row) - 1]:
            panel.asked += 1
            sieve = panel.passed
            passed = sieve(row if column is None or not panel.by_column else row + SEPARATOR + column)
            if panel.corrected is not None:
                passed = panel.corrected(passed, row, column)
            if passed:
                for table in passed:
                    table.bloom_passes += 1
                found += passed
        return found

    def count(self) -> None:
        """Let the SSTables know how often they were asked since the last time."""
        for panels in self._panels:
            for panel in panels:
                if panel.asked:
                    for table in panel.tables:
                        table.bloom_checks += panel.asked if table.filters else 0
                    panel.asked = 0


def _partitions(table: SSTable) -> Iterator[tuple[bytes, _Partition | None]]:
    """Where each partition begins that counts for the tablet, and where rows begin that no partition holds."""
    begins = _all_partitions(table)
    if table.spans == EVERYWHERE:
        yield from begins.items()
        return
    rows = list(begins)
    for start, end in table.spans:
        yield start, begins[rows[bisect_right(rows, start) - 1]]
        yield from [(begin, begins[begin]) for begin in rows if begin > start and (not end or begin < end)]
        if end:
            yield end, None


def _all_partitions(table: SSTable) -> dict[bytes, _Partition | None]:
    """All of a file, in the order of their rows."""
    begins: dict[bytes, _Partition | None] = {b"": None}
    begin = table.properties.first_row
    filters: Sequence[Filter | None] = table.filters or [None]
    ends = [0, *(table.filter_ends if table.filters else [table.blocks])]
    for found, end in zip(filters, ends[1:], strict=True):
        begins[begin] = _Partition(table, found, False)
        last_row, continues = table.index_entry(end - 1)
        if continues:
            begins[last_row] = _Partition(table, None, True)
        begin = last_row + _AFTER
    begins[begin] = None
    return dict(sorted(begins.items(), key=lambda item: item[0]))


def _spread(parts: Sequence[tuple[bytes, _Partition | None]], begins: Sequence[bytes]) -> list[_Partition | None]:
    """The partition in which each of these rows lies; they hold all that the partitions begin with."""
    known = dict(parts)
    found: list[_Partition | None] = []
    current: _Partition | None = None
    for begin in begins:
        current = known.get(begin, current)
        found.append(current)
    return found
