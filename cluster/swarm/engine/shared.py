"""Folders of a disk that several servers reach, as those of GFS: they have no locks, and of two who rename to one name,
one succeeds. What keeps two owners of a tablet or of a log apart here are their tokens alone."""

from runtime.simulated.disk import SimulatedDisk
from tablet.engine.world.storage import DiskStorage
from tablet.server.folders import DiskFolders


class SharedStorage(DiskStorage):
    """A folder that anybody may open."""

    def __init__(self, disk: SimulatedDisk, folder: str = "") -> None:
        super().__init__(disk, folder)
        self._simulated = disk

    async def lock(self) -> None:
        """Nobody is kept out."""
        await self._disk.sync_directory(self._folder)

    async def unlock(self) -> None:
        """Nobody was."""

    async def rename(self, source: str, target: str) -> None:
        """Rename, durably, unless the target is there, in one step."""
        await self._simulated.rename(self._prefix + source, self._prefix + target, replace=False)
        await self._simulated.sync_directory(self._folder)


class SharedFolders(DiskFolders):
    """Folders that anybody may open."""

    def __init__(self, disk: SimulatedDisk, root: str) -> None:
        super().__init__(disk, root)
        self._simulated = disk

    def storage(self, name: str = "") -> SharedStorage:
        """What is in one of the folders."""
        return SharedStorage(self._simulated, self._path(name))
