"""Names that were deleted are given again, through the client: a file that is listed is there (GFS 2.6.1)."""

import random

import pytest

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from runtime.errors import Conflict
from runtime.simulated.world import Simulation
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

SETTINGS = ClusterSettings(chunkservers=3, chunk_bytes=64 * 1024, lease_seconds=4.0)


async def write(client: Client, path: str, data: bytes) -> None:
    """Under a temporary name that is renamed at the end, as large files are written."""
    async with await client.open(path, "wb") as file:
        await file.write(data)


async def assert_holds(client: Client, expected: dict[str, bytes]) -> None:
    assert [entry.path for entry in await client.list("/")] == sorted(expected)
    for path, data in expected.items():
        assert await client.read_file(path) == data


def test_a_file_that_was_deleted_and_written_again_is_found():
    cluster = SimulatedCluster(Simulation(1), SETTINGS)

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        await write(client, "/z", b"last")
        await write(client, "/x", b"first")
        await client.delete("/x", immediately=True)
        await write(client, "/x", b"again")
        await assert_holds(client, {"/x": b"again", "/z": b"last"})

    cluster.simulation.run(story())


def test_names_that_come_and_go_agree_with_a_dictionary():
    cluster = SimulatedCluster(Simulation(2), SETTINGS)
    chance = random.Random(2)

    async def story() -> None:
        await cluster.start()
        client = cluster.client()
        expected: dict[str, bytes] = {}
        for step in range(120):
            path, other = f"/{chance.choice('abcdxyz')}", f"/{chance.choice('abcdxyz')}"
            if path not in expected:
                expected[path] = b"%d" % step
                await write(client, path, expected[path])
            elif other not in expected and chance.random() < 0.5:
                await client.rename(path, other)
                expected[other] = expected.pop(path)
            else:
                await client.delete(path, immediately=chance.random() < 0.7)
                del expected[path]
            if step % 10 == 0:
                await assert_holds(client, expected)
        await assert_holds(client, expected)

    cluster.simulation.run(story())


@pytest.mark.parametrize("is_empty", [True, False])
def test_what_is_to_be_done_to_a_file_is_not_done_to_a_directory_that_has_its_name(is_empty: bool):
    async def story(cluster: SmallCluster) -> None:
        one, other = cluster.client(1), cluster.client(2)
        file = await one.open("/a", "xb")
        await file.write(b"its own")
        await other.delete("/a")
        await other.make_directory("/a")
        if not is_empty:
            await other.make_directory("/a/b")
        error = await outcome(file.close())  # It removes what it leaves, which is not there any more.
        assert error is not None and error.definite
        for change in (one.delete("/a", file_id=file.file_id), one.rename("/a", "/c", file_id=file.file_id)):
            assert isinstance(await outcome(change), Conflict)
        assert [entry.path for entry in await other.list("/")] == ["/a"]

    play(1, story)


@pytest.mark.parametrize("restarts", [False, True])
def test_what_is_deleted_after_the_clock_on_the_wall_was_ahead_for_a_moment_does_not_stay_for_years(restarts: bool):
    async def story(cluster: SmallCluster) -> None:
        client = cluster.client()
        for path in ("/a", "/b"):
            await client.write_file(path, b"for a while")
        be_right_again = cluster.simulation.world("master").clock.offset_wall(10 * 365 * 86_400.0)
        await client.delete("/a")
        be_right_again()
        await wait(5)
        await client.delete("/b")
        if restarts:
            await cluster.kill("master")
            await cluster.start_node("master")
        await wait(15)
        assert len(await client.list("/.deleted")) == 2, "they can be had back for twenty seconds"
        await wait(30)
        assert not await client.list("/.deleted")
        await wait(20)
        assert not [path for node in cluster.chunkservers() for path in cluster.disk(node).paths() if ".meta" in path]

    play(1, story, trash_seconds=20.0)
