"""Drills about writing: a primary that dies, one that stands still, a secondary that does (GFS 3.1, 3.3)."""

import re

from chunkserver.events import LeaseEnded, LeaseReceived, MutationMissed
from cluster.fault_log import NodeKilled, NodePaused, NodeResumed
from cluster.interface import Cluster
from labs.drills.drill import Drill, Facts, Live
from labs.drills.evidence import Evidence, Found
from labs.drills.live.common import (
    SMALL,
    handles_of,
    kills,
    kinds,
    need,
    nothing,
    pauses,
    primary_at,
    scanned,
    store,
    wakings,
)
from labs.drills.questions import NotYet, Truth, done, values
from master.events import ChunkCreated, LeaseGranted, LeaseRevoked, ReplicaJudged, ReplicaLost, VersionRaised

DIARY = "/drill/diary"
LOG = "/drill/log"
PLAN = "/drill/plan"
CUT_OFF = ("Partition", "Isolate")
_LINE = re.compile(rb"line (\d+)")
_KINDS = kinds(
    ChunkCreated,
    LeaseGranted,
    LeaseRevoked,
    LeaseReceived,
    LeaseEnded,
    VersionRaised,
    ReplicaLost,
    ReplicaJudged,
    MutationMissed,
)


async def _prepare_nothing(cluster: Cluster) -> Facts:
    return {}


# A primary dies in the middle of a write.


def _lost_primary(evidence: Evidence) -> tuple[Found[NodeKilled], Found[LeaseGranted]]:
    """The kill, and the lease that it ended."""
    handles = handles_of(evidence, DIARY)
    need(handles, f"nothing has been appended to {DIARY} yet")
    for kill in kills(evidence):
        for handle in sorted(handles):
            lease = primary_at(evidence, handle, kill.at)
            if lease and lease.event.primary == kill.event.node and not _is_over(evidence, lease, kill.at):
                return kill, lease
    raise NotYet(f"nobody has killed the primary of {DIARY} while it held the lease")


def _is_over(evidence: Evidence, lease: Found[LeaseGranted], moment: float) -> bool:
    """Whether the lease had ended in good order before a moment."""
    handle, version = lease.event.handle, lease.event.version
    ends = evidence.all_of(LeaseEnded, lambda event: event.handle == handle and event.version >= version)
    return any(lease.at < end.at < moment for end in ends)


def _next_lease(evidence: Evidence) -> tuple[Found[NodeKilled], Found[LeaseGranted], Found[LeaseGranted]]:
    kill, old = _lost_primary(evidence)
    new = evidence.first(
        LeaseGranted,
        lambda event: event.handle == old.event.handle,
        after=kill.at,
        missing="the master has granted no new lease on that chunk yet: let the writer run on",
    )
    return kill, old, new


def _killed(evidence: Evidence) -> Truth:
    kill, lease = _lost_primary(evidence)
    return done(f"{kill.event.node} was primary for chunk {lease.event.handle:#x} and was killed", kill.at)


def _wait(evidence: Evidence) -> Truth:
    kill, _, new = _next_lease(evidence)
    seconds = new.at - kill.at
    words = "under 3 s" if seconds < 3 else "3 to 9 s" if seconds < 9 else "9 s or longer"
    return values("one of", (words,), f"{seconds:.1f} s after the kill there was another primary", deed=kill.at)


def _version(evidence: Evidence) -> Truth:
    kill, old, new = _next_lease(evidence)
    steps = new.event.version - old.event.version
    return values("a number", (steps,), f"from {old.event.version} to {new.event.version}", deed=kill.at)


def _successor(evidence: Evidence) -> Truth:
    _, _, new = _next_lease(evidence)
    return values("a node", (new.event.primary,), f"the master granted {new.event.primary} the lease")


def _lost_lines(evidence: Evidence) -> Truth:
    kill, _, _ = _next_lease(evidence)
    lines = evidence.fact("lines")
    need(len(lines) > 1, f"{DIARY} has no lines such as 'line 7'")
    missing = sorted(set(range(1, max(lines) + 1)) - set(lines))
    said = f"the lines 1 to {max(lines)} are there, but {len(missing)}"
    return values("a number", (len(missing),), said, deed=kill.at)


async def _look_at_lines(cluster: Cluster, setup: Facts) -> Facts:
    found = [_LINE.fullmatch(record.payload) for record in await scanned(cluster, DIARY)]
    return {"lines": sorted({int(one[1]) for one in found if one})[:5000]}


LOST_PRIMARY = Drill(
    "lost-primary",
    Live(SMALL, _KINDS, _prepare_nothing, _look_at_lines),
    {"killed": _killed, "wait": _wait, "version": _version, "successor": _successor, "lost": _lost_lines},
)


# A secondary stands still while records are appended: some are there twice.


def _stood_still(evidence: Evidence) -> tuple[Found[NodePaused], Found[NodeResumed]]:
    handles = handles_of(evidence, LOG)
    need(handles, f"nothing has been appended to {LOG} yet")
    for pause in pauses(evidence):
        leases = [primary_at(evidence, handle, pause.at) for handle in sorted(handles)]
        if any(lease and pause.event.node in lease.event.secondaries for lease in leases):
            node = pause.event.node
            woken = next((one for one in wakings(evidence) if one.event.node == node and one.at > pause.at), None)
            if woken is None:
                raise NotYet(f"{node} still stands still: `tabletop fault resume {node}`")
            return pause, woken
    raise NotYet(f"nobody has paused a secondary of {LOG} while records were appended")


