"""Housekeeping: flushes and compactions, in slices, while serving continues (BT 5.4).

Each job writes its new SSTable slice by slice and yields control in between, then has `state.py` switch to it, then
sweeps. A job that fails (a full disk, an I/O error, damage in an input) leaves the tablet as it was, and what it wrote
is swept at once: on a full disk that room is needed. What happens next depends on where the trouble lies. An *input*
that cannot be read is set aside and told of once, and other compactions continue around it (`quarantine.py`): neither
reads nor writes nor flushes are the worse for it, except for reads of what is damaged. An *output* that cannot be
written is tried again by whoever drives this, later and later.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from math import isfinite

from runtime.errors import Conflict, TabletopError
from tablet.engine.maintenance.compaction import UnreadableInput, apply_compaction, write_slice
from tablet.engine.maintenance.policies import (
    CompactionPlan,
    TableSize,
    plan_around,
    plan_cleaning,
    plan_major,
    policy_named,
)
from tablet.engine.maintenance.quarantine import Quarantine, runs_between
from tablet.engine.model.chunks import EMPTY
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.reader import SSTable
from tablet.engine.sstable.writer import SSTableWriter
from tablet.engine.tree.manifest import TableReference
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.sources import MemtableSource
from tablet.engine.tree.state import TabletState
from tablet.engine.world.events import (
    CompactionFailed,
    CompactionFinished,
    CompactionStarted,
    FlushFailed,
    FlushFinished,
    FlushStarted,
    TableSetAside,
)
from tablet.engine.world.names import table_name

_SLICE_BYTES = 256 * 1024
"""A flush lets others have a turn after so many bytes: a slice of whole chunks would be as large as their rows are."""


class Interrupted(Conflict):
    """The tablet is being closed: the job ends between two slices, and what it wrote is left to the sweep."""


@dataclass(slots=True)
class Work:
    """What housekeeping did so far, in bytes of SSTable files: the material of write amplification."""

    flushes: int = 0
    flushed_bytes: int = 0
    compactions: int = 0
    compaction_read_bytes: int = 0
    compaction_written_bytes: int = 0


class Housekeeping:
    """The background work of one tablet. At most one flush and one compaction at a time; the caller sees to that."""

    def __init__(self, state: TabletState) -> None:
        self.work = Work()
        self.stopping = False
        self._state = state
        self.quarantine = Quarantine()
        self._patience: dict[int, int] = {}

    def longest_run(self) -> int:
        """The largest number of neighbouring SSTables that compactions could merge: what writers may wait for."""
        left_out = self.quarantine.left_out(self._state.world.clock.now())
        groups = self._state.view.tables.values()
        return max((len(run) for tables in groups for run in runs_between(tables, left_out)), default=0)

    def next_compaction(self) -> tuple[str, CompactionPlan] | None:
        """What is to be merged now, for the policy or to get rid of garbage: (group, plan)."""
        options = self._state.options
        policy = policy_named(options.policy)
        left_out = self.quarantine.left_out(self._state.world.clock.now())
        for group, references in self._state.manifest.tables.items():
            plan = plan_around(table_sizes(references), left_out, policy, options.policy_settings)
            if plan is not None:
                return group, plan
        if options.garbage_seconds:
            for group, references in self._state.manifest.tables.items():
                plan = plan_cleaning(self._with_garbage(group, references), left_out, options.garbage_seconds)
                if plan is not None:
                    return group, plan
        return None

    def _with_garbage(self, group: str, references: Sequence[TableReference]) -> list[TableSize]:
        schema, now = self._state.manifest.schema, self._state.world.clock.wall_microseconds()
        shortest = schema.shortest_age(group)
        sizes = []
        for reference in references:
            properties = reference.properties
            garbage = 0
            if properties.markers or schema.dropped:
                garbage = now - reference.written_at
            elif shortest is not None and properties.cells:
                garbage = now - max(reference.written_at, properties.oldest_timestamp + shortest)
            seconds = garbage / 1e6 / self._patience.get(reference.number, 1)
            sizes.append(TableSize(reference.name, reference.number, reference.charged_bytes, seconds))
        return sizes

    def _note_fruit(self, tables: Sequence[SSTable], made: TableReference | None) -> None:
        """Of a compaction that removed nothing the next one, for garbage, waits twice as long: a cell may be old, and
        of a family that keeps it."""
        before = sum(table.properties.cells + table.properties.markers for table in tables)
        patience = max([self._patience.pop(table.number, 1) for table in tables])
        if made is not None and made.properties.cells + made.properties.markers == before:
            self._patience[made.number] = 2 * patience

    async def flush_oldest(self) -> None:
        """Minor compaction of the oldest frozen memtable, if there is one. Raises NoSpace, DiskFailure."""
        state = self._state
        if not state.frozen:
            return
        memtable = state.frozen[-1]
        tablet, clock = state.manifest.tablet, state.world.clock
        started = clock.now()
        state.world.events.emit(FlushStarted(tablet, len(memtable)))
        try:
            async with state.budget.flush_turns:
                made = await self._write_memtable(memtable)
                await state.install_flush(memtable, made)
        except Interrupted:
            raise
        except Exception as error:
            state.world.events.emit(FlushFailed(tablet, _told(error)))
            state.growing.clear_flush()
            await self._sweep_leavings()
            raise
        finally:
            state.growing.clear_flush()
        written = sum(reference.file_bytes for reference in made.values())
        self.work.flushes += 1
        self.work.flushed_bytes += written
        names = tuple(reference.name for reference in made.values())
        flushed = state.manifest.flushed_sequence
        state.world.events.emit(FlushFinished(tablet, names, written, flushed, clock.now() - started))
        await state.sweep()

    async def compact_if_due(self) -> bool:
        """One merging compaction, if the policy wants one; whether there was. One that found an SSTable which cannot
        be read has got on too: it is set aside. Raises NoSpace, DiskFailure."""
        due = self.next_compaction()
        if due is None:
            return False
        group, plan = due
        with suppress(UnreadableInput):
            await self._compact(group, plan, "merging")
        return True

    async def _compact(self, group: str, plan: CompactionPlan, kind: str) -> None:
        """Merge what the plan says. Raises UnreadableInput, NoSpace, DiskFailure."""
        state = self._state
        tables = [table for table in state.view.tables[group] if table.number in plan.numbers]
        tablet, clock = state.manifest.tablet, state.world.clock
        started = clock.now()
        event = CompactionStarted(tablet, group, kind, plan.names, plan.read_bytes, plan.reason)
        state.world.events.emit(event)
        try:
            async with state.budget.compaction_turns:
                made = await self._write_merged(group, tables, drop_markers=plan.drops_deletions)
                await state.install_compaction(group, plan.numbers, made)
        except Interrupted:
            raise
        except Exception as error:
            state.world.events.emit(CompactionFailed(tablet, _told(error)))
            if isinstance(error, UnreadableInput):
                self._set_aside(error)
            state.growing.clear_compaction()
            await self._sweep_leavings()
            raise
        finally:
            state.growing.clear_compaction()
        self.quarantine.release(plan.numbers)
        self._note_fruit(tables, made)
        written = made.file_bytes if made is not None else 0
        self.work.compactions += 1
        self.work.compaction_read_bytes += plan.read_bytes
        self.work.compaction_written_bytes += written
        name = made.name if made is not None else ""
        seconds = clock.now() - started
        state.world.events.emit(CompactionFinished(tablet, group, kind, name, plan.read_bytes, written, seconds))
        await state.sweep()

    async def compact_all(self) -> None:
        """Major compaction: exactly one SSTable for each locality group, without deletions (BT 5.4). Leaves none out:
        raises Corrupted if one is damaged, NoSpace, DiskFailure."""
        for group in list(self._state.manifest.tables):
            plan = plan_major(table_sizes(self._state.manifest.tables[group]))
            if plan is None:
                continue
            try:
                await self._compact(group, plan, "major")
            except UnreadableInput as found:
                raise found.error from found

    def _set_aside(self, found: UnreadableInput) -> None:
        state, table = self._state, found.table
        known = self.quarantine.reason(table.number)
        seconds = self.quarantine.set_aside(table.number, found.error, state.world.clock.now())
        if isfinite(seconds) or found.error.message != known:
            told = TableSetAside(
                state.manifest.tablet, table.name, found.error.message, seconds if isfinite(seconds) else 0.0
            )
            state.world.events.emit(told)

    async def _write_memtable(self, memtable: Memtable) -> dict[str, TableReference]:
        """One SSTable for each locality group that has something to say."""
        state = self._state
        schema = state.manifest.schema
        families = state.view.families
        made: dict[str, TableReference] = {}
        if state.slice_rows:
            for _ in memtable.order_in_steps():
                await self._breathe()
        for group, settings in schema.groups.items():
            own = families[group] if len(schema.groups) > 1 else None
            source = MemtableSource(memtable, families=own)
            drop_markers = not state.view.tables.get(group)
            async with AsyncExitStack() as cleanup:
                writer, number = await self._begin(settings, cleanup, flush=True)
                now = state.world.clock.wall_microseconds()
                while (chunk := source.next()) is not EMPTY:
                    for piece in chunk.pieces(_SLICE_BYTES):
                        await write_slice(piece, writer, schema=schema, now=now, drop_markers=drop_markers)
                        await self._breathe()
                reference = await self._finish(writer, number, memtable.first_sequence, memtable.last_sequence)
                if reference is not None:
                    made[group] = reference
        return made

    async def _write_merged(
        self, group: str, tables: Sequence[SSTable], *, drop_markers: bool
    ) -> TableReference | None:
        state = self._state
        manifest = state.manifest
        settings = manifest.schema.groups[group]
        async with AsyncExitStack() as cleanup:
            writer, number = await self._begin(settings, cleanup, flush=False)
            await apply_compaction(
                tables,
                writer,
                schema=manifest.schema,
                now=state.world.clock.wall_microseconds(),
                drop_markers=drop_markers,
                bounds=(manifest.start_row, manifest.end_row),
                breathe=self._breathe,
                slice_rows=state.slice_rows,
            )
            first = min(table.properties.first_sequence for table in tables)
            last = max(table.properties.last_sequence for table in tables)
            return await self._finish(writer, number, first, last)

    async def _sweep_leavings(self) -> None:
        """Clear up after a job that failed; what the disk will not let go now, a later sweep removes."""
        with suppress(TabletopError):
            await self._state.sweep()

    async def _breathe(self) -> None:
        await self._state.world.breathe()
        if self.stopping:
            raise Interrupted("this tablet is being closed; open it again")

    async def _begin(
        self, settings: LocalityGroup, cleanup: AsyncExitStack, *, flush: bool
    ) -> tuple[SSTableWriter, int]:
        number = self._state.new_file_number()
        self._state.growing.add(table_name(number), flush=flush)
        writer = await SSTableWriter.create(self._state.storage, table_name(number), settings)
        cleanup.push_async_callback(writer.abandon)
        return writer, number

    async def _finish(self, writer: SSTableWriter, number: int, first: int, last: int) -> TableReference | None:
        if not writer.rows:
            return None
        await self._breathe()
        writer.close_last_block()
        await self._breathe()  # Either may make a filter.
        properties = await writer.finish(first_sequence=first, last_sequence=last)
        now = self._state.world.clock.wall_microseconds()
        return TableReference(writer.name, number, writer.file_bytes, properties, now)


def table_sizes(references: Sequence[TableReference]) -> list[TableSize]:
    """What a compaction policy is told. A shared file counts for the share of its bytes that is this tablet's."""
    return [TableSize(reference.name, reference.number, reference.charged_bytes) for reference in references]


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, TabletopError | UnreadableInput) else repr(error)
