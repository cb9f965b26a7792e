"""Disks are alike in both worlds: contents, names, errors, locks."""

import pytest

from runtime.errors import (
    AlreadyExists,
    Conflict,
    DirectoryNotEmpty,
    DiskFailure,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    TabletopError,
)
from tests.conformance.both_worlds import in_both_worlds


async def written(disk, path, data=b"data"):
    """A file with this content."""
    file = await disk.open(path, "replace")
    await file.write_at(0, data)
    await file.close()


async def content(disk, path):
    """All bytes of a file."""
    file = await disk.open(path, "read")
    data = await file.read_at(0, 1_000_000)
    await file.close()
    return data


@in_both_worlds
async def test_what_was_written_is_read(place, desk):
    file = await desk.disk.open("a", "create")
    await file.write_at(0, b"hello")
    await file.write_at(8, memoryview(b"world"))
    assert await file.read_at(0, 100) == b"hello\0\0\0world"
    assert await file.read_at(4, 3) == b"o\0\0"
    assert await file.read_at(13, 5) == b"" and await file.read_at(100, 5) == b""
    assert await file.size() == 13 and await desk.disk.size("a") == 13
    target = bytearray(20)
    assert await file.read_into(8, memoryview(target)) == 5
    assert bytes(target[:6]) == b"world\0"
    assert await file.read_into(50, memoryview(target)) == 0
    await file.sync()
    await file.close()
    await file.close()


@in_both_worlds
async def test_appends_go_to_the_end_and_say_where(place, desk):
    file = await desk.disk.open("a", "create")
    assert [await file.append(b"123"), await file.append(bytearray(b"45")), await file.append(b"")] == [0, 3, 5]
    await file.write_at(10, b"x")
    assert await file.append(b"y") == 11
    await file.truncate(2)
    assert await file.append(b"z") == 2
    assert await file.read_at(0, 100) == b"12z"


@in_both_worlds
async def test_truncating_cuts_and_extends_with_zeros(place, desk):
    file = await desk.disk.open("a", "create")
    await file.write_at(0, b"0123456789")
    await file.truncate(4)
    await file.truncate(6)
    assert await file.read_at(0, 100) == b"0123\0\0"


@in_both_worlds
async def test_the_modes_of_opening(place, desk):
    for mode in ("read", "update"):
        with pytest.raises(NotFound):
            await desk.disk.open("a", mode)
    await written(desk.disk, "a", b"12345")
    with pytest.raises(AlreadyExists):
        await desk.disk.open("a", "create")
    file = await desk.disk.open("a", "update")
    await file.write_at(1, b"x")
    await file.close()
    assert await content(desk.disk, "a") == b"1x345"
    file = await desk.disk.open("a", "replace")
    assert await file.size() == 0
    await file.close()
    with pytest.raises(NotFound):
        await desk.disk.open("folder/a", "create")


@in_both_worlds
async def test_a_file_opened_for_reading_is_not_written(place, desk):
    await written(desk.disk, "a")
    file = await desk.disk.open("a", "read")
    for attempt in (file.write_at(0, b"x"), file.append(b"x"), file.truncate(0)):
        with pytest.raises(TabletopError):
            await attempt
    assert await content(desk.disk, "a") == b"data"


@in_both_worlds
async def test_a_closed_file_is_a_disk_failure(place, desk):
    file = await desk.disk.open("a", "create")
    await file.close()
    for attempt in (file.read_at(0, 1), file.write_at(0, b"x"), file.size(), file.sync(), file.truncate(0)):
        with pytest.raises(DiskFailure):
            await attempt


@in_both_worlds
async def test_two_handles_see_the_same_file(place, desk):
    one = await desk.disk.open("a", "create")
    other = await desk.disk.open("a", "update")
    await one.write_at(0, b"from one")
    assert await other.read_at(0, 100) == b"from one"
    await other.write_at(0, b"FROM")
    assert await one.read_at(0, 100) == b"FROM one"


@in_both_worlds
async def test_folders_are_made_and_listed_in_order(place, desk):
    await desk.disk.make_directory("a/b/c")
    await desk.disk.make_directory("a/b")
    await desk.disk.make_directory("a/b", spread=True)
    for name in ("zebra", "Ant", "bee", "10", "9", "é"):
        await written(desk.disk, f"a/{name}")
    assert await desk.disk.list("a") == ["10", "9", "Ant", "b", "bee", "zebra", "é"]
    assert await desk.disk.list() == ["a"] and await desk.disk.list("a/b/c") == []
    assert await desk.disk.exists("a/b") and await desk.disk.exists("a/bee") and await desk.disk.exists("")
    assert not await desk.disk.exists("a/x") and not await desk.disk.exists("x/y")
    with pytest.raises(InvalidRequest):
        await desk.disk.exists("n" * 300)
    with pytest.raises(NotFound):
        await desk.disk.list("nothing")
    with pytest.raises(NotADirectory):
        await desk.disk.list("a/bee")


