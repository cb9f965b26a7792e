"""What a lock service is to its clients, whoever provides it.

Two services stand behind this interface: our own (`lockservice/client.py`), and a real ZooKeeper
(`lockservice/zookeeper.py`). One conformance suite runs against both.

Locks and files share names but not lives: a lock belongs to a path, whether or not a file is there, so that deleting a
file never frees a lock. Generations only rise: none of a path ever comes back, not even when the file is deleted and
made again.

A session is one holder: the tasks that share it are not told apart.

Errors, beyond those that each method names: Superseded from every method once the session is over; InvalidRequest for a
malformed path or contents that are too long; Unavailable and TimedOut when the service gave no answer, definite or not.
"""

import asyncio
import enum
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import InvalidRequest

_MAGIC = b"TTSQ"
_HEADER = struct.Struct("<4sQQH")  # magic, generation, session, length of the path in bytes


class SessionState(enum.Enum):
    """How a client's session stands (Chubby 2.8)."""

    SAFE = "safe"  # The lease is running: locks are held.
    JEOPARDY = "jeopardy"  # The lease has run out here; whether the service knows us still, nobody can say. Do nothing.
    EXPIRED = "expired"  # Over for good: locks and ephemeral files are gone.


@dataclass(frozen=True, slots=True)
class Sequencer:
    """A lock that is held, in a form that can be handed to a third party (Chubby 2.4).

    Who receives a request with a sequencer asks the service whether it is valid (`Session.check`), or refuses it if it
    has seen a higher generation for the path.

    >>> Sequencer.from_bytes(Sequencer("/master", 7, 2).to_bytes())
    Sequencer(path='/master', generation=7, session=2)
    """

    path: str
    generation: int  # of the lock: rises with every acquisition
    session: int

    def to_bytes(self) -> bytes:
        """An opaque form, to be handed around."""
        name = self.path.encode()
        return _HEADER.pack(_MAGIC, self.generation, self.session, len(name)) + name

    @classmethod
    def from_bytes(cls, data: bytes) -> "Sequencer":
        """The sequencer that these bytes stand for. Raises InvalidRequest."""
        if len(data) < _HEADER.size:
            raise InvalidRequest(f"a sequencer has at least {_HEADER.size} bytes, these are {len(data)}")
        magic, generation, session, length = _HEADER.unpack_from(data)
        name = data[_HEADER.size :]
        if magic != _MAGIC or len(name) != length:
            raise InvalidRequest("these bytes are no sequencer")
        try:
            return cls(name.decode(), generation, session)
        except UnicodeDecodeError:
            raise InvalidRequest("the path of this sequencer is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class FileStat:
    """What is known of a file beside its contents."""

    generation: int  # of the contents: rises with every write, and is never the same for two files
    lock_generation: int  # of the lock with this path while it is held, 0 while it is free
    is_ephemeral: bool
    length: int  # bytes


class ChangeKind(enum.Enum):
    """What a watch reports."""

    READ_AGAIN = "read again"  # The watch begins here, or changes may have been missed: the service was restarted.
    CREATED = "created"
    CONTENTS = "contents changed"
    DELETED = "deleted"
    LOCK = "lock holder changed"  # acquired, released, lost, or free again at the end of its lock-delay
    CHILDREN = "children changed"  # A file below this path was created or deleted: `list` may tell something else.


@dataclass(frozen=True, slots=True)
class Change:
    """Something has changed at `path`. What is there now, only reading says: several changes may come as one."""

    path: str
    kind: ChangeKind


class Session(Protocol):
    """One client's session. Its locks and its ephemeral files live as long as it does."""

    @property
    def number(self) -> int:
        """Its number, never used again by this service."""

    @property
    def expired(self) -> asyncio.Event:
        """Set when the session is over, by the client's own clock, never later than at the service."""

    @property
    def state(self) -> SessionState:
        """How it stands at this moment, by the client's clock."""

    def on_change(self, callback: Callable[[SessionState], None]) -> None:
        """Have `callback` called with each new state."""

    async def create(self, path: str, contents: bytes = b"", *, ephemeral: bool = False) -> FileStat:
        """Make a file. An ephemeral one goes with this session. Raises Conflict (it exists)."""

    async def read(self, path: str) -> tuple[bytes, FileStat]:
        """The contents of a file. Raises NotFound."""

    async def write(
        self, path: str, contents: bytes, *, generation: int | None = None, sequencer: Sequencer | None = None
    ) -> FileStat:
        """Replace the contents of a file, if they are still of this `generation` and the lock of the `sequencer` is
        still held. Raises NotFound, Conflict (another generation), Superseded (another holder, or none)."""

    async def delete(self, path: str, *, generation: int | None = None) -> None:
        """Remove a file, if its contents are still of this `generation`. Raises NotFound, Conflict. Its lock stays."""

    async def list(self, path: str) -> list[str]:
        """The names directly below a path, sorted. A directory is there as long as something is in it."""

    async def acquire(
        self, path: str, *, wait_seconds: float = 0.0, lock_delay_seconds: float | None = None
    ) -> Sequencer:
        """Take the exclusive lock of a path; if this session has it already, its present sequencer.

        `lock_delay_seconds`: for how long nobody else gets it when this session is lost (Chubby 2.4); None is the
        service's default, which is also the most that can be asked for. Raises Conflict (held by another, or withheld,
        for all of `wait_seconds`)."""

    async def release(self, path: str) -> None:
        """Give the lock back, at once for everybody. Raises Conflict if this session does not hold it."""

    async def check(self, sequencer: Sequencer) -> bool:
        """Whether the lock is still held as the sequencer says, by whichever session."""

    def watch(self, path: str) -> AsyncIterator[Change]:
        """Changes of a path, first READ_AGAIN. After the last change at least one is reported, so that who reads again
        after each ends with the truth. Ends when the session does."""

    async def close(self) -> None:
        """End the session: locks are free at once, ephemeral files go. Idempotent."""


class LockService(Protocol):
    """Where sessions come from."""

    async def open_session(self) -> Session:
        """Begin a session. Raises Unavailable, TimedOut."""
