"""A writer that gives up (a deadline) changes nothing about its record: what the log completes is applied (BT 5.3).

The log's order is the order of all visible effects, and a row stays locked until its record has ended, so that whatever
reads a row in order to write it sees what stands before it in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation, SyncError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

FSYNC = Options(sync="fsync")
Story = Callable[[SimulatedWorld], Awaitable[None]]


async def opened(world: SimulatedWorld, options: Options = FSYNC) -> Engine:
    await world.disk.make_directory("t")
    engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


def slow(world: SimulatedWorld, seconds: float) -> None:
    world.simulated_disk.speed.seconds_per_operation = seconds
    world.simulated_disk.speed.seconds_per_sync = seconds


def run(before: Story, after: Story) -> None:
    """Tell a story, kill the node, and go on after its restart."""
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def main() -> None:
            await world.spawn(before(world), "before")
            simulation.kill("desk")
            slow(world, 0)
            again = simulation.restart("desk")
            await again.spawn(after(again), "after")

        simulation.run(main())


async def counter(engine: Engine) -> int:
    return int.from_bytes(await engine.get(b"r", b"f:n") or b"", "big")


@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_a_cancelled_write_is_seen_by_later_reads_as_it_is_after_a_crash(sync):
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(sync=sync))
        await engine.put(b"first", b"f:x", b"1")
        slow(world, 0.01)
        others = [asyncio.create_task(engine.put(b"other", b"f:x", b"1"))]
        await world.clock.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await engine.put(b"r", b"f:x", b"cancelled", 7)
        await engine.put(b"answered", b"f:x", b"2")
        assert await engine.get(b"r", b"f:x") == b"cancelled"
        await asyncio.gather(*others)
        engine.check_invariants()

    async def after(world: SimulatedWorld) -> None:
        engine = await opened(world)
        assert await engine.get(b"r", b"f:x") == b"cancelled"
        assert await engine.get(b"answered", b"f:x") == b"2"

    run(before, after)


@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_an_increment_after_a_cancelled_one_counts_it(sync):
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(sync=sync))
        await engine.increment(b"r", b"f:n", 10)
        slow(world, 0.01)
        other = asyncio.create_task(engine.put(b"other", b"f:x", b"1"))
        await world.clock.sleep(0.001)
        cancelled = asyncio.create_task(engine.increment(b"r", b"f:n"))
        await world.clock.sleep(0.001)
        cancelled.cancel()
        assert await engine.increment(b"r", b"f:n") == 12
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await other
        assert await counter(engine) == 12

    async def after(world: SimulatedWorld) -> None:
        assert await counter(await opened(world)) == 12

    run(before, after)


def test_a_writer_that_is_cancelled_while_it_writes_alone_leaves_no_record_behind():
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(sync="os"))
        await engine.put(b"r", b"f:x", b"1", 1)
        slow(world, 0.01)
        cancelled = asyncio.create_task(engine.put(b"r", b"f:x", b"cancelled", 7))
        await world.clock.sleep(0.001)
        cancelled.cancel()
        slow(world, 0)
        await engine._writer.roll(always=True)
        await engine.put(b"r", b"f:x", b"2", 2)
        assert await engine.get(b"r", b"f:x") == b"2"

    async def after(world: SimulatedWorld) -> None:
        assert await (await opened(world)).get(b"r", b"f:x") == b"2"

    run(before, after)


def test_a_write_whose_sync_failed_does_not_come_back_between_later_ones():
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"r", b"f:x", b"1", 1)
        heal = world.simulated_disk.impose(SyncError("t/000001.log"))
        with pytest.raises(DiskFailure):
            await engine.put(b"r", b"f:x", b"never answered", 7)
        heal()
        await engine._writer.roll(always=True)
        await engine.put(b"r", b"f:x", b"2", 2)
        assert await engine.get(b"r", b"f:x") == b"2"

    async def after(world: SimulatedWorld) -> None:
        assert await (await opened(world)).get(b"r", b"f:x") == b"2"

    run(before, after)


def test_writers_are_told_when_the_task_that_flushes_for_them_fails_by_a_bug():
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world, Options(memtable_bytes=2000))
        engine.start()

        async def failing() -> None:
            raise ZeroDivisionError("a bug")

        right, engine.housekeeping.flush_oldest = engine.housekeeping.flush_oldest, failing  # type: ignore[method-assign]
        with pytest.raises(Exception, match="ZeroDivisionError"):
            async with asyncio.timeout(60):
                for number in range(99):
                    await engine.put(b"%d" % number, b"f:x", b"v" * 500)
        engine.housekeeping.flush_oldest = right  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            for number in range(99):
                await engine.put(b"%d" % number, b"f:x", b"v" * 500)
        await engine.close()

    async def after(world: SimulatedWorld) -> None:
        assert await (await opened(world)).get(b"98", b"f:x") == b"v" * 500

    run(before, after)


@pytest.mark.parametrize("verb", ["create", "write", "sync", "rename"])
def test_writes_to_the_old_log_count_after_a_new_one_could_not_be_begun(verb: str):
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world)
        await engine.put(b"a", b"f:x", b"1")

        def failing(operation: Operation) -> TabletopError | None:
            if operation.verb == verb and operation.path.startswith("t/manifest-"):
                return DiskFailure(f"cannot {verb} {operation.path}")
            return None

        heal = world.simulated_disk.on_operation(failing)
        with pytest.raises(DiskFailure):
            await engine.flush()
        heal()
        await engine.put(b"b", b"f:x", b"2")
        await engine._writer.roll(always=True)
        await engine.put(b"c", b"f:x", b"3")

    async def after(world: SimulatedWorld) -> None:
        engine = await opened(world)
        assert [await engine.get(row, b"f:x") for row in (b"a", b"b", b"c")] == [b"1", b"2", b"3"]

    run(before, after)


def test_a_cancelled_batch_with_a_row_twice_lets_go_of_its_rows():
    async def before(world: SimulatedWorld) -> None:
        engine = await opened(world)
        slow(world, 0.01)
        rows = [(b"r", [SetCell(b"f:x", b"1", 1)]), (b"r", [SetCell(b"f:x", b"2", 2)]), (b"s", [])]
        batch = asyncio.create_task(engine.write_many(rows))
        while not engine._writer._under_way:
            await world.clock.sleep(0.001)
        await world.clock.sleep(0.001)
        batch.cancel()
        await engine.put(b"s", b"f:x", b"3", 3)
        await engine.put(b"r", b"f:x", b"3", 3)
        row = await engine.read(b"r")
        assert row is not None
        assert [cell.value for cell in row] == [b"3", b"2", b"1"]

    async def after(world: SimulatedWorld) -> None:
        assert await (await opened(world)).get(b"r", b"f:x") == b"3"

    run(before, after)
