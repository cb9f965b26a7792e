"""Writing one piece to all replicas of its chunk (GFS 3.1, 3.2).

The steps of the paper's Figure 2, and where they are here:

    1, 2  who holds the lease, and where are the others?      `ChunkWriter.holder`, remembered until it fails
    3     push the data along the chain of replicas           `_push`
    4-7   tell the primary to write what was pushed           `_tell_primary`

A small piece needs no step 3: its data rides in the request to the primary.

When a try fails, `plan_next_try` says how to go on: push again, try steps 3 to 7 again, or begin from the start and
tell the master which server failed. Repeating is safe, because the same bytes at the same offset give the same file.

Invariants:
1. A piece is acknowledged only after the primary said that every replica has applied it.
2. An error is definite only if no try can have changed any replica, now or later.

What we simplify. A try whose answer was lost may still be applied after a later write of another caller to the same
place; the paper leaves concurrent writes to one place undefined too (2.7.1).
"""

import asyncio
import enum
from dataclasses import dataclass

from gfs.bulk_links import BulkLinks
from gfs.distance import plan_chain
from gfs.events import WriteRetried
from gfs.lengths import LengthFinder
from gfs.location_cache import LeaseHolderCache
from gfs.master_link import Causes, MasterLink
from gfs.patience import Patience
from gfs.pieces import Piece
from gfs.settings import ClientSettings
from runtime.bulk import checksums_of, digest_of
from runtime.errors import (
    DataNotBuffered,
    InvalidRequest,
    MutationFailed,
    NoSpace,
    NotFound,
    NotPrimary,
    StaleVersion,
    TabletopError,
    TimedOut,
    Unauthenticated,
    Unavailable,
    error_from_wire,
)
from runtime.events import because
from runtime.wire.chunkserver_pb2 import DataId, Mutation, WriteRequest
from runtime.wire.master_pb2 import LeaseHolder
from runtime.world import World


class NextTry(enum.Enum):
    """How to go on after a failed try."""

    GIVE_UP = "raise the error"
    STEPS_3_TO_7 = "push and write again"
    FROM_THE_START = "ask the master again"


def plan_next_try(error: TabletopError, tries: int, most_tries: int, *, shortage_may_pass: bool) -> NextTry:
    """How to go on after `tries` failed tries with one lease holder (GFS 3.1 step 7).

    >>> plan_next_try(MutationFailed("cs3 did not apply"), 1, 3, shortage_may_pass=True).value
    'push and write again'
    >>> plan_next_try(MutationFailed("cs3 did not apply"), 3, 3, shortage_may_pass=True).value
    'ask the master again'
    >>> plan_next_try(NotPrimary("cs1 holds no lease"), 1, 3, shortage_may_pass=True).value
    'ask the master again'
    """
    if isinstance(error, InvalidRequest | Unauthenticated) or (isinstance(error, NoSpace) and not shortage_may_pass):
        return NextTry.GIVE_UP
    if isinstance(error, NotPrimary | StaleVersion | NotFound | Unavailable | TimedOut) or tries >= most_tries:
        return NextTry.FROM_THE_START
    return NextTry.STEPS_3_TO_7


class _ServerFailed(Exception):
    """A try failed, and it is known at which server (its name)."""

    def __init__(self, server: str, error: TabletopError) -> None:
        super().__init__(error.message)
        self.server = server
        self.error = error


@dataclass(slots=True)
class _Trial:
    """One piece on its way, over all its tries."""

    path: str
    piece: Piece
    data: memoryview
    checksums: list[int]  # of each 64 KiB
    cause: str
    inline: bool
    may_have_happened: bool = False
    suspect: str = ""


