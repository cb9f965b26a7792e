"""The way of a write: row lock, log, memtable; and the gate at which writes wait while the log changes (BT 5.3).

The first write after an opening begins the log that it goes to.

A batch is one record. Its rows' locks are taken together, its mutations are encoded in one loop (`admission.py`), and
the memtable takes them in bulk: a row of a batch costs less than half of what a write by itself costs, for most of that
is calls.

Invariants: (1) mutations enter the memtable in the order of the log, by whoever completes the log record, whether or
not their writers still wait: a cancelled writer leaves its rows' locks to the record that is under way; (2) a record
and its mutation go to a log and a memtable that belong together: the two are changed only while no write is between
them, and what was replayed belongs with the first log; (3) the memtable never grows beyond its limit by more than the
writes that are under way.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from runtime.errors import Conflict, Superseded, TabletopError
from tablet.engine.log.commit_log import CommitLog
from tablet.engine.log.records import one_row_head
from tablet.engine.model.fragments import DELETE_ROW, decode_fragment, family_of
from tablet.engine.serving.admission import Batch
from tablet.engine.serving.row_locks import RowLocks
from tablet.engine.tree.budget import Share
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.state import TabletState
from tablet.engine.world.events import MemtableFrozen


class Overtaken(Exception):
    """The tablet has gone back to a snapshot since the mutation's grounds were read: read again."""


