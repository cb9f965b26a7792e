"""How a session stands, told to whoever wants to know: what all kinds of sessions have in common.

What the state is at a moment is computed from the clock (`lease.py`), not remembered: a process that was stopped for a
minute finds its session over before one of its tasks has run again. A task watches the clock for those who wait to be
told.
"""

import asyncio
from collections.abc import Callable

from lockservice.client.lease import TRANSITIONS, LocalLease
from lockservice.client.watching import Watch
from lockservice.events import SessionStateChanged
from lockservice.interface import ChangeKind, SessionState
from runtime.world import World

_LOOKS_A_LEASE = 8  # how often the clock is looked at, should its rate change


class Standing:
    """One session's lease, its watches, and who is told of its states."""

    def __init__(self, world: World) -> None:
        self.number = 0
        self.lease = LocalLease()
        self.lease_seconds = 0.0
        self.expired = asyncio.Event()
        self.watches: dict[str, list[Watch]] = {}
        self.callbacks: list[Callable[[SessionState], None]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._world = world
        self._told = SessionState.SAFE

    @property
    def state(self) -> SessionState:
        """At this moment, by this client's clock."""
        return self.lease.state(self._world.clock.now())

    def is_over(self) -> bool:
        """Whether the session has expired or is closed."""
        return self.state is SessionState.EXPIRED

    def take(self, *, asked: float, held: float, lease: float, grace: float, share: float) -> bool:
        """An answer has come that extends the session. Returns whether it counts."""
        self.lease_seconds = lease
        now = self._world.clock.now()
        counts = self.lease.extend(now=now, asked=asked, held=held, lease=lease, grace=grace, share=share)
        self.tell()
        return counts

    async def watch_clock(self) -> None:
        """Tell of each new state, until the session is over."""
        while not self.is_over():
            self.tell()
            now = self._world.clock.now()
            left = self.lease.next_change(now) - now
            await self._world.clock.sleep(min(left, self.lease_seconds / _LOOKS_A_LEASE))
        self.end()

    def tell(self) -> None:
        """Tell who wants to know of a new state."""
        state = self.state
        if state is self._told:
            return
        assert state in TRANSITIONS[self._told], f"a session that is {self._told.value} became {state.value}"
        self._told = state
        self._world.events.emit(SessionStateChanged(session=self.number, state=state.value))
        if state is SessionState.EXPIRED:
            self.expired.set()
        for callback in list(self.callbacks):
            callback(state)

    def end(self) -> None:
        """It is over: nothing of it runs any more. Idempotent."""
        self.lease.end()
        self.tell()
        for watches in self.watches.values():
            for watch in watches:
                watch.end()
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def begin_watch(self, path: str) -> Watch:
        """A watch of a path that nothing is told to yet."""
        watch = Watch(path)
        self.watches.setdefault(path, []).append(watch)
        return watch

    def end_watch(self, watch: Watch) -> None:
        """Nobody reads it any more."""
        watches = self.watches[watch.path]
        watches.remove(watch)
        if not watches:
            del self.watches[watch.path]

    def tell_watches(self, path: str, kind: ChangeKind) -> None:
        """A path has changed."""
        for watch in self.watches.get(path, ()):
            watch.tell(kind)
