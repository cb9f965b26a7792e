"""Stories: operations and faults that belong together, in a small share of the seeds.

The problem. Some rules guard a moment that chance hardly ever meets: an operator who takes a replica while the others
are not sure of theirs, a copy too many that is the only whole one. The idea: a story adds, to what a seed does anyway,
the few operations that lead there and the faults that make the moment dangerous. What is drawn for it is drawn apart
from all else, so that every other seed is what it would be without.

    admissions     all servers lose power, one of them stays away, and an operator admits replicas that were put aside;
                   what he asks for is lost, late, or comes a second time                                  GFS 4.5
    fallen goals   a file that was just written gets a lower goal, so that one of its copies is too many; then the
                   others lose power, or rot, before that copy is removed                                  GFS 4.3, 4.4
    one by one     a file is written over in place, and all its servers lose power: some at once, so that they lose what
                   was written, the others after they have made it durable, and before anybody is compared GFS 3.1
    kept directory a client says for how long its directory keeps deleted files, deletes some and restores some (in
                   `operators.py`)                                                                         GFS 4.4

`placements.py` has those of racks, of servers that come and leave, of hot chunks, and of faults that last.
"""

import dataclasses
import random
from collections.abc import Callable

from cluster.faultplan import (
    Fault,
    Group,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    Node,
    OnMessage,
    PowerCut,
    Replica,
    RottenBlock,
    TheSender,
    What,
)
from cluster.swarm import placements
from cluster.swarm.history import Kind
from cluster.swarm.mischief import DOWN_SECONDS, chunkservers
from cluster.swarm.operators import with_kept_directory
from cluster.swarm.plan import JUDGE, PlannedOperation, Setup
from runtime.faults import links

Operations = tuple[PlannedOperation, ...]
Faults = tuple[Fault, ...]
Story = Callable[[int, Setup, Operations, Faults], tuple[Setup, Operations, Faults]]

WITH_ADMISSIONS = 0.15
WITH_FALLEN_GOALS = 0.1
WITH_ONE_BY_ONE = 0.1
LATER_SECONDS = 8.5  # After so long everything that was acknowledged is on every disk that had power (`losses.py`).
_SLOW_SCRUB = 8192
"""Bytes a second: as with large chunks, damage is found by the scrubber long after it came."""


def with_admissions(
    seed: int, setup: Setup, operations: Operations, faults: Faults
) -> tuple[Setup, Operations, Faults]:
    """An operator admits replicas of chunks that have no current one; or, where none is found, others."""
    chance = random.Random(f"operator {seed}")
    if chance.random() >= WITH_ADMISSIONS:
        return setup, operations, faults
    setup = dataclasses.replace(setup, durability="replicated")  # Or else few replicas would ever be unsure.
    operations += tuple(
        PlannedOperation(
            JUDGE, chance.choice([0.0, 1.0]), Kind.ADMIT, force=chance.random() < 0.6, count=chance.randrange(4)
        )
        for _ in range(chance.randint(3, 8))
    )
    return setup, operations, faults + _around_admissions(chance, setup)


def _around_admissions(chance: random.Random, setup: Setup) -> Faults:
    servers = chunkservers(setup)
    found: list[Fault] = []
    for _ in range(chance.randint(1, 3)):
        when = OnMessage("Chunkserver/Write", links.Kind.REQUEST, nth=chance.randint(2, 30))
        away = chance.choice(servers)
        others = Group(tuple(Node(name) for name in servers if name != away))
        found.append(Fault(when, PowerCut(), Node(away), chance.choice([12.0, 25.0])))
        found.append(Fault(when, PowerCut(), others, _down(chance)))
    for nth in chance.sample(range(1, 7), k=chance.randint(1, 4)):
        late = chance.choice([2.0, 8.0, 20.0])
        is_lost = chance.random() < 0.5
        what: What = MessageLost() if is_lost else MessageDoubled(late)
        kind = links.Kind.REPLY if is_lost else links.Kind.REQUEST
        found.append(Fault(OnMessage("Master/AdmitReplica", kind, nth=nth), what, TheSender()))
    return tuple(found)


