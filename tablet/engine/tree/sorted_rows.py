"""Row keys in order, which grow: a sorted list that is cut into pieces.

A new key moves the keys behind it in its piece and no others. Many new keys at once are sorted together with the old
ones, which costs a quarter of what putting each in its place does.

>>> rows = SortedRows([b"a", b"c", b"e"])
>>> rows.add([b"d", b"b"])
>>> rows.first(b"b", 3), rows.last(b"d", 2)
([b'b', b'c', b'd'], [b'b', b'c'])
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain

PIECE_ROWS = 1000
"""A piece is cut in two when it has twice as many."""
_MANY = 4
"""If the new keys times this are more than the old ones, all are sorted together."""


class SortedRows:
    """Different row keys. Whoever is given some of them gets a list of his own."""

    def __init__(self, rows: list[bytes] | None = None) -> None:
        self._pieces: list[list[bytes]] = []
        self._lasts: list[bytes] = []
        self._count = 0
        self._cut(rows or [])

    def _cut(self, rows: list[bytes]) -> None:
        self._pieces = [rows[start : start + PIECE_ROWS] for start in range(0, len(rows), PIECE_ROWS)]
        self._lasts = [piece[-1] for piece in self._pieces]
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self._pieces)

    def add(self, rows: list[bytes]) -> None:
        """Take in keys that are not here, in any order."""
        if len(rows) * _MANY > self._count:
            self._cut(sorted(chain(self, rows)))
            return
        for row in rows:
            place = min(bisect_left(self._lasts, row), len(self._lasts) - 1)
            piece = self._pieces[place]
            insort(piece, row)
            self._lasts[place] = piece[-1]
            if len(piece) > 2 * PIECE_ROWS:
                self._pieces[place : place + 1] = [piece[:PIECE_ROWS], piece[PIECE_ROWS:]]
                self._lasts.insert(place, piece[PIECE_ROWS - 1])
        self._count += len(rows)

    def first(self, start: bytes, limit: int) -> list[bytes]:
        """The first `limit` keys from `start` on."""
        pieces = self._pieces
        place = bisect_left(self._lasts, start)
        if place == len(pieces):
            return []
        at = bisect_left(pieces[place], start)
        found = pieces[place][at : at + limit]
        while len(found) < limit and (place := place + 1) < len(pieces):
            found += pieces[place][: limit - len(found)]
        return found

    def last(self, end: bytes, limit: int) -> list[bytes]:
        """The last `limit` keys before `end` (empty: of all), in rising order."""
        pieces = self._pieces
        place = bisect_left(self._lasts, end) if end else len(pieces)
        found: list[bytes] = []
        if place < len(pieces):
            at = bisect_left(pieces[place], end)
            found = pieces[place][max(0, at - limit) : at]
        while len(found) < limit and place:
            place -= 1
            found = pieces[place][-(limit - len(found)) :] + found
        return found

    def check_invariants(self) -> None:
        """Assert what must hold after every operation."""
        everything = list(self)
        assert everything == sorted(set(everything))
        assert len(everything) == self._count
        assert self._lasts == [piece[-1] for piece in self._pieces]
