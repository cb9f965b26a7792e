"""Scans: many rows in order, from the first to the last or the other way (BT 3, 5.3).

A scan takes a few rows first (`tree/nearest.py`); then it merges memtables and SSTables in bulk, a chunk of rows at a
time. It takes several ranges in one go, one after the other; a range that is a single key is looked up with the Bloom
filters, as a point read is. What a filter cannot show is not read: locality groups without a family of interest,
SSTables that are too old or too new for it, rows that its expressions for row keys cannot match.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from runtime.errors import Conflict
from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.filter_program import Program, Wanted, visible
from tablet.engine.model.filters import EVERYTHING, LATEST
from tablet.engine.model.fragments import (
    decode_fragment,
    decode_without_values,
    encode_put,
    newest_value_in,
    values_of_puts,
)
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.rows import Row
from tablet.engine.serving.reading import Reader, groups_of, tables_within
from tablet.engine.tree.backwards import MemtableBackwards, MergeBackwards, clipped_backwards
from tablet.engine.tree.merge import merge_chunks
from tablet.engine.tree.nearest import Nearest, nearest
from tablet.engine.tree.sources import MemtableSource, MergeCursor, Source, clipped_source, unite_chunks
from tablet.engine.tree.state import TabletState
from tablet.engine.tree.view import Asked, View
from tablet.engine.world.eventual import Eventual, finished

T = TypeVar("T")

_NOTHING = encode_put(b"", 0, b"")
_LOOKUPS = 64
"""How many single keys are looked up for one batch."""
FEW_ROWS = 4
"""Many scans take a few rows and are left: so many are read first."""
MORE = 8
"""Then so many times as many, each time."""
MANY_ROWS = 128
"""In place of so many, whole blocks are read."""
_ALWAYS = (None, None)
_NOBODY = Asked((), (), (), None)


class Scan:
    """The rows of ranges that are in order and do not overlap, in batches; `reverse`: from the last row to the first.

    Between two batches nothing is held: if the tablet's files have changed meanwhile, the scan takes its place in the
    new ones. Each row is seen as of one moment; there is no moment that all rows are seen as of, as in the paper.
    """

    def __init__(
        self, state: TabletState, ranges: Sequence[RowRange], wanted: Wanted = EVERYTHING, *, reverse: bool = False
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._reverse = reverse
        if isinstance(wanted, Program):
            low, high = wanted.rows
            ranges = [part.within(RowRange(low, high or b"")) for part in ranges] if high != b"" else []
        self._ranges = [part for part in ranges if not part.is_empty]
        if not reverse:
            self._ranges.reverse()  # They are taken from the end.
        self._start = self._end = b""
        self._view: View | None = None
        self._asked = _NOBODY
        self._cursor: Source | None = None
        self._within = False
        self._few = FEW_ROWS

    def next_batch(self) -> Eventual[list[Row]]:
        """The next rows that have anything to show; an empty list at the end. Raises Conflict if it is closed."""
        return self._next(self._shown)

    def next_items(self) -> Eventual[list[tuple[bytes, bytes]]]:
        """The next rows with their newest values, where one column is wanted; an empty list at the end."""
        assert self._wanted.only_column is not None and self._wanted.wants_latest
        return self._next(self._items)

    def _next(self, taken: Callable[[Chunk | list[Row]], list[T]]) -> Eventual[list[T]]:
        """What is `taken` of the next chunk of which that is anything."""
        while True:
            found = self._next_chunk()
            if not isinstance(found, Chunk):
                return self._later(taken, found)
            batch = taken(found)
            if batch or self._is_done:
                return batch

    async def _later(
        self, taken: Callable[[Chunk | list[Row]], list[T]], reading: Coroutine[Any, Any, Chunk | list[Row]]
    ) -> list[T]:
        while True:
            batch = taken(await reading)
            if batch or self._is_done:
                return batch
            reading = finished(self._next_chunk())

    async def _looked_up(self) -> list[Row]:
        """The rows of the ranges that come next and are single keys."""
        rows: list[Row] = []
        reader = Reader(self._state)
        for _ in range(_LOOKUPS):
            row = self._ranges[-1].only_row if self._ranges else None
            if row is None:
                break
            self._ranges.pop()
            if entries := await finished(reader.row(row, self._wanted)):
                rows.append(Row(row, entries))
        return rows

    @property
    def _is_done(self) -> bool:
        return not self._within and not self._ranges

    def _next_chunk(self) -> Chunk | Coroutine[Any, Any, Chunk | list[Row]]:
        """The next rows of the range, merged, or of the next one, or those of single keys; nothing at its end."""
        state = self._state
        if state.is_closed:
            raise Conflict("this tablet is closed; open it again")
        if not self._within:
            if not self._ranges:
                return EMPTY
            if self._ranges[-1].only_row is not None:
                return self._looked_up()
            part = self._ranges.pop()
            self._start, self._end, self._within, self._few = part.start, part.end, True, FEW_ROWS
        view = state.view
        if self._view is not view:
            self._view, self._cursor = view, None
            self._asked = self._who_is_asked(view)
        if self._few >= MANY_ROWS:
            return self._from_cursor(view)
        found = nearest(self._asked, self._start, self._end, self._few, self._reverse)
        return self._nearest(found) if isinstance(found, tuple) else self._nearest_later(view, found)

    def _nearest(self, found: Nearest) -> Chunk:
        """What comes next begins after these rows or, if there are no more, in the next range."""
        chunk, bound = found
        self._few *= MORE
        if bound is None:
            self._within = False
        elif self._reverse:
            self._end = bound
        else:
            self._start = bound + b"\0"
        return chunk

    async def _nearest_later(self, view: View, reading: Awaitable[Nearest]) -> Chunk:
        view.pins += 1
        try:
            return self._nearest(await reading)
        finally:
            view.pins -= 1

    async def _from_cursor(self, view: View) -> Chunk:
        if self._cursor is None:
            self._cursor = self._open(self._asked)
        view.pins += 1
        try:
            chunk = await finished(self._cursor.next())
        finally:
            view.pins -= 1
        if not chunk.rows:
            self._within, self._cursor = False, None
        elif self._reverse:
            self._end = chunk.rows[0]
        else:
            self._start = chunk.rows[-1] + b"\0"
        return chunk

    def _who_is_asked(self, view: View) -> Asked:
        if view.only_group is not None and self._wanted.times == _ALWAYS:
            return view.only_group
        names = groups_of(view, self._wanted)
        families = None
        if len(names) < len(view.schema.groups):
            families = frozenset[bytes]().union(*(view.families[name] for name in names))
        groups = [tables_within(view.tables.get(name, ()), view, self._wanted.times) for name in names]
        tables = groups[0] if len(groups) == 1 else [table for tables in groups for table in tables]
        return Asked(view.memtables, groups, tables, families)

    def _open(self, asked: Asked) -> Source:
        """The memtables over the SSTables. Those of several locality groups are put side by side first, so that a
        memtable is asked for a row once, for all groups: a mutation that comes meanwhile is seen whole, or not yet."""
        memtable_source, table_source, cursor = (
            (MemtableBackwards, clipped_backwards, MergeBackwards)
            if self._reverse
            else (MemtableSource, clipped_source, MergeCursor)
        )
        start, end = self._start, self._end
        sources: list[Source] = [
            memtable_source(memtable, start=start, end=end, families=asked.families)
            for memtable in asked.memtables
            if len(memtable)
        ]
        stored: list[list[Source]] = [
            [table_source(table, start=start, end=end) for table in tables] for tables in asked.groups
        ]
        if len(stored) == 1:
            sources += stored[0]
        else:
            sources.append(cursor([cursor(tables, merge_chunks) for tables in stored], unite_chunks))
        return cursor(sources, merge_chunks) if len(sources) != 1 else sources[0]

    def _items(self, chunk: Chunk | list[Row]) -> list[tuple[bytes, bytes]]:
        """The rows that have the column, with its newest value."""
        column = self._wanted.only_column
        assert column is not None
        if not isinstance(chunk, Chunk) or (self._view is not None and self._view.judges_single_cells):
            return [(row.key, value) for row in self._shown(chunk) if (value := row.value(column)) is not None]
        fragments = chunk.fragments
        if not chunk.single_puts and (others := chunk.places_of_others()):  # Their newest cell is made the only one.
            fragments = fragments.copy()
            for place in others:
                value = newest_value_in(fragments[place], column)
                fragments[place] = _NOTHING if value is None else encode_put(column, 0, value)
        items = values_of_puts(chunk.rows, fragments, column)
        if self._reverse:
            items.reverse()
        return items

    def _shown(self, chunk: Chunk | list[Row]) -> list[Row]:
        if not isinstance(chunk, Chunk):
            return chunk
        wanted, view = self._wanted, self._view
        if view is None:
            return []
        families, now = view.schema.families, self._state.world.clock.wall_microseconds()
        rows: list[Row]
        if wanted in (EVERYTHING, LATEST) and not view.judges_single_cells:
            rows = list(map(Row, chunk.rows, chunk.fragments))
            for place in reversed(chunk.places_of_others()):
                entries = visible(rows[place].key, decode_fragment(chunk.fragments[place]), families, now, wanted)
                if entries:
                    rows[place] = Row(rows[place].key, entries)
                else:
                    del rows[place]
        else:
            rows = []
            may_show = wanted.may_show if isinstance(wanted, Program) else None
            decode = decode_without_values if isinstance(wanted, Program) and not wanted.values else decode_fragment
            for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
                if may_show is None or may_show(row):
                    entries = visible(row, decode(fragment), families, now, wanted)
                    if entries:
                        rows.append(Row(row, entries))
        if self._reverse:
            rows.reverse()
        return rows
