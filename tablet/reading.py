"""Reading a tablet: the merged view (BT 5.3).

A point read asks the memtables, then the scan cache, then those SSTables whose Bloom filter does not exclude the row
(or the row and column, if one column is wanted). If only the newest version counts, SSTables whose newest timestamp is
not newer than what was found need not be asked at all. A scan merges all sources in bulk.
"""

from collections.abc import Sequence

from tablet.cells import CELL, CELL_BYTES, PUT, Entries, Row, decode_fragment, family_of
from tablet.filters import EVERYTHING, LATEST, ReadFilter, visible
from tablet.merge import EMPTY, Chunk, merge_chunks, merge_entries
from tablet.sources import MemtableSource, MergeCursor, Source, TableSource, unite_chunks
from tablet.sstable_reader import Lookup, SSTable
from tablet.state import TabletState, View


class Reader:
    """Point reads and scans over a tablet's state."""

    def __init__(self, state: TabletState) -> None:
        self._state = state

    async def row(self, row: bytes, wanted: ReadFilter) -> Entries:
        """The visible entries of one row, perhaps none."""
        view = self._state.view
        view.pins += 1
        try:
            groups = _groups(view, wanted)
            column = wanted.only_column
            if len(groups) == 1:
                entries = await self._group(view, groups[0], row, column, latest=wanted.wants_latest)
            else:
                parts = [await self._group(view, group, row, column, latest=False) for group in groups]
                entries = tuple(sorted(entry for part in parts for entry in part if entry[2] == PUT))
        finally:
            view.pins -= 1
        if not entries:
            return ()
        return visible(entries, view.schema.families, self._state.world.clock.wall_microseconds(), wanted)

    async def newest_value(self, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column: the short way of the most common read.

        Short for a row that no memtable has, in a family that keeps its cells: what SSTables say is then the answer.
        """
        view = self._state.view
        family = view.schema.families.get(column.partition(b":")[0])
        if family is None:
            return None
        short = family.rule is None
        for memtable in view.memtables:
            if row in memtable:
                short = False
        view.pins += 1
        try:
            if short:
                tables = view.tables.get(family.group, ())
                entries = await self._tables(view, family.group, tables, row, column, None, latest=True)
            else:
                entries = await self._group(view, family.group, row, column, latest=True)
        finally:
            view.pins -= 1
        if not entries:
            return None
        if family.rule is None:
            for found, _, kind, value in entries:
                if found == column and kind == PUT:
                    return value
            return None
        wanted = ReadFilter(columns=frozenset((column,)), versions=1)
        seen = visible(entries, view.schema.families, self._state.world.clock.wall_microseconds(), wanted)
        return seen[0][3] if seen else None

    async def _group(self, view: View, group: str, row: bytes, column: bytes | None, *, latest: bool) -> Entries:
        """The merged entries of one locality group; with `column`, other columns may be missing."""
        fragments: list[Entries] = []
        for memtable in view.memtables:
            entries = memtable.entries(row)
            if entries is not None:
                if len(view.schema.groups) > 1:
                    families = view.families[group]
                    entries = tuple(entry for entry in entries if not entry[0] or family_of(entry[0]) in families)
                fragments.append(entries)
                latest = latest and all(entry[2] == PUT for entry in entries)
        tables = view.tables.get(group)
        if tables:
            newest = _newest_timestamp(fragments, column) if latest and column is not None and fragments else None
            entries = await self._tables(view, group, tables, row, column, newest, latest=latest)
            if entries:
                fragments.append(entries)
        if not fragments:
            return ()
        return fragments[0] if len(fragments) == 1 else merge_entries(fragments)

    async def _tables(
        self,
        view: View,
        group: str,
        tables: Sequence[SSTable],
        row: bytes,
        column: bytes | None,
        newest: int | None,
        *,
        latest: bool,
    ) -> Entries:
        """What the SSTables say. `newest`: the newest version that is known already, if that is all that is wanted."""
        cache = self._state.scan_cache
        key = (group, column, latest)
        cached = cache.get(row, key) if cache.limit_bytes else None
        if cached is not None:
            return cached
        found: list[Entries] = []
        known = newest
        timestamps_tell = latest and column is not None
        lookup = Lookup(row, column)
        for table in tables:
            if known is not None and table.newest_timestamp <= known:
                continue
            place = table.locate(lookup)
            if place < 0:
                continue
            fragment = await table.fragment(place, row, column)
            if fragment is None:
                continue
            entries = decode_fragment(fragment)
            found.append(entries)
            if timestamps_tell and column is not None and table is not tables[-1]:
                # Once a deletion is seen, older versions say no more about how new the newest one is.
                timestamps_tell = all(entry[2] == PUT for entry in entries)
                here = _newest_timestamp((entries,), column) if timestamps_tell else None
                if here is not None and (known is None or here > known):
                    known = here
        entries = found[0] if len(found) == 1 else merge_entries(found) if found else ()
        # An answer that leans on what the memtable knew, or that a flush has overtaken, is not for others.
        if cache.limit_bytes and newest is None and view.generation == self._state.view.generation:
            cache.put(row, key, entries)
        return entries


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
        while not self._done:
            view = self._state.view
            if self._cursor is None or self._view is not view:
                self._view, self._cursor = view, self._open(view)
            view.pins += 1
            try:
                chunk = await self._cursor.next()
            finally:
                view.pins -= 1
            if chunk is EMPTY or not chunk.rows:
                self._done = True
                self._cursor = self._view = None
                break
            self._start = chunk.rows[-1] + b"\0"
            rows = self._shown(chunk, view)
            if rows:
                return rows
        return []

    def _open(self, view: View) -> Source:
        groups = _groups(view, self._wanted)
        cursors = [self._group_cursor(view, group, alone=len(view.schema.groups) == 1) for group in groups]
        return cursors[0] if len(cursors) == 1 else MergeCursor(cursors, unite_chunks)

    def _group_cursor(self, view: View, group: str, *, alone: bool) -> Source:
        families = None if alone else view.families[group]
        sources: list[Source] = [
            MemtableSource(memtable, start=self._start, end=self._end, families=families)
            for memtable in view.memtables
            if len(memtable)
        ]
        sources += [TableSource(table, start=self._start, end=self._end) for table in view.tables.get(group, ())]
        return MergeCursor(sources, merge_chunks)

    def _shown(self, chunk: Chunk, view: View) -> list[Row]:
        families = view.schema.families
        if chunk.single_puts and not view.schema.judges_single_cells and self._wanted in (EVERYTHING, LATEST):
            return _single_put_rows(chunk)
        now = self._state.world.clock.wall_microseconds()
        rows: list[Row] = []
        for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
            entries = visible(decode_fragment(fragment), families, now, self._wanted)
            if entries:
                rows.append(Row(row, entries))
        return rows


def _single_put_rows(chunk: Chunk) -> list[Row]:
    """Each fragment is one cell, and every one of them is wanted."""
    rows: list[Row] = []
    unpack, take = CELL.unpack_from, rows.append
    for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
        _, _, length, timestamp, _ = unpack(fragment)
        end = CELL_BYTES + length
        take(Row(row, ((fragment[CELL_BYTES:end], -timestamp, PUT, fragment[end:]),)))
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


def _newest_timestamp(fragments: Sequence[Entries], column: bytes) -> int | None:
    newest = None
    for entries in fragments:
        for found, minus, kind, _ in entries:
            if found == column and kind == PUT:
                if newest is None or -minus > newest:
                    newest = -minus
                break
    return newest
