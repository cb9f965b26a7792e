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

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import get_args

from gfs.events import LeftBehind, ReadBegunAgain
from gfs.file import Ending, File, FileMode
from gfs.names.arguments import Path, checked_bytes, checked_goal, checked_path
from gfs.names.identity import FileIdentity, identity_of, must_be_file
from gfs.names.location_cache import FileFacts
from gfs.names.master_link import Causes, MasterLink
from gfs.operators import Operators
from gfs.patience import Patience
from gfs.reading.bulk_links import BulkLinks
from gfs.reading.lengths import FileStatus, LengthFinder
from gfs.reading.piece_stream import PieceStream
from gfs.reading.reading import ChunkReader
from gfs.reading.replicas import Replicas
from gfs.settings import ClientSettings
from gfs.writing.appending import RecordAppender
from gfs.writing.write_behind import Source, WriteBehind
from gfs.writing.writing import ChunkWriter
from runtime.bulk import CHECKSUM_BYTES
from runtime.errors import (
    AlreadyExists,
    Conflict,
    InvalidRequest,
    NotADirectory,
    NotFound,
    TabletopError,
    Unavailable,
)
from runtime.wire.common_pb2 import ChunkLocations
from runtime.wire.master_pb2 import (
    AdmitReplicaRequest,
    ClusterStatus,
    ClusterStatusRequest,
    CreateRequest,
    DeleteRequest,
    FileInfo,
    LeaseHolder,
    ListRequest,
    MakeDirectoryRequest,
    RenameRequest,
    SetReplicationRequest,
    ShadowAnswer,
    SnapshotRequest,
    VerifiedReplica,
    VerifyChunkRequest,
)
from runtime.world import Buffer, World

WRITING_PREFIX = ".writing-"
# The patience of tidying up after a failure: whoever waits has an error to hear of.
DISCARD_SECONDS = 5.0

Sink = Callable[[memoryview], Awaitable[None]]
Statuses = list[FileStatus]
Chunks = list[ChunkLocations]
Verified = list[VerifiedReplica]


