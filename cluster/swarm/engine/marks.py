"""Rare states of the engine that a sweep wants to have seen: who never reached them has proved nothing about them."""

from collections.abc import Callable, Sequence

from cluster.swarm.engine.history import History, Operation
from cluster.swarm.engine.plan import Kind
from cluster.swarm.history import Answer
from cluster.swarm.marks import any_record, says
from runtime.events import Record

Records = Sequence[tuple[float, Record]]

FROM_RECORDS: dict[str, Callable[[Records], bool]] = {
    "the end of a log was torn": any_record("LogTailDropped"),
    "whole records after a torn one counted for nothing": says("LogTailDropped", "reason", "whole ones after it"),
    "a log was left out, for one before it was lost": any_record("LogLeftOut"),
    "a log was sorted": any_record("LogSorted"),
    "a tablet was taken over with a sorted log": any_record("TabletTakenOver"),
    "a flush failed": any_record("FlushFailed"),
    "a compaction failed": any_record("CompactionFailed"),
    "compactions left a damaged SSTable alone": any_record("TableSetAside"),
    "writes had to wait for housekeeping": any_record("WritesStalled"),
    "a file could not be removed": any_record("FileNotRemoved"),
    "the server did not start at once": any_record("NodeStartFailed"),
}


def _some(test: Callable[[Operation], bool]) -> Callable[[History], bool]:
    return lambda history: any(test(operation) for operation in history.operations)


FROM_HISTORY: dict[str, Callable[[History], bool]] = {
    "a write was never answered": _some(lambda one: one.answer is Answer.NEVER and one.kind is Kind.PUT),
    "a write was cancelled": _some(lambda one: one.error == "Cancelled" and one.kind is Kind.PUT),
    "a write was refused for want of space": _some(lambda one: one.error == "NoSpace"),
    "a write ended in doubt": _some(lambda one: one.answer is Answer.DOUBTFUL and one.kind is Kind.PUT),
    "a read was refused because of damage": _some(lambda one: one.error == "Corrupted"),
    "a server that had been succeeded was told so": _some(lambda one: one.error == "Superseded"),
    "a write was in doubt, for its server had been succeeded": _some(
        lambda one: one.error == "Superseded" and one.answer is Answer.DOUBTFUL
    ),
    "the log could not be written any more": _some(lambda one: "restart this node" in one.message),
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
