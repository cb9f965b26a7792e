"""Reading commit logs back: the records since the redo point, and a verdict on every end that is torn or missing (BT
5.3).

Tail or damage? An unreadable record is damage if anything after it says that it had been durable: a frame of this log
or of a later one. So that the last rows have one after them too, a tablet writes a *mark*, an empty record, after an
explicit sync and when it is closed. Whole records after it are no proof by themselves, since a power cut may lose one
unsynced page and keep the next; but the event that tells of the dropped tail counts them.

If acknowledged records are missing before a log, it depends. If anything says that they had been durable, they are
damage, and the tablet does not open. If nothing does, a power cut took them, and this log and the later ones are left
out, so that what is lost is a suffix. Records that were never acknowledged are not missed.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, NoSpace, TabletopError
from runtime.record_log import LogReader, ReadFile
from tablet.engine.log.records import LogHeader, Mutations, RowFragment, decode_header, decode_rows, may_be_header
from tablet.engine.world.events import CommitLogReplayed, LogTailDropped
from tablet.engine.world.storage import Storage, StoredFile

_ADVICE = {
    Corrupted: "restore the file from a copy",
    IncompatibleFormat: "use the version that wrote it, or put the right file in its place",
}


def refuse_foreign(header: LogHeader, name: str, number: int | None, tablet: str | None) -> None:
    """Raise Corrupted if a log is not that of this number and tablet (None: any)."""
    wrong = []
    if number is not None and header.number != number:
        wrong.append(f"log {header.number}, expected log {number}")
    if tablet is not None and header.tablet != tablet:
        wrong.append(f"a log of tablet {header.tablet!r}, expected tablet {tablet!r}")
    if wrong:
        raise Corrupted(
            f"{name} says that it is {', and '.join(wrong)}: it was copied or renamed; put the right file in its place"
        )


def log_reader(file: ReadFile, name: str, presumed_sequence: int | None = None) -> LogReader:
    """Reads a commit log, which begins with its header, and that should have this sequence."""
    return LogReader(file, name, presumed_sequence=presumed_sequence, begins=may_be_header)


def zeros_at_end(reader: LogReader) -> str:
    """What the zeros are that a commit log ended in; empty if there are none. A tablet writes no padding: a file's
    length may outlive the bytes that a power cut took."""
    end = reader.end
    return f"only zeros from offset {end.offset} on: no record" if end.kind == "clean" and end.dropped_bytes else ""


@dataclass(slots=True)
class Replay:
    """Reads back the segments of a log: iterate, then look at what was found. Every record up to `start_sequence` is in
    earlier segments; those up to `flushed_sequence` are passed over. Raises Corrupted and IncompatibleFormat with the
    log, the offset and the record."""

    storage: Storage
    logs: Mapping[int, str]
    start_sequence: int
    flushed_sequence: int
    owner: str | None = None
    """Whose logs they must be; None: anybody's."""
    tablet: bytes | None = None
    """Whose rows are wanted; None: everybody's."""
    writes_again: bool = False
    """Whether what is read counts as durable afterwards: then the records of which no later one says so are written
    again. A sync of the life before may have failed, and a sync of today pass over them."""
    not_written_again: TabletopError | None = None
    """Why the last records are not; then they count as durable up to `durable_sequence`."""
    durable_sequence: int | None = None
    last_sequence: int = 0
    last_timestamp: int = 0
    dropped: tuple[LogTailDropped, ...] = ()
    left_out: tuple[int, ...] = ()
    replayed: tuple[CommitLogReplayed, ...] = ()
    first_sequences: dict[bytes, int] = field(default_factory=dict)
    """For each tablet, the first of its records that was read."""
    _before: tuple[str, str] = ("", "")
    """The log before the present one, and how it ended."""

    @property
    def records(self) -> int:
        """How many were newer than the SSTables."""
        return sum(log.records for log in self.replayed)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of the logs that are read, or left out, in their order."""
        return tuple(sorted(self.logs))

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[RowFragment]]]:
        async for sequence, mutations in self.mutations():
            yield sequence, mutations.rows

    async def mutations(self) -> AsyncIterator[tuple[int, Mutations]]:
        """As the iteration, with the tablet of each record."""
        self.last_sequence = self.start_sequence
        numbers = self.numbers
        headers = [await self._header(number) for number in numbers]
        for place, number in enumerate(numbers):
            following = next((header for header in headers[place + 1 :] if header is not None), None)
            file = await self.storage.open(self.logs[number])
            try:
                async for sequence, mutations in self._one(file, number, self.logs[number], following):
                    yield sequence, mutations
            except _Gap as gap:
                await self._refuse_if_durable(numbers[place:], gap.sequence)
                self.left_out = numbers[place:]
                self.dropped += (gap.event,)
                return
            finally:
                await file.close()

    async def _header(self, number: int) -> LogHeader | None:
        """The header of a log with rows in it, if it can be read: trouble is told of when the log's turn comes. What
        the header of a log without rows says of earlier logs does not count: it may never have come to be used."""
        file = await self.storage.open(self.logs[number])
        header = None
        try:
            async for record in log_reader(file, self.logs[number]):
                if header is None:
                    header = decode_header(record.payload, self.logs[number])
                elif decode_rows(record.payload).rows:
                    return header
        except (Corrupted, IncompatibleFormat):
            pass
        finally:
            await file.close()
        return None

    async def _one(
        self, file: StoredFile, number: int, name: str, following: LogHeader | None
    ) -> AsyncIterator[tuple[int, Mutations]]:
        reader = log_reader(file, name, self.last_sequence + 1)
        first, records, row_count = True, 0, 0
        unproven: deque[tuple[int, int]] = deque()  # Sequence and offset of records that no later one vouches for.
        async for record in reader:
            unproven.append((record.sequence, record.offset))
            while unproven and unproven[0][0] <= reader.durable_sequence:
                unproven.popleft()
            found: Mutations | None = None
            try:
                if first:
                    header = decode_header(record.payload, "it")
                elif following is not None and record.sequence > following.acknowledged_sequence:
                    continue  # It was never acknowledged, and the tablet continued without it.
                elif record.sequence > self.flushed_sequence:
                    mutations = decode_rows(record.payload)
                    if mutations.rows:
                        self.first_sequences.setdefault(mutations.tablet, record.sequence)
                    if self.tablet is None or mutations.tablet == self.tablet:
                        found = mutations
                        self.last_timestamp = max(self.last_timestamp, mutations.last_timestamp)
            except (Corrupted, IncompatibleFormat) as error:
                raise type(error)(
                    f"{name} cannot be used, for its record {record.sequence} at offset {record.offset}: "
                    f"{error.message}; {_ADVICE[type(error)]}"
                ) from error
            if first:
                refuse_foreign(header, name, number, self.owner)
                self._check_order(header, record.sequence, name, await file.size())
                first = False
            if found is not None and found.rows:
                records, row_count = records + 1, row_count + len(found.rows)
                yield record.sequence, found
            self.last_sequence = max(self.last_sequence, record.sequence)
        if unproven and self.writes_again:
            sequence, begin = unproven[0]
            try:
                await self.storage.write_again(name, begin, reader.end.offset - begin)
            except (NoSpace, DiskFailure) as error:
                if self.not_written_again is None:
                    self.not_written_again, self.durable_sequence = error, sequence - 1
        self.replayed += (CommitLogReplayed(name, records, row_count),)
        self._before = (name, f"ends at offset {reader.end.offset} with record {self.last_sequence}")
        if zeros := zeros_at_end(reader):
            self.dropped += (LogTailDropped(name, reader.end.offset, reader.end.dropped_bytes, zeros),)
        if reader.end.kind == "torn":
            reason = reader.end.reason
            self._before = (name, reason)
            if later := reader.end.later_records:
                reason += f", and {later} whole ones after it count for nothing: right after a power cut, else damage"
            self.dropped += (LogTailDropped(name, reader.end.offset, reader.end.dropped_bytes, reason),)

    @property
    def last_name(self) -> str:
        """The log whose end was read last."""
        return self._before[0]

    def _check_order(self, header: LogHeader, sequence: int, name: str, size: int) -> None:
        """The log counts only if everything that was acknowledged before it is there. What had been durable must be."""
        if header.acknowledged_sequence <= self.last_sequence:
            return
        if header.durable_sequence > self.last_sequence:
            raise self._had_been_durable(name, header.durable_sequence, sequence)
        missing = f"records {self.last_sequence + 1} to {sequence - 1} are missing before it"
        raise _Gap(LogTailDropped(name, 0, size, missing), sequence)

    async def _refuse_if_durable(self, numbers: Sequence[int], sequence: int) -> None:
        """Raise Corrupted if a frame of these logs says that what is missing before `sequence` had been durable."""
        for number in numbers:
            file = await self.storage.open(self.logs[number])
            try:
                reader = log_reader(file, self.logs[number])
                with suppress(Corrupted, IncompatibleFormat):
                    async for _ in reader:
                        pass
            finally:
                await file.close()
            if reader.durable_sequence > self.last_sequence:
                raise self._had_been_durable(self.logs[number], reader.durable_sequence, sequence)

    def _had_been_durable(self, name: str, durable: int, sequence: int) -> Corrupted:
        before, end = self._before
        missing = f"records {self.last_sequence + 1} to {sequence - 1} are missing before it"
        culprit = f"{before}: {end}, but {name} says" if before else f"{name}: {missing}, but it says"
        return Corrupted(
            f"{culprit} that all up to record {durable} had been durable; restore {before or 'the log before it'} "
            f"from a copy"
        )


class _Gap(Exception):
    """A log begins after records that were lost, legally, with the tail of the one before."""

    def __init__(self, event: LogTailDropped, sequence: int) -> None:
        super().__init__(event.reason)
        self.event = event
        self.sequence = sequence
