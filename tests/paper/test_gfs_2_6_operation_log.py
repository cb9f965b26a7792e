"""GFS 2.6.2 and 2.6.3: what is persistent, what is not, and what the operation log promises."""

import asyncio

import pytest

from master.log.records import FORMAT, LogOpened, encode
from runtime.errors import Corrupted, DiskFailure, IncompatibleFormat, NoSpace, NotFound, TabletopError, Unavailable
from runtime.record_log import encode_frame
from tests.unit.master_fakes import MemoryDisk, Scene, fingerprint, played


async def busy_hour(scene: Scene) -> None:
    """A bit of everything."""
    await scene.make_directory("/users/ann", parents=True)
    for number in range(6):
        await scene.create(f"/users/ann/{number}", goal=2)
        await scene.lease(f"/users/ann/{number}")
    await scene.rename("/users/ann/0", "/zero")
    await scene.rename("/users/ann/1", "/users/ann/2", replace=True)
    await scene.delete("/users/ann/3")
    await scene.delete("/users/ann/4", immediately=True)
    await scene.make_directory("/gone")
    await scene.create("/gone/file")
    await scene.delete("/gone", recursive=True)


def newest_log(disk: MemoryDisk) -> str:
    return max(name for name in disk.files if name.endswith(".log"))


async def refused_start(scene: Scene, disk: MemoryDisk, error: type[TabletopError], match: str) -> None:
    await scene.kill_master()
    with pytest.raises(error, match=match):
        await scene.start_master(disk)
    scene.board.handlers.pop("master:1", None)
    disk.files.clear()
    disk.synced.clear()
    await scene.start_master(disk)  # So that the scene can end.


@played()
async def test_whatever_was_answered_survives_a_power_cut(scene: Scene) -> None:
    await busy_hour(scene)
    before = fingerprint(scene.server)
    await scene.restart_master()
    assert fingerprint(scene.server)[1:] == before[1:]
    scene.server.core.check_invariants()
    assert "/zero" in await scene.listed("/")


@played()
async def test_a_change_is_not_visible_before_its_record_is_durable(scene: Scene) -> None:
    pending = asyncio.ensure_future(scene.create("/a"))
    name = newest_log(scene.disk)
    before = len(scene.disk.files[name])
    await scene.until(lambda: len(scene.disk.files[name]) > before)
    if len(scene.disk.synced[name]) == before:
        with pytest.raises(NotFound):
            await scene.stat("/a")
    await pending
    assert len(scene.disk.synced[name]) > before
    await scene.stat("/a")


@played()
async def test_records_of_concurrent_clients_share_a_flush(scene: Scene) -> None:
    syncs = scene.server.core.log.syncs
    await asyncio.gather(*(scene.create(f"/{number}") for number in range(200)))
    assert scene.server.core.log.syncs - syncs < 10


@played()
async def test_locations_are_not_persistent_and_are_learned_again_from_chunkservers(scene: Scene) -> None:
    await scene.create("/a")
    handle = (await scene.lease("/a")).handle
    replicas = set(scene.replicas(handle))
    for server in scene.chunkservers.values():
        server.beating = False
    await scene.restart_master()
    with pytest.raises(Unavailable, match="has just started"):
        await scene.where("/a")
    with pytest.raises(Unavailable, match="has just started"):
        await scene.stat("/a")
    assert (await scene.stat("/")).is_directory, "names are known at once"
    for server in scene.chunkservers.values():
        server.beating = True
    await scene.until(lambda: set(scene.replicas(handle)) == replicas, 3)
    found = (await scene.where("/a")).chunks[0]
    assert {place.server for place in found.replicas} == replicas


@played(chunkservers=3)
async def test_a_chunk_that_nobody_reports_is_called_lost_only_after_a_while(scene: Scene) -> None:
    await scene.create("/a")
    await scene.lease("/a")
    for server in scene.chunkservers.values():
        await server.kill()
    await scene.restart_master()
    with pytest.raises(Unavailable):
        await scene.where("/a")
    await scene.pass_time(scene.settings.safe_mode_longest_seconds + 1)
    assert list((await scene.where("/a")).chunks[0].replicas) == []
    assert (await scene.status()).missing_chunks == 1


