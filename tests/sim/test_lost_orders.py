"""Orders of the master that are lost: no chunk comes down to one replica by that while others live (GFS 3.1, 4.3).

A cluster of five servers, and files of three replicas. Whoever stays alone with an acknowledged write must not die: so
in each story it does, at once and for good.
"""

import pytest

from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Message
from tests.sim.small_clusters import SmallCluster, play, wait

OLD = b"o" * 1000
NEW = b"acknowledged" * 50


def lose(cluster: SmallCluster, kind: Kind, *servers: str) -> list[str]:
    """Of the next orders to raise a version one is lost for each of these servers, one after the other; or its answer.
    Returns those that are not lost yet."""
    left = list(servers)

    def hook(message: Message):
        if not left or not message.method.endswith("/AdvanceChunks") or message.kind is not kind:
            return None
        if left[0] not in (message.source, message.target):
            return None
        left.pop(0)
        return DROP

    cluster.simulation.on_message(hook)
    return left


@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("seed", range(3))
def test_who_has_lost_its_only_fellow_gets_another_before_a_write_is_acknowledged(seed: int, place: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        await cluster.kill(cluster.holders("/a")[place])
        await write_and_lose_the_primary(cluster)

    play(seed, story, chunkservers=4, replicas=2)


async def write_and_lose_the_primary(cluster: SmallCluster) -> None:
    """An acknowledged write, and the death of whoever ordered it."""
    file = await cluster.client(1).open("/a", "r+b")
    await file.pwrite(100, NEW)
    await cluster.kill(cluster.primary("/a"))
    await wait(30)
    assert await cluster.found("/a") == OLD[:100] + NEW + OLD[100 + len(NEW) :]


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.REPLY])
@pytest.mark.parametrize("seed", range(3))
def test_two_lost_orders_leave_no_replica_alone(seed: int, kind: Kind):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        left = lose(cluster, kind, *cluster.holders("/a")[1:])
        await write_and_lose_the_primary(cluster)
        assert not left, "nothing was lost: the test proves nothing"

    play(seed, story, chunkservers=5)


@pytest.mark.parametrize("seed", range(3))
def test_a_master_that_reaches_one_of_three_for_a_moment_waits_for_another(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        left = lose(cluster, Kind.REQUEST, *cluster.holders("/a")[1:] * 3)
        await write_and_lose_the_primary(cluster)
        assert not left, "nothing was lost: the test proves nothing"

    play(seed, story, chunkservers=5)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("seed", range(2))
def test_a_server_parted_from_its_fellows_does_not_complain_them_away(seed: int, place: int):
    """The master and the clients reach everybody."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(2)
        parted = [cluster.primary("/a"), *[n for n in cluster.holders("/a") if n != cluster.primary("/a")]][place]
        others = [name for name in cluster.chunkservers() if name != parted]
        cluster.simulation.partition([parted], others)
        await write_and_lose_the_primary(cluster)

    play(seed, story, chunkservers=5)
