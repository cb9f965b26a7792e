"""After a death in the middle of an overwrite: which of its blocks are new, old, or torn.

The data file is not trusted to be all of one kind. Each block under the intent is compared with its new and its old
checksum. A block that matches neither keeps its old checksum, so that every read finds the damage. The chunk takes its
new length only if every block is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import crc32c

from chunkserver.blocks import BLOCK_BYTES, block_count, block_extent
from chunkserver.chunk_format import (
    TABLE_OFFSET,
    Header,
    Intent,
    encode_entries,
    encode_header,
    slot_offset,
)
from runtime.world import File


@dataclass(frozen=True, slots=True)
class Settled:
    """The header and checksums that hold now, and how many blocks were what."""

    header: Header
    checksums: list[int]
    new: int
    old: int
    torn: int


def rewritten(header: Header, length: int, first: int, updated: Sequence[int]) -> Header:
    """The header after the checksums from block `first` on became `updated` and the chunk has `length` bytes.

    Full blocks go to the table; a partial last one goes into the header, and is taken over if it did not change.
    """
    full_blocks = length // BLOCK_BYTES
    entries = list(updated[: max(0, full_blocks - first)])
    tail = 0
    if length % BLOCK_BYTES:
        is_new = first <= full_blocks < first + len(updated)
        tail = updated[full_blocks - first] if is_new else header.tail_crc32c
    return replace(
        header,
        sequence=header.sequence + 1,
        length=length,
        tail_crc32c=tail,
        entries_first=first,
        entries_count=len(entries),
        entries_crc32c=crc32c.crc32c(encode_entries(entries)),
    )


async def settle(data: File, metadata: File, header: Header, checksums: list[int], intent: Intent) -> Settled:
    """Judge the blocks of an unfinished overwrite, and write down the verdict. Raises DiskFailure.

    What is judged is made durable first: a verdict must not outlive, in a power cut, the bytes that it is about."""
    await data.sync()
    contents = [await data.read_at((intent.first + at) * BLOCK_BYTES, BLOCK_BYTES) for at in range(len(intent.new))]
    is_new = [
        _matches(content, block_extent(intent.first + at, intent.new_length), intent.new[at])
        for at, content in enumerate(contents)
    ]
    length = intent.new_length if all(is_new) else header.length
    verdicts = {"new": 0, "old": 0, "torn": 0}
    updated = []
    for at, content in enumerate(contents):
        extent = block_extent(intent.first + at, length)
        if is_new[at]:
            verdicts["new"] += 1
            updated.append(crc32c.crc32c(content[:extent]))
        else:
            was_old = _matches(content, block_extent(intent.first + at, header.length), intent.old[at])
            verdicts["old" if was_old else "torn"] += 1
            updated.append(intent.old[at])
    updated = updated[: block_count(length) - intent.first]
    settled = rewritten(header, length, intent.first, updated)
    entries = encode_entries(updated[: settled.entries_count])
    await metadata.write_at(TABLE_OFFSET + 4 * settled.entries_first, entries)
    await metadata.write_at(slot_offset(settled.sequence), encode_header(settled))
    await metadata.sync()
    all_checksums = checksums[: intent.first] + updated + checksums[intent.first + len(updated) :]
    return Settled(settled, all_checksums[: block_count(length)], **verdicts)


def _matches(content: bytes, extent: int, checksum: int) -> bool:
    return len(content) >= extent and bool(crc32c.crc32c(content[:extent]) == checksum)
