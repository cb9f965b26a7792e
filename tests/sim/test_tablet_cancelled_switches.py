"""A caller who gives up in the middle of a change of the tablet's files: the disk and the memory say the same.

Each change is begun anew and cancelled at its first operation on the disk, at its second, and so on. Afterwards the
newest manifest is the one that the open tablet has, and a kill changes nothing of what a reader sees.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from runtime.errors import TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.tree.manifest import load_current
from tablet.engine.world.options import Options
from tablet.engine.world.storage import DiskStorage

OPTIONS = Options(sync="fsync", memtable_bytes=100_000)
Change = Callable[[Engine], Awaitable[None]]


async def a_full_segment(engine: Engine) -> None:
    """Of a log that tablets share; a tablet with its own log does not mind."""
    for number in range(12):
        await engine.put(b"row%d" % number, b"f:x", b"y" * 200)


CHANGES: dict[str, Change] = {
    "create_family": lambda engine: engine.create_family("g"),
    "drop_family": lambda engine: engine.drop_family("other"),
    "flush": Engine.flush,
    "compact": Engine.compact,
    "delete_rows": lambda engine: engine.delete_rows(b"row1", b"row3"),
    "save_snapshot": lambda engine: engine.save_snapshot("second"),
    "restore_snapshot": lambda engine: engine.restore_snapshot("first"),
    "full_segment": a_full_segment,
}


async def opened(world: SimulatedWorld, *, is_shared: bool) -> Engine:
    storage = DiskStorage(world.disk, "t")
    await storage.prepare()
    if not is_shared:
        return await Engine.open(storage, world, OPTIONS, tablet="t")
    folder = DiskStorage(world.disk, "log")
    await folder.prepare()
    log = await ServerLog.open(folder, owner="server", sync="fsync", segment_bytes=1000)
    return await Engine.open(storage, world, OPTIONS, tablet="t", log=log)


async def content(engine: Engine) -> dict[bytes, list[tuple[bytes, bytes]]]:
    found = {row.key: [(cell.column, cell.value) for cell in row] async for row in engine.scan()}
    return {**found, b"families": [(name, b"") for name in engine.schema.families]}


async def cancelled_at(world: SimulatedWorld, change: Change, at: int, *, is_shared: bool) -> tuple[bool, object]:
    """Whether the change had so many operations, and what a reader sees when its caller has given up."""
    disk = world.simulated_disk
    engine = await opened(world, is_shared=is_shared)
    for family in ("f", "other"):
        await engine.create_family(family)
    for number in range(5):
        await engine.put(b"row%d" % number, b"f:x", b"before")
    await engine.save_snapshot("first")
    for number in range(2, 7):
        await engine.put(b"row%d" % number, b"other:x", b"after")
    disk.speed.seconds_per_operation = disk.speed.seconds_per_sync = 0.001
    task = asyncio.ensure_future(change(engine))
    first, was_reached = disk.operations, False

    def count(operation: Operation) -> None:
        nonlocal was_reached
        if operation.number - first == at:
            was_reached = True
            task.cancel()

    forget = disk.on_operation(count)
    await asyncio.wait([task])
    forget()
    engine.check_invariants()
    assert await load_current(engine.state.storage, await engine.state.storage.list()) == engine.state.manifest
    await engine.put(b"row9", b"f:x", b"at the end")
    with pytest.raises(TabletopError):
        await engine.put(b"row9", b"unknown:x", b"")
    return was_reached, await content(engine)


def is_reached(change: Change, at: int, *, is_shared: bool) -> bool:
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        was_reached, before = simulation.run(simulation.on(world, cancelled_at(world, change, at, is_shared=is_shared)))
        simulation.kill("desk")
        again = simulation.restart("desk")

        async def after() -> object:
            return await content(await opened(again, is_shared=is_shared))

        assert simulation.run(simulation.on(again, after())) == before
        return was_reached


@pytest.mark.parametrize("is_shared", [False, True], ids=["own log", "shared log"])
@pytest.mark.parametrize("name", CHANGES)
def test_the_disk_and_the_memory_agree_whenever_the_caller_gives_up(name: str, is_shared: bool):
    at = 1
    while is_reached(CHANGES[name], at, is_shared=is_shared):
        at += 1
    assert at > 5


def test_whoever_gives_up_hears_of_it_when_the_switch_has_ended():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, is_shared=False)
        world.simulated_disk.speed.seconds_per_operation = 0.01
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.015):
                await engine.create_family("f")
        await engine.put(b"row", b"f:x", b"at once")

    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        simulation.run(simulation.on(world, story(world)))


def test_a_dropped_family_is_refused_at_once_though_its_column_was_known():
    async def story(world: SimulatedWorld) -> None:
        engine = await opened(world, is_shared=False)
        await engine.create_family("f")
        await engine.put(b"row", b"f:x", b"")
        world.simulated_disk.speed.seconds_per_operation = 0.01
        dropping = asyncio.ensure_future(engine.state.install_schema(lambda schema: schema.without_family("f")))
        has_changed = asyncio.Event()
        clear = engine.state.schema_changed

        def changed() -> None:
            clear()
            has_changed.set()

        engine.state.schema_changed = changed
        await has_changed.wait()
        with pytest.raises(TabletopError, match="f"):
            await engine.put(b"row", b"f:x", b"")
        await dropping

    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        simulation.run(simulation.on(world, story(world)))
