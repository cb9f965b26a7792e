"""Which of several masters a client asks (GFS 5.1.3).

The problem. One of them acts, and which one changes when it dies: nobody tells the clients. The idea: ask the one that
answered last. A shadow says that it does not act, and names who does as far as it knows; from one that does not answer
go on to the next. The questions of readers may be answered by a shadow if none of them acts at the moment: what it says
may be old, it says by how much, and so does the client.

A master that stands still takes calls and answers nothing. So the first try of a call is short, and each further one
twice as long while nobody answers: a call that takes its time gets it in the end.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from gfs.events import AnsweredByShadow
from gfs.settings import ClientSettings
from runtime.errors import NotActing, TabletopError, TimedOut, Unavailable
from runtime.wire.master_pb2 import ShadowAnswer
from runtime.wire.master_pb2_grpc import MasterStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.master_pb2_grpc import MasterAsyncStub

_MOST_DOUBLINGS = 6
_Ask = Callable[[str, Any, float], Awaitable[Any]]


class Masters:
    """All masters of a cluster. `shadow` is the mark of the last answer that a shadow gave, None since another came."""

    def __init__(self, world: World, addresses: list[str], settings: ClientSettings) -> None:
        self.stub = cast("MasterAsyncStub", _Calls(self._ask_acting))
        self.reading_stub = cast(
            "MasterAsyncStub", _Calls(self._ask_anybody if settings.shadow_seconds else self._ask_acting)
        )
        self.shadow: ShadowAnswer | None = None
        self._world = world
        self._settings = settings
        self._addresses = addresses
        self._address = addresses[0]
        self._silences = 0  # tries in a row that nobody answered

    async def _ask_acting(self, name: str, request: Any, seconds: float) -> Any:
        """Ask the one that acts, as far as is known. Raises what it says, and Unavailable or TimedOut: then the next
        try goes to another."""
        limit = self._settings.first_call_seconds * 2.0 ** min(self._silences, _MOST_DOUBLINGS)
        return await self._ask(self._address, name, request, min(seconds, limit))

    async def _ask_anybody(self, name: str, request: Any, seconds: float) -> Any:
        """Ask for an answer of the acting master; if each was asked and none acts, for one that may be old."""
        problem: TabletopError | None = None
        limit = min(seconds, self._settings.shadow_seconds)
        for may_be_old in (False, True):
            request.may_be_old = may_be_old
            for address in self._from_present():
                try:
                    reply = await self._ask(address, name, request, limit)
                except (Unavailable, TimedOut) as error:
                    problem = problem or error
                    continue
                if reply.HasField("shadow"):
                    self._note_shadow(name, reply.shadow)
                return reply
        assert problem is not None
        raise problem

    def _from_present(self) -> Iterator[str]:
        at = self._addresses.index(self._address)
        yield from (*self._addresses[at:], *self._addresses[:at])

    async def _ask(self, address: str, name: str, request: Any, seconds: float) -> Any:
        stub = MasterStub(self._world.network.channel(address))
        try:
            reply = await getattr(stub, name)(request, timeout=seconds)
        except (Unavailable, TimedOut) as error:
            self._silences += isinstance(error, TimedOut)
            self._turn(address, error)
            raise
        self._silences, self.shadow = 0, None
        if not getattr(request, "may_be_old", False):
            self._address = address
        return reply

    def _turn(self, address: str, error: TabletopError) -> None:
        """Ask another next, unless somebody has found out already that this one does not act. An answer of the acting
        master, that it cannot now, is no reason."""
        if address != self._address or (error.is_answer and not isinstance(error, NotActing)):
            return
        named = [server for server in error.servers if server in self._addresses and server != address]
        following = self._addresses[(self._addresses.index(address) + 1) % len(self._addresses)]
        self._address = named[0] if isinstance(error, NotActing) and named else following

    def _note_shadow(self, name: str, shadow: ShadowAnswer) -> None:
        self.shadow = shadow
        self._world.events.emit(AnsweredByShadow(question=name, master=shadow.master, lag_seconds=shadow.lag_seconds))


class _Calls:
    """Stands for a stub: each of its calls goes to whom `ask` chooses."""

    def __init__(self, ask: _Ask) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, *, timeout: float) -> Any:
            return await self._ask(name, request, timeout)

        return call
