"""The simulated disk: what survives a power cut, and faults that are set on purpose."""

import asyncio

import pytest

from runtime.errors import Conflict, DiskFailure, NoSpace
from runtime.faults.disk import LyingSync, ReadError, ShortWrites, SyncError, WriteError
from runtime.simulated.disk_image import SECTOR_BYTES
from runtime.simulated.world import Simulation

BLOCK = 4 * SECTOR_BYTES


def told(story, seed=0, *, quiet=False, **node):
    """Tell `story(simulation)` with one node, "a"."""
    with Simulation(seed, quiet=quiet) as simulation:
        simulation.add_node("a", **node)
        return simulation.run(story(simulation))


async def write(world, path, data, *, sync=True, names=True):
    """A file with these bytes, made durable as far as is asked for."""
    file = await world.disk.open(path, "replace")
    await file.write_at(0, data)
    if sync:
        await file.sync()
    if names:
        await world.disk.sync_directory(path.rpartition("/")[0])
    return file


async def read(world, path):
    """All bytes of a file."""
    return await (await world.disk.open(path, "read")).read_at(0, 1 << 30)


def after_power_cut(simulation, **how):
    """The node's next life after a power cut."""
    simulation.power_cut("a", **how)
    return simulation.restart("a")


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_a_power_cut(seed):
    async def story(simulation):
        await write(simulation.world("a"), "kept", b"k" * 10_000)
        world = after_power_cut(simulation)
        assert await read(world, "kept") == b"k" * 10_000

    told(story, seed)


def test_a_kill_keeps_what_was_not_synced():
    async def story(simulation):
        await write(simulation.world("a"), "file", b"page cache", sync=False, names=False)
        simulation.kill("a")
        assert await read(simulation.restart("a"), "file") == b"page cache"

    told(story)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_power_cut_on_a_quiet_tape_or_on_request_loses_all_that_was_not_synced(quiet):
    async def story(simulation):
        file = await write(simulation.world("a"), "file", b"1" * BLOCK)
        await file.write_at(0, b"2" * BLOCK * 2)
        await write(simulation.world("a"), "unnamed", b"x", names=False)
        world = after_power_cut(simulation, loses_all=not quiet)
        assert await world.disk.list() == ["file"]
        assert await read(world, "file") == b"1" * BLOCK

    told(story, quiet=quiet)


def test_unsynced_sectors_are_lost_or_kept_or_torn_each_by_itself():
    fates = []

    async def story(simulation):
        file = await write(simulation.world("a"), "file", b"o" * BLOCK)
        await file.write_at(0, b"n" * BLOCK)
        content = await read(after_power_cut(simulation), "file")
        assert len(content) == BLOCK and set(content) <= set(b"on")
        for begin in range(0, BLOCK, SECTOR_BYTES):
            sector = content[begin : begin + SECTOR_BYTES]
            assert sector == b"n" * sector.count(b"n") + b"o" * sector.count(b"o")
            fates.append("lost" if b"n" not in sector else "kept" if b"o" not in sector else "torn")

    for seed in range(30):
        told(story, seed)
    assert {"lost", "kept", "torn"} == set(fates)


def test_an_unsynced_tail_may_leave_any_length():
    lengths = []

    async def story(simulation):
        file = await write(simulation.world("a"), "log", b"a" * 1000)
        await file.append(b"b" * 5000)
        content = await read(after_power_cut(simulation), "log")
        assert content.startswith(b"a" * 1000) and 1000 <= len(content) <= 6000
        lengths.append(len(content))

    for seed in range(20):
        told(story, seed)
    assert len(set(lengths)) > 5


@pytest.mark.parametrize("seed", range(30))
def test_a_rename_is_one_step_also_for_a_power_cut(seed):
    async def story(simulation):
        world = simulation.world("a")
        await write(world, "current", b"old" * 1000)
        await write(world, "new", b"new" * 2000)
        await world.disk.rename("new", "current")
        if seed % 2:
            await world.disk.sync_directory()
        content = await read(after_power_cut(simulation), "current")
        assert content in (b"old" * 1000, b"new" * 2000)
        assert not seed % 2 or content == b"new" * 2000

    told(story, seed)


