"""The master's work in the background: deaths, clones, removals, reclamation (GFS 4.3, 4.4).

Three loops. One watches the clock: servers that are silent, leases that have run out. One looks for chunks with too few
or too many replicas, plans with `replication.py` and carries the orders out. One scans the hidden names for those
whose grace period is over. A loop that meets an error records it and goes on: it has nobody to tell.

A chunk is cloned only while nobody may write it: its lease is revoked first, and no other is granted until the copy is
complete. Otherwise the copy could miss a mutation that was acknowledged, and still carry the current version.

What we simplify. A surplus replica waits until nobody writes the chunk. At most 20,000 chunks are ranked in one look.
"""

from master import paths
from master.core import Core
from master.events import (
    ChunkserverDied,
    ChunkserverSuspected,
    CloneFailed,
    CloneFinished,
    CloneStarted,
    FileReclaimed,
)
from master.garbage import is_due
from master.namespace_locks import plan_locks
from master.placement import Candidate, plan_removal
from master.records import EntryRemoved
from master.replication import CloneOrder, Limits, Need, plan_replication
from master.servers import ServerState
from runtime.errors import TabletopError

_RANKED_IN_ONE_LOOK = 20_000
_COOLING_SECONDS = 2.0
_RECLAIMED_IN_ONE_SCAN = 1000


