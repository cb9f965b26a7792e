"""What the master's protocols share: the persistent state behind its log, and the soft state around it.

`granting.py`, `reporting.py`, `repair.py` and `service.py` are four conversations about the same chunks: with writers,
with chunkservers, with itself, with everybody else. None of them calls another; they meet here.

Two things keep them apart. A chunk's *guard* is held by whoever changes who may write it: a grant, a clone, a removal.
And a chunk is *forming* while its replicas are being created, advanced or cloned, so that what servers report of it
meanwhile is not judged.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from master.chunkservers import Chunkservers
from master.events import LeaseRevoked, ReplicaLost
from master.leases import LeaseTable
from master.namespace_locks import NamespaceLocks
from master.operation_log import OperationLog
from master.placement import Candidate
from master.records import Record
from master.servers import Server, ServerTable
from master.settings import MasterSettings
from master.state import MasterState
from runtime.errors import TabletopError, TimedOut, Unavailable
from runtime.events import Event
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

    def __init__(self, world: World, settings: MasterSettings) -> None:
        self.world = world
        self.settings = settings
        self.log = OperationLog(
            world,
            cluster=settings.cluster,
            checkpoint_log_bytes=settings.checkpoint_log_bytes,
            kept_checkpoints=settings.kept_checkpoints,
        )
        self.locks = NamespaceLocks()
        self.leases = LeaseTable()
        self.servers = ServerTable(suspect_after=settings.suspect_after_seconds, dead_after=settings.dead_after_seconds)
        self.calls = Chunkservers(world, self.servers, call_seconds=settings.call_seconds)
        self.started = world.clock.now()
        self.unwanted: dict[str, dict[int, str]] = {}  # server -> chunk -> why its replica there no longer counts
        self.condemned: dict[str, dict[int, None]] = {}  # server -> chunks that it was told to delete
        self.first_new_handle = 0  # chunks with lower handles are older than this run
        self._granted_again: dict[int, None] = {}
        self._forming: dict[int, int] = {}
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

    def emit(self, event: Event) -> None:
        """Record an event."""
        self.world.events.emit(event)

    async def recover(self) -> None:
        """Load the persistent state. Raises Corrupted, IncompatibleFormat, DiskFailure, NoSpace."""
        await self.log.recover()
        for name in self.state.servers:
            self.servers.expect(name)
        self.first_new_handle = self.state.chunks.next_handle
        self.started = self.now

    async def commit(self, record: Record) -> list[int]:
        """Log a change, then apply it; returns the handles of forgotten chunks. Raises NoSpace, DiskFailure."""
        forgotten = await self.log.commit(record)
        for handle in forgotten:
            self.leases.forget(handle)
        return forgotten

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the caller goes away: a change half-way between log and memory is no option."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget_task)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until no uninterrupted work is left."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    # Who may touch a chunk

    @contextlib.asynccontextmanager
    async def guard(self, handle: int, *, for_client: bool = False) -> AsyncIterator[None]:
        """Run the block as the only one that changes who may write this chunk."""
        found = self._guards.setdefault(handle, _Guard())
        found.users += 1
        found.clients += for_client
        try:
            async with found.lock:
                yield
        finally:
            found.users -= 1
            found.clients -= for_client
            if found.users == 0:
                del self._guards[handle]

    def is_waited_for(self, handle: int) -> bool:
        """Whether a client waits for this chunk."""
        found = self._guards.get(handle)
        return found is not None and found.clients > 0

    @contextlib.contextmanager
    def forming(self, handle: int) -> Iterator[None]:
        """Run the block while replicas of this chunk come into being: reports of it are not judged."""
        self._forming[handle] = self._forming.get(handle, 0) + 1
        try:
            yield
        finally:
            self._forming[handle] -= 1
            if not self._forming[handle]:
                del self._forming[handle]

    def is_forming(self, handle: int) -> bool:
        """Whether replicas of this chunk are coming into being."""
        return handle in self._forming

    # Servers

    def live_servers(self, names: tuple[str, ...]) -> list[Server]:
        """Those of the named servers that are alive, in the given order."""
        found = [self.servers.find(name) for name in names]
        return [server for server in found if server is not None and server.is_alive]

    def candidate(self, server: Server) -> Candidate:
        """A server as placement sees it."""
        return Candidate(server.name, server.rack, server.total, server.free, server.recent_creations(self.now))

    def shuffled_candidates(self, servers: list[Server]) -> list[Candidate]:
        """Servers as placement sees them, in a random order."""
        found = [self.candidate(server) for server in servers]
        self.world.random.shuffle(found)
        return found

    def is_settled(self) -> bool:
        """Whether enough time has passed since the start to believe that an unreported replica is lost."""
        return self.servers.all_have_registered() or self.now >= self.started + self.settings.settling_seconds

    # Leases and replicas

    def lease_may_live_until(self, handle: int) -> float:
        """Until when some primary may act on a lease for this chunk; now or earlier if none can.

        Leases are not persistent. One that an earlier run of this master granted may live on, for as long as leases
        live, at a server that is out of our reach now. Nothing is to fear for a chunk that is younger than this run, or
        was granted again by it, or has all its replicas here: the old primary is one of them, and learns of it.
        """
        until = self.leases.blocked_until(handle, self.now)
        if not self.old_lease_may_live(handle) or handle not in self.state.chunks:
            return until
        chunk = self.state.chunks.chunk(handle)
        if len(self.live_servers(chunk.replicas)) >= chunk.goal:
            return until
        return max(until, self.started + self.settings.lease_seconds)

    def old_lease_may_live(self, handle: int) -> bool:
        """Whether a lease that an earlier run of this master granted may not have ended yet."""
        is_early = self.now < self.started + self.settings.lease_seconds
        return is_early and handle < self.first_new_handle and handle not in self._granted_again

    def note_granted(self, handle: int) -> None:
        """Every replica that counts has a version that this run of the master gave it."""
        if self.now < self.started + self.settings.lease_seconds:
            self._granted_again[handle] = None
        else:
            self._granted_again.clear()

    def lose_replica(self, handle: int, server: str, reason: str) -> None:
        """Take note that a replica no longer counts."""
        if self.state.chunks.drop_replica(handle, server):
            self.emit(ReplicaLost(handle=handle, server=server, reason=reason))

    async def revoke(self, handle: int, reason: str) -> bool:
        """End the chunk's lease with its primary's consent; the caller holds the guard.

        False if the primary does not answer: then its lease must run out.
        """
        self.leases.expire(self.now)
        if self.leases.holder(handle, self.now) is None:
            return self.leases.blocked_until(handle, self.now) <= self.now
        lease = self.leases.begin_revoke(handle)
        # Its end would do as well as its revocation: waiting for the answer any longer would be in vain.
        seconds = min(self.settings.revoke_seconds, lease.until - self.now)
        try:
            held = await self.calls.revoke(lease.primary, [handle], seconds)
        except TabletopError as error:
            if self.leases.lease(handle) is not None:
                self.leases.fail_revoke(handle)
            if not isinstance(error, (Unavailable, TimedOut)):
                raise
            return self.leases.blocked_until(handle, self.now) <= self.now
        if self.leases.lease(handle) is not None:
            self.leases.end(handle)
        self.emit(LeaseRevoked(handle=handle, primary=lease.primary, reason=reason))
        if handle in held and handle in self.state.chunks:
            self.state.chunks.note_length(handle, held[handle].length)
        return True

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant of any part does not hold. Reads everything."""
        self.state.check_invariants()
        self.leases.check_invariants()
        self.servers.check_invariants()
        self.locks.check_invariants()

    def _forget_task(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # A caller that went away does not fetch it.
