"""Bloom filters: does this SSTable hold anything for this row, or this row and column? (BT 6)

The problem. A read must ask every SSTable of the tablet. Most hold nothing for the row, and finding that out costs a
block each. A Bloom filter answers "certainly not" or "perhaps" from a few bits in memory.

The idea. The filters are `pybloom_live.BloomFilter`, whose mathematics and bits they are. One filter for a large
SSTable would be slow in Python: above 2**15 bits per slice that library needs 4-byte hashes, and so the SHA family. So
an SSTable has several, each for a *partition* of at most 20,000 keys in consecutive blocks; for those the library
takes 2-byte hashes from one 128-bit xxHash, eight of them for the price of one, which is enough down to a
false-positive rate of 1 in 256. The bits are then set and tested in bulk, past the library's own loop, where that gives
the same bits:

>>> filter = build_filter([b"row1", b"row2"], false_positive_rate=0.01)
>>> filter.may_contain(HashedKey(b"row1")), filter.may_contain(HashedKey(b"row3"))
(True, False)
>>> "row1" in filter.bloom, "row3" in filter.bloom
(True, False)

A key is hashed as pybloom_live hashes a text; for bytes beyond ASCII the text is their Latin-1 reading.
"""

import struct
from collections.abc import Sequence
from typing import Any

from bitarray import bitarray
from pybloom_live import BloomFilter

from runtime.errors import Corrupted

PARTITION_KEYS = 20_000
"""Keys per filter: 20,000 / ln 2 bits per slice stays below 2**15."""

_EIGHT_HASHES = struct.Struct("=8H")
_QUICK_SLICES = 8
_QUICK_BITS_PER_SLICE = 2**15
_SEPARATOR = b"\0"

_hash_function: Any = BloomFilter(1, 0.01).hashfn
"""What the library takes for small filters: 128-bit xxHash."""

_SALT: bytes = _hash_function(struct.pack("I", 0)).digest()


class HashedKey:
    """A key, hashed once for all the filters that are asked about it.

    pybloom_live seeds its hash with a salt and adds the key; hashing the salt and the key in one go is the same.
    """

    __slots__ = ("hashes", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        hashed = key if key.isascii() else _as_text(key).encode()
        self.hashes: tuple[int, ...] = _EIGHT_HASHES.unpack(_hash_function(_SALT + hashed).digest())


class Filter:
    """One pybloom_live filter with a quick way to ask it."""

    __slots__ = ("_bits", "_quick", "_slice_bits", "_slices", "bloom")

    def __init__(self, bloom: BloomFilter) -> None:
        self.bloom = bloom
        self._bits: bitarray = bloom.bitarray
        self._slices: int = bloom.num_slices
        self._slice_bits: int = bloom.bits_per_slice
        self._quick = _is_quick(bloom)

    def may_contain(self, key: "HashedKey") -> bool:
        """False if the key was certainly not added."""
        if not self._quick:
            return _as_text(key.key) in self.bloom
        bits, slice_bits, offset = self._bits, self._slice_bits, 0
        for number in key.hashes[: self._slices]:
            if not bits[offset + number % slice_bits]:
                return False
            offset += slice_bits
        return True

    def encode(self) -> bytes:
        """The filter as pybloom_live writes it."""
        target = _InMemory()
        self.bloom.tofile(target)
        return bytes(target.data)

    @property
    def fill_ratio(self) -> float:
        """The share of bits that are set; at capacity about one half."""
        return self._bits.count() / int(self.bloom.num_bits)


def build_filter(keys: Sequence[bytes], false_positive_rate: float) -> Filter:
    """A filter over these keys, sized for their number."""
    bloom = BloomFilter(max(1, len(keys)), false_positive_rate)
    if not _is_quick(bloom):
        for key in keys:
            bloom.add(_as_text(key), skip_check=True)
        return Filter(bloom)
    if not b"".join(keys).isascii():
        keys = [key if key.isascii() else _as_text(key).encode() for key in keys]
    digests = b"".join([_hash_function(_SALT + key).digest() for key in keys])
    hashes = struct.unpack(f"={len(keys) * _QUICK_SLICES}H", digests)
    slice_bits = bloom.bits_per_slice
    for number in range(bloom.num_slices):
        offset = number * slice_bits
        bloom.bitarray[offset : offset + slice_bits] = _remainders(hashes[number::_QUICK_SLICES], slice_bits)
    bloom.count = len(keys)
    return Filter(bloom)


def decode_filter(data: bytes) -> Filter:
    """The reverse of `Filter.encode`. Raises Corrupted for what pybloom_live cannot have written."""
    try:
        return Filter(BloomFilter.fromfile(_InMemory(data)))
    except (ValueError, struct.error, OverflowError, MemoryError, IndexError, ZeroDivisionError) as error:
        raise Corrupted(f"a Bloom filter of {len(data)} bytes cannot be read ({error})") from error


def column_key(row: bytes, column: bytes) -> bytes:
    """The key that stands for a row and a column."""
    return row + _SEPARATOR + column


class _InMemory:
    """What pybloom_live needs of a file."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self._position = 0

    def read(self, count: int = -1) -> bytes:
        """The next `count` bytes, or all."""
        end = len(self.data) if count < 0 else self._position + count
        found = bytes(self.data[self._position : end])
        self._position += len(found)
        return found

    def write(self, data: bytes) -> int:
        """Add to the end."""
        self.data += data
        return len(data)


def _remainders(numbers: Sequence[int], divisor: int) -> bitarray:
    """A bit for each remainder that occurs. The 16-bit numbers are not divided one by one but marked in a table of all
    such numbers, which is folded in halves until it is as long as the divisor: numbers a multiple of it apart meet.

    >>> _remainders([3, 65535, 10], 10)
    bitarray('1001010000')
    """
    length = divisor
    while length < 2**16:
        length *= 2
    table = bitarray(length)
    table[list(numbers)] = 1
    while length > divisor:
        length //= 2
        table = table[:length] | table[length:]
    return table


def _is_quick(bloom: BloomFilter) -> bool:
    """Whether all slices of this filter come from the one 16-byte hash, two bytes each."""
    return (
        bloom.num_slices <= _QUICK_SLICES
        and bloom.bits_per_slice < _QUICK_BITS_PER_SLICE
        and bloom.hashfn is _hash_function
    )


def _as_text(key: bytes) -> str:
    return key.decode("latin-1")
