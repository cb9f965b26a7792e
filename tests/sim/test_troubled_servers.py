"""A server that answers and whose disk takes nothing: copies are made elsewhere, and of the others (GFS 4.2, 4.3)."""

from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation, SlowDisk
from tests.sim.small_clusters import SmallCluster, play, wait

BODY = b"acknowledged" * 1000


def no_writing(operation: Operation) -> TabletopError | None:
    is_new = operation.verb in ("create", "write", "rename") and operation.path.startswith(("incoming", "chunks"))
    return DiskFailure("the file system is read-only now") if is_new else None


def no_change(operation: Operation) -> TabletopError | None:
    is_change = operation.verb in ("create", "write", "truncate", "rename", "remove", "sync", "sync_directory")
    return DiskFailure("the disk takes nothing") if is_change else None


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


def break_disk(cluster: SmallCluster, server: str, *, hangs: bool) -> None:
    """From now on what is on the disk can be read, and nothing else."""
    if hangs:
        cluster.disk(server).impose(SlowDisk(seconds_per_sync=100.0))
    else:
        cluster.disk(server).on_operation(no_change)


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_replica_on_a_broken_disk_does_not_keep_the_others_from_being_copied(hangs: bool, is_damaged: bool):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", BODY)
        await wait(25)
        broken, lost, left = cluster.holders("/a")
        if is_damaged:
            await cluster.corrupt("/a", 0, 0, broken)
            await client.verify_chunk(await cluster.handle("/a"))
        break_disk(cluster, broken, hangs=hangs)
        await cluster.kill(lost)
        cluster.disk(lost).erase()
        await wait(90)
        [chunk] = (await cluster.status(chunks=True)).chunks
        names = [replica.server for replica in chunk.chunk.replicas]
        assert left in names and len(set(names) - {broken}) >= 2
        await cluster.kill(left)
        assert await cluster.found("/a") == BODY

    play(1, story, chunkservers=5)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_file_whose_only_replica_is_on_a_broken_disk_can_be_renamed_and_deleted(hangs: bool):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", BODY)
        await wait(25)
        await cluster.restart("master")  # It does not know whether anybody may be writing the chunk.
        await wait(25)
        break_disk(cluster, cluster.holders("/a")[0], hangs=hangs)
        await client.rename("/a", "/b")
        if not hangs:
            assert await cluster.found("/b") == BODY
        await client.delete("/b")
        assert not await client.exists("/b")

    play(1, story, chunkservers=2, replicas=1)
