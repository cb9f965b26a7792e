"""What a chunkserver tells about itself, in the past tense."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class StoreOpened(Event):
    """The chunks on disk were found."""

    sentence: ClassVar[str] = "found {chunks} chunks with {stored_bytes} bytes on its disk"
    chunks: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class OverwriteSettled(Event):
    """The process had died between the data and the checksums of an overwrite; each block was judged."""

    sentence: ClassVar[str] = "settled an interrupted overwrite of chunk {handle:#x}: {new} new, {old} old, {torn} torn"
    handle: int
    new: int
    old: int
    torn: int


@dataclass(frozen=True, slots=True)
class ReplicaDiscarded(Event):
    """A replica was dropped at start because its metadata cannot be read, or was never complete."""

    sentence: ClassVar[str] = "dropped what there was of chunk {handle:#x}: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class RegisteredWithMaster(Event):
    """The master knows this server and its chunks."""

    sentence: ClassVar[str] = "registered with the master, holding {chunks} chunks"
    chunks: int


@dataclass(frozen=True, slots=True)
class MasterLost(Event):
    """The master does not answer; the server goes on serving and keeps trying."""

    sentence: ClassVar[str] = "the master does not answer: {reason}"
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaCreated(Event):
    """An empty replica came into being."""

    sentence: ClassVar[str] = "created chunk {handle:#x} version {version}"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class VersionRaised(Event):
    """A replica's version rose, and is on disk (GFS 4.5)."""

    sentence: ClassVar[str] = "raised chunk {handle:#x} to version {version}"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class LeaseReceived(Event):
    """This server is primary for a chunk (GFS 3.1)."""

    sentence: ClassVar[str] = "is primary for chunk {handle:#x} version {version}, secondaries {secondaries}"
    handle: int
    version: int
    secondaries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeaseEnded(Event):
    """This server is no longer primary for a chunk."""

    sentence: ClassVar[str] = "is no longer primary for chunk {handle:#x}: {reason}"
    handle: int
    reason: str


@dataclass(frozen=True, slots=True)
class MutationOrdered(Event):
    """The primary gave a mutation its place (GFS 3.1 step 4)."""

    sentence: ClassVar[str] = "ordered mutation {serial} of chunk {handle:#x}: {length} bytes at {offset}"
    handle: int
    serial: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class MutationApplied(Event):
    """A replica wrote a mutation."""

    sentence: ClassVar[str] = "applied mutation {serial} of chunk {handle:#x}: {length} bytes at {offset}"
    handle: int
    serial: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class MutationSkipped(Event):
    """A replica went past a mutation that it could not apply, or that never came."""

    sentence: ClassVar[str] = "went past mutation {serial} of chunk {handle:#x}: {reason}"
    handle: int
    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicasDiverged(Event):
    """The primary could not get every replica to apply a mutation: the region is inconsistent (GFS 2.7.1)."""

    sentence: ClassVar[str] = "mutation {serial} of chunk {handle:#x} failed: {reason}"
    handle: int
    serial: int
    reason: str


@dataclass(frozen=True, slots=True)
class PushFailed(Event):
    """Data did not reach everyone in the chain."""

    sentence: ClassVar[str] = "data for {server} did not arrive: {reason}"
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class PushedDataDropped(Event):
    """Pushed data left the buffer unused: for room, or because it had aged."""

    sentence: ClassVar[str] = "dropped {count} pushed pieces that nobody had asked to write: {reason}"
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class CorruptionFound(Event):
    """Stored bytes do not match their checksum (GFS 5.2)."""

    sentence: ClassVar[str] = "chunk {handle:#x} is corrupt in block {block}: {found}"
    handle: int
    block: int
    found: str


@dataclass(frozen=True, slots=True)
class ReplicaCloned(Event):
    """A copy of another server's replica is complete (GFS 4.3)."""

    sentence: ClassVar[str] = "cloned chunk {handle:#x} version {version} from {source}: {length} bytes"
    handle: int
    version: int
    source: str
    length: int


@dataclass(frozen=True, slots=True)
class CloneFailed(Event):
    """A copy could not be completed; nothing of it is left."""

    sentence: ClassVar[str] = "could not clone chunk {handle:#x} from {source}: {reason}"
    handle: int
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaDeleted(Event):
    """A replica is gone, because the master called it garbage (GFS 4.4)."""

    sentence: ClassVar[str] = "deleted chunk {handle:#x} version {version}"
    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class ScrubFinished(Event):
    """Every chunk was verified once since the last of these."""

    sentence: ClassVar[str] = "verified {chunks} chunks, {verified_bytes} bytes, {damaged} of them damaged"
    chunks: int
    verified_bytes: int
    damaged: int
