"""From log files and checkpoints back to the state (GFS 2.6.3).

The problem. After a crash there may be half a record at the end of the newest log file, half a checkpoint, an empty
file that was about to be used, or a disk that has lost bytes in the middle. The first three are ordinary and cost
nothing that anyone was promised. The fourth must be noticed and refused: a master that quietly forgets a record hands
out a file that another client has deleted, or a version number for the second time.

The idea. Load the newest checkpoint that is complete. Replay the log files behind it, in order, each record exactly
once, without a gap. A torn record is forgiven only at the end of the newest file. One that was begun and never used is
dropped, but what it says of the records before it holds. Everything that was passed over or cut off is said in a note.
"""

from collections import deque
from dataclasses import dataclass

from master.log import log_files
from master.log.checkpoint import read_checkpoint
from master.log.records import FORMAT, READABLE_FORMATS, LogOpened, decode
from master.log.state import MasterState
from runtime.durable_mark import PATH as MARK
from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, NoSpace
from runtime.record_log import HEADER_BYTES, LogEnd, LogReader
from runtime.rewriting import write_again
from runtime.world import World

_BREATHE_EVERY = 256
# A LogOpened record in its frame has at most this many bytes (for a cluster name of up to 64).
_OPENING_LIMIT_BYTES = HEADER_BYTES + 11 + 64


@dataclass(frozen=True, slots=True)
class Recovered:
    """The state, and where the log goes on. Without a `log` a new one must be begun at `next_sequence`.

    `stuck`: the newest log was read, and the disk does not let its end be written. Nothing may follow it there, and of
    the records after `proven_sequence` it is not sure that they are on stable storage.
    """

    state: MasterState
    records: int
    notes: tuple[str, ...]
    next_sequence: int
    log: str
    log_bytes: int
    proven_sequence: int
    stuck: DiskFailure | NoSpace | None = None


async def recover(world: World, marked: int = 0) -> Recovered:
    """Read the folder of the operation log, and clear away what is not needed. `marked`: the record up to which the
    mark outside of the log says that all were durable.

    Raises Corrupted (damage before the end, or a gap), IncompatibleFormat (another version's files), DiskFailure.
    """
    await world.disk.make_directory(log_files.FOLDER)
    await world.disk.sync_directory()
    # Who died between making a name and syncing it has left one that we see and a power cut may yet take away.
    await world.disk.sync_directory(log_files.FOLDER)
    notes: list[str] = []
    names = await _without_leftovers(world, notes)
    state, first = await _newest_checkpoint(world, names, notes)
    replay = _Replay(world, state, first, notes, marked)
    logs = [name for name in names if name.endswith(log_files.LOG_SUFFIX) and log_files.sequence_of(name) >= first]
    if not logs and first > 1:
        raise Corrupted(
            f"{log_files.FOLDER}: the log file from record {first} on, which follows the checkpoint, is missing; "
            "restore it from a copy"
        )
    unused: list[str] = []
    while logs and (durable := await _claim_of_unused(world, logs[-1], has_older=len(logs) > 1)) is not None:
        unused.append(logs.pop())
        first_of_unused = log_files.sequence_of(unused[-1])
        # What the file after it vouches for may be no more than its own opening, which is not missed.
        is_its_opening = replay.durable == first_of_unused
        replay.durable = first_of_unused - 1 if is_its_opening else max(replay.durable, durable)
    for name in logs:
        is_behind = log_files.sequence_of(name) < replay.expected
        if is_behind and await _claim_of_unused(world, name, has_older=True) is not None:
            # A switch to this file failed, and so did the removal of it: the file before it went on past its number.
            unused.append(name)
            continue
        await replay.file(name, is_newest=name == logs[-1])
    replay.check_mark(log_files.FOLDER, "no log file is left")
    for name in unused:
        await _drop(world, name, notes)
    state.finish_recovery()
    return Recovered(
        state,
        replay.records,
        tuple(notes),
        replay.expected,
        replay.log,
        replay.log_bytes,
        replay.proven,
        replay.stuck,
    )


async def _without_leftovers(world: World, notes: list[str]) -> list[str]:
    """The folder's files, after removing checkpoints that were never finished."""
    names = []
    for name in log_files.without_hidden(await world.disk.list(log_files.FOLDER)):
        log_files.sequence_of(name)
        if name.endswith(log_files.PART_SUFFIX):
            notes.append(f"dropped the unfinished checkpoint {name}")
            await world.disk.remove(f"{log_files.FOLDER}/{name}")
        else:
            names.append(name)
    return names


async def _newest_checkpoint(world: World, names: list[str], notes: list[str]) -> tuple[MasterState, int]:
    """The state in the newest checkpoint that the disk gives whole, and the record after it; the empty state and 1
    without any. Of two, the older one and the logs behind it tell the same."""
    problem: Corrupted | DiskFailure | None = None
    for name in reversed([name for name in names if name.endswith(log_files.CHECKPOINT_SUFFIX)]):
        try:
            return await read_checkpoint(world, f"{log_files.FOLDER}/{name}")
        except (Corrupted, DiskFailure) as error:
            notes.append(f"passed over {error.message}")
            problem = error
    if problem is not None and log_files.log_path(1).rpartition("/")[2] not in names:
        raise type(problem)(
            f"{problem.message}; no older checkpoint is left, and the log does not reach back to record 1: "
            "restore the checkpoint from a copy"
        )
    return MasterState(), 1


