"""What a chunkserver records of itself. Successful reads and writes are counted, not recorded one by one."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class StoreOpened(Event):
    """The disk's folder was read at start. `resolved` writes had been interrupted; `unsure` replicas await comparison
    with others after a loss of power; `aside` chunks could not be made sense of, and were put aside."""

    sentence: ClassVar[str] = (
        "opened its store: {chunks} chunks, {stored_bytes} bytes; {resolved} interrupted writes resolved, {unsure} "
        "replicas unsure, {aside} put aside"
    )
    chunks: int
    stored_bytes: int
    resolved: int
    unsure: int
    aside: int


@dataclass(frozen=True, slots=True)
class ChunkPutAside(Event):
    """The files of a chunk could not be made sense of: they lie in the folder aside/ now."""

    sentence: ClassVar[str] = "put the files of chunk {handle:#x} aside, in the folder aside/: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkUnreadable(Event):
    """The disk does not give the files of a chunk: the replica is not served, and nothing of it is changed."""

    sentence: ClassVar[str] = "cannot read the files of chunk {handle:#x}, and leaves them alone: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class MetadataRepaired(Event):
    """A chunk's metadata file was found damaged while the server ran, and was written anew from memory."""

    sentence: ClassVar[str] = "wrote the metadata of chunk {handle:#x} anew: {found}"
    handle: int
    found: str


@dataclass(frozen=True, slots=True)
class UnsureReplicaAdmitted(Event):
    """An unsure replica was compared with others by the master, and counts again."""

    sentence: ClassVar[str] = "chunk {handle:#x} counts again at version {version}, with {length} bytes"
    handle: int
    version: int
    length: int


@dataclass(frozen=True, slots=True)
class MasterRefused(Event):
    """This server and the master do not belong together, or another master is in charge; it is asked again and
    again."""

    sentence: ClassVar[str] = "does not obey the master at {master}, or is refused by it: {reason}"
    master: str
    reason: str


@dataclass(frozen=True, slots=True)
class RemovalFailed(Event):
    """A replica could not be removed; it is tried again."""

    sentence: ClassVar[str] = "could not remove chunk {handle:#x}: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class RemovalBegun(Event):
    """The order to remove a replica is in force, and the replica is touched."""

    sentence: ClassVar[str] = "begins to remove chunk {handle:#x}, up to version {version}"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class RemovalOver(Event):
    """An order to remove a replica was not carried out in its time, and the replica stays."""

    sentence: ClassVar[str] = "keeps chunk {handle:#x}: the order to remove it up to version {version} is over"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class RemovalRefused(Event):
    """A replica was to be removed up to a version, and is newer by now."""

    sentence: ClassVar[str] = "does not remove chunk {handle:#x}: it is newer than version {version}"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class TryRefused(Event):
    """A try to write came after its client had given it up: it may have written again since."""

    sentence: ClassVar[str] = "refused try {number} to write to chunk {handle:#x}: its client has given it up"
    handle: int
    number: int


@dataclass(frozen=True, slots=True)
class WriteBackFailed(Event):
    """The background sync of a chunk failed; its replica here is damaged."""

    sentence: ClassVar[str] = "could not sync chunk {handle:#x} in the background: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class WriteResolved(Event):
    """A write that a crash interrupted was found done, undone or torn."""

    sentence: ClassVar[str] = "chunk {handle:#x}: a write to bytes {begin} to {end} was interrupted, and is {verdict}"
    handle: int
    begin: int
    end: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Registered(Event):
    """The master knows this server, and what it holds."""

    sentence: ClassVar[str] = "registered with the master at {master}: {chunks} chunks"
    master: str
    chunks: int


@dataclass(frozen=True, slots=True)
class MasterLost(Event):
    """The master does not answer, or refuses; it is asked again and again."""

    sentence: ClassVar[str] = "cannot reach the master at {master}: {reason}"
    master: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeaseReceived(Event):
    """This server is primary for a chunk from now on (GFS 3.1)."""

    sentence: ClassVar[str] = (
        "is primary for chunk {handle:#x}, version {version}, for {seconds:.1f} s; the others are {secondaries}"
    )
    handle: int
    version: int
    seconds: float
    secondaries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AppendsEnded(Event):
    """The file of a chunk gets a later chunk: records are appended there from now on."""

    sentence: ClassVar[str] = "appends no more records to chunk {handle:#x} under version {version}: its file goes on"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class LeaseEnded(Event):
    """This server is no longer primary for a chunk."""

    sentence: ClassVar[str] = "is no longer primary for chunk {handle:#x}, version {version}: {reason}"
    handle: int
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class MutationMissed(Event):
    """A mutation that this primary ordered was not applied everywhere: the region is inconsistent (GFS 2.7.1)."""

    sentence: ClassVar[str] = (
        "mutation {serial} of chunk {handle:#x} (bytes {begin} to {end}) was not applied on {server}: {reason}"
    )
    handle: int
    serial: int
    begin: int
    end: int
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkPadded(Event):
    """A record did not fit: this primary had every replica fill the chunk up with zeros (GFS 3.3)."""

    sentence: ClassVar[str] = (
        "padded chunk {handle:#x} from {begin} to {end}: a record of {record_bytes} bytes did not fit any more"
    )
    handle: int
    begin: int
    end: int
    record_bytes: int


@dataclass(frozen=True, slots=True)
class CorruptionFound(Event):
    """Stored bytes do not match their checksum (GFS 5.2)."""

    sentence: ClassVar[str] = "chunk {handle:#x} is damaged in block {block}, found by {found_by}: {reason}"
    handle: int
    block: int
    found_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkCloned(Event):
    """A whole chunk was copied from another server (GFS 4.3)."""

    sentence: ClassVar[str] = "copied chunk {handle:#x}, version {version}, {length} bytes, from {source}"
    handle: int
    version: int
    length: int
    source: str


@dataclass(frozen=True, slots=True)
class BlocksMended(Event):
    """Blocks that did not match their checksums were looked for on other servers."""

    sentence: ClassVar[str] = "mended {mended} blocks of chunk {handle:#x} from {sources}; {left} are left"
    handle: int
    mended: int
    left: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChunksDeleted(Event):
    """Replicas that the master called garbage are gone (GFS 4.4)."""

    sentence: ClassVar[str] = "deleted {count} replicas: {handles}"
    count: int
    handles: tuple[str, ...]  # At most the first ten, in hexadecimal.
