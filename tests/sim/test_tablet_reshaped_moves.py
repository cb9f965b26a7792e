"""Splits that meet other work: deletions of ranges that wait for them, and the death of the server, after which another
one takes over all that there is, within the memory that its tablets share (BT 5.2, 6)."""

import asyncio
from collections.abc import Iterable

import pytest

from runtime.errors import Conflict, TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import sort_log
from tablet.engine.model.operations import SetCell
from tablet.engine.tree.budget import Budget
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage
from tablet.server.catalogue import load_catalogue
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

OPTIONS = Options(
    sync="fsync", memtable_bytes=20_000, flush_on_close_bytes=0, policy_settings=PolicySettings(fan_in=3, max_tables=10)
)
ROWS = [b"row%03d" % number for number in range(120)]
PIECE_BYTES = 4000
MEMTABLE_BYTES = 16_384


async def served(world: SimulatedWorld) -> Tablets:
    folders = DiskFolders(world.disk, "home")
    await folders.prepare()
    tablets = await Tablets.open(folders, world, OPTIONS, segment_bytes=3000)
    if not tablets.catalogue.of_table("t"):
        await tablets.create_table("t")
        await tablets.create_family("t", "f")
    return tablets


async def write(tablets: Tablets, rows: Iterable[bytes], value: bytes) -> None:
    for row in rows:
        await tablets.write("t", row, [SetCell(b"f:x", value + b"y" * 100)])


def deleted_in_the_middle(at: int) -> bool:
    """A range is deleted, and the tablet is split from the deletion's operation `at` on; whether it has so many."""

    async def story(world: SimulatedWorld) -> bool:
        tablets = await served(world)
        await write(tablets, ROWS[:20], b"1")
        (name,) = tablets.catalogue.names()
        engine = tablets.named(name)
        world.simulated_disk.speed.seconds_per_operation = 0.001
        first, reached = world.simulated_disk.operations, asyncio.Event()

        def count(operation: Operation) -> None:
            if operation.number - first == at:
                reached.set()

        world.simulated_disk.on_operation(count)
        deleting = asyncio.ensure_future(engine.delete_rows(ROWS[5], ROWS[15]))
        waiting = asyncio.ensure_future(reached.wait())
        await asyncio.wait([deleting, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await tablets.split(name, ROWS[10])
        was_deleted = True
        try:
            await deleting
        except TabletopError as error:
            assert error.definite
            was_deleted = False
        left = [row.key async for row in tablets.scan("t")]
        assert left == (ROWS[:5] + ROWS[15:20] if was_deleted else ROWS[:20])
        return reached.is_set()

    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        return simulation.run(simulation.on(world, story(world)))


def test_a_range_that_is_deleted_while_the_tablet_is_split_is_gone_or_refused():
    at = 1
    while deleted_in_the_middle(at):
        at += 1
    assert at > 10


def test_a_deletion_that_has_waited_while_the_tablet_began_to_move_is_refused():
    async def story(world: SimulatedWorld) -> None:
        tablets = await served(world)
        await write(tablets, ROWS[:20], b"1")
        (engine,) = tablets.engines.values()
        await engine.flush()
        async with engine._background.compacting:  # As a compaction does that is under way.
            deleting = asyncio.ensure_future(engine.delete_rows(ROWS[5], ROWS[15]))
            await world.clock.sleep(1)
            await engine.prepare_move()
        with pytest.raises(Conflict, match="about to move"):
            await deleting

    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        simulation.run(simulation.on(world, story(world)))


async def first_server(world: SimulatedWorld) -> None:
    tablets = await served(world)
    await write(tablets, ROWS, b"1")
    (name,) = tablets.catalogue.names()
    lower, upper = await tablets.split(name, ROWS[40])
    await write(tablets, ROWS[::2], b"2")
    await tablets.split(upper, ROWS[80])
    await write(tablets, ROWS[::3], b"3")
    await tablets.merge(lower, tablets.catalogue.names()[1])
    await write(tablets, ROWS[::5], b"4")


def expected(place: int) -> bytes:
    return b"4" if not place % 5 else b"3" if not place % 3 else b"2" if not place % 2 else b"1"


async def second_server(world: SimulatedWorld, budget: Budget) -> dict[bytes, bytes]:
    """Takes all tablets over, all at the same time; returns what they hold."""
    folders = DiskFolders(world.disk, "home")
    catalogue = await load_catalogue(folders.storage())
    assert catalogue is not None and len(catalogue.names()) == 2
    target, own = DiskStorage(world.disk, "sorted"), DiskStorage(world.disk, "log")
    for folder in (target, own):
        await folder.prepare()
    former = await sort_log(folders.storage("log"), target, world, owner="server", piece_bytes=PIECE_BYTES)
    log = await ServerLog.open(own, owner="second", sync="fsync", segment_bytes=3000)

    async def opened(name: str) -> Engine:
        return await Engine.open(
            folders.storage(name),
            world,
            OPTIONS,
            tablet=name,
            log=log,
            former=former,
            held_elsewhere=lambda: None,
            budget=budget,
        )

    engines = await asyncio.gather(*map(opened, catalogue.names()))
    found = {row.key: row.value("f:x") or b"" for engine in engines for row in [one async for one in engine.scan()]}
    for engine in engines:
        engine.check_invariants()
        await engine.put(max(found) if engine is engines[-1] else min(found), b"f:late", b"later")
    return found


def taken_over(at: int | None, *, by_power_cut: bool = False) -> bool:
    """The second server dies at its operation number `at`, and tries again; whether it has so many."""
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        simulation.run(simulation.on(world, first_server(world)))
        simulation.kill("desk")
        again = simulation.restart("desk")
        first, peak, died = again.simulated_disk.operations, 0, False
        budget = Budget(block_cache_bytes=50_000, pinned_bytes=0, scan_cache_bytes=5000, memtable_bytes=MEMTABLE_BYTES)

        def watch(operation: Operation) -> None:
            nonlocal peak, died
            peak = max(peak, budget.memtables.used_bytes)
            if at is not None and not died and operation.number - first == at:
                died = True
                simulation.power_cut("desk") if by_power_cut else simulation.kill("desk")

        again.simulated_disk.on_operation(watch)
        try:
            found = simulation.run(simulation.on(again, second_server(again, budget)))
        except NodeEnded:
            again = simulation.restart("desk")
            budget = Budget.of(OPTIONS)
            found = simulation.run(simulation.on(again, second_server(again, budget)))
        assert {row: value[:1] for row, value in found.items()} == {row: expected(n) for n, row in enumerate(ROWS)}
        assert peak <= MEMTABLE_BYTES + 2 * PIECE_BYTES
        return died


def test_tablets_of_a_split_and_a_merge_are_taken_over_within_the_memory_that_they_share():
    assert not taken_over(None)


@pytest.mark.parametrize("by_power_cut", [False, True])
def test_they_are_taken_over_at_last_wherever_the_first_attempt_ends(by_power_cut: bool):
    at = 1
    while taken_over(at, by_power_cut=by_power_cut):
        at += 11
    assert at > 100
