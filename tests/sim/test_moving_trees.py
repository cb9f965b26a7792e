"""Moving trees in and out when things go wrong: whole, or not at all."""

import asyncio
from functools import partial

import pytest

from cluster.interface import NodeState, wait_until
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from runtime.errors import AlreadyExists, Conflict, InvalidRequest, NoSpace, NotFound
from runtime.simulated.world import Simulation
from tabletop import transfer
from tabletop.progress import SilentMeter
from tabletop.sources import MemoryTree

SETTINGS = ClusterSettings(chunkservers=3, chunk_bytes=256 * 1024, lease_seconds=4.0)
TREE = MemoryTree({f"folder-{number % 3}/file-{number}": bytes([number]) * 30_000 for number in range(50)})
# More files than are under way at once.
LARGER_TREE = MemoryTree({f"folder-{number % 3}/file-{number}": bytes(30_000) for number in range(200)})


async def enough(meter: SilentMeter) -> bool:
    return meter.files_done >= 20


def names(entries: list) -> list[str]:
    return [entry.path for entry in entries]


def test_a_stored_tree_is_the_tree():
    cluster = SimulatedCluster(Simulation(1), SETTINGS)

    async def story() -> None:
        await cluster.start()
        meter = SilentMeter()
        await transfer.put_tree(cluster, TREE, "/tree", meter)
        assert (meter.files_done, meter.bytes_done) == (50, 50 * 30_000)
        found = await cluster.client().list("/tree", recursive=True)
        assert [path.removeprefix("/tree/") for path in names([e for e in found if not e.is_directory])] == [
            file.path for file in TREE.files
        ]
        assert await cluster.client().read_file("/tree/folder-1/file-7") == bytes([7]) * 30_000

    cluster.simulation.run(story())


def test_a_cancelled_transfer_leaves_nothing_under_any_name():
    cluster = SimulatedCluster(Simulation(2), SETTINGS)

    async def story() -> None:
        await cluster.start()
        meter = SilentMeter()
        storing = asyncio.ensure_future(transfer.put_tree(cluster, LARGER_TREE, "/tree", meter))
        await wait_until(partial(enough, meter), what="20 files are stored", timeout_seconds=60.0, poll_seconds=0.001)
        assert len(await cluster.client().list("/", recursive=True)) > 20
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        assert await cluster.client().list("/", recursive=True) == []

    cluster.simulation.run(story())


def test_what_a_killed_command_leaves_of_a_folder_the_master_deletes(monkeypatch: pytest.MonkeyPatch):
    async def never(client: Client, path: str) -> bool:
        return False

    monkeypatch.setattr(transfer, "_remove", never)
    overrides = {"master": {"abandoned_seconds": 60.0, "namespace_scan_seconds": 5.0}}
    cluster = SimulatedCluster(Simulation(2), SETTINGS, overrides=overrides)

    async def story() -> None:
        await cluster.start()
        meter = SilentMeter()
        storing = asyncio.ensure_future(transfer.put_tree(cluster, LARGER_TREE, "/tree", meter))
        await wait_until(partial(enough, meter), what="20 files are stored", timeout_seconds=60.0, poll_seconds=0.001)
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        assert len(await cluster.client().list("/", recursive=True)) > 20
        await asyncio.sleep(90)
        assert await cluster.client().list("/", recursive=True) == []

    cluster.simulation.run(story())


def test_a_full_cluster_refuses_the_tree_and_keeps_what_it_had():
    cluster = SimulatedCluster(Simulation(3), SETTINGS, capacity_bytes=20 * 1024 * 1024)

    async def story() -> None:
        await cluster.start()
        await cluster.client().write_file("/before", b"still here")
        large = MemoryTree({f"file-{number}": bytes(400_000) for number in range(40)})
        with pytest.raises(NoSpace):
            await transfer.put_tree(cluster, large, "/tree", SilentMeter())
        assert names(await cluster.client().list("/", recursive=True)) == ["/before"]
        assert await cluster.client().read_file("/before") == b"still here"

    cluster.simulation.run(story())


def test_a_place_that_is_taken_or_has_no_parent_is_refused_before_anything_is_stored():
    cluster = SimulatedCluster(Simulation(4), SETTINGS)

    async def story() -> None:
        await cluster.start()
        await cluster.client().write_file("/taken", b"")
        for target, error in (("/taken", AlreadyExists), ("/no/parent", NotFound), ("/a/../b", InvalidRequest)):
            with pytest.raises(error):
                await transfer.put_tree(cluster, TREE, target, SilentMeter())
        assert names(await cluster.client().list("/", recursive=True)) == ["/taken"]

    cluster.simulation.run(story())


def test_replacing_files_keeps_the_others():
    cluster = SimulatedCluster(Simulation(5), SETTINGS)

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        await transfer.put_tree(cluster, MemoryTree({"a/x": b"old", "a/y": b"kept"}), "/tree", SilentMeter())
        await transfer.replace_files(cluster, MemoryTree({"a/x": b"new", "b/z": b"more"}), "/tree", SilentMeter())
        contents = [await client.read_file(f"/tree/{path}") for path in ("a/x", "a/y", "b/z")]
        assert contents == [b"new", b"kept", b"more"]

    cluster.simulation.run(story())


def test_the_cluster_reports_what_its_nodes_are():
    cluster = SimulatedCluster(Simulation(6), SETTINGS)

    async def story() -> None:
        await cluster.start()
        await cluster.kill("cs1")
        await cluster.pause("cs2")
        states = {report.node: report.state for report in await cluster.nodes()}
        assert states == {
            "master": NodeState.SERVING,
            "cs1": NodeState.DEAD,
            "cs2": NodeState.PAUSED,
            "cs3": NodeState.SERVING,
        }
        with pytest.raises(Conflict, match="cs1 of cluster 'simulated' is not running"):
            await cluster.kill("cs1")
        with pytest.raises(NotFound, match="no node 'cs7'"):
            await cluster.pause("cs7")
        await cluster.restart("cs1")
        await cluster.resume("cs2")
        assert all(report.state is NodeState.SERVING for report in await cluster.nodes())
        await cluster.stop()
        assert all(report.state is NodeState.STOPPED for report in await cluster.nodes())

    cluster.simulation.run(story())


def test_bit_rot_is_refused_where_there_is_none_to_be():
    cluster = SimulatedCluster(Simulation(7), SETTINGS)

    async def story() -> None:
        await cluster.start()
        await cluster.client().write_file("/file", bytes(100_000))
        done = await cluster.corrupt("/file", 0, 1)
        assert (done.file_offset, done.flipped_bytes) == (65536, 12)
        for arguments, error, words in (
            (("/other", 0, 0), NotFound, "/other"),
            (("/file", 1, 0), NotFound, "has no chunk 1; it has 1"),
            (("/file", 0, 2), InvalidRequest, "no block 2"),
            (("/file", 0, 0, "master"), NotFound, "master has no replica"),
        ):
            with pytest.raises(error, match=words):
                await cluster.corrupt(*arguments)
        assert await cluster.client().read_file("/file") == bytes(100_000)

    cluster.simulation.run(story())