class Client:
    """One application's access to one cluster. Many tasks may share it."""

    def __init__(
        self,
        world: World,
        master_address: str,
        settings: ClientSettings | None = None,
        *,
        master_gone: Callable[[], Unavailable | None] | None = None,
    ) -> None:
        """`master_address`: of several masters all, with commas. `master_gone`: why no master can be running; quick."""
        self.settings = settings or ClientSettings()
        self._world = world
        # Names this client's requests and data.
        self.client_id = world.random.getrandbits(64) or 1
        causes = Causes(world)
        replicas = Replicas(world, self.settings, turn=self.client_id)
        self._master = MasterLink(
            world, master_address, self.settings, causes, client_id=self.client_id, master_gone=master_gone
        )
        self._links = BulkLinks(world, idle_connections=self.settings.idle_connections)
        self._lengths = LengthFinder(self.settings, replicas)
        self._reader = ChunkReader(world, self.settings, self._master, self._links, replicas, self._lengths, causes)
        self._writer = ChunkWriter(
            world,
            self.settings,
            self._master,
            self._links,
            replicas,
            self._reader.locations,
            causes,
            client_id=self.client_id,
        )
        self.operators = Operators(self, self._master)
        """What operators ask: the trash, policies, safe mode."""
        self._appender = RecordAppender(self._reader, self._master, self._writer)
        self._open_files: dict[int, File] = {}
        self._files_opened = 0
        self._chunk_bytes = CHECKSUM_BYTES  # Until the master has told: chunks have one block at least.

    @property
    def world(self) -> World:
        """What this client stands on: its clock, its random numbers."""
        return self._world

    @property
    def shadow_answer(self) -> ShadowAnswer | None:
        """Which shadow master gave the last answer about names, and how far it may be behind; None: the acting one."""
        return None if self._master.masters is None else self._master.masters.shadow

    async def close(self) -> None:
        """Abandon the files that are still open, and drop all connections."""
        for file in list(self._open_files.values()):
            await file.abandon()
        self._links.close()

    # Names.

    async def create(self, path: Path, *, replication_goal: int = 0) -> FileStatus:
        """Create an empty file; 0 replicas means the cluster's default.

        Raises AlreadyExists, NotFound (the directory), NotADirectory, InvalidRequest.
        """
        info = await self._create(checked_path(path), replication_goal)
        return (await self._lengths.settle([info]))[0]

    async def make_directory(self, path: Path, *, parents: bool = False) -> None:
        """Create a directory; with `parents`, missing ancestors too, and an existing one is fine.

        Raises AlreadyExists, NotFound, NotADirectory, InvalidRequest.
        """
        request = MakeDirectoryRequest(path=checked_path(path), parents=parents)
        await self._master.change(self._master.stub.MakeDirectory, request)

    async def delete(self, path: Path, *, recursive: bool = False, immediately: bool = False, file_id: int = 0) -> int:
        """Delete a file or directory; returns the number of files.

        The master keeps what is deleted under a hidden name for a while (GFS 4.4), unless `immediately`. With a
        `file_id`, only that file is deleted. Raises NotFound, Conflict (another file), DirectoryNotEmpty,
        InvalidRequest.
        """
        return await self._delete(checked_path(path), recursive=recursive, immediately=immediately, file_id=file_id)

    async def rename(self, source: Path, target: Path, *, replace: bool = False, file_id: int = 0) -> None:
        """Give a file or directory another name, in one step; with `replace`, an existing target file goes.

        Whoever has the file open under its old name can write to it no more. With a `file_id`, only that file is
        renamed. Raises NotFound, Conflict (another file), AlreadyExists, IsADirectory, InvalidRequest.
        """
        source, target = checked_path(source), checked_path(target)
        request = RenameRequest(source=source, target=target, replace=replace, file_id=file_id)
        self._forget_tree(source)
        self._forget_tree(target)
        await self._master.change(self._master.stub.Rename, request)

    async def snapshot(self, source: Path, target: Path, *, file_id: int = 0) -> int:
        """Make a second copy of a file or a directory, at once (GFS 3.4); returns the number of files in it.

        It holds what was acknowledged before this was called, of all files at one moment; what is under way meanwhile
        may be in it or not. Nothing is copied before one of the two is written, and then only the chunks that are.
        Files that are open stay what they are, and are written on. With a `file_id`, only that file is meant. Raises
        NotFound, AlreadyExists (the target), NotADirectory, Conflict (another file), InvalidRequest (the target lies
        below the source).
        """
        source, target = checked_path(source), checked_path(target)
        request = SnapshotRequest(source=source, target=target, file_id=file_id)
        self._forget_tree(target)
        files = (await self._master.change(self._master.stub.Snapshot, request)).files
        self._writer.holders.forget_tree(source)  # Their leases have ended.
        return files

    async def set_replication(self, path: Path, replication_goal: int, *, file_id: int = 0) -> int:
        """Give a file another number of replicas; returns the one before.

        It is answered when the goal is durable. The master makes or removes copies after that, and removes none before
        the others have been verified and nobody writes the chunk: `cluster_status` tells how far it is. With a
        `file_id`, only that file is meant. Raises NotFound, IsADirectory, Conflict (another file), TooFewServers,
        InvalidRequest.
        """
        goal = checked_goal(replication_goal, least=1)
        request = SetReplicationRequest(path=checked_path(path), replication_goal=goal, file_id=file_id)
        return (await self._master.change(self._master.stub.SetReplication, request)).previous_goal

    async def stat(self, path: Path) -> FileStatus:
        """What there is under a name, with its exact length. Raises NotFound, NotADirectory, InvalidRequest."""
        return (await self._lengths.settle([await self._master.stat(checked_path(path), may_be_old=True)]))[0]

    async def exists(self, path: Path) -> bool:
        """Whether there is a file or directory of this name. Raises InvalidRequest."""
        try:
            await self._master.stat(checked_path(path), may_be_old=True)
        except (NotFound, NotADirectory):
            return False
        return True

    async def list(self, path: Path, *, recursive: bool = False) -> Statuses:
        """The entries of a directory, or all descendants, in path order, with exact lengths.

        Raises NotFound, NotADirectory, InvalidRequest.
        """
        return [status async for status in self.scan(path, recursive=recursive)]

    async def scan(self, path: Path, *, recursive: bool = False) -> AsyncIterator[FileStatus]:
        """Like `list`, for trees too large to hold in memory, in pages."""
        path, after, is_last = checked_path(path), "", False
        while not is_last:
            request = ListRequest(path=path, recursive=recursive, after=after, limit=self.settings.list_entries)
            reply = await self._master.ask(self._master.reading_stub.List, request)
            for status in await self._lengths.settle(reply.entries):
                yield status
            is_last = reply.is_last or not reply.entries
            after = "" if is_last else reply.entries[-1].path

    async def walk(self, path: Path) -> AsyncIterator[tuple[str, Statuses, Statuses]]:
        """Every directory from `path` down: its path, its directories, its files; parents before children.

        The caller may remove directories from the list, and their trees are left out.
        """
        left = [checked_path(path)]
        while left:
            here = left.pop()
            entries = await self.list(here)
            directories = [entry for entry in entries if entry.is_directory]
            yield here, directories, [entry for entry in entries if not entry.is_directory]
            left.extend(entry.path for entry in reversed(directories))

    # Where things are.

    async def locations(self, path: Path) -> Chunks:
        """All chunks of a file with their replicas, as the master knows them now.

        Raises NotFound, IsADirectory, Conflict (it was replaced meanwhile).
        """
        chunks: Chunks = []
        file = FileIdentity(checked_path(path), 0)
        while True:
            reply = await self._master.find_locations(
                file, len(chunks), self.settings.locations_at_once, may_be_old=True
            )
            file = identity_of(reply.file)  # The next answer is to be about the same file.
            new = [chunk for chunk in reply.chunks if chunk.index >= len(chunks)]
            chunks.extend(sorted(new, key=lambda chunk: chunk.index))
            if not new or len(chunks) >= reply.file.chunk_count:
                return chunks

    async def cluster_status(self, *, chunks: bool = False, path: Path = "/") -> ClusterStatus:
        """The master's view of the whole cluster; with `chunks`, of every chunk of the file at `path`, or of all files
        below it. Raises InvalidRequest."""
        request = ClusterStatusRequest(chunks=chunks, path=checked_path(path))
        return await self._master.ask(self._master.reading_stub.GetClusterStatus, request)

    async def admit_replica(self, handle: int, server: str, *, force: bool = False) -> int:
        """Let a chunk without a current replica continue with one that was put aside; returns its new version.

        For operators. Raises NotFound (no such chunk or replica), Conflict (it is not needed; or, without `force`, a
        better replica may come back), TimedOut (definite only if no try has left).
        """
        request = AdmitReplicaRequest(handle=handle, server=server, force=force)
        return (await self._master.change(self._master.stub.AdmitReplica, request)).version

    async def verify_chunk(self, handle: int, server: str = "") -> Verified:
        """Have the replicas of a chunk read now, or the one on a server: compared with their checksums, and described
        by a digest each. The lease of a chunk whose replicas differ is taken back, to look again without a writer.

        For operators. Raises NotFound (no such chunk, or no replica of it there), Unavailable, TimedOut.
        """
        request = VerifyChunkRequest(handle=handle, server=server)
        patience = Patience(self._world, self.settings, self.settings.verify_seconds)
        ask = self._master.ask(
            self._master.stub.VerifyChunk, request, patience=patience, call_seconds=self.settings.verify_seconds
        )
        return list((await ask).replicas)

    # Whole files.

    async def read_file(self, path: Path) -> bytes:
        """A whole file, in memory. Raises NotFound, IsADirectory, Unavailable, Corrupted.

        If the file is replaced meanwhile, the new one is read, from its first byte.
        """
        parts: list[bytes] = []

        async def keep(piece: memoryview) -> None:
            parts.append(bytes(piece))

        def begin_again() -> bool:
            parts.clear()
            return True

        await self._read_whole(checked_path(path), keep, begin_again)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_file_into(self, path: Path, sink: Sink) -> int:
        """Hand a whole file to `sink`, piece by piece in order; returns the bytes. Memory is bounded.

        Each piece may be used until `sink` returns, while the next ones are already under way. Raises as `read_file`,
        and Conflict or NotFound if the file is replaced or deleted after `sink` was given something.
        """
        handed_out = False

        async def hand_out(piece: memoryview) -> None:
            nonlocal handed_out
            handed_out = True
            await sink(piece)

        return await self._read_whole(checked_path(path), hand_out, lambda: not handed_out)

    async def _read_whole(self, path: str, sink: Sink, begin_again: Callable[[], bool]) -> int:
        patience = Patience(self._world, self.settings, self.settings.patience_seconds)
        while True:
            since = self._reader.questions
            info = must_be_file(await self._reader.open(path, may_be_old=True))
            stream = PieceStream(
                self._reader, self.settings, identity_of(info), 0, FileFacts(info, since + 1), since=since
            )
            try:
                while piece := await stream.next():
                    await sink(piece)
                return stream.position
            except (Conflict, NotFound) as error:
                if patience.over() or not begin_again():
                    raise
                self._world.events.emit(ReadBegunAgain(path=path, reason=error.message))
            finally:
                await stream.close()
            await patience.pause()

    async def write_file(self, path: Path, data: Buffer, *, overwrite: bool = False, replication_goal: int = 0) -> None:
        """Write a whole file. Raises AlreadyExists, NotFound (the directory), NoSpace, MutationFailed, TimedOut.

        A file that fits in one mutation takes two calls: it is created with its first chunk, and written; files that
        are created at the same time share the first. It is empty or whole at any moment, and gone if the write fails;
        that failure is indefinite, as others may have seen the file. A larger one is written as by `open(path, "wb")`:
        a reader could find its first chunk without the next.
        """
        path, size = checked_path(path), checked_bytes(data).nbytes
        if overwrite or size > min(self.settings.write_piece_bytes, self._chunk_bytes):
            async with await self.open(path, "wb", overwrite=overwrite, replication_goal=replication_goal) as file:
                await file.write(data)
            return
        info, holder = await self._create_to_write(path, replication_goal, size)
        file = self._created(path, "xb", info)
        if holder is not None:
            self._writer.holders.remember(identity_of(info), holder)
        try:
            async with file:
                await file.write(data)
        except TabletopError as error:
            error.definite = False
            raise

    async def write_file_from(
        self, path: Path, source: Source, *, overwrite: bool = False, replication_goal: int = 0
    ) -> int:
        """Write a whole file from `source`, which fills the buffers it is handed until it returns 0; returns the bytes.

        Memory is bounded. Raises as `write_file`, and what `source` raises; nothing is left behind then.
        """
        async with await self.open(path, "wb", overwrite=overwrite, replication_goal=replication_goal) as file:
            return await file.write_from(source)

    # Records.

    async def record_append(self, path: Path, data: Buffer) -> int:
        """Append a record to a file at an offset that the file system chooses; returns that offset (GFS 3.3).

        Any number of clients may append to one file at once, and to files of many chunks. A record has at most a
        quarter of a chunk. It is in the file at least once, whole, at the offset that is returned; between the records
        there may be padding, and what tries that failed have left. `gfs.records` writes records that a reader can tell
        from these. The file must exist. Raises as `RecordAppender.append`, and IsADirectory.
        """
        return await self._appender.append_at(checked_path(path), checked_bytes(data))

    # Open files.

    async def open(
        self, path: Path, mode: FileMode = "rb", *, overwrite: bool = False, replication_goal: int = 0
    ) -> File:
        """Open a file; `gfs.file` tells what the modes mean. `overwrite` lets "wb" replace an existing file at its end.

        Raises NotFound, AlreadyExists, IsADirectory, NotADirectory, InvalidRequest.
        """
        path = checked_path(path)
        if mode not in get_args(FileMode):
            raise InvalidRequest(f"mode {mode!r} for {path}: expected one of {', '.join(get_args(FileMode))}")
        if mode == "wb":
            return await self._open_passing(path, overwrite, replication_goal)
        if mode == "xb":
            info, _ = await self._create_to_write(path, replication_goal, 0)
            return self._created(path, mode, info)
        if mode == "ab":
            return await self._open_to_append(path, replication_goal)
        return self._opened(path, mode, must_be_file(await self._reader.open(path, may_be_old=mode == "rb")))

    async def _open_to_append(self, path: str, replication_goal: int) -> File:
        patience = Patience(self._world, self.settings, self.settings.patience_seconds)
        while True:
            try:
                info = must_be_file(await self._reader.open(path))
                return self._opened(path, "ab", info, position=await self._measure(identity_of(info)))
            except (NotFound, Conflict):
                if patience.over():
                    raise
            try:
                return self._created(path, "ab", await self._create(path, replication_goal))
            except AlreadyExists:
                await patience.pause()  # Somebody else was quicker: it is there now.

    async def _open_passing(self, path: str, overwrite: bool, replication_goal: int) -> File:
        """Write under a name of our own in the same directory; renaming is atomic (GFS 2.7.2)."""
        try:
            there = await self._master.stat(path)
        except NotFound:
            pass
        else:
            must_be_file(there)
            if not overwrite:
                raise AlreadyExists(f"{path} exists; remove it first, or ask for overwriting")
        directory = path.rpartition("/")[0]
        passing = f"{directory}/{WRITING_PREFIX}{self._world.random.getrandbits(64):016x}"
        try:
            info = await self._create(passing, replication_goal)
        except BaseException as error:
            if not isinstance(error, TabletopError) or not error.definite:
                # It may be there. Nobody else draws this name, so that whatever is under it is ours.
                await self._discard(FileIdentity(passing, 0))
            raise

        async def keep() -> None:
            await self.rename(passing, path, replace=overwrite, file_id=info.file_id)

        async def discard() -> bool:
            return await self._discard(identity_of(info))

        return self._opened(path, "wb", info, keep=keep, discard=discard)

    def _created(self, path: str, mode: FileMode, info: FileInfo) -> File:
        async def discard() -> bool:
            return mode != "xb" or await self._discard(identity_of(info))

        return self._opened(path, mode, info, discard=discard)

    def _opened(
        self,
        path: str,
        mode: FileMode,
        info: FileInfo,
        *,
        keep: Callable[[], Awaitable[None]] | None = None,
        discard: Callable[[], Awaitable[bool]] | None = None,
        position: int = 0,
    ) -> File:
        stored = identity_of(info)
        self._chunk_bytes = info.chunk_bytes
        number = self._files_opened = self._files_opened + 1

        def let_go() -> None:
            self._open_files.pop(number, None)
            self._writer.holders.forget(stored)

        async def keep_and_let_go() -> None:
            if keep is not None:
                await keep()
            let_go()

        async def discard_and_let_go() -> bool:
            let_go()
            return discard is None or await discard()

        file = File(
            path,
            mode,
            self.settings,
            stored=stored,
            chunk_bytes=info.chunk_bytes,
            reader=self._reader,
            behind=None if mode == "rb" else self._behind(info),
            ending=Ending(keep_and_let_go, discard_and_let_go),
            measure=self._measure,
            append=lambda record: self._appender.append(info, record),
            position=position,
        )
        if file.writable:
            self._open_files[number] = file
        return file

    def _behind(self, info: FileInfo) -> WriteBehind:
        return WriteBehind(
            self._writer,
            self.settings,
            identity_of(info),
            chunk_bytes=info.chunk_bytes,
            chunk_count=info.chunk_count,
        )

    async def _measure(self, file: FileIdentity) -> int:
        """The exact length of an open file. Raises NotFound, Conflict (another file), and Unavailable after the
        patience."""
        patience = Patience(self._world, self.settings, self.settings.patience_seconds)
        while True:
            info = (await self._master.find_locations(file, 0, 0, patience)).file
            [status] = await self._lengths.settle([info], patience)
            if status.length_is_exact:
                return status.length
            await patience.pause()
            if patience.over():
                raise Unavailable(
                    f"the length of {file.path} is not known: no replica of one of its last chunks answered within "
                    f"{patience.seconds:g} seconds; see `tabletop status`",
                    definite=True,
                )

    async def _create(self, path: str, replication_goal: int) -> FileInfo:
        return await self._master.create(self._create_request(path, replication_goal))

    async def _create_to_write(
        self, path: str, replication_goal: int, size: int
    ) -> tuple[FileInfo, LeaseHolder | None]:
        """A file for so many bytes, with its first chunk if there are any. Who is cancelled leaves nothing."""
        making = asyncio.ensure_future(self._created_for(path, replication_goal, size))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            # It may be made yet. A second cancellation does not stop its removal.
            await asyncio.shield(asyncio.ensure_future(self._discard_when_made(path, making)))
            raise

    async def _created_for(self, path: str, replication_goal: int, size: int) -> tuple[FileInfo, LeaseHolder | None]:
        if size == 0:
            return await self._create(path, replication_goal), None
        return await self._master.create_with_chunk(self._create_request(path, replication_goal))

    async def _discard_when_made(
        self, path: str, making: "asyncio.Future[tuple[FileInfo, LeaseHolder | None]]"
    ) -> None:
        """Nobody waits for this creation any more: remove what it makes, if that is known soon."""
        await asyncio.wait([making], timeout=DISCARD_SECONDS)
        if not making.done():
            making.cancel()
            self._world.events.emit(LeftBehind(path=path, reason="whether it was made is not known"))
        elif making.exception() is None:
            await self._discard(identity_of(making.result()[0]))

    def _create_request(self, path: str, replication_goal: int) -> CreateRequest:
        checked_goal(replication_goal, least=0)
        self._forget_tree(path)
        return CreateRequest(path=path, replication_goal=replication_goal)

    async def _delete(
        self,
        path: str,
        *,
        recursive: bool = False,
        immediately: bool = False,
        file_id: int = 0,
        patience: Patience | None = None,
    ) -> int:
        self._forget_tree(path)
        request = DeleteRequest(path=path, recursive=recursive, immediately=immediately, file_id=file_id)
        return (await self._master.change(self._master.stub.Delete, request, patience=patience)).files

    async def _discard(self, file: FileIdentity) -> bool:
        """Remove what a failed write leaves, as far as that is possible now; returns whether nothing is left of it.

        Only the file that the write had created: another one under its name belongs to somebody else.
        """
        patience = Patience(self._world, self.settings, DISCARD_SECONDS)
        try:
            await self._delete(file.path, immediately=True, file_id=file.file_id, patience=patience)
        except (NotFound, NotADirectory, Conflict):
            return True
        except TabletopError as error:
            self._world.events.emit(LeftBehind(path=file.path, reason=error.message))
            return False
        return True

    def _forget_tree(self, path: str) -> None:
        self._reader.locations.forget_tree(path)
        self._writer.holders.forget_tree(path)
        self._appender.forget_tree(path)


async def _nothing() -> None:
    """The ending of a file that needs none."""
