"""A write that was acknowledged outlives a power cut, though one before it, in an older log, never was (BT 5.3)."""

import asyncio

import pytest

from runtime.errors import DiskFailure
from runtime.faults.disk import SyncError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage


async def opened(world: SimulatedWorld) -> Engine:
    await world.disk.make_directory("t")
    return await Engine.open(DiskStorage(world.disk, "t"), world, Options(sync="fsync"))


async def live(world: SimulatedWorld) -> None:
    """One log ends in a record whose sync failed; a flush that takes its time begins another, which takes a write."""
    engine = await opened(world)
    await engine.create_family("f")
    await engine.put(b"a", b"f:x", b"1")
    end = world.simulated_disk.impose(SyncError("t/000001.log"))
    with pytest.raises(DiskFailure):
        await engine.put(b"b", b"f:x", b"never answered")
    end()
    world.simulated_disk.speed.seconds_per_operation = 0.01
    flush = asyncio.create_task(engine.flush())
    while engine.state.log.current is None or engine.state.log.current.number == 1:
        await world.clock.sleep(0.001)
    await engine.put(b"c", b"f:x", b"3")
    assert not flush.done()
    world.simulated_disk.speed.seconds_per_operation = 0


@pytest.mark.parametrize("seed", range(8))
def test_an_answered_write_counts_although_one_before_it_was_lost_that_was_never_answered(seed: int):
    with Simulation(seed, quiet=True) as simulation:
        world = simulation.add_node("desk")

        async def first_life() -> None:
            await live(world)
            simulation.power_cut("desk")
            await world.clock.sleep(1)

        async def story() -> None:
            task = world.spawn(first_life(), "first life")
            while world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.01)
            restarted = simulation.restart("desk")

            async def second_life() -> tuple[bytes | None, ...]:
                engine = await opened(restarted)
                found = [await engine.get(row, b"f:x") for row in (b"a", b"b", b"c")]
                await engine.close()
                return tuple(found)

            assert await restarted.spawn(second_life(), "second life") in (
                (b"1", None, b"3"),
                (b"1", b"never answered", b"3"),
            )

        simulation.run(story())
