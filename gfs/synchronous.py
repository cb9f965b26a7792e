"""The synchronous face: the same client for programs that know nothing of asyncio.

    import gfs
    with gfs.connect() as fs:
        with fs.open("/notes", "wb") as file:
            file.write(b"the chunk is 64 MB")
        print(fs.read_file("/notes"))

The idea: one background thread runs an event loop with a world and a `Client`; each method hands its coroutine over and
waits for the result. Files are `io.RawIOBase`, so that `shutil.copyfileobj`, `io.BufferedReader`, `io.TextIOWrapper`,
`tarfile`, `pickle` and whatever else reads or writes files can work with them. They need no buffering for speed: reads
are ahead and writes behind anyway. Threads may share a file system, and an open file too: its calls come one after the
other.

Invariants:
1. After `close`, no thread, no task and no connection is left.
2. An interrupted wait (Ctrl-C) cancels what it waited for before the KeyboardInterrupt goes on.
3. In the child of a fork (`multiprocessing` starts its processes so on Linux before Python 3.14) there is no background
   thread, and gRPC, once the parent has used it, waits for ever: every operation and every new connection raises
   Conflict at once, and closing does nothing. The parent's connections are not touched.

This module belongs to the real world alone: it is the only one of this room that knows threads.
"""

import asyncio
import concurrent.futures
import io
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from gfs.client import Client
from gfs.file import File, FileMode
from gfs.names.arguments import Path
from gfs.reading.lengths import FileStatus
from gfs.records import Appended, Record, RecordReader, RecordWriter
from gfs.settings import ClientSettings
from runtime.errors import Conflict, InvalidRequest, Unavailable
from runtime.events import Record as EventRecord
from runtime.real.world import RealWorld
from runtime.wire.common_pb2 import ChunkLocations
from runtime.wire.master_pb2 import ClusterStatus
from runtime.world import Buffer

T = TypeVar("T")
STOP_SECONDS = 10.0
MOST_RECORD_WRITERS = 1000
Statuses = list[FileStatus]
Chunks = list[ChunkLocations]


FORKED = (
    "this process was forked from one that had connected to a cluster, and gRPC does not survive that; start it with "
    'multiprocessing.get_context("spawn"), and call gfs.connect() in it'
)
_connected_in = 0
"""The process in which a connection was first made; a forked child has its parent's."""


def _refuse_after_a_fork() -> None:
    global _connected_in
    _connected_in = _connected_in or os.getpid()
    if _connected_in != os.getpid():
        raise Conflict(FORKED)


class _Unrecorded:
    """A client's own events go nowhere: an application's memory is not ours to fill."""

    def write(self, record: EventRecord) -> None:
        """Forget the record."""


