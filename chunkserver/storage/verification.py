"""Blocks compared with their checksums, and metadata files with what is in memory (GFS 5.2).

The store hands out nothing that was not verified here. A block that does not match, or that the disk does not give, is
told of, and so is one that matches again, because it was written over. What an unsure replica holds is read here too,
whatever its checksums say.
"""

from collections.abc import Awaitable, Callable

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES, block_count, block_extent
from chunkserver.storage.chunk_files import METADATA_LIMIT_BYTES, Chunk, ChunkFiles
from chunkserver.storage.chunk_format import SLOTS, decode_slots, table_of
from chunkserver.storage.payload_checksums import PayloadChecksums
from runtime.errors import Corrupted, DiskFailure
from runtime.world import File

SLICE_BYTES = 4 * BLOCK_BYTES  # Verified at once: it stays in the processor's cache between reading and checking.
_SLICES_BETWEEN_BREATHS = 4

Breathe = Callable[[], Awaitable[None]]


async def wrong_in_metadata(chunk: Chunk, files: ChunkFiles) -> str:
    """How a chunk's metadata file differs from what is in memory, in words; empty if it does not. Notes in the chunk
    which slots cannot be read. Raises DiskFailure."""
    raw = await files.metadata.read_at(0, METADATA_LIMIT_BYTES)
    slots = decode_slots(raw, chunk.handle)
    chunk.unreadable = tuple(slot for slot in range(SLOTS) if slot not in slots)
    wrong = [f"slot {slot} cannot be read" for slot in chunk.unreadable]
    if slots.get(chunk.slot, chunk.header) != chunk.header:
        wrong.append(f"slot {chunk.slot} has another header")
    if chunk.anchor is not None and slots.get(chunk.anchor_slot, chunk.anchor) != chunk.anchor:
        wrong.append(f"slot {chunk.anchor_slot} has another anchor")
    if table_of(raw, chunk.header) != files.checksums.tolist():
        wrong.append("its table has other checksums")
    return ", ".join(wrong)


class Verifier:
    """Reads and compares. `on_bad` is told of a damaged block and what is wrong, `on_good` of one that is whole
    again."""

    def __init__(self, on_bad: Callable[[Chunk, int, str], None], on_good: Callable[[Chunk, int], None]) -> None:
        self._on_bad = on_bad
        self._on_good = on_good
        self._scratch: list[memoryview] = []

    async def verify(self, chunk: Chunk, files: ChunkFiles, begin: int, end: int) -> list[int]:
        """Compare the blocks under [begin, end); returns the checksums of that range's own 64 KiB pieces.

        Raises Corrupted: one does not match, or cannot be read.
        """
        payload = PayloadChecksums()
        scratch = self._scratch.pop() if self._scratch else memoryview(bytearray(SLICE_BYTES))
        position = begin - begin % BLOCK_BYTES
        last = min(block_count(end) * BLOCK_BYTES, chunk.length)
        try:
            while position < last:
                target = scratch[: min(SLICE_BYTES, last - position)]
                got = 0 if files.data is None else await self._read(chunk, files.data, position, target)
                for at in range(0, len(target), BLOCK_BYTES):
                    block = target[at : min(at + BLOCK_BYTES, got)]
                    known = self._check(chunk, files, (position + at) // BLOCK_BYTES, block)
                    low, high = max(0, begin - position - at), min(len(block), end - position - at)
                    whole = low == 0 and high == len(block)
                    payload.add(block[low:high], known if whole else None)
                position += len(target)
        finally:
            self._scratch.append(scratch)
        return payload.all()

    async def verified_block(self, chunk: Chunk, files: ChunkFiles, block: int) -> bytes:
        """The bytes of one block. Raises Corrupted."""
        extent = block_extent(block, chunk.length)
        try:
            data = b"" if files.data is None else await files.data.read_at(block * BLOCK_BYTES, extent)
        except DiskFailure as error:
            raise self._unreadable(chunk, block, error) from error
        self._check(chunk, files, block, memoryview(data))
        return data

    async def held(self, chunk: Chunk, files: ChunkFiles, breathe: Breathe) -> list[int | None]:
        """The checksums of what the chunk's blocks hold, whatever they should hold; None for a block that the disk does
        not give. What is not there counts as zeros."""
        found: list[int | None] = []
        for position in range(0, chunk.length, SLICE_BYTES):
            count = min(SLICE_BYTES, chunk.length - position)
            found += await self._held_in(files.data, position, count)
            if position // SLICE_BYTES % _SLICES_BETWEEN_BREATHS == 0:
                await breathe()
        return found

    async def _held_in(self, data: File | None, position: int, count: int) -> list[int | None]:
        try:
            content = b"" if data is None else await data.read_at(position, count)
        except DiskFailure:
            if count <= BLOCK_BYTES:
                return [None]
            ends = range(position, position + count, BLOCK_BYTES)  # Which of them is it?
            return [
                one for at in ends for one in await self._held_in(data, at, min(BLOCK_BYTES, position + count - at))
            ]
        content = content.ljust(count, b"\0")
        return [crc32c.crc32c(content[at : at + BLOCK_BYTES]) for at in range(0, count, BLOCK_BYTES)]

    async def _read(self, chunk: Chunk, data: File, position: int, target: memoryview) -> int:
        """Fill `target`, which begins with a block; returns the bytes read. Raises Corrupted."""
        try:
            return await data.read_into(position, target)
        except DiskFailure as error:
            if len(target) <= BLOCK_BYTES:
                raise self._unreadable(chunk, position // BLOCK_BYTES, error) from error
        got = 0
        for at in range(0, len(target), BLOCK_BYTES):  # Which of them is it?
            got += await self._read(chunk, data, position + at, target[at : at + BLOCK_BYTES])
        return got

    def _check(self, chunk: Chunk, files: ChunkFiles, block: int, data: memoryview) -> int:
        extent, expected = block_extent(block, chunk.length), files.checksums[block]
        actual: int = crc32c.crc32c(data)
        if len(data) == extent and actual == expected:
            if chunk.damage:
                self._on_good(chunk, block)
            return actual
        found = f"CRC32C {actual:#010x}, expected {expected:#010x}"
        if len(data) != extent:
            found = f"{len(data)} bytes on disk, expected {extent}"
        raise self._damaged(chunk, block, found)

    def _unreadable(self, chunk: Chunk, block: int, error: DiskFailure) -> Corrupted:
        """A block that the disk does not give is damaged like one that does not match: it is needed from elsewhere."""
        return self._damaged(chunk, block, f"it cannot be read: {error.message}")

    def _damaged(self, chunk: Chunk, block: int, found: str) -> Corrupted:
        self._on_bad(chunk, block, found)
        return Corrupted(
            f"block {block} of chunk {chunk.handle:#x} version {chunk.version} is damaged on disk ({found}); "
            "read another replica, this one will be replaced"
        )
