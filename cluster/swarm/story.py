"""A run in words: numbered lines of what was asked, what struck, and what the nodes recorded, then the verdict."""

from collections.abc import Callable, Container, Iterable
from typing import Any

from cluster.fault_log import FAULTS
from cluster.fault_runner import FaultBegan
from cluster.swarm.run import Result
from cluster.swarm.stage import described
from runtime.events import Record, sentence

# Records that tell something; the others are the ordinary course of things.
TELLING = frozenset(
    {
        "NodeStarted",
        "NodeStopped",
        "LeaseGranted",
        "LeaseRevoked",
        "ReplicaLost",
        "ReplicaFound",
        "ReplicaJudged",
        "ReplicasCompared",
        "VersionRaised",
        "UnsureReplicaAdmitted",
        "ReplicaReportOutdated",
        "RequestRepeated",
        "LeaseAdopted",
        "StrangerRefused",
        "RemovalDecided",
        "RemovalFailed",
        "RemovalRefused",
        "TryRefused",
        "ChunkPutAside",
        "ChunkUnreadable",
        "MetadataRepaired",
        "WriteBackFailed",
        "MasterFailed",
        "MasterPaused",
        "MasterRefused",
        "StoreOpened",
        "CorruptionReported",
        "ChunkserverRegistered",
        "ChunkserverDied",
        "CloneStarted",
        "CloneFinished",
        "CloneFailed",
        "ChunkCreated",
        "FileReclaimed",
        "FileDeleted",
        "FileReplaced",
        "PolicyChanged",
        "SafeModeEntered",
        "SafeModeLeft",
        "LogReplayed",
        "LogFailed",
        "WriteResolved",
        "CorruptionFound",
        "MutationMissed",
        "ChunksDeleted",
        "ReplicaSkipped",
        "WriteRetried",
        "AppendRetried",
        "ChunkFilledUp",
        "LeftBehind",
        "TaskFailed",
        "HandlerFailed",
    }
)
LONGEST_STORY = 400
# The same thing of the same chunk on the same node is told so often, and then counted.
_TOLD_AT_MOST = 2


def tell(
    result: Any,
    replay: str,
    *,
    telling: Container[str] = TELLING,
    chunks: Callable[[Any], frozenset[int]] | None = None,
) -> list[str]:
    """The story of a run of some swarm, line by line. `replay` is the command that runs it again, `telling` the kinds
    of records that are told; `chunks` gives those in question, so that nothing is told of others."""
    concerned = {number for verdict in result.verdicts for number in verdict.operations}
    lines = [(one.invoked, 1, _operation(one, concerned)) for one in result.history.operations]
    lines += _records(result, telling, chunks(result) if chunks is not None else frozenset())
    lines.sort(key=lambda line: line[:2])
    if len(lines) > LONGEST_STORY:
        left_out = len(lines) - LONGEST_STORY
        half = LONGEST_STORY // 2
        lines = [*lines[:half], (lines[half][0], 0, f"… {left_out} lines …"), *lines[-half:]]
    story = [f"Seed {result.plan.seed}: {summary(result.plan)}", f"The cluster: {described(result.plan.setup)}", ""]
    story += [f"{number:4d}. {time:9.3f} s  {text}" for number, (time, _, text) in enumerate(lines, 1)]
    story += ["", *verdict_lines(result), "", f"Again: {replay}"]
    return story


def tell_of_files(result: Result, replay: str) -> list[str]:
    """The story of a run of the file system."""
    return tell(result, replay, chunks=_concerned_chunks)


def verdict_lines(result: Any) -> list[str]:
    """What the judges say."""
    if not result.verdicts:
        return [
            "No judge found anything wrong."
            + (" The order of the operations is undecided." if result.is_undecided else "")
        ]
    return [f"The judge of {verdict.judge} says: {verdict.text}" for verdict in result.verdicts]


def summary(plan: Any) -> str:
    """What a run consists of, in one line."""
    faults: dict[str, int] = {}
    for fault in plan.faults:
        kind = type(fault.what).__name__
        faults[kind] = faults.get(kind, 0) + 1
    named = ", ".join(f"{kind} {count}x" if count > 1 else kind for kind, count in faults.items()) or "none"
    return f"{len(plan.operations)} operations of {len(plan.clients())} clients; faults: {named}"


def _operation(operation: Any, concerned: Iterable[int]) -> str:
    took = operation.responded - operation.invoked
    mark = "  <== " if operation.number in concerned else ""
    return f"{operation.told()} ({took:.3f} s){mark}"


def _records(result: Any, telling: Container[str], concerned: frozenset[int]) -> list[tuple[float, int, str]]:
    """The telling records, of the chunks in question if it is known which those are; repetitions are counted."""
    found: list[tuple[float, int, str]] = []
    counts: dict[tuple[object, ...], int] = {}
    for time, record in result.records:
        kind, handle = type(record.event).__name__, getattr(record.event, "handle", None)
        if record.node == FAULTS:
            found.append((time, 0, _fault(record, result.plan)))
            continue
        if kind not in telling or (concerned and handle is not None and handle not in concerned):
            continue
        key = (record.node, kind, handle)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= _TOLD_AT_MOST or handle is None:
            found.append((time, 2, _record(record)))
        elif counts[key] == _TOLD_AT_MOST + 1:
            found.append((time, 2, f"    {record.node} {kind} of chunk {handle:#x} again, and from here on not told"))
    return found


def _concerned_chunks(result: Result) -> frozenset[int]:
    files = {result.history.operation(number).file for verdict in result.verdicts for number in verdict.operations}
    return frozenset(one for (file, _), handles in result.handles.items() if file in files - {0} for one in handles)


def _fault(record: Record, plan: Any) -> str:
    event = record.event
    if isinstance(event, FaultBegan):
        return f"*** {plan.faults[event.number]}: strikes {event.nodes}"
    return f"*** {sentence(event)}"


def _record(record: Record) -> str:
    text = sentence(record.event)
    return f"    {record.node} {text if len(text) < 300 else text[:300] + '…'}"
