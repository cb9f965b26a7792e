"""The memtable: recent writes, sorted, in memory (BT 5.3).

The problem. Writes come in any order, reads and the next SSTable want them sorted, and a reader must never wait for a
writer nor see half a mutation.

The idea. A dictionary from row to the row's fragment, and the rows once more, sorted (`sorted_rows.py`). A row is
*copied on write* (BT 6): a mutation makes a new fragment and puts it in the old one's place, in one step; a reader that
holds the old one keeps it. The first mutation of a row is kept as the bytes that went into the log; only a second one
decodes it. A wide row would be slow to copy: it is changed in place, and copied from (`wide_row.py`). Rows are put in
order when somebody asks for their order, a scan or the flush: many at once cost a quarter of what each costs by itself.

>>> from tablet.engine.model.fragments import encode_put
>>> memtable = Memtable()
>>> memtable.apply(b"r", encode_put(b"f:q", 1, b"old"), sequence=1)
>>> memtable.apply(b"r", encode_put(b"f:q", 2, b"new"), sequence=2)
>>> memtable.entries(b"r")
((b'f:q', -2, 0, b'new'), (b'f:q', -1, 0, b'old'))

Invariants: (1) each row is either in the sorted list or waits to be; (2) `charged_bytes` is the sum of what the rows
are charged; (3) the sequences of a row rise; (4) if `_puts_only`, each row that is still as it went into the log is
exactly one cell; (5) a row with more than `WIDE_CELLS` decoded entries is a `WideRow`.

What we simplify. What a row is charged for Python's objects is an estimate, made once for CPython on 64 bits.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tablet.engine.model.chunks import Chunk
from tablet.engine.model.fragments import Entries, Span, decode_fragment, encode_fragment, is_single_put
from tablet.engine.tree.merge import lay_over
from tablet.engine.tree.sorted_rows import SortedRows
from tablet.engine.tree.wide_row import WIDE_CELLS, WideRow, charge_of

ROW_OVERHEAD_BYTES = 150
"""Beside its own bytes: two bytes objects, a place in the dictionary and one in the sorted list."""
_LONG_BYTES = 4096
"""A fragment that is longer is looked into at once: it may be that of a wide row."""


_Content = bytes | Entries | WideRow

_RUN_ROWS = 4096


class Memtable:
    """Fragments by row, of the log records from `first_sequence` to `last_sequence`. `holds(row)`: as `in`, without a
    call of Python."""

    def __init__(self) -> None:
        self.first_sequence = 0
        self.last_sequence = 0
        self.charged_bytes = 0
        self._rows: dict[bytes, _Content] = {}
        self.holds: Callable[[object], bool] = self._rows.__contains__
        self._sorted = SortedRows()
        self._unsorted: list[bytes] = []
        self._puts_only = True

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, row: bytes, fragment: bytes, sequence: int, *, single_put: bool = False) -> None:
        """Lay a mutation's fragment over the row. `single_put`: it is known to be exactly one cell."""
        if not single_put and self._puts_only:
            self._puts_only = is_single_put(fragment)
        if not self.first_sequence:
            self.first_sequence = sequence
        if sequence > self.last_sequence:
            self.last_sequence = sequence
        rows = self._rows
        before = rows.get(row)
        if before is None:
            self._unsorted.append(row)
            if len(fragment) < _LONG_BYTES or single_put:
                rows[row] = fragment
                self.charged_bytes += len(row) + len(fragment) + ROW_OVERHEAD_BYTES
                return
            entries = decode_fragment(fragment)
            content = rows[row] = WideRow(entries) if len(entries) > WIDE_CELLS else fragment
            self.charged_bytes += len(row) + _charge(content) + ROW_OVERHEAD_BYTES
            return
        new = decode_fragment(fragment)
        if isinstance(before, WideRow):
            charged = before.charged_bytes
            before.lay(new)
            self.charged_bytes += before.charged_bytes - charged
            return
        old = decode_fragment(before) if isinstance(before, bytes) else before
        entries = lay_over(new, old)
        rows[row] = WideRow(entries) if len(entries) > WIDE_CELLS else entries
        if old is before and len(entries) == len(old) + len(new):
            self.charged_bytes += charge_of(new)
        else:
            self.charged_bytes += charge_of(entries) - _charge(before)

    def apply_batch(
        self, rows: Sequence[bytes], fragments: Sequence[bytes], sequence: int, *, single_puts: bool = False
    ) -> None:
        """Lay the fragments of one log record over their rows, in this order. `single_puts`: each is known to be
        exactly one cell. Rows that are new here, and come once, are taken in bulk."""
        known, fresh = self._rows, dict(zip(rows, fragments, strict=True))
        if len(fresh) < len(rows):
            for row, fragment in zip(rows, fragments, strict=True):
                self.apply(row, fragment, sequence, single_put=single_puts)
            return
        alone = list(filter(known.__contains__, fresh))
        if not single_puts:
            alone += [row for row, fragment in fresh.items() if len(fragment) >= _LONG_BYTES and row not in known]
        for row in alone:
            self.apply(row, fresh.pop(row), sequence, single_put=single_puts)
        if not fresh:
            return
        if not single_puts and self._puts_only:
            self._puts_only = all(map(is_single_put, fresh.values()))
        self.first_sequence = self.first_sequence or sequence
        self.last_sequence = max(self.last_sequence, sequence)
        known.update(fresh)
        self._unsorted += fresh
        self.charged_bytes += sum(map(len, fresh)) + sum(map(len, fresh.values())) + len(fresh) * ROW_OVERHEAD_BYTES

    def begin(self, first_sequence: int) -> None:
        """The first of the records whose mutations come now, if they do not come in the order of their sequences; those
        of a row do."""
        self.first_sequence = self.first_sequence or first_sequence

    def seal(self, log_end: int) -> None:
        """No more mutations come; the log ended with this sequence, which may be that of a record without rows."""
        self.last_sequence = max(self.last_sequence, log_end)

    def __contains__(self, row: object) -> bool:
        return row in self._rows

    def entries(self, row: bytes) -> Entries | None:
        """What the memtable knows about a row; None for nothing."""
        found = self._rows.get(row)
        return (
            tuple(found)
            if isinstance(found, WideRow)
            else decode_fragment(found)
            if isinstance(found, bytes)
            else found
        )

    def part(self, row: bytes, spans: Sequence[Span]) -> Entries | None:
        """As `entries`; of a wide row only what is within the spans, and the markers of the row and its families."""
        found = self._rows.get(row)
        if isinstance(found, bytes):
            return decode_fragment(found)
        return found.part(spans) if isinstance(found, WideRow) else found

    def column_after(self, row: bytes, low: bytes, cells: int) -> bytes | None:
        """Of a wide row the column that comes so many cells after `low`; None if the row ends before, or is small."""
        found = self._rows.get(row)
        return found.column_after(low, cells) if isinstance(found, WideRow) else None

    def state_of(self, row: bytes) -> tuple[object, int]:
        """Equal to what it was before if nothing has been written to the row since."""
        found = self._rows.get(row)
        return found, found.changes if isinstance(found, WideRow) else 0

    def chunk(self, start: bytes, limit: int, *, end: bytes = b"", last: bool = False) -> Chunk:
        """As `few_rows`, with their fragments."""
        return self.encoded(self.few_rows(start, end, limit, last))

    def few_rows(self, start: bytes, end: bytes, limit: int, last: bool) -> list[bytes]:
        """Of the rows with start <= row < end (empty: no bound) the first ones, or the `last` ones, at most `limit`."""
        order = self._order() if self._unsorted else self._sorted
        if last:
            rows = order.last(end, limit)
            return rows[bisect_left(rows, start) :] if rows and rows[0] < start else rows
        rows = order.first(start, limit)
        return rows[: bisect_left(rows, end)] if end and rows and rows[-1] >= end else rows

    def encoded(self, rows: list[bytes]) -> Chunk:
        """Rows that are here, in order, with their fragments."""
        found = list(map(self._rows.__getitem__, rows))
        fragments = [content for content in found if isinstance(content, bytes)]
        if len(fragments) == len(found):
            return Chunk(rows, fragments, self._puts_only or all(map(is_single_put, fragments)))
        fragments = [content if isinstance(content, bytes) else encode_fragment(content) for content in found]
        if not self._puts_only:
            return Chunk(rows, fragments, False)
        return Chunk(rows, fragments, False, [p for p, content in enumerate(found) if not isinstance(content, bytes)])

    def rows(self) -> list[bytes]:
        """All rows, sorted."""
        return list(self._order())

    def check_invariants(self) -> None:
        """Assert what must hold after every operation."""
        self._sorted.check_invariants()
        assert len(self._sorted) + len(self._unsorted) == len(self._rows)
        assert self._rows.keys() == {*self._sorted, *self._unsorted}
        charged = 0
        for row, content in self._rows.items():
            charged += len(row) + ROW_OVERHEAD_BYTES + _charge(content)
            if isinstance(content, WideRow):
                content.check_invariants()
            else:
                assert isinstance(content, bytes) or len(content) <= WIDE_CELLS
            entries = self.entries(row)
            assert entries is not None
            assert list(entries) == sorted(entries), f"row {row!r} is not sorted"
            assert not (self._puts_only and isinstance(content, bytes)) or is_single_put(content)
        assert charged == self.charged_bytes, (charged, self.charged_bytes)
        assert self.first_sequence <= self.last_sequence

    def put_in_order(self) -> None:
        """Do now what the next scan would have to do first."""
        self._order()

    def order_in_steps(self) -> Iterator[None]:
        """Do that a step at a time; others may read in between, and nobody may write any more. Runs of rows are sorted,
        then merged two by two."""
        unsorted = self._unsorted
        runs = deque([list(self._sorted)] if self._sorted else [])
        for start in range(0, len(unsorted), _RUN_ROWS):
            runs.append(sorted(unsorted[start : start + _RUN_ROWS]))
            yield
        while len(runs) > 1:
            run: list[bytes] = []
            for piece in _merged_pieces(runs.popleft(), runs.popleft()):
                run += piece
                yield
            runs.append(run)
        if runs and self._unsorted is unsorted:  # Else a reader has done it meanwhile.
            self._sorted, self._unsorted = SortedRows(runs[0]), []

    def _order(self) -> SortedRows:
        if self._unsorted:
            self._sorted.add(self._unsorted)
            self._unsorted = []
        return self._sorted


def _merged_pieces(first: list[bytes], second: list[bytes]) -> Iterator[list[bytes]]:
    """Two sorted lists as one, a piece at a time.

    >>> list(_merged_pieces([b"a", b"c"], [b"b", b"d"]))
    [[b'a', b'b', b'c'], [b'd']]
    """
    low, high = 0, 0
    while low < len(first) and high < len(second):
        limit = min(first[min(low + _RUN_ROWS, len(first)) - 1], second[min(high + _RUN_ROWS, len(second)) - 1])
        low_end, high_end = bisect_right(first, limit, low), bisect_right(second, limit, high)
        yield sorted(first[low:low_end] + second[high:high_end])
        low, high = low_end, high_end
    yield first[low:] + second[high:]


def _charge(content: _Content) -> int:
    if isinstance(content, WideRow):
        return content.charged_bytes
    return len(content) if isinstance(content, bytes) else charge_of(content)
