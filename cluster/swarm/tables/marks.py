"""Rare states of tables that a sweep wants to have seen, and what a story tells."""

from collections.abc import Callable, Sequence

from cluster.swarm import story
from cluster.swarm.history import Answer
from cluster.swarm.marks import any_record
from cluster.swarm.tables.history import History
from cluster.swarm.tables.plan import Kind
from runtime.events import Record

Records = Sequence[tuple[float, Record]]
TELLING = frozenset(
    {
        "NodeStarted",
        "NodeStartFailed",
        "ServerLifeBegan",
        "ServerLifeEnded",
        "TabletLoaded",
        "TabletLoadFailed",
        "TabletUnloaded",
        "TabletSplitCommitted",
        "LogOfDeadServerSorted",
        "TabletMasterActs",
        "TabletMasterStepsDown",
        "TabletServerBuried",
        "TabletAssigned",
        "AssignmentFailed",
        "TabletMoved",
        "TabletMergeCommitted",
        "TabletMergeGivenUp",
        "MergeFailed",
        "OutdatedRowRemoved",
        "TabletFilesSwept",
        "TableSnapshotTaken",
        "TableSnapshotAborted",
        "TableSnapshotDeleted",
        "TableRestored",
        "TabletAcquired",
        "LogsOfTheDeadRemoved",
        "TabletTakenOver",
        "FlushFailed",
        "TaskFailed",
    }
)
FROM_RECORDS: dict[str, Callable[[Records], bool]] = {
    "a tablet server was buried": any_record("TabletServerBuried"),
    "a tablet was taken over with a sorted log": any_record("TabletTakenOver"),
    "a tablet was split": any_record("TabletSplitCommitted"),
    "a tablet was moved": any_record("TabletMoved"),
    "two tablets were merged": any_record("TabletMergeCommitted"),
    "a merge was given up": any_record("TabletMergeGivenUp"),
    "an outdated METADATA row was removed": any_record("OutdatedRowRemoved"),
    "files of a tablet that is no more were swept": any_record("TabletFilesSwept"),
    "a tablet could not be loaded": any_record("TabletLoadFailed"),
    "an assignment failed": any_record("AssignmentFailed"),
    "a tablet master lost its lock": any_record("TabletMasterStepsDown"),
    "the log of a dead server was removed": any_record("LogsOfTheDeadRemoved"),
    "a snapshot of a table was taken": any_record("TableSnapshotTaken"),
    "a snapshot of a table was aborted": any_record("TableSnapshotAborted"),
    "a table was made of a snapshot": any_record("TableRestored"),
    "a flush failed": any_record("FlushFailed"),
}
FROM_HISTORY: dict[str, Callable[[History], bool]] = {
    "a write ended in doubt": lambda history: any(
        not one.is_read and one.answer is Answer.DOUBTFUL for one in history.operations
    ),
    "a write was refused": lambda history: any(
        not one.is_read and one.answer is Answer.REFUSED for one in history.operations
    ),
    "an increment or an append ended in doubt": lambda history: any(
        one.kind in (Kind.INCREMENT, Kind.APPEND) and one.answer is Answer.DOUBTFUL for one in history.operations
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
