"""The folder of a tablet in GFS as the engine's `Storage`, and the folder of such folders.

The master of the file system orders all changes of names, and makes each of them durable before it answers (GFS 2.6.3,
2.7.1). So a name that is created or renamed is durable when the call returns, and of two who rename to one name, one
succeeds. What is listed is asked of the master that acts: a shadow's answer may be old, and the settings of the client
(`storage_settings`) keep it from being asked.
"""

from dataclasses import replace

from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.errors import DirectoryNotEmpty, DiskFailure, NotFound
from tablet.engine.world.names import LOCK_NAME, home_of, is_neighbour
from tablet.storage.errors import in_engine_words, of_a_folder
from tablet.storage.files import FoundFile, WrittenFile

LOG_SUFFIX = ".log"


def storage_settings(settings: ClientSettings | None = None) -> ClientSettings:
    """The settings of a client whose files are tablets': no shadow master answers for the one that acts."""
    return replace(settings or ClientSettings(), shadow_seconds=0.0)


class GfsStorage:
    """One folder. Errors as `Storage` has them, and Superseded for a file or a folder that was taken away."""

    def __init__(self, client: Client, folder: str) -> None:
        self._client = client
        self._folder = folder

    async def create(self, name: str) -> WrittenFile:
        """A new file. Raises Superseded, too, if the folder was taken away."""
        path = self._path(name)
        with of_a_folder():
            made = await self._client.create(path)
            file = await self._client.open(path, "r+b")
        if file.file_id != made.file_id:
            await file.abandon()
            raise DiskFailure(f"{path} is another file than the one that was made")
        return WrittenFile(self._client, file, is_prompt=name.endswith(LOG_SUFFIX))

    async def open(self, name: str) -> FoundFile:
        """An existing file, perhaps in a folder beside this one."""
        with in_engine_words():
            return FoundFile(await self._client.open(self._found(name), "rb"))

    async def share(self, name: str, target: "GfsStorage", new_name: str) -> None:
        """Let an existing file be in another folder, too, without copying a byte of it: a GFS snapshot (GFS 3.4). Each
        of the two may be removed. Raises AlreadyExists, NotFound for the file or the folder."""
        with in_engine_words():
            await self._client.snapshot(self._found(name), target._path(new_name))

    async def rename(self, source: str, target: str) -> None:
        """Rename, unless the target is there."""
        with in_engine_words():
            await self._client.rename(self._path(source), self._path(target))

    async def exists(self, name: str) -> bool:
        """Whether the name is there."""
        with in_engine_words():
            return await self._client.exists(self._path(name))

    async def write_again(self, name: str, offset: int, count: int) -> None:
        """Nothing: what one reader of GFS has read, all replicas of the chunk have, or it was never acknowledged."""

    async def note(self, name: str, content: bytes) -> None:
        """Nothing: each block of GFS has copies."""

    async def remove(self, name: str) -> None:
        """Remove a file for good: nobody undeletes a part of a tablet."""
        with in_engine_words():
            await self._client.delete(self._path(name), immediately=True)

    async def list(self) -> list[str]:
        """All names, sorted."""
        return await names_in(self._client, self._folder)

    async def lock(self) -> None:
        """Nothing: GFS has no locks. The lock service and the owners' tokens keep owners apart."""

    async def unlock(self) -> None:
        """Nothing."""

    def _found(self, name: str) -> str:
        """Where an existing file is, perhaps in a folder beside this one."""
        if not is_neighbour(name):
            return self._path(name)
        folder, file_name = home_of(name, "")
        return f"{self._folder.rpartition('/')[0]}/{folder}/{file_name}"

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


class GfsFolders:
    """The folders within a folder of GFS."""

    def __init__(self, client: Client, root: str) -> None:
        self._client = client
        self._root = root

    async def prepare(self) -> None:
        """Make the folder that they are in, if it is missing."""
        with in_engine_words():
            await self._client.make_directory(self._root, parents=True)

    def storage(self, name: str = "") -> GfsStorage:
        """What is in one of the folders."""
        return GfsStorage(self._client, f"{self._root}/{name}" if name else self._root)

    async def make(self, name: str) -> None:
        """Make a folder."""
        with in_engine_words():
            await self._client.make_directory(f"{self._root}/{name}", parents=True)

    async def list(self) -> list[str]:
        """The names in the root."""
        return await names_in(self._client, self._root)

    async def remove(self, name: str) -> None:
        """Remove a folder that is empty."""
        try:
            with in_engine_words():
                await self._client.delete(f"{self._root}/{name}", immediately=True)
        except NotFound:
            pass
        except DiskFailure as error:
            if not isinstance(error.__cause__, DirectoryNotEmpty):
                raise


async def names_in(client: Client, folder: str) -> list[str]:
    """The names in a folder, sorted. Raises NotFound, DiskFailure."""
    with in_engine_words():
        found = await client.list(folder)
    names = sorted(status.path.rpartition("/")[2] for status in found)
    return [name for name in names if name != LOCK_NAME]
