"""GFS 4.3: re-replication, and which chunk comes first."""

import pytest

from master.balance.placement import Candidate
from master.balance.replication import CloneOrder, Limits, Need, plan_replication
from runtime.errors import Conflict, TooFewServers, Unavailable
from tests.unit.master_fakes import Scene, played

SERVERS = [Candidate(f"cs{number}", "", 1000, 900, 0.0) for number in range(1, 7)]
MANY = Limits(clones=100, clones_per_server=100)


def need(handle: int, replicas: int, *, deleted: bool = False, waited_for: bool = False) -> Need:
    return Need(handle, 3, tuple(f"cs{number}" for number in range(1, replicas + 1)), deleted, waited_for)


def planned(*needs: Need, limits: Limits = MANY, running: tuple[CloneOrder, ...] = ()) -> list[int]:
    orders = plan_replication(needs, SERVERS, running=running, limits=limits, needed_bytes=1)
    return [order.handle for order in orders]


def test_a_chunk_that_lost_two_replicas_comes_before_one_that_lost_one() -> None:
    assert planned(need(1, 2), need(2, 1), need(3, 2)) == [2, 1, 3]


def test_chunks_of_live_files_come_before_those_of_deleted_ones() -> None:
    assert planned(need(1, 1, deleted=True), need(2, 2)) == [2, 1]


def test_a_chunk_that_blocks_a_client_comes_before_all_others() -> None:
    assert planned(need(1, 1), need(2, 2, waited_for=True)) == [2, 1]


def test_active_clones_are_limited_in_the_cluster_and_at_each_server() -> None:
    needs = [need(number, 1) for number in range(1, 20)]
    assert len(planned(*needs, limits=Limits(clones=3, clones_per_server=100))) == 3
    # All of them have cs1 for their only source.
    assert len(planned(*needs, limits=Limits(clones=100, clones_per_server=2))) == 2
    running = (CloneOrder(90, "cs1", "cs2"), CloneOrder(91, "cs1", "cs3"))
    assert planned(*needs, limits=Limits(clones=100, clones_per_server=2), running=running) == []


def test_the_new_replica_goes_where_the_rules_of_placement_say() -> None:
    servers = [Candidate("cs1", "a", 1000, 900, 0.0), Candidate("cs2", "a", 1000, 900, 0.0)]
    servers.append(Candidate("cs3", "b", 1000, 100, 0.0))
    orders = plan_replication([need(1, 1)], servers, running=(), limits=MANY, needed_bytes=1)
    assert orders == [CloneOrder(1, "cs1", "cs3")]


@played(chunkservers=5)
async def test_when_a_server_dies_all_its_chunks_come_back_to_their_goal(scene: Scene) -> None:
    handles = []
    for number in range(12):
        await scene.create(f"/{number}")
        handles.append((await scene.lease(f"/{number}")).handle)
    await scene.chunkservers["cs2"].kill()
    await scene.until(lambda: bool(scene.events("ChunkserverDied")), 10)
    assert (await scene.status()).under_replicated_chunks > 0
    await scene.until(lambda: all(len(scene.replicas(handle)) == 3 for handle in handles), 90)
    assert all("cs2" not in scene.replicas(handle) for handle in handles)
    status = await scene.status()
    assert (status.under_replicated_chunks, status.missing_chunks) == (0, 0)
    for handle in handles:
        versions = {scene.chunkservers[name].version(handle) for name in scene.replicas(handle)}
        assert versions == {scene.server.core.state.chunks.version(handle)}


@played(chunkservers=5)
async def test_nobody_may_write_a_chunk_while_it_is_cloned_and_the_writer_waits(scene: Scene) -> None:
    await scene.create("/a")
    first = await scene.lease("/a")
    for server in scene.chunkservers.values():
        server.clone_seconds = 3.0
    await scene.chunkservers[first.secondaries[0].server].kill()
    await scene.until(lambda: bool(scene.events("CloneStarted")), 20)
    assert scene.server.core.leases.lease(first.handle) is None
    second = await scene.lease("/a")
    assert scene.events("CloneFinished"), "the lease was granted only when the copy was complete"
    assert second.version == first.version + 2, "one for the copy, one for the lease"
    names = [second.primary.server, *(peer.server for peer in second.secondaries)]
    assert scene.events("CloneFinished")[0].destination in names


@played(chunkservers=4)
async def test_the_destination_throttles_its_reads_as_it_is_told(scene: Scene) -> None:
    object.__setattr__(scene.server.core.settings, "clone_bytes_per_second", 1_000_000)
    await scene.create("/a")
    lease = await scene.lease("/a")
    await scene.chunkservers[lease.secondaries[0].server].kill()
    await scene.until(lambda: bool(scene.events("CloneFinished")), 90)
    (clone,) = [clone for server in scene.chunkservers.values() for clone in server.clones]
    assert clone.bytes_per_second == 1_000_000 and clone.version == lease.version + 1


@played(chunkservers=5)
async def test_a_clone_that_fails_is_tried_again(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for server in scene.chunkservers.values():
        server.mishaps = [Unavailable("the source went away")]
    await scene.chunkservers[lease.secondaries[0].server].kill()
    await scene.until(lambda: bool(scene.events("CloneFailed")), 90)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3, 90)


