"""The metadata file of a chunk, as bytes (docs/formats/chunk.md).

The problem. A chunk's data and its checksums lie in two files, and a process may die between any two writes. Afterwards
the replica must be as it was before the mutation, or as it is after it, or the damaged block must be recognisable; a
replica whose checksums were left half-written must not look corrupt everywhere.

The idea. A *header* says how long the chunk is, at which version, and what the checksum of its last partial block is.
There are two slots for it, written in turn, each with a sequence number and a checksum of its own: the valid one with
the highest sequence counts. All other checksums are in a *table* behind the slots.

    append       data, then table entries of blocks that are now full, then the header. Until the header is written,
                 nothing that the old header relies on has changed.
    overwrite    an *intent* with the old and the new checksums of the blocks first, then data, table, header. After
                 a death in between, each block is compared with both.

A header also carries a checksum of the table entries that were written with it: after a power cut, a header that
reached the disk before its entries is not believed, and the other slot counts. Where an unfinished overwrite has begun
to replace those entries, its intent says what they were.

    0     slot of even sequences       512   slot of odd sequences
    1024  table: one u32 a block       behind the table, at a multiple of 512: the intent

Invariants: (1) a slot is never written in place of the one that counts; (2) an intent belongs to the sequence that
comes next, so that the header which completes the overwrite makes it void.
"""

import struct
from dataclasses import dataclass

import crc32c

from chunkserver.blocks import BLOCK_BYTES, block_count
from runtime.errors import Corrupted

MAGIC = b"TTCHUNK1"
INTENT_MAGIC = b"TTINTNT1"
SLOT_BYTES = 512
TABLE_OFFSET = 2 * SLOT_BYTES

_SLOT = struct.Struct("<8sQQIIIIIII")
_INTENT = struct.Struct("<8sQIII")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Header:
    """What one slot says. `tail_crc32c` is that of the last block if it is partial, else 0; the entries are the ones
    that were written to the table along with this header."""

    sequence: int
    handle: int
    version: int
    length: int
    capacity: int  # The chunk size of the cluster, bytes: the length never exceeds it.
    tail_crc32c: int = 0
    entries_first: int = 0
    entries_count: int = 0
    entries_crc32c: int = 0

    @property
    def full_blocks(self) -> int:
        """Blocks whose checksums are in the table."""
        return self.length // BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Intent:
    """An overwrite that has begun: old and new checksums of the blocks from `first`, and the length afterwards."""

    sequence: int
    first: int
    new_length: int
    old: tuple[int, ...]
    new: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a metadata file says: the header that counts, the checksums of all blocks, and an unfinished overwrite."""

    header: Header
    checksums: list[int]
    intent: Intent | None


def slot_offset(sequence: int) -> int:
    """Where the header of this sequence is written."""
    return SLOT_BYTES * (sequence % 2)


def intent_offset(capacity: int) -> int:
    """Where the intent of a chunk of this capacity is written."""
    table_bytes = 4 * block_count(capacity)
    return TABLE_OFFSET + -(-table_bytes // SLOT_BYTES) * SLOT_BYTES


def encode_header(header: Header) -> bytes:
    """The bytes of one slot."""
    fields = (
        header.sequence,
        header.handle,
        header.version,
        header.length,
        header.capacity,
        header.tail_crc32c,
        header.entries_first,
        header.entries_count,
        header.entries_crc32c,
    )
    encoded = _SLOT.pack(MAGIC, *fields)
    return encoded + _CRC.pack(crc32c.crc32c(encoded))


def encode_entries(checksums: list[int]) -> bytes:
    """Table entries."""
    return struct.pack(f"<{len(checksums)}I", *checksums)


def encode_intent(intent: Intent) -> bytes:
    """The bytes of an intent."""
    encoded = _INTENT.pack(INTENT_MAGIC, intent.sequence, intent.first, len(intent.new), intent.new_length)
    encoded += encode_entries([*intent.old, *intent.new])
    return encoded + _CRC.pack(crc32c.crc32c(encoded))


def decode_metadata(raw: bytes, handle: int) -> Metadata:
    """What a metadata file says. Raises Corrupted if no slot can be believed."""
    headers = [found for found in (_decode_slot(raw, 0), _decode_slot(raw, SLOT_BYTES)) if found is not None]
    for header in sorted(headers, key=lambda found: -found.sequence):
        if header.handle != handle or TABLE_OFFSET + 4 * header.full_blocks > max(len(raw), TABLE_OFFSET):
            continue
        intent = _decode_intent(raw, header)
        checksums = _table_under(raw, header, intent)
        if _entries_arrived(checksums, header):
            if header.length % BLOCK_BYTES:
                checksums.append(header.tail_crc32c)
            return Metadata(header, checksums, intent)
    found = f"headers of chunks {[hex(header.handle) for header in headers]}" if headers else "no valid header"
    raise Corrupted(
        f"the metadata of chunk {handle:#x} has {found} in its {len(raw)} bytes, expected one of that chunk"
    )


def _decode_slot(raw: bytes, offset: int) -> Header | None:
    end = offset + _SLOT.size
    if len(raw) < end + _CRC.size or raw[offset : offset + 8] != MAGIC:
        return None
    if crc32c.crc32c(raw[offset:end]) != _CRC.unpack_from(raw, end)[0]:
        return None
    return Header(*_SLOT.unpack_from(raw, offset)[1:])


def _entries_arrived(checksums: list[int], header: Header) -> bool:
    """Whether the table has what was written along with the header."""
    entries = checksums[header.entries_first : header.entries_first + header.entries_count]
    return len(entries) == header.entries_count and bool(
        crc32c.crc32c(encode_entries(entries)) == header.entries_crc32c
    )


def _table_under(raw: bytes, header: Header, intent: Intent | None) -> list[int]:
    """The table that the header speaks of: an overwrite that did not come to its own header may have begun to replace
    entries, and its intent knows what they were."""
    count = header.full_blocks
    table = list(struct.unpack_from(f"<{count}I", raw, TABLE_OFFSET)) if count else []
    if intent is not None:
        old = intent.old[: max(0, count - intent.first)]
        table[intent.first : intent.first + len(old)] = old
    return table


def _decode_intent(raw: bytes, header: Header) -> Intent | None:
    offset = intent_offset(header.capacity)
    if len(raw) < offset + _INTENT.size:
        return None
    magic, sequence, first, count, new_length = _INTENT.unpack_from(raw, offset)
    end = offset + _INTENT.size + 8 * count
    if magic != INTENT_MAGIC or sequence != header.sequence + 1 or len(raw) < end + _CRC.size:
        return None
    if crc32c.crc32c(raw[offset:end]) != _CRC.unpack_from(raw, end)[0]:
        return None
    values = struct.unpack_from(f"<{2 * count}I", raw, offset + _INTENT.size)
    return Intent(sequence, first, new_length, values[:count], values[count:])
