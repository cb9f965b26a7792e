"""Reading an SSTable: one binary search in memory, one block from the file (BT 4).

The problem. A point read should touch one block, or none if the row is not there; a scan should read each block once;
and no byte may be believed that does not match its checksum.

The idea. Opening reads the footer, the index, the filters and the properties; they stay in memory, a few bytes for each
row. If the filters do not deny the row (`directory.py`), its block is found by `bisect` on the last rows of the blocks,
and looked for in the cache before it is read. A file that never makes its reader wait (`PromptFile`) is read at once;
for any other there is a coroutine that reads (`world/eventual.py`). What is done with the bytes is the same.

What we simplify. The index is not itself split into blocks: a file of a million 64 KB blocks would have an index of
some hundred megabytes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Coroutine, Sequence
from itertools import pairwise
from typing import Any

from crc32c import crc32c

from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, TabletopError
from tablet.engine.model.checks import LATEST_TIMESTAMP
from tablet.engine.model.chunks import EMPTY, Chunk, joined
from tablet.engine.model.fragments import AFTER_MARKERS, ALL_COLUMNS, Span, decode_fragment
from tablet.engine.model.spans import EVERYWHERE, Spans, within
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.bloom.named import policy_of
from tablet.engine.sstable.bloom.policy import Filter, FilterPolicy, column_key
from tablet.engine.sstable.format import (
    FOOTER_BYTES,
    PIECE_BYTES,
    TRAILER_BYTES,
    Block,
    Footer,
    check_part,
    decode_footer,
    unseal,
    unsealed_body,
)
from tablet.engine.sstable.index import decode_index
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.world.eventual import Eventual, finished
from tablet.engine.world.storage import PromptFile, Storage, StoredFile

_RUN_BYTES = 64 * 1024
_CELL_BYTES = 40
"""About what a small cell takes in a fragment."""
_MARKERS: Span = (b"", b"\0\xff")
"""Where markers of a row and of its families stand."""
_HEAD = "head of the block"
_FRAGMENT = "fragment of a row"


Few = tuple[Chunk, bool]
"""Rows, and whether there may be more in the range that was asked for; if there are none, there are no more."""
NO_MORE: Few = (EMPTY, False)


class Lookup:
    """What a point read asks an SSTable: a row, or one column of it.

    `spans`: of a wide row only these columns are wanted, in order, if not one `column` is. `cut`: so some of it has
    been left out.
    """

    __slots__ = ("column", "cut", "row", "spans")

    def __init__(self, row: bytes, column: bytes | None, spans: Sequence[Span] = ALL_COLUMNS) -> None:
        self.row = row
        self.column = column
        self.spans = spans
        self.cut = False


class SSTable:
    """One open SSTable. Immutable, so that readers need no locks.

    `max_relevant_timestamp`: it has nothing to say about versions newer than this. That is the timestamp of its newest
    cell, unless it holds deletions: those may hide cells of older SSTables however new the timestamps are that these
    claim. `spans`: only these rows of it count for the tablet that has opened it; the other ones are another tablet's,
    or deleted. Point reads (`directory.py`) and `few_rows` see no others; who reads chunks asks for the spans
    (`clipped_source`).
    `column_keys`: the filters know columns; `marker_keys`: and deletions of whole rows or families, which there are.
    """

    def __init__(
        self, name: str, number: int, file: StoredFile, file_bytes: int, cache: BlockCache, spans: Spans = EVERYWHERE
    ) -> None:
        self.name = name
        self.number = number
        self.file_bytes = file_bytes
        self.max_relevant_timestamp = LATEST_TIMESTAMP
        self.bloom_checks = 0
        self.bloom_passes = 0
        self.bloom_mistakes = 0
        self.spans = spans
        self._is_closed = False
        self._file = file
        self._read_now = file.read_now if isinstance(file, PromptFile) else None
        self._cache = cache
        self._cache_number = cache.enter(file.path)
        self._properties: TableProperties | None = None
        self.damaged_parts: dict[str, TabletopError] | None = None
        self.passed_over: dict[str, TabletopError] = {}
        """The parts that cannot be read, and that the file is used without: filters, and properties that are known."""
        self._block_ends: Sequence[int] = ()
        self._head_bytes: Sequence[int] = ()
        self._head_checksums: Sequence[int] = ()
        self._last_rows: list[bytes] = []
        self._next_columns: list[bytes] = []
        self._has_wide_rows = False
        self._filters: list[Filter] = []
        self.filter_ends: Sequence[int] = ()
        """For each filter, the first block that it does not cover."""
        self.column_keys = False
        self.marker_keys = False
        self._parts: list[tuple[str, int, int]] = []

    @classmethod
    async def open(
        cls,
        storage: Storage,
        name: str,
        number: int,
        cache: BlockCache,
        *,
        spans: Spans = EVERYWHERE,
        known: TableProperties | None = None,
        only_blocks: bool = False,
    ) -> "SSTable":
        """Open a file and load its index. Raises NotFound, IncompatibleFormat, Corrupted, DiskFailure. `known`: the
        properties, as somebody else has them; then the file is used though these or the filters cannot be read.
        `only_blocks`: filters and properties may be damaged or unknown; they are not there then, and `damaged_parts`
        says how."""
        file = await storage.open(name)
        try:
            size = await file.size()
        except BaseException:
            await file.close()
            raise
        table = cls(name, number, file, size, cache, spans)
        try:
            table.damaged_parts = {} if only_blocks else None
            await table._load(known)
        except BaseException:
            await table.close()
            raise
        return table

    @property
    def properties(self) -> TableProperties:
        """What the file says about itself."""
        assert self._properties is not None
        return self._properties

    @property
    def blocks(self) -> int:
        """The number of data blocks."""
        return len(self._last_rows)

    @property
    def filters(self) -> Sequence[Filter]:
        """The Bloom filters, one for each partition."""
        return self._filters

    @property
    def bloom_rejections(self) -> int:
        """How often the filters denied what they were asked for."""
        return self.bloom_checks - self.bloom_passes if self._filters else 0

    def fragment(self, wanted: "Lookup", loaded: Block | None = None) -> Eventual[bytes | None]:
        """The fragment of a row that is not larger than the last one here, or None. Of a wide row, what is not wanted
        is left out. `loaded`: what `_load_for_search` has read for it."""
        row, read_now = wanted.row, self._read_now
        place = bisect_left(self._last_rows, row)
        if self._has_wide_rows and self._next_columns[place] and self._last_rows[place] == row:
            return self._wide_row(place, wanted)
        block = self._cache.get((self._cache_number, place)) if loaded is None else loaded
        if block is None:
            if read_now is None:
                return self._fragment_later(place, wanted)
            block = self._checked_for_search(place, read_now(*self._range_for_search(place)))
        if block.wide:
            if block.prefix == row:
                return self._wide_row(place, wanted)
            part = None
        else:
            part = block.part_of(row)
        if part is None:
            self.bloom_mistakes += 1
            return None
        begin, end, checksum = part
        if block.whole:
            return block.data[begin:end]
        offset = block.offset + begin
        if read_now is None:
            return self._part_later(offset, end - begin, checksum)
        fragment = read_now(offset, end - begin)
        if crc32c(fragment) != checksum:
            check_part(fragment, checksum, _FRAGMENT, self.name, offset)
        return fragment

    async def _fragment_later(self, place: int, wanted: "Lookup") -> bytes | None:
        return await finished(self.fragment(wanted, await self._load_for_search(place)))

    async def _part_later(self, offset: int, length: int, checksum: int) -> bytes:
        """One fragment of a block that is readable in parts."""
        fragment = await self._file.read_at(offset, length)
        check_part(fragment, checksum, _FRAGMENT, self.name, offset)
        return fragment

    async def column_after(self, row: bytes, low: bytes, cells: int) -> bytes | None:
        """Of a wide row a column after `low`, with about so many cells between them; None if the row ends before, or
        is small, or is not here."""
        place, last = self._blocks_of(row)
        if place > last:
            return None
        block_place = bisect_right(self._next_columns, low, place, last)
        block = await finished(self.at_hand(block_place))
        if not block.wide:
            return None
        taken = 1 + cells * _CELL_BYTES // PIECE_BYTES
        piece = max(block.pieces(low, low)[1] - 1, 0) + taken
        if piece < block.count:
            return block.first_column(piece)
        return self._next_columns[block_place] if block_place < last else None

    def few_rows(self, start: bytes, end: bytes, few: int, last: bool, *, clipped: bool = False) -> Eventual[Few]:
        """Of the rows with start <= row < end (empty: no bound) that count, the first ones, or the `last` ones: at most
        `few` of one block, or those of a wide row and its neighbours. Where a block is readable in parts, no other row
        is read. `clipped`: all rows of this range count."""
        if self.spans != EVERYWHERE and not clipped:
            return self._few_rows_within(within(self.spans, start, end), few, last)
        rows = self._last_rows
        if last:
            place = min(bisect_left(rows, end), len(rows) - 1) if end else len(rows) - 1
        else:
            place = bisect_left(rows, start) if start else 0
        return NO_MORE if place == len(rows) else self._few_rows(place, start, end, few, last)

    async def _few_rows_within(self, spans: Spans, few: int, last: bool) -> Few:
        for start, end in reversed(spans) if last else spans:
            chunk, _ = await finished(self.few_rows(start, end, few, last, clipped=True))
            if chunk.rows:
                return chunk, True
        return NO_MORE

    def _few_rows(
        self, place: int, start: bytes, end: bytes, few: int, last: bool, loaded: Block | None = None
    ) -> Eventual[Few]:
        """As `few_rows`, of the block at `place`, which was `loaded` perhaps, or of the one before it."""
        read_now, rows = self._read_now, self._last_rows
        block = self._cache.get((self._cache_number, place)) if loaded is None else loaded
        if block is None:
            if read_now is None:
                return self._few_rows_later(place, start, end, few, last)
            block = self._checked_for_search(place, read_now(*self._range_for_search(place)))
        if block.wide:
            begin, stop = 0, int(not end or block.prefix < end)
        else:
            begin = block.place_of(start) if start else 0
            stop = block.place_of(end) if end and end <= rows[place] else block.count
        if begin >= stop:
            return self._few_rows(place - 1, start, end, few, last) if last and not stop and place else NO_MORE
        if block.wide:
            return self._rows_around(place, start, end, last)
        if last:
            more = stop - few > begin or (place > 0 and rows[place - 1] >= start)
            begin = max(begin, stop - few)
        else:
            more = begin + few < stop or (place + 1 < len(rows) and (not end or end > rows[place]))
            stop = min(stop, begin + few)
        if block.whole:
            return block.chunk(begin, stop), more
        first, after = block.extent(begin, stop)
        if read_now is None:
            return self._rows_later(block, begin, stop, more, self._file.read_at(block.offset + first, after - first))
        return self._checked_rows(block, begin, stop, read_now(block.offset + first, after - first)), more

    async def _few_rows_later(self, place: int, start: bytes, end: bytes, few: int, last: bool) -> Few:
        block = await self._load_for_search(place)
        return await finished(self._few_rows(place, start, end, few, last, block))

    async def _rows_around(self, place: int, start: bytes, end: bytes, last: bool) -> Few:
        """The rows with start <= row < end of a block that has a wide row, which is one of them, and its neighbours."""
        chunk, _ = await (self.chunk_before(place + 1, 0) if last else self.chunk(place, self.blocks))
        chunk = chunk.since(start).before(end) if end else chunk.since(start)
        return (chunk, True) if chunk.rows else NO_MORE  # Without rows: the last block lies before the range.

    async def _rows_later(
        self, block: Block, begin: int, stop: int, more: bool, reading: Coroutine[Any, Any, bytes]
    ) -> Few:
        return self._checked_rows(block, begin, stop, await reading), more

    def _checked_rows(self, block: Block, begin: int, stop: int, stored: bytes) -> Chunk:
        """The rows of a block from one place to another, of which the fragments were read."""
        chunk = block.chunk(begin, stop, stored)
        if list(map(crc32c, chunk.fragments)) != block.checksums(begin, stop):
            for fragment, number in zip(chunk.fragments, range(begin, stop), strict=True):
                offset, _, checksum = block.part(number)
                check_part(fragment, checksum, _FRAGMENT, self.name, block.offset + offset)
        return chunk

    async def chunk(self, place: int, until: int, *, cached: bool = True) -> tuple[Chunk, int]:
        """All rows of the block at `place`, and of following ones before block `until` if it is small or its last row
        continues there; and the place of the first block after them."""
        chunks: list[Chunk] = []
        taken = 0
        while place < until:
            block = self.block(place, cached=cached)
            if not isinstance(block, Block):
                block = await block
            chunks.append(block.chunk())
            taken += block.charged_bytes
            place += 1
            if taken >= _RUN_BYTES and not self._next_columns[place - 1]:
                break
        return (joined(chunks) if len(chunks) > 1 else chunks[0] if chunks else EMPTY), place

    async def chunk_before(self, place: int, since: int) -> tuple[Chunk, int]:
        """All rows of the block before `place`, and of those before it, from block `since` on, if it is small or its
        first row begins there; and the place of the first block of these."""
        blocks: list[Block] = []
        taken = 0
        while place > since:
            place -= 1
            block = await finished(self.block(place))
            blocks.append(block)
            taken += block.charged_bytes
            if taken >= _RUN_BYTES and not (place and self._next_columns[place - 1]):
                break
        chunks = [block.chunk() for block in reversed(blocks)]
        return (joined(chunks) if len(chunks) > 1 else chunks[0] if chunks else EMPTY), place

    def place_of(self, row: bytes) -> int:
        """The first block that may hold `row` or a later one."""
        return bisect_left(self._last_rows, row)

    def block(self, place: int, *, cached: bool = True) -> Eventual[Block]:
        """One whole data block, checked; from the cache if it is there, and into it if `cached`, unless the cache keeps
        its head: a scan does not drive heads out with what the page cache has as well."""
        found = self._cache.get((self._cache_number, place)) if cached else None
        if found is not None and found.whole:
            return found
        if self._read_now is None:
            return self._load_block(place, keep=cached)
        return self._checked_block(place, self._read_now(*self.block_range(place)), keep=cached)

    def index_entry(self, place: int) -> tuple[bytes, bytes]:
        """What the index says of a block: its last row; and if that continues in the next block, the column there."""
        return self._last_rows[place], self._next_columns[place]

    def filter_of(self, place: int) -> Filter | None:
        """The Bloom filter that covers a block."""
        return self._filters[bisect_right(self.filter_ends, place)] if self._filters else None

    @property
    def parts(self) -> Sequence[tuple[str, int, int]]:
        """What stands after the data blocks: (what, offset, stored bytes)."""
        return self._parts

    def block_range(self, place: int) -> tuple[int, int]:
        """Where a stored block begins, and its length with its trailer."""
        start = self._block_ends[place - 1] if place else 0
        return start, self._block_ends[place] - start

    def share_of(self, spans: Spans) -> int:
        """About how many bytes of the file belong to these rows: whole blocks, and as much of what comes after them."""
        data, total = 0, self._block_ends[-1]
        for start, end in spans:
            first, last = self.place_of(start), min(self.place_of(end), self.blocks - 1) if end else self.blocks - 1
            if first <= last and (not end or end > self.properties.first_row):
                data += self._block_ends[last] - (self._block_ends[first - 1] if first else 0)
        return min(self.file_bytes, max(1, self.file_bytes * data // max(1, total)))

    async def verify(self) -> int:
        """Read every block and compare with the index and the properties; returns the blocks read. Raises Corrupted."""
        rows = 0
        before = b""
        for place in range(self.blocks):
            block = await self._load_block(place, keep=False)
            self.check_parts(place, block)
            chunk = block.chunk()
            rows += len(chunk.rows) - (chunk.rows[0] == before)
            if chunk.rows != sorted(chunk.rows) or chunk.rows[0] < before or chunk.rows[-1] != self._last_rows[place]:
                raise Corrupted(f"{self.name}: the rows of block {place} are not in order, or not as the index says")
            before = chunk.rows[-1]
        if rows != self.properties.rows:
            raise Corrupted(f"{self.name} has {rows:,} rows, its properties say {self.properties.rows:,}")
        return self.blocks

    def check_parts(self, place: int, block: Block) -> None:
        """Compare a whole block with the checksums that are there for reading it in parts, and the fragments of a wide
        row with the columns that they are found by. Raises Corrupted."""
        offset, head_bytes = self.block_range(place)[0], self._head_bytes[place]
        for number in range(block.count if block.wide else 0):
            begin, end, _ = block.part(number)
            entries = decode_fragment(block.data[begin:end])
            if not entries or entries[0][0] != block.first_column(number):
                raise Corrupted(f"{self.name}: fragment {number} of block {place} does not begin as the block says")
        if block.in_parts != (head_bytes > 0):
            raise Corrupted(f"{self.name}: index and block {place} disagree about whether it can be read in parts")
        if not head_bytes:
            return
        check_part(block.data[:head_bytes], self._head_checksums[place], _HEAD, self.name, offset)
        for number in range(block.count):
            begin, end, checksum = block.part(number)
            check_part(block.data[begin:end], checksum, _FRAGMENT, self.name, offset + begin)

    async def close(self) -> None:
        """Let go of the file and of its blocks in the cache."""
        if not self._is_closed:
            self._is_closed = True
            self._cache.leave(self._file.path, self.blocks)
        await self._file.close()

    async def _load_block(self, place: int, *, keep: bool = True) -> Block:
        start, length = self.block_range(place)
        return self._checked_block(place, await self._file.read_at(start, length), keep=keep)

    def _checked_block(self, place: int, stored: bytes, *, keep: bool = True) -> Block:
        """A block of which these bytes were read."""
        start, length = self.block_range(place)
        self._check_length(stored, start, length)
        data, body_bytes = unseal(stored, self.name, start)
        block = Block(data, body_bytes, self.name, start)
        if keep and (self._cache.whole_blocks or not block.in_parts):
            self._cache.put((self._cache_number, place), block)
        return block

    def _blocks_of(self, row: bytes) -> tuple[int, int]:
        """The first and the last block of a row that is the last one in its blocks; (0, -1) for any other."""
        first = bisect_left(self._last_rows, row)
        last = bisect_right(self._last_rows, row, first) - 1
        return (first, last) if last >= first else (0, -1)

    def _span(self, first: int, last: int, span: Span) -> range:
        """Which of a wide row's blocks may hold columns of a span: a block begins at the one before's next column."""
        low, high = span
        begin = bisect_left(self._next_columns, low, first, last)
        end = last if high is None else bisect_right(self._next_columns, high, begin, last)
        return range(begin, end + 1)

    def wide_row_may_hold(self, row: bytes, column: bytes | None) -> bool:
        """What the filters say of a row that has several blocks, and so perhaps several filters. The row is there."""
        if column is None or not self.column_keys:
            return True
        first, last = self._blocks_of(row)
        key = column_key(row, column)
        found = [self.filter_of(place) for place in self._span(first, last, (column, column))]
        return any(one is not None and one.may_contain(key) for one in found) or self._may_hold_markers(first, row)

    def _may_hold_markers(self, place: int, row: bytes) -> bool:
        """Whether the row that begins in this block may have been deleted, or a family of it."""
        found = self.filter_of(place) if self.marker_keys else None
        return self.properties.broad_markers > 0 if found is None else found.may_contain(column_key(row, b""))

    async def _wide_row(self, place: int, wanted: "Lookup") -> bytes:
        """The fragments of a wide row that may hold what is wanted, one after another; the first ones if they hold
        markers of the row or of its families."""
        first, last = self._blocks_of(wanted.row)
        spans = wanted.spans if wanted.column is None else ((wanted.column, wanted.column),)
        if spans is not ALL_COLUMNS:
            wanted.cut = True
        if spans[0][0] >= AFTER_MARKERS and self._may_hold_markers(first, wanted.row):
            spans = (_MARKERS, *spans)
        found: list[bytes] = []
        done = (first, 0)
        for low, high in spans:
            for number in self._span(first, last, (low, high)):
                block = await finished(self.at_hand(number))
                if not block.wide or block.prefix != wanted.row:
                    raise Corrupted(
                        f"{self.name}: block {number} lacks the row {wanted.row[:80]!r}, which continues there; "
                        f"restore the file from a copy"
                    )
                begin, end = block.pieces(low, high)
                begin = max(begin, done[1]) if number == done[0] else begin
                if number >= done[0] and begin < end:
                    found.append(await self._pieces(number, block, begin, end))
                    done = (number, end)
        return b"".join(found)

    def at_hand(self, place: int) -> Eventual[Block]:
        """A block, or its head if that is enough to find what is in it; at once, if it is in the cache."""
        block = self._cache.get((self._cache_number, place))
        return block if block is not None else self._load_for_search(place)

    async def _load_for_search(self, place: int) -> Block:
        """Read a block, or its head if it is readable in parts, and put it into the cache."""
        return self._checked_for_search(place, await self._file.read_at(*self._range_for_search(place)))

    def _range_for_search(self, place: int) -> tuple[int, int]:
        """Where the block begins, and how much of it is read."""
        start = self._block_ends[place - 1] if place else 0
        head_bytes = 0 if self._cache.whole_blocks else self._head_bytes[place]
        return start, head_bytes or self._block_ends[place] - start

    def _checked_for_search(self, place: int, data: bytes) -> Block:
        """The block, or the head of it, of which these bytes were read; it goes into the cache."""
        if self._cache.whole_blocks or not self._head_bytes[place]:
            return self._checked_block(place, data)
        start, length = self.block_range(place)
        self._check_length(data, start, self._head_bytes[place])
        check_part(data, self._head_checksums[place], _HEAD, self.name, start)
        block = Block(data, length - TRAILER_BYTES, self.name, start)
        self._cache.put((self._cache_number, place), block)
        return block

    async def _pieces(self, place: int, block: Block, begin: int, end: int) -> bytes:
        """The fragments of a wide row's block from `begin` to `end`, not included, in one reading."""
        start, stop = block.extent(begin, end)
        if block.whole:
            return block.data[start:stop]
        base = self.block_range(place)[0]
        data = await self._file.read_at(base + start, stop - start)
        for number in range(begin, end):
            first, after, checksum = block.part(number)
            check_part(data[first - start : after - start], checksum, _FRAGMENT, self.name, base + first)
        return data

    async def _read(self, start: int, length: int) -> bytes:
        data = await self._file.read_at(start, length)
        self._check_length(data, start, length)
        return data

    def _check_length(self, data: bytes, start: int, length: int) -> None:
        if len(data) != length:
            raise Corrupted(f"{self.name}: {length} bytes expected at offset {start}, the file has {len(data)} there")

    async def _load(self, known: TableProperties | None) -> None:
        tail = await self._file.read_at(max(0, self.file_bytes - FOOTER_BYTES), FOOTER_BYTES)
        footer = decode_footer(tail, self.name, self.file_bytes)
        index = unsealed_body(await self._read(footer.index_offset, footer.index_bytes), self.name, footer.index_offset)
        found = decode_index(index, self.name, footer)
        self._block_ends, self._last_rows, self._next_columns = found.block_ends, found.last_rows, found.next_columns
        self._head_bytes, self._head_checksums = found.head_bytes, found.head_checksums
        self._has_wide_rows = any(found.next_columns)
        self.filter_ends = found.filter_ends
        self._parts = found.parts(footer, self.file_bytes)
        if self.damaged_parts is not None:
            await self._note_damaged_parts()
            return
        try:
            self._properties = await self._read_properties(footer)
        except (Corrupted, DiskFailure) as error:
            if known is None:
                raise
            self._properties, self.passed_over["properties"] = known, error
        try:
            self._filters = await self._read_filters([self._block_ends[-1], *found.filter_offsets])
        except (Corrupted, DiskFailure) as error:
            if known is None:
                raise
            self.passed_over["filters"] = error
        self.column_keys = self.properties.bloom_keys == "row+column" and "filters" not in self.passed_over
        self.marker_keys = self.column_keys and self.properties.broad_markers > 0
        if not self.properties.markers:
            self.max_relevant_timestamp = self.properties.newest_timestamp

    async def _read_properties(self, footer: Footer) -> TableProperties:
        where = footer.properties_offset
        text = unsealed_body(await self._read(where, footer.properties_bytes), self.name, where)
        return TableProperties.decode(text, self.name)

    async def _read_filters(self, bounds: Sequence[int]) -> list[Filter]:
        """All filters, by the policy that the file names."""
        found = []
        for start, end in pairwise(bounds):
            policy = policy_of(self.name, self.properties.bloom_policy)
            body = unsealed_body(await self._read(start, end - start), self.name, start)
            found.append(_decoded(policy, body, self.name, start))
        return found

    async def _note_damaged_parts(self) -> None:
        assert self.damaged_parts is not None
        policy_name = None
        for what, offset, length in reversed(self._parts[:-1]):
            try:
                body = unsealed_body(await self._read(offset, length), self.name, offset)
                if what == "properties":
                    policy_name = TableProperties.decode(body, self.name).bloom_policy
                elif what.startswith("filter") and policy_name is not None:
                    _decoded(policy_of(self.name, policy_name), body, self.name, offset)
            except (Corrupted, IncompatibleFormat) as error:
                self.damaged_parts[what] = error


def _decoded(policy: FilterPolicy, body: bytes, name: str, offset: int) -> Filter:
    """A filter. Raises Corrupted, naming the file and the offset, and IncompatibleFormat."""
    try:
        return policy.decode(body)
    except (Corrupted, IncompatibleFormat) as error:
        raise type(error)(f"{name}: the filter at offset {offset}: {error.message}") from error
