"""Writing bytes into a chunk: data, checksums and header, in the order that survives a death (GFS 5.2).

`chunk_format.py` says why the order is what it is, `blocks.py` which blocks have to be verified first. After a failure
the chunk is as it was before: an append is cut off again, an overwrite is settled block by block.
"""

from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress

from chunkserver.storage.blocks import plan_write, updated_checksums
from chunkserver.storage.chunk_files import Chunk, ChunkFiles, data_path, folder_of
from chunkserver.storage.chunk_format import Header, Intent, Progress, encode_intent, intent_offset
from chunkserver.storage.headers import HeaderWriter, rewritten
from chunkserver.storage.settling import settle
from chunkserver.storage.verification import Verifier
from runtime.errors import DiskFailure, TabletopError
from runtime.world import Disk, File


class BlockWriter:
    """Mutates chunks whose lock the caller holds. `on_damage` is told of a replica that is broken afterwards."""

    def __init__(
        self, disk: Disk, writer: HeaderWriter, verifier: Verifier, on_damage: Callable[[Chunk, int, str], None]
    ) -> None:
        self._disk = disk
        self._writer = writer
        self._verifier = verifier
        self._on_damage = on_damage

    async def write(
        self,
        chunk: Chunk,
        files: ChunkFiles,
        offset: int,
        data: memoryview,
        checksums: Sequence[int] | None,
        progress: Progress,
    ) -> None:
        """Write `data` at `offset`; `progress` is how far the replica has come then. Raises NoSpace, Corrupted (a block
        that is overwritten in part is damaged) with nothing changed; DiskFailure, after which a part may be there."""
        plan = plan_write(length=chunk.length, offset=offset, count=len(data))
        verified = {block: await self._verifier.verified_block(chunk, files, block) for block in plan.to_verify}
        updated = updated_checksums(
            files.checksums, data, length=chunk.length, offset=offset, verified=verified, known=checksums
        )
        if self._writer.has_other_durability(chunk):
            await self._writer.anchor(chunk, files, self._writer.following(chunk))
        change = self._overwrite if plan.overwrites else self._append
        following = self._writer.following(chunk, progress)
        await change(chunk, files, offset, data, plan.first_block, updated, following)
        files.checksums[plan.first_block : plan.first_block + len(updated)] = array("I", updated)

    async def data_file(self, chunk: Chunk, files: ChunkFiles) -> File:
        """The open data file, which comes into being with the first byte. Raises NoSpace, DiskFailure."""
        if files.data is None:
            files.data = await self._disk.open(data_path(chunk.handle), "replace")
            chunk.has_unsynced_name = True
        if chunk.has_unsynced_name and self._writer.syncs:
            await self._disk.sync_directory(folder_of(chunk.handle))
            chunk.has_unsynced_name = False
        if files.is_ragged:
            await self._trim(chunk, files, files.data)
        return files.data

    async def _append(
        self,
        chunk: Chunk,
        files: ChunkFiles,
        offset: int,
        data: memoryview,
        first: int,
        updated: list[int],
        following: Header,
    ) -> None:
        file = await self.data_file(chunk, files)
        try:
            await file.write_at(offset, data)
            if self._writer.syncs:
                await self._writer.sync_data(chunk, files)
            await self._writer.commit(chunk, files, rewritten(following, offset + len(data), first, updated), updated)
        except BaseException:
            files.is_ragged = True
            with suppress(TabletopError):
                await self._trim(chunk, files, file)
            raise

    async def _overwrite(
        self,
        chunk: Chunk,
        files: ChunkFiles,
        offset: int,
        data: memoryview,
        first: int,
        updated: list[int],
        following: Header,
    ) -> None:
        file = await self.data_file(chunk, files)
        new_length = max(chunk.length, offset + len(data))
        known = files.checksums[first : first + len(updated)].tolist()
        old = tuple(known + [0] * (len(updated) - len(known)))
        intent = Intent(following.sequence, first, new_length, old, tuple(updated))
        await files.metadata.write_at(intent_offset(chunk.header.capacity), encode_intent(intent))
        if self._writer.syncs:
            await self._writer.sync_metadata(chunk, files)
        inside = chunk.length - offset
        files.is_ragged = len(data) > inside  # until the new length counts
        try:
            # What needs space comes first: if there is none, nothing of the chunk has changed.
            if files.is_ragged:
                await self._extend(chunk, files, file, data[inside:])
            await file.write_at(offset, data[:inside])
            if self._writer.syncs:
                await self._writer.sync_data(chunk, files)
            await self._writer.commit(chunk, files, rewritten(following, new_length, first, updated), updated)
            files.is_ragged = False
        except TabletopError as error:
            if await self._settle(chunk, files, intent) or not error.definite:
                raise
            raise DiskFailure(
                f"an overwrite of chunk {chunk.handle:#x} stopped in the middle: {error.message}; write it again"
            ) from error
        except BaseException:
            await self._settle(chunk, files, intent)
            raise

    async def _extend(self, chunk: Chunk, files: ChunkFiles, file: File, data: memoryview) -> None:
        try:
            await file.write_at(chunk.length, data)
        except BaseException:
            with suppress(TabletopError):
                await self._trim(chunk, files, file)
            raise

    async def _settle(self, chunk: Chunk, files: ChunkFiles, intent: Intent) -> bool:
        """An overwrite has failed: see what became of its blocks; True if all are as they were. If even that fails, the
        replica is damaged."""
        try:
            verdict = await settle(self._writer, chunk, files, intent)
        except TabletopError as error:
            self._on_damage(chunk, intent.first, f"an overwrite failed and could not be settled: {error.message}")
            return False
        return verdict.is_unchanged

    async def _trim(self, chunk: Chunk, files: ChunkFiles, file: File) -> None:
        """Cut off what a failed append has left, so that a gap after it reads as zeros, and a full disk is freed."""
        await file.truncate(chunk.length)
        files.is_ragged = False
