"""Which tablet servers are alive, by their locks, and what each of them says that it serves (BT 5.2)."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lockservice.interface import Sequencer, Session
from runtime.errors import Conflict, NotFound, TabletopError, Unavailable
from runtime.wire import tables_pb2 as wire
from runtime.wire.tables_pb2_grpc import TabletServerStub
from runtime.world import World
from tablet.location.places import SERVERS_PATH
from tablet.master.events import TabletServerBuried
from tablet.master.settings import TabletMasterSettings

if TYPE_CHECKING:
    from runtime.wire.tables_pb2_grpc import TabletServerAsyncStub


@dataclass(slots=True)
class LivingServer:
    """One life of a tablet server that holds its lock. `serving` and `loading` are what it said last."""

    name: str
    address: str
    has_answered: bool = False
    answers: bool = False
    serving: dict[str, int] = field(default_factory=dict)  # tokens by tablet
    loading: frozenset[str] = frozenset()
    file_bytes: dict[str, int] = field(default_factory=dict)  # by tablet
    preparing: frozenset[str] = frozenset()  # tablets that splits and merges under way are about to make
    files_in_use: tuple[str, ...] = ()  # in the folders of other tablets, if that was asked

    def has(self, tablet: str, token: int) -> bool:
        """Whether it serves the tablet under this token or a later one, or is loading it."""
        return self.serving.get(tablet, -1) >= token or tablet in self.loading


class Servers:
    """All of them, as of the last look."""

    def __init__(self, world: World, settings: TabletMasterSettings, session: Session, lock: Sequencer) -> None:
        self.alive: dict[str, LivingServer] = {}
        self.over: set[str] = set()
        """Lives that this master has buried, and whose logs are not removed yet."""
        self._taken: set[str] = set()
        """Servers of whose locks this master has taken, and whose files may be there still."""
        self._world = world
        self._settings = settings
        self._session = session
        self._lock = lock

    @property
    def are_all_known(self) -> bool:
        """Whether every server that holds its lock has said once what it serves."""
        return all(server.has_answered for server in self.alive.values())

    def usable(self) -> list[str]:
        """Those that answered the last question."""
        return [name for name, server in self.alive.items() if server.answers]

    def stub(self, name: str) -> "TabletServerAsyncStub":
        """For calls to one of them. Raises Unavailable (definite): its tablets are being given to others."""
        server = self.alive.get(name)
        if server is None:
            who = f"tablet server {name} is not alive any more" if name else "no tablet server has been chosen yet"
            raise Unavailable(f"{who}; ask again in a moment", definite=True)
        return TabletServerStub(self._world.network.channel(server.address))

    async def look(self) -> list[str]:
        """Read the directory, bury the dead, and ask the living; returns those that were buried or are gone. Raises
        Superseded when our own session is over, Unavailable, TimedOut."""
        found: dict[str, LivingServer] = {}
        for name in await self._session.list(SERVERS_PATH):
            path = f"{SERVERS_PATH}/{name}"
            try:
                contents, stat = await self._session.read(path)
            except NotFound:
                continue
            is_free = stat.lock_generation == 0 or name in self._taken
            if is_free and await self.bury(name):
                continue
            found[name] = self.alive.get(name) or LivingServer(name, contents.decode())
        gone = [name for name in self.alive if name not in found]
        self.alive = found
        await asyncio.gather(*map(self._ask, found.values()))
        return gone

    async def with_files(self) -> dict[str, LivingServer]:
        """Ask the living once more, and for the files that are in use; what those say that answer."""
        asked = [LivingServer(server.name, server.address) for server in self.alive.values()]
        await asyncio.gather(*(self._ask(server, with_files=True) for server in asked))
        return {server.name: server for server in asked if server.answers}

    async def bury(self, name: str) -> bool:
        """Take the lock of a server that has lost it, and delete its file: it can never have it again. If that is cut
        short, the lock is ours in the next round, and is not to be mistaken for the server's. Returns whether the life
        is over; False while somebody has its lock."""
        path = f"{SERVERS_PATH}/{name}"
        try:
            await self._session.acquire(path, lock_delay_seconds=0.0)
        except Conflict:
            return False
        self._taken.add(name)
        with suppress(NotFound):
            await self._session.delete(path)
        self._taken.discard(name)
        self.over.add(name)
        self._world.events.emit(TabletServerBuried(name))
        with suppress(Conflict):
            await self._session.release(path)
        return True

    async def _ask(self, server: LivingServer, *, with_files: bool = False) -> None:
        request = wire.ListTabletsRequest(
            master=self._lock.generation, sequencer=self._lock.to_bytes(), with_files=with_files
        )
        stub = TabletServerStub(self._world.network.channel(server.address))
        try:
            reply = await stub.ListTablets(request, timeout=self._settings.call_seconds)
        except TabletopError:
            server.answers = False
            return
        if reply.server != server.name:
            server.answers = False  # Another life has begun at this address; this one is about to lose its lock.
            return
        server.has_answered = server.answers = True
        server.serving = {place.tablet: place.token for place in reply.serving}
        server.loading = frozenset(reply.loading)
        server.file_bytes = dict(zip(server.serving, reply.file_bytes, strict=False))
        server.preparing = frozenset(reply.preparing)
        server.files_in_use = tuple(reply.files_in_use)
