"""Where copies are: racks, servers that come and leave, hot chunks, faults that last (GFS 2.5, 4.2, 4.3).

Stories (`stories.py` says what one is), each drawn apart from all else:

    racks       servers stand in racks, in some seeds in data centres, under one policy or the other; a rack loses its
                power, or is cut off from all others
    leaving     an operator drains servers, cancels that, and adds others
    hot reads   all clients read one file again and again, and a chunk is called hot early
    lasting     one disk takes nothing from some moment on, or one server is dead for good, or both; nothing else
                happens, and nobody heals anything before it was judged

and the judges of how it ends. At rest no chunk breaks the rule of racks that need not, and nothing is left on a server
that is drained. Under a fault that lasts, each chunk comes back to its goal that has a replica which can be copied, and
each file can be appended to.
"""

import asyncio
import dataclasses
import random
from collections.abc import Iterable
from typing import Any

from cluster.faultplan import At, DiskTrouble, Fault, InRack, Kill, Node, OutsideRack, Partition, PowerCut, What
from cluster.swarm.history import Kind
from cluster.swarm.mischief import chunkservers
from cluster.swarm.plan import JUDGE, PlannedOperation, Setup
from cluster.swarm.stage import Stage
from cluster.swarm.verdicts import Verdict
from cluster.swarm.workload import CLIENTS
from cluster.topology import place_of
from master.chunks.replicas import ReplicaState
from runtime.faults.disk import FullDisk, SyncError, WriteError

Operations = tuple[PlannedOperation, ...]
Faults = tuple[Fault, ...]

WITH_RACKS = 0.35
WITH_LEAVING = 0.25
WITH_HOT_READS = 0.15
WITH_LASTING = 0.08
TOPOLOGIES = ("r1,r2", "r1,r2,r3", "dc1:r1,r2/dc2:r3", "dc1:r1/dc2:r2", "a:r1,r2/b:r3,r4/c:r5")
LASTING_SECONDS = 150.0
"""Under a fault that lasts, for how long a chunk may be below its goal."""


def with_racks(seed: int, setup: Setup, operations: Operations, faults: Faults) -> tuple[Setup, Operations, Faults]:
    """Racks, and faults of whole racks."""
    chance = random.Random(f"racks {seed}")
    if chance.random() >= WITH_RACKS:
        return setup, operations, faults
    topology, placement = chance.choice(TOPOLOGIES), chance.choice(["paper", "paper", "hashing"])
    setup = dataclasses.replace(setup, topology=topology, placement=placement)
    places = [place_of(name, topology) for name in chunkservers(setup)]
    for _ in range(chance.randint(0, 2)):
        one = chance.choice(places)
        outside = OutsideRack(one.rack, one.data_centre)
        kinds: list[What] = [PowerCut(), PowerCut(loses_all=True), Partition(outside)]
        when = At(round(chance.uniform(5.0, setup.trouble_seconds), 3))
        seconds = chance.choice([1.0, 8.0, 20.0])
        faults += (Fault(when, chance.choice(kinds), InRack(one.rack, one.data_centre), seconds),)
    return setup, operations, faults


def with_leaving(seed: int, setup: Setup, operations: Operations, faults: Faults) -> tuple[Setup, Operations, Faults]:
    """An operator drains servers, lets some of them stay after all, and adds new ones."""
    chance = random.Random(f"leaving {seed}")
    if chance.random() >= WITH_LEAVING:
        return setup, operations, faults
    drained: list[str] = []
    found: list[PlannedOperation] = []
    for _ in range(chance.randint(1, 5)):
        pause, kind = chance.choice([2.0, 10.0, 30.0]), chance.random()
        if kind < 0.25:
            found.append(PlannedOperation(JUDGE, pause, Kind.ADD_SERVER))
        elif kind < 0.5 and drained:
            found.append(PlannedOperation(JUDGE, pause, Kind.DRAIN, target=chance.choice(drained), replace=True))
        else:
            drained.append(chance.choice(chunkservers(setup)))
            found.append(PlannedOperation(JUDGE, pause, Kind.DRAIN, target=drained[-1]))
    return setup, operations + tuple(found), faults


def with_hot_reads(seed: int, setup: Setup, operations: Operations, faults: Faults) -> tuple[Setup, Operations, Faults]:
    """All clients read one file, in bursts."""
    chance = random.Random(f"hot reads {seed}")
    if chance.random() >= WITH_HOT_READS:
        return setup, operations, faults
    setup = dataclasses.replace(setup, hot_bytes_per_second=chance.choice([500, 3000, 10000]))
    found = list(operations)
    paths = [planned.path for planned in operations if planned.kind is Kind.WRITE_FILE] or ["/hot"]
    for _ in range(chance.randint(2, 6)):
        path = chance.choice(paths)
        for client in CLIENTS:
            place = chance.randrange(1, len(found))
            found[place:place] = [
                PlannedOperation(client, chance.choice([0.0, 0.2, 1.0]), Kind.READ_FILE, path)
                for _ in range(chance.randint(5, 25))
            ]
    return setup, tuple(found), faults


