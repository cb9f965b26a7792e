"""A wide row in the memtable: its cells in a sorted list, changed in place (BT 3, 5.3).

The problem. A row may have a hundred thousand columns: a page and all links to it. If each write copied the row, and
each read decoded it, either would take as long as the row is wide.

The idea. The entries of such a row stand in a `SortedList`. A write inserts its cells, a read takes out the columns
that it wants, and both cost about as much as in a small row. Nobody gets the list itself: what a reader takes out is a
copy of a few entries, so it is as safe from later writes as a small row's tuple, which is copied on write.

>>> row = WideRow(((b"f:a", -1, 0, b"old"), (b"f:b", -1, 0, b"B"), (b"f:c", -1, 0, b"C")))
>>> row.lay(((b"f:a", -1, 0, b"new"),))
>>> row.part([(b"f:a", b"f:b")])
((b'f:a', -1, 0, b'new'), (b'f:b', -1, 0, b'B'))

Invariant: the entries are those that `lay_over` would give.

What we simplify. A deletion of the whole row or of a family goes through all of its entries.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from sortedcontainers import SortedList

from tablet.engine.model.fragments import AFTER_MARKERS, DELETE_CELLS, PUT, Entries, Entry, Span, column_of
from tablet.engine.tree.merge import lay_over

ENTRY_OVERHEAD_BYTES = 200
"""A decoded entry: a tuple, its column, its timestamp and its value as objects."""
WIDE_CELLS = 64
"""A row with more entries than this is wide."""


class WideRow:
    """The entries of one row. `changes` rises with every write."""

    __slots__ = ("_entries", "changes", "charged_bytes")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.changes = 0
        self._fill(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def lay(self, newer: Entries) -> None:
        """Lay a newer fragment over the row."""
        self.changes += 1
        if any(kind not in (PUT, DELETE_CELLS) for _, _, kind, _ in newer):
            self._fill(lay_over(newer, tuple(self._entries)))
            return
        for column, group in groupby(newer, column_of):
            entries = tuple(group)
            if all(kind == PUT for _, _, kind, _ in entries):
                for entry in entries:
                    self._put(entry)
                continue
            before = tuple(self._entries.irange((column,), (column + b"\0",), inclusive=(True, False)))
            after = lay_over(entries, before)
            self._exchange(set(before).difference(after), set(after).difference(before))

    def part(self, spans: Sequence[Span]) -> Entries:
        """The entries within the spans, which are in order and apart, and the markers of the row and its families."""
        found: list[Entry] = []
        if spans[0][0] >= AFTER_MARKERS and self._entries and self._entries[0][0] < AFTER_MARKERS:
            found += self._entries.irange(None, (AFTER_MARKERS,))
        for low, high in spans:
            found += self._entries.irange((low,), None if high is None else (high + b"\0",), inclusive=(True, False))
        return tuple(found)

    def column_after(self, low: bytes, cells: int) -> bytes | None:
        """The first column with so many cells between it and `low`, or a few more; None if the row ends before."""
        found = next(islice(self._entries.irange((low + b"\0",)), cells, None), None)
        return None if found is None else found[0]

    def check_invariants(self) -> None:
        """Assert what must hold after every write."""
        self._entries._check()
        assert self.charged_bytes == charge_of(self._entries)
        cells = [entry[:2] for entry in self._entries if entry[2] == PUT]  # Two deletions may end at one timestamp.
        assert len(set(cells)) == len(cells)

    def _fill(self, entries: Iterable[Entry]) -> None:
        self._entries = SortedList(entries)
        self.charged_bytes = charge_of(self._entries)

    def _put(self, entry: Entry) -> None:
        column, minus, kind, _ = entry
        before = list(self._entries.irange((column, minus, kind), (column, minus, kind + 1), inclusive=(True, False)))
        self._exchange(before, (entry,))

    def _exchange(self, gone: Iterable[Entry], come: Iterable[Entry]) -> None:
        """`gone` and `come` may come from sets: the list sorts them."""
        for entry in gone:
            self._entries.remove(entry)
            self.charged_bytes -= charge_of((entry,))
        for entry in come:
            self._entries.add(entry)
            self.charged_bytes += charge_of((entry,))


def charge_of(entries: Iterable[Entry]) -> int:
    """What decoded entries are charged, in bytes."""
    return sum([len(column) + len(value) + ENTRY_OVERHEAD_BYTES for column, _, _, value in entries])