class Repair:
    """Keeps the cluster as it should be."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[int, CloneOrder] = {}
        self._cooling: dict[int, float] = {}  # chunk -> when to try again after a failure
        self._look_from = 0

    @property
    def clones_running(self) -> int:
        """How many clones are under way."""
        return len(self._running)

    async def watch_clock(self) -> None:
        """Loop: notice silence, and forget leases that have run out."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.settings.heartbeat_seconds / 2)
            self.look_at_clock()

    async def mend_chunks(self) -> None:
        """Loop: bring every chunk back to its goal."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.settings.repair_seconds)
            if core.is_settled():
                await self.look_at_chunks()

    async def scan_names(self) -> None:
        """Loop: reclaim deleted files whose grace period is over."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.settings.namespace_scan_seconds)
            try:
                await core.uninterrupted(self.reclaim_due())
            except TabletopError:
                continue  # The log refused, and has said so.

    def look_at_clock(self) -> None:
        """Downgrade silent servers, drop the replicas of dead ones, forget leases that have run out."""
        core = self._core
        now = core.now
        for name, state in core.servers.judge_silence(now):
            server = core.servers.find(name)
            silence = now - server.seen if server else 0.0
            if state is ServerState.SUSPECT:
                core.emit(ChunkserverSuspected(server=name, reason=f"silent for {silence:.1f} s"))
                continue
            lost = core.state.chunks.drop_server(name)
            core.condemned.pop(name, None)
            core.emit(ChunkserverDied(server=name, silence_seconds=silence, chunks=len(lost)))
        core.leases.expire(now)

    async def look_at_chunks(self) -> None:
        """Plan once, start what was planned, and remove what is too much."""
        core = self._core
        needs, surplus = await self._sorted_out()
        candidates = core.shuffled_candidates(
            [server for server in core.servers.alive() if server.state is ServerState.LIVE]
        )
        limits = Limits(core.settings.clones_at_once, core.settings.clones_per_server)
        reserve = min(core.settings.reserve_bytes, core.settings.chunk_bytes)
        orders = plan_replication(
            needs, candidates, running=list(self._running.values()), limits=limits, needed_bytes=reserve
        )
        for order in orders:
            if self._may_receive(order):
                self._running[order.handle] = order
                core.world.spawn(self._apply_clone(order), f"clone chunk {order.handle:#x}")
        for handle in surplus:
            await self._remove_surplus(handle, candidates)

    async def reclaim_due(self) -> int:
        """Forget the entries whose grace period is over; returns how many. Raises what the log raises."""
        core = self._core
        now = core.world.clock.wall_microseconds()
        hidden = core.state.namespace.children(paths.HIDDEN_ROOT, after="", limit=_RECLAIMED_IN_ONE_SCAN)
        due = [
            path
            for path, _ in hidden
            if is_due(path, now_microseconds=now, grace_seconds=core.settings.trash_grace_seconds)
        ]
        for path in due:
            await self.reclaim(path)
        return len(due)

    async def reclaim(self, path: str) -> None:
        """Forget one entry for good; its chunks become orphans. Raises what the log raises."""
        core = self._core
        async with core.locks.hold(plan_locks(write=[path])):
            if core.state.namespace.find(path) is None:
                return  # It was brought back, or reclaimed by somebody else.
            forgotten = await core.commit(EntryRemoved(path))
        core.emit(FileReclaimed(path=path, chunks=len(forgotten)))

    async def _sorted_out(self) -> tuple[list[Need], list[int]]:
        """Chunks that lack replicas and could get one now, and chunks that have too many."""
        core = self._core
        needs: list[Need] = []
        surplus: list[int] = []
        handles = core.state.chunks.needing_attention()
        if len(handles) > _RANKED_IN_ONE_LOOK:
            start = next((place for place, handle in enumerate(handles) if handle >= self._look_from), 0)
            handles = (handles[start:] + handles[:start])[:_RANKED_IN_ONE_LOOK]
            self._look_from = handles[-1] + 1
        for number, handle in enumerate(handles, start=1):
            if number % 1000 == 0:
                await core.world.breathe()
            if handle not in core.state.chunks or self._cooling.get(handle, 0.0) > core.now:
                continue
            chunk = core.state.chunks.chunk(handle)
            if len(chunk.replicas) > chunk.goal:
                surplus.append(handle)
            elif chunk.replicas and not core.is_forming(handle) and self._can_be_freed(handle):
                waited_for = core.is_waited_for(handle)
                needs.append(Need(handle, chunk.goal, chunk.replicas, chunk.is_deleted, waited_for))
        self._cooling = {handle: until for handle, until in self._cooling.items() if until > core.now}
        return needs, surplus

    def _can_be_freed(self, handle: int) -> bool:
        """Whether nobody holds a lease on the chunk, or its primary can be asked to give it up."""
        core = self._core
        if core.lease_may_live_until(handle) <= core.now:
            return True
        lease = core.leases.lease(handle)
        return lease is not None and bool(core.live_servers((lease.primary,)))

    def _may_receive(self, order: CloneOrder) -> bool:
        """Whether the destination is not about to delete this very chunk."""
        core = self._core
        blocked = (core.condemned.get(order.destination, {}), core.unwanted.get(order.destination, {}))
        return not any(order.handle in handles for handles in blocked)

    async def _apply_clone(self, order: CloneOrder) -> None:
        core = self._core
        handle = order.handle
        try:
            async with core.guard(handle):
                if await self._is_still_needed(order):
                    with core.forming(handle):
                        await self._clone(order)
        except TabletopError as error:
            self._cooling[handle] = core.now + _COOLING_SECONDS
            core.emit(CloneFailed(handle=handle, destination=order.destination, problem=error.message))
        finally:
            self._running.pop(handle, None)

    async def _is_still_needed(self, order: CloneOrder) -> bool:
        core = self._core
        handle = order.handle
        if handle not in core.state.chunks:
            return False
        if not await core.revoke(handle, "the chunk is to be cloned") or core.lease_may_live_until(handle) > core.now:
            self._cooling[handle] = core.now + _COOLING_SECONDS
            return False
        if handle not in core.state.chunks:
            return False
        chunk = core.state.chunks.chunk(handle)
        return (
            len(chunk.replicas) < chunk.goal
            and order.source in chunk.replicas
            and order.destination not in chunk.replicas
            and self._may_receive(order)
        )

    async def _clone(self, order: CloneOrder) -> None:
        core = self._core
        handle = order.handle
        chunks = core.state.chunks
        version = chunks.version(handle)
        source = core.servers.find(order.source)
        destination = core.servers.find(order.destination)
        assert source is not None and destination is not None
        destination.note_creation(core.now)
        core.emit(CloneStarted(handle=handle, source=order.source, destination=order.destination))
        held = await core.calls.clone(
            order.destination,
            handle=handle,
            version=version,
            source=source.address,
            bytes_per_second=core.settings.clone_bytes_per_second,
            seconds=core.settings.clone_seconds,
        )
        if handle not in chunks or held.version != chunks.version(handle) or not destination.is_alive:
            return
        chunks.add_replica(handle, order.destination)
        chunks.note_length(handle, held.length)
        chunk = chunks.chunk(handle)
        core.emit(
            CloneFinished(handle=handle, destination=order.destination, replicas=len(chunk.replicas), goal=chunk.goal)
        )

    async def _remove_surplus(self, handle: int, candidates: list[Candidate]) -> None:
        """Drop replicas beyond the goal, once nobody writes the chunk; their servers are told at their heartbeats."""
        core = self._core
        if core.lease_may_live_until(handle) > core.now or core.is_forming(handle):
            return
        async with core.guard(handle):
            if handle not in core.state.chunks or core.lease_may_live_until(handle) > core.now:
                return
            chunk = core.state.chunks.chunk(handle)
            steady = [candidate for candidate in candidates if candidate.name in chunk.replicas]
            for name in plan_removal(steady, count=len(steady) - chunk.goal):
                core.unwanted.setdefault(name, {})[handle] = "surplus"
                core.lose_replica(handle, name, "one more than the goal")
