"""Where a tablet keeps its files: the small interface that the engine stands on.

The problem. The paper's tablets keep logs and SSTables in GFS (BT 4), which is good at appending and at reading from
a position, and has neither locks nor cheap overwriting. A local folder can do all of that and more. The engine asks
for no more than both can give: create, append, sync, read at, rename, remove, list.

A name's creation or renaming is durable when the call returns; bytes are durable after `sync`. Files are written once,
by one writer: under a temporary name, synced, then renamed into place. A process that died in such a call may have left
a name that the next one sees and a power cut takes away again; so what is listed under the lock is durable too.
"""

from typing import Protocol, runtime_checkable

from runtime.errors import AlreadyExists, NotFound
from runtime.rewriting import write_again
from runtime.world import Buffer, Disk, File
from tablet.engine.world.names import home_of, is_neighbour


class StoredFile(Protocol):
    """An open file. Errors are DiskFailure, NoSpace and Corrupted, with the path in the message."""

    path: str

    async def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end of the file."""

    async def append(self, data: Buffer) -> int:
        """Write at the end; returns the offset where the data begins."""

    async def truncate(self, size: int) -> None:
        """Cut to `size` bytes. Storage that cannot do this raises; the log then takes no more records."""

    async def size(self) -> int:
        """Length in bytes."""

    async def sync(self) -> None:
        """Return when the file's bytes are durable."""

    async def close(self) -> None:
        """Let go of the file."""


@runtime_checkable
class PromptFile(Protocol):
    """A file that never makes its reader wait, as those of a local disk: its bytes can be had without a coroutine."""

    def read_now(self, offset: int, count: int) -> bytes:
        """As `read_at`."""


class Storage(Protocol):
    """One tablet's files, in one flat folder."""

    async def create(self, name: str) -> StoredFile:
        """A new, empty file, its name durable. AlreadyExists."""

    async def open(self, name: str) -> StoredFile:
        """An existing file, for reading; `../NAME/FILE` is one in the folder of another tablet. NotFound."""

    async def rename(self, source: str, target: str) -> None:
        """Rename, durably, unless `target` is there: AlreadyExists. Of two who rename to one name at the same moment,
        one succeeds: that is what keeps two owners of a tablet apart. NotFound."""

    async def exists(self, name: str) -> bool:
        """Whether there is a file by that name."""

    async def write_again(self, name: str, offset: int, count: int) -> None:
        """Make these bytes of a file durable, which can be read, and that a sync of an earlier life may have failed to
        write: a sync alone may do nothing, for the kernel may take them for written. NotFound."""

    async def note(self, name: str, content: bytes) -> None:
        """Write the few bytes of a small file in place, not durably: after a loss of power it may be as before, or
        gone. Nothing where one fault cannot take a block, because it has copies."""

    async def remove(self, name: str) -> None:
        """Remove a file. NotFound."""

    async def list(self) -> list[str]:
        """All names, sorted."""

    async def lock(self) -> None:
        """Hold the tablet until `unlock`; all names that are there are durable then. Conflict if somebody else does."""

    async def unlock(self) -> None:
        """Let go of it."""


class DiskStorage:
    """A folder of a node's disk as the storage of one tablet."""

    def __init__(self, disk: Disk, folder: str = "") -> None:
        self._disk = disk
        self._folder = folder
        self._prefix = f"{folder}/" if folder else ""

    async def prepare(self) -> None:
        """Create the folder if it is missing."""
        if self._folder:
            await self._disk.make_directory(self._folder)

    async def create(self, name: str) -> File:
        """A new file, its name durable."""
        file = await self._disk.open(self._prefix + name, "create")
        try:
            await self._disk.sync_directory(self._folder)
        except BaseException:
            await file.close()
            raise
        return file

    async def open(self, name: str) -> File:
        """An existing file, perhaps in a folder beside this one. NotFound, also where there is nothing beside it."""
        if not is_neighbour(name):
            return await self._disk.open(self._prefix + name, "read")
        if not self._folder:
            raise NotFound(f"{name} is beside a folder that stands alone; open the folder in which both are")
        above, _, _ = self._folder.rpartition("/")
        folder, file_name = home_of(name, "")
        return await self._disk.open("/".join(filter(None, (above, folder, file_name))), "read")

    async def rename(self, source: str, target: str) -> None:
        """Rename, durably. A disk would replace the target, so we look first. Whoever is here holds the lock, so that
        nobody comes in between."""
        if await self._disk.exists(self._prefix + target):
            raise AlreadyExists(f"cannot rename {source} to {target} in {self._folder or 'the folder'}: that is taken")
        await self._disk.rename(self._prefix + source, self._prefix + target)
        await self._disk.sync_directory(self._folder)

    async def exists(self, name: str) -> bool:
        """Whether the name is there."""
        return await self._disk.exists(self._prefix + name)

    async def write_again(self, name: str, offset: int, count: int) -> None:
        """Write the same bytes once more, and sync them."""
        file = await self._disk.open(self._prefix + name, "update")
        try:
            await write_again(file, offset, offset + count)
            await file.sync()
        finally:
            await file.close()

    async def note(self, name: str, content: bytes) -> None:
        """Write the file's content in place."""
        try:
            file = await self._disk.open(self._prefix + name, "update")
        except NotFound:
            file = await self._disk.open(self._prefix + name, "replace")
        try:
            await file.write_at(0, content)
        finally:
            await file.close()

    async def remove(self, name: str) -> None:
        """Remove a file."""
        await self._disk.remove(self._prefix + name)

    async def list(self) -> list[str]:
        """All names, sorted."""
        return await self._disk.list(self._folder)

    async def lock(self) -> None:
        """Hold the folder, its names durable."""
        await self._disk.lock(self._folder)
        try:
            await self._disk.sync_directory(self._folder)
        except BaseException:
            await self._disk.unlock(self._folder)
            raise

    async def unlock(self) -> None:
        """Let go of the folder."""
        await self._disk.unlock(self._folder)
