"""Clients whose calls go into a history: what was asked, when, and what was answered.

A recorded client has the calls of `gfs.client.Client` that applications use, and each is one operation of the history.
Whoever has nothing special to write gives a number instead of bytes, and gets bytes that say which operation wrote
them: then the judge of contents can name the operation whose bytes it sees where others should be.

Which file a call was about is decided by the file's id, which the master gives it and never uses again. Who created the
file of an id is found out at the end (facts.py): the client that gave up a creation does not know whether it happened,
and the master has recorded it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from cluster.swarm.appends import frame_of
from cluster.swarm.history import Answer, History, Kind, Operation, Seen, stamp
from gfs.client import Client
from gfs.file import File, FileMode
from gfs.reading.lengths import FileStatus
from gfs.records.frames import decode_record
from runtime.errors import InvalidRequest, TabletopError
from runtime.events import because

T = TypeVar("T")

Statuses = list[FileStatus]
CAUSE = "operation-"
"""What the calls of an operation are recorded with as their cause, followed by its number."""


@dataclass(slots=True)
class Notebook:
    """What all recorded clients of one run write down. `now` is the true time in seconds since the run began.

    `opened` and `shown` are the ids of the files that operations opened or saw; `creators` says which operation created
    the file of an id, as far as its client was told."""

    now: Callable[[], float]
    history: History = field(default_factory=History)
    creators: dict[int, int] = field(default_factory=dict)
    opened: dict[int, int] = field(default_factory=dict)
    shown: dict[int, tuple[int, ...]] = field(default_factory=dict)


class RecordedClient:
    """One client, by the name of its node."""

    def __init__(self, name: str, client: Client, notebook: Notebook, *, is_final: bool = False) -> None:
        self.name = name
        self._client = client
        self._notebook = notebook
        self._is_final = is_final
        self._appending: dict[str, RecordedFile] = {}

    # Names.

    async def create(self, path: str) -> FileStatus:
        """As `Client.create`: an empty file."""

        async def work(operation: Operation) -> FileStatus:
            status = await self._client.create(path)
            self._notebook.creators[status.file_id] = operation.number
            self._show(operation, [status])
            return status

        return await self.note(Kind.CREATE, work, path=path)

    async def make_directory(self, path: str, *, parents: bool = False) -> None:
        """As `Client.make_directory`."""
        await self.note(
            Kind.MAKE_DIRECTORY,
            lambda _: self._client.make_directory(path, parents=parents),
            path=path,
            parents=parents,
        )

    async def rename(self, source: str, target: str, *, replace: bool = False) -> None:
        """As `Client.rename`."""
        await self.note(
            Kind.RENAME,
            lambda _: self._client.rename(source, target, replace=replace),
            path=source,
            target=target,
            replace=replace,
        )

    async def delete(self, path: str, *, recursive: bool = False, immediately: bool = False) -> int:
        """As `Client.delete`."""

        async def work(operation: Operation) -> int:
            operation.count = await self._client.delete(path, recursive=recursive, immediately=immediately)
            return operation.count

        return await self.note(Kind.DELETE, work, path=path, recursive=recursive, immediately=immediately)

    async def stat(self, path: str) -> FileStatus:
        """As `Client.stat`."""

        async def work(operation: Operation) -> FileStatus:
            status = await self._client.stat(path)
            self._show(operation, [status])
            return status

        return await self.note(Kind.STAT, work, path=path)

    async def list(self, path: str, *, recursive: bool = False) -> Statuses:
        """As `Client.list`."""

        async def work(operation: Operation) -> Statuses:
            found = await self._client.list(path, recursive=recursive)
            self._show(operation, found)
            return found

        return await self.note(Kind.LIST, work, path=path, recursive=recursive)

    # Contents.

    async def write_file(self, path: str, data: bytes | int, *, overwrite: bool = False) -> bytes:
        """As `Client.write_file`, with these bytes or with so many that are made up; returns what was written."""

        async def work(operation: Operation) -> bytes:
            written = _given(operation, data)
            await self._client.write_file(path, written, overwrite=overwrite)
            return written

        return await self.note(Kind.WRITE_FILE, work, path=path, replace=overwrite, **_of(data))

    async def read_file(self, path: str) -> bytes:
        """As `Client.read_file`."""

        async def work(operation: Operation) -> bytes:
            operation.data = await self._client.read_file(path)
            return operation.data

        return await self.note(Kind.READ_FILE, work, path=path)

    async def append_record(self, path: str, payload: bytes | int) -> int:
        """Append a record to a file, which is made if there is none; returns the offset at which it is (GFS 3.3).

        The first record opens the file, and the run closes it. `gfs.records.RecordReader` reads the payloads."""
        file = self._appending.get(path)
        if file is None:
            file = self._appending[path] = await self.open(path, "ab")
        return await file.append_record(payload)

    async def open(self, path: str, mode: FileMode = "rb", *, overwrite: bool = False) -> "RecordedFile":
        """As `Client.open`."""

        async def work(operation: Operation) -> RecordedFile:
            file = await self._client.open(path, mode, overwrite=overwrite)
            self._notebook.opened[operation.number] = file.file_id
            if mode in ("wb", "xb"):
                self._notebook.creators[file.file_id] = operation.number
            operation.offset = file.tell()
            return RecordedFile(self, file, path, operation.number)

        return await self.note(Kind.OPEN, work, path=path, mode=mode, replace=overwrite)

    async def close(self) -> None:
        """Close the files to which records were appended. Whatever fails is in the history."""
        files, self._appending = list(self._appending.values()), {}
        for file in files:
            try:
                await file.close()
            except TabletopError:
                continue

    # Noting.

    async def note(self, kind: Kind, work: Callable[[Operation], Awaitable[T]], **facts: object) -> T:
        """Do it as one operation of the history. Raises what it raises."""
        notebook = self._notebook
        operation = notebook.history.new(self.name, kind, notebook.now(), **facts)
        operation.is_final = self._is_final
        try:
            with because(f"{CAUSE}{operation.number}"):
                found = await work(operation)
        except TabletopError as error:
            operation.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
            operation.error, operation.message = type(error).__name__, error.message
            raise
        except asyncio.CancelledError:
            operation.answer, operation.error = Answer.DOUBTFUL, "GivenUp"
            operation.message, operation.is_given_up = "its caller gave it up", True
            raise
        except BaseException as error:
            operation.answer = Answer.DOUBTFUL
            operation.error, operation.message = type(error).__name__, str(error)
            raise
        else:
            operation.answer = Answer.VALUE
        finally:
            operation.responded = notebook.now()
        return found

    def _show(self, operation: Operation, found: Statuses) -> None:
        operation.seen = tuple(
            Seen(one.path, one.is_directory, 0, one.length, one.length_is_exact, one.replication_goal) for one in found
        )
        self._notebook.shown[operation.number] = tuple(one.file_id for one in found)


class RecordedFile:
    """A file that a recorded client has opened."""

    def __init__(self, client: RecordedClient, file: File, path: str, opened_by: int) -> None:
        self._client = client
        self._file = file
        self._path = path
        self._opened_by = opened_by

    async def __aenter__(self) -> "RecordedFile":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self.abandon()

    def tell(self) -> int:
        """The position of `write`."""
        return self._file.tell()

    async def pread(self, offset: int, count: int) -> bytes:
        """As `File.pread`: bytes from a place."""

        async def work(operation: Operation) -> bytes:
            operation.data = await self._file.pread(offset, count)
            return operation.data

        return await self._note(Kind.READ, work, offset=offset, count=count)

    async def pwrite(self, offset: int, data: bytes | int) -> bytes:
        """As `File.pwrite`: bytes at a place; returns what was written when every replica has applied it."""

        async def work(operation: Operation) -> bytes:
            written = _given(operation, data)
            await self._file.pwrite(offset, written)
            return written

        return await self._note(Kind.WRITE, work, offset=offset, **_of(data))

    async def write(self, data: bytes | int) -> bytes:
        """As `File.write` and `File.flush`: bytes at the position; returns what was written when every replica has
        applied it."""

        async def work(operation: Operation) -> bytes:
            written = _given(operation, data)
            await self._file.write(written)
            operation.is_taken = True
            await self._file.flush()
            return written

        return await self._note(Kind.APPEND, work, offset=self._file.tell(), **_of(data))

    async def append_record(self, payload: bytes | int) -> int:
        """Append a record; returns the offset at which it is on every replica (GFS 3.3)."""

        async def work(operation: Operation) -> int:
            frame = frame_of(operation.number, operation.count, operation.data)
            operation.offset = await self._file.record_append(frame)
            return operation.offset

        return await self._note(Kind.RECORD_APPEND, work, **_of(payload))

    async def close(self) -> None:
        """As `File.close`."""
        if not self._file.closed:
            await self._note(Kind.CLOSE, lambda _: self._file.close())

    async def abandon(self) -> None:
        """As `File.abandon`."""
        if not self._file.closed:
            await self._note(Kind.ABANDON, lambda _: self._file.abandon())

    async def _note(self, kind: Kind, work: Callable[[Operation], Awaitable[T]], **facts: object) -> T:
        return await self._client.note(kind, work, path=self._path, handle=self._opened_by, **facts)


def payload_of(data: bytes, offset: int) -> bytes:
    """The payload of the record that a recorded client appended at this offset of a file's content; b"" if none is
    there."""
    found = decode_record(data, offset)
    return b"" if found is None else found[2]


def _of(data: bytes | int) -> dict[str, object]:
    """What an operation that writes notes of what it was given. Raises InvalidRequest."""
    if isinstance(data, int):
        if data < 0:
            raise InvalidRequest(f"{data} bytes to write: expected 0 or more")
        return {"count": data}
    return {"count": len(data), "data": bytes(data)}


def _given(operation: Operation, data: bytes | int) -> bytes:
    """The bytes to write."""
    return stamp(operation.number, 0, data) if isinstance(data, int) else bytes(data)
