"""A client that does not reach the primary, or a replica not reached by its fellows: a write comes about (GFS 3.1)."""

import pytest

from tests.sim.small_clusters import SmallCluster, play, wait

OLD = b"o" * 1000


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("place", range(3))
def test_a_client_is_given_another_primary_though_the_lease_of_the_first_is_over_by_then(place: int, one_way: bool):
    """It waits for an answer for as long as a lease lasts here, so that nobody holds one when it complains."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        cluster.simulation.partition([cluster.holders("/a")[place]], ["client1"], one_way=one_way)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(100, b"later")
        assert await cluster.found("/a", client=2) == OLD[:100] + b"later" + OLD[105:]

    play(1, story, lease_seconds=10.0)


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("place", range(3))
def test_a_replica_that_its_fellows_do_not_reach_is_left_out_however_short_leases_are(place: int, one_way: bool):
    """First it is the primary, and then it is a secondary of another one. Until both are known to have failed, more
    than two leases pass."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", OLD)
        await wait(25)
        parted = cluster.holders("/a")[place]
        others = [name for name in cluster.chunkservers() if name != parted]
        cluster.simulation.partition(others, [parted], one_way=one_way)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(100, b"later")
        assert await cluster.found("/a", client=2) == OLD[:100] + b"later" + OLD[105:]

    play(1, story, chunkservers=5, lease_seconds=10.0)
