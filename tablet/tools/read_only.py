"""Storage that can only read, and a folder at one moment: what every tool here looks through.

A tool needs no lock, and so shows the folder of a running engine as well: all files of one listing are opened first
(`held`), and can be read to the end that they had then, though the engine continues and removes them. An opening
through such storage (`opened_for_reading`) is an engine's own, without its sweep, and its events tell of the recovery.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from runtime.errors import Conflict, NotFound, TabletopError
from runtime.world import Buffer
from tablet.engine.serving.opening import open_state
from tablet.engine.tree.manifest import Manifest, load_current
from tablet.engine.tree.state import TabletState
from tablet.engine.world.names import MARK_NAME, FolderListing, sorted_out
from tablet.engine.world.options import EngineWorld, Options
from tablet.engine.world.storage import Storage, StoredFile

_ATTEMPTS = 20
_MOVED = "the tablet is in use, and its files change faster than they can be opened; try again, or close it first"


class ReadOnlyFile:
    """A stored file that can be read, and nothing else."""

    def __init__(self, file: StoredFile) -> None:
        self.path = file.path
        self._file = file

    async def read_at(self, offset: int, count: int) -> bytes:
        """As the file underneath."""
        return await self._file.read_at(offset, count)

    async def append(self, data: Buffer) -> int:
        """Refused: a tool only reads."""
        _refuse(f"append to {self.path}")

    async def truncate(self, size: int) -> None:
        """Refused: a tool only reads."""
        _refuse(f"truncate {self.path}")

    async def size(self) -> int:
        """As the file underneath."""
        return await self._file.size()

    async def sync(self) -> None:
        """Nothing was written."""

    async def close(self) -> None:
        """As the file underneath."""
        await self._file.close()


class ReadOnlyStorage:
    """A tablet's storage that can list and read, and nothing else: what every tool here looks through."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def open(self, name: str) -> ReadOnlyFile:
        """As the storage underneath."""
        return ReadOnlyFile(await self._storage.open(name))

    async def list(self) -> list[str]:
        """As the storage underneath."""
        return await self._storage.list()

    async def exists(self, name: str) -> bool:
        """As the storage underneath."""
        return await self._storage.exists(name)

    async def create(self, name: str) -> StoredFile:
        """Refused: a tool only reads."""
        _refuse(f"create {name}")

    async def rename(self, source: str, target: str) -> None:
        """Refused: a tool only reads."""
        _refuse(f"rename {source}")

    async def write_again(self, name: str, offset: int, count: int) -> None:
        """Nothing to do: who only looks makes nothing durable."""

    async def note(self, name: str, content: bytes) -> None:
        """Nothing to do: who only looks promises nothing."""

    async def remove(self, name: str) -> None:
        """Refused: a tool only reads."""
        _refuse(f"remove {name}")

    async def lock(self) -> None:
        """Nothing to do: reading disturbs nobody."""

    async def unlock(self) -> None:
        """Nothing to do."""


class HeldFile(ReadOnlyFile):
    """A file as it was when it was opened: of what is appended later, nothing is seen. Closed by who holds it."""

    def __init__(self, file: StoredFile, size: int) -> None:
        super().__init__(file)
        self._size = size

    async def read_at(self, offset: int, count: int) -> bytes:
        """As the file underneath, up to the end that it had."""
        return await super().read_at(offset, max(0, min(count, self._size - offset)))

    async def size(self) -> int:
        """In bytes, as it was."""
        return self._size

    async def close(self) -> None:
        """Not yet: it may be opened once more."""


class HeldMark(HeldFile):
    """The mark of what is durable, which is written in place: as it was before the logs were opened."""

    def __init__(self, file: StoredFile, content: bytes) -> None:
        super().__init__(file, len(content))
        self._content = content

    async def read_at(self, offset: int, count: int) -> bytes:
        """What it said."""
        return self._content[offset : offset + count]


class HeldStorage(ReadOnlyStorage):
    """The files of one listing, all open: a folder at one moment, whatever happens to it meanwhile."""

    def __init__(self, storage: Storage, names: Sequence[str]) -> None:
        super().__init__(storage)
        self._names = names
        self._files: dict[str, ReadOnlyFile] = {}

    async def hold(self) -> bool:
        """Open everything that is a tablet's; whether the folder was the same before and afterwards. What cannot be
        opened is met again by who needs it."""
        with suppress(TabletopError):
            mark = await super().open(MARK_NAME)
            self._files[MARK_NAME] = HeldMark(mark, await mark.read_at(0, await mark.size()))
        listing = sorted_out(self._names)
        kinds = (listing.manifests, listing.tables, listing.logs, listing.snapshots)
        for name in (*(name for kind in kinds for name in kind.values()), *listing.temporary):
            with suppress(TabletopError):
                file = await super().open(name)
                self._files[name] = file
                self._files[name] = HeldFile(file, await file.size())
        return await super().list() == self._names

    async def open(self, name: str) -> ReadOnlyFile:
        """The file as it was."""
        return self._files[name] if name in self._files else await super().open(name)

    async def list(self) -> list[str]:
        """The names there were."""
        return [*self._names]

    async def let_go(self) -> None:
        """Close everything."""
        for file in self._files.values():
            await ReadOnlyFile.close(file)


@asynccontextmanager
async def held(storage: Storage) -> AsyncIterator[HeldStorage]:
    """The folder as it is at one moment. Raises Conflict if a running engine leaves no such moment."""
    for _ in range(_ATTEMPTS):
        files = HeldStorage(storage, await storage.list())
        try:
            if await files.hold():
                yield files
                return
        finally:
            await files.let_go()
    raise Conflict(_MOVED)


@asynccontextmanager
async def opened_for_reading(storage: Storage, world: EngineWorld) -> AsyncIterator[TabletState]:
    """The tablet as an engine would open it at this moment, without a lock or a byte changed: only the sweep and the
    first write of an opening change anything. The events that it emits tell of the recovery, step by step.

    Raises what an opening raises: NotFound, IncompatibleFormat, Corrupted, DiskFailure; and Conflict, as `held`.
    """
    async with held(storage) as files:
        await load_folder(files)
        state = await open_state(files, world, Options(create=False, sweeps=False), tablet="")
        try:
            yield state
        finally:
            await state.close()


async def load_folder(storage: Storage) -> tuple[Manifest, FolderListing]:
    """The newest manifest and the files by kind. Raises as `inspect`."""
    names = await storage.list()
    manifest = await load_current(storage, names)
    if manifest is None:
        raise NotFound("the folder holds no tablet: there is no manifest in it, nor any other file of a tablet")
    return manifest, sorted_out(names)


def _refuse(what: str) -> NoReturn:
    raise AssertionError(f"a tool that only looks was about to {what}")
