"""Reading an SSTable: one binary search in memory, one block from the file (BT 4).

The problem. A point read should touch one block, or none if the row is not there; a scan should read each block once;
and no byte may be believed that does not match its checksum.

The idea. Opening reads the footer, the index, the filters and the properties; they stay in memory, a few bytes for each
row. A read asks the filter of the partition where the row would be, finds the block by `bisect` on the last rows of the
blocks, and looks for the block in the cache before it reads it.

What we simplify. The index is not itself split into blocks: a file of a million 64 KB blocks would have an index of
some hundred megabytes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Coroutine, Sequence
from itertools import pairwise
from typing import Any

from crc32c import crc32c

from runtime.errors import Corrupted, IncompatibleFormat, TabletopError
from tablet.engine.model.checks import LATEST_TIMESTAMP
from tablet.engine.model.chunks import EMPTY, Chunk, joined
from tablet.engine.model.fragments import AFTER_MARKERS, ALL_COLUMNS, Span, decode_fragment
from tablet.engine.model.spans import EVERYWHERE, Spans, contains
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.bloom.named import policy_of
from tablet.engine.sstable.bloom.policy import Filter, FilterPolicy, HashedKey, column_key
from tablet.engine.sstable.format import (
    FOOTER_BYTES,
    INDEX_HEADER,
    PIECE_BYTES,
    TRAILER_BYTES,
    Block,
    Footer,
    check_part,
    decode_footer,
    unpack_numbers,
    unseal,
    unsealed_body,
)
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


class Lookup:
    """What a point read asks every SSTable: a row, or one column of it. Each key is hashed once, not once a filter.

    `spans`: of a wide row only these columns are wanted, in order, if not one `column` is. `cut`: so some of it has
    been left out.
    """

    __slots__ = ("_marker_key", "_row_key", "column", "cut", "row", "spans", "wanted_key")

    def __init__(self, row: bytes, column: bytes | None, spans: Sequence[Span] = ALL_COLUMNS) -> None:
        self.row = row
        self.column = column
        self.spans = spans
        self.cut = False
        self.wanted_key = HashedKey(row if column is None else column_key(row, column))
        self._row_key = self.wanted_key if column is None else None
        self._marker_key: HashedKey | None = None

    def row_key(self) -> HashedKey:
        """The key of the row, for filters that know nothing of columns."""
        if self._row_key is None:
            self._row_key = HashedKey(self.row)
        return self._row_key

    def marker_key(self) -> HashedKey:
        """The key of a deletion of the whole row or of a family."""
        if self._marker_key is None:
            self._marker_key = HashedKey(column_key(self.row, b""))
        return self._marker_key


class SSTable:
    """One open SSTable. Immutable, so that readers need no locks.

    `max_relevant_timestamp`: it has nothing to say about versions newer than this. That is the timestamp of its newest
    cell, unless it holds deletions: those may hide cells of older SSTables however new the timestamps are that these
    claim. `spans`: only these rows of it count for the tablet that has opened it; the other ones are another tablet's,
    or deleted. Point reads (`locate`) see no others; who reads chunks asks for the spans (`clipped_source`).
    """

    def __init__(
        self, name: str, number: int, file: StoredFile, file_bytes: int, cache: BlockCache, spans: Spans = EVERYWHERE
    ) -> None:
        self.name = name
        self.number = number
        self.file_bytes = file_bytes
        self.max_relevant_timestamp = LATEST_TIMESTAMP
        self.bloom_checks = 0
        self.bloom_rejections = 0
        self.bloom_mistakes = 0
        self.spans = spans
        self._is_closed = False
        self._is_clipped = spans != EVERYWHERE
        self._file = file
        self._read_now = file.read_now if isinstance(file, PromptFile) else None
        self._cache = cache
        self._cache_number = cache.enter(file.path)
        self._properties: TableProperties | None = None
        self.damaged_parts: dict[str, TabletopError] | None = None
        self._block_ends: Sequence[int] = ()
        self._head_bytes: Sequence[int] = ()
        self._head_checksums: Sequence[int] = ()
        self._first_row = b""
        self._last_rows: list[bytes] = []
        self._next_columns: list[bytes] = []
        self._filters: list[Filter] = []
        self._filter_blocks: Sequence[int] = ()
        self._filter_of_block: list[Filter] = []
        self._column_keys = False
        self._marker_keys = False
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
        only_blocks: bool = False,
    ) -> "SSTable":
        """Open a file and load its index. Raises NotFound, IncompatibleFormat, Corrupted, DiskFailure. `only_blocks`:
        filters and properties may be damaged or unknown; they are not there then, and `damaged_parts` says how."""
        file = await storage.open(name)
        try:
            size = await file.size()
        except BaseException:
            await file.close()
            raise
        table = cls(name, number, file, size, cache, spans)
        try:
            table.damaged_parts = {} if only_blocks else None
            await table._load()
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

    def locate(self, wanted: "Lookup") -> int:
        """The place of the first block that may hold anything that is looked for, or -1. No I/O."""
        row = wanted.row
        place = bisect_left(self._last_rows, row)
        if place == len(self._last_rows) or row < self._first_row:
            return -1
        if self._is_clipped and not contains(self.spans, row):
            return -1
        if not self._filters:
            return place
        self.bloom_checks += 1
        found = self._filter_of_block[place]
        if found.may_contain(wanted.wanted_key if self._column_keys else wanted.row_key()):
            return place
        if self._next_columns[place] and self._last_rows[place] == row:
            if self._wide_may_hold(place, wanted):
                return place
        elif self._marker_keys and found.may_contain(wanted.marker_key()):
            return place
        self.bloom_rejections += 1
        return -1

    def fragment(self, place: int, wanted: "Lookup") -> Eventual[bytes | None]:
        """The row's fragment, or None; `place` is from `locate`. Of a wide row, what is not wanted is left out."""
        if self._next_columns[place] and self._last_rows[place] == wanted.row:
            return self._wide_row(place, wanted)
        block = self._cache.get((self._cache_number, place))
        return self._load_fragment(place, wanted) if block is None else self._in_block(place, block, wanted)

    def _in_block(self, place: int, block: Block, wanted: "Lookup") -> Eventual[bytes | None]:
        """As `fragment`, of a row that is in this block or nowhere."""
        row = wanted.row
        if block.wide and block.prefix == row:
            return self._wide_row(place, wanted)
        found = -1 if block.wide else block.find(row)
        if found < 0:
            self.bloom_mistakes += 1
            return None
        begin, end, checksum = block.part(found)
        if block.whole:
            return block.data[begin:end]
        return self._read_part(begin + (self._block_ends[place - 1] if place else 0), end - begin, checksum)

    async def _load_fragment(self, place: int, wanted: "Lookup") -> bytes | None:
        found = self._in_block(place, await self._load_for_search(place), wanted)
        return found if found is None or isinstance(found, bytes) else await found

    async def _read_part(self, offset: int, length: int, checksum: int) -> bytes:
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

    def few_rows(
        self, place: int, block: Block, start: bytes, end: bytes, few: int, *, last: bool = False
    ) -> Eventual[Chunk]:
        """Of the block at `place`, which is `at_hand` and not wide, the first rows with start <= row < end (empty: no
        bound), or the `last` ones, at most so many. Where it is readable in parts, no other row is read."""
        begin = block.place_of(start) if start else 0
        stop = block.place_of(end) if end and end <= self._last_rows[place] else block.count
        if last:
            begin = max(begin, stop - few)
        else:
            stop = min(stop, begin + few)
        if begin >= stop:
            return EMPTY
        if block.whole:
            return block.chunk(begin, stop)
        base = self._block_ends[place - 1] if place else 0
        first, after = block.extent(begin, stop)
        if self._read_now is None:
            return self._rows_later(base, block, begin, stop, self._file.read_at(base + first, after - first))
        return self._checked_rows(base, block, begin, stop, self._read_now(base + first, after - first))

    async def _rows_later(
        self, base: int, block: Block, begin: int, stop: int, reading: Coroutine[Any, Any, bytes]
    ) -> Chunk:
        return self._checked_rows(base, block, begin, stop, await reading)

    def _checked_rows(self, base: int, block: Block, begin: int, stop: int, stored: bytes) -> Chunk:
        """The rows of a block, which begins at `base`, from one place to another, of which the fragments were read."""
        chunk = block.chunk(begin, stop, stored)
        if list(map(crc32c, chunk.fragments)) != block.checksums(begin, stop):
            for fragment, number in zip(chunk.fragments, range(begin, stop), strict=True):
                offset, _, checksum = block.part(number)
                check_part(fragment, checksum, _FRAGMENT, self.name, base + offset)
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
        return self._filter_of_block[place] if self._filter_of_block else None

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
            if first <= last and (not end or end > self._first_row):
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

    async def _load_head(self, place: int) -> Block:
        """The head of a block that is readable in parts."""
        start, length = self.block_range(place)
        data = await self._read(start, self._head_bytes[place])
        check_part(data, self._head_checksums[place], _HEAD, self.name, start)
        block = Block(data, length - TRAILER_BYTES, self.name, start)
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

    def _wide_may_hold(self, place: int, wanted: "Lookup") -> bool:
        """What the filters say of a row that has several blocks, and so perhaps several filters. The row is there."""
        if wanted.column is None or not self._column_keys:
            return True
        filters = self._filter_of_block
        places = self._span(*self._blocks_of(wanted.row), (wanted.column, wanted.column))
        return any(filters[block].may_contain(wanted.wanted_key) for block in places) or (
            self._may_hold_markers(place, wanted)
        )

    def _may_hold_markers(self, place: int, wanted: "Lookup") -> bool:
        """Whether the row that begins in this block may have been deleted, or a family of it."""
        if not self._marker_keys:
            return self.properties.broad_markers > 0
        return self._filter_of_block[place].may_contain(wanted.marker_key())

    async def _wide_row(self, place: int, wanted: "Lookup") -> bytes:
        """The fragments of a wide row that may hold what is wanted, one after another; the first ones if they hold
        markers of the row or of its families."""
        first, last = self._blocks_of(wanted.row)
        spans = wanted.spans if wanted.column is None else ((wanted.column, wanted.column),)
        if spans is not ALL_COLUMNS:
            wanted.cut = True
        if spans[0][0] >= AFTER_MARKERS and self._may_hold_markers(first, wanted):
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

    def _load_for_search(self, place: int) -> Coroutine[Any, Any, Block]:
        """Read a block, or its head if it is readable in parts, and put it into the cache."""
        in_parts = self._head_bytes[place] and not self._cache.whole_blocks
        return self._load_head(place) if in_parts else self._load_block(place)

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

    async def _load(self) -> None:
        tail = await self._file.read_at(max(0, self.file_bytes - FOOTER_BYTES), FOOTER_BYTES)
        footer = decode_footer(tail, self.name, self.file_bytes)
        index = unsealed_body(await self._read(footer.index_offset, footer.index_bytes), self.name, footer.index_offset)
        filter_ends = self._parse_index(index, footer)
        start = self._block_ends[-1]
        self._parts = _parts_of(footer, [start, *filter_ends], self.file_bytes)
        if self.damaged_parts is not None:
            await self._note_damaged_parts()
            return
        where = footer.properties_offset
        text = unsealed_body(await self._read(where, footer.properties_bytes), self.name, where)
        self._properties = TableProperties.decode(text, self.name)
        await self._load_filters([start, *filter_ends])
        self._first_row = self._properties.first_row
        self._column_keys = self._properties.bloom_keys == "row+column"
        self._marker_keys = self._column_keys and self._properties.broad_markers > 0
        if not self._properties.markers:
            self.max_relevant_timestamp = self._properties.newest_timestamp

    async def _load_filters(self, bounds: Sequence[int]) -> None:
        """All filters, by the policy that the file names."""
        for start, end in pairwise(bounds):
            policy = policy_of(self.name, self.properties.bloom_policy)
            body = unsealed_body(await self._read(start, end - start), self.name, start)
            self._filters.append(_decoded(policy, body, self.name, start))
        for found, last in zip(self._filters, self._filter_blocks, strict=True):
            self._filter_of_block += [found] * (last - len(self._filter_of_block))

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

    def _parse_index(self, index: bytes, footer: Footer) -> Sequence[int]:
        """Take the index apart; returns where each filter ends."""
        try:
            count, filters = INDEX_HEADER.unpack_from(index)
            position = INDEX_HEADER.size
            self._block_ends = unpack_numbers("Q", index[position : (position := position + 8 * count)])
            row_ends = unpack_numbers("I", index[position : (position := position + 4 * count)])
            column_ends = unpack_numbers("I", index[position : (position := position + 4 * count)])
            filter_ends = unpack_numbers("Q", index[position : (position := position + 8 * filters)])
            filter_blocks = unpack_numbers("I", index[position : (position := position + 4 * filters)])
            self._head_bytes = unpack_numbers("I", index[position : (position := position + 4 * count)])
            self._head_checksums = unpack_numbers("I", index[position : (position := position + 4 * count)])
            self._last_rows = _cut(index, position, row_ends)
            self._next_columns = _cut(index, position + row_ends[-1], column_ends)
            rising = [*self._block_ends, *filter_ends, footer.index_offset]
            if position + row_ends[-1] + column_ends[-1] != len(index) or rising != sorted(rising):
                raise ValueError("its lengths do not add up")
            if filters and filter_blocks[-1] != count:
                raise ValueError("the filters do not cover all blocks")
            self._filter_blocks = filter_blocks
        except TabletopError:
            raise
        except Exception as error:
            raise Corrupted(f"{self.name}: its index cannot be read ({error}); restore the file from a copy") from error
        return filter_ends


def _parts_of(footer: Footer, filter_bounds: Sequence[int], file_bytes: int) -> list[tuple[str, int, int]]:
    bounds = pairwise(filter_bounds)
    parts = [(f"filter {number}", start, end - start) for number, (start, end) in enumerate(bounds)]
    parts.append(("index", footer.index_offset, footer.index_bytes))
    parts.append(("properties", footer.properties_offset, footer.properties_bytes))
    parts.append(("footer", file_bytes - FOOTER_BYTES, FOOTER_BYTES))
    return parts


def _decoded(policy: FilterPolicy, body: bytes, name: str, offset: int) -> Filter:
    """A filter. Raises Corrupted, naming the file and the offset, and IncompatibleFormat."""
    try:
        return policy.decode(body)
    except (Corrupted, IncompatibleFormat) as error:
        raise type(error)(f"{name}: the filter at offset {offset}: {error.message}") from error


def _cut(data: bytes, start: int, ends: Sequence[int]) -> list[bytes]:
    if not ends[-1]:
        return [b""] * len(ends)
    return [data[start + low : start + high] for low, high in zip([0, *ends], ends, strict=False)]
