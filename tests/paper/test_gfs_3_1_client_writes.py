"""GFS 3.1 and 3.2, the client: leases are remembered, data is pushed along a chain, failed tries are repeated."""

import random
from pathlib import Path

import pytest

from gfs.settings import ClientSettings
from runtime.errors import (
    DataNotBuffered,
    MutationFailed,
    NoSpace,
    NotFound,
    NotPrimary,
    StaleVersion,
    TabletopError,
    TimedOut,
    TooFewServers,
    Unavailable,
)
from tests.unit.gfs_fakes import CHUNK_BYTES, PIECE_BYTES, QUICK, FakeCluster

PUSHED = random.Random(3).randbytes(PIECE_BYTES - 100)


def writes(cluster: FakeCluster) -> int:
    return sum(server.count("Write") for server in cluster.servers.values())


def impatient(seconds: float) -> ClientSettings:
    values = {name: getattr(QUICK, name) for name in QUICK.__slots__}
    return ClientSettings(**{**values, "write_patience_seconds": seconds})


async def test_step_2_the_lease_holder_is_remembered_over_many_writes(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "xb") as file:
            for number in range(20):
                await file.pwrite(number * 10, b"0123456789")
        assert cluster.master.count("FindLeaseHolder") == 1
        assert writes(cluster) == 20


