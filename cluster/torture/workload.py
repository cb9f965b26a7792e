"""One client of a torture run: what it asks for, what it is told, and what it then holds to be true.

Each client has a directory of its own, and files of its own in directories that all share. It does one thing after the
other and draws what to do from its own random numbers, so a seed fixes what it asks for as long as the answers are
the same.

A definite failure is taken at its word: nothing happened. An indefinite one leaves bytes or names in doubt. What is
neither an answer nor a typed failure within `PATIENCE_SECONDS` is a violation, as is a definite failure that no fault
explains: a file that exists is never "not found".
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from cluster.torture.contents import Contents
from cluster.torture.history import History, in_words, now
from cluster.torture.names import Names
from cluster.torture.payload import stamped
from cluster.torture.records import RECORDS, Ledger, most_payload_bytes
from gfs.client import WRITING_PREFIX, Client
from gfs.records import RecordWriter
from runtime.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    IncompatibleFormat,
    InternalError,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TabletopError,
    Unauthenticated,
)

SHARED = ("/shared-1", "/shared-2")
FILES = 12
# Longer than the longest patience of a client, so that a call without an end is told from a slow one.
PATIENCE_SECONDS = 240.0
# No fault explains these, if they are definite and the model expects success.
UNEXPLAINED = (
    AlreadyExists,
    DirectoryNotEmpty,
    IncompatibleFormat,
    InternalError,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    Unauthenticated,
)


class Worker:
    """One client and its model."""

    def __init__(self, name: str, client: Client, seed: str, chunk_bytes: int, history: History) -> None:
        self.name = name
        self.client = client
        self.names = Names()
        self.home = f"/{name}"
        self._writer = RecordWriter(client, RECORDS)
        self.ledger = Ledger(self._writer.writer)
        self._random = random.Random(seed)
        self._chunk_bytes = chunk_bytes
        self._history = history
        self._operations = 0
        self._files_made = 0

    async def prepare(self) -> None:
        """Make the client's own directory."""
        await self.client.make_directory(self.home)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; the operation that is under way then is finished."""
        while not stopping.is_set():
            await self.step()

    async def step(self) -> None:
        """Do one thing."""
        self._operations += 1
        if len(self.names.files) < 3:
            await self._create()
            return
        choices: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (10 if len(self.names.files) < FILES else 0, self._create),
            (25, self._overwrite),
            (15, self._append),
            (15, self._append_record),
            (2, self._write_beyond_the_end),
            (8, self._replace),
            (8, self._rename),
            (7, self._delete),
            (6 if len(self.names.files) < FILES else 0, self._snapshot),
            (13, self._read_part),
            (8, self._read_whole),
            (4, self._list),
        ]
        weights = [weight for weight, _ in choices]
        await self._random.choices([work for _, work in choices], weights)[0]()

    # Changes.

    async def _create(self) -> None:
        path, data = self._new_path(), self._data(0, self._size())
        error = await self._tried(f"create {path} with {len(data)} bytes", self.client.write_file(path, data))
        if error is None:
            self.names.put(path, Contents(data))
        elif error.definite:
            # Certainly no byte was written. The empty file may be left if its removal failed too.
            self.names.doubt(f"create {path}", {path: None}, {path: Contents()})
        else:
            partly = Contents()
            partly.doubt(0, data, now=now())
            self.names.doubt(f"create {path}", {path: None}, {path: partly})

    async def _overwrite(self) -> None:
        path = self._path()
        length = self.names.files[path].length
        await self._write(path, self._random.randrange(length) if length else 0)

    async def _write_beyond_the_end(self) -> None:
        path = self._path()
        await self._write(path, self.names.files[path].longest + self._random.randrange(1, self._chunk_bytes))

    async def _write(self, path: str, offset: int) -> None:
        data, contents, asked = self._data(offset, self._size()), self.names.files[path], now()

        async def write() -> None:
            async with await self.client.open(path, "r+b") as file:
                await file.pwrite(offset, data)

        error = await self._tried(f"write {len(data)} bytes at {offset} of {path}", write())
        if error is None:
            contents.write(offset, data, asked=asked)
        elif not error.definite:
            contents.doubt(offset, data, now=now())

    async def _append(self) -> None:
        path, size, asked = self._path(), self._size(), now()
        contents = self.names.files[path]
        begun: list[tuple[int, bytes]] = []

        async def append() -> None:
            async with await self.client.open(path, "ab") as file:
                offset = file.tell()
                if not contents.length <= offset <= contents.longest:
                    self._history.violation(
                        f"{self.name}: the end of {path} is {offset}, expected {in_words(contents)}"
                    )
                begun.append((offset, self._data(offset, size)))
                await file.write(begun[0][1])

        error = await self._tried(f"append {size} bytes to {path}", append())
        if error is None:
            contents.write(*begun[0], asked=asked)
        elif not error.definite and begun:
            contents.doubt(*begun[0], now=now())

    async def _append_record(self) -> None:
        size = min(self._size(), most_payload_bytes(self._chunk_bytes))
        payload = self._data(0, size)
        number = self.ledger.begin(payload)

        async def append() -> None:
            self.ledger.acknowledge(await self._writer.append(payload))

        error = await self._tried(f"append a record of {size} bytes to {RECORDS}", append())
        if error is not None and error.definite:
            self.ledger.refused.add(number)

    async def _replace(self) -> None:
        path, data = self._path(), self._data(0, self._size())
        before, after = self.names.files[path], Contents(data)
        work = self.client.write_file(path, data, overwrite=True)
        error = await self._tried(f"replace {path} by {len(data)} bytes", work)
        if error is None:
            self.names.put(path, after)
        elif not error.definite:
            self.names.doubt(f"replace {path}", {path: before}, {path: after})

    async def _rename(self) -> None:
        source, target = self._path(), self._new_path()
        if len(self.names.files) > 1 and self._random.random() < 0.4:
            target = self._random.choice(sorted(path for path in self.names.files if path != source))
        moved, replaced = self.names.files[source], self.names.files.get(target)
        work = self.client.rename(source, target, replace=replaced is not None)
        error = await self._tried(f"rename {source} to {target}", work)
        if error is None:
            self.names.move(source, target)
        elif not error.definite:
            before, after = {source: moved, target: replaced}, {source: None, target: moved}
            self.names.doubt(f"rename {source} to {target}", before, after)

    async def _snapshot(self) -> None:
        source, target = self._path(), self._new_path()
        contents = self.names.files[source].copy()
        error = await self._tried(f"take a snapshot of {source} as {target}", self.client.snapshot(source, target))
        if error is None:
            self.names.put(target, contents)
        elif not error.definite:
            self.names.doubt(f"take a snapshot of {source} as {target}", {target: None}, {target: contents})

    async def _delete(self) -> None:
        path, immediately = self._path(), self._random.random() < 0.7
        before = self.names.files[path]
        work = self.client.delete(path, immediately=immediately)
        error = await self._tried(f"delete {path}{' at once' if immediately else ''}", work)
        if error is None:
            self.names.remove(path)
        elif not error.definite:
            self.names.doubt(f"delete {path}", {path: before}, {path: None})

    # Reads.

    async def _read_whole(self) -> None:
        await self.check_file(self._path())

    async def check_file(self, path: str) -> bool:
        """Compare a whole file; returns whether it could be read."""
        found: list[bytes] = []

        async def read() -> None:
            found.append(await self.client.read_file(path))

        if await self._tried(f"read {path}", read(), changes=False) is not None:
            return False
        self._judge(path, self.names.files[path].complaint(found[0]))
        return True

    async def write_over(self, path: str) -> bool:
        """Write every byte of a file anew, and remember that; returns whether it was acknowledged."""
        contents, asked = self.names.files[path], now()
        self._operations += 1
        data = self._data(0, contents.longest)

        async def write() -> None:
            async with await self.client.open(path, "r+b") as file:
                await file.pwrite(0, data)

        if await self._tried(f"write all {len(data)} bytes of {path}", write()) is not None:
            return False
        contents.write(0, data, asked=asked)
        return True

    async def _read_part(self) -> None:
        path, count = self._path(), self._size()
        contents = self.names.files[path]
        offset, found = self._random.randrange(contents.length + 1), list[bytes]()

        async def read() -> None:
            async with await self.client.open(path) as file:
                found.append(await file.pread(offset, count))

        if await self._tried(f"read {count} bytes at {offset} of {path}", read(), changes=False) is None:
            self._judge(path, contents.complaint_about(offset, found[0], wanted=count))

    async def _list(self) -> None:
        directory, found = self._random.choice((self.home, *SHARED)), list[str]()

        async def look() -> None:
            found.extend(entry.name for entry in await self.client.list(directory))

        if await self._tried(f"list {directory}", look(), changes=False) is None:
            own = [name for name in found if name.startswith(f"{self.name}-")]
            self._judge(directory, self.names.complaint_about_listing(directory, own))

    def _judge(self, path: str, complaint: str | None) -> None:
        self._history.reads += 1
        if complaint is not None:
            self._history.violation(f"{self.name} read {path}: {complaint}")

    # What all of them share.

    async def _tried(self, words: str, work: Awaitable[object], *, changes: bool = True) -> TabletopError | None:
        """Do it; returns the failure, if it failed."""
        words, numbered = f"{words} (op {self._operations:08})", f"{self.name} asked to {words}"
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work
        except TabletopError as error:
            self._history.failure(self.name, words, error)
            if isinstance(error, InternalError) or (error.definite and isinstance(error, UNEXPLAINED)):
                self._history.violation(f"{numbered}, and was told {type(error).__name__}: {error.message}")
            return error
        except TimeoutError:
            self._history.violation(f"{numbered}, and had no answer after {PATIENCE_SECONDS:g} seconds")
            return TabletopError("no answer", definite=False)
        except Exception as error:
            self._history.violation(f"{numbered}, and it broke with {type(error).__name__}: {error}")
            return TabletopError(str(error), definite=False)
        self._history.acknowledged += changes
        self._history.operation(self.name, words, "done")
        return None

    def _path(self) -> str:
        return self._random.choice(sorted(self.names.files))

    def _new_path(self) -> str:
        self._files_made += 1
        directory = self._random.choice((self.home, self.home, *SHARED))
        return f"{directory}/{self.name}-{self._files_made:05}"

    def _data(self, offset: int, count: int) -> bytes:
        return stamped(self.name, self._operations, offset, count)

    def _size(self) -> int:
        """Mostly small; some of about a block, some of more than a chunk."""
        least, most = self._random.choice([(1, 200), (1, 8_000), (60_000, 70_000), (1, self._chunk_bytes * 3 // 2)])
        return self._random.randint(least, most)


def is_temporary(name: str) -> bool:
    """Whether a file of this name waits for its final one."""
    return name.startswith(WRITING_PREFIX)
