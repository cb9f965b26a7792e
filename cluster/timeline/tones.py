"""Which events tell of trouble, and which of a fault that somebody made."""

from cluster.timeline.model import Tone
from runtime.events import Event

_FAULTS = frozenset({"FaultBegan", "FaultImposed", "FaultStruck", "NodeKilled", "NodePaused", "BlockFlipped"})
_TROUBLES = frozenset(
    {
        "AppendRetried",
        "AssignmentFailed",
        "CheckpointFailed",
        "ChunkPutAside",
        "ChunkUnreadable",
        "ChunkserverDied",
        "ChunkserverSuspected",
        "CloneFailed",
        "CompactionFailed",
        "CorruptionFound",
        "CorruptionReported",
        "EventsLost",
        "FileNotRemoved",
        "FlushFailed",
        "HandlerFailed",
        "LeftBehind",
        "LockLogFailed",
        "LockServiceFailed",
        "LogFailed",
        "MasterAskedAgain",
        "MasterFailed",
        "MasterLost",
        "MasterRefused",
        "MendingFailed",
        "MutationMissed",
        "NodeStartFailed",
        "RemovalFailed",
        "ReplicaLost",
        "ReplicaSkipped",
        "ReshapingFailed",
        "SessionLost",
        "SnapshotUnreadable",
        "StrangerRefused",
        "TableSetAside",
        "TabletLoadFailed",
        "TabletServerBuried",
        "TabletUnreadable",
        "TaskFailed",
        "WriteBackFailed",
        "WriteRetried",
        "WritesStalled",
    }
)


def tone_of(event: Event) -> Tone:
    """How much an event matters."""
    kind = type(event).__name__
    if kind in _FAULTS:
        return Tone.FAULT
    return Tone.TROUBLE if kind in _TROUBLES else Tone.PLAIN


def kinds_with_a_tone() -> frozenset[str]:
    """The names that this module knows: a test holds them to the events that there are."""
    return _FAULTS | _TROUBLES
