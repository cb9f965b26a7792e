"""The policy "blocked": each key has all its bits in one 64-bit word, so it is asked with one comparison.

The problem. A filter of slices is asked bit by bit, at places far apart. In C that costs cache misses; in Python it
costs a step of the interpreter for each bit.

The idea (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). A key's hash chooses a word
and six bits in it: three of the lower half, three of the upper one. The six bits, as one number, are the key's *mask*.
It depends on the key alone, not on the size of the filter; so a key that many filters are asked about is hashed once,
and each of them costs one remainder, one `&` and one comparison.

>>> found = BlockedPolicy().build([b"row1", b"row2"], false_positive_rate=0.01)
>>> found.may_contain(b"row1"), found.may_contain(b"row3")
(True, False)
>>> BlockedPolicy().sieve([(found, "first file"), (found, "second file")])(b"row1")
('first file', 'second file')

What it costs. Some words get more keys than others, and those answer "perhaps" more often. To keep the rate the filter
must be larger: about 16 bits a key in place of 11.5 for a rate of 0.004. It grows fast below that, so the schema does
not let this policy be asked for less than 0.001.
"""

import math
import struct
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import xxhash

from runtime.errors import Corrupted
from tablet.engine.model.schema import BloomPolicy
from tablet.engine.sstable.bloom.policy import Sieve, T
from tablet.engine.sstable.format import pack_numbers, unpack_numbers

WORD_BITS = 64
KEY_BITS = 6
_HALF_BITS = WORD_BITS // 2
_HALF_KEY_BITS = KEY_BITS // 2

_HEADER = struct.Struct("<II")
"""keys, words."""

_HASH = struct.Struct(">HHI")
"""The canonical form of a 64-bit hash: the choice in the lower half, that in the upper half, the word."""

_LOWER = array("I", [sum(1 << bit for bit in bits) for bits in combinations(range(_HALF_BITS), _HALF_KEY_BITS)])
"""All ways to choose three of 32 bits, in lexicographic order. An array, for it stays in the processor's cache."""
_UPPER = array("Q", [choice << _HALF_BITS for choice in _LOWER])
_CHOICES = len(_LOWER)

_NEGLIGIBLE = 1e-12
"""A word with so many keys is so rare that it, and fuller ones, need not be thought of."""

_digest: Any = xxhash.xxh3_64_digest
_unpack = _HASH.unpack


class BlockedFilter:
    """One filter of words."""

    __slots__ = ("_keys", "words")

    def __init__(self, keys: int, words: "array[int]") -> None:
        self._keys = keys
        self.words = words

    @property
    def keys(self) -> int:
        """Keys that were put in."""
        return self._keys

    @property
    def shape(self) -> str:
        """How its bits are arranged, for people."""
        return f"{WORD_BITS * len(self.words)} bits in words of {WORD_BITS}"

    @property
    def fill_ratio(self) -> float:
        """The share of bits that are set; less than one half, for words differ."""
        return sum(map(int.bit_count, self.words)) / (WORD_BITS * len(self.words))

    def may_contain(self, key: bytes) -> bool:
        """False if the key was certainly not put in."""
        number, mask = _hashed(key)
        return self.words[number % len(self.words)] & mask == mask

    def encode(self) -> bytes:
        """The number of keys and of words, and the words."""
        return _HEADER.pack(self._keys, len(self.words)) + pack_numbers("Q", self.words)


class BlockedPolicy:
    """Filters of 64-bit words."""

    name: BloomPolicy = "blocked"

    def build(self, keys: Sequence[bytes], false_positive_rate: float) -> BlockedFilter:
        """A filter over these keys."""
        count = max(1, math.ceil(len(keys) / keys_per_word(false_positive_rate)))
        words = [0] * count
        lower, upper, choices = _LOWER, _UPPER, _CHOICES
        for first, second, number in _HASH.iter_unpack(b"".join(map(_digest, keys))):
            words[number % count] |= lower[first % choices] | upper[second % choices]
        return BlockedFilter(len(keys), array("Q", words))

    def decode(self, data: bytes) -> BlockedFilter:
        """The reverse of `BlockedFilter.encode`. Raises Corrupted if the lengths do not add up."""
        if len(data) >= _HEADER.size:
            keys, count = _HEADER.unpack_from(data)
            if count and len(data) == _HEADER.size + count * WORD_BITS // 8:
                return BlockedFilter(keys, unpack_numbers("Q", data[_HEADER.size :]))
        raise Corrupted(f"a Bloom filter of {len(data)} bytes does not have the words that it claims")

    def sieve(self, filters: Sequence[tuple[BlockedFilter, T]]) -> Sieve[T]:
        """One question for all these filters, each with what stands for it."""
        asked = tuple([(found.words, len(found.words), what) for found, what in filters])

        def passed(key: bytes) -> tuple[T, ...]:
            number, mask = _hashed(key)
            found: tuple[T, ...] = ()
            for words, count, what in asked:
                if words[number % count] & mask == mask:
                    found += (what,)
            return found

        return passed


@lru_cache
def keys_per_word(false_positive_rate: float) -> float:
    """How many keys a word may have on average.

    >>> round(WORD_BITS / keys_per_word(0.01), 1), round(WORD_BITS / keys_per_word(0.004), 1)
    (12.1, 15.8)
    """
    low, high = 0.0, float(WORD_BITS)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_rate(middle) < false_positive_rate else (low, middle)
    return low


def expected_rate(load: float) -> float:
    """How often a filter with so many keys a word on average does not deny a key that was never put in.

    The keys of a word are Poisson distributed. Each key sets three bits of a half; that the three of a stranger are all
    among those that `number` keys have set follows by inclusion and exclusion.

    >>> round(expected_rate(64 / 12), 4)
    0.0102
    """
    misses = [math.comb(_HALF_BITS - left, _HALF_KEY_BITS) / _CHOICES for left in range(_HALF_KEY_BITS + 1)]
    share, rate = math.exp(-load), 0.0
    for number in range(1, 4 * WORD_BITS):
        share *= load / number
        half = sum((-1) ** left * math.comb(_HALF_KEY_BITS, left) * miss**number for left, miss in enumerate(misses))
        rate += share * half * half
        if number > load and share < _NEGLIGIBLE:
            break
    return rate


def _hashed(key: bytes) -> tuple[int, int]:
    """Which word, before the remainder, and which bits in it."""
    first, second, number = _unpack(_digest(key))
    return number, _LOWER[first % _CHOICES] | _UPPER[second % _CHOICES]
