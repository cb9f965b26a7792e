"""Replicas over racks and data centres, when servers come, die, and lose their power together (GFS 4.2, 4.3)."""

import itertools

import pytest

from master.balance.racks import Place, Topology
from runtime.wire.common_pb2 import Location
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"spread" * 3000
TWO_CENTRES = "dc1:r1,r2/dc2:r3"


async def breaks(cluster: SmallCluster) -> list[str]:
    """The chunks whose copies break the rule, in words."""
    status = await cluster.status(chunks=True)
    topology = Topology(place_of(server.location) for server in status.servers)
    return [
        f"{chunk.path}: {[replica.server for replica in chunk.chunk.replicas]}"
        for chunk in status.chunks
        if topology.breaks([place_of(replica) for replica in chunk.chunk.replicas])
    ]


def place_of(server: Location) -> Place:
    return Place(server.data_centre, server.rack)


async def write_some(cluster: SmallCluster, count: int = 12) -> None:
    for number in range(count):
        await cluster.client().write_file(f"/{number}", BODY)


@pytest.mark.parametrize("placement", ["paper", "hashing"])
@pytest.mark.parametrize("topology", ["r1,r2", "r1,r2,r3", TWO_CENTRES, "a:r1,r2/b:r3,r4/c:r5"])
def test_new_chunks_keep_the_rule_under_both_policies(topology: str, placement: str):
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        assert await breaks(cluster) == []
        if topology == TWO_CENTRES:
            centres = [
                sorted(replica.data_centre for replica in chunk.chunk.replicas)
                for chunk in (await cluster.status(chunks=True)).chunks
            ]
            assert all(names in (["dc1", "dc1", "dc2"], ["dc1", "dc2", "dc2"]) for names in centres)

    play(1, story, chunkservers=9, topology=topology, placement=placement)


@pytest.mark.parametrize("placement", ["paper", "hashing"])
def test_a_rack_that_loses_its_power_loses_nothing_and_the_rule_is_mended_when_it_is_back(placement: str):
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        rack = cluster.simulation.fabric.distances.nodes_in("", "r2")
        for node in rack:
            cluster.simulation.power_cut(node)
        assert await cluster.found("/3") == BODY
        await wait(40)  # All copies are in one rack now: there is no other.
        assert all(len(chunk.chunk.replicas) == 3 for chunk in (await cluster.status(chunks=True)).chunks)
        for node in rack:
            await cluster.start_node(node)
        await wait(150)
        assert await breaks(cluster) == []
        assert all(len(chunk.chunk.replicas) == 3 for chunk in (await cluster.status(chunks=True)).chunks)

    play(1, story, chunkservers=8, topology="r1,r2", placement=placement)


def test_chunks_of_one_rack_are_spread_when_another_rack_is_added():
    async def story(cluster: SmallCluster) -> None:
        await cluster.kill("cs4")
        await wait(10)
        await write_some(cluster)
        assert len(await breaks(cluster)) == 12
        assert (await cluster.status()).misplaced_chunks == 0, "there is no server in another rack that lives"
        await cluster.start_node("cs4")
        await wait(120)
        assert await breaks(cluster) == []

    play(1, story, chunkservers=4, overrides={"cs4": {"rack": "other"}, "chunkserver": {"rack": "one"}})


@pytest.mark.parametrize("placement", ["paper", "hashing"])
def test_a_new_server_is_filled_gradually(placement: str):
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster, 30)
        await wait(20)
        await cluster.add_chunkservers(1)
        held = []
        for _ in range(100):
            [server] = [one for one in (await cluster.status()).servers if one.location.server == "cs6"]
            held.append(server.chunk_count)
            await wait(1)
        assert held[0] == 0 and 8 <= held[-1] <= 22, held
        assert max(after - before for before, after in itertools.pairwise(held)) <= 6, held
        assert await cluster.found("/7") == BODY
        chunks = (await cluster.status(chunks=True)).chunks
        assert all(len(chunk.chunk.replicas) == 3 for chunk in chunks)

    play(1, story, chunkservers=5, placement=placement, clone_bytes_per_second=20_000)
