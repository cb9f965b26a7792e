"""How well a file is stored: the verdict about each chunk, from what the master knows of its replicas (GFS 4.3 to 5.2).

A chunk is read from its *current* replicas. All other replicas are kept, and each says why it does not count: it missed
a mutation (stale), its server has lost power (unsure, until it is compared with the others), it has damaged blocks
(corrupt), it is one too many, or its server cannot read it now. A chunk without a current replica may still be saved,
by the master or by a person; it is lost when no server that anybody knows of has anything of it.

>>> status = ChunkStatus(replication_goal=3)
>>> verdict(status)
<Health.LOST: 'lost'>
>>> _ = status.chunk.replicas.add(server="cs1")
>>> verdict(status)
<Health.BELOW_GOAL: 'below goal'>
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runtime.wire.master_pb2 import ChunkStatus


class Health(enum.Enum):
    """The verdict about a chunk, from the best to the worst."""

    HEALTHY = "healthy"
    ABOVE_GOAL = "above goal"
    BELOW_GOAL = "below goal"
    NOT_KNOWN_YET = "not known yet"  # The master has just started, and not all servers have reported.
    UNSURE = "to be compared"  # Its servers have lost power; the master compares what is left as soon as it can.
    UNREACHABLE = "unreachable"  # A server that had it, or that cannot read it now, may come back.
    DAMAGED = "damaged copies only"  # Sound blocks can be read; the others are looked for everywhere.
    PUT_ASIDE = "older copies only"  # What was acknowledged since is lost; a person may admit one (`tabletop admit`).
    LOST = "lost"

    @property
    def can_be_read(self) -> bool:
        """Whether every byte can be read now, and one replica is left at least."""
        return self in (Health.HEALTHY, Health.ABOVE_GOAL, Health.BELOW_GOAL)

    @property
    def is_lost(self) -> bool:
        """Whether acknowledged bytes are gone, as far as anybody knows."""
        return self in (Health.LOST, Health.PUT_ASIDE)


_SEVERITY = list(Health)


def verdict(chunk: ChunkStatus, *, is_starting: bool = False) -> Health:
    """How well one chunk is stored. `is_starting`: the master still waits for servers to report (safe mode)."""
    count, goal = len(chunk.chunk.replicas), chunk.replication_goal
    if count:
        return Health.HEALTHY if count == goal else Health.ABOVE_GOAL if count > goal else Health.BELOW_GOAL
    states = {other.state for other in chunk.others}
    if is_starting:
        return Health.NOT_KNOWN_YET
    if "unsure" in states:
        return Health.UNSURE
    if "corrupt" in states:
        return Health.DAMAGED
    if "unreadable" in states or chunk.unreachable:
        return Health.UNREACHABLE
    return Health.PUT_ASIDE if states & {"stale", "surplus", "condemned"} else Health.LOST


@dataclass(slots=True)
class FileHealth:
    """One file: its chunks in order, each with its verdict."""

    path: str
    chunks: list[tuple[ChunkStatus, Health]] = field(default_factory=list)

    @property
    def worst(self) -> Health:
        """The verdict about its worst chunk; a file without chunks is healthy."""
        return max((health for _, health in self.chunks), key=_SEVERITY.index, default=Health.HEALTHY)


@dataclass(slots=True)
class Tally:
    """What a check has found so far. Replicas are counted by their state, "current" among them."""

    files: int = 0
    length: int = 0
    chunks: dict[Health, int] = field(default_factory=lambda: dict.fromkeys(Health, 0))
    replicas: dict[str, int] = field(default_factory=lambda: {"current": 0})
    unreachable: int = 0

    def add(self, chunk: ChunkStatus, health: Health) -> None:
        """Count one chunk."""
        self.chunks[health] += 1
        self.length += chunk.chunk.length
        self.replicas["current"] += len(chunk.chunk.replicas)
        for other in chunk.others:
            self.replicas[other.state] = self.replicas.get(other.state, 0) + 1
        self.unreachable += len(chunk.unreachable)

    @property
    def worst(self) -> Health:
        """The worst verdict that was found."""
        return max(
            (health for health, count in self.chunks.items() if count), key=_SEVERITY.index, default=_SEVERITY[0]
        )


def by_file(chunks: Iterable[ChunkStatus], *, is_starting: bool = False) -> Iterator[FileHealth]:
    """The files of these chunks, which stand together and in order."""
    found: FileHealth | None = None
    for chunk in chunks:
        if found is None or found.path != chunk.path:
            if found is not None:
                yield found
            found = FileHealth(chunk.path)
        found.chunks.append((chunk, verdict(chunk, is_starting=is_starting)))
    if found is not None:
        yield found
