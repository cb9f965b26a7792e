"""The last replica of a chunk is on a disk that takes no more writes: it is read, and copied from (GFS 4.3, 5.2)."""

import pytest

from gfs.health import Health, verdict
from runtime.faults.disk import WriteError
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


async def lose_others(cluster: SmallCluster, left: str, others: list[str]) -> None:
    for name in others:
        if name != left:
            await cluster.kill(name)
            cluster.disk(name).erase()


async def health(cluster: SmallCluster) -> Health:
    [chunk] = (await cluster.status(chunks=True)).chunks
    return verdict(chunk)


async def counted(cluster: SmallCluster) -> set[str]:
    """The servers whose replicas count."""
    [chunk] = (await cluster.status(chunks=True)).chunks
    return {replica.server for replica in chunk.chunk.replicas}


@pytest.mark.parametrize("is_written", [False, True], ids=["at rest", "being written"])
@pytest.mark.parametrize("seed", range(2))
def test_the_last_replica_is_read_and_copied_from_though_its_disk_takes_no_writes(seed: int, is_written: bool):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", BODY)
        if not is_written:
            await wait(25)
        holders = cluster.holders("/a")
        broken = holders[seed]
        cluster.disk(broken).impose(WriteError())
        await lose_others(cluster, broken, holders)
        assert await cluster.found("/a") == BODY
        for _ in range(20):
            found = await health(cluster)
            assert found in (Health.BELOW_GOAL, Health.DAMAGED, Health.HEALTHY)
            assert found is not Health.HEALTHY or len(await counted(cluster) - {broken}) >= 2
            await wait(5)
        assert len(await counted(cluster) - {broken}) >= 2
        await cluster.kill(broken)
        cluster.disk(broken).erase()
        assert await cluster.found("/a") == BODY

    play(seed, story, chunkservers=6)


def test_a_chunk_whose_only_replica_is_on_such_a_disk_is_copied_when_somebody_finds_out():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", BODY)
        await wait(25)
        [broken] = cluster.holders("/a")
        cluster.disk(broken).impose(WriteError())
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"later")
        assert await cluster.found("/a") == b"later" + BODY[5:]
        assert await health(cluster) is Health.HEALTHY
        assert broken not in await counted(cluster)

    play(3, story, chunkservers=3, replicas=1)
