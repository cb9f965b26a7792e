"""Two owners of one tablet, on storage that has no locks, as GFS has none: never do both switch its manifest.

The later one has the higher token, as from the sequencer of a lock. Whatever the earlier one is doing at that moment:
either he was in time, and the later one builds upon it, or he learns that he is superseded, and changes nothing.
"""

import asyncio
import random
from dataclasses import replace

import pytest

from cluster.swarm.engine.shared import SharedStorage
from runtime.errors import DiskFailure, Superseded, TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import load_current
from tablet.engine.world.options import Options, PolicySettings

OPTIONS = Options(sync="fsync", memtable_bytes=2000, policy_settings=PolicySettings(fan_in=2), flush_on_close_bytes=0)


async def opened(world: SimulatedWorld, token: int) -> Engine:
    await world.disk.make_directory("t")
    engine = await Engine.open(SharedStorage(world.simulated_disk, "t"), world, OPTIONS, token=token)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


async def rows(engine: Engine) -> list[bytes]:
    return [row.key async for row in engine.scan()]


def simulated(story):
    with Simulation(0) as simulation:
        return simulation.run(story(simulation.add_node("desk")))


def test_the_earlier_owner_learns_that_he_is_superseded_and_stops():
    async def story(world: SimulatedWorld) -> None:
        first = await opened(world, 1)
        await first.put(b"a", b"f:x", b"1")
        second = await opened(world, 2)
        assert await rows(second) == [b"a"]
        with pytest.raises(Superseded, match=r"manifest-\d+ of tablet '' was written by another owner"):
            await first.flush()
        for refused in (first.put(b"b", b"f:x", b"1"), first.get(b"a", b"f:x"), first.compact(), first.flush()):
            with pytest.raises(Superseded):
                await refused
        await second.put(b"c", b"f:x", b"1")
        await second.flush()
        await first.close()
        assert await rows(second) == [b"a", b"c"]
        await second.close()
        third = await opened(world, 3)
        assert await rows(third) == [b"a", b"c"]

    simulated(story)


def test_an_earlier_owner_cannot_open_the_tablet_again():
    async def story(world: SimulatedWorld) -> None:
        await (await opened(world, 5)).close()
        with pytest.raises(Superseded, match="has an owner with the token 5, and yours is 4"):
            await opened(world, 4)
        await (await opened(world, 5)).close()

    simulated(story)


def test_the_background_of_a_superseded_owner_ends():
    async def story(world: SimulatedWorld) -> None:
        first = await opened(world, 1)
        first.start()
        second = await opened(world, 2)
        with pytest.raises(Superseded):
            for number in range(100):
                await first.put(b"%d" % number, b"f:x", b"v" * 100)
                await world.clock.sleep(0.1)
        before = world.simulated_disk.operations
        await world.clock.sleep(3600)
        assert world.simulated_disk.operations == before
        await first.close()
        assert await rows(second) == []

    simulated(story)


