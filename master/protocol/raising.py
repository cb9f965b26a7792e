"""Raising a chunk's version: the one procedure that decides which replicas go on together (GFS 3.1, 4.3, 4.5).

The problem. Before a client writes, before a chunk is copied, and after a server has lost power, the replicas that
count must be alike, every replica that missed something must be recognisable for ever, and nothing that is still under
way from before may reach any of them: whoever crashes in between, and however late a message arrives.

The idea: version numbers, and a comparison. In order:

    1. log `VersionAttempted`: from here on this number is used up 2. tell the replicas the new version, the primary of
    a grant also its lease and its secondaries; each makes durable what
       it holds and the version, refuses every mutation under a lower version from then on, and answers with the length
       and a digest of its bytes
    3. all have answered, and are alike: log `VersionConfirmed` with the names of its *members*
       some did not answer: it begins again at 1 with the next number, and whoever is silent once more is left out
       some differ, or refuse: they are left out, and it begins again at 1 with the others and the next number
    4. replicas that were unsure are told that they count again

Nobody stays alone for the sake of a lost message. A replica that alone has the version has every write from then on
alone, and the goal of the chunk is worth nothing to them. So a raise is not confirmed on fewer than two replicas (or
the goal, if that is less) because others are silent, and no lease begins on fewer as long as a server is there that
could have a copy: the caller is told to try again, the silent ones are asked again, and `repair.py` makes the copy.
Only after a while in vain, as long as a silent server takes to be given up, and after that a copy to show that it comes
on, does the chunk go on with what there is, as in the paper.

Why two records? If the master logged the version only before step 2 and crashed there, no replica would have the
version that it believes in, and the chunk would look lost. If it logged only after step 2, a crash would make it forget
the number, and use it again. With both, a number is used once, and a replica that has one between the confirmed and the
attempted counts as before (see `judging.py`).

What follows from it. (1) When a lease begins, all its replicas are byte-identical. (2) A mutation under version v is
acknowledged only if every member of v has applied it. A raise beyond v includes at least one member of v, and that one
refuses v's mutations from then on: so no mutation can be acknowledged under v after that, whatever a primary with a
slow clock believes, and those acknowledged before are on every sure member. Leases, which run by clocks, keep order and
spare work; they are not what safety rests on. The paper compares nothing at a grant; replicas that differ after a
failed mutation stay so there until it is repeated (2.7.1)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from master.chunks.judging import Answer, plan_members
from master.chunks.leases import LeaseState
from master.chunks.replicas import KEPT, ReplicaState
from master.core import Core
from master.events import LeaseRevoked, LoneReplicaHeldBack, VersionRaised
from master.log.records import AdmissionAttempted, AdmissionConfirmed, VersionAttempted, VersionConfirmed
from master.servers.chunkservers import Outcome, location
from master.servers.servers import Server, ServerState
from runtime.errors import DiskFailure, NotFound, TabletopError, Unavailable
from runtime.wire import chunkserver_pb2, master_pb2

_TRIES = 2  # orders that a server leaves unanswered in one raise, before it is left out
_COMPANY = 2  # replicas that a chunk should go on with, unless its goal is lower
_WAITS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Raised:
    """A confirmed version: its members, the primary of a grant first, and when the last of them answered."""

    version: int
    members: tuple[str, ...]
    length: int
    answered: float


class Raising:
    """Raises versions."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._alone: dict[int, tuple[float, float]] = {}  # since when, and when last, a chunk waited for company

    async def raise_version(
        self,
        handle: int,
        targets: Sequence[Server],
        *,
        reason: str,
        is_grant: bool = False,
        file_goes_on: bool = False,
        needs_all: bool = False,
        may_be_unsure: bool = False,
        least_version: int = 0,
        request: master_pb2.RequestId | None = None,
    ) -> Raised:
        """Give the chunk a new version on those of the targets that answer and are alike; the caller holds the guard.

        `is_grant`: the first of them gets a lease with it, and the length is open from now on; otherwise nobody may
        write, and it is settled. `file_goes_on`: with that lease no records are appended. `needs_all`: give up if a
        target does not answer, rather than leave it out. `may_be_unsure`: go on even if no replica is sure; the caller
        knows that nobody has more. `least_version`: what a target must have; the confirmed version, unless an operator
        admits an older replica. `request`: the operator's, whose name is logged with the version, its answer.

        Raises Unavailable (definite: try again; `servers`: all who were asked, if the disk of each of them takes no
        version), NotFound (the chunk was deleted meanwhile), and what the log raises.
        """
        core, chunks = self._core, self._core.state.chunks
        left, problem = list(targets), "none of its replicas is on a live server"
        silences = {server.name: 0 for server in targets}
        refused: tuple[str, ...] = ()
        if not least_version:
            self._refuse_unless_heard(handle)
        if is_grant and len(left) >= len(core.participants(handle)) and self._lacks_company(handle, left):
            raise _alone(handle)
        while left:
            core.refuse_if_stopping()
            if handle not in chunks:
                raise _deleted(handle)
            before, version = least_version or chunks.version(handle), chunks.attempted(handle) + 1
            has_company = not is_grant or not self._lacks_company(handle, left)
            incarnations = [server.incarnation for server in left]
            await core.commit(_attempt(handle, version, is_admission=before < chunks.version(handle)))
            if handle not in chunks:
                raise _deleted(handle)
            if is_grant:
                chunks.unsettle_length(handle)
            outcomes = await self._advance_all(
                handle, before, version, left, is_grant=is_grant and has_company, file_goes_on=file_goes_on
            )
            answered = core.now
            answers = [self._answer(handle, server, outcome) for server, outcome in zip(left, outcomes, strict=True)]
            given = [answer for answer in answers if answer is not None]
            problems = [outcome.error.message for outcome in outcomes if outcome.error is not None]
            refused = _all_that_refuse(left, outcomes)
            if problems and needs_all:
                raise _unraised(handle, "; ".join(problems), refused)
            self._note_unsure(handle, version, given)
            if given and not may_be_unsure and all(answer.is_unsure for answer in given):
                problem = "every replica that answered has lost power, and others may hold more"
                break
            members = plan_members(given)
            restarted = _restarted(left, incarnations)
            if len(members) == len(left) and not restarted:
                await self._confirm(_confirmation(handle, version, members, request), given, reason)
                # What an earlier primary told of bytes that were never acknowledged is no part of the chunk.
                core.settle_length(handle, given[0].length)
                if not has_company:
                    raise _alone(handle)
                if is_grant:
                    chunks.unsettle_length(handle)
                if len(members) >= _COMPANY:
                    self._alone.pop(handle, None)
                return Raised(version, members, given[0].length, answered)
            problem = "; ".join(problems) or "; ".join(f"{name} has restarted" for name in restarted) or "they differ"
            silent = [server for server, outcome in zip(left, outcomes, strict=True) if outcome.is_silence]
            for server in silent:
                silences[server.name] += 1
            again = [server.name for server in silent if server.is_alive and silences[server.name] < _TRIES]
            if again:  # The comparison is made when all have answered.
                members = tuple(answer.server for answer in given) + tuple(again)
            left = self._going_on(handle, left, members, silent, restarted)
        raise _unraised(handle, problem, refused)

    def _going_on(
        self,
        handle: int,
        tried: Sequence[Server],
        members: Sequence[str],
        silent: Sequence[Server],
        restarted: Sequence[str],
    ) -> list[Server]:
        """With whom the next number is tried; empty if it is better to wait."""
        going_on = [server for server in tried if server.name in members and server.name not in restarted]
        if self._has_current(handle, tried) and not self._has_current(handle, going_on):
            return []  # Damaged replicas alone are worse than a moment's wait for a sound one.
        missed = [server for server in tried if server in silent or server.name in restarted]
        is_to_wait = any(server.is_alive and server not in going_on for server in missed)
        return [] if is_to_wait and self._lacks_company(handle, going_on) else going_on

    def _lacks_company(self, handle: int, servers: Sequence[Server]) -> bool:
        """Whether the chunk should not go on with these replicas alone: they are fewer than two, or than the goal,
        another live server could have one, and it has not been waited for long enough."""
        core, now = self._core, self._core.now
        if handle not in core.state.chunks:
            return False
        chunk = core.state.chunks.chunk(handle)
        if len(servers) >= min(chunk.goal, _COMPANY):
            return False
        others = [server for server in core.servers.alive() if server not in servers]
        others = [one for one in others if one.name in chunk.replicas or one.name not in core.state.draining]
        if not any(one.free >= core.reserve_bytes or one.name in chunk.replicas for one in others):
            return False
        # A silent server is given up, and a copy is made in its place; or proves no progress.
        patience = core.settings.dead_after_seconds + core.settings.clone_stall_seconds
        since, last = self._alone.pop(handle, (now, now))
        since = since if now - last < 4 * patience else now
        self._alone[handle] = (since, now)
        if len(self._alone) > _WAITS_REMEMBERED:
            del self._alone[next(iter(self._alone))]
        if now - since >= patience:
            return False
        core.emit(LoneReplicaHeldBack(handle=handle, servers=tuple(server.name for server in servers)))
        return True

    def _refuse_unless_heard(self, handle: int) -> None:
        """Right after a start, a member that has not registered yet is not dead: to leave it out would throw a good
        replica away. Raises Unavailable until all have, or the master has waited long enough."""
        core = self._core
        if handle not in core.state.chunks or core.is_settled():
            return
        silent = [name for name in core.state.chunks.members(handle) if not core.live_servers((name,))]
        if silent:
            raise Unavailable(
                f"the master has just started and has not heard yet from {', '.join(silent)}, where replicas of chunk "
                f"{handle:#x} are; try again in a moment",
                definite=True,
            )

    def _answer(self, handle: int, server: Server, outcome: Outcome) -> Answer | None:
        if outcome.error is not None:
            return None
        held = outcome.held
        is_damaged = held.is_damaged or self._core.replicas.state(handle, server.name) is ReplicaState.CORRUPT
        return Answer(
            server.name,
            held.length,
            held.digest,
            held.is_unsure,
            held.doubtful_blocks,
            is_damaged,
            held.progress,
            held.durable_progress,
        )

    def _has_current(self, handle: int, servers: Sequence[Server]) -> bool:
        current = self._core.state.chunks.replicas(handle) if handle in self._core.state.chunks else ()
        return any(server.name in current for server in servers)

    async def create(self, handle: int, targets: Sequence[Server]) -> list[tuple[str, TabletopError]]:
        """Make the empty replicas of a new chunk at version 1, the first with a lease; returns who failed, and why."""
        outcomes = await self._advance_all(handle, 0, 1, targets, is_grant=True)
        pairs = zip(targets, outcomes, strict=True)
        return [(server.name, outcome.error) for server, outcome in pairs if outcome.error is not None]

    async def _advance_all(
        self,
        handle: int,
        before: int,
        version: int,
        targets: Sequence[Server],
        *,
        is_grant: bool,
        file_goes_on: bool = False,
    ) -> list[Outcome]:
        ordered = []
        for place, server in enumerate(targets):
            item = chunkserver_pb2.Advance(handle=handle, from_version=before, to_version=version)
            if is_grant and place == 0:
                item.lease_milliseconds = int(self._core.settings.lease_seconds * 1000)
                item.file_goes_on = file_goes_on
                item.secondaries.extend(location(other.address) for other in targets[1:])
            ordered.append(self._core.calls.advance(server.name, item))
        return [await outcome for outcome in ordered]

    async def _confirm(
        self, record: VersionConfirmed | AdmissionConfirmed, answers: Sequence[Answer], reason: str
    ) -> None:
        core, handle, version, members = self._core, record.handle, record.version, record.members
        await core.commit(record)
        if handle not in core.state.chunks:
            raise _deleted(handle)
        core.emit(VersionRaised(handle=handle, version=version, members=members, reason=reason))
        self._end_older_lease(handle, version)
        left_out = [name for name in core.state.chunks.replicas(handle) if name not in members]
        known = (*KEPT, ReplicaState.UNSURE)
        left_out += [name for name in core.replicas.servers_in(handle, *known) if name not in members]
        for name in left_out:
            core.judge(handle, name, ReplicaState.STALE, version=version - 1, reason=f"left out of version {version}")
        unsure = [answer.server for answer in answers if answer.is_unsure]
        for answer in answers:
            if answer.is_unsure:
                continue
            state = core.replicas.state(handle, answer.server)
            if state in (ReplicaState.UNSURE, ReplicaState.STALE, ReplicaState.CURRENT, ReplicaState.SURPLUS):
                state = ReplicaState.CURRENT
            if state is not ReplicaState.ABSENT:  # Its server was given up meanwhile, and will register again.
                reason = core.replicas.reason(handle, answer.server)
                core.judge(handle, answer.server, state, version=version, reason=reason, length=answer.length)
        await asyncio.gather(*(self._admit(handle, version, name) for name in unsure))
        if handle not in core.state.chunks:
            raise _deleted(handle)

    def _note_unsure(self, handle: int, version: int, answers: Sequence[Answer]) -> None:
        """A server may have lost power and answer before it has registered again."""
        core = self._core
        for answer in answers:
            counts = core.replicas.state(handle, answer.server) in (ReplicaState.CURRENT, ReplicaState.CORRUPT)
            if answer.is_unsure and counts and handle in core.state.chunks:
                reason = "its server has lost power"
                core.judge(handle, answer.server, ReplicaState.UNSURE, version=version, reason=reason)

    def _end_older_lease(self, handle: int, version: int) -> None:
        """All members refuse what is written under a lower version: a lease on one is worth nothing any more."""
        core, lease = self._core, self._core.leases.lease(handle)
        if lease is not None and lease.state is not LeaseState.GRANTING:
            core.leases.end(handle)
            core.emit(LeaseRevoked(handle=handle, primary=lease.primary, reason=f"version {version} fences it off"))

    async def _admit(self, handle: int, version: int, name: str) -> None:
        """Tell an unsure replica that it is whole; it counts when it has said so. If it does not, it is asked again."""
        core = self._core
        item = chunkserver_pb2.Advance(handle=handle, from_version=version, to_version=version, admit=True)
        outcome = await core.calls.advance(name, item)
        if outcome.error is not None or outcome.held.is_unsure or handle not in core.state.chunks:
            return
        if core.state.chunks.version(handle) == version and core.replicas.state(handle, name) is ReplicaState.UNSURE:
            core.judge(handle, name, ReplicaState.CURRENT, version=version, length=outcome.held.length)


