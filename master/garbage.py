"""Which replicas are garbage, and which deleted files are due (GFS 4.4, 4.5).

The problem. Deletions, failed creations and dead servers leave replicas behind that nobody will ever name again, and
telling every server at once what to delete would fail exactly when machines are failing.

The idea. The master knows all chunks, so a replica it does not know is garbage: one rule for every way in which rubbish
can arise. Servers mention their chunks in registrations and, a few at a time, in heartbeats; the answer names those
that are garbage; the server deletes them when it likes. The same conversation finds *stale* replicas, which missed
mutations while their server was away: their version is too low. And files are first only renamed to a hidden name, so
that a mistaken deletion can be undone for three days.

>>> judge_replica(reported=3, version=3, attempted=3, is_forming=False, is_unwanted=False)
<Verdict.CURRENT: 'current'>
>>> judge_replica(reported=2, version=3, attempted=3, is_forming=False, is_unwanted=False)
<Verdict.STALE: 'stale'>
>>> judge_replica(reported=1, version=None, attempted=None, is_forming=False, is_unwanted=False)
<Verdict.ORPHAN: 'orphan'>
"""

import enum

from master.paths import HIDDEN_ROOT, deleted_at


class Verdict(enum.Enum):
    """What a reported replica is."""

    CURRENT = "current"  # counts as a replica
    STALE = "stale"  # missed mutations: garbage
    ORPHAN = "orphan"  # of a chunk that is not, or no longer, known: garbage
    UNWANTED = "unwanted"  # corrupt, or one too many: garbage
    NEWER = "newer"  # the master failed in the middle of a grant: the higher version is current (4.5)
    FORMING = "forming"  # a grant, a creation or a clone of this chunk is running: no verdict yet


def judge_replica(
    *, reported: int, version: int | None, attempted: int | None, is_forming: bool, is_unwanted: bool
) -> Verdict:
    """What to think of a replica at version `reported`.

    `version` and `attempted` are the master's (None: no such chunk); `is_unwanted` says that the master has dropped
    this very replica before, as corrupt or surplus.
    """
    if is_forming:
        return Verdict.FORMING
    if version is None or attempted is None:
        return Verdict.ORPHAN
    if reported < version:
        return Verdict.STALE
    if is_unwanted:
        return Verdict.UNWANTED
    return Verdict.CURRENT if reported == version else Verdict.NEWER


GARBAGE = (Verdict.STALE, Verdict.ORPHAN, Verdict.UNWANTED)


def is_due(hidden: str, *, now_microseconds: int, grace_seconds: float) -> bool:
    """Whether the grace period of a hidden name is over. `now_microseconds` is since the epoch.

    >>> is_due("/.deleted/0000000005000000-a", now_microseconds=6_000_000, grace_seconds=1.0)
    True
    >>> is_due("/.deleted/0000000005000000-a", now_microseconds=5_999_999, grace_seconds=1.0)
    False
    """
    return now_microseconds - deleted_at(hidden) >= grace_seconds * 1_000_000


def is_top_hidden(path: str) -> bool:
    """Whether the path is a hidden name itself, rather than something inside a deleted directory.

    >>> is_top_hidden("/.deleted/0000000005000000-a"), is_top_hidden("/.deleted/0000000005000000-a/b")
    (True, False)
    """
    return path.startswith(HIDDEN_ROOT + "/") and "/" not in path[len(HIDDEN_ROOT) + 1 :]
