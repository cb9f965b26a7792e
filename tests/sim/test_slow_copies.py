"""A copy on a disk that is slow and never fails: writers do not wait for it for ever (GFS 3.1, 4.3)."""

import asyncio
from unittest.mock import patch

import pytest

from runtime.faults.disk import SlowDisk
from tests.sim.small_clusters import BLOCK, CHUNK_BYTES, SmallCluster, play, wait

SLOW_CHUNK_BYTES = 64 * BLOCK
SECONDS_A_PIECE = 0.9
LEASE_SECONDS = 10.0  # of a small cluster


async def seconds_of_the_slowest_write(cluster: SmallCluster, seconds: float) -> float:
    """Write in place for so long, with a new open file each time; raises what a write raises."""
    now = asyncio.get_running_loop().time
    end, slowest = now() + seconds, 0.0
    while now() < end:
        began = now()
        async with await cluster.client(1).open("/a", "r+b") as file:
            await file.pwrite(0, b"written")
        slowest = max(slowest, now() - began)
        await wait(1)
    return slowest


@pytest.mark.parametrize("seed", range(2))
def test_a_writer_does_not_wait_for_a_slow_copy_as_long_as_that_takes(seed: int):
    async def story(cluster: SmallCluster) -> None:
        slow = cluster.disk("cs4").impose(SlowDisk(seconds_per_operation=SECONDS_A_PIECE))
        await cluster.client(1).write_file("/a", bytes(SLOW_CHUNK_BYTES))
        await wait(15)
        holders = [name for name in cluster.holders("/a") if name != "cs4"]
        await cluster.kill(holders[0])
        assert await seconds_of_the_slowest_write(cluster, 300) < LEASE_SECONDS + 20
        slow()
        await wait(60)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert len(chunk.chunk.replicas) == 3

    with patch("chunkserver.transfer.cloning.PIECE_BYTES", BLOCK):
        play(seed, story, chunkservers=4, chunk_bytes=SLOW_CHUNK_BYTES)


def test_a_slow_copy_that_nobody_waits_for_is_completed():
    async def story(cluster: SmallCluster) -> None:
        cluster.disk("cs4").impose(SlowDisk(seconds_per_operation=SECONDS_A_PIECE))
        await cluster.client(1).write_file("/a", bytes(SLOW_CHUNK_BYTES))
        await wait(15)
        await cluster.kill(next(name for name in cluster.holders("/a") if name != "cs4"))
        await wait(100)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert "cs4" in {replica.server for replica in chunk.chunk.replicas}

    with patch("chunkserver.transfer.cloning.PIECE_BYTES", BLOCK):
        play(1, story, chunkservers=4, chunk_bytes=SLOW_CHUNK_BYTES)


@pytest.mark.parametrize("seconds", [0.7, 1.5])
def test_chunks_are_made_and_written_and_copied_though_all_disks_are_slow(seconds: float):
    async def story(cluster: SmallCluster) -> None:
        for name in cluster.chunkservers():
            cluster.disk(name).impose(SlowDisk(seconds_per_sync=seconds))
        await cluster.client(1).write_file("/a", b"whole" * 1000)
        await wait(40)
        await cluster.client(1).record_append("/a", b"record")
        lost = cluster.holders("/a")[0]
        await cluster.kill(lost)
        await wait(120)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert {replica.server for replica in chunk.chunk.replicas} == set(cluster.chunkservers()) - {lost}

    play(1, story, chunkservers=4)


@pytest.mark.parametrize("bytes_per_second", [5_000, 300])
def test_a_copy_that_is_slowed_down_on_purpose_is_completed_however_low_the_rate(bytes_per_second: int):
    """At the lower rate it takes longer than a copy may take that nobody slows down."""

    async def story(cluster: SmallCluster) -> None:
        await cluster.client(1).write_file("/a", b"w" * CHUNK_BYTES)
        await wait(15)
        lost = cluster.holders("/a")[0]
        await cluster.kill(lost)
        await wait(CHUNK_BYTES / bytes_per_second + 60)
        [chunk] = (await cluster.status(chunks=True)).chunks
        assert {replica.server for replica in chunk.chunk.replicas} == set(cluster.chunkservers()) - {lost}

    with patch("chunkserver.transfer.cloning.PIECE_BYTES", BLOCK):
        play(1, story, chunkservers=4, clone_bytes_per_second=bytes_per_second)
