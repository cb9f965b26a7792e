"""How the pieces of a write follow one another, what a failure says of them, and how long the client goes on trying."""

import asyncio
import gc
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gfs.patience import Patience
from runtime.errors import (
    DataNotBuffered,
    MutationFailed,
    NoSpace,
    NotPrimary,
    StaleVersion,
    TabletopError,
    TimedOut,
    TooFewServers,
    Unavailable,
)
from runtime.wire.master_pb2 import StatRequest
from tests.unit.gfs_fakes import CHUNK_BYTES, PIECE_BYTES, QUICK, FakeChunkserver, FakeCluster

DATA = random.Random(11).randbytes(2 * CHUNK_BYTES)
IMPATIENT = replace(QUICK, patience_seconds=0.2, write_patience_seconds=0.2)


def order_of_calls(
    cluster: FakeCluster, *methods: str, third_push: asyncio.Event | None = None
) -> list[tuple[str, Any]]:
    """Have all chunkservers note their calls in one list, which is returned."""
    calls: list[tuple[str, Any]] = []
    for server in cluster.servers.values():
        begin = server.begin

        def noting(method: str, request: Any, begin: Callable[[str, Any], None] = begin) -> None:
            if method in methods:
                calls.append((method, request))
            if third_push is not None and [name for name, _ in calls].count("push") == 3:
                third_push.set()
            begin(method, request)

        server.begin = noting  # type: ignore[method-assign]
    return calls


def refuse_reads_from(server: FakeChunkserver, offset: int) -> None:
    """Have a chunkserver refuse to read from this offset of its chunks on."""
    begin = server.begin

    def refusing(method: str, request: Any) -> None:
        begin(method, request)
        if method == "read" and request.offset >= offset:
            raise Unavailable("the link is cut")

    server.begin = refusing  # type: ignore[method-assign]


