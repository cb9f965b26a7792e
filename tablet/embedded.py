"""The synchronous face: a tablet in a folder, for a program, a test or a notebook.

The problem. The engine is written as coroutines, because servers are. A program that stores a row a microsecond must
not pay for an event loop, and a notebook has one running already, which must not be blocked nor entered twice.

The idea. Files of the real world's disk never make anybody wait: its coroutines run to their end at the first
`send(None)`. So this face drives the engine by hand, without a loop. The only places where the engine's coroutines do
pause are the breaths between two slices of background work. A flush or a compaction therefore is a coroutine that
is kept, and each write pays for a few slices of it, in proportion to what it wrote: no threads, no surprises in the
middle of a read, and the same order of events in every run. `docs/decisions/` tells why.

One thread at a time may use an `EmbeddedTablet`. Rows, columns and values may be texts, which are taken as UTF-8.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, TypeVar

from runtime.errors import TabletopError
from runtime.events import EventLog, Record
from runtime.real.clock import RealClock
from runtime.real.disk import RealDisk
from runtime.world import Clock
from tablet.cells import DeleteCells, DeleteFamily, DeleteRow, Operation, Row, SetCell
from tablet.engine import Engine
from tablet.figures import EngineFigures
from tablet.filters import ReadFilter
from tablet.options import Options
from tablet.schema import GarbageRule, LocalityGroup, Schema
from tablet.snapshots import copy_tablet
from tablet.storage import DiskStorage

T = TypeVar("T")
Text = str | bytes
Folder = str | PathLike[str]

FLUSH_PACE = 3
"""Bytes of a memtable flushed for each byte written: a flush is done long before the next memtable is full."""

COMPACTION_PACE = 6
"""Bytes read by a compaction for each byte written."""

_SLICE_BYTES = 256 * 1024
_EVENTS_KEPT = 1000


class EmbeddedTablet:
    """One tablet in a folder. Open it with `tablet.engine.open`, close it or use it in a `with` statement."""

    def __init__(self, folder: Folder, options: Options | None = None) -> None:
        disk = RealDisk(folder, inline=True)
        self.folder = str(disk.root)
        self.events: deque[Record] = deque(maxlen=_EVENTS_KEPT)
        storage = DiskStorage(disk)
        self._world = InlineWorld(RecentEvents(self.events))
        self._engine: Engine = run_inline(Engine.open(storage, self._world, options, inline=True))
        self._jobs: dict[str, Coroutine[Any, Any, bool]] = {}
        self._credit = 0
        self._held_back = False
        self._get = self._engine.reader.newest_value
        self._cached = self._engine.state.scan_cache.newest
        self._put = self._engine.put

    def __enter__(self) -> "EmbeddedTablet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The engine underneath, for those who look inside."""
        return self._engine

    @property
    def schema(self) -> Schema:
        """Families and locality groups."""
        return self._engine.schema

    def create_family(self, name: str, rule: GarbageRule | None = None, *, group: str = "default") -> None:
        """Create a column family. Raises AlreadyExists, NotFound for the group, InvalidRequest."""
        run_inline(self._engine.create_family(name, rule, group=group))

    def set_garbage_rule(self, name: str, rule: GarbageRule | None) -> None:
        """Give a family another version policy. Raises NotFound."""
        run_inline(self._engine.set_garbage_rule(name, rule))

    def drop_family(self, name: str) -> None:
        """Remove a family and all its cells, by a major compaction. Raises NotFound."""
        self._finish_jobs()
        run_inline(self._engine.drop_family(name))

    def set_locality_group(self, group: LocalityGroup) -> None:
        """Create a locality group, or change how its SSTables are written from now on."""
        run_inline(self._engine.set_locality_group(group))

    def put(self, row: Text, column: Text, value: Text, timestamp: int | None = None) -> None:
        """Write one cell; without a timestamp (microseconds), at the present time.

        Raises InvalidRequest, NotFound for the family, NoSpace (definite), DiskFailure.
        """
        row = row.encode() if isinstance(row, str) else row
        column = column.encode() if isinstance(column, str) else column
        value = value.encode() if isinstance(value, str) else value
        work = self._put(row, column, value, timestamp)
        try:
            work.send(None)
        except StopIteration:
            self._advance(len(value) + len(row) + 32)
        else:
            _go_on(work)

    def write(self, row: Text, *operations: Operation) -> None:
        """Apply operations to one row, atomically and in their order."""
        run_inline(self._engine.write(_bytes(row), operations))
        self._advance(_size(operations))

    def write_many(
        self, mutations: Mapping[Text, Sequence[Operation]] | Iterable[tuple[Text, Sequence[Operation]]]
    ) -> None:
        """Apply mutations to many rows, each row atomically: quicker than one `write` for each."""
        pairs = mutations.items() if isinstance(mutations, Mapping) else mutations
        rows = [(_bytes(row), operations) for row, operations in pairs]
        step = 500
        for start in range(0, len(rows), step):
            run_inline(self._engine.write_many(rows[start : start + step]))
            self._advance(sum(_size(operations) for _, operations in rows[start : start + step]))

    def delete(
        self, row: Text, column: Text | None = None, *, start: int | None = None, end: int | None = None
    ) -> None:
        """Delete the row, or one of its columns, or that column's versions with start <= timestamp < end."""
        if column is None:
            self.write(row, DeleteRow())
        else:
            self.write(row, DeleteCells(_bytes(column), start, end))

    def delete_family(self, row: Text, family: Text) -> None:
        """Delete the row's cells of one family."""
        self.write(row, DeleteFamily(_bytes(family)))

    def get(self, row: Text, column: Text) -> bytes | None:
        """The newest value of one column, or None."""
        row = row.encode() if isinstance(row, str) else row
        column = column.encode() if isinstance(column, str) else column
        known = self._cached(row, column)
        if known is not None:
            return known
        work = self._get(row, column)
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        return _go_on(work)

    def read(self, row: Text, wanted: ReadFilter | None = None) -> Row | None:
        """The row's cells that the filter wants, all by default; None if there are none."""
        return run_inline(self._engine.read(_bytes(row), wanted or ReadFilter()))

    def scan(
        self,
        start: Text = b"",
        end: Text = b"",
        *,
        prefix: Text = b"",
        wanted: ReadFilter | None = None,
        limit: int | None = None,
    ) -> Iterator[Row]:
        """The rows with start <= row < end (empty: no bound) and this prefix, in order, at most `limit`."""
        batches = self._engine.scan_batches(
            _bytes(start), _bytes(end), prefix=_bytes(prefix), wanted=wanted or ReadFilter()
        )
        return _one_by_one(batches.next_batch, limit)

    def items(
        self, column: Text, start: Text = b"", end: Text = b"", *, prefix: Text = b"", limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """(row, newest value) of one column, for the rows that have it; rows as in `scan`, and quicker than that."""
        batches = self._engine.item_batches(_bytes(column), _bytes(start), _bytes(end), prefix=_bytes(prefix))
        return _one_by_one(batches.next_items, limit)

    def increment(self, row: Text, column: Text, delta: int = 1) -> int:
        """Add to a 64-bit big-endian counter and return its new value."""
        return run_inline(self._engine.increment(_bytes(row), _bytes(column), delta))

    def append(self, row: Text, column: Text, data: Text) -> bytes:
        """Append to the newest value and return the new one."""
        return run_inline(self._engine.append(_bytes(row), _bytes(column), _bytes(data)))

    def check_and_mutate(
        self,
        row: Text,
        wanted: ReadFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: Text | None = None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell (with this value, if given), else `otherwise`; returns which."""
        expected = None if value is None else _bytes(value)
        return run_inline(self._engine.check_and_mutate(_bytes(row), wanted, if_found, otherwise, value=expected))

    def sync(self) -> None:
        """Make everything that was written durable."""
        run_inline(self._engine.sync())

    def flush(self) -> None:
        """Minor compaction of all that is in memory."""
        self._finish_jobs()
        run_inline(self._engine.flush())

    def compact(self) -> None:
        """Major compaction: one SSTable for each locality group, no deletions, no garbage."""
        self._finish_jobs()
        run_inline(self._engine.compact())

    def settle(self) -> None:
        """Do all the background work that is due now."""
        self._finish_jobs()
        while run_inline(self._engine.do_some_housework()):
            pass

    def save_snapshot(self, name: str) -> None:
        """Keep the present content under a name. Raises AlreadyExists."""
        self._finish_jobs()
        run_inline(self._engine.save_snapshot(name))

    def snapshots(self) -> list[str]:
        """The names of the snapshots."""
        return run_inline(self._engine.snapshots())

    def restore_snapshot(self, name: str) -> None:
        """Go back to a snapshot; what was written since is gone. Raises NotFound."""
        self._finish_jobs()
        run_inline(self._engine.restore_snapshot(name))

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises NotFound."""
        self._finish_jobs()
        run_inline(self._engine.delete_snapshot(name))

    def clone(self, folder: Folder, snapshot: str | None = None) -> None:
        """Copy the tablet, or one of its snapshots, into an empty folder. Raises AlreadyExists, NotFound."""
        self.flush()
        target = DiskStorage(RealDisk(folder, inline=True))
        run_inline(copy_tablet(self._engine, target, snapshot))

    def figures(self) -> EngineFigures:
        """Counters and sizes."""
        return self._engine.figures()

    def close(self) -> None:
        """Make everything durable and let go of the folder. Closing twice is harmless."""
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.close()
        self._get = self._engine.get
        run_inline(self._engine.close())

    def __repr__(self) -> str:
        return f"EmbeddedTablet({self.folder!r})"

    def _advance(self, written: int) -> None:
        """Pay for what was written with slices of background work."""
        engine = self._engine
        if not self._jobs:
            if len(engine.state.view.memtables) == 1:  # Nothing is frozen.
                self._held_back = False
                return
            if self._held_back:
                return
            self._jobs["flush"] = engine.flush_one()
            self._credit = 0
        self._credit += written
        while self._jobs and (self._credit > 0 or engine.stall_reason()):
            name = "flush" if "flush" in self._jobs else "compaction"
            self._credit -= _SLICE_BYTES // (FLUSH_PACE if name == "flush" else COMPACTION_PACE)
            self._step(name)

    def _step(self, name: str) -> None:
        """One slice of a job; at its end, perhaps begin the next."""
        job = self._jobs[name]
        try:
            job.send(None)
            return
        except StopIteration:
            del self._jobs[name]
        except TabletopError:
            # The write that paid for this slice is done: it must not fail. The event tells what happened, and a write
            # that finds no room any more tries again, and is told.
            del self._jobs[name]
            self._held_back = True
            return
        except BaseException:
            del self._jobs[name]
            raise
        if self._engine.state.frozen and "flush" not in self._jobs:
            self._jobs["flush"] = self._engine.flush_one()
        elif "compaction" not in self._jobs and self._engine.housekeeping.next_compaction() is not None:
            self._jobs["compaction"] = self._engine.compact_one()

    def _finish_jobs(self) -> None:
        """Run what is under way to its end. Raises what the work raises."""
        jobs, self._jobs = self._jobs, {}
        self._held_back = False
        for job in jobs.values():
            run_inline(job)


class _Pause:
    """A breath: gives the hand back to whoever drives the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class InlineWorld:
    """The engine's world without an event loop."""

    def __init__(self, sink: "RecentEvents") -> None:
        self.clock: Clock = RealClock()
        self.events = EventLog("embedded", sink, self.clock.wall_microseconds)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> Any:
        """Nothing runs in the background here."""
        work.close()
        raise AssertionError(f"{name}: an embedded engine is not started")

    async def breathe(self) -> None:
        """Give the hand back."""
        await _Pause()


class RecentEvents:
    """Keeps the last events."""

    def __init__(self, records: deque[Record]) -> None:
        self._records = records

    def write(self, record: Record) -> None:
        """Keep one, forget the oldest."""
        self._records.append(record)


def run_inline(work: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine to its end; its breaths are taken at once."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    return _go_on(work)


def _go_on(work: Coroutine[Any, Any, T]) -> T:
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _one_by_one(next_batch: Callable[[], Coroutine[Any, Any, list[T]]], limit: int | None) -> Iterator[T]:
    """What the batches hold, at most `limit` of it."""
    left = limit
    while left != 0 and (batch := run_inline(next_batch())):
        yield from batch if left is None else batch[:left]
        left = None if left is None else left - min(left, len(batch))


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _size(operations: Sequence[Operation]) -> int:
    return sum(len(operation.value) + 64 if isinstance(operation, SetCell) else 64 for operation in operations)
