"""The state of an open tablet, and everything that changes it.

Readers take a *view*: the memtables and the SSTables of one moment. A change (a freeze, a flush, a compaction, another
schema) makes a new view in one step, after the manifest that says the same is durable; readers of the old view keep
it, and its files stay until they are done (BT 6: immutability makes concurrency simple).

Invariants: (1) in a view, the memtables and each group's SSTables are ordered from new to old, without overlap in
sequence where they have rows in common; (2) `view.tables` and `manifest.tables` name the same files; (3) only `_switch`
writes manifests, one at a time, and no file is swept meanwhile; (4) if the renaming of a manifest fails, nobody knows
which of the two is the truth on the disk, so no file is swept until a third one is; (5) a manifest's number is taken by
one owner: whoever finds the next one taken has been superseded, and changes nothing any more; (6) whoever asks for a
change may be cancelled, the change may not: the manifest and the view are switched together, or neither is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

from runtime.errors import (
    AlreadyExists,
    Corrupted,
    DiskFailure,
    IncompatibleFormat,
    NotFound,
    Superseded,
    TabletopError,
)
from runtime.tasks import to_the_end
from tablet.engine.log.log_mark import LogMark
from tablet.engine.log.records import Segment
from tablet.engine.log.server_log import ServerLog
from tablet.engine.model.schema import Schema
from tablet.engine.model.spans import without
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree.budget import Budget
from tablet.engine.tree.clipping import clipped
from tablet.engine.tree.manifest import Manifest, TableReference, load_manifest, stage_manifest, write_manifest
from tablet.engine.tree.memtable import Memtable
from tablet.engine.tree.scan_cache import ScanCache
from tablet.engine.tree.view import Tables, View, families_by_group
from tablet.engine.world.events import (
    FileNotRemoved,
    ObsoleteFilesRemoved,
    SnapshotUnreadable,
    TablePartPassedOver,
)
from tablet.engine.world.names import (
    TEMPORARY,
    FolderListing,
    log_name,
    manifest_name,
    snapshot_file_name,
    sorted_out,
    staged_name,
)
from tablet.engine.world.options import EngineWorld, Options
from tablet.engine.world.storage import Storage

_SLICE_ROWS = 1024
HeldElsewhere = Callable[[], Collection[str] | None]
"""The files of this folder to which other tablets refer; None: nobody knows yet, so that all must stay."""


class GrowingFiles:
    """The names of SSTables that are being written, which the sweep must leave alone."""

    def __init__(self) -> None:
        self._flush: set[str] = set()
        self._compaction: set[str] = set()

    def add(self, name: str, *, flush: bool) -> None:
        """An SSTable begins, first under its temporary name."""
        (self._flush if flush else self._compaction).update((name, name + TEMPORARY))

    def clear_flush(self) -> None:
        """The flush has ended, one way or the other."""
        self._flush.clear()

    def clear_compaction(self) -> None:
        """The compaction has ended, one way or the other."""
        self._compaction.clear()

    def names(self) -> set[str]:
        """All of them."""
        return self._flush | self._compaction


class TabletState:
    """One open tablet's files and memory."""

    def __init__(
        self,
        storage: Storage,
        world: EngineWorld,
        options: Options,
        manifest: Manifest,
        *,
        inline: bool,
        log: ServerLog | None = None,
        is_fenced: bool = False,
        held_elsewhere: HeldElsewhere | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.storage = storage
        self.world = world
        self.options = options
        self.manifest = manifest
        self.has_own_budget = budget is None
        self.budget = budget or Budget.of(options)
        self.block_cache, self.pinned_blocks = self.budget.block_cache, self.budget.pinned_blocks
        self.scan_cache = ScanCache(options.scan_cache_bytes, None if budget is None else budget.scan_memory)
        self.is_inline = inline
        self.slice_rows = 0 if inline else _SLICE_ROWS
        """Background work lets others run after so many rows; 0: there are no others, and a block is enough."""
        self.log = log or ServerLog(
            storage,
            owner=manifest.tablet,
            sync=options.sync,
            inline=inline,
            segments=manifest.logs or (),
            new_number=self.new_file_number,
            name=self._name_segment,
            salt=world.clock.wall_microseconds(),
            mark=None if is_fenced else LogMark(storage, world, inline=inline),
        )
        self.must_flush = False
        """Whether the log holds rows that are not durable there: nobody may be served before they are flushed."""
        self.last_timestamp = manifest.last_timestamp
        self.is_closed = False
        self.growing = GrowingFiles()
        self.view = View(0, manifest.schema, (Memtable(),), {})
        self._next_file_number = manifest.next_file_number
        self._last_manifest_number = manifest.number
        self.in_doubt = False
        self.superseded = ""
        """Why this is not the owner of the tablet any more; empty while it is."""
        self.when_superseded: Callable[[str], None] = _nobody
        self.memtables_gone: Callable[[], None] = _nobody_cares
        """Called when rows in memory are in SSTables."""
        self.schema_changed: Callable[[], None] = _nobody_cares
        """Called in the step in which another schema holds."""
        self._is_fenced = is_fenced
        self._held_elsewhere = held_elsewhere or _nothing
        self._held_by_snapshots: set[str] = set()
        self.is_blind = False
        """Whether a snapshot cannot be read, so that it may refer to any file, in other folders too."""
        self._unreadable: set[str] = set()
        self._old_views: list[View] = []
        self._retired: list[SSTable] = []
        self._switching = asyncio.Lock()

    def memory_bytes(self) -> int:
        """What is in the memtables."""
        return sum([memtable.charged_bytes for memtable in self.view.memtables])

    @property
    def memtable(self) -> Memtable:
        """The one that takes writes."""
        return self.view.memtables[0]

    @property
    def frozen(self) -> tuple[Memtable, ...]:
        """Full memtables that wait to be flushed, the newest first."""
        return self.view.memtables[1:]

    def new_file_number(self) -> int:
        """A number that no file of this tablet has had."""
        number = self._next_file_number
        self._next_file_number += 1
        return number

    def reserve_file_numbers(self, numbers: Sequence[int]) -> None:
        """Hand out only numbers above these."""
        self._next_file_number = max(self._next_file_number, *(number + 1 for number in numbers), 1)

    async def open_tables(self) -> None:
        """Open every SSTable of the manifest. Raises NotFound, Corrupted, IncompatibleFormat, DiskFailure."""
        async with self._opened(self.manifest.tables, self.manifest.schema) as opened:
            self._show(tables=opened)

    def freeze(self, last_sequence: int) -> None:
        """Let writes go to a new memtable from here on. No later record than this one is in the present one."""
        self.memtable.seal(last_sequence)
        self._show(memtables=(Memtable(), *self.view.memtables))

    @to_the_end
    async def _name_segment(self, segment: Segment) -> None:
        """Have the manifest name a segment of the log. Raises NoSpace, DiskFailure."""
        async with self._switching:
            before = manifest_name(self.manifest.number)
            await self._switch(begun=segment)
            if self.options.sweeps:
                try:
                    await self.storage.remove(before)
                except TabletopError as error:  # A write need not fail for that.
                    self.world.events.emit(FileNotRemoved(self.manifest.tablet, before, error.message))

    @to_the_end
    async def install_flush(self, memtable: Memtable, made: Mapping[str, TableReference]) -> None:
        """The oldest memtable's rows are in SSTables now (at most one for each group)."""
        fresh = {group: (reference,) for group, reference in made.items()}
        async with self._switching, self._opened(fresh, self.manifest.schema) as opened:
            tables = {group: tuple(references) for group, references in self.manifest.tables.items()}
            for group, reference in made.items():
                tables[group] = (reference, *tables.get(group, ()))
            rest = tuple(other for other in self.view.memtables if other is not memtable)
            await self._switch(
                tables=tables,
                memtables=rest,
                flushed_sequence=max(self.manifest.flushed_sequence, memtable.last_sequence),
            )
            self.scan_cache.forget(memtable)
            shown = {**self.view.tables, **{g: t + self.view.tables.get(g, ()) for g, t in opened.items()}}
            # Computed without awaiting in between, so that a memtable frozen during the switch is not forgotten.
            rest = tuple(other for other in self.view.memtables if other is not memtable)
            self._show(memtables=rest, tables=shown)
        self.memtables_gone()

    @to_the_end
    async def install_compaction(self, group: str, numbers: Sequence[int], made: TableReference | None) -> None:
        """One SSTable (or none, if nothing was left) takes the place of neighbours."""
        between = (made,) if made is not None else ()
        async with self._switching, self._opened({group: between}, self.manifest.schema) as opened:
            references = self.manifest.tables[group]
            place = [reference.number for reference in references].index(numbers[0])
            end = place + len(numbers)
            assert tuple(reference.number for reference in references[place:end]) == tuple(numbers)
            await self._switch(tables={**self.manifest.tables, group: references[:place] + between + references[end:]})
            shown = self.view.tables[group]
            self._show(tables={**self.view.tables, group: shown[:place] + opened[group] + shown[end:]})

    @to_the_end
    async def install_schema(self, change: Callable[[Schema], Schema]) -> None:
        """What `change` makes of the schema holds from here on. Raises what it raises."""
        async with self._switching:
            schema = change(self.manifest.schema)
            await self._switch(schema=schema)
            self.scan_cache.clear()
            self._show(schema=schema)
            self.schema_changed()

    @to_the_end
    async def install_deletion(self, start: bytes, end: bytes) -> None:
        """No row of this range that is in an SSTable counts from here on (empty: no bound). Nothing of it may be in
        memory, and nobody may be writing or compacting."""
        async with self._switching:
            opened = {table.number: table for table in self.view.all_tables()}
            tables = clipped(
                self.manifest.tables,
                lambda spans: without(spans, start, end),
                lambda reference, spans: opened[reference.number].share_of(spans),
            )
            before = set(self.manifest.references())
            changed = {group: [other for other in found if other not in before] for group, found in tables.items()}
            async with self._opened(changed, self.manifest.schema) as fresh:
                await self._switch(tables=tables)
                opened.update((table.number, table) for group in fresh.values() for table in group)
                self.scan_cache.clear()
                shown = {group: tuple(opened[other.number] for other in found) for group, found in tables.items()}
                self._show(tables=shown)

    @to_the_end
    async def install_snapshot(self, held: Manifest, flushed: int) -> None:
        """The SSTables and the schema of a snapshot; everything in memory is forgotten, and so are log records up to
        `flushed`. Nobody may be writing."""
        async with self._switching, self._opened(held.tables, held.schema) as opened:
            await self._switch(tables=held.tables, schema=held.schema, memtables=(), flushed_sequence=flushed)
            self.scan_cache.clear()
            self._show(schema=held.schema, memtables=(Memtable(),), tables=opened)
            self.schema_changed()
        self.memtables_gone()

    async def at_rest(self) -> None:
        """Return when the change of the manifest that is under way has ended, if there is one."""
        async with self._switching:
            pass

    async def sweep(self) -> None:
        """Remove the files that neither the manifest, a snapshot, a log still needed, nor a reader refers to (BT 6).

        Not while a manifest is being written: its file is not yet the one that counts, and already is to stay."""
        async with self._switching:
            await self._sweep()

    async def _sweep(self) -> None:
        self._old_views = [view for view in self._old_views if view.pins]
        used = {table for view in (self.view, *self._old_views) for table in view.all_tables()}
        for table in [table for table in self._retired if table not in used]:
            self._retired.remove(table)
            await table.close()
        if self.in_doubt or self.is_closed or self.superseded or not self.options.sweeps:
            return
        listing = sorted_out(await self.storage.list())
        # What another owner has made since is not ours to judge. What is in a listing without his manifest is.
        self._check_listing(listing)
        needed = {manifest_name(self.manifest.number)} | self.growing.names()
        needed |= {reference.name for reference in self.manifest.references()} | {table.name for table in used}
        needed |= await self._read_snapshots(listing)
        held = self._held_elsewhere()
        needed.update(listing.tables.values() if held is None else held)
        ours = [*listing.manifests.values(), *listing.tables.values(), *listing.temporary]
        needed |= {log_name(number) for number in (*self.manifest.log_numbers, self.log.unnamed) if number is not None}
        ours += listing.logs.values()
        obsolete = tuple(sorted(name for name in ours if name not in needed))
        if self.log.is_shared:
            await self.log.drop_unneeded()
        else:
            await self.log.close_dropped()
        for name in obsolete:
            with suppress(NotFound):
                await self.storage.remove(name)
        if obsolete:
            self.world.events.emit(ObsoleteFilesRemoved(self.manifest.tablet, obsolete))

    def names_in_use(self) -> set[str]:
        """The SSTables that the manifest, a snapshot or a reader refers to, as seen from the tablet's folder."""
        read = [view for view in self._old_views if view.pins]  # The others wait for the next sweep.
        tables = [table for view in (self.view, *read) for table in view.all_tables()]
        references = {reference.name for reference in self.manifest.references()}
        return references | {table.name for table in tables} | self._held_by_snapshots

    async def _read_snapshots(self, listing: FolderListing) -> set[str]:
        """The SSTables that snapshots refer to. One that cannot be read may refer to any: they all stay, and the tablet
        serves on."""
        held: set[str] = set()
        is_blind = False
        for name, file_name in listing.snapshots.items():
            try:
                manifest = await load_manifest(self.storage, file_name)
            except (Corrupted, IncompatibleFormat, DiskFailure) as error:
                is_blind = True
                held.update(listing.tables.values())
                if file_name not in self._unreadable:
                    self._unreadable.add(file_name)
                    self.world.events.emit(SnapshotUnreadable(self.manifest.tablet, name, error.message))
            else:
                held.update(reference.name for reference in manifest.references())
        self._held_by_snapshots, self.is_blind = held, is_blind
        return held

    @to_the_end
    async def save_snapshot(self, name: str) -> None:
        """Keep a list of references to the SSTables of this moment under a name. AlreadyExists."""
        async with self._switching:
            file_name = snapshot_file_name(name)
            if file_name in await self.storage.list():
                raise AlreadyExists(f"there is a snapshot {name!r}; delete it first, or choose another name")
            self._held_by_snapshots = self._held_by_snapshots | {other.name for other in self.manifest.references()}
            await write_manifest(self.storage, replace(self.manifest, logs=None), file_name)

    async def close(self) -> None:
        """Let go of all files, when the reads that are under way have ended."""
        self.is_closed = True
        while any(view.pins for view in (self.view, *self._old_views)):
            await self.world.breathe()
        if not self.log.is_shared:
            await self.log.close()
        await _close_all(dict.fromkeys((*self.view.all_tables(), *self._retired)))
        self._retired = []
        self.scan_cache.close()

    def check_invariants(self) -> None:
        """Assert what must hold between any two operations."""
        for group, references in self.manifest.tables.items():
            shown = self.view.tables.get(group, ())
            assert [reference.name for reference in references] == [table.name for table in shown]
            for newer, older in combinations(references, 2):
                assert older.is_older_than(newer, self.manifest.merged_sequence), (
                    f"group {group}: {newer.name} and {older.name} are not in order"
                )
        full = [memtable for memtable in self.view.memtables if memtable.first_sequence]
        for newer_memtable, older_memtable in pairwise(full):
            assert older_memtable.last_sequence < newer_memtable.first_sequence
        assert self.manifest.logs is None or set(self.log.segments) <= set(self.manifest.logs)
        for memtable in self.view.memtables:
            memtable.check_invariants()
        self.block_cache.check_invariants()
        self.scan_cache.check_invariants()
        settled = self.scan_cache.settled_rows()
        assert not any(row in memtable for memtable in self.view.memtables for row in settled)

    async def _switch(
        self, *, begun: Segment | None = None, memtables: Sequence[Memtable] | None = None, **changes: Any
    ) -> None:
        """Make another manifest the truth. After an error it may be, or may not. `begun`: a segment to be named from
        here on. `memtables`: those whose log records are still needed, if they are not all."""
        if self.superseded:
            raise Superseded(self.superseded)
        if self.in_doubt and self._is_fenced:
            await self._resolve_doubt()
        number = self._last_manifest_number + 1
        manifest = replace(self.manifest, number=number, next_file_number=self._next_file_number, **changes)
        logs = None
        if not self.log.is_shared:
            logs = self.log.remaining(needed_after(self.view.memtables if memtables is None else memtables))
            logs += (begun,) if begun is not None else ()
        manifest = replace(manifest, logs=logs, last_timestamp=self.last_timestamp)
        staged = staged_name(number, manifest.token)
        await stage_manifest(self.storage, manifest, staged)
        self._last_manifest_number, self.in_doubt = number, True
        try:
            await self.storage.rename(staged, manifest_name(number))
        except (AlreadyExists, NotFound) as error:  # Another owner has this number, or has swept what was prepared.
            raise self._now_superseded(number) from error
        if self._is_fenced:
            # A later owner had this number perhaps, and has removed it: then there is a higher one.
            self._check_listing(sorted_out(await self.storage.list()))
        self.manifest, self.in_doubt = manifest, False
        if logs is not None:
            self.log.keep(logs)

    def _check_listing(self, listing: FolderListing) -> None:
        """Raise Superseded if it shows a manifest that another owner has written."""
        if max(listing.manifests, default=0) > self._last_manifest_number:
            raise self._now_superseded(max(listing.manifests))

    async def _resolve_doubt(self) -> None:
        """The last renaming failed, or did it? Another owner may have taken that number meanwhile. We may pass over it
        only if it is there and ours; if it is not there, we try it once more, so that no number is left to him."""
        name = manifest_name(self._last_manifest_number)
        if name not in await self.storage.list():
            self._last_manifest_number = self.manifest.number
        elif (await load_manifest(self.storage, name)).token != self.manifest.token:
            raise self._now_superseded(self._last_manifest_number)

    def _now_superseded(self, number: int) -> Superseded:
        """The error for this and every later attempt: somebody else has written the manifest of this number."""
        self.stop_for_another_owner(
            f"{manifest_name(number)} of tablet {self.manifest.tablet!r} was written by another owner, and this one, "
            f"with the token {self.manifest.token}, stops: close it, and ask who serves the tablet"
        )
        return Superseded(self.superseded)

    def stop_for_another_owner(self, reason: str) -> None:
        """Change nothing any more: the tablet, or the log that it shares, is another owner's."""
        self.superseded = reason
        self.when_superseded(reason)

    @asynccontextmanager
    async def _opened(
        self, references: Mapping[str, Sequence[TableReference]], schema: Schema
    ) -> AsyncIterator[dict[str, Tables]]:
        """Open SSTables, each with the cache that its group has; if the block fails, none stays open."""
        opened: list[SSTable] = []
        found: dict[str, Tables] = {}
        try:
            for group, wanted in references.items():
                settings = schema.groups.get(group)
                cache = self.pinned_blocks if settings is not None and settings.in_memory else self.block_cache
                first = len(opened)
                for reference in wanted:
                    table = await SSTable.open(
                        self.storage,
                        reference.name,
                        reference.number,
                        cache,
                        spans=reference.spans,
                        known=reference.properties,
                    )
                    opened.append(table)
                    for part, error in table.passed_over.items():
                        told = TablePartPassedOver(self.manifest.tablet, table.name, part, error.message)
                        self.world.events.emit(told)
                found[group] = tuple(opened[first:])
            yield found
        except BaseException:
            await _close_all(opened)
            raise

    def _show(self, **changes: Any) -> None:
        old = self.view
        fields = {"schema": old.schema, "memtables": old.memtables, "tables": old.tables, **changes}
        self.view = View(generation=old.generation + 1, families=families_by_group(fields["schema"]), **fields)
        old.count_questions()
        kept = set(self.view.all_tables())
        self._retired += [table for table in old.all_tables() if table not in kept]
        self._old_views.append(old)


def _nothing() -> Collection[str]:
    """No other tablet shares files with this one."""
    return ()


def _nobody(reason: str) -> None:
    """Nobody wants to know."""


def _nobody_cares() -> None:
    """The memory is nobody else's."""


async def _close_all(tables: Iterable[SSTable]) -> None:
    for table in tables:
        await table.close()


def needed_after(memtables: Iterable[Memtable]) -> int | None:
    """These memtables need no log record up to this one; None: no record at all."""
    return min((memtable.first_sequence - 1 for memtable in memtables if memtable.first_sequence), default=None)
