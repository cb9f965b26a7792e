"""Opening the store: what is on the disk after the last process ended, however it ended.

    format, identity       whose folder this is, and in which version (identity.py)
    chunks/<xx>/           two files a chunk (chunk_files.py)
    incoming/              copies that are not in their place
    removing/              removals that are not complete
    aside/                 files that nobody can make sense of; only a person deletes them

Found, and what becomes of it:

    metadata with a header that can be read   a chunk; an unfinished overwrite is settled. It is unsure if the machine
                                              has lost power, or if not all of its headers can be read
    metadata without one                      put aside, with its data
    data without metadata                     put aside: its metadata was lost
    files that the disk does not give         left where they are, told to the master as such, and tried again
    names that are no chunk's of that folder  left where they are: a file manager or a person has put them there
    the metadata of a creation                removed: it was not completed
    a copy that was complete                  put in its place; one that was not is removed
    a removal that was begun                  completed

After the end of a process the page cache may hold what would not survive a loss of power. What is believed is built
upon, so after an end that was not in good order it is written again and synced first: the metadata at once, the data of
an unfinished overwrite before it is settled, and other data that may not be on the disk in the background."""

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from chunkserver.events import ChunkPutAside, ChunkUnreadable, StoreOpened, WriteResolved
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.blocks import BLOCK_BYTES
from chunkserver.storage.chunk_files import (
    CHUNKS,
    INCOMING,
    METADATA_LIMIT_BYTES,
    REMOVING,
    Chunk,
    ChunkFiles,
    data_path,
    folder_of,
    handle_of,
    is_draft,
    is_folder_name,
    metadata_path,
)
from chunkserver.storage.chunk_format import decode_metadata
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.identity import IdentityFile, open_identity
from chunkserver.storage.settling import settle
from runtime.errors import Corrupted, DiskFailure, IsADirectory, NoSpace, NotFound, TabletopError
from runtime.rewriting import write_again
from runtime.world import World

_CHUNKS_BETWEEN_BREATHS = 256


@dataclass(frozen=True, slots=True)
class Opened:
    """The store, the identity of the server that it belongs to, and what could not be read."""

    store: ChunkStore
    identity: IdentityFile
    unreadable: "Unreadable"


async def open_store(world: World, settings: ChunkserverSettings) -> Opened:
    """What is on this world's disk, which is locked until the node ends or unlocks it.

    Raises Conflict if another process has it, IncompatibleFormat if it belongs to another program or version, Corrupted
    (its identity), DiskFailure.
    """
    await world.disk.lock("")
    try:
        # Who died between making a name and syncing it has left one that a power cut may yet take away.
        await world.disk.sync_directory()
        identity = await open_identity(world)
        store = ChunkStore(
            world.disk,
            syncs=settings.durability == "fsync",
            boot=identity.now.boot,
            reserve_bytes=settings.reserve_bytes,
            open_chunks=settings.open_chunks,
            breathe=world.breathe,
        )
        opening = _Opening(world, store, is_to_sync=identity.may_have_unsynced_files)
        await opening.run()
    except BaseException:
        await world.disk.unlock("")
        raise
    return Opened(store, identity, Unreadable(opening))


class Unreadable:
    """Chunks whose files the disk did not give at the start. They are not lost, and no replicas: the master is told of
    them, so that it does not take them for gone, and they are tried again."""

    def __init__(self, opening: "_Opening") -> None:
        self._opening = opening

    def handles(self) -> list[int]:
        """The chunks."""
        return list(self._opening.unreadable)

    async def try_again(self) -> list[int]:
        """Read them once more. Those that can be read are counted in; returns those that turned out to be none, and
        were put aside."""
        return [handle for handle in self.handles() if await self._opening.find_again(handle)]


