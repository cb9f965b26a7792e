"""A sync fails, the system drops the pages, and the server is killed: its next life cannot know, and loses nothing."""

import asyncio

import pytest

from runtime.faults.disk import SyncError
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

BODY = b"acknowledged" * 10000


def fail_syncs_of_data(cluster: SmallCluster) -> None:
    """Each server's next sync of the only chunk's data fails; whether it did shows in what it records."""
    for node in cluster.chunkservers():
        (path,) = [path for path in cluster.disk(node).paths() if path.startswith("chunks/") and path.endswith(".data")]
        cluster.disk(node).impose(SyncError(path=path, loses_pages=True))


async def until_all_have_failed(cluster: SmallCluster) -> None:
    def has_failed(node: str) -> bool:
        return any(type(record.event).__name__ == "CorruptionFound" for record in cluster.events(node))

    while not all(map(has_failed, cluster.chunkservers())):
        await wait(0.001)


async def kill_and_start(cluster: SmallCluster) -> None:
    for node in cluster.chunkservers():
        cluster.simulation.kill(node)
        cluster.disk(node).heal()
    for node in cluster.chunkservers():
        await cluster.start_node(node)


@pytest.mark.parametrize("seed", range(3))
def test_an_overwrite_that_failed_costs_no_bytes_that_were_durable_before(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await wait(20)
        fail_syncs_of_data(cluster)
        file = await client.open("/a", "r+b")
        writing = asyncio.create_task(outcome(file.pwrite(10, b"in doubt" * 10)))
        await until_all_have_failed(cluster)
        cluster.simulation.kill("client1")
        await kill_and_start(cluster)
        await wait(5)
        await cluster.lose_power(cluster.chunkservers())
        await wait(30)
        found = await cluster.found("/a")
        assert isinstance(found, bytes)
        assert found[:10] + found[90:] == BODY[:10] + BODY[90:]
        writing.cancel()

    play(seed, story, durability="fsync")


@pytest.mark.parametrize("seed", range(3))
def test_bytes_whose_background_sync_failed_are_written_again_by_the_next_life(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY[:100])
        await wait(10)
        fail_syncs_of_data(cluster)
        file = await client.open("/a", "r+b")
        await file.pwrite(0, BODY)
        await file.close()
        await until_all_have_failed(cluster)
        await kill_and_start(cluster)
        await wait(60)
        await cluster.lose_power(cluster.chunkservers())
        await wait(30)
        assert await cluster.found("/a") == BODY

    play(seed, story, loses_all=True)
