"""A run of the engine's swarm in words."""

from cluster.swarm import story
from cluster.swarm.engine.run import Result

TELLING = frozenset(
    {
        "LogTailDropped",
        "LogLeftOut",
        "LogSorted",
        "CommitLogReplayed",
        "TabletFound",
        "TabletOpened",
        "TabletTakenOver",
        "TabletClosed",
        "MemtableFrozen",
        "FlushFinished",
        "FlushFailed",
        "CompactionFinished",
        "CompactionFailed",
        "TableSetAside",
        "WritesStalled",
        "NodeStartFailed",
        "TaskFailed",
    }
)


def tell(result: Result, replay: str) -> list[str]:
    """The story, line by line."""
    return story.tell(result, replay, telling=TELLING)
