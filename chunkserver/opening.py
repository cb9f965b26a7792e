"""Opening the store: what is on the disk after the last process ended, however it ended.

    format                 one line: whose folder this is, and in which version
    chunks/<xx>/           two files a chunk (chunk_files.py)
    incoming/              copies that are not complete; emptied at every start

Found, and what becomes of it:

    metadata with a valid header        a chunk; an unfinished overwrite is settled
    metadata without a valid header     never completely created, or its disk lost it: dropped, the master will notice
    data without metadata               half deleted, or half cloned: removed
"""

from dataclasses import dataclass

from chunkserver.blocks import BLOCK_BYTES
from chunkserver.chunk_files import CHUNKS, INCOMING, METADATA_LIMIT_BYTES, data_path, metadata_path
from chunkserver.chunk_format import Header, decode_metadata
from chunkserver.chunk_store import ChunkStore
from chunkserver.events import StoreOpened, WriteResolved
from chunkserver.settings import ChunkserverSettings
from chunkserver.settling import settle
from runtime.errors import Corrupted, IncompatibleFormat, NotFound, shown
from runtime.world import Disk, World

FORMAT = "format"
FORMAT_LINE = b"tabletop chunkserver 1\n"
OPEN_CHUNKS = 128  # whose files are kept open: two descriptors each
_CHUNKS_BETWEEN_BREATHS = 256


@dataclass(slots=True)
class _Found:
    """What had to be put in order."""

    resolved: int = 0
    orphans: int = 0


async def open_store(world: World, settings: ChunkserverSettings) -> ChunkStore:
    """The store on this world's disk, which is locked until the node ends or unlocks it.

    Raises Conflict if another process has it, IncompatibleFormat if it belongs to another program or version.
    """
    disk = world.disk
    await disk.lock("")
    try:
        # Who died between making a name and syncing it has left one that a power cut may yet take away.
        await disk.sync_directory()
        await check_format(disk)
        await disk.make_directory(CHUNKS)
        await _empty(disk, INCOMING)
        await disk.sync_directory()
        store = ChunkStore(
            disk,
            syncs=settings.durability == "fsync",
            reserve_bytes=settings.reserve_bytes,
            open_chunks=OPEN_CHUNKS,
        )
        found = _Found()
        count = 0
        for folder in await disk.list(CHUNKS):
            if settings.durability == "fsync":
                await disk.sync_directory(f"{CHUNKS}/{folder}")
            for handle in await _handles_in(disk, f"{CHUNKS}/{folder}"):
                header = await _found_chunk(world, handle, found, syncs=settings.durability == "fsync")
                if header is not None:
                    store.admit(header)
                count += 1
                if count % _CHUNKS_BETWEEN_BREATHS == 0:
                    await world.breathe()
    except BaseException:
        await disk.unlock("")
        raise
    world.events.emit(
        StoreOpened(
            chunks=len(store), stored_bytes=store.stored_bytes(), resolved=found.resolved, orphans=found.orphans
        )
    )
    return store


async def check_format(disk: Disk) -> None:
    """Claim an empty folder, or raise IncompatibleFormat for one that is not ours."""
    if not await disk.exists(FORMAT):
        strangers = [name for name in await disk.list() if name not in ("LOCK", f"{FORMAT}.new")]
        if strangers:
            raise IncompatibleFormat(
                f"the chunkserver's folder holds {shown(strangers[0])} but no file {FORMAT!r}; it belongs to another "
                "program: choose an empty folder"
            )
        file = await disk.open(f"{FORMAT}.new", "replace")
        await file.write_at(0, FORMAT_LINE)
        await file.sync()
        await file.close()
        await disk.rename(f"{FORMAT}.new", FORMAT)
        await disk.sync_directory()
        return
    file = await disk.open(FORMAT, "read")
    found = await file.read_at(0, 200)
    await file.close()
    if found != FORMAT_LINE:
        raise IncompatibleFormat(
            f"the chunkserver's folder has format {shown(found.decode(errors='replace'))}, this program writes "
            f"{FORMAT_LINE.decode()!r}; use the program version that wrote it, or choose another folder"
        )


async def _empty(disk: Disk, folder: str) -> None:
    await disk.make_directory(folder)
    for name in await disk.list(folder):
        await disk.remove(f"{folder}/{name}")


async def _handles_in(disk: Disk, folder: str) -> list[int]:
    """The chunks that a folder has any file of."""
    handles: dict[int, None] = {}
    for name in await disk.list(folder):
        stem, _, kind = name.partition(".")
        if kind in ("data", "meta") and len(stem) == 16:
            try:
                handles[int(stem, 16)] = None
            except ValueError:
                continue
    return list(handles)


async def _found_chunk(world: World, handle: int, totals: _Found, *, syncs: bool) -> Header | None:
    """The chunk of this handle, settled; None if there is none, and then no file of it is left.

    A killed process may have left a header that a power cut would take back, and the next change writes over the only
    other one: so the one that is believed is made durable, if anything is to be."""
    disk = world.disk
    try:
        metadata = await disk.open(metadata_path(handle), "update")
    except NotFound:
        await disk.remove(data_path(handle))
        totals.orphans += 1
        return None
    try:
        found = decode_metadata(await metadata.read_at(0, METADATA_LIMIT_BYTES), handle)
        if syncs:
            await metadata.sync()
        if found.intent is None or not await disk.exists(data_path(handle)):
            return found.header
        data = await disk.open(data_path(handle), "read")
        try:
            settled = await settle(data, metadata, found.header, found.checksums, found.intent)
        finally:
            await data.close()
        begin, end = found.intent.first, found.intent.first + len(found.intent.new)
        verdict = f"{settled.new} blocks new, {settled.old} old, {settled.torn} torn"
        world.events.emit(WriteResolved(handle, begin * BLOCK_BYTES, end * BLOCK_BYTES, verdict))
        totals.resolved += 1
        return settled.header
    except Corrupted:
        await disk.remove(metadata_path(handle))
        if await disk.exists(data_path(handle)):
            await disk.remove(data_path(handle))
        totals.orphans += 1
        return None
    finally:
        await metadata.close()
