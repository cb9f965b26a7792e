"""Snapshots of files and trees, in a whole cluster: what they hold, what they share, and what the first write after
them copies (GFS 3.4)."""

import pytest

from chunkserver.events import ChunkCloned, MutationMissed
from cluster.swarm.insight import Insight
from gfs.client import Client
from master.chunks.chunk_table import ChunkTable
from master.chunks.sharing import references
from master.core import Core
from master.events import ChunkCopied, LeaseRevoked
from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NotADirectory, NotFound
from runtime.faults.links import Kind
from runtime.simulated.messages import DROP, Drop, Message
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, outcome, play, wait


async def handles(client: Client, path: str) -> list[int]:
    return [chunk.handle for chunk in await client.locations(path)]


def chunks_on_disks(cluster: SmallCluster) -> dict[int, int]:
    """How many servers hold each chunk."""
    found: dict[int, int] = {}
    for name in cluster.chunkservers():
        for path in cluster.disk(name).paths():
            if path.endswith(".meta"):
                handle = int(path.rpartition("/")[2].partition(".")[0], 16)
                found[handle] = found.get(handle, 0) + 1
    return found


async def written(client: Client, path: str, *parts: bytes) -> None:
    """A file of a few chunks, each full of a letter."""
    async with await client.open(path, "xb") as file:
        for number, part in enumerate(parts):
            await file.pwrite(number * CHUNK_BYTES, part)


def test_a_snapshot_shares_all_chunks_and_the_first_write_copies_one() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * CHUNK_BYTES, b"b" * 1000)
        assert await client.snapshot("/a", "/b") == 1
        assert await handles(client, "/b") == await handles(client, "/a")
        before = await client.read_file("/a")
        assert await client.read_file("/b") == before
        first, second = await handles(client, "/a")
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(3, b"new")
            await file.pwrite(7, b"newer")
        now = await handles(client, "/a")
        assert now[0] not in (first, second) and now[1] == second
        assert await handles(client, "/b") == [first, second]
        assert await client.read_file("/b") == before
        assert await client.read_file("/a") == before[:3] + b"new" + before[6:7] + b"newer" + before[12:]
        copied = [record.event for record in cluster.simulation.sink.records if isinstance(record.event, ChunkCopied)]
        assert [event.frozen for event in copied] == [first] and len(copied[0].servers) == 3
        assert sum(isinstance(record.event, ChunkCloned) for record in cluster.simulation.sink.records) == 3

    play(1, story)


def test_a_snapshot_of_a_tree_is_one_moment_and_its_files_are_files_of_their_own() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/home/user/deep", parents=True)
        await client.make_directory("/save")
        for name in ("/home/user/a", "/home/user/deep/b"):
            await written(client, name, name.encode())
        assert await client.snapshot("/home/user", "/save/user") == 2
        source, target = await client.list("/home", recursive=True), await client.list("/save", recursive=True)
        assert [one.path.removeprefix("/home") for one in source] == [one.path.removeprefix("/save") for one in target]
        ids = [one.file_id for one in (*source, *target) if not one.is_directory]
        assert len(set(ids)) == 4
        await client.delete("/home/user", recursive=True, immediately=True)
        assert await client.read_file("/save/user/deep/b") == b"/home/user/deep/b"
        assert (await client.cluster_status()).chunk_count == 2

    play(1, story)


def test_what_a_snapshot_cannot_be_taken_of_or_as() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/d")
        await written(client, "/d/a", b"a")
        await client.delete("/d/a")
        [hidden] = await client.list("/.deleted")
        await written(client, "/d/a", b"a")
        for source, target, kind in (
            ("/d", "/d/e", InvalidRequest),
            ("/", "/e", InvalidRequest),
            ("/d/a", "/d/a", InvalidRequest),
            (hidden.path, "/e", InvalidRequest),
            ("/d/a", "/.deleted/e", InvalidRequest),
            ("/d/a", "/d", AlreadyExists),
            ("/d/b", "/e", NotFound),
            ("/d/a", "/e/f", NotFound),
            ("/d/a", "/d/a/b", InvalidRequest),
            ("/d", "/d2/e", NotFound),
            ("/d/a/b", "/e", NotADirectory),
        ):
            assert isinstance(await outcome(client.snapshot(source, target)), kind), (source, target)
        assert isinstance(await outcome(client.snapshot("/d/a", "/e", file_id=99)), Conflict)
        assert not await client.exists("/e")

    play(1, story)


