"""GFS 4.5: stale replica detection. A chunkserver that fails and misses mutations while it is down is found out by the
chunk's version number."""

import pytest

from runtime.errors import TabletopError
from tests.unit.chunkserver_support import Desk, until
from tests.unit.master_fakes import Scene, played


async def written(scene: Scene, path: str = "/a") -> int:
    """A file with one chunk; returns the handle."""
    await scene.create(path)
    await scene.lease(path)
    [handle] = scene.server.core.state.chunks.handles()
    return handle


async def missed_by(scene: Scene, handle: int) -> str:
    """One holder goes down, and a new lease is granted without it; returns its name."""
    down = scene.holders(handle)[0]
    await scene.chunkservers[down].kill()
    version = scene.version(handle)
    await scene.until(lambda: down not in scene.replicas(handle))
    await scene.pass_time(scene.settings.lease_seconds + 5)
    await scene.lease("/a")
    assert scene.version(handle) > version
    return down


@played(chunkservers=3)
async def test_each_new_lease_raises_the_version_and_informs_the_up_to_date_replicas(scene: Scene) -> None:
    handle = await written(scene)
    before = scene.version(handle)
    await scene.pass_time(scene.settings.lease_seconds + 5)
    await scene.lease("/a")
    assert scene.version(handle) > before
    assert {server.version(handle) for server in scene.chunkservers.values()} == {scene.version(handle)}


@played(chunkservers=3)
async def test_the_version_is_persistent_at_the_master_before_a_client_is_notified(scene: Scene) -> None:
    handle = await written(scene)
    for _ in range(3):
        await scene.pass_time(scene.settings.lease_seconds + 5)
        await scene.lease("/a")
        answered = scene.version(handle)
        await scene.restart_master()
        assert scene.version(handle) >= answered


async def test_the_version_is_persistent_at_the_replicas(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1", after=4)
        await desk.stop("cs1")
        desk.master.registrations.clear()
        await desk.start("cs1")
        await until(lambda: bool(desk.master.registrations))
        assert [(state.handle, state.version) for state in desk.master.registrations[-1].chunks] == [(7, 4)]


@played(chunkservers=3)
async def test_a_replica_that_was_down_is_stale_when_its_server_reports_its_version(scene: Scene) -> None:
    handle = await written(scene)
    down = await missed_by(scene, handle)
    await scene.chunkservers[down].start()
    await scene.until(lambda: down in scene.other_states(handle) or down in scene.replicas(handle))
    assert down not in scene.replicas(handle)


@played(chunkservers=3)
async def test_a_stale_replica_is_considered_not_to_exist_when_clients_ask(scene: Scene) -> None:
    handle = await written(scene)
    down = await missed_by(scene, handle)
    await scene.chunkservers[down].start()
    await scene.until(lambda: down in scene.other_states(handle))
    told = (await scene.where("/a")).chunks[0]
    assert down not in [replica.server for replica in told.replicas] and told.replicas


@played(chunkservers=4)
async def test_stale_replicas_are_removed_in_regular_garbage_collection(scene: Scene) -> None:
    handle = await written(scene)
    down = await missed_by(scene, handle)
    version = scene.chunkservers[down].version(handle)
    await scene.chunkservers[down].start()
    await scene.until(lambda: scene.chunkservers[down].chunks.get(handle) is None
                      or scene.chunkservers[down].version(handle) > version, 600)  # fmt: skip
    assert len(scene.replicas(handle)) == 3


@played(chunkservers=3)
async def test_a_higher_version_than_the_masters_is_taken_for_a_grant_that_failed(scene: Scene) -> None:
    """ "The master assumes that it failed when granting the lease and so takes the higher version to be up-to-date":
    whoever has it is not stale, and the chunk comes back to its goal."""
    handle = await written(scene)
    await scene.pass_time(scene.settings.lease_seconds + 5)
    primary = scene.holders(handle)[0]
    tried = scene.version(handle) + 1
    scene.chunkservers[primary].chunks[handle].version = tried
    await scene.restart_master()
    await scene.until(lambda: primary in (*scene.replicas(handle), *scene.other_states(handle)))
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 600)
    assert scene.chunkservers[primary].chunks and handle in scene.server.core.state.chunks


async def test_a_chunkserver_verifies_the_version_when_it_performs_an_operation(tmp_path):
    """ "The client or the chunkserver verifies the version number when it performs the operation"."""
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        await desk.grant(7, "cs1", after=3)
        await desk.write("cs1", 7, 0, b"abc", version=3)
        reply, payload = await desk.read("cs1", 7, 0, 3, version=4)
        assert (reply.error_kind, payload) == ("StaleVersion", b"")
        with pytest.raises(TabletopError):
            await desk.clone("cs2", 7, 4, desk.location("cs1"))
