"""The live tablets of one server: opened on one log, found by row, split and merged (BT 5.2, 5.3).

A split, step by step; a crash after any of them leaves either the tablet before or both after:

    1. everything that was written is put into SSTables, and writes are refused (`Engine.at_rest`); reads continue
    2. the two new tablets get folders and manifests, which refer to the SSTables; nobody names these folders yet
    3. the catalogue is switched: this is the split
    4. the old tablet is closed, the new ones are opened; what nobody refers to any more is swept

A merge does the same with two tablets before and one after. If it is not known whether the switch took effect, for the
renaming failed, the catalogue from before is written once more (`CatalogueFile.settle`); until then the old tablets
take no writes, and no file to which the new ones would refer is removed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotFound, Superseded, TabletopError
from runtime.tasks import uninterrupted
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.model.filters import EVERYTHING, RowFilter
from tablet.engine.model.operations import Operation
from tablet.engine.model.rows import Row
from tablet.engine.model.schema import GarbageRule, Schema
from tablet.engine.model.spans import Spans
from tablet.engine.tree.budget import Budget
from tablet.engine.tree.manifest import Manifest, TableReference, load_snapshot, write_manifest
from tablet.engine.world.names import manifest_name, snapshot_file_name
from tablet.engine.world.options import EngineWorld, Options
from tablet.server import reshaping
from tablet.server.catalogue import Catalogue, CatalogueFile, TabletEntry, tablet_name, tablet_number
from tablet.server.events import FoldersSwept, ReshapingFailed, TabletsMerged, TabletSplit, TabletUnreadable
from tablet.server.folders import LOG_FOLDER, Folders
from tablet.server.reshaping import Content
from tablet.server.sweeping import held_in, sweep_folders

_SEGMENT_BYTES = 16 * 1024 * 1024
_SEGMENT_LIMIT = 8
"""If the log has more segments, the tablet that pins the oldest is flushed."""
_HOUSE_SECONDS = 10.0
Result = TypeVar("Result")


class Tablets:
    """All tablets of a server. Make one with `open`. `unreadable` says why a live tablet is not served."""

    def __init__(
        self,
        folders: Folders,
        world: EngineWorld,
        options: Options,
        catalogue: CatalogueFile,
        log: ServerLog,
        budget: Budget,
    ) -> None:
        self.budget = budget
        self.unreadable: dict[str, TabletopError] = {}
        self.log = log
        self._folders = folders
        self._world = world
        self._options = options
        self._catalogue = catalogue
        self._engines: dict[str, Engine] = {}
        self._preparing: dict[str, Content] = {}
        self._refusing: list[Engine] = []
        self._are_all_known = False
        self._reshaping = asyncio.Lock()
        self._keeper: Any = None
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        folders: Folders,
        world: EngineWorld,
        options: Options | None = None,
        *,
        token: int = 0,
        segment_bytes: int = _SEGMENT_BYTES,
        budget: Budget | None = None,
    ) -> "Tablets":
        """Open every live tablet, or begin a server without any. `token`: as for `Engine.open`; whoever served the
        folder with a lower one changes nothing any more. `budget`: the memory that all tablets have together; without
        it, as much as one has by the options.

        Raises Conflict if it is open elsewhere, Superseded, Corrupted, IncompatibleFormat, NoSpace, DiskFailure. One
        tablet that cannot be opened is `unreadable`, and the others are served.
        """
        chosen = options or Options()
        chosen.check()
        root = folders.storage()
        await root.lock()
        try:
            catalogue = await CatalogueFile.load(root, token)
            await folders.make(LOG_FOLDER)
            log = await ServerLog.open(
                folders.storage(LOG_FOLDER),
                owner="server",
                sync=chosen.sync,
                segment_bytes=segment_bytes,
                segment_limit=_SEGMENT_LIMIT,
                token=token,
            )
            tablets = cls(folders, world, chosen, catalogue, log, budget or Budget.of(chosen))
            try:
                await tablets._open_all()
            except BaseException:
                await tablets._close_all()
                raise
        except BaseException:
            await root.unlock()
            raise
        return tablets

    async def close(self) -> None:
        """Close every tablet and let go of the folder. Closing twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._keeper is not None:
            self._keeper.cancel()
        async with self._reshaping:
            try:
                await self._close_all()
            finally:
                await self._folders.storage().unlock()

    def start(self) -> None:
        """Flush, compact and sweep in the background from here on."""
        for engine in self._engines.values():
            engine.start()
        self._keeper = self._world.spawn(self._keep_house(), "tablets: sweeping")

    @property
    def catalogue(self) -> Catalogue:
        """Which tablets are alive."""
        return self._catalogue.current

    @property
    def engines(self) -> dict[str, Engine]:
        """The open tablets by name."""
        return dict(self._engines)

    def engine(self, table: str, row: bytes) -> Engine:
        """The tablet that has a row. Raises NotFound, Conflict if it is just being opened, and why it is unreadable."""
        for entry in self.catalogue.of_table(table):
            if entry.holds(row):
                return self.named(entry.name)
        raise NotFound(f"no tablet of table {table!r} with row {row[:80]!r} is here; ask the METADATA table who has it")

    def named(self, name: str) -> Engine:
        """A tablet by its name. Raises as `engine`."""
        self.catalogue.named(name)
        if name in self.unreadable:
            raise self.unreadable[name]
        if name not in self._engines:
            raise Conflict(f"tablet {name!r} is being opened or closed; try again")
        return self._engines[name]

    async def create_table(self, table: str, schema: Schema | None = None, split_rows: Sequence[bytes] = ()) -> None:
        """Create a table, of one tablet and one more for each row to split at. Raises AlreadyExists, InvalidRequest."""
        bounds = [b"", *split_rows, b""]
        if list(split_rows) != sorted({row for row in split_rows if row}):
            raise InvalidRequest("the rows to split at must rise, and none may be empty")
        async with self._reshaping:
            if self.catalogue.of_table(table):
                raise AlreadyExists(f"there is a table {table!r}; choose another name")
            await self._settle()
            names = await self._fresh_names(table, len(bounds) - 1)
            token = self.catalogue.token
            made = [
                Content(Manifest(1, name, schema or Schema(), start_row=start, end_row=end, token=token))
                for name, start, end in zip(names, bounds, bounds[1:], strict=False)
            ]
            await uninterrupted(self._replace(table, [], made))

    async def create_family(
        self, table: str, name: str, rule: GarbageRule | None = None, *, group: str = "default"
    ) -> None:
        """Create a column family in all tablets of a table, or in those that do not have it yet. Raises NotFound,
        AlreadyExists if all have it."""
        async with self._reshaping:
            engines = [self.named(entry.name) for entry in self.catalogue.of_table(table)]
            without = [engine for engine in engines if name.encode() not in engine.schema.families]
            if not engines:
                raise NotFound(f"there is no table {table!r} here")
            for engine in without or engines:
                await engine.create_family(name, rule, group=group)

    async def drop_table(self, table: str) -> None:
        """Delete a table: from one moment on there are no tablets of it. Raises NotFound."""
        async with self._reshaping:
            entries = self.catalogue.of_table(table)
            if not entries:
                raise NotFound(f"there is no table {table!r} here")
            await self._settle()
            engines = [self._engines[entry.name] for entry in entries if entry.name in self._engines]
            await uninterrupted(self._replace(table, engines, [], gone=entries))

    async def split(self, name: str, row: bytes | None = None) -> tuple[str, str]:
        """Make two tablets of one, without rewriting a byte of its SSTables; returns their names. `row`: the first of
        the upper one; without it, one that halves the bytes. Both have its snapshots, of their own rows. Raises
        NotFound, InvalidRequest, Superseded, NoSpace, DiskFailure, and Corrupted for a snapshot that cannot be read."""
        async with self._reshaping:
            await self._settle()
            return await uninterrupted(self._split(self.named(name), row))

    async def merge(self, lower: str, upper: str) -> str:
        """Make one tablet of two neighbours, without rewriting a byte of their SSTables; returns its name. Raises
        NotFound, InvalidRequest, Conflict for different schemas or snapshots, Superseded, NoSpace, DiskFailure, and
        Corrupted for a snapshot that cannot be read."""
        async with self._reshaping:
            await self._settle()
            return await uninterrupted(self._merge(self.named(lower), self.named(upper)))

    async def on_row(self, table: str, row: bytes, action: Callable[[Engine], Coroutine[Any, Any, Result]]) -> Result:
        """Do something to the tablet that has a row, once more if that was just being split or merged: `action` is told
        so by Conflict, and has then done nothing. Errors as those of `engine` and of the action."""
        return await self._insisting(lambda: action(self.engine(table, row)))

    async def write(self, table: str, row: bytes, operations: Sequence[Operation]) -> None:
        """Apply operations to one row, wherever it is, after a split or a merge that is under way. Errors as
        `Engine.write`."""
        await self.on_row(table, row, lambda engine: engine.write(row, operations))

    async def get(self, table: str, row: bytes, column: bytes) -> bytes | None:
        """The newest value of one column, or None. Errors as `Engine.get`."""
        return await self.on_row(table, row, lambda engine: engine.get(row, column))

    async def scan(
        self, table: str, start: bytes = b"", end: bytes = b"", *, wanted: RowFilter = EVERYTHING
    ) -> AsyncIterator[Row]:
        """The rows of a table with start <= row < end (empty: no bound), through all of its tablets, in order."""
        while True:
            engine = await self._insisting(partial(self._at_once, table, start))
            stop = engine.state.manifest.end_row
            try:
                async for row in engine.scan(start, end, wanted=wanted):
                    yield row
                    start = row.key + b"\0"
            except Conflict:  # Split or merged meanwhile.
                if self._engines.get(engine.state.manifest.tablet) is engine:
                    raise
                continue
            if not stop or (end and stop >= end):
                return
            start = max(start, stop)

    async def mend(self) -> None:
        """After trouble with the disk: settle whether the last change of the catalogue holds (it does not), and try to
        open what could not be opened. Raises Superseded, NoSpace, DiskFailure."""
        async with self._reshaping:
            await self._settle()
            for name in list(self.unreadable):
                del self.unreadable[name]
                await self._open_one(name)

    async def sweep(self) -> None:
        """Remove the files to which no live tablet refers. Raises Superseded, DiskFailure."""
        async with self._reshaping:
            await self._sweep()

    async def do_some_housework(self) -> bool:
        """One flush or one compaction of each tablet that has one due; whether there was any. For who drives the
        tablets without `start`."""
        return any([await engine.do_some_housework() for engine in list(self._engines.values())])

    def check_invariants(self) -> None:
        """Assert what must hold at any moment."""
        self.catalogue.refuse_overlap()
        if self._reshaping.locked():
            return
        self.budget.check_invariants()
        assert set(self.catalogue.names()) == self._engines.keys() | self.unreadable.keys()
        for name, engine in self._engines.items():
            entry, manifest = self.catalogue.named(name), engine.state.manifest
            assert (manifest.tablet, manifest.start_row, manifest.end_row) == (name, entry.start_row, entry.end_row)
            engine.check_invariants()

    async def _split(self, engine: Engine, row: bytes | None) -> tuple[str, str]:
        before, started = engine.state.manifest, self._world.clock.now()
        entry = self.catalogue.named(before.tablet)
        if row is not None and (not entry.holds(row) or row == entry.start_row):
            raise InvalidRequest(f"row {row[:80]!r} does not part the rows of tablet {entry.name}; choose one within")
        names = await self._fresh_names(entry.table, 2)
        async with self._at_rest(engine):
            content = await _content(engine)
            at = row or reshaping.middle_row(engine.state.view.all_tables(), entry.start_row, entry.end_row)
            if at is None:
                raise InvalidRequest(f"tablet {entry.name} holds no row to split at; give one")
            share = partial(_share, engine)
            lower = content.part(names[0], entry.start_row, at, share)
            upper = content.part(names[1], at, entry.end_row, share)
            await self._switch(entry.table, [entry], [lower, upper])
        await self._exchange([engine], [lower, upper])
        seconds = self._world.clock.now() - started
        self._world.events.emit(TabletSplit(entry.name, at, names[0], names[1], seconds))
        return names[0], names[1]

    async def _merge(self, lower: Engine, upper: Engine) -> str:
        started = self._world.clock.now()
        entries = [self.catalogue.named(engine.state.manifest.tablet) for engine in (lower, upper)]
        table = entries[0].table
        if table != entries[1].table:
            raise InvalidRequest(f"the tablets {entries[0].name} and {entries[1].name} are of different tables")
        (name,) = await self._fresh_names(table, 1)
        reshaping.merged(lower.state.manifest, upper.state.manifest, name)  # Refused before writes are.
        async with self._at_rest(lower, upper):
            whole = (await _content(lower)).merged_with(await _content(upper), name)
            await self._switch(table, entries, [whole])
        await self._exchange([lower, upper], [whole])
        seconds = self._world.clock.now() - started
        self._world.events.emit(TabletsMerged(entries[0].name, entries[1].name, name, seconds))
        return name

    async def _replace(
        self, table: str, engines: Sequence[Engine], made: Sequence[Content], *, gone: Sequence[TabletEntry] = ()
    ) -> None:
        await self._switch(table, gone, made)
        await self._exchange(engines, made, gone=gone)

    @asynccontextmanager
    async def _at_rest(self, *engines: Engine) -> AsyncIterator[None]:
        """Tablets at rest (`Engine.at_rest`). If the block fails they take writes again, unless it is in doubt."""
        try:
            async with AsyncExitStack() as stack:
                for engine in engines:
                    await stack.enter_async_context(engine.at_rest())
                yield
        except BaseException:
            self._refusing = [*engines]
            if not self._catalogue.in_doubt:
                await self._settle()
            raise

    async def _switch(self, table: str, gone: Sequence[TabletEntry], made: Sequence[Content]) -> None:
        """Prepare new tablets aside, then make them the ones that are alive, in one step."""
        manifests = [content.manifest for content in made]
        come = [TabletEntry(one.tablet, table, one.start_row, one.end_row) for one in manifests]
        changed = self.catalogue.with_changed(gone, come)
        self._preparing = {content.manifest.tablet: content for content in made}
        try:
            for name, content in self._preparing.items():
                await self._folders.make(name)
                storage = self._folders.storage(name)
                for snapshot, held in content.snapshots.items():
                    await write_manifest(storage, held, snapshot_file_name(snapshot))
                await write_manifest(storage, content.manifest, manifest_name(1))
            await self._catalogue.switch(changed)
        except BaseException as error:
            with suppress(TabletopError):
                await self._catalogue.settle()
            if not self._catalogue.in_doubt:
                self._preparing = {}
            names = tuple(entry.name for entry in gone or come)
            self._world.events.emit(ReshapingFailed(names, str(error)))
            raise

    async def _exchange(
        self, engines: Sequence[Engine], made: Sequence[Content], *, gone: Sequence[TabletEntry] = ()
    ) -> None:
        """Close the tablets that are no more, and open those that have taken their places."""
        for engine in engines:
            del self._engines[engine.state.manifest.tablet]
            with suppress(TabletopError):  # Nothing is left in its memory that anybody needs.
                await engine.close()
        names = {*(engine.state.manifest.tablet for engine in engines), *(entry.name for entry in gone)}
        for name in names:
            self.unreadable.pop(name, None)
        self._forget_in_log(names)
        for content in made:
            await self._open_one(content.manifest.tablet)
        self._preparing = {}
        with suppress(TabletopError):  # The next sweep removes it.
            await self._sweep()

    def _forget_in_log(self, names: set[str]) -> None:
        for name in names.intersection(self.log.tablets):
            self.log.detach(name)

    async def _settle(self) -> None:
        """If a change of the catalogue is in doubt, undo it: then the tablets before take writes again."""
        if self._catalogue.in_doubt:
            await self._catalogue.settle()
            self._preparing = {}
        for engine in self._refusing:
            engine.stay()
        self._refusing = []

    async def _open_all(self) -> None:
        live = self.catalogue.names()
        self._forget_in_log(set(self.log.tablets) - set(live))
        for name in live:
            await self._open_one(name)
            with suppress(TabletopError):  # Writers try it again, and are told.
                await self.budget.memtables.shrink()
        self._are_all_known = True
        with suppress(TabletopError):  # A disk that is full, or does not let go, hinders nobody from serving.
            for engine in self._engines.values():
                await engine.state.sweep()
            await self._sweep()

    async def _open_one(self, name: str) -> None:
        try:
            engine = await Engine.open(
                self._folders.storage(name),
                self._world,
                replace(self._options, create=False),
                tablet=name,
                log=self.log,
                token=self.catalogue.token,
                held_elsewhere=partial(self._held_elsewhere, name),
                budget=self.budget,
            )
        except Superseded:
            raise
        except TabletopError as error:
            self.unreadable[name] = error
            self._world.events.emit(TabletUnreadable(name, error.message))
            return
        self._engines[name] = engine
        if self._keeper is not None:
            engine.start()

    async def _close_all(self) -> None:
        trouble: TabletopError | None = None
        for engine in self._engines.values():
            try:
                await engine.close()
            except TabletopError as error:
                trouble = error
        await self.log.close()
        if trouble is not None:
            raise trouble

    def _held_elsewhere(self, folder: str) -> set[str] | None:
        return held_in(folder, self._references()) if self._are_all_known and not self._is_blind() else None

    def _is_blind(self) -> bool:
        """Whether some tablet, or a snapshot of one, may refer to any file, for it cannot be read."""
        return bool(self.unreadable) or any(engine.state.is_blind for engine in self._engines.values())

    def _references(self) -> dict[str, set[str]]:
        found = {name: engine.state.names_in_use() for name, engine in self._engines.items()}
        for name, content in self._preparing.items():
            found.setdefault(name, set()).update(reference.name for reference in content.references())
        return found

    async def _sweep(self) -> None:
        for engine in [engine for engine in self._engines.values() if engine.state.is_blind]:
            await engine.state.sweep()  # What the disk did not give when it was looked at last, it may give now.
        if self._is_blind() or self._catalogue.in_doubt or not self._options.sweeps:
            return
        files, folders = await sweep_folders(self._folders, self._catalogue, self._references(), self._preparing)
        if files or folders:
            self._world.events.emit(FoldersSwept(files, folders))

    async def _keep_house(self) -> None:
        while True:
            await self._world.clock.sleep(_HOUSE_SECONDS)
            with suppress(TabletopError):  # Tried again the next time.
                await self.mend()
                await self.sweep()

    async def _fresh_names(self, table: str, count: int) -> list[str]:
        """Names that no tablet has had, nor any folder that was left behind."""
        taken = max([tablet_number(name) for name in await self._folders.list()], default=0)
        first = max(self.catalogue.next_tablet, taken + 1)
        return [tablet_name(table, first + place) for place in range(count)]

    async def _at_once(self, table: str, row: bytes) -> Engine:
        return self.engine(table, row)

    async def _insisting(self, attempt: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Try it again if it came upon a tablet that was just being split or merged."""
        while True:
            before = self.catalogue.number
            try:
                return await attempt()
            except Conflict:
                if self.catalogue.number == before and not self._reshaping.locked():
                    raise
                async with self._reshaping:
                    pass


def _share(engine: Engine, reference: TableReference, spans: Spans) -> int:
    """About how many bytes of one of the tablet's files some rows are."""
    tables = engine.state.view.all_tables()
    table = next((table for table in tables if table.name == reference.name), None)
    return table.share_of(spans) if table is not None else reference.charged_bytes  # Only a snapshot refers to it.


async def _content(engine: Engine) -> Content:
    """The tablet and its snapshots."""
    storage = engine.state.storage
    held = {name: await load_snapshot(storage, name) for name in await engine.snapshots()}
    return Content(engine.state.manifest, held)