@played(chunkservers=4, lease_seconds=10.0)
async def test_a_server_that_comes_back_makes_some_replicas_surplus_and_they_are_removed(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(11)
    back = scene.chunkservers[scene.replicas(handle)[0]]
    back.silence()
    await scene.until(lambda: len(scene.replicas(handle)) == 3 and back.name not in scene.replicas(handle), 60)
    assert len(scene.holders(handle)) == 4
    back.speak()
    await scene.until(lambda: len(scene.holders(handle)) == 3, 30)
    await scene.pass_time(5)
    assert sorted(scene.holders(handle)) == sorted(scene.replicas(handle))
    assert all(scene.chunkservers[name].version(handle) >= 1 for name in scene.replicas(handle))


@played(chunkservers=3)
async def test_a_copy_replaces_a_corrupt_replica_in_one_step_and_the_last_is_never_deleted(scene: Scene) -> None:
    """GFS 5.2. With three servers the bad replica stands in the way of its own successor."""
    await scene.create("/a")
    lease = await scene.lease("/a")
    handle, bad = lease.handle, lease.primary.server
    await scene.chunkservers[bad].report_corruption(handle)
    assert bad not in [place.server for place in (await scene.where("/a")).chunks[0].replicas]
    await scene.until(lambda: bad in scene.replicas(handle), 30)
    assert [clone.handle for clone in scene.chunkservers[bad].clones] == [handle]
    assert not scene.events("RemovalDecided"), "it was replaced, and never deleted"
    for name in list(scene.replicas(handle)):
        await scene.chunkservers[name].report_corruption(handle)
    await scene.pass_time(30)
    assert len(scene.holders(handle)) == 3, "damaged ones are all that is left: their sound blocks may be needed yet"
    assert len((await scene.where("/a")).chunks[0].replicas) == 3, "and they are the last resort of readers"


@played(chunkservers=5, lease_seconds=60.0)
async def test_a_chunk_whose_primary_was_given_up_is_cloned_before_its_lease_ends_and_fenced_off(scene: Scene) -> None:
    """The paper does not say; the version that is raised first keeps the old primary out, whatever its clock says."""
    await scene.create("/a")
    lease = await scene.lease("/a")
    end = scene.server.core.leases.lease(lease.handle)
    assert end is not None
    primary = scene.chunkservers[lease.primary.server]
    primary.silence()
    await scene.until(lambda: bool(scene.events("CloneFinished")), 30)
    assert scene.server.core.now < end.until and primary.leases[lease.handle].until > scene.server.core.now
    for peer in lease.secondaries:
        assert scene.chunkservers[peer.server].version(lease.handle) > lease.version
    assert scene.server.core.leases.lease(lease.handle) is None
    primary.speak()
    await scene.until(lambda: len(scene.holders(lease.handle)) == 3, 60)


def test_a_chunk_that_lacks_nothing_comes_after_all_that_do() -> None:
    moved = Need(1, 3, ("cs1", "cs2", "cs3"), False, False, leaving=("cs1",))
    hot = Need(2, 3, ("cs1", "cs2", "cs3"), False, False, urgency=2)
    assert planned(hot, moved, need(3, 2)) == [3, 1, 2]


def test_a_leaving_replica_may_be_copied_from_and_is_never_copied_to() -> None:
    only = Need(1, 1, ("cs1",), False, False, leaving=("cs1",))
    [order] = plan_replication([only], SERVERS, running=(), limits=MANY, needed_bytes=1)
    assert order.source == "cs1" and order.destination != "cs1"
    closed = plan_replication([only], SERVERS, running=(), limits=MANY, needed_bytes=1, closed=[order.destination])
    assert closed[0].destination not in ("cs1", order.destination)


@played(chunkservers=5, lease_seconds=4.0)
async def test_what_a_drained_server_holds_is_copied_before_it_may_leave(scene: Scene) -> None:
    handles = []
    for number in range(8):
        await scene.create(f"/{number}")
        handles.append((await scene.lease(f"/{number}")).handle)
    with pytest.raises(Conflict, match="not drained"):
        await scene.remove_server("cs2")
    await scene.drain("cs2")
    fewest = 3
    while (await scene.left_to_drain("cs2")) > 0:
        fewest = min(fewest, *(len(scene.replicas(handle)) for handle in handles))
        await scene.pass_time(0.1)
    assert fewest == 3, "a copy is made before one leaves"
    assert all("cs2" not in scene.replicas(handle) and len(scene.replicas(handle)) == 3 for handle in handles)
    await scene.chunkservers["cs2"].kill()
    await scene.remove_server("cs2")
    assert [server.location.server for server in (await scene.status()).servers] == ["cs1", "cs3", "cs4", "cs5"]
    await scene.restart_master()
    assert "cs2" not in scene.server.core.state.servers


@played(chunkservers=4)
async def test_a_drain_that_would_leave_too_few_servers_is_refused(scene: Scene) -> None:
    await scene.create("/a", goal=4)
    await scene.lease("/a")
    with pytest.raises(TooFewServers, match="some files are to have 4 replicas"):
        await scene.drain("cs1")
    assert not scene.events("DrainBegun")


@played(chunkservers=6, lease_seconds=4.0, survey_seconds=1.0)
async def test_disks_are_evened_out_and_a_new_server_is_not_filled_at_once(scene: Scene) -> None:
    for number in range(30):
        await scene.create(f"/{number}")
        lease = await scene.lease(f"/{number}")
        for name in scene.replicas(lease.handle):
            scene.chunkservers[name].chunks[lease.handle].length = 1000
    await scene.pass_time(10)
    most = 0
    await scene.add_server("cs7")
    for _ in range(300):
        await scene.pass_time(0.1)
        most = max(most, scene.server.repair.clones_running)
    held = {name: len(server.chunks) for name, server in scene.chunkservers.items()}
    assert 0 < most <= scene.settings.moves_at_once
    assert held["cs7"] >= 8 and max(held.values()) - min(held.values()) <= 4, held
