"""The client, whole, against a fake master and fake chunkservers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from gfs.client import WRITING_PREFIX, Client
from runtime.errors import (
    AlreadyExists,
    Corrupted,
    InvalidRequest,
    IsADirectory,
    NotFound,
    TimedOut,
    Unauthenticated,
    Unavailable,
)
from tests.unit.gfs_fakes import CHUNK_BYTES, PIECE_BYTES, QUICK, FakeCluster

LARGE = random.Random(1).randbytes(2 * CHUNK_BYTES + 3 * PIECE_BYTES + 1234)


async def test_a_small_file_is_written_with_two_calls_to_all_replicas(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"hello")
        assert [name for name, _ in cluster.master.calls] == ["CreateFiles"]
        assert sum(server.count("Write") for server in cluster.servers.values()) == 1
        assert sum(server.count("push") for server in cluster.servers.values()) == 0
        assert cluster.stored("/a") == [b"hello"] * 3
        assert await client.read_file("/a") == b"hello"


async def test_small_files_that_are_written_at_the_same_time_are_created_in_few_calls(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        names = [f"/{number}" for number in range(100)]
        await asyncio.gather(*(client.write_file(name, name.encode()) for name in names))
        assert all(cluster.stored(name) == [name.encode()] * 3 for name in names)
        assert cluster.master.rpcs["CreateFiles"] <= 4
        assert cluster.master.count("FindLeaseHolder") == 0


async def test_empty_files_that_are_created_at_the_same_time_share_calls(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.replace("/2", b"somebody else's")
        cluster.master.mishaps["CreateFiles"] = [None] * 10 + [Unavailable("it was lost on the way")]
        found = await asyncio.gather(*(client.create(f"/{number}") for number in range(100)), return_exceptions=True)
        assert [place for place, one in enumerate(found) if isinstance(one, BaseException)] == [2]
        refused = found[2]
        assert isinstance(refused, AlreadyExists) and refused.definite
        assert sorted(cluster.master.files) == sorted(f"/{number}" for number in range(100))
        assert cluster.master.rpcs["CreateFiles"] <= 3
        assert [path for path, chunks in cluster.master.files.items() if chunks] == ["/2"]


async def test_one_of_many_files_is_refused_for_itself_alone(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.replace("/2", b"somebody else's")
        writes = [client.write_file(f"/{number}", b"mine") for number in range(5)]
        found = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(one) for one in found] == [type(None)] * 2 + [AlreadyExists] + [type(None)] * 2
        refused = found[2]
        assert isinstance(refused, AlreadyExists) and refused.definite
        assert await client.read_file("/2") == b"somebody else's"


@pytest.mark.parametrize("when", ["mishaps", "afterwards"])
async def test_files_whose_shared_call_was_lost_are_created_once(tmp_path: Path, when: str):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        getattr(cluster.master, when)["CreateFiles"] = [Unavailable("it was lost on the way")]
        await asyncio.gather(*(client.write_file(f"/{number}", b"mine") for number in range(5)))
        assert all(cluster.stored(f"/{number}") == [b"mine"] * 3 for number in range(5))
        assert sorted(cluster.master.files) == [f"/{number}" for number in range(5)]


async def test_a_file_that_comes_without_a_chunk_asks_for_one(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.makes_first_chunks = False
        await client.write_file("/a", b"hello")
        assert cluster.stored("/a") == [b"hello"] * 3
        assert cluster.master.count("FindLeaseHolder") == 1


async def test_a_file_of_several_chunks_has_its_name_only_when_it_is_whole(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(replace(QUICK, write_piece_bytes=4 * CHUNK_BYTES))
        await client.write_file("/first", LARGE)
        await client.write_file("/second", LARGE)
        created = [request.path for name, request in cluster.master.calls if name == "Create"]
        assert len(created) == 2
        assert all(path.startswith("/.writing-") for path in created)
        assert cluster.stored("/second") == [LARGE] * 3


async def test_a_large_file_is_the_same_after_writing_and_reading(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/large", LARGE)
        assert cluster.stored("/large") == [LARGE] * 3
        assert await client.read_file("/large") == LARGE
        parts: list[bytes] = []

        async def sink(piece: memoryview) -> None:
            parts.append(bytes(piece))

        assert await client.read_file_into("/large", sink) == len(LARGE)
        assert b"".join(parts) == LARGE


async def test_an_empty_file_has_no_chunks_and_reads_as_nothing(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/empty", b"")
        assert cluster.master.files["/empty"] == []
        assert await client.read_file("/empty") == b""
        assert (await client.stat("/empty")).length == 0


async def test_data_in_a_buffer_that_changes_afterwards_is_written_as_it_was(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        buffer = bytearray(LARGE[: 2 * PIECE_BYTES + 10])
        async with await client.open("/a", "wb") as file:
            await file.write(buffer)
            buffer[:] = bytes(len(buffer))
        assert await client.read_file("/a") == LARGE[: 2 * PIECE_BYTES + 10]


async def test_many_small_writes_become_few_pieces(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "wb") as file:
            for begin in range(0, 3 * PIECE_BYTES, 1000):
                await file.write(LARGE[begin : min(begin + 1000, 3 * PIECE_BYTES)])
        assert await client.read_file("/a") == LARGE[: 3 * PIECE_BYTES]
        assert sum(server.count("Write") for server in cluster.servers.values()) == 3


async def test_a_file_from_a_source_needs_no_memory_of_its_size(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        given = 0

        async def source(buffer: memoryview) -> int:
            nonlocal given
            some = LARGE[given : given + min(len(buffer), 50_000)]
            buffer[: len(some)] = some
            given += len(some)
            return len(some)

        assert await client.write_file_from("/a", source) == len(LARGE)
        assert await client.read_file("/a") == LARGE


async def test_reading_anywhere_gives_what_is_there_and_ends_at_the_end(tmp_path: Path):
    dice = random.Random(2)
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        async with await client.open("/a") as file:
            for _ in range(40):
                offset = dice.randrange(len(LARGE) + 100)
                count = dice.choice([1, 10, 5000, PIECE_BYTES, CHUNK_BYTES, len(LARGE)])
                assert await file.pread(offset, count) == LARGE[offset : offset + count]
            assert file.tell() == 0
            assert await file.seek(-10, 2) == len(LARGE) - 10
            assert await file.read(100) == LARGE[-10:]
            assert await file.read(100) == b""
            assert await file.read() == b""


async def test_reading_in_order_reads_ahead_and_asks_for_every_byte_once(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        async with await client.open("/a") as file:
            parts = []
            while part := await file.read(7000):
                parts.append(part)
        assert b"".join(parts) == LARGE
        asked = sum(server.count("read") for server in cluster.servers.values())
        assert asked < len(LARGE) / PIECE_BYTES + 12  # Not one for each 7,000 bytes.


async def test_an_update_in_the_middle_is_read_back_by_the_same_file(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        expected = bytearray(LARGE)
        async with await client.open("/a", "r+b") as file:
            for offset, text in ((10, b"one"), (CHUNK_BYTES - 2, b"across"), (11, b"two"), (len(LARGE) - 1, b"beyond")):
                await file.pwrite(offset, text)
                expected[offset : offset + len(text)] = text
            await file.seek(5)
            await file.write(b"gathered")
            expected[5:13] = b"gathered"
            assert await file.read(20) == expected[13:33]
            assert await file.length() == len(expected)
        assert cluster.stored("/a") == [bytes(expected)] * 3


async def test_a_write_beyond_the_end_leaves_zeros_between(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        async with await client.open("/a", "wb") as file:
            await file.write(b"begin")
            await file.pwrite(2 * CHUNK_BYTES + 5, b"end")
        content = await client.read_file("/a")
        assert content == b"begin" + bytes(2 * CHUNK_BYTES) + b"end"


async def test_ab_goes_on_at_the_end_and_creates_what_is_missing(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for text in (b"one ", b"two ", LARGE):
            async with await client.open("/log", "ab") as file:
                await file.write(text)
        assert await client.read_file("/log") == b"one two " + LARGE


async def test_wb_gives_the_name_only_to_a_whole_file(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        file = await client.open("/a", "wb")
        await file.write(LARGE)
        await file.flush()
        assert not await client.exists("/a")
        assert file.stored_path.startswith("/" + WRITING_PREFIX)
        await file.close()
        await file.close()
        assert list(cluster.master.files) == ["/a"]


async def test_an_abandoned_wb_leaves_nothing_and_keeps_what_was_there(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"before")
        with pytest.raises(ZeroDivisionError):
            async with await client.open("/a", "wb", overwrite=True) as file:
                await file.write(LARGE)
                raise ZeroDivisionError
        assert list(cluster.master.files) == ["/a"]
        assert await client.read_file("/a") == b"before"
        with pytest.raises(InvalidRequest, match="abandoned"):
            await file.write(b"more")


async def test_closing_the_client_abandons_open_files(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for mode in ("wb", "xb"):
            file = await client.open(f"/{mode}", mode)
            await file.write(LARGE)
        await client.close()
        assert cluster.master.files == {}


async def test_overwriting_replaces_the_file_for_those_who_open_it_next(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        with pytest.raises(AlreadyExists, match="/a exists"):
            await client.open("/a", "wb")
        with pytest.raises(AlreadyExists, match="/a exists"):
            await client.write_file("/a", b"new")
        assert await client.read_file("/a") == LARGE
        await client.write_file("/a", b"new", overwrite=True)
        assert await client.read_file("/a") == b"new"
        assert list(cluster.master.files) == ["/a"]


async def test_a_name_taken_while_writing_is_not_overwritten(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        file = await client.open("/a", "wb")
        await file.write(b"mine")
        await client.write_file("/a", b"theirs")
        with pytest.raises(AlreadyExists):
            await file.close()
        assert await client.read_file("/a") == b"theirs"
        assert list(cluster.master.files) == ["/a"]


async def test_wrong_uses_of_a_file_are_refused_in_words(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"text")
        await client.make_directory("/d")
        with pytest.raises(InvalidRequest, match="mode 'w' for /a"):
            await client.open("/a", "w")  # type: ignore[arg-type]
        with pytest.raises(IsADirectory, match="/d"):
            await client.open("/d", "rb")
        with pytest.raises(IsADirectory, match="/d"):
            await client.open("/d", "wb")
        with pytest.raises(NotFound):
            await client.open("/none", "rb")
        file = await client.open("/a", "rb")
        with pytest.raises(InvalidRequest, match="mode 'rb'"):
            await file.write(b"x")
        with pytest.raises(InvalidRequest, match="expected 0 or more"):
            await file.seek(-1)
        await file.close()
        with pytest.raises(InvalidRequest, match="/a is closed"):
            await file.read(1)


WRONG_USES: list[tuple[str, Callable[[Any], Awaitable[Any]]]] = [
    (r"path b'/a' \(bytes\): expected a text", lambda client: client.read_file(b"/a")),
    (r"path 7 \(int\): expected a text", lambda client: client.stat(7)),
    (r"path None \(NoneType\)", lambda client: client.open(None)),
    (r"path b'/a' \(bytes\)", lambda client: client.create(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.delete(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.rename("/a", b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.list(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.exists(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.locations(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.make_directory(b"/a")),
    (r"path b'/a' \(bytes\)", lambda client: client.write_file(b"/a", b"text")),
    ("is not Unicode", lambda client: client.create("/\udc80")),
    ("a text becomes bytes with text.encode", lambda client: client.write_file("/new", "text")),
    ("data of type int: expected bytes", lambda client: client.write_file("/new", 5)),
    ("replication goal '2': expected a whole number", lambda client: client.create("/new", replication_goal="2")),
    ("replication goal -1: expected 0 or more", lambda client: client.create("/new", replication_goal=-1)),
    ("replication goal 0: expected 1 or more", lambda client: client.set_replication("/a", 0)),
    (r"no more than there are chunkservers", lambda client: client.set_replication("/a", 2**40)),
    (r"path b'/a' \(bytes\)", lambda client: client.set_replication(b"/a", 2)),
]


async def test_wrong_arguments_are_refused_before_they_go_anywhere_and_break_nothing(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"text")
        asked = len(cluster.master.calls)
        for words, use in WRONG_USES:
            with pytest.raises(InvalidRequest, match=words):
                await use(client)
        assert len(cluster.master.calls) == asked
        assert await client.read_file("/a") == b"text"


async def test_paths_may_be_path_objects_and_end_in_a_slash(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client: Client = cluster.new_client()
        await client.make_directory("/d/")
        await client.write_file(PurePosixPath("/d/a"), b"text")
        assert await client.read_file("/d/a") == b"text"
        assert [found.path for found in await client.list("/d/")] == ["/d/a"]


async def test_lengths_under_lease_are_asked_of_replicas_one_call_a_server(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for number in range(12):
            await client.write_file(f"/f{number:02}", b"x" * number)
        for server in cluster.servers.values():
            server.calls.clear()
        entries = await client.list("/")
        assert [(entry.path, entry.length) for entry in entries] == [(f"/f{n:02}", n) for n in range(12)]
        assert all(entry.length_is_exact for entry in entries)
        assert (await client.stat("/f07")).length == 7
        # The list came in answers of two entries.
        assert sum(server.count("GetChunkStates") for server in cluster.servers.values()) <= 12


async def test_a_length_that_no_replica_tells_is_marked_so(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"text")
        for server in cluster.servers.values():
            server.mishaps["GetChunkStates"] = [Unavailable("down")] * 1000
        assert not (await client.stat("/a")).length_is_exact
        # The first pause lasts until the patience is over: no later call can be cut off by its end.
        settings = replace(QUICK, patience_seconds=0.5, first_pause_seconds=1.0, longest_pause_seconds=1.0)
        impatient = cluster.new_client(settings)
        with pytest.raises(Unavailable, match=r"length of /a is not known: .* within 0\.5 seconds"):
            await impatient.open("/a", "ab")


async def test_a_length_is_asked_for_again_until_a_replica_tells_it(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", b"text")
        for server in cluster.servers.values():
            server.mishaps["GetChunkStates"] = [Unavailable("down")] * 3
        async with await client.open("/a", "ab") as file:
            assert file.tell() == 4


async def test_walk_names_every_directory_with_its_entries(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for directory in ("/d", "/d/e", "/z"):
            await client.make_directory(directory)
        for path in ("/d/1", "/d/e/2", "/3"):
            await client.write_file(path, b"")
        found = [
            (here, [d.name for d in dirs], [f.name for f in files]) async for here, dirs, files in client.walk("/")
        ]
        assert found == [("/", ["d", "z"], ["3"]), ("/d", ["e"], ["1"]), ("/d/e", [], ["2"]), ("/z", [], [])]
        assert [entry.path for entry in await client.list("/", recursive=True)] == [
            "/3",
            "/d",
            "/d/1",
            "/d/e",
            "/d/e/2",
            "/z",
        ]


async def test_locations_names_every_chunk_though_the_master_names_a_few_at_a_time(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        chunks = await client.locations("/a")
        assert [chunk.index for chunk in chunks] == [0, 1, 2]
        assert all(len(chunk.replicas) == 3 for chunk in chunks)


async def test_a_read_goes_on_to_other_replicas_after_every_kind_of_failure(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        for error in (NotFound("gone"), Corrupted("block 0"), Unavailable("busy"), InvalidRequest("never")):
            for server in cluster.servers.values():
                server.mishaps["read"] = [error]
            if isinstance(error, InvalidRequest):
                with pytest.raises(InvalidRequest):
                    await client.read_file("/a")
            else:
                assert await client.read_file("/a") == LARGE


async def test_a_payload_damaged_on_the_way_is_never_handed_out(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        primary, *secondaries = cluster.holders("/a")
        primary.damages_payloads = secondaries[0].damages_payloads = True
        assert await client.read_file("/a") == LARGE
        for server in cluster.servers.values():
            server.damages_payloads = True
        with pytest.raises(Corrupted, match=r"chunk 0 .* of /a cannot be read from any replica .*damaged on the way"):
            await client.read_file("/a")


async def test_dead_servers_cost_a_reader_nothing_but_the_try(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        assert await client.read_file("/a") == LARGE  # Connections lie idle now, and die with their servers.
        for server in cluster.holders("/a")[:2]:
            await server.stop()
        assert await client.read_file("/a") == LARGE


async def test_connections_closed_while_idle_are_no_failures(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.write_file("/a", LARGE)
        for server in cluster.servers.values():
            server.drop_connections()
        assert await client.read_file("/a") == LARGE
        assert not [record for record in client._world.events.sink.records if "ReplicaSkipped" in record.to_json()]


async def test_a_master_that_is_away_for_a_moment_is_asked_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for method in ("Create", "FindLeaseHolder", "FindLocations", "Stat", "List"):
            cluster.master.mishaps[method] = [Unavailable("restarting", definite=True)] * 2
        await client.write_file("/a", b"text")
        assert await client.read_file("/a") == b"text"
        assert (await client.stat("/a")).length == 4
        assert len(await client.list("/")) == 1


async def test_a_change_whose_answer_was_lost_gets_that_answer_when_it_is_asked_for_again(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        for method in ("Create", "MakeDirectory", "SetReplication", "Rename", "Delete"):
            cluster.master.afterwards[method] = [Unavailable("lost"), TimedOut("lost")]
        assert (await client.create("/a")).path == "/a"
        await client.make_directory("/d")
        assert await client.set_replication("/a", 2) == 3
        assert (await client.stat("/a")).replication_goal == 2
        await client.rename("/a", "/b")
        assert await client.delete("/b") == 1
        with pytest.raises(AlreadyExists) as caught:
            await client.make_directory("/d")
        assert caught.value.definite


async def test_a_refusal_is_definite_though_earlier_tries_went_unanswered(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        await client.create("/a")
        cluster.master.mishaps["Create"] = [Unavailable("lost"), TimedOut("lost")]
        with pytest.raises(AlreadyExists) as caught:
            await client.create("/a")
        assert caught.value.definite


async def test_all_tries_of_a_change_carry_one_id_and_other_changes_carry_others(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client, other = cluster.new_client(), cluster.new_client()
        cluster.master.mishaps["Create"] = [None, Unavailable("lost"), TimedOut("lost")]
        for path in ("/a", "/b", "/c"):
            await client.create(path)
        await other.create("/d")
        found = [(request.request.client, request.request.number) for _, request in cluster.master.calls]
        assert found == [(client.client_id, number) for number in (1, 2, 2, 2, 3)] + [(other.client_id, 1)]
        assert [request.request.oldest for _, request in cluster.master.calls] == [1, 2, 2, 2, 3, 1]
        assert client.client_id and client.client_id != other.client_id


async def test_lost_answers_do_not_disturb_a_whole_file_under_a_passing_name(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client()
        cluster.master.afterwards["Create"] = [Unavailable("lost")]
        cluster.master.afterwards["Rename"] = [Unavailable("lost")]
        await client.write_file("/a", LARGE)
        assert list(cluster.master.files) == ["/a"]
        assert await client.read_file("/a") == LARGE


async def test_a_master_that_stays_away_is_reported_with_definiteness(tmp_path: Path):
    impatient = type(QUICK)(**{**_values(QUICK), "patience_seconds": 0.05})
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient)
        await cluster.master.rpc.stop(0)
        with pytest.raises(TimedOut, match=r"gave no answer within 0\.05 seconds") as caught:
            await client.create("/a")
        assert caught.value.definite, "no try has left"
    async with FakeCluster(tmp_path) as cluster:
        client = cluster.new_client(impatient)
        cluster.master.mishaps["Create"] = [Unavailable("refused", definite=True)] * 1000
        with pytest.raises(TimedOut, match=r"after 0\.05 seconds the master still says: refused") as caught:
            await client.create("/a")
        assert not caught.value.definite, "a second copy of the message may be under way, and may be obeyed"
        cluster.master.mishaps["Create"] = [Unavailable("lost")] * 1000
        with pytest.raises(TimedOut) as caught:
            await client.create("/a")
        assert not caught.value.definite


async def test_a_wrong_token_is_refused_at_once(tmp_path: Path):
    async with FakeCluster(tmp_path) as cluster:
        stranger = Client(cluster.new_world("stranger", token="wrong"), cluster.master.rpc.address, QUICK)
        cluster.clients.append(stranger)
        with pytest.raises(Unauthenticated, match="token"):
            await stranger.stat("/")


def _values(settings: object) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__slots__}  # type: ignore[attr-defined]
