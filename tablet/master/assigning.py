"""One tablet: what must be done so that it is served (BT 5.2, 6).

    the server that METADATA names is alive      order it to load the tablet (again)
    it is not                                    have the logs of dead servers sorted that may have mutations of the
                                                 tablet; write into METADATA who has it from now on, under a higher
                                                 token, and that the new one's log may have mutations too; then order
    it is served                                 write into METADATA that the old logs are not needed any more

A server that is alive and does not load is asked again and again: the tablet may be half loaded there, and nobody else
may have it before that server's lock is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable

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
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._targets: dict[str, str] = {}
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
        self._targets[place.tablet] = target
        task = self._world.spawn(self._see_to(place, target, replace), f"see that {place.tablet} is served")
        self.tasks[place.tablet] = task
        task.add_done_callback(lambda _: self._done(place.tablet))

    def _done(self, tablet: str) -> None:
        self.tasks.pop(tablet, None)
        self._targets.pop(tablet, None)
        self._progress()

    def drop(self, server: str) -> None:
        """A server is dead: nobody waits for what it was ordered."""
        for tablet, target in list(self._targets.items()):
            if target == server and tablet in self.tasks:
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

    async def _given_to(self, place: TabletPlace, target: str, replace: Replace) -> TabletPlace:
        self._tokens += 1
        server = self._servers.alive.get(target)
        if server is None:
            raise Unavailable(f"tablet server {target} has died meanwhile")
        given = changed(
            place,
            server=target,
            address=server.address,
            token=self._lock.generation * _TOKENS_A_TENURE + self._tokens,
            logs=list(dict.fromkeys([*place.logs, target])),
        )
        if not await replace(place, given):
            raise Conflict("its METADATA row was changed by somebody else")
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
