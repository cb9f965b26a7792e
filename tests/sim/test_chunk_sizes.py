"""A master that is started with another size of chunks than its files have (GFS leaves it open)."""

import pytest

from cluster.roles import MASTER
from runtime.errors import Conflict
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, outcome, play, wait

BODY = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"and more"


@pytest.mark.parametrize("other", [CHUNK_BYTES // 4, 4 * CHUNK_BYTES])
@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_a_master_refuses_to_read_its_files_with_another_size_of_chunks(other: int, has_checkpoint: bool):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        await wait(5)
        await cluster.kill(MASTER)
        cluster.overrides[MASTER]["chunk_bytes"] = other
        error = await outcome(cluster.start_node(MASTER))
        assert isinstance(error, Conflict) and str(CHUNK_BYTES) in error.message
        del cluster.overrides[MASTER]["chunk_bytes"]
        await cluster.start_node(MASTER)
        assert await cluster.found("/a") == BODY

    play(1, story, overrides={MASTER: {"checkpoint_log_bytes": 1024} if has_checkpoint else {}})
