"""A replica on a server whose disk is full is moved, so that its chunk can grow (GFS 3.3, 4.2, 4.3)."""

import asyncio

import pytest

from gfs.settings import ClientSettings
from runtime.errors import NoSpace
from runtime.faults.disk import FullDisk
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

RECORD = b"r" * 3000


@pytest.mark.parametrize("inline_bytes", [0, 65536])
@pytest.mark.parametrize("which", range(3))
def test_an_append_goes_on_elsewhere_when_one_replica_is_on_a_full_disk(which: int, inline_bytes: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create("/log")
        await client.record_append("/log", RECORD)
        full = cluster.holders("/log")[which]
        cluster.disk(full).impose(FullDisk())
        async with asyncio.timeout(60):
            await client.record_append("/log", RECORD)
        await wait(60)
        assert full not in cluster.holders("/log") and len(cluster.holders("/log")) == 3

    play(which, story, chunkservers=5, client_settings=ClientSettings(inline_bytes=inline_bytes))


@pytest.mark.parametrize("inline_bytes", [0, 65536])
def test_a_write_goes_on_elsewhere_when_two_replicas_are_on_full_disks(inline_bytes: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", RECORD)
        full = cluster.holders("/a")[:2]
        for node in full:
            cluster.disk(node).impose(FullDisk())
        async with asyncio.timeout(100), await client.open("/a", "r+b") as file:
            await file.pwrite(len(RECORD), RECORD)
        assert await cluster.found("/a") == 2 * RECORD
        await wait(90)
        assert not set(full) & set(cluster.holders("/a"))

    play(1, story, chunkservers=6, client_settings=ClientSettings(inline_bytes=inline_bytes))


def test_where_no_other_server_has_room_an_append_fails_after_a_moment():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create("/log")
        await client.record_append("/log", RECORD)
        for node in cluster.chunkservers():
            cluster.disk(node).impose(FullDisk())
        await wait(3)
        async with asyncio.timeout(40):
            assert isinstance(await outcome(client.record_append("/log", RECORD)), NoSpace)

    play(1, story, chunkservers=5)
