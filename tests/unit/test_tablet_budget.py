"""The tablets of a server share memory and turns: a hundred stay within one budget, none keeps the others waiting."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.errors import DiskFailure, InvalidRequest
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.maintenance import compaction, housekeeping
from tablet.engine.maintenance.housekeeping import Housekeeping
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.sstable.bloom.named import POLICIES
from tablet.engine.sstable.bloom.policy import PARTITION_KEYS
from tablet.engine.tree.budget import Budget
from tablet.engine.tree.scan_cache import ScanCache, ScanMemory
from tablet.engine.world.options import Options, PolicySettings
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets
from tests.unit.tablet_support import open_engine

OPTIONS = Options(sync="os", policy_settings=PolicySettings(fan_in=3), flush_on_close_bytes=1 << 30)
LARGEST_WRITE = 1000


def small_budget() -> Budget:
    return Budget(block_cache_bytes=100_000, pinned_bytes=10_000, scan_cache_bytes=20_000, memtable_bytes=120_000)


async def opened(world: SimulatedWorld, budget: Budget, *, tablets: int = 0, options: Options = OPTIONS) -> Tablets:
    folders = DiskFolders(world.disk, "tablets")
    await folders.prepare()
    found = await Tablets.open(folders, world, options, budget=budget, segment_bytes=50_000)
    if tablets:
        await found.create_table("t", split_rows=[b"%03d" % number for number in range(1, tablets)])
        await found.create_family("t", "f")
    return found


def simulated(story: Callable[[SimulatedWorld], Awaitable[None]]) -> None:
    with Simulation(0, quiet=True) as simulation:
        simulation.run(story(simulation.add_node("desk")))


def check(budget: Budget) -> None:
    budget.check_invariants()
    figures = budget.figures()
    assert figures.block_cache_bytes <= figures.block_cache_limit
    assert figures.scan_cache_bytes <= figures.scan_cache_limit
    assert figures.reserved_bytes <= figures.memtable_limit
    assert figures.memtable_bytes <= figures.reserved_bytes + LARGEST_WRITE


def test_a_hundred_tablets_stay_within_one_budget():
    async def story(world: SimulatedWorld) -> None:
        budget, choice, written = small_budget(), random.Random(1), {}
        tablets = await opened(world, budget, tablets=100)
        assert len(tablets.engines) == 100
        for number in range(3000):
            row = b"%03d/%04d" % (choice.randrange(100), choice.randrange(50))
            written[row] = value = b"%d" % number + b"v" * choice.randrange(300)
            await tablets.write("t", row, [SetCell(b"f:x", value)])
            for _ in range(2):
                known = choice.choice(list(written)) if number % 10 == 0 else row
                assert await tablets.get("t", known, b"f:x") == written[known]
            if number % 10 == 0:
                await tablets.do_some_housework()
                check(budget)
        assert budget.figures().memtable_bytes > 60_000, "the memory is used"
        assert {row.key: row.value("f:x") async for row in tablets.scan("t")} == written
        check(budget)
        await tablets.close()
        assert budget.figures().reserved_bytes == budget.figures().scan_cache_bytes == 0
        again = small_budget()
        tablets = await opened(world, again)
        check(again)
        assert {row.key: row.value("f:x") async for row in tablets.scan("t")} == written
        await tablets.close()

    simulated(story)


def test_the_tablet_with_the_most_in_memory_is_flushed_for_another_that_needs_room():
    async def story(world: SimulatedWorld) -> None:
        tablets = await opened(world, small_budget(), tablets=3)
        first, second, third = tablets.engines.values()
        for place, rows in ((0, 200), (1, 100)):
            for number in range(rows):
                await tablets.write("t", b"%03d/%04d" % (place, number), [SetCell(b"f:x", b"v" * 100)])
        for number in range(200):
            if any(engine.figures().work.flushes for engine in (first, second, third)):
                break
            await tablets.write("t", b"002/%04d" % number, [SetCell(b"f:x", b"v" * 100)])
            check(tablets.budget)
        assert (first.figures().work.flushes, second.figures().work.flushes) == (1, 0)
        assert third.figures().work.flushes == 0
        await tablets.close()

    simulated(story)


def test_the_tablet_that_pins_the_log_is_flushed_so_that_it_stays_short():
    async def story(world: SimulatedWorld) -> None:
        tablets = await opened(world, small_budget(), tablets=2)
        tablets.start()
        idle = tablets.engine("t", b"001")
        await tablets.write("t", b"001/idle", [SetCell(b"f:x", b"1")])
        for number in range(3000):
            await tablets.write("t", b"000/%04d" % number, [SetCell(b"f:x", b"v" * 300)])
        await world.clock.sleep(1)
        assert tablets.log.file_bytes > 15 * 50_000
        assert len(tablets.log.segments) <= 10
        assert idle.figures().work.flushes == 1
        assert await tablets.get("t", b"001/idle", b"f:x") == b"1"
        await tablets.close()

    simulated(story)


def test_a_writer_is_told_why_no_room_can_be_made():
    async def story(world: SimulatedWorld) -> None:
        tablets = await opened(world, small_budget(), tablets=2)

        def refuse(operation: Operation) -> DiskFailure | None:
            return DiskFailure("injected") if operation.verb == "create" and ".sst" in operation.path else None

        forget = world.simulated_disk.on_operation(refuse)
        with pytest.raises(DiskFailure, match="injected"):
            for number in range(2000):
                await tablets.write("t", b"%03d/%04d" % (number % 2, number), [SetCell(b"f:x", b"v" * 100)])
        forget()
        await tablets.write("t", b"000/last", [SetCell(b"f:x", b"v" * 100)])
        check(tablets.budget)
        await tablets.close()

    simulated(story)


def test_background_work_is_done_in_turns():
    """A tablet that has a lot to compact does not keep another waiting for longer than one of its compactions."""

    async def story(world: SimulatedWorld) -> None:
        order: list[str] = []
        budget = Budget(block_cache_bytes=1, pinned_bytes=1, scan_cache_bytes=1, memtable_bytes=1_000_000, turns=1)
        tablets = await opened(world, budget, tablets=3)
        engines = list(tablets.engines.values())
        # What three of a size make is of the size of the next two: one compaction makes the next one due.
        sizes = [81_000, 81_000, 27_000, 27_000, 9000, 9000, 3000, 3000, 3000]
        for engine, files in zip(engines, (sizes, sizes[-3:], sizes[-3:]), strict=True):
            start = engine.state.manifest.start_row or b"000"
            for number, size in enumerate(files):
                await engine.put(start + b"/%04d" % number, b"f:x", random.Random(number).randbytes(size))
                await engine.flush()
        names = [engine.state.manifest.tablet for engine in engines]
        running, most = 0, 0
        work = Housekeeping._write_merged

        async def noted(self: Housekeeping, *arguments: object, **settings: object) -> object:
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(self._state.manifest.tablet)
            try:
                return await work(self, *arguments, **settings)  # type: ignore[arg-type]
            finally:
                running -= 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Housekeeping, "_write_merged", noted)
            tablets.start()
            await world.clock.sleep(60)
        assert most == 1
        assert order.count(names[0]) > 2
        assert {*order[:3]} == {*names}, "each has its turn before one has its second"
        await tablets.close()

    simulated(story)


@pytest.mark.parametrize("overwritten", [True, False])
async def test_background_work_lets_others_run_after_a_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwritten: bool
):
    """Counted in rows and in keys of Bloom filters, of which one is made at a time: small rows cost the most."""
    slices: list[tuple[int, int]] = []
    rows = filters = 0

    async def write_slice(chunk, writer, **settings):
        nonlocal rows
        rows += len(chunk.rows)
        await real_slice(chunk, writer, **settings)

    def build_filter(self, keys, rate):
        nonlocal filters
        filters += 1
        assert len(keys) <= PARTITION_KEYS
        return real_filter(self, keys, rate)

    async def breathe(self):
        nonlocal rows, filters
        slices.append((rows, filters))
        rows = filters = 0
        await real_breath(self)

    async def finish(self, *arguments, **settings):
        nonlocal filters
        result = await real_finish(self, *arguments, **settings)
        slices.append((0, filters))  # The last one, before the file is written and renamed.
        filters = 0
        return result

    real_finish = Housekeeping._finish
    monkeypatch.setattr(Housekeeping, "_finish", finish)
    policy = type(POLICIES[LocalityGroup().bloom_policy])
    real_slice, real_filter, real_breath = compaction.write_slice, policy.build, Housekeeping._breathe
    monkeypatch.setattr(compaction, "write_slice", write_slice)
    monkeypatch.setattr(housekeeping, "write_slice", write_slice)
    monkeypatch.setattr(policy, "build", build_filter)
    monkeypatch.setattr(Housekeeping, "_breathe", breathe)
    async with open_engine(tmp_path, Options(memtable_bytes=1 << 26)) as engine:
        await engine.create_family("f")
        for turn in range(4):
            numbers = range(12_000) if overwritten else range(turn, 48_000, 4)
            batch = [(b"%06d" % number, [SetCell(b"f:x", b"v", turn)]) for number in numbers]
            await engine.write_many(batch)
            await engine.flush()
        await engine.compact()
        assert max(rows for rows, _ in slices) <= engine.state.slice_rows == 1024
        assert max(filters for _, filters in slices) <= 1
        assert sum(rows for rows, _ in slices) >= 48_000 + (12_000 if overwritten else 48_000)


def test_the_scan_caches_of_several_tablets_hold_no_more_than_their_memory_together():
    memory = ScanMemory(20_000)
    caches = [ScanCache(1 << 20, memory) for _ in range(5)]
    key = ("default", b"f:x", True)
    for number in range(300):
        caches[number % 5 if number < 100 else 0].put(b"%d" % number, key, ((b"f:x", -1, 0, b"v" * 50),))
        memory.check_invariants()
    assert caches[0].figures.bytes > 15_000, "the busy one has got what the idle ones gave back"
    for cache in caches:
        cache.close()
    assert memory.bytes == 0


def test_a_budget_that_holds_no_row_is_refused():
    with pytest.raises(InvalidRequest, match="too few"):
        Budget(block_cache_bytes=1, pinned_bytes=1, scan_cache_bytes=1, memtable_bytes=100)
