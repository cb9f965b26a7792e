"""What the lock service and its clients record of themselves."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class LockLogReplayed(Event):
    """The lock service's state was recovered."""

    sentence: ClassVar[str] = (
        "recovered {sessions} sessions, {files} files and {locks} locks from {records} records, epoch {epoch}; {note}"
    )
    records: int
    sessions: int
    files: int
    locks: int
    epoch: int
    note: str


@dataclass(frozen=True, slots=True)
class LockLogFailed(Event):
    """The lock service's log refused a record."""

    sentence: ClassVar[str] = "the lock service's log refused a record: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class LockLogShortened(Event):
    """The log was begun again, with the state."""

    sentence: ClassVar[str] = "began the lock service's log again at record {sequence}, with the state in {size} bytes"
    sequence: int
    size: int


@dataclass(frozen=True, slots=True)
class LockLogNotShortened(Event):
    """The log could not be begun again; it goes on."""

    sentence: ClassVar[str] = "could not begin the lock service's log again: {problem}"
    problem: str


@dataclass(frozen=True, slots=True)
class LockServiceFailed(Event):
    """This run of the lock service ends by itself."""

    sentence: ClassVar[str] = "ends: {reason}"
    reason: str


@dataclass(frozen=True, slots=True)
class SessionBegan(Event):
    """A client opened a session."""

    sentence: ClassVar[str] = "opened session {session}"
    session: int


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """A client closed its session."""

    sentence: ClassVar[str] = "session {session} was closed"
    session: int


@dataclass(frozen=True, slots=True)
class SessionLost(Event):
    """Nothing was heard of a session for its lease and the grace."""

    sentence: ClassVar[str] = "session {session} was lost: nothing was heard of it for {seconds:g} seconds"
    session: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LockTaken(Event):
    """A session acquired a lock."""

    sentence: ClassVar[str] = (
        "gave the lock of {path} to session {session}, generation {generation}, lock-delay {delay_seconds:g} s"
    )
    path: str
    session: int
    generation: int
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class LockFreed(Event):
    """A lock was released, or its lock-delay is over."""

    sentence: ClassVar[str] = "the lock of {path} is free"
    path: str


@dataclass(frozen=True, slots=True)
class SessionStateChanged(Event):
    """At a client: how its session stands."""

    sentence: ClassVar[str] = "session {session} with the lock service is {state}"
    session: int
    state: str


@dataclass(frozen=True, slots=True)
class LockServiceAskedAgain(Event):
    """At a client: the lock service gave no answer."""

    sentence: ClassVar[str] = "asks the lock service again: {reason}"
    reason: str
