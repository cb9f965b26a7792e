"""The chunks on this server's disk (GFS 2.5, 4.5, 5.2).

The problem. Bytes must never be served unless they are what was written, a mutation must be there as a whole or not at
all, and all of that across kills and full disks. The idea is in `chunk_format.py` (what is written in which order) and
`blocks.py` (checksums); here is the doing of it, under one lock a chunk.

Invariants:
1. A chunk exists exactly if its metadata file exists with a valid header. Creation writes that last, deletion removes
   it first.
2. A version is on disk before `create` or `advance` return (with "fsync": on stable storage).
3. A byte is handed out only after the checksum of its whole block was compared, under the chunk's lock.
4. After NoSpace nothing has changed.

`data_path` names the file whose bytes an experiment may flip.

What we simplify. With durability "replicated" nothing is synced: a power cut may take the newest mutations of a replica
with it, and if it takes their header too, this replica looks like an older one of the same version. Other replicas have
them. What a sender reads from the file is not locked against an overwrite of the same bytes in the same moment; the
reader's checksums notice, and it asks again.
"""

from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice

import crc32c
from sortedcontainers import SortedDict

from chunkserver.blocks import BLOCK_BYTES, block_count, block_extent, plan_write, updated_checksums
from chunkserver.chunk_files import Chunk, ChunkFiles, OpenChunks, data_path, folder_of, metadata_path
from chunkserver.chunk_format import (
    TABLE_OFFSET,
    Header,
    Intent,
    encode_entries,
    encode_header,
    encode_intent,
    intent_offset,
    slot_offset,
)
from chunkserver.payload_checksums import PayloadChecksums
from chunkserver.settling import rewritten, settle
from runtime.errors import AlreadyExists, Corrupted, InvalidRequest, NoSpace, NotFound, StaleVersion, TabletopError
from runtime.world import Disk, File

__all__ = ["ChunkStore", "CorruptBlock", "ReplicaState", "VerifiedRange", "data_path", "metadata_path"]

