"""For how long a run of the master has been listening (GFS 2.6.2 leaves it open).

The problem. After a start the master waits a few seconds for its chunkservers to report, before it believes that a
replica is lost. Its process may stand still meanwhile: it was stopped, or the machine was asleep. Then the seconds pass
and nobody is heard, and the first request after that finds one server registered and the others not yet. The idea: a
loop ticks all the time. A gap between two ticks that is much longer than it should be is a standstill, and no time in
which anybody was heard. That is so from the first moment after it, whether the loop has noticed it or not.

>>> attention = Attention(interval=1.0, began=100.0)
>>> attention.tick(101.0), attention.seconds(101.5)
(0.0, 1.5)
>>> attention.seconds(110.0), attention.tick(110.0), attention.seconds(110.5)
(2.0, 8.0, 2.5)
"""

_NOTICED_SECONDS = 1.0


class Attention:
    """Counts the seconds since the start without those in which the process stood still; `interval`: how often it
    ticks."""

    def __init__(self, *, interval: float, began: float) -> None:
        self._interval = interval
        self._ticked = began
        self._seconds = 0.0

    def tick(self, now: float) -> float:
        """Note that the process runs; returns for how many seconds it stood still before."""
        lost = self._lost(now)
        self._seconds = self.seconds(now)
        self._ticked = now
        return lost

    def seconds(self, now: float) -> float:
        """For how long it has been listening."""
        return self._seconds + now - self._ticked - self._lost(now)

    def _lost(self, now: float) -> float:
        late = now - self._ticked - self._interval
        return late if late > _NOTICED_SECONDS else 0.0
