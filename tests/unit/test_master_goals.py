"""SetReplication: a file gets another number of replicas, and its chunks follow (GFS 4.3)."""

from typing import Any

import pytest

from master.log import operation_log
from master.log.checkpoint import _HEADER_BEFORE_5
from runtime.errors import Conflict, InvalidRequest, IsADirectory, NoSpace, NotFound, TooFewServers, Unavailable
from runtime.wire.master_pb2 import RequestId
from tests.unit.master_fakes import Scene, fingerprint, played


def named(number: int, *, client: int = 0xC1, oldest: int = 1) -> Any:
    return RequestId(client=client, number=number, oldest=oldest)


async def chunk(scene: Scene, path: str = "/a", *, goal: int = 2, length: int = 100) -> int:
    """A file with one chunk that nobody writes any more."""
    await scene.create(path, goal)
    handle: int = (await scene.lease(path)).handle
    for name in scene.replicas(handle):
        scene.chunkservers[name].write(handle, length)
    await scene.pass_time(scene.settings.lease_seconds + 2)
    return handle


async def until_copies(scene: Scene, handle: int, count: int) -> None:
    """Wait until the master counts so many, and the servers have so many."""
    await scene.until(lambda: len(scene.replicas(handle)) == count and len(scene.holders(handle)) == count)
    assert sorted(scene.replicas(handle)) == sorted(scene.holders(handle))


@played(chunkservers=5, lease_seconds=5.0)
async def test_more_replicas_are_copied_and_fewer_are_removed_after_the_others_were_verified(scene: Scene) -> None:
    handle = await chunk(scene)
    assert await scene.set_replication("/a", 4) == 2
    assert (await scene.stat("/a")).replication_goal == 4
    await until_copies(scene, handle, 4)
    verified = {name: len(server.verified) for name, server in scene.chunkservers.items()}
    assert await scene.set_replication("/a", 1) == 4
    await until_copies(scene, handle, 1)
    (left,) = scene.holders(handle)
    assert len(scene.chunkservers[left].verified) > verified[left]
    assert [(event.goal, event.before) for event in scene.events("ReplicationSet")] == [(4, 2), (1, 4)]


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_goal_that_is_raised_again_before_the_removal_keeps_what_was_one_too_many(scene: Scene) -> None:
    handle = await chunk(scene, goal=3)
    clones = len(scene.events("CloneStarted"))
    holders = sorted(scene.holders(handle))
    replicas = [scene.chunkservers[name].chunks[handle] for name in holders]
    for replica in replicas:
        replica.damaged = True  # So that none is verified, and none removed.
    await scene.set_replication("/a", 2)
    await scene.until(lambda: "surplus" in scene.other_states(handle).values())
    for replica in replicas:
        replica.damaged = False
    await scene.set_replication("/a", 3)
    await until_copies(scene, handle, 3)
    assert sorted(scene.holders(handle)) == holders and len(scene.events("CloneStarted")) == clones


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_copy_too_many_goes_also_if_it_has_the_number_of_a_raise_that_failed(scene: Scene) -> None:
    handle = await chunk(scene, goal=3)
    core = scene.server.core
    for going in scene.replicas(handle):
        for name in scene.replicas(handle):
            if name != going:
                scene.chunkservers[name].mishaps.append(Unavailable("no"))
        async with core.guard(handle):
            with pytest.raises(Unavailable):
                await scene.server.granting._raising.raise_version(
                    handle, core.participants(handle), reason="a test", needs_all=True
                )
    assert all(scene.chunkservers[name].version(handle) > scene.version(handle) for name in scene.replicas(handle))
    await scene.set_replication("/a", 1)
    await until_copies(scene, handle, 1)


@played(chunkservers=4, lease_seconds=30.0)
async def test_a_copy_too_many_stays_while_somebody_may_write_and_status_says_for_how_long(scene: Scene) -> None:
    await scene.create("/a", 3)
    handle = (await scene.lease("/a")).handle
    await scene.set_replication("/a", 2)
    await scene.pass_time(10)
    assert len(scene.replicas(handle)) == 3
    (told,) = (await scene.status(chunks=True)).chunks
    assert "a copy too many is removed when its lease has ended, in " in told.waits_for
    await until_copies(scene, handle, 2)


@played(chunkservers=4, lease_seconds=5.0)
async def test_status_says_why_a_chunk_cannot_have_so_many(scene: Scene) -> None:
    handle = await chunk(scene, goal=3)
    (other,) = [name for name in scene.names if name not in scene.replicas(handle)]
    await scene.chunkservers[other].kill()
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 3)
    await scene.set_replication("/a", 4)
    (told,) = (await scene.status(chunks=True)).chunks
    assert told.waits_for == "3 live chunkservers cannot hold 4 copies"


