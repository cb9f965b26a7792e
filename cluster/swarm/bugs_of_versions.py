"""Bugs in what decides which replica counts: versions, leases, reports, comparisons (GFS 3.1, 4.5)."""

from copy import copy
from dataclasses import replace
from typing import Any

from chunkserver.heartbeats import Heartbeats
from chunkserver.mutation.advancing import Advancing
from chunkserver.mutation.tries import Tries
from chunkserver.storage import chunk_format, opening
from chunkserver.storage.chunk_files import stale
from chunkserver.storage.chunk_store import ChunkStore
from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from gfs.patience import Patience
from master.chunks import judging
from master.chunks.judging import Answer, Reported
from master.chunks.replicas import ReplicaState
from master.core import Core
from master.maintenance.repair import Repair
from master.protocol import raising, reporting, settling
from master.protocol.granting import Granting
from master.protocol.raising import Raised, Raising
from master.protocol.reporting import Reporting

_judge_report = judging.judge_report
_plan_comparison = settling.plan_comparison
_judge = Reporting._judge
_raise_version = Raising.raise_version
_write = ChunkStore.write
_note_removals = Heartbeats._note_removals
_follow = Advancing._follow
_decode = chunk_format.decode_metadata
_take_back = Core.take_back
_FOR_A_CLONE = "the chunk is to be cloned"
_ANY_VERSION = 1 << 60


@bug
def outdated_report_makes_stale() -> Planted:
    """A report below the version that the master has heard of already is outdated, and is not judged; nor does it
    follow from a report alone that a replica may go, at whatever version it is by then.

    Without these rules, a report that was sent before a version was raised and arrives after that makes a current
    replica stale, and it is removed (GFS 4.4, 4.5)."""

    def judge(report: Reported, **facts: Any) -> ReplicaState:
        settled = (ReplicaState.FORMING, ReplicaState.CONDEMNED, ReplicaState.ORPHAN)
        if facts["version"] is not None and report.version < facts["version"] and facts["was"] not in settled:
            return ReplicaState.STALE
        return _judge_report(report, **facts)

    def condemn(self: Reporting, server: str, state: Any, *, is_registration: bool) -> None:
        _judge(self, server, state, is_registration=is_registration)
        core, handle = self._core, state.handle
        if core.replicas.state(handle, server) is ReplicaState.STALE and handle in core.state.chunks:
            core.judge(handle, server, ReplicaState.CONDEMNED, version=core.state.chunks.version(handle))

    return together(
        replaced(reporting, "judge_report", judge), replaced(Reporting, "_judge", condemn), _unfenced_removal()
    )


@bug
def removal_without_fence() -> Planted:
    """An order to remove a replica names the version up to which it holds, and a server refuses it for a newer one; and
    it holds for seconds only.

    Without these rules, an order that was late takes a replica that has become current meanwhile. Either of them is
    enough to prevent it (GFS 4.4)."""
    return together(_unfenced_removal(), removal_order_without_end())


def _unfenced_removal() -> Planted:
    remove = ChunkStore.remove

    async def remove_any(self: ChunkStore, handle: int, *, version: int, **facts: Any) -> int | None:
        state = self.state(handle)
        return await remove(self, handle, version=max(version, state.version if state is not None else 0), **facts)

    return replaced(ChunkStore, "remove", remove_any)


@bug
def no_version_raise_before_clone() -> Planted:
    """Before a chunk is copied its lease is given up by its primary, and its version is raised on all replicas that
    count: nothing which is under way can still change them.

    Without the rule, the end of the lease by the master's clock is believed, a copy can miss a mutation that was
    acknowledged after it, and carries the same version all the same (GFS 4.3)."""

    async def raise_version(self: Raising, handle: int, targets: Any, *, reason: str, **options: Any) -> Raised:
        if reason != _FOR_A_CLONE:
            return await _raise_version(self, handle, targets, reason=reason, **options)
        core = self._core
        chunk = core.state.chunks.chunk(handle)
        return Raised(chunk.version, tuple(server.name for server in targets), chunk.length, core.now)

    async def take_back(self: Core, handle: int, reason: str, **options: Any) -> bool:
        if reason != _FOR_A_CLONE or self.leases.holder(handle, self.now) is None:
            return await _take_back(self, handle, reason, **options)
        self.leases.begin_revoke(handle)
        self.leases.end(handle)
        return True

    return together(replaced(Raising, "raise_version", raise_version), replaced(Core, "take_back", take_back))


@bug
def silent_left_out_at_once() -> Planted:
    """A member that does not answer a raise is asked once more, and no chunk goes on with a single replica before
    another one was waited for.

    Without the rule, two lost messages leave one replica of three, which acknowledges writes alone (GFS 3.1, 4.3)."""

    def lacks_company(self: Raising, handle: int, servers: Any) -> bool:
        return False

    return together(replaced(raising, "_TRIES", 1), replaced(Raising, "_lacks_company", lacks_company))


@bug
def removal_order_without_end() -> Planted:
    """An order to remove a replica holds for seconds, and only as long as the master's answers repeat it.

    Without the rule, a removal that the disk refused, or that lay at a server that stood still, is carried out when
    the replicas that were verified before it have died (GFS 4.4)."""

    def note(self: Heartbeats, removals: Any, sent_at: float) -> None:
        before = self._to_remove
        _note_removals(self, removals, float("inf"))
        self._to_remove = {**before, **self._to_remove}

    return replaced(Heartbeats, "_note_removals", note)


