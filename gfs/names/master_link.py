"""Asking the master, and asking again.

The problem. A master that is restarted is away for a second or two, and an answer can get lost. Clients should not
notice the first, and must not be fooled by the second: a `Create` whose answer was lost has happened, the same `Create`
tried again says AlreadyExists, and a `Delete` tried again takes a file that somebody made in the meantime.

The idea. Unavailable and TimedOut are asked again until the patience ends. Each change of the namespace, and each
admission of a replica, has an id, made of the client's own number, drawn at random, and a count; all its tries carry
the same id, and the master answers a repetition with its first answer, also after a restart. Who can know that the
master's process is gone may tell (`master_gone`): then the patience ends after `gone_seconds`.

Invariants:
1. A refusal is definite: it is the master's one answer to this request.
2. A change that got no answer within the patience may have happened, unless every try failed before it left.
3. No number of a request that is still being tried is below `oldest`, so that the master keeps its answer.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from gfs.events import MasterAskedAgain
from gfs.names.identity import FileIdentity
from gfs.names.masters import Masters
from gfs.patience import Patience
from gfs.settings import ClientSettings
from runtime.errors import (
    NoSpace,
    TabletopError,
    TimedOut,
    TooFewServers,
    Unavailable,
    advised,
    error_from_wire,
    without_call,
)
from runtime.events import because, current_cause
from runtime.outbox import Outbox
from runtime.wire.master_pb2 import (
    AdmitReplicaRequest,
    CreateFileResult,
    CreateFilesRequest,
    CreateRequest,
    DeleteRequest,
    FileInfo,
    FindLeaseHolderRequest,
    FindLocationsReply,
    FindLocationsRequest,
    LeaseHolder,
    MakeDirectoryRequest,
    RenameRequest,
    RequestId,
    SafeModeRequest,
    SetPolicyRequest,
    SetReplicationRequest,
    SnapshotRequest,
    StatRequest,
)
from runtime.wire.master_pb2_grpc import MasterStub
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.master_pb2_grpc import MasterAsyncStub

# Files that one call creates, and how many such calls are under way: what comes meanwhile waits, and shares the next.
_FILES_A_CALL = 64
_CALLS_AT_ONCE = 2
_LONGEST_PAUSE_SECONDS = 0.25  # with several masters: another one acts within seconds
Request = TypeVar("Request")
Reply = TypeVar("Reply")
Change = TypeVar(
    "Change",
    CreateRequest,
    MakeDirectoryRequest,
    DeleteRequest,
    RenameRequest,
    SetReplicationRequest,
    AdmitReplicaRequest,
    SetPolicyRequest,
    SafeModeRequest,
    SnapshotRequest,
)


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


class RequestIds:
    """Names for the changes that one client asks for.

    >>> ids = RequestIds(client_id=7)
    >>> first, second = ids.begin(), ids.begin()
    >>> ids.end(first)
    >>> third = ids.begin()
    >>> (third.client, third.number, third.oldest)
    (7, 3, 2)
    """

    def __init__(self, client_id: int) -> None:
        self._client_id = client_id
        self._last = 0
        self._unanswered: dict[int, None] = {}  # In rising order.

    def begin(self) -> RequestId:
        """A name for a new request."""
        self._last += 1
        self._unanswered[self._last] = None
        return RequestId(client=self._client_id, number=self._last, oldest=next(iter(self._unanswered)))

    def end(self, request: RequestId) -> None:
        """The request has its answer, or nobody waits for one any more."""
        self._unanswered.pop(request.number, None)


class MasterLink:
    """The master's stub, with retries."""

    def __init__(
        self,
        world: World,
        address: str,
        settings: ClientSettings,
        causes: Causes,
        *,
        client_id: int,
        master_gone: Callable[[], Unavailable | None] | None = None,
    ) -> None:
        self.address = address
        self.masters: Masters | None = None
        self._longest_pause = math.inf
        self._world = world
        self._settings = settings
        self._causes = causes
        self._ids = RequestIds(client_id)
        self._master_gone = master_gone
        self._gone_since = math.inf
        if "," in address:
            self.masters = Masters(world, address.split(","), settings)
            self._longest_pause = _LONGEST_PAUSE_SECONDS
            self.stub, self.reading_stub = self.masters.stub, self.masters.reading_stub
        else:
            self.stub = self.reading_stub = MasterStub(world.network.channel(address))
        self._creations = self._outbox(self._create_files)
        self._creations_with_chunks = self._outbox(self._create_with_chunks)

    def _outbox(
        self, send: Callable[[Sequence[CreateRequest]], Awaitable[Sequence[CreateFileResult]]]
    ) -> Outbox[CreateRequest, CreateFileResult]:
        return Outbox(send, items_a_call=_FILES_A_CALL, calls_at_once=_CALLS_AT_ONCE)

    stub: "MasterAsyncStub"
    """The master; of several the one that acts."""
    reading_stub: "MasterAsyncStub"
    """The same; but of several masters a shadow may answer a question, if none acts."""

    async def stat(self, path: str, *, may_be_old: bool = False) -> FileInfo:
        """Stat one path. Raises NotFound, NotADirectory, InvalidRequest, TimedOut."""
        stub = self.reading_stub if may_be_old else self.stub
        return await self.ask(stub.Stat, StatRequest(path=path))

    async def find_locations(
        self,
        file: FileIdentity,
        first_index: int,
        count: int,
        patience: Patience | None = None,
        *,
        may_be_old: bool = False,
    ) -> FindLocationsReply:
        """Where the chunks of a file are (GFS 2.4); a `count` of 0 asks only for the facts of the file.

        Raises NotFound, Conflict (another file), IsADirectory, TimedOut.
        """
        request = FindLocationsRequest(path=file.path, first_index=first_index, count=count, file_id=file.file_id)
        stub = self.reading_stub if may_be_old else self.stub
        return await self.ask(stub.FindLocations, request, patience=patience)

    async def find_lease_holder(
        self,
        file: FileIdentity,
        index: int,
        patience: Patience,
        *,
        suspect: str = "",
        refused_version: int = 0,
        full: str = "",
    ) -> LeaseHolder:
        """Who orders the mutations of a chunk, allocated if it is the file's next (GFS 3.1 steps 1 and 2).

        While an old lease runs out, or no replica is reachable, the master answers Unavailable: the question is asked
        again as long as `patience` lasts. `suspect`, `refused_version` and `full` say what went wrong with the
        last holder.
        Raises NotFound, Conflict (another file), TooFewServers, NoSpace, TimedOut.
        """
        request = FindLeaseHolderRequest(
            path=file.path,
            index=index,
            allocate=True,
            suspect=suspect,
            file_id=file.file_id,
            refused_version=refused_version,
            full=full,
        )
        while True:
            try:
                return await self.ask(self.stub.FindLeaseHolder, request, patience=patience)
            except (TooFewServers, NoSpace) as error:
                if patience.over() or patience.spent() > self._settings.shortage_seconds:
                    raise
                self._world.events.emit(MasterAskedAgain(reason=error.message))
            await patience.pause()

    async def ask(
        self,
        call: Callable[..., Awaitable[Reply]],
        request: Request,
        *,
        patience: Patience | None = None,
        call_seconds: float = 0.0,
    ) -> Reply:
        """Ask until there is an answer, for which the master may take `call_seconds` (0: as the settings say). Raises
        what the master answered, and after the patience TimedOut (definite: a question changes nothing)."""
        return await self._until_answered(call, request, patience, is_change=False, call_seconds=call_seconds)

    async def change(
        self, call: Callable[..., Awaitable[Reply]], request: Change, *, patience: Patience | None = None
    ) -> Reply:
        """Have a change made once, however often it has to be asked for.

        Raises what the master answered. After the patience: TimedOut, definite if no try can have left.
        """
        name = self._ids.begin()
        request.request.CopyFrom(name)
        try:
            return await self._until_answered(call, request, patience, is_change=True)
        finally:
            self._ids.end(name)

    async def create(self, request: CreateRequest) -> FileInfo:
        """Have an empty file made. Files that are asked for at the same time share a call. Raises as `change`."""
        return (await self._create(request, self._creations)).file

    async def create_with_chunk(self, request: CreateRequest) -> tuple[FileInfo, LeaseHolder | None]:
        """Have a file made that is about to be written, and its first chunk, if that can be at once; returns who orders
        the mutations of that. Files that are asked for at the same time share a call. Raises as `change`."""
        result = await self._create(request, self._creations_with_chunks)
        return result.file, result.holder if result.HasField("holder") else None

    async def _create(
        self, request: CreateRequest, outbox: Outbox[CreateRequest, CreateFileResult]
    ) -> CreateFileResult:
        """The first try is made together with others. What it leaves open is asked for alone, under the same name: it
        is made once, whatever became of it in the shared call."""
        name = self._ids.begin()
        request.request.CopyFrom(name)
        is_first = True

        async def make(request: CreateRequest, *, timeout: float) -> CreateFileResult:
            nonlocal is_first
            if is_first:
                is_first = False
                return await self._made_with_others(request, outbox, timeout)
            return CreateFileResult(file=await self.stub.Create(request, timeout=timeout))

        try:
            with because(self._causes.next()):
                request.cause = current_cause()
                return await self._until_answered(make, request, None, is_change=True)
        finally:
            self._ids.end(name)

    async def _made_with_others(
        self, request: CreateRequest, outbox: Outbox[CreateRequest, CreateFileResult], seconds: float
    ) -> CreateFileResult:
        try:
            async with asyncio.timeout(seconds):
                result = await outbox.ask(request)
        except TimeoutError:
            raise TimedOut(f"CreateFiles at {self.address}: no answer in time") from None
        if not result.error_kind:
            return result
        error = error_from_wire(result.error_kind, result.message, definite=result.definite)
        error.is_answer = True
        raise error

    async def _create_files(self, requests: Sequence[CreateRequest]) -> Sequence[CreateFileResult]:
        seconds = self._settings.call_seconds
        if len(requests) == 1:
            return [CreateFileResult(file=await self.stub.Create(requests[0], timeout=seconds))]
        return (await self.stub.CreateFiles(CreateFilesRequest(items=requests), timeout=seconds)).results

    async def _create_with_chunks(self, requests: Sequence[CreateRequest]) -> Sequence[CreateFileResult]:
        request = CreateFilesRequest(items=requests, with_chunks=True)
        return (await self.stub.CreateFiles(request, timeout=self._settings.call_seconds)).results

    async def _until_answered(
        self,
        call: Callable[..., Awaitable[Reply]],
        request: Request,
        patience: Patience | None,
        *,
        is_change: bool,
        call_seconds: float = 0.0,
    ) -> Reply:
        may_have_arrived = False
        patience = patience or Patience(self._world, self._settings, self._settings.patience_seconds)
        with because(self._causes.next()):
            while True:
                try:
                    return await call(request, timeout=patience.limit(call_seconds or self._settings.call_seconds))
                except (Unavailable, TimedOut) as error:
                    # What the master answers "not now" may be under way a second time, and be done later.
                    may_have_arrived = may_have_arrived or (is_change and (error.is_answer or not error.definite))
                    await patience.pause(self._longest_pause)
                    if not error.is_answer and (gone := self._gone_for_long()) is not None:
                        raise Unavailable(_about(request) + gone.message, definite=not may_have_arrived) from error
                    if patience.over():
                        raise self._gave_up(request, error, patience, definite=not may_have_arrived) from error
                    silence = f"the master does not answer ({without_call(error.message)})"
                    self._world.events.emit(MasterAskedAgain(reason=error.message if error.is_answer else silence))

    def _gone_for_long(self) -> Unavailable | None:
        """Why there is no master to wait for, if it has been so for a while: somebody may be starting it again."""
        gone = None if self._master_gone is None else self._master_gone()
        now = self._world.clock.now()
        self._gone_since = math.inf if gone is None else min(self._gone_since, now)
        return gone if now - self._gone_since >= self._settings.gone_seconds else None

    def _gave_up(self, request: object, error: TabletopError, patience: Patience, *, definite: bool) -> TimedOut:
        about = _about(request)
        if error.is_answer:
            what = f"{about}after {patience.seconds:g} seconds the master still says: {error.message}"
        else:
            what = (
                f"{about}the master at {self.address} gave no answer within {patience.seconds:g} seconds "
                f"({without_call(error.message)})"
            )
        return TimedOut(advised(what, "see `tabletop status`"), definite=definite)


def _about(request: object) -> str:
    path = getattr(request, "path", "") or getattr(request, "source", "")
    return f"{path}: " if path else ""
