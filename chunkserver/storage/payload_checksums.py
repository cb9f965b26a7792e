"""Checksums of what is sent to a reader, made while its blocks are verified.

A reader's range begins anywhere, so that its 64 KiB pieces are not the chunk's blocks. Where a piece is one whole
block, the checksum that was just compared is the answer, and nothing is computed twice.

>>> payload = PayloadChecksums()
>>> payload.add(memoryview(b"12345"))
>>> payload.add(memoryview(b"6789"))
>>> payload.all() == [crc32c.crc32c(b"123456789")]
True
"""

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES


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