@in_both_worlds
async def test_a_file_in_the_way_of_a_folder_and_the_other_way_round(place, desk):
    await desk.disk.make_directory("folder")
    await written(desk.disk, "file")
    with pytest.raises(AlreadyExists):
        await desk.disk.make_directory("file")
    with pytest.raises(NotADirectory):
        await desk.disk.make_directory("file/below")
    with pytest.raises(NotADirectory):
        await desk.disk.open("file/below", "create")
    with pytest.raises(NotADirectory):
        await desk.disk.open("file/below", "read")
    for mode in ("update", "replace"):
        with pytest.raises(IsADirectory):
            await desk.disk.open("folder", mode)
    with pytest.raises(AlreadyExists):
        await desk.disk.open("folder", "create")


@in_both_worlds
async def test_a_rename_replaces_the_target_in_one_step(place, desk):
    await desk.disk.make_directory("folder")
    await written(desk.disk, "new", b"new")
    await written(desk.disk, "folder/old", b"old")
    await desk.disk.rename("new", "folder/old")
    assert await content(desk.disk, "folder/old") == b"new" and not await desk.disk.exists("new")
    await desk.disk.rename("folder/old", "folder/old")
    assert await content(desk.disk, "folder/old") == b"new"
    with pytest.raises(NotFound):
        await desk.disk.rename("nothing", "x")
    with pytest.raises(NotFound):
        await desk.disk.rename("folder/old", "nowhere/x")


@in_both_worlds
async def test_a_folder_is_renamed_with_all_that_is_in_it(place, desk):
    await desk.disk.make_directory("a/b")
    await written(desk.disk, "a/b/file", b"deep")
    await desk.disk.rename("a", "z")
    assert await content(desk.disk, "z/b/file") == b"deep" and await desk.disk.list() == ["z"]
    await desk.disk.make_directory("full")
    await written(desk.disk, "full/file")
    with pytest.raises(DirectoryNotEmpty):
        await desk.disk.rename("z", "full")
    with pytest.raises(NotADirectory):
        await desk.disk.rename("z", "full/file")
    with pytest.raises(IsADirectory):
        await desk.disk.rename("full/file", "z")
    with pytest.raises(TabletopError):
        await desk.disk.rename("z", "z/b/inside")
    await desk.disk.make_directory("empty")
    await desk.disk.rename("z", "empty")
    assert await content(desk.disk, "empty/b/file") == b"deep"


@in_both_worlds
async def test_files_and_empty_folders_are_removed(place, desk):
    await desk.disk.make_directory("a")
    await written(desk.disk, "a/file")
    with pytest.raises(DirectoryNotEmpty):
        await desk.disk.remove("a")
    await desk.disk.remove("a/file")
    await desk.disk.remove("a")
    assert await desk.disk.list() == []
    for path in ("a", "a/file"):
        with pytest.raises(NotFound):
            await desk.disk.remove(path)


@in_both_worlds
async def test_an_open_file_outlives_its_name(place, desk):
    file = await desk.disk.open("a", "create")
    await file.write_at(0, b"still here")
    await desk.disk.rename("a", "b")
    await file.write_at(0, b"STILL")
    assert await content(desk.disk, "b") == b"STILL here"
    await desk.disk.remove("b")
    assert await file.read_at(0, 100) == b"STILL here"
    await written(desk.disk, "b", b"another")
    assert await file.read_at(0, 100) == b"STILL here"


@in_both_worlds
async def test_sizes_of_what_is_not_there(place, desk):
    with pytest.raises(NotFound):
        await desk.disk.size("nothing")
    await written(desk.disk, "file")
    with pytest.raises(NotADirectory):
        await desk.disk.size("file/below")


@in_both_worlds
async def test_names_are_synced(place, desk):
    await desk.disk.make_directory("a")
    await desk.disk.sync_directory("a")
    await desk.disk.sync_directory()
    with pytest.raises(NotFound):
        await desk.disk.sync_directory("nothing")


@in_both_worlds
async def test_no_path_leaves_the_disk(place, desk):
    for path in ("/a", "../a", "a/../../b", "a\0b"):
        for attempt in (desk.disk.open(path, "create"), desk.disk.list(path), desk.disk.remove(path)):
            with pytest.raises(InvalidRequest):
                await attempt


@in_both_worlds
async def test_slashes_too_many_change_nothing(place, desk):
    await desk.disk.make_directory("a//b/")
    await written(desk.disk, "a/b//file")
    assert await desk.disk.list("a/b") == ["file"] and await content(desk.disk, "a//b/file") == b"data"


@in_both_worlds
async def test_a_folder_is_held_by_one(place, desk):
    await desk.disk.make_directory("a")
    await desk.disk.lock("a")
    with pytest.raises(Conflict):
        await desk.disk.lock("a")
    await desk.disk.unlock("a")
    await desk.disk.unlock("a")
    await desk.disk.lock("a")
    with pytest.raises(NotFound):
        await desk.disk.lock("nothing")
    assert await desk.disk.list("a") == ["LOCK"]


@in_both_worlds
async def test_space_is_known(place, desk):
    usage = await desk.disk.usage()
    assert 0 < usage.free_bytes <= usage.total_bytes


@in_both_worlds
async def test_a_name_too_long_is_invalid(place, desk):
    with pytest.raises(InvalidRequest):
        await desk.disk.open("x" * 5000, "create")
