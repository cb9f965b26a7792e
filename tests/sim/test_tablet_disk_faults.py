"""A tablet's disk fails at every operation of its life: once, for a while, or because it is full (BT 5.3, 5.4).

One life has everything in it: writes, minor, merging and major compactions, a snapshot and the way back to it, and so
many switches of the manifest. It is lived once for each operation that it makes on a simulated disk, and something is
wrong with that one. Whatever the engine answers is held against it afterwards:

- an acknowledged row is there, with its value; a write that was definitely refused is not; no row is there in half;
- an error names the path and says what to do; nothing but NoSpace and DiskFailure is raised;
- with the trouble over, the engine takes writes: at once after a full disk, and after an I/O error at the latest when
  it was opened again, if it said so;
- the next opening leaves no file that nothing refers to, and `close` leaves no file open.

Operations that change something are all tried; of the others, and where two faults are combined, every
TABLETOP_STRIDE-th (3 by default).
"""

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from runtime.errors import AlreadyExists, DiskFailure, NoSpace, TabletopError
from runtime.faults.disk import Operation, ShortWrites, WriteError
from runtime.faults.undo import Undo
from runtime.simulated.disk import DEFAULT_CAPACITY_BYTES, SimulatedDisk
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import SetCell
from tablet.engine.world.names import MARK_NAME
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage, StoredFile
from tests.sim.tablet_files import check_no_leavings, check_swept

OPTIONS = Options(sync="fsync", memtable_bytes=1500, policy_settings=PolicySettings(fan_in=2), flush_on_close_bytes=0)
ROWS = 7
ATTEMPTS = 60
STRIDE = int(os.environ.get("TABLETOP_STRIDE", "3"))
ADVICE = ("free some space", "restart this node", "look at the system's log")

Rows = dict[bytes, bytes]


class WatchedStorage(DiskStorage):
    """Storage that remembers the files it opened."""

    def __init__(self, world: SimulatedWorld) -> None:
        super().__init__(world.disk, "t")
        self.files: list[StoredFile] = []

    async def create(self, name: str) -> StoredFile:
        self.files.append(await super().create(name))
        return self.files[-1]

    async def open(self, name: str) -> StoredFile:
        self.files.append(await super().open(name))
        return self.files[-1]

    async def check_all_closed(self) -> None:
        for file in self.files:
            with pytest.raises(DiskFailure, match="the file is closed"):
                await file.size()


