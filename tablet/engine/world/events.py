"""What a tablet engine reports: begin and end of each flush and compaction, and what recovery found."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class TabletFound(Event):
    """An opening has read which files make up the tablet. `flushed_sequence` is the redo point."""

    sentence: ClassVar[str] = (
        "found tablet {tablet!r} in {manifest}: {tables} SSTables, in which all records up to {flushed_sequence} are"
    )
    tablet: str
    manifest: str
    tables: int
    flushed_sequence: int


@dataclass(frozen=True, slots=True)
class CommitLogReplayed(Event):
    """An opening has read a log. `records` were newer than the SSTables, and their rows are in the memtable."""

    sentence: ClassVar[str] = "replayed {records} records of {log}, for {rows} rows"
    log: str
    records: int
    rows: int


@dataclass(frozen=True, slots=True)
class LogLeftOut(Event):
    """Acknowledged records before this log are lost, as after a power cut with `sync="os"`: it does not count."""

    sentence: ClassVar[str] = "leaves out {log}: what was before it is lost"
    log: str


@dataclass(frozen=True, slots=True)
class LogSorted(Event):
    """What a server's log holds now lies in pieces, sorted by tablet and row (BT 6)."""

    sentence: ClassVar[str] = "sorted the log of {owner!r}: {records} records of {tablets} tablets, in {pieces} pieces"
    owner: str
    records: int
    tablets: int
    pieces: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TabletTakenOver(Event):
    """A tablet has its rows that were in the log of the server that had it before, and they are in SSTables now."""

    sentence: ClassVar[str] = "took over tablet {tablet!r} with {rows} rows from the sorted log of {owner!r}"
    tablet: str
    owner: str
    rows: int
    flushed_sequence: int


@dataclass(frozen=True, slots=True)
class TabletOpened(Event):
    """The engine serves. `replayed` log records were read again, `seconds` is the time that opening took."""

    sentence: ClassVar[str] = "opened tablet {tablet!r}: {tables} SSTables, {replayed} log records replayed"
    tablet: str
    tables: int
    replayed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TabletClosed(Event):
    """The engine let go of its files."""

    sentence: ClassVar[str] = "closed tablet {tablet!r}"
    tablet: str


@dataclass(frozen=True, slots=True)
class LogTailDropped(Event):
    """The end of a log was not completely written, and nobody had been told that it was durable."""

    sentence: ClassVar[str] = "dropped {dropped_bytes} bytes at the end of {log}: {reason}"
    log: str
    offset: int
    dropped_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogEndNotWritten(Event):
    """The last records could not be made durable where they stand."""

    sentence: ClassVar[str] = "the end of {log} takes no more writes, so its rows go to an SSTable: {reason}"
    log: str
    reason: str


@dataclass(frozen=True, slots=True)
class TablePartPassedOver(Event):
    """A part of an SSTable cannot be read, and the file is used without it."""

    sentence: ClassVar[str] = "tablet {tablet!r} uses {table} without its {part}: {reason}"
    tablet: str
    table: str
    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class MemtableFrozen(Event):
    """The memtable is full; writes go to a new one."""

    sentence: ClassVar[str] = "froze the memtable of tablet {tablet!r} with {rows} rows"
    tablet: str
    rows: int
    charged_bytes: int


@dataclass(frozen=True, slots=True)
class FlushStarted(Event):
    """A minor compaction began (BT 5.4)."""

    sentence: ClassVar[str] = "minor compaction of {rows} rows began in tablet {tablet!r}"
    tablet: str
    rows: int


@dataclass(frozen=True, slots=True)
class FlushFinished(Event):
    """A minor compaction is installed; log records up to `flushed_sequence` are no longer needed."""

    sentence: ClassVar[str] = "minor compaction in tablet {tablet!r} wrote {names}, {written_bytes} bytes"
    tablet: str
    names: tuple[str, ...]
    written_bytes: int
    flushed_sequence: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FlushFailed(Event):
    """A minor compaction came to nothing; the memtable and the log are still there."""

    sentence: ClassVar[str] = "minor compaction failed in tablet {tablet!r}: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class CompactionStarted(Event):
    """A merging or major compaction began."""

    sentence: ClassVar[str] = "{kind} compaction of {names} began in tablet {tablet!r} ({reason})"
    tablet: str
    group: str
    kind: str
    names: tuple[str, ...]
    read_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class CompactionFinished(Event):
    """A compaction is installed; `name` is empty if nothing was left to write."""

    sentence: ClassVar[str] = "{kind} compaction in tablet {tablet!r} made {name}, {written_bytes} bytes"
    tablet: str
    group: str
    kind: str
    name: str
    read_bytes: int
    written_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CompactionFailed(Event):
    """A compaction came to nothing; its inputs are still there."""

    sentence: ClassVar[str] = "compaction failed in tablet {tablet!r}: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class TableSetAside(Event):
    """A compaction could not read an SSTable; others continue without it. `seconds`: for how long; 0: until the tablet
    is opened again, since damage does not heal."""

    sentence: ClassVar[str] = "compactions of tablet {tablet!r} leave {table} alone: {reason}"
    tablet: str
    table: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class WritesStalled(Event):
    """Writers wait for housekeeping, so that memory stays bounded."""

    sentence: ClassVar[str] = "writes to tablet {tablet!r} wait: {reason}"
    tablet: str
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotUnreadable(Event):
    """Nobody knows which SSTables a snapshot refers to: from here on none is removed."""

    sentence: ClassVar[str] = (
        "keeps every SSTable of tablet {tablet!r}, for its snapshot {snapshot!r} cannot be read: {reason}"
    )
    tablet: str
    snapshot: str
    reason: str


@dataclass(frozen=True, slots=True)
class ObsoleteFilesRemoved(Event):
    """Mark and sweep found files that nothing refers to (BT 6)."""

    sentence: ClassVar[str] = "removed {names}"
    tablet: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileNotRemoved(Event):
    """A file that nothing refers to any more is still there; the next sweep tries again."""

    sentence: ClassVar[str] = "could not remove {name} of tablet {tablet!r}, which nothing needs any more: {reason}"
    tablet: str
    name: str
    reason: str
