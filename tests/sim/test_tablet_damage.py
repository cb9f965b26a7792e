"""A compaction meets an SSTable that cannot be read (BT 5.4), for hours of virtual time.

It must not be tried again and again, nothing else may suffer from it, and whoever looks must be told.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from runtime.errors import Corrupted, DiskFailure, NoSpace, TabletopError
from runtime.events import Event
from runtime.faults.disk import Operation, ReadError
from runtime.simulated.disk import SimulatedDisk
from runtime.simulated.world import SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.maintenance.policies import POLICIES
from tablet.engine.model.operations import DeleteRow
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.world.events import CompactionFailed, CompactionFinished, FlushFailed, TableSetAside
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage

OPTIONS = Options(
    memtable_bytes=10_000,
    policy="everything",
    policy_settings=PolicySettings(fan_in=4, max_tables=6),
    stall_tables=8,
    block_cache_bytes=0,
    scan_cache_bytes=0,
    flush_on_close_bytes=0,
)
ROWS = 40
DAMAGED_ROW, DELETED_ROW = b"row03", b"row30"


class Desk:
    """A tablet with three SSTables, and the operator's hands on its disk."""

    def __init__(self, policy: str = "everything") -> None:
        self.options = replace(OPTIONS, policy=policy)
        self.simulation = Simulation(0)
        self.world: SimulatedWorld = self.simulation.add_node("desk")
        self.disk: SimulatedDisk = self.world.simulated_disk
        self.engine: Engine

    def run(self, story: Callable[["Desk"], Awaitable[None]]) -> None:
        async def whole() -> None:
            await self.world.disk.make_directory("t")
            async with self.opened():
                await self.engine.set_locality_group(LocalityGroup(block_bytes=512))
                await self.engine.create_family("f")
                for number in range(3):
                    await self.write(f"early {number}")
                    await self.engine.flush()
            await story(self)

        with self.simulation:
            self.simulation.run(whole())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.engine = await Engine.open(DiskStorage(self.world.disk, "t"), self.world, self.options)
        self.engine.start()
        yield
        self.engine.check_invariants()
        await self.engine.close()

    async def write(self, what: str, rows: int = ROWS) -> None:
        for number in range(rows):
            await self.engine.put(b"row%02d" % number, b"f:" + what.encode(), what.encode() * 4)

    async def serve(self, hours: int) -> None:
        """Write all rows but the damaged one every minute, and find them all each time."""
        for minute in range(60 * hours):
            for number in range(ROWS):
                row = b"row%02d" % number
                if row not in (DAMAGED_ROW, DELETED_ROW):
                    await self.engine.put(row, b"f:late", b"%d" % minute * 20)
            assert await self.engine.get(b"row39", b"f:late") == b"%d" % minute * 20
            await self.world.clock.sleep(60)

    def oldest_table(self) -> str:
        """The name of the oldest SSTable."""
        return self.engine.state.view.tables["default"][-1].name

    def events(self, kind: type[Event]) -> list[Event]:
        return [record.event for record in self.simulation.sink.records if isinstance(record.event, kind)]

    def counts(self) -> Counter[str]:
        return Counter(type(record.event).__name__ for record in self.simulation.sink.records)

    async def error_of(self, work: Awaitable[object]) -> TabletopError | None:
        try:
            await work
        except TabletopError as error:
            return error
        return None


async def damage_first_block(desk: Desk) -> str:
    """Flip a bit where the first rows of the oldest SSTable are."""
    name = desk.oldest_table()
    desk.disk.rot(f"t/{name}", 100)
    return name


@pytest.mark.parametrize("policy", POLICIES)
def test_a_damaged_sstable_is_told_of_once_and_everything_else_continues(policy: str):
    async def story(desk: Desk) -> None:
        async with desk.opened():
            name = await damage_first_block(desk)
            await desk.engine.write(DELETED_ROW, [DeleteRow()])
            before = desk.counts()
            await desk.serve(hours=3)
            happened = desk.counts() - before
            assert happened["FlushFinished"] > 100
            assert happened["CompactionFinished"] > 30
            assert happened["FlushFailed"] == happened["TaskFailed"] == 0

            (told,) = desk.events(TableSetAside)
            assert isinstance(told, TableSetAside)
            assert told.table == name and f"{name}: the block at offset 0" in told.reason and not told.seconds
            assert len(desk.events(CompactionFailed)) == 1
            troubles = {table.name: table.trouble for table in desk.engine.figures().tables}
            assert "the block at offset 0" in troubles.pop(name)
            assert not any(troubles.values()) and 1 <= len(troubles) <= 6

            error = await desk.error_of(desk.engine.read(DAMAGED_ROW))
            assert isinstance(error, Corrupted) and name in str(error)
            for number in range(10, ROWS):
                assert (await desk.engine.read(b"row%02d" % number) is None) == (b"row%02d" % number == DELETED_ROW)

    Desk(policy).run(story)


