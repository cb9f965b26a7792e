"""Rare states of the lock service that a sweep wants to have seen, and what a story tells."""

from collections.abc import Callable, Sequence

from cluster.swarm import story
from cluster.swarm.history import Answer
from cluster.swarm.locks.history import History
from cluster.swarm.locks.plan import Kind
from cluster.swarm.marks import any_record
from runtime.events import Record

Records = Sequence[tuple[float, Record]]
TELLING = frozenset(
    {
        "LockLogReplayed",
        "LockLogFailed",
        "LockLogShortened",
        "LockLogNotShortened",
        "LockServiceFailed",
        "SessionBegan",
        "SessionClosed",
        "SessionLost",
        "LockTaken",
        "LockFreed",
        "SessionStateChanged",
        "NodeStartFailed",
        "TaskFailed",
    }
)
FROM_RECORDS: dict[str, Callable[[Records], bool]] = {
    "a session was lost": any_record("SessionLost"),
    "a session was in jeopardy": any_record("SessionStateChanged", state="jeopardy"),
    "a session came out of jeopardy": any_record("SessionStateChanged", state="safe"),
    "a session expired at its client": any_record("SessionStateChanged", state="expired"),
    "the log was begun again": any_record("LockLogShortened"),
    "the log could not be begun again": any_record("LockLogNotShortened"),
    "the log refused a record": any_record("LockLogFailed"),
    "the service ended by itself": any_record("LockServiceFailed"),
    "the service did not start at once": any_record("NodeStartFailed"),
}
FROM_HISTORY: dict[str, Callable[[History], bool]] = {
    "a compare-and-set was refused": lambda history: any(
        one.kind is Kind.COMPARE and one.error == "Conflict" for one in history.operations
    ),
    "a fenced write was refused": lambda history: any(
        one.kind is Kind.FENCED and one.error == "Superseded" for one in history.operations
    ),
    "a write ended in doubt": lambda history: any(
        one.is_write and one.answer is Answer.DOUBTFUL for one in history.operations
    ),
    "a caller of acquire was cancelled": lambda history: any(
        one.kind is Kind.ACQUIRE and one.error == "Cancelled" for one in history.operations
    ),
    "a lock passed from one client to another": lambda history: any(
        one.kind is other.kind is Kind.ACQUIRE
        and one.path == other.path
        and one.answer is other.answer is Answer.VALUE
        and one.client != other.client
        for one in history.operations
        for other in history.operations
    ),
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


def tell(result: object, replay: str) -> list[str]:
    """The story of a run, line by line."""
    return story.tell(result, replay, telling=TELLING)
