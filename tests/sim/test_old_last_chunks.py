"""Appends by clients that remember an earlier last chunk: no record goes before one that is there already (GFS 3.3)."""

import pytest

from cluster.swarm.appends import have_next_chunk_made
from cluster.swarm.insight import Insight
from gfs.client import Client
from gfs.names.identity import FileIdentity
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play, wait

PATH = "/log"


async def go_on_without_bytes(client: Client) -> None:
    """What a client does whose write reaches into the next chunk, and who dies before a byte of it is written."""
    status = await client.stat(PATH)
    await have_next_chunk_made(client, FileIdentity(PATH, status.file_id))


def replicas(cluster: SmallCluster, index: int) -> set[bytes]:
    insight = Insight(cluster)
    handle = insight.handle_at(PATH, index)
    held = [insight.replicas_on(name).get(handle) for name in cluster.chunkservers() if cluster.is_running(name)]
    return {replica.data for replica in held if replica is not None}


@pytest.mark.parametrize("pause", [0.0, 30.0], ids=["under the lease", "after the lease"])
def test_a_client_that_remembers_an_earlier_last_chunk_appends_to_the_last_one(pause: float):
    async def story(cluster: SmallCluster) -> None:
        one, other = cluster.client(1), cluster.client(2)
        await one.create(PATH)
        assert await one.record_append(PATH, b"first") == 0
        await go_on_without_bytes(other)
        assert await other.record_append(PATH, b"second") == CHUNK_BYTES
        await wait(pause)
        assert await one.record_append(PATH, b"third") == CHUNK_BYTES + 6
        assert replicas(cluster, 0) == {b"first".ljust(CHUNK_BYTES, b"\0")}, "the chunk that was left is padded"
        assert replicas(cluster, 1) == {b"secondthird"}

    play(1, story)


def test_a_primary_that_cannot_be_told_is_fenced_off_before_the_file_goes_on():
    async def story(cluster: SmallCluster) -> None:
        one, other = cluster.client(1), cluster.client(2)
        await one.create(PATH)
        assert await one.record_append(PATH, b"first") == 0
        primary = cluster.primary(PATH)
        cluster.simulation.partition(["master", "client2"], [primary])
        await go_on_without_bytes(other)  # The first client, the primary and the secondaries reach one another.
        assert await other.record_append(PATH, b"second") == CHUNK_BYTES
        assert await one.record_append(PATH, b"third") == CHUNK_BYTES + 6

    play(1, story, chunkservers=5, lease_seconds=60.0)


def test_a_file_goes_on_though_all_servers_of_its_last_chunk_are_gone():
    async def story(cluster: SmallCluster) -> None:
        one = cluster.client(1)
        await one.create(PATH)
        await one.record_append(PATH, b"first")
        for name in cluster.holders(PATH):
            await cluster.kill(name)
        await go_on_without_bytes(cluster.client(2))
        assert await cluster.client(2).record_append(PATH, b"second") == CHUNK_BYTES

    play(1, story, chunkservers=6)


def test_writes_at_offsets_go_on_under_the_lease_when_the_file_gets_its_next_chunk():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        body = bytes(range(1, 251)) * (3 * CHUNK_BYTES // 250)
        await client.write_file(PATH, body)
        chunks = await client.locations(PATH)
        assert len(chunks) == 3 and {chunk.version for chunk in chunks} == {1}, "nobody was fenced off"
        assert await cluster.found(PATH) == body

    play(1, story)
