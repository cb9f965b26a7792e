"""New chunks and leases: the protocol between the master, the replicas and a writer (GFS 3.1, 4.5).

The problem. Before a client writes, exactly one replica must be the primary, every replica that counts must take part,
and every replica that missed something must be recognisable for ever, whoever crashes in between.

The idea: version numbers. Each grant gives the chunk a new version on all its replicas, and only then tells a client of
it. A replica that was away keeps its old number, and is stale. In order:

    1. log `VersionAttempted`: from here on this number is used up
    2. tell every replica the new version, the primary also its lease and its secondaries; each persists it
    3. all answered: log `VersionConfirmed`; lower versions are stale from here on
       some did not: they are left out, and it begins again at 1 with the others and the next number
    4. the lease counts from now; answer the client

Why two records? If the master logged the version only before step 2 and crashed there, no replica would have the
version that it believes in, and the chunk would look lost. If it logged only after step 2, a crash would make it forget
the number, and use it again: then a replica that had heard of the first use only, and missed writes since, would look
current. With both, a number is used once, and one that was not confirmed is adopted if a replica has it (4.5: "takes
the higher version to be up-to-date").

A replica that fails step 2 may have done it and lost the answer. It is never counted in: the next number fences it off.
So every replica at the current version takes part in the current lease, and a mutation that some of them missed was
never acknowledged. That also fences off a primary that the master has forgotten in a restart.

A new chunk is created on its servers first and logged after that, in one record with its place in the file. If any
server fails, the handle is thrown away and another one is used on other servers: whatever the first attempt left
behind is an orphan, which garbage collection removes.

A primary whose answer was lost may believe in a lease at a number that no client was ever told: it orders nothing.

What we simplify. When a client complains twice about a server that answers the master, the chunk is granted again
without that server; GFS does not say what it does.
"""

import asyncio
from collections.abc import Sequence

from master import paths
from master.chunkservers import Outcome, location
from master.core import Core
from master.events import ChunkCreated, LeaseGranted
from master.leases import Lease, LeaseState
from master.namespace_locks import plan_locks
from master.placement import plan_placement
from master.records import ChunkAllocated, HandlesReserved, VersionAttempted, VersionConfirmed
from master.servers import Server, ServerState
from runtime.errors import InvalidRequest, NoSpace, NotFound, StaleVersion, TabletopError, Unavailable, shown
from runtime.wire import chunkserver_pb2

_HANDLES_A_RECORD = 1024
_CREATION_ROUNDS = 4
_COMPLAINTS_BEFORE_ACTING = 2
_LOOK_SECONDS = 0.1


