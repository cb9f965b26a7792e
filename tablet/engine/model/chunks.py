"""Chunks: sorted runs of whole rows, still encoded.

Bulk work (scans, flushes, compactions) hands chunks on and cuts them by row, without looking inside: where the rows of
several sources do not collide, which is nearly always, no fragment is decoded. That makes a compaction in Python
bearable.

>>> chunk = Chunk([b"a", b"b", b"c"], [b"1", b"2", b"3"], False)
>>> chunk.split_after(b"b")[0].rows, chunk.since(b"b").rows
([b'a', b'b'], [b'b', b'c'])
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows in order, each with its encoded fragment. `single_puts`: every fragment is exactly one cell."""

    rows: list[bytes]
    fragments: list[bytes]
    single_puts: bool

    def __len__(self) -> int:
        return len(self.rows)

    def split_after(self, row: bytes) -> "tuple[Chunk, Chunk]":
        """The rows that are <= `row`, and those that are > `row`."""
        return self._split(bisect_right(self.rows, row))

    def since(self, row: bytes) -> "Chunk":
        """The rows that are >= `row`."""
        return self._split(bisect_left(self.rows, row))[1]

    def before(self, row: bytes) -> "Chunk":
        """The rows that are < `row`."""
        return self._split(bisect_left(self.rows, row))[0]

    def pieces(self, most_bytes: int) -> "Iterator[Chunk]":
        """The same rows in pieces whose fragments have at most so many bytes, or in pieces of one row."""
        ends = list(accumulate(map(len, self.fragments), initial=0))
        begin = 0
        while begin < len(self.rows):
            end = max(begin + 1, bisect_right(ends, ends[begin] + most_bytes) - 1)
            yield Chunk(self.rows[begin:end], self.fragments[begin:end], self.single_puts)
            begin = end

    def _split(self, place: int) -> "tuple[Chunk, Chunk]":
        rows, fragments = self.rows, self.fragments
        if place == len(rows):
            return self, EMPTY
        if place == 0:
            return EMPTY, self
        return (
            Chunk(rows[:place], fragments[:place], self.single_puts),
            Chunk(rows[place:], fragments[place:], self.single_puts),
        )


EMPTY = Chunk([], [], True)
