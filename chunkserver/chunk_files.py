"""The files of chunks: where they are, and which of them are open.

A chunk is two files, its data (the chunk's bytes and nothing else, so that `sendfile` can serve them) and its metadata.
Handles are consecutive, so their last byte shares them out evenly among 256 folders.

>>> data_path(0x2a1)
'chunks/a1/00000000000002a1.data'
>>> metadata_path(0x2a1)
'chunks/a1/00000000000002a1.meta'

Opening two files for each small read would cost more than the read, and keeping all open more descriptors than there
are: the least recently used ones are closed. The checksums of a chunk are in memory while its files are open, so that
memory is bounded too.
"""

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from chunkserver.chunk_format import Header, decode_metadata
from runtime.errors import Corrupted, NotFound
from runtime.locks import ReadWriteLock
from runtime.world import Disk, File

CHUNKS = "chunks"
INCOMING = "incoming"
METADATA_LIMIT_BYTES = 1024 * 1024


def folder_of(handle: int) -> str:
    """The folder of a chunk's files, relative to the node's disk."""
    return f"{CHUNKS}/{handle & 0xFF:02x}"


def data_path(handle: int) -> str:
    """The file that holds a chunk's bytes, relative to the node's disk; byte n of the chunk is byte n of the file."""
    return f"{folder_of(handle)}/{handle:016x}.data"


def metadata_path(handle: int) -> str:
    """The file that holds a chunk's version, length and checksums, relative to the node's disk."""
    return f"{folder_of(handle)}/{handle:016x}.meta"


@dataclass(slots=True)
class ChunkFiles:
    """A chunk's open files and its checksums, one a block. The data file comes into being with the first byte."""

    metadata: File
    data: File | None
    checksums: "array[int]"
    users: int = 0
    is_ragged: bool = False  # The data file may be longer than the chunk: an append failed.

    async def close(self) -> None:
        """Let go of both."""
        await self.metadata.close()
        if self.data is not None:
            await self.data.close()


@dataclass(slots=True)
class Chunk:
    """One replica as this server holds it. `header` is what is on disk."""

    header: Header
    lock: ReadWriteLock = field(default_factory=ReadWriteLock)
    files: ChunkFiles | None = None
    is_deleted: bool = False

    @property
    def handle(self) -> int:
        """The chunk's 64-bit name."""
        return self.header.handle

    @property
    def version(self) -> int:
        """Its version number (GFS 4.5)."""
        return self.header.version

    @property
    def length(self) -> int:
        """Bytes stored."""
        return self.header.length


class OpenChunks:
    """The chunks whose files are open, least recently used first."""

    def __init__(self, disk: Disk, most: int) -> None:
        self._disk = disk
        self._most = most
        self._open: OrderedDict[int, Chunk] = OrderedDict()
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def use(self, chunk: Chunk) -> AsyncIterator[ChunkFiles]:
        """The chunk's files, open until the block ends. Raises NotFound, Corrupted (its metadata cannot be read),
        DiskFailure."""
        if chunk.files is None:
            async with self._opening:
                if chunk.files is None:
                    await self._open_files(chunk)
        files = chunk.files
        assert files is not None
        files.users += 1
        try:
            if chunk.handle in self._open:
                self._open.move_to_end(chunk.handle)
            yield files
        finally:
            files.users -= 1
            if chunk.is_deleted and not files.users:
                await files.close()

    async def adopt(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Take over the files of a chunk that was just created."""
        chunk.files = files
        self._open[chunk.handle] = chunk
        if len(self._open) > self._most:
            await self._close_one(but=chunk)

    async def forget(self, chunk: Chunk) -> None:
        """The chunk is deleted: its files are closed as soon as nobody uses them."""
        chunk.is_deleted = True
        self._open.pop(chunk.handle, None)
        if chunk.files is not None and not chunk.files.users:
            await chunk.files.close()

    async def close(self) -> None:
        """Close everything."""
        for chunk in self._open.values():
            if chunk.files is not None:
                await chunk.files.close()
                chunk.files = None
        self._open.clear()

    async def _open_files(self, chunk: Chunk) -> None:
        if chunk.is_deleted:
            raise NotFound(f"chunk {chunk.handle:#x} was deleted; ask the master where its replicas are")
        try:
            metadata = await self._disk.open(metadata_path(chunk.handle), "update")
        except NotFound as error:
            raise Corrupted(f"the metadata of chunk {chunk.handle:#x} is gone: {error.message}") from error
        try:
            found = decode_metadata(await metadata.read_at(0, METADATA_LIMIT_BYTES), chunk.handle)
            data = await self._open_data(chunk)
        except BaseException:
            await metadata.close()
            raise
        await self.adopt(chunk, ChunkFiles(metadata, data, array("I", found.checksums)))

    async def _open_data(self, chunk: Chunk) -> File | None:
        """The data file, cut to the chunk's length: a mutation that was never completed may have left more.

        A file that is gone is like one that holds nothing: no block of the chunk will match its checksum.
        """
        try:
            data = await self._disk.open(data_path(chunk.handle), "update")
        except NotFound:
            return None
        if await data.size() > chunk.length:
            await data.truncate(chunk.length)
        return data

    async def _close_one(self, *, but: Chunk) -> None:
        for handle, chunk in self._open.items():
            if chunk is not but and chunk.files is not None and not chunk.files.users and chunk.lock.is_idle:
                del self._open[handle]
                files, chunk.files = chunk.files, None
                await files.close()
                return
