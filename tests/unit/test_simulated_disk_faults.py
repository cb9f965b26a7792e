"""Faults of the simulated disk that are imposed and taken back, hooks on its operations, and background writeback."""

import asyncio

import pytest

from runtime.errors import DiskFailure, InvalidRequest, NoSpace
from runtime.faults.disk import (
    DroppedWrites,
    FullDisk,
    ListError,
    MisdirectedWrites,
    OpenError,
    Operation,
    ReadError,
    SlowDisk,
    SyncError,
    WriteError,
)
from tests.unit.test_simulated_disk import BLOCK, after_power_cut, read, told, write


def disk_of(simulation):
    """The node's disk, with its faults and hooks."""
    return simulation.world("a").simulated_disk


def test_the_end_of_one_error_ends_no_other():
    async def story(simulation):
        file = await write(simulation.world("a"), "log", b"data")
        disk = disk_of(simulation)
        first, second, third = disk.impose(ReadError("log")), disk.impose(ReadError("log")), disk.impose(ReadError())
        for end in (second, first, third):
            with pytest.raises(DiskFailure):
                await file.read_at(0, 4)
            end()
            end()
        assert await file.read_at(0, 4) == b"data"
        end = disk.impose(ReadError())
        disk.heal()
        assert await file.read_at(0, 4) == b"data"
        end()

    told(story)


def test_every_operation_can_fail():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        await world.disk.make_directory("bad")
        file = await write(world, "bad/file", b"data")
        attempts = [
            (OpenError("bad"), lambda: world.disk.open("bad/file", "read")),
            (OpenError("bad"), lambda: world.disk.open("bad/new", "create")),
            (ListError("bad"), lambda: world.disk.list("bad")),
            (ListError("bad"), lambda: world.disk.exists("bad/file")),
            (ListError("bad"), lambda: world.disk.size("bad/file")),
            (SyncError("bad"), lambda: world.disk.sync_directory("bad")),
            (SyncError("bad"), file.sync),
            (WriteError("bad"), lambda: world.disk.open("bad/new", "create")),
            (WriteError("bad"), lambda: world.disk.rename("bad/file", "other")),
            (WriteError("bad"), lambda: world.disk.remove("bad/file")),
            (WriteError("bad"), lambda: file.truncate(1)),
            (WriteError("bad"), lambda: world.disk.open("bad/file", "replace")),
        ]
        for fault, attempt in attempts:
            end = disk.impose(fault)
            with pytest.raises(DiskFailure, match=r"a:/bad.*Input/output error"):
                await attempt()
            assert await world.disk.exists("elsewhere") is False
            end()
        assert await read(world, "bad/file") == b"data" and await world.disk.list("bad") == ["file"]

    told(story)


def test_a_bad_place_lets_a_file_be_renamed():
    async def story(simulation):
        await write(simulation.world("a"), "log", b"x" * 100)
        disk_of(simulation).impose(WriteError("log", 50, 1))
        await simulation.world("a").disk.rename("log", "old")

    told(story)


