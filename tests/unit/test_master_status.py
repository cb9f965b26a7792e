"""GetClusterStatus reports what is."""

import pytest

from runtime.errors import InvalidRequest
from runtime.wire import master_pb2
from tests.unit.master_fakes import Scene, played


@played(chunkservers=4, cluster="desk")
async def test_the_status_counts_everything(scene: Scene) -> None:
    await scene.make_directory("/d")
    for name in ("/d/a", "/d/b", "/c"):
        await scene.create(name)
    lease = await scene.lease("/d/a")
    for name in scene.replicas(lease.handle):
        scene.chunkservers[name].write(lease.handle, 1000)
    await scene.delete("/c")
    await scene.pass_time(1.5)
    status = await scene.status(chunks=True)
    assert (status.cluster, status.file_count, status.hidden_files, status.directory_count) == ("desk", 2, 1, 2)
    assert (status.chunk_count, status.under_replicated_chunks, status.missing_chunks) == (1, 0, 0)
    assert status.log_sequence > 5 and status.log_bytes > 0 and status.uptime_seconds > 1
    assert sum(server.chunk_count for server in status.servers) == 3
    assert sum(server.stored_bytes for server in status.servers) == 3000
    assert sum(server.lease_count for server in status.servers) == 1
    assert all(server.alive and server.seconds_since_heartbeat < 1.5 for server in status.servers)
    (chunk,) = status.chunks
    assert (chunk.path, chunk.chunk.index, chunk.chunk.length) == ("/d/a", 0, 1000)
    assert chunk.primary == lease.primary.server and len(chunk.chunk.replicas) == 3


@played(chunkservers=4)
async def test_a_dead_server_shows_and_so_do_the_chunks_it_leaves_behind(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    object.__setattr__(scene.server.core.settings, "clones_at_once", 0)
    await scene.chunkservers[lease.secondaries[0].server].kill()
    await scene.pass_time(7)
    status = await scene.status()
    assert [server.alive for server in status.servers].count(False) == 1
    assert status.under_replicated_chunks == 1
    for server in scene.chunkservers.values():
        await server.kill()
    await scene.pass_time(7)
    status = await scene.status()
    assert (status.under_replicated_chunks, status.missing_chunks) == (0, 1)


@played(chunkservers=3)
async def test_a_chunk_of_which_only_damaged_replicas_are_left_is_counted_as_such(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    for name in scene.replicas(lease.handle):
        await scene.chunkservers[name].report_corruption(lease.handle)
    status = await scene.status()
    assert (status.missing_chunks, status.corrupt_chunks, status.corrupt_replicas) == (1, 1, 3)
    assert (status.dead_after_seconds, status.trash_grace_seconds) == (5.0, 3 * 24 * 3600.0)


@played(chunkservers=3)
async def test_the_chunks_of_one_file_or_of_all_files_below_a_directory_can_be_asked_for(scene: Scene) -> None:
    await scene.make_directory("/d")
    for path in ("/a", "/d/b", "/d/c", "/dd"):
        await scene.create(path)
        await scene.lease(path)
    for path, expected in (
        ("", ["/a", "/d/b", "/d/c", "/dd"]),
        ("/", ["/a", "/d/b", "/d/c", "/dd"]),
        ("/d", ["/d/b", "/d/c"]),
        ("/d/c", ["/d/c"]),
        ("/none", []),
    ):
        assert [chunk.path for chunk in (await scene.status(chunks=True, path=path)).chunks] == expected, path
    with pytest.raises(InvalidRequest):
        await scene.status(chunks=True, path="d")


@played(chunkservers=3)
async def test_a_chunk_that_looks_complete_after_a_restart_may_have_a_copy_too_many(scene: Scene) -> None:
    await scene.create("/a")
    lease = await scene.lease("/a")
    absent = scene.chunkservers[lease.secondaries[0].server]
    await absent.kill()
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(lease.handle)) == 2, 5)
    await scene.set_replication("/a", 2)
    (chunk,) = (await scene.status(chunks=True)).chunks
    assert len(chunk.chunk.replicas) == chunk.replication_goal == 2
    assert "has just started and waits" in chunk.waits_for


@played(chunkservers=4)
async def test_a_large_tree_is_told_of_in_pages(scene: Scene) -> None:
    for number in range(7):
        await scene.create(f"/file{number}")
        if number % 2:
            for index in range(number):
                await scene.lease(f"/file{number}", index)
    whole = [(found.path, found.chunk.index) for found in (await scene.status(chunks=True)).chunks]
    for limit in (1, 3, 100):
        seen, files, after, pages = [], 0, "", 0
        while pages == 0 or after:
            request = master_pb2.ClusterStatusRequest(chunks=True, after=after, limit=limit)
            page = await scene.master.GetClusterStatus(request, timeout=30)
            assert bool(page.servers) == (pages == 0), "the figures of the cluster come once"
            seen += [(found.path, found.chunk.index) for found in page.chunks]
            files, after, pages = files + page.files_seen, page.last_path, pages + 1
        assert seen == whole and files == 7
        assert (pages == 1) == (limit == 100)
