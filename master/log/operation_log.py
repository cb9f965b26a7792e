"""The operation log: what the master answered survives, and nothing else does (GFS 2.6.3).

The problem. The master answers from memory, and memory is lost in a crash. Writing the whole state for every change
would be slow; so would be replaying every change since the beginning of time.

The idea, as in the paper. A change is first a record in a log. It is applied and answered only after the record is on
stable storage; records of concurrent clients share one sync. When the log has grown beyond a limit, the master switches
to a new log file and writes a *checkpoint* of the state as of the switch, while it serves. Recovery loads the newest
complete checkpoint and replays the log files after it.

    log/00000000000000000001.log           records 1 to 5210
    log/00000000000000005211.log           records from 5211 on
    log/00000000000000005211.checkpoint    the state after record 5210

A snapshot must contain exactly the records before the switch. So for the switch, and only for it, new commits wait
until those under way are both durable and applied; then the snapshot is taken, which costs milliseconds because its
parts are immutable (see `prefix_table.py`).

Invariants: (1) memory changes only after its record is durable; (2) log files join without a gap; (3) only the newest
log file may end in a torn record; (4) a log file is removed only after `kept_checkpoints` complete checkpoints
make it unnecessary; (5) a failed write leaves memory unchanged, and reads go on;
(6) a log that ends before the record that the mark beside it names is damaged, not torn (`runtime/durable_mark.py`).

With several masters, `shipping` takes every record once it is durable here, and a record is applied only when it is
durable on all masters that are in sync, too (`shipping.py`). With one master nothing of that runs.

What we simplify. `commit` must not be cancelled half-way (the servicers see to it): a record would be durable and not
applied.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from master.events import (
    CheckpointFailed,
    CheckpointFinished,
    CheckpointStarted,
    LogFailed,
    LogMovedOn,
    LogReplayed,
)
from master.log import log_files
from master.log.checkpoint import write_checkpoint
from master.log.records import FORMAT, LogOpened, Record, encode
from master.log.recovery import Recovered, recover
from master.log.state import MasterState, Snapshot
from runtime.durable_mark import DurableMark
from runtime.errors import Conflict, TabletopError
from runtime.record_log import LogWriter
from runtime.world import File, World


class LogShipping(Protocol):
    """What brings the log to other masters."""

    def offer(self, sequence: int, payload: bytes) -> None:
        """A record is durable here. Called once for each, in the order of the log."""

    async def confirmed(self, sequence: int) -> None:
        """Return when the record is durable on all masters that are in sync. Raises Unavailable (indefinite) if this
        master does not act any more."""


class OperationLog:
    """The log, its checkpoints, and the state that they stand for."""

    def __init__(self, world: World, *, cluster: str, checkpoint_log_bytes: int, kept_checkpoints: int = 2) -> None:
        self.state = MasterState()
        self.recovery_note = ""
        self.shipping: LogShipping | None = None
        self._world = world
        self._cluster = cluster
        self._limit = checkpoint_log_bytes
        self._kept = kept_checkpoints
        self._file: File | None = None
        self._writer: LogWriter | None = None
        self._mark = DurableMark(world)
        self._last_failed = False
        self._under_way = 0
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._checkpointing: asyncio.Task[None] | None = None

    @property
    def next_sequence(self) -> int:
        """The number that the next record will have."""
        return self._writer.next_sequence if self._writer else 1

    @property
    def is_busy(self) -> bool:
        """Whether a record is under way to the log, or a checkpoint is being written."""
        return self._under_way > 0 or self._checkpointing is not None

    @property
    def log_bytes(self) -> int:
        """Bytes of log since the last switch."""
        return self._writer.offset if self._writer else 0

    @property
    def syncs(self) -> int:
        """Syncs of the current log file: fewer than its records when clients share them."""
        return self._writer.syncs if self._writer else 0

    async def recover(self) -> None:
        """Load what is on disk, and be ready to commit. Raises Corrupted, IncompatibleFormat, DiskFailure, NoSpace."""
        found = await recover(self._world, await self._mark.open())
        self.state = found.state
        if found.stuck is not None:
            await self._move_on(found, found.stuck)
        elif found.log:
            self._file = await self._world.disk.open(found.log, "update")
            await self._file.sync()  # What was read back from the page cache must not be lost now.
            self._writer = LogWriter(self._file, next_sequence=found.next_sequence, offset=found.log_bytes)
        else:
            await self._start_log(found.next_sequence)
        self._mark.note(found.next_sequence - 1)
        if found.records or found.notes or len(found.state.chunks):
            self.recovery_note = "; ".join(found.notes) or "the log ended cleanly"
            files, chunks = found.state.namespace.files, len(found.state.chunks)
            self._world.events.emit(
                LogReplayed(records=found.records, files=files, chunks=chunks, note=self.recovery_note)
            )

    async def _move_on(self, found: Recovered, problem: TabletopError) -> None:
        """The newest log has a place where the disk takes nothing any more. So that one bad block does not end the only
        master, another log begins, and its checkpoint makes durable what the old one may not. Raises `problem` if that
        cannot be done either: then all is as before, for a log with nothing but its opening counts for nothing."""
        sequence = found.next_sequence
        try:
            await self._start_log(sequence, durable_sequence=found.proven_sequence)
            await write_checkpoint(self._world, log_files.checkpoint_path(sequence), self.state.snapshot(), sequence)
        except TabletopError:
            raise problem from None
        self._world.events.emit(LogMovedOn(sequence=sequence, problem=problem.message))

    # Committing

    async def commit(self, record: Record) -> list[int]:
        """Make a record durable, then apply it. Returns the handles of the chunks it made the state forget.

        Raises NoSpace (definite: nothing was changed) or DiskFailure (the record may come back after a restart).
        """
        [outcome] = await self.commit_all([record])
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    async def commit_all(self, records: Sequence[Record]) -> list[list[int] | TabletopError]:
        """As `commit`, for records that do not depend on one another: for each what `commit` returns, or raises."""
        while not self._open.is_set():
            await self._open.wait()
        assert self._writer is not None, "commit before recovery"
        self._under_way += 1
        self._idle.clear()
        try:
            begun = [self._begun(self._writer, record) for record in records]
            outcomes = [await self._applied(record, written) for record, written in zip(records, begun, strict=True)]
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()
        if self.log_bytes > self._limit and self._checkpointing is None:
            self._checkpointing = self._world.spawn(self._checkpoint_in_background(), "checkpoint")
        return outcomes

    def _begun(self, writer: LogWriter, record: Record) -> "asyncio.Future[int]":
        """A record on its way to the log; a refusal is found by whoever awaits it."""
        payload = encode(record)

        def ended(sequence: int | None) -> None:
            if sequence is None:
                return
            self._mark.note(sequence)
            if self.shipping is not None:
                self._note_written(sequence, record)
                self.shipping.offer(sequence, payload)

        try:
            return writer.begin_commit(payload, ended)
        except TabletopError as error:
            refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused

    def _note_written(self, sequence: int, record: Record) -> None:
        """A record is on stable storage here. Of use to a log that others have, too."""

    async def _applied(self, record: Record, written: "asyncio.Future[int]") -> list[int] | TabletopError:
        """Wait until a record is durable, and apply it."""
        try:
            sequence = await written
            if self.shipping is not None:
                await self.shipping.confirmed(sequence)
        except TabletopError as error:
            self._last_failed = True
            self._world.events.emit(LogFailed(problem=error.message))
            fate = "it was not made" if error.definite else "it is not made now, but may be found made after a restart"
            failure = type(error)(
                f"the master cannot log the change, so {fate}: {error.message}; reads go on", definite=error.definite
            )
            failure.__cause__ = error
            return failure
        self._last_failed = False
        return self.state.apply(record)

    # Checkpoints

    async def checkpoint(self) -> None:
        """Switch to a new log file and write the state before it. Raises NoSpace, DiskFailure; the log goes on."""
        snapshot, sequence = await self._switch()
        await self._write_checkpoint(snapshot, sequence)

    async def _write_checkpoint(self, snapshot: Snapshot, sequence: int) -> None:
        self._world.events.emit(CheckpointStarted(sequence=sequence))
        size = await write_checkpoint(self._world, log_files.checkpoint_path(sequence), snapshot, sequence)
        self._world.events.emit(CheckpointFinished(sequence=sequence, size=size))
        await self._remove_unneeded()

    async def close(self) -> None:
        """Wait for a checkpoint that runs, and let go of the files."""
        if self._checkpointing is not None:
            await asyncio.wait([self._checkpointing])
        await self._mark.close()
        if self._file is not None:
            await self._file.close()

    async def _checkpoint_in_background(self) -> None:
        try:
            await self.checkpoint()
        except TabletopError as error:
            self._world.events.emit(CheckpointFailed(problem=error.message))
        finally:
            self._checkpointing = None

    async def _switch(self) -> tuple[Snapshot, int]:
        """Begin a new log file; returns the state before it and the number of its first record."""
        self._open.clear()
        try:
            await self._idle.wait()
            if self._last_failed:
                raise Conflict("the last record could not be written; a checkpoint has to wait until one can")
            sequence, before = self.next_sequence, self._file
            await self._start_log(sequence)
            snapshot = self.state.snapshot()
        finally:
            self._open.set()
        if before is not None:
            await before.close()
        return snapshot, sequence

    async def _start_log(self, sequence: int, durable_sequence: int | None = None) -> None:
        """Begin a log file with its LogOpened record. On failure the old file stays in use. `durable_sequence`: of the
        records before; without it all of them."""
        path, opening = log_files.log_path(sequence), self._opening
        file = await self._world.disk.open(path, "replace")
        try:
            writer = LogWriter(file, next_sequence=sequence, durable_sequence=durable_sequence)
            await writer.commit(opening)
            await self._world.disk.sync_directory(log_files.FOLDER)
        except TabletopError:
            await file.close()
            with contextlib.suppress(TabletopError):  # Recovery recognises a file that holds only its opening.
                await self._world.disk.remove(path)
            raise
        self._file, self._writer = file, writer
        if self.shipping is not None:
            self.shipping.offer(sequence, opening)

    @property
    def _opening(self) -> bytes:
        """The first record of every log file."""
        return encode(LogOpened(FORMAT, self._cluster))

    async def _remove_unneeded(self) -> None:
        """Remove what is older than the oldest checkpoint that we keep."""
        names = log_files.without_hidden(await self._world.disk.list(log_files.FOLDER))
        checkpoints = [log_files.sequence_of(name) for name in names if name.endswith(log_files.CHECKPOINT_SUFFIX)]
        if len(checkpoints) < self._kept:
            return
        oldest = checkpoints[-self._kept]
        for name in names:
            if log_files.sequence_of(name) < oldest:
                await self._world.disk.remove(f"{log_files.FOLDER}/{name}")
        await self._world.disk.sync_directory(log_files.FOLDER)
