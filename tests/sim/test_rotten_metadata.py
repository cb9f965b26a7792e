"""Metadata of a chunk rots or vanishes while the other replicas lose power: what they have whole stays readable."""

import pytest

from chunkserver.storage.chunk_files import metadata_path
from chunkserver.storage.chunk_format import TABLE_OFFSET
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 12000
SLOW_SCRUBBING = {"chunkserver": {"scrub_bytes_per_second": 100}}


async def two_files(cluster: SmallCluster) -> int:
    """The handle of the second one's chunk; the scrubbers come to the first one first."""
    client = cluster.client(1)
    await client.write_file("/first", BODY)
    await client.write_file("/a", BODY)
    await wait(60)
    return await cluster.handle("/a")


async def rot_table(cluster: SmallCluster, node: str, handle: int) -> None:
    """Rot a checksum in the table, and let the server read it again."""
    cluster.disk(node).rot(metadata_path(handle), TABLE_OFFSET)
    cluster.simulation.kill(node)
    await cluster.start_node(node)
    await wait(1)


@pytest.mark.parametrize("seed", range(2))
def test_a_rotten_checksum_of_the_only_replica_that_kept_its_power_costs_no_block(seed: int):
    async def story(cluster: SmallCluster) -> None:
        handle = await two_files(cluster)
        rotten, *good = cluster.holders("/a")
        await rot_table(cluster, rotten, handle)
        await cluster.lose_power(good)
        await wait(60)
        assert await cluster.found("/a") == BODY

    play(seed, story, overrides=SLOW_SCRUBBING)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("place", [0, 1])
def test_a_replica_with_a_rotten_checksum_does_not_push_the_good_one_out(seed: int, place: int):
    async def story(cluster: SmallCluster) -> None:
        handle = await two_files(cluster)
        await cluster.client(1).set_replication("/a", 2)
        await wait(60)
        await rot_table(cluster, cluster.holders("/a")[place], handle)
        file = await cluster.client(1).open("/a", "r+b")
        await file.pwrite(len(BODY), b"more")
        await file.close()
        await wait(60)
        assert await cluster.found("/a") == BODY + b"more"

    play(seed, story, overrides=SLOW_SCRUBBING)


@pytest.mark.parametrize("seed", range(2))
def test_a_replica_whose_metadata_is_gone_is_no_judge_of_the_others(seed: int):
    async def story(cluster: SmallCluster) -> None:
        handle = await two_files(cluster)
        broken, *good = cluster.holders("/a")
        cluster.simulation.kill(broken)
        await cluster.start_node(broken)
        await cluster.disk(broken).remove(metadata_path(handle))
        while not any(type(record.event).__name__ == "CorruptionReported" for record in cluster.events("master")):
            await wait(0.001)
        await cluster.lose_power(good)
        await wait(60)
        assert await cluster.found("/a") == BODY

    play(seed, story)
