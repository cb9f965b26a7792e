"""A shadow's log: the same records under the same numbers, and a state that applies what is confirmed (GFS 5.1.3).

Records arrive in the order of the acting master's log. Each is made durable here before it is acknowledged, and applied
only when the acting master has said that all who are in sync have it: what a shadow tells a reader is never taken back.
Where the acting master began a new log file, so does the shadow, and when it comes to apply that place, it writes a
checkpoint of its own. So a shadow's folder is one that a master can start on, and a shadow that takes over has nothing
to load: it applies the rest, and acts.

Invariants: (1) the records on disk and the ones applied are a prefix each of one log; (2) nothing is applied that was
not confirmed, but for what a restart finds on the disk, and none of that is told before it is confirmed; (3) a
checkpoint holds confirmed records only.
"""

from collections import deque
from collections.abc import Callable, Sequence

from master.events import CheckpointFailed, LogCut
from master.failover.agreement import LogExtent
from master.log import log_files
from master.log.checkpoint import read_checkpoint
from master.log.operation_log import OperationLog
from master.log.records import FileSystemFounded, LogOpened, Record, TenureBegun, decode
from master.log.recovery import Recovered
from master.log.state import TENURES_KEPT, MasterState, Snapshot
from runtime.errors import Conflict, IncompatibleFormat, TabletopError
from runtime.record_log import HEADER_BYTES, LogReader
from runtime.world import World

JOINING = "joining"
"""A file that is there while a whole state arrives: what lies in the log's folder then is no log."""