@played(checkpoint_log_bytes=4000)
async def test_a_long_log_leads_to_a_checkpoint_and_old_logs_go(scene: Scene) -> None:
    for number in range(400):
        await scene.create(f"/{number:04d}")
    await scene.until(lambda: len(scene.events("CheckpointFinished")) >= 3)
    await scene.pass_time(1)
    names = await scene.disk.list("log")
    assert len([name for name in names if name.endswith(".checkpoint")]) == 2
    assert len([name for name in names if name.endswith(".log")]) <= 4
    before = fingerprint(scene.server)
    await scene.restart_master()
    assert fingerprint(scene.server)[1:] == before[1:]
    assert (await scene.status()).file_count == 400


@played(checkpoint_log_bytes=3000)
async def test_the_master_serves_while_it_writes_a_checkpoint(scene: Scene) -> None:
    for wave in range(30):
        await asyncio.gather(*(scene.create(f"/{wave:02d}-{number:02d}") for number in range(20)))
    await scene.until(lambda: scene.server.core.log._checkpointing is None)
    before = fingerprint(scene.server)
    await scene.restart_master()
    assert fingerprint(scene.server)[1:] == before[1:]
    scene.server.core.check_invariants()


@played()
async def test_a_checkpoint_holds_the_state_of_the_switch_though_changes_go_on(scene: Scene) -> None:
    await busy_hour(scene)
    changes = [asyncio.ensure_future(scene.create(f"/during-{number}")) for number in range(50)]
    await scene.server.core.log.checkpoint()
    await asyncio.gather(*changes)
    before = fingerprint(scene.server)
    await scene.restart_master()
    assert fingerprint(scene.server)[1:] == before[1:]


@played()
async def test_recovery_skips_an_incomplete_checkpoint(scene: Scene) -> None:
    await busy_hour(scene)
    await scene.server.core.log.checkpoint()
    await scene.create("/after")
    before = fingerprint(scene.server)
    await scene.kill_master()
    (name,) = [name for name in scene.disk.files if name.endswith(".checkpoint")]
    whole = scene.disk.files[name]
    for size in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        disk = scene.disk.after_power_cut()
        disk.files[name] = bytearray(whole[:size])
        disk.synced[name] = bytes(whole[:size])
        scene.board.handlers.pop("master:1", None)
        await scene.start_master(disk)
        assert fingerprint(scene.server)[1:] == before[1:]
        assert "passed over" in (await scene.status()).recovery_note


@played()
async def test_a_torn_tail_is_dropped_and_said_so(scene: Scene) -> None:
    await scene.create("/kept")
    length = len(scene.disk.files[newest_log(scene.disk)])
    await scene.create("/torn")
    await scene.kill_master()
    name = newest_log(scene.disk)
    whole = bytes(scene.disk.files[name])
    for size in range(length + 1, len(whole), 7):
        disk = scene.disk.after_power_cut()
        disk.files[name] = bytearray(whole[:size])
        scene.board.handlers.pop("master:1", None)
        await scene.start_master(disk)
        assert await scene.listed("/") == ["/kept"]
        assert f"dropped the last {size - length} bytes" in (await scene.status()).recovery_note
    await scene.create("/torn")
    await scene.restart_master()
    assert await scene.listed("/") == ["/kept", "/torn"]


@played()
async def test_damage_in_the_middle_is_refused_with_file_offset_and_record(scene: Scene) -> None:
    await busy_hour(scene)
    name = newest_log(scene.disk)
    disk = scene.disk.after_power_cut()
    disk.files[name][200] ^= 1
    await refused_start(scene, disk, Corrupted, rf"{name}.*record \d+ at offset \d+ is damaged.*restore")


@played()
async def test_a_damaged_checkpoint_without_an_older_way_back_is_refused(scene: Scene) -> None:
    for _ in range(4):
        await scene.create(f"/{_}")
        await scene.server.core.log.checkpoint()
    disk = scene.disk.after_power_cut()
    for name in disk.files:
        if name.endswith(".checkpoint"):
            disk.files[name][60] ^= 1
    await refused_start(scene, disk, Corrupted, "no older checkpoint")


@played()
async def test_a_missing_log_file_is_refused(scene: Scene) -> None:
    await scene.create("/a")
    await scene.server.core.log._switch()
    await scene.create("/b")
    disk = scene.disk.after_power_cut()
    del disk.files["log/00000000000000000001.log"]
    await refused_start(scene, disk, Corrupted, "begins with record .*expected 1; a log file is missing")


