"""The list of snapshots: of what, where, when, and what they still share (GFS 3.4 takes them, and has no list)."""

from dataclasses import replace

import pytest

from gfs.operators import TakenSnapshot
from master.log import operation_log
from master.log.records import SnapshotTaken
from master.protocol import snapshotting
from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play, wait


async def listed(cluster: SmallCluster, path: str = "/") -> list[TakenSnapshot]:
    return await cluster.client(2).operators.snapshots(path)


async def restarted(cluster: SmallCluster) -> None:
    await cluster.kill("master")
    await cluster.start_node("master")


def test_a_snapshot_is_listed_with_its_source_its_time_and_what_it_shares():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/data")
        await client.write_file("/data/a", b"a" * (CHUNK_BYTES + 10))
        await client.write_file("/data/b", b"bb")
        assert await listed(cluster) == []
        before = cluster.simulation.world("master").clock.wall_microseconds()
        await client.snapshot("/data", "/monday")
        after = cluster.simulation.world("master").clock.wall_microseconds()
        [found] = await listed(cluster)
        assert before <= found.taken_microseconds <= after
        whole = CHUNK_BYTES + 12
        expected = TakenSnapshot("/data", "/monday", True, found.taken_microseconds, 2, 2, 3, whole, 3, whole)
        assert found == expected
        async with await client.open("/data/a", "r+b") as file:
            await file.pwrite(0, b"changed")
        assert await listed(cluster) == [replace(expected, shared_chunks=2, shared_bytes=12)]
        await client.delete("/data", recursive=True, immediately=True)
        assert await listed(cluster, "/data") == [replace(expected, shared_chunks=0, shared_bytes=0)]
        await wait(1)
        await client.snapshot("/monday/b", "/b-of-monday")
        assert [one.target for one in await listed(cluster)] == ["/monday", "/b-of-monday"]
        assert [one.target for one in await listed(cluster, "/monday")] == ["/b-of-monday"]
        assert await listed(cluster, "/mon") == []

    play(1, story)


def test_it_follows_the_snapshot_when_that_is_renamed_deleted_and_brought_back():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/save")
        await client.write_file("/a", b"a")
        await client.snapshot("/a", "/save/a")
        await client.rename("/save", "/kept")
        assert [(one.source, one.target) for one in await listed(cluster)] == [("/a", "/kept/a")]
        await client.delete("/kept", recursive=True)
        assert await listed(cluster) == []
        await client.operators.restore("/kept/a")
        assert [(one.source, one.target) for one in await listed(cluster)] == [("/a", "/kept/a")]
        await client.write_file("/new", b"new")
        await client.rename("/new", "/kept/a", replace=True)
        assert await listed(cluster) == [], "what stands there now is no snapshot"

    play(2, story)


def test_a_file_that_was_taken_out_of_it_is_counted_no_more_and_one_that_was_put_in_neither():
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.make_directory("/data")
        await client.write_file("/data/a", b"a")
        await client.write_file("/data/b", b"bb")
        await client.snapshot("/data", "/monday")
        await client.rename("/monday/a", "/elsewhere")
        await client.write_file("/monday/c", b"ccc")
        [found] = await listed(cluster)
        assert (found.files, found.files_left, found.chunks, found.length) == (2, 1, 1, 2)

    play(3, story)


@pytest.mark.parametrize("checkpoint_log_bytes", [1 << 20, 1024])
def test_it_outlives_the_master_by_the_log_and_by_a_checkpoint(checkpoint_log_bytes: int):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        await client.write_file("/a", b"a")
        await client.snapshot("/a", "/b")
        before = await listed(cluster)
        for number in range(20):
            await client.create(f"/other{number}")
        await restarted(cluster)
        await wait(2)  # Chunkservers tell it lengths.
        assert len(before) == 1 and await listed(cluster) == before

    play(4, story, overrides={"master": {"checkpoint_log_bytes": checkpoint_log_bytes}})


def test_a_log_that_does_not_say_when_snapshots_were_taken_is_read():
    def old(*fields: object) -> SnapshotTaken:
        return SnapshotTaken(*fields[:-1])  # type: ignore[arg-type]

    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(operation_log, "FORMAT", 7)
            patch.setattr(snapshotting, "SnapshotTakenAt", old)
            await cluster.kill("master")
            cluster.disk("master").erase()
            for name in cluster.chunkservers():
                await cluster.kill(name)
                cluster.disk(name).erase()
            await cluster.start_node("master")
            for name in cluster.chunkservers():
                await cluster.start_node(name)
            await wait(2)
            await client.write_file("/a", b"a")
            await client.snapshot("/a", "/b")
        await restarted(cluster)
        [found] = await listed(cluster)
        assert (found.source, found.target, found.files, found.taken_microseconds) == ("/a", "/b", 1, 0)
        assert await client.read_file("/b") == b"a"

    play(5, story)
