"""An operator lets a chunk go on with a replica that was put aside."""

import asyncio
from typing import Any

import pytest

from runtime.errors import Conflict, NotFound
from runtime.wire import master_pb2
from runtime.wire.master_pb2 import RequestId
from tests.unit.master_fakes import Scene, played


async def chunk(scene: Scene) -> int:
    await scene.create("/a")
    handle: int = (await scene.lease("/a")).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, 100)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


async def admit(scene: Scene, handle: int, server: str, *, force: bool = False, number: int = 0) -> Any:
    """`number`: of the request, 0 if it has no name."""
    named = RequestId(client=0xC1, number=number, oldest=1) if number else None
    request = master_pb2.AdmitReplicaRequest(handle=handle, server=server, force=force, request=named)
    return await scene.master.AdmitReplica(request, timeout=30)


@played(chunkservers=3, lease_seconds=5.0)
async def test_nothing_is_admitted_while_a_current_replica_is_there(scene: Scene) -> None:
    handle = await chunk(scene)
    with pytest.raises(NotFound, match="it is current"):
        await admit(scene, handle, "cs1")
    await scene.chunkservers["cs1"].report_corruption(handle)
    with pytest.raises(Conflict, match="nothing need be admitted"):
        await admit(scene, handle, "cs1")
    with pytest.raises(NotFound, match="no chunk"):
        await admit(scene, 0x999, "cs1")
    with pytest.raises(NotFound, match="no replica"):
        await admit(scene, handle, "cs9")


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_unsure_replica_is_admitted_by_force_if_its_fellows_do_not_come_back(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    await scene.chunkservers["cs1"].start()
    await scene.until(lambda: scene.other_states(handle) == {"cs1": "unsure"}, 10)
    with pytest.raises(Conflict, match="cs2 is down: start it; cs3 is down: start it"):
        await admit(scene, handle, "cs1")
    assert (await admit(scene, handle, "cs1", force=True)).version == 2
    assert scene.replicas(handle) == ("cs1",) and not scene.chunkservers["cs1"].chunks[handle].unsure
    assert scene.events("ReplicaAdmitted")
    for name in ("cs2", "cs3"):
        await scene.chunkservers[name].start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert {server.version(handle) for server in scene.chunkservers.values()} == {scene.version(handle)}


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_stale_replica_is_admitted_when_nothing_newer_is_left(scene: Scene) -> None:
    handle = await chunk(scene)
    old = scene.chunkservers[scene.replicas(handle)[0]]
    await old.kill()
    await scene.pass_time(7)
    await scene.lease("/a")
    for server in scene.chunkservers.values():
        if server is not old:
            await server.kill()
            server.empty_disk()
    await scene.pass_time(7)
    await old.start()
    for server in scene.chunkservers.values():
        if server is not old:
            await server.start()
    await scene.until(lambda: scene.other_states(handle) == {old.name: "stale"}, 10)
    await scene.pass_time(30)
    assert scene.holders(handle) == [old.name], "nothing is made of a stale replica, and it is never deleted"
    await admit(scene, handle, old.name)
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert (await scene.lease("/a")).version > 2


@played(chunkservers=3, lease_seconds=60.0)
async def test_an_admission_ends_a_lease_that_the_master_still_knows_of(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    await scene.chunkservers[lease.secondaries[0].server].start()
    await scene.until(lambda: bool(scene.other_states(lease.handle)), 10)
    await admit(scene, lease.handle, lease.secondaries[0].server, force=True)
    assert scene.server.core.leases.lease(lease.handle) is None
    scene.server.core.check_invariants()
    assert (await scene.lease("/a")).primary.server == lease.secondaries[0].server


@played(chunkservers=3, lease_seconds=5.0)
async def test_two_operators_at_once_admit_one_replica(scene: Scene) -> None:
    handle = await chunk(scene)
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    for name in ("cs1", "cs2"):
        await scene.chunkservers[name].start()
    await scene.until(lambda: scene.other_states(handle) == {"cs1": "unsure", "cs2": "unsure"}, 10)
    results = await asyncio.gather(
        *(admit(scene, handle, name, force=True) for name in ("cs1", "cs2")), return_exceptions=True
    )
    assert [type(result).__name__ for result in results] == ["AdmitReplicaReply", "Conflict"]


async def only_unsure(scene: Scene, handle: int, name: str) -> None:
    """All lose power, and one server comes back with its replica."""
    for server in scene.chunkservers.values():
        await server.cut_power()
    await scene.until(lambda: not scene.server.core.servers.alive(), 10)
    await scene.chunkservers[name].start()
    await scene.until(lambda: scene.other_states(handle) == {name: "unsure"}, 10)


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_admission_that_was_refused_is_not_carried_out_when_its_message_arrives_again(scene: Scene) -> None:
    handle = await chunk(scene)
    await only_unsure(scene, handle, "cs1")
    with pytest.raises(NotFound, match="cs2"):
        await admit(scene, handle, "cs2", force=True, number=1)
    await scene.chunkservers["cs2"].start()
    await scene.until(lambda: scene.other_states(handle) == {"cs1": "unsure", "cs2": "unsure"}, 10)
    with pytest.raises(NotFound, match="cs2"):
        await admit(scene, handle, "cs2", force=True, number=1)
    assert not scene.events("ReplicaAdmitted") and scene.version(handle) == 1
    assert (await admit(scene, handle, "cs2", force=True, number=2)).version == 2


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_admission_that_is_asked_for_again_gets_the_first_answer_also_after_a_restart(scene: Scene) -> None:
    handle = await chunk(scene)
    await only_unsure(scene, handle, "cs1")
    first = await admit(scene, handle, "cs1", force=True, number=1)
    assert (await admit(scene, handle, "cs1", force=True, number=1)).version == first.version == 2
    for name in ("cs2", "cs3"):
        await scene.chunkservers[name].start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    for with_checkpoint in (False, True):
        if with_checkpoint:
            await scene.server.core.log.checkpoint()
        await scene.restart_master()
        await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
        assert (await admit(scene, handle, "cs1", force=True, number=1)).version == first.version
    assert len(scene.events("ReplicaAdmitted")) == 1 and scene.version(handle) > first.version


@played(chunkservers=3, lease_seconds=5.0)
async def test_who_may_not_admit_is_told_of_each_server_what_is_so(scene: Scene) -> None:
    handle = await chunk(scene)
    stale, *others = scene.replicas(handle)
    await scene.chunkservers[stale].kill()
    await scene.pass_time(7)
    await scene.lease("/a")
    await scene.pass_time(scene.settings.lease_seconds + 2)
    down, damaged = others
    for server in scene.chunkservers.values():
        server.silence(beating=True)  # So that nothing is copied, mended or compared.
    await scene.chunkservers[damaged].report_corruption(handle)
    await scene.chunkservers[down].kill()
    await scene.chunkservers[stale].start()
    await scene.until(lambda: down not in {server.name for server in scene.server.core.servers.alive()}, 20)
    assert scene.other_states(handle)[damaged] == "corrupt"
    with pytest.raises(Conflict) as caught:
        await admit(scene, handle, stale)
    message = caught.value.message
    assert f"{down} is down: start it; {damaged} is up, but its copy is damaged" in message
    assert f"{damaged} is down" not in message
