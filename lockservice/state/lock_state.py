"""Sessions, files and locks: all that the lock service remembers, and the only way to change it (Chubby 2).

The problem. What the service has promised must be the same after a crash. If the running service changed its tables in
one place and replayed records in another, the two would drift apart. The idea: a request is *planned*, which changes
nothing and returns the record of the change, or refuses; the record becomes durable; then it is *applied*, by the same
code that replays the log.

>>> state = LockState(lease_seconds=12, grace_seconds=45)
>>> _ = state.apply(state.plan_open(client=77), now=0.0)
>>> _ = state.apply(state.plan_open(client=78), now=0.0)
>>> record = state.plan_acquire(Request(session=1, number=1, oldest=1), "/master", delay_milliseconds=1000)
>>> state.apply(record, now=5.0)
[Change(path='/master', kind=<ChangeKind.LOCK: 'lock holder changed'>)]
>>> state.plan_acquire(Request(session=2, number=1, oldest=1), "/master", delay_milliseconds=1000)
Traceback (most recent call last):
...
runtime.errors.Conflict: the lock of /master is held by session 1; wait for it, or ask for it again
>>> [type(record).__name__ for record in state.overdue(now=57.5)]  # Nobody was heard of for 12 + 45 seconds.
['SessionEnded', 'SessionEnded']

Times are not persistent: a session's end and a lock-delay's end are counted from when a record is applied, so that
after a restart every session has its whole time again, and so has every lock-delay. A lock is never freed early by it.

Invariants: (1) a lock has one holder, a living session, or is withheld from all, or is free; (2) an ephemeral file's
owner is a living session; (3) generations and session numbers come from one counter that only rises: none is used
twice, not even for a path that was deleted; (4) an answer's number is not below its session's oldest.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sortedcontainers import SortedDict

from lockservice import paths
from lockservice.interface import Change, ChangeKind, FileStat, Sequencer
from lockservice.settings import MOST_CONTENTS_BYTES
from lockservice.state.records import (
    AnswerKept,
    Asked,
    DelayEnded,
    EpochBegun,
    FileCreated,
    FileDeleted,
    FileKept,
    FileWritten,
    LockAcquired,
    LockKept,
    LockReleased,
    Record,
    SessionEnded,
    SessionKept,
    SessionOpened,
    StateBegins,
)
from runtime.errors import Conflict, InvalidRequest, NotFound, Superseded


@dataclass(frozen=True, slots=True)
class Request:
    """The name of a session's request. Below `oldest` its client waits for no answer any more, nor for those that were
    `given_up`."""

    session: int
    number: int
    oldest: int
    given_up: tuple[int, ...] = ()

    @property
    def name(self) -> tuple[int, int, int]:
        """As the first fields of the records have it."""
        return self.session, self.number, self.oldest


@dataclass(slots=True)
class SessionEntry:
    """A session. `ends_at` is by the service's clock, and is not persistent."""

    client: int
    ends_at: float
    oldest: int = 0
    answers: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class FileEntry:
    """A file."""

    generation: int
    owner: int
    contents: bytes


@dataclass(slots=True)
class LockEntry:
    """A lock that is not free. With a holder of 0 it is withheld, until `free_at` by the service's clock."""

    generation: int
    holder: int
    delay_milliseconds: int
    free_at: float = 0.0