class _Opening:
    """Goes through the folder once."""

    def __init__(self, world: World, store: ChunkStore, *, is_to_sync: bool) -> None:
        self._world = world
        self._disk = world.disk
        self._store = store
        self._is_to_sync = is_to_sync
        self.unreadable: dict[int, None] = {}
        self._resolved = 0
        self._aside = 0

    async def run(self) -> None:
        """Fill the store."""
        for folder in (CHUNKS, INCOMING, REMOVING):
            await self._store.placing.make_folder(folder)
            if self._is_to_sync:
                await self._disk.sync_directory(folder)
        if self._is_to_sync:
            for folder in await self._folders():
                await self._disk.sync_directory(folder)
        await self._end_what_was_begun()
        count = 0
        for folder in await self._folders():
            names = await self._disk.list(folder)
            await self._remove_all(folder, [name for name in names if is_draft(name)])
            for handle in dict.fromkeys(map(handle_of, names)):
                if handle is not None and folder_of(handle) == folder:
                    await self._find(handle)
                    count += 1
                    if count % _CHUNKS_BETWEEN_BREATHS == 0:
                        await self._world.breathe()
        unsure = sum(state.is_unsure for state in self._store.states())
        self._world.events.emit(
            StoreOpened(
                chunks=len(self._store),
                stored_bytes=self._store.stored_bytes(),
                resolved=self._resolved,
                unsure=unsure,
                aside=self._aside,
            )
        )

    async def _folders(self) -> list[str]:
        """The folders of chunks."""
        return [f"{CHUNKS}/{name}" for name in await self._disk.list(CHUNKS) if is_folder_name(name)]

    async def _end_what_was_begun(self) -> None:
        """Copies and removals that the last process left in the middle; a copy may have come after a removal."""
        for name in await self._disk.list(INCOMING):
            handle = handle_of(name)
            if handle is not None and name.endswith(".meta"):
                await self._store.placing.end_installation(handle)
        for name in await self._disk.list(REMOVING):
            handle = handle_of(name)
            if handle is not None:
                is_here = await self._disk.exists(metadata_path(handle))
                await self._store.placing.end_removal(handle, is_here_again=is_here)
        await self._remove_all(INCOMING, await self._disk.list(INCOMING))

    async def _remove_all(self, folder: str, names: Sequence[str]) -> None:
        for name in names:
            with suppress(TabletopError):  # Half a copy that cannot be removed takes space, and nothing else.
                await self._disk.remove(f"{folder}/{name}")

    async def _find(self, handle: int) -> None:
        """Count in the chunk of this handle, or put aside what there is of it."""
        try:
            await self._open_chunk(handle)
        except (Corrupted, NotFound, IsADirectory) as error:
            self._aside += 1
            await self._store.placing.put_aside(handle)
            self._world.events.emit(ChunkPutAside(handle, error.message))
        except (DiskFailure, NoSpace) as error:  # Some file systems need room to write the same bytes once more.
            if handle not in self.unreadable:
                self.unreadable[handle] = None
                self._world.events.emit(ChunkUnreadable(handle, error.message))

    async def find_again(self, handle: int) -> bool:
        """Try a chunk again that could not be read; True if it was put aside now."""
        async with self._store.changing(handle):
            if handle in self._store.unfinished():
                return False
            if self._store.state(handle) is None:  # Otherwise a copy has taken its place.
                before = self._aside
                await self._find(handle)
                if self._store.state(handle) is None and self._aside == before:
                    return False
            del self.unreadable[handle]
            if self._store.state(handle) is None:
                return True
        self._store.on_change(handle)
        return False

    async def _open_chunk(self, handle: int) -> None:
        """Read a chunk's metadata; settle it if an overwrite was interrupted. Raises NotFound, Corrupted,
        DiskFailure."""
        disk, store = self._disk, self._store
        metadata = await disk.open(metadata_path(handle), "update")
        try:
            raw = await metadata.read_at(0, METADATA_LIMIT_BYTES)
            data_bytes = await disk.size(data_path(handle)) if await disk.exists(data_path(handle)) else 0
            found = decode_metadata(raw, handle, boot=store.writer.boot, data_bytes=data_bytes)
            if self._is_to_sync:
                await write_again(metadata, 0, len(raw))
                await metadata.sync()
            chunk = Chunk.as_found(found)
            chunk.is_to_write_again = self._is_to_sync and chunk.is_dirty
            if found.intent is None:
                store.add(chunk)
                return
            data = await disk.open(data_path(handle), "update") if await disk.exists(data_path(handle)) else None
            files = ChunkFiles(metadata, data, array("I", found.checksums))
            try:
                if self._is_to_sync and data is not None:
                    await write_again(data, 0, data_bytes)
                verdict = await settle(store.writer, chunk, files, found.intent)
            except DiskFailure:
                if not chunk.has_lost_pages:
                    raise
                store.add(chunk)  # It is damaged, whatever can be read of it.
                return
            finally:
                if data is not None:
                    await data.close()
            store.add(chunk)
        finally:
            await metadata.close()
        begin, end = found.intent.first, found.intent.first + len(found.intent.new)
        self._world.events.emit(WriteResolved(handle, begin * BLOCK_BYTES, end * BLOCK_BYTES, str(verdict)))
        self._resolved += 1
