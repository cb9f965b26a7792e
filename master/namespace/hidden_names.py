"""Hidden names: where deleted entries live until they are forgotten (GFS 4.4).

A deletion renames an entry into the tree below `/.deleted`, under a directory of its own whose name is a *stamp*: the
moment of the deletion, which no two deletions share. Below that stands the whole path that the entry had, so that
nothing about its old place is lost, however long the path is:

>>> hidden_name("/users/ann/thesis", 1_700_000_000_000_000)
'/.deleted/1700000000000000/users/ann/thesis'
>>> origin_of("/.deleted/1700000000000000/users/ann/thesis")
'/users/ann/thesis'

How long it is kept is the cluster's setting, unless a policy says otherwise (`policies.py`): then the name tells it, in
seconds, so that the time of what is deleted does not depend on what happens to the policy later.

>>> hidden_name("/users/ann/thesis", 1_700_000_000_000_000, kept_seconds=3600)
'/.deleted/1700000000000000+3600/users/ann/thesis'
>>> deletion_of("/.deleted/1700000000000000+3600/users/ann/thesis")
Deletion(stamp=1700000000000000, kept_seconds=3600)

The directories between the stamp and the entry only lead to it. They come with the entry, go with it, and are known by
a time of creation of 0, which no directory has that somebody made.

Before format 7 of the log a hidden name was one part, with `|` for each `/` and cut at 255 bytes:

>>> deletion_of("/.deleted/1700000000000000-users|ann|thesis"), origin_of("/.deleted/1700000000000000-users|ann|thesis")
(Deletion(stamp=1700000000000000, kept_seconds=None), '/users/ann/thesis')
>>> origin_of("/.deleted/1700000000000000-...|ann|thesis")
''
"""

from dataclasses import dataclass

from master.namespace.paths import HIDDEN_ROOT

_STAMP_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Deletion:
    """When something was deleted, in microseconds since the epoch, and for how many seconds it is kept; None: for as
    long as the cluster keeps things."""

    stamp: int
    kept_seconds: int | None


def hidden_name(path: str, now_microseconds: int, kept_seconds: int | None = None) -> str:
    """Where a deleted entry goes. `now_microseconds`, since the epoch, must be unique among deletions."""
    kept = "" if kept_seconds is None else f"+{kept_seconds}"
    return f"{HIDDEN_ROOT}/{now_microseconds:0{_STAMP_DIGITS}d}{kept}{path}"


def deletion_of(hidden: str) -> Deletion:
    """What the name of a deleted entry, or of anything in it, says of its deletion."""
    stamp, mark, kept = _first_part(hidden).partition("-")[0].partition("+")
    return Deletion(int(stamp), int(kept) if mark else None)


def deleted_at(hidden: str) -> int:
    """When the entry with this hidden name was deleted, in microseconds since the epoch."""
    return deletion_of(hidden).stamp


def root_of(hidden: str) -> str:
    """The directory of the deletion that a hidden name belongs to, to be forgotten as a whole.

    >>> root_of("/.deleted/1700000000000000/users/ann")
    '/.deleted/1700000000000000'
    """
    return f"{HIDDEN_ROOT}/{_first_part(hidden)}"


def origin_of(hidden: str) -> str:
    """The path that it had before it was deleted; empty if that is not known: an old name may have been cut."""
    first, _, rest = hidden.removeprefix(HIDDEN_ROOT + "/").partition("/")
    _, is_old, name = first.partition("-")
    if not is_old:
        return f"/{rest}"
    if name.startswith("..."):
        return ""
    return "/" + name.replace("|", "/") + (f"/{rest}" if rest else "")


def _first_part(hidden: str) -> str:
    return hidden.removeprefix(HIDDEN_ROOT + "/").partition("/")[0]
