"""Looks at all chunks: what they note, and that notes which are out of date do no harm."""

from tests.unit.master_fakes import Scene, played


async def some_chunks(scene: Scene, count: int) -> list[int]:
    handles = []
    for number in range(count):
        await scene.create(f"/{number}")
        handles.append((await scene.lease(f"/{number}")).handle)
    return handles


@played(chunkservers=5, lease_seconds=4.0)
async def test_a_chunk_whose_last_lease_named_a_drained_server_gets_a_version_without_it(scene: Scene) -> None:
    [handle] = await some_chunks(scene, 1)
    gone = scene.replicas(handle)[0]
    await scene.pass_time(5)
    scene.chunkservers[gone].chunks.clear()
    await scene.chunkservers[gone].kill()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and gone not in scene.replicas(handle), 90)
    scene.server.core.state.chunks.add_member(handle, gone)  # As if a copy had been logged there and lost since.
    await scene.drain(gone)
    await scene.until(lambda: gone not in scene.server.core.state.chunks.members(handle), 60)
    await scene.remove_server(gone)


@played(chunkservers=6, lease_seconds=4.0, survey_seconds=1.0)
async def test_a_drain_that_is_cancelled_half_way_leaves_every_chunk_at_its_goal(scene: Scene) -> None:
    handles = await some_chunks(scene, 10)
    await scene.drain("cs1")
    await scene.until(lambda: bool(scene.events("CloneStarted")), 30)
    await scene.drain("cs1", cancel=True)
    await scene.pass_time(60)
    assert all(len(scene.replicas(handle)) == 3 for handle in handles)
    assert all(len(scene.holders(handle)) == 3 for handle in handles)


@played(chunkservers=5, lease_seconds=4.0, survey_seconds=1.0)
async def test_a_file_that_is_deleted_while_its_chunk_is_moved_is_no_trouble(scene: Scene) -> None:
    handles = await some_chunks(scene, 6)
    for server in scene.chunkservers.values():
        server.clone_seconds = 2.0
    await scene.drain("cs1")
    await scene.until(lambda: bool(scene.events("CloneStarted")), 30)
    for number in range(6):
        await scene.delete(f"/{number}", immediately=True)
    await scene.until(lambda: not any(scene.holders(handle) for handle in handles), 60)
    assert await scene.left_to_drain("cs1") == 0


@played(chunkservers=4, racks={"cs1": "a", "cs2": "a", "cs3": "a", "cs4": "b"}, lease_seconds=4.0, survey_seconds=1.0)
async def test_copies_that_have_come_together_are_spread_when_their_rack_is_back(scene: Scene) -> None:
    scene.chunkservers["cs4"].silence()
    await scene.until(lambda: bool(scene.events("ChunkserverDied")), 20)
    handles = await some_chunks(scene, 5)
    await scene.pass_time(10)
    assert (await scene.status()).misplaced_chunks == 0, "nothing can be done while there is one rack"
    scene.chunkservers["cs4"].speak()
    await scene.until(lambda: all("cs4" in scene.replicas(handle) for handle in handles), 60)
    await scene.until(lambda: all(len(scene.holders(handle)) == 3 for handle in handles), 60)
    assert (await scene.status()).misplaced_chunks == 0


@played(chunkservers=5)
async def test_drains_outlive_the_master(scene: Scene) -> None:
    await scene.drain("cs1", "cs2")
    await scene.drain("cs2", cancel=True)
    await scene.restart_master()
    assert list(scene.server.core.state.draining) == ["cs1"]


@played(chunkservers=5)
async def test_a_new_goal_that_only_drained_servers_could_hold_is_refused(scene: Scene) -> None:
    from runtime.errors import TooFewServers

    await some_chunks(scene, 1)
    await scene.drain("cs1")
    try:
        await scene.set_replication("/0", 5)
    except TooFewServers as error:
        assert "only 4 chunkservers ever registered and are not drained" in error.message
    else:
        raise AssertionError("a goal of 5 was accepted")
