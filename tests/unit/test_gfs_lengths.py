"""Where a file ends: never before a byte that was acknowledged, and never after one that nobody wrote."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gfs.client import Client
from runtime.errors import NotPrimary, Unavailable
from tests.unit.gfs_fakes import CHUNK_BYTES, PIECE_BYTES, QUICK, FakeCluster

DATA = random.Random(9).randbytes(CHUNK_BYTES + 1000)


async def write(client: Client, path: str, data: bytes) -> None:
    async with await client.open(path, "xb") as file:
        await file.write(data)


def add_empty_chunks(cluster: FakeCluster, path: str, count: int) -> None:
    """What writes leave that allocated a chunk and then failed."""
    cluster.master.files[path].extend(cluster.master.allocate() for _ in range(count))


@pytest.mark.parametrize("is_settled", [True, False])
async def test_empty_chunks_at_the_end_do_not_count(tmp_path: Path, is_settled: bool):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", DATA)
        add_empty_chunks(cluster, "/a", 2)
        cluster.master.lengths_are_settled = is_settled
        for cluster.master.tail_begins in (None, 0):
            status = await client.stat("/a")
            assert (status.length, status.length_is_exact, status.chunk_count) == (len(DATA), True, 4)
        assert await client.read_file("/a") == DATA
        async with await client.open("/a") as file:
            assert await file.pread(CHUNK_BYTES - 10, CHUNK_BYTES) == DATA[CHUNK_BYTES - 10 :]
            assert await file.pread(len(DATA) - 10, 100) == DATA[-10:]
            assert await file.pread(len(DATA), 100) == b""
            assert await file.pread(3 * CHUNK_BYTES, 100) == b""
            await file.seek(len(DATA) - 10)
            assert await file.read() == DATA[-10:]
            assert await file.length() == len(DATA)


async def test_a_file_whose_chunks_are_all_empty_is_empty(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/a")
        add_empty_chunks(cluster, "/a", 3)
        status = await client.stat("/a")
        assert (status.length, status.length_is_exact) == (0, True)
        assert await client.read_file("/a") == b""


async def test_appending_goes_on_behind_the_last_byte_and_not_behind_an_empty_chunk(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", DATA)
        add_empty_chunks(cluster, "/a", 1)
        async with await client.open("/a", "ab") as file:
            await file.write(b"more")
        assert await client.read_file("/a") == DATA + b"more"


async def test_replicas_that_are_unsure_or_too_old_are_not_believed(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", b"0123456789")
        handle = cluster.master.files["/a"][0]
        unsure, old, sound = cluster.holders("/a")
        unsure.chunks[handle], old.chunks[handle] = bytearray(b"012"), bytearray(b"01")
        unsure.unsure.add(handle)
        unsure.versions[handle] = sound.versions[handle] = 2
        cluster.master.chunks[handle].version = 2
        status = await client.stat("/a")
        assert (status.length, status.length_is_exact) == (10, True)
        sound.unsure.add(handle)
        assert not (await client.stat("/a")).length_is_exact


async def test_if_the_last_bytes_are_known_it_does_not_matter_what_an_earlier_chunk_says(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", DATA)
        cluster.master.tail_begins = 0
        for server in cluster.servers.values():
            server.unsure.add(cluster.master.files["/a"][0])
        assert (await client.stat("/a")).length == len(DATA)
        for server in cluster.servers.values():
            server.unsure.add(cluster.master.files["/a"][1])
        assert not (await client.stat("/a")).length_is_exact


async def test_a_short_chunk_reads_as_zeros_only_if_a_later_one_holds_bytes(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "xb") as file:
            await file.write(b"begin")
            await file.flush()
            add_empty_chunks(cluster, "/a", 1)
            assert await client.read_file("/a") == b"begin"
            await file.pwrite(2 * CHUNK_BYTES + PIECE_BYTES, b"end")
        whole = b"begin".ljust(2 * CHUNK_BYTES + PIECE_BYTES, b"\0") + b"end"
        assert await client.read_file("/a") == whole
        async with await client.open("/a") as file:
            assert await file.pread(3, 2 * PIECE_BYTES) == whole[3 : 3 + 2 * PIECE_BYTES]
            assert await file.pread(CHUNK_BYTES + 5, 10) == bytes(10)
            assert await file.read() == whole


async def test_a_reader_that_knows_fewer_chunks_finds_the_bytes_that_were_written_beyond_them(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        reader, writer = cluster.new_client(), cluster.new_client()
        await write(writer, "/a", b"begin")
        async with await reader.open("/a") as file:
            assert await file.pread(0, 5) == b"begin"
            async with await writer.open("/a", "r+b") as other:
                await other.pwrite(CHUNK_BYTES + 3, b"end")
            assert await file.pread(0, 10) == b"begin" + bytes(5)
            assert await file.pread(CHUNK_BYTES, 10) == bytes(3) + b"end"


async def test_a_chunk_that_is_filled_while_the_reader_looks_is_not_read_as_a_hole(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", DATA[:100])

        def go_on_writing() -> None:
            first = cluster.master.files["/a"][0]
            second = cluster.master.allocate()
            cluster.master.files["/a"].append(second)
            for handle, data in ((first, DATA[:CHUNK_BYTES]), (second, DATA[CHUNK_BYTES:])):
                for replica in cluster.master.chunks[handle].replicas:
                    cluster.servers[replica.server].chunks[handle] = bytearray(data)

        async with await client.open("/a") as file:
            assert await file.pread(0, 100) == DATA[:100]
            cluster.master.interludes["FindLocations"] = [go_on_writing]
            # The first question is asked after a replica was found short, and its answer does not know of the rest.
            assert await file.pread(0, 200) in (DATA[:100], DATA[:200])
            assert await file.pread(0, 200) == DATA[:200]


async def test_an_end_that_cannot_be_told_is_an_error_and_no_guess(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        # The first pause lasts until the patience is over: no later call can be cut off by its end.
        settings = replace(QUICK, patience_seconds=0.5, first_pause_seconds=1.0, longest_pause_seconds=1.0)
        client = cluster.new_client(settings)
        await write(client, "/a", b"begin")
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(CHUNK_BYTES, b"end")
            for server in cluster.servers.values():
                server.unsure.add(cluster.master.files["/a"][1])
            assert await file.pread(0, 5) == b"begin"
            with pytest.raises(Unavailable, match="whether /a ends in chunk 0"):
                await file.pread(0, 6)


async def test_a_client_reads_its_own_acknowledged_overwrite(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", b"before")
        async with await client.open("/a", "r+b") as file:
            assert await file.pread(0, 6) == b"before"  # The place is remembered now.
            handle = cluster.master.files["/a"][0]
            left_out = next(server for server in cluster.holders("/a") if server.count("read"))
            cluster.to_happen("mishaps", "Write", [NotPrimary("the lease has run out")])
            cluster.master.interludes["FindLeaseHolder"] = [
                lambda: cluster.master.leave_out(cluster.master.chunks[handle], left_out.name)
            ]
            await file.pwrite(0, b"behind")
            assert bytes(left_out.chunks[handle]) == b"before"
            assert await file.pread(0, 6) == b"behind"
            assert (await client.read_file("/a")) == b"behind"


async def test_what_was_read_ahead_is_dropped_when_this_client_writes_to_the_file(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await write(client, "/a", DATA)
        async with await client.open("/a") as reading, await client.open("/a", "r+b") as writing:
            for position in range(0, 3000, 1000):
                assert await reading.read(1000) == DATA[position : position + 1000]
            await writing.pwrite(0, bytes(len(DATA)))
            assert await reading.read(1000) == bytes(1000)
