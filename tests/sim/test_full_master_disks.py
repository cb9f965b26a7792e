"""A master whose disk is full starts, reads and deletes, and takes new files again when there is room (GFS 2.6.3)."""

import asyncio

import pytest

from master.log.reserve import KEPT_FOR_STARTS_BYTES, PIECE_BYTES, RESERVE_BYTES
from runtime.errors import NoSpace
from runtime.faults.disk import FullDisk, ShortWrites
from runtime.faults.undo import Undo
from tests.sim.small_clusters import SmallCluster, outcome, play, wait


async def fill(cluster: SmallCluster, node: str = "master") -> Undo:
    """Somebody else takes every byte that is free now; what is freed later is free."""
    disk = cluster.disk(node)
    return disk.impose(FullDisk((await disk.usage()).free_bytes))


async def restarted(cluster: SmallCluster, times: int = 1) -> None:
    for _ in range(times):
        await cluster.kill("master")
        await cluster.start_node("master")


@pytest.mark.parametrize("torn", [False, True])
def test_a_master_on_a_full_disk_starts_again_and_deletes(torn: bool):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        for name in ("/a", "/b"):
            await client.write_file(name, name.encode())
        if torn:
            cluster.disk("master").impose(ShortWrites())
        free_again = await fill(cluster)
        assert isinstance(await outcome(client.write_file("/c", b"c")), NoSpace)
        await restarted(cluster, times=3)
        assert await client.read_file("/a") == b"/a"
        assert isinstance(await outcome(client.write_file("/c", b"c")), NoSpace)
        await client.delete("/a")
        await restarted(cluster)
        assert [entry.path for entry in await client.list("/")] == ["/b"]
        free_again()
        await client.write_file("/c", b"c")
        assert await cluster.disk("master").size("reserve") == RESERVE_BYTES

    play(1, story)


def test_deletions_leave_something_for_the_next_start_when_others_take_each_byte_that_is_freed():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        for number in range(40):
            await client.create(f"/{number:02}")
        refused = 0
        await fill(cluster)
        for number in range(40):
            refused += isinstance(await outcome(client.delete(f"/{number:02}")), NoSpace)
            await fill(cluster)
        taken = RESERVE_BYTES - KEPT_FOR_STARTS_BYTES
        assert refused == 40 - taken // PIECE_BYTES
        assert await cluster.disk("master").size("reserve") == KEPT_FOR_STARTS_BYTES
        await restarted(cluster)
        assert len(await client.list("/")) == refused

    play(1, story)


def test_a_master_with_nothing_left_says_what_to_do_and_has_lost_nothing():
    async def story(cluster: SmallCluster) -> None:
        await cluster.client().write_file("/a", b"a")
        await cluster.kill("master")
        free_again = cluster.disk("master").impose(FullDisk())
        with pytest.raises(NoSpace, match="free some space on that disk and start it again; nothing is lost"):
            await cluster.start_node("master")
        free_again()
        await cluster.start_node("master")
        assert await cluster.found("/a") == b"a"

    play(1, story)


def test_one_of_several_masters_takes_over_on_a_full_disk():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"a")
        await wait(5)
        names = cluster.settings.master_names()
        for name in names:
            await fill(cluster, name)
        await cluster.kill(cluster.acting_name())
        async with asyncio.timeout(120):
            while cluster.acting_master() is None:
                await wait(1)
        await client.delete("/a")

    play(1, story, masters=3)
