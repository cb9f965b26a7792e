"""Tablets whose files are in GFS: a server that was given up is kept out of its log before anybody reads it (BT 6), and
what the file system says reaches the engine truthfully."""

import asyncio

import pytest

from gfs.client import Client
from runtime.errors import AlreadyExists, DiskFailure, NotFound, Superseded, TabletopError
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog, sort_log
from tablet.engine.world.options import Options
from tablet.storage.closing import close_log
from tablet.storage.folders import GfsFolders, storage_settings
from tests.sim.small_clusters import SmallCluster, play

OPTIONS = Options(sync="fsync", memtable_bytes=4000)
TABLET = "users-000001"


def client_of(cluster: SmallCluster, node: str) -> Client:
    return Client(cluster.simulation.world(node), cluster.master_address, storage_settings())


async def served(
    cluster: SmallCluster, node: str, token: int, former: SortedLog | None = None
) -> tuple[Engine, Client]:
    """The tablet, served by a node with a log of its own."""
    client, world = client_of(cluster, node), cluster.simulation.world(node)
    folders = GfsFolders(client, "/tablets")
    await folders.make(TABLET)
    logs = GfsFolders(client, "/logs")
    await logs.make(node)
    log = await ServerLog.open(logs.storage(node), owner=node, sync="fsync", segment_bytes=3000)
    engine = await Engine.open(
        folders.storage(TABLET), world, OPTIONS, tablet=TABLET, log=log, token=token, former=former
    )
    engine.start()
    return engine, client


async def taken_over(cluster: SmallCluster, node: str, former: str, token: int) -> Engine:
    """Another node closes and sorts the log of the former server, and serves its tablet."""
    client, world = client_of(cluster, node), cluster.simulation.world(node)
    while True:
        try:
            left = await close_log(client, former, logs="/logs", closing="/closing", closed="/closed")
            break
        except DiskFailure:  # A primary stands still: its lease must run out.
            await asyncio.sleep(1)
    assert left is not None
    await client.make_directory(f"/sorted/{former}", parents=True)
    found = await sort_log(left, GfsFolders(client, "/sorted").storage(former), world, owner=former, piece_bytes=2000)
    engine, _ = await served(cluster, node, token, found)
    return engine


async def values(engine: Engine) -> dict[bytes, bytes | None]:
    engine.check_invariants()
    return {row.key: row.value("f:x") async for row in engine.scan()}


@pytest.mark.parametrize("moment", range(24))
def test_a_paused_server_that_wakes_up_loses_nothing_and_adds_nothing(moment: int):
    async def story(cluster: SmallCluster) -> None:
        simulation, old = cluster.simulation, cluster.client_names()[0]
        engine, _ = await served(cluster, old, 1)
        await engine.create_family("f")
        acknowledged: list[bytes] = []
        failed: dict[bytes, TabletopError] = {}

        async def write() -> None:
            for number in range(400):
                row = b"row%03d" % number
                try:
                    await engine.put(row, b"f:x", b"%03d" % number + b"v" * 150)
                    acknowledged.append(row)
                except TabletopError as error:
                    failed[row] = error
                    if len(failed) == 5:
                        return

        writing = simulation.world(old).spawn(write(), "the old server writes")
        await asyncio.sleep(0.03 + 0.0113 * moment)
        simulation.pause(old)
        before = len(acknowledged)
        successor = await taken_over(cluster, cluster.client_names()[1], old, 2)
        seen_first = await values(successor)
        simulation.resume(old)
        await asyncio.wait([writing], timeout=300)
        assert writing.done() and before > 3
        found = await values(successor)
        assert found == seen_first, "what the old server does is not seen once the tablet is served elsewhere"
        assert set(acknowledged) <= found.keys()
        assert len(failed) == 5
        definite = [row for row, error in failed.items() if error.definite]
        assert len(definite) >= 4, "only what was under way when it was paused may be in doubt"
        assert not found.keys() & set(definite)
        assert isinstance(list(failed.values())[-1], Superseded)

    play(moment, story, chunk_bytes=64 * 1024, heartbeat_seconds=1.0)


