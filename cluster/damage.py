"""Damage to the stored bytes of a replica, behind the back of its server: bits that flip, writes that tore.

It is the same in both worlds. What differs is a *platter*: where the bytes lie, and how they are changed without the
server's noticing. A file of a chunk is damaged by whoever knows its format, so this module knows it, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from chunkserver.storage.blocks import BLOCK_BYTES, block_count
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_format import SLOT_BYTES, TABLE_OFFSET, decode_slots
from cluster.fault_words import listed
from cluster.faultplan import (
    Damage,
    NoEnd,
    RottenBlock,
    RottenHeader,
    RottenRecord,
    RottenTable,
    TornBlock,
    TornHeader,
)
from runtime.errors import InvalidRequest, NotFound, TabletopError
from runtime.record_log import HEADER, HEADER_BYTES, MAGIC

# What of a header slot rots: the magic number stays, so that only the checksum tells.
_ROTTEN_AT, _ROTTEN_BYTES = 16, 4
_CHECKSUM_BYTES = 4


class Platter(Protocol):
    """The stored bytes of one node."""

    def paths(self) -> Sequence[str]:
        """All files, sorted."""

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


def damage_each(what: NoEnd, disks: Mapping[str, Platter], handle: int) -> str:
    """Damage what is stored on each of the disks, of nodes by their names; returns what was done, in words. `handle` is
    that of the chunk whose replicas are damaged. Raises what `damage_replica` does, if nothing could be damaged."""
    found: TabletopError | None = None
    done = []
    for node, disk in disks.items():
        try:
            if isinstance(what, RottenRecord):
                words = rot_record(what.number, disk)
            else:
                words = damage_replica(what, disk, handle)
            done.append(f"{words} on {node}")
        except TabletopError as error:
            found = error
    if not done and found is not None:
        raise found
    return listed(done)


def rot_record(number: int, disk: Platter) -> str:
    """Flip bits in a record of the log on this disk. Raises NotFound, with the records that there are."""
    records: dict[int, tuple[str, int, int]] = {}
    for path in disk.paths():
        if path.startswith("log/") and path.endswith(".log"):
            for offset, sequence, length in _frames(disk.stored(path)):
                records[sequence] = path, offset, length
    if number not in records:
        there = f"it has records {min(records)} to {max(records)}" if records else "there is no log"
        raise NotFound(f"no record {number} in the log: {there}")
    path, offset, length = records[number]
    return _flipped(disk, path, offset + HEADER_BYTES, max(1, min(_ROTTEN_BYTES, length)))


def damage_replica(what: Damage, disk: Platter, handle: int) -> str:
    """Damage one stored replica; returns what was done, in words. Raises NotFound without one, and InvalidRequest for
    bytes beyond its end."""
    data, metadata = data_path(handle), metadata_path(handle)
    match what:
        case RottenBlock(block=block):
            count = min(4, _rest_of(disk, data, block))
            return _flipped(disk, data, block * BLOCK_BYTES, count)
        case TornBlock(block=block):
            begin = block * BLOCK_BYTES
            count = max(2, min(BLOCK_BYTES, _rest_of(disk, data, block)))
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


def _rest_of(disk: Platter, path: str, block: int) -> int:
    """How many bytes a replica has from the beginning of a block on. Raises InvalidRequest if there are none."""
    length = len(disk.stored(path))
    if not 0 <= block < block_count(length):
        raise InvalidRequest(f"no block {block} in a replica of {length} bytes: {block_count(length)} blocks, from 0")
    return length - block * BLOCK_BYTES


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


def _frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The offset, the record's number and the payload's length of each frame of a log, by their headers alone."""
    offset = 0
    while offset + HEADER_BYTES <= len(data):
        magic, length, _, _, sequence, _ = HEADER.unpack_from(data, offset)
        if magic != MAGIC:
            return
        yield offset, sequence, length
        offset += HEADER_BYTES + length
