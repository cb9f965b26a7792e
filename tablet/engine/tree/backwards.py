"""Sources of sorted rows, read from the last row to the first; the counterpart of `sources.py`.

A chunk is in rising order here, too, and each chunk lies before the one that came before it. So a merge works on the
same chunks with the same functions, and who wants single rows turns each chunk round.
"""

from collections.abc import Awaitable, Callable, Sequence

from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.spans import EVERYWHERE, within
from tablet.engine.sstable.format import Block
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.sources import (
    FEW_ROWS,
    MANY_ROWS,
    MEMTABLE_ROWS,
    MORE,
    ChainedSource,
    Heads,
    Source,
    restricted,
)
from tablet.engine.world.eventual import Eventual, finished


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

    def next(self) -> Eventual[Chunk]:
        """A few rows, or those of the block before or so."""
        while self._few < MANY_ROWS and self._place > self._since:
            block = self._block or self._table.at_hand(self._place - 1)
            if not isinstance(block, Block):
                return self._after_loading(block)
            if block.wide:
                break
            self._block = block
            few = self._table.few_rows(self._place - 1, block, self._start, self._end, self._few, last=True)
            if not isinstance(few, Chunk):
                return self._after_reading(few)
            if self._noted(few):
                return few
        return self._whole_blocks() if self._place > self._since else EMPTY

    def _noted(self, few: Chunk) -> bool:
        """Whether there are any. What comes next lies before them."""
        if len(few.rows) < self._few:  # The block has no more.
            self._place -= 1
            self._block = None
        self._few *= MORE
        if few.rows:
            self._end = few.rows[0]
        return bool(few.rows)

    async def _after_loading(self, block: Awaitable[Block]) -> Chunk:
        self._block = await block
        return await finished(self.next())

    async def _after_reading(self, reading: Awaitable[Chunk]) -> Chunk:
        few = await reading
        return few if self._noted(few) else await finished(self.next())

    async def _whole_blocks(self) -> Chunk:
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
        self._few = FEW_ROWS

    def next(self) -> Chunk:
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
