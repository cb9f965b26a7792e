"""Reading a tablet: the merged view (BT 5.3).

A point read asks the memtables, then the scan cache, then those SSTables whose Bloom filters do not exclude the row
(or the row and column, if one column is wanted): all filters are asked at once (`sstable/directory.py`). If only the
newest version counts, SSTables whose newest timestamp is not newer than what was found need not be read at all. Of a
hot value the scan cache may know that no memtable has a say in it; then it is asked first (`Engine.get`), and nobody
else. A scan merges all sources in bulk.

A point read is a plain function that gives the answer or, where a block must be read first, a coroutine that reads it
and finishes (`world/eventual.py`).

Of a wide row only the columns are read that the filter can show. If the filter ends with a limit, the row's columns are
read a few at a time until there are enough.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from tablet.engine.model.checks import EARLIEST_TIMESTAMP
from tablet.engine.model.filter_program import Program, Wanted, visible
from tablet.engine.model.filters import EVERYTHING, newest_of, visible_cells
from tablet.engine.model.fragments import (
    ALL_COLUMNS,
    PUT,
    Entries,
    Entry,
    Span,
    decode_fragment,
    decode_without_values,
    family_of,
    first_value,
)
from tablet.engine.model.schema import Family, counts_versions
from tablet.engine.sstable.directory import Directory
from tablet.engine.sstable.reader import Lookup
from tablet.engine.tree.merge import merge_entries
from tablet.engine.tree.scan_cache import ScanKey
from tablet.engine.tree.state import TabletState
from tablet.engine.tree.view import Tables, View
from tablet.engine.world.eventual import Eventual

_FIRST_CELLS = 512
"""At most so many cells of a wide row are read first for a filter with a limit; then twice as many, and so on."""
NEVER = EARLIEST_TIMESTAMP - 1
"""Before any timestamp there can be."""


@dataclass(slots=True)
class Part:
    """What of a row is enough for a filter: columns within the `spans`, timestamps, and whether values are looked at.
    More may be given than is asked for; `complete`: the whole row was."""

    spans: Sequence[Span]
    times: tuple[int | None, int | None]
    values: bool
    complete: bool


class Reader:
    """Point reads over a tablet's state."""

    def __init__(self, state: TabletState) -> None:
        self._state = state
        self._scan_cache = state.scan_cache
        self._start, self._end = state.manifest.start_row, state.manifest.end_row

    def row(self, row: bytes, wanted: Wanted) -> Eventual[Entries]:
        """The visible entries of one row, perhaps none; or a coroutine that finds them. Raises InvalidRequest for a row
        of another tablet."""
        if row < self._start or (self._end and row >= self._end):
            self._state.manifest.check_holds(row)
        if isinstance(wanted, Program) and not wanted.may_show(row):
            return ()
        view = self._state.view
        groups = groups_of(view, wanted)
        part = None if wanted.whole_rows else _part(wanted)
        if isinstance(wanted, Program) and wanted.first is not None and wanted.only_column is None:
            return self._row_later(view, row, wanted, self._first_columns(view, groups, row, wanted))
        if len(groups) != 1:
            return self._row_later(view, row, wanted, self._entries(view, groups, row, wanted, part))
        found = self._group(
            view,
            groups[0],
            row,
            wanted.only_column,
            _recent(view, row, ALL_COLUMNS if part is None else part.spans),
            latest=wanted.wants_latest,
            part=part,
        )
        if isinstance(found, Search):
            if found.reading is not None:
                return self._row_later(view, row, wanted, self._searched(found))
            found = self._found(found)
        return self._visible(view, row, wanted, found)

    async def _row_later(
        self, view: View, row: bytes, wanted: Wanted, reading: Coroutine[Any, Any, Entries]
    ) -> Entries:
        view.pins += 1
        try:
            entries = await reading
        finally:
            view.pins -= 1
        return self._visible(view, row, wanted, entries)

    def _visible(self, view: View, row: bytes, wanted: Wanted, entries: Entries) -> Entries:
        if not entries:
            return ()
        return visible(row, entries, view.schema.families, self._state.world.clock.wall_microseconds(), wanted)

    async def _entries(self, view: View, groups: list[str], row: bytes, wanted: Wanted, part: Part | None) -> Entries:
        """What the groups say of a row, as of one moment."""
        column, latest = wanted.only_column, wanted.wants_latest and len(groups) == 1
        recent = _recent(view, row, ALL_COLUMNS if part is None else part.spans)
        parts: list[Entries] = []
        for group in groups:
            found = self._group(view, group, row, column, recent, latest=latest, part=part)
            parts.append(await self._searched(found) if isinstance(found, Search) else found)
        if len(parts) == 1:
            return parts[0]
        return tuple(sorted(entry for part in parts for entry in part if entry[2] == PUT))

    async def _first_columns(self, view: View, groups: list[str], row: bytes, wanted: Program) -> Entries:
        """As many of a wide row's first columns as a filter with a limit needs; of a small row, all.

        They are read a few at a time, always more. If the row is written to meanwhile, it is read once more at once,
        so that it is seen as of one moment.
        """
        low, high = wanted.spans[0]
        before = [memtable.state_of(row) for memtable in view.memtables]
        found: list[Entry] = []
        assert wanted.first is not None
        cells = min(wanted.first[1] + 1, _FIRST_CELLS)
        while True:
            bound = await _column_after(view, groups, row, low, cells)
            last = bound is None or (high is not None and bound > high)
            entries = await self._entries(view, groups, row, wanted, _part(wanted, (low, high if last else bound)))
            found += [entry for entry in entries if low <= entry[0] and (last or bound is None or entry[0] < bound)]
            if before != [memtable.state_of(row) for memtable in view.memtables]:
                return await self._entries(view, groups, row, wanted, _part(wanted))
            if last or bound is None:
                return tuple(found)
            families, now = view.schema.families, self._state.world.clock.wall_microseconds()
            if wanted.has_enough(row, visible_cells(tuple(found), families, now, EVERYTHING)):
                return tuple(found)
            low, cells = bound, 2 * cells

    def newest_value(self, row: bytes, column: bytes) -> Eventual[bytes | None]:
        """The newest value of one column: the most common read, and what `row` says with the filter for it."""
        if row < self._start or (self._end and row >= self._end):
            self._state.manifest.check_holds(row)
        view = self._state.view
        place = view.columns.get(column) or view.place_of(column)
        if place is None:
            return None
        family, key, directory = place
        for memtable in view.memtables:
            if memtable.holds(row):
                recent = _recent(view, row, ((column, column),))
                found = self._group(view, family.group, row, column, recent, latest=True)
                break
        else:
            found = self._search(view, key, directory, row)
        if not isinstance(found, Search):
            return self._newest(view, family, column, found) if found else None
        if found.reading is not None:
            return self._newest_later(family, found)
        return self._newest_found(family, found)

    async def _newest_later(self, family: Family, search: "Search") -> bytes | None:
        search.view.pins += 1
        try:
            await self._read_all(search)
            return self._newest_found(family, search)
        finally:
            search.view.pins -= 1

    def _newest_found(self, family: Family, search: "Search") -> bytes | None:
        """The newest value of its column, of a search that has ended. Mostly it is the one thing that was found."""
        keep, found, column = self._is_to_be_kept(search), search.found, search.column
        assert column is not None
        if len(found) == 1 and not keep and not search.fragments and family.rule is None:
            value = first_value(found[0], column) if isinstance(found[0], bytes) else None
            if value is not None:
                return value
        return self._newest(search.view, family, column, self._merged(search, keep=keep))

    def _newest(self, view: View, family: Family, column: bytes, entries: Entries) -> bytes | None:
        if family.rule is not None and entries:
            now = self._state.world.clock.wall_microseconds()
            entries = visible_cells(entries, view.schema.families, now, newest_of(column))
        return value_of(entries, column)

    def _group(
        self,
        view: View,
        group: str,
        row: bytes,
        column: bytes | None,
        recent: list[Entries],
        *,
        latest: bool,
        part: Part | None = None,
    ) -> "Entries | Search":
        """The merged entries of one locality group, or the search for them; with `column`, other columns may be
        missing; if only the `latest` version of it matters, older ones may be missing too. `recent`: what the memtables
        say of the row. `part`: what else may be missing."""
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
        return self._search(view, (group, column, latest), view.directory(group), row, fragments, newest, part)

    def _search(
        self,
        view: View,
        key: ScanKey,
        directory: Directory,
        row: bytes,
        fragments: Sequence[Entries] = (),
        newest: int = NEVER,
        part: Part | None = None,
    ) -> "Entries | Search":
        """What all SSTables of a locality group, laid under `fragments`, say: from the scan cache, or as a search that
        has gone as far as it can. For the arguments see `Search`."""
        # The cache speaks of the newest SSTables: after a flush, of some that came later than the memtables were asked.
        cache = self._scan_cache if view is self._state.view else None
        stored = None if cache is None else cache.get(row, key)
        if stored is not None:
            return merge_entries([*fragments, stored]) if fragments else stored
        tables = directory.asked(row, key[1])
        if not tables and not fragments and part is None:
            if cache is not None and cache.wants(row):
                cache.put(row, key, ())
            return ()
        search = Search(row, key, view, tables)
        if fragments:
            search.fragments, search.newest, search.leans = fragments, newest, newest != NEVER
        if part is not None:
            search.part, search.spans = part, part.spans
            search.leave_out(part.times)
        search.proceed()
        return search

    async def _searched(self, search: "Search") -> Entries:
        """The end of a search that must read blocks. Its view is pinned."""
        await self._read_all(search)
        return self._found(search)

    async def _read_all(self, search: "Search") -> None:
        while (reading := search.reading) is not None:
            search.take(await reading)
            search.proceed()

    def _found(self, search: "Search") -> Entries:
        """What a search has found, together with what the memtables said; and into the cache, if it is for others."""
        return self._merged(search, keep=self._is_to_be_kept(search))

    def _is_to_be_kept(self, search: "Search") -> bool:
        """Whether the scan cache wants what a search has found. An answer that leans on what the memtable knew, or that
        a flush has overtaken, or that is a part of the row, is not for others."""
        part = search.part
        if part is not None and (not part.complete or (search.cut and search.column is None)):
            return False
        return not search.leans and search.view is self._state.view and self._scan_cache.wants(search.row)

    def _merged(self, search: "Search", *, keep: bool) -> Entries:
        stored = search.entries()
        if keep:
            final = search.key[2] and not search.fragments
            newest = _final(search.view, search.row, search.column, stored) if final else None
            self._scan_cache.put(search.row, search.key, stored, newest)
        return merge_entries([*search.fragments, stored]) if search.fragments else stored


