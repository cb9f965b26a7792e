"""Blocks of 64 KiB and their checksums (GFS 5.2).

The problem. A disk may return bytes that are not the ones written. The idea: a chunk is divided into blocks of
64 KiB, and for each there is a 32-bit checksum (CRC32C here), kept apart from the data. A read verifies every block
that its range touches before a byte leaves. A write computes new checksums, and there are three cases:

    append            the checksum of the last, partial block is continued over the new bytes; nothing is read. Had the
                      old bytes rotted, the new checksum will not match them either, and the next read finds out
    overwrite         the first and the last block, where they are overwritten in part, are read and verified first:
                      otherwise the new checksum would hide the rot in the bytes that stay
    write behind end  the gap reads as zeros, and has checksums like any other bytes

Everything here is pure; buffers are not copied.

>>> plan_write(length=100, offset=100, count=50).to_verify
()
>>> plan_write(length=100, offset=40, count=10).to_verify
(0,)
>>> updated_checksums([crc32c.crc32c(b"12345")], b"6789", length=5, offset=5, verified={})
[3808858755]
>>> crc32c.crc32c(b"123456789")
3808858755
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import crc32c

from runtime.bulk import CHECKSUM_BYTES
from runtime.world import Buffer

BLOCK_BYTES = CHECKSUM_BYTES  # Whole blocks that arrive are stored with the checksums that they came with.
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What a write does to a chunk's blocks. Blocks are counted from 0, `end_block` is not part of it."""

    first_block: int  # the first whose checksum changes: that of the old end, if there is a gap
    end_block: int
    to_verify: tuple[int, ...]  # to be read and verified before, because parts of them stay
    length: int  # of the chunk afterwards, bytes
    overwrites: bool  # whether bytes that were there are replaced


def block_count(length: int) -> int:
    """How many blocks a chunk of `length` bytes has; the last one may be partial."""
    return -(-length // BLOCK_BYTES)


def block_extent(block: int, length: int) -> int:
    """How many bytes this block holds in a chunk of `length` bytes."""
    return min(BLOCK_BYTES, max(0, length - block * BLOCK_BYTES))


def plan_write(*, length: int, offset: int, count: int) -> WritePlan:
    """What writing `count` bytes at `offset` does to a chunk of `length` bytes."""
    assert count > 0
    end = offset + count
    first, last = offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
    to_verify = []
    if offset % BLOCK_BYTES and offset < length:
        to_verify.append(first)
    if end < last * BLOCK_BYTES + block_extent(last, length) and last not in to_verify:
        to_verify.append(last)
    return WritePlan(
        first_block=min(offset, length) // BLOCK_BYTES,
        end_block=last + 1,
        to_verify=tuple(to_verify),
        length=max(length, end),
        overwrites=offset < length,
    )


def updated_checksums(
    old: Sequence[int],
    data: Buffer,
    *,
    length: int,
    offset: int,
    verified: Mapping[int, Buffer],
    known: Sequence[int] | None = None,
) -> list[int]:
    """The new checksums of the blocks that `plan_write` names, from its `first_block` to its `end_block`.

    `old` are the checksums of the chunk of `length` bytes; `verified` has the bytes of the blocks `to_verify`; `known`
    are the checksums of each 64 KiB of `data`, which spare the work where these are blocks of the chunk.
    """
    plan = plan_write(length=length, offset=offset, count=len(data))
    view = memoryview(data)
    spared: Sequence[int] = known if known and offset % BLOCK_BYTES == 0 and offset <= length else ()
    return [
        spared[place]
        if spared and block not in plan.to_verify
        else _updated(block, old, view, length, offset, verified.get(block))
        for place, block in enumerate(range(plan.first_block, plan.end_block))
    ]


def _updated(block: int, old: Sequence[int], data: memoryview, length: int, offset: int, found: Buffer | None) -> int:
    begin = block * BLOCK_BYTES
    data_begin = min(max(offset - begin, 0), BLOCK_BYTES)  # within the block
    data_end = min(offset + len(data) - begin, BLOCK_BYTES)
    extent = block_extent(block, length)
    checksum = 0
    if data_begin > 0:
        if found is not None:
            checksum = crc32c.crc32c(memoryview(found)[:data_begin])
        else:
            checksum = old[block] if extent else 0
            if data_begin > extent:
                checksum = crc32c.crc32c(_ZEROS[: data_begin - extent], checksum)
    if data_begin < BLOCK_BYTES:
        checksum = crc32c.crc32c(data[begin + data_begin - offset : begin + data_end - offset], checksum)
        if data_end < extent:
            assert found is not None
            checksum = crc32c.crc32c(memoryview(found)[data_end:extent], checksum)
    return checksum
