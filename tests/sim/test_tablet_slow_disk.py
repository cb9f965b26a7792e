"""Flushes and compactions run at the same time on a disk whose operations take now no time, now long (BT 5.4).

Every seed is another order in which the steps of a flush, a compaction, their switches of the manifest, their sweeps
and three writers meet. None may disturb another, and a power cut or a kill in the midst of it loses nothing. Meanwhile
each row is read again and again, past a block cache that is off, so that writes, flushes and compactions come between
the beginning and the end of a read; and some writers are cancelled in the midst of a write, as a timeout does.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

import pytest

from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage

OPTIONS = Options(
    sync="fsync",
    memtable_bytes=1500,
    frozen_memtables=3,
    policy_settings=PolicySettings(fan_in=2),
    flush_on_close_bytes=0,
    block_cache_bytes=0,
)
WRITERS, WRITES, ROWS = 3, 25, 4

Rows = dict[bytes, bytes]
Tried = dict[bytes, list[bytes]]


async def opened(world: SimulatedWorld, options: Options = OPTIONS) -> Engine:
    await world.disk.make_directory("t")
    return await Engine.open(DiskStorage(world.disk, "t"), world, options)


async def write(engine: Engine, writer: int, answered: Rows, tried: Tried, chance: random.Random) -> None:
    """`tried`: the values of a row since the last one that was acknowledged."""
    for number in range(WRITES):
        row, value = b"%d-%d" % (writer, number % ROWS), b"%d " % number + b"x" * 150
        tried.setdefault(row, []).append(value)
        task = asyncio.create_task(engine.write(row, [SetCell(b"f:a", value, number)]))
        if chance.random() < 0.15:
            await engine.state.world.clock.sleep(chance.choice((0, 0.0005, 0.002)))
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
            answered[row], tried[row] = value, []
        if number % 5 == 0:
            check(await look(engine, b"%d-" % writer), answered, tried)


def check(found: Rows, answered: Rows, tried: Tried) -> None:
    assert not found.keys() - tried.keys()
    for row, values in tried.items():
        assert found.get(row) in (answered.get(row), *values), row


async def read(engine: Engine, answered: Rows) -> None:
    """Read the rows of one writer, for ever: what was acknowledged before a read began is what it finds, or something
    newer."""
    while True:
        for row, before in list(answered.items()):
            for _ in range(3):
                found = await engine.get(row, b"f:a")
                assert found is not None and int(found.split()[0]) >= int(before.split()[0]), row
                before = max(before, found, key=lambda value: int(value.split()[0]))
        await engine.state.world.clock.sleep(0.001)


async def look(engine: Engine, prefix: bytes = b"") -> Rows:
    return {row.key: row.value("f:a") or b"" async for row in engine.scan(prefix=prefix)}


def overlapping(seed: int, last: int | None) -> tuple[int, list[str]]:
    """Live, with the power cut or the process killed at operation `last`, and look at what is left; returns the
    operations, and the names of the events."""
    with Simulation(seed) as simulation:
        world = simulation.add_node("desk")
        disk, chance = world.simulated_disk, random.Random(seed)
        answered: list[Rows] = [{} for _ in range(WRITERS)]
        tried: list[Tried] = [{} for _ in range(WRITERS)]

        def hook(operation: Operation) -> None:
            disk.speed.seconds_per_operation = chance.choice((0, 0, 0.0001, 0.001, 0.004))
            disk.speed.seconds_per_sync = chance.choice((0.0001, 0.0005, 0.003, 0.01))
            if operation.number == last:
                (simulation.power_cut if chance.random() < 0.5 else simulation.kill)("desk")

        async def life() -> None:
            engine = await opened(world)
            await engine.create_family("f")
            engine.start()
            readers = [asyncio.create_task(read(engine, answered[own])) for own in range(WRITERS)]
            writers = (write(engine, own, answered[own], tried[own], chance) for own in range(WRITERS))
            await asyncio.gather(*writers)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            assert all(reader.cancelled() for reader in readers), [reader.exception() for reader in readers]
            engine.check_invariants()
            await engine.close()

        async def story() -> int:
            forget = disk.on_operation(hook)
            task = world.spawn(life(), "life")
            while world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.01)
            if task.done():
                task.result()
            forget()
            operations = disk.operations
            engine = await opened(simulation.restart("desk"))
            engine.check_invariants()
            found = await look(engine) if engine.schema.families else {}
            for own in range(WRITERS):
                check({row: found.pop(row) for row in sorted(found) if row in tried[own]}, answered[own], tried[own])
            assert not found
            await engine.close()
            return operations

        try:
            operations = simulation.run(story())
        except BaseException as error:
            error.add_note(f"seed {seed}, ended at operation {last}")
            raise
        return operations, [type(record.event).__name__ for record in simulation.sink.records]


@pytest.mark.parametrize("seed", range(25))
def test_jobs_that_overlap_do_not_disturb_one_another(seed: int):
    operations, events = overlapping(seed, None)
    assert events.count("FlushFinished") > 5 and events.count("CompactionFinished") > 3
    assert not {"FlushFailed", "CompactionFailed", "TaskFailed"} & set(events)
    for place in range(3):
        _, events = overlapping(seed, 20 + (seed * 7 + place * 101) % (operations - 20))
        assert not {"FlushFailed", "CompactionFailed", "TaskFailed"} & set(events)


def test_a_write_during_a_read_is_seen_by_the_next_read():
    """The read that it came into learns what the SSTables say, and must not leave that behind as the newest value."""
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")

        async def story() -> None:
            engine = await opened(world, replace(OPTIONS, sync="os"))
            await engine.create_family("f")
            await engine.put(b"r", b"f:a", b"old")
            await engine.flush()
            assert await engine.get(b"r", b"f:a") == b"old"
            world.simulated_disk.speed.seconds_per_operation = 1
            reading = asyncio.create_task(engine.get(b"r", b"f:a"))
            await world.clock.sleep(0.001)
            world.simulated_disk.speed.seconds_per_operation = 0
            await engine.put(b"r", b"f:a", b"new")
            assert not reading.done()
            assert await reading == b"old"
            assert [await engine.get(b"r", b"f:a") for _ in range(3)] == [b"new"] * 3
            await engine.close()

        simulation.run(story())
