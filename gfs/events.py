"""What a client reports of its troubles: every try that failed and was made good by another."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class ReplicaSkipped(Event):
    """A replica did not serve a read; the client goes on to another (GFS 2.4, 5.2)."""

    sentence: ClassVar[str] = "could not read chunk {index} ({handle:#x}) of {path} from {server}: {reason}"
    path: str
    index: int
    handle: int
    server: str
    reason: str


@dataclass(frozen=True, slots=True)
class WriteRetried(Event):
    """A try of a write failed; the client tries again (GFS 3.1 step 7)."""

    sentence: ClassVar[str] = "trying again to write {length} bytes at {offset} of chunk {index} of {path}: {reason}"
    path: str
    index: int
    offset: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class AppendRetried(Event):
    """A try to append a record failed, and may have left it on some replicas; the client tries again (GFS 3.3)."""

    sentence: ClassVar[str] = "trying again to append {length} bytes to chunk {index} of {path}: {reason}"
    path: str
    index: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChunkFilledUp(Event):
    """A record did not fit into the last chunk of its file; the client goes on to the next one (GFS 3.3)."""

    sentence: ClassVar[str] = "chunk {index} of {path} is full: {length} bytes are appended to chunk {next_index}"
    path: str
    index: int
    length: int
    next_index: int


@dataclass(frozen=True, slots=True)
class MasterAskedAgain(Event):
    """The master did not answer a question; the client asks again."""

    sentence: ClassVar[str] = "asking the master again: {reason}"
    reason: str


@dataclass(frozen=True, slots=True)
class AnsweredByShadow(Event):
    """No master acted, and a shadow has answered a question: what it said may be old."""

    sentence: ClassVar[str] = "{question} was answered by {master}, a shadow that was {lag_seconds:.1f} s behind"
    question: str
    master: str
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class LeftBehind(Event):
    """A write failed, and its remains could not be removed."""

    sentence: ClassVar[str] = "{path} is left behind by a failed write: {reason}"
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadBegunAgain(Event):
    """A file was replaced while it was read; the read begins again with the file that is there now (GFS 2.7.2)."""

    sentence: ClassVar[str] = "reading {path} again from its first byte: {reason}"
    path: str
    reason: str
