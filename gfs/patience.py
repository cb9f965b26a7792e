"""How long to go on trying, and how long to wait between two tries.

Pauses double and are drawn at random between half and the whole of their length, so that many clients that failed at
the same moment, because one server died, do not come back at the same moment (GFS does not say; everybody does it).

The deadline of each call lies inside the patience of the operation that makes it, so that no operation lasts longer
than its patience because the last of its tries was begun late.
"""

import math

from gfs.settings import ClientSettings
from runtime.world import World

# A call with less time than this cannot succeed.
_LEAST_SECONDS = 0.001


class Patience:
    """One operation's time limit."""

    def __init__(self, world: World, settings: ClientSettings, seconds: float) -> None:
        self.seconds = seconds
        self._world = world
        self._began = world.clock.now()
        self._pause_seconds = settings.first_pause_seconds
        self._longest_seconds = settings.longest_pause_seconds

    def spent(self) -> float:
        """Seconds since the operation began."""
        return self._world.clock.now() - self._began

    def left(self) -> float:
        """Seconds until the limit; 0 after it."""
        return max(0.0, self.seconds - self.spent())

    def over(self) -> bool:
        """Whether there is no time for another try."""
        return self.left() < _LEAST_SECONDS

    def limit(self, seconds: float) -> float:
        """The deadline of one call that may take `seconds` at most: never beyond the end of the patience."""
        return min(seconds, max(self.left(), _LEAST_SECONDS))

    async def pause(self, at_most: float = math.inf) -> None:
        """Wait before the next try, but not beyond the limit."""
        self._pause_seconds = min(self._pause_seconds, at_most)
        length, self._pause_seconds = self._pause_seconds, min(self._pause_seconds * 2, self._longest_seconds)
        await self._world.clock.sleep(min(self._world.random.uniform(length / 2, length), self.left()))