class Search(Lookup):
    """The search for a row in the SSTables of one locality group, asking no more of them than must be asked.

    They are asked from the newest to the oldest, but writers may choose the timestamps, so the newest SSTable does not
    always hold the newest version. If only the latest version of the column matters, and one as new as `newest` is
    known, an SSTable need not be asked that has nothing to say about newer ones (see `SSTable.max_relevant_timestamp`).
    What is found in an SSTable counts as known unless a deletion was found before or with it: that might hide it.

    `key`: that of the scan cache. `tables`: those that may hold the row. `fragments`: what the memtables say; the
    search `leans` on it if they hold the column. `part`: what of the row is enough. `found`: what SSTables say so far,
    decoded where that was needed to go on. `reading`: the coroutine that reads what comes next; None at the end.
    """

    __slots__ = ("_judges", "_left", "found", "fragments", "key", "leans", "newest", "part", "reading", "view")

    def __init__(self, row: bytes, key: ScanKey, view: View, tables: Tables) -> None:
        self.row = row
        self.column = column = key[1]
        self.spans = ALL_COLUMNS
        self.cut = self.leans = False
        self.key = key
        self.view = view
        self.part: Part | None = None
        self.fragments: Sequence[Entries] = ()
        self.newest = NEVER
        self.found: list[bytes | Entries] = []
        self.reading: Coroutine[Any, Any, bytes | None] | None = None
        self._left = iter(tables)
        self._judges = key[2] and column is not None and len(tables) > 1

    def leave_out(self, times: tuple[int | None, int | None]) -> None:
        """Do not ask SSTables that have nothing to say about these times."""
        tables = self.view.tables.get(self.key[0], ())
        within = tables_within(tables, self.view, times)
        if self.part is not None and len(within) < len(tables):
            self.part.complete = False
            self._left = iter([table for table in self._left if table in within])

    def proceed(self) -> None:
        """Ask the SSTables that are left, up to the first that must be read: then there is something to be awaited in
        `reading`."""
        for table in self._left:
            if table.max_relevant_timestamp <= self.newest:
                continue
            fragment = table.fragment(self)
            if fragment is not None and not isinstance(fragment, bytes):
                self.reading = fragment
                return
            self.take(fragment)
        self.reading = None

    def take(self, fragment: bytes | None) -> None:
        """Add what an SSTable says."""
        if fragment is None:
            return
        if not self._judges or self.column is None:
            self.found.append(fragment)
            return
        entries = self._decoded(fragment)
        self.found.append(entries)
        if _has_marker(entries):
            self._judges = False
        else:
            self.newest = max(self.newest, _newest_timestamp(entries, self.column))

    def entries(self) -> Entries:
        """All that was found, made one."""
        return merge_entries([found if isinstance(found, tuple) else self._decoded(found) for found in self.found])

    def _decoded(self, fragment: bytes) -> Entries:
        if self.part is None or self.part.values:
            return decode_fragment(fragment)
        return decode_without_values(fragment)


