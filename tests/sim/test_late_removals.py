"""Orders to remove a replica that are carried out late: the last good copy is never among them (GFS 4.4, 4.5).

The goal of a file falls from three to two. One copy is too many, is left out, and is ordered to be removed, which takes
a while. Meanwhile the others die for good.
"""

from collections.abc import Callable

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation
from runtime.faults.links import Kind
from runtime.simulated.messages import Message
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


def no_removal(operation: Operation) -> TabletopError | None:
    is_removal = operation.verb in ("rename", "remove") and "chunks" in operation.path
    return DiskFailure("refused") if is_removal else None


def decided(cluster: SmallCluster) -> bool:
    kinds = [type(record.event).__name__ for record in cluster.simulation.sink.records]
    return "RemovalDecided" in kinds


async def until_decided(cluster: SmallCluster) -> None:
    for _ in range(600):
        if decided(cluster):
            return
        await wait(0.1)
    raise AssertionError("nothing was to be removed")


async def begin(cluster: SmallCluster) -> tuple[str, Callable[[], None]]:
    """A file with a copy too many, whose disk does not let it go; returns its server, and what heals the disks."""
    await cluster.client(1).write_file("/a", BODY)
    await cluster.client(1).rename("/a", "/b")
    undo = [cluster.disk(node).on_operation(no_removal) for node in cluster.chunkservers()]
    await cluster.client(1).set_replication("/b", 2)
    await until_decided(cluster)
    (chunk,) = (await cluster.status(chunks=True)).chunks
    counted = [replica.server for replica in chunk.chunk.replicas]
    (spare,) = [node for node in cluster.chunkservers() if node not in counted]
    await wait(2)

    def heal() -> None:
        for end in undo:
            end()

    return spare, heal


async def lose_the_others(cluster: SmallCluster, spare: str) -> None:
    for node in cluster.chunkservers():
        if node != spare:
            await cluster.kill(node)


async def check_that_it_stays(cluster: SmallCluster, spare: str) -> None:
    await wait(30)
    kept = [path for path in cluster.disk(spare).paths() if path.startswith("chunks/") and path.endswith(".meta")]
    assert kept, "the last good copy was removed"


@pytest.mark.parametrize("seed", range(3))
def test_a_removal_that_failed_is_not_tried_again_when_the_others_have_died(seed: int):
    async def story(cluster: SmallCluster) -> None:
        spare, heal = await begin(cluster)
        await lose_the_others(cluster, spare)
        await wait(15)
        heal()
        await check_that_it_stays(cluster, spare)

    play(seed, story)


@pytest.mark.parametrize("comes_back", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_removal_that_failed_is_not_tried_again_while_the_master_is_away(seed: int, comes_back: bool):
    async def story(cluster: SmallCluster) -> None:
        spare, heal = await begin(cluster)
        await cluster.kill("master")
        await lose_the_others(cluster, spare)
        await wait(10)
        if comes_back:
            await cluster.start_node("master")
            await wait(3)
        heal()
        await check_that_it_stays(cluster, spare)

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
def test_an_order_that_lies_at_a_server_that_stands_still_is_over_when_it_goes_on(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await cluster.client(1).rename("/a", "/b")
        stood: list[str] = []

        def hook(message: Message) -> None:
            is_answer = message.method.endswith("/Heartbeat") and message.kind is Kind.REPLY
            if is_answer and decided(cluster) and not stood and message.target in spares(cluster):
                stood.append(message.target)
                cluster.simulation.pause(message.target)

        cluster.simulation.on_message(hook)
        await cluster.client(1).set_replication("/b", 2)
        await until_decided(cluster)
        while not stood:
            await wait(0.05)
        await lose_the_others(cluster, stood[0])
        await wait(20)
        cluster.simulation.resume(stood[0])
        await check_that_it_stays(cluster, stood[0])

    def spares(cluster: SmallCluster) -> list[str]:
        events = [record.event for record in cluster.simulation.sink.records]
        (kept,) = [event.kept for event in events if type(event).__name__ == "RemovalDecided"]
        return [node for node in cluster.chunkservers() if node not in kept]

    play(seed, story)


@pytest.mark.parametrize("seed", range(3))
def test_a_removal_that_could_not_be_carried_out_in_time_is_ordered_again(seed: int):
    async def story(cluster: SmallCluster) -> None:
        spare, heal = await begin(cluster)
        await wait(30)
        assert spare in cluster.holders("/b")
        heal()
        await wait(60)
        assert spare not in cluster.holders("/b") and len(cluster.holders("/b")) == 2
        assert await cluster.found("/b") == BODY

    play(seed, story)
