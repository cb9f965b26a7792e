"""The rounds of one tenure: from taking the master's lock to losing it (BT 5.2)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gfs.client import Client
from lockservice.interface import Sequencer, Session, SessionState
from runtime.errors import Conflict, NotFound, TabletopError
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TableRecord, TabletPlace
from runtime.world import World
from tablet.client.client import TableClient
from tablet.client.metadata import MetadataRows
from tablet.location.numbers import new_numbers
from tablet.location.once import Once
from tablet.location.places import (
    FIRST_METADATA_TABLET,
    FIRST_NUMBER,
    METADATA,
    METADATA_SCHEMA,
    NUMBER_PATH,
    ROOT_PATH,
    ROOT_TABLET,
    USER_ROWS,
    GfsPaths,
    encode_place,
)
from tablet.master.assigning import Assigning
from tablet.master.events import TabletMoved
from tablet.master.old_logs import OldLogs
from tablet.master.plans import needed_logs, tablets_by_server, to_be_relieved
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings
from tablet.master.snapshots import Snapshots
from tablet.master.tables import SERVING, TableChanges, make_tablet
from tablet.master.waiting import Waiting
from tablet.storage.folders import GfsFolders


class Tenure:
    """What the acting master knows and does. `places`: all tablets, as METADATA had them in the last round."""

    def __init__(
        self,
        world: World,
        settings: TabletMasterSettings,
        session: Session,
        lock: Sequencer,
        client: Client,
        tables: TableClient,
        paths: GfsPaths,
    ) -> None:
        self.session = session
        self.lock = lock
        self.once = Once(world, "")
        self.places: list[TabletPlace] = []
        self.records: dict[str, TableRecord] = {}
        self.root: TabletPlace | None = None
        self.waiting = Waiting()
        self.rounds = 0
        """Those in which METADATA was served and read."""
        self._has_first_row = False
        self._world = world
        self._settings = settings
        self._client = client
        self._tables = tables
        self._rows = MetadataRows(tables)
        self._paths = paths
        self._progress = asyncio.Event()
        self.servers = Servers(world, settings, session, lock)
        self.assigning = Assigning(world, settings, self.servers, lock, self._progress.set)
        self.old_logs = OldLogs(world, client, paths, self.servers, self.assigning.forget_log)
        self.changes = TableChanges(
            world,
            settings,
            session,
            lock,
            client=client,
            tables=tables,
            servers=self.servers,
            assigning=self.assigning,
            numbers=lambda count: new_numbers(session, count),
            paths=paths,
        )
        self.snapshots = Snapshots(
            world,
            settings,
            session,
            lock,
            client=client,
            tables=tables,
            servers=self.servers,
            changes=self.changes,
            numbers=lambda count: new_numbers(session, count),
            paths=paths,
        )

    @property
    def is_over(self) -> bool:
        """Whether the lock is lost."""
        return self.session.state is SessionState.EXPIRED

    async def run(self) -> None:
        """Round after round, until the lock is lost."""
        try:
            while not self.is_over:
                self._progress.clear()
                if self.session.state is SessionState.SAFE:
                    with suppress(TabletopError):  # Whatever does not answer is asked again in the next round.
                        await self._round()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.round_seconds):
                        await self._progress.wait()
                        await self._world.clock.sleep(self._settings.round_seconds / 10)
        finally:
            self.assigning.stop()

    async def _round(self) -> None:
        for name in await self.servers.look():
            self.assigning.drop(name)
        self._note_waiting()
        if not self.servers.are_all_known or not self.servers.alive:
            return
        dead = await self.old_logs.of_the_dead()  # Before METADATA is read.
        root, generation = await self._root()
        self.root = root
        counts = tablets_by_server([root, *self.places], self.servers.alive)
        self.assigning.see_to(root, self._replacing_root(generation), counts)
        if not self.assigning.is_served(root):
            return
        await self._begin_metadata()
        upper = await self._tables.tablets(METADATA)
        if not await self._see_to_all(upper, counts):
            return
        users = await self._tables.tablets()
        # Read after METADATA: a table has its record before it has rows, and as long as it has some.
        self.records = await self.changes.records()
        for place in users:
            if place.HasField("lower_half"):
                await self._rows.finish_split(place)
                self._progress.set()
            elif place.table not in self.records:  # Left by a server that was late with its split.
                await self._rows.replace(place, None)
        self.places = [*upper, *users]
        self._note_waiting()
        self.rounds += 1
        counts = tablets_by_server([root, *self.places], self.servers.alive)
        are_served = await self._see_to_all(
            [place for place in users if self._is_serving(place.table) and not place.HasField("lower_half")], counts
        )
        await self.changes.remove_remains(self.records)
        if are_served and not self.assigning.tasks:
            await self.old_logs.remove(dead, needed_logs([root, *self.places]))
            await self._balance(users, counts)
            await self.snapshots.remove_remains()

    async def find(self, tablet: str) -> TabletPlace | None:
        """Where METADATA has a tablet now; None if it has none of this name."""
        places = await self._tables.tablets(tablet.rpartition("-")[0])
        return next((place for place in places if place.tablet == tablet), None)

    def known(self) -> list[TabletPlace]:
        """All tablets that it knows, the root tablet first."""
        return [*([self.root] if self.root is not None else []), *self.places]

    def seconds_waiting(self, tablet: str) -> float:
        """How long nobody has served a tablet, as far as this master has seen."""
        now = self._world.clock.now()
        return now - self.waiting.since.get(tablet, now)

    @property
    def node(self) -> str:
        """The node that acts."""
        return self._world.node

    def _note_waiting(self) -> None:
        self.waiting.note(self.known(), self.assigning.is_served, self._world.clock.now())

    def _is_serving(self, table: str) -> bool:
        record = self.records.get(table)
        return record is not None and record.state == SERVING

    async def _see_to_all(self, places: Sequence[TabletPlace], counts: dict[str, int]) -> bool:
        """Whether all of them are served."""
        for place in places:
            self.assigning.see_to(place, self._rows.replace, counts)
        return all(map(self.assigning.is_served, places))

    # The root tablet.

    async def _root(self) -> tuple[TabletPlace, int]:
        """Where the root tablet is, and the generation of the file that says so; makes the first one."""
        with suppress(NotFound):
            contents, stat = await self.session.read(ROOT_PATH)
            return TabletPlace.FromString(contents), stat.generation
        for path in self._paths.all():
            await self._client.make_directory(path, parents=True)
        folders = GfsFolders(self._client, self._paths.data)
        await make_tablet(folders, ROOT_TABLET, METADATA_SCHEMA, b"", USER_ROWS)
        await make_tablet(folders, FIRST_METADATA_TABLET, METADATA_SCHEMA, USER_ROWS, b"")
        with suppress(Conflict):
            await self.session.create(NUMBER_PATH, str(FIRST_NUMBER).encode())
        root = TabletPlace(tablet=ROOT_TABLET, table=METADATA, end_row=USER_ROWS)
        stat = await self.session.create(ROOT_PATH, encode_place(root))
        return root, stat.generation

    def _replacing_root(self, generation: int) -> "_RootFile":
        return _RootFile(self.session, self.lock, generation)

    async def _begin_metadata(self) -> None:
        """The root tablet of a cluster that is new has no row yet."""
        first = TabletPlace(tablet=FIRST_METADATA_TABLET, table=METADATA, start_row=USER_ROWS)
        if not self._has_first_row:
            if not await self._tables.tablets(METADATA):
                await self._rows.replace(None, first)
            self._has_first_row = True

    # Housekeeping.

    async def _balance(self, users: Sequence[TabletPlace], counts: dict[str, int]) -> None:
        """Move one tablet, if a server has two more than another one (BT 5.2, 6)."""
        usable = {name: counts[name] for name in self.servers.usable()}
        source = to_be_relieved(usable)
        moving = next((place for place in users if place.server == source), None)
        if source is None or moving is None:
            return
        self._world.events.emit(TabletMoved(moving.tablet, source))
        request = wire.UnloadTabletRequest(
            master=self.lock.generation, sequencer=self.lock.to_bytes(), tablet=moving.tablet
        )
        await self.servers.stub(source).UnloadTablet(request, timeout=self._settings.order_seconds)
        self.servers.alive[source].serving.pop(moving.tablet, None)
        free = TabletPlace()
        free.CopyFrom(moving)
        free.server = free.address = ""
        del free.logs[:]
        await self._rows.replace(moving, free)
        self._progress.set()


class _RootFile:
    """Compare-and-set of the root tablet's place, in the file of the lock service, while the master's lock is held."""

    def __init__(self, session: Session, lock: Sequencer, generation: int) -> None:
        self._session = session
        self._lock = lock
        self._generation = generation

    async def __call__(self, before: TabletPlace, after: TabletPlace) -> bool:
        try:
            stat = await self._session.write(
                ROOT_PATH, encode_place(after), generation=self._generation, sequencer=self._lock
            )
        except Conflict:
            return False
        self._generation = stat.generation
        return True
