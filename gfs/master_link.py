"""Asking the master, and asking again.

The problem. A master that is restarted is away for a second or two, and an answer can get lost. Clients should not
notice the first, and must not be fooled by the second: a `Create` whose answer was lost has happened, and the same
`Create` tried again says AlreadyExists.

The idea. Unavailable and TimedOut are asked again until the patience ends. Each mutation remembers whether an earlier
try is *in doubt*; if so, a later refusal (AlreadyExists, NotFound, ...) is raised as indefinite, because our own first
try may be what it is about. Callers that can tell, because the name was drawn at random for instance, settle the doubt.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from gfs.events import MasterAskedAgain
from gfs.patience import Patience
from gfs.settings import ClientSettings
from runtime.errors import Conflict, NoSpace, TabletopError, TimedOut, TooFewServers, Unavailable
from runtime.events import because, current_cause
from runtime.wire.master_pb2 import (
    FileInfo,
    FindLeaseHolderRequest,
    FindLocationsReply,
    FindLocationsRequest,
    LeaseHolder,
    StatRequest,
)
from runtime.wire.master_pb2_grpc import MasterStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.master_pb2_grpc import MasterAsyncStub

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Causes:
    """Gives every operation of one client an id, so that its traces on all servers can be found together."""

    def __init__(self, world: World) -> None:
        self._prefix = f"{world.node}-{world.random.getrandbits(24):06x}"
        self._count = 0

    def next(self) -> str:
        """The cause that is already set, or a new one."""
        if cause := current_cause():
            return cause
        self._count += 1
        return f"{self._prefix}-{self._count}"


class MasterLink:
    """The master's stub, with retries."""

    def __init__(self, world: World, address: str, settings: ClientSettings, causes: Causes) -> None:
        self.address = address
        self._world = world
        self._settings = settings
        self._causes = causes
        self.stub: MasterAsyncStub = MasterStub(world.network.channel(address))

    async def stat(self, path: str) -> FileInfo:
        """Stat one path. Raises NotFound, NotADirectory, InvalidRequest, TimedOut."""
        return await self.ask(self.stub.Stat, StatRequest(path=path))

    async def find_locations(self, path: str, first_index: int, count: int) -> FindLocationsReply:
        """Where the chunks of a file are (GFS 2.4). Raises NotFound, IsADirectory, TimedOut."""
        request = FindLocationsRequest(path=path, first_index=first_index, count=count)
        return await self.ask(self.stub.FindLocations, request)

    async def find_lease_holder(self, path: str, index: int, suspect: str, patience: Patience) -> LeaseHolder:
        """Who orders the mutations of a chunk, allocated if it is the file's next (GFS 3.1 steps 1 and 2).

        While an old lease runs out, or no replica is reachable, the master answers Conflict or Unavailable: the
        question is asked again as long as `patience` lasts.
        """
        request = FindLeaseHolderRequest(path=path, index=index, allocate=True, suspect=suspect)
        while True:
            try:
                return await self.ask(self.stub.FindLeaseHolder, request, patience=patience)
            except (Conflict, TooFewServers, NoSpace) as error:
                is_shortage = not isinstance(error, Conflict)
                if patience.over() or (is_shortage and patience.spent() > self._settings.shortage_seconds):
                    raise
                self._world.events.emit(MasterAskedAgain(reason=error.message))
            await patience.pause()

    async def ask(
        self,
        call: Callable[..., Awaitable[Reply]],
        request: Request,
        *,
        mutates: bool = False,
        patience: Patience | None = None,
    ) -> Reply:
        """Call until there is an answer.

        Raises what the master answered, indefinite if an earlier try of a mutation is in doubt. After the patience:
        TimedOut, definite if the master can never have got the request.
        """
        patience = patience or Patience(self._world, self._settings, self._settings.patience_seconds)
        in_doubt = False
        with because(self._causes.next()):
            while True:
                timeout = max(0.1, min(self._settings.call_seconds, patience.left()))
                try:
                    return await call(request, timeout=timeout)
                except (Unavailable, TimedOut) as error:
                    in_doubt = in_doubt or (mutates and not error.definite)
                    if patience.over():
                        raise self._gave_up(request, error, patience, in_doubt=in_doubt) from error
                    self._world.events.emit(MasterAskedAgain(reason=error.message))
                except TabletopError as error:
                    if in_doubt:
                        raise _doubted(error) from error
                    raise
                await patience.pause()

    def _gave_up(self, request: object, error: TabletopError, patience: Patience, *, in_doubt: bool) -> TimedOut:
        question = type(request).__name__.removesuffix("Request")
        path = getattr(request, "path", "") or getattr(request, "source", "")
        return TimedOut(
            f"{question} {path}: the master at {self.address} gave no answer within {patience.seconds:g} seconds "
            f"({error.message}); see `tabletop status`",
            definite=not in_doubt,
        )


def _doubted(error: TabletopError) -> TabletopError:
    message = f"{error.message} (an earlier try went unanswered and may be what did this: look before you go on)"
    return type(error)(message, definite=False)
