"""Several tablets on the log of one server: replayed after a crash, dropped when nobody needs it (BT 5.3, 6)."""

import random
from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import Conflict, Corrupted, DiskFailure
from runtime.faults.disk import ShortWrites, WriteError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

SEGMENT_BYTES = 2000
OPTIONS = Options(sync="fsync", memtable_bytes=3000, flush_on_close_bytes=1 << 30)
Story = Callable[[SimulatedWorld], Awaitable[None]]


async def opened_log(world: SimulatedWorld, segment_limit: int = 0) -> ServerLog:
    await world.disk.make_directory("log")
    return await ServerLog.open(
        DiskStorage(world.disk, "log"),
        owner="server",
        sync="fsync",
        segment_bytes=SEGMENT_BYTES,
        segment_limit=segment_limit,
    )


async def opened(world: SimulatedWorld, log: ServerLog | None, name: str, folder: str = "") -> Engine:
    await world.disk.make_directory(folder or name)
    storage = DiskStorage(world.disk, folder or name)
    engine = await Engine.open(storage, world, OPTIONS, tablet=name, log=log)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


def segments(world: SimulatedWorld) -> list[str]:
    return [path for path in world.simulated_disk.paths() if path.startswith("log/") and path.endswith(".log")]


def run(*lives: Story) -> None:
    """Tell stories, and kill the node after each."""
    with Simulation(0, quiet=True) as simulation:
        simulation.add_node("desk")

        async def main() -> None:
            for life in lives:
                world = simulation.world("desk")
                await world.spawn(life(world), "life")
                simulation.kill("desk")
                simulation.restart("desk")

        simulation.run(main())


async def values(engine: Engine) -> dict[bytes, bytes | None]:
    return {row.key: row.value("f:x") async for row in engine.scan()}


