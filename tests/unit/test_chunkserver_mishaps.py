"""What a store and its servers make of disks that refuse, files that vanish, and neighbours that come back."""

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import psutil
import pytest

from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import DiskFailure, NoSpace, Unavailable
from runtime.real.disk import RealDisk
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, Desk, until

DATA = random.Random(4).randbytes(3 * BLOCK + 77)


class FillingFile:
    """A file on a disk that is full after `room` more bytes; cutting it may fail too."""

    def __init__(self, file: Any, disk: "FillingDisk") -> None:
        self._file = file
        self._disk = disk

    async def write_at(self, offset: int, data: Any) -> None:
        if offset == self._disk.refuses_at:
            raise DiskFailure("cannot write: Input/output error")
        if self._disk.room is not None and len(data) > self._disk.room:
            await self._file.write_at(offset, memoryview(data)[: self._disk.room])
            raise NoSpace("the disk is full")
        await self._file.write_at(offset, data)

    async def truncate(self, size: int) -> None:
        if self._disk.refuses_to_cut:
            raise NoSpace("the disk is full")
        await self._file.truncate(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class FillingDisk:
    """A real disk of which a test says how much it still takes, and where it takes nothing."""

    def __init__(self, root: Path) -> None:
        self.room: int | None = None
        self.refuses_to_cut = False
        self.refuses_at: int | None = None
        self._disk = RealDisk(root)

    async def open(self, path: str, mode: Any) -> FillingFile:
        return FillingFile(await self._disk.open(path, mode), self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


def new_store(disk: Any, *, open_chunks: int = 8) -> ChunkStore:
    return ChunkStore(disk, syncs=False, reserve_bytes=0, open_chunks=open_chunks)


async def content(store: ChunkStore, handle: int) -> bytes:
    async with store.reading(handle, least_version=1, offset=0, count=CHUNK_BYTES) as found:
        assert found.file is not None
        return await found.file.read_at(0, found.length)


@pytest.mark.parametrize("refuses_to_cut", [False, True])
async def test_an_append_that_finds_the_disk_full_changes_nothing_and_a_later_gap_reads_as_zeros(
    tmp_path, refuses_to_cut
):
    disk = FillingDisk(tmp_path)
    store = new_store(disk)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(DATA[:100]))
    disk.room, disk.refuses_to_cut = 1000, refuses_to_cut
    with pytest.raises(NoSpace):
        await store.write(7, version=1, offset=100, data=memoryview(DATA))
    assert await content(store, 7) == DATA[:100]
    disk.room, disk.refuses_to_cut = None, False
    await store.write(7, version=1, offset=500, data=memoryview(b"end"))
    assert await content(store, 7) == DATA[:100] + bytes(400) + b"end"
    store.check_invariants()
    await store.close()


async def test_an_overwrite_in_place_that_stops_in_the_middle_may_have_happened_and_leaves_an_unsure_replica(tmp_path):
    """No disk should ask for space where bytes are already; this one does, as one that copies on write would."""
    disk = FillingDisk(tmp_path)
    store = new_store(disk)
    changed: list[int] = []
    store.on_change = changed.append
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(DATA))
    disk.room = BLOCK + 10
    changed.clear()
    with pytest.raises(DiskFailure, match="stopped in the middle") as failed:
        await store.write(7, version=1, offset=0, data=memoryview(bytes(3 * BLOCK)))
    disk.room = None
    assert not failed.value.definite, "the first block has its new bytes"
    assert store.state(7).is_unsure and changed == [7], "the master is to hear of it"
    with pytest.raises(Unavailable):
        await content(store, 7)
    assert (await store.compare(7)).doubtful_blocks == 1
    # If no replica has the torn block whole, it is taken as it lies: old bytes, but for those of the overwrite.
    await store.admit(7, version=1)
    assert await content(store, 7) == bytes(BLOCK + 10) + DATA[BLOCK + 10 :]
    await store.write(7, version=1, offset=BLOCK, data=memoryview(DATA[BLOCK : 2 * BLOCK]))
    assert await content(store, 7) == bytes(BLOCK) + DATA[BLOCK:]
    store.check_invariants()
    await store.close()


