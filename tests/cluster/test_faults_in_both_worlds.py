"""One story of faults, told over real processes and over simulated nodes: the same commands, the same outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cluster import processes
from cluster.fault_log import FaultHealed, FaultImposed, read_faults
from cluster.faultplan import (
    AllServers,
    BadLink,
    DiskTrouble,
    EmptyDisk,
    Isolate,
    Kill,
    Node,
    Partition,
    Replica,
    ReplicaTrouble,
    RottenRecord,
    TheMaster,
)
from cluster.interface import Cluster, NodeState, wait_until
from cluster.real import RealCluster
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import NotFound
from runtime.faults.disk import FullDisk, LyingSync, ReadError
from runtime.faults.links import Kind, LinkFaults
from runtime.simulated.world import Simulation
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster

SETTINGS = ClusterSettings(
    chunkservers=3, replicas=2, chunk_bytes=128 * 1024, heartbeat_seconds=0.25, lease_seconds=2.0, experiments=True
)
DATA = bytes(range(256)) * 1024


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    await wait_until(condition, what=what, timeout_seconds=30.0)


async def state_of(cluster: Cluster, node: str) -> NodeState:
    return {report.node: report.state for report in await cluster.nodes()}[node]


async def is_alive(cluster: Cluster, node: str) -> bool:
    return {one.location.server: one.alive for one in (await cluster.status()).servers}[node]


async def a_partition(cluster: Cluster) -> None:
    """The master gives a server up that it cannot hear, clients read on, and the server is back when it is healed."""
    fault = await cluster.impose(Partition(TheMaster()), Node("cs1"))
    assert fault.words == "nothing passes between cs1 and master" and cluster.imposed() == [fault]

    async def given_up() -> bool:
        return not await is_alive(cluster, "cs1")

    await until(given_up, "the master gives cs1 up")
    assert await state_of(cluster, "cs1") is NodeState.SERVING
    assert await cluster.client().read_file("/a") == DATA
    assert await cluster.heal(fault.number) == [fault]
    await until(lambda: is_alive(cluster, "cs1"), "cs1 is back")


async def a_delay(cluster: Cluster) -> None:
    """A node whose replies are late counts as hung for whoever does not wait so long, and the master waits longer."""
    late = await cluster.impose(BadLink(LinkFaults(delay=1.5), Node("client"), True, Kind.REPLY), Node("cs2"))
    assert late.words == "replies from cs2 to client are 1.5 s late"
    assert await state_of(cluster, "cs2") is NodeState.HUNG
    assert await state_of(cluster, "cs3") is NodeState.SERVING
    await cluster.heal(late.number)

    async def serves() -> bool:
        return await state_of(cluster, "cs2") is NodeState.SERVING

    await until(serves, "cs2 answers in time")
    assert await is_alive(cluster, "cs2")


async def an_error(cluster: Cluster) -> None:
    """A replica that cannot be read is passed over by readers."""
    fault = await cluster.impose(ReplicaTrouble(ReadError(), "/a", 0), Replica("/a", 0, 1))
    assert fault.words.startswith("reads of the replica of chunk 0 of /a (chunks/")
    assert await cluster.client().read_file("/a") == DATA
    await cluster.heal(fault.number)


async def a_full_disk(cluster: Cluster) -> None:
    """The master learns that a disk is full, and no new chunk is put there."""
    await cluster.impose(DiskTrouble(FullDisk()), Node("cs3"))

    async def is_full() -> bool:
        return any(one.location.server == "cs3" and not one.disk_free_bytes for one in (await cluster.status()).servers)

    await until(is_full, "the master knows that the disk is full")
    await cluster.client().write_file("/b", DATA)
    holders = [replica.server for chunk in await cluster.client().locations("/b") for replica in chunk.replicas]
    assert holders and "cs3" not in holders
    await cluster.heal()


async def an_isolated_node(cluster: Cluster) -> None:
    """An isolated node hears of the end of its isolation all the same, and a fault with a duration ends by itself."""
    fault = await cluster.impose(Isolate(), Node("cs2"), seconds=2.0)
    assert await state_of(cluster, "cs2") is NodeState.HUNG

    async def is_over() -> bool:
        return not cluster.imposed()

    await until(is_over, "it is over")
    with pytest.raises(NotFound, match=f"no fault {fault.number} lasts; none does"):
        await cluster.heal(fault.number)
    await until(lambda: is_alive(cluster, "cs2"), "cs2 is back")


async def ended_and_started(cluster: Cluster) -> None:
    """What a fault ended is started when it is healed, on an empty disk if it was emptied."""
    await cluster.impose(Kill(), Node("cs1"))
    assert await state_of(cluster, "cs1") is NodeState.DEAD
    await cluster.heal()
    assert await state_of(cluster, "cs1") is NodeState.SERVING
    await cluster.impose(EmptyDisk(), Node("cs3"))
    await cluster.heal()
    assert await cluster.client().read_file("/a") == DATA


async def a_rotten_log(cluster: Cluster) -> None:
    """A record of the log that rots is found when the master starts again."""
    with pytest.raises(NotFound, match="no record 100000 in the log: it has records 1 to "):
        await cluster.impose(RottenRecord(100000), TheMaster())
    fault = await cluster.impose(RottenRecord(3), TheMaster())
    assert fault.words.startswith("flipped bits of 4 bytes from byte ") and fault.words.endswith(".log on master")
    assert cluster.imposed() == []


CHAPTERS = (a_partition, a_delay, an_error, a_full_disk, an_isolated_node, ended_and_started, a_rotten_log)


async def told(cluster: Cluster) -> None:
    await cluster.client().write_file("/a", DATA)
    for chapter in CHAPTERS:
        await chapter(cluster)


def test_the_story_in_the_simulated_world():
    with Simulation(5) as simulation:
        cluster = SimulatedCluster(simulation, SETTINGS)

        async def whole() -> None:
            await cluster.start()
            await told(cluster)

        simulation.run(whole(), processor_seconds=60)


def test_the_story_in_the_real_world_and_what_only_processes_do(tmp_path: Path):
    async def whole() -> None:
        cluster = RealCluster("faulty", home=tmp_path, owned=True)
        await cluster.start(SETTINGS)
        try:
            await told(cluster)
            await a_lie(cluster)
            await a_restart_behind_a_partition(cluster)
        finally:
            await cluster.stop()
        noted = [record.event for record in read_faults(cluster.folder.path).records]
        begun = [event.number for event in noted if isinstance(event, FaultImposed) and not event.seconds]
        assert begun == [event.number for event in noted if isinstance(event, FaultHealed)]

    asyncio.run(whole())


async def a_lie(cluster: RealCluster) -> None:
    """What a lying sync did not write is lost when the node is killed."""
    await cluster.impose(DiskTrouble(LyingSync("chunks/")), AllServers())
    await cluster.client().write_file("/c", DATA)
    killed = await cluster.impose(Kill(), Replica("/c", 0, 1))
    assert "what had not been written of chunks/" in killed.words
    await cluster.heal()
    assert await cluster.client().read_file("/c") == DATA


async def a_restart_behind_a_partition(cluster: RealCluster) -> None:
    """A partition lies in the network: a node that is started anew is behind it still. `stop` works all the same."""
    await cluster.impose(Isolate(), Node("cs2"))
    await cluster.restart("cs2")
    assert await state_of(cluster, "cs2") is NodeState.HUNG
    assert len(cluster.imposed()) == 1


def test_without_experiments_only_processes_and_stored_bytes_are_broken(tmp_path: Path):
    desk = Desk(tmp_path / "home")
    try:
        desk.run("up", "--chunkservers", "1", "--replicas", "1")
        failed = desk.run("fault", "partition", "cs1", "/", "master", expect=1)
        assert "was not started for experiments" in failed and "`tabletop up --experiments`" in failed
        assert "'the wall' is no target" in desk.run("fault", "kill", "the wall", expect=2)
        assert "fault 1: killed cs1" in desk.run("fault", "kill", "cs1")
        assert "started cs1 again" in desk.run("fault", "heal")
        assert "runs without --experiments; stop it first" in desk.run("up", "--experiments", expect=1)
        desk.run("down")
        desk.run("up", "--experiments")
        assert "Experiments: on" in desk.run("ps")
        assert "fault 2: nothing passes between cs1 and anybody else" in desk.run("fault", "isolate", "cs1")
        assert "   2  nothing passes" in desk.run("fault", "list")
        desk.run("down", "--purge")
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)
