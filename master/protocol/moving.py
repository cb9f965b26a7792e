"""Which chunks have copies that should be elsewhere: drains, full disks, racks, hot spots, uneven disks (GFS 2.5, 4.3).

The problem. A chunk that lacks a replica is seen at once, for a table counts them. That its copies are all in one rack,
or that one server stores twice as much as another, is seen only by who looks at all chunks, and there may be a million.
The idea: now and then a *look* walks over all of them in slices, and notes the few that something is to be done about.
What exactly, is decided anew each time one of them comes up (`standing.py`), from the tables as they are then: a note
that is out of date does no harm.

What is noted is soft state, and is forgotten in a restart. That a server is drained is not: the log says so.

What we simplify. Of a large file system a look judges `_JUDGED_IN_ONE_LOOK` chunks after one another, and the next look
the following ones.
"""

import asyncio
import contextlib

from master.balance.heat import Heat
from master.balance.placement import Candidate, Move, Stored
from master.balance.placement_policies import policy_of
from master.balance.racks import Topology
from master.balance.standing import Standing, misplaced_replica, plan_standing
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ChunkCooled, ChunkHeated, ReplicaCannotGrow
from master.servers.servers import Server, ServerState

_JUDGED_IN_ONE_LOOK = 20_000
_BREATHE_EVERY = 1000
_MOST_PLANNED = 64
_WATCHED_AT_ONCE = 2000
_FULL_SECONDS = 60.0
_REST_FACTOR = 20  # a look that took a second is followed by so many without


