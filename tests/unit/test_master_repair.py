"""Clones, removals, reclamation, and the master's own pauses, when something is not as it should be."""

import asyncio
from typing import Any

import pytest

from master.chunks.replicas import ReplicaState
from master.log.records import VersionAttempted
from master.servers.servers import ServerState
from runtime.errors import Conflict, NotFound, TabletopError, Unavailable
from runtime.wire import master_pb2
from tests.unit.fake_chunkserver import Replica
from tests.unit.master_fakes import Scene, played


async def chunk(scene: Scene, path: str = "/a", *, goal: int = 3, length: int = 100) -> int:
    """A chunk of so many bytes that nobody writes any more."""
    await scene.create(path, goal)
    handle: int = (await scene.lease(path)).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, length)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


# Clones


@played(chunkservers=4, lease_seconds=60.0)
async def test_a_writer_that_is_under_way_when_a_clone_begins_is_refused_by_every_replica(scene: Scene) -> None:
    """Its primary has a slow clock, and has not been asked: the copy cannot miss what is acknowledged."""
    await scene.create("/a")
    lease = await scene.lease("/a")
    members = [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    victim = scene.chunkservers[members[2]]
    await victim.kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    for name in members[:2]:
        assert scene.chunkservers[name].version(lease.handle) > lease.version, "it refuses what comes under the old one"
        assert lease.handle not in scene.chunkservers[name].leases


@played(chunkservers=4, lease_seconds=60.0)
async def test_a_copy_is_a_member_so_that_a_restarted_master_waits_for_it(scene: Scene) -> None:
    handle = await chunk(scene)
    gone = scene.replicas(handle)[0]
    await scene.chunkservers[gone].kill()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and gone not in scene.replicas(handle), 60)
    members = sorted(scene.replicas(handle))
    await scene.restart_master()
    assert sorted(scene.server.core.state.chunks.members(handle)) == members


@played(chunkservers=5, lease_seconds=5.0, clone_stall_seconds=5.0)
async def test_a_clone_that_makes_no_progress_is_given_up_and_made_elsewhere(scene: Scene) -> None:
    handle = await chunk(scene)
    spare = [name for name in scene.names if name not in scene.replicas(handle)]
    for name in spare:
        scene.chunkservers[name].clone_stalls = True
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    began = scene.server.core.now
    await scene.until(lambda: bool(scene.events("CloneFailed")), 20)
    assert scene.server.core.now - began < 6
    assert "copied nothing for 5 seconds" in scene.events("CloneFailed")[0].problem
    for name in spare:
        scene.chunkservers[name].clone_stalls = False
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)


@played(chunkservers=5, lease_seconds=5.0, clone_stall_seconds=3.0)
async def test_a_writer_waits_for_a_clone_that_hangs_no_longer_than_that(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        server.clone_stalls = True
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    began = scene.server.core.now
    assert (await scene.lease("/a")).handle == handle
    assert scene.server.core.now - began < 4


@played(chunkservers=5, lease_seconds=5.0)
async def test_a_long_clone_that_makes_progress_is_let_finish(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        server.clone_seconds = 90.0
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneFinished")), 200)
    assert not scene.events("CloneFailed")


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_copy_whose_end_is_not_heard_of_is_compared_and_counts(scene: Scene) -> None:
    handle = await chunk(scene)
    (spare,) = (name for name in scene.names if name not in scene.replicas(handle))
    scene.chunkservers[spare].after_mishaps = [Unavailable("the answer was lost")]
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneFailed")), 60)
    await scene.until(lambda: spare in scene.replicas(handle), 5)
    assert len(scene.chunkservers[spare].clones) == 1 and scene.events("ReplicasCompared")


@played(chunkservers=4, lease_seconds=5.0, dead_after_seconds=2.0, suspect_after_seconds=1.5)
async def test_a_copy_on_a_server_that_was_given_up_meanwhile_does_not_count(scene: Scene) -> None:
    """The copy is complete, but its server's heartbeats do not come through."""
    handle = await chunk(scene)
    (spare,) = (name for name in scene.names if name not in scene.replicas(handle))
    scene.chunkservers[spare].clone_seconds = 4.0
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 60)
    scene.chunkservers[spare].beating = False
    await scene.pass_time(6)
    assert spare not in scene.replicas(handle) and not scene.events("CloneFinished")
    scene.chunkservers[spare].beating = True
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 30)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_copy_that_fails_leaves_what_it_should_have_replaced(scene: Scene) -> None:
    handle = await chunk(scene)
    bad = scene.chunkservers[scene.replicas(handle)[0]]
    bad.clone_stalls = True
    await bad.report_corruption(handle)
    await scene.until(lambda: bool(scene.events("CloneFailed")), 30)
    assert scene.other_states(handle) == {bad.name: "corrupt"} and handle in bad.chunks
    bad.clone_stalls = False
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 30)
    assert not bad.chunks[handle].damaged


