"""The rounds of one tenure: from taking the master's lock to losing it (BT 5.2)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from gfs.client import Client
from lockservice.interface import Sequencer, Session, SessionState
from runtime.errors import Conflict, NotFound, TabletopError
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
from tablet.master.assigning import Assigning, Replace
from tablet.master.events import OutdatedRowRemoved
from tablet.master.merging import Merging
from tablet.master.moving import Moving
from tablet.master.old_logs import OldLogs
from tablet.master.plans import needed_logs, tablets_by_server
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings
from tablet.master.snapshots import Snapshots
from tablet.master.sweeping import Sweeping
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
        self._rows = MetadataRows(tables, world.node)
        self._paths = paths
        self._progress = asyncio.Event()
        self.servers = Servers(world, settings, session, lock)
        self.assigning = Assigning(world, settings, self.servers, lock, self._progress.set)
        self.moving = Moving(world, settings, self.servers, self.assigning, self.find)
        self.merging = Merging(
            world, settings, self.servers, lock, assigning=self.assigning, moving=self.moving, find=self.find
        )
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
        self.sweeping = Sweeping(
            world,
            settings,
            client=client,
            tables=tables,
            servers=self.servers,
            changes=self.changes,
            paths=paths,
            root=self._root_place,
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
            self.sweeping.stop()
            self.merging.stop()
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
        upper = await self._settled(*await self._tables.layout(METADATA))
        if not await self._see_to_all(upper, counts):
            return
        users, outdated = await self._tables.layout()
        # Read after METADATA: a table has its record before it has rows, and as long as it has some.
        self.records = await self.changes.records()
        whole = await self._settled(users, outdated)
        for place in whole:
            if place.table not in self.records:  # Left by a server that was late with its split.
                await self._rows.replace(place, None)
        self.places = [*upper, *users]
        self._note_waiting()
        self.rounds += 1
        counts = tablets_by_server([root, *self.places], self.servers.alive)
        are_served = await self._see_to_all([place for place in whole if self._is_serving(place.table)], counts)
        await self.changes.remove_remains(self.records)
        if are_served and not self.assigning.tasks:
            await self.old_logs.remove(dead, needed_logs([root, *self.places]))
            quiet = [place for place in whole if place.tablet not in self.merging.busy]
            self.moving.balance(quiet, counts, self._rows.replace)
            self.merging.merge_small(quiet)
            self.sweeping.begin()
            await self.snapshots.remove_remains()

    async def _settled(self, places: Sequence[TabletPlace], outdated: Sequence[TabletPlace]) -> list[TabletPlace]:
        """Bring splits and merges to their end that nobody else does, and remove rows that do not count any more;
        returns the tablets that have a row for themselves."""
        whole = []
        for place in places:
            if not place.HasField("lower_half"):
                whole.append(place)
            elif not (place.merging and place.server in self.servers.alive):  # A living server brings it to its end.
                await self._rows.settle(place)
                self._progress.set()
        for place in outdated:
            if await self._rows.replace(place, None):
                self._world.events.emit(OutdatedRowRemoved(place.tablet))
        return whole

    async def find(self, tablet: str) -> tuple[TabletPlace, Replace]:
        """Where METADATA has a tablet now, and how that is changed. Raises NotFound."""
        if tablet == ROOT_TABLET:
            root, generation = await self._root()
            return root, self._replacing_root(generation)
        for place in await self.tablets_of(tablet.rpartition("-")[0]):
            if place.tablet == tablet:
                return place, self._rows.replace
        raise NotFound(f"there is no tablet {tablet!r}; `tabletop table tablets` shows which there are")

    async def tablets_of(self, table: str) -> list[TabletPlace]:
        """The tablets of a table, as METADATA has them now; none if there is no such table."""
        return await self._tables.tablets(table)

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

    async def _root_place(self) -> TabletPlace:
        return (await self._root())[0]

    def _replacing_root(self, generation: int) -> "_RootFile":
        return _RootFile(self.session, self.lock, generation)

    async def _begin_metadata(self) -> None:
        """The root tablet of a cluster that is new has no row yet."""
        first = TabletPlace(tablet=FIRST_METADATA_TABLET, table=METADATA, start_row=USER_ROWS)
        if not self._has_first_row:
            if not await self._tables.tablets(METADATA):
                await self._rows.replace(None, first)
            self._has_first_row = True


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
