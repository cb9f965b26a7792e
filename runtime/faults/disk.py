"""What can be wrong with a simulated disk, and what a hook sees of its work.

    end = disk.impose(ReadError(path="chunks/"))     # every read below chunks/ fails
    ...
    end()                                            # and this one fault is over; others stay

Faults at the same place are counted, so that the end of one ends no other (undo.py). Paths are prefixes: "" is the
whole disk, "chunks/" a folder, "log" each file whose path begins so. `offset` and `count` narrow an error to a place
in the file: only what touches one of these bytes fails.

A hook (`disk.on_operation`) is told of each operation before it happens. It may return an error to be raised in its
place, and it may end, pause or cut the power of a node:

    def hook(operation: Operation) -> TabletopError | None:
        if operation.verb == "sync" and operation.path.startswith("log"):
            return DiskFailure(f"cannot sync {operation.path}: Input/output error")
        return None
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.errors import TabletopError
from runtime.faults.undo import Imposed, Undo


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a disk, before it happens. `number` counts the disk's operations from 1.

    Verbs: open, create (an open that makes the file), make_directory, rename, remove, list, exists, size,
    sync_directory, lock; of open files: read, write, truncate, size, sync.
    """

    number: int
    verb: str
    path: str
    offset: int = 0  # of a read or write; the new length, of truncate
    count: int = 0  # bytes read or written
    target: str = ""  # the new name, of rename


OperationHook = Callable[[Operation], TabletopError | None]


@dataclass(frozen=True, slots=True)
class DiskFault:
    """The base of all of them."""


@dataclass(frozen=True, slots=True)
class FaultOfPath(DiskFault):
    """The base of those that concern some files only."""

    path: str = ""

    def covers(self, path: str) -> bool:
        """Whether a file or folder is concerned."""
        return path.startswith(self.path)


@dataclass(frozen=True, slots=True)
class ErrorAtPlace(FaultOfPath):
    """An error of a whole file, or of a place in it."""

    offset: int = 0
    count: int | None = None  # None: to the end, whatever the length

    def touches(self, path: str, offset: int, count: int) -> bool:
        """Whether a read or write hits the place."""
        end = None if self.count is None else self.offset + self.count
        return self.covers(path) and offset + count > self.offset and (end is None or offset < end)


@dataclass(frozen=True, slots=True)
class ReadError(ErrorAtPlace):
    """Reads fail."""


@dataclass(frozen=True, slots=True)
class WriteError(ErrorAtPlace):
    """Writes fail; without a place also what changes lengths and names: truncate, create, rename, remove."""


@dataclass(frozen=True, slots=True)
class SyncError(FaultOfPath):
    """Syncs of files and folders fail. With `loses_pages` what a failed sync should have written is marked as clean
    all the same, as Linux does: it can be read until the power goes, and no later sync writes it."""

    loses_pages: bool = False


@dataclass(frozen=True, slots=True)
class OpenError(FaultOfPath):
    """Opening a file fails, in every mode."""


@dataclass(frozen=True, slots=True)
class ListError(FaultOfPath):
    """Listing a folder fails, and so does looking for a name: list, exists, size."""


@dataclass(frozen=True, slots=True)
class LyingSync(FaultOfPath):
    """Syncs of files succeed and do nothing."""


@dataclass(frozen=True, slots=True)
class ShortWrites(FaultOfPath):
    """A write that fails leaves a part behind: what fits a full disk, or else the first half."""


@dataclass(frozen=True, slots=True)
class SlowDisk(DiskFault):
    """The whole disk is slower. Several of them: the seconds add up, the smallest speed counts."""

    seconds_per_operation: float = 0.0
    seconds_per_sync: float = 0.0
    bytes_per_second: float = 0.0  # 0: no limit


@dataclass(frozen=True, slots=True)
class FullDisk(DiskFault):
    """Somebody else took so many bytes of what was free; None: all of it, also what becomes free later."""

    taken_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StrayWrites(FaultOfPath):
    """Writes that go astray without an error."""

    first: int = 1  # which matching write is the first that goes astray, counted from 1
    times: int | None = 1  # how many do; None: all from there on
    suffix: str = ""  # how a path must end, beside its beginning

    def covers(self, path: str) -> bool:
        """Whether a file is concerned."""
        return path.startswith(self.path) and path.endswith(self.suffix)