@played(chunkservers=4, lease_seconds=5.0)
async def test_one_more_than_the_goal_counts_again_when_another_is_lost(scene: Scene) -> None:
    handle = await chunk(scene)
    core, first = scene.server.core, scene.replicas(handle)[0]
    (spare,) = (name for name in scene.names if name not in scene.replicas(handle))
    scene.chunkservers[spare].chunks[handle] = Replica(scene.version(handle), 100, 100)
    for state in (ReplicaState.CURRENT, ReplicaState.SURPLUS):
        core.judge(handle, spare, state, version=scene.version(handle))
    await scene.chunkservers[first].kill()
    core.servers.find(first).state = ServerState.DEAD  # type: ignore[union-attr]
    core.replicas.drop_server(first)
    await scene.until(lambda: spare in scene.replicas(handle), 5)
    assert len(scene.replicas(handle)) == 3 and not any(server.clones for server in scene.chunkservers.values())


# Removals


@played(chunkservers=5, lease_seconds=5.0)
async def test_stale_replicas_stay_until_the_chunk_has_its_goal_of_verified_ones(scene: Scene) -> None:
    """Two pauses once left one copy of three."""
    handle = await chunk(scene)
    first, second, _ = scene.replicas(handle)
    for server in scene.chunkservers.values():
        server.clone_seconds = 30.0
    for name in (first, second):
        scene.chunkservers[name].silence()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    for name in (first, second):
        scene.chunkservers[name].speak()
    await scene.until(lambda: list(scene.other_states(handle).values()).count("stale") == 2, 10)
    while len(scene.replicas(handle)) < 3:
        assert len(scene.holders(handle)) >= 3, "nothing is removed below the goal"
        await scene.pass_time(0.5)
    await scene.until(lambda: len(scene.holders(handle)) == 3, 60)
    for event in scene.events("RemovalDecided"):
        assert all(handle in scene.chunkservers[name].verified for name in event.kept)


@played(chunkservers=5, lease_seconds=5.0)
async def test_a_replica_with_the_number_of_a_raise_that_failed_does_not_keep_stale_ones_for_ever(scene: Scene) -> None:
    handle = await chunk(scene)
    first = scene.replicas(handle)[0]
    scene.chunkservers[first].silence()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and first not in scene.replicas(handle), 60)
    for name in scene.replicas(handle)[1:]:
        scene.chunkservers[name].mishaps.append(Unavailable("no"))
    async with scene.server.core.guard(handle):
        with pytest.raises(Unavailable):
            await scene.server.granting._raising.raise_version(
                handle, scene.server.core.participants(handle), reason="a test", needs_all=True
            )
    held = {scene.chunkservers[name].version(handle) for name in scene.replicas(handle)}
    assert held == {scene.version(handle), scene.version(handle) + 1}
    scene.chunkservers[first].speak()
    await scene.until(lambda: set(scene.holders(handle)) == set(scene.replicas(handle)), 60)


