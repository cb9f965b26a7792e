"""Blocks of 64 KB and their checksums: what a mutation does to them (GFS 5.2).

The problem. Disks return wrong bytes without saying so. Each block of 64 KB has a CRC32C of its own, kept apart from
the data; it must be updated with every mutation without reading more than necessary, and must never be computed from
bytes that may already be wrong.

The idea, as in the paper, by where a mutation meets a block:

    whole block, or from its first byte to the chunk's end   the checksum of the new bytes alone
    behind the last byte (append)                            the old checksum, continued over the new bytes: nothing is
                                                             read; if the old bytes were bad, the next read finds out
    a part of what is there (overwrite)                      the old block is read and verified first, or the new
                                                             checksum would hide the damage

The last block of a chunk may be partial: its checksum covers the bytes up to the chunk's length.

>>> old = [crc32c.crc32c(b"abc")]
>>> updated_checksums(old, 3, offset=3, data=memoryview(b"def"), old_blocks={})
(0, [1404891121])
>>> crc32c.crc32c(b"abcdef")
1404891121
"""

from collections.abc import Mapping, Sequence

import crc32c

from runtime.world import Buffer

BLOCK_BYTES = 64 * 1024
_ZEROS = memoryview(bytes(BLOCK_BYTES))


def block_count(length: int) -> int:
    """How many blocks hold `length` bytes.

    >>> block_count(0), block_count(1), block_count(65536), block_count(65537)
    (0, 1, 1, 2)
    """
    return -(-length // BLOCK_BYTES)


def block_extent(block: int, length: int) -> int:
    """How many bytes of a chunk of `length` bytes lie in this block."""
    return max(0, min(BLOCK_BYTES, length - block * BLOCK_BYTES))


def checksums_of(data: Buffer) -> list[int]:
    """The CRC32C of each 64 KB of `data`."""
    view = memoryview(data)
    return [crc32c.crc32c(view[begin : begin + BLOCK_BYTES]) for begin in range(0, len(view), BLOCK_BYTES)]


def plan_blocks_to_verify(length: int, offset: int, count: int) -> list[int]:
    """The blocks that a mutation of `count` bytes at `offset` overwrites in part, so that they must be read and
    verified first: the first and the last at most.

    >>> plan_blocks_to_verify(100_000, 0, 100_000)
    []
    >>> plan_blocks_to_verify(100_000, 65_536, 100)
    [1]
    >>> plan_blocks_to_verify(200_000, 10, 70_000)
    [0, 1]
    >>> plan_blocks_to_verify(100_000, 100_000, 5)
    []
    """
    if offset >= length or count == 0:
        return []
    first, last = offset // BLOCK_BYTES, (offset + count - 1) // BLOCK_BYTES
    wanted = []
    if offset > first * BLOCK_BYTES:
        wanted.append(first)
    keeps_a_rest = offset + count < min((last + 1) * BLOCK_BYTES, length)
    if keeps_a_rest and last not in wanted:
        wanted.append(last)
    return wanted


def updated_checksums(
    checksums: Sequence[int], length: int, *, offset: int, data: memoryview, old_blocks: Mapping[int, Buffer]
) -> tuple[int, list[int]]:
    """The checksums that a chunk of `length` bytes gets by writing `data` at `offset`: the first block that changes,
    and the new checksums from there on. A gap between the old end and `offset` counts as zeros.

    `old_blocks` holds the verified bytes of the blocks that `plan_blocks_to_verify` named.
    """
    end = offset + len(data)
    first = min(offset, length) // BLOCK_BYTES
    updated = []
    for block in range(first, block_count(end)):
        begin = block * BLOCK_BYTES
        old_extent = block_extent(block, length)
        if block in old_blocks:
            updated.append(_overwritten(old_blocks[block], begin, offset, data))
        elif old_extent and offset >= begin + old_extent:
            gap_end = min(offset, begin + BLOCK_BYTES)
            running = crc32c.crc32c(_ZEROS[: gap_end - begin - old_extent], checksums[block])
            updated.append(crc32c.crc32c(_part(data, offset, gap_end, begin + BLOCK_BYTES), running))
        else:
            gap_end = min(max(offset, begin), begin + BLOCK_BYTES)
            running = crc32c.crc32c(_ZEROS[: gap_end - begin])
            updated.append(crc32c.crc32c(_part(data, offset, gap_end, begin + BLOCK_BYTES), running))
    return first, updated


class PayloadChecksums:
    """The CRC32C of each 64 KiB of a payload that goes by in parts, counted from its first byte."""

    def __init__(self) -> None:
        self.finished: list[int] = []
        self._running = 0
        self._filled = 0

    def add(self, part: memoryview, known: int | None = None) -> None:
        """Take the next bytes; `known` is their CRC32C, if somebody has computed it."""
        if known is not None and self._filled == 0 and len(part) <= BLOCK_BYTES:
            self._running, self._filled = known, len(part)
        else:
            while part:
                taken = part[: BLOCK_BYTES - self._filled]
                self._running = crc32c.crc32c(taken, self._running)
                self._filled += len(taken)
                part = part[len(taken) :]
                if part:
                    self._finish_one()
        if self._filled == BLOCK_BYTES:
            self._finish_one()

    def all(self) -> list[int]:
        """The checksums, the last one of whatever is left."""
        if self._filled:
            self._finish_one()
        return self.finished

    def _finish_one(self) -> None:
        self.finished.append(self._running)
        self._running, self._filled = 0, 0


def _part(data: memoryview, offset: int, begin: int, end: int) -> memoryview:
    """The bytes of `data`, which stands at `offset`, that lie in [begin, end)."""
    return data[max(0, begin - offset) : max(0, end - offset)]


def _overwritten(old: Buffer, begin: int, offset: int, data: memoryview) -> int:
    """The checksum of an old block, which begins at `begin`, with `data` written over it."""
    view = memoryview(old)
    before = view[: max(0, offset - begin)]
    fresh = _part(data, offset, begin, begin + BLOCK_BYTES)
    after = view[len(before) + len(fresh) :]
    return int(crc32c.crc32c(after, crc32c.crc32c(fresh, crc32c.crc32c(before))))
