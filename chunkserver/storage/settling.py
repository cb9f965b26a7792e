"""After a death in the middle of an overwrite: which of its blocks are new, old, or torn.

The data file is not trusted to be all of one kind. Each block under the intent is compared with its new and its old
checksum. The chunk takes its new length only if every block is new. A block that matches neither is torn: it holds old
bytes that were acknowledged and were not being written, beside bytes of the overwrite. It keeps its old checksum, and
the replica is *unsure* from then on, whatever its durability: the master compares it with the others, and if no replica
has the block whole, its bytes are taken as they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES, block_count, block_extent
from chunkserver.storage.chunk_files import Chunk, ChunkFiles
from chunkserver.storage.chunk_format import Intent
from chunkserver.storage.headers import HeaderWriter, rewritten


@dataclass(frozen=True, slots=True)
class Verdict:
    """The length that holds now, the checksums of the blocks from the intent's first on, how many were what, and
    whether all hold what they held before."""

    length: int
    checksums: list[int]
    new: int
    old: int
    torn: int
    is_unchanged: bool

    def __str__(self) -> str:
        return f"{self.new} blocks new, {self.old} old, {self.torn} torn"


def judge(contents: Sequence[bytes], length: int, intent: Intent) -> Verdict:
    """Judge the blocks of an unfinished overwrite of a chunk of `length` bytes by what they hold now."""
    is_new = [
        _matches(content, block_extent(intent.first + at, intent.new_length), intent.new[at])
        for at, content in enumerate(contents)
    ]
    was_old = [
        _matches(content, block_extent(intent.first + at, length), intent.old[at])
        for at, content in enumerate(contents)
    ]
    settled_length = intent.new_length if all(is_new) else length
    updated = [
        crc32c.crc32c(content[: block_extent(intent.first + at, settled_length)]) if is_new[at] else intent.old[at]
        for at, content in enumerate(contents)
    ]
    old = sum(before and not after for before, after in zip(was_old, is_new, strict=True))
    new = sum(is_new)
    torn = len(contents) - new - old
    kept = updated[: block_count(settled_length) - intent.first]
    return Verdict(settled_length, kept, new, old, torn, is_unchanged=all(was_old))


async def settle(writer: HeaderWriter, chunk: Chunk, files: ChunkFiles, intent: Intent) -> Verdict:
    """Judge the blocks of an unfinished overwrite, and write the verdict down. Raises DiskFailure.

    What is judged is made durable first: a verdict must not outlive, in a power cut, the bytes that it is about.
    """
    await writer.sync_data(chunk, files)
    contents = []
    for block in range(intent.first, intent.first + len(intent.new)):
        contents.append(b"" if files.data is None else await files.data.read_at(block * BLOCK_BYTES, BLOCK_BYTES))
    verdict = judge(contents, chunk.length, intent)
    chunk.highest_sequence = max(chunk.highest_sequence, chunk.header.sequence)
    chunk.is_unsure = chunk.is_unsure or verdict.torn > 0
    header = rewritten(writer.following(chunk), verdict.length, intent.first, verdict.checksums)
    await writer.anchor(chunk, files, header, verdict.checksums)
    kept = files.checksums[: intent.first].tolist()
    rest = files.checksums[intent.first + len(verdict.checksums) :].tolist()
    del files.checksums[:]
    files.checksums.extend([*kept, *verdict.checksums, *rest][: block_count(verdict.length)])
    return verdict


def _matches(content: bytes, extent: int, checksum: int) -> bool:
    return len(content) >= extent and bool(crc32c.crc32c(content[:extent]) == checksum)