def with_fallen_goals(
    seed: int, setup: Setup, operations: Operations, faults: Faults
) -> tuple[Setup, Operations, Faults]:
    """A file of three copies is written, gets the goal two, and later three again, a few times."""
    chance = random.Random(f"fallen goals {seed}")
    if chance.random() >= WITH_FALLEN_GOALS:
        return setup, operations, faults
    setup = dataclasses.replace(
        setup,
        replicas=3,
        durability="replicated",  # Or else a loss of power would take nothing.
        scrub_bytes_per_second=_SLOW_SCRUB,
    )
    rounds = chance.randint(2, 4)
    written = [PlannedOperation(JUDGE, 3.0, Kind.WRITE_FILE, _spare(0), count=chance.randint(1000, 60_000))]
    for number in range(rounds):
        path = _spare(number + 1)
        written += [
            PlannedOperation(JUDGE, chance.choice([2.0, 12.0]), Kind.OPEN, _spare(number), mode="r+b"),
            PlannedOperation(JUDGE, 0.0, Kind.WRITE, count=chance.randint(100, 60_000)),
            PlannedOperation(JUDGE, 0.0, Kind.CLOSE),
            PlannedOperation(JUDGE, 0.0, Kind.RENAME, _spare(number), path),  # It ends the lease.
            PlannedOperation(JUDGE, chance.choice([0.0, 0.0, 6.0]), Kind.SET_REPLICATION, path, count=2),
            PlannedOperation(JUDGE, chance.choice([0.6, 1.2, 1.8]), Kind.LIST, "/"),
            PlannedOperation(JUDGE, chance.choice([8.0, 16.0]), Kind.SET_REPLICATION, path, count=3),
        ]
        faults += (_after_a_fall(chance, number, path),)
    verified = OnMessage("Chunkserver/VerifyReplica", links.Kind.REQUEST)
    late = Fault(verified, MessageDelayed(chance.choice([2.0, 4.0])), TheSender(), setup.trouble_seconds)
    return setup, operations + tuple(written), (*faults, late)


def _spare(number: int) -> str:
    return f"/spare{number}"


def _after_a_fall(chance: random.Random, number: int, path: str) -> Fault:
    """Two of the three replicas are struck at once: they rot as soon as the goal has fallen, or lose power for a moment
    (a listing tells when) while the master has them verified, which takes long."""
    if chance.random() < 0.5:
        fallen = OnMessage("Master/SetReplication", links.Kind.REPLY, target=JUDGE, nth=2 * number + 1)
        two = Group(tuple(Replica(path, 0, replica) for replica in chance.sample([1, 2, 3], k=2)))
        return Fault(fallen, RottenBlock(path, 0, 0), two)
    listed = OnMessage("Master/List", links.Kind.REQUEST, source=JUDGE, nth=number + 1)
    two = Group((Replica(path, 0, 1), Replica(path, 0, 2)))  # The copy too many is not among those that count.
    return Fault(listed, PowerCut(loses_all=True), two, chance.choice([0.2, 0.5, 1.0]))


def with_one_by_one(
    seed: int, setup: Setup, operations: Operations, faults: Faults
) -> tuple[Setup, Operations, Faults]:
    """A file of three copies is written over, a few times; its length stays. A new directory tells when power fails."""
    chance = random.Random(f"one by one {seed}")
    if chance.random() >= WITH_ONE_BY_ONE:
        return setup, operations, faults
    # Nobody is given up while he is away, so that all three are compared when they are back.
    setup = dataclasses.replace(setup, replicas=3, durability="replicated", dead_after_heartbeats=40.0)
    path, count = "/overwritten", 60_000
    written = [PlannedOperation(JUDGE, 3.0, Kind.WRITE_FILE, path, count=count)]
    for number in range(chance.randint(1, 3)):
        away = chance.uniform(LATER_SECONDS, LATER_SECONDS + 2.0)
        written += [
            PlannedOperation(JUDGE, chance.choice([8.0, 20.0]), Kind.OPEN, path, mode="r+b"),
            PlannedOperation(JUDGE, 0.0, Kind.WRITE, count=chance.randint(100, count)),
            PlannedOperation(JUDGE, 0.0, Kind.CLOSE),
            PlannedOperation(JUDGE, chance.choice([0.0, 0.0, 1.0]), Kind.MAKE_DIRECTORY, f"/first{number}"),
            PlannedOperation(JUDGE, away, Kind.MAKE_DIRECTORY, f"/last{number}"),
            PlannedOperation(JUDGE, 10.0, Kind.READ_FILE, path),
        ]
        replicas = [Replica(path, 0, replica) for replica in chance.sample([1, 2, 3], k=3)]
        first = chance.choice([1, 2, 2])
        for nth, cut, seconds in ((1, replicas[:first], away + 1.0), (2, replicas[first:], 0.5)):
            told = OnMessage("Master/MakeDirectory", links.Kind.REPLY, target=JUDGE, nth=2 * number + nth)
            faults += (Fault(told, PowerCut(loses_all=True), Group(tuple(cut)), seconds),)
    return setup, operations + tuple(written), faults


def _down(chance: random.Random) -> float:
    return round(chance.choice(DOWN_SECONDS) * chance.uniform(0.5, 1.2), 3)


STORIES: tuple[Story, ...] = (
    with_admissions,
    with_fallen_goals,
    with_one_by_one,
    *placements.STORIES,
    with_kept_directory,
)
"""In the order in which a seed is given them."""
