"""The SSTable file: an ordered, immutable map from row to fragment (BT 4), constant by constant.

    data block 0 | … | data block n-1 | filter 0 | … | filter m-1 | index | properties | footer

Every block, of whatever kind, is stored as

    body | u8 compression | u32 CRC32C of body and compression byte

A *data block*, once decompressed, keeps keys and fragments apart, so that a reader finds a row by binary search in the
keys alone, and a merge moves fragments without parsing them:

    u32 rows | u32 prefix length | u32 keys length | u8 flags | prefix | u32 key end … (rows) |
    u32 fragment end … (rows) | u32 fragment CRC32C … (rows, with flag 2) | keys without the prefix | fragments

The prefix is what all its row keys begin with. Flag 1: every fragment is exactly one cell.

A *wide row* has blocks of its own, with flag 4: it is cut between cells into fragments of about half a kilobyte, the
prefix is its key, and in place of row keys stands the first column of each fragment. So a column of a wide row is found
as a row is: by a binary search in the index for the block, and by another within the block for the fragment.

A block that compression does not make smaller is stored as it is; then flag 2 makes it *readable in parts*, as GFS
reads a part of a chunk with the checksums of that part (GFS 5.2). Its *head*, all that is before the fragments, has a
checksum in the index, and each fragment one in the head: a point read that finds the head in the cache reads one
fragment, and is as sure of every byte it uses as if it had read the block. `docs/decisions/` tells what that is good
for. Only blocks whose head is a small part of them are written so.

The *index* says for each data block where it ends, its last row, if that row continues in the next block the first
column there, and if it is readable in parts the length and the CRC32C of its head. The *filters* partition the blocks:
filter i covers the blocks up to its index entry. The *properties* are a message of
`proto/tablet.proto`. The *footer* has a fixed size and ends with
the magic, so that the file is read from its end.

All numbers are little-endian. `docs/formats/sstable.md` walks through a small file byte by byte.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import cramjam
import crc32c

from runtime.errors import Corrupted, IncompatibleFormat
from tablet.engine.model.chunks import EMPTY, Chunk
from tablet.engine.model.schema import Compression

MAGIC = b"TTsstab1"
VERSION = 4

FOOTER = struct.Struct("<QIQIII8s")
"""index offset and length, properties offset and length, version, CRC32C of what is before it, magic."""
FOOTER_BYTES = FOOTER.size

TRAILER = struct.Struct("<BI")
TRAILER_BYTES = TRAILER.size

BLOCK_HEADER = struct.Struct("<IIIB")
SINGLE_PUTS = 1
IN_PARTS = 2
WIDE_ROW = 4

INDEX_HEADER = struct.Struct("<II")
"""data blocks, filters."""

COMPRESSION_CODES: dict[Compression, int] = {"none": 0, "snappy": 1, "lz4": 2, "zstd": 3}
WORTH_COMPRESSING = 7 / 8
"""A block that does not shrink to this share is stored as it is, and costs its readers nothing."""

WORTH_READING_IN_PARTS = 1 / 8
"""A block whose head is a larger share of it than this is always read whole."""

WIDE_SHARE = 1 / 4
"""A row with several cells that is larger than this share of a block is a wide row."""

PIECE_BYTES = 512
"""A wide row is cut into fragments of about so many bytes: what is decoded to read one of its cells."""

_FIND_ROWS = 64
"""A search within a block halves the rows until so many are left; about as many of a kilobyte fill a block."""

_ROW_CHARGE_BYTES = 12
"""The numbers that say where a row's key and fragment end, and perhaps a checksum, are also held beside the block."""

_BLOCK_CHARGE_BYTES = 600

_compressors: dict[Compression, Callable[[Any], Any]] = {
    "snappy": cramjam.snappy.compress_raw,
    "lz4": cramjam.lz4.compress_block,
    "zstd": lambda data: cramjam.zstd.compress(data, 1),
}
_decompressors: dict[int, Callable[[Any], Any]] = {
    1: cramjam.snappy.decompress_raw,
    2: cramjam.lz4.decompress_block,
    3: cramjam.zstd.decompress,
}


