"""A clone fails at every operation on the disk: the target is empty again, and the next try succeeds (BT 6)."""

from runtime.errors import DiskFailure
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.cloning import copy_tablet
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

ROWS = [b"row%02d" % number for number in range(30)]
OPTIONS = Options(sync="fsync", flush_on_close_bytes=0)


async def with_three_tables(world: SimulatedWorld) -> Engine:
    await world.disk.make_directory("source")
    await world.disk.make_directory("target")
    engine = await Engine.open(DiskStorage(world.disk, "source"), world, OPTIONS)
    await engine.create_family("f")
    for begin in range(0, len(ROWS), 10):
        for row in ROWS[begin : begin + 10]:
            await engine.write(row, [SetCell(b"f:", row * 20, 1)])
        await engine.flush()
    return engine


async def clone_with_a_failure_at(world: SimulatedWorld, which: int) -> bool:
    """Whether the clone failed at its operation of this number; if it did, it is tried again."""
    engine = await with_three_tables(world)
    target = DiskStorage(world.disk, "target")
    first = world.simulated_disk.operations
    failed = False

    def fail(operation: Operation) -> None:
        if operation.number - first == which:
            raise DiskFailure(f"{operation.path}: injected")

    forget = world.simulated_disk.on_operation(fail)
    try:
        await copy_tablet(engine, target)
    except DiskFailure:
        failed = True
        forget()
        assert await target.list() == []
        await copy_tablet(engine, target)
    forget()
    await engine.close()
    clone = await Engine.open(target, world, OPTIONS)
    assert [row.key async for row in clone.scan()] == ROWS
    await clone.close()
    return failed


def test_a_clone_that_failed_leaves_the_target_empty_and_can_be_tried_again():
    which, failures, quiet = 0, 0, 0
    while quiet < 3:  # Behind its last operation, nothing fails any more.
        which += 1
        with Simulation(1) as simulation:
            failed = simulation.run(clone_with_a_failure_at(simulation.add_node("desk"), which))
        failures += failed
        quiet = 0 if failed else quiet + 1
    assert failures > 20
