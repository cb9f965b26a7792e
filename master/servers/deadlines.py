"""How long each server may take to do what needs its disk. Pure.

The problem. A server that is silent should be noticed within a second or two. A server whose disk is slow answers late
and never fails: if it is always given up just before it has done what it was told, no chunk is ever made on it, and
none ever gets a new version. The idea is that of TCP: who missed the deadline, and is heard of otherwise, gets twice as
long the next time, up to a limit; who is quick again gets what all others get. So does who misses the longest one too:
its disk hangs, perhaps, and nobody is to wait long for that again and again.

>>> deadlines = Deadlines(first=2.0)
>>> deadlines.missed("cs1")
>>> deadlines.missed("cs1")
>>> deadlines.of("cs1"), deadlines.of("cs2")
(8.0, 2.0)
>>> deadlines.met("cs1", 3.0)
>>> deadlines.of("cs1")
6.0
>>> deadlines.missed("cs1")
>>> deadlines.missed("cs1")
>>> deadlines.of("cs1")
2.0
"""

LONGEST = 4
"""So many times the first deadline."""


class Deadlines:
    """Deadlines by server, in seconds."""

    def __init__(self, *, first: float) -> None:
        self._first = first
        self._longer: dict[str, float] = {}

    def of(self, server: str) -> float:
        """How long this server may take now."""
        return self._longer.get(server, self._first)

    def missed(self, server: str) -> None:
        """It took longer, and is not silent."""
        longest = LONGEST * self._first
        if self.of(server) < longest:
            self._longer[server] = min(2 * self.of(server), longest)
        else:
            del self._longer[server]

    def met(self, server: str, seconds: float) -> None:
        """It has answered after so long."""
        needed = min(2 * seconds, self.of(server))
        if needed <= self._first:
            self._longer.pop(server, None)
        else:
            self._longer[server] = needed