def takeover(seed: int, at: int) -> bool:
    """The second owner opens the tablet when the first one makes his operation number `at`; whether he got so far."""

    async def story(world: SimulatedWorld) -> bool:
        world.simulated_disk.speed.seconds_per_operation = 0.001
        choice = random.Random(seed)
        first = await opened(world, 1)
        start, moment = world.simulated_disk.operations, asyncio.Event()

        def count(operation: Operation) -> None:
            if operation.number - start == at:
                moment.set()

        forget = world.simulated_disk.on_operation(count)
        flushed: list[bytes] = []

        async def work() -> None:
            for number in range(12):
                await first.put(b"row%02d" % number, b"f:x", b"v" * choice.randrange(400))
                if number % 3 == 2:
                    await first.flush()
                    flushed[:] = [b"row%02d" % row for row in range(number + 1)]
            await first.compact()

        async def wait_and_take_over() -> Engine:
            await moment.wait()
            return await opened(world, 2)

        working = asyncio.ensure_future(work())
        taking = asyncio.ensure_future(wait_and_take_over())
        await asyncio.wait([working, taking], return_when=asyncio.FIRST_COMPLETED)
        if not moment.is_set():
            taking.cancel()
            return False
        second = await taking
        promised = list(flushed)
        with_trouble = (await asyncio.gather(working, return_exceptions=True))[0]
        assert with_trouble is None or isinstance(with_trouble, TabletopError), with_trouble
        forget()
        seen = await rows(second)
        assert set(promised) <= set(seen)
        for number in range(6):
            await second.put(b"late%d" % number, b"f:x", b"v" * 300)
            await second.flush()
        with pytest.raises(Superseded):
            await first.flush()
            await first.compact()
            await first.create_family("g")
        await second.compact()
        second.check_invariants()
        found = await rows(second)
        assert found == sorted({*seen, *(b"late%d" % number for number in range(6))})
        manifest = await load_current(second.state.storage, await second.state.storage.list())
        assert manifest == second.state.manifest and manifest.token == 2
        await first.close()
        await second.close()
        third = await opened(world, 3)
        assert await rows(third) == found
        return True

    return simulated(story)


@pytest.mark.parametrize("seed", range(2))
def test_a_takeover_at_any_operation_of_the_earlier_owner_leaves_one_truth(seed: int):
    at = 1
    while takeover(seed, at):
        at += 1
    assert at > 100


def test_a_renaming_that_failed_is_settled_before_the_next_one():
    """The number after it must not be taken while another owner may take the one that failed."""

    async def story(world: SimulatedWorld) -> None:
        first = await opened(world, 1)
        await first.put(b"a", b"f:x", b"1")

        def fail(operation: Operation) -> None:
            if operation.verb == "rename" and ".1.new" in operation.path:
                raise DiskFailure("injected")

        forget = world.simulated_disk.on_operation(fail)
        number = first.state.manifest.number
        with pytest.raises(DiskFailure):
            await first.flush()
        forget()
        assert first.state.in_doubt
        second = await opened(world, 2)
        assert second.state.manifest.number == number + 1
        with pytest.raises(Superseded):
            await first.flush()
        assert await rows(second) == [b"a"]

    simulated(story)


def test_without_a_token_the_lock_alone_keeps_others_out():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, 0)
        await engine.put(b"a", b"f:x", b"1")
        await engine.flush()
        assert engine.state.manifest == replace(engine.state.manifest, token=0)

    simulated(story)


def test_an_owner_that_wakes_up_takes_no_number_that_a_later_one_has_had_and_removed():
    """He stands still before he prepares his next manifest; meanwhile the later one has written two, and swept."""

    async def story(world: SimulatedWorld, simulation: Simulation) -> None:
        world.simulated_disk.speed.seconds_per_operation = 0.001
        first = await opened(world, 1)
        stopped = asyncio.Event()

        def stand_still(operation: Operation) -> None:
            if operation.verb == "create" and "manifest" in operation.path and not stopped.is_set():
                simulation.pause("desk")
                stopped.set()

        world.simulated_disk.on_operation(stand_still)
        changing = world.spawn(first.create_family("g"), "change the schema")
        await stopped.wait()
        again = simulation.succeed("desk")
        second = await simulation.on(again, opened(again, 2))
        for row in (b"a", b"b"):
            await simulation.on(again, second.put(row, b"f:x", b"1"))
            await simulation.on(again, second.flush())
        simulation.loop.resume(world.life)
        with pytest.raises(Superseded):
            await changing
        await simulation.on(again, second.close())
        third = await simulation.on(again, opened(again, 3))
        assert list(third.schema.families) == [b"f"]
        assert await simulation.on(again, rows(third)) == [b"a", b"b"]

    with Simulation(0, quiet=True) as simulation:
        world = simulation.add_node("desk")
        simulation.run(story(world, simulation))
