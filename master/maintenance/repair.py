"""The master's work on chunks in the background: deaths, comparisons, clones, removals (GFS 4.3 to 4.5).

Two loops. One watches the clock: servers that are silent, leases that have run out. One looks for chunks whose replicas
are not as they should be, plans (`settling.py`, `replication.py`) and carries the orders out. A loop that meets an
error records it and continues: it has nobody to tell.

A clone is fenced from both sides. Before it, the chunk's lease is revoked and its version raised on the replicas that
count, so that nothing that is still under way can change them while they are copied. The lease of a server that has
been given up need not run out first, for the raise fences it off (a writer who wants that lease waits for its end, as
in GFS 3.1, unless a clone comes before); after it, the copy's server is logged as a member. A copy may take the place
of a stale or damaged replica of the same server: that is replaced in one step when the copy is complete, and never
removed before.

A replica that is not needed any more is removed only while the chunk has its goal of others that have just made durable
what they hold, and compared every block with its checksum. Until then it is the best hope of a chunk whose other
replicas may have rotted unnoticed. The order to remove it holds for seconds: one that comes late would take what has
become the last good copy meanwhile. If it is over and nobody has confirmed it, all begins anew with the verification.

A chunk that has only damaged replicas left is mended first (`mending.py`), and cloned after that. One whose replicas
are all on disks that take no version is copied as it is, once nobody can be writing it (`salvaging.py`). What fails is
tried again after a pause; that of clones grows while nothing about the chunk's replicas changes (`pauses.py`).

A writer waits for a copy that is being made no longer than for the lease of a dead primary. Then the copy is given up,
if there are two replicas without it, and is made again later.

When a server with many thousand chunks has died, a look ends as soon as it has found some hundreds that could be
copied, those in most danger first: more than that cannot be begun before the next look.

What we simplify. A surplus replica waits until nobody writes the chunk.
"""

import asyncio
from collections.abc import Coroutine, Hashable, Sequence
from typing import Any, TypeVar

from master.balance.replication import CloneOrder, Limits, Need, plan_replication
from master.balance.standing import MOVED
from master.chunks.replicas import KEPT, ReplicaState
from master.core import Core
from master.events import (
    ChunkserverDied,
    ChunkserverSuspected,
    CloneFailed,
    CloneFinished,
    CloneStarted,
    MasterPaused,
    RemovalDecided,
)
from master.log.records import ReplicaAdded
from master.maintenance.repair_events import CopiedAsItIs
from master.maintenance.salvaging import Salvaging
from master.protocol.mending import Mending
from master.protocol.moving import Moving
from master.protocol.raising import Raising, in_order
from master.protocol.settling import Settling
from master.servers.pauses import Pauses
from master.servers.servers import Server, ServerState
from runtime.errors import TabletopError, TimedOut, Unavailable

T = TypeVar("T")
_NEEDS_IN_ONE_LOOK = 500
_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_COMPARED_IN_ONE_LOOK = 64
_TRIES_WITH_ALL = 3  # to make a copy, before a replica that takes no version is left out


