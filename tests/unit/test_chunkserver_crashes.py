"""A chunkserver is killed at every single change of its disk, and opens its store again.

For each scenario, the process dies before, in the middle of, or after change number 1, 2, 3, ... until the scenario
runs to its end. Afterwards every byte that was acknowledged and is not under the interrupted write must be there, or
its damage must be noticed by the read. (A header that was written in part may have been any header: then the replica is
unsure, and counts its damaged blocks when it is compared.)
"""

import random
from pathlib import Path

import pytest

from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.storage.opening import open_store
from runtime.errors import Corrupted, Unavailable
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, DyingDisk, Killed, Moment, new_world, settings

HANDLE = 7
SOURCE = random.Random(1)
Write = tuple[int, bytes]


def some(count: int) -> bytes:
    return SOURCE.randbytes(count)


SCENARIOS: dict[str, list[Write]] = {
    "appends": [(0, some(2 * BLOCK)), (2 * BLOCK, some(100)), (2 * BLOCK + 100, some(BLOCK))],
    "overwrite of whole blocks": [(0, some(2 * BLOCK)), (0, some(BLOCK))],
    "overwrite of parts": [(0, some(2 * BLOCK + 500)), (100, some(BLOCK))],
    "overwrite that extends": [(0, some(BLOCK + 500)), (BLOCK + 200, some(2 * BLOCK))],
    "two overwrites": [(0, some(3 * BLOCK)), (BLOCK, some(BLOCK)), (10, some(2 * BLOCK))],
    "gap": [(0, some(100)), (3 * BLOCK + 5, some(50))],
}


class Model:
    """What was acknowledged, and the write that was interrupted."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.interrupted: Write | None = None

    async def write(self, store: ChunkStore, offset: int, data: bytes) -> None:
        self.interrupted = (offset, data)
        await store.write(HANDLE, version=1, offset=offset, data=memoryview(data))
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.interrupted = None

    def is_open(self, position: int) -> bool:
        if self.interrupted is None:
            return False
        offset, data = self.interrupted
        return offset <= position < offset + len(data)


async def run_until_killed(folder: Path, moment: Moment, writes: list[Write], fatal: int) -> Model:
    world = new_world(folder)
    world.disk = disk = DyingDisk(folder, moment)
    model = Model()
    store = (await open_store(world, settings())).store
    await store.create(HANDLE, version=1, capacity=CHUNK_BYTES)
    moment.changes, moment.fatal = 0, fatal
    try:
        for offset, data in writes:
            await model.write(store, offset, data)
    except Killed:
        pass
    await disk._disk.unlock("")
    return model


async def damaged_blocks(store: ChunkStore, model: Model) -> list[int]:
    """Compares everything with the model; returns the blocks that the store itself says are damaged."""
    state = store.state(HANDLE)
    assert state is not None and state.version == 1
    assert state.length >= len(model.content)
    doubtful = 0
    if state.is_unsure:
        with pytest.raises(Unavailable):
            await store.verify(HANDLE, offset=0, count=1)
        doubtful = (await store.compare(HANDLE)).doubtful_blocks
        await store.admit(HANDLE, version=1)
    damaged = []
    for begin in range(0, state.length, BLOCK):
        try:
            async with store.reading(HANDLE, least_version=1, offset=begin, count=BLOCK) as found:
                data = await found.file.read_at(begin, found.length)
        except Corrupted:
            damaged.append(begin // BLOCK)
            continue
        kept = range(begin, min(begin + len(data), len(model.content)))
        assert all(data[at - begin] == model.content[at] for at in kept if not model.is_open(at))
    if doubtful:
        assert not damaged and model.interrupted is not None
    return damaged


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["before", "within", "after"])
@pytest.mark.parametrize("name", list(SCENARIOS))
async def test_what_was_acknowledged_survives_a_kill_at_any_change_of_the_disk(tmp_path, name, share):
    deaths = 0
    while True:
        folder = tmp_path / str(deaths)
        folder.mkdir()
        moment = Moment(share=share)
        model = await run_until_killed(folder, moment, SCENARIOS[name], fatal=deaths + 1)
        world = new_world(folder)
        store = (await open_store(world, settings())).store
        damaged = await damaged_blocks(store, model)
        if model.interrupted is None:
            assert not damaged and store.state(HANDLE).length == len(model.content)
        if damaged:  # Only an overwrite can be torn, and only where it was writing.
            offset, data = model.interrupted
            assert share == 0.5 and offset < len(model.content)
            assert all(offset < (block + 1) * BLOCK and block * BLOCK < offset + len(data) for block in damaged)
        # The store can be written again, wherever it died.
        await store.write(HANDLE, version=1, offset=0, data=memoryview(some(4 * BLOCK)))
        assert await damaged_blocks(store, Model()) == []
        store.check_invariants()
        await store.close()
        if not moment.is_dead:
            break
        deaths += 1
    assert deaths >= 4


async def test_a_kill_while_a_replica_is_created_leaves_all_of_it_or_nothing(tmp_path):
    for fatal in range(1, 20):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        moment = Moment(share=0.5)
        world = new_world(folder)
        world.disk = disk = DyingDisk(folder, moment)
        store = (await open_store(world, settings())).store
        moment.changes, moment.fatal = 0, fatal
        answered = False
        try:
            await store.create(HANDLE, version=3, capacity=CHUNK_BYTES)
            answered = True
        except Killed:
            pass
        await disk._disk.unlock("")
        state = (await open_store(new_world(folder), settings())).store.state(HANDLE)
        assert state is None or (state.version, state.length) == (3, 0)
        assert state is not None or not answered
        if answered:
            return
    raise AssertionError("the creation never came to its end")


async def test_a_version_that_was_answered_is_there_after_a_kill_and_never_a_third_one(tmp_path):
    for fatal in range(1, 20):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        moment = Moment(share=0.5)
        world = new_world(folder)
        world.disk = disk = DyingDisk(folder, moment)
        store = (await open_store(world, settings())).store
        await store.create(HANDLE, version=1, capacity=CHUNK_BYTES)
        await store.write(HANDLE, version=1, offset=0, data=memoryview(some(BLOCK + 9)))
        moment.changes, moment.fatal = 0, fatal
        answered = False
        try:
            await store.advance(HANDLE, from_version=1, to_version=5)
            answered = True
        except Killed:
            pass
        await disk._disk.unlock("")
        state = (await open_store(new_world(folder), settings())).store.state(HANDLE)
        assert state is not None and state.length == BLOCK + 9
        assert state.version == 5 if answered else state.version in (1, 5)
        if answered:
            return
    raise AssertionError("the version never came to its end")


async def test_a_kill_while_a_replica_is_deleted_leaves_no_half_of_it(tmp_path):
    for fatal in range(1, 20):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        moment = Moment()
        world = new_world(folder)
        world.disk = disk = DyingDisk(folder, moment)
        store = (await open_store(world, settings())).store
        await store.create(HANDLE, version=1, capacity=CHUNK_BYTES)
        await store.write(HANDLE, version=1, offset=0, data=memoryview(some(BLOCK)))
        moment.changes, moment.fatal = 0, fatal
        answered = False
        try:
            await store.remove(HANDLE, version=1)
            answered = True
        except Killed:
            pass
        await disk._disk.unlock("")
        again = (await open_store(new_world(folder), settings())).store
        files = [path.name for path in folder.rglob("*.*") if path.is_file()]
        if again.state(HANDLE) is None:
            assert files == []
        else:
            assert not answered and await damaged_blocks(again, Model()) == []
        if answered:
            return
    raise AssertionError("the deletion never came to its end")