@dataclass(frozen=True, slots=True)
class Footer:
    """Where the index and the properties are."""

    index_offset: int
    index_bytes: int
    properties_offset: int
    properties_bytes: int

    def encode(self) -> bytes:
        """The last bytes of the file."""
        fields = (self.index_offset, self.index_bytes, self.properties_offset, self.properties_bytes, VERSION)
        checksum = crc32c.crc32c(FOOTER.pack(*fields, 0, b"")[: -4 - len(MAGIC)])
        return FOOTER.pack(*fields, checksum, MAGIC)


def decode_footer(data: bytes, name: str, file_bytes: int) -> Footer:
    """Read the last FOOTER_BYTES of a file. Raises IncompatibleFormat for a foreign or future file, Corrupted."""
    if len(data) < FOOTER_BYTES or data[-len(MAGIC) :] != MAGIC:
        raise IncompatibleFormat(
            f"{name} is not a whole SSTable: it has {file_bytes:,} bytes and ends with {data[-len(MAGIC) :]!r}, "
            f"an SSTable with {MAGIC!r}; if it was one, it is cut off: restore it from a copy"
        )
    *fields, version, checksum, _ = FOOTER.unpack(data[-FOOTER_BYTES:])
    if crc32c.crc32c(data[-FOOTER_BYTES : -4 - len(MAGIC)]) != checksum:
        raise Corrupted(f"{name}: the footer does not match its CRC32C; restore the file from a copy")
    if version != VERSION:
        raise IncompatibleFormat(
            f"{name} has format version {version}, this program reads {VERSION}; use one that reads it"
        )
    footer = Footer(*fields)
    end = file_bytes - FOOTER_BYTES
    if footer.index_offset + footer.index_bytes > end or footer.properties_offset + footer.properties_bytes > end:
        raise Corrupted(f"{name}: the footer points beyond the end of the file at {file_bytes:,}")
    return footer


def seal(body: bytes, compression: Compression = "none") -> bytes:
    """A block as it is stored: compressed if that is worth while, with its trailer."""
    code = 0
    if compression != "none":
        shorter = bytes(_compressors[compression](body))
        if len(shorter) <= len(body) * WORTH_COMPRESSING:
            body, code = shorter, COMPRESSION_CODES[compression]
    return body + TRAILER.pack(code, crc32c.crc32c(bytes((code,)), crc32c.crc32c(body)))


def unseal(stored: bytes, name: str, offset: int) -> tuple[bytes, int]:
    """Check a stored block; returns bytes that begin with its body, and the body's length: a body that was not
    compressed is not copied. Raises Corrupted or IncompatibleFormat, naming the file and the offset."""
    body_bytes = len(stored) - TRAILER_BYTES
    if body_bytes < 0:
        raise Corrupted(f"{name}: the block at offset {offset} has {len(stored)} bytes; restore the file from a copy")
    code, checksum = TRAILER.unpack_from(stored, body_bytes)
    found = crc32c.crc32c(memoryview(stored)[:-4])
    if found != checksum:
        raise Corrupted(
            f"{name}: the block at offset {offset} has CRC32C {found:#010x}, its trailer says {checksum:#010x}; "
            f"restore the file from a copy"
        )
    if code == 0:
        return stored, body_bytes
    if code not in _decompressors:
        raise IncompatibleFormat(
            f"{name}: the block at offset {offset} has compression {code}, which this version does not know"
        )
    try:
        body = bytes(_decompressors[code](memoryview(stored)[:body_bytes]))
    except (cramjam.DecompressionError, ValueError, OverflowError) as error:
        raise Corrupted(f"{name}: the block at offset {offset} cannot be decompressed ({error})") from error
    return body, len(body)