def test_renaming_before_syncing_the_bytes_can_lose_them():
    lost = []

    async def story(simulation):
        world = simulation.world("a")
        await write(world, "current", b"old" * 1000)
        await write(world, "new", b"new" * 1000, sync=False, names=False)
        await world.disk.rename("new", "current")
        await world.disk.sync_directory()
        lost.append(await read(after_power_cut(simulation), "current") != b"new" * 1000)

    for seed in range(10):
        told(story, seed)
    assert any(lost)


@pytest.mark.parametrize("seed", range(10))
def test_a_synced_rename_to_another_folder_leaves_one_name(seed):
    async def story(simulation):
        world = simulation.world("a")
        await world.disk.make_directory("from")
        await world.disk.make_directory("to")
        await write(world, "from/file", b"moved", names=False)
        await world.disk.rename("from/file", "to/file")
        await world.disk.sync_directory("to")
        world = after_power_cut(simulation)
        assert await world.disk.list("to") == ["file"] and await world.disk.list("from") == []
        assert await read(world, "to/file") == b"moved"

    told(story, seed)


def test_names_in_a_renamed_folder_can_be_synced_under_its_new_name():
    async def story(simulation):
        world = simulation.world("a")
        await world.disk.make_directory("before")
        await write(world, "before/file", b"inside", names=False)
        await world.disk.rename("before", "after")
        await world.disk.sync_directory("after")
        assert await read(after_power_cut(simulation), "after/file") == b"inside"

    told(story, quiet=True)


def test_removing_is_not_durable_before_the_folder_is_synced():
    async def story(simulation):
        world = simulation.world("a")
        await world.disk.make_directory("folder")
        await write(world, "folder/file", b"zombie")
        await world.disk.remove("folder/file")
        await world.disk.remove("folder")
        world = after_power_cut(simulation)
        assert await read(world, "folder/file") == b"zombie"
        await world.disk.remove("folder/file")
        await world.disk.sync_directory("folder")
        assert await after_power_cut(simulation).disk.list("folder") == []

    told(story, quiet=True)


def test_a_sync_covers_what_was_written_before_it_began_and_no_more():
    async def story(simulation):
        world = simulation.world("a")
        simulation.world("a").simulated_disk.speed.seconds_per_sync = 1.0
        file = await write(world, "file", b"1" * BLOCK, names=True)
        await file.write_at(0, b"2" * SECTOR_BYTES)
        syncing = asyncio.create_task(file.sync())
        await asyncio.sleep(0.5)
        await file.write_at(SECTOR_BYTES, b"3" * SECTOR_BYTES)
        await syncing
        content = await read(after_power_cut(simulation), "file")
        assert content[: 2 * SECTOR_BYTES] == b"2" * SECTOR_BYTES + b"1" * SECTOR_BYTES

    told(story, quiet=True)


def test_a_power_cut_during_a_sync_promises_nothing():
    async def story(simulation):
        world = simulation.world("a")
        file = await write(world, "file", b"1" * BLOCK)
        simulation.world("a").simulated_disk.speed.seconds_per_sync = 1.0
        await file.write_at(0, b"2" * BLOCK)
        world.spawn(file.sync(), "sync")
        await asyncio.sleep(0.5)
        assert await read(after_power_cut(simulation), "file") == b"1" * BLOCK

    told(story, quiet=True)


def test_a_lying_sync_is_found_out_at_a_power_cut():
    async def story(simulation):
        world = simulation.world("a")
        file = await write(world, "file", b"1" * BLOCK)
        world.simulated_disk.impose(LyingSync("fi"))
        await file.write_at(0, b"2" * BLOCK)
        await file.sync()
        assert await read(world, "file") == b"2" * BLOCK
        assert await read(after_power_cut(simulation), "file") == b"1" * BLOCK

    told(story, quiet=True)


def test_bit_rot_is_read_and_survives_a_restart():
    async def story(simulation):
        await write(simulation.world("a"), "file", b"abc")
        simulation.world("a").simulated_disk.rot("file", 1, mask=0x01)
        assert await read(simulation.world("a"), "file") == b"acc"
        assert await read(after_power_cut(simulation), "file") == b"acc"

    told(story)


