"""The log of the lock service: what it has answered survives kills and losses of power.

The idea is that of the master's operation log (GFS 2.6.3): a change is first a record on stable storage, then applied
to memory, then answered. What differs is the size: the whole state is a few records. So there are no checkpoints beside
the log. A log that has grown long is begun again in a new file, which has the state at its head:

    log/00000000000000000001.log        the empty state, then records
    log/00000000000000000913.log.part   a file that is not complete yet, and counts for nothing
    log/00000000000000000913.log        the state, then records; the file before it is removed

The new file gets its name when it is complete and synced. While that is done, changes wait; that takes milliseconds.

Invariants: (1) memory changes only after its record is durable; (2) the file with the highest number is complete up to
its StateComplete, and holds all that was answered; (3) after a failure that leaves open what the disk holds, this run
commits nothing more; (4) a log that ends before the record that the mark beside it names is damaged
(`runtime/durable_mark.py`).
"""

import asyncio
import contextlib

from lockservice.events import LockLogFailed, LockLogNotShortened, LockLogReplayed, LockLogShortened
from lockservice.interface import Change
from lockservice.settings import LockServiceSettings
from lockservice.state.lock_state import LockState
from lockservice.state.records import FORMAT, EpochBegun, LogBegun, Record, StateComplete, decode, encode
from runtime.durable_mark import PATH as MARK
from runtime.durable_mark import DurableMark
from runtime.errors import Corrupted, IncompatibleFormat, TabletopError, Unavailable, shown
from runtime.record_log import LogReader, LogWriter
from runtime.rewriting import write_again
from runtime.world import File, World

FOLDER = "log"
_SUFFIX = ".log"
_PART = ".part"
_DIGITS = 20


