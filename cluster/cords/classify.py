"""From what was seen of a run to the words of the paper: what the node did, and what came of it. Pure functions.

>>> from cluster.cords.observing import Observation
>>> seen = Observation(changed=True, reads=2, read_first=True, events=frozenset({"CorruptionFound", "ReplicaLost"}))
>>> [one.name for one in local_behaviour(seen, Fault.ZEROS)], global_effect(seen).name
(['REPLICA'], 'CORRECT')
"""

from collections.abc import Iterable

from cluster.cords.observing import Observation
from cluster.cords.terms import Effect, Fault, Local

# Records that tell what a node did. One that says more than that an error was found goes before `DETECTED`.
_TELLING = {
    Local.PARTIAL_CRASH: {"ChunkPutAside", "ChunkUnreadable"},
    Local.INTERNAL_REDUNDANCY: {
        "MetadataRepaired",
        "LogReplayed: passed over",
        "LogMovedOn",
        "LogEndNotWritten",
        "TablePartPassedOver",
    },
    Local.REPLICA: {
        "BlocksMended",
        "ReplicaMended",
        "ReplicaLost",
        "UnsureReplicaAdmitted",
        "ChunkCloned",
        "CheckpointInstalled",
    },
    Local.TRUNCATED: {"LogReplayed: dropped the last", "LockLogReplayed: dropped the last", "LogTailDropped"},
}
_DETECTED = {
    "CorruptionFound",
    "CheckpointFailed",
    "LogFailed",
    "LockLogFailed",
    "LockLogNotShortened",
    "MutationMissed",
    "ReplicaCannotGrow",
    "WriteBackFailed",
    "SnapshotUnreadable",
    "TableSetAside",
    "FlushFailed",
    "CompactionFailed",
}


def local_behaviour(seen: Observation, fault: Fault) -> tuple[Local, ...]:
    """What the struck node did, in the order of `Local`; always something."""
    met = {Fault.READ_ERROR: seen.reads, Fault.WRITE_ERROR: seen.writes, Fault.NO_SPACE: seen.writes}
    if not met.get(fault, seen.reads + seen.writes):
        return (Local.NOT_ACCESSED,)
    found = [local for local, events in _TELLING.items() if events & seen.events]
    if seen.crashes or not seen.is_up:
        found.append(Local.CRASH)
    refused = not fault.is_corruption and seen.changed
    is_well = not seen.failed and not seen.unread and seen.writes_go_on
    if refused and is_well and not found:
        found.append(Local.RETRY)
    if seen.crashes and seen.is_up:
        found.append(Local.RETRY)
    if not found and (not is_well or seen.events & _DETECTED):
        found.append(Local.DETECTED)
    if not found:
        found.append(Local.NO_DETECTION if seen.read_first else Local.OVERWRITTEN)
    return in_order(found)


def global_effect(seen: Observation) -> Effect:
    """The worst that came of it."""
    if seen.wrong:
        return Effect.CORRUPTION
    if seen.lost:
        return Effect.DATA_LOSS
    if not seen.reads_go_on:
        return Effect.UNAVAILABLE
    if not seen.writes_go_on:
        return Effect.WRITE_UNAVAILABLE
    if seen.failed or seen.unread:
        return Effect.QUERY_FAILURE
    if seen.below_goal or seen.differing or not seen.is_up:
        return Effect.REDUCED_REDUNDANCY
    return Effect.CORRECT


def in_order(found: Iterable[Local]) -> tuple[Local, ...]:
    """Without repetitions, in the order in which the words are defined. What was not accessed says nothing beside
    others."""
    named = tuple(found)
    kept = tuple(local for local in Local if local in named)
    return tuple(local for local in kept if local is not Local.NOT_ACCESSED) or kept


def worst(effects: Iterable[Effect]) -> Effect:
    """The one that is defined first.

    >>> worst([Effect.CORRECT, Effect.DATA_LOSS, Effect.QUERY_FAILURE]).name
    'DATA_LOSS'
    """
    found = tuple(effects)
    return next(effect for effect in Effect if effect in found)


def what_was_seen(seen: Observation) -> str:
    """One sentence about the worst of it, for people; empty if there is nothing to say."""
    for texts in (seen.wrong, seen.lost, seen.failed, seen.unread):
        if texts:
            return texts[0]
    if seen.last_problem:
        return seen.last_problem
    return next(iter((*seen.below_goal, *seen.differing)), "")
