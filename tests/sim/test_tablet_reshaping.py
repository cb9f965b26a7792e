"""A server dies at every step of a split and of a merge, and is opened again (BT 5.2).

A short life: a table is written, split, written, split again and merged, with flushes and compactions in between. It is
lived once for each operation that it makes on the disk while a split or a merge is under way; there the process is
killed, or the power goes, or that operation fails and the server lives on. Afterwards the live tablets cover all rows
without overlap, each acknowledged row is there exactly once, and no file stays to which nobody refers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeVar

import pytest

from cluster.swarm.engine.shared import SharedFolders
from runtime.errors import Conflict, DiskFailure, Superseded, TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.model.operations import SetCell
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.world.names import LOCK_NAME, home_of, manifest_name, snapshot_file_name
from tablet.engine.world.options import Options, PolicySettings
from tablet.server.catalogue import catalogue_name
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

OPTIONS = Options(sync="fsync", memtable_bytes=2000, policy_settings=PolicySettings(fan_in=3))
End = Literal["kill", "power cut", "error", "errors"]
ERRORS = {"error": 1, "errors": 4}
"""How many operations fail in a row: after one, the server can settle what is in doubt at once."""


Result = TypeVar("Result")


class Life:
    """What was promised, and what was under way."""

    def __init__(self, token: int = 0) -> None:
        self.token = token
        self.written: dict[bytes, int] = {}
        self.acknowledged: dict[bytes, int] = {}
        self.is_reshaping = False
        self.count = 0
        self.kept: dict[bytes, int] | None = None
        """What the snapshot holds, once there is one."""

    async def opened(self, world: SimulatedWorld) -> Tablets:
        self.token += bool(self.token)
        folders = DiskFolders(world.disk, "tablets")
        await folders.prepare()
        return await Tablets.open(folders, world, OPTIONS, token=self.token, segment_bytes=4000)

    async def write(self, tablets: Tablets, rows: range) -> None:
        for number in rows:
            row = b"row%02d" % number
            self.count += 1
            self.written[row] = count = self.count
            await tablets.write("users", row, [SetCell(b"f:a", b"%06d" % count + b"x" * 100, count)])
            self.acknowledged[row] = count
            while await tablets.do_some_housework():
                pass

    async def reshape(self, work: Callable[[], Awaitable[Result]]) -> Result:
        self.is_reshaping = True
        try:
            return await work()
        finally:
            self.is_reshaping = False

    async def live(self, world: SimulatedWorld) -> None:
        """Write, save a snapshot, split, write, split, merge, write."""
        tablets = await self.opened(world)
        await tablets.create_table("users")
        await tablets.create_family("users", "f")
        await self.write(tablets, range(0, 40, 2))
        (name,) = tablets.catalogue.names()
        await tablets.named(name).save_snapshot("s")
        self.kept = dict(self.acknowledged)
        lower, upper = await self.reshape(lambda: tablets.split(name, b"row20"))
        await self.write(tablets, range(10, 30, 2))
        middle, upper = await self.reshape(lambda: tablets.split(upper))
        await tablets.named(middle).compact()
        await self.write(tablets, range(15, 25, 2))
        await self.reshape(lambda: tablets.merge(lower, middle))
        await self.write(tablets, range(0, 40, 7))
        await tablets.close()

    async def check(self, world: SimulatedWorld, tablets: Tablets) -> None:
        """The tablets cover the rows, and hold what was acknowledged, or what was under way."""
        tablets.check_invariants()
        assert not tablets.unreadable, tablets.unreadable
        entries = tablets.catalogue.of_table("users")
        bounds = [(entry.start_row, entry.end_row) for entry in entries]
        assert [start for start, _ in bounds][1:] == [end for _, end in bounds][:-1]
        assert not entries or (bounds[0][0], bounds[-1][1]) == (b"", b"")
        rows = [row async for row in tablets.scan("users")] if entries else []
        keys = [row.key for row in rows]
        assert keys == sorted(set(keys))
        assert self.acknowledged.keys() <= set(keys) <= self.written.keys()
        for row in rows:
            value = row.value("f:a")
            assert value is not None
            assert self.acknowledged.get(row.key, 0) <= int(value[:6]) <= self.written[row.key], row.key
            assert await tablets.get("users", row.key, b"f:a") == value

    async def check_swept(self, world: SimulatedWorld, tablets: Tablets) -> None:
        """No file is there to which nobody refers, and each is there to which somebody does."""
        await tablets.sweep()
        needed = {f"tablets/{catalogue_name(tablets.catalogue.number)}"}
        for name, engine in tablets.engines.items():
            await engine.state.sweep()
            needed.add(f"tablets/{name}/{manifest_name(engine.state.manifest.number)}")
            references = engine.state.manifest.references()
            for snapshot in await engine.snapshots():
                needed.add(f"tablets/{name}/{snapshot_file_name(snapshot)}")
                references += (await load_snapshot(engine.state.storage, snapshot)).references()
            homes = [home_of(reference.name, name) for reference in references]
            needed |= {f"tablets/{folder}/{file_name}" for folder, file_name in homes}
        there = {
            path
            for path in world.simulated_disk.paths()
            if not path.startswith("tablets/log/") and not path.endswith(LOCK_NAME)
        }
        assert there == needed
        folders = {path.split("/")[1] for path in world.simulated_disk.paths() if path.count("/") == 2}
        assert folders == {"log", *(path.split("/")[1] for path in needed if path.count("/") == 2)}

    async def check_snapshots(self, tablets: Tablets) -> None:
        """Each tablet has its part of the snapshot. Goes back to it."""
        if self.kept is None:
            return
        for engine in tablets.engines.values():
            await engine.restore_snapshot("s")
        found = {row.key: int((row.value("f:a") or b"")[:6]) async for row in tablets.scan("users")}
        assert found == self.kept
        tablets.check_invariants()


def lived_until(seed: int, end: End, last: int | None, *, token: int = 0) -> int:
    """Live until the operation of a split or merge with this number, and check; returns the number of operations."""
    with Simulation(seed, quiet=True) as simulation:
        world = simulation.add_node("desk")
        disk, life, operations = world.simulated_disk, Life(token), 0

        def strike(operation: Operation) -> TabletopError | None:
            nonlocal operations
            if not life.is_reshaping:
                return None
            operations += 1
            if last is None or not last <= operations < last + ERRORS.get(end, 1):
                return None
            if end in ERRORS:
                return DiskFailure(f"injected: {operation.verb} {operation.path}")
            (simulation.kill if end == "kill" else simulation.power_cut)("desk")
            return None

        async def story() -> int:
            task = world.spawn(survive(), "life") if end in ERRORS else world.spawn(life.live(world), "life")
            while world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.01)
            if task.done():
                task.result()
            forget()
            again = simulation.restart("desk")
            tablets = await life.opened(again)
            await life.check(again, tablets)
            await life.check_swept(again, tablets)
            await life.check_snapshots(tablets)
            await tablets.close()
            return operations

        async def survive() -> None:
            """After an error the server serves on, and what failed can be asked for once more."""
            try:
                await life.live(world)
            except DiskFailure:
                forget()
                tablets = alive[-1]
                for number in range(0, 40, 13):
                    with suppress(Conflict, DiskFailure):  # Refused as long as it is in doubt whose row it is.
                        await life.write(tablets, range(number, number + 1))
                if last is not None and last % 3 == 0:
                    return  # And dies; what is on the disk must be what it has served.
                await tablets.mend()
                await life.check(world, tablets)
                await life.write(tablets, range(0, 40, 9))
                if last is not None and last % 3 == 1:
                    return
                name = tablets.catalogue.names()[0]
                await tablets.split(name, b"row05")
                await life.write(tablets, range(0, 40, 11))
                await life.check(world, tablets)
                await life.check_swept(world, tablets)
                await tablets.close()

        alive: list[Tablets] = []
        open_it = life.opened

        async def remembered(world: SimulatedWorld) -> Tablets:
            alive.append(await open_it(world))
            return alive[-1]

        life.opened = remembered  # type: ignore[method-assign]
        forget = disk.on_operation(strike)
        try:
            return simulation.run(story())
        except BaseException as error:
            error.add_note(f"seed {seed}, {end} at operation {last} of the splits and merges")
            raise


@pytest.mark.parametrize(("seed", "end"), [(0, "kill"), (1, "power cut"), (2, "error"), (3, "errors")])
def test_at_any_operation_of_a_split_or_a_merge(seed: int, end: End):
    operations = lived_until(seed, end, None)
    assert operations > 150
    for last in range(1, operations + 1):
        lived_until(seed, end, last)


@pytest.mark.parametrize("end", ["kill", "error"])
def test_at_some_operations_under_a_token(end: End):
    operations = lived_until(7, end, None, token=1)
    for last in range(1, operations + 1, 5):
        lived_until(7, end, last, token=1)


def two_owners(at: int) -> bool:
    """A second server takes the folder over when the first makes its operation number `at`; whether it got so far."""

    async def story(world: SimulatedWorld) -> bool:
        world.simulated_disk.speed.seconds_per_operation = 0.001
        life, moment = Life(), asyncio.Event()
        folders = SharedFolders(world.simulated_disk, "tablets")
        await folders.prepare()
        first = await Tablets.open(folders, world, OPTIONS, token=1)
        await first.create_table("users")
        await first.create_family("users", "f")
        await life.write(first, range(12))
        start = world.simulated_disk.operations

        def count(operation: Operation) -> None:
            if operation.number - start == at:
                moment.set()

        async def work() -> None:
            (name,) = first.catalogue.names()
            lower, upper = await first.split(name, b"row06")
            await first.merge(lower, upper)

        async def take_over() -> Tablets:
            await moment.wait()
            return await Tablets.open(folders, world, OPTIONS, token=2)

        forget = world.simulated_disk.on_operation(count)
        working, taking = asyncio.ensure_future(work()), asyncio.ensure_future(take_over())
        await asyncio.wait([working, taking], return_when=asyncio.FIRST_COMPLETED)
        if not moment.is_set():
            taking.cancel()
            return False
        second = await taking
        trouble = (await asyncio.gather(working, return_exceptions=True))[0]
        assert trouble is None or isinstance(trouble, TabletopError), trouble
        forget()
        with pytest.raises(Superseded):
            await first.create_table("more")
        await life.check(world, second)
        await life.write(second, range(12))
        (name, *_) = second.catalogue.names()
        await second.split(name, b"row03")
        with suppress(TabletopError):  # It learns that it is not the owner, and removes nothing.
            await first.sweep()
        await life.check(world, second)
        await life.check_swept(world, second)
        return True

    with Simulation(0, quiet=True) as simulation:
        return simulation.run(story(simulation.add_node("desk")))


def test_a_second_server_may_take_over_at_any_operation_of_a_split_and_a_merge():
    at = 1
    while two_owners(at):
        at += 3
    assert at > 100
