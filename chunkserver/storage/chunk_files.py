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
import re
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from chunkserver.storage.chunk_format import ANCHORS, Header, Metadata, Progress, is_table_of, table_of
from runtime.errors import Corrupted, NotFound, StaleVersion, Unavailable
from runtime.locks import ReadWriteLock
from runtime.world import Disk, File

CHUNKS = "chunks"
INCOMING = "incoming"  # Files that are not complete, or not yet in their place.
REMOVING = "removing"  # The metadata of chunks whose removal has begun.
ASIDE = "aside"  # Files that nobody can make sense of; only a person deletes them.
DRAFT_SUFFIX = ".new"  # Of the metadata of a chunk that is being created.
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


def is_folder_name(name: str) -> bool:
    """Whether a folder of this name is one for chunks' files.

    >>> is_folder_name("a1"), is_folder_name(".DS_Store")
    (True, False)
    """
    return re.fullmatch("[0-9a-f]{2}", name) is not None


def handle_of(name: str) -> int | None:
    """The chunk whose file has this name; None for another name.

    >>> handle_of("00000000000002a1.data"), handle_of("LOCK")
    (673, None)
    """
    stem, _, kind = name.partition(".")
    if kind not in ("data", "meta") or len(stem) != 16:
        return None
    try:
        return int(stem, 16)
    except ValueError:
        return None


def is_draft(name: str) -> bool:
    """Whether a file of this name is the metadata of a chunk that was being created.

    >>> is_draft("00000000000002a1.new"), is_draft("shopping.new")
    (True, False)
    """
    return re.fullmatch(f"[0-9a-f]{{16}}{re.escape(DRAFT_SUFFIX)}", name) is not None


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
    """One replica as this server holds it. `header` is the one that counts, and is on disk in `slot`."""

    header: Header
    slot: int
    anchor: Header | None  # the newest header that is on stable storage for certain, with all that it speaks of
    anchor_slot: int
    highest_sequence: int  # of all that the file has ever held
    is_unsure: bool = False
    unreadable: tuple[int, ...] = ()  # slots
    lock: ReadWriteLock = field(default_factory=ReadWriteLock)
    files: ChunkFiles | None = None
    is_deleted: bool = False
    has_unsynced_entries: bool = False  # in the table
    has_unsynced_name: bool = False  # of the data file
    damage: dict[int, str] = field(default_factory=dict)  # what is wrong, by block
    has_lost_pages: bool = False  # A sync has failed: what was written since the one before may be gone.
    is_to_write_again: bool = False  # An earlier life may have failed to sync its data, and nothing here says so.
    held: list[int | None] | None = None  # of an unsure replica: checksums of what its blocks hold, once they were read

    @classmethod
    def of_new_file(cls, header: Header) -> "Chunk":
        """A chunk whose four slots hold this header, all on stable storage."""
        return cls(header, ANCHORS[0], anchor=header, anchor_slot=ANCHORS[0], highest_sequence=header.sequence)

    @classmethod
    def as_found(cls, found: Metadata) -> "Chunk":
        """A chunk whose metadata file was read, and is on stable storage as it was read."""
        return cls(
            found.header,
            found.slot,
            anchor=found.anchor,
            anchor_slot=found.anchor_slot,
            highest_sequence=found.highest_sequence,
            is_unsure=found.is_unsure,
            unreadable=found.unreadable,
        )

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

    @property
    def durable_progress(self) -> Progress:
        """How far it has come with what is certainly on stable storage."""
        told = self.header.durable_progress
        return told if self.anchor is None else max(told, self.anchor.durable_progress)

    @property
    def is_dirty(self) -> bool:
        """Whether it was mutated since everything was last made durable."""
        return not self.header.is_synced and (self.anchor is None or self.header.sequence != self.anchor.sequence)

    @property
    def is_damaged(self) -> bool:
        """Whether it is known to be damaged."""
        return self.has_lost_pages or bool(self.damage)


