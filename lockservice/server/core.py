"""Changes one at a time, sessions that are kept alive, and the clock that ends them.

A change takes its turn: it is planned against what is durable, committed, applied, and told to the watchers. A request
that comes twice, because its answer was lost or the network doubled it, is made once. Its answer is in the log with the
change. A refusal has no record: it is remembered while this run lasts, and a request that was sent to an earlier run is
refused by its epoch, so that no doubled message does later what was refused when its client was answered.

The end of a session at the service and at its client (`client/lease.py`) are two ends of one rule: the service counts
from when it *sent* its last answer, the client from when it *asked*, and takes off what the clocks may differ by. So a
client knows that its session is over before the service gives its locks to anybody else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lockservice.events import (
    LockFreed,
    LockServiceFailed,
    LockTaken,
    SessionBegan,
    SessionClosed,
    SessionLost,
)
from lockservice.server.lock_log import LockLog
from lockservice.server.watches import Watches
from lockservice.settings import LockServiceSettings
from lockservice.state.lock_state import LockState, Request, outdated
from lockservice.state.records import (
    Asked,
    DelayEnded,
    LockAcquired,
    LockReleased,
    Record,
    SessionEnded,
    SessionOpened,
)
from runtime.errors import InvalidRequest, Superseded, TabletopError, TimedOut, Unavailable
from runtime.tasks import uninterrupted
from runtime.world import World

_TICKS_A_SESSION = 16  # how often the clock is looked at in the time that a silent session has
_LONGEST_TICK_SECONDS = 1.0
Outcome = int | TabletopError


@dataclass(slots=True)
class _Unlogged:
    """What a session's requests were answered without a record, and below which number none is waited for."""

    oldest: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def forget_below(self, oldest: int) -> None:
        if oldest > self.oldest:
            self.oldest = oldest
            self.outcomes = {number: known for number, known in self.outcomes.items() if number >= oldest}