@pytest.mark.parametrize("policy", POLICIES)
def test_writes_do_not_wait_for_a_compaction_that_cannot_be(policy: str):
    """Every third SSTable is damaged, so that hardly two neighbours can be merged."""

    async def story(desk: Desk) -> None:
        async with desk.opened():
            for number in range(30):
                await desk.write(f"more {number}", rows=12)
                await desk.engine.flush()
                if number % 3 == 0:
                    newest = desk.engine.state.view.tables["default"][0].name
                    desk.disk.rot(f"t/{newest}", 100)
            assert len(desk.engine.state.view.tables["default"]) > OPTIONS.stall_tables
            assert len(desk.events(TableSetAside)) > 2
            await desk.serve(hours=1)
            assert desk.engine.stall_reason() == ""

    Desk(policy).run(story)


def test_a_major_compaction_on_request_says_what_is_damaged_each_time():
    async def story(desk: Desk) -> None:
        async with desk.opened():
            name = await damage_first_block(desk)
            for _ in range(3):
                error = await desk.error_of(desk.engine.compact())
                assert isinstance(error, Corrupted) and name in str(error)
            assert len(desk.events(TableSetAside)) == 1
            await desk.serve(hours=1)

    Desk().run(story)


def test_an_opened_tablet_tries_again_and_a_restored_file_is_merged():
    async def story(desk: Desk) -> None:
        async with desk.opened():
            name = await damage_first_block(desk)
            await desk.serve(hours=1)
        async with desk.opened():
            await desk.serve(hours=1)
            assert [told.table for told in desk.events(TableSetAside) if isinstance(told, TableSetAside)] == [name] * 2
            desk.disk.rot(f"t/{name}", 100)
        async with desk.opened():
            await desk.engine.compact()
            assert len(desk.engine.figures().tables) == 1
            assert await desk.engine.get(DAMAGED_ROW, b"f:early 0") == b"early 0" * 4

    Desk().run(story)


def test_a_place_that_the_disk_cannot_read_is_tried_again_but_ever_more_seldom():
    async def story(desk: Desk) -> None:
        async with desk.opened():
            name = desk.oldest_table()
            end = desk.disk.impose(ReadError(f"t/{name}", 100, 10))
            await desk.serve(hours=2)
            told = [event.seconds for event in desk.events(TableSetAside) if isinstance(event, TableSetAside)]
            assert told == [min(3600.0, 2.0**attempt) for attempt in range(len(told))]
            assert 8 < len(told) < 18
            assert isinstance(await desk.error_of(desk.engine.read(DAMAGED_ROW)), DiskFailure)
            end()
            await desk.serve(hours=2)
            tables = desk.engine.figures().tables
            assert name not in [table.name for table in tables] and not any(table.trouble for table in tables)

    Desk().run(story)


def test_an_output_that_cannot_be_written_is_tried_again_later_and_later():
    async def story(desk: Desk) -> None:
        async with desk.opened():

            def refuse(operation: Operation) -> None:
                if operation.verb == "write" and operation.path.endswith(".sst.new") and not desk.engine.state.frozen:
                    raise NoSpace(f"cannot write {operation.path}: free some space")

            forget = desk.disk.on_operation(refuse)
            await desk.write("more")
            await desk.engine.flush()
            await desk.world.clock.sleep(600)
            failures = len(desk.events(CompactionFailed))
            assert 30 < failures < 50, "1, 2, 4, 8 and then 16 seconds apart"
            assert not desk.events(TableSetAside) and not desk.events(FlushFailed)
            forget()
            await desk.world.clock.sleep(20)
            assert desk.events(CompactionFinished)

    Desk().run(story)
