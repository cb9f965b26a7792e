"""Making and deleting tables (BT 5.2). A table is a file of the lock service with its schema and what it is now:

    creating → serving → deleting

Tablets are assigned only while it is `serving`. A master that finds a table `creating` which it does not create itself
deletes it: whoever asked for it was never told that it is there. One that is `deleting` it deletes to the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise

from gfs.client import Client
from lockservice.interface import Sequencer, Session
from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotFound, TabletopError, TimedOut
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TableRecord, TabletPlace
from runtime.world import World
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.engine.model.schema import Schema
from tablet.engine.model.schema_message import schema_to_message
from tablet.engine.tree.manifest import Manifest, write_manifest
from tablet.engine.world.names import manifest_name
from tablet.location.places import METADATA, NUMBER_PATH, TABLES_PATH, GfsPaths
from tablet.master.assigning import Assigning
from tablet.master.events import TableCreated, TableDeleted
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings
from tablet.server.catalogue import tablet_name, tablet_number
from tablet.storage.folders import GfsFolders

CREATING, SERVING, DELETING = "creating", "serving", "deleting"
Numbers = Callable[[int], Awaitable[int]]
_POLL_SECONDS = 0.05


class TableChanges:
    """The tables of one tenure."""

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
        assigning: Assigning,
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
        self._rows = MetadataRows(tables, world.node)
        self._servers = servers
        self._assigning = assigning
        self._numbers = numbers
        self._paths = paths

    async def records(self) -> dict[str, TableRecord]:
        """All tables, whatever they are now."""
        found = {}
        for name in await self._session.list(TABLES_PATH):
            with suppress(NotFound):
                found[name] = TableRecord.FromString((await self._session.read(f"{TABLES_PATH}/{name}"))[0])
        return found

    async def create(self, table: str, schema: Schema, split_rows: Sequence[bytes]) -> None:
        """Create a table; returns when its tablets are served. Raises AlreadyExists, InvalidRequest."""
        check_name(table)
        if list(split_rows) != sorted({row for row in split_rows if row}):
            raise InvalidRequest("the rows to split at must rise, and none may be empty")
        if not schema.families:
            raise InvalidRequest(f"table {table!r} has no column family; give at least one")
        record = TableRecord(table=table, schema=schema_to_message(schema), split_rows=split_rows)
        make = partial(make_tablets, self._client, self._paths, table, schema, split_rows, self._numbers)
        await self.create_of(record, make)

    async def create_of(self, record: TableRecord, make: Callable[[], Awaitable[list[TabletPlace]]]) -> None:
        """Create a table of the tablets that `make` makes, of which nobody knows yet. Raises as `create`."""
        table = record.table
        record.state = CREATING
        with self.held(table):
            try:
                await self._session.create(f"{TABLES_PATH}/{table}", record.SerializeToString())
            except Conflict:
                raise AlreadyExists(f"there is a table {table!r}; choose another name") from None
            try:
                places = await make()
                for place in places:
                    if not await self._rows.replace(None, place):
                        raise Conflict(f"METADATA has a row for table {table!r} already; try again")
                record.state = SERVING
                await self._write(record)
            except TabletopError as error:
                error.definite = False  # What was made is removed in one of the next rounds, if it does not serve.
                raise
        await self._until_served(table, len(places))
        self._world.events.emit(TableCreated(table, len(places)))

    @contextmanager
    def held(self, table: str) -> Iterator[None]:
        """Nothing else happens to the table as a whole meanwhile. Raises Conflict if something does already."""
        if table in self.busy:
            raise Conflict(f"table {table!r} is being created, deleted or snapshotted at this moment; try again")
        self.busy[table] = None
        try:
            yield
        finally:
            del self.busy[table]

    async def _until_served(self, table: str, count: int) -> None:
        until = self._world.clock.now() + self._settings.table_seconds
        while self._world.clock.now() < until:
            with suppress(TabletopError):
                places = await self._tables.tablets(table)
                if len(places) >= count and all(map(self._assigning.is_served, places)):
                    return
            await self._world.clock.sleep(_POLL_SECONDS)
        raise TimedOut(f"table {table!r} was made, and its tablets are not served yet; see `tabletop table tablets`")

    async def delete(self, table: str) -> None:
        """Delete a table with its rows; its files go with the next sweep. Raises NotFound."""
        with self.held(table):
            contents, stat = await self._session.read(f"{TABLES_PATH}/{table}")
            record = TableRecord.FromString(contents)
            record.state = DELETING
            await self._write(record, stat.generation)
            await self._remove(table)

    async def remove_remains(self, records: dict[str, TableRecord]) -> None:
        """Delete what earlier masters have left half made or half deleted."""
        for table, record in records.items():
            if record.state != SERVING and table not in self.busy:
                with self.held(table), suppress(TabletopError):  # Again in the next round.
                    await self._remove(table)

    async def _remove(self, table: str) -> None:
        """Unload its tablets, take them out of METADATA, and remove the table's own file. The sweep removes theirs. If
        a table of this name has been made anew, whose tablets have higher numbers, that one is not touched: this may be
        a master that was replaced long ago. Raises Conflict then, if it serves."""
        below, generation = await self._below(table)
        while places := [one for one in await self._tables.tablets(table) if tablet_number(one.tablet) < below]:
            await asyncio.gather(*(self._remove_tablet(place) for place in places))
            below, generation = await self._below(table)
        with suppress(NotFound):
            await self._session.delete(f"{TABLES_PATH}/{table}", generation=generation)
        self._world.events.emit(TableDeleted(table))

    async def _below(self, table: str) -> tuple[int, int]:
        """A number that is higher than those of all tablets that a table which is to be removed had before this, and
        the generation of its record. Raises Conflict if the table serves, NotFound if there is none."""
        number = int((await self._session.read(NUMBER_PATH))[0])  # First this: then nothing that is new is below it.
        contents, stat = await self._session.read(f"{TABLES_PATH}/{table}")
        if TableRecord.FromString(contents).state == SERVING:
            raise Conflict(f"there is a new table {table!r}, which serves; it is not to be removed")
        return number, stat.generation

    async def _remove_tablet(self, place: TabletPlace) -> None:
        task = self._assigning.tasks.get(place.tablet)
        if task is not None:
            await asyncio.wait([task])
            return  # It may be elsewhere now: look again.
        if place.server in self._servers.alive:
            request = wire.UnloadTabletRequest(
                master=self._lock.generation,
                sequencer=self._lock.to_bytes(),
                tablet=place.tablet,
                token=place.token,
            )
            with suppress(NotFound):
                await self._servers.stub(place.server).UnloadTablet(request, timeout=self._settings.order_seconds)
        if place.HasField("lower_half"):
            await self._rows.settle(place)
            return
        await self._rows.replace(place, None)

    async def _write(self, record: TableRecord, generation: int | None = None) -> None:
        path = f"{TABLES_PATH}/{record.table}"
        await self._session.write(path, record.SerializeToString(), generation=generation, sequencer=self._lock)


def check_name(table: str) -> None:
    """Raise InvalidRequest for a name that a new table cannot have."""
    tablet_name(table, 1)
    if table == METADATA:
        raise InvalidRequest(f"{METADATA} is the table of tablets; choose another name")


async def make_tablets(
    client: Client, paths: GfsPaths, table: str, schema: Schema, split_rows: Sequence[bytes], numbers: Numbers
) -> list[TabletPlace]:
    """The folders of new tablets, each with a manifest; nobody knows of them yet."""
    bounds = [b"", *split_rows, b""]
    first = await numbers(len(bounds) - 1)
    folders = GfsFolders(client, paths.data)
    made = []
    for place, (start, end) in enumerate(pairwise(bounds)):
        name = tablet_name(table, first + place)
        await make_tablet(folders, name, schema, start, end)
        made.append(TabletPlace(tablet=name, table=table, start_row=start, end_row=end))
    return made


async def make_tablet(folders: GfsFolders, name: str, schema: Schema, start: bytes, end: bytes) -> None:
    """One folder and its first manifest; one that is there is fine."""
    await folders.make(name)
    with suppress(AlreadyExists):
        manifest = Manifest(1, name, schema, start_row=start, end_row=end)
        await write_manifest(folders.storage(name), manifest, manifest_name(1))
