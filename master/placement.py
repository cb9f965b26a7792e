"""Where new replicas go (GFS 4.2).

The problem. A chunk's replicas should survive a disk, a machine and a rack; disks should fill evenly; and a server
that has just joined, empty, should not receive every new chunk at once, for a creation is followed by a heavy write.

The idea, the paper's three rules in its order: prefer servers with below-average disk use; limit recent creations on
each; spread the replicas over racks. The last is a constraint on the set, so it is asked first of each next choice.
But before all that comes whether a server can take a replica at all: one that has just failed to is the last to be
asked again. Otherwise a server whose disk takes nothing, and is the emptiest or alone in its rack for that very reason,
would be asked for ever.

>>> servers = [Candidate(name, rack, total=100, free=90, recent_creations=0) for name, rack in
...            (("cs1", "a"), ("cs2", "a"), ("cs3", "b"))]
>>> plan_placement(servers, count=2, needed_bytes=10)
('cs1', 'cs3')
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that may take a replica. `total` and `free` are bytes of disk. `is_troubled`: one that it was to take
    lately could not be made there."""

    name: str
    rack: str
    total: int
    free: int
    recent_creations: float
    is_troubled: bool = False

    @property
    def use(self) -> float:
        """The used part of its disk, from 0 to 1."""
        return 1.0 - self.free / self.total if self.total else 1.0


# Servers whose use differs from the average by less than this count as average: otherwise the emptiest of several
# equal servers would take every new chunk until the next heartbeat.
USE_TOLERANCE = 0.02
# Likewise, servers whose recent creations differ by less than this count as equal. Were the count exact, the same few
# sets of servers would take turns, and when one dies, the rest of its set alone would have to feed all the clones.
CREATION_TOLERANCE = 4


def plan_placement(
    candidates: Sequence[Candidate],
    *,
    count: int,
    needed_bytes: int,
    present: Sequence[Candidate] = (),
) -> tuple[str, ...]:
    """Names of up to `count` servers for new replicas of one chunk, best first; fewer if not enough have space.

    Among equals the one that stands first in `candidates` is chosen: shuffle them to share out the load.
    `present` are the servers that hold the chunk already: they are not chosen, and their racks count as taken.
    """
    taken = [server.rack for server in present]
    held = {server.name for server in present}
    fitting = [server for server in candidates if server.name not in held and server.free >= needed_bytes]
    average = sum(server.use for server in fitting) / len(fitting) if fitting else 0.0
    chosen: list[str] = []
    while fitting and len(chosen) < count:
        best = min(fitting, key=lambda server: _rank(server, taken, average))  # the first of equals
        fitting.remove(best)
        taken.append(best.rack)
        chosen.append(best.name)
    return tuple(chosen)


def plan_removal(holders: Sequence[Candidate], *, count: int) -> tuple[str, ...]:
    """Which of a chunk's surplus replicas to remove: those in crowded racks first, then those on the fullest disks."""
    left = list(holders)
    removed: list[str] = []
    while left and len(removed) < count:
        racks = [server.rack for server in left]
        worst = max(left, key=lambda server: (racks.count(server.rack), server.use, server.name))
        left.remove(worst)
        removed.append(worst.name)
    return tuple(removed)


def _rank(server: Candidate, taken: Sequence[str], average: float) -> tuple[bool, int, bool, int]:
    """The lower the better."""
    is_fuller = server.use > average + USE_TOLERANCE
    return (server.is_troubled, taken.count(server.rack), is_fuller, int(server.recent_creations / CREATION_TOLERANCE))
