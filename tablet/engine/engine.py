"""One tablet: a log-structured merge tree over a `Storage` (BT 5.3, 5.4, 6).

    write   → commit log → memtable ─(frozen, flushed)→ SSTable ─(compacted)→ SSTable
    read    ← memtables + SSTables, merged

`Engine` is the asynchronous face, for servers: reads and writes continue while its background flushes and compacts. The
synchronous one, for a program or a notebook, is `tablet/embedded/`.

A row is written atomically, and mutations take effect in the order of the log (`serving/writing.py`). Readers take no
locks. The memtable takes a mutation only after its log record is as durable as `Options.sync` asks, so no reader sees
what a crash could take back.

What we simplify. No checksum guards the memtable.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import accumulate
from typing import Any

from runtime.errors import (
    Conflict,
    DiskFailure,
    InvalidRequest,
    NoSpace,
    Superseded,
    TabletopError,
)
from tablet.engine.figures import EngineFigures, figures_of
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog
from tablet.engine.maintenance.background import COMPACTION, FLUSH, Background
from tablet.engine.maintenance.housekeeping import Housekeeping
from tablet.engine.model.checks import Text, as_bytes, check_timestamp
from tablet.engine.model.filter_program import prepared
from tablet.engine.model.filters import EVERYTHING, RowFilter, check_limit
from tablet.engine.model.fragments import CELL_BYTES, encode_put
from tablet.engine.model.operations import Operation
from tablet.engine.model.ranges import RowRange, between, united
from tablet.engine.model.rows import Row
from tablet.engine.model.schema import Family, GarbageRule, LocalityGroup, Schema
from tablet.engine.serving.admission import Admission, Admitted, Mutation
from tablet.engine.serving.atomic_changes import AtomicChanges
from tablet.engine.serving.opening import open_state
from tablet.engine.serving.reading import Reader
from tablet.engine.serving.scanning import Scan
from tablet.engine.serving.writing import Writer
from tablet.engine.taking_over import take_over
from tablet.engine.tree.budget import Budget, Share
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.tree.state import HeldElsewhere, TabletState
from tablet.engine.world.events import TabletClosed, WritesStalled
from tablet.engine.world.eventual import finished
from tablet.engine.world.names import snapshot_file_name, sorted_out
from tablet.engine.world.options import EngineWorld, Options, SyncMode
from tablet.engine.world.storage import Storage

_RECORD_BYTES: dict[SyncMode, int] = {"os": 256 * 1024, "fsync": 1024 * 1024}
"""Mutations that are written together go into log records of this size: larger ones take fresh memory for each copy,
which costs more than the record; but where each record is synced, fewer are better."""
_CLOSED = "closed; open it again"
_MOVING = "about to move and takes no more writes; ask the master where it goes"


class Engine:
    """One open tablet. Make one with `Engine.open`. `make_room`: what a write that must wait does, in place of waiting
    for the background or doing a job itself."""

    def __init__(self, state: TabletState) -> None:
        self.state = state
        self.housekeeping = Housekeeping(state)
        self._options = state.options
        self.reader = Reader(state)
        self._background = Background(state, self.housekeeping)
        self._writer = Writer(
            state,
            wait_for_room=self._stall,
            frozen=self._background.wake,
            crowd=self.housekeeping.longest_run,
        )
        self._locks = self._writer.locks
        self._commit = self._writer.commit
        self._admission = Admission(state)
        self.known_columns = self._admission.known_columns
        self.check_column = self._admission.check_column
        self.admit = self._admission.admit
        self._changes = AtomicChanges(self.reader, self._writer, self._admission)
        self._closed = self._is_out_of_service = False
        self.make_room: Callable[[str], Awaitable[None]] | None = None
        state.when_superseded = self._stop_serving
        state.schema_changed = self.known_columns.clear
        self._share: Share | None = None
        if not state.has_own_budget:
            memtables = state.budget.memtables
            self._share = memtables.join(state.memory_bytes, self._writer.update_limit, self._flush_all)
            state.memtables_gone = self._share.trim
            self._writer.share_memory(self._share)

    @classmethod
    async def open(
        cls,
        storage: Storage,
        world: EngineWorld,
        options: Options | None = None,
        *,
        tablet: str = "",
        inline: bool = False,
        log: ServerLog | None = None,
        token: int = 0,
        former: SortedLog | None = None,
        held_elsewhere: HeldElsewhere | None = None,
        budget: Budget | None = None,
    ) -> "Engine":
        """Open the tablet in `storage`, or begin one; replays the log. `inline`: there is no event loop. `log`: that of
        the server, which the tablet shares; without it, it has its own. `token`: rises from owner to owner, as the
        sequencer of a lock does; an earlier owner who is still at work is kept from changing anything, and learns of it
        by Superseded. 0: only the lock of the storage keeps others out. `former`: the sorted log of the server that had
        the tablet before and died; what it holds of the tablet is in SSTables afterwards. `held_elsewhere`: the files
        of this folder to which other tablets refer, so that they are not removed. `budget`: the memory that it shares
        with other tablets; without it, it has what the options say for itself.

        Raises Conflict if it is open elsewhere, Superseded if it belongs to a later owner, NotFound if there is none
        and `options.create` is off, Corrupted, IncompatibleFormat, DiskFailure; with `former` also NoSpace.
        """
        chosen = options or Options()
        chosen.check()
        await storage.lock()
        known_to_log = log.tablets if log is not None else []
        try:
            state = await open_state(
                storage,
                world,
                chosen,
                tablet=tablet,
                inline=inline,
                log=log,
                token=token,
                held_elsewhere=held_elsewhere,
                budget=budget,
            )
        except BaseException:
            await storage.unlock()
            raise
        engine = cls(state)
        if former is not None or state.must_flush:
            try:
                share = engine._share
                has_room = share.extend if share is not None else _always
                if state.must_flush:
                    await engine._flush_all()
                if former is not None:
                    await take_over(state, engine.housekeeping, former, has_room=has_room)
            except BaseException:
                await state.close()
                if engine._share is not None:
                    engine._share.leave()
                if state.log.is_shared and state.manifest.tablet not in known_to_log:
                    state.log.detach(state.manifest.tablet)  # What it had in memory is in the log of the former server.
                await storage.unlock()
                raise
        return engine

    def start(self) -> None:
        """Flush and compact in the background from here on."""
        self._background.start(partial(self._writer.roll, always=True))

    async def close(self) -> None:
        """Flush a large memtable, make the log durable, and let go of everything. Closing twice is harmless.

        Raises DiskFailure if the log cannot be made durable."""
        if self._closed:
            return
        self._closed = self._is_out_of_service = True
        self._writer.refusal = _CLOSED
        self._background.dismiss()
        await self._background.stop()
        try:
            if self.state.superseded:
                return  # Whatever is in memory and in the log is for the new owner to judge.
            if self.state.frozen or self.state.memtable.charged_bytes > self._options.flush_on_close_bytes:
                with suppress(NoSpace, DiskFailure):  # What is not in an SSTable is in the log.
                    await self._flush_all()
            if not self.state.log.is_shared or any(map(len, self.state.view.memtables)):
                await self.sync()
        finally:
            async with self._background.stopped():
                await self.state.close()
            if self._share is not None:
                self._share.leave()
            await self.state.storage.unlock()
            self.state.world.events.emit(TabletClosed(self.state.manifest.tablet))

    @property
    def schema(self) -> Schema:
        """Families and locality groups."""
        return self.state.manifest.schema

    async def create_family(self, name: str, rule: GarbageRule | None = None, *, group: str = "default") -> None:
        """Create a column family. Raises AlreadyExists, NotFound for the group, InvalidRequest."""
        await self._change_schema(lambda schema: schema.with_family(Family(name, rule, group)))

    async def set_garbage_rule(self, name: str, rule: GarbageRule | None) -> None:
        """Give a family another version policy. Raises NotFound."""
        await self._change_schema(lambda schema: schema.with_rule(name, rule))

    async def drop_family(self, name: str) -> None:
        """Remove a family and, by a major compaction, all its cells. Raises NotFound."""
        await self._change_schema(lambda schema: schema.without_family(name))
        await self.compact()

    async def set_locality_group(self, group: LocalityGroup) -> None:
        """Create a locality group, or change how its SSTables are written from now on."""
        await self._change_schema(lambda schema: schema.with_group(group))

    async def put(self, row: bytes, column: bytes, value: bytes, timestamp: int | None = None) -> None:
        """Write one cell; without a timestamp (microseconds), at the present time.

        Raises InvalidRequest, NotFound for the family, NoSpace (definite), DiskFailure.
        """
        waiting = self.put_now(row, column, value, timestamp)
        if waiting is not None:
            await waiting

    def put_now(
        self, row: bytes, column: bytes, value: bytes, timestamp: int | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """As `put`. None: it is done; else a coroutine that does it, because something must be waited for."""
        if value.__class__ is not bytes:
            value = as_bytes("the value", value)
        if timestamp is not None:
            check_timestamp(timestamp)
        if self._writer.refusal:
            self._check_writable()
        admission, locks = self._admission, self._locks
        admission.check_row(row, CELL_BYTES + len(column) + len(value))
        if row in locks:
            return self._put_later(row, column, value, timestamp)
        if column not in self.known_columns:
            admission.check_column(column)
        stamp = admission.next_timestamp() if timestamp is None else timestamp
        waiting = self._commit(row, encode_put(column, stamp, value), single_put=True)
        if waiting is None:
            return None
        locks.try_acquire(row)
        return self._release_after(row, waiting)

    async def _put_later(self, row: bytes, column: bytes, value: bytes, timestamp: int | None) -> None:
        await self._locks.acquire(row)
        try:
            self._admission.check_column(column)
            stamp = self._admission.next_timestamp() if timestamp is None else timestamp
            await finished(self._commit(row, encode_put(column, stamp, value), single_put=True))
        finally:
            self._locks.release(row)

    async def _release_after(self, row: bytes, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            self._locks.release(row)

    async def write(self, row: bytes, operations: Sequence[Operation]) -> None:
        """Apply operations to one row, atomically and in their order. Errors as `put`."""
        self._check_writable()
        self._admission.check(row, operations)
        await self._locks.acquire(row)
        try:
            fragment = self._admission.encode(row, operations)
            if fragment:
                await finished(self._commit(row, fragment))
        finally:
            self._locks.release(row)

    async def write_many(self, mutations: Iterable[Mutation]) -> None:
        """Apply mutations to many rows, each row atomically, in few log records. All are checked before any is applied;
        after a NoSpace or DiskFailure a part may have been. Errors as `put`."""
        self._check_writable()
        await self.write_admitted(self.admit(mutations))

    async def write_admitted(self, admitted: Admitted, *, written: Callable[[int], None] | None = None) -> None:
        """Apply mutations that `admit` has checked. `written` is told of each log record how many bytes of mutations
        it holds. Errors as `write_many`."""
        self._check_writable()
        for first, end in _records(admitted.sizes, _RECORD_BYTES[self._options.sync]):
            encode = partial(self._admission.encode_many, admitted, first, end)
            await self._writer.commit_batch(admitted.rows[first:end], encode)
            if written is not None:
                written(sum(admitted.sizes[first:end]))

    async def get(self, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column, or None. Raises Corrupted, DiskFailure."""
        self._check_open()
        known = self.state.scan_cache.newest(row, column)
        found = known if known is not None else self.reader.newest_value(row, column)
        return found if found is None or isinstance(found, bytes) else await found

    async def read(self, row: bytes, wanted: RowFilter = EVERYTHING) -> Row | None:
        """The row's cells that the filter wants, or None if there are none. Raises Corrupted, DiskFailure."""
        self._check_open()
        entries = await finished(self.reader.row(row, prepared(wanted)))
        return Row(row, entries) if entries else None

    def scan_batches(
        self,
        start: bytes = b"",
        end: bytes = b"",
        *,
        prefix: bytes = b"",
        rows: Iterable[RowRange | Text] | None = None,
        wanted: RowFilter = EVERYTHING,
        reverse: bool = False,
    ) -> Scan:
        """A scan over the rows with start <= row < end (empty: no bound), with `prefix`, and among `rows` (single keys
        and ranges, in any order); `reverse`: from the last one to the first. Ask it for `next_batch`, or
        for `next_items` if the newest values of one column are `wanted`."""
        self._check_open()
        manifest = self.state.manifest
        bounds = between(start, end, (manifest.start_row, manifest.end_row))
        if prefix:
            bounds = bounds.within(RowRange.with_prefix(prefix))
        ranges = [bounds] if rows is None else [part.within(bounds) for part in united(rows)]
        return Scan(self.state, ranges, prepared(wanted), reverse=reverse)

    async def scan(
        self,
        start: bytes = b"",
        end: bytes = b"",
        *,
        prefix: bytes = b"",
        rows: Iterable[RowRange | Text] | None = None,
        wanted: RowFilter = EVERYTHING,
        limit: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[Row]:
        """The rows of `scan_batches`, one by one, at most `limit`."""
        check_limit(limit)
        batches = self.scan_batches(start, end, prefix=prefix, rows=rows, wanted=wanted, reverse=reverse)
        left = limit
        while left != 0 and (found := await finished(batches.next_batch())):
            for row in found[:left]:
                yield row
            left = None if left is None else left - min(left, len(found))

    async def increment(self, row: bytes, column: bytes, delta: int = 1) -> int:
        """Add to a 64-bit big-endian counter (a missing one is 0) and return its new value; wraps around as hardware
        does. Raises InvalidRequest if the newest value has not 8 bytes."""

        self._check_writable()
        return await self._changes.increment(row, column, delta)

    async def append(self, row: bytes, column: bytes, data: bytes) -> bytes:
        """Append to the newest value (a missing one is empty) and return the new one."""
        self._check_writable()
        return await self._changes.append(row, column, data)

    async def check_and_mutate(
        self,
        row: bytes,
        wanted: RowFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: bytes | None = None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell in the row (with this value, if one is given), else `otherwise`;
        returns which, True for found. One atomic step."""
        self._check_writable()
        return await self._changes.check_and_mutate(row, prepared(wanted), if_found, otherwise, value)

    async def sync(self) -> None:
        """Make everything that was written durable. Raises DiskFailure."""
        await self.state.log.sync()

    async def flush(self) -> None:
        """Minor compaction of all that is in memory (BT 5.4)."""
        self._check_open()
        await self._flush_all()

    async def compact(self) -> None:
        """Flush, then a major compaction of every locality group (BT 5.4)."""
        self._check_open()
        async with self._background.compacting:
            dropped = self.schema.dropped
            try:
                await self._flush_all()
                await self.housekeeping.compact_all()
                if dropped:
                    await self.state.install_schema(lambda schema: schema.without_dropped(len(dropped)))
            finally:
                self._background.dismiss()
        self._background.note_progress(COMPACTION)

    async def delete_rows(self, start: bytes = b"", end: bytes = b"") -> None:
        """Delete all rows with start <= row < end (empty: no bound) by one switch of the manifest, unread. What is
        written later is seen. The bytes go with later compactions. Raises InvalidRequest, NoSpace, DiskFailure.
        """
        self._check_writable()
        if end and start >= end:
            raise InvalidRequest(f"there are no rows from {start[:80]!r} up to {end[:80]!r}; give a smaller start")
        if self._has_in_memory(start, end):
            await self._flush_all()
        async with self._background.stopped(), self._writer.stopped():
            self._check_writable()  # It may have been split or moved while this waited, and not be alive any more.
            if self._has_in_memory(start, end):
                await self._writer.freeze()
                while self.state.frozen:
                    await self.housekeeping.flush_oldest()
            try:
                await self.state.install_deletion(start, end)
            finally:
                self._began_anew()
            await self.state.sweep()

    def _began_anew(self) -> None:
        """The tablet's rows may be others now: what was read before is no ground for a write."""
        self._writer.epoch += 1
        self._background.note_progress(FLUSH)
        self._background.note_progress(COMPACTION)

    def _has_in_memory(self, start: bytes, end: bytes) -> bool:
        first = [memtable.chunk(start, 1).rows for memtable in self.state.view.memtables]
        return any(rows and (not end or rows[0] < end) for rows in first)

    async def prepare_move(self) -> None:
        """Make the tablet ready to be loaded elsewhere without reading a log (BT 6): a minor compaction while writes go
        on, then refuse writes, then a second, short one for what came in meanwhile. Reads are served until `close`."""
        await self.flush()
        self._check_writable()
        self._writer.refusal = _MOVING
        try:
            await self.flush()
        except TabletopError:
            self.stay()
            raise

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """All that was written is in SSTables, and these do not change meanwhile; reads are served, writes refused.
        They stay refused, until the tablet is closed or told to `stay`."""
        await self.prepare_move()
        async with self._background.stopped():
            await self.state.at_rest()
            yield

    def stay(self) -> None:
        """The move came to nothing: take writes again."""
        if not self._closed and self._writer.refusal == _MOVING:
            self._writer.refusal = ""

    async def save_snapshot(self, name: str) -> None:
        """Keep the tablet's present content under a name: a list of SSTables, no copy. Raises AlreadyExists."""
        snapshot_file_name(name)
        await self.flush()
        async with self._background.flushing:
            self._check_writable()  # A tablet that moves leaves nothing behind that its next owner does not know of.
            await self.state.save_snapshot(name)

    async def snapshots(self) -> list[str]:
        """The names of the snapshots, sorted."""
        return sorted(sorted_out(await self.state.storage.list()).snapshots)

    async def restore_snapshot(self, name: str) -> None:
        """Go back to a snapshot; what was written since is gone. Raises NotFound."""
        held = await load_snapshot(self.state.storage, name)
        self._check_writable()
        async with self._background.stopped(), self._writer.stopped():
            self._check_writable()
            flushed = self.state.log.last_sequence
            if self.state.log.current is not None and not self.state.log.is_shared:
                await self.state.log.begin_segment()  # So that the segments before it are needed no more.
            try:
                await self.state.install_snapshot(held, flushed)
            finally:
                self._began_anew()
            await self.state.sweep()

    async def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot, a damaged one too; SSTables that only it referred to go with it. Raises NotFound."""
        self._check_open()
        if snapshot_file_name(name) not in await self.state.storage.list():
            await load_snapshot(self.state.storage, name)
        async with self._background.flushing:
            self._check_writable()  # The tablets of a split under way may have it already.
            await self.state.storage.remove(snapshot_file_name(name))
        await self.state.sweep()

    def figures(self) -> EngineFigures:
        """Counters for people, tests and benchmarks."""
        return figures_of(self.state, self.housekeeping, self._writer.user_bytes)

    async def do_some_housework(self) -> bool:
        """One flush or one compaction, if one is due; whether there was. For who drives an engine without `start`."""
        return await self.flush_one() or await self.compact_one()

    async def put_in_order(self) -> None:
        """Sort the rows of the memtables now rather than with the next scan."""
        self._check_open()
        for memtable in self.state.view.memtables:
            memtable.put_in_order()

    def stall_reason(self) -> str:
        """Why a write must wait for housekeeping; empty if it need not."""
        return self._writer.stall_reason()

    def check_invariants(self) -> None:
        """Assert what must hold between any two operations."""
        self.state.check_invariants()
        self.housekeeping.quarantine.check_invariants()

    async def _stall(self, reason: str) -> None:
        """Wait until housekeeping has got on, or do it here if nobody else does. Raises the trouble of the job that
        would make room."""
        self.state.world.events.emit(WritesStalled(self.state.manifest.tablet, reason))
        if self.make_room is not None:
            await self.make_room(reason)
            return
        if not self._background.is_started:
            await self.do_some_housework()
            return
        while self.stall_reason() and not self._closed:
            await self._background.progress()
            trouble = self._background.trouble_of(FLUSH if self._writer.waits_for_flush() else COMPACTION)
            if trouble is not None and self.stall_reason() and not self._closed:
                raise trouble

    async def flush_one(self) -> bool:
        """One minor compaction, if a memtable waits; whether there was. Raises NoSpace, DiskFailure."""
        self._check_open()
        return await self._background.flush_one()

    async def compact_one(self) -> bool:
        """One merging compaction, if the policy wants one; whether there was. SSTables that cannot be read are left
        out. Raises NoSpace, DiskFailure."""
        self._check_open()
        return await self._background.compact_one()

    async def _flush_all(self) -> None:
        await self._writer.empty()
        while await self._background.flush_one():
            pass

    async def _change_schema(self, change: Callable[[Schema], Schema]) -> None:
        def checked(schema: Schema) -> Schema:
            self._check_writable()
            return change(schema)

        await self.state.install_schema(checked)

    def _stop_serving(self, reason: str) -> None:
        self._is_out_of_service, self._writer.refusal = True, reason
        self._background.dismiss()

    def _check_open(self) -> None:
        if self._is_out_of_service:
            raise Conflict(f"this tablet is {_CLOSED}") if self._closed else Superseded(self.state.superseded)

    def _check_writable(self) -> None:
        if self.state.superseded:
            raise Superseded(self.state.superseded)
        if self._writer.refusal:
            raise Conflict(f"this tablet is {self._writer.refusal}")


def _records(sizes: Sequence[int], most_bytes: int) -> Iterator[tuple[int, int]]:
    """From where to where mutations of these sizes share a log record: of at most so many bytes, or one mutation.

    >>> list(_records([95, 5, 1, 100, 2], 100)), list(_records([], 100))
    ([(0, 2), (2, 3), (3, 4), (4, 5)], [])
    """
    ends = list(accumulate(sizes))
    first = written = 0
    while first < len(ends):
        end = max(first + 1, bisect_right(ends, written + most_bytes))
        yield first, end
        first, written = end, ends[end - 1]


def _always() -> bool:
    """The tablet's memory is its own."""
    return True
