"""Unsure replicas: what they hold, and how they become sure again (GFS 4.5, 5.2).

The problem. After a loss of power a replica may lack acknowledged bytes, and nobody can tell from this replica alone.
The idea: the master compares it with others. For that a replica is described by one number, its *digest*: equal
digests, equal bytes. The digest of a sure replica is made of its checksums; that of an unsure one of what its blocks
really hold, because a block may have arrived without its checksum, or the other way round. Such blocks are *doubtful*:
if no replica is sure, the one with the fewest of them is the best that is left.

When the master has found a replica whole, or has nothing better, it admits it: the bytes are accepted as they lie, with
new checksums, and a header says that the replica is sure.

Invariant: until the header of the admission is durable, the replica is unsure; if the admission is interrupted, it
holds the same bytes afterwards."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from chunkserver.storage.block_writer import BlockWriter
from chunkserver.storage.chunk_files import Chunk, ChunkFiles
from chunkserver.storage.chunk_format import ANCHORS, NO_PROGRESS, Progress, encode_entries
from chunkserver.storage.headers import HeaderWriter, rewritten
from chunkserver.storage.verification import Breathe, Verifier

_ALL_BITS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a replica holds, to be compared with others, how many blocks do not match their checksums, how far it has
    come, and how far with what is certainly on stable storage."""

    digest: int
    doubtful_blocks: int = 0
    progress: Progress = NO_PROGRESS
    durable_progress: Progress = NO_PROGRESS


def digest_of_replica(length: int, checksums: Sequence[int]) -> int:
    """64 bits over a replica's length and the checksums of all its blocks.

    >>> digest_of_replica(5, [1]) == digest_of_replica(5, [1]) != digest_of_replica(6, [1])
    True
    """
    content = length.to_bytes(8, "little") + encode_entries(list(checksums))
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


class Admission:
    """Compares and admits replicas whose lock the caller holds."""

    def __init__(self, writer: HeaderWriter, block_writer: BlockWriter, verifier: Verifier, breathe: Breathe) -> None:
        self._writer = writer
        self._block_writer = block_writer
        self._verifier = verifier
        self._breathe = breathe

    async def compare(self, chunk: Chunk, files: ChunkFiles) -> Comparison:
        """The digest of what the replica holds. Raises DiskFailure."""
        come = (chunk.header.progress, chunk.durable_progress)
        if not chunk.is_unsure:
            return Comparison(digest_of_replica(chunk.length, files.checksums), 0, *come)
        held = await self._held(chunk, files)
        doubtful = await self.doubtful_blocks(chunk, files)
        # A block that cannot be read is like no other: its place is taken by what it certainly does not hold.
        pairs = zip(held, files.checksums, strict=True)
        known = [told ^ _ALL_BITS if found is None else found for found, told in pairs]
        return Comparison(digest_of_replica(chunk.length, known), len(doubtful), *come)

    async def doubtful_blocks(self, chunk: Chunk, files: ChunkFiles) -> list[int]:
        """The blocks of an unsure replica that do not match their checksums, or cannot be read. Raises DiskFailure."""
        held = await self._held(chunk, files)
        pairs = enumerate(zip(held, files.checksums, strict=True))
        return [block for block, (found, told) in pairs if found != told]

    async def replace_checksums(self, chunk: Chunk, files: ChunkFiles, checksums: list[int]) -> None:
        """Give an unsure replica, whose data is synced, other checksums; it stays unsure. Durable. A death in between
        leaves some entries of the table old and some new: their blocks match, or are doubtful. Raises DiskFailure."""
        await self._anchor_as_it_is(chunk, files)
        header = rewritten(self._writer.following(chunk), chunk.length, 0, checksums)
        await self._writer.anchor(chunk, files, header, checksums)
        files.checksums = array("I", checksums)
        chunk.held = None

    async def admit(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Make an unsure replica sure, with the bytes that it holds; durable. Raises DiskFailure, NoSpace."""
        found = await self._held(chunk, files)
        # What cannot be read now keeps its checksum: it is damaged, or whole again some day.
        held = [told if block is None else block for block, told in zip(found, files.checksums, strict=True)]
        if chunk.length or files.data is not None:
            data = await self._block_writer.data_file(chunk, files)
            if await data.size() != chunk.length:
                await data.truncate(chunk.length)
            await self._writer.sync_data(chunk, files)
        await self._anchor_as_it_is(chunk, files)
        chunk.is_unsure = False
        try:
            # What it lacks has just been given up: it has all that counts under its version.
            header = rewritten(self._writer.raised(chunk, chunk.version), chunk.length, 0, held)
            await self._writer.anchor(chunk, files, header, held)
            await self._writer.fill_unreadable(chunk, files)
        except BaseException:
            chunk.is_unsure = True
            raise
        files.checksums = array("I", held)
        chunk.held = None
        chunk.damage.clear()

    async def _anchor_as_it_is(self, chunk: Chunk, files: ChunkFiles) -> None:
        if chunk.slot not in ANCHORS:
            # The table is about to change under this header: after a death in between it would not be believed.
            await self._writer.anchor(chunk, files, self._writer.following(chunk))

    async def _held(self, chunk: Chunk, files: ChunkFiles) -> list[int | None]:
        """What the blocks hold, None for those that cannot be read. Nobody writes to an unsure replica, so that it is
        read only once."""
        if chunk.held is None:
            chunk.held = await self._verifier.held(chunk, files, self._breathe)
        return chunk.held
