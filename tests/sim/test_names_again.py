"""Names that were deleted are given again, through the client: a file that is listed is there (GFS 2.6.1)."""

import random

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from runtime.simulated.world import Simulation

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