@played(chunkservers=4)
async def test_a_new_chunk_has_as_many_replicas_as_its_file_by_now(scene: Scene) -> None:
    await scene.create("/a", 2)
    await scene.set_replication("/a", 4)
    handle = (await scene.lease("/a")).handle
    assert len(scene.replicas(handle)) == 4


@played(chunkservers=4)
async def test_what_cannot_be_is_refused_and_changes_nothing(scene: Scene) -> None:
    file = await scene.create("/a", 2)
    await scene.make_directory("/d")
    with pytest.raises(InvalidRequest, match="a replication goal of 0 for '/a'; expected at least 1"):
        await scene.set_replication("/a", 0)
    with pytest.raises(InvalidRequest, match="expected at most 100"):
        await scene.set_replication("/a", 101)
    with pytest.raises(TooFewServers, match="should have 5 replicas, but only 4 chunkservers ever registered"):
        await scene.set_replication("/a", 5)
    with pytest.raises(IsADirectory):
        await scene.set_replication("/d", 2)
    with pytest.raises(NotFound):
        await scene.set_replication("/b", 2)
    with pytest.raises(Conflict, match="is another file now"):
        await scene.set_replication("/a", 3, file_id=file.file_id + 1)
    assert (await scene.stat("/a")).replication_goal == 2


@played(chunkservers=4, lease_seconds=5.0)
async def test_goals_are_the_same_after_a_restart_from_the_log_and_from_a_checkpoint(scene: Scene) -> None:
    handle = await chunk(scene, goal=3)
    await scene.set_replication("/a", 2, request=named(1))
    await until_copies(scene, handle, 2)
    for with_checkpoint in (False, True):
        if with_checkpoint:
            await scene.server.core.log.checkpoint()
        before = fingerprint(scene.server)
        await scene.restart_master()
        assert fingerprint(scene.server)[2:4] == before[2:4]
        await scene.until(lambda: len(scene.server.core.servers.alive()) == 4)
        assert (await scene.stat("/a")).replication_goal == 2
        assert scene.server.core.state.chunks.chunk(handle).goal == 2
        # A repetition gets the first answer, and does not undo what came after it.
        await scene.set_replication("/a", 1, request=named(2 + with_checkpoint))
        assert await scene.set_replication("/a", 2, request=named(1)) == 3
        assert (await scene.stat("/a")).replication_goal == 1
        await scene.set_replication("/a", 2)
        await until_copies(scene, handle, 2)


@played(chunkservers=4, lease_seconds=5.0)
async def test_a_deleted_file_keeps_its_goal(scene: Scene) -> None:
    handle = await chunk(scene, goal=3)
    await scene.set_replication("/a", 2)
    await scene.delete("/a")
    await until_copies(scene, handle, 2)
    (hidden,) = await scene.deleted()
    assert await scene.set_replication(hidden, 3) == 2
    await until_copies(scene, handle, 3)
    await scene.rename(hidden, "/a")
    assert (await scene.stat("/a")).replication_goal == 3


@played(chunkservers=4)
async def test_a_goal_that_cannot_be_logged_is_not_changed(scene: Scene) -> None:
    await scene.create("/a", 2)
    scene.disk.fail_writes = NoSpace("the disk is full")
    with pytest.raises(NoSpace, match="it was not made"):
        await scene.set_replication("/a", 3)
    scene.disk.fail_writes = None
    assert (await scene.stat("/a")).replication_goal == 2 and not scene.events("ReplicationSet")


class HeaderBefore5:
    """The first frame of a checkpoint that does not say how large chunks are."""

    @staticmethod
    def pack(*fields: int) -> bytes:
        return _HEADER_BEFORE_5.pack(*fields[:-1])


@played(chunkservers=4)
async def test_a_log_and_a_checkpoint_of_the_formats_before_are_read(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operation_log, "FORMAT", 2)
        patch.setattr("master.log.checkpoint.FORMAT", 3)
        patch.setattr("master.log.checkpoint._HEADER", HeaderBefore5)
        await scene.create("/a", 2)
        await scene.server.core.log.checkpoint()
        await scene.create("/b", 2)
    await scene.restart_master()
    assert await scene.listed("/") == ["/a", "/b"]
    assert scene.server.core.state.chunk_bytes == scene.server.core.settings.chunk_bytes
    await scene.until(lambda: len(scene.server.core.servers.alive()) == 4)
    await scene.set_replication("/b", 3)
    await scene.restart_master()
    assert (await scene.stat("/b")).replication_goal == 3