class FollowedLog(OperationLog):
    """An operation log whose records come from another master. `on_applied` is told of each that is applied, with the
    handles of the chunks that it made the state forget."""

    def __init__(self, world: World, *, cluster: str, checkpoint_log_bytes: int, kept_checkpoints: int = 2) -> None:
        super().__init__(
            world, cluster=cluster, checkpoint_log_bytes=checkpoint_log_bytes, kept_checkpoints=kept_checkpoints
        )
        self.applied = 0
        self.on_applied: Callable[[Record, list[int]], None] = _nobody
        self._unapplied: deque[tuple[int, Record]] = deque()
        self._tenures: list[tuple[int, int]] = []  # of all records on the disk
        self.namespace = 0  # the one that they belong to

    @property
    def last_sequence(self) -> int:
        """The last record on stable storage."""
        return self.next_sequence - 1

    @property
    def extent(self) -> LogExtent:
        """What the log has on stable storage."""
        return LogExtent(tuple(self._tenures), self.last_sequence)

    def first_of(self, epoch: int) -> int:
        """The record that begins the tenure of this epoch; 0 if it is not known here."""
        return dict(self._tenures).get(epoch, 0)

    @property
    def last_epoch(self) -> int:
        """The epoch of the last record."""
        return self._tenures[-1][0] if self._tenures else 0

    async def recover(self) -> None:
        """As of every operation log. What was left of a state that had not arrived wholly is removed."""
        if await self._world.disk.exists(JOINING):
            await self._forget_mark()
            await self._remove_everything()
            await self._world.disk.remove(JOINING)
        await super().recover()
        self._unapplied.clear()
        self.applied = self.last_sequence
        self._tenures, self.namespace = list(self.state.tenures), self.state.identity

    async def _move_on(self, found: Recovered, problem: TabletopError) -> None:
        """The opening of a log file is a record, too, and the acting master alone gives records their numbers: this
        master ends, and the others go on."""
        raise problem

    # Receiving

    async def receive(self, first_sequence: int, payloads: Sequence[bytes]) -> None:
        """Make records durable. Those that are here already are passed over.

        Raises Conflict (records are missing before them), IncompatibleFormat, Corrupted, NoSpace, DiskFailure."""
        if first_sequence > self.next_sequence:
            raise Conflict(f"record {first_sequence} comes, and record {self.last_sequence} is the last one here")
        new = list(enumerate(payloads, first_sequence))[self.next_sequence - first_sequence :]
        group: list[tuple[int, bytes, Record]] = []
        for sequence, payload in new:
            record = decode(payload)
            if isinstance(record, LogOpened):
                await self._write_group(group)
                group = []
                await self._begin_file(sequence, payload)
                self._unapplied.append((sequence, record))
            else:
                group.append((sequence, payload, record))
        await self._write_group(group)

    async def _write_group(self, group: Sequence[tuple[int, bytes, Record]]) -> None:
        """All of them or none: nothing else is on its way to the log, so that the writer takes them as one group, and
        no record can get the number of one that failed."""
        if not group:
            return
        assert self._writer is not None and not self._writer.is_busy, "two streams of records at a time"
        for written in [self._writer.begin_commit(payload) for _, payload, _ in group]:
            await written
        self._mark.note(group[-1][0])
        for sequence, _, record in group:
            self._unapplied.append((sequence, record))
            self._note_written(sequence, record)

    def _note_written(self, sequence: int, record: Record) -> None:
        if isinstance(record, TenureBegun):
            self._tenures = [*self._tenures, (record.epoch, sequence)][-TENURES_KEPT:]
        elif isinstance(record, FileSystemFounded):
            self.namespace = record.namespace

    async def _begin_file(self, sequence: int, payload: bytes) -> None:
        if payload != self._opening:
            raise IncompatibleFormat(
                "the acting master writes its log in another format, or for a cluster of another name; start all "
                "masters with the same version of the program"
            )
        before = self._file
        await self._start_log(sequence)
        if before is not None:
            await before.close()

    def apply_through(self, confirmed: int) -> None:
        """Apply what is confirmed."""
        while self._unapplied and self._unapplied[0][0] <= confirmed:
            sequence, record = self._unapplied.popleft()
            if isinstance(record, LogOpened):
                self._checkpoint_before(sequence)
            self.on_applied(record, self.state.apply(record))
            self.applied = sequence
        self.state.finish_recovery()  # No handle that was given out is given again, at whatever moment it takes over.

    def take_charge(self) -> None:
        """This master takes over: what is in its log counts. Of the chunkservers nothing is known, as after a start."""
        self.apply_through(self.last_sequence)
        self.state = MasterState.restored(self.state.snapshot())

    def _checkpoint_before(self, sequence: int) -> None:
        if self._checkpointing is None:  # Otherwise the next one does.
            snapshot = self.state.snapshot()
            self._checkpointing = self._world.spawn(self._keep_checkpoint(snapshot, sequence), "checkpoint")

    async def _keep_checkpoint(self, snapshot: Snapshot, sequence: int) -> None:
        try:
            await self._write_checkpoint(snapshot, sequence)
        except TabletopError as error:
            self._world.events.emit(CheckpointFailed(problem=error.message))
        finally:
            self._checkpointing = None

    # Cutting off what was never answered

    async def cut(self, keep_through: int) -> None:
        """Remove the records after this one.

        This one goes, too, if it opens a file that need not be: with nothing behind its opening that file would count
        for nothing when the log is read. If the files do not reach back so far, all goes: the state is asked for as a
        whole then. Raises DiskFailure, Corrupted."""
        if self._writer is None:
            await self.recover()  # A state was to be installed, and did not come.
        if self.last_sequence <= keep_through:
            return
        await self.close()
        disk = self._world.disk
        names = log_files.without_hidden(await disk.list(log_files.FOLDER))
        kept = [name for name in names if _begins_by(name, keep_through)]
        older = [name for name in kept if log_files.sequence_of(name) < keep_through]
        if len(older) < len(kept) and _can_be_replayed(older):
            kept, keep_through = older, keep_through - 1
        if not _can_be_replayed(kept):
            kept = []
        dropped = self.last_sequence - keep_through
        await self._forget_mark(keep_through)
        for name in reversed(names):  # The newest first: what is left is a log at every moment.
            if name not in kept:
                await disk.remove(f"{log_files.FOLDER}/{name}")
        await disk.sync_directory(log_files.FOLDER)
        logs = [name for name in kept if name.endswith(log_files.LOG_SUFFIX)]
        if logs:
            await self._cut_file(f"{log_files.FOLDER}/{logs[-1]}", keep_through)
        self._world.events.emit(LogCut(kept_through=keep_through if logs else 0, dropped=dropped))
        await self.recover()

    async def _cut_file(self, path: str, keep_through: int) -> None:
        file = await self._world.disk.open(path, "update")
        try:
            end = 0
            async for record in LogReader(file, path, first_sequence=log_files.sequence_of(path.rpartition("/")[2])):
                if record.sequence > keep_through:
                    break
                end = record.offset + HEADER_BYTES + len(record.payload)
            await file.truncate(end)
            await file.sync()
        finally:
            await file.close()

    # A whole state instead of records

    async def begin_install(self) -> None:
        """What is here is worth nothing any more: a whole state arrives."""
        marker = await self._world.disk.open(JOINING, "replace")
        await marker.sync()
        await marker.close()
        await self._world.disk.sync_directory()
        await self.close()
        await self._forget_mark()
        self._file, self._writer, self.state = None, None, MasterState()
        self._unapplied.clear()
        self._tenures, self.namespace, self.applied = [], 0, 0
        await self._remove_everything()

    async def receive_piece(self, sequence: int, offset: int, data: bytes) -> None:
        """Write a piece of the checkpoint that stands before this record. Raises Conflict, NoSpace, DiskFailure."""
        path = log_files.checkpoint_path(sequence) + log_files.PART_SUFFIX
        file = await self._world.disk.open(path, "replace" if offset == 0 else "update")
        try:
            if await file.size() != offset:
                raise Conflict(f"a piece of a checkpoint at {offset} comes, and {await file.size()} bytes are here")
            await file.append(data)
            await file.sync()
        finally:
            await file.close()

    async def finish_install(self, sequence: int) -> None:
        """All pieces are here: from now on this is the state, and its log begins with this record.

        Raises Corrupted (the checkpoint is damaged), IncompatibleFormat, NoSpace, DiskFailure."""
        path = log_files.checkpoint_path(sequence)
        await self._world.disk.rename(path + log_files.PART_SUFFIX, path)
        self.state, first = await read_checkpoint(self._world, path)
        if first != sequence:
            raise Conflict(f"the checkpoint stands before record {first}, expected {sequence}")
        await self._start_log(sequence)
        await self._mark.open()
        await self._world.disk.remove(JOINING)
        await self._world.disk.sync_directory()
        self._tenures, self.namespace, self.applied = list(self.state.tenures), self.state.identity, sequence
        self.state.finish_recovery()

    async def _forget_mark(self, keep_through: int = 0) -> None:
        """Records after this one are to go."""
        await self._mark.open()
        await self._mark.lower(keep_through)
        await self._mark.close()

    async def _remove_everything(self) -> None:
        disk = self._world.disk
        if not await disk.exists(log_files.FOLDER):
            return
        for name in reversed(log_files.without_hidden(await disk.list(log_files.FOLDER))):
            await disk.remove(f"{log_files.FOLDER}/{name}")
        await disk.sync_directory(log_files.FOLDER)


def _nobody(record: Record, forgotten: list[int]) -> None:
    """Nobody is told."""


def _begins_by(name: str, keep_through: int) -> bool:
    """Whether a file of the log's folder tells of nothing after this record. A checkpoint stands before its number."""
    first = log_files.sequence_of(name)
    return first - 1 <= keep_through if name.endswith(log_files.CHECKPOINT_SUFFIX) else first <= keep_through


def _can_be_replayed(names: Sequence[str]) -> bool:
    """Whether these files give a state: logs from record 1 on, or from a checkpoint on."""
    logs = [log_files.sequence_of(name) for name in names if name.endswith(log_files.LOG_SUFFIX)]
    checkpoints = [log_files.sequence_of(name) for name in names if name.endswith(log_files.CHECKPOINT_SUFFIX)]
    return 1 in logs or any(sequence in logs for sequence in checkpoints)
