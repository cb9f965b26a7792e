"""Reading a tablet: the merged view (BT 5.3).

A point read asks the memtables, then the scan cache, then those SSTables whose Bloom filter does not exclude the row
(or the row and column, if one column is wanted). If only the newest version counts, SSTables whose newest timestamp is
not newer than what was found need not be asked at all. Of a hot value the scan cache may know that no memtable has a
say in it; then it is asked first (`Engine.get`), and nobody else. A scan merges all sources in bulk.
"""

from runtime.errors import Conflict
from tablet.engine.model.checks import EARLIEST_TIMESTAMP
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.filters import EVERYTHING, LATEST, ReadFilter, visible
from tablet.engine.model.fragments import PUT, Entries, decode_fragment, family_of, values_of_puts
from tablet.engine.model.rows import Row
from tablet.engine.sstable.reader import Lookup
from tablet.engine.tree.merge import merge_chunks, merge_entries
from tablet.engine.tree.sources import MemtableSource, MergeCursor, Source, clipped_source, unite_chunks
from tablet.engine.tree.state import TabletState
from tablet.engine.tree.view import Tables, View

NEVER = EARLIEST_TIMESTAMP - 1
"""Before any timestamp there can be."""


class Reader:
    """Point reads and scans over a tablet's state."""

    def __init__(self, state: TabletState) -> None:
        self._state = state
        self._start, self._end = state.manifest.start_row, state.manifest.end_row

    async def row(self, row: bytes, wanted: ReadFilter) -> Entries:
        """The visible entries of one row, perhaps none. Raises InvalidRequest for a row of another tablet."""
        if row < self._start or (self._end and row >= self._end):
            self._state.manifest.check_holds(row)
        view = self._state.view
        view.pins += 1
        try:
            groups = _groups(view, wanted)
            column = wanted.only_column
            recent = _recent(view, row)
            if len(groups) == 1:
                entries = await self._group(view, groups[0], row, column, recent, latest=wanted.wants_latest)
            else:
                parts = [await self._group(view, group, row, column, recent, latest=False) for group in groups]
                entries = tuple(sorted(entry for part in parts for entry in part if entry[2] == PUT))
        finally:
            view.pins -= 1
        if not entries:
            return ()
        return visible(entries, view.schema.families, self._state.world.clock.wall_microseconds(), wanted)

    async def newest_value(self, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column: the most common read, and what `row` says with the filter for it."""
        if row < self._start or (self._end and row >= self._end):
            self._state.manifest.check_holds(row)
        view = self._state.view
        family = view.schema.families.get(family_of(column))
        if family is None:
            return None
        view.pins += 1
        try:
            entries = await self._group(view, family.group, row, column, _recent(view, row), latest=True)
        finally:
            view.pins -= 1
        if family.rule is not None and entries:
            wanted = ReadFilter(columns=frozenset((column,)), versions=1)
            entries = visible(entries, view.schema.families, self._state.world.clock.wall_microseconds(), wanted)
        return value_of(entries, column)

    async def _group(
        self, view: View, group: str, row: bytes, column: bytes | None, recent: list[Entries], *, latest: bool
    ) -> Entries:
        """The merged entries of one locality group; with `column`, other columns may be missing; if only the `latest`
        version of it matters, older ones may be missing too. `recent`: what the memtables say of the row."""
        fragments: list[Entries] = []
        for entries in recent:
            if len(view.schema.groups) > 1:
                families = view.families[group]
                entries = tuple(entry for entry in entries if not entry[0] or family_of(entry[0]) in families)
            fragments.append(entries)
            latest = latest and not _has_marker(entries)
        newest, tables = NEVER, view.tables.get(group, ())
        if fragments and latest and column is not None:
            newest = max([_newest_timestamp(entries, column) for entries in fragments])
            if newest > NEVER and not [table for table in tables if table.max_relevant_timestamp > newest]:
                return merge_entries(fragments)
        cache, key = self._state.scan_cache, (group, column, latest)
        # The cache speaks of the newest SSTables: after a flush, of some that came later than the memtables were asked.
        stored = cache.get(row, key) if view.generation == self._state.view.generation else None
        if stored is None:
            stored = await _search(tables, row, column, newest, latest=latest)
            # An answer that leans on what the memtable knew, or that a flush has overtaken, is not for others.
            if newest == NEVER and view.generation == self._state.view.generation and cache.wants(row):
                cache.put(row, key, stored, _final(view, row, column, stored) if latest and not fragments else None)
        if not fragments:
            return stored
        fragments.append(stored)
        return merge_entries(fragments)


def _final(view: View, row: bytes, column: bytes | None, stored: Entries) -> bytes | None:
    """The newest value of the column if it is that of the SSTables: no memtable has heard of the row meanwhile, and no
    version policy judges it."""
    if column is None or row in view.memtables[0]:
        return None
    family = view.schema.families.get(family_of(column))
    return value_of(stored, column) if family is not None and family.rule is None else None


async def _search(tables: Tables, row: bytes, column: bytes | None, newest: int, *, latest: bool) -> Entries:
    """What SSTables say of a row together, asking no more of them than must be asked.

    They are asked from the newest to the oldest, but writers may choose the timestamps, so the newest SSTable does not
    always hold the newest version. If only the `latest` version of the column matters, and one as new as `newest` is
    known, an SSTable need not be asked that has nothing to say about newer ones (see `SSTable.max_relevant_timestamp`).
    What is found in an SSTable counts as known unless a deletion was found before or with it: that might hide it.
    """
    lookup = Lookup(row, column)
    found: list[Entries] = []
    for table in tables:
        if table.max_relevant_timestamp <= newest:
            continue
        place = table.locate(lookup)
        if place < 0:
            continue
        fragment = await table.fragment(place, row, column)
        if fragment is None:
            continue
        entries = decode_fragment(fragment)
        found.append(entries)
        if latest and column is not None and table is not tables[-1]:
            latest = not _has_marker(entries)
            if latest:
                newest = max(newest, _newest_timestamp(entries, column))
    return merge_entries(found)


class Scan:
    """Rows with start <= row < end (empty: no bound), in order, in batches.

    Between two batches nothing is held: if the tablet's files have changed meanwhile, the scan takes its place in the
    new ones. Each row is seen as of one moment; there is no moment that all rows are seen as of, as in the paper.
    """

    def __init__(self, state: TabletState, start: bytes, end: bytes, wanted: ReadFilter) -> None:
        self._state = state
        self._start = start
        self._end = end
        self._wanted = wanted
        self._view: View | None = None
        self._cursor: Source | None = None
        self._done = False

    async def next_batch(self) -> list[Row]:
        """The next rows that have anything to show; an empty list at the end."""
        while (taken := await self._next_chunk()) is not None:
            if rows := self._shown(*taken):
                return rows
        return []

    async def next_items(self) -> list[tuple[bytes, bytes]]:
        """The next rows with their newest values, where one column is wanted; an empty list at the end."""
        column = self._wanted.only_column
        assert column is not None and self._wanted.wants_latest
        while (taken := await self._next_chunk()) is not None:
            chunk, view = taken
            if chunk.single_puts and not view.schema.judges_single_cells:
                items = values_of_puts(chunk.rows, chunk.fragments, column)
            else:
                items = [(row.key, value) for row in self._shown(*taken) if (value := row.value(column)) is not None]
            if items:
                return items
        return []

    async def _next_chunk(self) -> tuple[Chunk, View] | None:
        """The next rows, merged, and the view they are from; None at the end. Raises Conflict if it is closed."""
        if self._state.is_closed:
            raise Conflict("this tablet is closed; open it again")
        if not self._done:
            view = self._state.view
            if self._cursor is None or self._view is not view:
                self._view, self._cursor = view, self._open(view)
            view.pins += 1
            try:
                chunk = await self._cursor.next()
            finally:
                view.pins -= 1
            if chunk.rows:
                self._start = chunk.rows[-1] + b"\0"
                return chunk, view
            self._done = True
            self._cursor = self._view = None
        return None

    def _open(self, view: View) -> Source:
        """The memtables over the SSTables. Those of several locality groups are put side by side first, so that a
        memtable is asked for a row once, for all groups: a mutation that comes meanwhile is seen whole, or not yet."""
        groups = _groups(view, self._wanted)
        families = None
        if len(groups) < len(view.schema.groups):
            families = frozenset[bytes]().union(*(view.families[group] for group in groups))
        sources: list[Source] = [
            MemtableSource(memtable, start=self._start, end=self._end, families=families)
            for memtable in view.memtables
            if len(memtable)
        ]
        stored = [
            [clipped_source(table, start=self._start, end=self._end) for table in view.tables.get(group, ())]
            for group in groups
        ]
        if len(stored) == 1:
            sources += stored[0]
        else:
            sources.append(MergeCursor([MergeCursor(tables, merge_chunks) for tables in stored], unite_chunks))
        return MergeCursor(sources, merge_chunks)

    def _shown(self, chunk: Chunk, view: View) -> list[Row]:
        families = view.schema.families
        if chunk.single_puts and not view.schema.judges_single_cells and self._wanted in (EVERYTHING, LATEST):
            return list(map(Row, chunk.rows, chunk.fragments))
        now = self._state.world.clock.wall_microseconds()
        rows: list[Row] = []
        for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
            entries = visible(decode_fragment(fragment), families, now, self._wanted)
            if entries:
                rows.append(Row(row, entries))
        return rows


def _groups(view: View, wanted: ReadFilter) -> list[str]:
    """The locality groups that a read must ask."""
    groups = view.schema.groups
    if len(groups) == 1:
        return list(groups)
    families = wanted.wanted_families
    if families is None:
        return list(groups)
    return [group for group in groups if view.families[group] & families]


def value_of(entries: Entries, column: bytes) -> bytes | None:
    """The value of the newest cell of a column, or None if there is none."""
    for found, _, kind, value in entries:
        if found == column and kind == PUT:
            return value
    return None


def _recent(view: View, row: bytes) -> list[Entries]:
    """What the memtables say of a row, the newest first, all at one moment."""
    return [entries for memtable in view.memtables if (entries := memtable.entries(row)) is not None]


def _has_marker(entries: Entries) -> bool:
    for _, _, kind, _ in entries:  # noqa: SIM110 - `any` and its generator would take four times as long
        if kind != PUT:
            return True
    return False


def _newest_timestamp(entries: Entries, column: bytes) -> int:
    """That of the column's newest cell; NEVER if there is none."""
    for found, minus, kind, _ in entries:
        if found == column and kind == PUT:
            return -minus
    return NEVER