class LockCore:
    """The lock service's memory and its turns."""

    def __init__(self, world: World, settings: LockServiceSettings) -> None:
        self.world = world
        self.settings = settings
        self.log = LockLog(world, settings)
        self.watches = Watches()
        self.failed = asyncio.Event()
        self.stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        self._held: dict[int, asyncio.Event] = {}  # the KeepAlives that wait, by session
        self._ending: dict[int, None] = {}  # sessions whose end is on its way to the log
        self._unlogged: dict[int, _Unlogged] = {}

    @property
    def state(self) -> LockState:
        """What is durable. Changed by the log alone, but for the ends of sessions, which are not persistent."""
        return self.log.state

    @property
    def now(self) -> float:
        """Seconds, by the service's clock."""
        return self.world.clock.now()

    # Changes

    async def change(self, epoch: int, request: Request, plan: Callable[[Request], Asked | int]) -> int:
        """Have a change made once, to its end even if the caller goes away.

        Raises what `plan` raises; Superseded (the session is over), Conflict (the client has given the request up),
        Unavailable (another epoch, or this run ends), NoSpace, DiskFailure.
        """
        if not 1 <= request.oldest <= request.number:
            raise InvalidRequest(f"request {request.number}, oldest {request.oldest}: expected 1 <= oldest <= number")
        return await uninterrupted(self._change(epoch, request, plan))

    async def _change(self, epoch: int, request: Request, plan: Callable[[Request], Asked | int]) -> int:
        async with self._turn:
            self._refuse_if_stopping()
            if epoch != self.state.epoch:
                raise Unavailable(
                    f"the lock service is in epoch {self.state.epoch}, the request is of epoch {epoch}", definite=True
                )
            self.living(request.session)
            outcome = self._known(request)
            if outcome is None:
                outcome = await self._made(request, plan)
            if isinstance(outcome, TabletopError):
                raise outcome
            return outcome

    async def _made(self, request: Request, plan: Callable[[Request], Asked | int]) -> Outcome:
        try:
            record = plan(request)
            if isinstance(record, int):
                self._remember(request, record)
                return record
            await self._commit(record)
        except TabletopError as error:
            if error.definite and not isinstance(error, (Unavailable, TimedOut)):  # After those, it is asked again.
                self._remember(request, error)
            return error
        answer = self.state.answer(request)
        assert answer is not None, "a change without an answer"
        return answer

    def _known(self, request: Request) -> Outcome | None:
        """What this request was answered before. Raises Conflict for one that its client has given up."""
        unlogged = self._unlogged.setdefault(request.session, _Unlogged())
        if request.number < unlogged.oldest:
            raise outdated(request)
        unlogged.forget_below(request.oldest)
        for number in request.given_up:
            if number >= request.oldest:
                unlogged.outcomes.setdefault(number, outdated(replace(request, number=number)))
        answer = self.state.answer(request)
        return unlogged.outcomes.get(request.number) if answer is None else answer

    def _remember(self, request: Request, outcome: Outcome) -> None:
        self._unlogged[request.session].outcomes[request.number] = outcome

    async def _commit(self, record: Record) -> None:
        """Make a change durable, apply it, and tell who watches. Raises NoSpace, DiskFailure, Unavailable."""
        try:
            changes = await self.log.commit(record)
        finally:
            if self.log.failure:
                self.failed.set()
        for session in self.watches.note(changes):
            self._wake(session)
        self._record(record)

    def _record(self, record: Record) -> None:
        events = self.world.events
        match record:
            case SessionOpened():
                events.emit(SessionBegan(session=record.session))
            case SessionEnded(is_lost=1):
                events.emit(SessionLost(session=record.session, seconds=self.settings.session_seconds))
            case SessionEnded():
                events.emit(SessionClosed(session=record.session))
            case LockAcquired():
                delay = record.delay_milliseconds / 1000
                events.emit(
                    LockTaken(
                        path=record.path, session=record.session, generation=record.generation, delay_seconds=delay
                    )
                )
            case LockReleased() | DelayEnded():
                events.emit(LockFreed(path=record.path))

    # Sessions

    def living(self, session: int) -> None:
        """Raise Superseded for a session that is over, or about to be."""
        self.state.session(session)
        if session in self._ending:
            raise Superseded(f"session {session} is over; open another")

    async def open(self, client: int) -> tuple[int, float]:
        """A session for this client, and the moment from which it is counted; a repetition gives the same one. Raises
        NoSpace, DiskFailure, Unavailable."""
        return await uninterrupted(self._open(client))

    async def _open(self, client: int) -> tuple[int, float]:
        async with self._turn:
            self._refuse_if_stopping()
            session = self.state.session_of(client)
            if session is None:
                record = self.state.plan_open(client)
                await self._commit(record)
                session = record.session
            return session, self._extended(session)

    async def close(self, session: int) -> None:
        """End a session; one that is over already is fine. Raises NoSpace, DiskFailure, Unavailable."""
        await uninterrupted(self._end(SessionEnded(session, 0)))

    async def keep_alive(self, session: int, *, epoch: int, seen_event: int, hold: bool) -> float:
        """Extend a session, with `hold` when half of its lease is over, or there is something to tell. Returns the
        moment from which it is counted.

        Raises Superseded if it is over: the only word of the service that ends a session at its client."""
        self.living(session)
        self._wake(session)  # One KeepAlive of a session waits at a time: the newest.
        if epoch == self.state.epoch:
            self.watches.seen(session, seen_event)
            if hold and not self.watches.pending(session)[0] and not self.stopping.is_set():
                await self._wait(session)
        return self._extended(session)

    def _extended(self, session: int) -> float:
        self.living(session)
        now = self.now
        self.state.extend(session, now)
        return now

    async def _wait(self, session: int) -> None:
        event = self._held[session] = asyncio.Event()
        lease_ends_at = self.state.session(session).ends_at - self.settings.grace_seconds
        seconds = lease_ends_at - self.settings.lease_seconds / 2 - self.now
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            if self._held.get(session) is event:
                del self._held[session]

    def _wake(self, session: int) -> None:
        event = self._held.pop(session, None)
        if event is not None:
            event.set()

    # The clock

    async def watch_clock(self) -> None:
        """End the sessions of which nothing is heard, and the lock-delays that are over."""
        tick = min(self.settings.session_seconds / _TICKS_A_SESSION, _LONGEST_TICK_SECONDS)
        while not self.failed.is_set():
            await self.world.clock.sleep(tick)
            for record in self.state.overdue(self.now):
                try:
                    await uninterrupted(self._end(record))
                except TabletopError:
                    break  # At the next tick again, unless this run ends: the log has told.

    async def _end(self, record: SessionEnded | DelayEnded) -> None:
        async with self._turn:
            self._refuse_if_stopping()
            if isinstance(record, DelayEnded):
                if record in self.state.overdue(self.now):
                    await self._commit(record)
                return
            session = record.session
            is_due = session in self.state.sessions and (not record.is_lost or record in self.state.overdue(self.now))
            if not is_due:
                return
            self._ending[session] = None  # No KeepAlive may extend it while the record is on its way.
            try:
                await self._commit(record)
            finally:
                del self._ending[session]
            self.watches.forget(session)
            self._unlogged.pop(session, None)
            self._wake(session)

    # The end of this run

    def _refuse_if_stopping(self) -> None:
        if self.stopping.is_set():
            raise Unavailable("the lock service is stopping; ask again when it has restarted", definite=True)

    async def drain(self) -> None:
        """Begin nothing new, let the KeepAlives go home, and wait for the change under way."""
        self.stopping.set()
        for session in list(self._held):
            self._wake(session)
        async with self._turn:
            pass

    async def end_when_failed(self) -> None:
        """Return when this run must not go on; says so."""
        await self.failed.wait()
        self.world.events.emit(LockServiceFailed(reason=self.log.failure))

    def check_invariants(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        self.state.check_invariants()
        self.watches.check_invariants()
