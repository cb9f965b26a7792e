"""Chunks whose files the disk does not give when the server starts: not lost, and tried again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chunkserver.events import ChunkUnreadable
from chunkserver.storage.chunk_files import data_path, metadata_path
from chunkserver.storage.opening import Opened, open_store
from runtime.faults.disk import OpenError, Operation, ReadError, SyncError
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.world import Simulation
from tests.unit.chunkserver_support import BLOCK, CHUNK_BYTES, settings

DATA = bytes(range(256)) * 3 * 256  # three blocks
Start = Callable[[], Awaitable[Opened]]


async def content(opened: Opened) -> bytes:
    async with opened.store.reading(7, least_version=1, offset=0, count=CHUNK_BYTES) as found:
        assert found.file is not None
        return await found.file.read_at(0, found.length)


def told(simulation: Simulation, story: Callable[[SimulatedDisk, Start], Awaitable[None]], durability: str) -> None:
    """Tell a story of a server with one chunk of three blocks. `start` kills it and starts it again."""
    simulation.add_node("desk")

    async def start() -> Opened:
        if simulation.world("desk").life.alive:
            simulation.kill("desk")
        world = simulation.restart("desk")
        return await simulation.on(world, open_store(world, settings(durability=durability)))

    async def begin() -> None:
        opened = await start()
        await opened.store.create(7, version=1, capacity=CHUNK_BYTES)
        await opened.store.write(7, version=1, offset=0, data=memoryview(DATA))
        await story(simulation.world("desk").simulated_disk, start)

    simulation.run(begin())


@pytest.mark.parametrize("fault", [OpenError(metadata_path(7)), ReadError(metadata_path(7))])
def test_a_chunk_that_cannot_be_read_at_the_start_is_named_and_counted_in_as_soon_as_it_can_be(fault: OpenError):
    simulation = Simulation(1)

    async def story(disk: SimulatedDisk, start: Start) -> None:
        end = disk.impose(fault)
        opened = await start()
        changed: list[int] = []
        opened.store.on_change = changed.append
        assert opened.unreadable.handles() == [7] and opened.store.state(7) is None
        assert await opened.unreadable.try_again() == []
        assert opened.unreadable.handles() == [7] and not changed
        end()
        assert await opened.unreadable.try_again() == []
        assert opened.unreadable.handles() == [] and changed == [7]
        assert await content(opened) == DATA
        opened.store.check_invariants()
        events = [one.event for one in simulation.sink.records if isinstance(one.event, ChunkUnreadable)]
        assert len(events) == 1, "it is said once"

    told(simulation, story, "replicated")


def test_a_chunk_that_turns_out_to_be_rotten_is_put_aside_when_it_can_be_read():
    async def story(disk: SimulatedDisk, start: Start) -> None:
        end = disk.impose(OpenError(metadata_path(7)))
        opened = await start()
        disk.rot(metadata_path(7), 0, count=2048)
        end()
        assert await opened.unreadable.try_again() == [7]
        assert opened.unreadable.handles() == [] and opened.store.state(7) is None
        assert sorted(path for path in disk.paths() if path.startswith("aside/"))
        assert bytes(disk.content(next(path for path in disk.paths() if path.endswith(".data"))).cached) == DATA

    told(Simulation(1), story, "replicated")


def test_a_copy_that_was_made_meanwhile_takes_the_place_of_what_cannot_be_read():
    async def story(disk: SimulatedDisk, start: Start) -> None:
        end = disk.impose(OpenError(metadata_path(7)))
        opened = await start()
        end()
        await opened.store.create(7, version=9, capacity=CHUNK_BYTES)
        assert await opened.unreadable.try_again() == []
        state = opened.store.state(7)
        assert opened.unreadable.handles() == [] and state is not None and state.version == 9

    told(Simulation(1), story, "replicated")


async def killed_in_an_overwrite(simulation: Simulation, opened: Opened, new: bytes) -> None:
    """Kill the server when it has written the intent and the data."""
    world, metadata_writes, is_killed = simulation.world("desk"), 0, asyncio.Event()

    def hook(operation: Operation) -> None:
        nonlocal metadata_writes
        if operation.verb == "write" and operation.path == metadata_path(7):
            metadata_writes += 1
            if metadata_writes == 2:
                simulation.kill("desk")
                is_killed.set()

    undo = world.simulated_disk.on_operation(hook)
    world.spawn(opened.store.write(7, version=1, offset=0, data=memoryview(new)), "write")
    await is_killed.wait()
    undo()


@pytest.mark.parametrize("durability", ["replicated", "fsync"])
def test_an_interrupted_overwrite_is_settled_when_the_data_can_be_read_again(durability: str):
    """Until then the chunk is not in the store: blocks that are new would look damaged."""
    simulation, new = Simulation(1), b"x" * 2 * BLOCK

    async def story(disk: SimulatedDisk, start: Start) -> None:
        await killed_in_an_overwrite(simulation, await start(), new)
        end = disk.impose(ReadError(data_path(7)))
        opened = await start()
        assert opened.unreadable.handles() == [7] and opened.store.state(7) is None
        end()
        assert await opened.unreadable.try_again() == []
        assert await content(opened) == new + DATA[2 * BLOCK :]
        opened.store.check_invariants()

    told(simulation, story, durability)


def test_a_sync_that_fails_while_an_overwrite_is_settled_is_damage_and_is_not_tried_again():
    """The system may have dropped the pages, and would call the next sync a success."""
    simulation = Simulation(1)

    async def story(disk: SimulatedDisk, start: Start) -> None:
        await killed_in_an_overwrite(simulation, await start(), b"x" * 2 * BLOCK)
        end = disk.impose(SyncError(data_path(7), loses_pages=True))
        opened = await start()
        end()
        state = opened.store.state(7)
        assert opened.unreadable.handles() == [] and state is not None and state.is_damaged

    told(simulation, story, "replicated")


@pytest.mark.parametrize(
    "stray",
    [
        "chunks/.DS_Store",
        "chunks/07/.DS_Store",
        "chunks/07/0000000000000077.data",
        "chunks/07/0000000000000077.meta",
        "chunks/07/shopping.new",
        "incoming/.DS_Store",
        "removing/.DS_Store",
    ],
)
def test_names_that_are_nobodys_are_passed_over_and_stay(stray: str):
    simulation = Simulation(1)

    async def story(disk: SimulatedDisk, start: Start) -> None:
        file = await disk.open(stray, "create")
        await file.write_at(0, b"of a file manager, or of a person")
        await file.close()
        for _ in range(2):
            opened = await start()
            assert await content(opened) == DATA and len(opened.store) == 1
        assert stray.startswith("incoming") or await disk.exists(stray)

    told(simulation, story, "replicated")


def test_half_a_creation_is_removed_at_the_next_start():
    simulation = Simulation(1)

    async def story(disk: SimulatedDisk, start: Start) -> None:
        half = "chunks/07/0000000000000107.new"
        file = await disk.open(half, "create")
        await file.write_at(0, b"half")
        await file.close()
        opened = await start()
        assert not await disk.exists(half)
        assert await content(opened) == DATA and len(opened.store) == 1

    told(simulation, story, "replicated")


def test_a_folder_in_the_place_of_a_chunks_file_is_put_aside():
    simulation = Simulation(1)

    async def story(disk: SimulatedDisk, start: Start) -> None:
        await disk.make_directory("chunks/08/0000000000000008.meta")
        opened = await start()
        assert await content(opened) == DATA and len(opened.store) == 1
        assert await disk.exists("aside/0000000000000008.meta")

    told(simulation, story, "replicated")
