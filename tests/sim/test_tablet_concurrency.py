"""Operations on one tablet that meet one another: each story is two or three of them, and the order that decides.

Whoever holds a row's lock comes later in time than who had it before; a mutation is seen whole or not at all, in
whatever locality groups it lies; what waited while the schema changed or a snapshot was restored is judged again; a
cancelled writer disturbs nobody; and nobody waits for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.errors import AlreadyExists, Conflict, DiskFailure, NoSpace, NotFound
from runtime.faults.disk import WriteError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.filters import LATEST, ReadFilter
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.world.eventual import finished
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage

UNCACHED = Options(block_cache_bytes=0, scan_cache_bytes=0)
SMALL = Options(memtable_bytes=2000)
SEVEN = (7).to_bytes(8, "big")
NUMBER = ReadFilter(columns=frozenset((b"f:n",)), versions=1)

Story = Callable[[SimulatedWorld], Awaitable[None]]


async def opened(world: SimulatedWorld, options: Options = UNCACHED) -> Engine:
    await world.disk.make_directory("t")
    engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


def run(story: Story, seed: int = 0) -> None:
    with Simulation(seed) as simulation:
        world = simulation.add_node("desk")

        async def main() -> None:
            await world.spawn(story(world), "story")

        simulation.run(main())


def slow(world: SimulatedWorld, seconds: float) -> None:
    world.simulated_disk.speed.seconds_per_operation = seconds


async def counter(engine: Engine, row: bytes) -> int:
    return int.from_bytes(await engine.get(row, b"f:n") or b"", "big")


async def with_an_increment_under_way(world: SimulatedWorld) -> tuple[Engine, asyncio.Task[int]]:
    """A counter of 10 in an SSTable, and an increment that holds its row's lock while the disk is slow."""
    engine = await opened(world)
    await engine.increment(b"r", b"f:n", 10)
    await engine.flush()
    slow(world, 0.01)
    increment = asyncio.create_task(engine.increment(b"r", b"f:n"))
    await world.clock.sleep(0.001)
    return engine, increment


