"""A chunk that has only damaged replicas is mended before it is cloned, and unsure ones before they are compared."""

from typing import Any

from master.servers.pauses import Pauses
from runtime.errors import DiskFailure, NotFound, Unavailable
from tests.unit.fake_chunkserver import Replica
from tests.unit.master_fakes import Scene, played


async def chunk(scene: Scene, *, goal: int = 3, length: int = 100) -> int:
    await scene.create("/a", goal)
    handle: int = (await scene.lease("/a")).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, length)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


async def rotten_and_stale(scene: Scene, *, stale_content: int | None = None) -> tuple[int, Any, list[Any]]:
    """One damaged replica of the current version; the others are whole, of an older one, and lack the newest bytes."""
    handle = await chunk(scene)
    rotten, *others = (scene.chunkservers[name] for name in scene.replicas(handle))
    for other in others:
        await other.kill()
    await scene.until(lambda: scene.replicas(handle) == (rotten.name,), 30)
    await scene.lease("/a")
    rotten.write(handle, 150, content=rotten.chunks[handle].content)
    for other in others:
        if stale_content is not None:
            other.chunks[handle].content = stale_content
    await rotten.report_corruption(handle)
    return handle, rotten, others


def order_of(scene: Scene, *kinds: str) -> list[str]:
    found = [type(record.event).__name__ for record in scene.sink.records]
    return [kind for kind in found if kind in kinds]


@played(chunkservers=3, lease_seconds=5.0)
async def test_the_only_current_replica_is_mended_from_stale_ones_then_counts_then_is_cloned(scene: Scene) -> None:
    handle, rotten, others = await rotten_and_stale(scene)
    for other in others:
        await other.start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert {place.server for place in rotten.mends[-1].sources} == {other.name for other in others}
    assert order_of(scene, "ReplicaMended", "CloneStarted")[0] == "ReplicaMended"
    assert not scene.events("CloneFailed")
    assert [server.chunks[handle].length for server in scene.chunkservers.values()] == [150] * 3
    assert scene.events("ReplicaMended")[0].mended == 1


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_block_that_is_whole_nowhere_costs_no_versions_and_is_looked_for_less_and_less_often(
    scene: Scene,
) -> None:
    handle, rotten, others = await rotten_and_stale(scene, stale_content=77)
    for other in others:
        await other.start()
    await scene.until(lambda: bool(rotten.mends), 60)
    version, began = scene.version(handle), len(rotten.mends)
    await scene.pass_time(300)
    assert scene.version(handle) == version and not scene.events("CloneStarted")
    assert 8 <= len(rotten.mends) - began <= 20
    assert scene.other_states(handle)[rotten.name] == "corrupt"
    told = (await scene.status(chunks=True)).chunks[0].waits_for
    assert "no undamaged copy is left: the damaged blocks are looked for on other servers, and were not found" in told
    others[0].chunks[handle].content = rotten.chunks[handle].content
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_server_that_comes_back_with_the_block_is_asked_at_once(scene: Scene) -> None:
    handle, rotten, others = await rotten_and_stale(scene)
    await scene.pass_time(120)
    assert not scene.replicas(handle)
    await others[0].start()
    await scene.until(lambda: rotten.name in scene.replicas(handle), 6)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_replica_that_its_server_cannot_mend_is_cloned_as_far_as_it_goes(scene: Scene) -> None:
    handle, rotten, others = await rotten_and_stale(scene)
    rotten.mend_mishaps = [DiskFailure("EIO")] * 3
    for other in others:
        await other.start()
    await scene.until(lambda: bool(scene.events("CloneFailed")), 30)
    assert scene.events("MendingFailed")[0].server == rotten.name
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 120)


@played(chunkservers=4, lease_seconds=5.0)
async def test_while_another_replica_counts_a_damaged_one_is_replaced_and_not_mended(scene: Scene) -> None:
    handle = await chunk(scene)
    rotten = scene.chunkservers[scene.replicas(handle)[0]]
    await rotten.report_corruption(handle)
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert not rotten.mends


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_mended_replica_that_is_no_member_is_compared_before_it_counts(scene: Scene) -> None:
    handle = await chunk(scene, goal=1)
    (member,) = (scene.chunkservers[name] for name in scene.replicas(handle))
    stranger, helper = (server for server in scene.chunkservers.values() if server is not member)
    await member.kill()
    await scene.until(lambda: not scene.replicas(handle), 30)
    for server, version in ((stranger, scene.version(handle)), (helper, 0)):
        server.chunks[handle] = Replica(version, 100)
    stranger.chunks[handle].damaged = True
    stranger.changed.append(handle)
    await scene.until(lambda: bool(stranger.mends) and not stranger.chunks[handle].damaged, 30)
    await scene.pass_time(10)
    assert scene.replicas(handle) == () and scene.other_states(handle)[stranger.name] == "unsure"
    await member.start()
    await scene.until(lambda: scene.replicas(handle) == (member.name,), 30)


@played(chunkservers=3, lease_seconds=5.0)
async def test_after_a_loss_of_all_power_each_replica_is_mended_from_the_others_before_they_are_compared(
    scene: Scene,
) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    for server in scene.chunkservers.values():
        await server.start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    for name, server in scene.chunkservers.items():
        assert {place.server for place in server.mends[0].sources} == set(scene.chunkservers) - {name}
    assert not any(server.clones for server in scene.chunkservers.values())


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_comparison_waits_for_a_server_that_did_not_look_for_its_blocks(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    for server in scene.chunkservers.values():
        server.mend_mishaps = [Unavailable("it is busy")] * 2
        await server.start()
    await scene.until(lambda: bool(scene.events("MendingFailed")), 30)
    assert not scene.replicas(handle) and not scene.events("ReplicasCompared")
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)


def test_pauses_double_up_to_their_limit_and_end_with_a_success_or_a_change() -> None:
    pauses, now, waits = Pauses(first=2.0, longest=30.0), 0.0, []
    for _ in range(7):
        pauses.failed(1, "a", now)
        waits.append(pauses.left(1, "a", now))
        now += waits[-1]
        assert pauses.left(1, "a", now) == 0
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    pauses.failed(1, "b", now)
    assert pauses.left(1, "b", now) == 2
    pauses.succeeded(1)
    assert pauses.left(1, "b", now) == 0 and not pauses.is_known(1)
    pauses.failed(2, "a", now)
    pauses.forget_old(now + 1)
    assert len(pauses) == 1
    pauses.forget_old(now + 1000)
    assert len(pauses) == 0


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_chunk_that_is_forgotten_while_a_server_fails_to_mend_it_is_left_alone(scene: Scene) -> None:
    handle = await chunk(scene)
    asked = []

    async def mend(server: str, **facts: Any) -> Any:
        asked.append(server)
        await scene.delete("/a", immediately=True)
        raise NotFound("there is no replica of it here any more")

    scene.server.core.calls.mend = mend  # type: ignore[method-assign]
    for name in scene.replicas(handle):
        await scene.chunkservers[name].report_corruption(handle)
    await scene.until(lambda: bool(asked), 30)
    await scene.pass_time(5)
    assert len(asked) == 1 and not scene.events("TaskFailed")
