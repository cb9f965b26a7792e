"""A sync of the log fails, and the kernel forgets that the pages are not on the disk: they can be read, and later syncs
pass over them, until the power goes. The next life must not take them for durable."""

import pytest

from runtime.errors import DiskFailure, TabletopError
from runtime.faults.disk import Operation, SyncError
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.world.options import Options, SyncMode
from tablet.engine.world.storage import DiskStorage


async def opened(world: SimulatedWorld, sync: SyncMode, *, is_shared: bool) -> Engine:
    storage = DiskStorage(world.disk, "t")
    await storage.prepare()
    folder = DiskStorage(world.disk, "log")
    await folder.prepare()
    log = await ServerLog.open(folder, owner="server", sync=sync, segment_bytes=3000) if is_shared else None
    engine = await Engine.open(storage, world, Options(sync=sync), tablet="t", log=log)
    if not engine.schema.families:
        await engine.create_family("f")
    return engine


async def keys(engine: Engine) -> list[bytes]:
    return [row.key async for row in engine.scan()]


def live(simulation: Simulation, story):
    world = simulation.restart("desk")
    return simulation.run(simulation.on(world, story(world)))


@pytest.mark.parametrize("is_shared", [False, True], ids=["own log", "shared log"])
@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_what_a_failed_sync_left_is_durable_before_a_later_record_says_so(sync: SyncMode, is_shared: bool):
    async def first(world: SimulatedWorld) -> None:
        engine = await opened(world, sync, is_shared=is_shared)
        await engine.put(b"before", b"f:x", b"")
        await engine.sync()
        world.simulated_disk.impose(SyncError("t/" if not is_shared else "log/", loses_pages=True))
        with pytest.raises(DiskFailure):
            await engine.put(b"in doubt", b"f:x", b"y" * 2000)  # Its record has sectors of its own.
            await engine.sync()

    async def second(world: SimulatedWorld) -> None:
        world.simulated_disk.heal()
        engine = await opened(world, sync, is_shared=is_shared)
        assert await keys(engine) == [b"before", b"in doubt"]
        await engine.put(b"later", b"f:x", b"")
        await engine.sync()

    async def third(world: SimulatedWorld) -> None:
        assert await keys(await opened(world, sync, is_shared=is_shared)) == [b"before", b"in doubt", b"later"]

    with Simulation(0) as simulation:
        simulation.add_node("desk")
        live(simulation, first)
        live(simulation, second)
        simulation.power_cut("desk", loses_all=True)
        live(simulation, third)


def test_the_end_of_a_log_that_later_records_vouch_for_is_not_written_again():
    async def first(world: SimulatedWorld) -> None:
        engine = await opened(world, "fsync", is_shared=False)
        for number in range(10):
            await engine.put(b"%d" % number, b"f:x", b"y" * 1000)
        await engine.close()  # Which leaves a mark.

    async def second(world: SimulatedWorld) -> None:
        written = 0

        def count(operation: Operation) -> TabletopError | None:
            nonlocal written
            written += operation.count if operation.verb == "write" and operation.path.endswith(".log") else 0
            return None

        world.simulated_disk.on_operation(count)
        assert len(await keys(await opened(world, "fsync", is_shared=False))) == 10
        assert written < 100  # The mark alone.

    with Simulation(0) as simulation:
        simulation.add_node("desk")
        live(simulation, first)
        live(simulation, second)
