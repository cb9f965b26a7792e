"""The merging of SSTables, in slices (BT 5.4).

The inputs are read from their beginnings to their ends, past the block cache, which belongs to the readers, and merged
chunk by chunk; after each chunk others get a turn. Trouble with an input says which one it was (`UnreadableInput`),
since it is set aside then; trouble with the output is anything else.
"""

from collections.abc import Awaitable, Callable, Sequence

from runtime.errors import TabletopError
from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.schema import Schema
from tablet.engine.sstable.reader import SSTable
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.merge import collect_chunk, merge_chunks
from tablet.engine.tree.sources import MergeCursor, clipped_source
from tablet.engine.world.eventual import finished


class UnreadableInput(Exception):
    """A compaction came to nothing because of one of its inputs, and `error` says what is wrong with it."""

    def __init__(self, table: SSTable, error: TabletopError) -> None:
        super().__init__(error.message)
        self.table = table
        self.error = error


class _Input:
    """An SSTable as the source of a compaction, which says whose the trouble is."""

    def __init__(self, table: SSTable, start: bytes, end: bytes) -> None:
        self._table = table
        self._source = clipped_source(table, start=start, end=end, cached=False)

    async def next(self) -> Chunk:
        try:
            return await finished(self._source.next())
        except TabletopError as error:
            raise UnreadableInput(self._table, error) from error


async def apply_compaction(
    tables: Sequence[SSTable],
    writer: SSTableWriter,
    *,
    schema: Schema,
    now: int,
    drop_markers: bool,
    bounds: tuple[bytes, bytes],
    breathe: Callable[[], Awaitable[None]],
    slice_rows: int = 0,
) -> None:
    """Merge `tables` (newest first) into `writer`, at most `slice_rows` at a time, or some hundred kilobytes. The
    blocks do not go through the cache, which belongs to the readers. Raises UnreadableInput; NoSpace, DiskFailure for
    the output."""
    start, end = bounds
    cursor = MergeCursor([_Input(table, start, end) for table in tables], merge_chunks, slice_rows=slice_rows)
    while (chunk := await finished(cursor.next())) is not EMPTY:
        await write_slice(chunk, writer, schema=schema, now=now, drop_markers=drop_markers)
        await breathe()


async def write_slice(chunk: Chunk, writer: SSTableWriter, *, schema: Schema, now: int, drop_markers: bool) -> None:
    """One slice of a flush or a compaction: collect the garbage, cut blocks, write them."""
    writer.add(collect_chunk(chunk, schema, now, drop_markers=drop_markers))
    await writer.drain()
