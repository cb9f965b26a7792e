"""Which acknowledged bytes a power cut was allowed to take away.

With durability "fsync" none. With "replicated" an acknowledged write is in the page cache of every replica, and on the
disks of all within `WRITEBACK_SECONDS`; so it may be lost if every server that held the chunk lost power in that time,
and only then (GFS trusts its replicas for that; what it gives up is the last seconds of bytes, never a chunk).

A server that was paused, or whose disk was slow, full or failing, may have been late with its background sync by as
long as that lasted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WRITEBACK_SECONDS = 5.0
SLACK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Grant:
    """From a moment on, mutations of a chunk go to these servers."""

    time: float
    handle: int
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A server lost power."""

    time: float
    server: str


@dataclass(frozen=True, slots=True)
class Hindrance:
    """A server could not sync in good time."""

    begin: float
    end: float
    server: str


@dataclass(frozen=True, slots=True)
class Losses:
    """All that decides what may be lost in one run."""

    durability: str
    grants: Sequence[Grant]
    cuts: Sequence[PowerCut]
    hindrances: Sequence[Hindrance] = ()

    def may_be_lost_from(self, handle: int, invoked: float, responded: float) -> float:
        """From when on a write to this chunk, acknowledged at `responded`, may be gone; infinity if it may never."""
        if self.durability != "replicated" or math.isinf(responded):
            return math.inf
        moments = [
            self._all_lost(grant.servers, invoked, responded) for grant in self._grants_of(handle, invoked, responded)
        ]
        return min(moments, default=math.inf)

    def _grants_of(self, handle: int, invoked: float, responded: float) -> list[Grant]:
        """The grants under which the write may have been applied: those in its time, and the one before it."""
        before = [grant for grant in self.grants if grant.handle == handle and grant.time <= responded]
        first = max((place for place, grant in enumerate(before) if grant.time <= invoked), default=0)
        return before[first:]

    def _all_lost(self, servers: tuple[str, ...], invoked: float, responded: float) -> float:
        lost = []
        for server in servers:
            until = self._synced_by(server, responded)
            hit = [cut.time for cut in self.cuts if cut.server == server and invoked < cut.time <= until]
            if not hit:
                return math.inf
            lost.append(hit[0])
        return max(lost, default=math.inf)

    def _synced_by(self, server: str, responded: float) -> float:
        until = responded + WRITEBACK_SECONDS + SLACK_SECONDS
        for hindrance in sorted((one for one in self.hindrances if one.server == server), key=lambda one: one.begin):
            if hindrance.begin <= until and hindrance.end > responded:
                until += hindrance.end - max(hindrance.begin, responded)
        return until