@dataclass(frozen=True, slots=True)
class DroppedWrites(StrayWrites):
    """Writes succeed and land nowhere: the bytes stay what they were. A file still grows, by zeros."""


@dataclass(frozen=True, slots=True)
class MisdirectedWrites(StrayWrites):
    """Writes succeed and land `shift` bytes further on in the same file, or before if that is past its end."""

    shift: int = 4096


@dataclass(slots=True)
class DiskSpeed:
    """How fast a sound disk is. It serves one operation that takes time after the other, as a platter does."""

    seconds_per_operation: float = 0.0
    seconds_per_sync: float = 0.0
    bytes_per_second: float = 0.0  # 0: no limit


class _Active:
    """A fault that is imposed, and how many writes it has seen."""

    def __init__(self, fault: DiskFault) -> None:
        self.fault = fault
        self.seen = 0


class ImposedFaults:
    """All faults of one disk at this moment, sorted by what asks for them."""

    def __init__(self) -> None:
        self._imposed = Imposed[_Active](self._sort)
        self.read_errors: list[ReadError] = []
        self.write_errors: list[WriteError] = []
        self.sync_errors: list[SyncError] = []
        self.open_errors: list[OpenError] = []
        self.list_errors: list[ListError] = []
        self.lying_syncs: list[LyingSync] = []
        self.short_writes: list[ShortWrites] = []
        self.slow: list[SlowDisk] = []
        self.full: list[FullDisk] = []
        self._stray: list[_Active] = []

    def add(self, fault: DiskFault) -> Undo:
        """Impose one more."""
        return self._imposed.add(_Active(fault))

    def clear(self) -> None:
        """End all."""
        self._imposed.clear()

    def stray(self, path: str) -> DroppedWrites | MisdirectedWrites | None:
        """What becomes of the write that comes now; None: what should. Each fault counts the writes that it covers."""
        found: DroppedWrites | MisdirectedWrites | None = None
        for active in self._stray:
            fault = active.fault
            if isinstance(fault, DroppedWrites | MisdirectedWrites) and fault.covers(path):
                active.seen += 1
                begun = active.seen >= fault.first
                if begun and (fault.times is None or active.seen < fault.first + fault.times):
                    found = found or fault
        return found

    def speed(self, sound: DiskSpeed) -> DiskSpeed:
        """How fast the disk is with all that slows it."""
        if not self.slow:
            return sound
        limits = [sound.bytes_per_second, *(one.bytes_per_second for one in self.slow)]
        return DiskSpeed(
            sound.seconds_per_operation + sum(one.seconds_per_operation for one in self.slow),
            sound.seconds_per_sync + sum(one.seconds_per_sync for one in self.slow),
            min((limit for limit in limits if limit), default=0.0),
        )

    def _sort(self) -> None:
        active = self._imposed.values()
        faults = [one.fault for one in active]
        self.read_errors = [fault for fault in faults if isinstance(fault, ReadError)]
        self.write_errors = [fault for fault in faults if isinstance(fault, WriteError)]
        self.sync_errors = [fault for fault in faults if isinstance(fault, SyncError)]
        self.open_errors = [fault for fault in faults if isinstance(fault, OpenError)]
        self.list_errors = [fault for fault in faults if isinstance(fault, ListError)]
        self.lying_syncs = [fault for fault in faults if isinstance(fault, LyingSync)]
        self.short_writes = [fault for fault in faults if isinstance(fault, ShortWrites)]
        self.slow = [fault for fault in faults if isinstance(fault, SlowDisk)]
        self.full = [fault for fault in faults if isinstance(fault, FullDisk)]
        self._stray = [one for one in active if isinstance(one.fault, StrayWrites)]


def covering(faults: Sequence[FaultOfPath], path: str) -> FaultOfPath | None:
    """The first of them that concerns a path."""
    return next((fault for fault in faults if fault.covers(path)), None)


_WORDS = {
    "make_directory": "create the folder",
    "exists": "look at",
    "size": "look at",
    "sync_directory": "sync the folder",
}


def words_of(verb: str) -> str:
    """How a message calls what was tried."""
    return _WORDS.get(verb, verb)
