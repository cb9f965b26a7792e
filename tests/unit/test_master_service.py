"""What clients are answered."""

import asyncio

import pytest

from master.namespace.namespace_locks import plan_locks
from runtime.errors import (
    AlreadyExists,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TooFewServers,
    Unavailable,
)
from runtime.wire import master_pb2
from tests.unit.master_fakes import Scene, played


@played(chunkservers=2)
async def test_more_replicas_than_servers_is_refused_with_the_numbers(scene: Scene) -> None:
    with pytest.raises(TooFewServers, match="3 replicas, but only 2 chunkservers"):
        await scene.create("/a", goal=3)
    with pytest.raises(TooFewServers):
        await scene.create("/a", goal=0)
    with pytest.raises(InvalidRequest, match="at most 100"):
        await scene.create("/a", goal=1000)
    assert await scene.listed("/") == []
    assert (await scene.create("/a", goal=2)).replication_goal == 2


@played()
async def test_bad_paths_are_refused_by_every_method(scene: Scene) -> None:
    for path in ("", "a", "/a/../b", "/a\0b", "/" + "x" * 5000, "/a/"):
        for attempt in (
            scene.create(path),
            scene.make_directory(path),
            scene.delete(path),
            scene.rename(path, "/x"),
            scene.rename("/x", path),
            scene.stat(path),
            scene.where(path),
            scene.lease(path),
            scene.listed(path),
        ):
            with pytest.raises((InvalidRequest, NotFound)):
                await attempt
    assert await scene.listed("/", recursive=True) == []


@played()
async def test_facts_of_a_new_file_and_of_directories(scene: Scene) -> None:
    info = await scene.create("/a")
    assert (info.path, info.chunk_count, info.length, info.length_is_settled) == ("/a", 0, 0, True)
    assert info.chunk_bytes == 64 * 2**20 and info.created_microseconds > 10**15
    root = await scene.stat("/")
    assert root.is_directory and root.entry_count == 1


@played()
async def test_a_long_directory_is_listed_in_pages_in_order(scene: Scene) -> None:
    await scene.make_directory("/d")
    await asyncio.gather(*(scene.create(f"/d/{number:04d}") for number in range(1234)))
    assert await scene.listed("/d") == [f"/d/{number:04d}" for number in range(1234)]
    assert len(await scene.listed("/", recursive=True)) == 1235
    with pytest.raises(NotADirectory):
        await scene.listed("/d/0000")
    with pytest.raises(NotFound):
        await scene.listed("/nothing")


@played()
async def test_making_directories_with_their_parents_is_idempotent(scene: Scene) -> None:
    results = await asyncio.gather(*(scene.make_directory("/a/b/c", parents=True) for _ in range(10)))
    assert {result.path for result in results} == {"/a/b/c"}
    with pytest.raises(AlreadyExists):
        await scene.make_directory("/a/b")
    with pytest.raises(NotFound):
        await scene.make_directory("/x/y")
    assert (await scene.make_directory("/", parents=True)).is_directory


@played(chunkservers=3, read_ahead_chunks=2, chunk_bytes=65536)
async def test_locations_of_a_few_more_chunks_than_asked_for(scene: Scene) -> None:
    await scene.create("/a")
    for index in range(6):
        await scene.lease("/a", index)
    reply = await scene.where("/a", 1, 1)
    assert [chunk.index for chunk in reply.chunks] == [1, 2, 3]
    assert all(len(chunk.replicas) == 3 for chunk in reply.chunks)
    assert reply.file.chunk_count == 6 and [chunk.index for chunk in reply.file.tail] == list(range(6))
    assert list((await scene.where("/a", 0, 0)).chunks) == []
    assert list((await scene.where("/a", 9, 5)).chunks) == []
    with pytest.raises(IsADirectory):
        await scene.where("/")


@played(chunkservers=3)
async def test_locations_name_only_servers_that_live(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    await scene.chunkservers[lease.primary.server].kill()
    await scene.until(lambda: bool(scene.events("ChunkserverDied")), 10)
    replicas = [place.server for place in (await scene.where("/a")).chunks[0].replicas]
    assert len(replicas) == 2 and lease.primary.server not in replicas


@played()
async def test_a_renamed_directory_takes_its_files_along_at_once(scene: Scene) -> None:
    await scene.make_directory("/old/deep", parents=True)
    await scene.create("/old/deep/a")
    lease = await scene.lease("/old/deep/a")
    await scene.rename("/old", "/new")
    assert (await scene.lease("/new/deep/a")).handle == lease.handle
    with pytest.raises(NotFound):
        await scene.stat("/old/deep/a")


@played()
async def test_the_lease_that_a_client_is_told_of_names_addresses_and_what_is_left_of_it(scene: Scene) -> None:
    await scene.create("/a")
    request = master_pb2.FindLeaseHolderRequest(path="/a", index=0)
    with pytest.raises(NotFound, match="has 0 chunks"):
        await scene.master.FindLeaseHolder(request, timeout=5)
    lease = await scene.lease("/a")
    assert lease.primary.control_address and lease.primary.bulk_address and lease.index == 0


@played(settling_seconds=5.0)
async def test_right_after_a_start_no_length_is_listed_that_only_chunkservers_know(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].write(lease.handle, 100)
        scene.chunkservers[name].silence()
    await scene.restart_master()
    with pytest.raises(Unavailable, match="has just started and has not heard yet where chunk"):
        await scene.master.List(master_pb2.ListRequest(path="/"), timeout=30)
    for name in list(scene.chunkservers):
        scene.chunkservers[name].speak()
    await scene.until(lambda: bool(scene.replicas(lease.handle)))
    assert await scene.listed("/") == ["/a"]


@played()
async def test_files_of_one_call_are_created_or_refused_each_for_itself(scene: Scene) -> None:
    await scene.create("/there")
    await scene.make_directory("/busy")
    names = ["/new", "/there", "/none/x", "/a/../b", "/new", "/busy/x"]
    request = master_pb2.CreateFilesRequest(
        items=[
            master_pb2.CreateRequest(path=path, request=master_pb2.RequestId(client=7, number=number, oldest=1))
            for number, path in enumerate(names, 1)
        ]
    )
    core = scene.server.core
    syncs = core.log.syncs
    async with core.locks.hold(plan_locks(write=["/busy"])):
        results = (await scene.master.CreateFiles(request, timeout=5)).results
    kinds = [result.error_kind for result in results]
    assert kinds == ["", "AlreadyExists", "NotFound", "InvalidRequest", "AlreadyExists", "Unavailable"]
    assert all(result.definite for result in results if result.error_kind)
    assert not results[0].HasField("holder") and results[0].file.file_id and core.log.syncs == syncs + 1
    again = (await scene.master.CreateFiles(request, timeout=5)).results
    assert again[0].file.file_id == results[0].file.file_id
    assert [result.error_kind for result in again] == [*kinds[:5], ""]
    assert await scene.listed("/", recursive=True) == ["/busy", "/busy/x", "/new", "/there"]


@played()
async def test_files_of_one_call_get_chunks_if_they_are_about_to_be_written(scene: Scene) -> None:
    items = [master_pb2.CreateRequest(path=path) for path in ("/a", "/b")]
    reply = await scene.master.CreateFiles(master_pb2.CreateFilesRequest(items=items, with_chunks=True), timeout=5)
    assert [result.file.chunk_count for result in reply.results] == [1, 1]
    assert all(result.HasField("holder") for result in reply.results)
