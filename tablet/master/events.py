"""What the tablet master reports of itself."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class TabletMasterActs(Event):
    """It holds the lock of the masters."""

    sentence: ClassVar[str] = "acts as the tablet master, under generation {generation}"
    generation: int


@dataclass(frozen=True, slots=True)
class TabletMasterStepsDown(Event):
    """Its session with the lock service is over, and so is its lock."""

    sentence: ClassVar[str] = "is the tablet master no more"


@dataclass(frozen=True, slots=True)
class TabletServerBuried(Event):
    """A tablet server's lock was free: it serves no more, and its tablets go to others."""

    sentence: ClassVar[str] = "took the lock of {life}, which has ended"
    life: str


@dataclass(frozen=True, slots=True)
class TabletAssigned(Event):
    """METADATA says so, and the server has loaded the tablet."""

    sentence: ClassVar[str] = "tablet {tablet!r} is served by {life} under token {token}"
    tablet: str
    life: str
    token: int


@dataclass(frozen=True, slots=True)
class AssignmentFailed(Event):
    """It is tried again in the next round."""

    sentence: ClassVar[str] = "could not have tablet {tablet!r} served: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class TabletMoved(Event):
    """A tablet begins to move to another server."""

    sentence: ClassVar[str] = "moves tablet {tablet!r} from {life} to {target}: {reason}"
    tablet: str
    life: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class MergeOrdered(Event):
    """Two neighbours are brought to one server, and merged there."""

    sentence: ClassVar[str] = "has tablets {lower!r} and {upper!r} merged: {reason}"
    lower: str
    upper: str
    reason: str


@dataclass(frozen=True, slots=True)
class MergeFailed(Event):
    """Two neighbours were not merged."""

    sentence: ClassVar[str] = "could not have tablets {lower!r} and {upper!r} merged: {reason}"
    lower: str
    upper: str
    reason: str


@dataclass(frozen=True, slots=True)
class OutdatedRowRemoved(Event):
    """A METADATA row told of a tablet that had become others."""

    sentence: ClassVar[str] = "removed the METADATA row of tablet {tablet!r}, which is no more"
    tablet: str


@dataclass(frozen=True, slots=True)
class TabletFilesSwept(Event):
    """Files in the folder of a tablet that is no more were removed, because no tablet refers to them."""

    sentence: ClassVar[str] = "removed {files} files of tablet {tablet!r}, which is no more; {kept} are needed"
    tablet: str
    files: int
    kept: int


@dataclass(frozen=True, slots=True)
class TableCreated(Event):
    """A table is there, and its tablets are served."""

    sentence: ClassVar[str] = "created table {table!r} of {tablets} tablets"
    table: str
    tablets: int


@dataclass(frozen=True, slots=True)
class TableDeleted(Event):
    """A table is gone, with its files."""

    sentence: ClassVar[str] = "deleted table {table!r}"
    table: str


@dataclass(frozen=True, slots=True)
class LogsOfTheDeadRemoved(Event):
    """No tablet needs the log of an ended life any more."""

    sentence: ClassVar[str] = "removed the log of {life}, of which no tablet needs anything"
    life: str


@dataclass(frozen=True, slots=True)
class TableSnapshotTaken(Event):
    """All tablets of a table were acquired, and the record says that the snapshot is there."""

    sentence: ClassVar[str] = "took snapshot {name!r} of table {table!r}: {tablets} tablets, {size} bytes"
    name: str
    table: str
    tablets: int
    size: int


@dataclass(frozen=True, slots=True)
class TableSnapshotAborted(Event):
    """A snapshot did not come about, and nothing is left of it."""

    sentence: ClassVar[str] = "aborted snapshot {name!r} of table {table!r}: {reason}"
    name: str
    table: str
    reason: str


@dataclass(frozen=True, slots=True)
class TableSnapshotDeleted(Event):
    """A snapshot is gone, with its files."""

    sentence: ClassVar[str] = "deleted snapshot {name!r}"
    name: str


@dataclass(frozen=True, slots=True)
class TableRestored(Event):
    """A new table has what a snapshot held."""

    sentence: ClassVar[str] = "made table {table!r} of snapshot {name!r}"
    table: str
    name: str