@played(chunkservers=5, lease_seconds=5.0)
async def test_nothing_is_removed_while_a_good_replica_has_rotted_unnoticed(scene: Scene) -> None:
    handle = await chunk(scene)
    away = scene.chunkservers[scene.replicas(handle)[0]]
    away.silence()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and away.name not in scene.replicas(handle), 60)
    rotten = scene.chunkservers[scene.replicas(handle)[0]]
    rotten.chunks[handle].damaged = True
    heartbeat = rotten.heartbeat

    def unaware(changed: list[int], removed: Any = None) -> Any:
        request = heartbeat(changed, removed)
        for state in request.sample:
            state.damaged = False
        return request

    rotten.heartbeat = unaware  # type: ignore[method-assign]
    away.speak()
    await scene.pass_time(20)
    assert handle in rotten.verified and handle in away.chunks and not scene.events("RemovalDecided")


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_deletion_that_comes_back_with_a_version_of_a_failed_grant_costs_no_sound_replica(scene: Scene) -> None:
    """A server removed its replica, lost power before that was synced, and has it again; the number is one that a
    failed grant had sent it, above the confirmed one."""
    handle = await chunk(scene)
    *_, old = scene.replicas(handle)
    core = scene.server.core
    await core.commit(VersionAttempted(handle, 2))
    await scene.chunkservers[old].cut_power()
    scene.chunkservers[old].chunks[handle] = Replica(2, 40, 40, unsure=True)
    await scene.pass_time(7)
    await scene.chunkservers[old].start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert scene.version(handle) > 2
    assert [scene.chunkservers[name].chunks[handle].length for name in scene.replicas(handle)] == [100] * 3


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_file_that_is_deleted_while_its_replicas_are_verified_is_no_trouble(scene: Scene) -> None:
    handle = await chunk(scene)
    away = scene.chunkservers[scene.replicas(handle)[0]]
    away.silence()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and away.name not in scene.replicas(handle), 60)
    away.speak()
    await scene.until(lambda: bool(scene.other_states(handle)), 10)
    await scene.server.repair.look_at_leftovers()
    await scene.delete("/a", immediately=True)
    await scene.until(lambda: not scene.holders(handle), 20)


# Names


@played(chunkservers=3)
async def test_a_file_is_meant_by_its_number_whatever_becomes_of_its_path(scene: Scene) -> None:
    first = await scene.create("/a")
    await scene.lease("/a", file_id=first.file_id)
    await scene.rename("/a", "/b")
    with pytest.raises(NotFound):
        await scene.lease("/a", file_id=first.file_id)
    second = await scene.create("/a")
    assert second.file_id != first.file_id
    where = master_pb2.FindLocationsRequest(path="/a", count=1, file_id=first.file_id)
    for attempt in (
        scene.lease("/a", file_id=first.file_id),
        scene.master.FindLocations(where, timeout=5),
        scene.delete("/a", file_id=first.file_id),
        scene.rename("/a", "/c", file_id=first.file_id),
    ):
        with pytest.raises(Conflict, match="is another file now") as caught:
            await attempt
        assert caught.value.definite
    assert await scene.listed("/") == ["/a", "/b"]
    await scene.delete("/a", file_id=second.file_id)


@played(chunkservers=3)
async def test_a_file_number_is_never_given_twice_also_across_a_restart(scene: Scene) -> None:
    seen = [(await scene.create(f"/{number}")).file_id for number in range(3)]
    await scene.restart_master()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    seen += [(await scene.create(f"/again-{number}")).file_id for number in range(3)]
    assert len(set(seen)) == 6 and 0 not in seen


@pytest.mark.parametrize("how", ["rename", "replace", "delete"])
def test_an_old_writer_is_fenced_off_when_its_file_changes_its_name(how: str) -> None:
    async def story(scene: Scene) -> None:
        await scene.create("/a")
        await scene.create("/new")
        lease = await scene.lease("/a")
        primary = scene.chunkservers[lease.primary.server]
        if how == "rename":
            await scene.rename("/a", "/b")
        elif how == "replace":
            await scene.rename("/new", "/a", replace=True)
        else:
            await scene.delete("/a")
        assert lease.handle not in primary.leases and scene.server.core.leases.lease(lease.handle) is None

    Scene(chunkservers=3).play(story)


