"""GFS 2.7.1 and 2.7.2, the client: how long it may see a stale replica, and how whole files appear."""

import random
from dataclasses import replace
from pathlib import Path

from runtime.errors import StaleVersion
from tests.unit.gfs_fakes import PIECE_BYTES, QUICK, FakeCluster

DATA = random.Random(8).randbytes(3 * PIECE_BYTES)


async def test_opening_a_file_purges_what_was_remembered_of_its_chunks(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA)
        first = await client.open("/a")
        assert await first.pread(0, 10) == DATA[:10]
        asked = cluster.master.count("FindLocations")
        second = await client.open("/a")
        assert cluster.master.count("FindLocations") == asked + 1
        await first.close()
        await second.close()


async def test_a_remembered_place_expires(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(replace(QUICK, location_seconds=0.0))
        await client.write_file("/a", DATA)
        async with await client.open("/a") as file:
            asked = cluster.master.count("FindLocations")
            assert await file.pread(0, 10) == DATA[:10]
            assert cluster.master.count("FindLocations") > asked


async def test_a_stale_replica_is_left_for_a_fresh_one_because_the_client_names_the_version(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA)
        handle = cluster.master.files["/a"][0]
        stale, *fresh = cluster.holders("/a")
        stale.chunks[handle] = bytearray(b"old" * 1000)
        for server in fresh:
            server.versions[handle] = 2
        cluster.master.chunks[handle].version = 2
        assert await client.read_file("/a") == DATA


async def test_replicas_that_moved_are_found_by_asking_the_master_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA)
        async with await client.open("/a") as file:
            cluster.to_happen("mishaps", "read", [StaleVersion("moved on")] * 3)  # All three replicas.
            asked = cluster.master.count("FindLocations")
            assert await file.pread(0, 10) == DATA[:10]
            assert cluster.master.count("FindLocations") == asked + 1


async def test_readers_see_the_whole_old_or_the_whole_new_file_never_a_part(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        writer, reader = cluster.new_client(), cluster.new_client()
        await writer.write_file("/a", b"old")
        async with await writer.open("/a", "wb", overwrite=True) as file:
            for begin in range(0, len(DATA), 10_000):
                await file.write(DATA[begin : begin + 10_000])
                assert await reader.read_file("/a") == b"old"
            await file.flush()
            assert await reader.read_file("/a") == b"old"
        assert await reader.read_file("/a") == DATA
