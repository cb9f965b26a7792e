"""Writing an SSTable: sorted chunks in, one immutable file out (BT 4, 5.4).

The problem. A flush or a compaction moves tens of megabytes through Python while reads and writes continue, and a crash
at any moment must leave either no SSTable or a whole one.

The idea. Work in bulk: a chunk of rows is cut into blocks by their accumulated lengths, joined, compressed and
checksummed by C code, and the Bloom filters are filled a partition at a time. The file grows under a temporary name,
is synced, and is renamed into place; whoever finds a temporary file knows that it is waste.

Invariants: (1) rows come in strictly rising order; (2) a block holds whole rows, or fragments of one wide row, which is
cut between cells; (3) each fragment can be decoded by itself.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from tablet.engine.model.checks import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP
from tablet.engine.model.chunks import Chunk
from tablet.engine.model.fragments import (
    CELL,
    CELL_BYTES,
    DELETE_CELLS,
    PUT,
    Entries,
    Entry,
    decode_fragment,
    encode_fragment,
    is_single_put,
)
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.bloom.named import POLICIES
from tablet.engine.sstable.bloom.policy import PARTITION_KEYS, column_key
from tablet.engine.sstable.format import (
    INDEX_HEADER,
    PIECE_BYTES,
    WIDE_SHARE,
    Footer,
    SealedBlock,
    pack_numbers,
    seal,
    seal_block,
)
from tablet.engine.sstable.properties import TableProperties
from tablet.engine.world.names import TEMPORARY
from tablet.engine.world.storage import Storage, StoredFile

_WRITE_BYTES = 512 * 1024
_SYNC_BYTES = 8 * 1024 * 1024
"""Synced this often while it is written, so that no single sync takes long."""


class SSTableWriter:
    """One SSTable in the making: `add` chunks, `drain` now and then, `finish` or `abandon`."""

    def __init__(self, storage: Storage, name: str, group: LocalityGroup, file: StoredFile) -> None:
        self.name = name
        self._storage = storage
        self._group = group
        self._wide_bytes = int(group.block_bytes * WIDE_SHARE)
        self._file = file
        self._rows: list[bytes] = []
        self._fragments: list[bytes] = []
        self._single_puts = True
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._offset = 0
        self._unsynced = 0
        self._block_ends: list[int] = []
        self._head_bytes: list[int] = []
        self._head_checksums: list[int] = []
        self._last_rows: list[bytes] = []
        self._next_columns: list[bytes] = []
        self._bloom_policy = POLICIES[group.bloom_policy]
        self._filters: list[bytes] = []
        self._filter_blocks: list[int] = []
        self._keys: list[bytes] = []
        self._bloom_entries = 0
        self._row_count = 0
        self._row_bytes = 0
        self._cells = 0
        self._markers = 0
        self._broad_markers = 0
        self._first_row = b""
        self._oldest = LATEST_TIMESTAMP
        self._newest = EARLIEST_TIMESTAMP

    @classmethod
    async def create(cls, storage: Storage, name: str, group: LocalityGroup) -> "SSTableWriter":
        """Begin a file. Raises AlreadyExists, NoSpace, DiskFailure."""
        return cls(storage, name, group, await storage.create(name + TEMPORARY))

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._row_count

    @property
    def file_bytes(self) -> int:
        """The file's length so far; after `finish`, for good."""
        return self._offset

    def add(self, chunk: Chunk) -> None:
        """Take some rows, all after those taken before."""
        if not chunk.rows:
            return
        if not self._row_count:
            self._first_row = chunk.rows[0]
        self._row_count += len(chunk.rows)
        longest = max(map(len, chunk.fragments))
        if longest > 2 * self._group.block_bytes or (longest > self._wide_bytes and not chunk.single_puts):
            self._add_with_large(chunk)
            return
        self._rows += chunk.rows
        self._fragments += chunk.fragments
        self._single_puts = self._single_puts and chunk.single_puts
        self._cut_blocks()

    async def drain(self, *, all_of_it: bool = False) -> None:
        """Write finished blocks to the file, if there are enough of them."""
        if self._out_bytes < _WRITE_BYTES and not all_of_it:
            return
        data, self._out, self._out_bytes = b"".join(self._out), [], 0
        await self._file.append(data)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC_BYTES:
            await self._file.sync()
            self._unsynced = 0

    def close_last_block(self) -> None:
        """No more rows come: put out the last block. Then `finish` has one filter less to make at once."""
        if self._rows:
            self._emit(self._rows, self._fragments, self._single_puts)
            self._rows, self._fragments = [], []

    async def finish(self, *, first_sequence: int, last_sequence: int) -> TableProperties:
        """Write what is left, sync, and rename into place. There must be at least one row."""
        assert self._row_count, "an SSTable without rows"
        self.close_last_block()
        self._close_filter()
        properties = self._properties(first_sequence, last_sequence)
        filter_ends = [self._put(filter_block) for filter_block in self._filters]
        index_offset = self._offset
        index_end = self._put(seal(self._index(filter_ends), self._group.compression))
        properties_end = self._put(seal(properties.to_message().SerializeToString(), self._group.compression))
        footer = Footer(index_offset, index_end - index_offset, index_end, properties_end - index_end)
        self._put(footer.encode())
        await self.drain(all_of_it=True)
        await self._file.sync()
        await self._file.close()
        await self._storage.rename(self.name + TEMPORARY, self.name)
        return properties

    async def abandon(self) -> None:
        """Let go of the file and leave it to the sweep."""
        await self._file.close()

    def _cut_blocks(self) -> None:
        rows, fragments, size = self._rows, self._fragments, self._group.block_bytes
        ends = list(accumulate(map(int.__add__, map(len, rows), map(len, fragments))))
        start, base = 0, 0
        while ends[-1] - base >= size:
            place = bisect_left(ends, base + size, start) + 1
            self._emit(rows[start:place], fragments[start:place], self._single_puts)
            if place == len(rows):
                self._rows, self._fragments, self._single_puts = [], [], True
                return
            start, base = place, ends[place - 1]
        if start:
            self._rows, self._fragments = rows[start:], fragments[start:]

    def _add_with_large(self, chunk: Chunk) -> None:
        """Rows among which are wide ones, or single cells larger than two blocks: these have blocks of their own."""
        for row, fragment in zip(chunk.rows, chunk.fragments, strict=True):
            is_wide = len(fragment) > self._wide_bytes and not is_single_put(fragment)
            if not is_wide and len(fragment) <= 2 * self._group.block_bytes:
                self._rows.append(row)
                self._fragments.append(fragment)
                self._single_puts = self._single_puts and chunk.single_puts
                self._cut_blocks()
                continue
            if self._rows:
                self._emit(self._rows, self._fragments, self._single_puts)
                self._rows, self._fragments, self._single_puts = [], [], True
            if is_wide:
                self._emit_wide(row, decode_fragment(fragment))
            else:
                self._emit([row], [fragment], chunk.single_puts)

    def _emit_wide(self, row: bytes, entries: Entries) -> None:
        """Put out the blocks of a wide row. The index knows where each one after the first begins."""
        parts = _pieces(entries, self._group.block_bytes)
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            pieces = _pieces(part, PIECE_BYTES)
            columns = [piece[0][0] for piece in pieces]
            fragments = [encode_fragment(piece) for piece in pieces]
            self._look_at([row], [part])
            self._add_keys([row], None)
            compression = self._group.compression
            self._put_block(seal_block(columns, fragments, compression, single_puts=False, wide_row=row), row)
            if following is not None:
                self._next_columns[-1] = following[0][0]

    def _emit(self, rows: Sequence[bytes], fragments: Sequence[bytes], single_puts: bool) -> None:
        """Put one data block out, its line into the index and its keys into the filter."""
        block = seal_block(rows, fragments, self._group.compression, single_puts=single_puts)
        if single_puts:
            self._add_keys(rows, self._look_at_single_puts(fragments))
        else:
            self._look_at(rows, map(decode_fragment, fragments))
            self._add_keys(rows, None)
        self._put_block(block, rows[-1])

    def _put_block(self, block: SealedBlock, last_row: bytes) -> None:
        self._row_bytes += block.body_bytes
        self._block_ends.append(self._put(block.stored))
        self._head_bytes.append(block.head_bytes)
        self._head_checksums.append(block.head_checksum)
        self._last_rows.append(last_row)
        self._next_columns.append(b"")

    def _look_at_single_puts(self, fragments: Sequence[bytes]) -> list[bytes]:
        """Count the cells; their columns, one for each row."""
        headers = list(map(CELL.unpack_from, fragments))
        self._cells += len(headers)
        self._note_timestamps([header[3] for header in headers])
        ends = [CELL_BYTES + header[2] for header in headers]
        return [fragment[CELL_BYTES:end] for fragment, end in zip(fragments, ends, strict=True)]

    def _look_at(self, rows: Sequence[bytes], contents: Iterable[Sequence[Entry]]) -> None:
        """Count cells and markers. The row-and-column keys go to the filter from here, a row may have many."""
        stamps: list[int] = []
        keys: list[bytes] = []
        for row, entries in zip(rows, contents, strict=True):
            before = None
            for column, minus, kind, _ in entries:
                if kind == PUT:
                    self._cells += 1
                    stamps.append(-minus)
                else:
                    self._markers += 1
                    if kind != DELETE_CELLS:
                        self._broad_markers += 1
                        column = b""
                if column != before:
                    keys.append(column_key(row, column))
                    before = column
        self._note_timestamps(stamps)
        self._make_room_for(len(rows) + len(keys))
        if self._group.bloom_keys == "row+column":
            self._keys += keys

    def _note_timestamps(self, stamps: list[int]) -> None:
        if stamps:
            self._oldest = min(self._oldest, min(stamps))
            self._newest = max(self._newest, max(stamps))

    def _add_keys(self, rows: Sequence[bytes], columns: list[bytes] | None) -> None:
        if self._group.bloom_keys == "none":
            return
        if columns is not None:
            self._make_room_for(2 * len(rows))
            if self._group.bloom_keys == "row+column":
                self._keys += map(column_key, rows, columns)
        self._keys += rows

    def _make_room_for(self, keys: int) -> None:
        if self._keys and len(self._keys) + keys > PARTITION_KEYS:
            self._close_filter()

    def _close_filter(self) -> None:
        """The filter of the blocks since the last one is complete."""
        if not self._keys:
            return
        self._bloom_entries += len(self._keys)
        self._filters.append(seal(self._bloom_policy.build(self._keys, self._group.false_positive_rate).encode()))
        self._filter_blocks.append(len(self._block_ends))
        self._keys = []

    def _put(self, stored: bytes) -> int:
        self._out.append(stored)
        self._out_bytes += len(stored)
        self._offset += len(stored)
        return self._offset

    def _index(self, filter_ends: list[int]) -> bytes:
        return b"".join(
            (
                INDEX_HEADER.pack(len(self._block_ends), len(filter_ends)),
                pack_numbers("Q", self._block_ends),
                pack_numbers("I", accumulate(map(len, self._last_rows))),
                pack_numbers("I", accumulate(map(len, self._next_columns))),
                pack_numbers("Q", filter_ends),
                pack_numbers("I", self._filter_blocks),
                pack_numbers("I", self._head_bytes),
                pack_numbers("I", self._head_checksums),
                *self._last_rows,
                *self._next_columns,
            )
        )

    def _properties(self, first_sequence: int, last_sequence: int) -> TableProperties:
        oldest, newest = (self._oldest, self._newest) if self._cells else (0, 0)
        return TableProperties(
            group=self._group.name,
            rows=self._row_count,
            cells=self._cells,
            markers=self._markers,
            broad_markers=self._broad_markers,
            first_row=self._first_row,
            last_row=self._last_rows[-1],
            oldest_timestamp=oldest,
            newest_timestamp=newest,
            first_sequence=first_sequence,
            last_sequence=last_sequence,
            blocks=len(self._block_ends),
            row_bytes=self._row_bytes,
            data_bytes=self._block_ends[-1],
            bloom_keys=self._group.bloom_keys,
            bloom_entries=self._bloom_entries,
            bloom_bytes=sum(map(len, self._filters)),
            bloom_policy=self._bloom_policy.name,
            false_positive_rate=self._group.false_positive_rate,
            compression=self._group.compression,
        )


def _pieces(entries: Sequence[Entry], size: int) -> list[list[Entry]]:
    """A wide row's entries in pieces of about this size in bytes; a single cell is never cut."""
    pieces: list[list[Entry]] = [[]]
    filled = 0
    for entry in entries:
        if filled >= size:
            pieces.append([])
            filled = 0
        pieces[-1].append(entry)
        filled += CELL_BYTES + len(entry[0]) + len(entry[3])
    return pieces
