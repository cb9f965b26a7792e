"""What the tablets of a server report of their splits and merges."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class TabletSplit(Event):
    """Two tablets have taken the place of one (BT 5.2)."""

    sentence: ClassVar[str] = "split tablet {tablet!r} at row {row!r} into {lower!r} and {upper!r}"
    tablet: str
    row: bytes
    lower: str
    upper: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TabletsMerged(Event):
    """A tablet has taken the place of two neighbours."""

    sentence: ClassVar[str] = "merged tablets {lower!r} and {upper!r} into {tablet!r}"
    lower: str
    upper: str
    tablet: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReshapingFailed(Event):
    """A split or a merge came to nothing; the tablets are as before."""

    sentence: ClassVar[str] = "tablets {tablets} stay as they are: {reason}"
    tablets: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class FoldersSwept(Event):
    """Files to which no live tablet refers were removed, and folders in which nothing was left."""

    sentence: ClassVar[str] = "removed {files} files of tablets that are no more, and {folders} folders"
    files: int
    folders: int


@dataclass(frozen=True, slots=True)
class TabletUnreadable(Event):
    """A live tablet cannot be opened. The others serve; no shared file is removed until it is opened."""

    sentence: ClassVar[str] = "tablet {tablet!r} cannot be opened: {reason}"
    tablet: str
    reason: str