@played(chunkservers=3, lease_seconds=60.0)
async def test_a_writer_whose_primary_the_master_cannot_reach_is_fenced_off_by_a_higher_version(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    scene.chunkservers[lease.primary.server].silence(beating=True)
    began = scene.server.core.now
    await scene.rename("/a", "/b")
    assert scene.server.core.now - began < 20
    for peer in lease.secondaries:
        assert scene.chunkservers[peer.server].version(lease.handle) > lease.version, "it refuses the old one's"
    assert scene.server.core.leases.lease(lease.handle) is None


@pytest.mark.parametrize("renamed", ["/d/a", "/d"])
def test_after_a_restart_a_writer_that_the_master_does_not_know_of_is_fenced_off_too(renamed: str) -> None:
    async def story(scene: Scene) -> None:
        await scene.make_directory("/d")
        await scene.create("/d/a")
        lease = await scene.lease("/d/a")
        primary = scene.chunkservers[lease.primary.server]
        primary.silence()
        await scene.restart_master()
        await scene.until(lambda: len(scene.server.core.servers.alive()) == 2 and scene.server.core.is_settled())
        await scene.rename(renamed, "/b")
        assert all(scene.chunkservers[peer.server].version(lease.handle) > lease.version for peer in lease.secondaries)

    Scene(chunkservers=3, lease_seconds=60.0).play(story)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_file_whose_servers_are_gone_for_good_can_be_deleted(scene: Scene) -> None:
    await scene.create("/a")
    await scene.lease("/a")
    for server in scene.chunkservers.values():
        await server.kill()
    with pytest.raises(Unavailable):
        await scene.delete("/a")  # Its lease may still be used by somebody.
    await scene.pass_time(11)
    await scene.delete("/a")
    assert await scene.listed("/") == []


@played(chunkservers=3, lease_seconds=60.0, lease_wait_seconds=8.0)
async def test_a_deletion_answers_within_the_patience_of_its_caller(scene: Scene) -> None:
    await scene.create("/a")
    for index in range(4):
        await scene.lease("/a", index)
    for server in scene.chunkservers.values():
        server.silence(beating=True)
    began = scene.server.core.now
    with pytest.raises(TabletopError) as caught:
        await scene.delete("/a")
    assert scene.server.core.now - began < 16 and not isinstance(caught.value, NotFound)


ABANDONED, WRITTEN = "/.writing-0000000000000001", "/.writing-0000000000000002"


@played(chunkservers=3, abandoned_seconds=100.0, namespace_scan_seconds=5.0, lease_seconds=10.0)
async def test_a_temporary_file_that_nobody_writes_is_deleted_and_one_that_is_written_is_kept(scene: Scene) -> None:
    await scene.create(ABANDONED)
    await scene.create(WRITTEN)
    lease = await scene.lease(WRITTEN)
    scene.chunkservers[lease.primary.server].extend.append(lease.handle)
    await scene.pass_time(90)
    assert await scene.listed("/") == [ABANDONED, WRITTEN]
    await scene.pass_time(30)
    assert await scene.listed("/") == [WRITTEN]
    scene.chunkservers[lease.primary.server].extend.clear()
    await scene.pass_time(130)
    assert await scene.listed("/") == []


@played(chunkservers=3, abandoned_seconds=100.0, namespace_scan_seconds=20.0, lease_seconds=4.0)
async def test_a_temporary_file_whose_leases_live_between_two_looks_is_kept(scene: Scene) -> None:
    await scene.create(WRITTEN)
    for _ in range(15):
        await scene.lease(WRITTEN)
        await scene.pass_time(20)
    assert await scene.listed("/") == [WRITTEN]
    await scene.pass_time(150)
    assert await scene.listed("/") == []


@played(chunkservers=3, abandoned_seconds=100.0, namespace_scan_seconds=5.0)
async def test_a_temporary_folder_is_deleted_whole_once_nothing_is_added_to_it_any_more(scene: Scene) -> None:
    for folder in (ABANDONED, WRITTEN):
        await scene.make_directory(folder)
        await scene.create(f"{folder}/notes")
    await scene.pass_time(90)
    await scene.create(f"{WRITTEN}/more notes")
    await scene.pass_time(30)
    assert await scene.listed("/") == [WRITTEN]
    [hidden] = await scene.deleted()
    assert await scene.listed(hidden) == [f"{hidden}/notes"], "it can be had back, as what a user deletes"
    await scene.pass_time(90)
    assert await scene.listed("/") == []


@played(chunkservers=3, abandoned_seconds=100.0, namespace_scan_seconds=5.0)
async def test_an_empty_temporary_folder_is_deleted_and_a_name_that_a_person_chose_is_kept(scene: Scene) -> None:
    await scene.make_directory("/home")
    await scene.make_directory(f"/home{ABANDONED}")
    await scene.make_directory("/.writing-a-thesis")
    await scene.create("/.writing-a-thesis/chapter")
    await scene.pass_time(120)
    assert await scene.listed("/", recursive=True) == ["/.writing-a-thesis", "/.writing-a-thesis/chapter", "/home"]


# The length of a file


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_file_ends_in_its_last_chunk_that_is_not_empty_however_many_follow(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    for name in scene.replicas(first.handle):
        scene.chunkservers[name].write(first.handle, 64 * 2**20)
    for index in range(1, 40):
        await scene.lease("/a", index)
    await scene.pass_time(8)
    info = await scene.stat("/a")
    assert info.length_is_settled and info.length == 64 * 2**20


# The master's own pauses and ends


@played(chunkservers=3)
async def test_a_master_that_stood_still_for_six_seconds_gives_nobody_up(scene: Scene) -> None:
    await chunk(scene)
    loop: Any = asyncio.get_running_loop()
    for _ in range(3):
        loop.seconds += 6.0  # Nobody runs meanwhile; what was sent waits to be read.
        await scene.pass_time(3)
    assert not scene.events("ChunkserverDied") and len(scene.events("MasterPaused")) == 3
    await scene.chunkservers["cs1"].kill()
    await scene.until(lambda: bool(scene.events("ChunkserverDied")), 8)


async def seconds_to_stop(scene: Scene) -> float:
    began = scene.server.core.now
    await scene.server.stop()
    spent = scene.server.core.now - began
    await scene.start_master()
    return spent


@played(chunkservers=5, lease_seconds=5.0)
async def test_a_graceful_stop_does_not_wait_for_clones_nor_for_those_who_wait_for_them(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        server.clone_seconds = 500.0
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    waiting = [asyncio.ensure_future(scene.lease("/a")) for _ in range(3)]
    await scene.pass_time(1)
    assert await seconds_to_stop(scene) < 3
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, Unavailable)
    assert not scene.server.core._tasks


@played(chunkservers=3, lease_seconds=300.0, lease_wait_seconds=250.0)
async def test_a_graceful_stop_does_not_wait_for_leases_to_run_out(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    scene.chunkservers[lease.primary.server].silence()
    waiting = asyncio.ensure_future(scene.lease("/a", suspect=lease.primary.server, timeout=280))
    await scene.pass_time(30)
    assert not waiting.done()
    assert await seconds_to_stop(scene) < 3
    with pytest.raises(Unavailable, match="stopping"):
        await waiting


@played(chunkservers=3, lease_seconds=60.0, revoke_seconds=50.0, lease_wait_seconds=55.0)
async def test_a_graceful_stop_does_not_wait_for_a_primary_that_does_not_answer(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    scene.chunkservers[lease.primary.server].silence(beating=True)
    deleting = asyncio.ensure_future(scene.delete("/a"))
    await scene.pass_time(3)
    assert await seconds_to_stop(scene) < 8
    assert isinstance((await asyncio.gather(deleting, return_exceptions=True))[0], TabletopError)


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_stop_in_the_middle_of_everything_loses_nothing_that_was_answered(scene: Scene) -> None:
    handle = await chunk(scene)
    await scene.chunkservers[scene.replicas(handle)[0]].kill()
    waiting = [asyncio.ensure_future(scene.create(f"/{number}")) for number in range(50)]
    waiting += [asyncio.ensure_future(scene.lease("/a", index)) for index in range(3)]
    await asyncio.sleep(0.0012)
    assert await seconds_to_stop(scene) < 3
    made = [result.path for result in await asyncio.gather(*waiting, return_exceptions=True) if hasattr(result, "path")]
    listed = await scene.listed("/")
    assert set(made) <= set(listed)