def test_errors_are_set_by_path_and_end_when_they_are_taken_back():
    async def story(simulation):
        world, disk = simulation.world("a"), simulation.world("a").simulated_disk
        await world.disk.make_directory("bad")
        file = await write(world, "bad/file", b"data")
        other = await write(world, "good", b"data")
        for kind, attempt in {
            ReadError: lambda it: it.read_at(0, 4),
            WriteError: lambda it: it.append(b"x"),
            SyncError: lambda it: it.sync(),
        }.items():
            end = disk.impose(kind("bad/"))
            with pytest.raises(DiskFailure, match=r"bad/file.*Input/output error") as caught:
                await attempt(file)
            assert not caught.value.definite
            await attempt(other)
            end()
            await attempt(file)

    told(story)


def test_a_bad_place_fails_only_what_touches_it():
    async def story(simulation):
        world = simulation.world("a")
        file = await write(world, "log", b"x" * 3000)
        world.simulated_disk.impose(ReadError("log", 1000, 10))
        world.simulated_disk.impose(WriteError("log", 1000, 10))
        assert len(await file.read_at(0, 1000)) == 1000 and len(await file.read_at(1010, 5000)) == 1990
        for offset, count in ((0, 1001), (1009, 1), (1005, 2)):
            with pytest.raises(DiskFailure, match="at byte 1000"):
                await file.read_at(offset, count)
        with pytest.raises(DiskFailure):
            await file.write_at(999, b"ab")

    told(story)


def test_a_full_disk_refuses_and_changes_nothing():
    async def story(simulation):
        world = simulation.world("a")
        file = await write(world, "a", b"x" * 600)
        assert (await world.disk.usage()).free_bytes == 400
        with pytest.raises(NoSpace):
            await file.append(b"y" * 401)
        assert await file.size() == 600
        await file.write_at(0, b"z" * 600)
        await file.append(b"y" * 400)
        await write(world, "b", b"")
        await world.disk.remove("a")
        assert (await world.disk.usage()).free_bytes == 1000
        await write(world, "b", b"x" * 1000)
        await write(world, "c", b"")
        await world.disk.rename("c", "b")
        assert (await world.disk.usage()).free_bytes == 1000

    told(story, capacity_bytes=1000)


def test_a_disk_set_to_short_writes_leaves_what_fits_or_half():
    async def story(simulation):
        world = simulation.world("a")
        disk = world.simulated_disk
        disk.impose(ShortWrites())
        file = await write(world, "a", b"x" * 600)
        disk.capacity_bytes = 1000
        with pytest.raises(NoSpace, match="free some space"):
            await file.append(b"y" * 600)
        assert await read(world, "a") == b"x" * 600 + b"y" * 400
        with pytest.raises(NoSpace):
            await file.write_at(990, b"z" * 20)
        assert (await read(world, "a"))[990:] == b"z" * 10
        assert (await world.disk.usage()).free_bytes == 0
        disk.impose(WriteError("a"))
        with pytest.raises(DiskFailure, match="look at the system's log"):
            await file.write_at(0, b"0" * 10)
        assert (await read(world, "a"))[:10] == b"0" * 5 + b"x" * 5

    told(story)


def test_a_slow_disk_takes_its_time_one_operation_after_the_other():
    async def story(simulation):
        world, speed = simulation.world("a"), simulation.world("a").simulated_disk.speed
        file = await write(world, "file", b"x" * 1000)
        speed.bytes_per_second = 1000.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(file.read_at(0, 1000), file.read_at(0, 500))
        assert loop.time() - began == pytest.approx(1.5)
        speed.bytes_per_second, speed.seconds_per_operation = 0.0, 2.0
        began = loop.time()
        await file.read_at(0, 1000)
        assert loop.time() - began == pytest.approx(2.0)

    told(story)


def test_a_folder_is_free_again_when_its_holder_is_killed():
    async def story(simulation):
        world = simulation.world("a")
        await simulation.on(world, world.disk.make_directory("home"))
        await simulation.on(world, world.disk.lock("home"))
        with pytest.raises(Conflict):
            await simulation.on(world, world.disk.lock("home"))
        simulation.kill("a")
        again = simulation.restart("a")
        await simulation.on(again, again.disk.lock("home"))

    told(story)


def test_an_emptied_disk_is_empty():
    async def story(simulation):
        world = simulation.world("a")
        await world.disk.make_directory("folder")
        await write(world, "folder/file", b"gone")
        world.simulated_disk.erase()
        assert await world.disk.list() == []

    told(story)