def in_order(handle: int, servers: Sequence[Server]) -> list[Server]:
    """The primary first: steady servers before suspect ones, and chunks shared out among them by their handles."""
    if not servers:
        return []
    turn = handle % len(servers)
    return sorted([*servers[turn:], *servers[:turn]], key=lambda server: server.state is not ServerState.LIVE)


def _all_that_refuse(servers: Sequence[Server], outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """All of the servers, if the disk of each of them takes no version; otherwise none."""
    is_refused = all(isinstance(outcome.error, DiskFailure) for outcome in outcomes)
    return tuple(server.name for server in servers) if is_refused else ()


def _restarted(servers: Sequence[Server], incarnations: Sequence[int]) -> list[str]:
    return [server.name for server, was in zip(servers, incarnations, strict=True) if server.incarnation != was]


def _unraised(handle: int, problem: str, refused: tuple[str, ...]) -> Unavailable:
    return Unavailable(
        f"chunk {handle:#x} cannot be given a new version now: {problem}; try again", definite=True, servers=refused
    )


def _confirmation(
    handle: int, version: int, members: tuple[str, ...], request: master_pb2.RequestId | None
) -> VersionConfirmed | AdmissionConfirmed:
    if request is None:
        return VersionConfirmed(handle, version, members)
    return AdmissionConfirmed(handle, version, members, request.client, request.number, request.oldest)


def _alone(handle: int) -> Unavailable:
    return Unavailable(
        f"chunk {handle:#x} has a single replica, and is copied before anybody writes it; try again in a moment",
        definite=True,
    )


def _attempt(handle: int, version: int, *, is_admission: bool) -> VersionAttempted | AdmissionAttempted:
    return AdmissionAttempted(handle, version) if is_admission else VersionAttempted(handle, version)


def _deleted(handle: int) -> NotFound:
    return NotFound(f"chunk {handle:#x} was deleted meanwhile; look the file up again")
