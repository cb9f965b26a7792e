"""Creating chunks and granting leases, when something is not as it should be (the rest is in tests/paper)."""

import asyncio

import pytest

from master.log.records import VersionAttempted
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


@played(lease_seconds=30.0)
async def test_after_a_restart_a_lease_that_nobody_tells_of_is_fenced_off_by_a_higher_version(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    # The primary can reach its secondaries and its clients, but not the master any more.
    scene.chunkservers[first.primary.server].silence()
    await scene.restart_master()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    with pytest.raises(Unavailable, match="has not heard yet from"):
        await scene.lease("/a")  # It may come back in a moment, with a good replica.
    await scene.until(scene.server.core.is_settled)
    second = await scene.lease("/a")
    members = [second.primary.server, *(peer.server for peer in second.secondaries)]
    assert first.primary.server not in members and second.version > first.version
    for peer in first.secondaries:
        assert scene.chunkservers[peer.server].version(first.handle) > first.version, "it refuses the old primary's"


@played(lease_seconds=5.0)
async def test_right_after_a_start_no_good_replica_is_left_out_because_it_was_not_heard_of(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    await scene.pass_time(8)
    late = scene.chunkservers[first.secondaries[0].server]
    late.silence()
    await scene.restart_master()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    with pytest.raises(Unavailable, match=f"has not heard yet from {late.name}"):
        await scene.lease("/a")
    late.speak()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 4)
    second = await scene.lease("/a")
    assert len(second.secondaries) == 2 and late.name in scene.replicas(first.handle)


@played()
async def test_after_a_restart_a_lease_that_its_primary_tells_of_is_adopted(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(first.handle)) == 3)
    second = await scene.lease("/a")
    assert (second.version, second.primary.server) == (first.version, first.primary.server)
    assert second.lease_milliseconds <= first.lease_milliseconds and scene.events("LeaseAdopted")
    assert not (await scene.stat("/a")).length_is_settled
    await scene.pass_time(62)
    assert (await scene.lease("/a")).version == first.version + 1


@played(settling_seconds=5.0)
async def test_an_adopted_lease_is_told_of_only_when_all_its_servers_have_come_back(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    away = scene.chunkservers[first.secondaries[0].server]
    await away.kill()
    await scene.restart_master()
    await scene.until(lambda: bool(scene.events("LeaseAdopted")), 3)
    with pytest.raises(Unavailable, match="has not heard yet"):
        await scene.lease("/a")
    await scene.pass_time(5)
    second = await scene.lease("/a")
    names = [second.primary.server, *(peer.server for peer in second.secondaries)]
    assert second.version > first.version and away.name not in names
    assert all(place.control_address for place in (second.primary, *second.secondaries))


@played(lease_seconds=5.0)
async def test_a_lease_below_an_attempted_version_is_not_adopted(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    await scene.server.core.commit(VersionAttempted(first.handle, first.version + 1))
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(first.handle)) == 3)
    assert not scene.events("LeaseAdopted"), "a secondary may have that version, and refuse everything under the lease"
    assert (await scene.lease("/a")).version == first.version + 2


@played(lease_seconds=60.0, lease_wait_seconds=10.0)
async def test_a_primary_that_has_disowned_its_lease_is_not_named_again(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    scene.chunkservers[first.primary.server].leases.clear()
    second = await scene.lease("/a", refused=first.version)
    assert second.version > first.version
    assert (await scene.lease("/a", refused=first.version)).version == second.version, "the old complaint is settled"


@pytest.mark.parametrize("missing", [0, 1])
def test_a_primary_that_clients_insist_on_stays_a_replica_and_who_missed_a_mutation_does_not(missing: int) -> None:
    """Its clients hear nothing from the primary in time, because it hears nothing from one of its secondaries."""

    async def story(scene: Scene) -> None:
        await scene.create("/a")
        first = await scene.lease("/a")
        primary, bad = first.primary.server, first.secondaries[missing].server
        for name in scene.replicas(first.handle):
            scene.chunkservers[name].write(first.handle, 100, content="old" if name == bad else "new")
        await scene.lease("/a", suspect=primary)
        second = await scene.lease("/a", suspect=primary)
        assert second.primary.server == first.secondaries[1 - missing].server
        assert [peer.server for peer in second.secondaries] == [primary]
        assert bad not in scene.replicas(first.handle)

    Scene().play(story)


@played(lease_seconds=25.0, lease_wait_seconds=10.0)
async def test_a_lease_whose_end_somebody_waits_for_is_not_extended(scene: Scene) -> None:
    """The primary sends heartbeats, and answers no call."""
    await scene.create("/a")
    first = await scene.lease("/a")
    primary = scene.chunkservers[first.primary.server]
    primary.extend.append(first.handle)
    primary.silence(beating=True)
    for _ in range(2):
        with pytest.raises(Unavailable, match="ends in"):
            await scene.lease("/a", suspect=primary.name)
    second = await scene.lease("/a", suspect=primary.name)
    assert primary.name not in [second.primary.server, *(peer.server for peer in second.secondaries)]


@played(chunkservers=4, dead_after_seconds=1.0, suspect_after_seconds=1.0, heartbeat_seconds=0.5, call_seconds=5.0)
async def test_a_server_that_is_given_up_during_a_creation_does_not_count(scene: Scene) -> None:
    await scene.create("/a", goal=4)
    slow, gone = scene.chunkservers["cs1"], scene.chunkservers["cs2"]
    slow.silence(beating=True)
    pending = asyncio.ensure_future(scene.lease("/a"))
    await scene.until(lambda: bool(gone.chunks))
    await gone.kill()
    await scene.until(lambda: bool(scene.events("ChunkserverDied")))
    slow.speak()
    lease = await pending
    assert sorted(scene.replicas(lease.handle)) == ["cs1", "cs3", "cs4"]
    assert (await scene.status()).under_replicated_chunks == 1


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
