"""Asking the lock service, and asking again.

Unavailable and TimedOut are asked again until the patience ends or the session is over. Every change has a number, and
all its tries carry it, so that it is made once. What a change that was given up may still do is bounded: the next
request tells the service that nobody waits for it any more, and it is refused from then on.
"""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lockservice.events import LockServiceAskedAgain
from lockservice.settings import LockClientSettings
from runtime.errors import TabletopError, TimedOut, Unavailable, without_call
from runtime.wire import lockservice_pb2 as wire
from runtime.world import World

_LEAST_SECONDS = 0.001  # a call with less time cannot succeed
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Numbers:
    """Numbers for the changes of one session.

    >>> numbers = Numbers()
    >>> first, second, third = numbers.begin(), numbers.begin(), numbers.begin()
    >>> numbers.end(second, is_answered=False)
    >>> numbers.oldest, numbers.given_up()
    (1, [2])
    >>> numbers.end(first, is_answered=True)
    >>> numbers.oldest, numbers.given_up()
    (3, [])
    """

    def __init__(self) -> None:
        self._last = 0
        self._unanswered: dict[int, None] = {}  # in rising order
        self._given_up: dict[int, None] = {}

    def begin(self) -> int:
        """A number for a new request."""
        self._last += 1
        self._unanswered[self._last] = None
        return self._last

    def end(self, number: int, *, is_answered: bool) -> None:
        """The request has its answer, or nobody waits for one any more."""
        self._unanswered.pop(number, None)
        if not is_answered:
            self._given_up[number] = None
        for known in [known for known in self._given_up if known < self.oldest]:
            del self._given_up[known]

    @property
    def oldest(self) -> int:
        """The lowest number that is still waited for."""
        return next(iter(self._unanswered), self._last + 1)

    def given_up(self) -> list[int]:
        """The numbers above that for which nobody waits, though they have no answer."""
        return list(self._given_up)


class Patience:
    """For how long one operation is tried, and how long the pauses are: they double, and are drawn at random. `over_at`
    is when trying has no sense any more, whatever the patience: it may move."""

    def __init__(
        self, world: World, settings: LockClientSettings, over_at: Callable[[], float] = lambda: math.inf
    ) -> None:
        self._world = world
        self._settings = settings
        self._until = world.clock.now() + settings.patience_seconds
        self._over_at = over_at
        self._pause = settings.first_pause_seconds

    def _left(self) -> float:
        return min(self._until, self._over_at()) - self._world.clock.now()

    def is_over(self) -> bool:
        """Whether there is no time for another try."""
        return self._left() <= 0

    def limit(self) -> float:
        """The deadline of the next try."""
        return max(_LEAST_SECONDS, min(self._settings.call_seconds, self._left()))

    async def pause(self) -> None:
        """Wait before the next try."""
        length, self._pause = self._pause, min(self._pause * 2, self._settings.longest_pause_seconds)
        await self._world.clock.sleep(self._world.random.uniform(length / 2, length))


async def until_answered(
    world: World,
    call: Callable[..., Awaitable[Reply]],
    request: Callable[[], Request],
    patience: Patience,
    *,
    is_change: bool,
    after_refusal: Callable[[], Awaitable[None]],
) -> Reply:
    """Ask until there is an answer; `request` is made anew for each try, and `after_refusal` awaited when the service
    has answered that it cannot now.

    Raises what the service answered; after the patience TimedOut, definite if no try can have left.
    """
    may_have_arrived = False
    while True:
        try:
            return await call(request(), timeout=patience.limit())
        except (Unavailable, TimedOut) as error:
            may_have_arrived = may_have_arrived or (is_change and not error.definite)
            if patience.is_over():
                raise _gave_up(error, definite=not may_have_arrived) from error
            world.events.emit(LockServiceAskedAgain(reason=without_call(error.message)))
            await patience.pause()
            if error.is_answer:
                await after_refusal()


def _gave_up(error: TabletopError, *, definite: bool) -> TimedOut:
    why = error.message if error.is_answer else without_call(error.message)
    return TimedOut(f"the lock service gave no answer in time ({why})", definite=definite)


def sequencer_on_wire(path: str, generation: int, session: int) -> wire.LockSequencer:
    """A sequencer as messages have it."""
    return wire.LockSequencer(path=path, generation=generation, session=session)
