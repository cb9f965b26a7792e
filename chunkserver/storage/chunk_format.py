"""The metadata file of a chunk, as bytes (docs/formats/chunk.md).

The problem. A chunk's data and its checksums lie in two files, and a process may die between any two writes. Afterwards
the replica must be as it was before the mutation, or as it is after it, or the damaged block must be recognisable. A
machine may lose power as well, and with durability "replicated" hardly anything was synced: then the newest bytes may
be gone, but the chunk must be there, and everything that is older than the last background sync.

The idea. A *header* says how long the chunk is, at which version, and what the checksum of its last partial block is.
There are four slots for it, each with a sequence number and a checksum of its own:

    working slots    written with each mutation, in turn; nobody waits until they are on stable storage
    anchor slots     written in turn too, but only after all that the header speaks of was synced, and then synced

A power cut may tear both working slots. It never harms more than one anchor: the other one is on stable storage. All
other checksums are in a *table* behind the slots.

    append       data, then table entries of blocks that are now full, then the header. Until the header is written,
                 nothing that the old header relies on has changed.
    overwrite    an *intent* with the old and the new checksums of the blocks first, then data, table, header. After
                 a death in between, each block is compared with both.

Which header counts? If the machine has not lost power since the newest one was written, that one: the page cache is
whole. After a loss of power, the newest one whose table entries and whose data have arrived, but never one that is
older than the newest anchor.

A replica is *sure* if the header that counts was written since the machine last lost power (`boot`), or if every
mutation up to it was synced before it was acknowledged (`is_synced`). It is *unsure* if neither is so, and also if a
slot cannot be read: that slot may have held a newer header. An unsure replica may lack acknowledged bytes. One whose
table is not the one that the header speaks of is unsure too: a checksum has rotted, and nobody knows which.

How far has a replica come? Each header names the last mutation that it covers (`Progress`), and the last one that was
on stable storage for certain when it was written, so that unsure replicas of different servers can be compared.

    0     working slots 0 and 1        1024  anchor slots 2 and 3
    2048  table: one u32 a block       behind the table, at a multiple of 512: the intent

Invariants: (1) a slot is never written in place of the header that counts, nor an anchor in place of the newest anchor;
(2) an intent belongs to the sequence that comes next, so that the header which completes the overwrite makes it void;
(3) sequences never fall: after a power cut the next one is higher than all that the file holds, so that nothing that
was written before it is ever taken for something newer; (4) all slots are filled at creation, so that a slot which
cannot be read is always a sign of damage, or of a write that was torn."""

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES, block_count
from runtime.errors import Corrupted

MAGIC = b"TTCHUNK4"
INTENT_MAGIC = b"TTINTNT1"
SLOT_BYTES = 512
SLOTS = 4
ANCHORS = (2, 3)
TABLE_OFFSET = SLOTS * SLOT_BYTES
NO_BOOT = 0  # In a header of an unsure replica: it matches no machine.

_SLOT = struct.Struct("<8sQQQIIIIIIIIIIQIQ")
_INTENT = struct.Struct("<8sQIII")
_CRC = struct.Struct("<I")
_SYNCED = 1


class Progress(NamedTuple):
    """How far a replica has come: it has every acknowledged mutation under lower versions, and those under this one up
    to this serial (GFS 3.1). Replicas of different servers can be compared by it.

    >>> Progress(5, 9) < Progress(6, 0) < Progress(6, 2)
    True
    """

    version: int
    serial: int


NO_PROGRESS = Progress(0, 0)


@dataclass(frozen=True, slots=True)
class Header:
    """What one slot says. `tail_crc32c` is that of the last block if it is partial, else 0; the entries are the ones
    that were written to the table along with this header. `table_crc32c` is that of the whole table, up to
    `full_blocks`. `progress` is how far the replica had come with this header, `durable_progress` how far it had come
    with what was certainly on stable storage then."""

    sequence: int
    handle: int
    boot: int  # names the time from one start of the machine to the next
    version: int
    length: int
    capacity: int  # The chunk size of the cluster, bytes: the length never exceeds it.
    is_synced: bool = False
    tail_crc32c: int = 0
    entries_first: int = 0
    entries_count: int = 0
    entries_crc32c: int = 0
    table_crc32c: int = 0
    progress: Progress = NO_PROGRESS
    durable_progress: Progress = NO_PROGRESS

    @property
    def is_trusted(self) -> bool:
        """Whether it was written for a replica that was sure and whose syncs had succeeded."""
        return self.boot != NO_BOOT or self.is_synced

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
    """What a metadata file says: the header that counts and its slot, the checksums of all blocks, an unfinished
    overwrite, the newest anchor and its slot, the highest sequence anywhere, and what cannot be read."""

    header: Header
    slot: int
    checksums: list[int]
    intent: Intent | None
    anchor: Header | None
    anchor_slot: int
    highest_sequence: int
    unreadable: tuple[int, ...]
    is_unsure: bool


