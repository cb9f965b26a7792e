"""Sources of sorted rows, read from the last row to the first; the counterpart of `sources.py`.

A chunk is in rising order here, too, and each chunk lies before the one that came before it. So a merge works on the
same chunks with the same functions, and who wants single rows turns each chunk round.
"""

from collections.abc import Awaitable, Callable, Sequence

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.spans import EVERYWHERE, within
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.sources import MEMTABLE_ROWS, ChainedSource, Heads, Source, restricted
from tablet.engine.world.eventual import Eventual


class TableBackwards:
    """The rows of an SSTable with start <= row < end (empty: no bound), the last ones first."""

    def __init__(self, table: SSTable, *, start: bytes = b"", end: bytes = b"") -> None:
        self._table = table
        self._start = start
        self._end = end
        self._place = min(table.place_of(end) + 1, table.blocks) if end else table.blocks
        self._since = table.place_of(start) if start else 0

    async def next(self) -> Chunk:
        """The rows of the block before or so."""
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
    spans = ((start, end),) if table.spans == EVERYWHERE else within(table.spans, start, end)
    if len(spans) == 1:
        (low, high), *_ = spans
        return TableBackwards(table, start=low, end=high)
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

    def next(self) -> Chunk:
        """The rows before that have anything to say."""
        while not self._done:
            chunk = self._memtable.chunk(self._start, MEMTABLE_ROWS, end=self._end, last=True)
            self._done = len(chunk.rows) < MEMTABLE_ROWS
            if not self._done:
                self._end = chunk.rows[0]
            if self._families is not None:
                chunk = restricted(chunk, self._families)
            if chunk.rows:
                return chunk
        return EMPTY


class MergeBackwards:
    """As `MergeCursor`, from the last row to the first."""

    def __init__(self, sources: Sequence[Source], merge: Callable[[Sequence[Chunk]], Chunk]) -> None:
        self._heads = Heads(sources)
        self._merge = merge

    def next(self) -> Eventual[Chunk]:
        """The merged rows down to the nearest beginning of a chunk: for these, every source has said all it knows."""
        waiting = self._heads.fill()
        return self._merged() if waiting is None else self._later(waiting)

    async def _later(self, waiting: Awaitable[None]) -> Chunk:
        await waiting
        return self._merged()

    def _merged(self) -> Chunk:
        heads = self._heads.chunks
        if not heads:
            return EMPTY
        limit = max([head.rows[0] for head in heads])
        parts: list[Chunk] = []
        for place, head in enumerate(heads):
            if head.rows[-1] >= limit:
                heads[place], part = head.split_before(limit)
                parts.append(part)
        return self._merge(parts)
