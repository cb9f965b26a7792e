"""Tablets whose server died are taken over with its sorted log; nothing is lost at any step of that (BT 6)."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from runtime.errors import Conflict, DiskFailure, NoSpace
from runtime.faults.disk import FullDisk, Operation, ShortWrites, SlowDisk, WriteError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog, sort_log
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

SEGMENT_BYTES = 2000
OPTIONS = Options(sync="fsync", memtable_bytes=3000, flush_on_close_bytes=1 << 30)
NAMES = ("one", "two", "three")

Rows = dict[bytes, bytes | None]


async def opened_log(world: SimulatedWorld, folder: str) -> ServerLog:
    await world.disk.make_directory(folder)
    storage = DiskStorage(world.disk, folder)
    return await ServerLog.open(storage, owner=folder, sync="fsync", segment_bytes=SEGMENT_BYTES)


async def opened(world: SimulatedWorld, log: ServerLog, name: str, former: SortedLog | None = None) -> Engine:
    await world.disk.make_directory(name)
    engine = await Engine.open(DiskStorage(world.disk, name), world, OPTIONS, tablet=name, log=log, former=former)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


async def sorted_now(world: SimulatedWorld, piece_bytes: int = 2500) -> SortedLog:
    await world.disk.make_directory("sorted")
    source, target = DiskStorage(world.disk, "old"), DiskStorage(world.disk, "sorted")
    return await sort_log(source, target, world, owner="old", piece_bytes=piece_bytes)


async def rows_of(engine: Engine) -> Rows:
    engine.check_invariants()
    return {row.key: row.value("f:x") async for row in engine.scan()}


async def old_server(world: SimulatedWorld, written: dict[str, Rows], writes: int = 45) -> None:
    """Tablets on one log, some of them flushed, when the server dies."""
    choice = random.Random(7)
    log = await opened_log(world, "old")
    engines = {name: await opened(world, log, name) for name in NAMES}
    for number in range(writes):
        name, row, value = choice.choice(NAMES), b"row%d" % choice.randrange(8), b"%d" % number * 20
        await engines[name].put(row, b"f:x", value)
        written.setdefault(name, {})[row] = value
        if number == writes // 3:
            await engines["two"].flush()


async def check_all(world: SimulatedWorld, written: dict[str, Rows]) -> None:
    """Whoever sorts the log now and takes all tablets over finds what was written, and again without the sorted log."""
    former = await sorted_now(world)
    log = await opened_log(world, "new")
    for name in NAMES:
        engine = await opened(world, log, name, former)
        assert await rows_of(engine) == written[name]
        await engine.put(b"later", b"f:x", b"by the new server")
        await engine.close()
    await former.remove()
    again = await opened_log(world, "new")
    for name in NAMES:
        engine = await opened(world, again, name)
        assert await rows_of(engine) == {**written[name], b"later": b"by the new server"}
        await engine.close()


def lived_until(last: int | None, *, during: str, power: bool, seed: int) -> int:
    """One life of the old server, then another that is ended before its disk operation number `last`, then a third that
    must find everything. Returns how many operations the second took. `during`: what is interrupted."""
    written: dict[str, Rows] = {}
    with Simulation(seed) as simulation:
        simulation.add_node("desk")

        def end() -> None:
            (simulation.power_cut if power else simulation.kill)("desk")
            simulation.restart("desk")

        async def second(world: SimulatedWorld) -> None:
            former = await sorted_now(world)
            if during == "take-over":
                log = await opened_log(world, "new")
                watch(world)
                for name in NAMES:
                    await opened(world, log, name, former)

        def watch(world: SimulatedWorld) -> None:
            nonlocal begun
            begun = world.simulated_disk.operations

            def count(operation: Operation) -> None:
                if last is not None and operation.number == begun + last and world.life.alive:
                    (simulation.power_cut if power else simulation.kill)("desk")

            forget.append(world.simulated_disk.on_operation(count))

        async def story() -> int:
            await simulation.world("desk").spawn(old_server(simulation.world("desk"), written), "old server")
            end()
            world = simulation.world("desk")
            if during == "sort":
                watch(world)
            task = world.spawn(second(world), "second")
            while world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.001)
            for each in forget:
                each()
            operations = world.simulated_disk.operations - begun
            if world.life.alive:
                await task
                end()
            else:
                simulation.restart("desk")
            await check_all(simulation.world("desk"), written)
            return operations

        forget: list[Callable[[], None]] = []
        begun = 0
        return simulation.run(story())


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("during", ["sort", "take-over"])
def test_nothing_is_lost_at_whatever_step_a_sort_or_a_take_over_ends(during: str, power: bool):
    steps = lived_until(None, during=during, power=power, seed=0)
    assert steps > 50
    for last in range(1, steps + 1):
        lived_until(last, during=during, power=power, seed=last)


def test_a_tablet_is_taken_over_with_little_memory_though_the_log_holds_much_of_it():
    written: dict[str, Rows] = {}
    with Simulation(0, quiet=True) as simulation:
        simulation.add_node("desk")

        async def story() -> None:
            world = simulation.world("desk")
            await world.spawn(old_server(world, written), "old server")
            simulation.kill("desk")
            world = simulation.restart("desk")
            former = await sorted_now(world)
            engine = await opened(world, await opened_log(world, "new"), "one", former)
            assert len(former.parts_of("one")) > 2
            assert engine.housekeeping.work.flushes > 1, "a memtable takes 3,000 bytes"
            assert engine.state.manifest.flushed_sequence >= former.parts_of("one")[-1].last_sequence
            assert former.parts_of("one", engine.state.manifest.flushed_sequence) == []
            assert await rows_of(engine) == written["one"]

        simulation.run(story())


def test_a_tablet_with_rows_in_both_logs_is_not_taken_over():
    written: dict[str, Rows] = {}
    with Simulation(0, quiet=True) as simulation:
        simulation.add_node("desk")

        async def story() -> None:
            world = simulation.world("desk")
            await world.spawn(old_server(world, written), "old server")
            simulation.kill("desk")
            world = simulation.restart("desk")
            former, log = await sorted_now(world), await opened_log(world, "new")
            engine = await opened(world, log, "one")
            await engine.put(b"a", b"f:x", b"though nobody had taken it over")
            await engine.close()
            with pytest.raises(Conflict, match="has rows in the log of 'new' and in that of 'old'"):
                await opened(world, log, "one", former)
            assert (await rows_of(await opened(world, log, "one")))[b"a"] is not None

        simulation.run(story())


@pytest.mark.parametrize("seed", range(40))
def test_what_a_sorted_log_gives_is_what_the_log_itself_gives(seed: int):
    """After kills, power cuts and full disks in the middle of writing; whoever is told twice must hear the same."""
    choice = random.Random(seed)
    acknowledged: dict[tuple[str, bytes], int] = {}
    tried = 0

    async def write(world: SimulatedWorld, engine: Engine, name: str) -> None:
        nonlocal tried
        while True:
            await world.clock.sleep(choice.random() * 0.01)
            tried += 1
            row, number = b"row%d" % choice.randrange(10), tried
            with suppress(NoSpace, DiskFailure):
                await engine.put(row, b"f:x", b"%d" % number)
                acknowledged[name, row] = max(number, acknowledged.get((name, row), 0))
            if choice.random() < 0.05:
                with suppress(NoSpace, DiskFailure):
                    await engine.flush()

    async def life(world: SimulatedWorld) -> None:
        log = await opened_log(world, "old")
        for name in NAMES:
            engine = await opened(world, log, name)
            engine.start()
            world.spawn(write(world, engine, name), f"writer of {name}")
        for _ in range(5):
            await world.clock.sleep(choice.random() * 0.1)
            end = world.simulated_disk.impose(
                choice.choice((FullDisk(), WriteError("old/"), ShortWrites(), SlowDisk(0.001)))
            )
            await world.clock.sleep(choice.random() * 0.02)
            end()

    with Simulation(seed) as simulation:
        simulation.add_node("desk")

        async def main() -> None:
            for _ in range(2):
                world = simulation.world("desk")
                await world.spawn(life(world), "life")
                (simulation.power_cut if choice.random() < 0.5 else simulation.kill)("desk")
                world.simulated_disk.heal()
                simulation.restart("desk")
            world = simulation.world("desk")
            former = await sorted_now(world, choice.choice((500, 5000, 10**6)))
            log, other = await opened_log(world, "old"), await opened_log(world, "new")
            for name in NAMES:
                engine = await opened(world, log, name)
                by_log = await rows_of(engine)
                last_timestamp = engine.state.last_timestamp
                await engine.close()
                engine = await opened(world, other, name, former)
                assert await rows_of(engine) == by_log
                assert engine.state.last_timestamp == last_timestamp
                for (tablet, row), number in acknowledged.items():
                    if tablet == name:
                        assert number <= int(by_log.get(row) or b"0") <= tried

        simulation.run(main())
