"""A tablet loses power at every operation on its disk, and is opened again (BT 5.3, 5.4).

A short life with flushes, a merging and a major compaction, a snapshot and switches of the manifest is lived once for
each operation that it makes on a simulated disk; there the power goes, and of the unsynced sectors and names the seed
decides which are lost, kept or torn. What is there afterwards must be what the first so many writes had made, all that
were answered among them with sync="fsync", perhaps fewer with sync="os"; the opening removes every file that nothing
refers to; and a snapshot that had been taken has its rows still.
"""

from dataclasses import replace

import pytest

from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options, PolicySettings, SyncMode
from tablet.engine.world.storage import DiskStorage
from tests.sim.tablet_files import check_swept

OPTIONS = Options(memtable_bytes=1500, policy_settings=PolicySettings(fan_in=2), flush_on_close_bytes=0)
WRITES = 22
SNAPSHOT_AFTER = 9
ROWS = 7

Rows = dict[bytes, bytes]


class Life:
    """What was promised, and what was under way. `states[n]` is what the first n writes make."""

    def __init__(self, sync: SyncMode) -> None:
        self.options = replace(OPTIONS, sync=sync)
        self.states: list[Rows] = [{}]
        self.answered = 0
        self.before_snapshot: Rows = {}
        self.has_snapshot = False

    async def opened(self, world: SimulatedWorld) -> Engine:
        await world.disk.make_directory("t")
        return await Engine.open(DiskStorage(world.disk, "t"), world, self.options)

    async def live(self, world: SimulatedWorld) -> None:
        """Write, flush and compact."""
        engine = await self.opened(world)
        await engine.create_family("f")
        for number in range(WRITES):
            row, value = b"row%d" % (number % ROWS), b"%d" % number + b"x" * 150
            self.states.append({**self.states[-1], row: value})
            await engine.write(row, [SetCell(b"f:a", value, number), SetCell(b"f:b", value, number)])
            self.answered = len(self.states) - 1
            while await engine.do_some_housework():
                pass
            if number == SNAPSHOT_AFTER:
                self.before_snapshot = self.states[-1]
                await engine.save_snapshot("s")
                self.has_snapshot = True
        await engine.compact()
        await engine.close()

    async def check(self, world: SimulatedWorld) -> None:
        """Open it again."""
        engine = await self.opened(world)
        engine.check_invariants()
        await check_swept(engine)
        durable = self.answered if self.options.sync == "fsync" else 0
        assert await look(engine) in self.states[durable:]
        snapshots = await engine.snapshots()
        assert snapshots == ["s"] or not self.has_snapshot
        if snapshots:
            await engine.restore_snapshot("s")
            engine.check_invariants()
            assert await look(engine) == self.before_snapshot
            await check_swept(engine)
        await engine.close()


async def look(engine: Engine) -> Rows:
    """Newest values; both columns of a row were written together, so they agree."""
    found: Rows = {}
    async for row in engine.scan():
        value = row.value("f:a")
        assert value is not None and value == row.value("f:b")
        found[row.key] = value
    return found


def lived_until(seed: int, sync: SyncMode, last: int | None) -> int:
    """Live until the operation number `last`, where the power goes, and check; returns the number of operations."""
    with Simulation(seed) as simulation:
        world = simulation.add_node("desk")
        disk, life = world.simulated_disk, Life(sync)

        def count(operation: Operation) -> None:
            if operation.number == last:
                simulation.power_cut("desk")

        async def story() -> int:
            task = world.spawn(life.live(world), "life")
            while world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.01)
            forget()
            operations = disk.operations
            await life.check(simulation.restart("desk"))
            return operations

        forget = disk.on_operation(count)
        try:
            return simulation.run(story())
        except BaseException as error:
            error.add_note(f"seed {seed}, power cut at operation {last}")
            raise


@pytest.mark.parametrize(("seed", "sync"), [(0, "fsync"), (1, "fsync"), (2, "fsync"), (3, "os"), (4, "os")])
def test_a_power_cut_at_any_operation_takes_nothing_that_was_promised(seed: int, sync: SyncMode):
    operations = lived_until(seed, sync, None)
    assert operations > 200
    for last in range(1, operations + 1):
        lived_until(seed, sync, last)
