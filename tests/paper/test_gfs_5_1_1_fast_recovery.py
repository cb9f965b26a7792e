"""GFS 5.1.1: the master and chunkservers restore their state and start in seconds, no matter how they ended: servers
are routinely shut down by killing the process. Seconds here are those of the simulation."""

import asyncio

import pytest

from tests.sim.small_clusters import CHUNK_BYTES, SmallCluster, play, wait

SECONDS = 10.0
FILES = {f"/d/{number}": bytes([number]) * (number * CHUNK_BYTES // 2 + 1) for number in range(4)}
ENDS = ["kill", "stop_node"]


async def filled(cluster: SmallCluster) -> None:
    await cluster.client().make_directory("/d")
    for path, content in FILES.items():
        await cluster.client().write_file(path, content)


async def everything(cluster: SmallCluster) -> dict[str, object]:
    """Every name, and every byte of every file."""
    client = cluster.client(2)
    found = [(entry.path, entry.length) for entry in await client.list("/d")]
    return {"names": found, **{path: await client.read_file(path) for path in FILES}}


@pytest.mark.parametrize("end", ENDS)
def test_a_master_serves_all_that_it_knew_within_seconds_however_it_ended(end: str):
    async def story(cluster: SmallCluster) -> None:
        await filled(cluster)
        before = await everything(cluster)
        for _ in range(3):
            await getattr(cluster, end)("master")
            async with asyncio.timeout(SECONDS):
                await cluster.start_node("master")
                assert await everything(cluster) == before
                await cluster.client().write_file("/d/0", FILES["/d/0"], overwrite=True)

    play(1, story)


@pytest.mark.parametrize("end", ENDS)
def test_a_chunkserver_holds_all_that_it_held_within_seconds_however_it_ended(end: str):
    async def story(cluster: SmallCluster) -> None:
        await filled(cluster)
        before = await everything(cluster)
        for name in cluster.chunkservers():
            await getattr(cluster, end)(name)
        async with asyncio.timeout(SECONDS):
            for name in cluster.chunkservers():
                await cluster.start_node(name)
            assert await everything(cluster) == before
        await wait(SECONDS)
        chunks = (await cluster.status(chunks=True)).chunks
        assert all(len(entry.chunk.replicas) == 3 for entry in chunks)

    play(2, story)


@pytest.mark.parametrize("end", ENDS)
def test_clients_reconnect_and_repeat_what_was_under_way(end: str):
    """ "Clients and other servers experience a minor hiccup as they time out on their outstanding requests, reconnect
    to the restarted server, and retry"."""

    async def story(cluster: SmallCluster) -> None:
        await filled(cluster)
        for node in ("master", "cs1", "cs2"):
            writing = asyncio.create_task(cluster.client().write_file(f"/while-{node}", b"w" * CHUNK_BYTES))
            await wait(0.01)
            await getattr(cluster, end)(node)
            await cluster.start_node(node)
            await writing
            assert await cluster.found(f"/while-{node}") == b"w" * CHUNK_BYTES

    play(3, story)


def test_a_process_that_was_asked_to_end_leaves_nothing_that_a_killed_one_does_not():
    """Killed or stopped, the next run of the master finds the same names, chunks and versions, and begins an epoch."""

    def state_after(end: str) -> object:
        async def story(cluster: SmallCluster) -> object:
            await filled(cluster)
            await wait(30)  # Leases have run out: what is under way in them is another matter.
            await getattr(cluster, end)("master")
            await cluster.start_node("master")
            server = cluster.acting_master()
            assert server is not None and server.core is not None
            state = server.core.state
            versions = [(handle, state.chunks.version(handle)) for handle in state.chunks.handles()]
            return state.epoch, versions, list(state.namespace.children("/d", after="", limit=10))

        return play(4, story)

    killed, stopped = map(state_after, ENDS)
    assert repr(killed) == repr(stopped)
