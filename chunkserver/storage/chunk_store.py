"""The chunks on this server's disk (GFS 2.5, 4.5, 5.2).

The problem. Bytes must never be served unless they are what was written, a mutation must be there as a whole or not at
all, a version that was answered must never be forgotten, and all of that across kills, power cuts and full disks. The
idea is in `chunk_format.py` (what is written in which order) and `blocks.py` (checksums); here is the doing of it,
under one lock a chunk.

Invariants:
1. A chunk exists exactly if its metadata file exists with a header that can be read. Creation, installation and removal
   have one moment at which they count (`placing.py`), and are durable before they return.
2. A version is on stable storage before `create`, `advance` or `install` return, with everything that was written
   before; no mutation under an older version is applied afterwards.
3. A byte is handed out only after the checksum of its whole block was compared, under the chunk's lock.
4. After NoSpace nothing has changed.
5. An unsure replica is neither read nor written: it awaits comparison (`compare`, `admit`).
6. Nothing is deleted that the master did not order to be.

`data_path` names the file whose bytes an experiment may flip.

What we simplify. With durability "replicated" a mutation is not synced before it is acknowledged, but every few seconds
in the background (`write_back`): a loss of power may take the bytes of the last seconds. What a sender reads from the
file is not locked against an overwrite of the same bytes in the same moment; the reader's checksums notice, and it asks
again.
"""

from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from sortedcontainers import SortedDict

from chunkserver.storage.admission import Admission, Comparison
from chunkserver.storage.block_writer import BlockWriter
from chunkserver.storage.blocks import BLOCK_BYTES, block_count
from chunkserver.storage.chunk_files import Chunk, ChunkFiles, OpenChunks, data_path, metadata_path, require_sure, stale
from chunkserver.storage.chunk_format import Header, Progress
from chunkserver.storage.headers import HeaderWriter, rewritten
from chunkserver.storage.keyed_locks import KeyedLocks
from chunkserver.storage.placing import Placing
from chunkserver.storage.verification import Breathe, Verifier, wrong_in_metadata
from runtime.errors import (
    AlreadyExists,
    Conflict,
    Corrupted,
    DiskFailure,
    InvalidRequest,
    NoSpace,
    NotFound,
    StaleVersion,
    Superseded,
    TabletopError,
)
from runtime.world import Disk, File

__all__ = ["ChunkStore", "CorruptBlock", "ReplicaState", "VerifiedRange", "data_path", "metadata_path"]