class ChunkWriter:
    """Writes pieces, with retries."""

    def __init__(
        self,
        world: World,
        settings: ClientSettings,
        master: MasterLink,
        links: BulkLinks,
        chunkservers: LengthFinder,
        causes: Causes,
    ) -> None:
        self.holders = LeaseHolderCache()
        self._world = world
        self._settings = settings
        self._master = master
        self._links = links
        self._chunkservers = chunkservers
        self._causes = causes
        self._client_id = world.random.getrandbits(64)
        self._data_ids = 0
        self._asking: dict[tuple[str, int], asyncio.Lock] = {}

    async def write_piece(self, path: str, piece: Piece, data: memoryview) -> None:
        """Write `data` to where `piece` says; returns when every replica has applied it.

        Raises NotFound if the file is gone, NoSpace, TooFewServers, and after the patience MutationFailed or TimedOut.
        All are indefinite if a try may have changed a replica.
        """
        trial = _Trial(
            path=path,
            piece=piece,
            data=data,
            checksums=checksums_of(data),
            cause=self._causes.next(),
            inline=len(data) <= self._settings.inline_bytes,
        )
        with because(trial.cause):
            await self._try_until_written(trial)

    async def holder(self, path: str, index: int, patience: Patience | None = None, suspect: str = "") -> LeaseHolder:
        """Who orders the mutations of a chunk; allocates the chunk if it is the file's next (GFS 3.1 steps 1, 2).

        Raises NotFound, TooFewServers, TimedOut.
        """
        # Many pieces of one chunk fail at once when its primary dies; one of them asks, the others wait for the answer.
        lock = self._asking.setdefault((path, index), asyncio.Lock())
        try:
            async with lock:
                known = self.holders.holder(path, index)
                if known is not None:
                    return known
                patience = patience or Patience(self._world, self._settings, self._settings.write_patience_seconds)
                with because(self._causes.next()):
                    found = await self._master.find_lease_holder(path, index, suspect, patience)
                self.holders.remember(path, found)
                return found
        finally:
            if not lock.locked():
                self._asking.pop((path, index), None)

    async def _try_until_written(self, trial: _Trial) -> None:
        patience = Patience(self._world, self._settings, self._settings.write_patience_seconds)
        while True:
            try:
                holder = await self.holder(trial.path, trial.piece.index, patience, trial.suspect)
            except TabletopError as error:
                raise self._final(trial, error, patience) from error
            trial.suspect = ""
            for tries in range(1, self._settings.write_tries + 1):
                failure = await self._try_steps_3_to_7(trial, holder)
                if failure is None:
                    return
                next_try = plan_next_try(
                    failure,
                    tries,
                    self._settings.write_tries,
                    shortage_may_pass=patience.spent() < self._settings.shortage_seconds,
                )
                if next_try is NextTry.GIVE_UP or patience.over():
                    raise self._final(trial, failure, patience) from failure
                self._note_retry(trial, failure)
                if next_try is NextTry.FROM_THE_START:
                    self.holders.disown(trial.path, holder)
                if not isinstance(failure, DataNotBuffered | NotPrimary | StaleVersion) or tries > 1:
                    await patience.pause()
                if next_try is NextTry.FROM_THE_START:
                    break

    async def _try_steps_3_to_7(self, trial: _Trial, holder: LeaseHolder) -> TabletopError | None:
        try:
            pushed = None if trial.inline else await self._push(trial, holder)
            await self._tell_primary(trial, holder, pushed)
        except _ServerFailed as failed:
            trial.suspect = failed.server
            return failed.error
        except TabletopError as error:
            return error
        return None

    async def _push(self, trial: _Trial, holder: LeaseHolder) -> DataId:
        """Step 3: data to every replica, in a chain."""
        replicas = [holder.primary, *holder.secondaries]
        chain = plan_chain(replicas, self._settings.own_host, holder.handle)
        pushed = self._new_data_id()
        try:
            reply = await self._links.push(
                chain,
                pushed,
                trial.data,
                trial.checksums,
                cause=trial.cause,
                timeout_seconds=self._settings.push_seconds,
            )
        except (Unavailable, TimedOut) as error:
            # Pushed data changes no replica, so that this failure is always definite.
            raise _ServerFailed(chain[0].server, type(error)(error.message, definite=True)) from error
        if reply.failed:
            refusal = error_from_wire(reply.error_kind, f"push to {reply.failed}: {reply.message}", definite=True)
            raise _ServerFailed(reply.failed, refusal)
        return pushed

    async def _tell_primary(self, trial: _Trial, holder: LeaseHolder, pushed: DataId | None) -> None:
        """Steps 4 to 7: the primary gives the write its place in the order and has all replicas apply it."""
        digest = digest_of(trial.checksums)
        mutation = Mutation(offset=trial.piece.offset, length=len(trial.data), crc32c=digest)
        if pushed is None:
            mutation.inline = bytes(trial.data)
            mutation.inline_id.CopyFrom(self._new_data_id())
        else:
            mutation.pushed.CopyFrom(pushed)
        request = WriteRequest(handle=holder.handle, version=holder.version, mutation=mutation)
        try:
            await self._chunkservers.stub(holder.primary).Write(request, timeout=self._settings.write_seconds)
        except TabletopError as error:
            trial.may_have_happened = trial.may_have_happened or not error.definite
            if isinstance(error, Unavailable | TimedOut):
                raise _ServerFailed(holder.primary.server, error) from error
            if isinstance(error, MutationFailed) and error.servers:
                # The master wants to hear of it: a secondary that takes pushes but applies nothing would be tried again
                # for ever.
                raise _ServerFailed(error.servers[0], error) from error
            raise

    def _new_data_id(self) -> DataId:
        """A name for the data of one try: a duplicate of the message is recognised by it, another try is not one."""
        self._data_ids += 1
        return DataId(client=self._client_id, number=self._data_ids)

    def _note_retry(self, trial: _Trial, failure: TabletopError) -> None:
        piece = trial.piece
        self._world.events.emit(WriteRetried(trial.path, piece.index, piece.offset, len(trial.data), failure.message))

    def _final(self, trial: _Trial, error: TabletopError, patience: Patience) -> TabletopError:
        """The error for the caller."""
        piece = trial.piece
        what = f"bytes {piece.position} to {piece.end} of {trial.path} were not written"
        if trial.may_have_happened:
            what = f"bytes {piece.position} to {piece.end} of {trial.path} may be written on some replicas only"
        kind: type[TabletopError] = type(error)
        if patience.over():
            kind = MutationFailed if trial.may_have_happened else TimedOut
            what += f" within {patience.seconds:g} seconds"
        elif error.definite and not trial.may_have_happened:
            what = f"cannot write to {trial.path}"
        return kind(
            f"{what}: {error.message}; see `tabletop status`, and write them again",
            definite=not trial.may_have_happened,
            servers=error.servers,
        )
