"""Raising versions: who goes on together, and what a crash or a lost answer in between leaves behind."""

import asyncio

import pytest

from master.protocol.raising import Raised, in_order
from runtime.errors import DiskFailure, NotFound, Unavailable
from tests.unit.master_fakes import Scene, played


async def chunk(scene: Scene, *, goal: int = 3, length: int = 100) -> int:
    """A chunk of so many bytes that nobody writes."""
    await scene.create("/a", goal)
    handle: int = (await scene.lease("/a")).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, length)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


async def raised(scene: Scene, handle: int, **options: bool) -> Raised:
    core = scene.server.core
    async with core.guard(handle):
        return await scene.server.granting._raising.raise_version(
            handle, in_order(handle, core.participants(handle)), reason="a test", **options
        )


@played(lease_seconds=5.0)
async def test_replicas_that_are_alike_go_on_and_their_length_is_settled(scene: Scene) -> None:
    handle = await chunk(scene)
    scene.server.core.state.chunks.unsettle_length(handle)
    result = await raised(scene, handle)
    assert (result.version, result.length, sorted(result.members)) == (2, 100, sorted(scene.replicas(handle)))
    assert sorted(scene.server.core.state.chunks.members(handle)) == sorted(result.members)
    info = await scene.stat("/a")
    assert info.length_is_settled and info.length == 100


@played(lease_seconds=5.0)
async def test_a_replica_that_differs_is_left_out_and_stale(scene: Scene) -> None:
    handle = await chunk(scene)
    odd = scene.replicas(handle)[2]
    scene.chunkservers[odd].write(handle, 120)
    result = await raised(scene, handle)
    assert result.version == 3 and odd not in result.members and scene.other_states(handle) == {odd: "stale"}
    assert scene.chunkservers[odd].version(handle) == 2, "it took a number that was never confirmed"


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_damaged_replica_that_is_longer_does_not_keep_a_sound_one_from_going_on(scene: Scene) -> None:
    """The last write reached one replica only, and rotted there: nobody was told that it had happened."""
    handle = await chunk(scene, goal=2)
    odd, sound = scene.replicas(handle)
    scene.chunkservers[odd].write(handle, 120)
    await scene.chunkservers[odd].report_corruption(handle)
    result = await raised(scene, handle)
    assert result.members == (sound,) and result.length == 100
    await scene.until(lambda: len(scene.replicas(handle)) == 2, 60)


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_number_that_failed_is_used_up_even_if_nobody_got_it(scene: Scene) -> None:
    handle = await chunk(scene)
    for name in scene.replicas(handle):
        scene.chunkservers[name].mishaps.append(Unavailable("no"))
    with pytest.raises(Unavailable):
        await raised(scene, handle)
    assert scene.version(handle) == 1 and len(scene.replicas(handle)) == 3
    assert (await raised(scene, handle)).version == 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_whoever_crashes_in_between_every_acknowledged_byte_is_on_a_member(scene: Scene) -> None:
    """The master dies after some replicas have the number, before it is confirmed."""
    handle = await chunk(scene)
    first, *others = scene.replicas(handle)
    for name in others:
        scene.chunkservers[name].silence(beating=True)
    pending = asyncio.ensure_future(raised(scene, handle))
    await scene.until(lambda: scene.chunkservers[first].version(handle) == 2)
    pending.cancel()
    await scene.restart_master()
    for name in others:
        scene.chunkservers[name].speak()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 20)
    assert scene.version(handle) == 1 and scene.server.core.state.chunks.attempted(handle) == 2
    lease = await scene.lease("/a")
    assert lease.version == 3 and len(lease.secondaries) == 2


