"""Registrations, heartbeats, corruption reports."""

import asyncio

import pytest

from master.servers.chunkservers import Held
from runtime.errors import Conflict, ForeignNamespace, InvalidRequest, NotFound, Superseded, TabletopError
from runtime.wire import common_pb2, master_pb2
from tests.unit.fake_chunkserver import FakeChunkserver, Replica
from tests.unit.master_fakes import MemoryDisk, Scene, played


@played(chunkservers=1)
async def test_a_registration_without_a_name_or_address_is_refused(scene: Scene) -> None:
    with pytest.raises(InvalidRequest, match="needs a name"):
        await scene.registry.Register(master_pb2.RegisterRequest(incarnation=1), timeout=5)


@played(chunkservers=1)
async def test_two_live_servers_cannot_have_one_name(scene: Scene) -> None:
    request = master_pb2.RegisterRequest(
        location=common_pb2.Location(server="cs1", control_address="other:1", bulk_address="other:2"), incarnation=77
    )
    with pytest.raises(Conflict, match="already a live chunkserver 'cs1'"):
        await scene.registry.Register(request, timeout=5)


@played(chunkservers=2)
async def test_a_server_that_restarts_at_another_address_is_welcome_at_once(scene: Scene) -> None:
    await scene.chunkservers["cs1"].kill()
    # Its old address is somebody else's now.
    other = FakeChunkserver(scene, "cs9")
    scene.chunkservers["cs9"] = other
    await other.start(scene.chunkservers["cs1"].rpc.address)
    await scene.chunkservers["cs1"].start()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3, 3)


@played(chunkservers=1)
async def test_a_heartbeat_from_a_stranger_is_answered_with_please_register(scene: Scene) -> None:
    reply = await scene.registry.Heartbeat(master_pb2.HeartbeatRequest(server="cs7", incarnation=1), timeout=5)
    assert not reply.known


@played(chunkservers=3)
async def test_a_length_is_settled_when_the_primary_of_an_ended_lease_has_said_it(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].write(lease.handle, 12345)
    await scene.pass_time(1.5)
    info = await scene.stat("/a")
    assert info.length == 12345 and not info.length_is_settled
    assert [chunk.handle for chunk in info.tail] == [lease.handle]
    await scene.pass_time(61)
    info = await scene.stat("/a")
    assert info.length == 12345 and info.length_is_settled and not info.tail


@played(chunkservers=3, lease_seconds=10.0)
async def test_a_length_stays_open_when_the_lease_has_run_out_by_the_masters_clock_alone(scene: Scene) -> None:
    """The bytes of the last write are in no report yet."""
    await scene.create("/a")
    lease = await scene.lease("/a")
    primary = scene.chunkservers[lease.primary.server]
    held = scene.server.core.leases.lease(lease.handle)
    assert held is not None
    await scene.pass_time(held.until - scene.server.core.now - 0.01)
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].write(lease.handle, 777)
    primary.silence(beating=True)
    await scene.until(lambda: scene.server.core.leases.lease(lease.handle) is None, 3)
    info = await scene.stat("/a")
    assert info.length_is_settled is False and [chunk.handle for chunk in info.tail] == [lease.handle]
    primary.speak()
    await scene.pass_time(1)
    info = await scene.stat("/a")
    assert (info.length, info.length_is_settled) == (777, True)


@played(chunkservers=3, lease_seconds=10.0)
async def test_the_length_that_a_lost_replica_reported_is_dropped_when_the_version_rises(scene: Scene) -> None:
    """Bytes that were never acknowledged: one replica had them, and is gone."""
    await scene.create("/a")
    lease = await scene.lease("/a")
    scene.chunkservers[lease.primary.server].write(lease.handle, 999)
    await scene.pass_time(1.5)
    assert (await scene.stat("/a")).length == 999
    await scene.chunkservers[lease.primary.server].kill()
    await scene.pass_time(12)
    second = await scene.lease("/a")
    assert second.length == 0 and not (await scene.stat("/a")).length_is_settled
    assert (await scene.stat("/a")).length == 0


