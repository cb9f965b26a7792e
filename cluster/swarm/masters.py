"""Several masters and their lock service among the victims (GFS 5.1.3).

In a share of the seeds the cluster has three masters; in a sweep with `--masters`, in all of them. Then all that
strikes the master strikes the one that acts, and a few faults more are drawn, apart from all else: the masters and the
lock service are killed, lose power, stand still, are cut off from one another, have clocks that run wrong, or end in
the middle of bringing a record to the others.

Judged beside what is judged everywhere (an acknowledged change is never lost, for one):

    two masters     at no moment would two of them answer a client, by the true time
    full disks      an acting master that cannot log does not stay while another one could act (`full_masters.py`)
    safe mode       outlives the master under which it was entered (`safe_masters.py`)
    epochs          each epoch is the tenure of one master, and later tenures have higher ones
    convergence     after the healing all are in sync, and have one state, in memory and when their logs are replayed
"""

import dataclasses
import random
from typing import Any

from cluster.faultplan import (
    At,
    ClockDrift,
    Fault,
    Group,
    Isolate,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnDisk,
    OnMessage,
    Partition,
    Pause,
    PowerCut,
    Stop,
    Target,
    TheMaster,
    TheReceiver,
    TheSender,
    What,
)
from cluster.roles import LOCK
from cluster.simulated import SimulatedCluster
from cluster.swarm.full_masters import full_masters
from cluster.swarm.mischief import DOWN_SECONDS
from cluster.swarm.plan import MASTERS, PlannedOperation, Setup
from cluster.swarm.safe_masters import safe_failovers
from master.failover.replicated import ReplicatedMaster
from runtime.faults.links import Kind

WITH_MASTERS = 0.12
LOOK_SECONDS = 0.05
_CALLS = ("AskLog", "BeginStream", "AppendRecords", "AppendRecords", "AppendRecords", "InstallCheckpoint")
_LOCK_CALLS = ("KeepAlive", "AcquireLock", "WriteLockFile", "ReadLockFile", "OpenSession")

Operations = tuple[PlannedOperation, ...]
Faults = tuple[Fault, ...]


def with_masters(
    seed: int, setup: Setup, operations: Operations, faults: Faults, *, share: float = WITH_MASTERS
) -> tuple[Setup, Operations, Faults]:
    """In so many of the seeds: three masters, and faults that strike them."""
    chance = random.Random(f"masters {seed}")
    if chance.random() >= share:
        return setup, operations, faults
    setup = dataclasses.replace(setup, masters=len(MASTERS), shadow_memory_bytes=chance.choice([400, 4096, 1 << 20]))
    draw = _Draw(chance, setup)
    drawers = [draw.ending, draw.ending, draw.pause, draw.parting, draw.isolation, draw.in_the_middle, draw.late]
    drawers += [draw.parting, draw.clock, draw.at_disk]
    more = tuple(chance.choice(drawers)() for _ in range(chance.randint(2, 8)))
    entered, kills = safe_failovers(seed, setup)
    return setup, entered + operations, faults + more + full_masters(seed, setup) + kills


