"""Safe mode: the master serves, and orders neither copies nor removals (GFS 2.6.2 and 5.1 leave it open; as in HDFS).

The problem. A master that has just started knows every name and not a single location: it asks its chunkservers. If it
took what nobody has reported yet for lost, it would have half of the cluster copied, and call readers' files missing.

The idea. It starts in safe mode, and leaves it by itself:

    at once                       when every server that ever joined has registered: there is nobody to wait for;
    after `settling_seconds`      when a share of the chunks, `threshold`, has a replica that counts;
    after `longest_seconds`       in any case: what nobody has reported by then counts as lost.

Until then a chunk without a replica is "not known yet", for readers and writers, and neither copies, comparisons of
removable replicas, removals nor (if there is any) rebalancing are ordered. What is known is read and written.

An operator may enter safe mode by hand, to look at a cluster that holds still: that stays until one leaves it, also
over a restart of the master (the log has it). Then, in addition, no name changes: `CHANGES_NAMES` are refused.

>>> mode = SafeMode(settling_seconds=5.0, longest_seconds=15.0, threshold=0.999, interval=1.0, began=0.0)
>>> mode.is_starting(all_registered=False), mode.is_starting(all_registered=True)
(True, False)

Seconds are those in which the master has been listening (`attention.py`).
"""

from collections.abc import Callable

from master.log.records import (
    ChunkAllocated,
    DirectoriesMade,
    EntryMoved,
    EntryRemoved,
    FileCreated,
    FileWithChunkCreated,
    GoalChanged,
    PolicySet,
    SnapshotTaken,
)
from master.servers.attention import Attention

CHANGES_NAMES = (
    FileCreated,
    FileWithChunkCreated,
    DirectoriesMade,
    EntryMoved,
    EntryRemoved,
    GoalChanged,
    ChunkAllocated,
    PolicySet,
    SnapshotTaken,
)
"""The records that are refused while an operator keeps the master in safe mode."""


class SafeMode:
    """Whether a run of the master is still starting. (What an operator has said is in the persistent state.)"""

    def __init__(
        self, *, settling_seconds: float, longest_seconds: float, threshold: float, interval: float, began: float
    ) -> None:
        """`interval`: how often `Attention` ticks; `began`: the start, by the master's clock."""
        self.attention = Attention(interval=interval, began=began)
        self._settling = settling_seconds
        self._longest = max(settling_seconds, longest_seconds)
        self._threshold = threshold
        self._has_left = False

    def is_starting(self, *, all_registered: bool) -> bool:
        """Whether the master waits yet for servers to report."""
        return not self._has_left and not all_registered

    def look(self, now: float, *, all_registered: bool, found: Callable[[], float]) -> str:
        """Leave safe mode if it is time, for good; returns why, in words, and "" if nothing has changed. `found`
        counts the share of chunks with a replica."""
        if self._has_left:
            return ""
        seconds = self.attention.seconds(now)
        if all_registered:
            reason = "every chunkserver has registered"
        elif seconds >= self._settling and (share := found()) >= self._threshold:
            reason = f"{share:.1%} of the chunks have a replica"
        elif seconds >= self._longest:
            reason = f"it has waited for {seconds:.0f} s, and what nobody has reported counts as lost"
        else:
            return ""
        self._has_left = True
        return reason

    def leave(self) -> bool:
        """An operator says that there is nothing to wait for; False if it has been left already."""
        was_on, self._has_left = not self._has_left, True
        return was_on

    def seconds_left(self, now: float) -> float:
        """How long it lasts at most."""
        return max(0.0, self._longest - self.attention.seconds(now))
