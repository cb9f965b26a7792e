"""Two owners of one server log, on a disk that both reach and that has no locks, as GFS has none.

The earlier one stands still at some step and is taken for dead; the later one claims the log, reads it, and serves.
Then the earlier one wakes up. Whatever it acknowledged, before its pause or after it, the later one has; what it
refuses for certain, nobody has; and what it cannot tell, it calls indefinite.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from cluster.swarm.bugs import planted
from cluster.swarm.engine.bugs import BUGS
from cluster.swarm.engine.shared import SharedStorage
from runtime.errors import Corrupted, DiskFailure, Superseded, TabletopError
from runtime.faults.disk import FullDisk, Operation, ShortWrites
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.segment_list import SegmentList
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import sort_log
from tablet.engine.world.options import Options, SyncMode

ROWS = [b"row%02d" % number for number in range(16)]
STEP_SECONDS = 0.001


class Owners:
    """What two owners of one log and one tablet did, one after the other, and at the same time."""

    def __init__(self, seed: int, sync: SyncMode, sorts: bool) -> None:
        self.choice = random.Random(seed)
        self.options = Options(sync=sync, memtable_bytes=3000, flush_on_close_bytes=0)
        self.sync = sync
        self.sorts = sorts
        self.acknowledged: dict[bytes, bytes] = {}
        self.refused: dict[bytes, bytes] = {}
        self.unknown: dict[bytes, bytes] = {}
        self.trouble: list[TabletopError] = []

    async def folder(self, world: SimulatedWorld, name: str) -> SharedStorage:
        storage = SharedStorage(world.simulated_disk, name)
        await storage.prepare()
        return storage

    async def opened(self, world: SimulatedWorld, token: int, name: str = "log") -> Engine:
        """The tablet, on the log that both write to; or, if the second one sorts that, on one of its own."""
        former = None
        if self.sorts and token > 2:
            source, target = await self.folder(world, "log"), await self.folder(world, "sorted")
            former = await sort_log(source, target, world, owner="log", piece_bytes=500, token=token)
            name = "log2"
        log = await ServerLog.open(
            await self.folder(world, name), owner=name, sync=self.sync, segment_bytes=700, token=token
        )
        engine = await Engine.open(
            await self.folder(world, "t"), world, self.options, tablet="t", log=log, token=token, former=former
        )
        if not engine.schema.families:
            await engine.create_family("f")
        return engine

    async def put(self, engine: Engine, row: bytes, value: bytes) -> None:
        """Write one row and note what was said. Each row is written by one owner once."""
        try:
            await engine.put(row, b"f:x", value)
        except TabletopError as error:
            self.trouble.append(error)
            (self.refused if error.definite else self.unknown)[row] = value
        else:
            self.acknowledged[row] = value

    async def work(self, engine: Engine) -> None:
        """Write rows, some of them at the same time, and flush now and then."""
        for place in range(0, len(ROWS), 2):
            both = [self.put(engine, row, b"1" + b"v" * self.choice.randrange(300)) for row in ROWS[place : place + 2]]
            if self.choice.random() < 0.5:
                await asyncio.gather(*both)
            else:
                for one in both:
                    await one
            if place % 6 == 4:
                with suppress(TabletopError):
                    await engine.flush()

    def check(self, found: dict[bytes, bytes]) -> None:
        for row, value in self.acknowledged.items():
            assert found.get(row) == value, (row, "was acknowledged")
        for row in self.refused:
            assert row not in found, (row, "was refused for certain")
        for row, value in self.unknown.items():
            assert found.get(row, value) == value


async def content(engine: Engine) -> dict[bytes, bytes]:
    return {row.key: row.value("f:x") or b"" async for row in engine.scan()}


def taken_over(at: int, wakes_at: int | None, *, sync: SyncMode, sorts: bool) -> tuple[bool, list[TabletopError]]:
    """The first owner stands still at its disk operation number `at`, and goes on at operation number `wakes_at` of the
    second one, or when that one serves. Returns whether there were so many, and what the first one was told."""
    owners = Owners(at, sync, sorts)

    async def first(world: SimulatedWorld) -> None:
        with suppress(Superseded):
            await owners.work(await owners.opened(world, 2))

    with Simulation(at, quiet=True) as simulation:
        world = simulation.add_node("desk")
        disk = world.simulated_disk
        disk.speed.seconds_per_operation = STEP_SECONDS
        stopped = asyncio.Event()
        first_begins = second_begins = 0

        def watch(operation: Operation) -> None:
            if not stopped.is_set() and operation.number == first_begins + at:
                simulation.pause("desk")
                stopped.set()
            elif wakes_at is not None and second_begins and operation.number == second_begins + wakes_at:
                simulation.loop.resume(world.life)

        async def story() -> bool:
            nonlocal first_begins, second_begins
            await (await owners.opened(world, 1)).close()
            first_begins = disk.operations
            disk.on_operation(watch)
            working = world.spawn(first(world), "first")
            waiting = asyncio.ensure_future(stopped.wait())
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not stopped.is_set():
                return False
            second_begins = disk.operations
            again = simulation.succeed("desk")
            engine = await simulation.on(again, owners.opened(again, 3))
            early = await simulation.on(again, content(engine))
            simulation.loop.resume(world.life)
            await asyncio.wait([working])
            working.result()
            assert await simulation.on(again, content(engine)) == early
            owners.check(early)
            await simulation.on(again, owners.put(engine, b"late", b"2"))
            assert b"late" in owners.acknowledged
            third = simulation.restart("desk")
            owners.sorts = False
            engine = await simulation.on(third, owners.opened(third, 4, "log2" if sorts else "log"))
            assert await simulation.on(third, content(engine)) == early | {b"late": b"2"}
            return True

        return simulation.run(story()), owners.trouble


@pytest.mark.parametrize("sorts", [False, True])
@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_an_owner_that_wakes_up_at_any_step_acknowledges_nothing_that_is_lost(sync: SyncMode, sorts: bool):
    at = random.Random(f"{sync} {sorts}").randrange(1, 4)
    told: list[TabletopError] = []
    while (found := taken_over(at, None, sync=sync, sorts=sorts))[0]:
        told += found[1]
        at += 3
    assert at > 100
    assert any(error.definite for error in told) and not all(error.definite for error in told)
    assert {type(error) for error in told} == {Superseded}
    assert all("another owner" in error.message for error in told)


@pytest.mark.parametrize("sorts", [False, True])
@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_an_owner_that_wakes_up_in_the_middle_of_a_take_over_acknowledges_nothing_that_is_lost(
    sync: SyncMode, sorts: bool
):
    choice = random.Random(f"{sync} {sorts}")
    for at in range(20, 120, 4):
        reached, _ = taken_over(at, choice.randrange(1, 50), sync=sync, sorts=sorts)
        assert reached


def test_without_its_fence_the_earlier_owner_acknowledges_what_is_lost():
    with planted("log-not-fenced", BUGS), pytest.raises(AssertionError, match="was acknowledged"):
        for at in range(40, 100):
            taken_over(at, None, sync="fsync", sorts=False)


class Two:
    """An owner that stands still at one step, and another one."""

    def __init__(self, simulation: Simulation, sync: SyncMode = "fsync") -> None:
        self.simulation = simulation
        self.world = simulation.add_node("desk")
        self.disk = self.world.simulated_disk
        self.disk.speed.seconds_per_operation = STEP_SECONDS
        self.owners = Owners(0, sync, sorts=False)

    async def on(self, world: SimulatedWorld, work: Coroutine[Any, Any, Any]) -> Any:
        return await self.simulation.on(world, work)

    async def stands_still(self, work: Coroutine[Any, Any, None], verb: str, path: str) -> "asyncio.Task[None]":
        """Begin some work of the first owner, which stands still as soon as it makes such an operation."""
        stopped = asyncio.Event()

        def watch(operation: Operation) -> None:
            if not stopped.is_set() and operation.verb == verb and path in operation.path:
                self.simulation.pause("desk")
                stopped.set()

        forget = self.disk.on_operation(watch)
        working = self.world.spawn(work, "work of the first owner")
        await stopped.wait()
        forget()
        return working

    async def another(self, token: int) -> tuple[SimulatedWorld, Engine]:
        world = self.simulation.succeed("desk")
        return world, await self.on(world, self.owners.opened(world, token))

    async def wake(self, working: "asyncio.Task[None]") -> None:
        self.simulation.loop.resume(self.world.life)
        await asyncio.wait([working])


def played(story: Callable[[Two], Coroutine[Any, Any, None]], sync: SyncMode = "fsync") -> None:
    with Simulation(0, quiet=True) as simulation:
        simulation.run(story(Two(simulation, sync)))


@pytest.mark.parametrize("sync", ["fsync", "os"])
def test_a_record_that_is_written_when_the_log_is_claimed_is_neither_acknowledged_nor_refused_for_certain(
    sync: SyncMode,
):
    async def story(two: Two) -> None:
        first = await two.on(two.world, two.owners.opened(two.world, 1))
        await two.on(two.world, two.owners.put(first, b"a", b"1"))
        working = await two.stands_still(two.owners.put(first, b"b", b"1"), "exists", "claim")
        world, second = await two.another(2)
        await two.wake(working)
        (error,) = two.owners.trouble
        assert isinstance(error, Superseded) and not error.definite
        assert "claim-000001.1 is gone, for another owner has claimed the log" in error.message
        assert await two.on(world, content(second)) == {b"a": b"1", b"b": b"1"}, "it was there, as it happens"
        for refused in (first.put(b"c", b"f:x", b"1"), first.get(b"a", b"f:x"), first.flush()):
            with pytest.raises(Superseded) as caught:
                await two.on(two.world, refused)
            assert caught.value.definite

    played(story, sync)


def test_a_record_that_was_cut_off_after_another_owner_had_read_it_is_not_refused_for_certain():
    """Two records are written together, only the first fits, and before it is cut off the log is claimed."""

    async def story(two: Two) -> None:
        first = await two.on(two.world, two.owners.opened(two.world, 1))
        await two.on(two.world, two.owners.put(first, b"a", b"1"))
        ends = two.disk.impose(ShortWrites()), two.disk.impose(FullDisk())
        free = [two.disk.impose(FullDisk(two.disk.capacity_bytes - two.disk._used - 150))]
        ends[1]()

        async def both() -> None:
            await asyncio.gather(two.owners.put(first, b"b", b"1"), two.owners.put(first, b"c", b"1" * 500))

        working = await two.stands_still(both(), "truncate", ".log")
        for end in (ends[0], *free):
            end()
        world, second = await two.another(2)
        found = await two.on(world, content(second))
        assert found == {b"a": b"1", b"b": b"1"}, "the first record of the two was written wholly"
        await two.wake(working)
        assert {type(error) for error in two.owners.trouble} == {Superseded}
        assert not any(error.definite for error in two.owners.trouble)
        assert await two.on(world, content(second)) == found
        assert await two.on(world, second.get(b"b", b"f:x")) == b"1"
        third = two.simulation.restart("desk")
        assert await two.on(third, content(await two.on(third, two.owners.opened(third, 3)))) == found

    played(story)


def test_without_a_copy_of_its_own_a_new_owner_loses_what_the_earlier_one_cuts_off(monkeypatch: pytest.MonkeyPatch):
    async def no_copy(self: SegmentList) -> None:
        pass

    monkeypatch.setattr(SegmentList, "_copy_last", no_copy)
    with pytest.raises((AssertionError, Corrupted)):
        test_a_record_that_was_cut_off_after_another_owner_had_read_it_is_not_refused_for_certain()


def test_an_owner_that_cannot_look_acknowledges_nothing_and_goes_on_in_another_segment():
    async def story(two: Two) -> None:
        first = await two.on(two.world, two.owners.opened(two.world, 1))
        await two.on(two.world, two.owners.put(first, b"a", b"1"))

        def fail(operation: Operation) -> TabletopError | None:
            return DiskFailure("injected") if operation.verb == "exists" and "claim" in operation.path else None

        forget = two.disk.on_operation(fail)
        await two.on(two.world, two.owners.put(first, b"b", b"1"))
        forget()
        (error,) = two.owners.trouble
        assert isinstance(error, DiskFailure) and not error.definite
        await two.on(two.world, two.owners.put(first, b"c", b"1"))
        assert await two.on(two.world, content(first)) == {b"a": b"1", b"c": b"1"}
        again = two.simulation.restart("desk")
        assert await two.on(again, content(await two.on(again, two.owners.opened(again, 2)))) == {
            b"a": b"1",
            b"c": b"1",
        }

    played(story)


def test_a_claim_is_not_complete_while_an_earlier_one_cannot_be_taken_away():
    async def story(two: Two) -> None:
        first = await two.on(two.world, two.owners.opened(two.world, 1))

        def fail(operation: Operation) -> TabletopError | None:
            return DiskFailure("injected") if operation.verb == "rename" and "claim" in operation.path else None

        forget = two.disk.on_operation(fail)
        with pytest.raises(DiskFailure):
            await two.another(2)
        forget()
        await two.on(two.world, two.owners.put(first, b"a", b"1"))
        world, third = await two.another(3)
        two.owners.check(await two.on(world, content(third)))
        await two.on(two.world, two.owners.put(first, b"b", b"1"))
        assert not await two.on(world, third.get(b"b", b"f:x"))
        assert {type(error) for error in two.owners.trouble} == {Superseded}

    played(story)


def test_an_owner_with_an_earlier_token_cannot_open_or_sort_the_log():
    async def story(two: Two) -> None:
        await two.on(two.world, two.owners.opened(two.world, 5))
        log, target = await two.owners.folder(two.world, "log"), await two.owners.folder(two.world, "sorted")
        for attempt in (
            ServerLog.open(log, owner="log", sync="fsync", segment_bytes=700, token=4),
            sort_log(log, target, two.world, owner="log", token=4),
        ):
            with pytest.raises(Superseded, match="has an owner with the token 5, and yours is 4"):
                await two.on(two.world, attempt)

    played(story)


def test_the_files_of_a_log_after_many_take_overs_are_those_that_the_last_list_names():
    async def story(two: Two) -> None:
        for token in range(1, 6):
            world, engine = await two.another(token)
            await two.on(world, two.owners.put(engine, b"row%d" % token, b"1"))
        world, engine = await two.another(6)
        assert len(await two.on(world, content(engine))) == 5
        names = [name for name in await world.disk.list("log") if not name.endswith("LOCK")]
        named = [segment.file_name for segment in engine.state.log.segments]
        assert [name for name in names if name.endswith(".log")] == sorted(named)
        assert len([name for name in names if name.startswith("claim")]) == 1
        assert len(names) == len(named) + 2

    played(story)
