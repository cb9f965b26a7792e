"""What a client knows of its session without asking (Chubby 2.8): pure.

The problem. A client that holds a lock must know the moment at which it may no longer believe so, even if it hears of
nobody. The service counts from when it answered, by its own clock; when that was, the client does not know. The idea:
everything that is not known counts against the client. It takes the lease from the moment at which it *asked*, plus the
time for which the service says that it held the call, and all spans shortened by what two clocks may differ by.

    asked       answered                lease over here         over here      over at the service
      |--held------|--------lease---------|-------grace-----------|- - - - - - - -|
      |<------------------ SAFE --------->|<----- JEOPARDY ------>|<-- EXPIRED ...

Unlike in Chubby, the service itself waits for lease and grace before it gives the session up, so that no lock is lost
as long as its client may still come back: `expired` here always comes before the end there. The price is that a lock
of a holder that has died is free only after both.

>>> lease = LocalLease()
>>> lease.extend(now=1.0, asked=0.0, held=0.5, lease=10, grace=40, share=0.8)
True
>>> lease.state(now=8.0), lease.state(now=8.5), lease.state(now=41.0)
(<SessionState.SAFE: 'safe'>, <SessionState.JEOPARDY: 'jeopardy'>, <SessionState.EXPIRED: 'expired'>)
>>> lease.extend(now=50.0, asked=45.0, held=0, lease=10, grace=40, share=0.8)  # Too late: it is over for good.
False
"""

from lockservice.interface import SessionState

TRANSITIONS: dict[SessionState, tuple[SessionState, ...]] = {
    SessionState.SAFE: (SessionState.JEOPARDY, SessionState.EXPIRED),
    SessionState.JEOPARDY: (SessionState.SAFE, SessionState.EXPIRED),
    SessionState.EXPIRED: (),
}
"""THE table of a session's states at its client; `docs/locks.md` has the picture."""


class LocalLease:
    """One session's lease, as its client may believe in it. Seconds, by the client's clock."""

    def __init__(self) -> None:
        self.safe_until = 0.0
        self.ends_at = 0.0
        self._began = False
        self._over = False

    def extend(self, *, now: float, asked: float, held: float, lease: float, grace: float, share: float) -> bool:
        """An answer has come. Returns whether it counts: a session that is over here stays so, whatever the service
        says, because others were told already. The ends move forward only."""
        if self._began and self.state(now) is SessionState.EXPIRED:
            self._over = True
            return False
        self._began = True
        self.safe_until = max(self.safe_until, asked + share * (held + lease))
        self.ends_at = max(self.ends_at, asked + share * (held + lease + grace))
        return True

    def end(self) -> None:
        """The session is over: closed, or the service says so."""
        self._over = True

    def state(self, now: float) -> SessionState:
        """How the session stands at this moment."""
        if self._over or now >= self.ends_at:
            return SessionState.EXPIRED
        return SessionState.SAFE if now < self.safe_until else SessionState.JEOPARDY

    def next_change(self, now: float) -> float:
        """When it changes if nothing is heard."""
        return self.safe_until if now < self.safe_until else self.ends_at
