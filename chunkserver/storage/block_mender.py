"""Single blocks, taken out of a replica and put into one (GFS 5.2). `mending.py` says why, and from where they come.

    taken out   of any replica, sure or not, of any version, if the block matches the checksum that this replica has
                stored for it
    put in      a sure replica: only bytes that match its own checksum, so that they are certainly the right ones
                an unsure one: bytes of a doubtful block, with their own checksum if they do not match the one here

A block that is put in was wrong before. So a death in the middle of it costs nothing: afterwards it is wrong, or right.

Invariants: (1) a block that matches its checksum is never replaced; (2) what was put in is on stable storage when it
counts; (3) an unsure replica stays unsure."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES, block_count, block_extent
from chunkserver.storage.chunk_files import Chunk, ChunkFiles, data_path
from chunkserver.storage.chunk_format import Progress
from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import Corrupted
from runtime.world import Disk


@dataclass(frozen=True, slots=True)
class BadBlock:
    """A block that does not match its checksum: how many bytes it has to have, and their CRC32C."""

    block: int
    extent: int
    checksum: int

    def is_whole(self, data: memoryview) -> bool:
        """Whether these are its bytes."""
        return len(data) == self.extent and bool(crc32c.crc32c(data) == self.checksum)


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """A block that matches its checksum, of a replica at `version` with `chunk_length` bytes, and how far that one has
    come."""

    data: bytes
    checksum: int
    version: int
    chunk_length: int
    progress: Progress


class BlockMender:
    """Takes blocks out of the replicas of a store, and puts them in."""

    def __init__(self, disk: Disk, store: ChunkStore, breathe: Callable[[], Awaitable[None]]) -> None:
        self._disk = disk
        self._store = store
        self._breathe = breathe

    async def sound_block(self, handle: int, block: int) -> SoundBlock:
        """A block of whatever is here of the chunk; empty behind its end. Raises NotFound, Corrupted, DiskFailure."""
        async with self._store.exclusive(handle) as (chunk, files):
            extent = block_extent(block, chunk.length)
            if not extent:
                return SoundBlock(b"", 0, chunk.version, chunk.length, chunk.header.progress)
            data = b"" if files.data is None else await files.data.read_at(block * BLOCK_BYTES, extent)
            known = _bad_block(chunk, files, block)
            if not known.is_whole(memoryview(data)):
                raise Corrupted(
                    f"block {block} of chunk {handle:#x} version {chunk.version} does not match its checksum here; "
                    "ask for it elsewhere"
                )
            return SoundBlock(data, known.checksum, chunk.version, chunk.length, chunk.header.progress)

    async def bad_blocks(self, handle: int) -> list[BadBlock]:
        """Read the whole replica; returns what does not match. Raises NotFound, Corrupted (its metadata), DiskFailure.

        The damage of a sure replica is noted and reported, as always."""
        async with self._store.exclusive(handle) as (chunk, files):
            await self._let_go_of_lost_file(chunk, files)
            if chunk.is_unsure:
                doubtful = await self._store.admission.doubtful_blocks(chunk, files)
                return [_bad_block(chunk, files, block) for block in doubtful]
            length = chunk.length
        found = []
        for block in range(block_count(length)):
            try:
                await self._store.verify(handle, offset=block * BLOCK_BYTES, count=BLOCK_BYTES)
            except Corrupted:
                async with self._store.exclusive(handle) as (chunk, files):
                    if block < block_count(chunk.length):
                        found.append(_bad_block(chunk, files, block))
            await self._breathe()
        return found

    async def _let_go_of_lost_file(self, chunk: Chunk, files: ChunkFiles) -> None:
        """A data file whose name is gone may be open yet. What is written to it would be gone too: it is made anew."""
        if files.data is not None and files.users == 1 and not await self._disk.exists(data_path(chunk.handle)):
            lost, files.data, chunk.held = files.data, None, None
            await lost.close()

    async def put(self, handle: int, blocks: Mapping[BadBlock, bytes]) -> int:
        """Put blocks in where nothing has changed since they were found bad; returns how many. Durable.

        Raises NotFound, NoSpace, DiskFailure."""
        async with self._store.exclusive(handle) as (chunk, files):
            wanted = {bad: data for bad, data in blocks.items() if _is_as_it_was(chunk, files, bad)}
            if not chunk.is_unsure:
                wanted = {bad: data for bad, data in wanted.items() if bad.is_whole(memoryview(data))}
            if not wanted:
                return 0
            is_unsure = chunk.is_unsure
            chunk.held = None
            file = await self._store.block_writer.data_file(chunk, files)
            for bad, data in wanted.items():
                await file.write_at(bad.block * BLOCK_BYTES, data)
            await self._store.writer.sync_data(chunk, files)
            await self._store.writer.sync_contents(chunk, files)
            if is_unsure:
                await self._note_checksums(chunk, files, wanted)
        return len(wanted) if is_unsure else sum([await self._is_healed(handle, bad) for bad in wanted])

    async def _is_healed(self, handle: int, bad: BadBlock) -> bool:
        """Read a block of a sure replica: if it is whole, its damage is forgotten."""
        try:
            await self._store.verify(handle, offset=bad.block * BLOCK_BYTES, count=bad.extent)
        except Corrupted:
            return False
        return True

    async def _note_checksums(self, chunk: Chunk, files: ChunkFiles, blocks: Mapping[BadBlock, bytes]) -> None:
        checksums = list(files.checksums)
        for bad, data in blocks.items():
            checksums[bad.block] = crc32c.crc32c(data)
        if checksums != list(files.checksums):
            await self._store.admission.replace_checksums(chunk, files, checksums)


def _bad_block(chunk: Chunk, files: ChunkFiles, block: int) -> BadBlock:
    return BadBlock(block, block_extent(block, chunk.length), files.checksums[block])


def _is_as_it_was(chunk: Chunk, files: ChunkFiles, bad: BadBlock) -> bool:
    return bad.block < block_count(chunk.length) and _bad_block(chunk, files, bad.block) == bad