def _final(view: View, row: bytes, column: bytes | None, stored: Entries) -> bytes | None:
    """The newest value of the column if it is that of the SSTables: no memtable has heard of the row meanwhile, and no
    version policy judges it."""
    if column is None or row in view.memtables[0]:
        return None
    family = view.schema.families.get(family_of(column))
    return value_of(stored, column) if family is not None and family.rule is None else None


def groups_of(view: View, wanted: Wanted) -> list[str]:
    """The locality groups that a read must ask."""
    groups = view.schema.groups
    if len(groups) == 1:
        return list(groups)
    families = wanted.families_among(view.schema.families)
    if families is None:
        return list(groups)
    return [group for group in groups if view.families[group] & families]


def tables_within(tables: Tables, view: View, times: tuple[int | None, int | None]) -> Tables:
    """Those SSTables that have anything to say about cells with start <= timestamp < end.

    One with deletions always has. Cells that are too new must be counted where a version policy counts versions.
    """
    start, end = times
    if end is not None and any(counts_versions(family.rule) for family in view.schema.families.values()):
        end = None
    if start is None and end is None:
        return tables
    return tuple(
        table
        for table in tables
        if table.properties.markers
        or (
            (start is None or table.properties.newest_timestamp >= start)
            and (end is None or table.properties.oldest_timestamp < end)
        )
    )


