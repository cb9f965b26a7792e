"""One client: does what is planned for it, one operation after the other (whole files also several at a time), and
writes down what it was told.

Work runs on the client's own node, so that a kill ends it in the middle: the operation that was under way is never
answered, open files are gone, and another client begins in its place. An operation that lasts absurdly long is given up
and is a finding of its own: no call may be without an end.

In some seeds callers give up calls of open files after a moment (`asyncio.timeout`), and go on with the file.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.interface import wait_until
from cluster.swarm.appends import frame_of, have_next_chunk_made
from cluster.swarm.history import Answer, History, Kind, Operation, Seen, stamp
from cluster.swarm.insight import CAUSE
from cluster.swarm.listed_snapshots import listed
from cluster.swarm.operators import check_everything
from cluster.swarm.plan import PlannedOperation
from cluster.swarm.stage import Stage
from gfs.client import Client
from gfs.file import File
from gfs.names.identity import FileIdentity
from gfs.reading.lengths import FileStatus
from runtime.errors import TabletopError
from runtime.events import because
from runtime.simulated.world import NodeEnded
from runtime.wire.master_pb2 import ChunkStatus

# A client asks a master for 30 s at most, and writes for 120 s; an operation of several steps may take a few of them.
LONGEST_SECONDS = {
    Kind.LIST: 100.0,
    Kind.STAT: 75.0,
    Kind.READ_FILE: 150.0,
    Kind.READ: 150.0,
    Kind.SET_REPLICATION: 135.0,
    Kind.COMPARE: 400.0,
    Kind.RESTORE: 180.0,
    Kind.EMPTY_TRASH: 600.0,
    Kind.FSCK: 300.0,
    Kind.ADMIT: 180.0,
}
COMPARED_CHUNKS = 2
# An operator looks so often, and for so long, for a chunk that has no current replica.
LOOK_SECONDS = 0.5
LOOKS = 60
LONGEST_CHANGE_SECONDS = 60.0
LONGEST_WRITE_SECONDS = 330.0
LONGEST_DEATH_SECONDS = 1000.0
_WRITING = (Kind.WRITE, Kind.APPEND, Kind.RECORD_APPEND, Kind.NEXT_CHUNK)
_ON_OPEN_FILES = (*_WRITING, Kind.READ, Kind.CLOSE, Kind.ABANDON)
_CREATING = (Kind.CREATE, Kind.WRITE_FILE, Kind.OPEN)
_CHANGES = (
    Kind.CREATE,
    Kind.RENAME,
    Kind.DELETE,
    Kind.MAKE_DIRECTORY,
    Kind.SNAPSHOT,
    Kind.SET_POLICY,
    Kind.ENTER_SAFE_MODE,
    Kind.LEAVE_SAFE_MODE,
)


class GivenUp(Exception):
    """The caller cancelled the call."""


@dataclass(slots=True)
class OpenFile:
    """A file that a client has open: which operation opened it, and which file it is (its creator's number)."""

    file: File
    opened_by: int
    identity: int
    path: str


class Player:
    """One client of one run."""

    def __init__(self, name: str, stage: Stage, history: History) -> None:
        self.name = name
        self._stage = stage
        self._history = history
        self._number = stage.cluster.client_names().index(name) + 1
        self._client = stage.cluster.client(self._number)
        self._open: dict[int, OpenFile] = {}

    async def play(self, operations: list[PlannedOperation]) -> None:
        """Do all of it, then close what is still open."""
        for together in _together(operations):
            await self._wait(together[0].pause)
            await self._begin_again_if_dead()
            await asyncio.gather(*(self.perform(planned) for planned in together))
        await self._begin_again_if_dead()
        for slot in sorted(self._open):
            await self.perform(PlannedOperation(self.name, 0.0, Kind.CLOSE, slot=slot))

    async def _wait(self, seconds: float) -> None:
        """Wait until that much time is over by the clock, which is what a program does that has an appointment."""
        until, left = self._stage.now + seconds, seconds
        while left > 0:
            await asyncio.sleep(left)
            left = until - self._stage.now

    async def _begin_again_if_dead(self) -> None:
        """A client that was killed has lost its open files; another one takes its place after a while."""
        cluster = self._stage.cluster
        if not cluster.is_running(self.name):
            await wait_until(self._is_running, what=f"{self.name} runs again", timeout_seconds=LONGEST_DEATH_SECONDS)
        if cluster.client(self._number) is not self._client:
            self._client = cluster.client(self._number)
            self._open.clear()

    async def _is_running(self) -> bool:
        return self._stage.cluster.is_running(self.name)

    async def perform(self, planned: PlannedOperation, *, is_final: bool = False) -> Operation | None:
        """Do one operation and write it down; None if it makes no sense here."""
        work = self._prepared(planned)
        if work is None:
            return None
        operation, todo = work
        operation.is_final = is_final
        if operation.kind in _CREATING:
            self._stage.insight.creating[operation.number] = None
        world = self._stage.simulation.world(self.name)
        try:
            with because(f"{CAUSE}{operation.number}"):
                call = _patiently(todo, planned.gives_up_after)
                await asyncio.wait_for(self._stage.simulation.on(world, call), _longest(operation))
        except NodeEnded:
            # The client is no more. Its last messages may still be under way.
            operation.responded = self._stage.now
            return operation
        except TimeoutError:
            operation.responded = self._stage.now
            what = f"{operation.call()} [{operation.number}] of {self.name}"
            self._stage.complain(f"{what} has no end: given up after {_longest(operation):g} s")
            return operation
        except GivenUp as error:
            operation.answer, operation.error, operation.message = Answer.DOUBTFUL, "GivenUp", str(error)
            operation.is_given_up = True
        except TabletopError as error:
            operation.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
            operation.error, operation.message = type(error).__name__, error.message
            if type(error).__name__ in ("TabletopError", "InternalError"):
                self._stage.complain(f"{operation.told()}: this error has no type of its own")
        except Exception as error:
            operation.answer, operation.error, operation.message = Answer.DOUBTFUL, type(error).__name__, str(error)
            trace = "".join(traceback.format_exception(error)[-3:])
            self._stage.complain(f"{operation.told()}: an exception that is none of ours\n{trace}")
        else:
            operation.answer = Answer.VALUE
        operation.responded = self._stage.now
        return operation

    def _prepared(self, planned: PlannedOperation) -> tuple[Operation, Coroutine[Any, Any, None]] | None:
        now, kind = self._stage.now, planned.kind
        if kind in _ON_OPEN_FILES:
            held = self._open.get(planned.slot)
            if held is None:
                return None
            is_reading, is_writing = kind is Kind.READ, kind in _WRITING
            if (is_reading and not held.file.readable) or (is_writing and not held.file.writable):
                return None
            operation = self._history.new(
                self.name,
                kind,
                now,
                path=held.path,
                offset=held.file.tell() if kind is Kind.APPEND else planned.offset,
                count=planned.count,
                handle=held.opened_by,
                file=held.identity,
            )
            return operation, self._with_file(operation, held, planned.slot)
        if kind is Kind.OPEN and planned.slot in self._open:
            return None
        operation = self._history.new(
            self.name,
            kind,
            now,
            path=planned.path,
            target=planned.target,
            mode=planned.mode,
            recursive=planned.recursive,
            immediately=planned.immediately,
            replace=planned.replace,
            parents=planned.parents,
            force=planned.force,
            count=planned.count,
        )
        if kind is Kind.OPEN:
            return operation, self._do_open(operation, planned.slot)
        return operation, self._with_name(operation)

    async def _with_name(self, operation: Operation) -> None:
        client, path = self._client, operation.path
        match operation.kind:
            case Kind.CREATE:
                operation.seen = (self._seen(await client.create(path)),)
            case Kind.WRITE_FILE:
                data = stamp(operation.number, 0, operation.count)
                await client.write_file(path, data, overwrite=operation.replace)
            case Kind.READ_FILE:
                operation.data = await client.read_file(path)
            case Kind.STAT:
                operation.seen = (self._seen(await client.stat(path)),)
            case Kind.LIST:
                found = await client.list(path, recursive=operation.recursive)
                operation.seen = tuple(self._seen(status) for status in found)
            case Kind.RENAME:
                await client.rename(path, operation.target, replace=operation.replace)
            case Kind.SNAPSHOT:
                await client.snapshot(path, operation.target)
            case Kind.LIST_SNAPSHOTS:
                operation.listed = await listed(client)
            case Kind.DELETE:
                operation.count = await client.delete(
                    path, recursive=operation.recursive, immediately=operation.immediately
                )
            case Kind.MAKE_DIRECTORY:
                await client.make_directory(path, parents=operation.parents)
            case Kind.ADMIT:
                await self._admit(operation)
            case Kind.RESTORE:
                place = await client.operators.restore(path, operation.target or None)
                self._stage.insight.note_restored(operation.number, place)
            case Kind.EMPTY_TRASH:
                await client.operators.empty_trash(path, older_than_seconds=operation.count)
            case Kind.SET_POLICY:
                seconds = None if operation.count < 0 else operation.count
                await client.operators.set_policy(path, trash_seconds=seconds, inherit_trash=seconds is None)
            case Kind.ENTER_SAFE_MODE:
                await client.operators.enter_safe_mode()
            case Kind.LEAVE_SAFE_MODE:
                await client.operators.leave_safe_mode()
            case Kind.FSCK:
                operation.findings = await check_everything(client, self._stage.insight)
            case Kind.SET_REPLICATION:
                await self._set_replication(operation)
            case Kind.DRAIN:
                await client.operators.drain(operation.target, cancel=operation.replace)
            case Kind.ADD_SERVER:
                await self._stage.cluster.add_chunkservers(1)
            case Kind.COMPARE:
                for chunk in (await client.locations(path))[:COMPARED_CHUNKS]:
                    await client.verify_chunk(chunk.handle)

    async def _set_replication(self, operation: Operation) -> None:
        """Of the file that is found first, or else of whatever stands there then."""
        client, path = self._client, operation.path
        found = await _identity(client, path)
        operation.file = 0 if found is None or found.is_directory else self._stage.insight.file_of(found)
        file_id = found.file_id if found is not None and operation.file else 0
        operation.goal_before = await client.set_replication(path, operation.count, file_id=file_id)

    async def _admit(self, operation: Operation) -> None:
        """A replica of a chunk that has no current one; if the plan says so (`count` is 0), any server's."""
        client = self._client
        for _ in range(LOOKS):
            chunks = (await client.cluster_status(chunks=True)).chunks
            found = [one for one in chunks if not one.chunk.replicas and _aside(one)]
            if found:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if not found and (operation.count or not chunks):
            return
        status = (found or chunks)[0]
        names = _aside(status) if found and operation.count else self._stage.chunkserver_names()
        operation.chunk, operation.server = status.chunk.handle, names[operation.count % len(names)]
        if operation.force and not self._stage.may_be_admitted(operation.server):
            operation.force = False
        await client.admit_replica(operation.chunk, operation.server, force=operation.force)

    async def _do_open(self, operation: Operation, slot: int) -> None:
        client, path, mode = self._client, operation.path, operation.mode
        before = await _identity(client, path) if mode in ("rb", "r+b", "ab") else None
        file = await client.open(path, mode, overwrite=operation.replace)  # type: ignore[arg-type]
        operation.file = self._stage.insight.file_of(file) or self._opened(
            operation, before, await _after(client, path, mode)
        )
        operation.offset = file.tell()
        if not operation.file and mode in ("rb", "r+b", "ab"):
            # Who cannot tell which file it has opened could not judge what is read from it.
            await file.close()
            return
        self._open[slot] = OpenFile(file, operation.number, operation.file, path)

    def _opened(self, operation: Operation, before: FileStatus | None, after: FileStatus | None) -> int:
        """Which file was opened: the one that was created for it, or the one that was there before and after."""
        insight = self._stage.insight
        if operation.number in insight.created:
            return operation.number
        if before is None or after is None:
            return 0
        found = insight.file_of(before)
        return found if found == insight.file_of(after) else 0

    async def _with_file(self, operation: Operation, held: OpenFile, slot: int) -> None:
        file = held.file
        match operation.kind:
            case Kind.WRITE:
                await file.pwrite(operation.offset, stamp(operation.number, 0, operation.count))
            case Kind.APPEND:
                await file.write(stamp(operation.number, 0, operation.count))
                operation.is_taken = True
                await file.flush()
            case Kind.RECORD_APPEND:
                frame = frame_of(operation.number, operation.count)
                operation.offset = await file.record_append(frame)
                operation.lacking = self._stage.insight.lacking(
                    operation.file, *divmod(operation.offset, file.chunk_bytes), frame
                )
            case Kind.NEXT_CHUNK:
                await have_next_chunk_made(self._client, FileIdentity(file.stored_path, file.file_id))
            case Kind.READ:
                operation.data = await file.pread(operation.offset, operation.count)
            case Kind.CLOSE:
                self._open.pop(slot, None)
                await file.close()
            case Kind.ABANDON:
                self._open.pop(slot, None)
                await file.abandon()

    def _seen(self, status: FileStatus) -> Seen:
        return Seen(
            status.path,
            status.is_directory,
            0 if status.is_directory else self._stage.insight.file_of(status),
            status.length,
            status.length_is_exact,
            status.replication_goal,
        )


def _together(operations: Sequence[PlannedOperation]) -> list[list[PlannedOperation]]:
    """The operations in their order, those that begin in one moment in one list."""
    found: list[list[PlannedOperation]] = []
    for planned in operations:
        if planned.together and found:
            found[-1].append(planned)
        else:
            found.append([planned])
    return found


def _aside(chunk: ChunkStatus) -> list[str]:
    """Who has a replica that was put aside, and that may be whole."""
    return [other.server for other in chunk.others if other.state in ("unsure", "stale")]


async def _patiently(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Do it, and give up after so many seconds; 0: never. Raises GivenUp."""
    try:
        async with asyncio.timeout(seconds or None) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise GivenUp(f"its caller waited no longer than {seconds:g} s") from None
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            raise RuntimeError("a CancelledError in a task that nobody has cancelled") from error
        raise


async def _identity(client: Client, path: str) -> FileStatus | None:
    with contextlib.suppress(TabletopError):
        return await client.stat(path)
    return None


async def _after(client: Client, path: str, mode: str) -> FileStatus | None:
    return await _identity(client, path) if mode in ("rb", "r+b", "ab") else None


def _longest(operation: Operation) -> float:
    if operation.kind in LONGEST_SECONDS:
        return LONGEST_SECONDS[operation.kind]
    return LONGEST_CHANGE_SECONDS if operation.kind in _CHANGES else LONGEST_WRITE_SECONDS