def test_an_open_file_is_written_on_and_the_snapshot_does_not_see_it() -> None:
    async def story(cluster: SmallCluster) -> None:
        client, other = cluster.client(), cluster.client(2)
        await written(client, "/a", b"first")
        file = await client.open("/a", "r+b")
        await file.pwrite(0, b"FIRST")
        await other.snapshot("/a", "/b")
        assert any(isinstance(one.event, LeaseRevoked) for one in cluster.simulation.sink.records)
        await file.pwrite(5, b" second")
        assert await file.pread(0, 20) == b"FIRST second"
        await file.close()
        assert await other.read_file("/b") == b"FIRST"
        assert (await other.stat("/b")).length == 5
        assert await other.read_file("/a") == b"FIRST second"

    play(1, story)


def test_records_are_appended_to_the_file_or_to_its_snapshot_and_each_keeps_its_own() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.create("/log")
        first = await client.record_append("/log", b"one")
        await client.snapshot("/log", "/old")
        second = await client.record_append("/log", b"two")
        other = await client.record_append("/old", b"TWO")
        assert (first, second, other) == (0, 3, 3)
        assert await client.read_file("/log") == b"onetwo" and await client.read_file("/old") == b"oneTWO"

    play(1, story)


def test_a_chunk_lives_as_long_as_one_of_its_files() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * 1000)
        await client.snapshot("/a", "/b")
        await client.snapshot("/b", "/c")
        [shared] = await handles(client, "/a")
        for path in ("/a", "/b"):
            await client.delete(path, immediately=True)
            await wait(10.0)
            assert await client.read_file("/c") == b"a" * 1000
        await client.write_file("/d", b"d")
        async with await client.open("/c", "r+b") as file:
            await file.pwrite(0, b"c")  # Its only file, and yet it gets a chunk of its own.
        assert await handles(client, "/c") != [shared]
        await wait(20.0)
        assert sorted(chunks_on_disks(cluster)) == sorted([*await handles(client, "/c"), *await handles(client, "/d")])

    play(1, story)


def test_a_shared_chunk_has_the_largest_goal_of_its_files() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * 1000)
        await client.snapshot("/a", "/b")
        [shared] = await handles(client, "/a")
        for path, goal, expected in (("/a", 4, 4), ("/b", 2, 4), ("/a", 2, 2), ("/b", 3, 3)):
            await client.set_replication(path, goal)
            await wait(30.0)
            assert chunks_on_disks(cluster)[shared] == expected, (path, goal)
        await client.delete("/b", immediately=True)
        await wait(30.0)
        assert chunks_on_disks(cluster)[shared] == 2

    play(1, story, chunkservers=4)


def test_a_snapshot_outlives_the_master_and_so_does_the_sharing() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * 1000)
        await client.snapshot("/a", "/b")
        await cluster.kill("master")
        await cluster.start_node("master")
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"A")
        assert await client.read_file("/b") == b"a" * 1000
        assert await client.read_file("/a") == b"A" + b"a" * 999
        await cluster.kill("master")
        await cluster.start_node("master")
        assert await client.read_file("/b") == b"a" * 1000
        assert await client.read_file("/a") == b"A" + b"a" * 999

    play(1, story)


def test_a_server_that_misses_the_order_to_copy_lacks_a_replica_until_it_is_made_anew() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * 1000)
        await client.snapshot("/a", "/b")

        def drop_one(message: Message) -> Drop | None:
            is_copy = message.method.endswith("/Clone") and message.kind is Kind.REQUEST
            return DROP if is_copy and message.target == "cs2" else None

        undo = cluster.simulation.on_message(drop_one)
        async with await client.open("/a", "r+b") as file:
            await file.pwrite(0, b"A")
        undo()
        [copied] = [one.event for one in cluster.simulation.sink.records if isinstance(one.event, ChunkCopied)]
        assert sorted(copied.servers) == ["cs1", "cs3"]
        await wait(30.0)
        assert chunks_on_disks(cluster)[copied.handle] == 3
        assert await client.read_file("/a") == b"A" + b"a" * 999

    play(1, story)