def test_hooks_see_every_operation_with_its_place_and_the_first_error_is_raised():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        seen: list[Operation] = []

        def refuse(operation: Operation) -> DiskFailure | None:
            return DiskFailure("no more") if operation.verb == "sync" else None

        forgets = [disk.on_operation(seen.append), disk.on_operation(refuse)]
        await world.disk.make_directory("d")
        file = await world.disk.open("d/f", "create")
        await file.write_at(100, b"abc")
        await file.append(b"de")
        with pytest.raises(DiskFailure, match="no more"):
            await file.sync()
        await file.read_at(2, 50)
        await file.truncate(7)
        await file.size()
        await world.disk.rename("d/f", "d/g")
        await world.disk.open("d/g", "update")
        await world.disk.list("d")
        await world.disk.exists("d/g")
        await world.disk.size("d/g")
        await world.disk.sync_directory("d")
        await world.disk.remove("d/g")
        assert [(one.verb, one.path, one.offset, one.count, one.target) for one in seen] == [
            ("make_directory", "d", 0, 0, ""),
            ("create", "d/f", 0, 0, ""),
            ("write", "d/f", 100, 3, ""),
            ("write", "d/f", 103, 2, ""),
            ("sync", "d/f", 0, 0, ""),
            ("read", "d/f", 2, 50, ""),
            ("truncate", "d/f", 7, 0, ""),
            ("size", "d/f", 0, 0, ""),
            ("rename", "d/f", 0, 0, "d/g"),
            ("open", "d/g", 0, 0, ""),
            ("list", "d", 0, 0, ""),
            ("exists", "d/g", 0, 0, ""),
            ("size", "d/g", 0, 0, ""),
            ("sync_directory", "d", 0, 0, ""),
            ("remove", "d/g", 0, 0, ""),
        ]
        assert [one.number for one in seen] == list(range(seen[0].number, seen[0].number + len(seen)))
        for forget in forgets:
            forget()
        await (await world.disk.open("d/h", "create")).sync()
        assert len(seen) == 15

    told(story)


def test_a_failed_sync_that_loses_pages_is_never_made_good_by_the_next_one():
    async def story(simulation, loses_pages):
        world = simulation.world("a")
        file = await write(world, "file", b"1" * BLOCK)
        end = disk_of(simulation).impose(SyncError("file", loses_pages=loses_pages))
        await file.write_at(0, b"2" * BLOCK)
        with pytest.raises(DiskFailure):
            await file.sync()
        end()
        await file.sync()
        assert await read(world, "file") == b"2" * BLOCK
        return await read(after_power_cut(simulation), "file")

    assert told(lambda simulation: story(simulation, True)) == b"1" * BLOCK
    assert told(lambda simulation: story(simulation, False)) == b"2" * BLOCK


def test_a_dropped_write_lands_nowhere_and_only_the_chosen_ones_are_dropped():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        file = await write(world, "file", b"." * 4)
        await write(world, "other", b"." * 4)
        disk.impose(DroppedWrites("file", first=2, times=2))
        for place in range(4):
            await file.write_at(place, b"x")
        await (await world.disk.open("other", "update")).write_at(0, b"y")
        assert await read(world, "file") == b"x..x" and await read(world, "other") == b"y..."
        disk.impose(DroppedWrites("file", times=None))
        assert await file.append(b"gone") == 4 and await file.append(b"too") == 8
        assert await read(world, "file") == b"x..x" + bytes(7)

    told(story)


def test_only_writes_to_files_with_the_suffix_are_dropped():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        data, other = await write(world, "one.data", b"...."), await write(world, "one.meta", b"....")
        disk.impose(DroppedWrites("one", suffix=".data", times=None))
        await data.write_at(0, b"x")
        await other.write_at(0, b"x")
        assert await read(world, "one.data") == b"...." and await read(world, "one.meta") == b"x..."

    told(story)


def test_a_folder_that_was_exchanged_comes_back_as_it_was():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        await write(world, "file", b"old")
        give_back = disk.exchange()
        assert disk.paths() == []
        await write(world, "other", b"new")
        give_back()
        assert disk.paths() == ["file"] and await read(world, "file") == b"old"

    told(story)


def test_a_misdirected_write_lands_elsewhere_in_the_same_file():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        file = await write(world, "file", b"." * 10)
        disk.impose(MisdirectedWrites("file", shift=4))
        await file.write_at(1, b"ab")
        assert await read(world, "file") == b".....ab..."
        disk.impose(MisdirectedWrites("file", shift=4))
        await file.write_at(7, b"cd")
        assert await read(world, "file") == b"...cdab..."
        await file.write_at(0, b"ok")
        assert await read(world, "file") == b"ok.cdab..."

    told(story)