def test_a_log_that_was_closed_half_way_is_closed_by_the_next_one():
    async def story(cluster: SmallCluster) -> None:
        old, new = cluster.client_names()
        engine, client = await served(cluster, old, 1)
        await engine.create_family("f")
        await engine.put(b"row", b"f:x", b"1")
        await client.make_directory("/closing")
        await client.rename(f"/logs/{old}", f"/closing/{old}")  # And there the first one died.
        successor = await taken_over(cluster, new, old, 2)
        assert await values(successor) == {b"row": b"1"}
        with pytest.raises(Superseded):
            await engine.put(b"row", b"f:x", b"2")

    play(1, story)


def test_a_log_on_gfs_continues_in_another_segment_after_a_write_in_doubt():
    async def story(cluster: SmallCluster) -> None:
        [old, _] = cluster.client_names()
        world = cluster.simulation.world(old)
        settings = storage_settings(cluster.client().settings)
        client = Client(world, cluster.master_address, settings)
        folders = GfsFolders(client, "/logs")
        await folders.make(old)
        log = await ServerLog.open(folders.storage(old), owner=old, sync="fsync", segment_bytes=100_000)
        await log.make_room()
        assert log.current is not None
        first = log.current
        await first.queue(b"t", [b"r1"], [b"f"], lambda sequence: None)
        task = world.spawn(_fails(first.queue(b"t", [b"r2"], [b"f"], lambda sequence: None)), "in doubt")
        for node in cluster.chunkservers():
            cluster.simulation.pause(node)
        await asyncio.wait([task])
        assert not task.result().definite
        for node in cluster.chunkservers():
            cluster.simulation.resume(node)
        assert first.is_over
        await log.make_room()
        second = log.current
        assert second is not None and second.number > first.number
        await second.queue(b"t", [b"r3"], [b"f"], lambda sequence: None)
        again = await ServerLog.open(folders.storage(old), owner=old, sync="fsync", segment_bytes=100_000)
        rows = [row for _, found in [pair async for pair in again.read("t", 0)] for row, _ in found]
        assert rows == [b"r1", b"r3"]

    play(2, story)


async def _fails(work: object) -> TabletopError:
    try:
        await work  # type: ignore[misc]
    except TabletopError as error:
        return error
    raise AssertionError("it did not fail")


def test_names_are_taken_once_and_errors_say_what_they_are():
    async def story(cluster: SmallCluster) -> None:
        folders = GfsFolders(cluster.client(), "/tablets")
        await folders.make("a")
        await folders.make("b")
        storage = folders.storage("a")
        file = await storage.create("000001.sst.new")
        with pytest.raises(AlreadyExists):
            await storage.create("000001.sst.new")
        assert await file.append(b"hello ") == 0
        assert await file.append(b"world") == 6
        await file.sync()
        assert await file.read_at(0, 100) == b"hello world"
        with pytest.raises(DiskFailure):
            await file.truncate(3)
        await file.close()
        await storage.rename("000001.sst.new", "000001.sst")
        with pytest.raises(NotFound):
            await storage.rename("000001.sst.new", "000002.sst")
        other = await storage.create("000002.sst")
        await other.close()
        with pytest.raises(AlreadyExists):
            await storage.rename("000002.sst", "000001.sst")
        found = await folders.storage("b").open("../a/000001.sst")
        assert (await found.read_at(6, 99), await found.size()) == (b"world", 11)
        assert await storage.list() == ["000001.sst", "000002.sst"]
        assert await storage.exists("000001.sst") and not await storage.exists("none")
        await folders.remove("a")  # It is not empty, and stays.
        assert await folders.list() == ["a", "b"]
        await folders.remove("b")
        assert await folders.list() == ["a"]
        await storage.remove("000001.sst")
        with pytest.raises(NotFound):
            await storage.open("000001.sst")

    play(3, story)


def test_a_segment_that_is_begun_in_a_log_that_was_taken_away_tells_of_another_owner():
    """It told that a file was not found, and a client that wrote was told that its table did not exist."""

    async def story(cluster: SmallCluster) -> None:
        engine, client = await served(cluster, cluster.client_names()[0], 1)
        await engine.create_family("f")
        while engine.state.log.current is None or engine.state.log.current.file_bytes < 3000:
            await engine.put(b"row", b"f:x", b"v" * 150)
        name = cluster.client_names()[0]
        assert await close_log(client, name, logs="/logs", closing="/closing", closed="/closed") is not None
        with pytest.raises(Superseded):
            await engine.put(b"row", b"f:x", b"the first of the next segment")

    play(3, story)
