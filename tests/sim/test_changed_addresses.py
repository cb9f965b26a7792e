"""A server that was started again has another address, perhaps the one that another server had (GFS leaves it open).

On one machine addresses are ports that the system gives out. Two servers die at once, and one of them comes back where
the other one was. The master has not given up that one yet: it must not take the answers of the one for those of both.
"""

import pytest

from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


async def take_the_place_of_another(cluster: SmallCluster) -> tuple[str, str]:
    """Of the two servers of a file one is gone, and the other one is at its address; returns their names."""
    await cluster.client(1).write_file("/a", BODY)
    await wait(25)
    gone, back = cluster.holders("/a")
    [place] = [found.location for found in (await cluster.status()).servers if found.location.server == gone]
    for server in (gone, back):
        await cluster.kill(server)
    await cluster.start_node(back)
    found, doors = cluster.server(back), cluster.simulation.fabric.doors
    assert found is not None
    for before, now in ((place.control_address, found.control_address), (place.bulk_address, found.bulk_address)):
        doors[before] = doors[now]  # Simulated servers are told apart by their hosts, and have no ports in common.
    return gone, back


@pytest.mark.parametrize("chunkservers", [2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_one_server_does_not_acknowledge_for_two(seed: int, chunkservers: int):
    async def story(cluster: SmallCluster) -> None:
        gone, back = await take_the_place_of_another(cluster)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(0, b"later")
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert gone not in [replica.server for replica in chunk.chunk.replicas]
        await cluster.start_node(gone)
        await wait(30)
        assert len(cluster.holders("/a")) == 2
        await cluster.kill(back)
        cluster.disk(back).erase()
        assert await cluster.found("/a") == b"later" + BODY[5:]

    play(seed, story, chunkservers=chunkservers, replicas=2)