def test_space_that_others_take_adds_up_and_comes_back():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        file = await write(world, "a", b"x" * 400)
        ends = [disk.impose(FullDisk(300)), disk.impose(FullDisk(200)), disk.impose(FullDisk())]
        for free, end in ((0, ends[2]), (100, ends[0])):
            assert (await world.disk.usage()).free_bytes == free
            with pytest.raises(NoSpace):
                await file.append(b"y" * (free + 1))
            end()
        await file.append(b"y" * 400)
        assert (await world.disk.usage()).free_bytes == 0
        ends[1]()
        assert (await world.disk.usage()).free_bytes == 200

    told(story, capacity_bytes=1000)


def test_what_slows_a_disk_adds_up():
    async def story(simulation):
        disk, loop = disk_of(simulation), asyncio.get_running_loop()
        file = await write(simulation.world("a"), "file", b"x" * 1000)

        async def seconds(work) -> float:
            began = loop.time()
            await work
            return loop.time() - began

        ends = [disk.impose(SlowDisk(seconds_per_operation=2.0)), disk.impose(SlowDisk(seconds_per_operation=1.0))]
        ends += [disk.impose(SlowDisk(bytes_per_second=1000)), disk.impose(SlowDisk(bytes_per_second=500))]
        assert await seconds(file.read_at(0, 1000)) == pytest.approx(5.0)
        for end in ends[:3]:
            end()
        assert await seconds(file.read_at(0, 1000)) == pytest.approx(2.0)
        disk.heal()
        assert await seconds(file.read_at(0, 1000)) == 0.0
        disk.impose(SlowDisk(seconds_per_sync=3.0))
        assert await seconds(file.sync()) == pytest.approx(3.0, abs=0.01)

    told(story)


def test_a_range_rots_and_a_header_is_torn():
    async def story(simulation):
        world, disk = simulation.world("a"), disk_of(simulation)
        await write(world, "file", bytes([7]) * 100)
        disk.rot("file", 10, count=5, mask=0x0F)
        rotten = bytes([7]) * 10 + bytes([8]) * 5 + bytes([7]) * 85
        assert await read(world, "file") == rotten
        kept = disk.tear("file", 50, 20)
        torn = rotten[: 50 + kept] + bytes(20 - kept) + rotten[70:]
        assert 0 < kept < 20 and await read(world, "file") == torn
        assert await read(after_power_cut(simulation), "file") == torn
        with pytest.raises(InvalidRequest, match="has 100 bytes"):
            disk.rot("file", 99, count=2)

    for seed in range(5):
        told(story, seed)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_never_synced_is_written_back_after_a_while(seed):
    async def story(simulation):
        world = simulation.world("a")
        await write(world, "file", b"1" * BLOCK, sync=False, names=False)
        await asyncio.sleep(61)
        assert await read(after_power_cut(simulation), "file") == b"1" * BLOCK

    told(story, seed)


def test_nothing_is_written_back_within_half_a_minute_nor_where_writeback_is_off():
    async def story(simulation, seconds, writeback_seconds):
        disk_of(simulation).writeback_seconds = writeback_seconds
        await write(simulation.world("a"), "file", b"1" * BLOCK, sync=False)
        await asyncio.sleep(seconds)
        return await read(after_power_cut(simulation), "file")

    assert told(lambda simulation: story(simulation, 29, 30.0), quiet=True) == b""
    assert told(lambda simulation: story(simulation, 61, 30.0), quiet=True) == b"1" * BLOCK
    assert told(lambda simulation: story(simulation, 1000, float("inf")), quiet=True) == b""


def test_a_file_that_is_always_written_is_written_back_as_it_once_was():
    async def story(simulation):
        file = await write(simulation.world("a"), "file", b"0" * BLOCK)
        for number in range(1, 100):
            await file.write_at(0, b"%03d" % number)
            await asyncio.sleep(1)
        found = await read(after_power_cut(simulation), "file")
        assert 30 <= int(found[:3]) < 99

    told(story, quiet=True)
