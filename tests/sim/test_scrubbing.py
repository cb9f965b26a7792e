"""Blocks that nobody reads are verified when a server is idle (GFS 5.2)."""

from chunkserver.events import CorruptionFound
from tests.sim.small_clusters import BLOCK, SmallCluster, play, wait

A_BLOCK_A_SECOND = {"chunkserver": {"scrub_bytes_per_second": BLOCK}}


def test_a_damaged_block_does_not_hold_up_the_verification_of_others():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        handles = []
        for path in ("/a", "/b"):
            await client.write_file(path, b"acknowledged")
            handles.append(await cluster.handle(path))
            await cluster.corrupt(path, 0, 0, "cs1")
        await wait(8)
        records = [record for record in cluster.simulation.sink.records if isinstance(record.event, CorruptionFound)]
        assert [record.event.handle for record in records] == handles

    play(1, story, overrides=A_BLOCK_A_SECOND)
