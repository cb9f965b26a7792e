"""The log of a server: one line of records for all its tablets, cut into segments (BT 5.3, 6).

The problem. A log for each tablet would mean as many files as tablets, and a sync for each. One log for all of them has
one end to write to; but then no tablet can say alone which part of it is still needed.

The idea. A record is known by its sequence, which rises without end over all segments; a tablet's *redo point* is a
sequence too. The log is cut into segments, each a file with a header (`records.py`). A segment is dropped when no
tablet needs a record in it: each tablet says which records it has only in memory. A segment is *named*, in a place that
the owner of the log keeps, before anything in it is acknowledged, and it is named with its first sequence: so one that
is missing is noticed, and one that is left over from an attempt that failed is told from one that counts.

An embedded tablet is a server with one tablet: its manifest names the segments, and each memtable has one of its own.

Invariants: (1) segments follow one another without a gap in what was acknowledged; (2) only the last one is written to;
(3) a named segment is dropped only by another list of names, and its file is removed after that.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from runtime.errors import TabletopError
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.records import LogHeader
from tablet.engine.world.options import SyncMode
from tablet.engine.world.storage import Storage


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log, as it is named: its number, and the sequence of its header."""

    number: int
    first_sequence: int


class ServerLog:
    """A log being written. `owner`: whose it is, as its headers say. `new_number` gives each segment a number that no
    other has had. `name` makes it durable that there is one more segment: afterwards, and not before, it counts."""

    def __init__(
        self,
        storage: Storage,
        *,
        owner: str,
        sync: SyncMode,
        inline: bool,
        segments: Sequence[Segment],
        new_number: Callable[[], int],
        name: Callable[[Segment], Awaitable[None]],
    ) -> None:
        self.owner = owner
        self.segments = tuple(segments)
        self.current: CommitLog | None = None
        self.begun: dict[int, CommitLog] = {}
        self.unnamed: int | None = None
        self.closed_bytes = 0
        self._storage = storage
        self._sync = sync
        self._inline = inline
        self._new_number = new_number
        self._name = name
        self._recovered_sequence = self.start_sequence
        self._passed_sequence = 0

    @property
    def start_sequence(self) -> int:
        """The sequence before that of the first segment; 0 if there is none."""
        return self.segments[0].first_sequence - 1 if self.segments else 0

    @property
    def last_sequence(self) -> int:
        """That of the last record, written or recovered."""
        if self.current is not None:
            return self.current.last_sequence
        return max(self._recovered_sequence, self._passed_sequence)

    @property
    def durable_sequence(self) -> int:
        """Every acknowledged record up to this one is known to be durable."""
        return self.current.durable_sequence if self.current is not None else self._recovered_sequence

    @property
    def acknowledged_sequence(self) -> int:
        """The last record that counts."""
        return self.current.acknowledged_sequence if self.current is not None else self._recovered_sequence

    @property
    def file_bytes(self) -> int:
        """What was written so far."""
        return self.closed_bytes + (self.current.file_bytes if self.current is not None else 0)

    @property
    def syncs(self) -> int:
        """How often the segments that are open were synced."""
        return sum(log.syncs for log in self.begun.values())

    def recovered(self, last_sequence: int) -> None:
        """The segments were read, up to this record. Those that begin after it hold nothing that counts: they were left
        out, or lost their beginning."""
        self._recovered_sequence = last_sequence
        self.segments = tuple(segment for segment in self.segments if segment.first_sequence <= last_sequence)

    def pass_over(self, sequence: int) -> None:
        """Give no record a sequence up to this one: a tablet has rows of such records from elsewhere."""
        assert self.current is None, "the records of a segment follow one another"
        self._passed_sequence = max(self._passed_sequence, sequence)

    async def begin_segment(self) -> None:
        """Write to a new segment from here on. Nobody may be writing. Raises NoSpace, DiskFailure, and then everything
        is as before, but for a file that does not count."""
        if self.current is not None:
            await self.current.settled()
        segment = Segment(self._new_number(), self.last_sequence + 1)
        header = LogHeader(self.owner, segment.number, self.durable_sequence, self.acknowledged_sequence)
        self.unnamed = segment.number
        try:
            log = await CommitLog.create(
                self._storage, header, next_sequence=segment.first_sequence, sync=self._sync, inline=self._inline
            )
            try:
                await self._name(segment)
            except BaseException:
                await log.close()
                self.keep([other for other in self.segments if other != segment])  # If it was named, it is not used.
                raise
        finally:
            self.unnamed = None
        if self.current is not None:
            self.closed_bytes += self.current.file_bytes
        self.current = self.begun[segment.number] = log

    def remaining(self, needed_after: int | None) -> tuple[Segment, ...]:
        """The segments that stay if no record up to this one is needed; None: no record at all. The last one stays."""
        ends = [following.first_sequence - 1 for following in self.segments[1:]]
        kept = [
            segment
            for segment, end in zip(self.segments, ends, strict=False)
            if needed_after is not None and end > needed_after
        ]
        return (*kept, *self.segments[-1:])

    def keep(self, segments: Sequence[Segment]) -> None:
        """Only these are named any more."""
        self.segments = tuple(segments)

    async def close_dropped(self) -> None:
        """Let go of the files of segments that are named no more."""
        named = {segment.number for segment in self.segments}
        for number in [number for number in self.begun if number not in named]:
            await self.begun.pop(number).close()

    async def sync(self) -> None:
        """Make everything that was written durable, in its order, and say so behind the last record. Raises
        DiskFailure."""
        for number, log in sorted(self.begun.items()):
            if number in self.begun:
                try:
                    await log.sync()
                except TabletopError:
                    if number in self.begun:
                        raise
                    # Its rows were flushed meanwhile, and it is gone.
        with suppress(TabletopError):  # Everything is durable; only its mark is missing.
            if self.current is not None:
                await self.current.write_mark()

    async def close(self) -> None:
        """Let go of all files."""
        for log in self.begun.values():
            await log.close()
        self.begun, self.current = {}, None