def _paused(evidence: Evidence) -> Truth:
    pause, _ = _stood_still(evidence)
    return done(f"{pause.event.node} was a secondary and stood still", pause.at)


def _copies(evidence: Evidence) -> int:
    records = evidence.fact("records")
    need(len(records) > 1, f"{LOG} holds no records yet")
    return len(records) - len({tuple(record) for record in records})


def _doubled(evidence: Evidence) -> Truth:
    pause, _ = _stood_still(evidence)
    count = _copies(evidence)
    word = "yes" if count else "no"
    return values("one of", (word,), f"{count} records stand in the file a second time", deed=pause.at)


def _missed_by(evidence: Evidence) -> Truth:
    pause, _ = _stood_still(evidence)
    handles = handles_of(evidence, LOG)
    missed = evidence.first(
        MutationMissed,
        lambda event: event.handle in handles,
        after=pause.at,
        missing="no primary has recorded that a mutation was not applied everywhere",
    )
    return values("a node", (missed.node,), f"{missed.node} recorded that {missed.event.server} did not apply it")


def _distinct(evidence: Evidence) -> Truth:
    _stood_still(evidence)
    records = {tuple(record) for record in evidence.fact("records")}
    return values("a number", (len(records),), f"{len(records)} different records; `fs tail --records` shows each once")


async def _look_at_records(cluster: Cluster, setup: Facts) -> Facts:
    found = await scanned(cluster, LOG)
    return {"records": [[record.writer, record.sequence] for record in found][:5000]}


DOUBLED_RECORDS = Drill(
    "doubled-records",
    Live(SMALL, _KINDS, _prepare_nothing, _look_at_records),
    {"paused": _paused, "doubled": _doubled, "noticed": _missed_by, "distinct": _distinct},
)


# The primary stands still for longer than its lease: are there ever two?


async def _prepare_plan(cluster: Cluster) -> Facts:
    return await store(cluster, PLAN, b"plan A\n")


def _two_leases(evidence: Evidence) -> tuple[Found[NodePaused], Found[LeaseReceived], Found[LeaseReceived]]:
    """The pause, the last lease that the paused primary had received, and the one that another received after it."""
    for pause in pauses(evidence, *CUT_OFF):
        held = [one for one in evidence.all_of(LeaseReceived) if one.node == pause.event.node and one.at < pause.at]
        for old in reversed(held):
            later = evidence.all_of(LeaseReceived, lambda event, old=old: event.handle == old.event.handle)  # type: ignore[misc]
            new = next((one for one in later if one.at > pause.at and one.node != pause.event.node), None)
            if new is not None:
                return pause, old, new
    raise NotYet("no primary stood still for so long that another server became primary of its chunk")


def _frozen(evidence: Evidence) -> Truth:
    pause, old, _ = _two_leases(evidence)
    return done(f"{pause.event.node} stood still as the primary of chunk {old.event.handle:#x}", pause.at)


def _gap(evidence: Evidence) -> Truth:
    """Extensions ride on heartbeats, so that the last one came at most a heartbeat before the pause."""
    pause, old, new = _two_leases(evidence)
    end = pause.at - SMALL.heartbeat_seconds + SMALL.lease_seconds
    word = "after" if new.at >= end else "before"
    said = (
        f"{new.node} became primary {new.at - pause.at:.1f} s after {old.node} stood still, whose lease of "
        f"{SMALL.lease_seconds:g} s had last been extended at most {SMALL.heartbeat_seconds:g} s before that"
    )
    return values("one of", (word,), said, deed=pause.at)


def _second(evidence: Evidence) -> Truth:
    _, _, new = _two_leases(evidence)
    return values("a node", (new.node,), f"{new.node} received the next lease")


def _woken(evidence: Evidence) -> Truth:
    pause, old, new = _two_leases(evidence)
    node = pause.event.node
    ends = wakings(evidence, *CUT_OFF)
    woken = next((one for one in ends if one.event.node == node and one.at > pause.at), None)
    if woken is None:
        raise NotYet(f"{node} is still away")
    handle, version = old.event.handle, new.event.version
    for ended in evidence.all_of(LeaseEnded, lambda event: event.handle == handle and event.version < version):
        if ended.node == node and ended.at > pause.at:
            return done(f"{node} gave its lease up: {ended.event.reason}")
    judged = evidence.first(
        ReplicaJudged,
        lambda event: event.handle == handle and event.server == node,
        after=woken.at,
        missing=f"neither {node} nor the master has found out yet that its lease is over",
    )
    return done(f"the master called the replica of {node} {judged.event.state}: {judged.event.reason}")


TWO_PRIMARIES = Drill(
    "two-primaries",
    Live(SMALL, _KINDS, _prepare_plan, nothing),
    {"frozen": _frozen, "gap": _gap, "second": _second, "woken": _woken},
)

DRILLS = (LOST_PRIMARY, DOUBLED_RECORDS, TWO_PRIMARIES)
