"""A program whose master dies in the middle of a call, on a machine that can tell that the master's process is gone."""

import asyncio

import pytest

from cluster.roles import MASTER
from cluster.simulated import MASTER_ADDRESS
from gfs.client import Client
from runtime.errors import TimedOut, Unavailable
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Drop, Message
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

ADVICE = "start it again with `tabletop fault restart master`"


def watchful(cluster: SmallCluster) -> Client:
    """A client that sees whether the master's process is there."""

    def gone() -> Unavailable | None:
        return None if cluster.is_running(MASTER) else Unavailable(ADVICE, definite=True)

    return Client(cluster.client_world, MASTER_ADDRESS, master_gone=gone)


@pytest.mark.parametrize("seed", range(2))
def test_an_operation_ends_soon_after_the_master_was_seen_to_be_gone(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client, blind = watchful(cluster), cluster.client()
        await client.write_file("/a", b"text")
        file = await client.open("/b", "xb")
        await cluster.kill(MASTER)
        begun = asyncio.get_running_loop().time()
        error = await outcome(client.stat("/a"))
        assert isinstance(error, Unavailable) and ADVICE in error.message and "/a" in error.message
        assert error.definite, "to look changes nothing"
        seconds = client.settings.gone_seconds
        assert seconds <= asyncio.get_running_loop().time() - begun < seconds + 5
        for work in (client.rename("/a", "/c"), file.pwrite(0, b"more")):
            begun = asyncio.get_running_loop().time()
            error = await outcome(work)
            assert isinstance(error, Unavailable) and ADVICE in error.message
            assert asyncio.get_running_loop().time() - begun < 5, "it has been gone for a while already"
        assert isinstance(await outcome(blind.stat("/a")), TimedOut)

    play(seed, story, clients=1)


@pytest.mark.parametrize("seed", range(2))
def test_a_master_that_is_started_again_meanwhile_is_waited_for(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = watchful(cluster)
        await client.write_file("/a", b"text")
        for _ in range(2):
            await cluster.kill(MASTER)
            reading = asyncio.create_task(client.stat("/a"))
            await wait(client.settings.gone_seconds - 3)
            await cluster.start_node(MASTER)
            assert (await reading).length == 4

    play(seed, story, clients=1)


def test_a_change_that_may_have_arrived_before_the_master_died_stays_in_doubt():
    async def story(cluster: SmallCluster) -> None:
        client = watchful(cluster)

        def no_answer(message: Message) -> Drop | None:
            return DROP if message.method.endswith("/Create") and message.kind is Kind.REPLY else None

        cluster.simulation.on_message(no_answer)
        creating = asyncio.create_task(client.create("/a"))
        await wait(1)
        await cluster.kill(MASTER)
        error = await outcome(creating)
        assert isinstance(error, Unavailable) and ADVICE in error.message and not error.definite

    play(0, story, clients=1)
