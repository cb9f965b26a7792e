"""The policy "pybloom-live": the filters of that library, a slice of bits for each of several hashes.

The mathematics, the hash and the bits are `pybloom_live.BloomFilter`'s. One filter for a large SSTable would be slow in
Python: above 2**15 bits per slice that library needs 4-byte hashes, and so the SHA family. For a partition it takes
2-byte hashes from one 128-bit xxHash, eight of them for the price of one, which is enough down to a false-positive rate
of 1 in 256. Then the bits are set and tested in bulk, past the library's own loop, and are the same bits:

>>> found = SlicedPolicy().build([b"row1", b"row2"], false_positive_rate=0.01)
>>> found.may_contain(b"row1"), found.may_contain(b"row3")
(True, False)
>>> "row1" in found.bloom, "row3" in found.bloom
(True, False)

A file has our own layout, not what the library writes: the parameters and the bits, from which a filter of the library
is made again. What the library must not change is where a key's bits are, for a key would be missed. A filter of known
bits is compared before the first use.

A key is hashed as pybloom_live hashes a text; for bytes beyond ASCII the text is their Latin-1 reading.
"""

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

from bitarray import bitarray
from pybloom_live import BloomFilter

from runtime.errors import Corrupted, IncompatibleFormat
from tablet.engine.model.schema import BloomPolicy
from tablet.engine.sstable.bloom.policy import Sieve, T

_HEADER = struct.Struct("<dIII")
"""rate, slices, bits per slice, keys."""

_EIGHT_HASHES = struct.Struct("<8H")
_QUICK_SLICES = 8
_QUICK_BITS_PER_SLICE = 2**15
_RATES = (1e-9, 0.5)

_PROBE = ("a", "row", "ä", "row\0f:q")
_KNOWN_BITS = {0.01: "cef948a37a00", 0.0001: "ca1467857c565c3367310d"}
"""The bits of filters for these keys and rates, the first by xxHash, the second by SHA-256."""

_hash_function: Any = BloomFilter(1, 0.01).hashfn
"""What the library takes for small filters: 128-bit xxHash."""

_SALT: bytes = _hash_function(struct.pack("<I", 0)).digest()


class SlicedFilter:
    """One filter of pybloom_live, with a quick way to ask it."""

    __slots__ = ("_bits", "_quick", "_slice_bits", "_slices", "bloom")

    def __init__(self, bloom: BloomFilter) -> None:
        self.bloom = bloom
        self._bits: bitarray = bloom.bitarray
        self._slices: int = bloom.num_slices
        self._slice_bits: int = bloom.bits_per_slice
        self._quick = _is_quick(bloom)

    @property
    def keys(self) -> int:
        """Keys that were put in."""
        return int(self.bloom.count)

    @property
    def shape(self) -> str:
        """How its bits are arranged, for people."""
        return f"{self.bloom.num_bits} bits in {self._slices} slices"

    @property
    def fill_ratio(self) -> float:
        """The share of bits that are set; at capacity about one half."""
        return self._bits.count() / len(self._bits)

    def may_contain(self, key: bytes) -> bool:
        """False if the key was certainly not put in."""
        return self.has(key, _hashed(key) if self._quick else ())

    def has(self, key: bytes, hashes: Sequence[int]) -> bool:
        """As `may_contain`, of a key whose eight hashes are known."""
        if not self._quick:
            return _as_text(key) in self.bloom
        bits, slice_bits, offset = self._bits, self._slice_bits, 0
        for number in hashes[: self._slices]:
            if not bits[offset + number % slice_bits]:
                return False
            offset += slice_bits
        return True

    def encode(self) -> bytes:
        """The parameters, and the bits, the lowest of each byte first."""
        bloom = self.bloom
        return _HEADER.pack(bloom.error_rate, self._slices, self._slice_bits, bloom.count) + self._bits.tobytes()


class SlicedPolicy:
    """Filters of pybloom_live."""

    name: BloomPolicy = "pybloom-live"

    def build(self, keys: Sequence[bytes], false_positive_rate: float) -> SlicedFilter:
        """A filter over these keys. Raises IncompatibleFormat if the library is not the one that files are for."""
        _check_library()
        bloom = BloomFilter(max(1, len(keys)), false_positive_rate)
        if not _is_quick(bloom):
            for key in keys:
                bloom.add(_as_text(key), skip_check=True)
            return SlicedFilter(bloom)
        if not b"".join(keys).isascii():
            keys = [key if key.isascii() else _as_text(key).encode() for key in keys]
        digests = b"".join([_hash_function(_SALT + key).digest() for key in keys])
        hashes = struct.unpack(f"<{len(keys) * _QUICK_SLICES}H", digests)
        slice_bits = bloom.bits_per_slice
        for number in range(bloom.num_slices):
            offset = number * slice_bits
            bloom.bitarray[offset : offset + slice_bits] = _remainders(hashes[number::_QUICK_SLICES], slice_bits)
        bloom.count = len(keys)
        return SlicedFilter(bloom)

    def decode(self, data: bytes) -> SlicedFilter:
        """The reverse of `SlicedFilter.encode`. Raises Corrupted for parameters that do not fit to one another or to
        the bits, IncompatibleFormat as `build`."""
        _check_library()
        if len(data) > _HEADER.size:
            rate, slices, slice_bits, keys = _HEADER.unpack_from(data)
            count = slices * slice_bits
            if keys <= count and (count + 7) // 8 == len(data) - _HEADER.size and _RATES[0] <= rate <= _RATES[1]:
                bloom = BloomFilter(max(1, keys), rate)
                if (bloom.num_slices, bloom.bits_per_slice) == (slices, slice_bits):
                    bits = bitarray(endian="little")
                    bits.frombytes(data[_HEADER.size :])
                    bloom.bitarray = bits[:count]
                    bloom.count = keys
                    return SlicedFilter(bloom)
        raise Corrupted(f"a Bloom filter of {len(data)} bytes has parameters that do not fit together")

    def sieve(self, filters: Sequence[tuple[SlicedFilter, T]]) -> Sieve[T]:
        """One question for all these filters, each with what stands for it."""
        asked = tuple(filters)

        def passed(key: bytes) -> tuple[T, ...]:
            hashes = _hashed(key)
            return tuple([what for found, what in asked if found.has(key, hashes)])

        return passed


def _hashed(key: bytes) -> tuple[int, ...]:
    """Eight numbers. pybloom_live seeds its hash with a salt and adds the key; hashing both in one go is the same."""
    data = key if key.isascii() else _as_text(key).encode()
    return _EIGHT_HASHES.unpack(_hash_function(_SALT + data).digest())


@cache
def _check_library() -> None:
    """Raise IncompatibleFormat if the installed library puts a key's bits elsewhere than files have them."""
    for rate, known in _KNOWN_BITS.items():
        bloom = BloomFilter(len(_PROBE), rate)
        for key in _PROBE:
            bloom.add(key, skip_check=True)
        if bloom.bitarray.tobytes().hex() != known:
            raise IncompatibleFormat(
                "the installed pybloom-live does not set the bits that SSTables have; install a 4.* version of it"
            )


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