class LockState:
    """The tables. They know no clock: `now` is the service's, in seconds."""

    def __init__(self, *, lease_seconds: float, grace_seconds: float) -> None:
        self.epoch = 0
        self.last_generation = 0
        self.sessions: dict[int, SessionEntry] = {}
        self.files: SortedDict[str, FileEntry] = SortedDict()
        self.locks: dict[str, LockEntry] = {}
        self._session_seconds = lease_seconds + grace_seconds

    # What there is

    def session(self, number: int) -> SessionEntry:
        """A living session. Raises Superseded."""
        entry = self.sessions.get(number)
        if entry is None:
            raise Superseded(f"session {number} is over, and its locks and ephemeral files are gone; open another")
        return entry

    def file(self, path: str) -> FileEntry:
        """Raises NotFound, InvalidRequest."""
        paths.check_path(path)
        entry: FileEntry | None = self.files.get(path)
        if entry is None:
            raise NotFound(f"no file {path} in the lock service")
        return entry

    def stat(self, path: str) -> FileStat:
        """What is known of a file beside its contents. Raises NotFound, InvalidRequest."""
        entry = self.file(path)
        return FileStat(entry.generation, self.lock_generation(path), entry.owner != 0, len(entry.contents))

    def lock_generation(self, path: str) -> int:
        """Of the lock while somebody holds it, 0 while nobody does."""
        lock = self.locks.get(path)
        return lock.generation if lock is not None and lock.holder else 0

    def names(self, directory: str) -> list[str]:
        """The names directly below a path, sorted. Raises InvalidRequest."""
        paths.check_path(directory, may_be_root=True)
        found: dict[str, None] = {}
        for path in self.files.irange(paths.below(directory)):
            name = paths.name_below(path, directory)
            if not name:
                break
            found[name] = None
        return sorted(found)

    def is_held(self, sequencer: Sequencer) -> bool:
        """Whether the lock is held as the sequencer says."""
        lock = self.locks.get(sequencer.path)
        return lock is not None and (lock.holder, lock.generation) == (sequencer.session, sequencer.generation)

    def answer(self, request: Request) -> int | None:
        """What a request was answered before; None if it is new. Raises Superseded (no such session), Conflict (its
        client waits for no answer any more: a message that was long under way)."""
        entry = self.session(request.session)
        if request.number < entry.oldest:
            raise outdated(request)
        return entry.answers.get(request.number)

    # Plans: what a request would change, or why it is refused. An int is the answer to one that changes nothing.

    def plan_open(self, client: int) -> SessionOpened:
        """A session for a client that has none. Raises InvalidRequest."""
        if client == 0:
            raise InvalidRequest("a client of 0: expected a number that it has drawn at random")
        return SessionOpened(self.last_generation + 1, client)

    def session_of(self, client: int) -> int | None:
        """The session that this client has opened already: its answer was lost."""
        return next((number for number, entry in self.sessions.items() if entry.client == client), None)

    def plan_create(self, request: Request, path: str, contents: bytes, *, ephemeral: bool) -> FileCreated:
        """Raises Conflict, InvalidRequest."""
        paths.check_path(path)
        _check_contents(path, contents)
        if path in self.files:
            raise Conflict(f"the file {path} is there already, at generation {self.files[path].generation}")
        owner = request.session if ephemeral else 0
        return FileCreated(*request.name, path, self.last_generation + 1, owner, contents)

    def plan_write(
        self, request: Request, path: str, contents: bytes, *, generation: int | None, sequencer: Sequencer | None
    ) -> FileWritten:
        """Raises NotFound, Conflict, Superseded, InvalidRequest."""
        _check_contents(path, contents)
        self._check_generation(path, generation)
        if sequencer is not None and not self.is_held(sequencer):
            raise Superseded(
                f"the lock of {sequencer.path} is not held any more at generation {sequencer.generation}; "
                f"{path} was not written"
            )
        return FileWritten(*request.name, path, self.last_generation + 1, contents)

    def plan_delete(self, request: Request, path: str, *, generation: int | None) -> FileDeleted:
        """Raises NotFound, Conflict, InvalidRequest."""
        self._check_generation(path, generation)
        return FileDeleted(*request.name, path)

    def plan_acquire(self, request: Request, path: str, *, delay_milliseconds: int) -> LockAcquired | int:
        """Raises Conflict, InvalidRequest. A session that has the lock gets its present generation."""
        paths.check_path(path)
        lock = self.locks.get(path)
        if lock is None:
            return LockAcquired(*request.name, path, self.last_generation + 1, delay_milliseconds)
        if lock.holder == request.session:
            return lock.generation
        if lock.holder == 0:
            raise Conflict(f"the lock of {path} is withheld: its last holder's session was lost (lock-delay)")
        raise Conflict(f"the lock of {path} is held by session {lock.holder}; wait for it, or ask for it again")

    def plan_release(self, request: Request, path: str) -> LockReleased:
        """Raises Conflict, InvalidRequest."""
        paths.check_path(path)
        lock = self.locks.get(path)
        if lock is None or lock.holder != request.session:
            raise Conflict(f"session {request.session} does not hold the lock of {path}")
        return LockReleased(*request.name, path)

    def _check_generation(self, path: str, expected: int | None) -> None:
        found = self.file(path).generation
        if expected is not None and found != expected:
            raise Conflict(f"{path} is at generation {found}, expected {expected}; read it again")

    # Times

    def extend(self, session: int, now: float) -> None:
        """A session was heard of. Its end moves forward only (Chubby 2.8)."""
        entry = self.sessions[session]
        entry.ends_at = max(entry.ends_at, now + self._session_seconds)

    def overdue(self, now: float) -> list[SessionEnded | DelayEnded]:
        """The sessions that are lost, and the lock-delays that are over."""
        lost = [SessionEnded(number, 1) for number, entry in self.sessions.items() if entry.ends_at <= now]
        free = [DelayEnded(path) for path, lock in self.locks.items() if not lock.holder and lock.free_at <= now]
        return [*lost, *free]

    # Changes

    def apply(self, record: Record, now: float) -> list[Change]:
        """Make the change that a durable record says; returns what watchers are to be told."""
        match record:
            case EpochBegun():
                self.epoch = record.epoch
                return []
            case SessionOpened():
                self.last_generation = record.session
                self.sessions[record.session] = SessionEntry(record.client, now + self._session_seconds)
                return []
            case SessionEnded():
                return self._end(record, now)
            case DelayEnded():
                del self.locks[record.path]
                return [Change(record.path, ChangeKind.LOCK)]
            case FileCreated() | FileWritten() | FileDeleted() | LockAcquired() | LockReleased():
                return self._do(record)
            case _:
                self._restore(record, now)
                return []

    def _do(self, record: Asked) -> list[Change]:
        """A request's change, and its answer."""
        path, answer = record.path, 0
        if not isinstance(record, FileDeleted | LockReleased):
            answer = self.last_generation = record.generation
        self._note(record, answer)
        match record:
            case FileCreated():
                self.files[path] = FileEntry(record.generation, record.owner, record.contents)
                return _named(path, ChangeKind.CREATED)
            case FileWritten():
                entry = self.files[path]
                entry.generation, entry.contents = record.generation, record.contents
                return [Change(path, ChangeKind.CONTENTS)]
            case FileDeleted():
                del self.files[path]
                return _named(path, ChangeKind.DELETED)
            case LockAcquired():
                self.locks[path] = LockEntry(record.generation, record.session, record.delay_milliseconds)
            case LockReleased():
                del self.locks[path]
        return [Change(path, ChangeKind.LOCK)]

    def _note(self, record: Asked, answer: int) -> None:
        entry = self.sessions[record.session]
        if record.oldest > entry.oldest:
            entry.oldest = record.oldest
            entry.answers = {number: kept for number, kept in entry.answers.items() if number >= record.oldest}
        entry.answers[record.number] = answer

    def _end(self, record: SessionEnded, now: float) -> list[Change]:
        """A session's ephemeral files go with it. Its locks are free, or, if it was lost, withheld for a while: the
        requests that its client has sent to others may still be under way (Chubby 2.4)."""
        changes = []
        del self.sessions[record.session]
        for path in [path for path, entry in self.files.items() if entry.owner == record.session]:
            del self.files[path]
            changes += _named(path, ChangeKind.DELETED)
        for path, lock in [(path, lock) for path, lock in self.locks.items() if lock.holder == record.session]:
            if record.is_lost and lock.delay_milliseconds:
                lock.holder, lock.free_at = 0, now + lock.delay_milliseconds / 1000
            else:
                del self.locks[path]
            changes.append(Change(path, ChangeKind.LOCK))
        return changes

    # The state as records, and back

    def as_records(self) -> Iterator[Record]:
        """Records that make the same state when they are applied to an empty one."""
        yield StateBegins(self.last_generation, self.epoch)
        for number, session in self.sessions.items():
            yield SessionKept(number, session.client, session.oldest)
            yield from (AnswerKept(number, *pair) for pair in session.answers.items())
        yield from (FileKept(path, file.generation, file.owner, file.contents) for path, file in self.files.items())
        for path, lock in self.locks.items():
            yield LockKept(path, lock.generation, lock.holder, lock.delay_milliseconds)

    def _restore(self, record: Record, now: float) -> None:
        match record:
            case StateBegins():
                self.last_generation, self.epoch = record.last_generation, record.epoch
            case SessionKept():
                ends_at = now + self._session_seconds
                self.sessions[record.session] = SessionEntry(record.client, ends_at, record.oldest)
            case AnswerKept():
                self.sessions[record.session].answers[record.number] = record.answer
            case FileKept():
                self.files[record.path] = FileEntry(record.generation, record.owner, record.contents)
            case LockKept():
                free_at = now + record.delay_milliseconds / 1000
                lock = LockEntry(record.generation, record.holder, record.delay_milliseconds, free_at)
                self.locks[record.path] = lock

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        for path, lock in self.locks.items():
            assert lock.holder == 0 or lock.holder in self.sessions, f"{path} is held by the dead session {lock.holder}"
            assert lock.holder or lock.delay_milliseconds, f"{path} is withheld for no time"
        for path, entry in self.files.items():
            assert entry.owner == 0 or entry.owner in self.sessions, f"{path} outlives its session {entry.owner}"
        numbers = [*self.sessions, *(lock.generation for lock in self.locks.values())]
        numbers += [entry.generation for entry in self.files.values()]
        assert len(set(numbers)) == len(numbers), "a generation was given twice"
        assert max(numbers, default=0) <= self.last_generation, "a generation was not counted"
        for number, session in self.sessions.items():
            assert all(asked >= session.oldest for asked in session.answers), f"session {number} keeps old answers"


def outdated(request: Request) -> Conflict:
    """Why a message that was long under way is refused."""
    return Conflict(
        f"request {request.number} of session {request.session} was given up by its client; nothing is done"
    )


def _named(path: str, kind: ChangeKind) -> list[Change]:
    """A file came or went: who watches it is told, and who watches a directory that it is in."""
    return [Change(path, kind), *(Change(directory, ChangeKind.CHILDREN) for directory in paths.ancestors(path))]


def _check_contents(path: str, contents: bytes) -> None:
    if len(contents) > MOST_CONTENTS_BYTES:
        raise InvalidRequest(
            f"{len(contents):,} bytes for {path}: a file of the lock service takes {MOST_CONTENTS_BYTES:,}; "
            "put them into a file of the file system, and its path here"
        )
