"""Cutting byte ranges into pieces that lie within one chunk (GFS 2.4, 3.1). Pure functions.

The client turns an offset in a file into a chunk index and an offset within that chunk. A piece never crosses a chunk
boundary, because a chunk is what has a primary, and never a multiple of `piece_bytes` within its chunk, so that
sequential pieces are aligned however the caller's reads and writes fall.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.settings import MOST_CHUNKS


def most_bytes(chunk_bytes: int) -> int:
    """How long a file can become."""
    return MOST_CHUNKS * chunk_bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A range within one chunk. `position` is where it begins in the file, `offset` within the chunk; all in bytes."""

    position: int
    index: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The position just after the piece."""
        return self.position + self.length


def piece_at(position: int, length: int, *, chunk_bytes: int, piece_bytes: int) -> Piece:
    """The first piece of the range of `length` bytes that begins at `position`.

    >>> piece_at(150, 1000, chunk_bytes=100, piece_bytes=40)
    Piece(position=150, index=1, offset=50, length=30)
    """
    index, offset = divmod(position, chunk_bytes)
    room = min(piece_bytes - offset % piece_bytes, chunk_bytes - offset)
    return Piece(position, index, offset, min(length, room))


def cut(position: int, length: int, *, chunk_bytes: int, piece_bytes: int) -> Iterator[Piece]:
    """All pieces of a range, in order.

    >>> [(piece.index, piece.offset, piece.length) for piece in cut(90, 60, chunk_bytes=100, piece_bytes=40)]
    [(0, 90, 10), (1, 0, 40), (1, 40, 10)]
    """
    end = position + length
    while position < end:
        piece = piece_at(position, end - position, chunk_bytes=chunk_bytes, piece_bytes=piece_bytes)
        yield piece
        position = piece.end
