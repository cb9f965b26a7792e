"""A chunk that many clients read gets more copies for a while (GFS 2.5)."""

import asyncio

from gfs.settings import ClientSettings
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"executable" * 6000


async def read_for(cluster: SmallCluster, seconds: float, pause: float) -> None:
    loop = asyncio.get_running_loop()

    async def keep_reading(number: int) -> None:
        until = loop.time() + seconds
        while loop.time() < until:
            assert await cluster.client(number).read_file("/hot") == BODY
            await asyncio.sleep(pause)

    await asyncio.gather(*(keep_reading(number) for number in range(1, len(cluster.client_names()) + 1)))


def test_a_hot_chunk_gets_more_copies_and_loses_them_when_it_has_cooled():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/hot", BODY)
        await cluster.client().write_file("/cold", BODY)
        await wait(15)
        await read_for(cluster, 40.0, 0.2)
        [chunk] = [one for one in (await cluster.status(chunks=True)).chunks if one.path == "/hot"]
        assert len(chunk.chunk.replicas) == 5 and chunk.extra_copies == 2 and chunk.replication_goal == 3
        assert (await cluster.client().stat("/hot")).replication_goal == 3, "the file's goal is what it was"
        assert len(cluster.holders("/cold")) == 3
        await wait(120)
        assert len(cluster.holders("/hot")) == 3
        assert (await cluster.status()).hot_chunks == 0

    play(1, story, chunkservers=8, clients=6, overrides={"master": {"hot_bytes_per_second": 150_000, "hot_copies": 2}})


def test_a_chunk_that_is_read_a_little_is_left_alone():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/hot", BODY)
        await wait(15)
        await read_for(cluster, 30.0, 2.0)
        assert len(cluster.holders("/hot")) == 3

    play(1, story, chunkservers=8, overrides={"master": {"hot_bytes_per_second": 150_000}})


def test_clients_that_are_equally_far_spread_their_reads():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/hot", BODY)
        await read_for(cluster, 10.0, 0.5)
        counts = [cluster.server(name).counters()["reads"] for name in cluster.holders("/hot")]  # type: ignore[union-attr]
        assert all(count > 0 for count in counts), counts

    play(1, story, chunkservers=5, clients=12)


def test_a_client_reads_from_its_own_rack_first():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/hot", BODY)
        await read_for(cluster, 5.0, 0.5)
        reads = {name: cluster.server(name).counters()["reads"] for name in cluster.holders("/hot")}  # type: ignore[union-attr]
        assert len([name for name, count in reads.items() if count]) == 1 and reads[near(cluster)] > 0

    def near(cluster: SmallCluster) -> str:
        return next(name for name in cluster.holders("/hot") if int(name[2:]) % 3 == 2)

    here = ClientSettings(own_rack="r2")
    play(1, story, chunkservers=6, clients=5, topology="r1,r2,r3", client_settings=here)
