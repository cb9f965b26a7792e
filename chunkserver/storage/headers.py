"""Writing headers: which slot, and what has to be on stable storage before.

`chunk_format.py` says what the slots mean. Two ways to write a header:

    commit   to the other working slot; synced only with durability "fsync"
    anchor   data, the data file's name and the table are synced first; then the header goes to the other anchor slot,
             and is synced

Invariants: (1) the header in memory is one that was written as a whole; after a failure the slot that was being written
gets its old meaning back; (2) a header says that its replica is sure only if it is; (3) after a sync has failed nothing
of this replica is called durable any more: the system may have dropped the pages that it could not write. The next life
of the server does not know of it, and writes again what may be concerned.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace

import crc32c

from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import Chunk, ChunkFiles, folder_of
from chunkserver.storage.chunk_format import (
    ANCHORS,
    NO_BOOT,
    NO_PROGRESS,
    TABLE_OFFSET,
    Header,
    Progress,
    encode_entries,
    encode_header,
    slot_offset,
    with_table,
)
from runtime.errors import DiskFailure, TabletopError
from runtime.rewriting import write_again
from runtime.world import Disk, File


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
        length=length,
        tail_crc32c=tail,
        entries_first=first,
        entries_count=len(entries),
        entries_crc32c=crc32c.crc32c(encode_entries(entries)),
    )


def _with_table_after(header: Header, files: ChunkFiles, updated: Sequence[int]) -> Header:
    """The header with the checksum of the table as it is once the header's own entries are in it."""
    table = files.checksums[: header.full_blocks]
    table[header.entries_first : header.entries_first + header.entries_count] = array(
        "I", updated[: header.entries_count]
    )
    return with_table(header, table)


def _as_durable(header: Header) -> Header:
    """The header once all that it speaks of was synced. After a sync that failed nobody knows what that is worth, nor
    what there was to be synced of an unsure replica."""
    return replace(header, durable_progress=header.progress) if header.is_trusted else header


