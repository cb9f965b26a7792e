"""One tablet: a log-structured merge tree over a `Storage` (BT 5.3, 5.4, 6).

    write   → commit log → memtable ─(frozen, flushed)→ SSTable ─(compacted)→ SSTable
    read    ← memtables + SSTables, merged

`Engine` is the asynchronous face, for servers: reads and writes go on while its background task flushes and compacts.
`open` gives the synchronous one, for a program or a notebook that wants a tablet in a folder:

>>> import tempfile
>>> folder = tempfile.mkdtemp()
>>> with open(folder) as tablet:
...     tablet.create_family("page")
...     tablet.put("com.example", "page:title", "An example")
...     tablet.get("com.example", "page:title")
b'An example'

A row is written atomically and its mutations are ordered: whoever writes a row holds its lock from before the log
record until the memtable has it, so the memtable applies a row's mutations in the order of the log. Readers take no
locks. The memtable takes a mutation only after its log record is as durable as `Options.sync` asks, so no reader sees
what a crash could take back.

What we simplify. One log per tablet; the paper's tablet servers share one among many. No checksum guards the memtable.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.errors import (
    Conflict,
    DiskFailure,
    InternalError,
    InvalidRequest,
    NoSpace,
    TabletopError,
)
from tablet.admission import Admission
from tablet.cells import CELL_BYTES, Operation, Row, SetCell, as_bytes, check_timestamp, encode_put
from tablet.commit_log import RowFragment
from tablet.events import TabletClosed, WritesStalled
from tablet.figures import EngineFigures, figures_of
from tablet.filters import EVERYTHING, ReadFilter, check_limit
from tablet.housekeeping import Housekeeping, Interrupted
from tablet.manifest import load_snapshot, snapshot_file_name, sorted_out
from tablet.opening import open_state
from tablet.options import EngineWorld, Options
from tablet.reading import Reader, Scan
from tablet.schema import Family, GarbageRule, LocalityGroup, Schema
from tablet.state import TabletState
from tablet.storage import Storage
from tablet.writing import Overtaken, Writer

if TYPE_CHECKING:
    from tablet.embedded import EmbeddedTablet, Folder

T = TypeVar("T")

COUNTER_BYTES = 8
_COUNTER_MODULUS = 2**64
FLUSH, COMPACTION = "flush", "compaction"
_BATCH_BYTES = 1024 * 1024
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 16.0
_CLOSED = "closed; open it again"
_MOVING = "about to move and takes no more writes; ask the master where it goes"


class Engine:
    """One open tablet. Make one with `Engine.open`. `make_room`: what a write that must wait does, in place of waiting
    for the background or doing a job itself."""

    def __init__(self, state: TabletState, *, inline: bool) -> None:
        self.state = state
        self.housekeeping = Housekeeping(state)
        self._options = state.options
        self.reader = Reader(state)
        self._writer = Writer(state, inline=inline, wait_for_room=self._stall, frozen=self._call_housekeeping)
        self._locks = self._writer.locks
        self._commit = self._writer.commit
        self._admission = Admission(state)
        self._known_columns = self._admission.known_columns
        self._closed = False
        self.make_room: Callable[[str], Awaitable[None]] | None = None
        self._keeping: list[Any] = []
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._trouble: dict[str, TabletopError] = {}
        self._flushing = asyncio.Lock()
        self._compacting = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        storage: Storage,
        world: EngineWorld,
        options: Options | None = None,
        *,
        tablet: str = "",
        inline: bool = False,
    ) -> "Engine":
        """Open the tablet in `storage`, or begin one; replays the log. `inline`: there is no event loop.

        Raises Conflict if it is open elsewhere, NotFound if there is none and `options.create` is off, Corrupted,
        IncompatibleFormat, DiskFailure.
        """
        chosen = options or Options()
        chosen.check()
        await storage.lock()
        try:
            state, must_flush = await open_state(storage, world, chosen, tablet=tablet)
        except BaseException:
            await storage.unlock()
            raise
        engine = cls(state, inline=inline)
        if must_flush:
            try:
                await engine._writer.roll(always=True)
                await engine.flush()
            except BaseException:
                await state.close()
                await storage.unlock()
                raise
        return engine

    def start(self) -> None:
        """Flush and compact in the background from here on."""
        assert not self._keeping, "started twice"
        name = self.state.manifest.tablet or "tablet"
        spawn = self.state.world.spawn
        self._keeping = [
            spawn(self._keep(FLUSH, self._flush_one, _RETRY_SECONDS), f"{name}: minor compactions"),
            spawn(self._keep(COMPACTION, self._compact_one, _LONGEST_RETRY_SECONDS), f"{name}: merging compactions"),
        ]
        if self._options.garbage_seconds:
            self._keeping.append(spawn(self._look_for_garbage(), f"{name}: looking for garbage"))

    async def close(self) -> None:
        """Flush a large memtable, make the log durable, and let go of everything. Closing twice is harmless.

        Raises DiskFailure if the log cannot be made durable."""
        if self._closed:
            return
        self._closed = True
        self._writer.refusal = _CLOSED
        self._progress.set()
        await self._stop_keeping()
        try:
            if self.state.frozen or self.state.memtable.charged_bytes > self._options.flush_on_close_bytes:
                with suppress(NoSpace, DiskFailure):  # What is not in an SSTable is in the log.
                    await self._flush_all()
            await self.sync()
        finally:
            async with self._flushing, self._compacting:
                await self.state.close()
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
        if value.__class__ is not bytes:
            value = as_bytes("the value", value)
        if timestamp is not None:
            check_timestamp(timestamp)
        if self._writer.refusal:
            self._check_writable()
        self._admission.check_row(row, CELL_BYTES + len(column) + len(value))
        locks = self._locks
        if not locks.try_acquire(row):
            await locks.acquire(row)
        try:
            if column not in self._known_columns:
                self._admission.check_column(column)
            if timestamp is None:
                timestamp = self._admission.next_timestamp()
            await self._commit(row, encode_put(column, timestamp, value), single_put=True)
        finally:
            locks.release(row)

    async def write(self, row: bytes, operations: Sequence[Operation]) -> None:
        """Apply operations to one row, atomically and in their order. Errors as `put`."""
        self._check_writable()
        self._admission.check(row, operations)
        await self._locks.acquire(row)
        try:
            fragment = self._admission.encode(row, operations)
            if fragment:
                await self._commit(row, fragment)
        finally:
            self._locks.release(row)

    async def write_many(self, mutations: Sequence[tuple[bytes, Sequence[Operation]]]) -> None:
        """Apply mutations to many rows, each row atomically, in few log records. All are checked before any is applied;
        after a NoSpace or DiskFailure a part may have been. Errors as `put`."""
        self._check_writable()
        sizes = [len(row) + self._admission.check(row, operations) for row, operations in mutations]
        first = size = 0
        for place, mutation_bytes in enumerate(sizes):
            if size and size + mutation_bytes > _BATCH_BYTES:
                await self._write_batch(mutations[first:place])
                first, size = place, 0
            size += mutation_bytes
        await self._write_batch(mutations[first:])

    async def _write_batch(self, batch: Sequence[tuple[bytes, Sequence[Operation]]]) -> None:
        """One log record: of at most `_BATCH_BYTES`, or of one mutation."""
        if batch:
            await self._writer.commit_batch([row for row, _ in batch], partial(self._encoded, batch))

    def _encoded(self, mutations: Sequence[tuple[bytes, Sequence[Operation]]]) -> list[RowFragment]:
        found = [(row, self._admission.encode(row, operations)) for row, operations in mutations]
        return [(row, fragment) for row, fragment in found if fragment]

    async def get(self, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column, or None. Raises Corrupted, DiskFailure."""
        self._check_open()
        known = self.state.scan_cache.newest(row, column)
        return known if known is not None else await self.reader.newest_value(row, column)

    async def read(self, row: bytes, wanted: ReadFilter = EVERYTHING) -> Row | None:
        """The row's cells that the filter wants, or None if there are none. Raises Corrupted, DiskFailure."""
        self._check_open()
        entries = await self.reader.row(row, wanted)
        return Row(row, entries) if entries else None

    def scan_batches(
        self, start: bytes = b"", end: bytes = b"", *, prefix: bytes = b"", wanted: ReadFilter = EVERYTHING
    ) -> Scan:
        """A scan over start <= row < end (empty: no bound) and the rows with `prefix`; ask it for `next_batch`."""
        self._check_open()
        if prefix:
            start = max(start, prefix)
            after = _successor(prefix)
            end = min(end, after) if end and after else end or after
        manifest = self.state.manifest
        start = max(start, manifest.start_row)
        end = min(end, manifest.end_row) if end and manifest.end_row else end or manifest.end_row
        return Scan(self.state, start, end, wanted)

    async def scan(
        self,
        start: bytes = b"",
        end: bytes = b"",
        *,
        prefix: bytes = b"",
        wanted: ReadFilter = EVERYTHING,
        limit: int | None = None,
    ) -> AsyncIterator[Row]:
        """The rows of `scan_batches`, one by one, at most `limit`."""
        check_limit(limit)
        batches = self.scan_batches(start, end, prefix=prefix, wanted=wanted)
        left = limit
        while left != 0 and (rows := await batches.next_batch()):
            for row in rows[:left]:
                yield row
            left = None if left is None else left - min(left, len(rows))

    def item_batches(self, column: bytes, start: bytes = b"", end: bytes = b"", *, prefix: bytes = b"") -> Scan:
        """As `scan_batches`, over the newest values of one column; ask it for `next_items`."""
        wanted = ReadFilter(columns=frozenset((column,)), versions=1)
        return self.scan_batches(start, end, prefix=prefix, wanted=wanted)

    async def increment(self, row: bytes, column: bytes, delta: int = 1) -> int:
        """Add to a 64-bit big-endian counter (a missing one is 0) and return its new value; wraps around as hardware
        does. Raises InvalidRequest if the newest value has not 8 bytes."""

        def added(old: bytes | None) -> bytes:
            if old is not None and len(old) != COUNTER_BYTES:
                raise InvalidRequest(f"{column!r} of row {row!r} holds {len(old)} bytes, a counter has {COUNTER_BYTES}")
            total = (int.from_bytes(old or b"", "big") + delta) % _COUNTER_MODULUS
            return total.to_bytes(COUNTER_BYTES, "big")

        return int.from_bytes(await self._read_modify_write(row, column, added), "big", signed=True)

    async def append(self, row: bytes, column: bytes, data: bytes) -> bytes:
        """Append to the newest value (a missing one is empty) and return the new one."""
        return await self._read_modify_write(row, column, lambda old: (old or b"") + data)

    async def check_and_mutate(
        self,
        row: bytes,
        wanted: ReadFilter,
        if_found: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        value: bytes | None = None,
    ) -> bool:
        """Apply `if_found` if the filter finds a cell in the row (with this value, if one is given), else `otherwise`;
        returns which, True for found. One atomic step."""
        self._check_writable()
        for operations in (if_found, otherwise):
            self._admission.check(row, operations)

        async def step(epoch: int) -> bool:
            entries = await self.reader.row(row, wanted)
            found = any(value is None or entry[3] == value for entry in entries)
            newest = max([-minus for _, minus, _, _ in entries], default=0)
            fragment = self._admission.encode(row, if_found if found else otherwise, not_before=newest)
            if fragment:
                await self._commit(row, fragment, epoch=epoch)
            return found

        return await self._read_and_write(row, step)

    async def sync(self) -> None:
        """Make everything that was written durable. Raises DiskFailure."""
        for number, log in sorted(self.state.logs.items()):
            if number in self.state.logs:
                try:
                    await log.sync()
                except TabletopError:
                    if number in self.state.logs:
                        raise
                    # Its rows were flushed meanwhile, and it is gone.
        with suppress(TabletopError):  # Everything is durable; only its mark is missing.
            if self.state.log is not None:
                await self.state.log.write_mark()

    async def flush(self) -> None:
        """Minor compaction of all that is in memory (BT 5.4)."""
        self._check_open()
        await self._flush_all()

    async def compact(self) -> None:
        """Flush, then a major compaction of every locality group (BT 5.4)."""
        self._check_open()
        async with self._compacting:
            dropped = self.schema.dropped
            await self._flush_all()
            await self.housekeeping.compact_all()
            if dropped:
                await self.state.install_schema(lambda schema: schema.without_dropped(len(dropped)))
        self._note_progress(COMPACTION)

    async def prepare_move(self) -> None:
        """Make the tablet ready to be loaded elsewhere without reading a log (BT 6): a minor compaction while writes go
        on, then refuse writes, then a second, short one for what came in meanwhile. Reads are served until `close`."""
        await self.flush()
        self._check_writable()
        self._writer.refusal = _MOVING
        try:
            await self.flush()
        except TabletopError:
            if not self._closed:
                self._writer.refusal = ""
            raise

    async def save_snapshot(self, name: str) -> None:
        """Keep the tablet's present content under a name: a list of SSTables, no copy. Raises AlreadyExists."""
        snapshot_file_name(name)
        await self.flush()
        await self.state.save_snapshot(name)

    async def snapshots(self) -> list[str]:
        """The names of the snapshots, sorted."""
        return sorted(sorted_out(await self.state.storage.list()).snapshots)

    async def restore_snapshot(self, name: str) -> None:
        """Go back to a snapshot; what was written since is gone. Raises NotFound."""
        held = await load_snapshot(self.state.storage, name)
        self._check_writable()
        async with self._flushing, self._compacting, self._writer.stopped():
            await self._writer.begin_log()
            log_number = self.state.memtable.log_number
            await self.state.install_snapshot(
                held, log_number=log_number, flushed_sequence=self.state.last_sequence - 1
            )
            self._writer.epoch += 1
            self._known_columns.clear()
            await self.state.sweep()
        self._note_progress(FLUSH)
        self._note_progress(COMPACTION)

    async def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot, a damaged one too; SSTables that only it referred to go with it. Raises NotFound."""
        self._check_open()
        if snapshot_file_name(name) not in await self.state.storage.list():
            await load_snapshot(self.state.storage, name)
        await self.state.storage.remove(snapshot_file_name(name))
        await self.state.sweep()

    def figures(self) -> EngineFigures:
        """Counters for people, tests and benchmarks."""
        return figures_of(self.state, self.housekeeping.work, self._writer.user_bytes, self._writer.old_log_bytes)

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
        assert self._writer.log is self.state.log

    async def _stall(self, reason: str) -> None:
        """Wait until housekeeping has got on, or do it here if nobody else does. Raises the trouble of the job that
        would make room."""
        self.state.world.events.emit(WritesStalled(self.state.manifest.tablet, reason))
        if self.make_room is not None:
            await self.make_room(reason)
            return
        if not self._keeping:
            await self.do_some_housework()
            return
        while self.stall_reason() and not self._closed:
            self._progress.clear()
            self._wake.set()
            await self._progress.wait()
            trouble = self._trouble.get(FLUSH if self._writer.waits_for_flush() else COMPACTION)
            if trouble is not None and self.stall_reason() and not self._closed:
                raise trouble

    def _call_housekeeping(self) -> None:
        self._wake.set()

    async def flush_one(self) -> bool:
        """One minor compaction, if a memtable waits; whether there was. Raises NoSpace, DiskFailure."""
        self._check_open()
        return await self._flush_one()

    async def compact_one(self) -> bool:
        """One merging compaction, if the policy wants one; whether there was. SSTables that cannot be read are left
        out. Raises NoSpace, DiskFailure."""
        self._check_open()
        return await self._compact_one()

    async def _flush_one(self) -> bool:
        async with self._flushing:
            if not self.state.frozen:
                return False
            await self.housekeeping.flush_oldest()
        self._note_progress(FLUSH)
        return True

    async def _compact_one(self) -> bool:
        async with self._compacting:
            if not await self.housekeeping.compact_if_due():
                return False
        self._note_progress(COMPACTION)
        return True

    async def _keep(self, kind: str, one_job: Callable[[], Awaitable[bool]], longest: float) -> None:
        """Do one kind of housekeeping for ever. Trouble is told to writers that wait, and tried again: a second later,
        then twice as late each time, up to `longest` seconds."""
        delay = _RETRY_SECONDS
        while True:
            try:
                if await one_job():
                    delay = _RETRY_SECONDS
                    continue
                await self._wake.wait()
                self._wake.clear()
            except Interrupted:
                return
            except Exception as error:  # Also a bug of ours: writers that wait for this job must not wait for ever.
                self._trouble[kind] = as_trouble(kind, error)
                self._progress.set()
                await self.state.world.clock.sleep(delay)
                delay = min(2 * delay, longest)

    async def _look_for_garbage(self) -> None:
        """Where nothing is written, nothing else wakes the compactions; and a memtable that stays small is flushed by
        nobody, while its deletions are to take effect on the disk one day."""
        oldest_record = 0
        while True:
            await self.state.world.clock.sleep(self._options.garbage_seconds / 2)
            if oldest_record and self.state.memtable.first_sequence == oldest_record:
                with suppress(TabletopError):  # Tried again the next time.
                    await self._writer.roll(always=True)
            oldest_record = self.state.memtable.first_sequence
            self._wake.set()

    def _note_progress(self, kind: str) -> None:
        self._trouble.pop(kind, None)
        self._progress.set()
        self._wake.set()

    async def _stop_keeping(self) -> None:
        """Let the jobs under way end between two slices; a switch to a new manifest is never cut in two."""
        if not self._keeping:
            return
        self.housekeeping.stopping = True
        async with self._flushing, self._compacting:
            for task in self._keeping:
                task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self.housekeeping.stopping = False
        self._keeping = []

    async def _flush_all(self) -> None:
        await self._writer.empty()
        while await self._flush_one():
            pass

    async def _change_schema(self, change: Callable[[Schema], Schema]) -> None:
        self._check_writable()
        await self.state.install_schema(change)
        self._known_columns.clear()

    async def _read_modify_write(self, row: bytes, column: bytes, change: Callable[[bytes | None], bytes]) -> bytes:
        """Write the changed value at the present time, or at the newest version's if that lies in the future."""
        self._check_writable()
        self._admission.check(row, [SetCell(column, b"")])

        async def step(epoch: int) -> bytes:
            newest = await self.reader.row(row, ReadFilter(columns=frozenset((column,)), versions=1))
            value = change(newest[0][3] if newest else None)
            not_before = -newest[0][1] if newest else 0
            fragment = self._admission.encode(row, [SetCell(column, value)], not_before=not_before)
            await self._commit(row, fragment, single_put=True, epoch=epoch)
            return value

        return await self._read_and_write(row, step)

    async def _read_and_write(self, row: bytes, step: Callable[[int], Awaitable[T]]) -> T:
        """Do a step that reads a row and writes it, with the row's lock held; once more if the tablet has gone back to
        a snapshot in between."""
        await self._locks.acquire(row)
        try:
            while True:
                with suppress(Overtaken):
                    return await step(self._writer.epoch)
        finally:
            self._locks.release(row)

    def _check_open(self) -> None:
        if self._closed:
            raise Conflict(f"this tablet is {_CLOSED}")

    def _check_writable(self) -> None:
        if self._writer.refusal:
            raise Conflict(f"this tablet is {self._writer.refusal}")


def open(folder: "Folder", options: Options | None = None) -> "EmbeddedTablet":
    """The tablet in a folder of this machine, for a program without an event loop; begins one in an empty folder.

    Raises Conflict if the folder is open already, IncompatibleFormat, Corrupted, DiskFailure.
    """
    from tablet.embedded import EmbeddedTablet

    return EmbeddedTablet(folder, options)


def as_trouble(kind: str, error: Exception) -> TabletopError:
    """What writers who wait for a job are told of the error that ended it."""
    if isinstance(error, TabletopError):
        return error
    return InternalError(f"the {kind} failed by a bug of this program ({error!r}); it is tried again; report it")


def _successor(prefix: bytes) -> bytes:
    """The smallest row behind all rows with this prefix; empty if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""
