"""GFS 4.4: deletion is a renaming, and replicas that nobody knows are garbage."""

import asyncio

import pytest

from master.namespace import paths
from runtime.errors import AlreadyExists, DirectoryNotEmpty, InvalidRequest, NotFound
from tests.unit.fake_chunkserver import Replica
from tests.unit.master_fakes import Scene, played

DAY = 24 * 3600.0


@played(heartbeat_seconds=600.0, suspect_after_seconds=1800.0, dead_after_seconds=3600.0, repair_seconds=600.0,
        namespace_scan_seconds=3600.0, chunkservers=3)  # fmt: skip
async def test_a_deleted_file_is_kept_under_a_hidden_name_for_three_days(scene: Scene) -> None:
    assert scene.settings.trash_grace_seconds == 3 * DAY
    await scene.create("/a")
    lease = await scene.lease("/a")
    assert (await scene.delete("/a")).files == 1
    with pytest.raises(NotFound):
        await scene.stat("/a")
    (hidden,) = await scene.deleted()
    assert [chunk.handle for chunk in (await scene.where(hidden)).chunks] == [lease.handle], "it can still be read"
    status = await scene.status()
    assert (status.file_count, status.hidden_files) == (0, 1)
    await scene.pass_time(2.9 * DAY)
    assert await scene.deleted() == [hidden]
    await scene.pass_time(0.2 * DAY)
    assert await scene.deleted() == []
    assert (await scene.status()).chunk_count == 0
    assert scene.holders(lease.handle) == [], "and the chunkservers were told"


@played()
async def test_it_can_be_undeleted_by_renaming_it_back(scene: Scene) -> None:
    await scene.make_directory("/home")
    await scene.create("/home/a")
    handle = (await scene.lease("/home/a")).handle
    await scene.delete("/home", recursive=True)
    assert scene.server.core.state.chunks.chunk(handle).is_deleted
    (hidden,) = await scene.deleted()
    assert hidden.endswith("/home")
    await scene.rename(hidden, "/home")
    assert await scene.listed("/", recursive=True) == ["/home", "/home/a"]
    assert not scene.server.core.state.chunks.chunk(handle).is_deleted


@played()
async def test_deleting_a_deleted_file_again_expedites_it(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.delete("/a")
    (hidden,) = await scene.deleted()
    await scene.delete(hidden)
    assert await scene.deleted() == []
    await scene.until(lambda: scene.holders(handle) == [], 5)


@played()
async def test_immediate_deletion_keeps_nothing(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    await scene.delete("/a", immediately=True)
    assert await scene.deleted() == []
    await scene.until(lambda: scene.holders(handle) == [], 5)


@played()
async def test_many_files_of_one_name_can_be_deleted_one_after_the_other(scene: Scene) -> None:
    for _ in range(5):
        await scene.create("/same")
        await scene.delete("/same")
    assert len(await scene.deleted()) == 5


@played()
async def test_a_replaced_file_is_hidden_too(scene: Scene) -> None:
    await scene.create("/a")
    await scene.create("/b")
    handle = (await scene.lease("/b")).handle
    with pytest.raises(AlreadyExists):
        await scene.rename("/a", "/b")
    await scene.rename("/a", "/b", replace=True)
    (hidden,) = await scene.deleted()
    assert (await scene.where(hidden)).chunks[0].handle == handle
    assert (await scene.stat("/b")).chunk_count == 0


@played()
async def test_a_hidden_file_cannot_be_written_nor_can_one_be_made_there(scene: Scene) -> None:
    await scene.create("/a")
    await scene.delete("/a")
    (hidden,) = await scene.deleted()
    for attempt in (scene.lease(hidden), scene.create("/.deleted/mine"), scene.delete("/.deleted", recursive=True)):
        with pytest.raises(InvalidRequest):
            await attempt
    assert paths.HIDDEN_ROOT not in await scene.listed("/")


@played()
async def test_a_directory_with_entries_is_deleted_only_recursively(scene: Scene) -> None:
    await scene.make_directory("/d/e", parents=True)
    await scene.create("/d/e/f")
    with pytest.raises(DirectoryNotEmpty):
        await scene.delete("/d")
    assert (await scene.delete("/d", recursive=True)).files == 1
    assert await scene.listed("/", recursive=True) == []


@played()
async def test_replicas_that_the_master_does_not_know_are_garbage_however_they_arose(scene: Scene) -> None:
    await scene.create("/a")
    for name in scene.chunkservers:
        scene.chunkservers[name].chunks[0x300] = Replica(1, 100)
    await scene.until(lambda: scene.holders(0x300) == [], 5)


@played()
async def test_a_replica_whose_number_was_never_given_out_is_kept_as_the_log_may_have_lost_its_end(
    scene: Scene,
) -> None:
    await scene.create("/a")
    scene.chunkservers["cs1"].chunks[0xDEAD] = Replica(1, 100)
    await scene.pass_time(30)
    assert scene.holders(0xDEAD) == ["cs1"] and scene.other_states(0xDEAD) == {"cs1": "orphan"}
    await scene.chunkservers["cs1"].kill()
    await scene.chunkservers["cs1"].start()
    await scene.pass_time(30)
    assert scene.holders(0xDEAD) == ["cs1"]


@played(call_seconds=10.0)
async def test_chunks_that_are_being_created_are_not_called_garbage(scene: Scene) -> None:
    """Servers report them before the master has logged them."""
    await scene.create("/a")
    slow = scene.chunkservers["cs1"]
    slow.silence(beating=True)
    pending = asyncio.ensure_future(scene.lease("/a"))
    await scene.pass_time(3)
    assert not pending.done() and scene.events("RemovalOrdered") == []
    slow.speak()
    lease = await pending
    assert scene.events("RemovalOrdered") == []
    assert len(scene.replicas(lease.handle)) == 3


@played(chunkservers=3)
async def test_a_server_that_does_not_delete_is_told_again(scene: Scene) -> None:
    await scene.create("/a")
    server = scene.chunkservers["cs1"]
    server.obeys_removals = False
    server.chunks[0x300] = Replica(1, 100)
    await scene.pass_time(5)
    assert 0x300 in server.chunks
    server.obeys_removals = True
    await scene.until(lambda: 0x300 not in server.chunks, 3)


@played(chunkservers=3)
async def test_a_removal_whose_confirmation_is_lost_is_confirmed_again_and_then_forgotten(scene: Scene) -> None:
    await scene.create("/a")
    server = scene.chunkservers["cs1"]
    server.chunks[0x300] = Replica(1, 100)
    await scene.until(lambda: 0x300 not in server.chunks, 5)
    server.reply_losses = 2
    await scene.pass_time(5)
    assert server.removed == [] and scene.other_states(0x300) == {}
