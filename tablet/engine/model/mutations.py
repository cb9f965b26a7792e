"""From the operations of a mutation to its fragment, and what deletion markers hide (BT 2).

A marker hides cells of *older* sources only. So the operations of one mutation are carried out in their order, and what
is left is a fragment in which no marker has anything to do with a cell beside it:

>>> from tablet.engine.model.operations import DeleteRow, SetCell
>>> fragment_of([SetCell(b"f:a", b"1", 5), DeleteRow(), SetCell(b"f:b", b"2", 5)])
((b'', 0, 3, b''), (b'f:b', -5, 0, b'2'))
"""

from collections.abc import Iterable, Sequence

from runtime.errors import Corrupted
from tablet.engine.model.checks import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP
from tablet.engine.model.fragments import (
    DELETE_CELLS,
    DELETE_FAMILY,
    DELETE_ROW,
    FAMILY_MARK,
    PUT,
    TIMESTAMP,
    Entries,
    Entry,
    family_of,
)
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell


def fragment_of(operations: Sequence[Operation], now: int = 0) -> Entries:
    """What the operations of one mutation, in their order, amount to. `now` is for cells without a timestamp.

    A cell that is set and then deleted within one mutation is gone, one that is deleted and then set is there:

    >>> fragment_of([SetCell(b"f:a", b"1", 5), DeleteRow(), SetCell(b"f:b", b"2", 5)])
    ((b'', 0, 3, b''), (b'f:b', -5, 0, b'2'))
    """
    cells: dict[tuple[bytes, int], bytes] = {}
    markers: list[Entry] = []
    for operation in operations:
        if isinstance(operation, SetCell):
            timestamp = now if operation.timestamp is None else operation.timestamp
            cells[operation.column, -timestamp] = operation.value
            continue
        marker = marker_of(operation)
        if marker is None:
            continue
        markers.append(marker)
        hidden = Hidden((marker,))
        cells = {key: value for key, value in cells.items() if not hidden.hides(*key)}
    entries = [(column, minus, PUT, value) for (column, minus), value in cells.items()]
    if markers:
        entries += _without_covered(markers)
    entries.sort()
    return tuple(entries)


def marker_of(operation: DeleteCells | DeleteFamily | DeleteRow) -> Entry | None:
    """The deletion marker of an operation; None for an empty range of timestamps."""
    if isinstance(operation, DeleteRow):
        return (b"", 0, DELETE_ROW, b"")
    if isinstance(operation, DeleteFamily):
        return (FAMILY_MARK + operation.family, 0, DELETE_FAMILY, b"")
    oldest = EARLIEST_TIMESTAMP if operation.start is None else operation.start
    newest = LATEST_TIMESTAMP if operation.end is None else operation.end - 1
    if oldest > newest:
        return None
    return (operation.column, -newest, DELETE_CELLS, TIMESTAMP.pack(oldest))


class Hidden:
    """What a set of deletion markers hides. Truthy if anything."""

    __slots__ = ("_families", "_ranges", "_row")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._row = False
        self._families: set[bytes] = set()
        self._ranges: dict[bytes, list[tuple[int, int]]] = {}
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take the markers among the entries into account."""
        for column, minus, kind, value in entries:
            if kind == PUT:
                continue
            if kind == DELETE_ROW:
                self._row = True
            elif kind == DELETE_FAMILY:
                self._families.add(column[1:])
            else:
                self._ranges.setdefault(column, []).append((minus, -_oldest(value)))

    def hides(self, column: bytes, minus: int) -> bool:
        """Whether a cell of an older source is deleted."""
        if self._row or (self._families and family_of(column) in self._families):
            return True
        ranges = self._ranges.get(column)
        return ranges is not None and any(newest <= minus <= oldest for newest, oldest in ranges)

    def covers(self, marker: Entry) -> bool:
        """Whether an older marker is needless beside these."""
        column, minus, kind, value = marker
        if self._row:
            return True
        if kind == DELETE_ROW:
            return False
        if kind == DELETE_FAMILY:
            return column[1:] in self._families
        if family_of(column) in self._families:
            return True
        oldest = -_oldest(value)
        return any(first <= minus and oldest <= last for first, last in self._ranges.get(column, ()))

    def __bool__(self) -> bool:
        return self._row or bool(self._families) or bool(self._ranges)


def _without_covered(markers: list[Entry]) -> list[Entry]:
    """The markers, newest last, less those that another covers."""
    kept: list[Entry] = []
    for marker in reversed(markers):
        if not Hidden(kept).covers(marker):
            kept = [other for other in kept if not Hidden((marker,)).covers(other)]
            kept.append(marker)
    return kept


def _oldest(value: bytes) -> int:
    if len(value) != TIMESTAMP.size:
        raise Corrupted(f"a deletion marker holds {len(value)} bytes where a timestamp of 8 is expected")
    return int(TIMESTAMP.unpack(value)[0])
