"""What several masters need of a lock service (`master/failover/mastership.py`), over a session with one.

The lock and the charter have one path. The lock is asked for without a delay after its loss: what an old holder may
still do is fenced off by the charter and by epochs, not by time. While the session is in jeopardy the lock is still
held, but nothing is answered; when the session is safe again, the tenure goes on as if nothing had been.
"""

import asyncio

from lockservice.client.session import OwnLockService
from lockservice.interface import LockService, Sequencer, Session, SessionState
from lockservice.settings import LockClientSettings
from master.failover.mastership import Charter, Claim
from runtime.errors import Conflict, NotFound, Superseded, TabletopError
from runtime.world import World

PATH = "/masters"
# Whoever waits for the lock service looks again himself.
_CLIENT = LockClientSettings(call_seconds=0.5, patience_seconds=1.0)


class LockClaim:
    """The lock of the masters, held by a session."""

    def __init__(self, session: Session, sequencer: Sequencer) -> None:
        self.lost = session.expired
        self._session = session
        self._sequencer = sequencer

    @property
    def is_certain(self) -> bool:
        """Whether the session is safe, by a clock that counts shorter than the service's."""
        return self._session.state is SessionState.SAFE

    async def read(self) -> tuple[Charter | None, int]:
        """The charter and its generation."""
        return await _read(self._session)

    async def write(self, charter: Charter, generation: int) -> int:
        """Replace the charter of this generation, or make the first."""
        if not generation:
            return (await self._session.create(PATH, charter.encoded())).generation
        try:
            stat = await self._session.write(PATH, charter.encoded(), generation=generation, sequencer=self._sequencer)
        except NotFound:
            raise Conflict("the lock service has lost the charter") from None
        return stat.generation

    async def release(self) -> None:
        """Give the lock back; where that cannot be told, the end of the session does it."""
        try:
            await self._session.release(PATH)
        except (Conflict, Superseded):
            pass  # It is not held any more.
        except TabletopError:
            await self._session.close()


class LockMastership:
    """One master's way to the lock service."""

    def __init__(self, service: LockService) -> None:
        self._service = service
        self._session: Session | None = None
        self._opening = asyncio.Lock()

    async def read(self) -> Charter | None:
        """The charter."""
        return (await _read(await self._open()))[0]

    async def claim(self, wait_seconds: float) -> Claim | None:
        """Take the lock."""
        session = await self._open()
        try:
            sequencer = await session.acquire(PATH, wait_seconds=wait_seconds, lock_delay_seconds=0.0)
        except Conflict:
            return None
        return LockClaim(session, sequencer)

    async def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self) -> Session:
        """The present session, or a new one if that is over."""
        async with self._opening:
            if self._session is None or self._session.state is SessionState.EXPIRED:
                self._session = await self._service.open_session()
            return self._session


async def _read(session: Session) -> tuple[Charter | None, int]:
    try:
        contents, stat = await session.read(PATH)
    except NotFound:
        return None, 0
    return Charter.decoded(contents), stat.generation


def mastership(world: World, address: str) -> LockMastership:
    """The way of a master to the lock service at this address."""
    return LockMastership(OwnLockService(world, address, _CLIENT))