def test_each_tablet_gets_its_own_rows_back_from_the_log_of_all():
    async def before(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        first, second = await opened(world, log, "first"), await opened(world, log, "second")
        for number in range(5):
            await first.put(b"%d" % number, b"f:x", b"of the first")
            await second.put(b"%d" % number, b"f:x", b"of the second")
        assert log.current is not None and log.current.last_sequence == 11
        await second.flush()

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        first, second = await opened(world, log, "first"), await opened(world, log, "second")
        assert await values(first) == {b"%d" % number: b"of the first" for number in range(5)}
        assert await values(second) == {b"%d" % number: b"of the second" for number in range(5)}
        assert len(second.state.memtable) == 0, "its rows are in an SSTable"
        await first.put(b"9", b"f:x", b"later")

    async def at_last(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        assert (await values(await opened(world, log, "first")))[b"9"] == b"later"

    run(before, after, at_last)


def test_a_segment_is_dropped_when_the_tablet_that_pins_it_is_flushed():
    async def story(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        idle, busy = await opened(world, log, "idle"), await opened(world, log, "busy")
        await idle.put(b"a", b"f:x", b"1")
        for number in range(60):
            await busy.put(b"%d" % number, b"f:x", b"v" * 200)
            while await busy.do_some_housework():
                pass
        assert len(segments(world)) > 4
        assert log.pinned_by() == "idle"
        await idle.flush()
        assert log.pinned_by() in ("busy", None)
        assert len(segments(world)) <= 3
        await busy.flush()
        assert len(segments(world)) == 1

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        assert await (await opened(world, log, "idle")).get(b"a", b"f:x") == b"1"
        assert len(await values(await opened(world, log, "busy"))) == 60

    run(story, after)


def test_the_tablet_that_keeps_the_oldest_of_too_many_segments_is_flushed_without_being_told():
    async def story(world: SimulatedWorld) -> None:
        log = await opened_log(world, segment_limit=4)
        idle, busy = await opened(world, log, "idle"), await opened(world, log, "busy")
        idle.start()
        busy.start()
        await idle.put(b"a", b"f:x", b"1")
        most = 0
        for number in range(100):
            await busy.put(b"%d" % number, b"f:x", b"v" * 200)
            await world.clock.sleep(0.01)
            most = max(most, len(segments(world)))
        assert 3 < most < 6, "else they would be more than ten"
        assert len(idle.state.memtable) == 0, "its rows are in an SSTable"

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        assert await (await opened(world, log, "idle")).get(b"a", b"f:x") == b"1"

    run(story, after)


def test_writes_go_on_in_another_segment_when_a_record_cannot_be_cut_off():
    """As on storage that only appends: nobody knows how the segment ends, so nothing is written after it."""

    async def story(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        first, second = await opened(world, log, "first"), await opened(world, log, "second")
        await first.put(b"a", b"f:x", b"kept")
        (path,) = segments(world)
        world.simulated_disk.impose(WriteError(path))
        world.simulated_disk.impose(ShortWrites())
        with pytest.raises(DiskFailure):
            await second.put(b"a", b"f:x", b"in doubt")
        await second.put(b"b", b"f:x", b"after it")
        await first.put(b"b", b"f:x", b"also after it")
        assert len(segments(world)) == 2

    async def after(world: SimulatedWorld) -> None:
        world.simulated_disk.heal()  # An opening writes the end of each segment again.
        log = await opened_log(world)
        assert await values(await opened(world, log, "first")) == {b"a": b"kept", b"b": b"also after it"}
        second = await opened(world, log, "second")
        assert await values(second) == {b"b": b"after it"}
        await second.put(b"c", b"f:x", b"later")

    async def at_last(world: SimulatedWorld) -> None:
        second = await opened(world, await opened_log(world), "second")
        assert await values(second) == {b"b": b"after it", b"c": b"later"}

    run(story, after, at_last)


def test_a_segment_that_was_begun_and_never_named_is_in_nobodys_way_and_goes():
    async def before(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        first = await opened(world, log, "first")
        await first.put(b"a", b"f:x", b"1")

    async def never_named(world: SimulatedWorld) -> None:
        first = await opened(world, await opened_log(world), "first")
        world.simulated_disk.impose(WriteError("log/segments"))
        world.simulated_disk.impose(WriteError("log/000002.log", offset=1 << 30))
        with pytest.raises(DiskFailure):
            await first.put(b"b", b"f:x", b"2")
        await (await world.disk.open("log/000009.log", "create")).close()
        world.simulated_disk.heal()

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        assert segments(world) == ["log/000001.log"]
        first = await opened(world, log, "first")
        await first.put(b"b", b"f:x", b"3")
        assert await values(first) == {b"a": b"1", b"b": b"3"}
        assert segments(world) == ["log/000001.log", "log/000010.log"]

    run(before, never_named, after)


def test_what_a_tablet_that_is_not_open_yet_needs_stays():
    async def before(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        await (await opened(world, log, "late")).put(b"a", b"f:x", b"1")

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        early = await opened(world, log, "early")
        for number in range(60):
            await early.put(b"%d" % number, b"f:x", b"v" * 200)
        await early.flush()
        assert log.pinned_by() == "late"
        assert await (await opened(world, log, "late")).get(b"a", b"f:x") == b"1"

    run(before, after)


def test_a_segment_that_was_begun_and_never_named_hinders_nobody_and_goes():
    async def before(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        await (await opened(world, log, "only")).put(b"a", b"f:x", b"1")
        left_behind = await DiskStorage(world.disk, "log").create("000002.log")
        await left_behind.close()

    async def after(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        assert segments(world) == ["log/000001.log"]
        engine = await opened(world, log, "only")
        await engine.put(b"b", b"f:x", b"2")
        assert await values(engine) == {b"a": b"1", b"b": b"2"}

    run(before, after)


def test_a_tablet_moves_between_servers_and_never_passes_over_a_row():
    """Each server has sequences of its own: what the tablet has flushed must not hide what it writes elsewhere."""

    async def story(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        moved = await opened(world, log, "moved")
        for number in range(50):
            await moved.put(b"%d" % number, b"f:x", b"there")
        await moved.prepare_move()
        await moved.close()
        log.detach("moved")
        await world.disk.make_directory("other")
        storage = DiskStorage(world.disk, "other")
        other = await ServerLog.open(storage, owner="other", sync="fsync", segment_bytes=SEGMENT_BYTES)
        here = await opened(world, other, "here")
        await here.put(b"a", b"f:x", b"1")
        moved = await opened(world, other, "moved")
        await moved.put(b"new", b"f:x", b"here")
        await here.put(b"b", b"f:x", b"2")

    async def after(world: SimulatedWorld) -> None:
        storage = DiskStorage(world.disk, "other")
        other = await ServerLog.open(storage, owner="other", sync="fsync", segment_bytes=SEGMENT_BYTES)
        found = await values(await opened(world, other, "moved"))
        assert found[b"new"] == b"here" and len(found) == 51
        assert await values(await opened(world, other, "here")) == {b"a": b"1", b"b": b"2"}

    run(story, after)


def test_a_tablet_is_not_opened_with_another_log_than_its_rows_are_in():
    async def story(world: SimulatedWorld) -> None:
        log = await opened_log(world)
        await opened(world, log, "shared")
        own = await opened(world, None, "own")
        await own.put(b"a", b"f:x", b"1")
        await own.close()
        with pytest.raises(Conflict, match="has a log of its own"):
            await opened(world, log, "own")

    async def after(world: SimulatedWorld) -> None:
        with pytest.raises(Conflict, match="is a server's; open it with that log"):
            await opened(world, None, "shared")

    run(story, after)


@pytest.mark.parametrize("seed", range(30))
def test_no_acknowledged_row_of_any_tablet_is_lost(seed: int):
    choice = random.Random(seed)
    names = ("one", "two", "three")
    acknowledged: dict[tuple[str, bytes], int] = {}
    tried = 0

    async def check(engine: Engine, name: str) -> None:
        found = await values(engine)
        for (tablet, row), number in acknowledged.items():
            if tablet == name:
                assert number <= int(found.get(row) or b"0") <= tried, (tablet, row)

    async def write(world: SimulatedWorld, engine: Engine, name: str) -> None:
        nonlocal tried
        while True:
            await world.clock.sleep(choice.random() * 0.01)
            tried += 1
            row, number = b"row%d" % choice.randrange(20), tried
            await engine.put(row, b"f:x", b"%d" % number)
            acknowledged[name, row] = max(number, acknowledged.get((name, row), 0))
            if choice.random() < 0.05:
                await engine.flush()

    async def life(world: SimulatedWorld) -> None:
        speed = world.simulated_disk.speed
        log = await opened_log(world)
        engines = {}
        for name in choice.sample(names, len(names)):
            engines[name] = await opened(world, log, name)
            await check(engines[name], name)
        for name, engine in engines.items():
            engine.start()
            world.spawn(write(world, engine, name), f"writer of {name}")
        speed.seconds_per_sync = choice.choice((0, 0.002))
        speed.seconds_per_operation = choice.choice((0, 0.0005))
        await world.clock.sleep(choice.random())

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


def test_a_tablet_is_not_opened_if_the_log_has_lost_records_since_it_was_opened_itself():
    """Right after a start they would be taken for a torn end. Here it is known that they were there."""

    async def before(world: SimulatedWorld) -> None:
        tablet = await opened(world, await opened_log(world), "first")
        for number in range(3):
            await tablet.put(b"%d" % number, b"f:x", b"v")

    async def after(world: SimulatedWorld) -> None:
        log, disk = await opened_log(world), world.simulated_disk
        (segment,) = segments(world)
        last = len(disk.content(segment).cached) - 1
        disk.rot(segment, last)
        with pytest.raises(
            Corrupted, match=r"had records up to 4 when it was opened, and can be read up to record 3 now"
        ):
            await opened(world, log, "first")
        disk.rot(segment, last)
        assert len(await values(await opened(world, log, "first"))) == 3

    run(before, after)
