"""A stream of bytes, cut into pieces, a window of them under way at once.

The problem. Each piece is pushed, then written, and the next push need not wait for that. The idea: bytes are gathered
into the buffer of one piece; a full piece becomes a task; at most `write_window` tasks run. The pushes of the pieces
overlap; their writes come one after the other. Memory is bounded by the window whatever the file's size. The buffer of
a piece that was written takes the next one: memory that is fresh costs more than the copy into it. For the same reason
the first buffer is small, and grows with what is written: most files are.

Invariants:
1. A piece is written only after the one before it was acknowledged. So nobody ever sees bytes after a gap that is still
   to be filled, and pieces that overlap are written in the order in which they were given.
2. A chunk is allocated only after the one before it.
3. After a failure nothing more is sent, and every later call raises it: bytes after a gap would be worse than none.
4. The failure is definite only if none of the bytes that were taken since the last successful `flush` can have been
   written: it stands for all of them. An allocated chunk without bytes is no part of a file's content.
5. A piece belongs to the file and not to the call that waits for it. A caller that is cancelled (a timeout, Ctrl-C)
   cancels no piece, and every byte that was taken is in the buffer or in a piece at each await: the file is as usable
   as before, and the next `flush` sends and settles all of it. Of the bytes of the cancelled call itself a first part
   may have been taken; repeated at the same position, the call gives the same file.
6. Once the file is abandoned, every call that still waits raises a failure: what it waits for was given up.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from gfs.names.identity import FileIdentity
from gfs.reading.pieces import Piece, most_bytes, piece_at
from gfs.settings import ClientSettings
from gfs.writing.writing import ChunkWriter
from runtime.errors import InvalidRequest, MutationFailed, TabletopError
from runtime.settings import MOST_CHUNKS
from runtime.world import Buffer

Source = Callable[[memoryview], Awaitable[int]]
_FIRST_BUFFER_BYTES = 64 * 1024


class WriteBehind:
    """Takes bytes for one file and sees that they reach its chunks."""

    def __init__(
        self, writer: ChunkWriter, settings: ClientSettings, file: FileIdentity, *, chunk_bytes: int, chunk_count: int
    ) -> None:
        self._writer = writer
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._chunks_allocated = chunk_count
        self._piece_bytes = min(settings.write_piece_bytes, chunk_bytes)
        self._window = settings.write_window
        # A piece's task returns its failure and does not raise it: nobody asks for it any more once a file that failed
        # is dropped, and asyncio would complain of an exception that was never retrieved.
        self._under_way: deque[asyncio.Task[TabletopError | None]] = deque()
        self._spare: list[memoryview] = []  # Whole buffers that nobody uses now.
        self._failure: TabletopError | None = None
        self._buffer: memoryview | None = None
        self._begin = 0  # Position of the buffer's first byte.
        self._filled = 0
        self._room = 0  # Bytes that the piece in the buffer may have.
        self._last: asyncio.Task[TabletopError | None] | None = None  # The piece that the next one comes after.
        self._may_have_written = False  # Since the last successful flush.

    async def write(self, position: int, data: Buffer) -> None:
        """Take bytes that begin at `position`. They are copied, or of a type that cannot change, so that the caller may
        go on at once. Raises the failure of an earlier piece, and InvalidRequest for bytes that no file can have."""
        view = memoryview(data).cast("B")
        self._check_reach(position, len(view))
        done = 0
        while done < len(view):
            self._raise_failure()
            here = position + done
            await self._make_room(here)
            piece = self._piece_from(here, len(view) - done)
            if self._buffer is None and piece.length == self._room_from(here) and isinstance(data, bytes):
                await self._prepare(piece)
                self._start(piece, view[done : done + piece.length])
                done += piece.length
                continue
            room = self._open_buffer(here, len(view) - done)
            count = min(len(room), len(view) - done)
            room[:count] = view[done : done + count]
            done += count
            await self._fill(count)

    async def write_from(self, position: int, source: Source) -> int:
        """Take bytes from `source`, which fills the buffer that it is handed and returns their number, 0 at the end.

        Returns the number of bytes. This saves the copy that `write` makes.
        """
        begin = position
        while True:
            self._raise_failure()
            self._check_reach(position, 1)
            await self._make_room(position)
            room = self._open_buffer(position, self._piece_bytes)
            try:
                count = await source(room)
            except BaseException:
                self._leave_buffer()
                raise
            if count == 0:
                return position - begin
            position += count
            await self._fill(count)

    async def flush(self) -> None:
        """Return when every replica has applied everything. Raises the first failure."""
        if self._failure is None and self._filled:
            await self._send_buffer()
        await self._settle_all()
        self._raise_failure()
        self._may_have_written = False

    async def abandon(self) -> None:
        """Give up what is under way. What was sent may be applied or not."""
        self._failure = self._failure or MutationFailed(f"the writing of {self._file.path} was given up")
        tasks = list(self._under_way)
        self._under_way.clear()
        self._buffer, self._filled = None, 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_reach(self, position: int, count: int) -> None:
        """Raise InvalidRequest before anything has changed: all chunks of the gap would have to be made first."""
        most = most_bytes(self._chunk_bytes)
        if count and position + count > most:
            raise InvalidRequest(
                f"bytes {position} to {position + count} of {self._file.path}: a file may have {most} bytes here, "
                f"{MOST_CHUNKS} chunks"
            )

    async def _make_room(self, position: int) -> None:
        """Send the buffer, if a byte of this position cannot be added to it."""
        if self._is_full() or (self._buffer is not None and position != self._begin + self._filled):
            await self._send_buffer()

    def _open_buffer(self, position: int, wanted: int) -> memoryview:
        """The free part of the current piece's buffer, of which `wanted` bytes are about to be filled, if the piece has
        room for so many."""
        if self._buffer is None:
            self._begin, self._filled, self._room = position, 0, self._room_from(position)
            memory = self._spare.pop() if self._spare else memoryview(bytearray(0))
            self._buffer = memory[: self._room]
        needed = min(self._room, self._filled + wanted)
        if len(self._buffer) < needed:
            size = min(self._piece_bytes, max(needed, 2 * len(self._buffer), _FIRST_BUFFER_BYTES))
            self._move_buffer(size)
        return self._buffer[self._filled :]

    def _leave_buffer(self) -> None:
        """Leave the buffer to a source that failed or was cancelled: its thread may still be filling it."""
        if self._buffer is not None:
            self._move_buffer(self._piece_bytes)

    def _move_buffer(self, size: int) -> None:
        """Go on with what was taken so far in another memory."""
        assert self._buffer is not None
        memory = bytearray(size)
        memory[: self._filled] = self._buffer[: self._filled]
        self._buffer = memoryview(memory)[: self._room]

    def _is_full(self) -> bool:
        return self._buffer is not None and self._filled == self._room

    async def _fill(self, count: int) -> None:
        self._filled += count
        if self._is_full():
            await self._send_buffer()

    async def _send_buffer(self) -> None:
        buffer, filled = self._buffer, self._filled
        if buffer is not None and filled:
            piece = self._piece_from(self._begin, filled)
            await self._prepare(piece)
            self._start(piece, buffer[:filled], is_buffer=True)
        self._buffer, self._filled = None, 0

    async def _prepare(self, piece: Piece) -> None:
        """Wait until this piece may be under way, and see that its chunk is allocated."""
        while len(self._under_way) >= self._window:
            await self._settle_oldest()
        self._raise_failure()
        try:
            # Chunk by chunk: the master allocates only the next one. A jump beyond the end leaves a hole of zeros.
            for index in range(self._chunks_allocated, piece.index + 1):
                await self._writer.holder(self._file, index)
                self._chunks_allocated = index + 1
        except TabletopError as error:
            await self._settle_all()
            self._failure = self._failure or error
        self._raise_failure()

    def _start(self, piece: Piece, data: memoryview, *, is_buffer: bool = False) -> None:
        """Put a piece under way. Nothing is awaited between this and the end of the buffer that it takes."""
        work = self._write(piece, data, self._last, is_buffer=is_buffer)
        self._last = asyncio.create_task(work, name=f"write {self._file.path} {piece.position}")
        self._under_way.append(self._last)

    async def _write(
        self,
        piece: Piece,
        data: memoryview,
        before: "asyncio.Task[TabletopError | None] | None",
        *,
        is_buffer: bool,
    ) -> TabletopError | None:
        """Write one piece after the one before it. Returns the failure, or None."""

        async def turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            if before is not None and (before.cancelled() or before.result() is not None):
                raise MutationFailed(
                    f"bytes {piece.position} to {piece.end} of {self._file.path} were not sent, because the bytes "
                    "before them could not be written",
                    definite=True,
                )

        try:
            if before is None or before.done():
                await turn()
                await self._writer.write_piece(self._file, piece, data)
            else:
                await self._writer.write_piece(self._file, piece, data, after=turn)
        except TabletopError as error:
            return error
        if is_buffer:
            self._spare.append(memoryview(data.obj))
        return None

    async def _settle_all(self) -> None:
        while self._under_way:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        task = self._under_way[0]
        await asyncio.wait([task])  # A caller that is cancelled does not cancel the piece.
        if task.cancelled():
            error: TabletopError | None = MutationFailed(f"the writing of {self._file.path} was given up")
        else:
            error = task.result()
        self._failure = self._failure or error
        self._may_have_written = self._may_have_written or error is None or not error.definite
        if self._under_way and self._under_way[0] is task:
            self._under_way.popleft()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            error = self._failure
            definite = error.definite and not self._may_have_written
            raise type(error)(error.message, definite=definite, servers=error.servers)

    def _piece_from(self, position: int, length: int) -> Piece:
        return piece_at(position, length, chunk_bytes=self._chunk_bytes, piece_bytes=self._piece_bytes)

    def _room_from(self, position: int) -> int:
        return self._piece_from(position, self._piece_bytes).length
