"""Faults that strike a narrow place: one replica's files, one record of a master's log, messages of one direction.

In a share of the seeds a few of them are added to what was drawn before, from a random stream of their own:

    the files of one replica fail, at each read, write, sync or opening, while the same disk serves all others
    requests alone, or replies alone, are late, lost or doubled on the way to somebody; or all of them, evenly late
    bits flip in one record of a master's log, until an operator puts a sound copy in its place when all faults end
    a server to which somebody writes as to a primary is cut off from the master alone, until its lease is over and its
    chunk was given to others (GFS 3.1): clients and secondaries reach it all the time

What they may excuse. A replica that fails is one whose copy nobody may count on for a while, as with any damage
(`stage.py`). A bad link excuses nothing but time. A master with a rotten record may refuse to start until the record
is mended, and must not forget anything: so only a record is struck of which a later one, which is on the platter, says
that it had been durable. The end of a log is no such place (docs/decisions/0027).
"""

import random

from cluster.faultplan import (
    At,
    BadLink,
    Fault,
    Node,
    OnMessage,
    Partition,
    Replica,
    ReplicaTrouble,
    RottenRecord,
    Target,
    TheMaster,
    ThePrimary,
    TheReceiver,
)
from cluster.swarm.mischief import DOWN_SECONDS, chunkservers
from cluster.swarm.plan import MASTERS, Setup
from cluster.swarm.workload import CLIENTS
from runtime.faults.disk import OpenError, ReadError, ShortWrites, SyncError, WriteError
from runtime.faults.links import Kind, LinkFaults
from runtime.record_log import HEADER, HEADER_BYTES, MAGIC
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.disk_image import Content

WITH_NARROW = 0.2
_UNHEARD = 0.6
_LONGEST_LEASE = 15.0
_HIGHEST_RECORD = 60


def with_narrow_faults(seed: int, setup: Setup, faults: tuple[Fault, ...], paths: list[str]) -> tuple[Fault, ...]:
    """In a share of the seeds: what strikes besides. `paths` are the files that replicas may be named by."""
    chance = random.Random(f"narrow places {seed}")
    if chance.random() >= WITH_NARROW:
        return faults
    draw = _Draw(chance, setup, paths)
    drawers = [draw.replica, draw.replica, draw.link, draw.link, draw.record]
    found = tuple(chance.choice(drawers)() for _ in range(chance.randint(2, 5)))
    if setup.lease_seconds <= _LONGEST_LEASE and chance.random() < _UNHEARD:
        found += (draw.unheard_primary(),)
    return faults + found


class _Draw:
    """Draws single faults."""

    def __init__(self, chance: random.Random, setup: Setup, paths: list[str]) -> None:
        self._chance = chance
        self._setup = setup
        self._paths = paths

    def _at(self) -> At:
        return At(round(self._chance.uniform(2.0, self._setup.trouble_seconds), 3))

    def _seconds(self) -> float:
        return round(self._chance.choice(DOWN_SECONDS) * self._chance.uniform(0.5, 1.2), 3)

    def _target(self, *choices: Target) -> Target:
        return self._chance.choice(choices)

    def replica(self) -> Fault:
        chance = self._chance
        path, chunk = chance.choice(self._paths), chance.choice([0, 0, 0, 1])
        fault = chance.choice(
            [ReadError(), WriteError(), SyncError(), SyncError(loses_pages=True), OpenError(), ShortWrites()]
        )
        target = self._target(ThePrimary(path, chunk), Replica(path, chunk, chance.randint(1, 3)))
        return Fault(self._at(), ReplicaTrouble(fault, path, chunk), target, self._seconds())

    def link(self) -> Fault:
        chance = self._chance
        late = chance.choice([0.03, 0.3, 1.0, 3.0])
        faults = chance.choice(
            [
                LinkFaults(delay=late),
                LinkFaults(delay=late, jitter=late),
                LinkFaults(loss=chance.choice([0.1, 0.3])),
                LinkFaults(delay=late, duplication=chance.choice([0.2, 0.5])),
            ]
        )
        kind = chance.choice([Kind.REQUEST, Kind.REPLY, Kind.REPLY, None])
        server = Node(chance.choice(chunkservers(self._setup)))
        source = self._target(TheMaster(), server, server, Node(chance.choice(CLIENTS)))
        other = None if chance.random() < 0.4 else self._target(TheMaster(), server)
        return Fault(self._at(), BadLink(faults, other, chance.random() < 0.6, kind), source, self._seconds())

    def record(self) -> Fault:
        chance = self._chance
        node = chance.choice(MASTERS[: self._setup.masters])
        return Fault(self._at(), RottenRecord(chance.randint(1, _HIGHEST_RECORD)), Node(node))

    def unheard_primary(self) -> Fault:
        chance = self._chance
        method = chance.choice(["Chunkserver/Write", "Chunkserver/AppendRecord", "Chunkserver/AppendRecord"])
        when = OnMessage(method, Kind.REQUEST, nth=chance.randint(2, 40))
        return Fault(when, Partition(TheMaster()), TheReceiver(), self._setup.lease_seconds + chance.uniform(6.0, 16.0))


def is_vouched_for(disk: SimulatedDisk, number: int) -> bool:
    """Whether a frame on the platter says that this record of the log on this disk had been durable."""
    return any(
        durable >= number
        for path, content in _logs(disk)
        for sequence, durable in _frames(bytes(content.stable))
        if sequence > number
    )


def _frames(data: bytes) -> list[tuple[int, int]]:
    """(sequence, durable sequence) of frame after frame, up to the first that is none."""
    found, place = [], 0
    while place + HEADER_BYTES <= len(data):
        magic, length, _, _, sequence, durable = HEADER.unpack_from(data, place)
        if magic != MAGIC:
            break
        found.append((sequence, durable))
        place += HEADER_BYTES + length
    return found


def _logs(disk: SimulatedDisk) -> list[tuple[str, Content]]:
    return [(path, disk.content(path)) for path in disk.paths() if path.startswith("log/") and path.endswith(".log")]


class RotInLog:
    """What rots in the log on one disk: made before a record is struck, `note` after it. `mend` does what an operator
    does who has a sound copy: the bytes that are still rotten are as they were."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._disk = disk
        self._before = [(content, bytes(content.cached)) for _, content in _logs(disk)]
        self._rotten: list[tuple[Content, int, int, int]] = []

    def note(self) -> None:
        """The record has been struck."""
        for content, before in self._before:
            found = zip(before, bytes(content.cached), strict=True)
            self._rotten += [(content, place, old, new) for place, (old, new) in enumerate(found) if old != new]

    def mend(self) -> None:
        """Every byte that is still as the rot has left it."""
        for content, place, old, new in self._rotten:
            path = next((path for path, found in _logs(self._disk) if found is content), None)
            if path is not None and place < len(content.cached) and content.cached[place] == new:
                self._disk.damage(path, place, bytes((old,)))
