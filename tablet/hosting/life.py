"""One life of a tablet server: its session, its lock, its log, and the tablets that it serves (BT 5.2, 5.3).

Invariants: (1) a tablet is in `engines` only after its manifest was claimed under the token of its assignment; (2)
nothing is answered for a tablet unless the session was SAFE after what was read had been read; (3) after `end` nothing
is served, and no engine changes a file any more.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from gfs.client import Client
from lockservice.interface import LockService, Session, SessionState
from runtime.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    NotServed,
    StaleVersion,
    Superseded,
    TabletopError,
    Unavailable,
)
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import World
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog, sort_log
from tablet.engine.tree.budget import Budget
from tablet.engine.world.names import home_of, is_neighbour
from tablet.hosting.events import (
    LogOfDeadServerSorted,
    ServerLifeBegan,
    ServerLifeEnded,
    TabletLoaded,
    TabletLoadFailed,
    TabletUnloaded,
)
from tablet.hosting.orders import Orders
from tablet.hosting.settings import TabletServerSettings
from tablet.location.once import Once
from tablet.location.places import SERVERS_PATH, GfsPaths
from tablet.storage.closing import close_log
from tablet.storage.folders import GfsFolders

T = TypeVar("T")


class Life:
    """Make one with `begin`; it lasts until its session is over, or `end`."""

    def __init__(
        self, world: World, settings: TabletServerSettings, client: Client, session: Session, paths: GfsPaths
    ) -> None:
        self.name = f"{world.node}-{session.number}"
        self.session = session
        self.orders = Orders()
        self.once = Once(world, self.name)
        self.over = asyncio.Event()
        self.engines: dict[str, Engine] = {}
        self.places: dict[str, TabletPlace] = {}
        self._spent: dict[str, int] = {}
        """Tablets that were unloaded or split, and under which token: under that one they are never loaded again."""
        self.loading: dict[str, asyncio.Task[TabletopError | None]] = {}
        self.reshaping: dict[str, asyncio.Task[Any]] = {}
        """Splits and merges that are under way."""
        self.preparing: dict[str, None] = {}
        """Tablets that these are about to make: folders that METADATA does not name yet."""
        self.acquiring: dict[tuple[str, ...], asyncio.Task[int | TabletopError]] = {}
        self.busy: dict[str, asyncio.Lock] = {}
        self.settings = settings
        self.world = world
        self.client = client
        self.paths = paths
        self.data = GfsFolders(client, paths.data)
        self.budget = Budget.of(replace(settings.options(), memtable_bytes=settings.memory_bytes // 2))
        self.reason = ""
        self._log: ServerLog | None = None
        self._sorting: dict[str, asyncio.Task[TabletopError | None]] = {}

    @classmethod
    async def begin(
        cls,
        world: World,
        settings: TabletServerSettings,
        client: Client,
        locks: LockService,
        address: str,
        paths: GfsPaths,
    ) -> "Life":
        """Open a session, take the lock of a file of its own, and begin a log. Raises what these raise."""
        session = await locks.open_session()
        life = cls(world, settings, client, session, paths)
        try:
            for path in paths.all():
                await client.make_directory(path, parents=True)
            # First the lock, then the log, then the file: whoever finds one of these without the lock knows that this
            # life is over.
            path = f"{SERVERS_PATH}/{life.name}"
            await session.acquire(path, lock_delay_seconds=0.0)
            logs = GfsFolders(client, paths.logs)
            await logs.make(life.name)
            life._log = await ServerLog.open(
                logs.storage(life.name),
                owner=life.name,
                sync="fsync",
                segment_bytes=settings.segment_bytes,
                segment_limit=settings.segment_limit,
            )
            await session.create(path, address.encode())
        except BaseException:
            await session.close()
            raise
        world.events.emit(ServerLifeBegan(life.name))
        return life

    @property
    def log(self) -> ServerLog:
        """The log of all its tablets."""
        assert self._log is not None
        return self._log

    @property
    def is_safe(self) -> bool:
        """Whether the lock is held for certain, at this moment, by a clock that counts shorter than the service's."""
        return not self.reason and self.session.state is SessionState.SAFE

    def engine(self, tablet: str) -> Engine:
        """The tablet, to be read or written. Raises NotServed."""
        self.require_safe()
        engine = self.engines.get(tablet)
        if engine is None or engine.state.superseded:
            raise NotServed(f"{self.name} does not serve tablet {tablet!r}; ask METADATA who does")
        return engine

    def file_bytes(self, tablet: str) -> int:
        """About how large the SSTables of a tablet are that is served here."""
        return sum(table.charged_bytes for table in self.engines[tablet].state.manifest.references())

    def files_in_use(self) -> set[str]:
        """The files in the folders of other tablets, as FOLDER/NAME, to which a tablet refers that is served here, or
        that one of its readers still reads."""
        names = {name for engine in self.engines.values() for name in engine.state.names_in_use()}
        return {"/".join(home_of(name, "")) for name in names if is_neighbour(name)}

    def require_safe(self, *, definite: bool = True) -> None:
        """Raise NotServed if the lock is in doubt."""
        if not self.is_safe:
            why = self.reason or f"its session with the lock service is {self.session.state.value}"
            raise NotServed(f"{self.name} serves nothing at this moment: {why}; ask METADATA again", definite=definite)

    # Loading and unloading.

    async def load(self, place: TabletPlace) -> None:
        """Serve a tablet; returns when it is served. Raises NotServed, Superseded, StaleVersion (it was unloaded under
        this token), and what opening it raises."""
        self.require_safe()
        if self._serves(place):
            return
        task = self.loading.get(place.tablet)
        if task is None:
            task = self.loading[place.tablet] = self.world.spawn(_outcome(self._load(place)), f"load {place.tablet}")
            task.add_done_callback(lambda _: self.loading.pop(place.tablet, None))
        await _raised(task)

    def _serves(self, place: TabletPlace) -> bool:
        known, engine = self.places.get(place.tablet), self.engines.get(place.tablet)
        is_there = known is not None and engine is not None and not engine.state.superseded
        return is_there and known is not None and known.token >= place.token

    async def _load(self, place: TabletPlace) -> None:
        tablet = place.tablet
        async with self.turn(tablet):
            if self._serves(place):
                return
            if place.token <= self._spent.get(tablet, -1):
                # METADATA may be about to give it to another one, by a change of the row that the master no longer
                # waits for. Only a change of the same row, which one of the two loses, makes it ours again.
                raise StaleVersion(f"{tablet} was unloaded or split under token {place.token}; read METADATA again")
            if tablet in self.engines:
                # What it has in memory only is in our own log, from which it is opened once more.
                await self._drop(tablet, "it was assigned anew")
            try:
                former = await self._sorted_logs(place.logs)
                for earlier in former[:-1]:
                    await (await self.opened(place, earlier)).close()
                self.require_safe()
                engine = await self.opened(place, former[-1] if former else None)
            except TabletopError as error:
                self.world.events.emit(TabletLoadFailed(tablet, error.message))
                raise
            self.take(place, engine)
            self.world.events.emit(TabletLoaded(tablet, place.token, len(former)))

    async def opened(self, place: TabletPlace, former: SortedLog | None = None) -> Engine:
        """The tablet of a place, under its token."""
        return await Engine.open(
            self.data.storage(place.tablet),
            self.world,
            self.settings.options(),
            tablet=place.tablet,
            log=self.log,
            token=place.token,
            former=former,
            budget=self.budget,
        )

    def take(self, place: TabletPlace, engine: Engine) -> None:
        """Serve an opened tablet from here on, unless the life is over by now."""
        if self.reason:
            engine.state.stop_for_another_owner(self.reason)
            raise NotServed(f"{self.name} serves nothing any more: {self.reason}")
        self.engines[place.tablet], self.places[place.tablet] = engine, place
        engine.start()

    async def _sorted_logs(self, lives: Sequence[str]) -> list[SortedLog]:
        found = []
        for life in lives:
            if life == self.name:
                continue
            try:
                log = await SortedLog.load(GfsFolders(self.client, self.paths.sorted).storage(life), life)
            except NotFound:
                log = None
            if log is None:
                raise Conflict(f"the log of {life} is not sorted yet")
            found.append(log)
        return found

    async def unload(self, tablet: str, token: int = 0) -> None:
        """Serve a tablet no more; everything that was written to it is in SSTables when this returns. Raises NotFound:
        then an order to load it under this token, which is late, is not obeyed any more; NoSpace, DiskFailure: then it
        is served as before; NotServed: meanwhile this life has ended, or another owner has the tablet."""
        async with self.turn(tablet):
            engine = self.engines.get(tablet)
            if engine is None:
                self._spent[tablet] = max(token, self._spent.get(tablet, 0))
                raise NotFound(f"{self.name} does not serve tablet {tablet!r}")
            await engine.prepare_move()
            if self.engines.get(tablet) is not engine:
                raise NotServed(f"{self.name} has lost tablet {tablet!r} while it was to be unloaded")
            self.spend(self.places[tablet])
            await self._drop(tablet, "it is to move")
            self.forget_in_log(tablet)

    def spend(self, place: TabletPlace) -> None:
        """Never load the tablet again under this token: an order that is late says no more than was known before."""
        self._spent[place.tablet] = place.token

    async def _drop(self, tablet: str, reason: str) -> None:
        engine = self.engines.pop(tablet)
        del self.places[tablet]
        with suppress(TabletopError):
            await engine.close()
        self.world.events.emit(TabletUnloaded(tablet, reason))

    def forget_in_log(self, tablet: str) -> None:
        """A tablet needs nothing of the log any more."""
        if tablet in self.log.tablets:
            self.log.detach(tablet)

    def turn(self, tablet: str) -> asyncio.Lock:
        """Held while a tablet is loaded, unloaded, split, or acquired for a snapshot."""
        return self.busy.setdefault(tablet, asyncio.Lock())

    async def reshape(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Split or merge tablets. Once begun, that comes to its end though nobody waits for it any more: halfway nobody
        knows which tablets are alive. Whoever asks for the same meanwhile waits for the one that is under way. Raises
        what it raises, and NotServed if this life ends."""
        task = self.reshaping.get(key)
        if task is None:
            task = self.reshaping[key] = self.world.spawn(_result(work), f"reshape {key}")
            task.add_done_callback(lambda _: self.reshaping.pop(key, None))
        try:
            outcome: T | TabletopError = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise NotServed("this server's life has ended meanwhile", definite=False) from None
            raise
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    # The log of another one.

    async def sort(self, life: str) -> None:
        """Take the log of a life that is over out of its hands, and sort it; several who ask wait for one sort (BT 6).
        Raises DiskFailure, Corrupted."""
        task = self._sorting.get(life)
        if task is None:
            task = self._sorting[life] = self.world.spawn(_outcome(self._sort(life)), f"sort the log of {life}")
            task.add_done_callback(lambda _: self._sorting.pop(life, None))
        await _raised(task)

    async def _sort(self, life: str) -> None:
        client, paths = self.client, self.paths
        if await client.exists(f"{paths.sorted}/{life}"):
            return
        log = await close_log(client, life, logs=paths.logs, closing=paths.closing, closed=paths.closed)
        # Two masters may have it sorted at once: each sort has a folder of its own, and one of them gets the name.
        name = f"{life}.{self.name}.{self.world.random.getrandbits(32):08x}"
        folders = GfsFolders(client, paths.sorting)
        await folders.make(name)
        if log is None:
            log = folders.storage(name)  # It had not begun one.
        await sort_log(log, folders.storage(name), self.world, owner=life)
        try:
            await client.rename(f"{paths.sorting}/{name}", f"{paths.sorted}/{life}")
        except AlreadyExists:
            await client.delete(f"{paths.sorting}/{name}", recursive=True, immediately=True)
        self.world.events.emit(LogOfDeadServerSorted(life))

    # The end.

    async def end(self, reason: str) -> None:
        """Serve nothing any more, and give the lock back. Nothing is written: what is in memory is in the log, too, for
        whoever takes over."""
        if self.reason:
            return
        self.reason = reason
        count = len(self.engines)
        waiting = (self.loading, self.reshaping, self._sorting, self.acquiring)
        for task in [task for tasks in waiting for task in tasks.values()]:
            task.cancel()
        for engine in self.engines.values():
            engine.state.stop_for_another_owner(reason)
        engines, self.engines = list(self.engines.values()), {}
        self.places = {}
        for engine in engines:
            with suppress(TabletopError):
                await engine.close()
        with suppress(TabletopError):
            await self.log.close()
        await self.session.close()
        self.world.events.emit(ServerLifeEnded(self.name, count, reason))
        self.over.set()

    def check_invariants(self) -> None:
        """Assert what must hold at any moment."""
        assert self.engines.keys() == self.places.keys()
        for tablet, engine in self.engines.items():
            manifest, place = engine.state.manifest, self.places[tablet]
            assert (manifest.tablet, manifest.start_row, manifest.end_row) == (tablet, place.start_row, place.end_row)
            assert engine.state.superseded or manifest.token == place.token


def explained(error: TabletopError) -> TabletopError:
    """What an engine says to its server, as it is said to a client: a tablet that is closed, moving, or another owner's
    is not served here."""
    if isinstance(error, Superseded | Conflict):
        return NotServed(error.message, definite=error.definite)
    if isinstance(error, Unavailable):
        return Unavailable(error.message, definite=error.definite)
    return error


async def _outcome(work: Coroutine[Any, Any, None]) -> TabletopError | None:
    """The error of work that goes on though whoever asked for it has gone."""
    try:
        await work
    except TabletopError as error:
        return error
    return None


async def _result(work: Callable[[], Coroutine[Any, Any, T]]) -> T | TabletopError:
    try:
        return await work()
    except TabletopError as error:
        return error


async def _raised(task: "asyncio.Task[TabletopError | None]") -> None:
    try:
        error = await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise NotServed("this server's life has ended meanwhile", definite=False) from None
        raise
    if error is not None:
        raise error
