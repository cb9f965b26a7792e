"""Damage to the stored bytes of a replica, behind the back of its server: bits that flip, writes that tore.

It is the same in both worlds. What differs is a *platter*: where the bytes lie, and how they are changed without the
server's noticing. A file of a chunk is damaged by whoever knows its format, so this module knows it, too.
"""

from typing import Protocol

from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_format import SLOT_BYTES, TABLE_OFFSET, decode_slots
from cluster.fault_words import listed
from cluster.faultplan import (
    Damage,
    RottenBlock,
    RottenHeader,
    RottenTable,
    TornBlock,
    TornHeader,
)

# What of a header slot rots: the magic number stays, so that only the checksum tells.
_ROTTEN_AT, _ROTTEN_BYTES = 16, 4
_CHECKSUM_BYTES = 4


class Platter(Protocol):
    """The stored bytes of one node."""

    def stored(self, path: str) -> bytes:
        """What a file holds. Raises NotFound."""

    def rot(self, path: str, offset: int, *, count: int = 1) -> None:
        """Flip bits of `count` stored bytes. Raises NotFound, and InvalidRequest for bytes beyond the end."""

    def tear(self, path: str, offset: int, count: int) -> int:
        """Damage `count` bytes as a write that was cut off does: some of them stay, at least one and not all, and the
        rest becomes zeros. Returns how many stay. Raises as `rot`."""


def files_of_replica(handle: int) -> str:
    """How the names of both files of a replica begin."""
    return data_path(handle).removesuffix("data")


def damage_replica(what: Damage, disk: Platter, handle: int) -> str:
    """Damage one stored replica; returns what was done, in words. Raises NotFound without one, and InvalidRequest for
    bytes beyond its end."""
    data, metadata = data_path(handle), metadata_path(handle)
    match what:
        case RottenBlock(block=block):
            count = min(4, len(disk.stored(data)) - block * BLOCK_BYTES)
            return _flipped(disk, data, block * BLOCK_BYTES, count)
        case TornBlock(block=block):
            begin = block * BLOCK_BYTES
            count = max(2, min(BLOCK_BYTES, len(disk.stored(data)) - begin))
            return _torn(disk, data, begin, count)
        case RottenHeader(slot=slot):
            slots = [slot] if isinstance(slot, int) else _written_slots(disk, metadata)
            if slot == "newest":
                headers = decode_slots(disk.stored(metadata), handle)
                slots = [max(headers, key=lambda number: headers[number].sequence, default=0)]
            return listed([_flipped(disk, metadata, one * SLOT_BYTES + _ROTTEN_AT, _ROTTEN_BYTES) for one in slots])
        case RottenTable(block=block):
            return _flipped(disk, metadata, TABLE_OFFSET + block * _CHECKSUM_BYTES, _CHECKSUM_BYTES)
        case TornHeader(slot=slot):
            written = disk.stored(metadata)[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES].rstrip(b"\0")
            return _torn(disk, metadata, slot * SLOT_BYTES, len(written))


def _flipped(disk: Platter, path: str, offset: int, count: int) -> str:
    disk.rot(path, offset, count=count)
    return f"flipped bits of {count} bytes from byte {offset} of {path}"


def _torn(disk: Platter, path: str, offset: int, count: int) -> str:
    disk.tear(path, offset, count)
    return f"cut off a write of {count} bytes from byte {offset} of {path}"


def _written_slots(disk: Platter, metadata: str) -> list[int]:
    stored = disk.stored(metadata)
    slots = range(TABLE_OFFSET // SLOT_BYTES)
    return [slot for slot in slots if any(stored[slot * SLOT_BYTES : slot * SLOT_BYTES + _ROTTEN_AT + _ROTTEN_BYTES])]
