"""Rare states that a sweep wants to have seen: who never reached them has proved nothing about them.

Most marks are derived from the records of the nodes and from the history, by small predicates; code may set others with
`Simulation.sometimes`. A sweep reports the marks that none of its seeds reached.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cluster.swarm.appends import holds_a_duplicate
from cluster.swarm.copies import root_of
from cluster.swarm.history import Answer, History, Kind, Operation
from runtime.events import Record

Records = Sequence[tuple[float, Record]]


def _kind(record: Record) -> str:
    return type(record.event).__name__


def any_record(kind: str, **facts: object) -> Callable[[Records], bool]:
    def predicate(records: Records) -> bool:
        return any(
            _kind(record) == kind and all(getattr(record.event, name, None) == value for name, value in facts.items())
            for _, record in records
        )

    return predicate


def says(kind: str, field: str, word: str) -> Callable[[Records], bool]:
    return lambda records: any(
        _kind(record) == kind and word in str(getattr(record.event, field, "")) for _, record in records
    )


def _after(first: str, then: str, shared: str) -> Callable[[Records], bool]:
    """A record of one kind, and later one of another about the same thing."""

    def predicate(records: Records) -> bool:
        begun: dict[object, None] = {}
        for _, record in records:
            if _kind(record) == then and getattr(record.event, shared, None) in begun:
                return True
            if _kind(record) == first:
                begun[getattr(record.event, shared)] = None
        return False

    return predicate


def _states(records: Records) -> Iterator[tuple[Record, dict[tuple[int, str], str]]]:
    """Each record, and what the master thought of the replicas that had troubles before it, by chunk and server."""
    states: dict[tuple[int, str], str] = {}
    for _, record in records:
        event: Any = record.event
        yield record, states
        match _kind(record):
            case "ReplicaJudged":
                states[event.handle, event.server] = event.state
            case "ReplicaFound" | "ReplicaLost":
                states.pop((event.handle, event.server), None)
                if "left out of version" in getattr(event, "reason", ""):
                    states[event.handle, event.server] = "stale"


def _replaced_in_place(records: Records) -> bool:
    """A clone was made where a stale or damaged replica was."""
    began: dict[tuple[int, str], str] = {}
    for record, states in _states(records):
        event: Any = record.event
        if _kind(record) == "CloneStarted":
            began[event.handle, event.destination] = states.get((event.handle, event.destination), "")
        if _kind(record) == "CloneFinished" and began.get((event.handle, event.destination)) in ("stale", "corrupt"):
            return True
    return False


def _all_unsure(records: Records) -> bool:
    """Replicas were compared none of which was sure."""
    for record, states in _states(records):
        event: Any = record.event
        is_raised = _kind(record) == "VersionRaised" and event.members
        if is_raised and all(states.get((event.handle, name)) == "unsure" for name in event.members):
            return True
    return False


def _copied_again(records: Records) -> bool:
    made: dict[object, None] = {}
    for _, record in records:
        if _kind(record) == "ChunkCopied":
            if getattr(record.event, "frozen", None) in made:
                return True
            made[getattr(record.event, "handle", None)] = None
    return False


FROM_RECORDS: dict[str, Callable[[Records], bool]] = {
    "a chunk was cloned": any_record("CloneFinished"),
    "a clone failed": any_record("CloneFailed"),
    "a clone took the place of a stale or damaged replica": _replaced_in_place,
    "a grant had to wait for a clone or a comparison": says("MasterAskedAgain", "reason", "being copied or compared"),
    "a report crossed the raise of a version": any_record("ReplicaReportOutdated"),
    "a whole report came after a later one": any_record("ReportOutdated"),
    "a repeated request was answered from memory": any_record("RequestRepeated"),
    "an operator admitted a replica": any_record("ReplicaAdmitted"),
    "an unsure replica was admitted": any_record("UnsureReplicaAdmitted"),
    "replicas were compared none of which was sure": _all_unsure,
    "replicas differed, and some were left out": says("ReplicaLost", "reason", "left out of version"),
    "a replica that had missed a mutation refused the next": says("MutationMissed", "reason", "has missed a mutation"),
    "a try was refused that its client had given up": any_record("TryRefused"),
    "a writer was fenced off by a higher version": says("VersionRaised", "reason", "a writer is fenced off"),
    "a lease ended that its primary had disowned": says("LeaseRevoked", "reason", "has disowned it"),
    "a lease ended because a client insisted": says("LeaseRevoked", "reason", "failed a writer"),
    "a master that had restarted adopted a lease": any_record("LeaseAdopted"),
    "a stranger was refused": any_record("StrangerRefused"),
    "a server refused a master": any_record("MasterRefused"),
    "a replica was put aside": any_record("ChunkPutAside"),
    "a removal was refused": any_record("RemovalRefused"),
    "a removal failed and was tried again": any_record("RemovalFailed"),
    "a removal waited until the others had been verified": any_record("RemovalDecided"),
    "a damaged block was mended from another replica": lambda records: any(
        _kind(record) == "BlocksMended" and getattr(record.event, "mended", 0) > 0 for _, record in records
    ),
    "a header was written anew": any_record("MetadataRepaired"),
    "a background sync failed": any_record("WriteBackFailed"),
    "a master ended because its log had failed": any_record("MasterFailed"),
    "a master noticed a pause of its own": any_record("MasterPaused"),
    "a file was read again from its beginning": any_record("ReadBegunAgain"),
    "a lease was revoked": any_record("LeaseRevoked"),
    "a chunk's lease was granted again": _after("LeaseGranted", "LeaseGranted", "handle"),
    "a mutation missed a replica": any_record("MutationMissed"),
    "a server was given up, and came back": _after("ChunkserverDied", "ChunkserverRegistered", "server"),
    "a lost replica was found again": _after("ReplicaLost", "ReplicaFound", "handle"),
    "damage was found and reported": any_record("CorruptionReported"),
    "an interrupted write was resolved": any_record("WriteResolved"),
    "a torn write was found": lambda records: any(
        _kind(record) == "WriteResolved" and not str(getattr(record.event, "verdict", "")).endswith(" 0 torn")
        for _, record in records
    ),
    "a checkpoint was finished": any_record("CheckpointFinished"),
    "a checkpoint was given up": any_record("CheckpointFailed"),
    "the log refused a record": any_record("LogFailed"),
    "the end of the log was torn": says("LogReplayed", "note", "dropped"),
    "garbage was collected": any_record("ChunksDeleted"),
    "something was restored from the trash": says("EntryRenamed", "source", "/.deleted/"),
    "an operator entered safe mode": any_record("SafeModeEntered"),
    "a master left safe mode before all had registered": says("SafeModeLeft", "reason", "have a replica"),
    "a client tried a write again": any_record("WriteRetried"),
    "a client tried to append a record again": any_record("AppendRetried"),
    "a chunk was padded": any_record("ChunkPadded"),
    "a primary was told that its file goes on": any_record("AppendsEnded"),
    "a record went to the next chunk": any_record("ChunkFilledUp"),
    "a snapshot was taken": any_record("SnapshotTaken"),
    "a writer was stopped for a snapshot": says("LeaseRevoked", "reason", "a snapshot is taken"),
    "a shared chunk was copied before it was written": any_record("ChunkCopied"),
    "a shared chunk was copied twice": _after("ChunkCopied", "ChunkCopied", "frozen"),
    "the copy of a shared chunk was shared and copied again": _copied_again,
    "a reader passed over a replica": any_record("ReplicaSkipped"),
    "a failed write left something behind": any_record("LeftBehind"),
    "a chunkserver was drained": any_record("DrainBegun"),
    "a drain was cancelled": any_record("DrainCancelled"),
    "a chunk was hot": any_record("ChunkHeated"),
    "a hot chunk cooled": any_record("ChunkCooled"),
    "a replica could not grow on a full disk": any_record("ReplicaCannotGrow"),
}


def _some(test: Callable[[Operation], bool]) -> Callable[[History], bool]:
    return lambda history: any(test(operation) for operation in history.operations)


def _wrote_at_once(history: History) -> bool:
    writes = [operation for operation in history.operations if operation.writes and operation.file]
    return any(
        one.file == other.file
        and one.client != other.client
        and one.invoked < other.responded
        and other.invoked < one.responded
        and one.offset < other.offset + other.count
        and other.offset < one.offset + one.count
        for place, one in enumerate(writes)
        for other in writes[place + 1 :]
    )


def _appended_at_once(history: History) -> bool:
    appends = [one for one in history.operations if one.kind is Kind.RECORD_APPEND and one.answer is Answer.VALUE]
    return any(
        one.file == other.file and one.client != other.client and other.invoked < one.responded
        for one, other in itertools.pairwise(appends)
    )


FROM_HISTORY: dict[str, Callable[[History], bool]] = {
    "a client died with a call under way": _some(lambda one: one.answer is Answer.NEVER),
    "a call ended in doubt": _some(lambda one: one.answer is Answer.DOUBTFUL),
    "a change of names ended in doubt": _some(
        lambda one: one.is_open_ended and one.kind in (Kind.DELETE, Kind.RENAME, Kind.CREATE, Kind.MAKE_DIRECTORY)
    ),
    "a write ended in doubt": _some(lambda one: one.answer is Answer.DOUBTFUL and one.kind is Kind.WRITE),
    "a change of names was refused in safe mode": _some(lambda one: one.error == "InSafeMode"),
    "a tree kept deleted files for its own time": _some(
        lambda one: one.kind is Kind.SET_POLICY and one.answer is Answer.VALUE and one.count > 0
    ),
    "a caller gave up a write": _some(lambda one: one.is_given_up and one.writes),
    "a caller gave up a write whose bytes had been taken": _some(lambda one: one.is_given_up and one.is_taken),
    "a caller gave up a close": _some(lambda one: one.is_given_up and one.kind is Kind.CLOSE),
    "a write was refused": _some(lambda one: one.answer is Answer.REFUSED and one.kind is Kind.WRITE),
    "an open file was another file now": _some(lambda one: one.error == "Conflict" and bool(one.handle)),
    "two clients wrote to one place at once": _wrote_at_once,
    "a record was read that stands in its file twice": _some(holds_a_duplicate),
    "an append ended in doubt": _some(lambda one: one.answer is Answer.DOUBTFUL and one.kind is Kind.RECORD_APPEND),
    "two clients appended records at once": _appended_at_once,
    "a snapshot ended in doubt": _some(lambda one: one.is_open_ended and one.kind is Kind.SNAPSHOT),
    "a client wrote to a snapshot": _some(
        lambda one: one.kind is Kind.WRITE and one.answer is Answer.VALUE and one.file != root_of(one.file)
    ),
    "a hole was read as zeros": _some(lambda one: b"\0" in one.data),
}


def marks_of(records: Records, history: History, reached: dict[str, int]) -> dict[str, int]:
    """The marks that a run reached."""
    found = dict(reached)
    found |= {name: 1 for name, predicate in FROM_RECORDS.items() if predicate(records)}
    found |= {name: 1 for name, judge in FROM_HISTORY.items() if judge(history)}
    return found


def all_marks() -> list[str]:
    """Every mark that is known to be worth reaching."""
    return [*FROM_RECORDS, *FROM_HISTORY]