@bug
def digest_not_compared() -> Planted:
    """All replicas of a new version are byte-identical: the answers to a raise are compared, and who differs is out.

    Without the rule, a replica that missed a mutation which failed elsewhere goes on under the new version, and readers
    see one content or the other (GFS 2.7.1, 3.1)."""

    def all_of(answers: list[Answer]) -> tuple[str, ...]:
        return tuple(answer.server for answer in answers)

    return replaced(raising, "plan_members", all_of)


@bug
def unsure_counts_as_sure() -> Planted:
    """A replica whose machine has lost power is unsure: it serves nobody until it was compared with its fellows.

    Without the rule, a replica that has lost its last seconds of acknowledged bytes is read, and written on
    (GFS 3.1: durability "replicated")."""

    def believe(*arguments: Any, **named: Any) -> Any:
        found = _decode(*arguments, **named)
        return replace(found, is_unsure=False, highest_sequence=found.header.sequence)

    return replaced(opening, "decode_metadata", believe)


@bug
def gap_filled_with_zeros() -> Planted:
    """A replica that has missed a mutation refuses the next one, rather than fill the gap.

    Without the rule (and with an unsure replica that is taken for a sure one), the first append after a loss of power
    makes zeros of what was lost, and their checksums are valid (GFS 3.1)."""

    async def write(self: ChunkStore, handle: int, **facts: Any) -> int:
        return await _write(self, handle, **{**facts, "reach": 0})

    return together(replaced(ChunkStore, "write", write), unsure_counts_as_sure())


@bug
def version_not_durable() -> Planted:
    """A version is on the replica's disk before anybody is told of it, in both durabilities.

    Without the rule, a power cut takes the version back while the master's log keeps it: all replicas look stale
    (GFS 4.5)."""

    async def advance(self: ChunkStore, handle: int, *, from_version: int, to_version: int) -> None:
        async with self.exclusive(handle) as (chunk, files):
            if chunk.version == to_version:
                return
            if not from_version <= chunk.version < to_version:
                raise stale(chunk.handle, chunk.version, from_version, to_version)
            careless: Any = copy(self.writer)
            careless._sync = nothing
            await careless.anchor(chunk, files, self.writer.raised(chunk, to_version))
        self.on_change(handle)

    return replaced(ChunkStore, "advance", advance)


@bug
def length_settled_by_clock() -> Planted:
    """When a lease has run out, its primary is asked for the chunk's final length; until then the length is open.

    Without the rule, the length is called settled when the lease has ended by the master's clock, though no server has
    reported since the last write: a file looks shorter than it is, and an append overwrites its end (GFS 2.6.2)."""

    def seal(self: Repair, ended: list[tuple[str, int, int]]) -> None:
        chunks = self._core.state.chunks
        for _, handle, _ in ended:
            if handle in chunks and not self._core.is_guarded(handle):
                self._core.settle_length(handle, chunks.length(handle))

    return replaced(Repair, "_seal", seal)


@bug
def outdated_advance_ends_lease() -> Planted:
    """An order that names an older version than the replica has does nothing at all; a primary that has disowned its
    lease is not named again; and whoever tries again pauses first.

    Without these rules, an order that was late ends the newer lease, client and master name that primary again and
    again, and thousands of tries are made in vain (GFS 3.1)."""

    async def follow(self: Advancing, item: Any) -> None:
        self._leases.end(item.handle, through_version=_ANY_VERSION)
        await _follow(self, item)

    async def is_to_be_replaced(self: Granting, lease: Any, request: Any) -> bool:
        return False

    return together(
        replaced(Advancing, "_follow", follow),
        replaced(Granting, "_is_to_be_replaced", is_to_be_replaced),
        replaced(Patience, "pause", nothing),
    )


@bug
def late_try_applied() -> Planted:
    """A primary carries out each try to write once, and refuses one that its client has given up.

    Without the rule, a message that was late, or came twice, puts old bytes over what was written since (GFS 2.7.1)."""
    return replaced(Tries, "find", lambda self, number, oldest: None)


@bug
def progress_not_compared() -> Planted:
    """Of replicas that have all lost power, the one that has come furthest is what the chunk holds.

    Without the rule, two that have lost an overwrite outvote the third, which has made it durable long before it lost
    power: their lengths and versions are the same (GFS 3.1: durability "replicated")."""

    def best(answers: list[Answer], counts: Any) -> Answer:
        return min(
            answers,
            key=lambda answer: (answer.doubtful_blocks, -answer.length, -counts[answer.length, answer.digest]),
        )

    return replaced(judging, "_best_of_unsure", best)


@bug
def copy_too_many_not_compared() -> Planted:
    """A copy too many that has kept its power is compared with those that have lost theirs.

    Without the rule, what only that copy has is given up with it, though it was acknowledged (GFS 4.3, 4.5)."""

    def plan(*, states: Any, **facts: Any) -> Any:
        kept = {name: state for name, state in states.items() if state is not ReplicaState.SURPLUS}
        return _plan_comparison(states=kept, **facts)

    return replaced(settling, "plan_comparison", plan)
