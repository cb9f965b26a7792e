"""Chunks that appear, move and vanish as a whole (GFS 4.3, 4.4).

The problem. A chunk is two files, and the process may die, or the machine lose power, between any two changes of names.
Half a chunk must never look like a chunk, a copy that is complete must not be lost, a removal that was ordered must
come to its end, and nothing may be removed that nobody ordered to be.

The idea: everything has one moment at which it counts, the renaming of one file, and what remains to be done afterwards
can be read from the names.

    create     H.new is written and synced                 -> renamed to the chunk's metadata: the chunk exists
    install    incoming/H.data and H.draft, both synced    -> H.draft renamed to H.meta: the copy will be what is there,
               and both files are renamed into their places, the data first; what fails of that is done again later
    remove     the metadata is renamed to removing/H.meta  -> the chunk is gone; then its data, and that name
    set aside  both files are renamed to aside/             (by `opening.py`, for files that nobody can make sense of)

Each of these is durable when it returns.
"""

from contextlib import suppress

from chunkserver.storage.chunk_files import (
    ASIDE,
    CHUNKS,
    DRAFT_SUFFIX,
    INCOMING,
    REMOVING,
    data_path,
    folder_of,
    metadata_path,
)
from chunkserver.storage.chunk_format import Header, encode_slots
from runtime.errors import NotFound, TabletopError
from runtime.world import Disk


def incoming_path(handle: int, kind: str) -> str:
    """A file of a copy that is not in its place yet; `kind` is data, draft or meta."""
    return f"{INCOMING}/{handle:016x}.{kind}"


def _draft_path(handle: int) -> str:
    """In the chunk's own folder: file systems keep a file near the folder that it was made in."""
    return f"{folder_of(handle)}/{handle:016x}{DRAFT_SUFFIX}"


def removing_path(handle: int) -> str:
    """The metadata of a chunk that is being removed."""
    return f"{REMOVING}/{handle:016x}.meta"


class Placing:
    """Changes of names on one server's disk; about one chunk one after the other."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._folders: dict[str, None] = {}

    async def create(self, header: Header) -> None:
        """Make the metadata file of an empty chunk. Raises NoSpace, DiskFailure; then `undo_creation` is to follow."""
        handle, disk = header.handle, self._disk
        await self.make_folder(folder_of(handle))
        file = await disk.open(_draft_path(handle), "replace")
        try:
            await file.write_at(0, encode_slots(header))
            await file.sync()
        finally:
            await file.close()
        await disk.rename(_draft_path(handle), metadata_path(handle))
        await disk.sync_directory(folder_of(handle))

    async def undo_creation(self, handle: int) -> None:
        """Remove what there is of a chunk whose creation failed. Raises DiskFailure: then it is to be tried again."""
        for path in (_draft_path(handle), metadata_path(handle)):
            with suppress(NotFound):
                await self._disk.remove(path)
        with suppress(NotFound):  # It may have failed before there was a folder.
            await self._disk.sync_directory(folder_of(handle))

    async def begin_copy(self) -> None:
        """Make room for a copy. Raises DiskFailure."""
        await self.make_folder(INCOMING)

    async def commit_copy(self, handle: int) -> None:
        """From here on a copy whose data and draft are complete and synced counts; `end_installation` comes next.
        Raises DiskFailure: then it does not count."""
        await self._disk.rename(incoming_path(handle, "draft"), incoming_path(handle, "meta"))

    async def end_installation(self, handle: int) -> None:
        """Move a copy that counts into its place, as far as that was not done yet. Raises DiskFailure: then it is to be
        tried again."""
        disk, folder = self._disk, folder_of(handle)
        await self.make_folder(folder)
        # Before the data is moved: otherwise a power cut could leave the data of the copy with the metadata of another.
        await disk.sync_directory(INCOMING)
        if await disk.exists(incoming_path(handle, "data")):
            await disk.rename(incoming_path(handle, "data"), data_path(handle))
            await disk.sync_directory(folder)
        if await disk.exists(incoming_path(handle, "meta")):
            await disk.rename(incoming_path(handle, "meta"), metadata_path(handle))
        await disk.sync_directory(folder)

    async def discard(self, handle: int) -> None:
        """Remove what there is of a copy, unless it is complete."""
        if await self._disk.exists(incoming_path(handle, "meta")):
            return
        for kind in ("draft", "data"):
            with suppress(TabletopError):
                await self._disk.remove(incoming_path(handle, kind))

    async def begin_removal(self, handle: int) -> None:
        """The chunk is gone when this returns; `end_removal` comes next. Raises DiskFailure."""
        await self.make_folder(REMOVING)
        await self._disk.rename(metadata_path(handle), removing_path(handle))

    async def end_removal(self, handle: int, *, is_here_again: bool) -> None:
        """Remove the rest of a chunk that was removed, unless another copy of it has come meanwhile. Raises
        DiskFailure."""
        disk = self._disk
        if not is_here_again:
            with suppress(NotFound):
                await disk.remove(data_path(handle))
            await disk.sync_directory(folder_of(handle))
        with suppress(NotFound):
            await disk.remove(removing_path(handle))

    async def put_aside(self, handle: int) -> None:
        """Move what there is of a chunk out of the way, and keep it. Raises DiskFailure."""
        disk = self._disk
        await self.make_folder(ASIDE)
        stem, number = f"{ASIDE}/{handle:016x}", 0
        while await disk.exists(f"{stem}.meta") or await disk.exists(f"{stem}.data"):
            number += 1
            stem = f"{ASIDE}/{handle:016x}.{number}"
        for path, kind in ((data_path(handle), "data"), (metadata_path(handle), "meta")):
            with suppress(NotFound):
                await disk.rename(path, f"{stem}.{kind}")
        await disk.sync_directory(ASIDE)
        await disk.sync_directory(folder_of(handle))

    async def make_folder(self, folder: str) -> None:
        """Create a folder, once, durably. Those of the chunks are spread over the disk."""
        if folder not in self._folders:
            await self._disk.make_directory(folder, spread=folder == CHUNKS)
            await self._disk.sync_directory(CHUNKS if folder.startswith(f"{CHUNKS}/") else "")
            self._folders[folder] = None