class BackgroundLoop:
    """An event loop in a thread of its own, which ends with `stop` or with the program."""

    def __init__(self) -> None:
        self._process_id = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gfs client", daemon=True)
        self._thread.start()

    @property
    def is_of_another_process(self) -> bool:
        """Whether this process was forked from the one that the loop belongs to."""
        return os.getpid() != self._process_id

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and wait for it. If the wait is interrupted, `work` is cancelled first.

        Raises InvalidRequest after the end, and Conflict in the child of a fork.
        """
        if self.is_of_another_process:
            work.close()
            raise Conflict(FORKED)
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise InvalidRequest("this file system is closed; connect again")
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(lambda task: _hand_over(task, outcome))

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:
                work.close()
                outcome.cancel()

        try:
            # Within the try: the interrupt may come as soon as the other thread has begun.
            self._loop.call_soon_threadsafe(begin)
            return outcome.result()
        finally:
            if not outcome.done():
                self._loop.call_soon_threadsafe(cancel)
                concurrent.futures.wait([outcome], STOP_SECONDS)

    def stop(self) -> None:
        """Cancel what still runs, end the loop, and wait for its thread."""
        if not self.is_of_another_process and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


class FileSystem:
    """One program's access to one cluster; any number of threads may share it. Raises the errors of `gfs`."""

    def __init__(
        self,
        master_address: str,
        token: str,
        *,
        cluster: str = "",
        settings: ClientSettings | None = None,
        master_gone: Callable[[], Unavailable | None] | None = None,
    ) -> None:
        _refuse_after_a_fork()
        self.cluster = cluster
        self.master_address = master_address
        self._token = token
        self._settings = settings
        self._master_gone = master_gone
        self._record_writers: dict[str, RecordWriter] = {}
        self._background = BackgroundLoop()
        self._stop_at_exit = weakref.finalize(self, BackgroundLoop.stop, self._background)
        self._world, self._client = self._background.call(self._start())

    def __repr__(self) -> str:
        return f"<gfs.FileSystem {self.cluster or 'cluster'} at {self.master_address}>"

    def __enter__(self) -> "FileSystem":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Abandon the files that are still open and let go of everything. Closing twice is harmless."""
        if self._background.is_of_another_process:
            self._stop_at_exit.detach()
        elif self._stop_at_exit.alive:
            try:
                self._background.call(self._end())
            finally:
                self._stop_at_exit()

    def run(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine over the asynchronous client, for what this face does not have."""
        return self._background.call(work(self._client))

    def open(
        self,
        path: Path,
        mode: FileMode = "rb",
        *,
        overwrite: bool = False,
        replication_goal: int = 0,
    ) -> "RawFile":
        """Open a file: "rb", "wb", "xb", "ab" or "r+b", as in `gfs.file`. Raises as `Client.open`."""
        opening = self._client.open(path, mode, overwrite=overwrite, replication_goal=replication_goal)
        return RawFile(self._background, self._background.call(opening))

    def create(self, path: Path, *, replication_goal: int = 0) -> FileStatus:
        """Create an empty file. Raises as `Client.create`."""
        return self._background.call(self._client.create(path, replication_goal=replication_goal))

    def make_directory(self, path: Path, *, parents: bool = False) -> None:
        """Create a directory. Raises as `Client.make_directory`."""
        self._background.call(self._client.make_directory(path, parents=parents))

    def delete(self, path: Path, *, recursive: bool = False, immediately: bool = False, file_id: int = 0) -> int:
        """Delete a file or directory; returns the number of files. Raises as `Client.delete`."""
        deleting = self._client.delete(path, recursive=recursive, immediately=immediately, file_id=file_id)
        return self._background.call(deleting)

    def rename(self, source: Path, target: Path, *, replace: bool = False, file_id: int = 0) -> None:
        """Give a file or directory another name. Raises as `Client.rename`."""
        self._background.call(self._client.rename(source, target, replace=replace, file_id=file_id))

    def snapshot(self, source: Path, target: Path, *, file_id: int = 0) -> int:
        """Make a second copy of a file or a directory, at once; returns the number of files. Raises as
        `Client.snapshot`."""
        return self._background.call(self._client.snapshot(source, target, file_id=file_id))

    def set_replication(self, path: Path, replication_goal: int, *, file_id: int = 0) -> int:
        """Give a file another number of replicas; returns the one before. Raises as `Client.set_replication`."""
        return self._background.call(self._client.set_replication(path, replication_goal, file_id=file_id))

    def stat(self, path: Path) -> FileStatus:
        """What there is under a name. Raises as `Client.stat`."""
        return self._background.call(self._client.stat(path))

    def exists(self, path: Path) -> bool:
        """Whether there is a file or directory of this name."""
        return self._background.call(self._client.exists(path))

    def list(self, path: Path = "/", *, recursive: bool = False) -> Statuses:
        """The entries of a directory, or all descendants. Raises as `Client.list`."""
        return self._background.call(self._client.list(path, recursive=recursive))

    def walk(self, path: Path = "/") -> Iterator[tuple[str, Statuses, Statuses]]:
        """Every directory from `path` down, as `os.walk`. Raises as `Client.list`."""
        steps = self._client.walk(path)

        async def next_step() -> tuple[str, Statuses, Statuses] | None:
            return await anext(steps, None)

        while (step := self._background.call(next_step())) is not None:
            yield step

    def read_file(self, path: Path) -> bytes:
        """A whole file. Raises as `Client.read_file`."""
        return self._background.call(self._client.read_file(path))

    def write_file(self, path: Path, data: Buffer, *, overwrite: bool = False, replication_goal: int = 0) -> None:
        """Write a whole file. Raises as `Client.write_file`."""
        writing = self._client.write_file(path, data, overwrite=overwrite, replication_goal=replication_goal)
        self._background.call(writing)

    def record_append(self, path: Path, data: Buffer) -> int:
        """Append a record; returns its offset. As `Client.record_append` (GFS 3.3)."""
        return self._background.call(self._client.record_append(path, data))

    def append_record(self, path: Path, payload: Buffer) -> Appended:
        """Append a record that `records` tells from padding, remains and copies. As `gfs.records.RecordWriter`."""
        return self._background.call(self._record_writer(path).append(payload))

    def records(self, path: Path, *, position: int = 0) -> Iterator[Record]:
        """The records of a file, each once, to its end. As `gfs.records.RecordReader`."""
        reader = RecordReader(self._client, path, position=position)
        while (batch := self._background.call(reader.batch())) is not None:
            yield from batch
        yield from reader.rest()
        self._background.call(reader.close())

    def download(self, path: Path, target: BinaryIO) -> int:
        """Write a whole file of the cluster to an open local file; returns the bytes. Memory is bounded."""

        _require_local_file(target, method="write")

        async def sink(piece: memoryview) -> None:
            await self._world.in_background(lambda: target.write(piece))

        return self._background.call(self._client.read_file_into(path, sink))

    def upload(self, source: BinaryIO, path: Path, *, overwrite: bool = False, replication_goal: int = 0) -> int:
        """Write an open local file to the cluster; returns the bytes. Memory is bounded, and nothing is left behind if
        it fails. Raises as `Client.write_file`."""

        _require_local_file(source, method="read")

        async def fill(buffer: memoryview) -> int:
            return await self._world.in_background(lambda: _read_into(source, buffer))

        uploading = self._client.write_file_from(path, fill, overwrite=overwrite, replication_goal=replication_goal)
        return self._background.call(uploading)

    def locations(self, path: Path) -> Chunks:
        """All chunks of a file with their replicas. Raises as `Client.locations`."""
        return self._background.call(self._client.locations(path))

    def cluster_status(self, *, chunks: bool = False, path: Path = "/") -> ClusterStatus:
        """The master's view of the whole cluster. As `Client.cluster_status`."""
        return self._background.call(self._client.cluster_status(chunks=chunks, path=path))

    def _record_writer(self, path: Path) -> RecordWriter:
        writer = RecordWriter(self._client, path)
        writer = self._record_writers.setdefault(writer.path, writer)
        if len(self._record_writers) > MOST_RECORD_WRITERS:
            del self._record_writers[next(iter(self._record_writers))]
        return writer

    async def _start(self) -> tuple[RealWorld, Client]:
        # A client keeps nothing on disk; its world has a folder like any other.
        world = RealWorld(node="client", root=tempfile.gettempdir(), token=self._token, sink=_Unrecorded())
        return world, Client(world, self.master_address, self._settings, master_gone=self._master_gone)

    async def _end(self) -> None:
        await self._client.close()
        await self._world.close()


