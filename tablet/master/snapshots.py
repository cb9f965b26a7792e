"""Snapshots of tables: taking, restoring and deleting them (BT 6; after HBase's protocol). A snapshot is a file of the
lock service, and says what it is now:

    taking → taken → deleting

    1. the record is written, `taking`; it names a folder in GFS that no other attempt has
    2. each server is asked to acquire the tablets that METADATA says it has (`tablet/hosting/snapshotting.py`)
    3. all have reached it: the record is `taken`. This one change makes the snapshot exist

If a tablet was not acquired where METADATA says it is, because its server died, it moved, was split, or the time limit
passed, the snapshot is aborted: the record is `deleting`, the folder goes, and then the record. A master that finds one
`taking` which it does not take itself aborts it: whoever asked for it was never told that it is there.

A tablet holds still at the moment at which it was acquired. What it does afterwards is its own business: a snapshot
has files of its own (snapshots of GFS), and so has the table that is made of it. Nothing that lies in the folder of a
tablet is ever held for a snapshot: not when the table is compacted, split or dropped.

Invariants: (1) a record changes by compare-and-set under the master's lock, so it becomes `taken` or `deleting`, not
both; (2) a folder is removed only if its record is `deleting`, or if it has none; (3) a record is there before its
folder, and longer.

What we simplify. Tablets are acquired at different moments, so a snapshot is consistent for each tablet, as HBase's is.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from gfs.client import Client
from lockservice.interface import Sequencer, Session
from runtime.errors import AlreadyExists, Conflict, Corrupted, InvalidRequest, NotFound, TabletopError, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import SnapshotRecord, TableRecord, TabletPlace
from runtime.world import World
from tablet.client.client import TableClient
from tablet.engine.tree.manifest import Manifest, load_current, write_manifest
from tablet.engine.world.names import manifest_name
from tablet.location.places import METADATA, SNAPSHOTS_PATH, GfsPaths
from tablet.master.events import TableRestored, TableSnapshotAborted, TableSnapshotDeleted, TableSnapshotTaken
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings
from tablet.master.tables import SERVING, Numbers, TableChanges, check_name
from tablet.server.catalogue import tablet_name
from tablet.storage.errors import in_engine_words
from tablet.storage.folders import GfsFolders, names_in

TAKING, TAKEN, DELETING = "taking", "taken", "deleting"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")


class Snapshots:
    """The snapshots of one tenure. `busy`: names of those that are being taken, restored or deleted."""

    def __init__(
        self,
        world: World,
        settings: TabletMasterSettings,
        session: Session,
        lock: Sequencer,
        *,
        client: Client,
        tables: TableClient,
        servers: Servers,
        changes: TableChanges,
        numbers: Numbers,
        paths: GfsPaths,
    ) -> None:
        self.busy: dict[str, None] = {}
        self._world = world
        self._settings = settings
        self._session = session
        self._lock = lock
        self._client = client
        self._tables = tables
        self._servers = servers
        self._changes = changes
        self._numbers = numbers
        self._paths = paths
        self._attempts = 0

    async def taken(self) -> list[SnapshotRecord]:
        """Those that are there, by name."""
        return [record for record, _ in await self._records() if record.state == TAKEN]

    async def take(self, table: str, name: str) -> SnapshotRecord:
        """Take a snapshot of a table. Raises NotFound, AlreadyExists, InvalidRequest; Conflict: the table or a snapshot
        of this name is being changed; Unavailable (definite): it was aborted, and nothing is left of it."""
        if not _NAME.match(name):
            raise InvalidRequest(
                f"{name[:80]!r} cannot be a snapshot's name; use up to 64 letters, digits, '_', '-', '.'"
            )
        if table == METADATA:
            raise InvalidRequest(f"{METADATA} says where tablets are, and is not restored; choose another table")
        serving = (await self._changes.records()).get(table)
        if serving is None or serving.state != SERVING:
            raise NotFound(f"there is no table {table!r}; `tabletop table ls` shows which there are")
        self._attempts += 1
        folder = f"{name}.{self._lock.generation}.{self._attempts}"
        record = SnapshotRecord(name=name, table=table, state=TAKING, schema=serving.schema, folder=folder)
        with self._held(name), self._changes.held(table):
            try:
                stat = await self._session.create(_path(record), record.SerializeToString())
            except Conflict:
                raise AlreadyExists(f"there is a snapshot {name!r}; choose another name, or delete it") from None
            try:
                await self._acquire(record)
                await self._commit(record, stat.generation)
            except TabletopError as error:
                await self._abort(record, stat.generation, error)
                raise Unavailable(f"the snapshot was aborted: {error.message}", definite=True) from error
        self._world.events.emit(TableSnapshotTaken(name, table, record.tablets, record.bytes))
        return record

    async def restore(self, name: str, table: str = "") -> str:
        """Make a table of a snapshot, under the name that it had, or another one; returns the name. Raises NotFound,
        AlreadyExists (a table of this name), InvalidRequest, Conflict, Corrupted."""
        with self._held(name):
            record, _ = await self._record(name)
            target = table or record.table
            check_name(target)
            fresh = TableRecord(table=target, schema=record.schema)
            try:
                await self._changes.create_of(fresh, partial(self._make_tablets, record, target))
            except AlreadyExists as error:
                raise AlreadyExists(
                    f"there is a table {target!r}, and a snapshot replaces none: rows that are written meanwhile would "
                    f"be lost. Give a new name, or drop the table first"
                ) from error
        self._world.events.emit(TableRestored(target, name))
        return target

    async def delete(self, name: str) -> None:
        """Delete a snapshot; tables that were made of it stay. Raises NotFound, Conflict."""
        with self._held(name):
            await self._remove(*await self._record(name))
        self._world.events.emit(TableSnapshotDeleted(name))

    async def remove_remains(self) -> None:
        """Abort what earlier masters did not come to an end with, and remove folders that servers made too late."""
        folders: list[str] = []
        with suppress(NotFound):
            folders = await names_in(self._client, self._paths.snapshots)
        records = await self._records()  # After the folders: each of them has a record at that time, or none ever.
        for record, generation in records:
            if record.state != TAKEN and record.name not in self.busy:
                with suppress(TabletopError):  # Again in the next round.
                    await self._remove(record, generation)
                    self._world.events.emit(TableSnapshotAborted(record.name, record.table, "its master was replaced"))
        held = referred_to([record for record, _ in records])
        for folder in folders:
            if folder not in held:
                await self._remove_folder(folder)

    # How it is done.

    @contextmanager
    def _held(self, name: str) -> Iterator[None]:
        if name in self.busy:
            raise Conflict(f"snapshot {name!r} is being taken, restored or deleted at this moment; try again")
        self.busy[name] = None
        try:
            yield
        finally:
            del self.busy[name]

    async def _acquire(self, record: SnapshotRecord) -> None:
        """Return when all tablets of the table are in the folder. Raises whatever hinders one of them."""
        with in_engine_words():
            await self._client.make_directory(f"{self._paths.snapshots}/{record.folder}", parents=True)
        places = await self._tables.tablets(record.table)
        if not covers([(place.start_row, place.end_row) for place in places]):
            raise Unavailable(f"METADATA has not each row of table {record.table} once at this moment")
        tablets: dict[str, list[str]] = {}
        for place in places:
            tablets.setdefault(place.server, []).append(place.tablet)
        outcomes = await asyncio.gather(*(self._order(record, *one) for one in tablets.items()))
        for outcome in outcomes:
            if isinstance(outcome, TabletopError):
                raise outcome
            record.bytes += outcome
        record.tablets = len(places)

    async def _order(self, record: SnapshotRecord, server: str, tablets: Sequence[str]) -> int | TabletopError:
        request = wire.AcquireSnapshotRequest(
            master=self._lock.generation, sequencer=self._lock.to_bytes(), folder=record.folder, tablets=tablets
        )
        try:
            stub = self._servers.stub(server)
            return (await stub.AcquireSnapshot(request, timeout=self._settings.snapshot_seconds)).bytes
        except TabletopError as error:
            return error

    async def _commit(self, record: SnapshotRecord, generation: int) -> None:
        record.state, record.taken_at = TAKEN, self._world.clock.wall_microseconds()
        await self._session.write(
            _path(record), record.SerializeToString(), generation=generation, sequencer=self._lock
        )

    async def _abort(self, record: SnapshotRecord, generation: int, reason: TabletopError) -> None:
        """Return when nothing is left. Raises `reason` as indefinite if that is not known."""
        try:
            await self._remove(record, generation)
        except TabletopError:  # A later round, or a later master, does it, unless the last change was made after all.
            reason.definite = False
            raise reason from None
        self._world.events.emit(TableSnapshotAborted(record.name, record.table, reason.message))

    async def _remove(self, record: SnapshotRecord, generation: int) -> None:
        """From the first change on, nobody else's change of the record succeeds that was under way."""
        record.state = DELETING
        stat = await self._session.write(
            _path(record), record.SerializeToString(), generation=generation, sequencer=self._lock
        )
        await self._remove_folder(record.folder)
        with suppress(NotFound):
            await self._session.delete(_path(record), generation=stat.generation)

    async def _remove_folder(self, folder: str) -> None:
        with suppress(NotFound):
            await self._client.delete(f"{self._paths.snapshots}/{folder}", recursive=True, immediately=True)

    async def _records(self) -> list[tuple[SnapshotRecord, int]]:
        """All of them, whatever they are now, each with the generation of its file."""
        found = []
        for name in await self._session.list(SNAPSHOTS_PATH):
            with suppress(NotFound):
                contents, stat = await self._session.read(f"{SNAPSHOTS_PATH}/{name}")
                found.append((SnapshotRecord.FromString(contents), stat.generation))
        return found

    async def _record(self, name: str) -> tuple[SnapshotRecord, int]:
        for record, generation in await self._records():
            if record.name == name and record.state == TAKEN:
                return record, generation
        raise NotFound(f"there is no snapshot {name!r}; `tabletop table snapshots` shows which there are")

    async def _make_tablets(self, record: SnapshotRecord, table: str) -> list[TabletPlace]:
        """New tablets with what the snapshot holds; nobody knows of them yet."""
        held = await self._manifests(record)
        first = await self._numbers(len(held))
        folders = GfsFolders(self._client, self._paths.data)
        made = []
        for number, (tablet, manifest) in enumerate(held, first):
            name = tablet_name(table, number)
            with in_engine_words():
                source = f"{self._paths.snapshots}/{record.folder}/{tablet}"
                await self._client.snapshot(source, f"{self._paths.data}/{name}")
            renamed = replace(manifest, number=manifest.number + 1, tablet=name)
            await write_manifest(folders.storage(name), renamed, manifest_name(renamed.number))
            made.append(TabletPlace(tablet=name, table=table, start_row=manifest.start_row, end_row=manifest.end_row))
        return made

    async def _manifests(self, record: SnapshotRecord) -> list[tuple[str, Manifest]]:
        """What the folder of a snapshot holds: its tablets in the order of their rows. Raises Corrupted if they have
        not each row once."""
        folders = GfsFolders(self._client, f"{self._paths.snapshots}/{record.folder}")
        found = []
        for tablet in await folders.list():
            storage = folders.storage(tablet)
            manifest = await load_current(storage, await storage.list())
            if manifest is not None:
                found.append((tablet, manifest))
        found.sort(key=lambda one: one[1].start_row)
        if not covers([(manifest.start_row, manifest.end_row) for _, manifest in found]):
            held = "; ".join(f"{name} [{one.start_row!r}, {one.end_row!r})" for name, one in found) or "nothing"
            raise Corrupted(f"snapshot {record.name!r} does not hold each row of table {record.table} once: {held}")
        return found


def referred_to(records: Iterable[SnapshotRecord]) -> set[str]:
    """The folders, below `GfsPaths.snapshots`, that must stay as long as these records are there. In the folders of
    tablets, nothing is held for a snapshot.

    >>> referred_to([SnapshotRecord(name="monday", state=TAKEN, folder="monday.7.1")])
    {'monday.7.1'}
    """
    return {record.folder for record in records}


def covers(bounds: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether these ranges of rows, in order, have each row once.

    >>> covers([(b"", b"m"), (b"m", b"")]), covers([(b"", b"k"), (b"m", b"")]), covers([])
    (True, False, False)
    """
    starts, ends = [start for start, _ in bounds], [end for _, end in bounds]
    return bool(bounds) and starts == [b"", *ends[:-1]] and ends[-1] == b"" and all(ends[:-1])


def _path(record: SnapshotRecord) -> str:
    return f"{SNAPSHOTS_PATH}/{record.name}"
