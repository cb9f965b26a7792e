"""A file's bytes in order, read ahead of whoever takes them.

`PieceStream` keeps a window of pieces under way at once, each on a connection of its own into a buffer of its own, and
hands them out in order. So the next pieces cross the network while the caller deals with this one, also from one chunk
to the next; and memory is bounded by the window whatever the file's size.

Invariants:
1. A buffer that was handed out is not written to until the next one is asked for.
2. A piece belongs to the stream and not to the call that waits for it: a caller that is cancelled cancels no piece, and
   is handed out none. The next call hands out what this one would have.
"""

import asyncio
from collections import deque
from typing import Protocol

from gfs.names.identity import FileIdentity
from gfs.names.location_cache import FileFacts
from gfs.reading.pieces import Piece, piece_at
from gfs.settings import ClientSettings
from runtime.errors import Conflict, TabletopError
from runtime.settings import KIBIBYTE

_PROBE_BYTES = 64 * KIBIBYTE


class PieceReader(Protocol):
    """What a stream needs of `gfs.reading.ChunkReader`."""

    async def read_piece(self, file: FileIdentity, piece: Piece, target: memoryview, since: int) -> int:
        """Read one piece; returns the bytes read, fewer than asked for only at the end of the file."""


class PieceStream:
    """The bytes of a file from `position` to its end, piece by piece, a window of them under way at once.

    Without a `target`, pieces come in buffers that are used again; with one, they are read to their places in it, as
    many as it holds. While it is not known where the last chunk ends, it begins with one small piece: most files are
    small, and asking for the whole window would be asking for nothing.
    """

    def __init__(
        self,
        reader: PieceReader,
        settings: ClientSettings,
        file: FileIdentity,
        position: int,
        facts: FileFacts,
        *,
        since: int,
        target: memoryview | None = None,
    ) -> None:
        self.position = position  # Of the next byte to be handed out.
        self.found_end = False  # A replica has said that the file ends here.
        self._reader = reader
        self._file = file
        self._since = since
        self._asked = position
        self._end = facts.end if target is None else min(facts.end, position + len(target))
        self._chunk_bytes = facts.chunk_bytes
        self._is_probing = facts.length is None and target is None
        self._piece_bytes = settings.read_piece_bytes
        self._window = settings.read_window
        self._target, self._target_begin = target, position
        # A piece's task returns its failure and does not raise it: nobody asks for the pieces behind one that failed,
        # and asyncio would complain of an exception that was never retrieved.
        self._under_way: deque[tuple[Piece, memoryview, asyncio.Task[int | TabletopError]]] = deque()
        self._spare: list[memoryview] = []
        self._handed_out: memoryview | None = None

    async def next(self) -> memoryview:
        """The next piece, valid until the next call; empty at the end.

        Raises as `ChunkReader.read_piece`, and Conflict if the stream is closed meanwhile.
        """
        if self._handed_out is not None:
            self._spare.append(self._handed_out)
            self._handed_out = None
        while len(self._under_way) < (1 if self._is_probing else self._window) and self._asked < self._end:
            self._ask()
        if not self._under_way:
            return memoryview(b"")
        piece, buffer, task = self._under_way[0]
        await asyncio.wait([task])  # A caller that is cancelled does not cancel the piece.
        if task.cancelled():
            raise Conflict(f"the reading of {self._file.path} at {piece.position} was given up meanwhile")
        got = task.result()
        if isinstance(got, TabletopError):
            raise got
        if got < piece.length:  # The file ends here; what was asked for beyond is of no use.
            self._end = self._asked = piece.position + got
            self.found_end = True
            await self._give_up_after(1)
        # Nothing is awaited from here on: who was cancelled before has taken nothing.
        self._under_way.popleft()
        self._is_probing = False
        if self._target is None:
            self._handed_out = buffer
        self.position += got
        return buffer[:got]

    async def close(self) -> None:
        """Give up what is under way."""
        await self._give_up_after(0)

    async def _give_up_after(self, kept: int) -> None:
        """Give up all pieces but the first `kept` ones."""
        tasks = []
        while len(self._under_way) > kept:
            tasks.append(self._under_way.pop()[2])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask(self) -> None:
        left = self._end - self._asked
        piece_bytes = min(_PROBE_BYTES, self._piece_bytes) if self._is_probing else self._piece_bytes
        piece = piece_at(self._asked, left, chunk_bytes=self._chunk_bytes, piece_bytes=piece_bytes)
        buffer = self._buffer_for(piece, left)
        work = self._read(piece, buffer[: piece.length])
        self._under_way.append(
            (piece, buffer, asyncio.create_task(work, name=f"read {self._file.path} {piece.position}"))
        )
        self._asked = piece.end

    async def _read(self, piece: Piece, target: memoryview) -> int | TabletopError:
        try:
            return await self._reader.read_piece(self._file, piece, target, self._since)
        except TabletopError as error:
            return error

    def _buffer_for(self, piece: Piece, left: int) -> memoryview:
        if self._target is not None:
            begin = piece.position - self._target_begin
            return self._target[begin : begin + piece.length]
        while self._spare:
            spare = self._spare.pop()
            if len(spare) >= piece.length:
                return spare
        return memoryview(bytearray(piece.length if self._is_probing else min(self._piece_bytes, left)))