class _Replay:
    """Applies log files to a state, one after the other. `durable`: the last record that a file which was begun and
    never used says to be durable. `marked`: the same of the mark outside of the log."""

    def __init__(self, world: World, state: MasterState, first: int, notes: list[str], marked: int) -> None:
        self.expected = first
        self.marked = marked
        self.durable = 0
        self.records = 0
        self.log = ""
        self.log_bytes = 0
        self.proven = first - 1
        self.stuck: DiskFailure | NoSpace | None = None
        self._world = world
        self._state = state
        self._notes = notes

    async def file(self, name: str, *, is_newest: bool) -> None:
        """Apply one log file's records. Raises Corrupted, IncompatibleFormat."""
        path = f"{log_files.FOLDER}/{name}"
        first = log_files.sequence_of(name)
        file = await self._world.disk.open(path, "read")
        unproven: deque[tuple[int, int]] = deque()  # Sequence and offset of the records that no later one vouches for.
        try:
            reader = LogReader(file, path, first_sequence=first)
            if first != self.expected:
                raise Corrupted(f"{path} begins with record {first}, expected {self.expected}; a log file is missing")
            async for record in reader:
                self._apply(path, record.offset, record.sequence, record.payload)
                unproven.append((record.sequence, record.offset))
                while unproven and unproven[0][0] <= reader.durable_sequence:
                    unproven.popleft()
                if self.records % _BREATHE_EVERY == 0:
                    await self._world.breathe()
        finally:
            await file.close()
        if self.expected == first:
            # Not even the LogOpened record can be read, and that was durable before the file was used.
            raise Corrupted(f"{path}: {reader.end.reason or 'it holds no record'}; restore it from a copy")
        if reader.end.dropped_bytes and not is_newest:
            raise Corrupted(f"{path}: {reader.end.reason}, and a later log file exists; restore it from a copy")
        if is_newest and self.expected <= self.durable:
            why = reader.end.reason or f"it ends before record {self.expected}"
            raise Corrupted(
                f"{path}: {why}, and the file that was begun after it shows that record {self.durable} had been "
                "durable; restore it from a copy"
            )
        if is_newest:
            self.check_mark(path, reader.end.reason or f"it ends before record {self.expected}")
        self.proven = unproven[0][0] - 1 if unproven else self.expected - 1
        try:
            if reader.end.dropped_bytes:
                await self._cut(path, reader.end)
            if is_newest and unproven:
                await self._write_again(path, unproven[0][1], reader.end.offset)
        except (DiskFailure, NoSpace) as error:
            if not is_newest:
                raise
            self.stuck = error
        self.log, self.log_bytes = path, reader.end.offset

    def check_mark(self, path: str, why: str) -> None:
        """Raise Corrupted if the log ends before a record that was durable."""
        if self.expected <= self.marked:
            raise Corrupted(
                f"{path}: {why}, and the file {MARK} says that record {self.marked} had been durable: restore the log "
                f"from a copy. To begin with an older copy, and lose the records after it, remove {MARK}, too"
            )

    def _apply(self, path: str, offset: int, sequence: int, payload: bytes) -> None:
        is_first = offset == 0
        try:
            record = decode(payload)
        except (Corrupted, IncompatibleFormat) as error:
            raise type(error)(f"{path}: record {sequence} at offset {offset}: {error.message}") from error
        if is_first != isinstance(record, LogOpened):
            raise IncompatibleFormat(
                f"{path}: record {sequence} at offset {offset} is {type(record).__name__}, expected "
                f"{'LogOpened' if is_first else 'a change'}; the file is not a master's log"
            )
        if isinstance(record, LogOpened) and record.format not in READABLE_FORMATS:
            raise IncompatibleFormat(
                f"{path} is in format {record.format}, this program reads format {FORMAT}; use the program's newer "
                "version, or another state folder"
            )
        self._state.apply(record)
        self.records += 1
        self.expected = sequence + 1

    async def _write_again(self, path: str, begin: int, end: int) -> None:
        """Make the last records durable: the next one will say that they are."""
        file = await self._world.disk.open(path, "update")
        try:
            await write_again(file, begin, end)
            await file.sync()
        finally:
            await file.close()

    async def _cut(self, path: str, end: LogEnd) -> None:
        """Remove a torn tail, so that the next record stands directly behind the last whole one."""
        self._notes.append(f"dropped the last {end.dropped_bytes} bytes of {path}: {end.reason}")
        file = await self._world.disk.open(path, "update")
        try:
            await file.truncate(end.offset)
            await file.sync()
        finally:
            await file.close()


async def _claim_of_unused(world: World, name: str, *, has_older: bool) -> int | None:
    """The record up to which this log file says that all were durable when it was begun, 0 if it does not say; None if
    something was committed to it. One with nothing in it was about to be used, or only just begun.

    A file with nothing but its opening can be dropped only if an older file can go on in its place.
    """
    path = f"{log_files.FOLDER}/{name}"
    file = await world.disk.open(path, "read")
    try:
        records = 0
        reader = LogReader(file, path, first_sequence=log_files.sequence_of(name))
        async for record in reader:
            records += 1
            if records > 1 or not isinstance(decode(record.payload), LogOpened):
                return None
        # A first record that was torn is no longer than one frame.
        is_unused = has_older if records else await file.size() <= _OPENING_LIMIT_BYTES
        return reader.durable_sequence if is_unused else None
    finally:
        await file.close()


async def _drop(world: World, name: str, notes: list[str]) -> None:
    notes.append(f"dropped {log_files.FOLDER}/{name}, which was begun but never used")
    await world.disk.remove(f"{log_files.FOLDER}/{name}")
    await world.disk.sync_directory(log_files.FOLDER)
