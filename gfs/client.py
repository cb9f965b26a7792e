"""The asynchronous client: names, files, and where things are.

Everything that applications do with the file system goes through one `Client`. It stands on a `World`, so the same
code reads a file of the cluster on your desk and one in the simulated world:

    client = Client(world, "127.0.0.1:40123")
    async with await client.open("/notes", "wb") as file:
        await file.write(b"the chunk is 64 MB")
    print(await client.read_file("/notes"))

Names are the master's business alone; bytes never pass it (GFS 2.3). A client caches what the master said of chunks,
and no data (2.3).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import get_args

from gfs.bulk_links import BulkLinks
from gfs.events import LeftBehind
from gfs.file import Ending, File, FileMode
from gfs.lengths import FileStatus, LengthFinder
from gfs.location_cache import facts_of
from gfs.master_link import Causes, MasterLink
from gfs.patience import Patience
from gfs.reading import ChunkReader, PieceStream
from gfs.settings import ClientSettings
from gfs.write_behind import Source, WriteBehind
from gfs.writing import ChunkWriter
from runtime.errors import (
    AlreadyExists,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TabletopError,
    Unavailable,
)
from runtime.wire.common_pb2 import ChunkLocations
from runtime.wire.master_pb2 import (
    ClusterStatus,
    ClusterStatusRequest,
    CreateRequest,
    DeleteRequest,
    FileInfo,
    ListRequest,
    MakeDirectoryRequest,
    RenameRequest,
)
from runtime.world import Buffer, World

WRITING_PREFIX = ".writing-"
# The patience of tidying up after a failure: whoever waits has an error to hear of.
DISCARD_SECONDS = 5.0

Sink = Callable[[memoryview], Awaitable[None]]
Statuses = list[FileStatus]
Chunks = list[ChunkLocations]


class Client:
    """One application's access to one cluster. Many tasks may share it."""

    def __init__(self, world: World, master_address: str, settings: ClientSettings | None = None) -> None:
        self.settings = settings or ClientSettings()
        self._world = world
        self._causes = Causes(world)
        self._master = MasterLink(world, master_address, self.settings, self._causes)
        self._links = BulkLinks(world, idle_connections=self.settings.idle_connections)
        self._reader = ChunkReader(world, self.settings, self._master, self._links, self._causes)
        self._lengths = LengthFinder(world, self.settings, self._reader.replicas)
        self._writer = ChunkWriter(world, self.settings, self._master, self._links, self._lengths, self._causes)
        self._open_files: dict[int, File] = {}
        self._opened = 0

    async def close(self) -> None:
        """Abandon the files that are still open, and drop all connections."""
        for file in list(self._open_files.values()):
            await file.abandon()
        self._links.close()

    # Names.

    async def create(self, path: str, *, replication_goal: int = 0) -> FileStatus:
        """Create an empty file; 0 replicas means the cluster's default.

        Raises AlreadyExists, NotFound (the directory), NotADirectory, InvalidRequest.
        """
        info = await self._create(path, replication_goal)
        return (await self._lengths.settle([info]))[0]

    async def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Create a directory; with `parents`, missing ancestors too, and an existing one is fine.

        Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest.
        """
        # With `parents` it is the same to do it twice, so that no doubt can arise.
        request = MakeDirectoryRequest(path=path, parents=parents)
        await self._master.ask(self._master.stub.MakeDirectory, request, mutates=not parents)

    async def delete(self, path: str, *, recursive: bool = False, immediately: bool = False) -> int:
        """Delete a file or directory; returns the number of files (0 if the answer to an earlier try was lost).

        The master keeps what is deleted under a hidden name for a while (GFS 4.4), unless `immediately`.
        Raises NotFound, DirectoryNotEmpty, InvalidRequest.
        """
        request = DeleteRequest(path=path, recursive=recursive, immediately=immediately)
        self._forget_tree(path)
        try:
            return (await self._master.ask(self._master.stub.Delete, request, mutates=True)).files
        except NotFound as error:
            if error.definite:
                raise
            return 0

    async def rename(self, source: str, target: str, *, replace: bool = False) -> None:
        """Give a file or directory another name, in one step; with `replace`, an existing target file goes.

        Raises NotFound, AlreadyExists, IsADirectory, InvalidRequest; indefinite if an earlier try went unanswered.
        """
        request = RenameRequest(source=source, target=target, replace=replace)
        self._forget_tree(source)
        self._forget_tree(target)
        await self._master.ask(self._master.stub.Rename, request, mutates=True)

    async def stat(self, path: str) -> FileStatus:
        """What there is under a name, with its exact length. Raises NotFound, NotADirectory, InvalidRequest."""
        return (await self._lengths.settle([await self._master.stat(path)]))[0]

    async def exists(self, path: str) -> bool:
        """Whether there is a file or directory of this name. Raises InvalidRequest."""
        try:
            await self._master.stat(path)
        except (NotFound, NotADirectory):
            return False
        return True

    async def list(self, path: str, *, recursive: bool = False) -> Statuses:
        """The entries of a directory, or all descendants, in path order, with exact lengths.

        Raises NotFound, NotADirectory, InvalidRequest.
        """
        patience = Patience(self._world, self.settings, self.settings.patience_seconds)
        while True:
            try:
                return [status async for status in self.scan(path, recursive=recursive)]
            except Unavailable:
                if patience.over():
                    raise
            await patience.pause()

    async def scan(self, path: str, *, recursive: bool = False) -> AsyncIterator[FileStatus]:
        """Like `list`, for trees too large to hold in memory. Raises Unavailable if the master goes away meanwhile."""
        request = ListRequest(path=path, recursive=recursive)
        async for reply in self._master.stub.List(request, timeout=self.settings.list_seconds):
            for status in await self._lengths.settle(reply.entries):
                yield status

    async def walk(self, path: str) -> AsyncIterator[tuple[str, Statuses, Statuses]]:
        """Every directory from `path` down: its path, its directories, its files; parents before children.

        The caller may remove directories from the list, and their trees are left out.
        """
        left = [path]
        while left:
            here = left.pop()
            entries = await self.list(here)
            directories = [entry for entry in entries if entry.is_directory]
            yield here, directories, [entry for entry in entries if not entry.is_directory]
            left.extend(entry.path for entry in reversed(directories))

    # Where things are.

    async def locations(self, path: str) -> Chunks:
        """All chunks of a file with their replicas, as the master knows them now. Raises NotFound, IsADirectory."""
        chunks: Chunks = []
        while True:
            reply = await self._master.find_locations(path, len(chunks), max(1, self.settings.locations_at_once))
            new = [chunk for chunk in reply.chunks if chunk.index >= len(chunks)]
            chunks.extend(sorted(new, key=lambda chunk: chunk.index))
            if not new or len(chunks) >= reply.file.chunk_count:
                return chunks

    async def cluster_status(self, *, chunks: bool = False) -> ClusterStatus:
        """The master's view of the whole cluster; with `chunks`, of every chunk."""
        request = ClusterStatusRequest(chunks=chunks)
        return await self._master.ask(self._master.stub.GetClusterStatus, request)

    # Whole files.

    async def read_file(self, path: str) -> bytes:
        """A whole file, in memory. Raises NotFound, IsADirectory, Unavailable, Corrupted."""
        parts: list[bytes] = []

        async def keep(piece: memoryview) -> None:
            parts.append(bytes(piece))

        await self.read_file_into(path, keep)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_file_into(self, path: str, sink: Sink) -> int:
        """Hand a whole file to `sink`, piece by piece in order; returns the bytes. Memory is bounded.

        Each piece may be used until `sink` returns, while the next ones are already under way. Raises as `read_file`.
        """
        facts = facts_of(self._must_be_file(await self._reader.open(path)))
        stream = PieceStream(self._reader, self.settings, path, 0, facts)
        try:
            while piece := await stream.next():
                await sink(piece)
        finally:
            await stream.close()
        return stream.position

    async def write_file(self, path: str, data: Buffer, *, overwrite: bool = False, replication_goal: int = 0) -> None:
        """Write a whole file. Raises AlreadyExists, NotFound (the directory), NoSpace, MutationFailed, TimedOut.

        A small file takes three calls: create, ask for the lease, write. It is empty or whole at any moment, and gone
        if the write fails. A large one is written as by `open(path, "wb")`.
        """
        size = memoryview(data).nbytes
        if overwrite or size > self.settings.write_piece_bytes:
            async with await self.open(path, "wb", overwrite=overwrite, replication_goal=replication_goal) as file:
                await file.write(data)
            return
        file = self._created(path, path, "xb", await self._create(path, replication_goal))
        async with file:
            await file.write(data)

    async def write_file_from(
        self, path: str, source: Source, *, overwrite: bool = False, replication_goal: int = 0
    ) -> int:
        """Write a whole file from `source`, which fills the buffers it is handed until it returns 0; returns the bytes.

        Memory is bounded. Raises as `write_file`, and what `source` raises; nothing is left behind then.
        """
        async with await self.open(path, "wb", overwrite=overwrite, replication_goal=replication_goal) as file:
            return await file.write_from(source)

    # Open files.

    async def open(
        self, path: str, mode: FileMode = "rb", *, overwrite: bool = False, replication_goal: int = 0
    ) -> File:
        """Open a file; `gfs.file` tells what the modes mean. `overwrite` lets "wb" replace an existing file at its end.

        Raises NotFound, AlreadyExists, IsADirectory, NotADirectory, InvalidRequest.
        """
        if mode not in get_args(FileMode):
            raise InvalidRequest(f"mode {mode!r} for {path}: expected one of {', '.join(get_args(FileMode))}")
        if mode == "wb":
            return await self._open_passing(path, overwrite, replication_goal)
        if mode == "xb":
            return self._created(path, path, mode, await self._create(path, replication_goal))
        if mode == "ab" and not await self.exists(path):
            return self._created(path, path, mode, await self._create(path, replication_goal))
        return await self._open_existing(path, mode)

    async def _open_existing(self, path: str, mode: FileMode) -> File:
        info = self._must_be_file(await self._reader.open(path))
        position = await self._measure(path) if mode == "ab" else 0
        behind = None if mode == "rb" else self._behind(path, info)
        return self._opened_file(path, path, mode, behind, _nothing, _nothing, position)

    async def _open_passing(self, path: str, overwrite: bool, replication_goal: int) -> File:
        """Write under a name of our own in the same directory; renaming is atomic (GFS 2.7.2)."""
        try:
            there = await self._master.stat(path)
        except NotFound:
            pass
        else:
            self._must_be_file(there)
            if not overwrite:
                raise AlreadyExists(f"{path} exists; remove it first, or ask for overwriting")
        directory = path.rpartition("/")[0]
        passing = f"{directory}/{WRITING_PREFIX}{self._world.random.getrandbits(64):016x}"
        try:
            info = await self._create(passing, replication_goal)
        except AlreadyExists as error:
            if error.definite:
                raise
            # Nobody else draws this name: it was an earlier try of ours, whose answer was lost.
            info = await self._master.stat(passing)

        async def keep() -> None:
            try:
                await self.rename(passing, path, replace=overwrite)
            except NotFound as error:
                if error.definite:
                    raise

        async def discard() -> None:
            await self._discard(passing)

        return self._opened_file(path, passing, "wb", self._behind(passing, info), keep, discard)

    def _created(self, path: str, stored_path: str, mode: FileMode, info: FileInfo) -> File:
        async def discard() -> None:
            if mode == "xb":
                await self._discard(stored_path)

        return self._opened_file(path, stored_path, mode, self._behind(stored_path, info), _nothing, discard)

    def _opened_file(
        self,
        path: str,
        stored_path: str,
        mode: FileMode,
        behind: WriteBehind | None,
        keep: Callable[[], Awaitable[None]],
        discard: Callable[[], Awaitable[None]],
        position: int = 0,
    ) -> File:
        number = self._opened = self._opened + 1

        def let_go() -> None:
            self._open_files.pop(number, None)
            self._writer.holders.forget(stored_path)

        async def keep_and_let_go() -> None:
            await keep()
            let_go()

        async def discard_and_let_go() -> None:
            let_go()
            await discard()

        file = File(
            path,
            mode,
            self.settings,
            stored_path=stored_path,
            reader=self._reader,
            behind=behind,
            ending=Ending(keep_and_let_go, discard_and_let_go),
            measure=self._measure,
            position=position,
        )
        if behind is not None:
            self._open_files[number] = file
        return file

    def _behind(self, path: str, info: FileInfo) -> WriteBehind:
        return WriteBehind(
            self._writer, self.settings, path, chunk_bytes=info.chunk_bytes, chunk_count=info.chunk_count
        )

    async def _measure(self, path: str) -> int:
        status = await self.stat(path)
        if not status.length_is_exact:
            raise Unavailable(
                f"the length of {path} is not known: no replica of its last chunk answers; see `tabletop status`",
                definite=True,
            )
        return status.length

    async def _create(self, path: str, replication_goal: int) -> FileInfo:
        self._forget_tree(path)
        request = CreateRequest(path=path, replication_goal=replication_goal)
        return await self._master.ask(self._master.stub.Create, request, mutates=True)

    async def _discard(self, path: str) -> None:
        """Remove what a failed write leaves, as far as that is possible now."""
        self._forget_tree(path)
        patience = Patience(self._world, self.settings, DISCARD_SECONDS)
        try:
            request = DeleteRequest(path=path, immediately=True)
            await self._master.ask(self._master.stub.Delete, request, mutates=True, patience=patience)
        except TabletopError as error:
            self._world.events.emit(LeftBehind(path=path, reason=error.message))

    def _must_be_file(self, info: FileInfo) -> FileInfo:
        if info.is_directory:
            raise IsADirectory(f"{info.path} is a directory; name a file in it, or list it")
        return info

    def _forget_tree(self, path: str) -> None:
        self._reader.locations.forget_tree(path)
        self._writer.holders.forget_tree(path)


async def _nothing() -> None:
    """The ending of a file that needs none."""
