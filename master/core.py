"""What the master's protocols share: the persistent state behind its log, and the soft state around it.

`raising.py`, `granting.py`, `settling.py`, `reporting.py`, `repair.py` and `service.py` are conversations about the
same chunks: with replicas, with writers, with chunkservers, with itself, with everybody else. They meet here.

A chunk's *guard* is held by whoever changes its version or who may write it: a grant, a clone, a comparison, a fence.
What the master thinks of each replica is in one table (`replicas.py`), and `judge` and `count_out` are the ways to
change it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from master.balance.placement import Candidate
from master.chunks.leases import Lease, LeaseTable
from master.chunks.replicas import ReplicaState, ReplicaTable
from master.events import (
    LeaseGranted,
    LeaseRevoked,
    LengthSettled,
    ReplicaFound,
    ReplicaJudged,
    ReplicaLost,
    SafeModeEntered,
    SafeModeLeft,
)
from master.log.operation_log import OperationLog
from master.log.records import EpochBegun, FileSystemFounded, Record, SafeModeSet, TenureBegun
from master.log.reserve import Reserve
from master.log.state import MasterState
from master.namespace.namespace_locks import NamespaceLocks
from master.servers.chunkservers import Chunkservers, Held
from master.servers.safe_mode import CHANGES_NAMES, SafeMode
from master.servers.servers import Registration, Server, ServerTable
from master.settings import MasterSettings
from runtime.errors import Conflict, InSafeMode, NoSpace, Superseded, TabletopError, TimedOut, Unavailable
from runtime.events import Event
from runtime.wire import common_pb2
from runtime.world import World

T = TypeVar("T")


class _Guard:
    """One chunk's lock, and how many tasks hold or want it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.clients = 0


