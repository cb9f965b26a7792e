"""Damaged and doubtful blocks, taken from whatever other replica has them whole (GFS 5.2 leaves it open).

The problem. Of a damaged replica the paper says that the chunk is cloned from another one. A chunk may have no other
one that is current: one block of the only current replica has rotted, and the others, which have that very block, lack
the last append. Or all replicas have lost power, and the best of them has a block that rotted long ago. The idea: such
a chunk is *mended* before anything else is done with it. The server of each damaged replica asks all others for single
blocks, whatever their versions (`chunkserver/transfer/mending.py`); a checksum says whether a block is the right one.

    damaged, and no replica is current     mended; what has no damage left is current again, and is cloned as usual
    all replicas are unsure                each is mended before they are compared: its doubtful blocks are taken from
                                           the others, rather than as they lie

Whoever mends keeps all others away from the chunk. So its server says every second that it is at it, and an order that
was lost is given up within seconds, and given again.

So a block is lost only if no replica that can be reached has it whole.

What we simplify. While another replica is current, a damaged one is not mended but replaced by a copy."""

from collections.abc import Iterable

from master.chunks.judging import Reported, judge_report
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import MendingFailed, ReplicaMended
from master.servers.chunkservers import Mended
from master.servers.servers import Server
from runtime.errors import TabletopError, TimedOut, Unavailable

_SOURCES = (ReplicaState.UNSURE, ReplicaState.CORRUPT, ReplicaState.SURPLUS, ReplicaState.STALE)


class Mending:
    """Has replicas mended."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def is_needed(self, handle: int) -> bool:
        """Whether a known chunk has no current replica, but damaged ones on live servers."""
        core = self._core
        damaged = core.replicas.servers_in(handle, ReplicaState.CORRUPT)
        return not core.state.chunks.replicas(handle) and bool(core.live_servers(damaged))

    async def mend_damaged(self, handle: int) -> bool:
        """Have each damaged replica mended, and count those that are whole again; the caller holds the guard. Returns
        whether a clone can succeed now: some replica has every block, or could not say."""
        core = self._core
        may_be_cloned = False
        for server in core.live_servers(core.replicas.servers_in(handle, ReplicaState.CORRUPT)):
            if handle not in core.state.chunks:
                return False  # Forgotten while another server was asked.
            incarnation = server.incarnation
            try:
                mended = await self._mend(handle, server)
            except TabletopError:
                may_be_cloned = True
                continue
            if handle not in core.state.chunks:
                return False
            may_be_cloned = may_be_cloned or not mended.left_blocks
            if server.incarnation == incarnation and not mended.left_blocks:
                self._judge(handle, server.name, mended)
        return may_be_cloned

    async def mend_unsure(self, handle: int, targets: Iterable[Server]) -> None:
        """Have each of these unsure replicas mended, one after the other: a later one can take what an earlier one has
        by then. The caller holds the guard. Raises Unavailable (definite): one of them does not answer."""
        for server in targets:
            if handle not in self._core.state.chunks:
                return
            try:
                await self._mend(handle, server)
            except (Unavailable, TimedOut) as error:
                raise Unavailable(
                    f"chunk {handle:#x} cannot be compared yet, {server.name} did not look for its doubtful blocks: "
                    f"{error.message}; try again",
                    definite=True,
                ) from error
            except TabletopError:
                continue  # The comparison takes it as it is, if its disk lets it.

    async def _mend(self, handle: int, server: Server) -> Mended:
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        holders = (*chunk.replicas, *(name for state in _SOURCES for name in core.replicas.servers_in(handle, state)))
        sources = [other for other in core.live_servers(holders) if other.name != server.name]
        call = core.calls.mend(
            server.name,
            handle=handle,
            version=chunk.version,
            sources=sources,
            stall_seconds=core.settings.clone_stall_seconds,
            seconds=core.settings.verify_seconds,
        )
        try:
            mended = await core.unless_stopping(call)
        except TabletopError as error:
            core.emit(MendingFailed(handle=handle, server=server.name, problem=error.message))
            raise
        if mended.mended_blocks or mended.left_blocks:
            core.emit(
                ReplicaMended(handle=handle, server=server.name, mended=mended.mended_blocks, left=mended.left_blocks)
            )
        return mended

    def _judge(self, handle: int, name: str, mended: Mended) -> None:
        """A replica without damage is judged as if its server had just reported it."""
        core, chunks, held = self._core, self._core.state.chunks, mended.held
        if core.replicas.state(handle, name) is not ReplicaState.CORRUPT:
            return  # Its server was given up, or has started again, and has said itself what it has.
        verdict = judge_report(
            Reported(held.version, held.is_unsure, mended.is_damaged),
            version=chunks.version(handle),
            attempted=chunks.attempted(handle),
            is_member=name in chunks.members(handle),
            was=ReplicaState.CORRUPT,
            is_registration=True,
            is_of_admission=chunks.is_of_admission(handle, held.version),
        )
        if verdict is not ReplicaState.CORRUPT:
            reason = "its damaged blocks were mended"
            core.judge(handle, name, verdict, version=held.version, reason=reason, length=held.length)