def test_copies_that_no_file_names_are_removed() -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await written(client, "/a", b"a" * 1000)
        await client.snapshot("/a", "/b")
        shared = await handles(client, "/a")
        core = Insight(cluster).core()
        commit = core.commit

        async def refuse(record: object) -> list[int]:
            if type(record).__name__ == "ChunkReplaced":
                await cluster.kill("master")
            return await commit(record)

        core.commit = refuse
        file = await client.open("/a", "r+b")
        writing = cluster.simulation.loop.create_task(file.pwrite(0, b"A"))
        await wait(3.0)
        orphans = chunks_on_disks(cluster).keys() - set(shared)
        await cluster.start_node("master")
        await writing
        await file.close()
        await wait(30.0)
        assert orphans and not orphans & chunks_on_disks(cluster).keys()
        present = [*await handles(client, "/a"), *await handles(client, "/b")]
        assert chunks_on_disks(cluster) == dict.fromkeys(present, 3)

    play(1, story)


@pytest.mark.parametrize("victim", ["before", "after"])
def test_a_master_that_dies_while_it_takes_a_snapshot_has_taken_all_of_it_or_nothing(victim: str) -> None:
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/d")
        for name in ("/d/a", "/d/b"):
            await written(client, name, name.encode())
        core = Insight(cluster).core()
        commit = core.commit

        async def die(record: object) -> list[int]:
            if type(record).__name__ != "SnapshotTakenAt":
                return await commit(record)
            if victim == "after":
                await core.log.commit_all([record])
            await cluster.kill("master")
            return []

        core.commit = die
        taking = cluster.simulation.loop.create_task(client.snapshot("/d", "/e"))
        await wait(3.0)
        await cluster.start_node("master")
        assert await taking == 2
        assert [one.path for one in await client.list("/e")] == ["/e/a", "/e/b"]
        assert (await client.cluster_status()).file_count == 4

    play(1, story)


@pytest.mark.parametrize("thaws", [False, True])
def test_a_reader_who_remembers_a_shared_chunk_never_reads_the_bytes_of_another_file(
    thaws: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the paper's rule, with `thaws`, a chunk is written in place as soon as a single file is left (GFS 3.4)."""
    if thaws:
        monkeypatch.setattr(ChunkTable, "is_frozen", lambda table, handle: references(table.owners(handle)) > 1)
        monkeypatch.setattr(Core, "check_invariants", lambda core: None)

    async def story(cluster: SmallCluster) -> None:
        reader, writer = cluster.client(), cluster.client(2)
        await written(writer, "/a", b"a" * 1000)
        await writer.snapshot("/a", "/b")
        file = await reader.open("/a")
        assert await file.pread(0, 3) == b"aaa"
        for path, data in (("/a", b"new"), ("/b", b"BBB")):
            async with await writer.open(path, "r+b") as other:
                await other.pwrite(0, data)
        # The reader remembers where the chunk was: what it reads may be old, but was in /a at some time.
        assert await file.pread(0, 3) == (b"BBB" if thaws else b"aaa")
        await file.close()
        assert await reader.read_file("/a") == b"new" + b"a" * 997
        assert await reader.read_file("/b") == b"BBB" + b"a" * 997

    play(1, story)


def test_replicas_of_which_one_has_missed_a_write_are_compared_before_a_snapshot_freezes_them() -> None:
    """A frozen chunk gets no lease any more, whose grant would have compared its replicas."""

    async def story(cluster: SmallCluster) -> None:
        client, other = cluster.client(), cluster.client(2)
        await written(client, "/a", b"a" * 1000)
        primary = cluster.primary("/a")
        away = next(name for name in cluster.chunkservers() if name != primary)
        file = await client.open("/a", "r+b")
        heal = cluster.simulation.partition([primary], [away])
        writing = cluster.simulation.loop.create_task(file.pwrite(0, b"A" * 500))
        await until_missed(cluster)
        writing.cancel()  # Nobody tries this write again, so that no other lease is granted.
        await other.snapshot("/a", "/b")
        heal()
        await wait(30.0)
        [handle] = await handles(other, "/b")
        found = {bytes(Insight(cluster).replicas_on(name)[handle].data) for name in cluster.chunkservers()}
        assert len(found) == 1

    play(1, story)


async def until_missed(cluster: SmallCluster) -> None:
    while not any(isinstance(record.event, MutationMissed) for record in cluster.simulation.sink.records):
        await wait(0.05)
