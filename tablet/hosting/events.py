"""What a tablet server reports of itself."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class ServerLifeBegan(Event):
    """A tablet server holds its lock and may be given tablets."""

    sentence: ClassVar[str] = "holds its lock, and serves as {life}"
    life: str


@dataclass(frozen=True, slots=True)
class ServerLifeEnded(Event):
    """A tablet server serves nothing any more: its lock is lost, or it was stopped."""

    sentence: ClassVar[str] = "serves as {life} no more, with {tablets} tablets: {reason}"
    life: str
    tablets: int
    reason: str


@dataclass(frozen=True, slots=True)
class TabletLoaded(Event):
    """A tablet is served from here on."""

    sentence: ClassVar[str] = "serves tablet {tablet!r} under token {token}, with {logs} logs taken over"
    tablet: str
    token: int
    logs: int


@dataclass(frozen=True, slots=True)
class TabletLoadFailed(Event):
    """A tablet could not be opened."""

    sentence: ClassVar[str] = "could not load tablet {tablet!r}: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class TabletUnloaded(Event):
    """A tablet is served here no more."""

    sentence: ClassVar[str] = "serves tablet {tablet!r} no more: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class TabletSplitCommitted(Event):
    """METADATA says that two tablets are in the place of one."""

    sentence: ClassVar[str] = "split tablet {tablet!r} at row {row!r} into {lower!r} and {upper!r}"
    tablet: str
    row: str
    lower: str
    upper: str


@dataclass(frozen=True, slots=True)
class TabletMergeCommitted(Event):
    """METADATA says that one tablet is in the place of two."""

    sentence: ClassVar[str] = "merged tablets {lower!r} and {upper!r} into {tablet!r}"
    lower: str
    upper: str
    tablet: str


@dataclass(frozen=True, slots=True)
class TabletMergeGivenUp(Event):
    """Somebody else has changed METADATA before the merge was committed."""

    sentence: ClassVar[str] = "gave up merging tablets {lower!r} and {upper!r}"
    lower: str
    upper: str


@dataclass(frozen=True, slots=True)
class LogOfDeadServerSorted(Event):
    """The log of a life that has ended is sorted for those who take over its tablets."""

    sentence: ClassVar[str] = "sorted the log of {life}"
    life: str


@dataclass(frozen=True, slots=True)
class TabletAcquired(Event):
    """What a tablet holds at one moment is in the folder of a snapshot, too."""

    sentence: ClassVar[str] = "tablet {tablet!r} is in snapshot {folder!r}: {tables} SSTables of {size:,} bytes"
    tablet: str
    folder: str
    tables: int
    size: int