def with_lasting(seed: int, setup: Setup, operations: Operations, faults: Faults) -> tuple[Setup, Operations, Faults]:
    """One disk takes nothing any more, and another server is dead for good; nothing else."""
    chance = random.Random(f"lasting {seed}")
    if chance.random() >= WITH_LASTING:
        return setup, operations, faults
    setup = dataclasses.replace(
        setup,
        chunkservers=max(setup.chunkservers, setup.replicas + 3),
        lasting=True,
        lease_seconds=min(setup.lease_seconds, 10.0),
        write_patience_seconds=120.0,
        patience_seconds=30.0,
    )
    sick, dead = chance.sample(chunkservers(setup), k=2)
    kinds = chance.choice([("disk",), ("disk", "death"), ("disk", "death"), ("full", "death"), ("full",)])
    when = round(chance.uniform(10.0, setup.trouble_seconds / 2), 3)
    found: list[Fault] = []
    if "disk" in kinds:
        trouble = chance.choice([WriteError(), SyncError()])
        found.append(Fault(At(when), DiskTrouble(trouble), Node(sick), None))
    if "full" in kinds:
        found.append(Fault(At(when), DiskTrouble(FullDisk()), Node(sick), None))
    if "death" in kinds:
        later = round(when + chance.choice([0.5, 5.0, 20.0]), 3)
        found.append(Fault(At(later), Kill(), Node(dead), None))
    kept = (Kind.SET_REPLICATION, Kind.DRAIN, Kind.ADD_SERVER, Kind.ADMIT)  # They may want what cannot be held now.
    return setup, tuple(planned for planned in operations if planned.kind not in kept), tuple(found)


STORIES = (with_racks, with_leaving, with_hot_reads, with_lasting)


# How it ends.


def unspread(core: Any) -> list[str]:
    """Chunks whose copies are together where they need not be. All servers live, none is in trouble."""
    draining = core.state.draining
    places = {server.name: server.place for server in core.servers.all()}
    racks: dict[str, set[str]] = {}
    for name, place in places.items():
        if name not in draining:
            racks.setdefault(place.data_centre, set()).add(place.rack)
    found = []
    for handle in core.state.chunks.handles():
        held = [places[name] for name in core.state.chunks.replicas(handle) if name not in draining]
        if len(held) < 2:
            continue
        centres = {place.data_centre for place in held}
        if len(centres) == 1 and len(racks) > 1:
            found.append(f"all copies of chunk {handle:#x} are in data centre {held[0].data_centre!r}")
        for centre in sorted(centres):
            here = [place.rack for place in held if place.data_centre == centre]
            if len(here) > 1 and len(set(here)) == 1 and len(racks.get(centre, ())) > 1:
                found.append(
                    f"{len(here)} copies of chunk {handle:#x} are in rack {here[0]} of {centre!r}, and no other"
                )
    return found


def left_on_drained(core: Any) -> list[str]:
    """Copies that count on servers that are to leave."""
    return [
        f"{name} is drained, and a copy of chunk {handle:#x} on it counts"
        for name in core.state.draining
        for handle in core.state.chunks.held_by(name)
    ]


async def judge_lasting(stage: Stage) -> list[Verdict]:
    """Before anything is healed: whether each chunk comes back to its goal that can."""
    left: dict[int, str] | None = None
    deadline = stage.now + LASTING_SECONDS
    while left != {} and stage.now < deadline:
        below = dict(_below(stage))
        left = below if left is None else {handle: below[handle] for handle in left if handle in below}
        await asyncio.sleep(1.0)
    seconds = f"for {LASTING_SECONDS:g} s, while the fault lasts"
    return [Verdict("lasting fault", f"{text} {seconds}") for text in list((left or {}).values())[:4]]


def out_of_reach(stage: Stage) -> list[int]:
    """Chunks of which no replica is left but on a full disk: before a copy or a write its version would have to rise
    there (decision 22). From one that fails every write it is copied as it is (decision 34)."""
    core = stage.insight.core()
    full = {name for fault in stage.plan.faults for name in _full_disks_of(fault)}
    handles = core.state.chunks.handles() if core is not None else ()
    return [handle for handle in handles if full.issuperset(_holders(core, handle))]


def _holders(core: Any, handle: int) -> tuple[str, ...]:
    """The servers whose replicas count, or else those whose replicas are damaged; none if all are away."""
    damaged = core.live_servers(core.replicas.servers_in(handle, ReplicaState.CORRUPT))
    return core.state.chunks.replicas(handle) or tuple(server.name for server in damaged)


def _below(stage: Stage) -> Iterable[tuple[int, str]]:
    core = stage.insight.core()
    if core is None:
        return
    lost = out_of_reach(stage)
    for handle in core.state.chunks.handles():
        chunk = core.state.chunks.chunk(handle)
        if len(chunk.replicas) < chunk.goal and handle not in lost:
            names = ", ".join(chunk.replicas)
            yield handle, f"chunk {handle:#x} has {len(chunk.replicas)} replicas ({names}), expected {chunk.goal},"


def _full_disks_of(fault: Fault) -> list[str]:
    is_full = isinstance(fault.what, DiskTrouble) and isinstance(fault.what.fault, FullDisk)
    return [fault.target.name] if is_full and isinstance(fault.target, Node) else []