def slot_offset(slot: int) -> int:
    """Where a slot begins."""
    return SLOT_BYTES * slot


def intent_offset(capacity: int) -> int:
    """Where the intent of a chunk of this capacity is written."""
    table_bytes = 4 * block_count(capacity)
    return TABLE_OFFSET + -(-table_bytes // SLOT_BYTES) * SLOT_BYTES


def encode_header(header: Header) -> bytes:
    """The bytes of one slot."""
    fields = (
        header.sequence,
        header.handle,
        header.boot,
        header.version,
        header.length,
        header.capacity,
        _SYNCED if header.is_synced else 0,
        header.tail_crc32c,
        header.entries_first,
        header.entries_count,
        header.entries_crc32c,
        header.table_crc32c,
        *header.progress,
        *header.durable_progress,
    )
    encoded = _SLOT.pack(MAGIC, *fields)
    return encoded + _CRC.pack(crc32c.crc32c(encoded))


def encode_slots(header: Header) -> bytes:
    """All four slots of a new file: each holds the same header."""
    return encode_header(header).ljust(SLOT_BYTES, b"\0") * SLOTS


def encode_entries(checksums: list[int]) -> bytes:
    """Table entries."""
    return struct.pack(f"<{len(checksums)}I", *checksums)


def encode_intent(intent: Intent) -> bytes:
    """The bytes of an intent."""
    encoded = _INTENT.pack(INTENT_MAGIC, intent.sequence, intent.first, len(intent.new), intent.new_length)
    encoded += encode_entries([*intent.old, *intent.new])
    return encoded + _CRC.pack(crc32c.crc32c(encoded))


def decode_slots(raw: bytes, handle: int) -> dict[int, Header]:
    """The headers that can be read and are this chunk's, by slot."""
    found = ((slot, _decode_slot(raw, slot_offset(slot))) for slot in range(SLOTS))
    return {slot: header for slot, header in found if header is not None and header.handle == handle}


def decode_metadata(raw: bytes, handle: int, *, boot: int, data_bytes: int) -> Metadata:
    """What a metadata file says on a machine that runs since `boot`, beside a data file of `data_bytes` bytes.

    Raises Corrupted if no slot can be read.
    """
    headers = decode_slots(raw, handle)
    if not headers:
        raise Corrupted(f"the metadata of chunk {handle:#x} has no valid header of that chunk in its {len(raw)} bytes")
    slots = sorted(headers, key=lambda slot: (-headers[slot].sequence, slot))  # The newest first.
    anchors = [slot for slot in slots if slot in ANCHORS]
    slot = _slot_that_counts(raw, headers, slots, anchors, boot, data_bytes)
    header = headers[slot]
    intent = _decode_intent(raw, header.capacity)
    highest = max(headers[slots[0]].sequence, intent.sequence if intent is not None else 0)
    unreadable = tuple(other for other in range(SLOTS) if other not in headers)
    is_behind = header.sequence < headers[slots[0]].sequence
    if intent is not None and intent.sequence != header.sequence + 1:
        intent = None
    checksums = table_of(raw, header, intent)
    is_doubtful = not is_table_of(header, checksums)
    anchor = headers[anchors[0]] if anchors else None
    if is_doubtful:
        header = _as_far_as_is_certain(header, anchor)
    return Metadata(
        header=header,
        slot=slot,
        checksums=checksums,
        intent=intent,
        anchor=anchor,
        anchor_slot=anchors[0] if anchors else ANCHORS[0],
        highest_sequence=highest,
        unreadable=unreadable,
        is_unsure=bool(unreadable) or is_behind or is_doubtful or not (header.boot == boot or header.is_synced),
    )


def table_of(raw: bytes, header: Header, intent: Intent | None = None) -> list[int]:
    """The checksums of all blocks under a header. An overwrite that did not come to its own header may have begun to
    replace table entries; its intent knows what they were. What the file is too short for is 0."""
    count = header.full_blocks
    encoded = raw[TABLE_OFFSET : TABLE_OFFSET + 4 * count].ljust(4 * count, b"\0")
    table = list(struct.unpack(f"<{count}I", encoded))
    if header.length % BLOCK_BYTES:
        table.append(header.tail_crc32c)
    if intent is not None:
        old = intent.old[: max(0, count - intent.first)]
        table[intent.first : intent.first + len(old)] = old
    return table


def with_table(header: Header, checksums: Sequence[int]) -> Header:
    """The header with the checksum of its table; `checksums` are those of its blocks."""
    return replace(header, table_crc32c=_table_crc32c(checksums[: header.full_blocks]))


def is_table_of(header: Header, checksums: Sequence[int]) -> bool:
    """Whether these, of its blocks, are the ones that the header speaks of."""
    return header.table_crc32c == _table_crc32c(checksums[: header.full_blocks])


def _table_crc32c(table: Sequence[int]) -> int:
    entries = array("I", table)
    if sys.byteorder == "big":
        entries.byteswap()
    return int(crc32c.crc32c(entries.tobytes()))


def _slot_that_counts(
    raw: bytes, headers: dict[int, Header], slots: list[int], anchors: list[int], boot: int, data_bytes: int
) -> int:
    newest = slots[0]
    if headers[newest].boot == boot:
        return newest
    oldest_sequence = headers[anchors[0]].sequence if anchors else 0
    for slot in slots:
        header = headers[slot]
        if header.sequence >= oldest_sequence and header.length <= data_bytes and _entries_arrived(raw, header):
            return slot
    return anchors[0] if anchors else newest


def _decode_slot(raw: bytes, offset: int) -> Header | None:
    end = offset + _SLOT.size
    if len(raw) < end + _CRC.size or raw[offset : offset + 8] != MAGIC:
        return None
    if crc32c.crc32c(raw[offset:end]) != _CRC.unpack_from(raw, end)[0]:
        return None
    _, sequence, handle, boot, version, length, capacity, flags, *rest = _SLOT.unpack_from(raw, offset)
    tail, first, count, entries, table, *come = rest
    return Header(
        sequence=sequence,
        handle=handle,
        boot=boot,
        version=version,
        length=length,
        capacity=capacity,
        is_synced=bool(flags & _SYNCED),
        tail_crc32c=tail,
        entries_first=first,
        entries_count=count,
        entries_crc32c=entries,
        table_crc32c=table,
        progress=Progress(*come[:2]),
        durable_progress=Progress(*come[2:]),
    )


def _as_far_as_is_certain(header: Header, anchor: Header | None) -> Header:
    """The header that counts, with another table than it speaks of. A mutation before it may be missing whose block and
    whose checksum have both not arrived: such a block looks whole."""
    durable = header.durable_progress
    return replace(header, progress=durable if anchor is None else max(durable, anchor.durable_progress))


def _entries_arrived(raw: bytes, header: Header) -> bool:
    """Whether the table has what was written along with the header, or an unfinished overwrite that came next knows
    that it had."""
    intent = _decode_intent(raw, header.capacity)
    if intent is not None and intent.sequence != header.sequence + 1:
        intent = None
    checksums = table_of(raw, header, intent)
    entries = checksums[header.entries_first : header.entries_first + header.entries_count]
    return len(entries) == header.entries_count and bool(
        crc32c.crc32c(encode_entries(entries)) == header.entries_crc32c
    )


def _decode_intent(raw: bytes, capacity: int) -> Intent | None:
    offset = intent_offset(capacity)
    if len(raw) < offset + _INTENT.size:
        return None
    magic, sequence, first, count, new_length = _INTENT.unpack_from(raw, offset)
    end = offset + _INTENT.size + 8 * count
    if magic != INTENT_MAGIC or len(raw) < end + _CRC.size:
        return None
    if crc32c.crc32c(raw[offset:end]) != _CRC.unpack_from(raw, end)[0]:
        return None
    values = struct.unpack_from(f"<{2 * count}I", raw, offset + _INTENT.size)
    return Intent(sequence, first, new_length, values[:count], values[count:])
