"""Chunkservers that are drained, and leave: nothing is lost, nothing new comes, nothing is left (GFS 4.3)."""

import pytest

from runtime.errors import Conflict, NotFound, TooFewServers
from tests.sim.small_clusters import SmallCluster, outcome, play, wait

BODY = b"drained" * 3000


async def until_empty(cluster: SmallCluster, node: str, seconds: int = 120) -> None:
    """Wait until no chunk needs the server."""
    for _ in range(seconds):
        [server] = [one for one in (await cluster.status()).servers if one.location.server == node]
        if not server.left_to_drain:
            return
        await wait(1)
    raise AssertionError(f"{server.left_to_drain} chunks still need {node}")


async def write_some(cluster: SmallCluster, count: int = 8) -> None:
    for number in range(count):
        await cluster.client().write_file(f"/{number}", BODY)


async def all_replicas(cluster: SmallCluster) -> list[list[str]]:
    chunks = (await cluster.status(chunks=True)).chunks
    return [sorted(replica.server for replica in chunk.chunk.replicas) for chunk in chunks]


@pytest.mark.parametrize("seed", range(3))
def test_a_drained_server_is_emptied_and_gets_nothing_new(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        await cluster.client().operators.drain("cs2")
        await until_empty(cluster, "cs2")
        await cluster.client().write_file("/new", BODY)
        found = await all_replicas(cluster)
        assert all(len(names) == 3 and "cs2" not in names for names in found)
        assert await cluster.found("/3") == BODY
        await wait(60)
        assert not [path for path in cluster.disk("cs2").paths() if path.startswith("chunks/") and "." in path]

    play(seed, story, chunkservers=5)


def test_a_drain_survives_restarts_of_the_master_and_of_the_server():
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        await cluster.client().operators.drain("cs2")
        await cluster.restart("master")
        await cluster.restart("cs2")
        await until_empty(cluster, "cs2")
        await cluster.restart("master")
        await wait(10)
        assert all("cs2" not in names for names in await all_replicas(cluster))
        [server] = [one for one in (await cluster.status()).servers if one.draining]
        assert server.location.server == "cs2"

    play(1, story, chunkservers=5)


def test_a_server_that_leaves_is_forgotten_and_its_name_is_free_again():
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        assert isinstance(await outcome(cluster.remove_chunkserver("cs2")), Conflict)
        await cluster.client().operators.drain("cs2")
        await until_empty(cluster, "cs2")
        await cluster.remove_chunkserver("cs2")
        assert [server.location.server for server in (await cluster.status()).servers] == ["cs1", "cs3", "cs4", "cs5"]
        await cluster.restart("master")
        await wait(5)
        assert await cluster.found("/0") == BODY
        assert await cluster.add_chunkservers(1) == ["cs6"]

    play(2, story, chunkservers=5)


def test_a_drain_that_is_cancelled_leaves_the_server_as_it_was():
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        await cluster.client().operators.drain("cs2")
        await wait(2)
        await cluster.client().operators.drain("cs2", cancel=True)
        await wait(60)
        found = await all_replicas(cluster)
        assert all(len(names) == 3 for names in found)
        await write_some_more(cluster)
        assert any("cs2" in names for names in await all_replicas(cluster))

    async def write_some_more(cluster: SmallCluster) -> None:
        for number in range(20):
            await cluster.client().write_file(f"/more{number}", BODY)

    play(3, story, chunkservers=5)


def test_a_file_that_is_always_written_is_moved_all_the_same():
    async def story(cluster: SmallCluster) -> None:
        async with await cluster.client().open("/a", "xb") as file:
            await file.pwrite(0, BODY)
            leaving = cluster.primary("/a")
            await cluster.client().operators.drain(leaving)
            for number in range(200):
                await file.pwrite(number % 7 * 100, b"again")
                await wait(0.5)
        assert leaving not in cluster.holders("/a")

    play(4, story, chunkservers=5, lease_seconds=60.0)


def test_too_many_drains_are_refused_with_what_to_do():
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        problem = await outcome(cluster.client().operators.drain("cs1", "cs2"))
        assert isinstance(problem, TooFewServers) and "add chunkservers first" in problem.message
        assert not any(server.draining for server in (await cluster.status()).servers)
        assert isinstance(await outcome(cluster.client().operators.drain("cs9")), NotFound)

    play(5, story, chunkservers=4)


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_dies_while_it_is_drained_costs_nothing(seed: int):
    async def story(cluster: SmallCluster) -> None:
        await write_some(cluster)
        await cluster.client().operators.drain("cs2")
        await wait(1.5)
        await cluster.kill("cs2")
        await until_empty(cluster, "cs2")
        assert all(len(names) == 3 for names in await all_replicas(cluster))
        await cluster.remove_chunkserver("cs2")
        assert await cluster.found("/5") == BODY

    play(seed, story, chunkservers=5)