class Core:
    """The master's memory."""

    def __init__(self, world: World, settings: MasterSettings, log: OperationLog | None = None) -> None:
        """`log`: one that is recovered already, and may have shadows."""
        self.world = world
        self.settings = settings
        self.log = log or OperationLog(
            world,
            cluster=settings.cluster,
            checkpoint_log_bytes=settings.checkpoint_log_bytes,
            kept_checkpoints=settings.kept_checkpoints,
        )
        self.reserve = Reserve(world)
        self.locks = NamespaceLocks()
        self.leases = LeaseTable()
        self.replicas = ReplicaTable(self.log.state.chunks)
        self.servers = ServerTable(suspect_after=settings.suspect_after_seconds, dead_after=settings.dead_after_seconds)
        self.calls = Chunkservers(
            world,
            self.servers,
            call_seconds=settings.call_seconds,
            authority=lambda: self.authority,
            on_deposed=self.give_up,
        )
        self.started = world.clock.now()
        self.tick_seconds = settings.heartbeat_seconds / 2  # how often the clock is looked at
        self.safe_mode = self._new_safe_mode()
        self._is_entering_safe_mode = False
        self._changing_safe_mode = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.listening: dict[str, Registration] = {}  # servers whose registration is being judged
        self.failure = ""  # why this master must not go on; empty while it may
        self.failed = asyncio.Event()
        self.when_refused: Callable[[NoSpace], Awaitable[None]] | None = None  # told when the log has no room
        self._guards: dict[int, _Guard] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}

    @property
    def state(self) -> MasterState:
        """The persistent state. Changed by `commit` alone, but for the soft facts in its chunk table."""
        return self.log.state

    @property
    def now(self) -> float:
        """Seconds, by the master's clock."""
        return self.world.clock.now()

    @property
    def authority(self) -> common_pb2.Authority:
        """In whose name orders are given: the namespace and this run of its master."""
        return common_pb2.Authority(namespace=self.state.identity, epoch=self.state.epoch)

    def emit(self, event: Event) -> None:
        """Record an event."""
        self.world.events.emit(event)

    async def recover(self) -> None:
        """Load the persistent state and begin an epoch. Raises Corrupted, IncompatibleFormat, DiskFailure, NoSpace, and
        Conflict if the files have chunks of another size than the settings say."""
        await self.log.recover()
        await self._expect_what_is_known()
        if not self.state.chunk_bytes:
            await self._found()
        # Durable before the first order: chunkservers that obey it refuse every earlier run from then on.
        await self.commit(EpochBegun(self.state.epoch + 1))
        self._begin_to_listen()

    async def take_over(self, epoch: int) -> None:
        """Begin a tenure on a log that this master has followed. Raises as `recover`, and Unavailable if the tenure is
        over before it has begun."""
        await self._expect_what_is_known()
        await self.commit(TenureBegun(epoch, self.log.next_sequence, self.world.node))
        if not self.state.chunk_bytes:
            await self._found()
        self._begin_to_listen()

    async def _expect_what_is_known(self) -> None:
        chunk_bytes = self.settings.chunk_bytes
        if self.state.chunk_bytes not in (0, chunk_bytes):
            raise Conflict(
                f"the files of this master have chunks of {self.state.chunk_bytes} bytes, its settings say "
                f"{chunk_bytes}, and everything would be read at a wrong place; start it with the size that it was "
                "made with"
            )
        self.replicas = ReplicaTable(self.state.chunks)
        for name in self.state.servers:
            self.servers.expect(name)
        await self.reserve.look()

    async def _found(self) -> None:
        identity = self.state.identity or self.world.random.getrandbits(63) + 1
        await self.commit(FileSystemFounded(identity, self.settings.chunk_bytes))

    def _begin_to_listen(self) -> None:
        self.started = self.now
        self.safe_mode = self._new_safe_mode()
        if self.state.safe_mode:
            self.emit(SafeModeEntered())  # Before this run; it has outlived the one before.

    async def commit(self, record: Record) -> list[int]:
        """Log a change, then apply it; returns the handles of forgotten chunks. Raises NoSpace, DiskFailure.

        After a failure that leaves open whether the record will be found again, this run of the master must end: its
        memory and its log may tell two stories, and only a replay decides between them.
        """
        [outcome] = await self.commit_all([record])
        if isinstance(outcome, TabletopError):
            raise outcome
        return outcome

    async def commit_all(self, records: Sequence[Record]) -> list[list[int] | TabletopError]:
        """As `commit`, for changes that do not depend on one another: for each what `commit` returns, or raises."""
        if self.failure:
            problem = f"this master is ending: {self.failure}; ask again when it has restarted"
            return [Unavailable(problem, definite=True) for _ in records]
        if self.holds_still:
            return [self._in_safe_mode() if isinstance(record, CHANGES_NAMES) else await self._commit(record)
                    for record in records]  # fmt: skip
        return await self._commit_all(records)

    async def _commit(self, record: Record) -> list[int] | TabletopError:
        [outcome] = await self._commit_all([record])
        return outcome

    async def _commit_all(self, records: Sequence[Record]) -> list[list[int] | TabletopError]:
        outcomes = await self.reserve.commit_all(self.log, records)
        refused = next((one for one in outcomes if isinstance(one, NoSpace)), None)
        if refused is not None and self.when_refused is not None:
            await self.when_refused(refused)
        for outcome in outcomes:
            if isinstance(outcome, TabletopError):
                if not outcome.definite:
                    self.give_up(outcome.message)
                continue
            for handle in outcome:
                self.leases.forget(handle)
                self.replicas.forget(handle)
        return outcomes

    def hidden_name(self, path: str) -> str:
        """Where the entry at a path goes when it is deleted now. Not given out twice."""
        now, seconds = self.world.clock.wall_microseconds(), self.settings.trash_grace_seconds
        return self.state.hidden_name(path, now, trash_seconds=seconds)

    def keeps_nothing(self, path: str) -> bool:
        """Whether a policy says that the entry at a path, with all below it, is forgotten when it is deleted."""
        return self.state.policies.kept_seconds(path, default=self.settings.trash_grace_seconds) == 0

    def give_up(self, reason: str) -> None:
        """This run of the master must not go on."""
        self.failure = self.failure or reason
        self.failed.set()

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the caller goes away: a change half-way between log and memory is no option."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget_task)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until no uninterrupted work is left; `stopping` has told those that wait for others to end."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def pause(self, seconds: float) -> None:
        """Wait for so long. Raises Unavailable if the master stops."""
        await self.unless_stopping(self.world.clock.sleep(seconds))

    async def unless_stopping(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, which may take long and changes nothing here. Raises Unavailable, and gives the work up, if the
        master stops: its stop would have to wait."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not task.done():
                task.cancel()
        if task.done():
            return task.result()
        await asyncio.wait([task])
        self.refuse_if_stopping()
        raise AssertionError("a wait that ended without a reason")

    def refuse_if_stopping(self) -> None:
        """Raise Unavailable if the master stops: begin nothing new."""
        if self.stopping.is_set():
            raise Unavailable("the master is stopping; ask again when it has restarted", definite=True)

    # Who may touch a chunk

    @contextlib.asynccontextmanager
    async def guard(self, handle: int, *, for_client: bool = False, until: float | None = None) -> AsyncIterator[None]:
        """Run the block as the only one that changes who may write this chunk, or its version.

        Raises Unavailable if others hold it up to the moment `until`, by the master's clock.
        """
        found = self._guards.setdefault(handle, _Guard())
        found.users += 1
        found.clients += for_client
        try:
            await self._acquire(handle, found.lock, until)
            try:
                yield
            finally:
                found.lock.release()
        finally:
            found.users -= 1
            found.clients -= for_client
            if found.users == 0:
                del self._guards[handle]

    async def _acquire(self, handle: int, lock: asyncio.Lock, until: float | None) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - self.now)):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable(
                f"chunk {handle:#x} is being copied or compared; ask again in a moment", definite=True
            ) from None

    def is_guarded(self, handle: int) -> bool:
        """Whether somebody changes the chunk's version or lease at this moment, or waits to do it."""
        return handle in self._guards

    def is_waited_for(self, handle: int) -> bool:
        """Whether a client waits for this chunk."""
        found = self._guards.get(handle)
        return found is not None and found.clients > 0

    # Servers

    @property
    def reserve_bytes(self) -> int:
        """What a server must have free to take a new replica."""
        return min(self.settings.reserve_bytes, self.settings.chunk_bytes)

    def live_servers(self, names: tuple[str, ...]) -> list[Server]:
        """Those of the named servers that are alive, in the given order."""
        found = [self.servers.find(name) for name in names]
        return [server for server in found if server is not None and server.is_alive]

    def candidate(self, server: Server) -> Candidate:
        """A server as placement sees it."""
        now = self.now
        recent = server.recent_creations(now)
        return Candidate(
            server.name,
            server.place.rack,
            server.total,
            server.free,
            recent,
            server.is_troubled(now),
            server.place.data_centre,
        )

    def shuffled_candidates(self, servers: list[Server]) -> list[Candidate]:
        """Servers as placement sees them, in a random order."""
        found = [self.candidate(server) for server in servers]
        self.world.random.shuffle(found)
        return found

    def has_reported(self, name: str) -> bool:
        """Whether the server is alive, and all that it holds is in the table of replicas."""
        server = self.servers.find(name)
        return server is not None and server.is_alive and name not in self.listening

    # Safe mode

    def _new_safe_mode(self) -> SafeMode:
        return SafeMode(
            settling_seconds=self.settings.settling_seconds,
            longest_seconds=self.settings.safe_mode_longest_seconds,
            threshold=self.settings.safe_mode_threshold,
            interval=self.tick_seconds,
            began=self.started,
        )

    @property
    def is_starting(self) -> bool:
        """Whether this run of the master is in the safe mode that every run begins in."""
        return self.safe_mode.is_starting(all_registered=self.servers.all_have_registered())

    @property
    def holds_still(self) -> bool:
        """Whether an operator has entered safe mode: no name changes, and nothing is copied or removed."""
        return self.state.safe_mode or self._is_entering_safe_mode

    def is_settled(self) -> bool:
        """Whether the master has listened long enough since its start to believe that what nobody reports is lost, and
        has judged what it has heard."""
        return not self.listening and not self.is_starting

    def may_repair(self) -> bool:
        """Whether copies and removals may be ordered."""
        return self.is_settled() and not self.holds_still

    def look_at_safe_mode(self) -> None:
        """Leave the safe mode of the start if it is time."""
        is_complete = self.servers.all_have_registered()
        if reason := self.safe_mode.look(self.now, all_registered=is_complete, found=self.found_share):
            self.emit(SafeModeLeft(reason=reason))

    def found_share(self) -> float:
        """The share of chunks that have a replica that counts."""
        chunks = self.state.chunks
        lost = sum(1 for handle in chunks.needing_attention() if not chunks.replicas(handle))
        return 1.0 - lost / len(chunks) if len(chunks) else 1.0

    async def set_safe_mode(self, is_on: bool, named: tuple[int, int, int]) -> None:
        """An operator enters safe mode, or leaves it. Raises what the log raises."""
        if not is_on and self.safe_mode.leave():
            self.emit(SafeModeLeft(reason="an operator does not wait for more servers"))
        async with self._changing_safe_mode:
            if is_on == self.state.safe_mode:
                return
            # Nothing that is logged from here on may change a name: the record is not applied before it is durable.
            self._is_entering_safe_mode = is_on
            try:
                await self.commit(SafeModeSet(int(is_on), *named))
            finally:
                self._is_entering_safe_mode = False
        self.emit(SafeModeEntered() if is_on else SafeModeLeft(reason="an operator has said so", by_hand=True))

    def refuse_in_safe_mode(self) -> None:
        """Raise InSafeMode while an operator keeps the names as they are."""
        if self.holds_still:
            raise self._in_safe_mode()

    def _in_safe_mode(self) -> InSafeMode:
        return InSafeMode(
            "the master is in safe mode, which an operator has entered, and nothing about names changes; "
            "`tabletop admin safemode leave` ends it"
        )

    # Replicas

    def judge(
        self, handle: int, server: str, state: ReplicaState, *, version: int = 0, reason: str = "", length: int = 0
    ) -> None:
        """Give a replica a state in the table, and tell what changed. `length` is what it reported."""
        before = self.replicas.state(handle, server)
        until = self.now + self.removal_seconds if state is ReplicaState.CONDEMNED else 0.0
        self.replicas.change(handle, server, state, version=version, reason=reason, until=until)
        if state is ReplicaState.CURRENT:
            self.state.chunks.note_length(handle, length)
        if state is before:
            return
        if state is ReplicaState.CURRENT:
            self.emit(ReplicaFound(handle=handle, server=server, version=version))
        elif before is ReplicaState.CURRENT:
            self.emit(ReplicaLost(handle=handle, server=server, reason=reason or state.value))
        elif state not in (ReplicaState.ABSENT, ReplicaState.FORMING):
            self.emit(ReplicaJudged(handle=handle, server=server, state=state.value, reason=reason))

    @property
    def removal_seconds(self) -> float:
        """How long an order to remove a replica holds: while it is under way, those that were verified before it may
        die. It is no longer than a silent server is believed in, and long enough for a heartbeat."""
        return self.settings.dead_after_seconds + self.settings.heartbeat_seconds

    def participants(self, handle: int) -> list[Server]:
        """The live servers whose replicas of a known chunk take part in whatever changes it: the current ones, and
        after them the damaged ones, most of whose blocks are sound and may be needed yet."""
        damaged = self.replicas.servers_in(handle, ReplicaState.CORRUPT)
        return self.live_servers((*self.state.chunks.replicas(handle), *damaged))

    def readable(self, handle: int) -> list[Server]:
        """The live servers that readers are told of: those of current replicas, or else of damaged ones."""
        current = self.live_servers(self.state.chunks.replicas(handle))
        return current or self.live_servers(self.replicas.servers_in(handle, ReplicaState.CORRUPT))

    def settle_length(self, handle: int, length: int) -> None:
        """Nobody can write the chunk now, and it has exactly so many bytes."""
        if not self.state.chunks.length_is_settled(handle):
            self.emit(LengthSettled(handle=handle, length=length))
        self.state.chunks.settle_length(handle, length)

    # Leases

    def begin_lease(self, handle: int, version: int, members: tuple[str, ...], answered: float) -> Lease:
        """Give the lease, for which the chunk was marked, to the first of the members; the last of them has answered at
        that moment."""
        until = answered + self.settings.lease_seconds
        self.state.chunks.unsettle_length(handle)
        self.leases.grant(handle, version=version, primary=members[0], secondaries=members[1:], until=until)
        self.emit(LeaseGranted(handle=handle, version=version, primary=members[0], secondaries=members[1:]))
        lease = self.leases.lease(handle)
        assert lease is not None
        return lease

    async def revoke(self, handle: int, reason: str, *, until: float | None = None) -> bool:
        """End the chunk's lease with its primary's consent; the caller holds the guard.

        False if the primary does not answer (before `until`): then its lease must run out, or a higher version must
        fence it off.
        """
        self.leases.expire(self.now)
        if self.leases.holder(handle, self.now) is None:
            return self.leases.blocked_until(handle, self.now) <= self.now
        lease = self.leases.begin_revoke(handle)
        # Its end would do as well as its revocation: waiting for the answer any longer would be in vain.
        seconds = min(self.settings.revoke_seconds, lease.until - self.now)
        if until is not None:
            seconds = min(seconds, until - self.now)
        ask = self.calls.revoke(lease.primary, [(handle, lease.version)], max(seconds, 0.001))
        try:
            held = await self.unless_stopping(ask)
        except TabletopError as error:
            if self.leases.lease(handle) is not None:
                self.leases.fail_revoke(handle)
            if not isinstance(error, (Unavailable, TimedOut, Superseded)):
                raise
            return self.leases.blocked_until(handle, self.now) <= self.now
        if self.leases.lease(handle) is not None:
            self.leases.end(handle)
        self.emit(LeaseRevoked(handle=handle, primary=lease.primary, reason=reason))
        self.note_final_length(handle, lease.version, held.get(handle))
        return True

    async def end_appends(self, handle: int, *, until: float) -> bool:
        """Have the primary append no more records to a chunk, as its file is about to have a later one (GFS 3.3);
        writes at offsets go on under the lease. False if nobody is known to hold one, or it does not answer."""
        lease = self.leases.holder(handle, self.now)
        if lease is None:
            return False
        seconds = max(min(self.settings.revoke_seconds, lease.until - self.now, until - self.now), 0.001)
        ask = self.calls.revoke(lease.primary, [(handle, lease.version)], seconds, appends_only=True)
        try:
            await self.unless_stopping(ask)
        except (Unavailable, TimedOut, Superseded):
            return False
        return True

    async def take_back(self, handle: int, reason: str) -> bool:
        """End the chunk's lease before its version is raised; the caller holds the guard.

        True also if its primary does not answer and has been given up: the raise fences it off (`raising.py`), so that
        nobody need wait for the lease to run out.
        """
        if await self.revoke(handle, reason):
            return True
        lease = self.leases.lease(handle)
        return lease is None or not self.live_servers((lease.primary,))

    def note_final_length(self, handle: int, version: int, held: Held | None) -> None:
        """The primary of the lease at `version` has said that it orders nothing more under it, and what it holds.
        Without an answer the length stays open: the process that held the lease is gone, and its replica may have lost
        bytes."""
        if held is None or held.is_unsure or held.version != version:
            return
        if handle in self.state.chunks and self.state.chunks.version(handle) == version:
            self.settle_length(handle, held.length)

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant of any part does not hold. Reads everything."""
        self.state.check_invariants()
        self.replicas.check_invariants()
        self.leases.check_invariants()
        self.servers.check_invariants()
        self.locks.check_invariants()
        for handle in self.leases.handles():
            settled = handle in self.state.chunks and self.state.chunks.length_is_settled(handle)
            assert not settled, f"chunk {handle:#x} is under a lease, and its length is called settled"
            is_held = handle in self.state.chunks and self.leases.holder(handle, self.now) is not None
            assert not (is_held and self.state.chunks.is_frozen(handle)), (
                f"chunk {handle:#x} is frozen and may be written"
            )

    def _forget_task(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # A caller that went away does not fetch it.