class Writer:
    """Takes mutations that were checked and encoded. `wait_for_room` is called when housekeeping must get on first;
    `frozen` when it has got something to do; `crowd` says how many SSTables wait to be merged. `refusal`, if not empty,
    is why no more writes are taken. `epoch` rises when the tablet goes back to a snapshot: what was read before is no
    ground for a write then."""

    def __init__(
        self,
        state: TabletState,
        *,
        wait_for_room: Callable[[str], Awaitable[None]],
        frozen: Callable[[], None],
        crowd: Callable[[], int],
    ) -> None:
        self.locks = RowLocks()
        self._log = state.log
        self._tablet = state.manifest.tablet.encode()
        self._head = one_row_head(self._tablet)
        self.refusal = ""
        self.epoch = 0
        self.user_bytes = 0
        self._state = state
        self._share: Share | None = None
        self._limit_bytes = state.options.memtable_bytes
        self._cached = state.scan_cache.knows
        self._wait_for_room = wait_for_room
        self._frozen = frozen
        self._crowd = crowd
        self._under_way = 0
        self._gate: asyncio.Event | None = None
        self._idle: asyncio.Event | None = None

    def commit(
        self, row: bytes, fragment: bytes, *, single_put: bool = False, epoch: int | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Log and apply one row's mutation, which the present schema allows; the row's lock is held. `single_put`: it
        is known to be one cell. `epoch`: what the mutation was made of was read in it; raises Overtaken if it is over.
        None: that is done; else a coroutine which does it, because something must be waited for. Nobody who is not
        waiting needs the lock: no other writer runs meanwhile.
        """
        memtable, log = self._state.view.memtables[0], self._log.current
        if (
            log is None
            or memtable.charged_bytes >= self._limit_bytes
            or self._gate is not None
            or self.refusal
            or (epoch is not None and epoch != self.epoch)
        ):
            return self._commit_later(row, fragment, single_put, epoch)
        sequence = log.write_now(self._head, row, fragment, self._state.last_timestamp)
        if not isinstance(sequence, int):
            return self._commit_later(row, fragment, single_put, epoch) if sequence is None else sequence
        memtable.apply(row, fragment, sequence, single_put=single_put)
        if self._cached(row):
            self._state.scan_cache.overtaken(row)
        self.user_bytes += len(row) + len(fragment)
        return None

    async def _commit_later(self, row: bytes, fragment: bytes, single_put: bool, epoch: int | None) -> None:
        schema = self._state.view.schema
        memtable, log = await self._room()
        if self._state.view.schema is not schema:
            self._check_fragment(fragment)
        if epoch is not None and epoch != self.epoch:
            raise Overtaken
        batch: Batch = ((row,), (fragment,), single_put)
        await (self._write(memtable, log, batch) if log.is_free else self._queue(memtable, log, batch))

    async def commit_batch(self, rows: Sequence[bytes], encode: Callable[[], Batch]) -> None:
        """Log and apply mutations of these rows in one record. They are encoded when the rows' locks are held and there
        is room."""
        held = await self.locks.acquire_all(rows)
        try:
            memtable, log = await self._room()
            batch = encode()
            if not batch[0]:
                return
            await (self._write(memtable, log, batch) if log.is_free else self._queue(memtable, log, batch))
        finally:
            self.locks.release_all(held)

    async def _write(self, memtable: Memtable, log: CommitLog, batch: Batch) -> None:
        """Log and apply a batch, while the log is free. The rows' locks are held."""
        self._under_way += 1
        try:
            sequence = await log.write(self._tablet, batch[0], batch[1], self._state.last_timestamp)
            self._apply(memtable, batch, sequence)
        finally:
            self._one_ended()
        await self._log.note_durable()

    async def _queue(self, memtable: Memtable, log: CommitLog, batch: Batch) -> None:
        """Log and apply a batch after what others are writing. The rows' locks are held; if the caller is cancelled
        while the record is under way, they are until it has ended."""
        has_ended = left = False
        rows, fragments, _ = batch

        def ended(sequence: int | None) -> None:
            nonlocal has_ended
            has_ended = True
            if sequence is not None:
                self._apply(memtable, batch, sequence)
            self._one_ended()
            if left:
                self.locks.release_all(dict.fromkeys(rows))

        self._under_way += 1
        try:
            await log.queue(self._tablet, rows, fragments, ended, self._state.last_timestamp)
        except asyncio.CancelledError:
            if not has_ended:
                left = True
                for row in rows:
                    self.locks.lend(row)
            raise
        except TabletopError:
            if not has_ended:  # It never came to be written.
                ended(None)
            raise
        await self._log.note_durable()

    def _apply(self, memtable: Memtable, batch: Batch, sequence: int) -> None:
        rows, fragments, single_puts = batch
        memtable.apply_batch(rows, fragments, sequence, single_puts=single_puts)
        for row in filter(self._cached, rows):
            self._state.scan_cache.overtaken(row)
        self.user_bytes += sum(map(len, rows)) + sum(map(len, fragments))

    def _one_ended(self) -> None:
        self._under_way -= 1
        if self._idle is not None and not self._under_way:
            self._idle.set()

    async def _room(self) -> tuple[Memtable, CommitLog]:
        """The memtable to write to, once it has room, and its log. Raises what keeps housekeeping from making some."""
        while True:
            if self._state.superseded:
                raise Superseded(self._state.superseded)
            if self.refusal:
                raise Conflict(f"this tablet is {self.refusal}")
            if self._gate is not None:
                await self._gate.wait()
            elif self._share is not None and self._has_used_its_share():
                if not self._share.extend():
                    await self._share.make_room()
            elif reason := self.stall_reason():
                await self._wait_for_room(reason)
            elif self._state.memtable.charged_bytes >= self._limit_bytes:
                await self.roll()
            elif self._log.is_shared and self._log.current is None:
                await self._log.make_room()
            elif self._log.current is None:
                await self._begin_first_segment()
            else:
                return self._state.memtable, self._log.current

    def share_memory(self, share: Share) -> None:
        """Use no more memory than is reserved in a share of that of several tablets."""
        self._share = share
        self.update_limit()

    def update_limit(self) -> None:
        """The memtable may hold so much from here on: as the options say, or less, if memory is shared."""
        self._limit_bytes = self._state.options.memtable_bytes
        if self._share is not None:
            frozen = sum([memtable.charged_bytes for memtable in self._state.frozen])
            self._limit_bytes = max(0, min(self._limit_bytes, self._share.reserved_bytes - frozen))

    def _has_used_its_share(self) -> bool:
        used = self._state.memtable.charged_bytes
        return self._limit_bytes <= used < self._state.options.memtable_bytes

    async def empty(self) -> None:
        """Freeze the memtable if there is, or will be, anything in it."""
        if len(self._state.memtable) or self._under_way:
            await self.roll(always=True)

    async def roll(self, *, always: bool = False) -> None:
        """Freeze the memtable and begin a new log, unless somebody else just did."""
        while self._gate is not None:
            await self._gate.wait()
        full = self._state.memtable
        if not always and full.charged_bytes < self._limit_bytes:
            return
        async with self.stopped():
            await self.freeze()
        self._frozen()
        if self._log.is_shared:
            await self._log.make_room()

    async def freeze(self) -> None:
        """Freeze the memtable, while the writers are `stopped`."""
        full, last_sequence = self._state.memtable, self._log.last_sequence
        if not self._log.is_shared:
            await self._log.begin_segment()
        self._state.freeze(last_sequence)
        self.update_limit()
        self._state.world.events.emit(MemtableFrozen(self._state.manifest.tablet, len(full), full.charged_bytes))

    def _check_fragment(self, fragment: bytes) -> None:
        """Raise NotFound if the schema has lost a family that the mutation needs, while it waited."""
        families = self._state.view.schema.families
        for column, _, kind, _ in decode_fragment(fragment):
            if kind != DELETE_ROW and family_of(column) not in families:
                self._state.view.schema.family(family_of(column).decode("utf-8", "replace"))

    async def _begin_first_segment(self) -> None:
        """The segment that follows what was replayed: for the memtable that there is."""
        async with self.stopped():
            if self._log.current is None:
                await self._log.begin_segment()

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """New log records wait at the gate; those under way are completed first, also those whose writers were
        cancelled and never hear of it."""
        while self._gate is not None:
            await self._gate.wait()
        self._gate = asyncio.Event()
        try:
            if self._under_way:
                self._idle = asyncio.Event()
                await self._idle.wait()
            if self._log.latest is not None and not self._log.is_shared:
                await self._log.latest.settled()
            yield
        finally:
            self._idle = None
            self._gate.set()
            self._gate = None

    def waits_for_flush(self) -> bool:
        """Whether no more memtables may be frozen."""
        return len(self._state.frozen) >= self._state.options.frozen_memtables

    def stall_reason(self) -> str:
        """Why a write must wait for housekeeping; empty if it need not."""
        state = self._state
        if state.memtable.charged_bytes >= self._limit_bytes:
            if self.waits_for_flush():
                return f"the memtable is full and {len(state.frozen)} wait to be flushed"
            crowd = self._crowd()
            if crowd >= state.options.stall_tables:
                return f"{crowd} SSTables wait to be compacted"
        return ""