async def test_step_3_the_client_sends_the_data_once_and_the_chain_carries_it_on(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", PUSHED)
        chains = sorted(
            len(request.chain) for s in cluster.servers.values() for name, request in s.calls if name == "push"
        )
        assert chains == [0, 1, 2]
        assert cluster.stored("/a") == [PUSHED] * 3


async def test_step_4_the_write_names_the_pushed_data_and_goes_to_the_primary_only(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", PUSHED)
        primary, *secondaries = cluster.holders("/a")
        [request] = [request for name, request in primary.calls if name == "Write"]
        assert request.mutation.WhichOneof("data") == "pushed"
        assert sum(server.count("Write") for server in secondaries) == 0


async def test_a_write_across_a_chunk_boundary_is_cut_there(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "xb") as file:
            await file.write(bytes(CHUNK_BYTES - 10))
            await file.write(b"across the boundary")
        chunks = [len(cluster.holders("/a", index)[0].chunks[cluster.master.files["/a"][index]]) for index in (0, 1)]
        assert chunks == [CHUNK_BYTES, 9]


@pytest.mark.parametrize("data", [b"small, inline", PUSHED], ids=["inline", "pushed"])
@pytest.mark.parametrize(
    "error",
    [
        MutationFailed("cs3 did not apply it"),
        NotPrimary("the lease has run out"),
        StaleVersion("version 2, not 1"),
        Unavailable("no answer"),
        TimedOut("no answer in time"),
        DataNotBuffered("aged out"),
        NotFound("no such chunk here"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_step_7_a_failed_write_is_tried_again_until_all_replicas_have_it(
    tmp_path: Path, error: TabletopError, data: bytes
):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.to_happen("mishaps", "Write", [error])
        await client.write_file("/a", data)
        assert set(cluster.stored("/a")) == {data}


async def test_step_7_steps_3_to_7_are_tried_a_few_times_before_the_master_is_asked_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.to_happen("mishaps", "Write", [MutationFailed("cs3 did not apply it")] * (QUICK.write_tries - 1))
        await client.write_file("/few", b"text")
        assert cluster.master.count("FindLeaseHolder") == 0  # The file came with its chunk, and the chunk's holder.
        cluster.to_happen("mishaps", "Write", [MutationFailed("cs3 did not apply it")] * QUICK.write_tries)
        await client.write_file("/many", b"text")
        assert cluster.master.count("FindLeaseHolder") == 1


async def test_an_answer_lost_on_its_way_back_does_no_harm_since_the_same_bytes_go_to_the_same_place(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.to_happen("afterwards", "Write", [TimedOut("lost")])
        await client.write_file("/a", PUSHED)
        assert cluster.stored("/a") == [PUSHED] * 3
        assert writes(cluster) == 2


async def test_a_dead_primary_is_named_to_the_master_and_the_write_goes_on_without_it(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        file = await client.open("/a", "xb")
        await file.pwrite(0, b"before")
        primary = cluster.holders("/a")[0]
        await primary.stop()
        await file.pwrite(0, b"behind")
        await file.close()
        suspects = [request.suspect for name, request in cluster.master.calls if name == "FindLeaseHolder"]
        assert suspects == ["", primary.name]
        assert await client.read_file("/a") == b"behind"


async def test_a_secondary_that_applies_nothing_is_named_to_the_master(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"before")
        primary, secondary, _ = cluster.holders("/a")
        failure = MutationFailed("mutation 2 was not applied by one of them", servers=(secondary.name,))
        primary.mishaps["Write"] = [failure] * QUICK.write_tries
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"behind")
        assert secondary.name in [
            request.suspect for name, request in cluster.master.calls if name == "FindLeaseHolder"
        ]
        assert await client.read_file("/a") == b"behind"


async def test_while_an_old_lease_runs_out_the_master_is_asked_until_it_grants_another(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.mishaps["FindLeaseHolder"] = [Unavailable("the old lease lasts 2 more seconds")] * 5
        await client.write_file("/a", PUSHED)
        assert await client.read_file("/a") == PUSHED


async def test_a_primary_that_dies_in_the_middle_of_a_large_file_loses_no_byte(tmp_path: Path):
    data = random.Random(4).randbytes(2 * CHUNK_BYTES + 77)
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        file = await client.open("/a", "wb")
        await file.write(data[: CHUNK_BYTES // 2])
        await file.flush()
        await cluster.holders(file.stored_path)[0].stop()
        await file.write(data[CHUNK_BYTES // 2 :])
        await file.close()
        assert await client.read_file("/a") == data


async def test_a_write_that_never_reached_a_primary_fails_definitely(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient(0.05))
        cluster.master.mishaps["FindLeaseHolder"] = [Unavailable("no lease")] * 1000
        async with await client.open("/a", "ab") as file:
            with pytest.raises(TimedOut, match="/a") as caught:
                await file.pwrite(0, PUSHED)
            assert caught.value.definite
            with pytest.raises(TimedOut):  # A later flush does not pretend that all is well.
                await file.flush()
            await file.abandon()


async def test_a_write_that_some_replica_may_have_applied_fails_indefinitely(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient(0.05))
        cluster.to_happen("afterwards", "Write", [MutationFailed("cs2 did not apply it")] * 1000)
        async with await client.open("/a", "ab") as file:
            with pytest.raises(MutationFailed, match=r"some replicas only within 0\.05 seconds") as caught:
                await file.pwrite(0, PUSHED)
            assert not caught.value.definite
            await file.abandon()


@pytest.mark.parametrize("mode", ["wb", "xb"])
async def test_a_new_file_whose_write_fails_leaves_no_name_behind(tmp_path: Path, mode: str):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient(0.05))
        cluster.to_happen("mishaps", "Write", [MutationFailed("cs2 did not apply it")] * 1000)
        with pytest.raises(MutationFailed):
            async with await client.open("/a", mode) as file:  # type: ignore[arg-type]
                await file.write(PUSHED)
        with pytest.raises(MutationFailed):
            await client.write_file("/a", b"small")
        assert cluster.master.files == {}


async def test_shortages_that_do_not_pass_are_reported_as_what_they_are(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.to_happen("mishaps", "push", [NoSpace("the disk of this server is full")] * 1000)
        with pytest.raises(NoSpace, match=r"cannot write to /a: .* disk of this server is full"):
            async with await client.open("/a", "xb") as file:
                await file.write(PUSHED)
        cluster.master.makes_first_chunks = False
        cluster.master.mishaps["FindLeaseHolder"] = [TooFewServers("2 chunkservers, 3 replicas wanted")] * 1000
        with pytest.raises(TooFewServers, match="3 replicas wanted"):
            await client.write_file("/b", b"small")
        assert cluster.master.files == {}


async def test_a_shortage_that_passes_is_not_reported(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.makes_first_chunks = False
        cluster.master.mishaps["FindLeaseHolder"] = [TooFewServers("none has registered yet")] * 2
        await client.write_file("/b", b"small")
        assert cluster.stored("/b") == [b"small"] * 3


async def test_all_traces_of_one_write_share_one_cause(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.to_happen("mishaps", "Write", [MutationFailed("once")])
        await client.write_file("/a", PUSHED)
        [record] = [r for r in client._world.events.sink.records if type(r.event).__name__ == "WriteRetried"]
        pushes = [request.cause for s in cluster.servers.values() for name, request in s.calls if name == "push"]
        assert record.cause and {cause for cause in pushes if cause} == {record.cause}
