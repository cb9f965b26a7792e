"""Positions far beyond the end of a file, as after a mistaken seek: nothing hangs, and nothing is changed (GFS 2.3)."""

import pytest

from runtime.errors import InvalidRequest
from runtime.settings import MOST_CHUNKS
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, outcome, play

BODY = b"x" * 1000
MOST = MOST_CHUNKS * CHUNK_BYTES


@pytest.mark.parametrize("position", [MOST, 2**50, 2**63, 2**70])
def test_what_no_file_can_have_is_refused_and_reads_as_the_end(position: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", BODY)
        async with await cluster.client().open("/a", "r+b") as file:
            error = await outcome(file.pwrite(position, b"1"))
            assert isinstance(error, InvalidRequest) and error.definite
            assert isinstance(await outcome(file.pwrite(MOST - 1, b"12")), InvalidRequest)
            await file.seek(position)
            assert isinstance(await outcome(file.write(b"1")), InvalidRequest)
            assert await file.pread(position, 10) == b"" == await file.read(10) == await file.read()
            assert await file.pread(MOST - 1, 10) == b""
            await file.pwrite(0, b"later")
        assert await cluster.found("/a", 1) == b"later" + BODY[5:]
        assert len(await cluster.client().locations("/a")) == 1

    play(1, story)
