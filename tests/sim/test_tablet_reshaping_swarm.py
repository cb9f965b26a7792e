"""Tablets are split and merged at random while rows are written and scanned, and the server dies now and then: no
acknowledged row is lost, no scan misses one or shows one twice (BT 5.2, 5.3)."""

import random

import pytest

from runtime.errors import InvalidRequest
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options, PolicySettings
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

OPTIONS = Options(sync="fsync", memtable_bytes=3000, policy_settings=PolicySettings(fan_in=3))
ROWS = [b"row%02d" % number for number in range(60)]


@pytest.mark.parametrize("seed", range(12))
def test_no_acknowledged_row_is_lost_and_no_scan_misses_one(seed: int):
    choice = random.Random(seed)
    acknowledged: dict[bytes, int] = {}
    tried = reshaped = scanned = 0

    async def check(tablets: Tablets) -> None:
        nonlocal scanned
        before = dict(acknowledged)
        found = {}
        async for row in tablets.scan("t"):
            assert row.key > max(found, default=b"")
            found[row.key] = int((row.value("f:x") or b"0")[:6])
        for key, number in before.items():
            assert number <= found.get(key, 0) <= tried, key
        scanned += 1

    async def write(world: SimulatedWorld, tablets: Tablets) -> None:
        nonlocal tried
        while True:
            await world.clock.sleep(choice.random() * 0.01)
            tried += 1
            row, number = choice.choice(ROWS), tried
            await tablets.write("t", row, [SetCell(b"f:x", b"%06d" % number + b"v" * 100, number)])
            acknowledged[row] = max(number, acknowledged.get(row, 0))

    async def scan(world: SimulatedWorld, tablets: Tablets) -> None:
        while True:
            await world.clock.sleep(choice.random() * 0.05)
            await check(tablets)

    async def reshape(world: SimulatedWorld, tablets: Tablets) -> None:
        nonlocal reshaped
        while True:
            await world.clock.sleep(choice.random() * 0.1)
            names = tablets.catalogue.names()
            place = choice.randrange(len(names))
            if place + 1 < len(names) and choice.random() < 0.5:
                await tablets.merge(names[place], names[place + 1])
            else:
                try:
                    await tablets.split(names[place], choice.choice((None, choice.choice(ROWS))))
                except InvalidRequest:
                    continue
            reshaped += 1

    async def life(world: SimulatedWorld) -> None:
        folders = DiskFolders(world.disk, "tablets")
        await folders.prepare()
        tablets = await Tablets.open(folders, world, OPTIONS, segment_bytes=5000)
        tablets.check_invariants()
        if not tablets.catalogue.of_table("t"):
            await tablets.create_table("t", split_rows=[b"row30"])
        if any(not engine.schema.families for engine in tablets.engines.values()):
            await tablets.create_family("t", "f")
        await check(tablets)
        tablets.start()
        tasks = [world.spawn(work(world, tablets), work.__name__) for work in (write, write, scan, reshape)]
        speed = world.simulated_disk.speed
        speed.seconds_per_sync = choice.choice((0, 0.002))
        speed.seconds_per_operation = choice.choice((0, 0.0005))
        await world.clock.sleep(2 * choice.random())
        tablets.check_invariants()
        for task in tasks:
            assert not task.done() or task.result()

    with Simulation(seed, quiet=True) as simulation:
        simulation.add_node("desk")

        async def main() -> None:
            for _ in range(4):
                world = simulation.world("desk")
                await world.spawn(life(world), "life")
                (simulation.power_cut if choice.random() < 0.5 else simulation.kill)("desk")
                speed = world.simulated_disk.speed
                speed.seconds_per_sync = speed.seconds_per_operation = 0
                simulation.restart("desk")

        simulation.run(main())
    assert reshaped and scanned > 10