class Repair:
    """Keeps the cluster as it should be."""

    def __init__(self, core: Core, raising: Raising, settling: Settling, mending: Mending, moving: Moving) -> None:
        self._core = core
        self._moving = moving
        self._raising = raising
        self._settling = settling
        self._mending = mending
        self._salvaging = Salvaging(core)
        self._running: dict[int, CloneOrder] = {}
        self._busy: dict[int, None] = {}  # chunks whose replicas are compared or mended now
        self._verified: dict[int, None] = {}  # chunks whose replicas are verified now, before others are removed
        self._mended: dict[int, None] = {}  # chunks that have only damaged replicas, and can be cloned nevertheless
        self._pauses = Pauses(first=_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS)
        self._look_from = 0

    @property
    def clones_running(self) -> int:
        """How many clones are under way."""
        return len(self._running)

    def clones(self) -> list[CloneOrder]:
        """Those that are under way."""
        return list(self._running.values())

    async def watch_clock(self) -> None:
        """Loop: notice silence, and forget leases that have run out."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.tick_seconds)
            self.look_at_clock()

    async def mend_chunks(self) -> None:
        """Loop: bring every chunk back to its goal."""
        core = self._core
        while True:
            await core.world.clock.sleep(core.settings.repair_seconds)
            try:
                core.look_at_safe_mode()
                await self.look_at_unsure()
                if core.may_repair():
                    self.look_at_damaged()
                    await self.look_at_chunks()
                    await self.look_at_leftovers()
            except TabletopError:
                continue  # The log refused, and has said so.

    # The clock

    def look_at_clock(self) -> None:
        """Downgrade silent servers, drop the replicas of dead ones, end leases that have run out."""
        core = self._core
        now = core.now
        lost_time = core.safe_mode.attention.tick(now)
        if lost_time > 0:
            # This process itself stood still: what its servers said meanwhile waits to be read.
            core.servers.forgive(lost_time)
            core.emit(MasterPaused(seconds=lost_time))
        core.look_at_safe_mode()
        for name, state in core.servers.judge_silence(now):
            server = core.servers.find(name)
            silence = now - server.seen if server else 0.0
            if state is ServerState.SUSPECT:
                core.emit(ChunkserverSuspected(server=name, reason=f"silent for {silence:.1f} s"))
                continue
            lost = core.replicas.drop_server(name)
            core.emit(ChunkserverDied(server=name, silence_seconds=silence, chunks=len(lost)))
        self._seal([(lease.primary, lease.handle, lease.version) for lease in core.leases.expire(now)])

    def _seal(self, ended: list[tuple[str, int, int]]) -> None:
        """Ask the primaries of leases that have run out for the final lengths: the end of a lease by this clock does
        not prove that nothing was written since the last report."""
        by_primary: dict[str, list[tuple[int, int]]] = {}
        for primary, handle, version in ended:
            by_primary.setdefault(primary, []).append((handle, version))
        for primary, leases in by_primary.items():
            self._core.world.spawn(self._ask_for_lengths(primary, leases), f"ask {primary} for final lengths")

    async def _ask_for_lengths(self, primary: str, leases: list[tuple[int, int]]) -> None:
        core = self._core
        try:
            held = await core.calls.revoke(primary, leases, core.settings.revoke_seconds)
        except TabletopError:
            return  # The lengths stay open, and clients ask the replicas.
        for handle, version in leases:
            if handle in held and not core.is_guarded(handle) and core.leases.lease(handle) is None:
                core.note_final_length(handle, version, held[handle])

    # Replicas that must be compared

    async def look_at_unsure(self) -> None:
        """Compare unsure replicas wherever that is possible now."""
        core = self._core
        for handle in core.replicas.exceptions():
            if len(self._busy) >= _COMPARED_IN_ONE_LOOK:
                return
            if handle not in core.state.chunks or handle in self._busy or self._is_pausing(handle):
                continue
            if self._settling.plan(handle).targets:
                self._busy[handle] = None
                core.world.spawn(core.uninterrupted(self._compare(handle)), f"compare chunk {handle:#x}")

    async def _compare(self, handle: int) -> None:
        core = self._core
        try:
            async with core.guard(handle):
                if handle in core.state.chunks and self._settling.plan(handle).targets and not core.stopping.is_set():
                    await self._settling.settle(handle)
                    self._pauses.succeeded(handle)
        except TabletopError:
            self._pause(handle)
        finally:
            self._busy.pop(handle, None)

    # Replicas that are damaged, and nothing better is left

    def look_at_damaged(self) -> None:
        """Have damaged replicas mended where no other one counts."""
        core = self._core
        for handle in core.replicas.exceptions():
            if len(self._busy) >= _COMPARED_IN_ONE_LOOK:
                return
            if handle in self._busy or handle in self._running or handle in self._mended or self._is_pausing(handle):
                continue
            if self._is_to_be_mended(handle):
                self._busy[handle] = None
                core.world.spawn(core.uninterrupted(self._mend(handle)), f"mend chunk {handle:#x}")

    def _is_to_be_mended(self, handle: int) -> bool:
        is_known = handle in self._core.state.chunks
        return is_known and self._mending.is_needed(handle) and not self._settling.plan(handle).targets

    async def _mend(self, handle: int) -> None:
        core = self._core
        try:
            async with core.guard(handle):
                if not self._is_to_be_mended(handle) or core.stopping.is_set():
                    return
                may_be_cloned = await self._mending.mend_damaged(handle)
                if not self._is_to_be_mended(handle):
                    self._pauses.succeeded(handle)
                elif may_be_cloned:
                    self._mended[handle] = None
                else:
                    self._pause(handle, grows=True)
        finally:
            self._busy.pop(handle, None)

    # Clones

    async def look_at_chunks(self) -> None:
        """Plan once, start what was planned, and mark what is too much."""
        core = self._core
        needs, surplus = await self._sorted_out()
        candidates = core.shuffled_candidates(
            [server for server in core.servers.alive() if server.state is ServerState.LIVE]
        )
        limits = Limits(core.settings.clones_at_once, core.settings.clones_per_server)
        orders = plan_replication(
            needs,
            candidates,
            running=list(self._running.values()),
            limits=limits,
            needed_bytes=core.reserve_bytes,
            policy=self._moving.policy,
            closed=core.state.draining,
        )
        for order in orders:
            self._running[order.handle] = order
            work = core.uninterrupted(self._apply_clone(order))
            core.world.spawn(work, f"clone chunk {order.handle:#x}")
        for handle in surplus:
            await self._moving.mark_surplus(handle, candidates)

    async def _sorted_out(self) -> tuple[list[Need], list[int]]:
        """Chunks that need a copy and could get one now, and chunks that have too many."""
        core = self._core
        needs: list[Need] = []
        surplus: list[int] = []
        moves = sum(handle in self._moving.moves for handle in self._running)
        handles = core.state.chunks.needing_attention()
        watched = self._moving.watched()
        if len(handles) > _NEEDS_IN_ONE_LOOK:
            handles = [*filter(self._moving.is_waited_for, watched), *sorted(handles, key=self._rank)]
        handles = list(dict.fromkeys([*handles, *watched]))
        for number, handle in enumerate(handles, start=1):
            if number % 1000 == 0:
                await core.world.breathe()
            if handle not in core.state.chunks or self._is_pausing(handle):
                continue
            if self._moving.standing(handle).excess:
                surplus.append(handle)
            elif (need := self._need(handle)) is not None:
                is_move = need.urgency == MOVED and len(need.replicas) >= need.goal
                if is_move and moves >= core.settings.moves_at_once:
                    continue
                moves += is_move
                needs.append(need)
                if len(needs) >= _NEEDS_IN_ONE_LOOK:
                    self._look_from = handle + 1
                    break
        self._pauses.forget_old(core.now)
        return needs, surplus

    def _rank(self, handle: int) -> tuple[bool, bool, bool, int, bool]:
        """If there are too many for one look: those with too many replicas first, which are few, then those in most
        danger, and of equals others than in the last look."""
        chunk = self._core.state.chunks.chunk(handle)
        missing = len(chunk.replicas) - chunk.goal
        is_waited_for = self._core.is_waited_for(handle)
        return missing <= 0, not is_waited_for, chunk.is_deleted, missing, handle < self._look_from

    def _need(self, handle: int) -> Need | None:
        """What a chunk needs that lacks a copy; None if it does not, something else comes first, or nothing is left to
        copy from."""
        core = self._core
        chunk, table, standing = core.state.chunks.chunk(handle), core.replicas, self._moving.standing(handle)
        if not standing.lacks:
            return None
        if self._settling.plan(handle).targets or table.servers_in(handle, ReplicaState.SURPLUS):
            return None  # A comparison comes first, or what was one too many counts again soon.
        if not chunk.replicas and (not self._mending.is_needed(handle) or handle not in self._mended):
            return None  # Nothing is left to copy from, or it is mended first.
        replaceable = (*KEPT, ReplicaState.UNSURE) if chunk.replicas else (ReplicaState.STALE, ReplicaState.CORRUPT)
        return Need(
            handle=handle,
            goal=chunk.goal,
            replicas=chunk.replicas,
            is_deleted=chunk.is_deleted,
            is_waited_for=core.is_waited_for(handle) or self._moving.is_waited_for(handle),
            damaged=table.servers_in(handle, ReplicaState.CORRUPT),
            replaceable=table.servers_in(handle, *replaceable),
            blocked=table.servers_in(handle, ReplicaState.FORMING, ReplicaState.CONDEMNED, ReplicaState.UNREADABLE),
            leaving=standing.leaving,
            urgency=standing.urgency,
            destination=standing.destination,
            length=chunk.length,
        )

    async def _apply_clone(self, order: CloneOrder) -> None:
        core = self._core
        handle = order.handle
        try:
            async with core.guard(handle):
                if self._is_still_needed(order):
                    await self._clone(order)
        except TabletopError as error:
            self._pause(handle, grows=True)
            core.emit(CloneFailed(handle=handle, destination=order.destination, problem=error.message))
        finally:
            self._running.pop(handle, None)
            self._mended.pop(handle, None)

    def _is_still_needed(self, order: CloneOrder) -> bool:
        core = self._core
        if order.handle not in core.state.chunks or core.holds_still:
            return False
        need = self._need(order.handle)
        return (
            need is not None
            and order.source in (*need.replicas, *need.damaged)
            and order.destination not in (*need.replicas, *need.blocked)
        )

    async def _clone(self, order: CloneOrder) -> None:
        core, handle, destination = self._core, order.handle, order.destination
        if not await core.take_back(handle, "the chunk is to be cloned"):
            self._pause(handle)  # Its primary may answer yet, and is given up soon if it does not.
            return
        target = core.servers.find(destination)
        if handle not in core.state.chunks or target is None or not (sources := core.participants(handle)):
            return
        incarnation = target.incarnation
        # A replica that cannot take a version, for its disk is broken, must not keep the others from being copied.
        needs_all = self._pauses.failures(handle, self._situation(handle)) < _TRIES_WITH_ALL
        version, members = await self._fenced(handle, in_order(handle, sources), needs_all=needs_all)
        # Each piece comes from the first that has it undamaged.
        copied_from = [server.address for server in sources if server.name in members]
        copied_from.sort(key=lambda address: (address.server == destination, address.server != order.source))
        if core.holds_still:
            return  # An operator has entered safe mode meanwhile.
        before = next((replica for replica in core.replicas.others(handle) if replica.server == destination), None)
        core.judge(handle, destination, ReplicaState.FORMING)
        target.note_creation(core.now)
        core.emit(CloneStarted(handle=handle, source=order.source, destination=destination))
        try:
            copying = core.calls.clone(
                destination,
                handle=handle,
                version=version,
                sources=copied_from,
                bytes_per_second=core.settings.clone_bytes_per_second,
                stall_seconds=core.settings.clone_stall_seconds,
                seconds=core.settings.longest_clone_seconds,
            )
            try:
                held = await self._while_bearable(handle, members, core.unless_stopping(copying))
            except TabletopError:
                target.note_trouble(core.now)  # Perhaps a source is to blame: then all places are alike in this.
                raise
            if handle not in core.state.chunks or held.version != core.state.chunks.version(handle):
                return
            await self._count_in(handle, target, incarnation, version, held.length)
        finally:
            if core.replicas.state(handle, destination) is ReplicaState.FORMING:
                core.judge(handle, destination, ReplicaState.ABSENT)
                is_same = target.is_alive and target.incarnation == incarnation
                if before is not None and is_same and handle in core.state.chunks:
                    # What was there is there still: a copy takes its place only when it is complete. (A server that
                    # has started again says itself what it has.)
                    state = ReplicaState.CORRUPT if destination in members else ReplicaState.STALE
                    core.judge(handle, destination, state, version=before.version, reason=before.reason)

    async def _fenced(self, handle: int, sources: list[Server], *, needs_all: bool) -> tuple[int, tuple[str, ...]]:
        """See that nothing can change the replicas any more that are copied now; returns their version, and where they
        are. Raises as the raise of a version."""
        try:
            raised = await self._raising.raise_version(
                handle, sources, reason="the chunk is to be cloned", needs_all=needs_all
            )
        except Unavailable as error:
            refused = [server for server in sources if server.name in error.servers]
            members = await self._salvaging.sources(handle, refused)
            if not members:
                raise
            self._core.emit(CopiedAsItIs(handle=handle, servers=members))
            return self._core.state.chunks.version(handle), members
        return raised.version, raised.members

    async def _while_bearable(self, handle: int, members: Sequence[str], copying: Coroutine[Any, Any, T]) -> T:
        """Do `copying`, and give it up if writers have waited as long for it as for the lease of a dead primary: on a
        slow disk it may come on, and take longer than any of them waits. A chunk with a single replica has to wait.

        Raises TimedOut."""
        core, task, waited = self._core, asyncio.ensure_future(copying), 0.0
        try:
            while not (await asyncio.wait([task], timeout=_PAUSE_SECONDS))[0]:
                waited += _PAUSE_SECONDS if core.is_waited_for(handle) and len(members) > 1 else 0.0
                if waited >= core.settings.lease_seconds:
                    raise TimedOut(f"writers of chunk {handle:#x} have waited {waited:g} seconds for a slow copy of it")
            return task.result()
        finally:
            task.cancel()

    async def _count_in(self, handle: int, target: Server, incarnation: int, version: int, length: int) -> None:
        """The copy is complete: log its server as a member, then let it count."""
        core, destination = self._core, target.name
        await core.commit(ReplicaAdded(handle, destination))
        if handle not in core.state.chunks or core.replicas.state(handle, destination) is not ReplicaState.FORMING:
            return
        if not target.is_alive or target.incarnation != incarnation:
            return  # Given up or started again meanwhile, perhaps without its disk: it will say what it has.
        core.judge(handle, destination, ReplicaState.CURRENT, version=version, length=length)
        chunk = core.state.chunks.chunk(handle)
        self._pauses.succeeded(handle)
        core.emit(CloneFinished(handle=handle, destination=destination, replicas=len(chunk.replicas), goal=chunk.goal))

    # Removals

    def _end_orders(self, handle: int) -> None:
        """A removal that was not confirmed in its time may have been carried out or not; if not, it never will be."""
        core = self._core
        for replica in core.replicas.others(handle):
            is_over = core.now >= replica.until + core.settings.heartbeat_seconds  # A confirmation may be under way.
            if replica.state is ReplicaState.CONDEMNED and is_over:
                # Its version is known again when it is reported; until then a confirmation of any version counts.
                core.judge(handle, replica.server, ReplicaState.STALE, version=0, reason=replica.reason)
                self._pause(handle, grows=True)

    async def look_at_leftovers(self) -> None:
        """Have replicas removed that nobody needs, and let surplus ones count again where one is missing."""
        core = self._core
        for handle in core.replicas.exceptions():
            if handle in core.state.chunks:
                self._end_orders(handle)
            is_in_hand = handle in self._busy or handle in self._verified
            if handle not in core.state.chunks or is_in_hand or self._is_pausing(handle):
                continue
            chunk = core.state.chunks.chunk(handle)
            good = core.live_servers(chunk.replicas)
            kept = [name for name in core.replicas.servers_in(handle, *KEPT) if core.live_servers((name,))]
            if len(good) < chunk.goal:
                for name in core.replicas.servers_in(handle, ReplicaState.SURPLUS):
                    core.judge(handle, name, ReplicaState.UNSURE, version=chunk.version, reason="it is needed again")
            elif kept and len(good) == len(chunk.replicas) and len(self._verified) < _COMPARED_IN_ONE_LOOK:
                self._verified[handle] = None
                core.world.spawn(self._remove_kept(handle), f"remove replicas of chunk {handle:#x}")
        for handle in list(self._moving.named):
            self._moving.named.pop(handle)
            if handle in core.state.chunks and not core.replicas.others(handle) and not self._is_pausing(handle):
                core.world.spawn(self._rename_members(handle), f"raise chunk {handle:#x}")

    async def _rename_members(self, handle: int) -> None:
        """Raise the version of a chunk that names a server which leaves: after a loss of power it would be waited for
        in vain."""
        chunk = self._core.state.chunks.chunk(handle)
        if len(chunk.replicas) >= chunk.goal and not self._core.is_guarded(handle):
            await self._leave_out(handle, chunk.replicas)

    async def _remove_kept(self, handle: int) -> None:
        """Verify the good replicas, then condemn the others. One verified replica fewer than the goal, and all stay.

        That may take minutes. Replicas that become unsure meanwhile are compared without waiting for it: the version
        that they get then is another one, and nothing is condemned."""
        core = self._core
        try:
            if handle not in core.state.chunks:
                return
            chunk = core.state.chunks.chunk(handle)
            verified = await asyncio.gather(*(self._verifies(name, handle, chunk.version) for name in chunk.replicas))
            # The verification may have outlived this master's tenure: its memory is of no account then.
            if core.stopping.is_set() or handle not in core.state.chunks:
                return
            now = core.state.chunks.chunk(handle)
            if not all(verified) or (now.version, now.replicas) != (chunk.version, chunk.replicas):
                self._pause(handle, grows=True)
                return
            if len(now.replicas) < now.goal or core.is_guarded(handle) or core.holds_still:
                return
            going = [replica for replica in core.replicas.others(handle) if replica.state in KEPT]
            # One that has the number of a raise that failed would refuse an order up to the confirmed version.
            if any(replica.state is not ReplicaState.STALE or replica.version >= now.version for replica in going):
                await self._leave_out(handle, now.replicas)
                return  # The next look removes them.
            for replica in going:
                # It may have been told any version below the confirmed one.
                limit = now.version - 1
                core.judge(handle, replica.server, ReplicaState.CONDEMNED, version=limit, reason=replica.reason)
            if going:
                core.emit(RemovalDecided(handle=handle, count=len(going), kept=now.replicas))
        finally:
            self._verified.pop(handle, None)

    async def _leave_out(self, handle: int, kept: tuple[str, ...]) -> None:
        """Raise the version on those that are kept: the others are stale from then on, for ever. A copy that is removed
        while it belongs to the present version would count again if an order of the past made an empty one in its
        place, or if its removal fails and is forgotten; and after a loss of power the chunk would wait for its server.
        """
        core = self._core
        try:
            async with core.guard(handle):
                if not await core.take_back(handle, "copies too many are left out"):
                    self._pause(handle, grows=True)
                    return
                if handle not in core.state.chunks or core.state.chunks.replicas(handle) != kept:
                    return
                servers = [server for server in core.participants(handle) if server.name in kept]
                if len(servers) == len(kept):
                    await self._raising.raise_version(
                        handle, in_order(handle, servers), reason="copies too many are left out", needs_all=True
                    )
        except TabletopError:
            self._pause(handle, grows=True)

    async def _verifies(self, server: str, handle: int, version: int) -> bool:
        """Whether the server has just compared every block of its replica at this version, and found no damage."""
        core = self._core
        try:
            held = await core.calls.verify(
                server,
                handle=handle,
                version=version,
                stall_seconds=core.settings.clone_stall_seconds,
                seconds=core.settings.verify_seconds,
            )
        except TabletopError:
            return False
        # One that has the number of a raise that failed counts like the others (`judging.py`).
        attempted = core.state.chunks.attempted(handle) if handle in core.state.chunks else version
        return version <= held.version <= attempted and not held.is_unsure and not held.damaged_blocks

    # Patience

    def why_waiting(self, handle: int) -> str:
        """Why nothing is done at this moment about a replica that a chunk lacks, or has too many, in words; empty if
        nothing is in the way."""
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        if self._moving.standing(handle).excess:
            left = core.leases.blocked_until(handle, core.now) - core.now
            return f"a copy too many is removed when its lease has ended, in {left:.0f} s" if left > 0 else ""
        if handle in self._running:
            return "a copy is being made"
        if not core.is_settled():
            left = core.safe_mode.seconds_left(core.now)
            return f"the master has just started and waits up to {left:.0f} s for servers to report"
        if core.holds_still:
            return "the master is in safe mode"
        plan = self._settling.plan(handle)
        if plan.waits_for:
            return f"its replicas have lost power, and {', '.join(plan.waits_for)} may hold newer bytes"
        if unreadable := core.replicas.servers_in(handle, ReplicaState.UNREADABLE):
            return f"{', '.join(unreadable)} cannot read its files now, and tries again"
        seconds = self._pauses.left(handle, self._situation(handle), core.now)
        if self._is_to_be_mended(handle):
            again = f", and were not found; the next look is in {seconds:.0f} s" if seconds > 0 else ""
            return f"no undamaged copy is left: the damaged blocks are looked for on other servers{again}"
        if seconds > 0:
            return f"the last try failed; the next is in {seconds:.0f} s"
        if len(chunk.replicas) >= chunk.goal:
            return ""
        if self._need(handle) is None:
            return "no replica is left to copy from"
        if (alive := len(core.servers.alive())) < chunk.goal:
            return f"{alive} live chunkservers cannot hold {chunk.goal} copies"
        return ""

    def _pause(self, handle: int, *, grows: bool = False) -> None:
        self._pauses.failed(handle, self._situation(handle), self._core.now, grows=grows)

    def _is_pausing(self, handle: int) -> bool:
        if not self._pauses.is_known(handle):
            return False
        return self._pauses.left(handle, self._situation(handle), self._core.now) > 0

    def _situation(self, handle: int) -> Hashable:
        """Which replicas there are, in which states: when that changes, what has failed may succeed."""
        core = self._core
        current = core.state.chunks.replicas(handle) if handle in core.state.chunks else ()
        others = [(replica.server, replica.state.value) for replica in core.replicas.others(handle)]
        return (tuple(sorted(current)), tuple(sorted(others)))
