"""One file of a tablet in GFS.

An SSTable or a manifest is gathered into pieces and written behind; `sync` waits for all of them. A log's record is
sent at once, and is on every replica when `append` returns: its writer waits for it in any case, and only an append
that fails, not a sync, lets the engine continue the log in another segment.

A log is written at offsets, by its only writer. A try that failed is repeated at the same place, with the same bytes,
so it leaves neither padding nor duplicates (`docs/decisions/0030` has the measurements).
"""

from gfs.client import Client
from gfs.file import File
from runtime.errors import DiskFailure, TabletopError
from runtime.world import Buffer
from tablet.storage.errors import of_an_open_file


class WrittenFile:
    """A file that this process has created, open to be written anywhere: that mode removes nothing when it is given up.
    `is_prompt`: whatever is appended is written before `append` returns."""

    def __init__(self, client: Client, file: File, *, is_prompt: bool) -> None:
        self.path = file.path
        self._client = client
        self._file: File | None = file
        self._file_id = file.file_id
        self._is_prompt = is_prompt
        self._end = 0
        self._is_in_doubt = False

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes of what was written so far."""
        with of_an_open_file():
            if self._file is not None:
                await self._file.flush()
            async with await self._client.open(self.path, "rb") as file:
                return await file.pread(offset, count)

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset where the data begins. After an error that is not definite nobody knows
        how the file ends, and it takes no more."""
        if self._is_in_doubt:
            raise DiskFailure(f"{self.path} ends in a write that failed; it takes no more")
        begin = self._end
        try:
            with of_an_open_file():
                file = self._file = self._file or await self._opened_again()
                await file.seek(begin)
                await file.write(data)
                if self._is_prompt:
                    await file.flush()
        except BaseException as error:
            self._is_in_doubt = not (self._is_prompt and isinstance(error, TabletopError) and error.definite)
            await self._give_up()
            raise
        self._end = begin + len(data)
        return begin

    async def truncate(self, size: int) -> None:
        """Nothing, if the file ends there: after a definite failure it does. GFS cannot cut a file (GFS 2.3)."""
        if self._is_in_doubt or size != self._end:
            raise DiskFailure(f"{self.path} cannot be cut to {size} bytes: GFS cuts no files")

    async def size(self) -> int:
        """What was taken so far."""
        return self._end

    async def sync(self) -> None:
        """Return when every replica has everything."""
        if self._is_in_doubt:
            raise DiskFailure(f"{self.path} ends in a write that failed")
        try:
            with of_an_open_file():
                if self._file is not None:
                    await self._file.flush()
        except BaseException:
            self._is_in_doubt = True
            await self._give_up()
            raise

    async def close(self) -> None:
        """Let go of it, as it is: what was not synced may be missing."""
        file, self._file = self._file, None
        if file is not None:
            try:
                await file.close()
            except TabletopError:
                self._is_in_doubt = True

    async def _give_up(self) -> None:
        """After a failure. What was sent may be written yet, or not."""
        file, self._file = self._file, None
        if file is not None:
            await file.abandon()

    async def _opened_again(self) -> File:
        file = await self._client.open(self.path, "r+b")
        if file.file_id != self._file_id:
            await file.abandon()
            raise DiskFailure(f"{self.path} is another file by now", definite=True)
        return file


class FoundFile:
    """A file that is only read."""

    def __init__(self, file: File) -> None:
        self.path = file.path
        self._file = file

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`."""
        with of_an_open_file():
            return await self._file.pread(offset, count)

    async def append(self, data: Buffer) -> int:
        """Nobody appends to a file that was found."""
        raise DiskFailure(f"{self.path} is open for reading", definite=True)

    async def truncate(self, size: int) -> None:
        """GFS cuts no files."""
        raise DiskFailure(f"{self.path} cannot be cut to {size} bytes: GFS cuts no files", definite=True)

    async def size(self) -> int:
        """Its length now."""
        with of_an_open_file():
            return await self._file.length()

    async def sync(self) -> None:
        """Nothing was written."""

    async def close(self) -> None:
        """Let go of it."""
        await self._file.close()
