"""Rot beside power cuts and lost messages: a block is lost only if no replica anywhere has it whole.

In each story one block rots on one replica, long after it was made durable everywhere, and at least one other server
has that very block whole on its disk, to the end. (The last copy of something is damaged nowhere here.)
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster.placement import Placement
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import TabletopError
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP
from runtime.simulated.world import Simulation

Story = Callable[[Simulation, SimulatedCluster, bytes], Awaitable[None]]


def play(seed: int, story: Story, *, servers: int, replicas: int = 3, scrubs: bool = True) -> list[str]:
    """Runs the story; returns the kinds of all events. Unless it `scrubs`, nobody finds rot that nobody reads."""
    simulation = Simulation(seed)
    settings = ClusterSettings(
        chunkservers=servers, replicas=replicas, chunk_bytes=512 * 1024, lease_seconds=10.0, heartbeat_seconds=1.0
    )
    overrides = {} if scrubs else {"chunkserver": {"scrub_bytes_per_second": 0}}
    cluster = SimulatedCluster(simulation, settings, clients=2, overrides=overrides)

    async def whole() -> None:
        await cluster.start()
        await story(simulation, cluster, bytes([1 + seed % 200]) * 150_000)

    simulation.run(whole())
    return [type(record.event).__name__ for record in simulation.sink.records if getattr(record.event, "mended", 1) > 0]


async def rot_on_one_and_power_cuts_of_the_others(
    simulation: Simulation, cluster: SimulatedCluster, data: bytes, patience: float = 90.0
):
    """The others come back without the last bytes, so that the rotten replica is the only current one."""
    file = await cluster.client(1).open("/a", "xb")
    await file.write(data)
    await file.flush()
    await asyncio.sleep(12)
    held = Placement(cluster).holders("/a", 0)
    await file.write(b"n" * 50_000)
    await file.flush()
    await cluster.corrupt("/a", 0, 0, held[0])
    for name in held[1:]:
        simulation.power_cut(name)
    await asyncio.sleep(1)
    for name in held[1:]:
        await cluster.start_node(name)
    await asyncio.sleep(patience)
    assert await cluster.client(2).read_file("/a") == data + b"n" * 50_000


async def rot_on_one_and_lost_messages_to_the_other(simulation: Simulation, cluster: SimulatedCluster, data: bytes):
    """The grant goes on with the rotten replica alone, as nobody knows of the rot; the sound one is left out, as its
    server answers no order for longer than it is waited for."""
    await cluster.client(1).write_file("/a", data)
    await asyncio.sleep(25)
    bad, good = Placement(cluster).holders("/a", 0)
    await cluster.corrupt("/a", 0, 0, bad)
    lost: list[str] = []

    def lose(message):
        is_grant = message.method.endswith("/AdvanceChunks") and message.kind is Kind.REQUEST
        if is_grant and message.target == good:
            lost.append(good)
            return DROP
        return None

    end_of_losses = simulation.on_message(lose)
    file = await cluster.client(1).open("/a", "r+b")
    await file.pwrite(140_000, b"z" * 100)
    end_of_losses()
    await asyncio.sleep(90)
    assert lost
    assert await cluster.client(2).read_file("/a") == data[:140_000] + b"z" * 100 + data[140_100:]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("servers", (3, 5))
def test_a_rotten_block_is_taken_from_replicas_that_lack_the_newest_bytes(seed: int, servers: int):
    assert "BlocksMended" in play(seed, rot_on_one_and_power_cuts_of_the_others, servers=servers)


@pytest.mark.parametrize("seed", range(3))
def test_a_rotten_block_is_taken_from_a_sound_replica_that_was_left_out(seed: int):
    kinds = play(seed, rot_on_one_and_lost_messages_to_the_other, servers=2, replicas=2, scrubs=False)
    assert "BlocksMended" in kinds and "ReplicaMended" in kinds


async def rot_and_a_lost_order_to_mend(simulation: Simulation, cluster: SimulatedCluster, data: bytes):
    lost: list[str] = []

    def lose_one(message):
        if not lost and message.method.endswith("/MendReplica") and message.kind is Kind.REQUEST:
            lost.append(message.target)
            return DROP
        return None

    simulation.on_message(lose_one)
    await rot_on_one_and_power_cuts_of_the_others(simulation, cluster, data, patience=25.0)
    assert lost


@pytest.mark.parametrize("seed", range(3))
def test_an_order_to_mend_that_is_lost_is_given_again_within_seconds(seed: int):
    assert "BlocksMended" in play(seed, rot_and_a_lost_order_to_mend, servers=3)


@pytest.mark.parametrize("seed", range(6))
def test_after_a_power_cut_of_all_an_old_rotten_block_is_not_taken_as_it_lies(seed: int):
    """Every replica has doubtful blocks: one its rot, which is old, the others what they were just writing."""

    async def story(simulation: Simulation, cluster: SimulatedCluster, data: bytes) -> None:
        file = await cluster.client(1).open("/a", "xb")
        await file.write(data)
        await file.flush()
        await asyncio.sleep(40)
        held = Placement(cluster).holders("/a", 0)
        other = await cluster.client(1).open("/a", "r+b")
        await other.pwrite(len(data), b"n" * 60_000)
        await cluster.corrupt("/a", 0, 0, held[seed % 3])
        await asyncio.sleep(0.2)
        await cluster.power_cut_all()
        await asyncio.sleep(1)
        for name in cluster.settings.node_names():
            while not cluster.is_running(name):
                try:
                    await cluster.start_node(name)
                except TabletopError:
                    await asyncio.sleep(1)
        await asyncio.sleep(60)
        assert (await cluster.client(2).read_file("/a"))[: len(data)] == data

    assert "BlocksMended" in play(seed, story, servers=3)