class RawFile(io.RawIOBase):
    """A file of the cluster, as Python's own library knows files."""

    def __init__(self, background: BackgroundLoop, file: File) -> None:
        super().__init__()
        self._background = background
        self._file = file
        self.name = file.path
        self.mode = file.mode
        self.stored_path = file.stored_path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def readable(self) -> bool:
        """Whether the mode allows reading."""
        return self._file.readable

    def writable(self) -> bool:
        """Whether the mode allows writing."""
        return self._file.writable

    def seekable(self) -> bool:
        """Always: any position can be read or, except under "ab", written."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes: `size`, fewer only at the end; all that are left if it is negative."""
        return self._background.call(self._file.read(-1 if size is None else size))

    def readall(self) -> bytes:
        """All bytes that are left."""
        return self.read(-1)

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; returns the bytes read, fewer only at the end."""
        return self._background.call(self._file.readinto(memoryview(buffer).cast("B")))

    def write(self, data: Any, /) -> int:
        """Write at the position; the buffer may be reused at once. Returns the number of bytes."""
        return self._background.call(self._file.write(data))

    def pread(self, offset: int, count: int) -> bytes:
        """Bytes from `offset`, without moving the position."""
        return self._background.call(self._file.pread(offset, count))

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Write at `offset`, without moving the position; returns when every replica has applied it."""
        self._background.call(self._file.pwrite(offset, data))

    def record_append(self, data: Buffer) -> int:
        """Append a record at an offset that the file system chooses; returns it. As `File.record_append` (GFS 3.3)."""
        return self._background.call(self._file.record_append(data))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position; returns it."""
        return self._background.call(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def flush(self) -> None:
        """Return when every replica has applied everything written so far."""
        if not self._file.closed and self._file.writable:
            self._background.call(self._file.flush())

    def close(self) -> None:
        """Flush and, under "wb", take the final name. Closing twice is harmless."""
        if not self.closed:
            try:
                if not self._background.is_of_another_process:
                    self._background.call(self._file.close())
            finally:
                super().close()

    def abandon(self) -> None:
        """Close without keeping: under "wb" and "xb", nothing is left behind."""
        if not self.closed:
            try:
                if not self._background.is_of_another_process:
                    self._background.call(self._file.abandon())
            finally:
                super().close()

    def __del__(self) -> None:
        """A file that nobody closed is abandoned with its file system: half a file is not to be kept by accident."""


def _hand_over(task: asyncio.Task[T], outcome: concurrent.futures.Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(InvalidRequest("this file system was closed during the call; connect again"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _read_into(source: BinaryIO, buffer: memoryview) -> int:
    readinto = getattr(source, "readinto", None)
    if readinto is not None:
        return int(readinto(buffer) or 0)
    data = source.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)


def _require_local_file(file: Any, *, method: str) -> None:
    """An open local file of bytes, which has this method. Raises InvalidRequest for a path, or a file of text."""
    if isinstance(file, io.TextIOBase) or not callable(getattr(file, method, None)):
        mode = "rb" if method == "read" else "wb"
        raise InvalidRequest(
            f"a local file of type {type(file).__name__}: expected one that is open for bytes, as open(path, {mode!r}) "
            "returns it"
        )
