"""A server that answers and whose disk takes nothing: copies are made elsewhere (GFS 4.2, 4.3)."""

from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.simulated.disk_faults import Operation
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


def no_writing(operation: Operation) -> TabletopError | None:
    is_new = operation.verb in ("create", "write", "rename") and operation.path.startswith(("incoming", "chunks"))
    return DiskFailure("the file system is read-only now") if is_new else None


def play_with_trouble(seed: int, chunkservers: int, story: Callable[[SmallCluster, str], Awaitable[None]]) -> None:
    """The last server is in trouble. It is the only one in its rack: the best place for nearly everything."""
    troubled = f"cs{chunkservers}"

    async def begin(cluster: SmallCluster) -> None:
        cluster.disk(troubled).on_operation(no_writing)
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        assert troubled not in cluster.holders("/a")
        await story(cluster, troubled)

    play(seed, begin, chunkservers=chunkservers, replicas=2, overrides={troubled: {"rack": "other"}})


@pytest.mark.parametrize("seed", range(2))
def test_a_copy_is_made_elsewhere_if_the_best_place_refuses_it(seed: int):
    async def story(cluster: SmallCluster, troubled: str) -> None:
        lost = cluster.holders("/a")[0]
        await cluster.kill(lost)
        cluster.disk(lost).erase()
        await wait(40)
        assert cluster.holders("/a") == [name for name in cluster.chunkservers() if name not in (lost, troubled)]

    play_with_trouble(seed, 4, story)


@pytest.mark.parametrize("seed", range(2))
def test_a_copy_takes_the_place_of_a_stale_one_if_the_better_place_refuses_it(seed: int):
    async def story(cluster: SmallCluster, troubled: str) -> None:
        stale, _ = cluster.holders("/a")
        await cluster.kill(stale)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(0, b"later")
        await cluster.start_node(stale)
        await wait(60)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert len(chunk.chunk.replicas) == 2
        assert await cluster.found("/a") == b"later" + BODY[5:]

    play_with_trouble(seed, 3, story)
