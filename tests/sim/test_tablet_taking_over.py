"""A tablet of a dead server is taken over within the memory that the tablets of its new server share; when that comes
to nothing, nothing of it stays: neither memory, nor a need for the log, nor a lock (BT 6)."""

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog, sort_log
from tablet.engine.tree.budget import Budget
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

OPTIONS = Options(sync="fsync", memtable_bytes=1 << 20, flush_on_close_bytes=1 << 30)
ROWS = {b"row%02d" % number: b"%02d" % number + b"v" * 300 for number in range(30)}
PIECE_BYTES = 2000
MEMTABLE_BYTES = 16_384


def budget_of(memtable_bytes: int) -> Budget:
    return Budget(block_cache_bytes=50_000, pinned_bytes=0, scan_cache_bytes=5000, memtable_bytes=memtable_bytes)


async def folder(world: SimulatedWorld, name: str) -> DiskStorage:
    storage = DiskStorage(world.disk, name)
    await storage.prepare()
    return storage


async def opened_log(world: SimulatedWorld, name: str) -> ServerLog:
    return await ServerLog.open(await folder(world, name), owner=name, sync="fsync", segment_bytes=2000)


async def opened(
    world: SimulatedWorld, log: ServerLog, name: str, budget: Budget | None = None, former: SortedLog | None = None
) -> Engine:
    storage = await folder(world, name)
    engine = await Engine.open(storage, world, OPTIONS, tablet=name, log=log, budget=budget, former=former)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


async def left_by_a_server(world: SimulatedWorld) -> SortedLog:
    """A server has written rows of a tablet to its log alone, and died; the log was sorted."""
    engine = await opened(world, await opened_log(world, "old"), "moved")
    for row, value in ROWS.items():
        await engine.put(row, b"f:x", value)
    await engine.close()
    target = await folder(world, "sorted")
    return await sort_log(await folder(world, "old"), target, world, owner="old", piece_bytes=PIECE_BYTES)


async def busy(world: SimulatedWorld, log: ServerLog, budget: Budget) -> Engine:
    """A tablet of the new server that has most of the memory."""
    engine = await opened(world, log, "busy", budget)
    for number in range(25):
        await engine.put(b"row%02d" % number, b"f:x", b"w" * 400)
    assert budget.memtables.reserved_bytes > MEMTABLE_BYTES - PIECE_BYTES
    return engine


async def content(engine: Engine) -> dict[bytes, bytes | None]:
    engine.check_invariants()
    return {row.key: row.value("f:x") async for row in engine.scan()}


@pytest.mark.parametrize("memtable_bytes", [MEMTABLE_BYTES, 1 << 22])
def test_a_tablet_is_flushed_as_often_as_the_shared_memory_asks_for_while_it_is_taken_over(memtable_bytes: int):
    async def story(world: SimulatedWorld) -> None:
        former, log, budget = await left_by_a_server(world), await opened_log(world, "new"), budget_of(memtable_bytes)
        if memtable_bytes == MEMTABLE_BYTES:
            await busy(world, log, budget)
        before, peak = budget.memtables.used_bytes, 0

        def watch(operation: Operation) -> None:
            nonlocal peak
            peak = max(peak, budget.memtables.used_bytes)

        forget = world.simulated_disk.on_operation(watch)
        engine = await opened(world, log, "moved", budget, former)
        forget()
        parts = len(former.parts_of("moved"))
        assert parts > 4
        if memtable_bytes == MEMTABLE_BYTES:
            assert engine.housekeeping.work.flushes == parts, "there is room for one piece at a time"
            assert peak <= before + 2 * PIECE_BYTES
        else:
            assert engine.housekeeping.work.flushes == 1
        budget.check_invariants()
        assert budget.memtables.used_bytes == before, "all that was brought along is in SSTables"
        assert await content(engine) == ROWS

    with Simulation(0, quiet=True) as simulation:
        simulation.run(story(simulation.add_node("desk")))


def taken_over_in_vain(at: int) -> bool:
    """The take-over's disk operation number `at` fails, and it is tried again; whether it has so many."""

    async def story(world: SimulatedWorld) -> bool:
        former, log, budget = await left_by_a_server(world), await opened_log(world, "new"), budget_of(MEMTABLE_BYTES)
        other = await busy(world, log, budget)
        memtables = budget.memtables
        first, before, needed = world.simulated_disk.operations, memtables.reserved_bytes, log.needed_after()

        def fail(operation: Operation) -> TabletopError | None:
            return DiskFailure("injected") if operation.number == first + at else None

        forget = world.simulated_disk.on_operation(fail)
        failed = False
        try:
            engine = await opened(world, log, "moved", budget, former)
        except DiskFailure:
            failed = True
            assert memtables.reserved_bytes == before
            budget.check_invariants()
            assert log.needed_after() == needed
            assert log.tablets == ["busy"]
            engine = await opened(world, log, "moved", budget, former)
        forget()
        assert log.needed_after() == needed
        assert await content(engine) == ROWS
        await engine.put(b"later", b"f:x", b"1")
        await engine.close()
        assert memtables.reserved_bytes <= before
        await other.close()
        assert memtables.reserved_bytes == 0
        return failed or world.simulated_disk.operations < first + at

    with Simulation(at, quiet=True) as simulation:
        return simulation.run(story(simulation.add_node("desk")))


def test_a_take_over_that_fails_at_whatever_step_gives_back_what_it_had():
    failures = sum(taken_over_in_vain(at) for at in range(1, 180, 3))
    assert failures > 30
