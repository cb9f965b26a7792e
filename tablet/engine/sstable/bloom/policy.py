"""What a Bloom filter policy is: it makes filters of keys, and reads back what it has made.

The schema names a policy for each locality group; every SSTable names the one that made its filters, and is read with
that one. So groups, and the files of one group after a change of the schema, may differ.

An SSTable has several filters, each for a *partition* of at most 20,000 keys in consecutive blocks: those are made
while the file is written, without a pause that grows with it.

A policy's name stands for its bits: whoever changes where a key's bits are must give the policy another name.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from tablet.engine.model.schema import BloomPolicy

PARTITION_KEYS = 20_000
"""Keys per filter, but for a single block with more of them."""

SEPARATOR = b"\0"
"""Stands between the row and the column in a key."""


T = TypeVar("T")
Sieve = Callable[[bytes], tuple[T, ...]]
"""Asks several filters about one key; gives what stands for those that may contain it, in their order."""


class Filter(Protocol):
    """The filter of one partition. Never changed."""

    @property
    def keys(self) -> int:
        """Keys that were put in, equal ones counted each time."""

    @property
    def shape(self) -> str:
        """How its bits are arranged, for people."""

    @property
    def fill_ratio(self) -> float:
        """The share of bits that are set."""

    def may_contain(self, key: bytes) -> bool:
        """False if the key was certainly not put in."""

    def encode(self) -> bytes:
        """The filter as it is stored."""


class FilterPolicy(Protocol):
    """How filters are made and read."""

    @property
    def name(self) -> BloomPolicy:
        """What schemas and files call it."""

    def build(self, keys: Sequence[bytes], false_positive_rate: float) -> Filter:
        """A filter over these keys, sized for their number and a rate that the schema has checked."""

    def decode(self, data: bytes) -> Filter:
        """The reverse of `Filter.encode`. Raises Corrupted for what this policy cannot have written."""

    def sieve(self, filters: Sequence[tuple[Any, T]]) -> Sieve[T]:
        """One question for all these filters of this policy, each with what stands for it: a read asks all files of a
        tablet, and hashes its key once."""


def column_key(row: bytes, column: bytes) -> bytes:
    """The key that stands for a row and a column."""
    return row + SEPARATOR + column
