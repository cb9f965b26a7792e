"""Names and keys: METADATA rows, the lock service's files, and the folders in GFS (BT 5.1, 5.2).

>>> metadata_key("users", b"m") < metadata_key("users", b"") < metadata_key("users2", b"a")
True
>>> metadata_key(METADATA, b"x") < USER_ROWS < metadata_key("A", b"")
True
"""

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.errors import Corrupted
from runtime.wire.tables_pb2 import TabletPlace
from tablet.engine.model.schema import Family, MaxVersions, Schema
from tablet.location.tablet_log import EVENTS_FAMILY

METADATA = "METADATA"
ROOT_TABLET = "METADATA-000001"
"""The first METADATA tablet, which has the rows about the others."""
FIRST_METADATA_TABLET = "METADATA-000002"
FIRST_NUMBER = 3

USER_ROWS = b"1"
"""In METADATA, rows below this one are about METADATA tablets and lie in the root tablet."""
_METADATA_ROWS = b"0"
_END = b"\x02"
_BOUNDED = b"\x01"

FAMILY = "tablet"
PLACE_COLUMN = b"tablet:place"
METADATA_SCHEMA = Schema().with_family(Family(FAMILY, MaxVersions(1))).with_family(EVENTS_FAMILY)

# The lock service.
LOCK_ROOT = "/tablets"
MASTER_PATH = f"{LOCK_ROOT}/master"
ROOT_PATH = f"{LOCK_ROOT}/root"
NUMBER_PATH = f"{LOCK_ROOT}/next"
SERVERS_PATH = f"{LOCK_ROOT}/servers"
TABLES_PATH = f"{LOCK_ROOT}/tables"
SNAPSHOTS_PATH = f"{LOCK_ROOT}/snapshots"


@dataclass(frozen=True, slots=True)
class GfsPaths:
    """Where things lie in the file system, below a folder."""

    root: str = "/tablets"

    @property
    def data(self) -> str:
        """A folder for each tablet."""
        return f"{self.root}/data"

    @property
    def logs(self) -> str:
        """A folder for each life of a tablet server: its log."""
        return f"{self.root}/logs"

    @property
    def closing(self) -> str:
        """Logs that are being taken away from their writers."""
        return f"{self.root}/closing"

    @property
    def closed(self) -> str:
        """Logs that nobody writes to any more."""
        return f"{self.root}/closed"

    @property
    def sorting(self) -> str:
        """Logs that are being sorted."""
        return f"{self.root}/sorting"

    @property
    def sorted(self) -> str:
        """Sorted logs."""
        return f"{self.root}/sorted"

    @property
    def snapshots(self) -> str:
        """A folder for each snapshot of a table, and in it one for each tablet."""
        return f"{self.root}/snapshots"

    def all(self) -> list[str]:
        """Each of them."""
        return [self.data, self.logs, self.closing, self.closed, self.sorting, self.sorted, self.snapshots]


def metadata_key(table: str, end_row: bytes) -> bytes:
    """The key of the METADATA row of the tablet that ends at `end_row` (empty: no bound)."""
    level = _METADATA_ROWS if table == METADATA else USER_ROWS
    return level + table.encode() + b"\0" + (_BOUNDED + end_row if end_row else _END)


def key_of(place: TabletPlace) -> bytes:
    """The key of a tablet's METADATA row."""
    return metadata_key(place.table, place.end_row)


def search_range(table: str, row: bytes) -> tuple[bytes, bytes]:
    """Where in METADATA the first row lies of the tablets that may have `row`: start <= key < end."""
    level = _METADATA_ROWS if table == METADATA else USER_ROWS
    prefix = level + table.encode() + b"\0"
    return prefix + _BOUNDED + row + b"\0", prefix + _END + b"\0"


def search_range_before(table: str, end: bytes) -> tuple[bytes, bytes]:
    """The same for the tablet that has the rows just before `end`; empty: the last ones of the table."""
    return metadata_key(table, end), search_range(table, b"")[1]


def holds(place: TabletPlace, table: str, row: bytes) -> bool:
    """Whether a tablet has a row."""
    return place.table == table and place.start_row <= row and (not place.end_row or row < place.end_row)


def holds_before(place: TabletPlace, table: str, end: bytes) -> bool:
    """Whether a tablet has the rows just before `end`; empty: the last ones of the table."""
    if not end:
        return place.table == table and not place.end_row
    return place.table == table and place.start_row < end and (not place.end_row or end <= place.end_row)