SLICE_BYTES = 4 * BLOCK_BYTES  # Verified at once: it stays in the processor's cache between reading and checking.


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What the master wants to know of a replica."""

    handle: int
    version: int
    length: int


@dataclass(frozen=True, slots=True)
class CorruptBlock:
    """A block that does not match its checksum."""

    handle: int
    version: int
    block: int
    found: str


@dataclass(frozen=True, slots=True)
class VerifiedRange:
    """Bytes that were compared with their checksums: `length` bytes of `file` from `offset`."""

    file: File | None
    offset: int
    length: int
    chunk_length: int
    checksums: list[int]  # of each 64 KiB, counted from `offset`


class ChunkStore:
    """All replicas of one server. `opening.open_store` makes one."""

    def __init__(self, disk: Disk, *, syncs: bool, reserve_bytes: int, open_chunks: int) -> None:
        self.on_corruption: Callable[[CorruptBlock], None] = lambda found: None
        self.on_change: Callable[[int], None] = lambda handle: None
        self._disk = disk
        self._syncs = syncs
        self._reserve_bytes = reserve_bytes
        self._chunks: SortedDict[int, Chunk] = SortedDict()
        self._open = OpenChunks(disk, open_chunks)
        self._folders: dict[str, None] = {}
        self._scratch: list[memoryview] = []

    # What there is

    def __len__(self) -> int:
        return len(self._chunks)

    def state(self, handle: int) -> ReplicaState | None:
        """What is held of a chunk; None if nothing."""
        chunk = self._chunks.get(handle)
        return None if chunk is None else ReplicaState(handle, chunk.version, chunk.length)

    def states(self) -> Iterator[ReplicaState]:
        """All replicas, by handle."""
        return (ReplicaState(handle, chunk.version, chunk.length) for handle, chunk in self._chunks.items())

    def states_after(self, handle: int, count: int) -> list[ReplicaState]:
        """The next `count` replicas behind `handle`."""
        found = self._chunks.irange(minimum=handle, inclusive=(False, True))
        return [ReplicaState(one, self._chunks[one].version, self._chunks[one].length) for one in islice(found, count)]

    def stored_bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.length for chunk in self._chunks.values())

    def capacity(self, handle: int) -> int:
        """How long the chunk may become, bytes. Raises NotFound."""
        return self._chunk(handle).header.capacity

    def admit(self, header: Header) -> None:
        """Count in a chunk that was found on disk."""
        self._chunks[header.handle] = Chunk(header)

    async def check_space(self, needed_bytes: int) -> None:
        """Raise NoSpace if so many more bytes would eat into the reserve."""
        free = (await self._disk.usage()).free_bytes
        if free - needed_bytes < self._reserve_bytes:
            raise NoSpace(
                f"{needed_bytes} bytes do not fit: the disk has {free} bytes free, of which {self._reserve_bytes} are "
                "kept in reserve; delete something, or add a chunkserver"
            )

    # Creation, versions, deletion

    async def create(self, handle: int, *, version: int, capacity: int) -> None:
        """Make an empty replica. Raises AlreadyExists, NoSpace, DiskFailure."""
        if handle in self._chunks:
            raise AlreadyExists(f"chunk {handle:#x} exists at version {self._chunks[handle].version}")
        await self.check_space(0)
        chunk = Chunk(Header(sequence=0, handle=handle, version=version, length=0, capacity=capacity))
        async with chunk.lock.exclusive():
            self._chunks[handle] = chunk
            try:
                await self._create_files(chunk)
            except BaseException:
                del self._chunks[handle]
                chunk.is_deleted = True
                raise
        self.on_change(handle)

    async def advance(self, handle: int, *, from_version: int, to_version: int) -> None:
        """Raise a replica's version. Raises NotFound, StaleVersion, DiskFailure."""
        async with self._exclusive(handle) as (chunk, files):
            if chunk.version == to_version:
                return
            if chunk.version != from_version:
                raise StaleVersion(
                    f"chunk {handle:#x} is at version {chunk.version}, expected {from_version} to raise it to "
                    f"{to_version}"
                )
            header = replace(_next(chunk.header), version=to_version)
            await self._write_header(files, header)
            chunk.header = header
        self.on_change(handle)

    async def delete(self, handle: int, *, version: int | None = None) -> bool:
        """Remove a replica, if it is (still) at `version`; False if there is none. Raises DiskFailure."""
        chunk = self._chunks.get(handle)
        if chunk is None:
            return False
        async with chunk.lock.exclusive():
            if chunk.is_deleted or (version is not None and chunk.version != version):
                return False
            await self._disk.remove(metadata_path(handle))
            del self._chunks[handle]
            await self._open.forget(chunk)
            if await self._disk.exists(data_path(handle)):
                await self._disk.remove(data_path(handle))
        return True

    # Mutations

    async def write(
        self, handle: int, *, version: int, offset: int, data: memoryview, checksums: Sequence[int] | None = None
    ) -> int:
        """Write `data` at `offset`, a gap before it as zeros; returns the chunk's length afterwards.

        `checksums` are those of each 64 KiB of the data, if they are known.

        Raises NotFound, StaleVersion, InvalidRequest, NoSpace, Corrupted (the block that would be overwritten in part
        is damaged) with nothing changed; DiskFailure.
        """
        end = offset + len(data)
        async with self._exclusive(handle) as (chunk, files):
            if chunk.version != version:
                raise StaleVersion(f"chunk {handle:#x} is at version {chunk.version}, the mutation is for {version}")
            if end > chunk.header.capacity:
                raise InvalidRequest(
                    f"bytes {offset} to {end} of chunk {handle:#x}: a chunk has {chunk.header.capacity} bytes"
                )
            if end > chunk.length:
                await self.check_space(end - chunk.length)
            plan = plan_write(length=chunk.length, offset=offset, count=len(data))
            first = plan.first_block
            verified = {block: await self._verified_block(chunk, files, block) for block in plan.to_verify}
            updated = updated_checksums(
                files.checksums, data, length=chunk.length, offset=offset, verified=verified, known=checksums
            )
            if plan.overwrites:
                await self._overwrite(chunk, files, offset, data, first, updated)
            else:
                await self._append(chunk, files, offset, data, first, updated)
            length = chunk.length
        self.on_change(handle)
        return length

    async def _append(
        self, chunk: Chunk, files: ChunkFiles, offset: int, data: memoryview, first: int, updated: list[int]
    ) -> None:
        file = await self._data_file(chunk, files)
        try:
            await file.write_at(offset, data)
            if self._syncs:
                await file.sync()
            header = rewritten(chunk.header, offset + len(data), first, updated)
            await self._commit(files, header, updated)
        except BaseException:
            files.is_ragged = True
            with suppress(TabletopError):
                await self._trim(chunk, files, file)
            raise
        chunk.header = header
        _replace_checksums(files.checksums, first, updated)

    async def _overwrite(
        self, chunk: Chunk, files: ChunkFiles, offset: int, data: memoryview, first: int, updated: list[int]
    ) -> None:
        file = await self._data_file(chunk, files)
        new_length = max(chunk.length, offset + len(data))
        known = list(files.checksums[first : first + len(updated)])
        old = tuple(known + [0] * (len(updated) - len(known)))
        intent = Intent(chunk.header.sequence + 1, first, new_length, old, tuple(updated))
        await files.metadata.write_at(intent_offset(chunk.header.capacity), encode_intent(intent))
        if self._syncs:
            await files.metadata.sync()
        try:
            await file.write_at(offset, data)
            if self._syncs:
                await file.sync()
            header = rewritten(chunk.header, new_length, first, updated)
            await self._commit(files, header, updated)
        except BaseException:
            settled = await settle(file, files.metadata, chunk.header, list(files.checksums), intent)
            chunk.header, files.checksums = settled.header, array("I", settled.checksums)
            raise
        chunk.header = header
        _replace_checksums(files.checksums, first, updated)

    async def _trim(self, chunk: Chunk, files: ChunkFiles, file: File) -> None:
        """Cut off what a failed append has left, so that a gap after it reads as zeros, and a full disk is freed."""
        await file.truncate(chunk.length)
        files.is_ragged = False

    async def _commit(self, files: ChunkFiles, header: Header, updated: list[int]) -> None:
        """Write the table entries that the header speaks of, and then the header."""
        if header.entries_count:
            entries = encode_entries(updated[: header.entries_count])
            await files.metadata.write_at(TABLE_OFFSET + 4 * header.entries_first, entries)
        await self._write_header(files, header)

    async def _write_header(self, files: ChunkFiles, header: Header) -> None:
        await files.metadata.write_at(slot_offset(header.sequence), encode_header(header))
        if self._syncs:
            await files.metadata.sync()

    async def _data_file(self, chunk: Chunk, files: ChunkFiles) -> File:
        if files.data is None:
            files.data = await self._disk.open(data_path(chunk.handle), "replace")
            if self._syncs:
                await self._disk.sync_directory(folder_of(chunk.handle))
        if files.is_ragged:
            await self._trim(chunk, files, files.data)
        return files.data

    # Reading

    @asynccontextmanager
    async def reading(
        self, handle: int, *, least_version: int, offset: int, count: int
    ) -> AsyncIterator[VerifiedRange]:
        """Verify every block that overlaps the range, then hand out the file to send it from.

        Raises NotFound, StaleVersion, Corrupted, DiskFailure.
        """
        chunk = self._chunk(handle)
        async with self._files(chunk) as files:
            async with chunk.lock.shared():
                if chunk.is_deleted:
                    raise self._missing(handle)
                if chunk.version < least_version:
                    raise StaleVersion(
                        f"chunk {handle:#x} is at version {chunk.version}, the reader wants at least {least_version}; "
                        "ask the master for the up-to-date replicas"
                    )
                chunk_length = chunk.length
                end = min(offset + count, chunk_length)
                checksums: list[int] = []
                if offset < end:
                    checksums = await self._verify(chunk, files, offset, end)
            yield VerifiedRange(files.data, offset, max(0, end - offset), chunk_length, checksums)

    async def verify(self, handle: int, *, offset: int, count: int) -> int:
        """Verify the blocks of a range; returns the bytes that were there. Raises NotFound, Corrupted, DiskFailure."""
        async with self.reading(handle, least_version=0, offset=offset, count=count) as verified:
            return verified.length

    async def _verify(self, chunk: Chunk, files: ChunkFiles, begin: int, end: int) -> list[int]:
        """Compare the blocks under [begin, end); returns the checksums of that range's own 64 KiB pieces."""
        payload = PayloadChecksums()
        scratch = self._scratch.pop() if self._scratch else memoryview(bytearray(SLICE_BYTES))
        position = begin - begin % BLOCK_BYTES
        last = min(block_count(end) * BLOCK_BYTES, chunk.length)
        try:
            while position < last:
                target = scratch[: min(SLICE_BYTES, last - position)]
                got = 0 if files.data is None else await files.data.read_into(position, target)
                for at in range(0, len(target), BLOCK_BYTES):
                    block = target[at : min(at + BLOCK_BYTES, got)]
                    known = self._check_block(chunk, files, (position + at) // BLOCK_BYTES, block)
                    low, high = max(0, begin - position - at), min(len(block), end - position - at)
                    whole = low == 0 and high == len(block)
                    payload.add(block[low:high], known if whole else None)
                position += len(target)
        finally:
            self._scratch.append(scratch)
        return payload.all()

    async def _verified_block(self, chunk: Chunk, files: ChunkFiles, block: int) -> bytes:
        extent = block_extent(block, chunk.length)
        data = b"" if files.data is None else await files.data.read_at(block * BLOCK_BYTES, extent)
        self._check_block(chunk, files, block, memoryview(data))
        return data

    def _check_block(self, chunk: Chunk, files: ChunkFiles, block: int, data: memoryview) -> int:
        extent, expected = block_extent(block, chunk.length), files.checksums[block]
        actual: int = crc32c.crc32c(data)
        if len(data) == extent and actual == expected:
            return actual
        found = f"CRC32C {actual:#010x}, expected {expected:#010x}"
        if len(data) != extent:
            found = f"{len(data)} bytes on disk, expected {extent}"
        self.on_corruption(CorruptBlock(chunk.handle, chunk.version, block, found))
        raise Corrupted(
            f"block {block} of chunk {chunk.handle:#x} version {chunk.version} is damaged on disk ({found}); "
            "read another replica, this one will be replaced"
        )

    # Copies of other servers' replicas

    async def install(self, header: Header, data: str, metadata: str) -> None:
        """Make a chunk of two complete files, given by their paths; they are renamed. Replaces an older replica."""
        handle = header.handle
        await self.delete(handle)
        await self._make_folder(handle)
        if header.length:
            await self._disk.rename(data, data_path(handle))
        await self._disk.rename(metadata, metadata_path(handle))
        if self._syncs:
            await self._disk.sync_directory(folder_of(handle))
        self.admit(header)
        self.on_change(handle)

    async def close(self) -> None:
        """Close every file."""
        await self._open.close()

    # Helpers

    @asynccontextmanager
    async def _exclusive(self, handle: int) -> AsyncIterator[tuple[Chunk, ChunkFiles]]:
        chunk = self._chunk(handle)
        async with chunk.lock.exclusive():
            if chunk.is_deleted:
                raise self._missing(handle)
            async with self._files(chunk) as files:
                yield chunk, files

    @asynccontextmanager
    async def _files(self, chunk: Chunk) -> AsyncIterator[ChunkFiles]:
        """The chunk's open files; a replica whose metadata cannot be read is reported as damaged in its first block."""
        async with AsyncExitStack() as stack:
            try:
                files = await stack.enter_async_context(self._open.use(chunk))
            except Corrupted as error:
                self.on_corruption(CorruptBlock(chunk.handle, chunk.version, 0, error.message))
                raise
            yield files

    async def _create_files(self, chunk: Chunk) -> None:
        await self._make_folder(chunk.handle)
        path = metadata_path(chunk.handle)
        metadata = await self._disk.open(path, "replace")
        try:
            await self._write_header(ChunkFiles(metadata, None, array("I")), chunk.header)
            if self._syncs:
                await self._disk.sync_directory(folder_of(chunk.handle))
        except BaseException:
            await metadata.close()
            await self._disk.remove(path)
            raise
        await self._open.adopt(chunk, ChunkFiles(metadata, None, array("I")))

    async def _make_folder(self, handle: int) -> None:
        folder = folder_of(handle)
        if folder not in self._folders:
            await self._disk.make_directory(folder)
            if self._syncs:
                await self._disk.sync_directory("chunks")
            self._folders[folder] = None

    def _chunk(self, handle: int) -> Chunk:
        chunk: Chunk | None = self._chunks.get(handle)
        if chunk is None:
            raise self._missing(handle)
        return chunk

    def _missing(self, handle: int) -> NotFound:
        return NotFound(f"there is no replica of chunk {handle:#x} here; ask the master where its replicas are")

    def check_invariants(self) -> None:
        """Raise AssertionError if the tables contradict each other."""
        for handle, chunk in self._chunks.items():
            assert chunk.handle == handle and not chunk.is_deleted
            assert chunk.length <= chunk.header.capacity
            if chunk.files is not None and chunk.lock.is_idle:
                assert len(chunk.files.checksums) == block_count(chunk.length)


def _next(header: Header) -> Header:
    return replace(header, sequence=header.sequence + 1, entries_first=0, entries_count=0, entries_crc32c=0)


def _replace_checksums(checksums: "array[int]", first: int, updated: list[int]) -> None:
    checksums[first : first + len(updated)] = array("I", updated)
