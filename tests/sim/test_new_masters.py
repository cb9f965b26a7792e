"""A master that has just started has not heard all of its servers yet (GFS 2.6.2 leaves open for how long it waits)."""

import asyncio

import pytest

from master.events import ChunkCreated, VersionRaised
from runtime.faults.links import Kind
from runtime.simulated.messages import Delay, Message
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


@pytest.mark.parametrize("seed", range(3))
def test_time_in_which_a_new_master_stood_still_is_no_time_in_which_its_servers_were_silent(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        first, *_ = cluster.holders("/a")

        def others_come_later(message: Message) -> Delay | None:
            is_registration = message.method.endswith("/Register") and message.kind is Kind.REQUEST
            return Delay(3.5) if is_registration and message.source != first else None

        handle = await cluster.handle("/a")
        async with await cluster.client(1).open("/a", "r+b") as file:
            await cluster.kill("master")
            cluster.simulation.on_message(others_come_later)
            writing = asyncio.create_task(file.pwrite(0, b"later"))
            await wait(0.5)
            await cluster.start_node("master")
            await wait(0.05)
            cluster.simulation.pause("master")
            await wait(8)
            cluster.simulation.resume("master")
            await writing
        raised = [
            record.event
            for record in cluster.simulation.sink.records
            if isinstance(record.event, VersionRaised) and record.event.handle == handle
        ]
        assert [len(event.members) for event in raised] == [3] * len(raised)
        assert await cluster.found("/a") == b"later" + BODY[5:]

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
def test_a_new_master_makes_no_chunk_on_the_first_server_that_it_hears(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await wait(5)
        await cluster.kill("master")

        def others_come_later(message: Message) -> Delay | None:
            is_registration = message.method.endswith("/Register") and message.kind is Kind.REQUEST
            return Delay(2.0) if is_registration and message.source != "cs1" else None

        cluster.simulation.on_message(others_come_later)
        await cluster.start_node("master")
        await cluster.client().write_file("/a", BODY)
        [created] = [
            record.event for record in cluster.simulation.sink.records if isinstance(record.event, ChunkCreated)
        ]
        assert set(created.servers) == {"cs1", "cs2", "cs3"}

    play(seed, story)


def test_a_new_master_makes_a_chunk_on_fewer_servers_if_the_others_do_not_come():
    async def story(cluster: SmallCluster) -> None:
        await wait(5)
        await cluster.kill("cs2")
        await cluster.kill("master")
        await cluster.start_node("master")
        await cluster.client().write_file("/a", BODY)
        assert cluster.holders("/a") == ["cs1", "cs3"]

    play(1, story)


def test_a_server_that_a_new_master_does_not_know_registers_at_once():
    async def story(cluster: SmallCluster) -> None:
        await wait(5.1)
        await cluster.kill("master")
        await cluster.start_node("master")
        await wait(cluster.settings.heartbeat_seconds)
        status = await cluster.client().cluster_status()
        assert [server.alive for server in status.servers] == [True] * 3

    play(1, story)
