"""GFS 3.1, leases and mutation order, and 4.5, version numbers: one test for each claim of the paper."""

import asyncio

import pytest

from runtime.errors import Unavailable
from tests.unit.master_fakes import Scene, played


@played()
async def test_the_master_grants_a_lease_to_one_replica_which_becomes_the_primary(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    names = [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    assert len(set(names)) == 3 and scene.replicas(lease.handle) == tuple(names)
    primary = scene.chunkservers[lease.primary.server]
    assert primary.leases[lease.handle].secondaries == tuple(names[1:])
    assert not any(lease.handle in scene.chunkservers[name].leases for name in names[1:])


@played()
async def test_a_lease_lasts_sixty_seconds_and_a_second_writer_is_told_of_the_same(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    assert 59_000 < first.lease_milliseconds <= 60_000
    await scene.pass_time(30)
    second = await scene.lease("/a")
    assert (second.version, second.primary.server) == (first.version, first.primary.server)
    assert 29_000 < second.lease_milliseconds <= 30_000
    await scene.pass_time(31)
    assert (await scene.lease("/a")).version == first.version + 1


@played(lease_seconds=10.0)
async def test_the_primary_extends_its_lease_for_ever_in_its_heartbeats(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    primary = scene.chunkservers[first.primary.server]
    primary.extend.append(first.handle)
    for _ in range(10):
        await scene.pass_time(8)
        assert (await scene.lease("/a")).version == first.version
    primary.extend.clear()
    await scene.pass_time(12)
    assert (await scene.lease("/a")).version == first.version + 1


@played(lease_seconds=10.0)
async def test_the_primarys_own_count_always_ends_before_the_masters(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    name = scene.replicas(handle)[0]
    primary = scene.chunkservers[name]
    primary.extend.append(handle)
    for _ in range(200):
        await scene.pass_time(0.1)
        lease = scene.server.core.leases.lease(handle)
        assert lease is not None and primary.leases[handle].until <= lease.until


@played(lease_seconds=20.0, lease_wait_seconds=30.0)
async def test_if_the_primary_is_out_of_reach_the_master_waits_for_the_lease_to_end(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    granted = asyncio.get_running_loop().time()
    scene.chunkservers[first.primary.server].silence()
    second = await scene.lease("/a", suspect=first.primary.server)
    waited = asyncio.get_running_loop().time() - granted
    assert second.primary.server != first.primary.server
    assert 19.9 < waited < 25
    assert first.primary.server not in [peer.server for peer in second.secondaries]


@played(lease_seconds=60.0, lease_wait_seconds=10.0)
async def test_a_writer_that_cannot_wait_so_long_is_told_to_try_again(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    scene.chunkservers[first.primary.server].silence()
    with pytest.raises(Unavailable, match="ends in"):
        await scene.lease("/a", suspect=first.primary.server)


@played()
async def test_a_new_incarnation_of_the_primary_proves_that_its_lease_is_gone(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    primary = scene.chunkservers[first.primary.server]
    await primary.kill()
    await primary.start()
    await scene.until(lambda: scene.server.core.leases.lease(first.handle) is None, 3)
    second = await scene.lease("/a")
    assert second.version == first.version + 1 and len(second.secondaries) == 2


@played()
async def test_a_dead_secondary_costs_a_writer_seconds_and_not_the_rest_of_the_lease(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    bad = first.secondaries[0].server
    scene.chunkservers[bad].silence()
    began = asyncio.get_running_loop().time()
    second = await scene.lease("/a", suspect=bad)
    assert asyncio.get_running_loop().time() - began < 10, "it is asked once more, in case a message was lost"
    assert second.version > first.version
    assert bad not in [second.primary.server, *(peer.server for peer in second.secondaries)]
    assert scene.events("LeaseRevoked")


@played()
async def test_a_client_that_insists_is_believed_even_if_the_suspect_answers(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    bad = first.secondaries[0].server
    assert (await scene.lease("/a", suspect=bad)).version == first.version, "the first complaint is looked into"
    second = await scene.lease("/a", suspect=bad)
    assert second.version > first.version
    assert second.primary.server not in (bad, first.primary.server), "a complaint names two: a third one is primary now"
    third = await scene.lease("/a", suspect=bad)
    assert third.version > second.version, "who has failed with two different ones is left out"
    assert bad not in [third.primary.server, *(peer.server for peer in third.secondaries)]


@played()
async def test_a_complaint_about_somebody_who_has_no_part_in_it_changes_nothing(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    for suspect in ("cs99", "cs99", "cs99"):
        assert (await scene.lease("/a", suspect=suspect)).version == first.version


# 4.5: stale replica detection


@played(lease_seconds=5.0)
async def test_the_version_is_raised_on_each_new_grant_on_all_replicas_before_a_client_hears_of_it(
    scene: Scene,
) -> None:
    await scene.create("/a")
    for expected in (1, 2, 3):
        lease = await scene.lease("/a")
        assert lease.version == expected
        assert all(scene.chunkservers[name].version(lease.handle) == expected for name in scene.replicas(lease.handle))
        assert scene.server.core.state.chunks.version(lease.handle) == expected
        await scene.pass_time(6)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_replica_that_was_away_during_a_grant_is_stale_and_a_copy_takes_its_place(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    away = scene.chunkservers["cs2"]
    await away.kill()
    await scene.pass_time(7)
    lease = await scene.lease("/a")
    assert lease.version > 1 and "cs2" not in scene.replicas(handle)
    await away.start()
    # The goal is three, and there are three servers: it is replaced in one step, and never removed before that.
    await scene.until(lambda: len(scene.replicas(handle)) == 3)
    assert away.version(handle) == scene.version(handle) > lease.version
    assert [event.state for event in scene.events("ReplicaJudged")] == ["stale"] and not scene.events("RemovalDecided")


@played(lease_seconds=5.0)
async def test_a_stale_replica_is_garbage_once_enough_verified_copies_exist(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    away = scene.chunkservers[scene.replicas(handle)[1]]
    await away.kill()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and away.name not in scene.replicas(handle), 60)
    await away.start()
    await scene.until(lambda: handle not in away.chunks, 30)
    (decided,) = scene.events("RemovalDecided")
    assert sorted(decided.kept) == sorted(scene.replicas(handle))
    assert all(handle in scene.chunkservers[name].verified for name in decided.kept)


@played(lease_seconds=5.0)
async def test_a_higher_version_than_the_masters_is_adopted_after_a_comparison(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    holder = scene.chunkservers[lease.primary.server]
    await scene.pass_time(6)
    await holder.kill()
    holder.chunks[lease.handle].version = 9  # The log has lost its end.
    await scene.restart_master()
    await holder.start()
    await scene.until(lambda: scene.version(lease.handle) == 10, 9)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)
    assert holder.name in scene.replicas(lease.handle)
    assert (await scene.lease("/a")).version == 11


@played(lease_seconds=5.0)
async def test_a_replica_whose_answer_was_lost_is_fenced_off_by_the_next_number(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(6)
    _, second, third = scene.replicas(handle)
    scene.chunkservers[second].after_mishaps.append(Unavailable("the answer was lost"))
    # It did take version 2, but what it holds is not known: the others go on without it.
    lease = await scene.lease("/a")
    assert lease.version == 3 and second not in [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    assert scene.chunkservers[second].version(handle) == 2 and scene.other_states(handle) == {second: "stale"}
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 30)
    await scene.pass_time(6)
    version = scene.version(handle)
    scene.chunkservers[third].mishaps.append(Unavailable("no"))
    lease = await scene.lease("/a")
    assert lease.version == version + 2
    assert third not in [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    assert scene.chunkservers[third].version(handle) == version


@played(lease_seconds=5.0)
async def test_no_version_number_is_used_twice_not_even_across_a_crash_of_the_master(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(6)
    replicas = scene.replicas(handle)
    # Only one replica hears of version 2; then the master dies before anything is confirmed.
    for name in replicas[1:]:
        scene.chunkservers[name].silence(beating=True)
    pending = asyncio.ensure_future(scene.lease("/a", timeout=1))
    await scene.until(lambda: any(scene.chunkservers[name].version(handle) == 2 for name in replicas))
    pending.cancel()
    for name in replicas:
        await scene.chunkservers[name].kill()
        if name != replicas[0]:
            scene.board.silent.clear()
    await scene.restart_master()
    assert scene.server.core.state.chunks.attempted(handle) == 2
    for name in replicas[1:]:
        await scene.chunkservers[name].start()
    await scene.pass_time(8)
    lease = await scene.lease("/a")
    assert lease.version > 2, "2 is used up, though it was never confirmed"
    assert 2 not in [event.version for event in scene.events("VersionRaised")]
    await scene.chunkservers[replicas[0]].start()
    await scene.pass_time(1.5)
    assert replicas[0] not in scene.replicas(handle), "its version 2 must not pass for a current one"


@played(chunkservers=6)
async def test_a_failed_creation_leaves_an_orphan_and_no_doubt(scene: Scene) -> None:
    await scene.create("/a")
    for name in ("cs1", "cs2", "cs3"):
        scene.chunkservers[name].after_mishaps.append(Unavailable("the answer was lost"))
    lease = await scene.lease("/a")
    handles = scene.server.core.state.namespace.file("/a").handles
    assert handles == (lease.handle,)
    assert any(list(server.chunks) not in ([], [lease.handle]) for server in scene.chunkservers.values())
    await scene.until(
        lambda: all(list(server.chunks) in ([], [lease.handle]) for server in scene.chunkservers.values())
    )
