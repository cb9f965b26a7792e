"""The store under many tasks at once, on a disk where every operation lets others run in between."""

import asyncio
import random
from typing import Any

import pytest

from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.opening import open_store
from runtime.errors import NoSpace, NotFound, StaleVersion
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, new_world, settings
from tests.unit.test_chunkserver_power_cuts import StrictDisk, StrictFile


class SlowFile(StrictFile):
    """Others run before and after each operation."""

    async def read_into(self, offset: int, target: memoryview) -> int:
        await asyncio.sleep(0)
        return await super().read_into(offset, target)

    async def write_at(self, offset: int, data: Any) -> None:
        await asyncio.sleep(0)
        middle = len(data) // 2
        await super().write_at(offset, data[:middle])
        await asyncio.sleep(0)
        await super().write_at(offset + middle, data[middle:])

    async def close(self) -> None:
        await asyncio.sleep(0)


class SlowDisk(StrictDisk):
    async def open(self, path: str, mode: Any) -> SlowFile:
        await asyncio.sleep(0)
        file = await super().open(path, mode)
        return SlowFile(path, file.content, self)


async def slow_store(tmp_path, open_chunks: int) -> ChunkStore:
    world = new_world(tmp_path)
    world.disk = SlowDisk()
    await (await open_store(world, settings())).store.close()
    return ChunkStore(world.disk, syncs=False, reserve_bytes=0, open_chunks=open_chunks)


@pytest.mark.parametrize("seed", range(5))
async def test_a_reader_never_sees_half_a_write(tmp_path, seed):
    source = random.Random(seed)
    store = await slow_store(tmp_path, 2)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(bytes(4 * BLOCK)))
    done = False

    async def write() -> None:
        nonlocal done
        for number in range(1, 30):
            offset, count = source.randrange(3 * BLOCK), source.randrange(1, BLOCK)
            await store.write(7, version=1, offset=offset, data=memoryview(bytes([number]) * count))
        done = True

    async def read() -> None:
        while not done:
            offset, count = source.randrange(4 * BLOCK), source.randrange(1, 2 * BLOCK)
            await store.verify(7, offset=offset, count=count)  # Raises Corrupted if blocks and checksums do not fit.

    await asyncio.gather(write(), *(read() for _ in range(4)))


@pytest.mark.parametrize("seed", range(5))
async def test_more_chunks_than_may_be_open_are_used_at_once_without_mixing_them_up(tmp_path, seed):
    store = await slow_store(tmp_path, 3)
    models = {handle: bytearray() for handle in range(1, 13)}

    async def use(handle: int) -> None:
        source = random.Random(1000 * seed + handle)
        await store.create(handle, version=1, capacity=CHUNK_BYTES)
        for _ in range(12):
            if source.random() < 0.5 or not models[handle]:
                data = source.randbytes(source.randrange(1, 3000))
                await store.write(handle, version=1, offset=len(models[handle]), data=memoryview(data))
                models[handle] += data
            else:
                assert await store.verify(handle, offset=0, count=CHUNK_BYTES) == len(models[handle])

    await asyncio.gather(*(use(handle) for handle in models))
    for handle, model in models.items():
        async with store.reading(handle, least_version=1, offset=0, count=CHUNK_BYTES) as found:
            assert await found.file.read_at(0, found.length) == model
    store.check_invariants()


async def test_a_deleted_chunk_is_gone_for_everybody_who_waited_for_it(tmp_path):
    store = await slow_store(tmp_path, 3)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(bytes(BLOCK)))
    results = await asyncio.gather(
        store.remove(7, version=1),
        store.write(7, version=1, offset=0, data=memoryview(b"abc")),
        store.verify(7, offset=0, count=BLOCK),
        store.advance(7, from_version=1, to_version=2),
        return_exceptions=True,
    )
    assert results[0] == 1
    assert all(isinstance(result, NotFound) or not isinstance(result, Exception) for result in results[1:])
    assert store.state(7) is None and len(store) == 0


async def test_a_write_meets_exactly_the_version_it_was_ordered_under(tmp_path):
    store = await slow_store(tmp_path, 3)
    await store.create(7, version=3, capacity=CHUNK_BYTES)
    for version in (2, 4):
        with pytest.raises(StaleVersion):
            await store.write(7, version=version, offset=0, data=memoryview(b"abc"))
    assert store.state(7).length == 0


async def test_a_full_disk_refuses_growth_changes_nothing_and_still_takes_overwrites(tmp_path):
    world = new_world(tmp_path)
    store = (await open_store(world, settings())).store
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * BLOCK))
    await store.close()
    await world.disk.unlock("")
    full = (await open_store(new_world(tmp_path), settings(reserve_bytes=1 << 60))).store
    with pytest.raises(NoSpace) as raised:
        await full.write(7, version=1, offset=BLOCK, data=memoryview(b"b"))
    assert raised.value.definite and full.state(7).length == BLOCK
    await full.write(7, version=1, offset=10, data=memoryview(b"b"))
    assert await full.verify(7, offset=0, count=CHUNK_BYTES) == BLOCK


@pytest.mark.parametrize("offset", [BLOCK + 10, 50], ids=["append", "overwrite"])
async def test_a_disk_that_fills_up_in_the_middle_of_a_write_leaves_the_chunk_as_it_was(tmp_path, offset):
    store = await slow_store(tmp_path, 3)
    await store.create(7, version=1, capacity=CHUNK_BYTES)
    await store.write(7, version=1, offset=0, data=memoryview(b"a" * (BLOCK + 10)))
    original = SlowFile.write_at

    async def fails(self: SlowFile, at: int, data: Any) -> None:
        grows_by = at + len(data) - (BLOCK + 10)
        if self.path.endswith(".data") and grows_by > 0:  # Only what is new needs space, and 1000 bytes are left.
            await original(self, at, data[: len(data) - grows_by + 1000])
            raise NoSpace("no space left")
        await original(self, at, data)

    SlowFile.write_at = fails  # type: ignore[method-assign]
    try:
        with pytest.raises(NoSpace):
            await store.write(7, version=1, offset=offset, data=memoryview(b"b" * 2 * BLOCK))
    finally:
        SlowFile.write_at = original  # type: ignore[method-assign]
    assert store.state(7).length == BLOCK + 10
    async with store.reading(7, least_version=1, offset=0, count=CHUNK_BYTES) as found:
        assert await found.file.read_at(0, found.length) == b"a" * (BLOCK + 10)
    await store.write(7, version=1, offset=3 * BLOCK, data=memoryview(b"c"))
    async with store.reading(7, least_version=1, offset=0, count=CHUNK_BYTES) as found:
        expected = b"a" * (BLOCK + 10) + bytes(2 * BLOCK - 10) + b"c"
        assert await found.file.read_at(0, found.length) == expected
