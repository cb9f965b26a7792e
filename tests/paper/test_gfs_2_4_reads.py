"""GFS 2.4 and 2.3: a read asks the master for places and a chunkserver for bytes, and remembers the places."""

import random
from pathlib import Path

from tests.unit.gfs_fakes import CHUNK_BYTES, QUICK, FakeCluster

DATA = random.Random(7).randbytes(3 * CHUNK_BYTES)


def reads(cluster: FakeCluster) -> list[str]:
    return [name for name, server in cluster.servers.items() for method, _ in server.calls if method == "read"]


async def test_further_reads_of_a_chunk_do_not_ask_the_master_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA[:1000])
        async with await client.open("/a") as file:
            asked = len(cluster.master.calls)
            for offset in range(0, 1000, 100):
                assert await file.pread(offset, 100) == DATA[offset : offset + 100]
            assert len(cluster.master.calls) == asked


async def test_several_chunks_are_asked_for_at_once(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA)
        asked = cluster.master.count("FindLocations")
        await client.read_file_into("/a", _ignore)
        # Three chunks, and the client asks for two at a time.
        assert cluster.master.count("FindLocations") - asked == 2


async def test_bytes_come_from_the_nearest_replica_only(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", DATA[:CHUNK_BYTES])
        assert await client.read_file("/a") == DATA[:CHUNK_BYTES]
        assert len(set(reads(cluster))) == 1


async def test_clients_cache_no_data(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"before")
        async with await client.open("/a") as file:
            assert await file.pread(0, 6) == b"before"
            async with await cluster.new_client().open("/a", "r+b") as other:
                await other.pwrite(0, b"behind")
            assert await file.pread(0, 6) == b"behind"


async def test_a_reader_at_the_end_of_a_growing_file_sees_it_grow_even_into_the_next_chunk(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        writer, reader = cluster.new_client(QUICK), cluster.new_client(QUICK)
        async with await writer.open("/log", "xb") as growing, await reader.open("/log") as file:
            seen = b""
            for step in (100, CHUNK_BYTES - 100, 10, CHUNK_BYTES):
                await growing.write(DATA[growing.tell() : growing.tell() + step])
                await growing.flush()
                seen += await file.read()
                assert seen == DATA[: growing.tell()]


async def _ignore(piece: memoryview) -> None:
    """A sink that keeps nothing."""