class Life:
    """One tablet on one node, what was promised about it, and a story in which it must get through."""

    def __init__(self, simulation: Simulation, *, background: bool = False) -> None:
        self.simulation = simulation
        self.world = simulation.add_node("desk")
        self.disk: SimulatedDisk = self.world.simulated_disk
        self.background = background
        self.errors: list[TabletopError] = []
        self.on_error: Callable[[], Awaitable[None]] | None = None
        self.restarts_on_error = False
        self.reopenings = 0
        self.failed_jobs = 0
        self.ends: list[Undo] = []  # of what is wrong with the disk
        self.serves = False
        self.engine: Engine
        self.storage: WatchedStorage
        self.answered: Rows = {}
        self.perhaps: dict[bytes, list[bytes]] = {}  # values that were refused without certainty
        self.kept: Rows = {}
        self.restoring = False

    async def live(self) -> None:
        await self.world.disk.make_directory("t")
        await self.insist(self.open)
        await self.insist(self.create_family)
        await self.write(0, 14)
        await self.insist(self.save_snapshot)
        await self.write(14, 20)
        await self.insist(lambda: self.engine.compact())
        await self.write(20, 23)
        await self.insist(self.restore_snapshot)
        await self.write(23, 27)

    async def open(self) -> None:
        self.storage = WatchedStorage(self.world)
        self.engine = await Engine.open(self.storage, self.world, OPTIONS)
        self.serves = True
        if self.background:
            self.engine.start()

    async def reopen(self) -> None:
        self.reopenings += 1
        self.serves = self.restarts_on_error = False
        try:
            await self.engine.close()
        except (NoSpace, DiskFailure) as error:
            check_message(str(error))
        await self.storage.check_all_closed()
        await self.insist(self.open)

    async def create_family(self) -> None:
        if b"f" not in self.engine.schema.families:
            await self.engine.create_family("f")

    async def write(self, first: int, end: int) -> None:
        """Each write is tried once: what becomes of a refused one is part of the question."""
        for number in range(first, end):
            row, value = b"row%d" % (number % ROWS), b"%d " % number + b"x" * 150
            perhaps = self.perhaps.setdefault(row, [])
            perhaps.append(value)
            try:
                await self.engine.write(row, [SetCell(b"f:a", value, number), SetCell(b"f:b", value, number)])
            except (NoSpace, DiskFailure) as error:
                if error.definite:
                    perhaps.remove(value)
                await self.take(error)
            else:
                self.answered[row] = value
                self.perhaps.pop(row, None)
            await self.insist(self.do_housework)

    async def do_housework(self) -> None:
        while not self.background and await self.engine.do_some_housework():
            pass

    async def save_snapshot(self) -> None:
        try:
            await self.engine.save_snapshot("s")
        except AlreadyExists:
            assert self.errors  # An attempt that failed may have come to something.
        self.kept = await self.look()

    async def restore_snapshot(self) -> None:
        self.restoring = True
        await self.engine.restore_snapshot("s")
        self.take_restored()

    def take_restored(self) -> None:
        self.answered, self.perhaps, self.restoring = dict(self.kept), {}, False

    async def insist(self, work: Callable[[], Awaitable[None]]) -> None:
        for _ in range(ATTEMPTS):
            try:
                return await work()
            except (NoSpace, DiskFailure) as error:
                await self.take(error)
        pytest.fail(f"no success after {ATTEMPTS} attempts: {self.errors[-1]}")

    async def take(self, error: TabletopError) -> None:
        """An error is to say where and what to do. Do that."""
        self.errors.append(error)
        check_message(str(error))
        if self.on_error is not None:
            await self.on_error()
        if self.serves and ("restart this node" in str(error) or self.restarts_on_error):
            await self.reopen()

    async def look(self) -> Rows:
        """What a scan shows; both columns of a row were written together, so they agree."""
        found: Rows = {}
        async for row in self.engine.scan():
            value = row.value("f:a")
            assert value is not None and value == row.value("f:b"), f"half of {row.key!r}"
            found[row.key] = value
        return found

    async def check_rows(self) -> None:
        found = await self.look()
        if self.restoring and found == self.kept:
            self.take_restored()
        for row in sorted(self.answered.keys() | found.keys()):
            allowed = [self.answered.get(row), *self.perhaps.get(row, [])]
            assert found.get(row) in allowed, f"row {row!r} is {found.get(row)!r}, expected one of {allowed}"

    async def check_end(self) -> None:
        """The trouble is over."""
        self.engine.check_invariants()
        await self.check_rows()
        await self.write(27, 29)
        await self.check_rows()
        await self.engine.close()
        await self.storage.check_all_closed()
        await self.check_reopened()

    async def check_reopened(self) -> None:
        self.background = False
        await self.open()
        self.engine.check_invariants()
        await self.check_rows()
        await check_swept(self.engine)
        await self.create_family()
        await self.write(29, 30)
        await self.engine.compact()
        await self.check_rows()
        await self.engine.close()


def check_message(message: str) -> None:
    assert re.search(r"desk:/t\b", message), f"no path: {message}"
    assert any(advice in message for advice in ADVICE), f"no advice: {message}"


def lived(break_disk: Callable[[Life], None], *, background: bool = False, what: str = "") -> Life:
    """Live with a disk that is broken in some way, then without, and check."""
    with Simulation(0) as simulation:
        life = Life(simulation, background=background)

        async def story() -> None:
            break_disk(life)
            await life.live()
            for end in life.ends:
                end()
            life.disk.capacity_bytes = DEFAULT_CAPACITY_BYTES
            await life.check_end()

        try:
            simulation.run(story())
        except BaseException as error:
            error.add_note(what)
            raise
        for record in simulation.sink.records:
            if type(record.event).__name__ in TELLING:
                check_message(record.event.reason)  # type: ignore[attr-defined]
                life.failed_jobs += 1
            assert type(record.event).__name__ != "TaskFailed"
        return life


TELLING = (
    "FlushFailed",
    "CompactionFailed",
    "FileNotRemoved",
    "TablePartPassedOver",
    "SnapshotUnreadable",
    "LogEndNotWritten",
)
"""The events that tell of an error that the engine gets over by itself."""
OF_THE_MARK = "an operation of the mark"


def operations_of_a_life() -> list[str]:
    """The verbs of a life without faults, operation by operation, up to where the final checks begin. Those of the mark
    of what is durable are told apart: of an error there nobody hears."""
    verbs: list[str] = []

    def note(operation: Operation) -> None:
        verbs.append(OF_THE_MARK if operation.path.endswith(f"/{MARK_NAME}") else operation.verb)

    def listen(life: Life) -> None:
        life.ends.append(life.disk.on_operation(note))

    lived(listen)
    return verbs


VERBS = operations_of_a_life()
LOOKING = ("read", "list", "size", "open", "create")
"""Verbs that change nothing; except that a file is created by opening it, which is why its name is then synced."""


def operations(*verbs: str, stride: int = 1) -> list[int]:
    """The numbers of a life's operations of these kinds. The very first makes the folder, and is not the engine's."""
    return [number for number, verb in enumerate(VERBS, start=1) if verb in verbs and number > 1][::stride]