class LockLog:
    """The log, and the state that it stands for. One change at a time: its callers take turns."""

    def __init__(self, world: World, settings: LockServiceSettings) -> None:
        self.state = _empty(settings)
        self.failure = ""
        """Why this run must commit nothing more; empty while it may."""
        self._world = world
        self._settings = settings
        self._file: File | None = None
        self._writer: LogWriter | None = None
        self._limit = settings.log_bytes
        self._path = ""
        self._mark = DurableMark(world)

    @property
    def next_sequence(self) -> int:
        """The number that the next record will have."""
        return self._writer.next_sequence if self._writer else 1

    @property
    def log_bytes(self) -> int:
        """Bytes of the present log file."""
        return self._writer.offset if self._writer else 0

    # Committing

    async def commit(self, record: Record) -> list[Change]:
        """Make a record durable, then apply it; returns what watchers are to be told.

        Raises NoSpace (definite: nothing was changed), DiskFailure (a restart decides), Unavailable (this run ends).
        """
        if self.failure:
            raise Unavailable(f"the lock service is ending: {self.failure}; ask again when it has restarted")
        assert self._writer is not None, "commit before recovery"
        try:
            self._mark.note(await self._writer.commit(encode(record)))
        except TabletopError as error:
            self._world.events.emit(LockLogFailed(problem=error.message))
            if not error.definite:
                self.failure = error.message
            fate = "was not made" if error.definite else "may be found made after a restart"
            raise type(error)(f"the change {fate}: {error.message}", definite=error.definite) from error
        changes = self.state.apply(record, self._world.clock.now())
        if self.log_bytes > self._limit:
            await self._shorten()
        return changes

    async def close(self) -> None:
        """Let go of the file."""
        await self._mark.close()
        if self._file is not None:
            await self._file.close()

    async def _shorten(self) -> None:
        """Begin the log again; if that cannot be done now, go on with the long one until it has doubled."""
        sequence, before = self.next_sequence, self._path
        try:
            await self._begin(sequence)
        except TabletopError as error:
            self._limit = 2 * self.log_bytes
            self._world.events.emit(LockLogNotShortened(problem=error.message))
            return
        self._limit = max(self._settings.log_bytes, 2 * self.log_bytes)
        self._world.events.emit(LockLogShortened(sequence=sequence, size=self.log_bytes))
        with contextlib.suppress(TabletopError):  # The next start removes it, too.
            await self._world.disk.remove(before)

    async def _begin(self, sequence: int) -> None:
        """Begin a log file with the state, and use it from now on.

        Raises NoSpace or DiskFailure. The file before stays in use, unless the new one may have its name already: then
        a record in the old one could be overlooked, and this run must end (`failure`)."""
        path = _path(sequence)
        part = path + _PART
        file = await self._world.disk.open(part, "replace")
        try:
            writer = LogWriter(file, next_sequence=sequence)
            head = [LogBegun(FORMAT, self._settings.cluster), *self.state.as_records(), StateComplete()]
            await asyncio.gather(*(writer.begin_commit(encode(record)) for record in head))
        except TabletopError:
            await file.close()
            with contextlib.suppress(TabletopError):
                await self._world.disk.remove(part)
            raise
        try:
            await self._world.disk.rename(part, path)
            await self._world.disk.sync_directory(FOLDER)
        except TabletopError as error:
            await file.close()
            self.failure = f"it is not known which log file the next start will find: {error.message}"
            raise
        if self._file is not None:
            await self._file.close()
        self._file, self._writer, self._path = file, writer, path

    # Recovery

    async def recover(self) -> None:
        """Load what is on disk, and begin an epoch.

        Raises Corrupted, IncompatibleFormat, DiskFailure, NoSpace.
        """
        disk = self._world.disk
        await disk.make_directory(FOLDER)
        await disk.sync_directory()
        # Who died between making a name and syncing it has left one that we see and a power cut may yet take away.
        await disk.sync_directory(FOLDER)
        names = [name for name in await disk.list(FOLDER) if not name.startswith(".")]
        logs = [name for name in names if _sequence(name.removesuffix(_PART)) and not name.endswith(_PART)]
        records, note = 0, ""
        marked = await self._mark.open()
        if logs:
            records, note = await self._replay(logs[-1], marked)
        elif marked:
            raise Corrupted(_behind_mark(FOLDER, "no log file is left", marked))
        else:
            await self._begin(1)
        for name in names:
            if not logs or name != logs[-1]:
                with contextlib.suppress(TabletopError):  # Nothing depends on it.
                    await disk.remove(f"{FOLDER}/{name}")
        await self.commit(EpochBegun(self.state.epoch + 1))
        state = self.state
        self._world.events.emit(
            LockLogReplayed(
                records=records,
                sessions=len(state.sessions),
                files=len(state.files),
                locks=len(state.locks),
                epoch=state.epoch,
                note=note or "the log ended cleanly",
            )
        )

    async def _replay(self, name: str, marked: int) -> tuple[int, str]:
        """Apply a log file; returns how many records it has, and what is to be said of its end."""
        path = f"{FOLDER}/{name}"
        first = _sequence(name)
        file = await self._world.disk.open(path, "update")
        try:
            reader = LogReader(file, path, first_sequence=first)
            sequence, unproven = first - 1, 0
            is_complete = False
            frames: list[tuple[int, int]] = []
            async for found in reader:
                record = self._decoded(path, found.sequence, found.payload, is_first=found.offset == 0)
                self._apply(path, found.sequence, record)
                is_complete = is_complete or isinstance(record, StateComplete)
                sequence = found.sequence
                frames.append((found.sequence, found.offset))
                if len(frames) % 256 == 0:
                    await self._world.breathe()
            if not is_complete:
                raise Corrupted(
                    f"{path}: {reader.end.reason or 'it ends before its state does'}; restore it from a copy"
                )
            end = reader.end
            if sequence < marked:
                raise Corrupted(_behind_mark(path, end.reason or f"it ends with record {sequence}", marked))
            # The last records, for which no later one vouches, may be in no more than the page cache.
            unproven = next((at for number, at in frames if number > reader.durable_sequence), end.offset)
            if end.dropped_bytes:
                await file.truncate(end.offset)
            await write_again(file, unproven, end.offset)
            await file.sync()
        except BaseException:
            await file.close()
            raise
        self._file, self._path = file, path
        self._writer = LogWriter(file, next_sequence=sequence + 1, offset=end.offset)
        dropped = f"dropped the last {end.dropped_bytes} bytes of {path}: {end.reason}" if end.dropped_bytes else ""
        return len(frames), dropped

    def _decoded(self, path: str, sequence: int, payload: bytes, *, is_first: bool) -> Record:
        try:
            record = decode(payload)
        except (Corrupted, IncompatibleFormat) as error:
            raise type(error)(f"{path}: record {sequence}: {error.message}") from error
        if is_first != isinstance(record, LogBegun):
            raise IncompatibleFormat(f"{path}: record {sequence} is {type(record).__name__}; not a lock service's log")
        if isinstance(record, LogBegun) and record.format != FORMAT:
            raise IncompatibleFormat(
                f"{path} is in format {record.format}, this program reads {FORMAT}; use a newer one"
            )
        return record

    def _apply(self, path: str, sequence: int, record: Record) -> None:
        try:
            self.state.apply(record, self._world.clock.now())
        except KeyError as error:
            what = f"a {type(record).__name__} of {shown(str(error.args[0]))}, which is not there"
            raise Corrupted(f"{path}: record {sequence} contradicts those before it: {what}") from error


def _empty(settings: LockServiceSettings) -> LockState:
    return LockState(lease_seconds=settings.lease_seconds, grace_seconds=settings.grace_seconds)


def _behind_mark(path: str, why: str, marked: int) -> str:
    return f"{path}: {why}, and the file {MARK} says that record {marked} had been durable; restore the log from a copy"


def _path(sequence: int) -> str:
    return f"{FOLDER}/{sequence:0{_DIGITS}d}{_SUFFIX}"


def _sequence(name: str) -> int:
    """The number of a log file's first record. Raises IncompatibleFormat for a name that is none of ours."""
    digits = name.removesuffix(_SUFFIX)
    if name == digits or len(digits) != _DIGITS or not digits.isdecimal() or not int(digits):
        raise IncompatibleFormat(f"{FOLDER}/{shown(name)} does not belong to a lock service's log; move it away")
    return int(digits)
