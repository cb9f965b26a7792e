"""A tablet that nobody writes to any more still gets rid of what is deleted or too old (BT 2, 5.4)."""

from collections.abc import Awaitable, Callable

from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import DeleteRow
from tablet.engine.model.schema import MaxAge
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

HOUR = 3600.0
HOUR_MICROSECONDS = 3_600_000_000
OPTIONS = Options(garbage_seconds=10 * HOUR)

Story = Callable[[SimulatedWorld, Engine], Awaitable[None]]


def run(story: Story, options: Options = OPTIONS) -> None:
    with Simulation(0, quiet=True) as simulation:
        world = simulation.add_node("desk")

        async def told() -> None:
            await world.disk.make_directory("t")
            engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
            engine.start()
            await story(world, engine)
            engine.check_invariants()
            await engine.close()

        async def main() -> None:
            await world.spawn(told(), "story")

        simulation.run(main())


def stored_cells(engine: Engine) -> tuple[int, int]:
    """(cells, deletion markers) in SSTables."""
    found = [reference.properties for reference in engine.state.manifest.references()]
    return sum(table.cells for table in found), sum(table.markers for table in found)


def test_a_deletion_and_what_it_hides_leave_the_disk():
    async def story(world: SimulatedWorld, engine: Engine) -> None:
        await engine.create_family("f")
        for row in (b"a", b"b", b"c"):
            await engine.put(row, b"f:x", b"v")
        await engine.flush()
        await engine.put(b"d", b"f:x", b"v")
        await engine.flush()
        await engine.write(b"b", [DeleteRow()])
        assert stored_cells(engine) == (4, 0)
        await world.clock.sleep(11 * HOUR)
        assert engine.housekeeping.work.flushes == 3, "a memtable is flushed when it is old"
        await world.clock.sleep(20 * HOUR)
        assert stored_cells(engine) == (3, 0)

    run(story)


def test_what_is_older_than_its_family_allows_leaves_the_disk():
    async def story(world: SimulatedWorld, engine: Engine) -> None:
        await engine.create_family("f", MaxAge(2 * HOUR_MICROSECONDS))
        await engine.create_family("g")
        await engine.put(b"a", b"f:x", b"v")
        await engine.put(b"a", b"g:x", b"v")
        await engine.flush()
        await world.clock.sleep(1 * HOUR)
        assert stored_cells(engine) == (2, 0)
        await world.clock.sleep(24 * HOUR)
        assert stored_cells(engine) == (1, 0)

    run(story)


def test_what_is_to_stay_is_not_rewritten_again_and_again():
    async def story(world: SimulatedWorld, engine: Engine) -> None:
        await engine.create_family("f", MaxAge(2 * HOUR_MICROSECONDS))
        await engine.create_family("g")
        await engine.put(b"a", b"g:x", b"of 1970, and to be kept", 7)
        await engine.flush()
        await world.clock.sleep(10_000 * HOUR)
        assert stored_cells(engine) == (1, 0)
        assert 1 <= engine.housekeeping.work.compactions <= 11, "each time it waits twice as long"

    run(story)


def test_a_tablet_without_garbage_is_left_alone():
    async def story(world: SimulatedWorld, engine: Engine) -> None:
        await engine.create_family("f")
        await engine.put(b"a", b"f:x", b"v")
        await engine.flush()
        await world.clock.sleep(1000 * HOUR)
        assert engine.housekeeping.work.compactions == 0

    run(story)


def test_a_file_that_cannot_be_read_keeps_older_files_from_losing_the_deletions_above_it():
    async def story(world: SimulatedWorld, engine: Engine) -> None:
        await engine.create_family("f")
        await engine.put(b"a", b"f:x", b"v", 1)
        await engine.flush()
        oldest = engine.state.manifest.references()[0]
        await engine.write(b"a", [DeleteRow()])
        await engine.flush()
        file = world.simulated_disk.content(f"t/{oldest.name}")
        file.cached[5] ^= 1
        await world.clock.sleep(100 * HOUR)
        assert stored_cells(engine) == (1, 1)
        assert oldest in engine.state.manifest.references()

    run(story)
