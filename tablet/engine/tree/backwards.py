"""Sources of sorted rows, read from the last row to the first; the counterpart of `sources.py`.

A chunk is in rising order here, too, and each chunk lies before the one that came before it. So a merge works on the
same chunks with the same functions, and who wants single rows turns each chunk round.
"""

from collections.abc import Callable, Sequence

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.spans import within
from tablet.engine.sstable.format import Block
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.sources import FEW_ROWS, MANY_ROWS, MEMTABLE_ROWS, MORE, ChainedSource, Source, restricted


class TableBackwards:
    """The rows of an SSTable with start <= row < end (empty: no bound), the last ones first."""

    def __init__(self, table: SSTable, *, start: bytes = b"", end: bytes = b"") -> None:
        self._table = table
        self._start = start
        self._end = end
        self._place = min(table.place_of(end) + 1, table.blocks) if end else table.blocks
        self._since = table.place_of(start) if start else 0
        self._few = FEW_ROWS
        self._block: Block | None = None

    async def next(self) -> Chunk:
        """The rows of the block before, or so, or a few."""
        while self._few < MANY_ROWS and self._place > self._since:
            block = self._block = self._block or await self._table.at_hand(self._place - 1)
            if block.wide:
                break
            bounds = self._start, self._end
            few = await self._table.few_rows(self._place - 1, block, bounds, self._few, last=True)
            if len(few) < self._few:  # The block has no more.
                self._place -= 1
                self._block = None
            self._few *= MORE
            if few:
                self._end = few.rows[0]
                return few
        self._few, self._block = MANY_ROWS, None
        while self._place > self._since:
            chunk, self._place = await self._table.chunk_before(self._place, self._since)
            if self._end:
                if chunk.rows[-1] >= self._end:
                    chunk = chunk.before(self._end)
                else:
                    self._end = b""  # All that follows lies before it.
            if self._start and chunk.rows and chunk.rows[0] < self._start:
                chunk, self._place = chunk.since(self._start), self._since
            if chunk.rows:
                return chunk
        return EMPTY


def clipped_backwards(table: SSTable, *, start: bytes = b"", end: bytes = b"") -> Source:
    """As `clipped_source`: the rows with start <= row < end that count."""
    spans = within(table.spans, start, end)
    return ChainedSource([TableBackwards(table, start=low, end=high) for low, high in reversed(spans)])


class MemtableBackwards:
    """The rows of a memtable, which may change meanwhile, the last ones first. `families`: as for `MemtableSource`."""

    def __init__(
        self, memtable: Memtable, *, start: bytes = b"", end: bytes = b"", families: frozenset[bytes] | None = None
    ) -> None:
        self._memtable = memtable
        self._start = start
        self._end = end
        self._families = families
        self._done = False
        self._few = FEW_ROWS

    async def next(self) -> Chunk:
        """The rows before that have anything to say."""
        while not self._done:
            chunk = self._memtable.rows_before(self._end, self._few)
            self._done = len(chunk.rows) < self._few
            self._few = min(self._few * MORE, MEMTABLE_ROWS)
            if chunk.rows:
                self._end = chunk.rows[0]
                if chunk.rows[0] < self._start:
                    chunk, self._done = chunk.since(self._start), True
            if self._families is not None:
                chunk = restricted(chunk, self._families)
            if chunk.rows:
                return chunk
        return EMPTY


class MergeBackwards:
    """As `MergeCursor`, from the last row to the first."""

    def __init__(self, sources: Sequence[Source], merge: Callable[[Sequence[Chunk]], Chunk]) -> None:
        self._sources = list(sources)
        self._heads: list[Chunk] = [EMPTY] * len(sources)
        self._merge = merge

    async def next(self) -> Chunk:
        """The merged rows down to the nearest beginning of a chunk: for these, every source has said all it knows."""
        for place, source in enumerate(self._sources):
            if not self._heads[place].rows:
                self._heads[place] = await source.next()
        alive = [place for place, head in enumerate(self._heads) if head.rows]
        self._sources = [self._sources[place] for place in alive]
        self._heads = [self._heads[place] for place in alive]
        if not self._heads:
            return EMPTY
        limit = max([head.rows[0] for head in self._heads])
        parts = [head.since(limit) for head in self._heads]
        self._heads = [head.before(limit) for head in self._heads]
        return self._merge([part for part in parts if part.rows])
