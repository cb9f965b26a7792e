"""A lying disk: some machines say that they have synced and have not, and then all lose power (GFS 3.1, 5.2).

Three servers hold a file. A client writes lines to it, each acknowledged. On some machines, which are drawn, the disk
answers a sync without doing it. Then all three lose power in one instant, and with it everything that was not synced;
they start again, and somebody reads.
"""

import asyncio
import random
from typing import Any

from chunkserver.storage.chunk_files import data_path
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from cluster.timeline.building import timeline_of_simulation
from cluster.timeline.page import page_of
from labs.drills.drill import FACTS, FILES, Answered, Drill, Facts, Simulated
from labs.drills.evidence import Evidence
from labs.drills.questions import Truth, values
from master.events import ReplicasCompared
from runtime.errors import TabletopError
from runtime.faults.disk import LyingSync
from runtime.simulated.world import EPOCH_MICROSECONDS, Simulation

PATH = "/ledger"
LINE = b"line %03d\n"
LINE_BYTES = len(LINE % 0)
HEALING_SECONDS = 120.0
TITLE = "A lying disk: three servers lose power in one instant"


def drawn(draw: int) -> dict[str, Any]:
    """What a draw decides."""
    chance = random.Random(f"lying disk {draw}")
    liars = chance.choice([1, 2, 3])
    return {
        "durability": chance.choice(["fsync", "replicated"]),
        "liars": sorted(chance.sample(["cs1", "cs2", "cs3"], liars)),
        "lines": chance.randrange(20, 60),
        "pause": 0.25,
        "seed": chance.randrange(1 << 16),
    }


def play(told: dict[str, Any]) -> tuple[Facts, Simulation]:
    """Run it; returns what there is to find, and the simulation with all its records."""
    simulation = Simulation(seed=told["seed"])
    settings = ClusterSettings(
        chunkservers=3, chunk_bytes=1 << 16, lease_seconds=4.0, heartbeat_seconds=1.0, durability=told["durability"]
    )
    cluster = SimulatedCluster(simulation, settings)
    return simulation.run(_story(cluster, told)), simulation


async def _story(cluster: SimulatedCluster, told: dict[str, Any]) -> Facts:
    await cluster.start()
    client, servers = cluster.client(), cluster.settings.chunkserver_names()
    for node in told["liars"]:
        cluster.simulation.world(node).simulated_disk.impose(LyingSync())
    await client.create(PATH)
    acknowledged = await _write(cluster, told)
    handle = (await client.locations(PATH))[0].handle
    for node in servers:
        cluster.simulation.power_cut(node, loses_all=True)
    stored = {node: _lines_on(cluster, node, handle) for node in servers}
    for node in servers:
        await cluster.restart(node)
    await asyncio.sleep(HEALING_SECONDS)
    return {"acknowledged": acknowledged, "stored": stored, "read": await _read(cluster), "told": told}


async def _write(cluster: SimulatedCluster, told: dict[str, Any]) -> int:
    """Append lines, each acknowledged before the next; returns how many."""
    file = await cluster.client().open(PATH, "ab")
    for number in range(told["lines"]):
        await file.write(LINE % number)
        await file.flush()
        await asyncio.sleep(told["pause"])
    await file.close()
    return int(told["lines"])


def _lines_on(cluster: SimulatedCluster, node: str, handle: int) -> int:
    """How many whole lines lie on a disk at this moment."""
    disk, path = cluster.simulation.world(node).simulated_disk, data_path(handle)
    return _whole_lines(bytes(disk.content(path).cached)) if path in disk.paths() else 0


def _whole_lines(data: bytes) -> int:
    count = 0
    while data[count * LINE_BYTES : (count + 1) * LINE_BYTES] == LINE % count:
        count += 1
    return count


async def _read(cluster: SimulatedCluster) -> int:
    """How many lines a reader gets; -1 if it gets an error."""
    try:
        return _whole_lines(await cluster.client().read_file(PATH))
    except TabletopError:
        return -1


def _run(parameters: Facts) -> Answered:
    told = drawn(int(parameters["draw"]))
    if parameters["wants"] == FILES:
        return Answered({}, {"plan.md": _plan(told)})
    facts, simulation = play(told)
    compared = [one.event for one in simulation.sink.records if isinstance(one.event, ReplicasCompared)]
    facts["alike"] = len(compared[0].alike) if compared else 0
    if parameters["wants"] == FACTS:
        return Answered(facts, {})
    drawing = timeline_of_simulation(TITLE, simulation.sink.records, None, epoch=EPOCH_MICROSECONDS)
    return Answered({}, {"run.html": "".join(page_of(drawing))})


def _plan(told: dict[str, Any]) -> str:
    return (
        "# What was drawn for you\n\n"
        f"- durability `{told['durability']}`\n"
        f"- the disks that lie about syncs: {', '.join(told['liars'])}\n"
        f"- {told['lines']} lines, one every {told['pause']:g} s, each acknowledged before the next is written\n"
        "- then cs1, cs2 and cs3 lose power in one instant, and with it everything that was not synced\n"
    )


def _share(count: int, of: int) -> str:
    return "all of them" if count == of else "none of them" if count <= 0 else "some of them"


def _survive(evidence: Evidence) -> Truth:
    read, of = evidence.fact("read"), evidence.fact("acknowledged")
    said = f"a reader got {read} of {of} lines" if read >= 0 else "a reader got an error"
    return values("one of", (_share(read, of),), said)


def _whole(evidence: Evidence) -> Truth:
    stored, of = evidence.fact("stored"), evidence.fact("acknowledged")
    count = sum(lines == of for lines in stored.values())
    return values("a number", (count,), "; ".join(f"{node} had {lines} lines" for node, lines in stored.items()))


def _alike(evidence: Evidence) -> Truth:
    alike = evidence.fact("alike")
    return values("a number", (alike,), f"at the first comparison {alike} replicas were alike")


DRILLS = (Drill("lying-disk", Simulated(_run), {"survive": _survive, "whole": _whole, "alike": _alike}),)
