"""A block that the disk does not give is damaged, like one that does not match its checksum (GFS 5.2)."""

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation
from runtime.faults.undo import Undo
from tests.sim.small_clusters import BLOCK, SmallCluster, play, wait

BODY = b"acknowledged" * 10000


def no_writing_of_data(operation: Operation) -> TabletopError | None:
    is_data = operation.verb == "write" and operation.path.endswith(".data")
    return DiskFailure("Input/output error") if is_data else None


def lose_block(cluster: SmallCluster, server: str, block: int) -> Undo:
    """No read that touches this block of any chunk of the server succeeds any more."""

    def no_reading(operation: Operation) -> TabletopError | None:
        is_data = operation.verb == "read" and operation.path.endswith(".data")
        touches = operation.offset < (block + 1) * BLOCK and operation.offset + operation.count > block * BLOCK
        return DiskFailure("Input/output error") if is_data and touches else None

    return cluster.disk(server).on_operation(no_reading)


@pytest.mark.parametrize("block", range(2))
def test_a_replica_with_an_unreadable_block_is_replaced(block: int):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        broken = cluster.holders("/a")[1]
        lose_block(cluster, broken, block)
        await cluster.client(1).verify_chunk(await cluster.handle("/a"))
        await wait(40)
        [chunk] = (await cluster.status(chunks=True)).chunks
        names = [replica.server for replica in chunk.chunk.replicas]
        assert len(names) == 3 and broken not in names

    play(1, story, chunkservers=4)


@pytest.mark.parametrize("place", range(2))
def test_a_replica_with_an_unreadable_block_does_not_outvote_a_whole_one(place: int):
    """A write changes a part of that block, and reaches the other one alone; the third one is dead."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        broken, dead = cluster.holders("/a")[place], cluster.holders("/a")[2]
        lose_block(cluster, broken, 0)
        await cluster.kill(dead)
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(100, b"later")
        await wait(60)
        assert await cluster.found("/a") == BODY[:100] + b"later" + BODY[105:]
        [chunk] = (await cluster.status(chunks=True)).chunks
        names = [replica.server for replica in chunk.chunk.replicas]
        assert len(names) == 3 and broken not in names

    play(1, story, chunkservers=5)


@pytest.mark.parametrize("takes_writes", [False, True])
@pytest.mark.parametrize("block", range(2))
def test_an_unreadable_block_does_not_keep_the_others_from_going_on_after_a_loss_of_all_power(
    block: int, takes_writes: bool
):
    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        holders = cluster.holders("/a")
        broken = holders[1]
        lose_block(cluster, broken, block)
        if not takes_writes:
            cluster.disk(broken).on_operation(no_writing_of_data)
        await cluster.lose_power(holders)
        await wait(60)
        assert await cluster.found("/a") == BODY
        [chunk] = (await cluster.status(chunks=True)).chunks
        names = [replica.server for replica in chunk.chunk.replicas]
        assert len(names) == 3 and broken not in names

    play(1, story, chunkservers=4)


def test_a_replica_that_goes_on_alone_with_an_unreadable_block_does_not_invent_its_bytes():
    """The disk gives the block again some day."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", BODY)
        await wait(25)
        [only] = cluster.holders("/a")
        forget = lose_block(cluster, only, 0)
        await cluster.lose_power([only])
        await wait(30)
        assert not isinstance(await cluster.found("/a"), bytes)
        forget()
        await wait(60)
        assert await cluster.found("/a") == BODY

    play(1, story, replicas=1)