class Moving:
    """Notes what should be elsewhere."""

    def __init__(self, core: Core) -> None:
        settings = core.settings
        self.policy = policy_of(settings.placement)
        self.heat = Heat(
            hot=settings.hot_bytes_per_second, most_copies=settings.hot_copies, seconds=settings.heat_seconds
        )
        self.looks = 0
        self.named: dict[int, None] = {}  # chunks whose confirmed version names a drained server that has no replica
        self.misplaced: dict[int, None] = {}
        self.moves: dict[int, Move] = {}
        self._core = core
        self._drained: dict[int, None] = {}
        self._full: dict[tuple[int, str], float] = {}
        self._judged_from = 0
        self._turn = 0
        self._wanted = asyncio.Event()

    # What is known of servers

    def open_servers(self) -> list[Server]:
        """Those on which something new may be placed."""
        core = self._core
        return [server for server in core.servers.alive() if server.name not in core.state.draining]

    def topology(self) -> Topology:
        """The racks of the servers that stay."""
        return Topology(server.place for server in self.open_servers() if server.state is ServerState.LIVE)

    def note_full(self, handle: int, server: str) -> None:
        """A client says that its bytes did not fit on this server, and the server's disk is indeed as good as full: the
        replica cannot grow there."""
        core = self._core
        found = core.servers.find(server)
        least = core.settings.reserve_bytes + core.settings.chunk_bytes
        if found is not None and found.free < least and server in core.state.chunks.replicas(handle):
            if (handle, server) not in self._full:
                self._core.emit(ReplicaCannotGrow(handle=handle, server=server))
            self._full[handle, server] = self._core.now + _FULL_SECONDS

    def is_waited_for(self, handle: int) -> bool:
        """Whether a client waits for the chunk to be moved from a full disk."""
        return any(known == handle for known, _ in self._full)

    # What is known of chunks

    def standing(self, handle: int) -> Standing:
        """How a known chunk stands now."""
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        leaving = [name for name in chunk.replicas if name in core.state.draining or (handle, name) in self._full]
        has_lease = core.leases.blocked_until(handle, core.now) > core.now
        extra = self.heat.extra(handle)
        if extra:
            extra = max(0, min(extra, len(self.open_servers()) - chunk.goal))
        if has_lease:  # Nothing that can wait disturbs a writer.
            return plan_standing(
                goal=chunk.goal,
                replicas=chunk.replicas,
                leaving=leaving,
                extra=max(0, min(extra, len(chunk.replicas) - chunk.goal)),
            )
        return plan_standing(
            goal=chunk.goal,
            replicas=chunk.replicas,
            leaving=leaving,
            extra=extra,
            misplaced=self._misplaced_replica(chunk.replicas) if handle in self.misplaced else "",
            move=self.moves.get(handle),
        )

    def watched(self) -> list[int]:
        """The known chunks that may have to be moved or copied though they have their goal. Of many that are on drained
        servers or misplaced, others each time."""
        now = self._core.now
        self._full = {key: until for key, until in self._full.items() if until > now}
        found = dict.fromkeys([*(handle for handle, _ in self._full), *self.heat.hot_chunks(), *self.moves])
        many = list({**self._drained, **self.misplaced})
        self._turn = self._turn + _WATCHED_AT_ONCE if self._turn + _WATCHED_AT_ONCE < len(many) else 0
        found |= dict.fromkeys(many[self._turn : self._turn + _WATCHED_AT_ONCE])
        return [handle for handle in found if handle in self._core.state.chunks]

    async def mark_surplus(self, handle: int, candidates: list[Candidate]) -> None:
        """Let replicas that are too many no longer count, once nobody writes the chunk: first those that are to leave,
        then those that the policy names."""
        core = self._core
        if core.is_guarded(handle) or core.leases.blocked_until(handle, core.now) > core.now:
            return
        async with core.guard(handle):
            if handle not in core.state.chunks or core.leases.blocked_until(handle, core.now) > core.now:
                return
            version, standing = core.state.chunks.version(handle), self.standing(handle)
            steady = [candidate for candidate in candidates if candidate.name in standing.staying]
            if len(steady) < standing.wanted:
                return
            names = self.policy.remove(
                steady, handle=handle, count=len(steady) - standing.wanted, topology=self.topology()
            )
            for name in standing.leaving:
                core.judge(handle, name, ReplicaState.SURPLUS, version=version, reason="it is to leave this server")
            for name in names:
                core.judge(handle, name, ReplicaState.SURPLUS, version=version, reason="one more than the goal")

    @property
    def _room_for_any(self) -> int:
        """What a server must have free for a copy of whatever chunk, bytes."""
        return self._core.reserve_bytes + self._core.settings.chunk_bytes

    def _misplaced_replica(self, replicas: tuple[str, ...]) -> str:
        core = self._core
        holders = [core.candidate(server) for server in core.live_servers(replicas)]
        if len(holders) < len(replicas):
            return ""  # One of them is away, and may be given up in a moment.
        others = [core.candidate(server) for server in self.open_servers() if server.state is ServerState.LIVE]
        return misplaced_replica(holders, others, self.topology(), needed_bytes=self._room_for_any)

    # Looks at all chunks

    def hurry(self) -> None:
        """Something has changed that the next look should not wait for."""
        self._wanted.set()

    async def keep_looking(self) -> None:
        """Loop: look at all chunks; the longer that takes, the more seldom."""
        core = self._core
        pause = core.settings.survey_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            self._wanted.clear()
            began = core.now
            if core.is_settled() and not core.holds_still:
                await self.look()
            pause = max(core.settings.survey_seconds, _REST_FACTOR * (core.now - began))

    async def look(self) -> None:
        """Look at all chunks once."""
        core, chunks = self._core, self._core.state.chunks
        draining = list(core.state.draining)
        self._judge_heat()
        loads: dict[str, int] = {}
        drained: dict[int, None] = {}
        named: dict[int, None] = {}
        window: list[Stored] = []
        part = chunks.handles_after(0, _BREATHE_EVERY)
        while part:
            for handle in part:
                replicas, length = chunks.replicas(handle), chunks.length(handle)
                for name in replicas:
                    loads[name] = loads.get(name, 0) + length
                if draining and any(name in replicas for name in draining):
                    drained[handle] = None
                elif draining and any(name in chunks.members(handle) for name in draining):
                    named[handle] = None
                if handle >= self._judged_from and len(window) < _JUDGED_IN_ONE_LOOK and replicas:
                    window.append(Stored(handle, length, replicas))
            await core.world.breathe()
            part = chunks.handles_after(part[-1], _BREATHE_EVERY)
        self._judged_from = window[-1].handle + 1 if len(window) == _JUDGED_IN_ONE_LOOK else 0
        self._drained, self.named = drained, named
        self._judge_places(window)
        self._plan_moves(window, loads)
        self.looks += 1

    def _judge_heat(self) -> None:
        core = self._core
        for handle in self.heat.chunks():
            if handle not in core.state.chunks:
                self.heat.forget(handle)
                continue
            before, goal = self.heat.extra(handle), core.state.chunks.chunk(handle).goal
            rate = self.heat.rate(handle, core.now)
            extra = self.heat.judge(handle, goal=goal, now=core.now)
            if extra > before:
                core.emit(ChunkHeated(handle=handle, copies=goal + extra, bytes_per_second=int(rate)))
            elif extra < before:
                core.emit(ChunkCooled(handle=handle, copies=goal + extra, bytes_per_second=int(rate)))

    def _judge_places(self, window: list[Stored]) -> None:
        """Sets of servers are few, so that each is judged once."""
        verdicts: dict[tuple[str, ...], bool] = {}
        for stored in window:
            if stored.replicas not in verdicts:
                verdicts[stored.replicas] = bool(self._misplaced_replica(stored.replicas))
            if verdicts[stored.replicas]:
                self.misplaced[stored.handle] = None
            else:
                self.misplaced.pop(stored.handle, None)
        self.misplaced = {handle: None for handle in self.misplaced if handle in self._core.state.chunks}

    def _plan_moves(self, window: list[Stored], loads: dict[str, int]) -> None:
        core, chunks = self._core, self._core.state.chunks
        servers: list[Candidate] = [
            core.candidate(server) for server in self.open_servers() if server.state is ServerState.LIVE
        ]
        movable = [
            stored
            for stored in window
            if stored.handle not in self.misplaced
            and stored.handle not in self._drained
            and stored.handle in chunks
            and len(stored.replicas) == chunks.chunk(stored.handle).goal
            and core.leases.blocked_until(stored.handle, core.now) <= core.now
        ]
        able = [server for server in servers if server.free >= self._room_for_any and not server.is_troubled]
        planned = self.policy.moves(able, movable, loads=loads, most=_MOST_PLANNED) if able else []
        begun = {handle: move for handle, move in self.moves.items() if self._has_begun(move)}
        self.moves = {move.handle: move for move in planned} | begun

    def _has_begun(self, move: Move) -> bool:
        """Whether the copy is being made, or is there and the replica that it replaces has not left yet."""
        core = self._core
        if move.handle not in core.state.chunks:
            return False
        replicas = core.state.chunks.replicas(move.handle)
        is_forming = core.replicas.state(move.handle, move.destination) is ReplicaState.FORMING
        return move.source in replicas and (is_forming or move.destination in replicas)