@played(chunkservers=4)
async def test_a_replica_that_its_server_has_lost_is_replaced(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.secondaries[0].server]
    victim.lose(lease.handle)
    await scene.until(lambda: victim.name not in scene.replicas(lease.handle), 3)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)


@played(chunkservers=4)
async def test_an_old_word_of_a_removal_says_nothing_of_a_copy_that_was_made_since(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.secondaries[0].server]
    victim.lose(lease.handle)
    await scene.until(
        lambda: len(scene.replicas(lease.handle)) == 3 and victim.name not in scene.replicas(lease.handle)
    )
    other = scene.chunkservers[lease.primary.server]
    assert scene.version(lease.handle) > lease.version
    other.removed.append(common_pb2.Removal(handle=lease.handle, version=lease.version))
    await scene.pass_time(2)
    assert other.name in scene.replicas(lease.handle)


@played(chunkservers=4)
async def test_a_server_with_an_emptied_disk_counts_for_nothing(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.primary.server]
    await victim.kill()
    victim.empty_disk()
    await victim.start()
    await scene.until(lambda: victim.name not in scene.replicas(lease.handle), 3)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)


@played(chunkservers=1)
async def test_a_corruption_report_from_a_stranger_is_refused(scene: Scene) -> None:
    with pytest.raises(NotFound, match="register first"):
        await scene.registry.ReportCorruption(master_pb2.CorruptionReport(server="cs7", handle=1), timeout=5)


@played(chunkservers=3)
async def test_the_last_replica_is_kept_and_told_to_readers_although_it_is_corrupt(scene: Scene) -> None:
    await scene.create("/a", goal=1)
    lease = await scene.lease("/a")
    server = scene.chunkservers[lease.primary.server]
    await server.report_corruption(lease.handle)
    await scene.pass_time(5)
    assert server.name in scene.holders(lease.handle)
    assert [place.server for place in (await scene.where("/a")).chunks[0].replicas] == [server.name]


@played(chunkservers=1)
async def test_a_server_of_another_namespace_is_refused_and_none_of_its_chunks_is_touched(scene: Scene) -> None:
    stranger = FakeChunkserver(scene, "cs9")
    scene.chunkservers["cs9"] = stranger
    stranger.namespace, stranger.epoch, stranger.chunks = 4711, 3, {1: Replica(1, 100), 2: Replica(5, 100)}
    await stranger.start()
    await scene.pass_time(30)
    assert sorted(stranger.chunks) == [1, 2] and scene.server.core.servers.find("cs9") is None
    refused = scene.events("StrangerRefused")
    assert refused and (refused[0].server, refused[0].found) == ("cs9", 4711)
    with pytest.raises(ForeignNamespace, match="own state folder"):
        await scene.registry.Register(stranger.registration(), timeout=5)


@played(chunkservers=4)
async def test_a_master_that_comes_up_with_an_empty_folder_has_nobody_delete_anything(scene: Scene) -> None:
    for number in range(3):
        await scene.create(f"/{number}")
        await scene.lease(f"/{number}")
    before = {name: sorted(server.chunks) for name, server in scene.chunkservers.items()}
    await scene.kill_master()
    await scene.start_master(MemoryDisk())
    await scene.pass_time(60)
    assert {name: sorted(server.chunks) for name, server in scene.chunkservers.items()} == before
    assert scene.server.core.servers.alive() == [] and not scene.events("RemovalOrdered")


@played(chunkservers=3)
async def test_a_master_that_a_newer_run_has_followed_is_refused_and_ends(scene: Scene) -> None:
    await scene.create("/a")
    for server in scene.chunkservers.values():
        server.epoch += 1  # It has heard of the next run.
        server.beating = False
    with pytest.raises(TabletopError):
        await scene.lease("/a")
    async with asyncio.timeout(5):
        await scene.server.wait_for_shutdown()
    assert "epoch" in scene.server.failure
    await scene.restart_master()
    for server in scene.chunkservers.values():
        server.beating = True
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    await scene.lease("/a")