CHANGING = operations(*(verb for verb in VERBS if verb not in (*LOOKING, OF_THE_MARK)))


def test_the_life_has_every_kind_of_operation_in_it():
    changes = ("create", "write", "sync", "sync_directory", "rename", "remove")
    assert set(VERBS) >= {*changes, "open", "read", "list", "size"}
    assert len(CHANGING) > 200


def failing(first: int, count: int = 1, *, half_written: bool = False) -> Callable[[Life], None]:
    """Operations `first` to `first + count - 1` fail with an I/O error; a write then does nothing, or half."""

    def break_disk(life: Life) -> None:
        imposed: list[Undo] = []
        if half_written:
            life.ends.append(life.disk.impose(ShortWrites()))

        def hook(operation: Operation) -> TabletopError | None:
            while imposed:
                imposed.pop()()
            verb, path = operation.verb, operation.path
            if not first <= operation.number < first + count:
                return None
            if half_written and verb == "write":
                imposed.append(life.disk.impose(WriteError(path)))
                return None
            return DiskFailure(f"cannot {verb} desk:/{path}: Input/output error; look at the system's log")

        life.ends.append(life.disk.on_operation(hook))

    return break_disk


def test_an_error_at_the_mark_of_what_is_durable_changes_nothing():
    for first in operations(OF_THE_MARK, stride=STRIDE):
        life = lived(failing(first), what=f"operation {first}")
        assert not life.errors and not life.failed_jobs and not life.reopenings


def test_one_error_at_any_operation():
    for first in sorted(CHANGING + operations(*LOOKING, stride=STRIDE)):
        life = lived(failing(first), what=f"operation {first}")
        assert len(life.errors) <= 2 and life.reopenings <= 1, f"operation {first}"
        assert life.errors or life.failed_jobs, f"operation {first}: nobody was told"


def test_one_write_that_fails_half_way():
    for first in operations("write"):
        lived(failing(first, half_written=True), what=f"operation {first}")


@pytest.mark.parametrize("count", [3, 25])
def test_errors_for_a_while(count: int):
    for first in CHANGING[:: STRIDE + 1]:
        lived(failing(first, count, half_written=first % 2 == 0), what=f"operation {first}")


def full_from(first: int, room: int, *, restarts: bool = False) -> Callable[[Life], None]:
    """From operation `first` on the disk has room for so many more bytes; it gets its space back after four errors.
    Until then everything can be read, and what came to nothing takes up no room."""

    def break_disk(life: Life) -> None:
        life.ends.append(life.disk.impose(ShortWrites()))
        life.restarts_on_error = restarts

        def hook(operation: Operation) -> None:
            if operation.number == first:
                life.disk.capacity_bytes = sum(len(life.disk.content(path).cached) for path in life.disk.paths()) + room

        async def complain() -> None:
            if len(life.errors) >= 4:
                life.disk.capacity_bytes = DEFAULT_CAPACITY_BYTES
            elif life.serves:
                await life.check_rows()
                if not life.background:
                    await check_no_leavings(life.engine)
                assert all(len(life.disk.content(path).cached) for path in life.disk.paths() if path.endswith(".log"))

        life.ends.append(life.disk.on_operation(hook))
        life.on_error = complain

    return break_disk


@pytest.mark.parametrize(
    ("room", "background", "stride"),
    [(0, False, 1), (0, True, STRIDE), (250, False, STRIDE), (250, True, STRIDE), (2000, False, STRIDE)],
)
def test_a_disk_that_is_full_from_any_write_on(room: int, background: bool, stride: int):
    for first in operations("write", stride=stride):
        what = f"operation {first}"
        life = lived(full_from(first, room), background=background, what=what)
        assert life.errors or room or background, what
        assert all(isinstance(error, NoSpace) and error.definite for error in life.errors), what
        assert not life.reopenings, what


def test_a_tablet_that_is_opened_again_on_a_full_disk():
    for first in operations("write", stride=STRIDE):
        lived(full_from(first, 0, restarts=True), what=f"operation {first}")


