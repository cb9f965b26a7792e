"""Which chunks are read so much that a few more copies of them would help (GFS 2.5). Pure.

The problem. An executable of one chunk is started on hundreds of machines at once, and its three servers are
overwhelmed. The paper's cure was to store such files with a higher goal, by hand. The idea: chunkservers tell with each
heartbeat what they have sent of the chunks that were read most, the master averages that over some seconds, and a chunk
whose replicas have more to do than they should gets another copy, up to a few. When it has cooled, the copies go again,
one after the other.

A chunk is given a copy when each of its copies has to send more than `hot` bytes a second, and loses one only when the
rest would have less than half of that to do: otherwise one that is just warm enough would be copied and removed for
ever. All of this is soft state: the file's goal, which the log knows, never changes, and a master that restarts begins
with cold chunks.

>>> heat = Heat(hot=100, most_copies=3, seconds=10.0)
>>> for now in range(60):
...     heat.note(7, 1000, now=float(now))
>>> heat.judge(7, goal=3, now=60.0), heat.judge(7, goal=3, now=60.0), heat.judge(7, goal=3, now=70.0)
(3, 3, 3)
>>> [heat.judge(7, goal=3, now=now) for now in (80.0, 90.0, 100.0, 110.0, 120.0)]
[2, 1, 0, 0, 0]

What we simplify. Replicas are taken to share the reads evenly, as clients that are equally far from several of them
do."""

import math
from dataclasses import dataclass

MOST_CHUNKS = 4096
_COOL = 0.5


@dataclass(slots=True)
class _Warmth:
    """Bytes a second, at a moment, and how many copies more the chunk has been given."""

    rate: float
    at: float
    extra: int = 0


class Heat:
    """The rates at which chunks are read, averaged over `seconds`; `hot` is what each copy may have to send."""

    def __init__(self, *, hot: int, most_copies: int, seconds: float) -> None:
        self._hot = hot
        self._most = most_copies
        self._seconds = seconds
        self._chunks: dict[int, _Warmth] = {}

    def note(self, handle: int, count: int, *, now: float) -> None:
        """So many bytes of a chunk were sent to readers since the last heartbeat of a server."""
        if not self._hot:
            return
        warmth = self._chunks.get(handle)
        if warmth is None:
            if len(self._chunks) >= MOST_CHUNKS:
                self._forget_the_coldest(now)
            warmth = self._chunks[handle] = _Warmth(0.0, now)
        warmth.rate = self._rate(warmth, now) + count / self._seconds
        warmth.at = now

    def rate(self, handle: int, now: float) -> float:
        """Bytes a second that readers take of the chunk, from all its copies."""
        warmth = self._chunks.get(handle)
        return 0.0 if warmth is None else self._rate(warmth, now)

    def judge(self, handle: int, *, goal: int, now: float) -> int:
        """How many copies more than its goal the chunk shall have from now on; forgets one that is cold."""
        warmth = self._chunks.get(handle)
        if warmth is None:
            return 0
        rate = self._rate(warmth, now)
        wanted = max(0, math.ceil(rate / self._hot) - goal)
        if wanted > warmth.extra:
            warmth.extra = min(wanted, self._most)
        elif warmth.extra and rate < _COOL * self._hot * (goal + warmth.extra - 1):
            warmth.extra -= 1
        if not warmth.extra and rate < 1.0:
            del self._chunks[handle]
        return warmth.extra

    def extra(self, handle: int) -> int:
        """What `judge` said last."""
        warmth = self._chunks.get(handle)
        return 0 if warmth is None else warmth.extra

    def hot_chunks(self) -> list[int]:
        """The chunks that have been given more copies than their goal."""
        return [handle for handle, warmth in self._chunks.items() if warmth.extra]

    def chunks(self) -> list[int]:
        """All chunks of which reads were told lately."""
        return list(self._chunks)

    def forget(self, handle: int) -> None:
        """The chunk is no more."""
        self._chunks.pop(handle, None)

    def _rate(self, warmth: _Warmth, now: float) -> float:
        return warmth.rate * math.exp(-max(0.0, now - warmth.at) / self._seconds)

    def _forget_the_coldest(self, now: float) -> None:
        cold = [handle for handle, warmth in self._chunks.items() if not warmth.extra]
        if cold:
            del self._chunks[min(cold, key=lambda handle: self.rate(handle, now))]
