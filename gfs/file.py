"""An open file.

    rb    read
    wb    write a new file under a passing name; it takes its final name, whole, when it is closed (GFS 2.7.2)
    xb    create the file under its final name at once; whoever looks sees it grow
    ab    write on at the end that the file has now; to append beside others, call `record_append` (GFS 3.3)
    r+b   read and write anywhere in an existing file

An open file is the file that was opened: if its path names another one by now, because it was renamed or replaced,
every call that needs the master raises Conflict, which is definite.

A file that is abandoned, by an exception in its `async with` or by a failed `close`, leaves nothing behind under `wb`
and `xb`. If its remains cannot be removed, those of `wb` stay under a passing name until the master deletes them; under
`xb` the error that is raised is indefinite. Reads in order are read ahead; writes are gathered into pieces and written
behind, so that only `flush` and `close` say that every replica has them.

A call may be cancelled (`asyncio.timeout`, Ctrl-C). A cancelled read moves nothing, and the next one gives the right
bytes. A cancelled write or flush loses nothing that was taken before, and the file is as usable as it was; the bytes of
the cancelled write are in doubt until a later `flush` or `close` returns: a first part of them may be there then. A
cancelled `close` has failed, and abandons the file as any failed `close` does. The abandoning itself cannot be stopped.

A gap before the bytes of a write reads as zeros, and its chunks are made, one after the other. A file has at most
1,048,576 chunks: bytes beyond that are refused at once.

Several tasks, or threads by way of `gfs.synchronous`, may share an open file. Its calls come one after the other
(`turns.py`): what one reads or writes in order begins where the one before it has ended. Only `pread` waits for nobody
who reads, and `abandon` for nobody at all.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from gfs.names.arguments import checked_bytes, checked_number, checked_whole
from gfs.names.identity import FileIdentity
from gfs.reading.read_ahead import ReadAhead
from gfs.reading.reading import ChunkReader
from gfs.reading.turns import Turns
from gfs.settings import ClientSettings
from gfs.writing.write_behind import Source, WriteBehind
from runtime.errors import InvalidRequest, TabletopError
from runtime.settings import MEBIBYTE
from runtime.world import Buffer

_LARGE_BUFFER_BYTES = 16 * MEBIBYTE
FileMode = Literal["rb", "wb", "xb", "ab", "r+b"]


class FileState(enum.Enum):
    """Where an open file is in its life."""

    OPEN = "open"
    CLOSED = "closed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Ending:
    """What becomes of a file at its end: it is kept under its final name, or discarded."""

    keep: Callable[[], Awaitable[None]]
    discard: Callable[[], Awaitable[bool]]  # Returns whether nothing is left behind.


class File:
    """A file opened by `Client.open`. Offsets and counts are bytes."""

    def __init__(
        self,
        path: str,
        mode: FileMode,
        settings: ClientSettings,
        *,
        stored: FileIdentity,
        chunk_bytes: int,
        reader: ChunkReader,
        behind: WriteBehind | None,
        ending: Ending,
        measure: Callable[[FileIdentity], Awaitable[int]],
        append: Callable[[memoryview], Awaitable[int]],
        position: int = 0,
    ) -> None:
        self.path = path
        self.mode: FileMode = mode
        self.chunk_bytes = chunk_bytes
        self._stored = stored  # Where the bytes are until the file is closed: not at `path` under "wb".
        self._settings = settings
        self._reader = reader
        self._ahead = ReadAhead(reader, settings, stored)
        self._behind = behind
        self._ending = ending
        self._measure = measure
        self._append = append
        self._position = position
        self._turns = Turns(path)
        self._state = FileState.OPEN
        self._giving_up: asyncio.Task[bool] | None = None
        self._failure: TabletopError | None = None  # the last one of this file's own writes

    @property
    def stored_path(self) -> str:
        """The path of the bytes until the file is closed: not `path` under "wb"."""
        return self._stored.path

    @property
    def file_id(self) -> int:
        """The id by which the master knows this file, whatever becomes of its path."""
        return self._stored.file_id

    @property
    def readable(self) -> bool:
        """Whether the mode allows reading."""
        return self.mode in ("rb", "r+b")

    @property
    def writable(self) -> bool:
        """Whether the mode allows writing."""
        return self._behind is not None

    @property
    def closed(self) -> bool:
        """Whether the file was closed or abandoned."""
        return self._state is not FileState.OPEN

    async def __aenter__(self) -> "File":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._end_in(error, takes_its_name=False)

    def tell(self) -> int:
        """The position of the next read or write."""
        return self._position

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position: from the begin (0), from where it is (1), or from the end (2). Returns it."""
        self._check_open()
        if whence not in (0, 1, 2):
            raise InvalidRequest(f"seek in {self.path} from {whence!r}: expected 0 (begin), 1 (position) or 2 (end)")
        checked_whole(offset, f"{self.path}: offset")
        async with self._turns:
            base = await self._length() if whence == 2 else self._position * whence
            self._position = self._checked(base + offset)
            return self._position

    async def length(self) -> int:
        """The file's length now, everything written so far included. Raises Unavailable."""
        async with self._turns:
            return await self._length()

    async def read(self, count: int = -1) -> bytes:
        """The next bytes: `count`, fewer only at the end of the file; all that are left if `count` is negative."""
        checked_whole(count, f"{self.path}: count")
        async with self._turns:
            await self._before_reading()
            if count >= 0:
                target = memoryview(bytearray(await self._useful(self._position, count)))
                return bytes(target[: await self._read_into(target)])
            content = await self._ahead.read_to_end(self._position)
            self._position += len(content)
            return content

    async def readinto(self, target: memoryview) -> int:
        """Fill `target` from the position; returns the bytes read, fewer only at the end of the file."""
        async with self._turns:
            await self._before_reading()
            return await self._read_into(target)

    async def pread(self, offset: int, count: int) -> bytes:
        """Bytes from `offset`, without moving the position; fewer than `count` only at the end of the file."""
        count = checked_number(count, f"{self.path}: count")
        await self._before_reading_at()
        target = memoryview(bytearray(await self._useful(self._checked(offset), count)))
        return bytes(target[: await self._reader.read_at(self._stored, offset, target)])

    async def pread_into(self, offset: int, target: memoryview) -> int:
        """Fill `target` from `offset`, without moving the position; returns the bytes read."""
        await self._before_reading_at()
        return await self._reader.read_at(self._stored, self._checked(offset), target)

    async def write(self, data: Buffer) -> int:
        """Write at the position, behind the scenes; returns the number of bytes. Raises an earlier piece's failure."""
        count = checked_bytes(data).nbytes
        async with self._turns:
            behind = await self._before_writing()
            with self._under_its_name():
                await behind.write(self._position, data)
            self._position += count
        return count

    async def write_from(self, source: Source) -> int:
        """Write what `source` puts into the buffers that it is handed, until it returns 0; returns the bytes written.

        This saves a copy of large files.
        """
        async with self._turns:
            behind = await self._before_writing()
            with self._under_its_name():
                count = await behind.write_from(self._position, source)
            self._position += count
        return count

    async def pwrite(self, offset: int, data: Buffer) -> None:
        """Write at `offset`, without moving the position; returns when every replica has applied it."""
        checked_bytes(data)
        async with self._turns:
            behind = await self._before_writing()
            with self._under_its_name():
                await behind.write(self._checked(offset), data)
                await behind.flush()

    async def record_append(self, data: Buffer) -> int:
        """Append a record at an offset that the file system chooses, after everything written so far; returns that
        offset. The position stays where it is. As `Client.record_append` otherwise (GFS 3.3)."""
        record = checked_bytes(data)
        async with self._turns:
            await self._before_writing()
            await self._settle_writes()
            with self._under_its_name():
                return await self._append(record)

    async def flush(self) -> None:
        """Return when every replica has applied everything written so far."""
        async with self._turns:
            self._check_open()
            await self._settle_writes()

    async def close(self) -> None:
        """Flush; under "wb", take the final name. Closing twice is harmless.

        If that fails, the file is abandoned and the error raised.
        """
        takes_its_name = False
        try:
            async with self._turns:
                if self.closed:
                    return
                await self._ahead.drop()
                await self._settle_writes()
                takes_its_name = True
                with self._under_its_name():
                    await self._ending.keep()
                self._state = FileState.CLOSED
        except BaseException as error:
            await self._end_in(error, takes_its_name)
            raise

    async def _end_in(self, error: BaseException | None, takes_its_name: bool) -> None:
        """Abandon the file because of an error, and let the error say whether anything may have happened.

        Under "wb" nobody has seen anything before the file takes its name: nothing has happened, though some parts may
        have been written. What cannot be removed of them now stays under a temporary name, until the master deletes it.
        """
        was_open = not self.closed
        is_gone = await self._abandon()
        if not isinstance(error, TabletopError):
            return
        if was_open and self.mode == "wb" and error is self._failure and not takes_its_name:
            if not error.definite:  # its message tells of parts that may be written; the file as a whole is not
                error.message = f"{self.path} was not stored: {error.message}"
                error.args = (error.message,)
            error.definite = True
        elif not is_gone:
            error.definite = False

    @contextmanager
    def _under_its_name(self) -> Iterator[None]:
        """Errors of the block name the file as its writer does, not by the name that it has until it is closed."""
        try:
            yield
        except TabletopError as error:
            self._failure = error
            if self.stored_path != self.path and self.stored_path in error.message:
                error.message = error.message.replace(self.stored_path, self.path)
                error.args = (error.message,)
            raise

    async def abandon(self) -> None:
        """Close without keeping: under "wb" and "xb", nothing is left behind. Abandoning twice is harmless."""
        await self._abandon()

    async def _abandon(self) -> bool:
        """Returns whether nothing is left behind. A caller that is cancelled does not stop it."""
        if self.closed:
            if self._giving_up is not None:
                await asyncio.wait([self._giving_up])
            return True
        self._state = FileState.ABANDONED
        work = self._give_up()
        try:
            self._giving_up = asyncio.create_task(work, name=f"abandon {self.stored_path}")
        except RuntimeError:
            work.close()  # The loop has ended, and this coroutine is thrown away: nothing can be done any more.
            raise
        return await asyncio.shield(self._giving_up)

    async def _give_up(self) -> bool:
        await self._ahead.drop()
        if self._behind is not None:
            await self._behind.abandon()
        return await self._ending.discard()

    async def _length(self) -> int:
        self._check_open()
        await self._settle_writes()
        return await self._measure(self._stored)

    async def _read_into(self, target: memoryview) -> int:
        count = await self._ahead.read_into(self._position, target)
        self._position += count
        return count

    async def _before_reading_at(self) -> None:
        """What is written comes first. Who reads beside others, from a place of his own, need not wait for them."""
        self._check_open()
        if self._behind is None:
            return
        async with self._turns:
            await self._before_reading()

    async def _before_reading(self) -> None:
        self._check_open()
        if not self.readable:
            raise InvalidRequest(f"{self.path} is open in mode {self.mode!r}; open it in 'rb' or 'r+b' to read")
        await self._settle_writes()

    async def _before_writing(self) -> WriteBehind:
        self._check_open()
        if self._behind is None:
            raise InvalidRequest(f"{self.path} is open in mode {self.mode!r}; open it in 'wb' or 'r+b' to write")
        await self._ahead.drop()
        return self._behind

    async def _settle_writes(self) -> None:
        if self._behind is not None:
            with self._under_its_name():
                await self._behind.flush()

    async def _useful(self, position: int, count: int) -> int:
        """How large a buffer to make for `count` bytes: if that is very large, no larger than the file needs."""
        if count <= _LARGE_BUFFER_BYTES:
            return count
        return min(count, max(await self._measure(self._stored) - position, _LARGE_BUFFER_BYTES))

    def _checked(self, offset: int) -> int:
        return checked_number(offset, f"{self.path}: offset")

    def _check_open(self) -> None:
        if self.closed:
            raise InvalidRequest(f"{self.path} is {self._state.value}; open it again")