_NO_BLOCK = -1  # Damage that is not that of a block, and that no reading heals.


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What the master wants to know of a replica."""

    handle: int
    version: int
    length: int
    is_unsure: bool = False
    is_damaged: bool = False


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


async def _no_breath() -> None:
    """Nobody else wants to run."""


class ChunkStore:
    """All replicas of one server. `opening.open_store` makes one.

    `boot` names this run of the machine, `syncs` says that mutations are synced before they are acknowledged.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        syncs: bool,
        boot: int = 1,
        reserve_bytes: int,
        open_chunks: int,
        breathe: Breathe = _no_breath,
    ) -> None:
        self.on_corruption: Callable[[CorruptBlock], None] = lambda found: None
        self.on_change: Callable[[int], None] = lambda handle: None
        self.on_repair: Callable[[int, str], None] = lambda handle, found: None
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._breathe = breathe
        self._chunks: SortedDict[int, Chunk] = SortedDict()
        self._dirty: dict[int, None] = {}
        self._half_removed: dict[int, None] = {}
        self._half_created: dict[int, None] = {}
        self._half_installed: dict[int, Header] = {}
        self._open = OpenChunks(disk, open_chunks, self._note_doubt, self._note_damage)
        self._changing = KeyedLocks()
        self.placing = Placing(disk)
        self.writer = HeaderWriter(disk, syncs=syncs, boot=boot, on_lost_pages=self._note_lost_pages)
        self._verifier = Verifier(self._note_damage, self._note_healing)
        self.block_writer = BlockWriter(disk, self.writer, self._verifier, self._note_damage)
        self.admission = Admission(self.writer, self.block_writer, self._verifier, breathe)

    # What there is

    def __len__(self) -> int:
        return len(self._chunks)

    def state(self, handle: int) -> ReplicaState | None:
        """What is held of a chunk; None if nothing."""
        chunk = self._chunks.get(handle)
        return None if chunk is None else _state_of(chunk)

    def states(self) -> Iterator[ReplicaState]:
        """All replicas, by handle."""
        return (_state_of(chunk) for chunk in self._chunks.values())

    def states_after(self, handle: int, count: int) -> list[ReplicaState]:
        """The next `count` replicas behind `handle`."""
        found = self._chunks.irange(minimum=handle, inclusive=(False, True))
        return [_state_of(self._chunks[one]) for one in islice(found, count)]

    def stored_bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.length for chunk in self._chunks.values())

    def capacity(self, handle: int) -> int:
        """How long the chunk may become, bytes. Raises NotFound."""
        return self._chunk(handle).header.capacity

    def damage(self, handle: int) -> dict[int, str]:
        """What is known to be wrong with the replica, by block."""
        chunk = self._chunks.get(handle)
        return {} if chunk is None else chunk.damage

    def require_sure(self, handle: int) -> None:
        """Raise Unavailable (definite) if the replica may lack acknowledged bytes, NotFound if there is none."""
        require_sure(self._chunk(handle))

    def changing(self, handle: int) -> AbstractAsyncContextManager[None]:
        """Keep a chunk from being created, removed or replaced meanwhile."""
        return self._changing.hold(handle)

    def add(self, chunk: Chunk) -> None:
        """Count in a chunk that was found on disk."""
        self._chunks[chunk.handle] = chunk
        if chunk.is_dirty:
            self._dirty[chunk.handle] = None

    async def check_space(self, needed_bytes: int) -> None:
        """Raise NoSpace if so many more bytes would eat into the reserve."""
        free = (await self._disk.usage()).free_bytes
        if free - needed_bytes < self._reserve_bytes:
            raise NoSpace(
                f"{needed_bytes} bytes do not fit: the disk has {free} bytes free, of which {self._reserve_bytes} are "
                "kept in reserve; delete something, or add a chunkserver"
            )

    # Creation, versions, removal, copies

    async def create(self, handle: int, *, version: int, capacity: int) -> None:
        """Make an empty replica. It may be there already, if it is empty and at that version.

        Raises AlreadyExists, NoSpace, DiskFailure.
        """
        async with self._changing.hold(handle):
            await self._finish(handle)
            present = self._chunks.get(handle)
            if present is not None:
                if present.version == version and present.length == 0:
                    return
                raise AlreadyExists(
                    f"chunk {handle:#x} is here at version {present.version} with {present.length} bytes, so that it "
                    f"cannot be created at version {version}"
                )
            await self.check_space(0)
            header = Header(
                sequence=0,
                handle=handle,
                boot=self.writer.boot,
                version=version,
                length=0,
                capacity=capacity,
                is_synced=self.writer.syncs,
                progress=Progress(version, 0),
                durable_progress=Progress(version, 0),
            )
            self._half_created[handle] = None
            try:
                await self.placing.create(header)
            except BaseException:
                with suppress(TabletopError):  # What the disk refuses now is tried again.
                    await self._finish(handle)
                raise
            del self._half_created[handle]
            chunk = Chunk.of_new_file(header)
            with suppress(TabletopError):  # Whoever needs the file opens it again.
                metadata = await self._disk.open(metadata_path(handle), "update")
                await self._open.adopt(chunk, ChunkFiles(metadata, None, array("I")))
            self._chunks[handle] = chunk
        self.on_change(handle)

    async def advance(self, handle: int, *, from_version: int, to_version: int) -> None:
        """Raise a replica's version, which must be `from_version` or more, and less than `to_version` unless there is
        nothing to do. All that was written before is durable afterwards.

        Raises NotFound, StaleVersion (nothing was changed), DiskFailure.
        """
        async with self.exclusive(handle) as (chunk, files):
            if chunk.version == to_version:
                return
            if not from_version <= chunk.version < to_version:
                raise stale(chunk.handle, chunk.version, from_version, to_version)
            await self.writer.anchor(chunk, files, self.writer.raised(chunk, to_version))
        self.on_change(handle)

    def is_half_removed(self, handle: int) -> bool:
        """Whether the removal of a replica has begun, and the disk has refused the rest."""
        return handle in self._half_removed

    async def remove(self, handle: int, *, version: int, holds: Callable[[], bool] = lambda: True) -> int | None:
        """Remove a replica if its version is at most `version`; returns the version that is gone, None if it is newer.

        `holds` is asked before anything is touched: whether the order is still in force. It is durable before it
        returns, as is the removal of a replica that is not here any more. Raises DiskFailure: then it is to be tried
        again; Superseded (the order is over)."""
        async with self._changing.hold(handle):
            await self._finish(handle)
            chunk = self._chunks.get(handle)
            if chunk is not None:
                async with chunk.lock.exclusive():
                    if chunk.version > version:
                        return None
                    if not holds():
                        raise Superseded(f"the order to remove chunk {handle:#x} is over", definite=True)
                    await self.placing.begin_removal(handle)
                    self._forget(chunk)
                    self._half_removed[handle] = None
                    await self._open.forget(chunk)
            if handle in self._half_removed:
                await self.placing.end_removal(handle, is_here_again=handle in self._chunks)
                del self._half_removed[handle]
        return version if chunk is None else chunk.version

    async def put_lost_aside(self, handles: Iterable[int]) -> dict[int, int]:
        """Of these damaged replicas, put aside what is left of those whose metadata file is gone, as at a start: they
        are none any more. Returns their handles, with the versions that they had. Raises DiskFailure."""
        gone: dict[int, int] = {}
        for chunk in [self._chunks[handle] for handle in handles if handle in self._chunks]:
            async with self._changing.hold(chunk.handle), chunk.lock.exclusive():
                if not chunk.is_deleted and not await self._disk.exists(metadata_path(chunk.handle)):
                    await self.placing.put_aside(chunk.handle)
                    self._forget(chunk)
                    await self._open.forget(chunk)
                    gone[chunk.handle] = chunk.version
        return gone

    async def install(self, header: Header) -> None:
        """Put a complete and synced copy in the place of whatever is here of that chunk (`placing.py`); durable.

        Raises StaleVersion if a newer replica has come meanwhile, DiskFailure: then the copy may be in its place in
        part. It is no replica yet, the one before is none any more, and `finish` tries again.
        """
        handle = header.handle
        async with self._changing.hold(handle), AsyncExitStack() as stack:
            old = self._chunks.get(handle)
            if old is not None:
                await stack.enter_async_context(old.lock.exclusive())
                if old.version > header.version:
                    raise StaleVersion(
                        f"chunk {handle:#x} is here at version {old.version}, newer than the copy at {header.version}"
                    )
            await self.placing.commit_copy(handle)
            self._half_installed[handle] = header
            if old is not None:
                self._forget(old)
                await self._open.forget(old)
            await self._finish(handle)

    def unfinished(self) -> list[int]:
        """The chunks of which something is left to do that the disk refused: copies that count and are not in their
        places yet, and remains of creations that failed."""
        return [*self._half_created, *self._half_installed]

    async def finish(self, handle: int) -> None:
        """Do what is left to do of a chunk. Raises DiskFailure: then it is to be tried again."""
        if handle in self._half_created or handle in self._half_installed:
            async with self._changing.hold(handle):
                await self._finish(handle)

    async def _finish(self, handle: int) -> None:
        """As above, if the caller keeps the chunk from being changed."""
        if handle in self._half_created:
            await self.placing.undo_creation(handle)
            del self._half_created[handle]
        if (header := self._half_installed.get(handle)) is None:
            return
        try:
            await self.placing.end_installation(handle)
            del self._half_installed[handle]
            self._chunks[handle] = Chunk.of_new_file(header)
        finally:
            self.on_change(handle)

    # Comparison after a loss of power

    async def compare(self, handle: int) -> Comparison:
        """The digest of what the replica holds; of an unsure one it is read now.

        Raises NotFound, DiskFailure, Corrupted.
        """
        async with self.exclusive(handle) as (chunk, files):
            return await self.admission.compare(chunk, files)

    async def admit(self, handle: int, *, version: int) -> None:
        """Make an unsure replica sure, with the bytes that it holds; durable.

        Raises NotFound, StaleVersion, DiskFailure, NoSpace.
        """
        async with self.exclusive(handle) as (chunk, files):
            if chunk.version != version:
                raise stale(handle, chunk.version, version, version)
            if chunk.is_unsure:
                await self.admission.admit(chunk, files)
        self.on_change(handle)

    # Mutations

    async def write(
        self,
        handle: int,
        *,
        version: int,
        offset: int,
        data: memoryview,
        checksums: Sequence[int] | None = None,
        reach: int = 0,
        serial: int = 0,
    ) -> int:
        """Write `data` at `offset`, a gap before it as zeros; returns the chunk's length afterwards.

        `checksums` are those of each 64 KiB of the data, if they are known. `reach` is how far the chunk must reach
        before, unless the data begins earlier. `serial` is the number that the primary gave the mutation.

        Raises NotFound, StaleVersion, Unavailable (the replica is unsure), InvalidRequest, Conflict (it is too short),
        NoSpace, Corrupted (the block that would be overwritten in part is damaged) with nothing changed; DiskFailure.
        """
        end = offset + len(data)
        async with self.exclusive(handle) as (chunk, files):
            if chunk.version != version:
                raise StaleVersion(f"chunk {handle:#x} is at version {chunk.version}, the mutation is for {version}")
            require_sure(chunk)
            if end > chunk.header.capacity:
                raise InvalidRequest(
                    f"bytes {offset} to {end} of chunk {handle:#x}: a chunk has {chunk.header.capacity} bytes"
                )
            if chunk.length < min(reach, offset):
                raise Conflict(
                    f"this replica of chunk {handle:#x} has missed a mutation: it has {chunk.length} bytes, the one at "
                    f"{offset} needs {min(reach, offset)}; ask the master again"
                )
            if end > chunk.length:
                await self.check_space(end - chunk.length)
            try:
                await self.block_writer.write(chunk, files, offset, data, checksums, Progress(version, serial))
            finally:
                if chunk.is_dirty:
                    self._dirty[handle] = None
                self.on_change(handle)  # A failure may have made it unsure.
            length = chunk.length
        return length

    # Background sync

    def dirty(self) -> list[int]:
        """The chunks that were mutated since all of them was last made durable."""
        return list(self._dirty)

    async def write_back(self, handle: int) -> None:
        """Make durable what was written so far. Mutations go on meanwhile, but for a moment at the end.

        Raises DiskFailure: then the replica is damaged.
        """
        chunk = self._chunks.get(handle)
        if chunk is None or not chunk.is_dirty or chunk.is_unsure or chunk.has_lost_pages:
            self._dirty.pop(handle, None)
            return
        async with self._open.use(chunk) as files:
            if chunk.is_to_write_again:
                async with chunk.lock.exclusive():
                    await self.writer.sync_contents(chunk, files)
            header = chunk.header
            await self.writer.sync_contents(chunk, files)
            async with chunk.lock.exclusive():
                is_past = chunk.anchor is not None and chunk.anchor.sequence >= header.sequence
                if chunk.is_deleted or chunk.has_lost_pages or is_past:
                    return
                await self.writer.anchor_synced(chunk, files, header)
                if not chunk.is_dirty:
                    self._dirty.pop(handle, None)

    # Reading

    @asynccontextmanager
    async def reading(
        self, handle: int, *, least_version: int, offset: int, count: int
    ) -> AsyncIterator[VerifiedRange]:
        """Verify every block that overlaps the range, then hand out the file to send it from.

        Raises NotFound, StaleVersion, Unavailable (the replica is unsure), Corrupted, DiskFailure.
        """
        chunk = self._chunk(handle)
        async with self._open.use(chunk) as files:
            async with chunk.lock.shared():
                if chunk.is_deleted:
                    raise self._missing(handle)
                require_sure(chunk)
                if chunk.version < least_version:
                    raise StaleVersion(
                        f"chunk {handle:#x} is at version {chunk.version}, the reader wants at least {least_version}; "
                        "ask the master for the up-to-date replicas"
                    )
                chunk_length = chunk.length
                end = min(offset + count, chunk_length)
                checksums: list[int] = []
                if offset < end:
                    checksums = await self._verifier.verify(chunk, files, offset, end)
            yield VerifiedRange(files.data, offset, max(0, end - offset), chunk_length, checksums)

    async def verify(self, handle: int, *, offset: int, count: int) -> int:
        """Verify the blocks of a range; returns the bytes that were there.

        Raises NotFound, Unavailable (the replica is unsure), Corrupted, DiskFailure.
        """
        async with self.reading(handle, least_version=0, offset=offset, count=count) as verified:
            return verified.length

    async def verify_all(self, handle: int, *, version: int) -> Comparison:
        """Compare every block of a replica of at least this version with its checksum; what is damaged is noted, and
        `state` tells. The digest is that of the checksums.

        Raises NotFound, StaleVersion (older, or raised meanwhile), Unavailable (it is unsure), DiskFailure."""
        chunk = self._chunk(handle)
        require_sure(chunk)
        if chunk.version < version:
            raise stale(handle, chunk.version, version, version)
        version = chunk.version
        damaged = 0
        for offset in range(0, max(1, self._chunk(handle).length), BLOCK_BYTES):
            try:
                await self.verify(handle, offset=offset, count=BLOCK_BYTES)
            except Corrupted:
                damaged += 1
            await self._breathe()
        found = self._chunk(handle).version
        if found != version:
            raise stale(handle, found, version, version)
        return Comparison((await self.compare(handle)).digest, damaged)

    async def check_metadata(self, handle: int) -> bool:
        """Compare the metadata file with what is in memory, and write it anew if the file is wrong; returns whether it
        was right. Raises NotFound, Corrupted, DiskFailure."""
        async with self.exclusive(handle) as (chunk, files):
            if chunk.is_unsure or chunk.has_lost_pages:
                return True
            try:
                found = await wrong_in_metadata(chunk, files)
                await self._require_names(chunk)
            except (DiskFailure, Corrupted) as error:
                self._note_damage(chunk, 0, error.message)
                raise
            if not found:
                return True
            checksums = list(files.checksums)
            header = rewritten(self.writer.following(chunk), chunk.length, 0, checksums)
            await self.writer.anchor(chunk, files, header, checksums)
            await self.writer.fill_unreadable(chunk, files)
        self.on_repair(handle, found)
        return False

    async def _require_names(self, chunk: Chunk) -> None:
        """Raise Corrupted if a file has vanished that may still be open."""
        paths = [metadata_path(chunk.handle), *([data_path(chunk.handle)] if chunk.length else [])]
        for path in paths:
            if not await self._disk.exists(path):
                raise Corrupted(f"the file {path} of chunk {chunk.handle:#x} is gone")

    async def close(self) -> None:
        """Close every file; nothing is read or written any more."""
        await self._open.close()

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody uses a chunk, and everything that can be durable is."""
        return not self._dirty and not len(self._changing) and all(one.lock.is_idle for one in self._chunks.values())

    # Helpers

    @asynccontextmanager
    async def exclusive(self, handle: int) -> AsyncIterator[tuple[Chunk, ChunkFiles]]:
        """The chunk and its open files, alone until the block ends. Raises NotFound, Corrupted, DiskFailure."""
        chunk = self._chunk(handle)
        await chunk.lock.acquire(exclusive=True)
        try:
            if chunk.is_deleted:
                raise self._missing(handle)
            files = await self._open.take(chunk)
            try:
                yield chunk, files
            finally:
                await self._open.release(chunk, files)
        finally:
            chunk.lock.release(exclusive=True)

    def _forget(self, chunk: Chunk) -> None:
        del self._chunks[chunk.handle]
        self._dirty.pop(chunk.handle, None)

    def _note_damage(self, chunk: Chunk, block: int, found: str) -> None:
        is_news = not chunk.is_damaged
        chunk.damage[block] = found
        self.on_corruption(CorruptBlock(chunk.handle, chunk.version, max(0, block), found))
        if is_news:
            self.on_change(chunk.handle)

    def _note_healing(self, chunk: Chunk, block: int) -> None:
        if chunk.damage.pop(block, None) is not None and not chunk.is_damaged:
            self.on_change(chunk.handle)

    def _note_lost_pages(self, chunk: Chunk, found: str) -> None:
        self._note_damage(chunk, _NO_BLOCK, f"what was written last may be lost: {found}")

    def _note_doubt(self, chunk: Chunk) -> None:
        chunk.is_unsure = True
        self.on_change(chunk.handle)

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
            is_settled = chunk.lock.is_idle and not chunk.is_unsure and not chunk.has_lost_pages
            assert not (is_settled and chunk.is_dirty) or handle in self._dirty, (
                f"chunk {handle:#x} was mutated and will not be synced"
            )
            if chunk.files is not None and chunk.lock.is_idle:
                assert len(chunk.files.checksums) == block_count(chunk.length)
            if is_settled:
                assert chunk.anchor is not None and chunk.anchor.version == chunk.version
                assert chunk.highest_sequence == chunk.header.sequence >= chunk.anchor.sequence
        assert all(handle in self._chunks for handle in self._dirty)


def _state_of(chunk: Chunk) -> ReplicaState:
    return ReplicaState(chunk.handle, chunk.version, chunk.length, chunk.is_unsure, chunk.is_damaged)
