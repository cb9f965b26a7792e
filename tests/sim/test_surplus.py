"""Copies too many beside rot that nobody has noticed: no copy is removed before those that stay have been read and
compared with their checksums (GFS 4.3, 5.2)."""

import pytest

from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Drop, Message
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 9000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rotten", [1, 2, 3])
def test_a_copy_too_many_stays_while_those_that_are_kept_are_rotten(seed: int, rotten: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")
        await wait(7)
        await client.set_replication("/b", 4)
        await wait(30)
        holders = cluster.holders("/b")
        assert len(holders) == 4
        bad = [holders[(seed + place) % 4] for place in range(rotten)]
        for server in bad:
            await cluster.corrupt("/b", 0, 0, server)
        await client.set_replication("/b", 3)
        await wait(90)
        assert await cluster.found("/b") == BODY
        assert len(cluster.holders("/b")) == 3

    play(seed, story, chunkservers=4, overrides={"chunkserver": {"scrub_bytes_per_second": 0}})


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_comes_back_brings_the_last_sound_copy(seed: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await client.rename("/a", "/b")
        await wait(30)
        good = cluster.holders("/b")[0]
        await cluster.kill(good)
        await wait(60)
        assert len(set(cluster.holders("/b")) - {good}) == 3
        for server in cluster.holders("/b"):
            if server != good:
                await cluster.corrupt("/b", 0, 0, server)
        await cluster.start_node(good)
        await wait(120)
        assert await cluster.found("/b") == BODY

    play(seed, story, chunkservers=4, overrides={"chunkserver": {"scrub_bytes_per_second": 0}})


@pytest.mark.parametrize("method", ["/AdvanceChunks", "/VerifyReplica"])
def test_those_that_stay_are_not_read_all_the_time_while_a_copy_too_many_cannot_go(method: str):
    """All blocks of all of them, every two seconds, while one does not do what it is told."""

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client(1)
        await client.write_file("/a", BODY)
        await wait(25)
        read: list[float] = []

        def lose(message: Message) -> Drop | None:
            if message.method.endswith("/VerifyReplica") and message.kind is Kind.REQUEST:
                read.append(cluster.simulation.loop.time())
            return DROP if message.method.endswith(method) and message.kind is not Kind.REQUEST else None

        forget = cluster.simulation.on_message(lose)
        await client.set_replication("/a", 2)
        await wait(300)
        assert read and len(read) <= 2 * 20
        forget()
        await wait(90)
        assert len(cluster.holders("/a")) == 2

    play(1, story)
