"""Reading ahead of a caller that reads in order.

The first read is just a read. The second one that begins where the last one ended starts a `PieceStream`, and from
then on the next pieces are under way while the caller deals with this one. A read from elsewhere ends the stream, and
so does a write of this client to the file, through whichever of its open files.

Invariant: the next byte of the stream is the one after the last read that returned. A read that fails or is cancelled
may have taken a part of the stream, so that the stream ends with it.

What we simplify. A read in order may give bytes that were fetched a window of pieces before it was called, so that what
another client has written in between is not among them. `File.pread` reads nothing ahead.
"""

from gfs.names.identity import FileIdentity
from gfs.reading.piece_stream import PieceStream
from gfs.reading.reading import ChunkReader
from gfs.settings import ClientSettings
from runtime.settings import KIBIBYTE

_TAIL_BYTES = 64 * KIBIBYTE


class ReadAhead:
    """Serves the reads of one open file."""

    def __init__(self, reader: ChunkReader, settings: ClientSettings, file: FileIdentity) -> None:
        self._reader = reader
        self._settings = settings
        self._file = file
        self._stream: PieceStream | None = None
        self._rest = memoryview(b"")  # Of the piece that the stream handed out last.
        self._last_end: int | None = None
        self._writes = 0  # Of this client to the file, when the stream began.

    async def read_into(self, position: int, target: memoryview) -> int:
        """Fill `target` from `position`; returns the bytes read, fewer only at the end of the file."""
        if self._last_end != position or self._writes != self._reader.locations.writes(self._file):
            await self.drop()
            self._writes = self._reader.locations.writes(self._file)
        elif self._stream is None and len(target) < self._settings.read_piece_bytes * self._settings.read_window:
            await self._begin(position)
        try:
            done = await self._from_stream(target)
        except BaseException:
            # What was taken from the stream is given to nobody. Its answer is of the past: the next call asks again.
            await self.drop()
            raise
        if done < len(target):
            # No stream, or the stream has come to the end that was known when it began: the file may have grown.
            await self.drop()
            done += await self._reader.read_at(self._file, position + done, target[done:])
        self._last_end = position + done
        return done

    async def read_to_end(self, position: int) -> bytes:
        """All bytes from `position` on."""
        await self.drop()
        parts: list[bytes] = []
        while True:
            since = self._reader.questions
            facts = await self._reader.facts(self._file)
            stream = PieceStream(self._reader, self._settings, self._file, position, facts, since=since)
            try:
                while piece := await stream.next():
                    parts.append(bytes(piece))
            finally:
                await stream.close()
            position = stream.position
            # The stream ended where the master's answer, which may be old, says that the file ends. Does it?
            tail = memoryview(bytearray(0 if stream.found_end else _TAIL_BYTES))
            got = await self._reader.read_at(self._file, position, tail)
            if got == 0:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            parts.append(bytes(tail[:got]))
            position += got

    async def drop(self) -> None:
        """Give up what was read ahead."""
        self._rest = memoryview(b"")
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.close()

    async def _begin(self, position: int) -> None:
        since = self._reader.questions
        facts = await self._reader.facts(self._file)
        if position < facts.end:
            self._stream = PieceStream(self._reader, self._settings, self._file, position, facts, since=since)

    async def _from_stream(self, target: memoryview) -> int:
        done = 0
        while self._stream is not None and done < len(target):
            if not self._rest:
                self._rest = await self._stream.next()
                if not self._rest:
                    break
            count = min(len(self._rest), len(target) - done)
            target[done : done + count] = self._rest[:count]
            self._rest = self._rest[count:]
            done += count
        return done