async def at_the_gate(engine: Engine, work: Awaitable[Any], other: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Begin `work`, which stops writers, and the other operation while it does."""
    task = asyncio.ensure_future(work)
    while engine._writer._gate is None:
        await engine.state.world.clock.sleep(0.0001)
    return await asyncio.gather(task, other(), return_exceptions=True)


def test_a_put_that_waits_for_an_increment_has_the_last_word():
    async def story(world: SimulatedWorld) -> None:
        engine, increment = await with_an_increment_under_way(world)
        await engine.put(b"r", b"f:n", SEVEN)
        assert await increment == 11
        assert await counter(engine, b"r") == 7

    run(story)


def test_a_check_and_mutate_that_waits_for_an_increment_writes_what_is_read_afterwards():
    async def story(world: SimulatedWorld) -> None:
        engine, increment = await with_an_increment_under_way(world)
        eleven = (11).to_bytes(8, "big")
        assert await engine.check_and_mutate(b"r", NUMBER, [SetCell(b"f:n", SEVEN)], value=eleven)
        assert await increment == 11
        assert await counter(engine, b"r") == 7

    run(story)


def test_a_check_and_mutate_overwrites_a_version_of_the_future_that_it_has_seen():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"r", b"f:n", b"future", timestamp=2**62)
        assert await engine.check_and_mutate(b"r", NUMBER, [SetCell(b"f:n", SEVEN)], value=b"future")
        assert await counter(engine, b"r") == 7

    run(story)


def test_a_row_of_several_locality_groups_is_read_and_scanned_as_of_one_moment():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.set_locality_group(LocalityGroup("other"))
        await engine.create_family("g", group="other")

        async def write(value: bytes) -> None:
            await world.clock.sleep(0.001)
            slow(world, 0)
            await engine.write(b"r", [SetCell(b"f:x", value), SetCell(b"g:x", value)])

        async def scan() -> Any:
            (row,) = [row async for row in engine.scan(wanted=LATEST)]
            return row

        await write(b"1")
        await engine.flush()
        for value, look in ((b"2", lambda: engine.read(b"r", LATEST)), (b"3", scan)):
            for flushed in (False, True):
                slow(world, 0.01)
                row, _ = await asyncio.gather(look(), write(value))
                assert row.value("f:x") == row.value("g:x"), (value, flushed)
                await engine.flush()

    run(story)


def test_schema_changes_of_one_moment_all_hold():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        slow(world, 0.001)
        changes = (engine.create_family("a"), engine.create_family("b"), engine.create_family("b"))
        answers = await asyncio.gather(*changes, return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), type(None), AlreadyExists]
        assert list(engine.schema.families) == [b"f", b"a", b"b"]

    run(story)


def test_a_write_that_waits_while_its_family_goes_is_refused():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"r", b"f:x", b"1")
        await engine.save_snapshot("s")
        await engine.create_family("g")
        slow(world, 0.001)
        work = engine.restore_snapshot("s")
        _, answer = await at_the_gate(engine, work, lambda: engine.put(b"r", b"g:x", b"ghost"))
        assert isinstance(answer, NotFound)
        await engine.create_family("g")
        assert await engine.get(b"r", b"g:x") is None

    run(story)


def test_a_write_that_waits_for_its_row_while_its_family_is_dropped_is_refused():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.create_family("g")
        await engine.put(b"r", b"g:x", b"before")
        await engine._locks.acquire(b"r")
        put = asyncio.create_task(engine.put(b"r", b"g:x", b"ghost"))
        await world.clock.sleep(0.001)
        await engine.drop_family("g")
        engine._locks.release(b"r")
        with pytest.raises(NotFound):
            await put
        await engine.create_family("g")
        assert await engine.get(b"r", b"g:x") is None

    run(story)


@pytest.mark.parametrize("before", [False, True])
def test_an_increment_beside_the_restoring_of_a_snapshot_comes_before_it_or_after_it(before: bool):
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.increment(b"r", b"f:n", 5)
        await engine.save_snapshot("s")
        await engine.increment(b"r", b"f:n", 95)
        await engine.flush()
        slow(world, 0.001)
        if before:
            increment = asyncio.create_task(engine.increment(b"r", b"f:n"))
            await world.clock.sleep(0.0005)
            await engine.restore_snapshot("s")
            said = await increment
        else:
            work = engine.restore_snapshot("s")
            _, said = await at_the_gate(engine, work, lambda: engine.increment(b"r", b"f:n"))
        assert (said, await counter(engine, b"r")) in ((101, 5), (6, 6))

    run(story)


def test_cancelled_writers_do_not_come_between_two_logs():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(sync="fsync"))
        await engine.put(b"a", b"f:x", b"1")
        speed = world.simulated_disk.speed
        speed.seconds_per_sync, speed.seconds_per_operation = 0.005, 0.001
        writers = [asyncio.create_task(engine.put(b"k0", b"f:x", b"0"))]
        await world.clock.sleep(0.0015)  # The log writes its first group.
        writers += [asyncio.create_task(engine.put(b"k%d" % number, b"f:x", b"c")) for number in (1, 2, 3)]
        await world.clock.sleep(0.001)
        for writer in writers:
            writer.cancel()
        await engine.flush()
        await engine.put(b"answered", b"f:x", b"!")
        assert engine.state.manifest.flushed_sequence < engine.state.memtable.first_sequence
        engine.check_invariants()

    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def main() -> None:
            await world.spawn(story(world), "story")
            simulation.kill("desk")
            world.simulated_disk.speed.seconds_per_sync = world.simulated_disk.speed.seconds_per_operation = 0
            again = simulation.restart("desk")
            engine = await opened(again)
            assert await engine.get(b"answered", b"f:x") == b"!"

        simulation.run(main())


@pytest.mark.parametrize("cause", ["restore", "close"])
def test_a_write_that_waits_for_a_flush_which_fails_is_told_when_the_reason_is_gone(cause: str):
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, SMALL)
        await engine.put(b"a", b"f:x", b"1")
        await engine.save_snapshot("s")
        engine.start()
        ends = [world.simulated_disk.impose(WriteError(f"t/{number:06}.sst")) for number in range(100)]
        with pytest.raises(DiskFailure):
            for number in range(99):
                await engine.put(b"%d" % number, b"f:x", b"v" * 500)
        waiting = asyncio.create_task(engine.put(b"z", b"f:x", b"last"))
        await world.clock.sleep(0.001)
        assert not waiting.done()
        if cause == "restore":
            for end in ends:
                end()
            await engine.restore_snapshot("s")
            await waiting
            assert await engine.get(b"z", b"f:x") == b"last"
        else:
            await engine.close()
            with pytest.raises(Conflict, match="closed"):
                await waiting

    run(story)


def test_a_write_that_waits_for_a_flush_is_not_told_of_a_compaction_that_fails():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(memtable_bytes=2000, policy_settings=PolicySettings(fan_in=2)))
        for number in range(2):
            await engine.put(b"%d" % number, b"f:x", b"v" * 500)
            await engine.flush()
        slow(world, 0.001)
        create = engine.state.storage.create

        async def failing(name: str) -> Any:
            task = asyncio.current_task()
            if task is not None and "merging" in task.get_name() and name.endswith(".sst.new"):
                await world.clock.sleep(0.01)
                raise NoSpace("no room for what the compaction writes")
            return await create(name)

        engine.state.storage.create = failing  # type: ignore[method-assign]
        engine.start()
        for number in range(40):
            await engine.put(b"%d" % number, b"f:x", b"v" * 700)
        await engine.close()

    run(story)


def test_a_move_that_a_close_overtakes_leaves_the_tablet_closed():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"a", b"f:x", b"1")
        slow(world, 0.01)
        move = asyncio.create_task(engine.prepare_move())
        await world.clock.sleep(0.02)
        await engine.close()
        with pytest.raises(Conflict, match="closed"):
            await move
        slow(world, 0)
        with pytest.raises(Conflict, match="closed"):
            await engine.get(b"a", b"f:x")
        again = await opened(world)
        await engine.close()
        with pytest.raises(Conflict, match="in use"):
            await opened(world)
        assert await again.get(b"a", b"f:x") == b"1"

    run(story)


def test_a_sync_continues_when_a_flush_takes_its_log_away():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(frozen_memtables=4))
        for _ in range(3):
            await engine.put(b"a", b"f:x", b"1")
            await engine._writer.roll(always=True)
        first = engine.state.log.begun[min(engine.state.log.begun)]
        sync = first.sync

        async def lasting() -> None:
            await sync()
            await world.clock.sleep(5)

        first.sync = lasting  # type: ignore[method-assign]
        syncing = asyncio.create_task(engine.sync())
        await world.clock.sleep(0.01)
        await engine.flush()
        await syncing

    run(story)


def test_a_closed_engine_changes_nothing_in_its_folder():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"a", b"f:x", b"1")
        await engine.save_snapshot("s")
        await engine.close()
        again = await opened(world)
        await again.put(b"b", b"f:x", b"2")
        await again.flush()
        for work in (
            lambda: engine.delete_snapshot("s"),
            engine.flush_one,
            engine.compact_one,
            engine.do_some_housework,
            engine.compact,
            lambda: engine.restore_snapshot("s"),
            lambda: engine.save_snapshot("t"),
        ):
            with pytest.raises(Conflict, match="closed"):
                await work()
        await again.close()
        last = await opened(world)
        assert [row.key async for row in last.scan()] == [b"a", b"b"]

    run(story)


def test_a_scan_ends_with_the_tablet_that_it_goes_over():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        for number in range(600):
            await engine.put(b"%03d" % number, b"f:x", b"1")
        for flushed in (False, True):
            if flushed:
                await engine.flush()
            scan = engine.scan_batches()
            assert await finished(scan.next_batch())
            if flushed:
                await engine.close()
                with pytest.raises(Conflict, match="closed"):
                    await finished(scan.next_batch())

    run(story)


def test_closing_on_a_full_disk_makes_the_log_durable():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(flush_on_close_bytes=0))
        await engine.put(b"a", b"f:x", b"1")
        disk = world.simulated_disk
        disk.capacity_bytes -= (await world.disk.usage()).free_bytes
        await engine.close()
        engine = await opened(world)
        assert await engine.get(b"a", b"f:x") == b"1"

    run(story)


@pytest.mark.parametrize("what", ["flush", "compact"])
def test_who_flushes_or_compacts_while_the_tablet_is_closed_is_told_that_it_is(what: str):
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world)
        engine.start()
        for number in range(3000):
            await engine.put(b"row%d" % number, b"f:x", b"x" * 100)
        work = asyncio.create_task(getattr(engine, what)())
        while not engine.state.growing.names():
            await world.clock.sleep(0.0001)
        await engine.close()
        with pytest.raises(Conflict, match="is being closed"):
            await work
        again = await opened(world)
        assert len([row async for row in again.scan()]) == 3000

    run(story)
