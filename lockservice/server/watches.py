"""Who watches what, and what each session has still to be told (Chubby 2.5).

Events ride on the answers to KeepAlives, and an answer may be lost. So events are numbered, each KeepAlive says up to
which number its client has seen, and what is not seen is told again. Several changes of one kind at one path become one
event: a client reads again after it, so that nothing but the last state matters, and a session that is out of touch
costs no more memory than it has watches.

None of this is persistent. A client that meets another epoch sets its watches again, and reads again.

>>> watches = Watches()
>>> watches.add(1, "/master")
>>> watches.note([Change("/master", ChangeKind.LOCK), Change("/a", ChangeKind.LOCK)] * 2)
[1]
>>> watches.pending(1)
([Change(path='/master', kind=<ChangeKind.LOCK: 'lock holder changed'>)], 2)
>>> watches.seen(1, 2)
>>> watches.pending(1)
([], 2)
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from lockservice.interface import Change, ChangeKind

__all__ = ["Change", "ChangeKind", "Watches"]


@dataclass(slots=True)
class _Watcher:
    paths: dict[str, None] = field(default_factory=dict)
    unseen: dict[Change, int] = field(default_factory=dict)
    last: int = 0


class Watches:
    """The watches of all sessions."""

    def __init__(self) -> None:
        self._watchers: dict[int, _Watcher] = {}
        self._sessions: dict[str, dict[int, None]] = {}

    def add(self, session: int, path: str) -> None:
        """A session wants to know of changes of a path."""
        self._watchers.setdefault(session, _Watcher()).paths[path] = None
        self._sessions.setdefault(path, {})[session] = None

    def forget(self, session: int) -> None:
        """A session is over."""
        watcher = self._watchers.pop(session, None)
        for path in watcher.paths if watcher is not None else ():
            sessions = self._sessions[path]
            del sessions[session]
            if not sessions:
                del self._sessions[path]

    def note(self, changes: Iterable[Change]) -> list[int]:
        """Take note of what has changed; returns the sessions that are to be told."""
        told: dict[int, None] = {}
        for change in changes:
            for session in self._sessions.get(change.path, ()):
                watcher = self._watchers[session]
                watcher.last += 1
                watcher.unseen.pop(change, None)
                watcher.unseen[change] = watcher.last
                told[session] = None
        return list(told)

    def seen(self, session: int, last: int) -> None:
        """The client has seen the events up to this number."""
        watcher = self._watchers.get(session)
        if watcher is not None:
            watcher.unseen = {change: number for change, number in watcher.unseen.items() if number > last}

    def pending(self, session: int) -> tuple[list[Change], int]:
        """What a session has still to be told, and the number of the last event."""
        watcher = self._watchers.get(session)
        return ([], 0) if watcher is None else (list(watcher.unseen), watcher.last)

    def check_invariants(self) -> None:
        """Raise AssertionError if the two tables do not agree."""
        one = {(session, path) for session, watcher in self._watchers.items() for path in watcher.paths}
        other = {(session, path) for path, sessions in self._sessions.items() for session in sessions}
        assert one == other, f"watches differ: {one ^ other}"
