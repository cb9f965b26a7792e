"""Replicas that may have lost acknowledged bytes are compared before anybody is served from them."""

from itertools import product

import pytest

from master.chunks.replicas import ReplicaState
from master.protocol.settling import plan_comparison
from runtime.errors import Unavailable
from runtime.wire import common_pb2
from tests.unit.master_fakes import Scene, played

S = ReplicaState


def test_with_a_sure_replica_all_are_compared_with_it_at_once() -> None:
    states = {"a": S.UNSURE, "b": S.CURRENT, "c": S.UNSURE}
    plan = plan_comparison(members=("a", "b", "c", "d"), alive=("a", "b", "c"), states=states)
    assert plan.targets == ("a", "b", "c") and plan.has_sure and not plan.waits_for
    damaged = plan_comparison(members=("a", "b"), alive=("a", "b"), states={"a": S.UNSURE, "b": S.CORRUPT})
    assert damaged.targets == ("a", "b") and damaged.has_sure


def test_without_a_sure_one_every_member_is_waited_for() -> None:
    states = {"a": S.UNSURE, "b": S.UNSURE}
    assert plan_comparison(members=("a", "b", "c"), alive=("a", "b"), states=states).waits_for == ("c",)
    assert plan_comparison(members=("a", "b"), alive=("a", "b"), states=states).targets == ("a", "b")


def test_a_member_that_has_come_back_without_its_replica_is_not_waited_for() -> None:
    assert plan_comparison(members=("a", "b"), alive=("a", "b"), states={"a": S.UNSURE}).targets == ("a",)
    states = {"a": S.UNSURE, "b": S.STALE}
    assert plan_comparison(members=("a", "b"), alive=("a", "b"), states=states).targets == ("a",)


def test_a_member_whose_server_cannot_read_it_now_is_waited_for_like_one_that_is_away() -> None:
    states = {"a": S.UNSURE, "b": S.UNREADABLE}
    plan = plan_comparison(members=("a", "b"), alive=("a", "b"), states=states)
    assert plan.waits_for == ("b",) and not plan.targets
    # Who is no member cannot hold what the members lack.
    assert plan_comparison(members=("a",), alive=("a", "b"), states=states).targets == ("a",)
    with_sure = plan_comparison(members=("a", "b", "c"), alive=("a", "b", "c"), states={**states, "c": S.CURRENT})
    assert with_sure.targets == ("a", "c") and with_sure.has_sure and not with_sure.waits_for


def test_a_sure_replica_on_a_server_that_is_away_does_not_count() -> None:
    plan = plan_comparison(members=("a", "b"), alive=("a",), states={"a": S.UNSURE, "b": S.CURRENT})
    assert not plan.targets and not plan.has_sure and plan.waits_for == ("b",)


def test_nothing_is_compared_without_an_unsure_replica_and_nobody_who_is_away() -> None:
    for first, second in product(S, S):
        plan = plan_comparison(members=("a", "b"), alive=("a",), states={"a": first, "b": second})
        assert "b" not in plan.targets
        assert bool(plan.targets) <= (first is S.UNSURE)


async def chunk(scene: Scene, *, length: int = 100, goal: int = 3) -> int:
    await scene.create("/a", goal)
    handle: int = (await scene.lease("/a")).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, length)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


def lengths(scene: Scene, handle: int) -> list[int]:
    return [scene.chunkservers[name].chunks[handle].length for name in scene.replicas(handle)]


@played(chunkservers=3, lease_seconds=5.0)
async def test_one_loss_of_power_costs_nothing(scene: Scene) -> None:
    handle = await chunk(scene)
    victim = scene.chunkservers[scene.replicas(handle)[0]]
    await victim.cut_power()
    victim.chunks[handle].length = 60
    await victim.start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and not victim.chunks[handle].unsure, 30)
    assert lengths(scene, handle) == [100] * 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_unsure_replica_that_is_whole_counts_again_without_a_copy(scene: Scene) -> None:
    handle = await chunk(scene)
    victim = scene.chunkservers[scene.replicas(handle)[0]]
    await victim.cut_power()
    await victim.start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and not victim.chunks[handle].unsure, 5)
    assert not any(server.clones for server in scene.chunkservers.values()) and scene.events("ReplicasCompared")


