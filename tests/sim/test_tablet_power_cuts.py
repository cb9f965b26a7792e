"""A tablet loses power at every operation on its disk, and is opened again (BT 5.3, 5.4).

A short life with flushes, a merging and a major compaction and switches of the manifest is lived once for each
operation that it makes on a simulated disk; there the power goes, and of the unsynced sectors and names the seed
decides which are lost, kept or torn. With sync="fsync", whatever was answered must be there afterwards, whole, and
nothing half-done.
"""

import pytest

from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.cells import SetCell
from tablet.compaction import PolicySettings
from tablet.engine import Engine
from tablet.options import Options
from tablet.storage import DiskStorage

OPTIONS = Options(sync="fsync", memtable_bytes=1500, policy_settings=PolicySettings(fan_in=2), flush_on_close_bytes=0)
WRITES = 22
ROWS = 7


async def opened(world: SimulatedWorld) -> Engine:
    await world.disk.make_directory("t")
    return await Engine.open(DiskStorage(world.disk, "t"), world, OPTIONS)


async def life(world: SimulatedWorld, answered: dict[bytes, bytes], tried: dict[bytes, bytes]) -> None:
    """Write, flush and compact."""
    engine = await opened(world)
    await engine.create_family("f")
    for number in range(WRITES):
        row, value = b"row%d" % (number % ROWS), b"%d" % number + b"x" * 150
        tried[row] = value
        await engine.write(row, [SetCell(b"f:a", value, number), SetCell(b"f:b", value, number)])
        answered[row] = value
        while await engine.do_some_housework():
            pass
    await engine.compact()
    await engine.close()


async def look(engine: Engine) -> dict[bytes, bytes]:
    """Newest values; both columns of a row were written together, so they agree."""
    found: dict[bytes, bytes] = {}
    async for row in engine.scan():
        value = row.value("f:a")
        assert value is not None and value == row.value("f:b")
        found[row.key] = value
    return found


def live_until(seed: int, last: int | None) -> tuple[Simulation, dict[bytes, bytes], dict[bytes, bytes], int]:
    """Live until the operation number `last`, where the power goes."""
    simulation = Simulation(seed)
    world = simulation.add_node("desk")
    disk = world.simulated_disk
    answered: dict[bytes, bytes] = {}
    tried: dict[bytes, bytes] = {}

    def count(number: int, verb: str, path: str) -> None:
        if number == last:
            simulation.power_cut("desk")

    async def story() -> None:
        task = world.spawn(life(world, answered, tried), "life")
        while world.life.alive and not task.done():
            await simulation.world("desk").clock.sleep(0.01)

    disk.before_operation = count
    simulation.run(story())
    disk.before_operation = None
    return simulation, answered, tried, disk.operations


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_any_operation_takes_nothing_that_was_answered(seed: int):
    *_, operations = live_until(seed, None)
    assert operations > 150
    for last in range(1, operations + 1):
        simulation, answered, tried, _ = live_until(seed, last)

        async def again(simulation: Simulation = simulation) -> dict[bytes, bytes]:
            world = simulation.restart("desk")
            engine = await opened(world)
            engine.check_invariants()
            found = await look(engine) if b"f" in engine.schema.families else {}
            assert not [name for name in await world.disk.list("t") if name.endswith(".new")]
            await engine.close()
            return found

        found = simulation.run(again())
        for row in sorted(answered.keys() | found.keys()):
            allowed = (answered.get(row), tried.get(row))
            assert found.get(row) in allowed, f"seed {seed}, power cut at operation {last}, row {row!r}"
        simulation.close()