@played(lease_seconds=60.0)
async def test_a_confirmed_version_ends_every_older_lease(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    await raised(scene, lease.handle)
    assert scene.server.core.leases.lease(lease.handle) is None
    assert not any(lease.handle in server.leases for server in scene.chunkservers.values())
    assert (await scene.stat("/a")).length_is_settled
    scene.server.core.check_invariants()
    assert (await scene.lease("/a")).version == 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_raise_is_never_confirmed_on_replicas_alone_that_have_lost_power(scene: Scene) -> None:
    """A server lost power and answers before it has registered again; its fellows are away and have more."""
    handle = await chunk(scene)
    first, *others = scene.replicas(handle)
    for name in others:
        await scene.chunkservers[name].kill()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 1, 10)
    scene.chunkservers[first].chunks[handle].unsure = True
    scene.chunkservers[first].chunks[handle].length = 40
    scene.chunkservers[first].beating = False
    with pytest.raises(Unavailable, match="lost power"):
        await raised(scene, handle)
    with pytest.raises(Unavailable):
        await scene.lease("/a")
    assert scene.version(handle) == 1 and scene.other_states(handle) == {first: "unsure"}
    scene.chunkservers[first].beating = True
    for name in others:
        await scene.chunkservers[name].start()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 60)
    assert [scene.chunkservers[name].chunks[handle].length for name in scene.replicas(handle)] == [100] * 3


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_unsure_replica_that_is_like_a_sure_one_is_admitted_in_the_same_raise(scene: Scene) -> None:
    handle = await chunk(scene)
    name = scene.replicas(handle)[0]
    server = scene.chunkservers[name]
    server.chunks[handle].unsure = True
    server.beating = False  # The master has not heard of it.
    result = await raised(scene, handle)
    assert name in result.members and name in scene.replicas(handle) and not server.chunks[handle].unsure


@played(chunkservers=3, lease_seconds=5.0)
async def test_an_admission_that_is_not_answered_is_asked_for_again(scene: Scene) -> None:
    handle = await chunk(scene)
    name = scene.replicas(handle)[0]
    server = scene.chunkservers[name]
    server.chunks[handle].unsure = True
    server.after_mishaps = [None]
    server.mishaps = [None, Unavailable("no")]
    await raised(scene, handle)
    assert name not in scene.replicas(handle)
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 10)


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_server_that_restarts_during_a_raise_is_left_out(scene: Scene) -> None:
    handle = await chunk(scene, goal=4)
    first, second, third, fourth = scene.replicas(handle)
    scene.chunkservers[third].silence(beating=True)
    pending = asyncio.ensure_future(raised(scene, handle))
    await scene.until(lambda: scene.chunkservers[first].version(handle) == 2)
    await scene.chunkservers[first].kill()
    await scene.chunkservers[first].start()
    await scene.until(lambda: scene.server.core.servers.find(first).incarnation == 2)  # type: ignore[union-attr]
    assert sorted((await pending).members) == sorted((second, fourth))


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_chunk_that_is_deleted_during_a_raise_is_not_found(scene: Scene) -> None:
    handle = await chunk(scene)
    for name in scene.replicas(handle):
        scene.chunkservers[name].silence(beating=True)
    pending = asyncio.ensure_future(raised(scene, handle))
    await scene.pass_time(1)
    await scene.delete("/a", immediately=True)
    for server in scene.chunkservers.values():
        server.speak()
    with pytest.raises(NotFound, match="deleted meanwhile"):
        await pending


@played(chunkservers=3, lease_seconds=5.0)
async def test_a_log_that_fails_before_the_confirmation_leaves_the_chunk_as_it_was(scene: Scene) -> None:
    handle = await chunk(scene)
    scene.chunkservers[scene.replicas(handle)[0]].silence(beating=True)
    pending = asyncio.ensure_future(raised(scene, handle))
    await scene.pass_time(1)
    scene.disk.fail_syncs = DiskFailure("EIO")
    with pytest.raises(DiskFailure):
        await pending
    assert scene.version(handle) == 1
    scene.disk.fail_syncs = None
    for server in scene.chunkservers.values():
        server.speak()
    await scene.server.stop()
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 20)


@played(chunkservers=4, lease_seconds=5.0)
async def test_an_outdated_order_to_raise_a_version_does_not_end_a_newer_lease(scene: Scene) -> None:
    """The network holds it up until the next lease lives; the server refuses it and the lease goes on."""
    from runtime.wire import chunkserver_pb2

    await scene.create("/a")
    await scene.lease("/a")
    await scene.pass_time(7)
    lease = await scene.lease("/a")
    primary = scene.chunkservers[lease.primary.server]
    item = chunkserver_pb2.Advance(handle=lease.handle, from_version=1, to_version=1)
    outcome = await scene.server.core.calls.advance(primary.name, item)
    assert type(outcome.error).__name__ == "StaleVersion" and lease.handle in primary.leases


@played(chunkservers=3)
async def test_chunks_are_shared_out_among_primaries_and_steady_servers_come_first(scene: Scene) -> None:
    servers = scene.server.core.servers.alive()
    assert [in_order(handle, servers)[0].name for handle in range(3)] == ["cs1", "cs2", "cs3"]
    scene.server.core.servers.suspect("cs1")
    assert [in_order(handle, servers)[0].name for handle in range(3)] == ["cs2", "cs2", "cs3"]
    assert in_order(1, []) == []
