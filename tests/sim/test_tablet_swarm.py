"""A swarm for one tablet: writers with deadlines, faults, kills and power cuts; no acknowledged row may be lost.

Each row has one writer, which writes numbers that rise, so the row's history is a line: what is read never falls below
what was acknowledged before the read began, nor below what an earlier read has found, and after a restart the same
holds (after a power cut with `sync="os"` only what was synced explicitly). A prefix of the seeds runs with every test.
"""

import asyncio
import random
from contextlib import suppress

import pytest

from runtime.errors import TabletopError
from runtime.faults.disk import SyncError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.maintenance.policies import POLICIES
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import POLICY_NAMES, Options, PolicySettings
from tablet.engine.world.storage import DiskStorage

WRITERS = 6
LIVES = 3
ANYTHING = ReadFilter(versions=1)


class Row:
    """What is known of one row: the highest number that must be there, and the next one to write."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.floor = 0
        self.synced = 0
        self.number = 0

    def found(self, value: bytes | None, floor: int) -> None:
        """A read that began when `floor` had to be there has found this."""
        number = int(value or b"0")
        assert floor <= number <= self.number, (self.name, floor, number, self.number)
        self.floor = max(self.floor, number)


class Swarm:
    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.sync = self.choice.choice(("fsync", "os"))
        self.rows = [Row(b"row%d" % number) for number in range(WRITERS)]
        self.power_cuts = self.choice.random() < 0.5

    async def opened(self, world: SimulatedWorld) -> Engine:
        await world.disk.make_directory("t")
        settings = PolicySettings(fan_in=2, max_tables=3)
        options = Options(
            sync=self.sync,  # type: ignore[arg-type]
            memtable_bytes=1500,
            frozen_memtables=3,
            policy_settings=settings,
            stall_tables=5,
            flush_on_close_bytes=self.choice.choice((0, 1 << 30)),
        )
        engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
        if not engine.schema.families:
            await engine.create_family("f")
        return engine

    async def write(self, world: SimulatedWorld, engine: Engine, row: Row) -> None:
        choice = self.choice
        while True:
            await world.clock.sleep(choice.random() * 0.02)
            row.number += 1
            number, value = row.number, b"%d" % row.number
            try:
                async with asyncio.timeout(choice.choice((0.001, 0.003, 0.01, 10))):
                    if choice.random() < 0.3:
                        change = [SetCell(b"f:x", value)]
                        await engine.check_and_mutate(row.name, ANYTHING, change, change)
                    else:
                        await engine.put(row.name, b"f:x", value)
                row.floor = max(row.floor, number)
            except (TimeoutError, TabletopError):
                pass
            if choice.random() < 0.5:
                floor = row.floor
                row.found(await engine.get(row.name, b"f:x"), floor)

    async def disturb(self, world: SimulatedWorld, engine: Engine) -> None:
        choice, disk = self.choice, world.simulated_disk
        while True:
            await world.clock.sleep(choice.random() * 0.05)
            disk.speed.seconds_per_sync = choice.choice((0, 0, 0.002, 0.01))
            disk.speed.seconds_per_operation = choice.choice((0, 0, 0.001))
            disk.heal()
            logs = [path for path in world.simulated_disk.paths() if path.endswith(".log")]
            if logs and choice.random() < 0.1:
                disk.impose(SyncError(logs[-1]))
            try:
                if choice.random() < 0.3:
                    before = [(row, row.floor) for row in self.rows]
                    await engine.sync()
                    for row, floor in before:
                        row.synced = max(row.synced, floor)
                elif choice.random() < 0.2:
                    await engine.flush()
            except TabletopError:
                pass

    async def live(self, world: SimulatedWorld) -> None:
        engine = await self.opened(world)
        for row in self.rows:
            row.found(await engine.get(row.name, b"f:x"), row.floor)
        engine.start()
        tasks = [world.spawn(self.write(world, engine, row), f"writer of {row.name!r}") for row in self.rows]
        tasks.append(world.spawn(self.disturb(world, engine), "disturbances"))
        await world.clock.sleep(self.choice.random())
        engine.check_invariants()
        if self.choice.random() < 0.3:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            world.simulated_disk.heal()
            with suppress(TabletopError):
                await engine.close()

    def run(self, simulation: Simulation) -> None:
        simulation.add_node("desk")

        async def main() -> None:
            for _ in range(LIVES):
                world = simulation.world("desk")
                await world.spawn(self.live(world), "life")
                disk = world.simulated_disk
                disk.heal()
                disk.speed.seconds_per_sync = disk.speed.seconds_per_operation = 0
                if self.power_cuts and self.choice.random() < 0.5:
                    simulation.power_cut("desk")
                    if self.sync == "os":
                        for row in self.rows:
                            row.floor = row.synced
                else:
                    simulation.kill("desk")
                simulation.restart("desk")
            world = simulation.world("desk")
            await world.spawn(self.live(world), "last life")

        simulation.run(main())


@pytest.mark.parametrize("seed", [*range(40), 1154, 1397, 1451])
def test_no_acknowledged_row_is_lost(seed: int):
    with Simulation(seed, quiet=True) as simulation:
        Swarm(seed).run(simulation)


def test_the_options_know_every_policy():
    assert tuple(POLICIES) == POLICY_NAMES
