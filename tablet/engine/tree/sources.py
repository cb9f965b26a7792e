"""Sources of sorted rows, and the cursor that merges them.

A source gives its rows a chunk at a time; `EMPTY` is its end. A cursor over several sources takes from each what lies
up to the smallest last row among their current chunks: for these rows it knows everything, so it can merge them in
bulk.

Sources are for scans of many rows, and for compactions: what they take from an SSTable are whole blocks. The first rows
of a scan come otherwise (`nearest.py`). What is in memory is there at once, and no coroutine is made for it
(`world/eventual.py`).
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.fragments import PUT, decode_fragment, encode_fragment, family_of
from tablet.engine.model.spans import EVERYWHERE, within
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable
from tablet.engine.world.eventual import Eventual, finished

MEMTABLE_ROWS = 256


class Source(Protocol):
    """Sorted rows, chunk by chunk."""

    def next(self) -> Eventual[Chunk]:
        """The next rows, at least one, at once or, if something must be read, later; EMPTY at the end, again and
        again. Whoever gets a coroutine waits for it before he asks again."""


class TableSource:
    """The rows of an SSTable with start <= row < end (empty: no bound). `cached`: its blocks may be in the cache."""

    def __init__(self, table: SSTable, *, start: bytes = b"", end: bytes = b"", cached: bool = True) -> None:
        self._table = table
        self._start = start
        self._end = end
        self._cached = cached
        self._place = table.place_of(start) if start else 0
        self._until = min(table.place_of(end) + 1, table.blocks) if end else table.blocks

    async def next(self) -> Chunk:
        """The rows of the next block or so."""
        while self._place < self._until:
            chunk, self._place = await self._table.chunk(self._place, self._until, cached=self._cached)
            if self._start:
                chunk, self._start = chunk.since(self._start), b""
            if self._end and chunk.rows and chunk.rows[-1] >= self._end:
                chunk, self._place = chunk.before(self._end), self._until
            if chunk.rows:
                return chunk
        return EMPTY


class ChainedSource:
    """Sources one after the other, each with rows behind those of the one before, in the direction of the read."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._left = list(reversed(sources))

    def next(self) -> Eventual[Chunk]:
        """The next rows of the first source that has any."""
        while self._left:
            chunk = self._left[-1].next()
            if not isinstance(chunk, Chunk):
                return self._later(chunk)
            if chunk.rows:
                return chunk
            self._left.pop()
        return EMPTY

    async def _later(self, reading: Awaitable[Chunk]) -> Chunk:
        chunk = await reading
        while not chunk.rows:
            self._left.pop()
            if not self._left:
                return EMPTY
            chunk = await finished(self._left[-1].next())
        return chunk


def clipped_source(table: SSTable, *, start: bytes = b"", end: bytes = b"", cached: bool = True) -> Source:
    """The rows of an SSTable with start <= row < end that count: those of its spans."""
    spans = ((start, end),) if table.spans == EVERYWHERE else within(table.spans, start, end)
    if len(spans) == 1:
        (low, high), *_ = spans
        return TableSource(table, start=low, end=high, cached=cached)
    return ChainedSource([TableSource(table, start=low, end=high, cached=cached) for low, high in spans])


class MemtableSource:
    """The rows of a memtable, which may change meanwhile. `families`: leave out the cells of others."""

    def __init__(
        self, memtable: Memtable, *, start: bytes = b"", end: bytes = b"", families: frozenset[bytes] | None = None
    ) -> None:
        self._memtable = memtable
        self._start = start
        self._end = end
        self._families = families
        self._done = False

    def next(self) -> Chunk:
        """The next rows that have anything to say."""
        while not self._done:
            chunk = self._memtable.chunk(self._start, MEMTABLE_ROWS, end=self._end)
            self._done = len(chunk.rows) < MEMTABLE_ROWS
            if not self._done:
                self._start = chunk.rows[-1] + b"\0"
            if self._families is not None:
                chunk = restricted(chunk, self._families)
            if chunk.rows:
                return chunk
        return EMPTY


class MergeCursor:
    """Several sources as one; `merge` says what becomes of rows that more than one of them has. Is itself a source.
    `slice_rows`: merge no more rows than this at a time, or one of each source; 0: up to the nearest end of a chunk."""

    def __init__(
        self, sources: Sequence[Source], merge: Callable[[Sequence[Chunk]], Chunk], *, slice_rows: int = 0
    ) -> None:
        self._slice_rows = slice_rows
        self._heads = Heads(sources)
        self._merge = merge

    def next(self) -> Eventual[Chunk]:
        """The merged rows up to the nearest end of a chunk."""
        waiting = self._heads.fill()
        return self._merged() if waiting is None else self._later(waiting)

    async def _later(self, waiting: Awaitable[None]) -> Chunk:
        await waiting
        return self._merged()

    def _merged(self) -> Chunk:
        heads = self._heads.chunks
        if not heads:
            return EMPTY
        if len(heads) == 1 and not self._slice_rows:
            head, heads[0] = heads[0], EMPTY
            return head
        each = max(1, self._slice_rows // len(heads))
        limit = min([head.rows[min(each, len(head.rows)) - 1 if self._slice_rows else -1] for head in heads])
        parts: list[Chunk] = []
        for place, head in enumerate(heads):
            if head.rows[0] <= limit:
                part, heads[place] = head.split_after(limit)
                parts.append(part)
        return self._merge(parts)


class Heads:
    """The chunk that comes next of each of some sources that have not ended, in their order."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.chunks: list[Chunk] = [EMPTY] * len(sources)
        self._sources = list(sources)

    def fill(self) -> Coroutine[Any, Any, None] | None:
        """Ask the sources whose chunk is used up; None if that is done, else a coroutine that does the rest."""
        for place in range(len(self.chunks) - 1, -1, -1):
            if not self.chunks[place].rows:
                found = self._sources[place].next()
                if not isinstance(found, Chunk):
                    return self._fill_later(place, found)
                self._take(place, found)
        return None

    async def _fill_later(self, place: int, reading: Awaitable[Chunk]) -> None:
        self._take(place, await reading)
        for before in range(place - 1, -1, -1):
            if not self.chunks[before].rows:
                self._take(before, await finished(self._sources[before].next()))

    def _take(self, place: int, chunk: Chunk) -> None:
        if chunk.rows:
            self.chunks[place] = chunk
        else:
            del self.chunks[place], self._sources[place]


def restricted(chunk: Chunk, families: frozenset[bytes]) -> Chunk:
    """The chunk less the cells and markers of other families. Deletions of whole rows stay: they concern all."""
    rows: list[bytes] = []
    fragments: list[bytes] = []
    for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
        before = decode_fragment(fragment)
        after = tuple(entry for entry in before if not entry[0] or family_of(entry[0]) in families)
        if after:
            rows.append(row)
            fragments.append(fragment if len(after) == len(before) else encode_fragment(after))
    return Chunk(rows, fragments, chunk.single_puts)


def unite_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Put the cells of different locality groups side by side: they share rows but no columns. Markers have done their
    work within each group and are left out."""
    found: dict[bytes, list[bytes]] = {}
    for chunk in chunks:
        for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
            found.setdefault(row, []).append(fragment)
    rows = sorted(found)
    return Chunk(rows, [_united(found[row]) for row in rows], False)


def _united(fragments: Sequence[bytes]) -> bytes:
    entries = [entry for fragment in fragments for entry in decode_fragment(fragment) if entry[2] == PUT]
    return encode_fragment(sorted(entries))
