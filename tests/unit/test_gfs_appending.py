"""The client's part of a record append: which chunk, how often, and what an error means (GFS 3.3)."""

import asyncio
import random
from pathlib import Path

import pytest

from runtime.errors import (
    Conflict,
    InvalidRequest,
    IsADirectory,
    MutationFailed,
    NotFound,
    NotPrimary,
    StaleVersion,
    TabletopError,
    TimedOut,
    Unavailable,
)
from tests.unit.gfs_fakes import CHUNK_BYTES, QUICK, FakeCluster

MOST = CHUNK_BYTES // 4
LARGE = random.Random(3).randbytes(50_000)  # It is pushed, and does not ride along.


def appends(cluster: FakeCluster) -> int:
    return sum(server.count("AppendRecord") for server in cluster.servers.values())


async def test_appends_of_several_clients_are_told_apart_by_their_offsets(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        clients = [cluster.new_client() for _ in range(4)]
        await clients[0].create("/log")
        records = [b"%03d" % number * (number + 1) for number in range(40)]
        offsets = await asyncio.gather(
            *(clients[number % 4].record_append("/log", record) for number, record in enumerate(records))
        )
        [stored] = set(cluster.stored("/log"))
        for offset, record in zip(offsets, records, strict=True):
            assert stored[offset : offset + len(record)] == record
        assert len(stored) == sum(map(len, records))


async def test_a_full_chunk_sends_the_record_to_the_next_one_and_the_client_stays_there(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        offsets = [await client.record_append("/log", LARGE) for _ in range(8)]
        assert offsets == [0, 50_000, 100_000, 150_000, 200_000] + [CHUNK_BYTES + 50_000 * n for n in range(3)]
        content = await client.read_file("/log")
        assert len(content) == (await client.stat("/log")).length == CHUNK_BYTES + 150_000
        assert content[250_000:CHUNK_BYTES] == bytes(CHUNK_BYTES - 250_000)
        assert appends(cluster) == 9  # One try found the first chunk full.
        asked = cluster.master.count("FindLocations")
        await client.record_append("/log", b"small")
        assert cluster.master.count("FindLocations") == asked


async def test_a_client_that_is_behind_goes_to_the_last_chunk_at_once(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        one, other = cluster.new_client(), cluster.new_client()
        await one.create("/log")
        await other.record_append("/log", b"first")
        for _ in range(18):
            await one.record_append("/log", LARGE)
        before = appends(cluster)
        assert await other.record_append("/log", LARGE) >= 3 * CHUNK_BYTES
        assert appends(cluster) == before + 2


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["inline", "pushed"])
@pytest.mark.parametrize(
    "error",
    [
        MutationFailed("cs3 did not apply it"),
        NotPrimary("the lease has run out"),
        StaleVersion("version 2, not 1"),
        Unavailable("no answer"),
        TimedOut("no answer in time"),
        NotFound("no such chunk here"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_failed_try_is_followed_by_others(tmp_path: Path, error: TabletopError, data: bytes):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        await client.record_append("/log", b"first")
        cluster.to_happen("mishaps", "AppendRecord", [error])
        assert await client.record_append("/log", data) == 5
        assert set(cluster.stored("/log")) == {b"first" + data}


async def test_an_answer_that_was_lost_leaves_the_record_twice_and_the_second_offset_is_told(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        cluster.to_happen("afterwards", "AppendRecord", [TimedOut("lost")])
        assert await client.record_append("/log", b"record") == 6
        assert set(cluster.stored("/log")) == {b"recordrecord"}


async def test_an_append_in_doubt_is_indefinite_even_if_the_next_chunk_refuses_for_certain(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        for _ in range(4):
            await client.record_append("/log", LARGE)
        cluster.to_happen("afterwards", "AppendRecord", [TimedOut("lost")])
        cluster.master.mishaps["FindLocations"] = [NotFound("deleted meanwhile")]
        with pytest.raises(NotFound) as failed:
            await client.record_append("/log", LARGE)
        assert not failed.value.definite and "a record of 50000 bytes may be appended to /log" in failed.value.message


@pytest.mark.parametrize("length", [0, MOST + 1])
async def test_a_record_of_a_wrong_size_is_refused_before_anybody_is_asked(tmp_path: Path, length: int):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        with pytest.raises(InvalidRequest, match=f"expected 1 to {MOST} bytes") as refused:
            await client.record_append("/log", bytes(length))
        assert refused.value.definite and appends(cluster) == 0
        assert await client.record_append("/log", b"x" * MOST) == 0


async def test_what_is_no_file_takes_no_records(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        with pytest.raises(NotFound):
            await client.record_append("/missing", b"record")
        with pytest.raises(IsADirectory):
            await client.record_append("/", b"record")
        with pytest.raises(InvalidRequest):
            await client.record_append("/log", "text")  # type: ignore[arg-type]


async def test_records_of_a_path_go_to_the_file_that_is_there_now(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/log")
        await client.record_append("/log", b"old")
        cluster.master.replace("/log")
        client._writer.holders.forget_tree("/log")  # The old primary was told, and refuses.
        assert await client.record_append("/log", b"new") == 0
        assert set(cluster.stored("/log")) == {b"new"}


async def test_records_of_an_open_file_go_to_that_file_only(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/log", "ab") as file:
            await file.write(b"written, ")
            assert await file.record_append(b"appended") == 9
            assert file.tell() == 9 and await file.length() == 17
            cluster.master.replace("/log")
            client._writer.holders.forget_tree("/log")
            with pytest.raises(Conflict) as refused:
                await file.record_append(b"more")
            assert refused.value.definite
        reading = await client.open("/log")
        with pytest.raises(InvalidRequest, match="mode 'rb'"):
            await reading.record_append(b"more")


async def test_after_the_patience_the_error_names_the_record(tmp_path: Path):
    values = {name: getattr(QUICK, name) for name in QUICK.__slots__}
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(type(QUICK)(**{**values, "write_patience_seconds": 0.05}))
        await client.create("/log")
        cluster.to_happen("mishaps", "AppendRecord", [MutationFailed("cs3 did not apply it")] * 100)
        with pytest.raises(MutationFailed, match="a record of 6 bytes may be appended to /log on some replicas only"):
            await client.record_append("/log", b"record")
