"""One tablet: what must be done so that it is served (BT 5.2, 6).

    the server that METADATA names is alive      order it to load the tablet (again)
    it is not                                    have the logs of dead servers sorted that may have mutations of the
                                                 tablet; write into METADATA who has it from now on, under a higher
                                                 token, and that the new one's log may have mutations too; then order
    it is served                                 write into METADATA that the old logs are not needed any more
    it is to move                                order its server to unload it, which puts everything into SSTables;
                                                 write into METADATA who has it from now on; order that one to load it

A server that is alive and does not load is asked again and again: the tablet may be half loaded there, and nobody else
may have it before that server's lock is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from lockservice.interface import Sequencer
from runtime.errors import Conflict, StaleVersion, TabletopError, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2 import TabletPlace
from runtime.world import World
from tablet.location.places import changed
from tablet.master.events import AssignmentFailed, TabletAssigned
from tablet.master.plans import least_loaded
from tablet.master.servers import Servers
from tablet.master.settings import TabletMasterSettings

T = TypeVar("T")
Replace = Callable[[TabletPlace, TabletPlace], Awaitable[bool]]
"""Compare-and-set of the place in METADATA, or in the lock service for the root tablet."""
_TOKENS_A_TENURE = 1 << 24


class Assigning:
    """The work that is under way for tablets, each in a task of its own."""

    def __init__(
        self,
        world: World,
        settings: TabletMasterSettings,
        servers: Servers,
        lock: Sequencer,
        progress: Callable[[], None],
    ) -> None:
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.given_at: dict[str, float] = {}
        """When tablets came to their servers, by the clock; those of this tenure."""
        self._involved: dict[str, tuple[str, ...]] = {}
        """For whom the work for a tablet waits."""
        self._sorted: dict[str, None] = {}
        self._sorting: dict[str, asyncio.Task[TabletopError | None]] = {}
        self._world = world
        self._settings = settings
        self._servers = servers
        self._lock = lock
        self._progress = progress
        self._tokens = 0
        self._sorters: dict[str, str] = {}
        self._turn = 0

    def is_served(self, place: TabletPlace) -> bool:
        """Whether the server that METADATA names said that it serves the tablet."""
        server = self._servers.alive.get(place.server)
        return server is not None and server.serving.get(place.tablet, -1) >= place.token

    def has_rested(self, place: TabletPlace) -> bool:
        """Whether it is not just a moment ago that a tablet came to its server."""
        since = self.given_at.get(place.tablet)
        return since is None or self._world.clock.now() - since >= self._settings.rest_seconds

    def see_to(self, place: TabletPlace, replace: Replace, counts: dict[str, int]) -> None:
        """Do what is needed, beside the rounds, unless that is being done. `counts`: how many tablets each living
        server has; the one that is chosen is counted."""
        if place.tablet in self.tasks:
            return
        if self.is_served(place) and list(place.logs) == [place.server]:
            return
        target = place.server
        if target not in self._servers.alive:
            usable = {name: counts.get(name, 0) for name in self._servers.usable()}
            chosen = least_loaded(usable)
            if chosen is None:
                return
            target, counts[chosen] = chosen, counts.get(chosen, 0) + 1
        self._begin(place.tablet, self._see_to(place, target, replace), f"see that {place.tablet} is served", target)

    def move(self, place: TabletPlace, target: str, replace: Replace) -> "asyncio.Task[TabletPlace | TabletopError]":
        """Begin to move a tablet that is served, beside the rounds; nothing else is being done for it."""
        work = self._move(place, target, replace)
        return self._begin(place.tablet, work, f"move {place.tablet}", place.server, target)

    def _begin(self, tablet: str, work: Coroutine[Any, Any, T], name: str, *involved: str) -> "asyncio.Task[T]":
        self._involved[tablet] = involved
        task = self.tasks[tablet] = self._world.spawn(work, name)
        task.add_done_callback(lambda _: self._done(tablet))
        return task

    def _done(self, tablet: str) -> None:
        self.tasks.pop(tablet, None)
        self._involved.pop(tablet, None)
        self._progress()

    def drop(self, server: str) -> None:
        """A server is dead: nobody waits for what it was ordered."""
        for tablet, involved in list(self._involved.items()):
            if server in involved and tablet in self.tasks:
                self.tasks[tablet].cancel()
        for life, sorter in list(self._sorters.items()):
            if sorter == server and life in self._sorting:
                self._sorting[life].cancel()

    def forget_log(self, life: str) -> None:
        """Its sorted log is removed: should a row come to name it again, it is to be sorted again, as an empty one."""
        self._sorted.pop(life, None)

    def stop(self) -> None:
        """The tenure is over."""
        for task in (*self.tasks.values(), *self._sorting.values()):
            task.cancel()

    async def _see_to(self, place: TabletPlace, target: str, replace: Replace) -> None:
        try:
            if place.server != target:
                for life in place.logs:
                    await self._recover(life)
                place = await self._given_to(place, target, replace)
            if not self.is_served(place):
                try:
                    await self._order(place)
                except StaleVersion:  # It was to move, and whether METADATA was told of that is not known.
                    place = await self._given_to(place, place.server, replace)
                    await self._order(place)
            alone = changed(place, logs=[place.server])
            if list(place.logs) != [place.server] and not await replace(place, alone):
                raise Conflict("its METADATA row was changed by somebody else")
            self._world.events.emit(TabletAssigned(place.tablet, place.server, place.token))
        except TabletopError as error:
            self._world.events.emit(AssignmentFailed(place.tablet, error.message))

    async def _move(self, place: TabletPlace, target: str, replace: Replace) -> TabletPlace | TabletopError:
        try:
            await self._unload(place)
            given = await self._given_to(place, target, replace, logs=())
            await self._order(given)
        except TabletopError as error:  # It is wherever METADATA has it, and the next round sees to that.
            self._world.events.emit(AssignmentFailed(place.tablet, error.message))
            return error
        self._world.events.emit(TabletAssigned(given.tablet, given.server, given.token))
        return given

    async def _unload(self, place: TabletPlace) -> None:
        """Everything that was written to it is in SSTables when this returns, and its server serves it no more."""
        request = wire.UnloadTabletRequest(
            master=self._lock.generation, sequencer=self._lock.to_bytes(), tablet=place.tablet
        )
        await self._servers.stub(place.server).UnloadTablet(request, timeout=self._settings.order_seconds)
        server = self._servers.alive.get(place.server)
        if server is not None:
            server.serving.pop(place.tablet, None)

    async def _given_to(
        self, place: TabletPlace, target: str, replace: Replace, *, logs: Sequence[str] | None = None
    ) -> TabletPlace:
        """METADATA has given it to a server under a higher token when this returns. `logs`: those that may have
        mutations of it, if they are not the same as before."""
        self._tokens += 1
        server = self._servers.alive.get(target)
        if server is None:
            raise Unavailable(f"tablet server {target} has died meanwhile")
        given = changed(
            place,
            server=target,
            address=server.address,
            token=self._lock.generation * _TOKENS_A_TENURE + self._tokens,
            logs=list(dict.fromkeys([*(place.logs if logs is None else logs), target])),
        )
        if not await replace(place, given):
            raise Conflict("its METADATA row was changed by somebody else")
        if target != place.server:
            self.given_at[place.tablet] = self._world.clock.now()
        return given

    async def _order(self, place: TabletPlace) -> None:
        request = wire.LoadTabletRequest(master=self._lock.generation, sequencer=self._lock.to_bytes(), place=place)
        await self._servers.stub(place.server).LoadTablet(request, timeout=self._settings.order_seconds)
        server = self._servers.alive.get(place.server)
        if server is not None:
            server.serving[place.tablet] = place.token

    async def _recover(self, life: str) -> None:
        """The log of a dead server is sorted when this returns: once, however many tablets need it (BT 6)."""
        if life in self._sorted:
            return
        if life in self._servers.alive:
            raise Conflict(f"{life} is alive, and its log is being written")
        task = self._sorting.get(life)
        if task is None:
            task = self._sorting[life] = self._world.spawn(self._sort(life), f"have the log of {life} sorted")
            task.add_done_callback(lambda _: self._sorting.pop(life, None))
        await asyncio.wait([task])
        if task.cancelled():
            raise Unavailable(f"the server that was to sort the log of {life} has died", definite=True)
        error = task.result()
        if error is not None:
            raise error

    async def _sort(self, life: str) -> TabletopError | None:
        usable = self._servers.usable()
        if not usable:
            return Unavailable("there is no tablet server to sort a log", definite=True)
        self._turn += 1
        sorter = self._sorters[life] = usable[self._turn % len(usable)]
        request = wire.SortLogRequest(master=self._lock.generation, sequencer=self._lock.to_bytes(), server=life)
        try:
            await self._servers.stub(sorter).SortLog(request, timeout=self._settings.order_seconds)
        except TabletopError as error:
            return error
        self._sorted[life] = None
        return None