class OpenChunks:
    """The chunks whose files are open, least recently used first. `on_doubt` is told of a chunk whose table is not the
    one that was written, `on_damage` of one whose metadata cannot be read: of its first block, and what was found."""

    def __init__(
        self,
        disk: Disk,
        most: int,
        on_doubt: Callable[[Chunk], None],
        on_damage: Callable[[Chunk, int, str], None],
    ) -> None:
        self._disk = disk
        self._most = most
        self._on_doubt = on_doubt
        self._on_damage = on_damage
        self._open: OrderedDict[int, Chunk] = OrderedDict()
        self._opening = asyncio.Lock()
        self._is_closed = False

    @asynccontextmanager
    async def use(self, chunk: Chunk) -> AsyncIterator[ChunkFiles]:
        """The chunk's files, until the block ends. Raises as `take`."""
        files = await self.take(chunk)
        try:
            yield files
        finally:
            await self.release(chunk, files)

    async def take(self, chunk: Chunk) -> ChunkFiles:
        """The chunk's files, open until they are released. Raises NotFound, Corrupted (its metadata cannot be read),
        DiskFailure."""
        if chunk.files is None:
            async with self._opening:
                if chunk.files is None:
                    try:
                        await self._open_files(chunk)
                    except Corrupted as error:
                        self._on_damage(chunk, 0, error.message)
                        raise
        files = chunk.files
        assert files is not None
        files.users += 1
        if chunk.handle in self._open:
            self._open.move_to_end(chunk.handle)
        return files

    async def release(self, chunk: Chunk, files: ChunkFiles) -> None:
        """One user less."""
        files.users -= 1
        if chunk.is_deleted and not files.users:
            await files.close()

    async def adopt(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Take over the files of a chunk that was just created."""
        chunk.files = files
        self._open[chunk.handle] = chunk
        while len(self._open) > self._most and await self._close_one(but=chunk):
            pass

    async def forget(self, chunk: Chunk) -> None:
        """The chunk is deleted: its files are closed as soon as nobody uses them."""
        chunk.is_deleted = True
        self._open.pop(chunk.handle, None)
        if chunk.files is not None and not chunk.files.users:
            await chunk.files.close()

    async def close(self) -> None:
        """Close everything; nothing is opened any more."""
        self._is_closed = True
        for chunk in self._open.values():
            if chunk.files is not None:
                await chunk.files.close()
                chunk.files = None
        self._open.clear()

    async def _open_files(self, chunk: Chunk) -> None:
        if self._is_closed:
            raise Unavailable("this chunkserver is stopping", definite=True)
        if chunk.is_deleted:
            raise NotFound(f"chunk {chunk.handle:#x} was deleted; ask the master where its replicas are")
        try:
            metadata = await self._disk.open(metadata_path(chunk.handle), "update")
        except NotFound as error:
            raise Corrupted(f"the metadata of chunk {chunk.handle:#x} is gone: {error.message}") from error
        try:
            # The header in memory is the one that counts, whatever has become of its slot meanwhile.
            checksums = table_of(await metadata.read_at(0, METADATA_LIMIT_BYTES), chunk.header)
            if not chunk.is_unsure and not is_table_of(chunk.header, checksums):
                self._on_doubt(chunk)
            data = await self._open_data(chunk)
        except BaseException:
            await metadata.close()
            raise
        await self.adopt(chunk, ChunkFiles(metadata, data, array("I", checksums)))

    async def _open_data(self, chunk: Chunk) -> File | None:
        """The data file, cut to the chunk's length: a mutation that was never completed may have left more. While the
        replica is unsure nothing is cut: what lies there may be acknowledged.

        A file that is gone is like one that holds nothing: no block of the chunk will match its checksum.
        """
        try:
            data = await self._disk.open(data_path(chunk.handle), "update")
        except NotFound:
            return None
        try:
            if not chunk.is_unsure and await data.size() > chunk.length:
                await data.truncate(chunk.length)
        except BaseException:
            await data.close()
            raise
        return data

    async def _close_one(self, *, but: Chunk) -> bool:
        """Close the files of the chunk that was not used for longest; False if all are in use."""
        for handle, chunk in self._open.items():
            if chunk is not but and chunk.files is not None and not chunk.files.users and chunk.lock.is_idle:
                del self._open[handle]
                files, chunk.files = chunk.files, None
                await files.close()
                return True
        return False


def require_sure(chunk: Chunk) -> None:
    """Raise Unavailable (definite) if the replica may lack acknowledged bytes."""
    if chunk.is_unsure:
        raise Unavailable(
            f"the replica of chunk {chunk.handle:#x} here has lost power, or its checksums are damaged, and awaits "
            "comparison; read another one",
            definite=True,
        )


def stale(handle: int, found: int, least: int, wanted: int) -> StaleVersion:
    """An order that does not fit the replica's version."""
    expected = f"{wanted}" if least >= wanted else f"at least {least} to raise it to {wanted}"
    return StaleVersion(f"chunk {handle:#x} is at version {found}, expected {expected}")