@played(chunkservers=3, lease_seconds=5.0)
async def test_after_a_loss_of_all_power_all_replicas_are_compared_and_no_chunk_is_lost(scene: Scene) -> None:
    """The master's log has a version that the chunkservers had made durable before it."""
    handle = await chunk(scene)
    first, *others = scene.replicas(handle)
    for server in scene.chunkservers.values():
        await server.cut_power()
    for name in others:
        scene.chunkservers[name].chunks[handle].length = 90  # The last bytes were in memory only.
    await scene.restart_master()
    for name in (first, others[0]):
        await scene.chunkservers[name].start()
    await scene.pass_time(20)
    assert set(scene.other_states(handle).values()) == {"unsure"}, "the third may hold more"
    with pytest.raises(Unavailable, match=f"waits for {others[1]}"):
        await scene.lease("/a")
    status = await scene.status(chunks=True)
    assert status.unsure_chunks == 1 and others[1] in status.chunks[0].waits_for
    await scene.chunkservers[others[1]].start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 30)
    assert lengths(scene, handle) == [100] * 3 and len(scene.holders(handle)) == 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_member_whose_disk_was_emptied_is_not_waited_for(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    scene.chunkservers["cs3"].empty_disk()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    for server in scene.chunkservers.values():
        await server.start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert lengths(scene, handle) == [100] * 3


@played(chunkservers=4, lease_seconds=5.0)
async def test_an_unsure_replica_that_cannot_be_compared_does_not_keep_the_chunk_from_its_goal(scene: Scene) -> None:
    """Its disk refuses the new version for ever; a sure replica exists."""
    handle = await chunk(scene)
    broken = scene.chunkservers[scene.replicas(handle)[0]]
    await broken.cut_power()
    await broken.start()
    broken.mishaps = [Unavailable("EIO")] * 1000
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and broken.name not in scene.replicas(handle), 60)


@played(chunkservers=3, lease_seconds=20.0)
async def test_a_comparison_takes_the_lease_away_first(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.secondaries[0].server]
    await victim.cut_power()
    await victim.start()
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3 and not victim.chunks[lease.handle].unsure, 10)
    assert not any(lease.handle in server.leases for server in scene.chunkservers.values())
    assert scene.events("LeaseRevoked") and (await scene.lease("/a")).version > lease.version


@played(chunkservers=3, lease_seconds=5.0)
async def test_while_no_replica_counts_readers_are_told_of_none(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    await scene.chunkservers["cs1"].start()
    await scene.until(lambda: scene.other_states(handle) == {"cs1": "unsure"}, 10)
    assert list((await scene.where("/a")).chunks[0].replicas) == []


@played(chunkservers=2, lease_seconds=5.0)
async def test_an_unsure_replica_waits_until_another_server_can_read_its_own(scene: Scene) -> None:
    handle = await chunk(scene, goal=2)
    loser, keeper = (scene.chunkservers[name] for name in scene.replicas(handle))
    await loser.cut_power()
    loser.chunks[handle].length = 60
    await keeper.kill()
    keeper.unreadable = [handle]
    await loser.start()
    await keeper.start()
    await scene.pass_time(30)
    assert scene.other_states(handle) == {loser.name: "unsure", keeper.name: "unreadable"}
    [found] = (await scene.status(chunks=True)).chunks
    assert keeper.name in found.waits_for
    with pytest.raises(Unavailable, match=f"waits for {keeper.name}"):
        await scene.lease("/a")
    keeper.unreadable = []
    keeper.changed.append(handle)
    await scene.until(lambda: len(scene.replicas(handle)) == 2, 30)
    assert lengths(scene, handle) == [100, 100]


@played(chunkservers=2, lease_seconds=5.0)
async def test_files_that_were_put_aside_are_not_waited_for_any_more(scene: Scene) -> None:
    handle = await chunk(scene, goal=2)
    loser, keeper = (scene.chunkservers[name] for name in scene.replicas(handle))
    await loser.cut_power()
    await keeper.kill()
    keeper.unreadable = [handle]
    await loser.start()
    await keeper.start()
    await scene.until(lambda: scene.other_states(handle).get(keeper.name) == "unreadable", 10)
    keeper.unreadable = []
    del keeper.chunks[handle]
    keeper.removed.append(common_pb2.Removal(handle=handle, version=0))
    await scene.until(lambda: len(scene.replicas(handle)) == 2, 30)
    assert lengths(scene, handle) == [100, 100]
