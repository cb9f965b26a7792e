"""The SSTable file: an ordered, immutable map from row to fragment (BT 4), constant by constant.

    data block 0 | … | data block n-1 | filter 0 | … | filter m-1 | index | properties | footer

Every block, of whatever kind, is stored as

    body | u8 compression | u32 CRC32C of body and compression byte

A *data block*, once decompressed, keeps keys and fragments apart, so that a reader finds a row by binary search in the
keys alone, and a merge moves fragments without parsing them:

    u32 rows | u32 prefix length | u32 keys length | u8 flags | prefix |
    u32 key end … (rows) | u32 fragment end … (rows) | keys without the prefix | fragments

The prefix is what all its row keys begin with. Flag 1: every fragment is exactly one cell. A row whose fragment is
larger than a block continues in the next blocks, a whole number of cells in each.

The *index* says for each data block where it ends, its last row, and, if that row continues in the next block, the
first column there. The *filters* partition the blocks: filter i covers the blocks up to its index entry. The
*properties* are JSON. The *footer* has a fixed size and ends with the magic, so that the file is read from its end.

All numbers are little-endian. `docs/formats/sstable.md` walks through a small file byte by byte.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import cramjam
import crc32c

from runtime.errors import Corrupted, IncompatibleFormat
from tablet.merge import Chunk
from tablet.schema import Compression

MAGIC = b"TTsstab1"
VERSION = 1

FOOTER = struct.Struct("<QIQIII8s")
"""index offset and length, properties offset and length, version, CRC32C of what is before it, magic."""
FOOTER_BYTES = FOOTER.size

TRAILER = struct.Struct("<BI")
TRAILER_BYTES = TRAILER.size

BLOCK_HEADER = struct.Struct("<IIIB")
SINGLE_PUTS = 1

INDEX_HEADER = struct.Struct("<II")
"""data blocks, filters."""

COMPRESSION_CODES: dict[Compression, int] = {"none": 0, "snappy": 1, "lz4": 2, "zstd": 3}
WORTH_COMPRESSING = 7 / 8
"""A block that does not shrink to this share is stored as it is, and costs its readers nothing."""

_LOOKUP_EFFORT = 16
"""What a lookup saves by finding the keys taken apart is about what taking so many keys apart costs."""

_ROW_CHARGE_BYTES = 50
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
        raise IncompatibleFormat(f"{name} has format version {version}, this program reads {VERSION}; use a newer one")
    footer = Footer(*fields)
    end = file_bytes - FOOTER_BYTES
    if footer.index_offset + footer.index_bytes > end or footer.properties_offset + footer.properties_bytes > end:
        raise Corrupted(f"{name}: the footer points behind the end of the file at {file_bytes:,}")
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


def encode_block(rows: Sequence[bytes], fragments: Sequence[bytes], *, single_puts: bool) -> bytes:
    """The body of a data block. The rows are sorted.

    >>> body = encode_block([b"apple", b"apricot"], [b"A", b"BB"], single_puts=False)
    >>> block = Block(body, len(body), "doctest", 0)
    >>> block.fragment(b"apricot"), block.fragment(b"plum")
    (b'BB', None)
    """
    prefix = rows[0][: _common_length(rows[0], rows[-1])]
    cut = len(prefix)
    suffixes = [row[cut:] for row in rows]
    keys = b"".join(suffixes)
    header = BLOCK_HEADER.pack(len(rows), cut, len(keys), SINGLE_PUTS if single_puts else 0)
    key_ends = pack_numbers("I", accumulate(map(len, suffixes)))
    fragment_ends = pack_numbers("I", accumulate(map(len, fragments)))
    return b"".join((header, prefix, key_ends, fragment_ends, keys, *fragments))


class Block:
    """A decompressed data block, read in place. Raises Corrupted if its lengths do not add up.

    `data` may be longer than the block, which has `length` bytes. The first lookups search the keys where they lie; a
    block that is asked often takes them apart once, after which a lookup is a single call of `bisect`.
    """

    __slots__ = (
        "_effort",
        "_ends",
        "_fragments_start",
        "_keys",
        "_keys_start",
        "charged_bytes",
        "count",
        "data",
        "prefix",
        "single_puts",
    )

    def __init__(self, data: bytes, length: int, name: str, offset: int) -> None:
        if length < BLOCK_HEADER.size:
            raise Corrupted(f"{name}: the data block at offset {offset} has {length} bytes, less than its header")
        count, prefix_bytes, keys_bytes, flags = BLOCK_HEADER.unpack_from(data)
        prefix_end = BLOCK_HEADER.size + prefix_bytes
        self._keys_start = keys_start = prefix_end + 8 * count
        self._fragments_start = fragments_start = keys_start + keys_bytes
        if count == 0 or fragments_start > length:
            raise Corrupted(f"{name}: the data block at offset {offset} claims {count} rows in {length} bytes")
        self.data = data
        self.count: int = count
        self.prefix = data[BLOCK_HEADER.size : prefix_end]
        self.single_puts = bool(flags & SINGLE_PUTS)
        self.charged_bytes: int = length + keys_bytes + count * _ROW_CHARGE_BYTES + _BLOCK_CHARGE_BYTES
        self._keys: list[bytes] | None = None
        self._effort = 0
        # Where the keys end and, from `count` on, where the fragments end: they stand side by side in the file.
        self._ends = ends = unpack_numbers("I", data[prefix_end:keys_start])
        if ends[count - 1] != keys_bytes or fragments_start + ends[-1] != length:
            raise Corrupted(f"{name}: the data block at offset {offset} has keys or fragments of another length")

    def __len__(self) -> int:
        return self.count

    @property
    def body_bytes(self) -> int:
        """The block's length, decompressed."""
        return int(self._fragments_start + self._ends[-1])

    def fragment(self, row: bytes) -> bytes | None:
        """The row's fragment, or None."""
        prefix = self.prefix
        if not row.startswith(prefix):
            return None
        place = self._place(row[len(prefix) :])
        if place < 0:
            return None
        ends, start, number = self._ends, self._fragments_start, self.count + place
        return self.data[start + (ends[number - 1] if place else 0) : start + ends[number]]

    def chunk(self) -> Chunk:
        """All rows of the block."""
        data, prefix, start, ends = self.data, self.prefix, self._fragments_start, self._ends[self.count :].tolist()
        rows = [prefix + key for key in self._keys or self._taken_apart()]
        fragments = [data[start + low : start + high] for low, high in zip([0, *ends], ends, strict=False)]
        return Chunk(rows, fragments, self.single_puts)

    def _place(self, key: bytes) -> int:
        """The place of a key (a row without the prefix), or -1."""
        low, high = 0, self.count
        keys = self._keys
        if keys is not None:
            low = bisect_left(keys, key)
            return low if low < high and keys[low] == key else -1
        self._effort += _LOOKUP_EFFORT
        if self._effort > high:
            self._keys = self._taken_apart()
        # What `bisect` does, but on keys that are only cut out of the block when it comes to them.
        data, ends, start = self.data, self._ends, self._keys_start
        while low < high:
            middle = (low + high) // 2
            found = data[start + (ends[middle - 1] if middle else 0) : start + ends[middle]]
            if found < key:
                low = middle + 1
            elif found > key:
                high = middle
            else:
                return middle
        return -1

    def _taken_apart(self) -> list[bytes]:
        """The keys, without the prefix."""
        data, start, ends = self.data, self._keys_start, self._ends[: self.count].tolist()
        return [data[start + low : start + high] for low, high in zip([0, *ends], ends, strict=False)]


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


def _common_length(first: bytes, last: bytes) -> int:
    """How many bytes two keys, and so all sorted keys between them, begin with."""
    if last.startswith(first):
        return len(first)
    length = 0
    while first[length] == last[length]:
        length += 1
    return length
