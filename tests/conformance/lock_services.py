"""What the stories about lock services stand on: a story is told with our own service in both worlds, and with a real
ZooKeeper where one can be started.

A story is a coroutine `story(house)`. `house.service(name)` is a client of the service, on a node of its own;
`house.lose(session)` makes the service hear no more of a session. Stories touch nothing but `lockservice.interface`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from lockservice.client.session import OwnLockService
from lockservice.interface import Change, LockService, Session
from lockservice.server.server import LockServer
from lockservice.settings import LockServiceSettings
from tests.conformance.both_worlds import RealPlace, Relay, SimulatedPlace

LEASE_SECONDS, GRACE_SECONDS, DELAY_SECONDS = 0.8, 0.4, 0.6
PATIENCE_SECONDS = 20.0


class OwnHouse:
    """Our own lock service in a world."""

    def __init__(self, place: Any, desk: Any) -> None:
        self._place = place
        self._node = place.node("lock")
        self._settings = LockServiceSettings(
            control_address=place.address(self._node),
            lease_seconds=LEASE_SECONDS,
            grace_seconds=GRACE_SECONDS,
            lock_delay_seconds=DELAY_SECONDS,
        )
        self._server = LockServer(self._node, self._settings)
        self._address = ""

    async def open(self) -> None:
        """Start the service."""
        await self._place.on(self._node, self._server.start())
        self._address = self._server.control_address

    async def close(self) -> None:
        """Stop it."""
        await self._place.on(self._node, self._server.stop())

    def service(self, name: str) -> LockService:
        """A client of it."""
        return OwnLockService(self._place.node(name), self._address)

    async def lose(self, session: Any) -> None:
        """Let the service hear no more of this session."""
        for task in session._standing.tasks:
            task.cancel()


async def _told_with_our_own(story: "Story", place: Any, desk: Any) -> None:
    house = OwnHouse(place, desk)
    await house.open()
    try:
        await story(house)
    finally:
        await house.close()


class ZooKeeperHouse:
    """A real ZooKeeper, which every client reaches by a relay of its own."""

    def __init__(self, place: RealPlace, hosts: str, root: str) -> None:
        self._place = place
        self._hosts = hosts
        self._root = root
        self._relays: dict[int, Relay] = {}
        self._sessions: list[Any] = []

    def service(self, name: str) -> Any:
        """A client of it."""
        return _Relayed(self, name)

    async def open_session(self, name: str) -> Any:
        """A session of a client."""
        from lockservice.client.zookeeper import ZooKeeperService

        relay = Relay(self._hosts)
        service = ZooKeeperService(
            self._place.node(name),
            await relay.start(),
            session_seconds=LEASE_SECONDS + GRACE_SECONDS,
            lock_delay_seconds=DELAY_SECONDS,
            root=self._root,
        )
        session = await service.open_session()
        self._sessions.append(session)
        self._relays[session.number] = relay
        return session

    async def lose(self, session: Any) -> None:
        """Cut the session's client off."""
        await self._relays[session.number].stop()

    async def close(self) -> None:
        """Close all sessions."""
        for session in self._sessions:
            await session.close()
            await self._relays[session.number].stop()


class _Relayed:
    """A client of the house's ZooKeeper."""

    def __init__(self, house: ZooKeeperHouse, name: str) -> None:
        self._house = house
        self._name = name

    async def open_session(self) -> Any:
        """Open one."""
        return await self._house.open_session(self._name)


async def _told_with_zookeeper(story: "Story", place: RealPlace, hosts: str, root: str) -> None:
    house = ZooKeeperHouse(place, hosts, root)
    try:
        await story(house)
    finally:
        await house.close()


House = Any
Story = Callable[[Any], Coroutine[Any, Any, None]]


def in_every_lock_service(story: Story) -> Callable[..., None]:
    """Make a story a test that runs once for each lock service."""

    @pytest.mark.parametrize("service", ["own, real", "own, simulated", "zookeeper"])
    def told(service: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        if service == "zookeeper":
            hosts = request.getfixturevalue("zookeeper_hosts")
            root = f"/{story.__name__}"
            RealPlace(tmp_path).run(lambda place, desk: _told_with_zookeeper(story, place, hosts, root))
            return
        place = SimulatedPlace(tmp_path) if service == "own, simulated" else RealPlace(tmp_path)
        place.run(lambda place, desk: _told_with_our_own(story, place, desk))

    told.__name__, told.__doc__, told.__module__ = story.__name__, story.__doc__, story.__module__
    return told


class Heard:
    """What a watch has told so far."""

    def __init__(self, session: Session, path: str) -> None:
        self.changes: list[Change] = []
        self.is_over = False
        self._news = asyncio.Event()
        self._task = asyncio.ensure_future(self._hear(session, path))

    async def _hear(self, session: Session, path: str) -> None:
        async for change in session.watch(path):
            self.changes.append(change)
            self._news.set()
        self.is_over = True
        self._news.set()

    async def until(self, condition: Callable[["Heard"], bool]) -> None:
        """Return when what was told fulfils the condition."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    def kinds(self) -> list[str]:
        """The kinds of changes, in order."""
        return [change.kind.name for change in self.changes]

    async def stop(self) -> None:
        """Hear no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