def unsealed_body(stored: bytes, name: str, offset: int) -> bytes:
    """The body of a stored block. Errors as `unseal`."""
    data, length = unseal(stored, name, offset)
    return data[:length]


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A data block as it is stored. `head_bytes` and `head_checksum` are 0 if it is not readable in parts."""

    stored: bytes
    body_bytes: int
    head_bytes: int = 0
    head_checksum: int = 0


def seal_block(
    rows: Sequence[bytes],
    fragments: Sequence[bytes],
    compression: Compression,
    *,
    single_puts: bool,
    wide_row: bytes = b"",
) -> SealedBlock:
    """Make a data block of sorted rows: compressed or, where that is not worth while, readable in parts. `wide_row`:
    it holds fragments of this row alone, and their first columns take the place of row keys."""
    body = encode_block(rows, fragments, single_puts=single_puts, wide_row=wide_row)
    stored = seal(body, compression)
    head_bytes = len(body) - sum(map(len, fragments)) + 4 * len(rows)
    is_compressed = stored[-TRAILER_BYTES] != 0
    if is_compressed or head_bytes > len(body) * WORTH_READING_IN_PARTS:
        return SealedBlock(stored, len(body))
    body = encode_block(rows, fragments, single_puts=single_puts, in_parts=True, wide_row=wide_row)
    return SealedBlock(seal(body), len(body), head_bytes, crc32c.crc32c(body[:head_bytes]))


def encode_block(
    rows: Sequence[bytes],
    fragments: Sequence[bytes],
    *,
    single_puts: bool,
    in_parts: bool = False,
    wide_row: bytes = b"",
) -> bytes:
    """The body of a data block. The rows are sorted; of a `wide_row` they are the first columns of its fragments.

    >>> body = encode_block([b"apple", b"apricot"], [b"A", b"BB"], single_puts=False)
    >>> block = Block(body, len(body), "doctest", 0)
    >>> block.fragment(b"apricot"), block.fragment(b"plum")
    (b'BB', None)
    """
    prefix = wide_row or rows[0][: _common_length(rows[0], rows[-1])]
    cut = 0 if wide_row else len(prefix)
    suffixes = [row[cut:] for row in rows]
    keys = b"".join(suffixes)
    flags = (SINGLE_PUTS if single_puts else 0) | (IN_PARTS if in_parts else 0) | (WIDE_ROW if wide_row else 0)
    header = BLOCK_HEADER.pack(len(rows), len(prefix), len(keys), flags)
    key_ends = pack_numbers("I", accumulate(map(len, suffixes)))
    fragment_ends = pack_numbers("I", accumulate(map(len, fragments)))
    checksums = pack_numbers("I", map(crc32c.crc32c, fragments)) if in_parts else b""
    return b"".join((header, prefix, key_ends, fragment_ends, checksums, keys, *fragments))


def check_part(part: bytes, checksum: int, what: str, name: str, offset: int) -> None:
    """Compare a part of a block with its checksum. Raises Corrupted, naming the file and the offset."""
    found = crc32c.crc32c(part)
    if found != checksum:
        raise Corrupted(
            f"{name}: the {what} at offset {offset} has CRC32C {found:#010x}, {checksum:#010x} was written; "
            f"restore the file from a copy"
        )


class Block:
    """A decompressed data block, read in place. Raises Corrupted if its lengths do not add up.

    The block has `length` bytes, from `offset` of its file on; `data` may be longer, or only the block's head: it is
    `whole` or not. Both find a row;
    where it is not whole, its fragment must be fetched. `wide`: it has fragments of one row alone, the `prefix`, and
    finds those of a span of columns.

    Keys are looked for where they lie, for a list of them would need more memory than the block. Halving the rows as
    `bisect` does takes a step of Python each; so that is repeated only until 64 rows are left. Among these one
    `bytes.find` looks for the key's bytes, and one `bisect` in the numbers that say where keys end tells whether what
    it found is a key, or a part of a longer one, or of two. Where all keys are equally long, a division tells.
    """

    __slots__ = (
        "_fragments_start",
        "_key_bytes",
        "_keys_start",
        "_numbers",
        "charged_bytes",
        "count",
        "data",
        "in_parts",
        "offset",
        "prefix",
        "single_puts",
        "whole",
        "wide",
    )

    def __init__(self, data: bytes, length: int, name: str, offset: int) -> None:
        held = min(len(data), length)
        if held < BLOCK_HEADER.size:
            raise Corrupted(f"{name}: the data block at offset {offset} has {held} bytes, less than its header")
        count, prefix_bytes, keys_bytes, flags = BLOCK_HEADER.unpack_from(data)
        prefix_end = BLOCK_HEADER.size + prefix_bytes
        self.in_parts = bool(flags & IN_PARTS)
        keys_start: int = prefix_end + count * (12 if flags & IN_PARTS else 8)
        self._keys_start = keys_start
        self._fragments_start = fragments_start = keys_start + keys_bytes
        if count == 0 or fragments_start > held:
            raise Corrupted(f"{name}: the data block at offset {offset} claims {count} rows in {held} bytes")
        self.data = data
        self.offset = offset
        self.count: int = count
        self.prefix = data[BLOCK_HEADER.size : prefix_end]
        self.single_puts = bool(flags & SINGLE_PUTS)
        self.wide = bool(flags & WIDE_ROW)
        self.whole = held == length
        self.charged_bytes: int = held + count * _ROW_CHARGE_BYTES + _BLOCK_CHARGE_BYTES
        # Where the keys end; from `count` on, where the fragments end; and, in parts, from there on their checksums.
        self._numbers = numbers = unpack_numbers("I", data[prefix_end:keys_start])
        # How long each key is, without the prefix; 0 if they are not all as long as the first.
        equal = data[prefix_end : prefix_end + 4 * count] == _ends_of_equal(numbers[0], count)
        self._key_bytes: int = numbers[0] if equal else 0
        if numbers[count - 1] != keys_bytes or fragments_start + numbers[2 * count - 1] != length:
            raise Corrupted(f"{name}: the data block at offset {offset} has keys or fragments of another length")

    def __len__(self) -> int:
        return self.count

    @property
    def body_bytes(self) -> int:
        """The block's length, decompressed."""
        return int(self._fragments_start + self._numbers[2 * self.count - 1])

    def part_of(self, row: bytes) -> tuple[int, int, int] | None:
        """As `part`, of a row; None if it is not here."""
        prefix = self.prefix
        if not row.startswith(prefix):
            return None
        key = row[len(prefix) :]
        data, ends, start, length = self.data, self._numbers, self._keys_start, len(key)
        low, high = 0, self.count
        while high - low > _FIND_ROWS:
            middle = (low + high) // 2
            if data[start + ends[middle - 1] : start + ends[middle]] <= key:
                low = middle
            else:
                high = middle
        begin = start + (ends[low - 1] if low else 0)
        stop = start + ends[high - 1] if high < self.count else self._fragments_start
        if self._key_bytes:
            found = data.find(key, begin, stop) if length == self._key_bytes else -1
            while found >= 0 and (found - start) % length:
                found = data.find(key, found + 1, stop)
            return None if found < 0 else self.part((found - start) // length)
        while (found := data.find(key, begin, stop)) >= 0:
            end = found - start + length
            place = bisect_left(ends, end, low, high)
            if ends[place] == end and (ends[place - 1] if place else 0) == end - length:
                return self.part(place)
            place = bisect_right(ends, found - start, low, high)  # The key that these bytes lie in, or begin in.
            if place == high:
                break
            begin = start + ends[place]
        return None

    def place_of(self, row: bytes) -> int:
        """How many rows come before this one."""
        prefix = self.prefix
        if not row.startswith(prefix):
            return 0 if row < prefix else self.count
        key = row[len(prefix) :]
        length = len(key)
        if length and length == self._key_bytes:  # Mostly the row is here.
            at = self.data.find(key, self._keys_start, self._fragments_start) - self._keys_start
            place, rest = divmod(at, length)
            if place >= 0 and not rest:
                return place
        return self._before(key)

    def part(self, place: int) -> tuple[int, int, int]:
        """Where the fragment of the row at `place` begins and ends in the block; and its CRC32C, or 0 if the block is
        not readable in parts."""
        numbers, start, number = self._numbers, self._fragments_start, self.count + place
        begin = start + numbers[number - 1] if place else start
        return begin, start + numbers[number], numbers[number + self.count] if self.in_parts else 0

    def extent(self, begin: int, end: int) -> tuple[int, int]:
        """Where the fragments of the rows from one place to another, not included, begin and end in the block."""
        numbers, start, number = self._numbers, self._fragments_start, self.count + begin - 1
        return start + numbers[number] if begin else start, start + numbers[self.count + end - 1]

    def checksums(self, begin: int, end: int) -> list[int]:
        """The CRC32C of each of these fragments, of a block that is readable in parts."""
        first = 2 * self.count
        return self._numbers[first + begin : first + end].tolist()

    def pieces(self, low: bytes, high: bytes | None) -> tuple[int, int]:
        """Of a wide row, the fragments that may hold columns from `low` to `high` (both included; None: no bound): the
        place of the first, and of the first after them."""
        first = max(self._before(low) - 1, 0)  # The cells of one column may begin in the fragment before.
        return first, self.count if high is None else self._before(high + b"\0")

    def first_column(self, place: int) -> bytes:
        """Of a wide row, where the fragment at `place` begins."""
        ends, start = self._numbers, self._keys_start
        return self.data[start + (ends[place - 1] if place else 0) : start + ends[place]]

    def _before(self, column: bytes) -> int:
        """How many fragments begin before a column."""
        data, ends, start = self.data, self._numbers, self._keys_start
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if data[start + (ends[middle - 1] if middle else 0) : start + ends[middle]] < column:
                low = middle + 1
            else:
                high = middle
        return low

    def fragment(self, row: bytes) -> bytes | None:
        """The row's fragment, or None. Only of a whole block."""
        assert self.whole
        assert not self.wide
        part = self.part_of(row)
        return None if part is None else self.data[part[0] : part[1]]

    def chunk(self, begin: int = 0, end: int | None = None, stored: bytes | None = None) -> Chunk:
        """The rows from one place to another, not included; all by default. `stored`: their fragments, if the block is
        not whole."""
        assert self.whole or stored is not None
        data, prefix, count, numbers = self.data, self.prefix, self.count, self._numbers
        if self.wide:
            return Chunk(
                [prefix], [data[self._fragments_start : self._fragments_start + numbers[2 * count - 1]]], False
            )
        end = count if end is None else end
        if begin >= end:
            return EMPTY
        first, start = numbers[begin - 1] if begin else 0, self._keys_start
        if self._key_bytes:
            places = range(start + first, start + numbers[end - 1], self._key_bytes)
            rows = [prefix + data[place : place + self._key_bytes] for place in places]
        else:
            rows = [prefix + key for key in _cut(data, start, first, numbers[begin:end].tolist())]
        first = numbers[count + begin - 1] if begin else 0
        data, start = (data, self._fragments_start) if stored is None else (stored, -first)
        fragments = _cut(data, start, first, numbers[count + begin : count + end].tolist())
        return Chunk(rows, fragments, self.single_puts)


def _cut(data: bytes, start: int, first: int, ends: list[int]) -> list[bytes]:
    """Keys or fragments, of which each begins where the one before ends, and the first one at `first`; all of them
    counted from `start`. (A loop: it is quicker than a comprehension here.)"""
    found: list[bytes] = []
    begin = start + first
    for ended in ends:
        end = start + ended
        found.append(data[begin:end])
        begin = end
    return found


def pack_numbers(kind: str, numbers: Any) -> bytes:
    """Numbers as little-endian bytes; `kind` is an `array` type code of a fixed size."""
    packed = array(kind, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack_numbers(kind: str, data: bytes) -> "array[int]":
    """The reverse."""
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@lru_cache(maxsize=512)
def _ends_of_equal(length: int, count: int) -> bytes:
    """The numbers that say where keys end, if there are so many of this length."""
    return pack_numbers("I", range(length, length * count + 1, length) if length else [0] * count)


def _common_length(first: bytes, last: bytes) -> int:
    """How many bytes two keys, and so all sorted keys between them, begin with."""
    if last.startswith(first):
        return len(first)
    length = 0
    while first[length] == last[length]:
        length += 1
    return length
