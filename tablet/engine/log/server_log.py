"""The log of a server: one line of records for all its tablets, cut into segments (BT 5.3, 6).

The problem. A log for each tablet would mean as many files as tablets, and a sync for each. One log for all of them has
one end to write to; but then no tablet can say alone which part of it is still needed.

The idea. A record is known by its sequence, which rises without end over all segments; a tablet's *redo point* is a
sequence too. The log is cut into segments, each a file with a header (`records.py`). A segment is dropped when no
tablet needs a record in it: each tablet says which records it has only in memory. A segment is *named*, in a place that
the owner of the log keeps, before anything in it is acknowledged, and it is named with its first sequence: so one that
is missing is noticed, and one that is left over from an attempt that failed is told from one that counts.

An embedded tablet is a server with one tablet: its manifest names the segments, and each memtable has one of its own.
The log that tablets share (`open`) has a folder, where a list names the segments (`segment_list.py`); a segment is full
at a certain size. After a restart, a tablet that is not open yet needs all of its records that were read.

What we simplify. A tablet that is opened with the log of its own server reads the whole of it for its records. The log
of a server that died is sorted first (`sorted_log.py`, BT 6).

Invariants: (1) segments follow one another without a gap in what was acknowledged; (2) only the last one is written to;
(3) a named segment is dropped only by another list of names, and its file is removed after that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b

from runtime.errors import Corrupted, TabletopError
from runtime.record_log import Fence
from runtime.tasks import to_the_end
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.log_mark import LogMark
from tablet.engine.log.records import LogHeader, Segment
from tablet.engine.log.replay import Replay
from tablet.engine.log.segment_list import SegmentList
from tablet.engine.world.options import SyncMode
from tablet.engine.world.storage import Storage


class ServerLog:
    """A log being written. `owner`: whose it is, as its headers say. `new_number` gives each segment a number that no
    other has had. `name` makes it durable that there is one more segment: afterwards, and not before, it counts.
    `fence`: asked before a record is acknowledged, whether the log still has this owner (`segment_list.py`).
    `segment_bytes`: at this size a segment is full; 0: each memtable of the only tablet has one of its own.
    `segment_limit`: if there are more, the tablet that pins the oldest is asked to flush; 0: nobody is. `salt`: makes
    the identities of this log's frames differ from those of other logs. `mark`: where it is noted how far the log is
    durable; None: nowhere."""

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
        segment_bytes: int = 0,
        segment_limit: int = 0,
        salt: int = 0,
        fence: Fence | None = None,
        mark: LogMark | None = None,
    ) -> None:
        self.owner = owner
        self.storage = storage
        self.segments = tuple(segments)
        self.latest: CommitLog | None = None
        """The newest segment of this life."""
        self._current: CommitLog | None = None
        self.is_closed = False
        self.begun: dict[int, CommitLog] = {}
        self.unnamed: int | None = None
        self.closed_bytes = 0
        self._sync = sync
        self.is_inline = inline
        self._new_number = new_number
        self._name = name
        self._segment_bytes = segment_bytes
        self._segment_limit = segment_limit
        self._salt = salt
        self._fence = fence
        self._mark = mark
        self._recovered_durable = self.start_sequence
        self._recovered_sequence = self.start_sequence
        self._passed_sequence = 0
        self._list: SegmentList | None = None
        self._needs: dict[str, Callable[[], int | None]] = {}
        self._flushers: dict[str, Callable[[], None]] = {}
        self._stopping: dict[str, Callable[[str], None]] = {}
        self._rolling: asyncio.Event | None = None

    @classmethod
    async def open(
        cls,
        storage: Storage,
        *,
        owner: str,
        sync: SyncMode,
        segment_bytes: int,
        segment_limit: int = 0,
        salt: int = 0,
        token: int = 0,
    ) -> "ServerLog":
        """The log of a server, to be shared by its tablets, from the folder of its own. `token`: rises from owner to
        owner; an earlier owner who is still at work acknowledges nothing any more that is not read here, and learns of
        it by Superseded. 0: only a lock keeps others out. Raises Superseded, Corrupted, IncompatibleFormat, NoSpace,
        DiskFailure."""
        named = await SegmentList.load(storage, token)
        log = cls(
            storage,
            owner=owner,
            sync=sync,
            inline=False,
            segments=named.segments,
            new_number=named.new_number,
            name=named.add,
            segment_bytes=segment_bytes,
            segment_limit=segment_limit,
            salt=salt,
            fence=named.check_owner if token else None,
        )
        log._list = named
        named.when_superseded = log._stop
        replay = Replay(storage, log._files(), log.start_sequence, 0, owner, writes_again=True)
        async for _ in replay:
            pass
        if replay.not_written_again is not None:
            raise replay.not_written_again
        log.recovered(replay.last_sequence)
        for tablet, first in replay.first_sequences.items():  # Until it is opened, nobody knows what it has flushed.
            log.attach(tablet.decode(), partial(int, first - 1))
        await named.keep(lambda _: log.segments)
        return log

    def read(self, tablet: str, flushed_sequence: int) -> Replay:
        """The records of one tablet after its redo point. Only segments are read that are kept for it: others may be
        dropped at any time. Of a tablet that has never written here, there are none."""
        segments = self.remaining(flushed_sequence) if tablet in self._needs else ()
        files = {segment.number: segment.file_name for segment in segments}
        start = segments[0].first_sequence - 1 if segments else 0
        return Replay(self.storage, files, start, flushed_sequence, self.owner, tablet=tablet.encode())

    def check_read(self, replay: Replay) -> None:
        """Raise Corrupted if a tablet's `read` did not find every record that was there when the log was opened: the
        segments can be read no further than before, so something has happened to them since."""
        if replay.logs and replay.last_sequence < self._recovered_sequence:
            raise Corrupted(
                f"the log of {self.owner!r} had records up to {self._recovered_sequence} when it was opened, and can "
                f"be read up to record {replay.last_sequence} now; restore the segments "
                f"{', '.join(replay.logs.values())} from a copy"
            )

    def _files(self) -> dict[int, str]:
        return {segment.number: segment.file_name for segment in self.segments}

    @property
    def current(self) -> CommitLog | None:
        """The segment that takes records; None while the next one is begun, or is yet to be."""
        current = self._current
        return None if current is None or current.is_over else current

    @property
    def is_shared(self) -> bool:
        """Whether it may be the log of several tablets."""
        return self._segment_bytes > 0

    @property
    def start_sequence(self) -> int:
        """The sequence before that of the first segment; 0 if there is none."""
        return self.segments[0].first_sequence - 1 if self.segments else 0

    @property
    def last_sequence(self) -> int:
        """That of the last record, written or recovered."""
        written = self.latest.last_sequence if self.latest is not None else self._recovered_sequence
        return max(written, self._passed_sequence)

    @property
    def durable_sequence(self) -> int:
        """Every acknowledged record up to this one is known to be durable."""
        return self.latest.durable_sequence if self.latest is not None else self._recovered_durable

    @property
    def acknowledged_sequence(self) -> int:
        """The last record that counts."""
        return self.latest.acknowledged_sequence if self.latest is not None else self._recovered_sequence

    @property
    def file_bytes(self) -> int:
        """What was written so far."""
        return self.closed_bytes + (self.latest.file_bytes if self.latest is not None else 0)

    @property
    def syncs(self) -> int:
        """How often the segments that are open were synced."""
        return sum(log.syncs for log in self.begun.values())

    def recovered(self, last_sequence: int, durable_sequence: int | None = None) -> None:
        """The segments were read, up to this record. Those that begin after it hold nothing that counts: they were left
        out, or lost their beginning. `durable_sequence`: how far they are durable; without it, all of them are."""
        self._recovered_sequence = last_sequence
        self._recovered_durable = last_sequence if durable_sequence is None else durable_sequence
        self.segments = tuple(segment for segment in self.segments if segment.first_sequence <= last_sequence)

    def pass_over(self, sequence: int) -> None:
        """Give no record a sequence up to this one: a tablet has rows of such records from elsewhere."""
        if sequence > self.last_sequence:
            self._passed_sequence = sequence
            self._current = None  # The records of a segment follow one another.

    @to_the_end
    async def begin_segment(self) -> None:
        """Write to a new segment from here on, also if the caller is cancelled. Nobody may be writing. Raises NoSpace,
        DiskFailure, and then everything is as before, but for a file that does not count."""
        if self.latest is not None:
            await self.latest.settled()
        segment = Segment(self._new_number(), self.last_sequence + 1)
        header = LogHeader(self.owner, segment.number, self.durable_sequence, self.acknowledged_sequence)
        self.unnamed = segment.number
        try:
            log = await CommitLog.create(
                self.storage,
                header,
                next_sequence=segment.first_sequence,
                sync=self._sync,
                inline=self.is_inline,
                identity=self._identity(segment),
                fence=self._fence,
            )
            try:
                await self._name(segment)
            except BaseException:
                await log.close()
                self.keep([other for other in self.segments if other != segment])  # If it was named, it is not used.
                raise
        finally:
            self.unnamed = None
        if self.latest is not None:
            self.closed_bytes += self.latest.file_bytes
        self.latest = self.begun[segment.number] = log
        # A tablet may have come meanwhile whose sequences are to be passed over: then another segment follows.
        self._current = log if log.last_sequence >= self._passed_sequence else None
        if segment not in self.segments:
            self.segments = (*self.segments, segment)

    async def make_room(self) -> None:
        """Begin a segment if the present one is full, or if there is none; records that come meanwhile wait. Raises
        NoSpace, DiskFailure."""
        if self._rolling is not None:
            await self._rolling.wait()
            return
        current = self.current
        if current is not None and current.file_bytes < self._segment_bytes:
            return
        self._rolling, self._current = asyncio.Event(), None
        try:
            await self.begin_segment()
        except BaseException:
            follows = self.latest is not None and self.latest.last_sequence == self.last_sequence
            # If the new segment may be named, what is written from here on must not be in the one before: that one
            # would be dropped when its tablets have flushed what lies before the first sequence of the new one.
            is_in_doubt = self._list is not None and self._list.in_doubt
            self._current = self.latest if follows and not is_in_doubt else None
            raise
        finally:
            self._rolling.set()
            self._rolling = None
        self._ask_who_pins()

    def attach(
        self, tablet: str, needed_after: Callable[[], int | None], *, superseded: Callable[[str], None] | None = None
    ) -> None:
        """A tablet writes here from now on. `needed_after`: it needs no record up to this one; None: none at all.
        `superseded` is told why, if the log comes to have another owner."""
        self._needs[tablet] = needed_after
        if superseded is not None:
            self._stopping[tablet] = superseded

    def _stop(self, reason: str) -> None:
        for stop in self._stopping.values():
            stop(reason)

    @property
    def tablets(self) -> list[str]:
        """Those that write here, or have records here and are not open yet."""
        return sorted(self._needs)

    def detach(self, tablet: str) -> None:
        """A tablet that was flushed and moved away needs nothing any more."""
        del self._needs[tablet]
        self._stopping.pop(tablet, None)

    def flushed_by(self, tablet: str, ask: Callable[[], None] | None) -> None:
        """Call `ask` when this tablet should flush its memtable, because it keeps the oldest of too many segments;
        None: it is not to be asked any more."""
        if ask is None:
            self._flushers.pop(tablet, None)
        else:
            self._flushers[tablet] = ask

    def _ask_who_pins(self) -> None:
        pinning = self.pinned_by() if 0 < self._segment_limit < len(self.segments) else None
        ask = self._flushers.get(pinning) if pinning is not None else None
        if ask is not None:
            ask()

    def pinned_by(self) -> str | None:
        """The tablet that needs the oldest record, and so keeps the oldest segment: it should be flushed."""
        needs = {tablet: after for tablet, needed in self._needs.items() if (after := needed()) is not None}
        return min(needs, key=needs.__getitem__, default=None)

    def needed_after(self) -> int | None:
        """No attached tablet needs a record up to this one; None: nobody needs any."""
        return min((after for needed in self._needs.values() if (after := needed()) is not None), default=None)

    @to_the_end
    async def drop_unneeded(self) -> None:
        """Drop the segments that no attached tablet needs. Raises NoSpace, DiskFailure."""
        assert self._list is not None, "the owner of a tablet's own log drops its segments"
        await self._list.keep(lambda segments: still_needed(segments, self.needed_after()))
        self.keep(self._list.segments)
        await self.close_dropped()

    def _identity(self, segment: Segment) -> int:
        """What the frames of a segment are told by: as good as different for each segment of each log."""
        name = f"{self.owner}\0{segment.number}\0{segment.first_sequence}\0{self._salt}"
        return int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "little")

    def remaining(self, needed_after: int | None) -> tuple[Segment, ...]:
        """The segments that stay if no record up to this one is needed; None: no record at all."""
        return still_needed(self.segments, needed_after)

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
            if self.latest is not None:
                await self.latest.write_mark()
        await self.note_durable()

    async def note_durable(self) -> None:
        """Write down outside of the log how far it is durable: now, or soon."""
        if self._mark is not None and self.latest is not None:
            await self._mark.note(self.durable_sequence)

    async def close(self) -> None:
        """Let go of all files."""
        if self._mark is not None:
            await self._mark.close()
        for log in self.begun.values():
            await log.close()
        self.begun, self.latest, self._current, self.is_closed = {}, None, None, True


def still_needed(segments: Sequence[Segment], needed_after: int | None) -> tuple[Segment, ...]:
    """The segments that stay if no record up to this one is needed; None: no record at all. The last one stays.

    >>> segments = (Segment(1, 1), Segment(2, 50), Segment(3, 90))
    >>> [segment.number for segment in still_needed(segments, 48)], [s.number for s in still_needed(segments, None)]
    ([1, 2, 3], [3])
    """
    ends = [following.first_sequence - 1 for following in segments[1:]]
    kept = [
        segment for segment, end in zip(segments, ends, strict=False) if needed_after is not None and end > needed_after
    ]
    return (*kept, *segments[-1:])
