"""Scans: many rows in order, from the first to the last or the other way (BT 3, 5.3).

A scan merges memtables and SSTables in bulk, a chunk of rows at a time. It takes several ranges in one go, one after
the other; a range that is a single key is looked up with the Bloom filters, as a point read is. What a filter cannot
show is not read: locality groups without a family of interest, SSTables that are too old or too new for it, rows that
its expressions for row keys cannot match.
"""

from collections.abc import Awaitable, Sequence

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
from tablet.engine.tree.sources import MemtableSource, MergeCursor, Source, clipped_source, unite_chunks
from tablet.engine.tree.state import TabletState
from tablet.engine.tree.view import View
from tablet.engine.world.eventual import Eventual, finished

_NOTHING = encode_put(b"", 0, b"")
_LOOKUPS = 64
"""How many single keys are looked up for one batch."""


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
        self._cursor: Source | None = None
        self._judges = False
        self._within = False

    async def next_batch(self) -> list[Row]:
        """The next rows that have anything to show; an empty list at the end. Raises Conflict if it is closed."""
        while True:
            if self._next_is_single():
                rows = await self._looked_up()
            else:
                chunk = self._next_chunk()
                if not isinstance(chunk, Chunk):
                    chunk = await chunk
                rows = self._shown(chunk)
            if rows or self._is_done:
                return rows

    async def next_items(self) -> list[tuple[bytes, bytes]]:
        """The next rows with their newest values, where one column is wanted; an empty list at the end."""
        column = self._wanted.only_column
        assert column is not None and self._wanted.wants_latest
        while True:
            if self._next_is_single():
                items = _values(await self._looked_up(), column)
            else:
                chunk = self._next_chunk()
                if not isinstance(chunk, Chunk):
                    chunk = await chunk
                items = self._items(chunk, column)
            if items or self._is_done:
                return items

    def _next_is_single(self) -> bool:
        return not self._within and bool(self._ranges) and self._ranges[-1].only_row is not None

    async def _looked_up(self) -> list[Row]:
        """The rows of the ranges that come next and are single keys."""
        self._check_open()
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

    def _next_chunk(self) -> Eventual[Chunk]:
        """The next rows of the range, merged, or of the next one; EMPTY at its end."""
        self._check_open()
        if not self._within:
            if not self._ranges:
                return EMPTY
            part = self._ranges.pop()
            self._start, self._end, self._within = part.start, part.end, True
        view = self._state.view
        if self._cursor is None or self._view is not view:
            self._view, self._cursor = view, self._open(view)
            self._judges = view.schema.judges_single_cells
        chunk = self._cursor.next()
        return self._noted(chunk) if isinstance(chunk, Chunk) else self._chunk_later(view, chunk)

    async def _chunk_later(self, view: View, reading: Awaitable[Chunk]) -> Chunk:
        view.pins += 1
        try:
            return self._noted(await reading)
        finally:
            view.pins -= 1

    def _noted(self, chunk: Chunk) -> Chunk:
        """What comes next begins after these rows or, if there are none, in the next range."""
        if not chunk.rows:
            self._within = False
            self._cursor = None
        elif self._reverse:
            self._end = chunk.rows[0]
        else:
            self._start = chunk.rows[-1] + b"\0"
        return chunk

    def _check_open(self) -> None:
        if self._state.is_closed:
            raise Conflict("this tablet is closed; open it again")

    def _open(self, view: View) -> Source:
        """The memtables over the SSTables. Those of several locality groups are put side by side first, so that a
        memtable is asked for a row once, for all groups: a mutation that comes meanwhile is seen whole, or not yet."""
        memtable_source, table_source, cursor = (
            (MemtableBackwards, clipped_backwards, MergeBackwards)
            if self._reverse
            else (MemtableSource, clipped_source, MergeCursor)
        )
        groups = groups_of(view, self._wanted)
        families = None
        if len(groups) < len(view.schema.groups):
            families = frozenset[bytes]().union(*(view.families[group] for group in groups))
        sources: list[Source] = [
            memtable_source(memtable, start=self._start, end=self._end, families=families)
            for memtable in view.memtables
            if len(memtable)
        ]
        stored: list[list[Source]] = [
            [
                table_source(table, start=self._start, end=self._end)
                for table in tables_within(view.tables.get(group, ()), view, self._wanted.times)
            ]
            for group in groups
        ]
        if len(stored) == 1:
            sources += stored[0]
        else:
            sources.append(cursor([cursor(tables, merge_chunks) for tables in stored], unite_chunks))
        return cursor(sources, merge_chunks) if len(sources) != 1 else sources[0]

    def _items(self, chunk: Chunk, column: bytes) -> list[tuple[bytes, bytes]]:
        """The rows that have the column, with its newest value."""
        if self._judges:
            return _values(self._shown(chunk), column)
        fragments = chunk.fragments
        if others := chunk.places_of_others():  # Of these the newest cell is made the only one.
            fragments = fragments.copy()
            for place in others:
                value = newest_value_in(fragments[place], column)
                fragments[place] = _NOTHING if value is None else encode_put(column, 0, value)
        items = values_of_puts(chunk.rows, fragments, column)
        if self._reverse:
            items.reverse()
        return items

    def _shown(self, chunk: Chunk) -> list[Row]:
        wanted, view = self._wanted, self._view
        if view is None:
            return []
        families, now = view.schema.families, self._state.world.clock.wall_microseconds()
        rows: list[Row]
        if wanted in (EVERYTHING, LATEST) and not self._judges:
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


def _values(rows: Sequence[Row], column: bytes) -> list[tuple[bytes, bytes]]:
    return [(row.key, value) for row in rows if (value := row.value(column)) is not None]