async def test_pieces_are_written_one_after_the_other_while_pushes_run_ahead(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.replicas = 1
        third_push = asyncio.Event()
        calls = order_of_calls(cluster, "push", "Write", third_push=third_push)
        under_way = most_under_way = 0

        async def meanwhile() -> None:
            nonlocal under_way, most_under_way
            under_way += 1
            most_under_way = max(most_under_way, under_way)
            # The pushes of all pieces that fit into the window arrive while the first one is being written.
            await third_push.wait()
            under_way -= 1

        cluster.meanwhile = meanwhile
        async with await client.open("/a", "xb") as file:
            await file.write(DATA[: 3 * PIECE_BYTES])
            await file.flush()
        assert most_under_way == 1
        assert [name for name, _ in calls] == ["push", "push", "push", "Write", "Write", "Write"]
        offsets = [request.mutation.offset for name, request in calls if name == "Write"]
        assert offsets == [0, PIECE_BYTES, 2 * PIECE_BYTES]
        assert await client.read_file("/a") == DATA[: 3 * PIECE_BYTES]


async def test_what_comes_after_a_piece_that_failed_is_not_sent(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        calls = order_of_calls(cluster, "Write")
        for server in cluster.servers.values():
            server.refuses = lambda mutation: MutationFailed("no") if mutation.offset == PIECE_BYTES else None
        file = await client.open("/a", "xb")
        with pytest.raises(MutationFailed):
            await file.write(DATA)
        with pytest.raises(MutationFailed):
            await file.flush()  # Ends when nothing is under way any more.
        assert max(request.mutation.offset for _, request in calls) == PIECE_BYTES
        assert {request.handle for _, request in calls} == {cluster.master.files["/a"][0]}
        await file.abandon()


@pytest.mark.parametrize("mode", ["rb", "r+b"])
async def test_an_open_file_that_is_dropped_leaves_no_exception_that_nobody_saw(tmp_path: Path, mode: Any):
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(str(context)))
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        async with await client.open("/a", "xb") as file:
            await file.write(DATA)
        file = await client.open("/a", mode)
        if mode == "rb":
            target = memoryview(bytearray(PIECE_BYTES))
            for server in cluster.servers.values():
                refuse_reads_from(server, 3 * PIECE_BYTES)
            for _ in range(3):  # The second read begins to read ahead, the third has the whole window under way.
                assert await file.readinto(target) == PIECE_BYTES
        else:
            cluster.to_happen("mishaps", "Write", [NoSpace("the disk is full")] * 10_000)
            with pytest.raises(TabletopError):
                await file.write(DATA)
        pieces = [task for task in asyncio.all_tasks() if task.get_name().startswith(("read /a", "write /a"))]
        assert pieces
        await asyncio.wait(pieces)
        client._open_files.clear()
        del file, pieces
        gc.collect()
    assert complaints == []


@pytest.mark.parametrize("method", ["Write", "FindLeaseHolder"])
async def test_a_write_over_a_boundary_whose_second_piece_fails_is_not_said_to_have_never_happened(
    tmp_path: Path, method: str
):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        async with await client.open("/a", "xb") as file:
            await file.pwrite(0, DATA[: CHUNK_BYTES - 5])
            if method == "Write":
                for server in cluster.servers.values():
                    server.refuses = lambda mutation: NoSpace("the disk is full") if mutation.offset == 0 else None
            else:
                cluster.master.mishaps[method] = [TooFewServers("2 chunkservers, 3 replicas wanted")] * 1000
            with pytest.raises(TabletopError) as caught:
                await file.pwrite(CHUNK_BYTES - 5, b"0123456789")
            assert not caught.value.definite
            await file.abandon()


async def test_a_failure_before_anything_was_written_is_definite_though_earlier_writes_succeeded(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        file = await client.open("/a", "xb")
        await file.pwrite(0, b"before")
        cluster.to_happen("mishaps", "Write", [NoSpace("the disk is full")] * 1000)
        with pytest.raises(NoSpace) as caught:
            await file.pwrite(6, b"behind")
        assert caught.value.definite
        await file.abandon()


async def test_chunks_allocated_for_a_write_that_failed_do_not_change_the_file(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        async with await client.open("/a", "xb") as file:
            await file.pwrite(0, b"before")
        cluster.master.mishaps["FindLeaseHolder"] = [None, None, *[TooFewServers("too few")] * 1000]
        file = await client.open("/a", "r+b")
        with pytest.raises(TooFewServers) as caught:
            await file.pwrite(4 * CHUNK_BYTES, b"beyond")
        assert caught.value.definite
        await file.abandon()
        assert len(cluster.master.files["/a"]) > 1
        assert (await client.stat("/a")).length == 6
        assert await client.read_file("/a") == b"before"


@pytest.mark.parametrize("kind", [NotPrimary, StaleVersion])
async def test_a_lease_that_its_primary_disowns_is_named_to_the_master(tmp_path: Path, kind: type[TabletopError]):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "xb") as file:
            await file.pwrite(0, b"before")
            cluster.to_happen("mishaps", "Write", [kind("not here")])
            await file.pwrite(0, b"behind")
        asked = [request.refused_version for name, request in cluster.master.calls if name == "FindLeaseHolder"]
        assert asked == [0, 1]
        assert await client.read_file("/a") == b"behind"


@pytest.mark.parametrize("kind", [NotPrimary, StaleVersion, DataNotBuffered])
async def test_every_further_try_of_a_write_comes_after_a_pause(tmp_path: Path, kind: type[TabletopError]):
    async with FakeCluster(tmp_path) as cluster:
        # The end of the patience is counted, not timed: a last try that has a millisecond left may not arrive.
        client = cluster.new_client(replace(QUICK, write_patience_seconds=60.0))
        cluster.to_happen("mishaps", "Write", [kind("never")] * 100_000)
        pauses = 0
        pause = Patience.pause

        async def counted(patience: Patience) -> None:
            nonlocal pauses
            pauses += 1
            await pause(patience)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Patience, "pause", counted)
            patch.setattr(Patience, "over", lambda patience: pauses >= 10)
            file = await client.open("/a", "xb")
            with pytest.raises(TimedOut, match="within 60 seconds") as caught:
                await file.pwrite(0, b"text")
            assert caught.value.definite
            await file.abandon()
        assert pauses == sum(server.count("Write") for server in cluster.servers.values()) == 10


async def test_no_call_may_last_longer_than_the_patience_of_who_makes_it(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(replace(QUICK, call_seconds=5.0, patience_seconds=0.1))
        timeouts: list[float] = []

        async def unanswered(request: object, *, timeout: float) -> None:
            timeouts.append(timeout)
            raise TimedOut("no answer")

        with pytest.raises(TimedOut, match=r"^/a: the master at .* gave no answer"):
            await client._master.ask(unanswered, StatRequest(path="/a"))
        assert len(timeouts) > 1 and max(timeouts) <= 0.1 and timeouts == sorted(timeouts, reverse=True)


async def test_a_listing_comes_in_pages_each_of_which_is_asked_for_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for name in "abcde":
            await client.create(f"/{name}")
        cluster.master.mishaps["List"] = [None, Unavailable("restarting"), None, TimedOut("lost")]
        assert [entry.name for entry in await client.list("/")] == list("abcde")
        asked = [request.after for name, request in cluster.master.calls if name == "List"]
        assert asked == ["", "/b", "/b", "/d", "/d"]


async def test_a_reader_that_gives_up_names_the_servers_that_did_not_answer(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(IMPATIENT)
        async with await client.open("/a", "xb") as file:
            await file.write(b"text")
        names = [server.name for server in cluster.holders("/a")]
        cluster.to_happen("mishaps", "read", [TimedOut("busy for too long")] * 1000)
        cluster.master.mishaps["FindLocations"] = [None, *[TimedOut("no answer")] * 1000]
        with pytest.raises(Unavailable) as caught:
            await client.read_file("/a")
        assert all(name in caught.value.message for name in names)
