"""Which deleted files and abandoned ones are due (GFS 4.4).

A deleted file is first only renamed to a hidden name, so that a mistaken deletion can be undone for three days. A scan
of the namespace then forgets it, and from that moment its replicas are orphans: servers mention what they hold, a few
replicas with each heartbeat, and the master answers which of them belong to no chunk. One rule serves for every way in
which rubbish can arise.

A client that is killed while it writes a file, or a folder of files, under a temporary name leaves that name behind.
The same scan deletes it, as a user would, when nothing about it has changed for a long while (`abandoned.py`)."""

from collections import deque

from master.namespace.hidden_names import deletion_of

_SIGHTINGS = 100  # remembered for one grace period


def is_due(hidden: str, *, now_microseconds: int, grace_seconds: float, seen_through: int = 0) -> bool:
    """Whether the grace period of a hidden name is over: its own, or else the cluster's, `grace_seconds`.

    `now_microseconds` is since the epoch; `seen_through` is the last stamp that was seen for so long (`Sightings`).

    >>> is_due("/.deleted/0000000005000000/a", now_microseconds=6_000_000, grace_seconds=1.0)
    True
    >>> is_due("/.deleted/0000000005000000/a", now_microseconds=5_999_999, grace_seconds=1.0)
    False
    >>> is_due("/.deleted/0000000005000000+9/a", now_microseconds=6_000_000, grace_seconds=1.0)
    False
    >>> is_due("/.deleted/0000000005000000/a", now_microseconds=0, grace_seconds=1.0, seen_through=5_000_000)
    True
    """
    found = deletion_of(hidden)
    kept_seconds = grace_seconds if found.kept_seconds is None else found.kept_seconds
    return found.stamp <= seen_through or now_microseconds - found.stamp >= kept_seconds * 1_000_000


class Sightings:
    """Which stamps this run of the master has seen for a grace period, by a clock that is never set.

    The clock on the wall may have been far ahead for a moment. Stamps rise from one deletion to the next, so that from
    then on all of them lie in the future, and by that clock nothing would be due for years. But what was there a grace
    period ago has had it, whatever its stamp says.

    >>> sightings = Sightings(grace_seconds=10.0)
    >>> [sightings.seen_through(now, last) for now, last in ((0.0, 70), (9.0, 71), (10.0, 72), (19.0, 72))]
    [0, 0, 70, 71]
    """

    def __init__(self, *, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._seen: deque[tuple[float, int]] = deque()  # when, in seconds, and the last stamp of that time
        self._through = 0

    def seen_through(self, now: float, last_stamp: int) -> int:
        """The last stamp that has been there for a grace period. `last_stamp` is the last that there is now."""
        is_sparse = not self._seen or now - self._seen[-1][0] >= self._grace / _SIGHTINGS
        if is_sparse and last_stamp > (self._seen[-1][1] if self._seen else self._through):
            self._seen.append((now, last_stamp))
        while self._seen and now - self._seen[0][0] >= self._grace:
            self._through = self._seen.popleft()[1]
        return self._through
