"""Writing one piece, or appending one record, to all replicas of its chunk (GFS 3.1 to 3.3).

The steps of the paper's Figure 2, and where they are here:

    1, 2  who holds the lease, and where are the others?      `ChunkWriter.holder`, remembered until it fails
    3     push the data along the chain of replicas           `_push`
    4-7   tell the primary to write what was pushed           `_tell_primary`

A small piece needs no step 3: its data rides in the request to the primary.

When a try fails, `plan_next_try` says how to go on: push again, try steps 3 to 7 again, or begin from the start and
tell the master which server failed, or which lease its primary disowned. Repeating is safe, because the same bytes at
the same offset give the same file. There is a pause before every try but the first.

The pieces of a file that is written in order come one after the other: while a piece waits for the one before it, its
data is pushed ahead, and only the request to the primary has to wait (`after`).

A record goes the same way, but has no offset: the primary chooses it. If the record does not fit, the primary has
padded the chunk, and the same record goes to the next one. A repetition of a try in doubt gets another offset: so the
record is in the file at least once, and perhaps twice (GFS 3.3).

Invariants:
1. A piece is acknowledged only after the primary said that every replica has applied it.
2. An error is definite only if no try can have changed any replica, now or later.
3. A piece is written only after the one before it was acknowledged; if that failed, it is not sent.

What we simplify. A try whose answer was lost may still be applied after a later write to the same place, if its request
is under way for longer than the client waits; the paper leaves concurrent writes to one place undefined too (2.7.1).
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from gfs.distance import plan_chain
from gfs.events import AppendRetried, ChunkFilledUp, WriteRetried
from gfs.names.identity import FileIdentity
from gfs.names.location_cache import LeaseHolderCache, LocationCache
from gfs.names.master_link import Causes, MasterLink
from gfs.patience import Patience
from gfs.reading.bulk_links import BulkLinks
from gfs.reading.pieces import Piece
from gfs.reading.replicas import Replicas
from gfs.settings import ClientSettings
from runtime.bulk import checksums_of, digest_of
from runtime.errors import (
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
    advised,
    error_from_wire,
)
from runtime.events import because
from runtime.wire.chunkserver_pb2 import AppendRecordReply, AppendRecordRequest, DataId, Mutation, WriteRequest
from runtime.wire.master_pb2 import LeaseHolder
from runtime.world import World

# A master believes it when a heartbeat has said so too.
_TELLINGS_OF_A_FULL_SERVER = 5


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
    """One piece on its way, over all its tries. Of a record only the chunk of the piece means something."""

    file: FileIdentity
    piece: Piece
    data: memoryview
    checksums: list[int]  # of each 64 KiB
    cause: str
    inline: bool
    is_record: bool = False
    appended: AppendRecordReply | None = None
    may_have_happened: bool = False
    # What went wrong with the last lease holder, for the master to know.
    suspect: str = ""
    refused_version: int = 0
    full: str = ""
    told_full: dict[str, int] = field(default_factory=dict)  # how often the master was told that a server is full
    last_failure: str = ""
    # What was pushed while the piece before this one was still being written, and for whom.
    ahead: tuple[LeaseHolder, DataId] | None = None
    waits_for: tuple[int, int] | None = None  # the chunk and the number of the present try

    def told(self, verb: str) -> str:
        """What was to be written, in words."""
        if self.is_record:
            return f"a record of {len(self.data)} bytes {verb} appended to {self.file.path}"
        return f"bytes {self.piece.position} to {self.piece.end} of {self.file.path} {verb} written"


class ChunkWriter:
    """Writes pieces, with retries."""

    def __init__(
        self,
        world: World,
        settings: ClientSettings,
        master: MasterLink,
        links: BulkLinks,
        replicas: Replicas,
        locations: LocationCache,
        causes: Causes,
        *,
        client_id: int,
    ) -> None:
        self.holders = LeaseHolderCache()
        self._world = world
        self._settings = settings
        self._master = master
        self._links = links
        self._replicas = replicas
        self._locations = locations
        self._causes = causes
        self._client_id = client_id
        self._data_ids = 0
        self._last_try = 0
        self._tries: dict[int, dict[int, None]] = {}  # by chunk: the tries that are waited for
        self._asking: dict[tuple[FileIdentity, int], asyncio.Lock] = {}

    async def write_piece(
        self,
        file: FileIdentity,
        piece: Piece,
        data: memoryview,
        *,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Write `data` to where `piece` says; returns when every replica has applied it.

        `after()` ends when the piece before this one was acknowledged; if it raises, this piece is not written, and the
        error is raised. Raises NotFound if the file is gone, Conflict if its path names another one, NoSpace,
        TooFewServers, and after the patience MutationFailed or TimedOut. All are indefinite if a try may have changed
        a replica.
        """
        trial = self._trial(file, piece, data)
        with because(trial.cause):
            if after is not None:
                if not trial.inline:
                    await self._push_ahead(trial)
                await after()
            try:
                await self._try_until_written(trial, self._patience())
            finally:
                self._end_tries(trial)

    async def append_record(
        self, file: FileIdentity, index: int, data: memoryview, next_index: Callable[[int], Awaitable[int]]
    ) -> tuple[int, int]:
        """Append a record to the chunk of this index, or to a later one; returns its chunk and the offset in it.

        `next_index` says which chunk comes after one that is full, or raises. Raises as `write_piece`; if that is
        indefinite, the record may be in the file, on all replicas or on some.
        """
        trial, patience = self._trial(file, Piece(0, index, 0, len(data)), data), self._patience()
        trial.is_record = True
        with because(trial.cause):
            try:
                while True:
                    await self._try_until_written(trial, patience)
                    assert trial.appended is not None
                    full = trial.piece.index
                    if not trial.appended.chunk_is_full:
                        return full, trial.appended.offset
                    try:
                        following = await next_index(full)
                    except TabletopError as error:
                        raise self._final(trial, error, patience, is_answer=True) from error
                    self._world.events.emit(ChunkFilledUp(file.path, full, len(data), following))
                    trial.piece = replace(trial.piece, index=following)
            finally:
                self._end_tries(trial)

    def _trial(self, file: FileIdentity, piece: Piece, data: memoryview) -> _Trial:
        return _Trial(
            file=file,
            piece=piece,
            data=data,
            checksums=checksums_of(data),
            cause=self._causes.next(),
            inline=len(data) <= self._settings.inline_bytes,
        )

    def _patience(self) -> Patience:
        return Patience(self._world, self._settings, self._settings.write_patience_seconds)

    async def holder(
        self,
        file: FileIdentity,
        index: int,
        patience: Patience | None = None,
        *,
        suspect: str = "",
        refused_version: int = 0,
        full: str = "",
    ) -> LeaseHolder:
        """Who orders the mutations of a chunk; allocates the chunk if it is the file's next (GFS 3.1 steps 1, 2).

        Raises NotFound, Conflict (another file), TooFewServers, NoSpace, TimedOut.
        """
        # Many pieces of one chunk fail at once when its primary dies; one of them asks, the others wait for the answer.
        lock = self._asking.setdefault((file, index), asyncio.Lock())
        try:
            async with lock:
                known = self.holders.holder(file, index)
                if known is not None:
                    return known
                patience = patience or self._patience()
                with because(self._causes.next()):
                    found = await self._master.find_lease_holder(
                        file, index, patience, suspect=suspect, refused_version=refused_version, full=full
                    )
                self.holders.remember(file, found)
                return found
        finally:
            if not lock.locked():
                self._asking.pop((file, index), None)

    async def _push_ahead(self, trial: _Trial) -> None:
        """Step 3 ahead of its turn. If it fails, it is done again when the turn has come."""
        holder = self.holders.holder(trial.file, trial.piece.index)
        if holder is None:
            return
        patience = Patience(self._world, self._settings, self._settings.push_seconds)
        try:
            trial.ahead = holder, await self._push(trial, holder, patience)
        except (_ServerFailed, TabletopError):
            trial.ahead = None

    async def _try_until_written(self, trial: _Trial, patience: Patience) -> None:
        while True:
            try:
                holder = await self.holder(
                    trial.file,
                    trial.piece.index,
                    patience,
                    suspect=trial.suspect,
                    refused_version=trial.refused_version,
                    full=trial.full,
                )
            except TabletopError as error:
                is_answer = not isinstance(error, Unavailable | TimedOut)
                raise self._final(trial, error, patience, is_answer=is_answer) from error
            trial.suspect, trial.refused_version, trial.full = "", 0, ""
            if await self._try_with(trial, holder, patience):
                return
            self.holders.disown(trial.file, holder)

    async def _try_with(self, trial: _Trial, holder: LeaseHolder, patience: Patience) -> bool:
        """Try to write with one lease holder; False if the master has to be asked again."""
        for tries in range(1, self._settings.write_tries + 1):
            failure = await self._try_steps_3_to_7(trial, holder, patience)
            if failure is None:
                self._locations.note_written(trial.file, trial.piece.index, holder.handle, holder.version)
                return True
            next_try = plan_next_try(
                failure,
                tries,
                self._settings.write_tries,
                shortage_may_pass=patience.spent() < self._settings.shortage_seconds,
            )
            told = trial.told_full.get(trial.full, 0)
            if isinstance(failure, NoSpace) and trial.full and told < _TELLINGS_OF_A_FULL_SERVER:
                # The master can have the replica moved to a server that has room.
                trial.told_full[trial.full] = told + 1
                next_try = NextTry.FROM_THE_START
            if next_try is not NextTry.GIVE_UP:
                await patience.pause()
            if next_try is NextTry.GIVE_UP or patience.over():
                raise self._final(trial, failure, patience) from failure
            self._note_retry(trial, failure)
            if next_try is NextTry.FROM_THE_START:
                break
        return False

    async def _try_steps_3_to_7(self, trial: _Trial, holder: LeaseHolder, patience: Patience) -> TabletopError | None:
        try:
            pushed = None if trial.inline else await self._pushed(trial, holder, patience)
            await self._tell_primary(trial, holder, pushed, patience)
        except _ServerFailed as failed:
            if isinstance(failed.error, NoSpace):
                trial.full = failed.server
            else:
                trial.suspect = failed.server
            return failed.error
        except TabletopError as error:
            if isinstance(error, NotPrimary | StaleVersion):
                trial.refused_version = holder.version
            return error
        return None

    async def _pushed(self, trial: _Trial, holder: LeaseHolder, patience: Patience) -> DataId:
        ahead, trial.ahead = trial.ahead, None
        if ahead is not None and ahead[0] is holder:
            return ahead[1]
        return await self._push(trial, holder, patience)

    async def _push(self, trial: _Trial, holder: LeaseHolder, patience: Patience) -> DataId:
        """Step 3: data to every replica, in a chain."""
        replicas = [holder.primary, *holder.secondaries]
        chain = plan_chain(replicas, self._settings.own_spot, holder.handle)
        pushed = self._new_data_id()
        try:
            reply = await self._links.push(
                chain,
                pushed,
                trial.data,
                trial.checksums,
                cause=trial.cause,
                timeout_seconds=patience.limit(self._settings.push_seconds),
            )
        except (Unavailable, TimedOut) as error:
            # Pushed data changes no replica, so that this failure is always definite.
            raise _ServerFailed(chain[0].server, type(error)(error.message, definite=True)) from error
        if reply.failed:
            refusal = error_from_wire(reply.error_kind, f"push to {reply.failed}: {reply.message}", definite=True)
            raise _ServerFailed(reply.failed, refusal)
        return pushed

    async def _tell_primary(
        self, trial: _Trial, holder: LeaseHolder, pushed: DataId | None, patience: Patience
    ) -> None:
        """Steps 4 to 7: the primary gives the write its place in the order and has all replicas apply it."""
        seconds = patience.limit(self._settings.write_seconds)
        try:
            await self._ask_primary(trial, holder, pushed, seconds)
        except TabletopError as error:
            trial.may_have_happened = trial.may_have_happened or not error.definite
            is_primarys = isinstance(error, NoSpace) and not error.servers
            if is_primarys or isinstance(error, Unavailable | TimedOut | NotFound):
                raise _ServerFailed(holder.primary.server, error) from error
            if error.servers:
                # The master wants to hear of it: a secondary that takes pushes but applies nothing would be tried
                # again for ever.
                raise _ServerFailed(error.servers[0], error) from error
            raise

    async def _ask_primary(self, trial: _Trial, holder: LeaseHolder, pushed: DataId | None, seconds: float) -> None:
        digest = digest_of(trial.checksums)
        mutation = Mutation(offset=trial.piece.offset, length=len(trial.data), crc32c=digest)
        if pushed is None:
            mutation.inline = bytes(trial.data)
        else:
            mutation.pushed.CopyFrom(pushed)
        handle, version, client = holder.handle, holder.version, self._client_id
        number = self._begin_try(trial, handle)
        oldest = min(self._tries[handle])
        stub = self._replicas.stub(holder.primary)
        if trial.is_record:
            append = AppendRecordRequest(
                handle=handle, version=version, record=mutation, client=client, number=number, oldest=oldest
            )
            trial.appended = await stub.AppendRecord(append, timeout=seconds)
        else:
            write = WriteRequest(
                handle=handle, version=version, mutation=mutation, client=client, number=number, oldest=oldest
            )
            await stub.Write(write, timeout=seconds)

    def _begin_try(self, trial: _Trial, handle: int) -> int:
        """A number for the next try to write a piece. The one before it is given up: should its message be under way
        still, it must not be applied after what this client writes later."""
        self._end_tries(trial)
        self._last_try += 1
        self._tries.setdefault(handle, {})[self._last_try] = None
        trial.waits_for = (handle, self._last_try)
        return self._last_try

    def _end_tries(self, trial: _Trial) -> None:
        if trial.waits_for is None:
            return
        (handle, number), trial.waits_for = trial.waits_for, None
        del self._tries[handle][number]
        if not self._tries[handle]:
            del self._tries[handle]

    def _new_data_id(self) -> DataId:
        """A name for the data of one try: a duplicate of the message is recognised by it, another try is not one."""
        self._data_ids += 1
        return DataId(client=self._client_id, number=self._data_ids)

    def _note_retry(self, trial: _Trial, failure: TabletopError) -> None:
        path, piece, length = trial.file.path, trial.piece, len(trial.data)
        if trial.is_record:
            self._world.events.emit(AppendRetried(path, piece.index, length, failure.message))
        else:
            self._world.events.emit(WriteRetried(path, piece.index, piece.offset, length, failure.message))

    def _final(
        self, trial: _Trial, error: TabletopError, patience: Patience, *, is_answer: bool = False
    ) -> TabletopError:
        """The error for the caller. `is_answer`: it is the master's word, which more patience would not change."""
        what = trial.told("was not" if trial.is_record else "were not")
        if trial.may_have_happened:
            what = trial.told("may be") + " on some replicas only"
        kind: type[TabletopError] = type(error)
        if patience.over() and not is_answer:
            kind = MutationFailed if trial.may_have_happened else TimedOut
            what += f" within {patience.seconds:g} seconds"
        elif error.definite and not trial.may_have_happened:
            what = f"cannot write to {trial.file.path}"
        reason = error.message
        if isinstance(error, TimedOut) and trial.last_failure and trial.last_failure != reason:
            reason += f"; before that: {trial.last_failure}"
        return kind(
            advised(
                f"{what}: {reason}",
                f"see `tabletop status`, and {'append it' if trial.is_record else 'write them'} again",
            ),
            definite=not trial.may_have_happened,
            servers=error.servers,
        )
