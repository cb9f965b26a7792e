"""Which deleted files and abandoned ones are due (GFS 4.4).

A deleted file is first only renamed to a hidden name, so that a mistaken deletion can be undone for three days. A scan
of the namespace then forgets it, and from that moment its replicas are orphans: servers mention what they hold, a few
replicas with each heartbeat, and the master answers which of them belong to no chunk. One rule serves for every way in
which rubbish can arise.

A client that is killed while it writes a file, or a folder of files, under a temporary name leaves that name behind.
The same scan deletes it, as a user would, when nothing about it has changed for a long while (`abandoned.py`)."""

from master.paths import deleted_at


def is_due(hidden: str, *, now_microseconds: int, grace_seconds: float) -> bool:
    """Whether the grace period of a hidden name is over. `now_microseconds` is since the epoch.

    >>> is_due("/.deleted/0000000005000000-a", now_microseconds=6_000_000, grace_seconds=1.0)
    True
    >>> is_due("/.deleted/0000000005000000-a", now_microseconds=5_999_999, grace_seconds=1.0)
    False
    """
    return now_microseconds - deleted_at(hidden) >= grace_seconds * 1_000_000