def test_a_log_that_was_left_out_on_a_full_disk_does_not_come_back():
    """A log that begins after a lost tail is left out. Reading needs no room for that; a write makes it final."""
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        disk, options = world.simulated_disk, replace(OPTIONS, sync="os")

        async def story() -> None:
            await world.disk.make_directory("t")
            engine = await simulation.on(world, Engine.open(DiskStorage(world.disk, "t"), world, options))
            await engine.create_family("f")
            for number in range(8):
                await engine.put(b"row%02d" % number, b"f:a", b"x" * 150)
            assert sorted(engine.state.log.begun) == [1, 2]
            again = simulation.restart("desk")
            first_log = disk.content("t/000001.log")
            first_log.truncate(len(first_log.cached) - 3)
            storage = WatchedStorage(again)
            disk.capacity_bytes -= (await again.disk.usage()).free_bytes - 100
            engine = await Engine.open(storage, again, options)
            found = [row.key async for row in engine.scan()]
            assert found == [b"row%02d" % number for number in range(len(found))] and len(found) > 3
            with pytest.raises(NoSpace, match=r"desk:/t/.*free some space"):
                await engine.put(b"z", b"f:a", b"x" * 150)
            await engine.close()
            await storage.check_all_closed()
            disk.capacity_bytes = DEFAULT_CAPACITY_BYTES
            for _ in range(2):
                engine = await Engine.open(storage, again, options)
                await engine.put(b"z", b"f:a", b"x" * 150)
                assert [row.key async for row in engine.scan()] == [*found, b"z"]
                await engine.close()
            engine = await Engine.open(storage, again, options)
            assert [row.key async for row in engine.scan()] == [*found, b"z"]
            await check_swept(engine)
            await engine.close()

        simulation.run(story())


def test_a_full_disk_does_not_keep_anybody_from_opening_a_tablet_and_reading():
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        disk, options = world.simulated_disk, replace(OPTIONS, flush_on_close_bytes=2**30)

        async def story() -> None:
            await world.disk.make_directory("t")
            engine = await simulation.on(world, Engine.open(DiskStorage(world.disk, "t"), world, options))
            await engine.create_family("f")
            for number in range(10):
                await engine.put(b"row%02d" % number, b"f:a", b"x" * 150)
            await engine.close()
            disk.capacity_bytes -= (await world.disk.usage()).free_bytes
            engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
            assert [row.key async for row in engine.scan()] == [b"row%02d" % number for number in range(10)]
            with pytest.raises(NoSpace, match=r"desk:/t/.*free some space"):
                await engine.put(b"row10", b"f:a", b"x")
            await check_no_leavings(engine)
            disk.capacity_bytes = DEFAULT_CAPACITY_BYTES
            await engine.put(b"row10", b"f:a", b"x")
            await engine.close()
            engine = await Engine.open(DiskStorage(world.disk, "t"), world, options)
            assert len([row async for row in engine.scan()]) == 11
            await engine.close()

        simulation.run(story())


@pytest.mark.parametrize("closed", [False, True])
def test_what_is_written_after_a_log_was_left_out_does_not_go_the_same_way(closed: bool):
    """Of the first log nothing is left, so that nothing need be flushed; the second begins behind what was lost."""
    with Simulation(0) as simulation:
        world = simulation.add_node("desk")
        options = replace(OPTIONS, sync="os", flush_on_close_bytes=2**30)

        async def story() -> None:
            await world.disk.make_directory("t")
            engine = await simulation.on(world, Engine.open(DiskStorage(world.disk, "t"), world, options))
            await engine.create_family("f")
            while len(engine.state.log.begun) < 2:
                await engine.put(b"lost", b"f:a", b"x" * 150)
            again = simulation.restart("desk")
            again.simulated_disk.content("t/000001.log").truncate(0)
            engine = await simulation.on(again, Engine.open(DiskStorage(again.disk, "t"), again, options))
            assert [row.key async for row in engine.scan()] == []
            await engine.put(b"kept", b"f:a", b"x")
            if closed:
                await engine.close()
            last = simulation.restart("desk")
            engine = await simulation.on(last, Engine.open(DiskStorage(last.disk, "t"), last, options))
            assert [row.key async for row in engine.scan()] == [b"kept"]
            await check_swept(engine)
            await engine.close()

        simulation.run(story())


def power_cut_after_an_error(first: int, gap: int) -> None:
    """An error at operation `first`, and `gap` operations later the power goes; then the tablet is opened again."""
    with Simulation(first) as simulation:
        life = Life(simulation)
        failing(first)(life)

        def hook(operation: Operation) -> None:
            if operation.number == first + gap:
                simulation.power_cut("desk")

        async def story() -> None:
            task = life.world.spawn(life.live(), "life")
            while life.world.life.alive and not task.done():
                await simulation.world("desk").clock.sleep(0.01)
            for end in life.ends:
                end()
            if not life.world.life.alive:
                life.world = simulation.restart("desk")
                await life.check_reopened()

        life.ends.append(life.disk.on_operation(hook))
        try:
            simulation.run(story())
        except BaseException as error:
            error.add_note(f"an error at operation {first}, a power cut at {first + gap}")
            raise


def test_an_error_and_then_a_power_cut_lose_nothing_either():
    """The hard case is a manifest whose renaming failed: is it the truth after the power cut, or its predecessor?"""
    for place, first in enumerate(operations("rename", "sync_directory", "remove")):
        for gap in range(1 + place % STRIDE, 40, 4 * STRIDE):
            power_cut_after_an_error(first, gap)
