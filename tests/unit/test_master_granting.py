"""Creating chunks and granting leases, when something is not as it should be (the rest is in tests/paper)."""

import asyncio

import pytest

from runtime.errors import InvalidRequest, IsADirectory, NoSpace, NotFound, Unavailable
from tests.unit.master_fakes import Scene, played


@played()
async def test_requests_that_make_no_sense_are_refused(scene: Scene) -> None:
    await scene.create("/a")
    for path, index, error in (
        ("/absent", 0, NotFound),
        ("/", 0, IsADirectory),
        ("a", 0, InvalidRequest),
        ("/a", 5, NotFound),
    ):
        with pytest.raises(error):
            await scene.lease(path, index)
    assert (await scene.status()).chunk_count == 0


@played()
async def test_many_writers_of_one_new_chunk_get_one_chunk(scene: Scene) -> None:
    await scene.create("/a")
    leases = await asyncio.gather(*(scene.lease("/a") for _ in range(20)))
    assert len({(lease.handle, lease.version, lease.primary.server) for lease in leases}) == 1
    assert (await scene.stat("/a")).chunk_count == 1


@played(chunkservers=5)
async def test_with_servers_down_a_chunk_is_created_on_those_that_live_and_completed_later(scene: Scene) -> None:
    await scene.create("/a")
    down = ["cs1", "cs2", "cs3"]
    for name in down:
        await scene.chunkservers[name].kill()
    lease = await scene.lease("/a")
    assert sorted(scene.replicas(lease.handle)) == ["cs4", "cs5"]
    for name in down:
        await scene.chunkservers[name].start()
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)


@played()
async def test_with_no_server_alive_the_writer_is_told_to_try_again(scene: Scene) -> None:
    await scene.create("/a")
    for server in scene.chunkservers.values():
        await server.kill()
    with pytest.raises(Unavailable):
        await scene.lease("/a")
    await scene.pass_time(10)
    with pytest.raises(Unavailable, match="none is alive"):
        await scene.lease("/a")


@played()
async def test_with_every_disk_full_the_writer_is_told_so_and_nothing_is_made(scene: Scene) -> None:
    await scene.create("/a")
    for server in scene.chunkservers.values():
        server.free = 1000
    await scene.pass_time(1.5)
    with pytest.raises(NoSpace, match="no chunkserver has"):
        await scene.lease("/a")
    assert (await scene.stat("/a")).chunk_count == 0
    scene.chunkservers["cs2"].free = 500 * 2**20
    await scene.pass_time(1.5)
    assert scene.replicas((await scene.lease("/a")).handle) == ("cs2",)


@played()
async def test_a_server_that_says_no_space_is_passed_over(scene: Scene) -> None:
    await scene.create("/a")
    scene.chunkservers["cs1"].mishaps = [NoSpace("full")] * 3
    lease = await scene.lease("/a")
    assert sorted(scene.replicas(lease.handle)) == ["cs2", "cs3", "cs4"]


@played()
async def test_a_handle_is_never_given_twice_not_even_by_the_next_run_of_the_master(scene: Scene) -> None:
    await scene.create("/a")
    first = (await scene.lease("/a")).handle
    await scene.restart_master()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 4)
    second = (await scene.lease("/a", 1)).handle
    assert second >= first + 1000


@played(lease_seconds=30.0, lease_wait_seconds=5.0)
async def test_after_a_restart_a_lease_of_the_last_run_is_respected(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    # The primary can reach its secondaries and its clients, but not the master any more.
    scene.chunkservers[first.primary.server].silence()
    await scene.restart_master()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    with pytest.raises(Unavailable, match="may be under a lease"):
        await scene.lease("/a")
    await scene.pass_time(31)
    assert (await scene.lease("/a")).primary.server != first.primary.server


@played()
async def test_after_a_restart_a_chunk_whose_replicas_are_all_here_is_granted_at_once(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(first.handle)) == 3)
    began = scene.server.core.now
    second = await scene.lease("/a")
    assert second.version == first.version + 1 and scene.server.core.now - began < 1


@played()
async def test_a_chunk_that_is_deleted_while_a_writer_waits_is_not_found(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    scene.chunkservers[first.primary.server].silence(beating=True)
    pending = asyncio.ensure_future(scene.lease("/a", suspect=first.primary.server))
    await scene.pass_time(3)
    await scene.delete("/a", immediately=True)
    with pytest.raises((NotFound, Unavailable)):
        await pending
