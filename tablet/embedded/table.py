"""The synchronous face: a tablet in a folder, for a program, a test or a notebook.

The problem. The engine is written as coroutines, because servers are. A program that stores a row a microsecond must
not pay for an event loop, and a notebook has one running already, which must not be blocked nor entered twice.

The idea. Files of the real world's disk never make anybody wait: its coroutines run to their end at the first
`send(None)`. So this face drives the engine by hand, without a loop. The only places where the engine's coroutines do
pause are the breaths between two slices of background work. A flush or a compaction therefore is a coroutine that
is kept, and each write pays for a few slices of it, in proportion to what it wrote (`pace.py`): no threads, no
surprises in the middle of a read, and the same order of events in every run. `docs/decisions/` tells why.

One thread at a time may use an `EmbeddedTablet`. Rows, columns and values may be texts, which are taken as UTF-8.

One mark guards all of that, and costs a write two assignments: a call sets it when it begins and takes it away when it
ends well, or with an error of ours, which leaves the engine in order. Who finds it set came in the middle of another
call, from another thread; or after one that was interrupted, by Ctrl-C for example, and left locks held and books
unbalanced; or to a tablet that is closed, or belongs to the process that this one was forked from. All of these are
refused. A value that is known to be hot is told without a look at the mark: whatever makes the mark stay set, makes the
caches forget.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, TypeVar
from weakref import WeakSet

from runtime.errors import AlreadyExists, Conflict, InvalidRequest, TabletopError
from runtime.events import Record
from runtime.real.disk import RealDisk, names_in
from tablet.embedded.arguments import checked_options, operations_of, pairs, size_of, snapshot_name
from tablet.embedded.folder import Folder, disk_at, path_of
from tablet.embedded.inline import InlineWorld, RecentEvents, go_on, run_inline
from tablet.embedded.pace import Pace
from tablet.engine.cloning import copy_tablet
from tablet.engine.engine import Engine
from tablet.engine.figures import EngineFigures
from tablet.engine.model.checks import Text, as_bytes, as_timestamp, check_column
from tablet.engine.model.filters import EVERYTHING, ReadFilter, check_limit
from tablet.engine.model.fragments import family_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation
from tablet.engine.model.rows import Row
from tablet.engine.model.schema import GarbageRule, LocalityGroup, Schema
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

T = TypeVar("T")
P = ParamSpec("P")

_EVENTS_KEPT = 1000
_BATCH_ROWS = 500

_CLOSED = "is closed; open it again"
_FORKED = "was opened before a fork; open it in this process, once the other one has closed it"
_INTERRUPTED = (
    "was interrupted in the middle of a write, or of another operation; close it and open it again: nothing that was "
    "answered is lost"
)
_BUSY = (
    "is in the middle of another call, of another thread or of what a signal handler interrupted; one thread at a time "
    "may use it: guard it with a threading.Lock"
)

_OPEN: "WeakSet[EmbeddedTablet]" = WeakSet()


class EmbeddedTablet:
    """One tablet in a folder. Open it with `tablet.engine.open`, close it or use it in a `with` statement.

    Operations raise Conflict once it is closed, in the child of a fork, after an interrupted operation, and while
    another thread uses it; InvalidRequest for arguments that cannot be meant.
    """

    _open = False

    def __init__(self, folder: Folder, options: Options | None = None) -> None:
        chosen = checked_options(options)
        self._disk = disk_at(path_of(folder), chosen)
        self.folder = str(self._disk.root)
        self.events: deque[Record] = deque(maxlen=_EVENTS_KEPT)
        self._world = InlineWorld(RecentEvents(self.events))
        self._engine: Engine = run_inline(Engine.open(DiskStorage(self._disk), self._world, chosen, inline=True))
        self._pace = Pace(self._engine)
        self._advance = self._pace.advance
        self._get = self._engine.reader.newest_value
        self._cached: Callable[[bytes, bytes], bytes | None] = self._engine.state.scan_cache.newest
        self._put = self._engine.put
        self._busy = False
        self._why = ""
        self._open = True
        _OPEN.add(self)

    def __enter__(self) -> "EmbeddedTablet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._why == _FORKED:
            self._let_go()
        else:
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
        self._alone(self._engine.create_family, name, rule, group=group)

    def set_garbage_rule(self, name: str, rule: GarbageRule | None) -> None:
        """Give a family another version policy. Raises NotFound."""
        self._alone(self._engine.set_garbage_rule, name, rule)

    def drop_family(self, name: str) -> None:
        """Remove a family and all its cells, by a major compaction. Raises NotFound."""
        self._alone(self._pace.finish)
        self._alone(self._engine.drop_family, name)

    def set_locality_group(self, group: LocalityGroup) -> None:
        """Create a locality group, or change how its SSTables are written from now on."""
        self._alone(self._engine.set_locality_group, group)

    def put(self, row: Text, column: Text, value: Text, timestamp: int | None = None) -> None:
        """Write one cell; without a timestamp (microseconds), at the present time.

        Raises InvalidRequest, NotFound for the family, NoSpace (definite), DiskFailure.
        """
        if type(row) is not bytes:
            row = as_bytes("the row", row)
        if type(column) is not bytes:
            column = as_bytes("the column", column)
        if type(value) is not bytes:
            value = as_bytes("the value", value)
        if timestamp is not None:
            timestamp = as_timestamp(timestamp)
        if self._busy:
            self._refuse()
        try:  # As in `_alone`, spelled out for speed.
            self._busy = True
            work = self._put(row, column, value, timestamp)
            try:
                work.send(None)
            except StopIteration:
                pass
            else:
                go_on(work)
            self._advance(len(value) + len(row) + 32)
        except TabletopError:
            self._busy = False
            raise
        except BaseException:
            self._why, self._cached = _INTERRUPTED, _nothing
            raise
        self._busy = False

    def write(self, row: Text, *operations: Operation) -> None:
        """Apply operations to one row, atomically and in their order."""
        self._alone(self._write, as_bytes("the row", row), operations, size_of(operations))

    async def _write(self, row: bytes, operations: Sequence[Operation], size: int) -> None:
        await self._engine.write(row, operations)
        self._advance(size)

    def write_many(
        self, mutations: Mapping[Text, Sequence[Operation]] | Iterable[tuple[Text, Sequence[Operation]]]
    ) -> None:
        """Apply mutations to many rows, each row atomically: quicker than one `write` for each."""
        rows = [(as_bytes("a row", row), operations_of(operations)) for row, operations in pairs(mutations)]
        for start in range(0, len(rows), _BATCH_ROWS):
            self._alone(self._write_many, rows[start : start + _BATCH_ROWS])

    async def _write_many(self, rows: Sequence[tuple[bytes, Sequence[Operation]]]) -> None:
        await self._engine.write_many(rows)
        self._advance(sum(size_of(operations) for _, operations in rows))

    def delete(
        self, row: Text, column: Text | None = None, *, start: int | None = None, end: int | None = None
    ) -> None:
        """Delete the row, or one of its columns, or that column's versions with start <= timestamp < end."""
        if column is not None:
            self.write(row, DeleteCells(column, start, end))
        elif start is None and end is None:
            self.write(row, DeleteRow())
        else:
            raise InvalidRequest(
                "a deletion of versions needs a column: name it, or leave start and end out to delete the whole row"
            )

    def delete_family(self, row: Text, family: Text) -> None:
        """Delete the row's cells of one family."""
        self.write(row, DeleteFamily(family))

    def get(self, row: Text, column: Text) -> bytes | None:
        """The newest value of one column, or None. Raises InvalidRequest, NotFound for the family, Corrupted,
        DiskFailure."""
        try:
            row = row.encode() if isinstance(row, str) else row
            column = column.encode() if isinstance(column, str) else column
            known = self._cached(row, column)  # type: ignore[arg-type]
        except (TypeError, UnicodeEncodeError):  # Nothing that could be a key: below it is taken, or refused.
            known = None
        if known is not None:
            return known
        if type(row) is not bytes:
            row = as_bytes("the row", row)
        if type(column) is not bytes:
            column = as_bytes("the column", column)
        if self._busy:
            self._refuse()
        try:
            self._busy = True
            work = self._get(row, column)
            try:
                work.send(None)
            except StopIteration as stop:
                found: bytes | None = stop.value
            else:
                found = go_on(work)
        finally:
            self._busy = False
        if found is None:
            self._check_column(column)
        return found

    def read(self, row: Text, wanted: ReadFilter | None = None) -> Row | None:
        """The row's cells that the filter wants, all by default; None if there are none."""
        row, wanted = as_bytes("the row", row), self._checked(wanted)
        if self._busy:
            self._refuse()
        try:
            self._busy = True
            return run_inline(self._engine.read(row, wanted))
        finally:
            self._busy = False

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
        if self._busy:
            self._refuse()
        check_limit(limit)
        bounds = as_bytes("start", start), as_bytes("end", end)
        batches = self._engine.scan_batches(*bounds, prefix=as_bytes("prefix", prefix), wanted=self._checked(wanted))
        return self._one_by_one(batches.next_batch, limit)

    def items(
        self, column: Text, start: Text = b"", end: Text = b"", *, prefix: Text = b"", limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """(row, newest value) of one column, for the rows that have it; rows as in `scan`, and quicker than that."""
        if self._busy:
            self._refuse()
        check_limit(limit)
        column = as_bytes("the column", column)
        self._check_column(column)
        bounds = as_bytes("start", start), as_bytes("end", end)
        batches = self._engine.item_batches(column, *bounds, prefix=as_bytes("prefix", prefix))
        return self._one_by_one(batches.next_items, limit)

    def increment(self, row: Text, column: Text, delta: int = 1) -> int:
        """Add to a 64-bit big-endian counter and return its new value."""
        if type(delta) is not int:
            raise InvalidRequest(f"delta is {delta!r}; give a whole number")
        return self._alone(self._increment, as_bytes("the row", row), as_bytes("the column", column), delta)

    async def _increment(self, row: bytes, column: bytes, delta: int) -> int:
        total = await self._engine.increment(row, column, delta)
        self._advance(len(row) + len(column) + 40)
        return total

    def append(self, row: Text, column: Text, data: Text) -> bytes:
        """Append to the newest value and return the new one."""
        data = as_bytes("the data", data)
        return self._alone(self._append, as_bytes("the row", row), as_bytes("the column", column), data)

    async def _append(self, row: bytes, column: bytes, data: bytes) -> bytes:
        value = await self._engine.append(row, column, data)
        self._advance(len(row) + len(value) + 32)
        return value

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
        expected = None if value is None else as_bytes("the value", value)
        choices = operations_of(if_found), operations_of(otherwise)
        return self._alone(self._check_and_mutate, as_bytes("the row", row), self._checked(wanted), *choices, expected)

    async def _check_and_mutate(
        self,
        row: bytes,
        wanted: ReadFilter,
        if_found: Sequence[Operation],
        otherwise: Sequence[Operation],
        value: bytes | None,
    ) -> bool:
        found = await self._engine.check_and_mutate(row, wanted, if_found, otherwise, value=value)
        self._advance(size_of(if_found if found else otherwise))
        return found

    def sync(self) -> None:
        """Make everything that was written durable."""
        self._alone(self._engine.sync)

    def flush(self) -> None:
        """Minor compaction of all that is in memory."""
        self._alone(self._pace.finish)
        self._alone(self._engine.flush)

    def compact(self) -> None:
        """Major compaction: one SSTable for each locality group, no deletions, no garbage."""
        self._alone(self._pace.finish)
        self._alone(self._engine.compact)

    def settle(self) -> None:
        """Do all the background work that is due now, and put the memtable's rows in order for the next scan."""
        self._alone(self._pace.finish)
        while self._alone(self._engine.do_some_housework):
            pass
        self._alone(self._engine.put_in_order)

    def save_snapshot(self, name: str) -> None:
        """Keep the present content under a name. Raises AlreadyExists."""
        name = snapshot_name(name)
        self._alone(self._pace.finish)
        self._alone(self._engine.save_snapshot, name)

    def snapshots(self) -> list[str]:
        """The names of the snapshots."""
        return self._alone(self._engine.snapshots)

    def restore_snapshot(self, name: str) -> None:
        """Go back to a snapshot; what was written since is gone. Raises NotFound."""
        name = snapshot_name(name)
        self._alone(self._pace.finish)
        self._alone(self._engine.restore_snapshot, name)

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises NotFound."""
        name = snapshot_name(name)
        self._alone(self._pace.finish)
        self._alone(self._engine.delete_snapshot, name)

    def clone(self, folder: Folder, snapshot: str | None = None) -> None:
        """Copy the tablet, or one of its snapshots, into an empty folder. Raises AlreadyExists, NotFound."""
        place = path_of(folder)
        if names := names_in(place):
            raise AlreadyExists(f"the target of the clone is not empty: {place} holds {names[0]!r}")
        if snapshot is not None:
            self._alone(load_snapshot, self._engine.state.storage, snapshot_name(snapshot))
        self.flush()
        target = DiskStorage(RealDisk(place, inline=True))
        self._alone(copy_tablet, self._engine, target, snapshot)

    def figures(self) -> EngineFigures:
        """Counters and sizes."""
        return self._engine.figures()

    def close(self) -> None:
        """Make everything durable and let go of the folder. Closing twice is harmless.

        After an interrupted operation, nothing but letting go. Raises Conflict in the child of a fork, where the folder
        is the parent's, and while another thread is in the middle of a call.
        """
        if not self._open:
            return
        interrupted = self._why == _INTERRUPTED
        if self._busy and not interrupted:
            self._refuse()
        try:
            self._busy, self._why = True, _CLOSED
            self._pace.stop()
            if interrupted:
                with suppress(Exception):  # What was answered is in the log; if it cannot be synced now, so be it.
                    run_inline(self._engine.sync())
            else:
                run_inline(self._engine.close())
        except TabletopError:
            self._let_go()
            raise
        except BaseException:
            self._why = _INTERRUPTED
            self._let_go()
            raise
        self._let_go()

    def __repr__(self) -> str:
        return f"EmbeddedTablet({self.folder!r})"

    def __del__(self) -> None:
        if self._open:
            forked = self._why == _FORKED
            self._let_go()
            if not forked:
                warnings.warn(
                    f"the tablet in {self.folder} was forgotten, not closed; use it in a `with` statement, or close it",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )

    def _alone(self, operation: Callable[P, Coroutine[Any, Any, T]], *arguments: P.args, **named: P.kwargs) -> T:
        """Drive an operation to its end, while no other is under way (see the beginning of this page)."""
        if self._busy:
            self._refuse()
        try:
            # Nothing is called between the question and this line, so that no other thread comes in between.
            self._busy = True
            result = run_inline(operation(*arguments, **named))
        except TabletopError:
            self._busy = False
            raise
        except BaseException:
            # Nothing is called here, so that not even a second Ctrl-C comes in between.
            self._why, self._cached = _INTERRUPTED, _nothing
            raise
        self._busy = False
        return result

    def _refuse(self) -> NoReturn:
        raise Conflict(f"the tablet in {self.folder} {self._why or _BUSY}")

    def _one_by_one(
        self, next_batch: Callable[[], Coroutine[Any, Any, list[T]]], limit: int | None
    ) -> Generator[T, None, None]:
        """What the batches hold, at most `limit` of it. What a batch has read may be had after the tablet is closed."""
        left = limit
        while left != 0 and (batch := self._alone(next_batch)):
            yield from batch if left is None else batch[:left]
            left = None if left is None else left - min(left, len(batch))

    def _check_column(self, column: bytes) -> None:
        """Raise InvalidRequest or NotFound for a column that can hold nothing."""
        check_column(column)
        self._check_family(family_of(column))

    def _check_family(self, family: bytes) -> None:
        schema = self._engine.schema
        if family not in schema.families:
            schema.family(family.decode("utf-8", "replace"))

    def _checked(self, wanted: ReadFilter | None) -> ReadFilter:
        """The filter. Raises InvalidRequest for what is none, NotFound for families that there are not."""
        if wanted is None or wanted is EVERYTHING:
            return EVERYTHING
        if not isinstance(wanted, ReadFilter):
            raise InvalidRequest(f"{wanted!r} is no filter; write ReadFilter(columns=[...]), for example")
        for named in (wanted.families, wanted.wanted_families):
            for family in sorted(named or ()):
                self._check_family(family)
        return wanted

    def _let_go(self) -> None:
        """Let go of files and folder, and write nothing: to the next one who opens it, it looks like a crash."""
        _OPEN.discard(self)
        with suppress(Exception):
            self._pace.stop()
        with suppress(Exception):
            run_inline(self._engine.state.close())
        if self._why != _FORKED:
            with suppress(Exception):
                run_inline(self._engine.state.storage.unlock())
        self._disk.let_go()
        self._busy, self._why, self._cached = True, _CLOSED, _nothing
        self._open = False

    def _belong_to_another_process(self) -> None:
        """In the child of a fork: the parent goes on with the files, and with the folder."""
        self._busy, self._why, self._cached = True, _FORKED, _nothing
        self._disk.let_go()


def _after_a_fork() -> None:
    for tablet in list(_OPEN):
        tablet._belong_to_another_process()


os.register_at_fork(after_in_child=_after_a_fork)


def _nothing(row: bytes, column: bytes) -> bytes | None:
    """The cache of a tablet that must not be used."""
    return None