class _Draw:
    """Draws single faults of masters and of the lock service."""

    def __init__(self, chance: random.Random, setup: Setup) -> None:
        self._chance = chance
        self._setup = setup

    def _at(self) -> At:
        return At(round(self._chance.uniform(2.0, self._setup.trouble_seconds), 3))

    def _seconds(self) -> float:
        return round(self._chance.choice(DOWN_SECONDS) * self._chance.uniform(0.5, 1.2), 3)

    def _victim(self) -> Target:
        return self._target(TheMaster(), TheMaster(), *map(Node, MASTERS), Node(LOCK))

    def _what(self, *choices: What) -> What:
        return self._chance.choice(choices)

    def _target(self, *choices: Target) -> Target:
        return self._chance.choice(choices)

    def ending(self) -> Fault:
        what = self._what(Kill(), Kill(), PowerCut(), PowerCut(loses_all=True), Stop())
        target = self._victim()
        if self._chance.random() < 0.15:
            target = Group(tuple(map(Node, (*MASTERS, LOCK))))
        return Fault(self._at(), what, target, self._seconds())

    def pause(self) -> Fault:
        return Fault(self._at(), Pause(), self._victim(), self._seconds())

    def parting(self) -> Fault:
        """The acting master from the others, from the lock service, or both; chunkservers and clients reach it."""
        others = self._chance.choice([MASTERS, (LOCK,), (*MASTERS, LOCK), (*MASTERS, LOCK)])
        one = self._target(TheMaster(), TheMaster(), Node(self._chance.choice(MASTERS)))
        is_one_way = self._chance.random() < 0.2
        seconds = max(self._seconds(), self._chance.choice([0.0, 3.0]))  # Before that nobody takes over.
        return Fault(self._at(), Partition(Group(tuple(map(Node, others))), is_one_way), one, seconds)

    def isolation(self) -> Fault:
        return Fault(self._at(), Isolate(), self._victim(), self._seconds())

    def in_the_middle(self) -> Fault:
        """A record is on its way to a shadow, or a lock to a master, and one of the two ends or stands still."""
        what = self._what(Kill(), Kill(), PowerCut(), Pause())
        target = self._target(TheSender(), TheReceiver())
        return Fault(self._message(), what, target, self._seconds())

    def late(self) -> Fault:
        """Messages between masters are lost, late, or come twice."""
        late = self._chance.choice([0.3, 1.0, 2.5])
        what = self._what(MessageLost(), MessageDelayed(late), MessageDoubled(late))
        return Fault(self._message(), what, TheSender(), self._chance.choice([None, 1.0, 5.0]))

    def clock(self) -> Fault:
        drift = self._chance.choice([-0.05, -0.02, 0.02, 0.05])
        return Fault(self._at(), ClockDrift(drift), self._victim(), 4.0 * self._seconds())

    def at_disk(self) -> Fault:
        """Somebody ends in the middle of writing its log."""
        verb = self._chance.choice(["write", "sync", "rename", "remove"])
        node = self._chance.choice(["master*", "master2", "master3", LOCK])
        when = OnDisk(verb, "*", node, nth=self._chance.choice([1, 3, 10, 40, 100]))
        return Fault(when, self._what(Kill(), PowerCut()), TheSender(), self._seconds())

    def _message(self) -> OnMessage:
        chance = self._chance
        method = f"MasterReplica/{chance.choice(_CALLS)}"
        if chance.random() < 0.3:
            method = f"LockService/{chance.choice(_LOCK_CALLS)}"
        kind = chance.choice([Kind.REQUEST, Kind.REPLY, None])
        return OnMessage(method, kind, nth=chance.choice([1, 2, 3, 5, 10, 40, 100]))


# Judging


def who_would_answer(cluster: SimulatedCluster) -> list[str]:
    """The masters that would answer a client at this moment, by their own clocks; those that stand still, too: they
    would when they go on, if their clocks let them."""
    found = []
    for name in cluster.settings.master_names():
        server = cluster.server(name)
        if isinstance(server, ReplicatedMaster) and server.may_answer:
            found.append(name)
    return found


def not_in_sync(cluster: SimulatedCluster) -> list[str]:
    """What keeps the masters from being at rest, one sentence each; empty for one master."""
    if cluster.settings.masters == 1:
        return []
    acting: Any = cluster.acting_master()
    if acting is None:
        return ["no master acts"]
    standing = acting.standing()
    found = [f"{one.master} is not in sync: {one.problem}" for one in standing.followers if not one.in_sync]
    for name in cluster.settings.master_names():
        server: Any = cluster.server(name)
        applied = server.standing().applied_sequence if server is not None else 0
        if applied != standing.last_sequence:
            found.append(f"{name} has applied records up to {applied}, expected {standing.last_sequence}")
    return found