# Reports that are under way for long


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_report_from_before_a_raise_does_not_make_the_replica_stale(scene: Scene) -> None:
    """Jitter of 30 ms from chunkservers to the master once sufficed to lose a file for ever."""
    await scene.create("/a")
    first = await scene.lease("/a")
    await scene.pass_time(6)
    for server in scene.chunkservers.values():
        server.report_delays = [0.5] * 20
    await scene.pass_time(1.6)  # Reports of version 1 are under way now.
    for _ in range(8):
        lease = await scene.lease("/a")
        await scene.pass_time(5.3)
        assert len(scene.replicas(first.handle)) == 3
    assert lease.version == first.version + 8, "nothing else had to be raised"
    assert not scene.events("ReplicaJudged") and not scene.events("RemovalDecided")
    assert len(scene.holders(first.handle)) == 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_registration_that_crosses_a_raise_loses_nothing(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for server in scene.chunkservers.values():
        server.write(lease.handle, 100)
    await scene.pass_time(6)
    late = scene.chunkservers["cs2"].registration()
    await scene.lease("/a")
    await scene.registry.Register(late, timeout=5)
    assert scene.other_states(lease.handle) == {"cs2": "stale"}, "a registration is believed"
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3, 10)
    assert [server.chunks[lease.handle].length for server in scene.chunkservers.values()] == [100] * 3
    assert not scene.events("RemovalDecided")


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_registration_that_comes_after_a_later_report_is_not_judged(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    server = scene.chunkservers["cs1"]
    late = server.registration()
    del late.chunks[:]
    await scene.pass_time(2)
    for _ in range(2):
        with pytest.raises(Superseded, match="later report"):
            await scene.registry.Register(late, timeout=5)
    assert len(scene.replicas(handle)) == 3 and scene.events("ReportOutdated")


@played(chunkservers=3)
async def test_a_registration_that_the_network_doubles_is_judged_once(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    server = scene.chunkservers["cs1"]
    server.beating = False
    await scene.pass_time(1.5)
    said = server.registration()
    await scene.registry.Register(said, timeout=5)
    scene.chunkservers["cs1"].leases.clear()
    await scene.lease("/a", refused=1)
    with pytest.raises(Superseded):
        await scene.registry.Register(said, timeout=5)
    assert "cs1" in scene.replicas(handle)


@played(chunkservers=3)
async def test_a_heartbeat_that_comes_after_a_later_one_is_not_judged(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    server = scene.chunkservers["cs1"]
    late = server.heartbeat([])
    late.sample[0].damaged = True
    await scene.pass_time(2)
    assert (await scene.registry.Heartbeat(late, timeout=5)).known
    assert "cs1" in scene.replicas(handle)


# The life of a condemned replica


async def condemned_at_1(scene: Scene) -> FakeChunkserver:
    """A server that has an orphan 0x300 at version 1, was told to remove it, and has not done so."""
    await scene.create("/a")
    server = scene.chunkservers["cs1"]
    server.obeys_removals = False
    server.chunks[0x300] = Replica(1, 100)
    await scene.until(lambda: scene.other_states(0x300) == {"cs1": "condemned"}, 3)
    return server


@played(chunkservers=3)
async def test_a_condemned_replica_that_is_newer_than_the_order_is_judged_anew(scene: Scene) -> None:
    """A raise was under way when its file was deleted."""
    server = await condemned_at_1(scene)
    server.chunks[0x300].version = 2
    server.obeys_removals = True
    await scene.until(lambda: 0x300 not in server.chunks, 5)
    await scene.until(lambda: scene.other_states(0x300) == {}, 3)


@played(chunkservers=3)
async def test_a_condemned_replica_that_is_there_after_a_restart_of_its_server_is_condemned_again(scene: Scene) -> None:
    server = await condemned_at_1(scene)
    await server.kill()
    server.obeys_removals = True
    await server.start()
    await scene.until(lambda: 0x300 not in server.chunks, 3)
    await scene.until(lambda: scene.other_states(0x300) == {}, 3)


@played(chunkservers=3)
async def test_a_condemned_replica_is_forgotten_when_its_server_registers_without_it(scene: Scene) -> None:
    server = await condemned_at_1(scene)
    await server.kill()
    server.empty_disk()
    await server.start()
    await scene.until(lambda: scene.other_states(0x300) == {}, 3)


@played(chunkservers=2)
async def test_comparisons_wait_until_a_registration_is_judged_to_its_end(scene: Scene) -> None:
    """Its server is alive already, and what it holds is not all in the table yet."""
    await scene.create("/a", goal=2)
    handle = (await scene.lease("/a")).handle
    sure, unsure = scene.chunkservers["cs1"], scene.chunkservers["cs2"]
    await scene.pass_time(61)
    for server in (sure, unsure):
        server.write(handle, 200)
    await sure.kill()
    await unsure.cut_power()
    unsure.chunks[handle].length = 100  # The rest was acknowledged, and is gone.
    await scene.restart_master()
    await unsure.start()
    await scene.until(lambda: scene.other_states(handle) == {"cs2": "unsure"})
    breathe = scene.world.breathe

    async def breathe_slowly() -> None:
        await asyncio.sleep(2.0)

    scene.world.breathe = breathe_slowly
    sure.chunks |= {0x100000 + number: Replica(1) for number in range(2500)}  # Listed before the one that matters.
    await sure.start()
    await scene.pass_time(3.5)
    assert scene.server.core.servers.alive() and not scene.server.core.has_reported("cs1")
    assert scene.other_states(handle) == {"cs2": "unsure"} and not scene.events("ReplicasCompared")
    scene.world.breathe = breathe
    await scene.until(lambda: len(scene.replicas(handle)) == 2, 20)
    assert sure.chunks[handle].length == unsure.chunks[handle].length == 200


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_replica_that_cannot_be_read_is_replaced_elsewhere_and_no_copy_is_made_over_it(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.pass_time(7)
    server = scene.chunkservers[scene.replicas(handle)[0]]
    await server.kill()
    server.unreadable = [handle]
    await server.start()
    await scene.until(lambda: scene.other_states(handle) == {server.name: "unreadable"}, 10)
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 30)
    assert server.name not in scene.replicas(handle) and not server.clones
    await scene.pass_time(30)
    assert handle in server.chunks, "nobody knows what it holds: it is not removed"
    server.unreadable = []
    server.changed.append(handle)  # It can be read now: of an older version, and one more than the goal.
    await scene.until(lambda: handle not in server.chunks, 30)
    scene.server.core.check_invariants()


@played(chunkservers=3)
async def test_what_cannot_be_read_of_a_chunk_that_nobody_knows_is_left_alone(scene: Scene) -> None:
    server = scene.chunkservers["cs1"]
    await server.kill()
    server.unreadable = [0x999]
    await server.start()
    await scene.pass_time(5)
    assert not scene.server.core.replicas.others(0x999)
    scene.server.core.check_invariants()


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_final_length_is_believed_only_of_a_sure_replica_of_the_version_of_the_lease(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    core, handle, version = scene.server.core, lease.handle, lease.version
    core.leases.end(handle)
    for held in (
        None,  # The process that had the lease is gone.
        Held(version, 10, is_unsure=True),
        Held(version - 1, 10),
        Held(version + 1, 10),
    ):
        core.note_final_length(handle, version, held)
        assert not core.state.chunks.length_is_settled(handle)
    core.note_final_length(handle, version + 1, Held(version + 1, 10))  # of a lease that is no longer the last
    core.note_final_length(0x999, version, Held(version, 10))
    assert not core.state.chunks.length_is_settled(handle)
    core.note_final_length(handle, version, Held(version, 10))
    assert core.state.chunks.length_is_settled(handle) and core.state.chunks.length(handle) == 10
