"""Planted bugs of the lock service: see `cluster/swarm/bugs.py`."""

from typing import Any

from cluster.swarm.bug_tools import Bug, Planted, noted_in, replaced, together
from lockservice.server.core import LockCore
from lockservice.server.watches import Watches
from lockservice.settings import LockServiceSettings
from lockservice.state.lock_state import LockState, Request
from lockservice.state.records import SessionEnded
from runtime.record_log import LogWriter

BUGS: dict[str, Bug] = {}
bug = noted_in(BUGS)


@bug
def session_ended_before_its_grace() -> Planted:
    """Without waiting for the grace, the service gives the locks of a session away while its client, in jeopardy, still
    hopes to keep them (Chubby 2.8: there, too, a client in jeopardy must hold still)."""

    begin, overdue = LockState.__init__, LockState.overdue
    grace: dict[LockState, float] = {}

    def noted(self: LockState, *, lease_seconds: float, grace_seconds: float) -> None:
        grace[self] = grace_seconds
        begin(self, lease_seconds=lease_seconds, grace_seconds=grace_seconds)

    def too_early(self: LockState, now: float) -> Any:
        return overdue(self, now + grace[self])

    return together(replaced(LockState, "__init__", noted), replaced(LockState, "overdue", too_early))


@bug
def clocks_taken_for_equal() -> Planted:
    """Without taking off what two clocks may differ by, a client with a slow clock believes in its locks after they
    were given to somebody else (Chubby 2.8)."""
    return replaced(LockServiceSettings, "share_for_clients", 1.0)


@bug
def no_lock_delay() -> Planted:
    """Without the lock-delay, a lock whose holder was lost is free while requests of that holder are under way
    (Chubby 2.4)."""

    end = LockState._end

    def at_once(self: LockState, record: SessionEnded, now: float) -> Any:
        return end(self, SessionEnded(record.session, 0), now)

    return replaced(LockState, "_end", at_once)


@bug
def requests_made_twice() -> Planted:
    """Without remembering what a request was answered, one whose answer was lost, or that the network doubled, is made
    twice (Chubby leaves it to its RPC system)."""

    def always_new(self: LockCore, request: Request) -> None:
        self.state.session(request.session)

    return together(replaced(LockCore, "_known", always_new), replaced(LockCore, "_remember", lambda *_: None))


@bug
def log_not_synced() -> Planted:
    """Without the sync of the log before the answer, a loss of power takes locks and files that were acknowledged
    (Chubby 2.10: there, the log is replicated)."""

    async def commit(self: LogWriter, payload: bytes, ended: Any = None) -> int:
        return await self.append(payload, ended)

    return replaced(LogWriter, "commit", commit)


@bug
def events_told_once() -> Planted:
    """Without telling an event again until its client has seen it, a lost answer to a KeepAlive loses the last state
    for who watches (Chubby 2.5)."""

    pending = Watches.pending

    def once(self: Watches, session: int) -> Any:
        told = pending(self, session)
        watcher = self._watchers.get(session)
        if watcher is not None:
            watcher.unseen = {}
        return told

    return replaced(Watches, "pending", once)


@bug
def sequencers_not_compared() -> Planted:
    """Without comparing generations, the sequencer of a lock that was lost is as good as that of its next holder
    (Chubby 2.4)."""
    return replaced(LockState, "is_held", lambda self, sequencer: self.lock_generation(sequencer.path) != 0)