@pytest.mark.parametrize("refuses_to_cut", [False, True])
async def test_an_overwrite_that_extends_takes_its_space_first_so_that_a_full_disk_changes_nothing(
    tmp_path, refuses_to_cut
):
    disk = FillingDisk(tmp_path)
    store = new_store(disk)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(DATA[: 2 * BLOCK]))
    disk.room, disk.refuses_to_cut = 1000, refuses_to_cut
    with pytest.raises(NoSpace) as refused:
        await store.write(7, version=1, offset=100, data=memoryview(bytes(3 * BLOCK)))
    assert refused.value.definite
    assert not store.state(7).is_unsure and not store.state(7).is_damaged
    assert await content(store, 7) == DATA[: 2 * BLOCK]
    disk.room, disk.refuses_to_cut = None, False
    await store.write(7, version=1, offset=3 * BLOCK, data=memoryview(b"end"))
    assert await content(store, 7) == DATA[: 2 * BLOCK] + bytes(BLOCK) + b"end"
    store.check_invariants()
    await store.close()


async def test_an_overwrite_that_extends_and_then_fails_in_place_leaves_nothing_beyond_the_old_end(tmp_path):
    disk = FillingDisk(tmp_path)
    store = new_store(disk)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(DATA[:BLOCK]))
    disk.refuses_at = 100
    with pytest.raises(DiskFailure):
        await store.write(7, version=1, offset=100, data=memoryview(DATA))
    disk.refuses_at = None
    assert await content(store, 7) == DATA[:BLOCK]
    await store.write(7, version=1, offset=2 * BLOCK, data=memoryview(b"end"))
    assert await content(store, 7) == DATA[:BLOCK] + bytes(BLOCK) + b"end"
    store.check_invariants()
    await store.close()


async def test_more_chunks_are_used_at_once_than_files_are_kept_open(tmp_path):
    store = new_store(RealDisk(tmp_path), open_chunks=2)

    async def use(handle: int) -> None:
        await store.create(handle, version=1, capacity=CHUNK_BYTES)
        for number in range(5):
            await store.write(handle, version=1, offset=number * 1000, data=memoryview(DATA[:1000]))
            async with store.reading(handle, least_version=1, offset=0, count=CHUNK_BYTES):
                await asyncio.sleep(0)
                await store.verify(handle, offset=0, count=CHUNK_BYTES)

    await asyncio.gather(*(use(handle) for handle in range(1, 9)))
    assert [await content(store, handle) for handle in range(1, 9)] == [DATA[:1000] * 5] * 8
    store.check_invariants()
    await store.close()


async def test_after_a_crowd_no_more_files_stay_open_than_are_to(tmp_path):
    store = new_store(RealDisk(tmp_path), open_chunks=2)
    for handle in range(1, 9):
        await store.create(handle, version=1, capacity=CHUNK_BYTES)
        await store.write(handle, version=1, offset=0, data=memoryview(DATA[:1000]))
    async with contextlib.AsyncExitStack() as stack:
        for handle in range(1, 9):
            await stack.enter_async_context(store.reading(handle, least_version=1, offset=0, count=CHUNK_BYTES))
        await stack.enter_async_context(store.reading(1, least_version=1, offset=0, count=CHUNK_BYTES))
    await store.create(9, version=1, capacity=CHUNK_BYTES)
    kept = [file.path for file in psutil.Process().open_files() if str(tmp_path) in file.path]
    assert len(kept) <= 2 * 2 + 1, "two files a chunk, and one new metadata file"
    await store.close()


@pytest.mark.parametrize("path_of", [data_path, metadata_path])
async def test_a_file_that_vanished_is_damage_for_the_reader_and_for_the_master(tmp_path, path_of):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1")
        await desk.grant(7, "cs1")
        await desk.write("cs1", 7, 0, b"abc")
        address = desk.servers["cs1"].control_address
        await desk.stop("cs1")
        reports = desk.master.reports
        await desk.start("cs1", control_address=address)
        (tmp_path / "cs1" / path_of(7)).unlink()
        reply, _ = await desk.read("cs1", 7, 0, 3)
        assert reply.error_kind == "Corrupted"
        await until(lambda: [report.handle for report in reports] == [7])


async def test_a_push_through_a_neighbour_that_was_restarted_succeeds_at_the_first_try(tmp_path):
    async with Desk(tmp_path) as desk:
        await desk.start("cs1", "cs2")
        _, reply = await desk.push(DATA, "cs1", "cs2")
        assert list(reply.stored) == ["cs1", "cs2"]
        address = desk.servers["cs2"].bulk_address
        await desk.stop("cs2")
        await desk.start("cs2", bulk_address=address)
        _, reply = await desk.push(DATA, "cs1", "cs2")
        assert list(reply.stored) == ["cs1", "cs2"] and not reply.failed