class Granting:
    """Finds or makes the lease that a writer needs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reserving = asyncio.Lock()
        self._complaints: dict[int, dict[str, int]] = {}

    async def find_lease_holder(
        self, path: str, index: int, *, allocate: bool, suspect: str, patience_seconds: float
    ) -> Lease:
        """The live lease on a file's chunk, granted now if there is none; the chunk is created if `allocate`.

        Raises NotFound, IsADirectory, InvalidRequest, NoSpace (all definite), Unavailable (try again).
        """
        paths.check_path(path)
        if paths.is_hidden(path):
            raise InvalidRequest(f"{shown(path)} was deleted and cannot be written; rename it back first")
        handles = self._core.state.namespace.file(path).handles
        if index >= len(handles):
            _check_index(path, index, len(handles), allocate)
            async with self._core.locks.hold(plan_locks(write=[path])):
                handles = self._core.state.namespace.file(path).handles
                if index >= len(handles):
                    _check_index(path, index, len(handles), allocate)
                    return await self._create_chunk(path, index)
        return await self._lease_on(handles[index], suspect, patience_seconds)

    # Chunks that exist

    async def _lease_on(self, handle: int, suspect: str, patience_seconds: float) -> Lease:
        core = self._core
        if not suspect and (lease := core.leases.holder(handle, core.now)):
            return lease
        async with core.guard(handle, for_client=True):
            deadline = core.now + patience_seconds
            lease = core.leases.holder(handle, core.now)
            without: tuple[str, ...] = ()
            if lease is not None:
                if not await self._is_to_be_replaced(lease, suspect):
                    return lease
                await core.revoke(handle, f"{suspect} failed a writer")
                without = (suspect,)
            await self._wait_for_end(handle, deadline)
            if handle not in core.state.chunks:
                raise NotFound(f"chunk {handle:#x} was deleted meanwhile; look the file up again")
            return await self._grant(handle, without)

    async def _is_to_be_replaced(self, lease: Lease, suspect: str) -> bool:
        """Whether a lease that a client complains about must end: its suspect is silent, or the client insists."""
        if suspect not in (lease.primary, *lease.secondaries):
            return False
        complaints = self._complaints.setdefault(lease.handle, {})
        complaints[suspect] = complaints.get(suspect, 0) + 1
        if complaints[suspect] >= _COMPLAINTS_BEFORE_ACTING:
            return True
        server = self._core.servers.find(suspect)
        return server is None or not server.is_alive or not await self._core.calls.answers(suspect)

    async def _wait_for_end(self, handle: int, deadline: float) -> None:
        """Return when no primary can act on a lease for this chunk any more. Raises Unavailable at the deadline."""
        core = self._core
        while True:
            core.leases.expire(core.now)
            until = core.lease_may_live_until(handle)
            left = until - core.now
            if left <= 0:
                return
            if core.now >= deadline:
                raise Unavailable(
                    f"chunk {handle:#x} may be under a lease whose primary does not answer; "
                    f"it ends in {left:.1f} s: try again then",
                    definite=True,
                )
            await core.world.clock.sleep(min(left, deadline - core.now, _LOOK_SECONDS))

    async def _grant(self, handle: int, without: Sequence[str]) -> Lease:
        """Give the lease to one of the chunk's replicas; the caller holds the guard, and no lease lives."""
        core = self._core
        chunks = core.state.chunks
        alive = core.live_servers(chunks.replicas(handle))
        targets = [server for server in alive if server.name not in without] or alive
        problem = f"none of its {chunks.chunk(handle).goal} replicas is on a live server"
        core.leases.begin(handle)
        try:
            with core.forming(handle):
                while targets:
                    asked = len(targets)
                    lease, targets, problem = await self._grant_round(handle, _in_order(handle, targets))
                    if lease is not None:
                        self._complaints.pop(handle, None)
                        return lease
                    if len(targets) < asked and core.old_lease_may_live(handle):
                        break  # Whoever did not answer may be the primary of an earlier run of this master.
        finally:
            if core.leases.state(handle) is LeaseState.GRANTING:
                core.leases.end(handle)
        raise Unavailable(f"chunk {handle:#x} cannot be written now: {problem}; try again", definite=True)

    async def _grant_round(self, handle: int, targets: list[Server]) -> tuple[Lease | None, list[Server], str]:
        """Try one version on these servers: (the lease, or None; who answered well; what went wrong)."""
        core = self._core
        chunks = core.state.chunks
        before, version = chunks.version(handle), chunks.attempted(handle) + 1
        incarnation = targets[0].incarnation
        await core.commit(VersionAttempted(handle, version))
        outcomes = await self._advance_all(handle, before, version, targets)
        well = [server for server, outcome in zip(targets, outcomes, strict=True) if outcome.error is None]
        problems = [outcome.error.message for outcome in outcomes if outcome.error is not None]
        if problems:
            return None, well, "; ".join(problems)
        answered = core.now
        await core.commit(VersionConfirmed(handle, version))
        if handle not in chunks:
            raise NotFound(f"chunk {handle:#x} was deleted meanwhile; look the file up again")
        names = tuple(server.name for server in targets)
        self._note_replicas(handle, names, outcomes)
        if targets[0].incarnation != incarnation:
            return None, targets, f"{names[0]} has restarted"
        return self._begin_lease(handle, version, names, answered), well, ""

    async def _advance_all(self, handle: int, before: int, version: int, targets: list[Server]) -> list[Outcome]:
        async def one(server: Server, is_primary: bool) -> Outcome:
            item = self._item(handle, before, version, targets if is_primary else [])
            outcome = await self._core.calls.advance(server.name, item)
            if isinstance(outcome.error, StaleVersion) and before < outcome.held.version < version:
                # An earlier attempt reached it, and its answer was lost.
                item.from_version = outcome.held.version
                outcome = await self._core.calls.advance(server.name, item)
            return outcome

        return await asyncio.gather(*(one(server, server is targets[0]) for server in targets))

    def _item(self, handle: int, before: int, version: int, all_of_them: list[Server]) -> chunkserver_pb2.Advance:
        """What one server is told; the primary is told of all, itself first."""
        item = chunkserver_pb2.Advance(handle=handle, from_version=before, to_version=version)
        if all_of_them:
            item.lease_milliseconds = int(self._core.settings.lease_seconds * 1000)
            item.secondaries.extend(location(server.address) for server in all_of_them[1:])
        return item

    def _note_replicas(self, handle: int, names: tuple[str, ...], outcomes: list[Outcome]) -> None:
        chunks = self._core.state.chunks
        for server in chunks.replicas(handle):
            if server not in names:
                self._core.lose_replica(handle, server, f"it was left out of version {chunks.version(handle)}")
        chunks.set_replicas(handle, names)
        for outcome in outcomes:
            chunks.note_length(handle, outcome.held.length)

    def _begin_lease(self, handle: int, version: int, names: tuple[str, ...], answered: float) -> Lease:
        core = self._core
        until = answered + core.settings.lease_seconds
        core.note_granted(handle)
        core.leases.grant(handle, version=version, primary=names[0], secondaries=names[1:], until=until)
        core.emit(LeaseGranted(handle=handle, version=version, primary=names[0], secondaries=names[1:]))
        lease = core.leases.lease(handle)
        assert lease is not None
        return lease

    # Chunks that do not exist yet

    async def _create_chunk(self, path: str, index: int) -> Lease:
        """Make the next chunk of a file; the caller holds the path's write lock."""
        core = self._core
        goal = core.state.namespace.file(path).goal
        failed: list[str] = []
        problem: TabletopError | None = None
        for _ in range(_CREATION_ROUNDS):
            targets = self._place(path, goal, failed, problem)
            handle = await self._new_handle()
            with core.forming(handle):
                outcomes = await self._advance_all(handle, 0, 1, targets)
                answered = core.now
                errors = [(server.name, outcome.error) for server, outcome in zip(targets, outcomes, strict=True)]
                bad = [(name, error) for name, error in errors if error is not None]
                if not bad:
                    await core.commit(ChunkAllocated(path, index, handle, 1))
                    names = tuple(server.name for server in targets)
                    core.state.chunks.set_replicas(handle, names)
                    core.emit(ChunkCreated(handle=handle, path=path, index=index, servers=names))
                    core.leases.begin(handle)
                    return self._begin_lease(handle, 1, names, answered)
            failed.extend(name for name, _ in bad)
            problem = bad[0][1]
        raise Unavailable(f"no chunk could be created for {shown(path)}: {problem}; try again", definite=True)

    def _place(self, path: str, goal: int, failed: list[str], problem: TabletopError | None) -> list[Server]:
        core = self._core
        able = [server for server in core.servers.alive() if server.name not in failed]
        steady = [server for server in able if server.state is ServerState.LIVE] or able
        reserve = min(core.settings.reserve_bytes, core.settings.chunk_bytes)
        names = plan_placement(core.shuffled_candidates(steady), count=goal, needed_bytes=reserve)
        if not names:
            if isinstance(problem, NoSpace) or (able and problem is None):
                raise NoSpace(
                    f"no chunkserver has {reserve} bytes free for a new chunk of {shown(path)}; delete something "
                    "(and wait until it is reclaimed) or add a chunkserver"
                )
            raise Unavailable(
                f"no chunkserver can take a new chunk of {shown(path)} ({problem or 'none is alive'}); "
                "see the cluster's status, and try again",
                definite=True,
            )
        chosen = [server for name in names for server in steady if server.name == name]
        for server in chosen:
            server.note_creation(core.now)
        return chosen

    async def _new_handle(self) -> int:
        """A handle that no chunkserver has ever heard of, not even from an earlier run of the master."""
        state = self._core.state
        async with self._reserving:
            if state.chunks.next_handle >= state.handle_limit:
                await self._core.commit(HandlesReserved(state.chunks.next_handle + _HANDLES_A_RECORD))
            return state.chunks.reserve_handle()


def _check_index(path: str, index: int, count: int, allocate: bool) -> None:
    if index > count or not allocate:
        raise NotFound(f"{shown(path)} has {count} chunks, there is no number {index}; look the file up again")


def _in_order(handle: int, servers: list[Server]) -> list[Server]:
    """The primary first: steady servers before suspect ones, and chunks shared out among them by their handles."""
    turn = handle % len(servers)
    return sorted(servers[turn:] + servers[:turn], key=lambda server: server.state is not ServerState.LIVE)
