"""Chunks: sorted runs of whole rows, still encoded.

Bulk work (scans, flushes, compactions) hands chunks on and cuts them by row, without looking inside: where the rows of
several sources do not collide, which is nearly always, no fragment is decoded. That makes a compaction in Python
bearable.

>>> chunk = Chunk([b"a", b"b", b"c"], [b"1", b"2", b"3"], False)
>>> chunk.split_after(b"b")[0].rows, chunk.since(b"b").rows
([b'a', b'b'], [b'b', b'c'])
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tablet.engine.model.fragments import is_single_put


@dataclass(slots=True)
class Chunk:
    """Some rows in order, each with its encoded fragment; nobody changes it. `single_puts`: every fragment is exactly
    one cell. `others`: if that is not so, the places of all fragments that may be anything else, if they are known.

    It is not `frozen`, for a frozen dataclass takes three times as long to make.
    """

    rows: list[bytes]
    fragments: list[bytes]
    single_puts: bool
    others: list[int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def split_after(self, row: bytes) -> "tuple[Chunk, Chunk]":
        """The rows that are <= `row`, and those that are > `row`."""
        return self._split(bisect_right(self.rows, row))

    def split_before(self, row: bytes) -> "tuple[Chunk, Chunk]":
        """The rows that are < `row`, and those that are >= `row`."""
        return self._split(bisect_left(self.rows, row))

    def since(self, row: bytes) -> "Chunk":
        """The rows that are >= `row`."""
        return self.split_before(row)[1]

    def before(self, row: bytes) -> "Chunk":
        """The rows that are < `row`."""
        return self.split_before(row)[0]

    def up_to(self, row: bytes) -> "Chunk":
        """The rows that are <= `row`."""
        return self if not self.rows or self.rows[-1] <= row else self.split_after(row)[0]

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
        single_puts, others = self.single_puts, self.others
        if others is None:
            return (
                Chunk(rows[:place], fragments[:place], single_puts),
                Chunk(rows[place:], fragments[place:], single_puts),
            )
        cut = bisect_left(others, place)
        after = [other - place for other in others[cut:]]
        return (
            Chunk(rows[:place], fragments[:place], not cut, others[:cut]),
            Chunk(rows[place:], fragments[place:], not after, after),
        )

    def places_of_others(self) -> list[int]:
        """The places of all fragments that may be anything else than exactly one cell."""
        if self.single_puts:
            return []
        if self.others is None:
            return [place for place, fragment in enumerate(self.fragments) if not is_single_put(fragment)]
        return self.others


EMPTY = Chunk([], [], True)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks one after the other; where a wide row continues, its pieces become one fragment again."""
    rows: list[bytes] = []
    fragments: list[bytes] = []
    single_puts = True
    for chunk in chunks:
        skipped = 0
        if rows and rows[-1] == chunk.rows[0]:
            fragments[-1] += chunk.fragments[0]
            skipped = 1
            single_puts = False
        rows += chunk.rows[skipped:]
        fragments += chunk.fragments[skipped:]
        single_puts = single_puts and chunk.single_puts
    return Chunk(rows, fragments, single_puts)
