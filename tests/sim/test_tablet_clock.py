"""The tablet's own timestamps never go backwards, whatever the wall clock does between two openings (BT 2)."""

from collections.abc import Awaitable, Callable

import pytest

from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage


class EarlierClock:
    """The clock of a node whose wall clock was set back by an hour."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._clock = world.clock
        self.now = world.clock.now
        self.sleep = world.clock.sleep

    def wall_microseconds(self) -> int:
        return self._clock.wall_microseconds() - 3_600_000_000


async def opened(world: SimulatedWorld) -> Engine:
    await world.disk.make_directory("t")
    engine = await Engine.open(DiskStorage(world.disk, "t"), world, Options(flush_on_close_bytes=1 << 30))
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


async def flush(engine: Engine) -> None:
    await engine.flush()


async def flush_and_compact(engine: Engine) -> None:
    await engine.flush()
    await engine.compact()


async def nothing(engine: Engine) -> None:
    pass


@pytest.mark.parametrize("work", [nothing, flush, flush_and_compact])
@pytest.mark.parametrize("killed", [False, True])
def test_a_put_after_the_wall_clock_was_set_back_is_newer_than_one_before(
    work: Callable[[Engine], Awaitable[None]], killed: bool
):
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def before() -> None:
            engine = await opened(world)
            await engine.put(b"other", b"f:x", b"far in the future", 2**62)
            await engine.put(b"r", b"f:x", b"old")
            await engine.write_many([])
            await work(engine)
            if not killed:
                await engine.close()

        async def after(again: SimulatedWorld) -> None:
            real, again.clock = again.clock, EarlierClock(again)  # type: ignore[assignment]
            for number in range(3):
                engine = await opened(again)
                await engine.put(b"r", b"f:x", b"new %d" % number)
                assert await engine.get(b"r", b"f:x") == b"new %d" % number
                await engine.increment(b"n", b"f:x")
                row = await engine.read(b"r")
                assert row is not None
                assert abs(row.cells[0].timestamp - real.wall_microseconds()) < 60_000_000
                await engine.close()

        async def main() -> None:
            await world.spawn(before(), "before")
            simulation.kill("desk")
            again = simulation.restart("desk")
            await again.spawn(after(again), "after")

        simulation.run(main())
