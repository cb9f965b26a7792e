"""Registrations, heartbeats, corruption reports."""

import pytest

from runtime.errors import Conflict, InvalidRequest, NotFound
from runtime.wire import common_pb2, master_pb2
from tests.unit.master_fakes import FakeChunkserver, Scene, played


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
async def test_lengths_are_what_chunkservers_last_said(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].write(lease.handle, 12345)
    await scene.pass_time(1.5)
    info = await scene.stat("/a")
    assert info.length == 12345 and not info.length_is_settled and info.last_chunk.handle == lease.handle
    await scene.pass_time(61)
    info = await scene.stat("/a")
    assert info.length == 12345 and info.length_is_settled and not info.HasField("last_chunk")


@played(chunkservers=4)
async def test_a_replica_that_its_server_has_lost_is_replaced(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.secondaries[0].server]
    del victim.chunks[lease.handle]
    victim.deleted.append(lease.handle)
    await scene.until(lambda: victim.name not in scene.replicas(lease.handle), 3)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)


@played(chunkservers=4)
async def test_a_server_with_an_emptied_disk_counts_for_nothing(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    victim = scene.chunkservers[lease.primary.server]
    await victim.kill()
    victim.chunks.clear()
    await victim.start()
    await scene.until(lambda: victim.name not in scene.replicas(lease.handle), 3)
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 3)


@played(chunkservers=1)
async def test_a_corruption_report_from_a_stranger_is_refused(scene: Scene) -> None:
    with pytest.raises(NotFound, match="register first"):
        await scene.registry.ReportCorruption(master_pb2.CorruptionReport(server="cs7", handle=1), timeout=5)


@played(chunkservers=3)
async def test_the_last_replica_counts_although_it_is_corrupt(scene: Scene) -> None:
    await scene.create("/a", goal=1)
    lease = await scene.lease("/a")
    server = scene.chunkservers[lease.primary.server]
    report = master_pb2.CorruptionReport(server=server.name, incarnation=1, handle=lease.handle, version=1, block=0)
    await scene.registry.ReportCorruption(report, timeout=5)
    await scene.pass_time(5)
    assert scene.replicas(lease.handle) == (server.name,) and scene.holders(lease.handle) == [server.name]


@played(chunkservers=3)
async def test_names_of_servers_outlive_the_master_and_their_locations_do_not(scene: Scene) -> None:
    for server in scene.chunkservers.values():
        server.beating = False
    await scene.restart_master()
    status = await scene.status()
    assert [(server.location.server, server.alive, server.location.control_address) for server in status.servers] == [
        ("cs1", False, ""),
        ("cs2", False, ""),
        ("cs3", False, ""),
    ]
