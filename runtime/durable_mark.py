"""How far a log is durable, written down outside of the log.

The problem. A record log tells a torn tail from damage by its later frames: each says up to which record everything was
durable (`record_log.py`). Of the last records no later frame speaks. If the block with them is damaged, that looks like
a write that a crash has interrupted, and they are cut off: acknowledged records, lost in silence. Most systems that
Ganesan et al. looked at confuse the two in this way (FAST 2017, 4.2).

The idea, as in their later work (Alagappan et al., FAST 2018). The number of the last durable record is kept in a file
of its own, so that one damaged block does not hit both. It is written after the log's sync, and not synced itself: so
it never promises too much, whatever a loss of power takes; and after a kill, which loses nothing that was written, it
is right. A log that ends before its mark is damaged.

    durable = magic crc32c sequence        ; u32, u32 and u64, little-endian

The mark is written a moment later, once for many records; a log that is killed within that moment is judged by its
frames alone. A mark that cannot be read, or not written, is none: it is worth nothing against two faults.
"""

import asyncio
import struct
from contextlib import suppress

import crc32c

from runtime.errors import NotFound, TabletopError
from runtime.world import File, World

PATH = "durable"
DELAY_SECONDS = 0.02
_MAGIC = 0x4B_4D_54_54
_MARK = struct.Struct("<IIQ")
_SEQUENCE = struct.Struct("<Q")


def encode_mark(sequence: int) -> bytes:
    """The file's content.

    >>> encode_mark(7).hex()
    '54544d4b8eb771760700000000000000'
    """
    return _MARK.pack(_MAGIC, crc32c.crc32c(_SEQUENCE.pack(sequence)), sequence)


def decode_mark(content: bytes) -> int:
    """The last durable record; 0 if the content is none of ours.

    >>> decode_mark(encode_mark(7)), decode_mark(b""), decode_mark(bytes(16))
    (7, 0, 0)
    """
    if len(content) < _MARK.size:
        return 0
    magic, checksum, sequence = _MARK.unpack_from(content)
    is_whole = magic == _MAGIC and checksum == crc32c.crc32c(_SEQUENCE.pack(sequence))
    return int(sequence) if is_whole else 0


class DurableMark:
    """The mark of the log in one node's folder."""

    def __init__(self, world: World) -> None:
        self.found = 0
        """What the file said when it was opened."""
        self._world = world
        self._file: File | None = None
        self._wanted = 0
        self._written = 0
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> int:
        """Read the mark that an earlier run has left, 0 without one; from now on `note` may be called."""
        await self.close()
        self.found = self._wanted = self._written = 0
        with suppress(TabletopError):
            self._file = await self._opened()
            self.found = self._written = decode_mark(await self._file.read_at(0, _MARK.size))
        return self.found

    async def _opened(self) -> File:
        try:
            return await self._world.disk.open(PATH, "update")
        except NotFound:
            return await self._world.disk.open(PATH, "replace")

    def note(self, sequence: int) -> None:
        """All records up to this one are durable. Returns at once."""
        self._wanted = max(self._wanted, sequence)
        if self._writing is None and self._file is not None and self._wanted > self._written:
            self._writing = self._world.spawn(self._write_soon(), "mark what is durable")

    async def lower(self, sequence: int) -> None:
        """Records after this one are about to be cut off for good. Returns when that is on stable storage.

        Raises NoSpace, DiskFailure: then they must stay."""
        await self._settle()
        self._wanted = sequence
        if self._file is None:
            self._file = await self._opened()
        await self._file.write_at(0, encode_mark(sequence))
        await self._file.sync()
        self._written = sequence

    async def close(self) -> None:
        """Write what is not written yet, and let go of the file."""
        await self._settle()
        if self._file is not None:
            await self._write()
            await self._file.close()
            self._file = None

    async def _settle(self) -> None:
        """Not by a cancellation: a write that nobody waits for any more may reach the disk after a later one."""
        while (writing := self._writing) is not None and not writing.done():
            await asyncio.wait([writing])
        self._writing = None

    async def _write_soon(self) -> None:
        await self._world.clock.sleep(DELAY_SECONDS)
        wanted = self._wanted
        await self._write()
        self._writing = None
        if self._wanted > wanted:
            self.note(self._wanted)

    async def _write(self) -> None:
        """If the disk refuses, the old mark stays, which promises less."""
        file, wanted = self._file, self._wanted
        if file is not None and wanted > self._written:
            with suppress(TabletopError):
                await file.write_at(0, encode_mark(wanted))
                self._written = wanted