@played()
async def test_a_log_of_another_version_or_program_is_refused(scene: Scene) -> None:
    disk = MemoryDisk()
    frame = encode_frame(encode(LogOpened(99, "t")), 1, 0)
    disk.files["log/00000000000000000001.log"] = bytearray(frame)
    disk.synced["log/00000000000000000001.log"] = frame
    await refused_start(scene, disk, IncompatibleFormat, f"format 99, this program reads format {FORMAT}")


@played()
async def test_a_file_that_is_no_log_at_all_is_refused(scene: Scene) -> None:
    disk = MemoryDisk()
    disk.files["log/00000000000000000001.log"] = bytearray(b"my holiday diary\n" * 100)
    await refused_start(scene, disk, Corrupted, "restore it from a copy")
    disk.files["log/diary.txt"] = bytearray(b"")
    await refused_start(scene, disk, IncompatibleFormat, "diary")


@played()
async def test_with_a_full_disk_changes_are_refused_reads_go_on_and_nothing_is_half_done(scene: Scene) -> None:
    await busy_hour(scene)
    before = fingerprint(scene.server)
    scene.disk.fail_writes = NoSpace("the disk is full")
    for attempt in (
        scene.create("/new"),
        scene.delete("/zero"),
        scene.rename("/zero", "/one"),
        scene.lease("/zero", 1),
    ):
        with pytest.raises(NoSpace, match="cannot log the change, so it was not made") as caught:
            await attempt
        assert caught.value.definite
    assert fingerprint(scene.server)[2] == before[2]
    assert (await scene.stat("/zero")).chunk_count == 1
    scene.disk.fail_writes = None
    await scene.create("/new")
    await scene.restart_master()
    assert "/new" in await scene.listed("/") and "/zero" in await scene.listed("/")


@played()
async def test_after_a_failed_sync_this_run_of_the_master_ends_and_the_next_one_replays_the_log(scene: Scene) -> None:
    await scene.create("/a")
    scene.disk.fail_syncs = DiskFailure("EIO")
    with pytest.raises(DiskFailure) as caught:
        await scene.create("/b")
    assert not caught.value.definite
    scene.disk.fail_syncs = None
    async with asyncio.timeout(5):
        await scene.server.wait_for_shutdown()
    assert "could not be synced" in scene.server.failure and scene.events("MasterFailed")
    with pytest.raises(Unavailable, match="refused"):
        await scene.listed("/")
    await scene.server.stop()
    await scene.restart_master()
    await scene.create("/c")
    assert await scene.listed("/") == ["/a", "/c"]


@played(chunkservers=3)
async def test_a_master_whose_log_failed_orders_no_removal_of_the_chunk_that_its_next_run_may_find(
    scene: Scene,
) -> None:
    await scene.create("/a")
    handle = scene.server.core.state.chunks.next_handle
    # The sync fails after the record was written: a process that is killed now leaves the record behind.
    scene.disk.fail_syncs = DiskFailure("EIO")
    with pytest.raises(DiskFailure):
        await scene.lease("/a")
    assert len(scene.holders(handle)) == 3
    answer = await scene.server.reporting.heartbeat(scene.chunkservers["cs1"].heartbeat([]))
    assert list(answer.removals) == []
    scene.disk.fail_syncs = None
    for path, data in scene.disk.files.items():
        scene.disk.synced[path] = bytes(data)  # Killed, not powered off.
    await scene.pass_time(3)
    await scene.restart_master()
    await scene.until(lambda: len(scene.replicas(handle)) == 3, 10)
    assert (await scene.stat("/a")).chunk_count == 1


@played(checkpoint_log_bytes=2000)
async def test_a_checkpoint_that_cannot_be_written_costs_nothing(scene: Scene) -> None:
    for number in range(20):
        await scene.create(f"/{number}")
    scene.disk.fail_writes = NoSpace("the disk is full")
    with pytest.raises(TabletopError):
        await scene.server.core.log.checkpoint()
    scene.disk.fail_writes = None
    await scene.create("/after")
    before = fingerprint(scene.server)
    await scene.restart_master()
    assert fingerprint(scene.server)[1:] == before[1:]
