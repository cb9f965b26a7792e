"""VerifyChunk: the replicas of a chunk are read when an operator asks for it."""

from typing import Any

import pytest

from runtime.errors import NotFound, Unavailable
from runtime.wire import master_pb2
from tests.unit.master_fakes import Scene, played


async def chunk(scene: Scene, path: str = "/a") -> int:
    """A chunk of 100 bytes that nobody writes any more."""
    await scene.create(path)
    handle: int = (await scene.lease(path)).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, 100)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


async def verify(scene: Scene, handle: int, server: str = "") -> dict[str, Any]:
    request = master_pb2.VerifyChunkRequest(handle=handle, server=server)
    reply = await scene.master.VerifyChunk(request, timeout=30)
    return {replica.server: replica for replica in reply.replicas}


@played(chunkservers=4, lease_seconds=5.0)
async def test_replicas_that_are_alike_have_one_digest(scene: Scene) -> None:
    handle = await chunk(scene)
    found = await verify(scene, handle)
    assert sorted(found) == sorted(scene.replicas(handle))
    assert len({replica.digest for replica in found.values()}) == 1
    assert {(replica.length, replica.state, replica.problem) for replica in found.values()} == {(100, "current", "")}


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_replica_that_differs_has_another_digest_and_stays(scene: Scene) -> None:
    handle = await chunk(scene)
    other = scene.replicas(handle)[1]
    scene.chunkservers[other].write(handle, 100, content="other bytes")
    found = await verify(scene, handle)
    digests = {name: replica.digest for name, replica in found.items()}
    assert len(set(digests.values())) == 2 and list(digests.values()).count(digests[other]) == 1
    assert other in scene.replicas(handle)


@played(chunkservers=4, lease_seconds=60.0)
async def test_replicas_that_differ_while_one_writes_are_read_again_without_a_writer(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    members = [lease.primary.server, *(peer.server for peer in lease.secondaries)]
    primary = scene.chunkservers[members[0]]
    primary.write(lease.handle, 100)

    def finish_what_is_in_flight() -> None:
        for name in members[1:]:
            scene.chunkservers[name].write(lease.handle, 100)

    primary.on_revoke = finish_what_is_in_flight
    found = await verify(scene, lease.handle)
    assert len({replica.digest for replica in found.values()}) == 1
    assert {replica.length for replica in found.values()} == {100}


@played(chunkservers=4, lease_seconds=5.0)
async def test_damage_is_counted_and_a_replica_that_cannot_be_read_is_named(scene: Scene) -> None:
    handle = await chunk(scene)
    damaged, outdated, good = scene.replicas(handle)
    scene.chunkservers[damaged].chunks[handle].damaged = True
    scene.chunkservers[outdated].chunks[handle].version -= 1
    found = await verify(scene, handle)
    assert (found[damaged].damaged_blocks, found[good].damaged_blocks) == (1, 0)
    assert f"{outdated} does not have version" in found[outdated].problem and not found[good].problem


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_server_that_does_not_answer_is_named_beside_what_the_others_say(scene: Scene) -> None:
    handle = await chunk(scene)
    silent, *others = scene.replicas(handle)
    scene.chunkservers[silent].silence(beating=True)
    found = await verify(scene, handle)
    assert found[silent].problem and sorted(found) == sorted([silent, *others])
    assert [found[name].problem for name in others] == ["", ""]


@played(chunkservers=4, lease_seconds=5.0)
async def test_one_server_can_be_asked_alone_and_one_without_a_replica_is_refused(scene: Scene) -> None:
    handle = await chunk(scene)
    holder = scene.replicas(handle)[0]
    before = {name: len(server.verified) for name, server in scene.chunkservers.items()}
    assert list(await verify(scene, handle, holder)) == [holder]
    asked = [name for name, server in scene.chunkservers.items() if len(server.verified) > before[name]]
    assert asked == [holder]
    (spare,) = [name for name in scene.names if name not in scene.replicas(handle)]
    with pytest.raises(NotFound, match=f"'{spare}' has no replica of chunk {handle:#x}"):
        await verify(scene, handle, spare)
    with pytest.raises(NotFound, match="there is no chunk 0x999"):
        await verify(scene, 0x999)


@played(chunkservers=3, lease_seconds=60.0)
async def test_a_chunk_whose_writer_cannot_be_stopped_is_not_compared(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    scene.chunkservers[lease.primary.server].write(lease.handle, 100)

    def silent() -> None:
        raise Unavailable("it does not answer")

    scene.chunkservers[lease.primary.server].on_revoke = silent
    with pytest.raises(Unavailable, match="under a lease whose primary does not answer"):
        await verify(scene, lease.handle)