def encode_place(place: TabletPlace) -> bytes:
    """The value of a METADATA row: always the same bytes for the same place, for it is compared."""
    return place.SerializeToString(deterministic=True)


def decode_place(value: bytes, key: bytes) -> TabletPlace:
    """The reverse. Raises Corrupted if the value belongs to another key."""
    place = TabletPlace.FromString(value)
    if key_of(place) != key:
        raise Corrupted(f"the METADATA row {key!r} is about tablet {place.tablet!r}, whose row is {key_of(place)!r}")
    return place


def with_lower_half(places: Iterable[TabletPlace]) -> list[TabletPlace]:
    """All tablets that some rows tell of, in order: also the lower half of a split that is not finished."""
    found: list[TabletPlace] = []
    for place in places:
        if place.HasField("lower_half"):
            found.append(place.lower_half)
        found.append(place)
    return found


def version(place: TabletPlace) -> tuple[int, int, int]:
    """Of two places that have a row in common, the one with the higher version is the one that counts: a tablet that
    comes from others has a higher number than they have, and the token rises with each change of one tablet."""
    return int(place.tablet.rpartition("-")[2]), place.token, place.merges_given_up


def living(places: Iterable[TabletPlace]) -> list[TabletPlace]:
    """The tablets that are alive, of all of which METADATA rows tell, in the order of the rows.

    >>> def place(number, start, end, token=0):
    ...     return TabletPlace(tablet=f"users-{number:06}", table="users", start_row=start, end_row=end, token=token)
    >>> names = lambda places: [(one.tablet[-1], one.token) for one in living(places)]
    >>> names([place(3, b"", b"m"), place(4, b"m", b"")])
    [('3', 0), ('4', 0)]
    >>> names([place(3, b"", b"m"), place(5, b"", b"")])  # 3 was merged into 5, and its row came late
    [('5', 0)]
    >>> names([place(3, b"", b"m", 7), place(3, b"", b"m", 6), place(4, b"m", b"")])  # a lower half, and its own row
    [('3', 7), ('4', 0)]
    """
    found: list[TabletPlace] = []
    for place in places:
        position, rivals = len(found), list[int]()
        while position and _is_behind(found[position - 1], place):
            position -= 1
            if not place.end_row or found[position].start_row < place.end_row:
                rivals.append(position)
        if any(version(found[rival]) >= version(place) for rival in rivals):
            continue
        for rival in rivals:
            del found[rival]
        found.insert(position, place)
    return found


def _is_behind(one: TabletPlace, other: TabletPlace) -> bool:
    """Whether a place ends behind the begin of another one."""
    return one.table == other.table and (not one.end_row or one.end_row > other.start_row)


def alone(upper: TabletPlace, **fields: object) -> TabletPlace:
    """The place without its lower half, and with some fields changed."""
    made = changed(upper, merging="", **fields)
    made.ClearField("lower_half")
    return made


def merge_given_up(upper: TabletPlace) -> TabletPlace:
    """The row of two tablets that were to be merged, when they are not: as after a split. Both differ from what they
    were before, so that no change by whoever was about to merge them takes effect any more."""
    given_up = changed(upper, merging="", merges_given_up=upper.merges_given_up + 1)
    lower = upper.lower_half
    given_up.lower_half.CopyFrom(changed(lower, merges_given_up=lower.merges_given_up + 1))
    return given_up


def has_gap(places: Iterable[TabletPlace]) -> bool:
    """Whether there are rows of a table that none of its tablets has, from the first one on that is given.

    >>> def place(start, end): return TabletPlace(table="users", start_row=start, end_row=end)
    >>> has_gap([place(b"", b"m"), place(b"m", b"")]), has_gap([place(b"", b"k"), place(b"m", b"")])
    (False, True)
    """
    last: TabletPlace | None = None
    for place in places:
        if last is not None and last.table == place.table and last.end_row and last.end_row < place.start_row:
            return True
        last = place
    return False


def changed(place: TabletPlace, **fields: object) -> TabletPlace:
    """The place with some fields changed; `logs` as a list."""
    made = TabletPlace()
    made.CopyFrom(place)
    for name, value in fields.items():
        if name == "logs":
            del made.logs[:]
            made.logs.extend(value)  # type: ignore[arg-type]
        else:
            setattr(made, name, value)
    return made
