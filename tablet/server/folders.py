"""The folders of a server's tablets: one for each, side by side, so that one may refer to the files of another.

A folder that is made, and the name of a file in it, are durable when the call returns (`engine/world/storage.py`).
"""

from contextlib import suppress
from typing import Protocol

from runtime.errors import NotFound
from runtime.world import Disk
from tablet.engine.world.names import LOCK_NAME
from tablet.engine.world.storage import DiskStorage, Storage

LOG_FOLDER = "log"


class Folders(Protocol):
    """A folder of folders. Errors are DiskFailure and NoSpace."""

    def storage(self, name: str = "") -> Storage:
        """What is in one of the folders; without a name, what is beside them."""

    async def make(self, name: str) -> None:
        """Make a folder, durably; one that is there is fine."""

    async def list(self) -> list[str]:
        """The names of the folders, and of the files beside them, all at one moment."""

    async def remove(self, name: str) -> None:
        """Remove a folder in which nothing is left but its lock, which nobody holds."""


class DiskFolders:
    """The folders within a folder of a node's disk."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root

    async def prepare(self) -> None:
        """Make the folder that they are in, if it is missing."""
        await self._disk.make_directory(self._root)

    def storage(self, name: str = "") -> Storage:
        """What is in one of the folders."""
        return DiskStorage(self._disk, self._path(name))

    async def make(self, name: str) -> None:
        """Make a folder, durably."""
        await self._disk.make_directory(self._path(name))
        await self._disk.sync_directory(self._root)

    async def list(self) -> list[str]:
        """The names in the root."""
        return await self._disk.list(self._root)

    async def remove(self, name: str) -> None:
        """Remove a folder that is empty but for its lock."""
        with suppress(NotFound):
            await self._disk.remove(f"{self._path(name)}/{LOCK_NAME}")
        with suppress(NotFound):
            await self._disk.remove(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