class HeaderWriter:
    """Writes the headers of one server's chunks; the caller holds the chunk's lock.

    `syncs`: every mutation is synced before it is acknowledged. `boot` names this run of the machine. `on_lost_pages`
    is called when a sync of a chunk's file has failed."""

    def __init__(self, disk: Disk, *, syncs: bool, boot: int, on_lost_pages: Callable[[Chunk, str], None]) -> None:
        self.syncs = syncs
        self.boot = boot
        self._disk = disk
        self._on_lost_pages = on_lost_pages

    def following(self, chunk: Chunk, progress: Progress = NO_PROGRESS) -> Header:
        """The chunk's next header, so far without any change but its sequence, and its progress if that is further."""
        is_trusted = not chunk.is_unsure and not chunk.has_lost_pages
        return replace(
            chunk.header,
            sequence=max(chunk.highest_sequence, chunk.header.sequence) + 1,
            progress=max(chunk.header.progress, progress),
            durable_progress=chunk.durable_progress,
            boot=self.boot if is_trusted else NO_BOOT,
            is_synced=self.syncs and is_trusted,
            entries_first=0,
            entries_count=0,
            entries_crc32c=0,
        )

    def raised(self, chunk: Chunk, version: int) -> Header:
        """The chunk's next header, at this version. A replica that is sure has all that was acknowledged before."""
        header = replace(self.following(chunk), version=version)
        return replace(header, progress=Progress(version, 0)) if header.is_trusted else header

    def has_other_durability(self, chunk: Chunk) -> bool:
        """Whether the header promises another durability than mutations have now: then it needs an anchor first."""
        return chunk.header.is_synced != (self.syncs and not chunk.has_lost_pages)

    async def commit(self, chunk: Chunk, files: ChunkFiles, header: Header, updated: Sequence[int]) -> None:
        """Make a mutation whose data is written count: the table entries that the header speaks of, then the header."""
        header = _with_table_after(header, files, updated)
        if self.syncs:
            header = _as_durable(header)
        await self._write_entries(chunk, files, header, updated)
        slot = 1 if chunk.slot == 0 else 0
        try:
            await files.metadata.write_at(slot_offset(slot), encode_header(header))
            if self.syncs:
                await self._sync(chunk, files.metadata)
                chunk.has_unsynced_entries = False
        except TabletopError:
            await self._restore(chunk, files, slot, chunk.header)
            raise
        chunk.header, chunk.slot, chunk.highest_sequence = header, slot, header.sequence

    async def anchor(self, chunk: Chunk, files: ChunkFiles, header: Header, updated: Sequence[int] = ()) -> None:
        """Write a header that a loss of power cannot take away, nor anything that it speaks of. Raises DiskFailure."""
        header = _with_table_after(header, files, updated)
        await self._write_entries(chunk, files, header, updated)
        await self.sync_contents(chunk, files)
        await self.anchor_synced(chunk, files, header)

    async def anchor_synced(self, chunk: Chunk, files: ChunkFiles, header: Header) -> None:
        """The second half of `anchor`: what the header speaks of has been synced since it was written. It may be the
        one that counts already, or an earlier one."""
        slot = ANCHORS[0] if chunk.anchor_slot == ANCHORS[1] else ANCHORS[1]
        header = _as_durable(header)
        try:
            await files.metadata.write_at(slot_offset(slot), encode_header(header))
            await self._sync(chunk, files.metadata)
        except TabletopError:
            await self._restore(chunk, files, slot, chunk.anchor)
            raise
        chunk.anchor, chunk.anchor_slot = header, slot
        chunk.unreadable = tuple(other for other in chunk.unreadable if other != slot)
        if header.sequence > chunk.header.sequence:
            chunk.header, chunk.slot, chunk.highest_sequence = header, slot, header.sequence

    async def sync_contents(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Sync what headers speak of, as far as it changed: data, the data file's name, the table. The caller holds the
        chunk's lock if it is to be written again. Raises NoSpace, DiskFailure."""
        if chunk.is_to_write_again:
            if files.data is not None:
                await write_again(files.data, 0, chunk.length)
            chunk.is_to_write_again = False
        if chunk.is_dirty and files.data is not None:
            await self._sync(chunk, files.data)
        if chunk.has_unsynced_name:
            await self._disk.sync_directory(folder_of(chunk.handle))
            chunk.has_unsynced_name = False
        if chunk.has_unsynced_entries:
            chunk.has_unsynced_entries = False
            await self._sync(chunk, files.metadata)

    async def sync_data(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Sync the data file. Raises DiskFailure."""
        if files.data is not None:
            await self._sync(chunk, files.data)

    async def sync_metadata(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Sync the metadata file. Raises DiskFailure."""
        await self._sync(chunk, files.metadata)

    async def fill_unreadable(self, chunk: Chunk, files: ChunkFiles) -> None:
        """Write the header, which has just been anchored, to the slots that cannot be read. Raises DiskFailure."""
        if chunk.unreadable:
            for slot in chunk.unreadable:
                await files.metadata.write_at(slot_offset(slot), encode_header(chunk.header))
            await self._sync(chunk, files.metadata)
            chunk.unreadable = ()

    async def _write_entries(self, chunk: Chunk, files: ChunkFiles, header: Header, updated: Sequence[int]) -> None:
        if header.entries_count and updated:
            chunk.has_unsynced_entries = True
            entries = encode_entries(list(updated[: header.entries_count]))
            await files.metadata.write_at(TABLE_OFFSET + 4 * header.entries_first, entries)

    async def _sync(self, chunk: Chunk, file: File) -> None:
        try:
            await file.sync()
        except DiskFailure as error:
            chunk.has_lost_pages = True
            self._on_lost_pages(chunk, error.message)
            raise

    async def _restore(self, chunk: Chunk, files: ChunkFiles, slot: int, header: Header | None) -> None:
        """A write to this slot has failed: it is to mean nothing that is not so."""
        try:
            if header is not None:
                await files.metadata.write_at(slot_offset(slot), encode_header(header))
        except TabletopError as error:
            chunk.has_lost_pages = True
            self._on_lost_pages(chunk, error.message)
