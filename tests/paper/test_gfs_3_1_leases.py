"""GFS 3.1, leases and mutation order, and 4.5, version numbers: one test for each claim of the paper."""

import asyncio

import pytest

from runtime.errors import StaleVersion, Unavailable
from tests.unit.master_fakes import Scene, played


@played()
async def test_the_master_grants_a_lease_to_one_replica_which_becomes_the_primary(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    names = [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    assert len(set(names)) == 3 and scene.replicas(lease.handle) == tuple(names)
    primary = scene.chunkservers[lease.primary.server]
    assert primary.leases[lease.handle][2] == tuple(names[1:])
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
        assert lease is not None and primary.leases[handle][1] <= lease.until


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
    assert asyncio.get_running_loop().time() - began < 5
    assert second.version == first.version + 1
    assert bad not in [second.primary.server, *(peer.server for peer in second.secondaries)]
    assert scene.events("LeaseRevoked")


@played()
async def test_a_client_that_insists_is_believed_even_if_the_suspect_answers(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    bad = first.secondaries[0].server
    assert (await scene.lease("/a", suspect=bad)).version == first.version, "the first complaint is looked into"
    second = await scene.lease("/a", suspect=bad)
    assert second.version > first.version and bad not in [peer.server for peer in second.secondaries]


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
async def test_a_replica_that_was_away_during_a_grant_is_stale_and_is_garbage(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    away = scene.chunkservers["cs2"]
    await away.kill()
    await scene.pass_time(7)
    lease = await scene.lease("/a")
    assert lease.version > 1 and "cs2" not in scene.replicas(handle)
    await away.start()
    await scene.until(lambda: handle not in away.chunks or away.version(handle) == lease.version)
    # Gone as garbage, and then cloned back: the goal is three, and there are three servers.
    await scene.until(lambda: len(scene.replicas(handle)) == 3)


@played(lease_seconds=5.0)
async def test_a_higher_version_than_the_masters_is_adopted(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    holder = scene.chunkservers[lease.primary.server]
    await scene.pass_time(6)
    holder.chunks[lease.handle] = (9, 0)
    await scene.until(lambda: scene.server.core.state.chunks.version(lease.handle) == 9, 5)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)
    assert (await scene.lease("/a")).version == 10


@played(lease_seconds=5.0)
async def test_a_replica_whose_answer_was_lost_is_fenced_off_by_the_next_number(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(6)
    _, second, third = scene.replicas(handle)
    scene.chunkservers[second].after_mishaps.append(Unavailable("the answer was lost"))
    # It did take version 2, says so, and that is as good as an answer.
    assert (await scene.lease("/a")).version == 2
    await scene.pass_time(6)
    scene.chunkservers[third].mishaps.append(Unavailable("no"))
    lease = await scene.lease("/a")
    assert lease.version == 4 and third not in [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    assert scene.chunkservers[third].chunks.get(handle, (0, 0))[0] < 4


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
    await scene.until(lambda: scene.chunkservers[replicas[0]].version(handle) == 2)
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
    assert lease.version == 3, "2 is used up, though it was never confirmed"
    await scene.chunkservers[replicas[0]].start()
    await scene.pass_time(1.5)
    assert replicas[0] not in scene.replicas(handle), "its version 2 must not pass for a current one"


@played()
async def test_a_failed_creation_leaves_an_orphan_and_no_doubt(scene: Scene) -> None:
    await scene.create("/a")
    scene.chunkservers["cs1"].after_mishaps.append(StaleVersion("odd"))
    for name in ("cs2", "cs3", "cs4"):
        scene.chunkservers[name].mishaps.append(Unavailable("no"))
    lease = await scene.lease("/a")
    handles = scene.server.core.state.namespace.file("/a").handles
    assert handles == (lease.handle,)
    await scene.until(
        lambda: all(list(server.chunks) in ([], [lease.handle]) for server in scene.chunkservers.values())
    )