def _part(wanted: Wanted, span: Span | None = None) -> Part | None:
    """The part of the row that is enough for the filter; None if it is all of it, or of the one column. `span`: not
    more than this is wanted now."""
    values = not isinstance(wanted, Program) or wanted.values
    if wanted.only_column is not None and values and wanted.times == (None, None):
        return None
    return Part(wanted.spans if span is None else (span,), wanted.times, values, values)


async def _column_after(view: View, groups: list[str], row: bytes, low: bytes, cells: int) -> bytes | None:
    """The nearest column for which any source of a wide row has about so many cells after `low`; None if all of them
    end before, or the row is small."""
    found = [memtable.column_after(row, low, cells) for memtable in view.memtables]
    for group in groups:
        for table in view.tables.get(group, ()):
            found.append(await table.column_after(row, low, cells))
    return min((column for column in found if column is not None), default=None)


def value_of(entries: Entries, column: bytes) -> bytes | None:
    """The value of the newest cell of a column, or None if there is none."""
    for found, _, kind, value in entries:
        if found == column and kind == PUT:
            return value
    return None


def _recent(view: View, row: bytes, spans: Sequence[Span]) -> list[Entries]:
    """What the memtables say of a row, the newest first, all at one moment; of a wide row, of these columns."""
    return [memtable.part(row, spans) or () for memtable in view.memtables if memtable.holds(row)]


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
