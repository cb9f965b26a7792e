"""Comparing replicas that may have lost acknowledged bytes (GFS leaves it open).

The problem. With durability "replicated" a mutation is acknowledged when every replica has it in memory. When one
machine loses power, its replica comes back with the right version, and perhaps without its last seconds; when all lose
power, every replica may lack something else. Versions cannot tell (GFS 4.5), and reading zeros where bytes were would
be worse than an error. The idea: a server that has lost power says so of each replica (it is *unsure*), serves nobody
from it, and the master compares: with the replicas that kept their power, if there are any; otherwise all members of
the version with one another, once each of them is back or is known to have lost its replica for good. Those that are
alike go on, the others are stale. So a single loss of power loses nothing, and a loss of all power only what no replica
has kept.

`plan_comparison` is pure: who is to be compared now, or for whom the chunk has to wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from master.chunks.replicas import ReplicaState
from master.core import Core
from master.events import ReplicasCompared
from master.log.records import VersionAttempted
from master.protocol.mending import Mending
from master.protocol.raising import Raising, in_order
from runtime.errors import TabletopError, Unavailable


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whom to compare, or whom to wait for first (members that are not reachable and may hold newer bytes).
    `has_sure`: some of the targets count already."""

    targets: tuple[str, ...]
    waits_for: tuple[str, ...] = ()
    has_sure: bool = False


def plan_comparison(*, members: Sequence[str], alive: Sequence[str], states: Mapping[str, ReplicaState]) -> Comparison:
    """What to do about a chunk's unsure replicas. `states` are those of all its replicas that are not absent. A member
    whose server cannot read its files now is waited for, like one that is away.

    >>> unsure, current = ReplicaState.UNSURE, ReplicaState.CURRENT
    >>> plan_comparison(members=("a", "b"), alive=("a", "b"), states={"a": unsure, "b": current})
    Comparison(targets=('a', 'b'), waits_for=(), has_sure=True)
    >>> plan_comparison(members=("a", "b"), alive=("a",), states={"a": unsure})
    Comparison(targets=(), waits_for=('b',), has_sure=False)
    >>> plan_comparison(members=("a", "b"), alive=("a", "b"), states={"a": unsure})
    Comparison(targets=('a',), waits_for=(), has_sure=False)
    """
    # A copy too many has what a member has, until a raise leaves it out.
    counting = (ReplicaState.CURRENT, ReplicaState.CORRUPT, ReplicaState.SURPLUS)
    unsure = [name for name in alive if states.get(name) is ReplicaState.UNSURE]
    sure = [name for name in alive if states.get(name) in counting]
    if not unsure:
        return Comparison(())
    if sure:
        return Comparison(tuple(sorted([*sure, *unsure])), has_sure=True)
    away = [name for name in members if name not in alive or states.get(name) is ReplicaState.UNREADABLE]
    return Comparison((), tuple(away)) if away else Comparison(tuple(sorted(unsure)))


class Settling:
    """Compares unsure replicas and admits those that are whole."""

    def __init__(self, core: Core, raising: Raising, mending: Mending) -> None:
        self._core = core
        self._raising = raising
        self._mending = mending

    def plan(self, handle: int) -> Comparison:
        """What is to be done about the chunk now."""
        core = self._core
        states = {replica.server: replica.state for replica in core.replicas.others(handle)}
        states |= dict.fromkeys(core.state.chunks.replicas(handle), ReplicaState.CURRENT)
        members = core.state.chunks.members(handle)
        # Only who has to do with the chunk is asked about: there may be hundreds of servers, and many thousand chunks.
        alive = tuple(name for name in sorted({*states, *members}) if core.has_reported(name))
        return plan_comparison(members=members, alive=alive, states=states)

    async def settle(self, handle: int) -> None:
        """Compare the chunk's unsure replicas with the others, if that is possible now; the caller holds the guard.

        Raises Unavailable (definite): nobody to compare, members that have to be waited for, or no answer.
        """
        core = self._core
        plan = self.plan(handle)
        if plan.targets and not plan.has_sure:
            await self._ask_the_others(handle, plan.targets)
            plan = self.plan(handle)
        if plan.waits_for:
            raise Unavailable(
                f"chunk {handle:#x} waits for {', '.join(plan.waits_for)}: every replica that can be reached has lost "
                "power, and theirs may hold more; start them, or see `tabletop status`",
                definite=True,
            )
        if not plan.targets:
            raise Unavailable(
                f"chunk {handle:#x} has no replica on a live server; start its servers: "
                f"{', '.join(core.state.chunks.members(handle)) or 'none is known'}",
                definite=True,
            )
        if not await core.take_back(handle, "replicas are to be compared"):
            raise Unavailable(
                f"chunk {handle:#x} is under a lease whose primary does not answer; try again", definite=True
            )
        await self._reserve_beyond_reports(handle)
        targets = in_order(handle, core.live_servers(plan.targets))
        if not plan.has_sure:
            await self._mending.mend_unsure(handle, targets)
            if handle not in core.state.chunks:
                raise Unavailable(f"chunk {handle:#x} was deleted meanwhile", definite=True)
        # A sure replica has every acknowledged byte, so that one of the others that does not answer can be left out.
        raised = await self._raising.raise_version(
            handle,
            targets,
            reason="replicas are compared",
            needs_all=not plan.has_sure,
            may_be_unsure=not plan.has_sure,
        )
        core.emit(ReplicasCompared(handle=handle, compared=plan.targets, alike=raised.members))

    async def _ask_the_others(self, handle: int, targets: Sequence[str]) -> None:
        """None of the targets is sure. Have the other members that are up say what they hold now: the registration by
        which they were judged may be older than the version. Raises Unavailable (definite): one does not answer."""
        core, chunks = self._core, self._core.state.chunks
        others = [name for name in chunks.members(handle) if name not in targets and core.live_servers((name,))]
        for name in others:
            try:
                held = await core.unless_stopping(core.calls.held(name, handle))
            except TabletopError as error:
                raise Unavailable(
                    f"chunk {handle:#x} cannot be compared yet, as {name} does not say what it has: {error.message}; "
                    "try again",
                    definite=True,
                ) from error
            if handle not in chunks:
                raise Unavailable(f"chunk {handle:#x} was deleted meanwhile", definite=True)
            was = core.replicas.state(handle, name)
            is_misjudged = was in (ReplicaState.ABSENT, ReplicaState.STALE, ReplicaState.CONDEMNED)
            if (
                held is not None
                and held.version >= chunks.version(handle)
                and is_misjudged
                and core.live_servers((name,))
            ):
                if was is ReplicaState.CONDEMNED:
                    core.judge(handle, name, ReplicaState.ABSENT)
                reason = "it was judged by an outdated registration"
                core.judge(handle, name, ReplicaState.UNSURE, version=held.version, reason=reason)

    async def _reserve_beyond_reports(self, handle: int) -> None:
        """If a replica has a version that this master never used, its log has lost its end: the number is used up."""
        core = self._core
        unsure = [replica.version for replica in core.replicas.others(handle) if replica.state is ReplicaState.UNSURE]
        highest = max(unsure, default=0)
        if highest > core.state.chunks.attempted(handle):
            await core.commit(VersionAttempted(handle, highest))
