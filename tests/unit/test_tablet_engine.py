"""The asynchronous engine: many writers at once, background work, stalls, moves, and what goes wrong."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import AlreadyExists, Conflict, Corrupted, InvalidRequest, NoSpace, NotFound
from runtime.events import MemorySink
from runtime.real.disk import RealDisk
from runtime.real.world import RealWorld
from runtime.record_log import LogReader
from tablet.engine.engine import Engine
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.engine.model.schema import LocalityGroup, MaxAge, MaxVersions
from tablet.engine.tree.manifest import load_current, write_manifest
from tablet.engine.world.events import TabletOpened
from tablet.engine.world.eventual import finished
from tablet.engine.world.names import manifest_name
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage
from tests.unit.tablet_support import kinds_of_events, open_engine

SMALL = Options(memtable_bytes=8000, policy_settings=PolicySettings(fan_in=3, max_tables=5), stall_tables=7)


async def fill(engine: Engine, count: int, *, start: int = 0, size: int = 100) -> None:
    for number in range(start, start + count):
        await engine.put(b"row%06d" % (number * 7919 % 100_003), b"f:q", b"%d" % number + b"x" * size)


async def count_rows(engine: Engine) -> int:
    return len([row async for row in engine.scan()])


@pytest.mark.parametrize("sync", ["fsync", "os"])
async def test_what_is_written_is_there_after_closing_and_opening(tmp_path, sync):
    options = Options(sync=sync)
    async with open_engine(tmp_path, options) as engine:
        await engine.create_family("f")
        await asyncio.gather(*(engine.put(b"r%03d" % number, b"f:q", b"v%d" % number) for number in range(100)))
    async with open_engine(tmp_path, options) as engine:
        assert await count_rows(engine) == 100
        assert await engine.get(b"r042", b"f:q") == b"v42"
        assert await engine.get(b"r042", b"f:other") is None
        assert await engine.get(b"r042", b"g:q") is None
        assert await engine.read(b"absent") is None


async def test_reads_and_writes_go_on_while_background_work_runs(tmp_path):
    async with open_engine(tmp_path, SMALL, background=True) as engine:
        await engine.create_family("f")
        writers = [fill(engine, 300, start=number * 300) for number in range(4)]
        await asyncio.gather(*writers)
        assert await count_rows(engine) == 1200
        kinds = kinds_of_events(engine)
        assert kinds.count("FlushStarted") > 3
        assert kinds.count("CompactionStarted") > 0
        engine.check_invariants()


async def test_flushes_and_compactions_report_their_begin_and_their_end(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await fill(engine, 50)
        await engine.compact()
        kinds = [kind for kind in kinds_of_events(engine) if kind.startswith(("Flush", "Compaction"))]
        assert kinds == ["FlushStarted", "FlushFinished", "CompactionStarted", "CompactionFinished"]


async def test_writers_wait_when_too_much_waits_to_be_flushed(tmp_path):
    async with open_engine(tmp_path, SMALL) as engine:
        await engine.create_family("f")
        await fill(engine, 300)
        assert "WritesStalled" in kinds_of_events(engine)
        assert len(engine.state.frozen) <= SMALL.frozen_memtables
        figures = engine.figures()
        assert figures.memtable_bytes <= SMALL.memtable_bytes + 1000
        assert len(figures.tables) <= SMALL.stall_tables


async def test_concurrent_increments_lose_nothing(tmp_path):
    async with open_engine(tmp_path, Options(sync="fsync", memtable_bytes=4000), background=True) as engine:
        await engine.create_family("f")
        await asyncio.gather(*(engine.increment(b"counter", b"f:n") for _ in range(100)))
        assert await engine.increment(b"counter", b"f:n", 0) == 100


async def test_a_counter_wraps_and_refuses_what_is_no_counter(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        assert await engine.increment(b"r", b"f:n", -1) == -1
        assert await engine.get(b"r", b"f:n") == b"\xff" * 8
        assert await engine.increment(b"r", b"f:n", 2**63) == 2**63 - 1
        await engine.put(b"r", b"f:text", b"seven")
        with pytest.raises(InvalidRequest, match="5 bytes"):
            await engine.increment(b"r", b"f:text")


async def test_a_read_modify_write_is_newer_than_a_version_from_the_future(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"future", 2**62)
        assert await engine.append(b"r", b"f:q", b"!") == b"future!"
        assert await engine.get(b"r", b"f:q") == b"future!"


async def test_check_and_mutate_is_one_step(tmp_path):
    async with open_engine(tmp_path, Options(sync="fsync")) as engine:
        await engine.create_family("f")
        free = ReadFilter(columns=frozenset([b"f:lock"]))
        taken = await asyncio.gather(
            *(
                engine.check_and_mutate(b"r", free, otherwise=[SetCell(b"f:lock", b"%d" % number)])
                for number in range(20)
            )
        )
        assert taken.count(False) == 1
        assert await engine.check_and_mutate(b"r", free, [DeleteRow()], value=b"nobody") is False
        owner = await engine.get(b"r", b"f:lock")
        assert await engine.check_and_mutate(b"r", free, [DeleteRow()], value=owner) is True
        assert await engine.read(b"r") is None


async def test_two_writes_without_a_timestamp_are_two_versions(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for value in (b"1", b"2", b"3"):
            await engine.put(b"r", b"f:q", value)
        row = await engine.read(b"r")
        assert row is not None
        assert [cell.value for cell in row] == [b"3", b"2", b"1"]
        newest, middle, _ = row.cells
        seen = await engine.read(b"r", ReadFilter(start_timestamp=middle.timestamp, end_timestamp=newest.timestamp))
        assert seen is not None
        assert [cell.value for cell in seen] == [b"2"]


async def test_filters_choose_families_columns_and_patterns(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.set_locality_group(LocalityGroup("other"))
        await engine.create_family("f")
        await engine.create_family("g", group="other")
        columns = [b"f:a", b"f:b", b"g:a", b"g:ab"]
        await engine.write(b"r", [SetCell(column, b"") for column in columns])
        for flushed in (False, True):
            if flushed:
                await engine.flush()
            for wanted, expected in (
                (ReadFilter(families=frozenset([b"f"])), [b"f:a", b"f:b"]),
                (ReadFilter(columns=frozenset([b"g:a", b"f:b"])), [b"f:b", b"g:a"]),
                (ReadFilter(column_pattern=rb"\w:a.*"), [b"f:a", b"g:a", b"g:ab"]),
                (ReadFilter(families=frozenset([b"g"]), columns=frozenset([b"f:a"])), []),
            ):
                row = await engine.read(b"r", wanted)
                scanned = [row async for row in engine.scan(wanted=wanted)]
                assert [cell.column for cell in row or ()] == expected
                assert [cell.column for row in scanned for cell in row] == expected


async def test_a_scan_continues_through_flushes_and_compactions(tmp_path):
    options = Options(memtable_bytes=8000, block_cache_bytes=0, policy_settings=PolicySettings(fan_in=2))
    async with open_engine(tmp_path, options) as engine:
        await engine.set_locality_group(LocalityGroup(block_bytes=512))
        await engine.create_family("f")
        for number in range(3000):
            await engine.put(b"row%06d" % number, b"f:q", b"v" * 40)
        scan = engine.scan_batches()
        seen: list[bytes] = []
        batches = 0
        while rows := await finished(scan.next_batch()):
            seen += [row.key for row in rows]
            batches += 1
            if batches % 3 == 0:
                await engine.put(b"a%d" % batches, b"f:q", b"")
                await engine.compact()
        assert seen == [b"row%06d" % number for number in range(3000)]


async def test_scans_take_ranges_prefixes_and_limits(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for row in (b"a", b"b/1", b"b/2", b"b0", b"c", b"\xff", b"\xff\xff"):
            await engine.put(row, b"f:q", b"")

        async def keys(**arguments) -> list[bytes]:
            return [row.key async for row in engine.scan(**arguments)]

        assert await keys(prefix=b"b/") == [b"b/1", b"b/2"]
        assert await keys(prefix=b"\xff") == [b"\xff", b"\xff\xff"]
        assert await keys(start=b"b0", end=b"d") == [b"b0", b"c"]
        assert await keys(start=b"b/2", prefix=b"b") == [b"b/2", b"b0"]
        assert await keys(limit=2) == [b"a", b"b/1"]
        assert await keys(limit=0) == []
        assert await keys(start=b"d", end=b"b") == []


async def test_a_dropped_family_does_not_come_back_with_its_name(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.create_family("g")
        await engine.put(b"r", b"f:q", b"old")
        await engine.put(b"r", b"g:q", b"stays")
        await engine.drop_family("f")
        with pytest.raises(NotFound, match="there are: g"):
            await engine.put(b"r", b"f:q", b"new")
        await engine.create_family("f")
        row = await engine.read(b"r")
        assert row is not None
        assert [cell.column for cell in row] == [b"g:q"]


async def test_old_cells_disappear_from_reads_at_once_and_from_files_by_compaction(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f", MaxVersions(1))
        await engine.create_family("g", MaxAge(1_000_000))
        for version in range(1, 4):
            await engine.put(b"r", b"f:q", b"%d" % version, version)
        await engine.put(b"r", b"g:q", b"stale", 5)
        await engine.put(b"r", b"g:q", b"fresh")
        row = await engine.read(b"r")
        assert row is not None
        assert [cell.value for cell in row] == [b"3", b"fresh"]
        await engine.compact()
        assert [table.properties.cells for table in engine.state.view.all_tables()] == [2]


async def test_mutations_that_cannot_be_are_refused_before_anything_happens(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        good = SetCell(b"f:q", b"v", 1)
        for row, operations, error in (
            (b"", [good], InvalidRequest),
            (b"r" * 70_000, [good], InvalidRequest),
            (b"r", [good, SetCell(b"nocolon", b"")], InvalidRequest),
            (b"r", [good, SetCell(b"g:q", b"")], NotFound),
            (b"r", [good, SetCell(b"f:q", b"", 2**63)], InvalidRequest),
            (b"r", [good, SetCell(b"f:q", b"x" * (16 << 20))], InvalidRequest),
        ):
            with pytest.raises(error):
                await engine.write(row, operations)
            with pytest.raises(error):
                await engine.write_many([(b"fine", [good]), (row, operations)])
        assert await count_rows(engine) == 0
        assert engine.figures().user_bytes == 0


async def test_many_mutations_are_checked_again_if_the_schema_has_changed_while_they_waited(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.create_family("g")
        cells = [(b"r%d" % number, [SetCell(b"g:q", b"v")]) for number in range(3)]
        rows = [(b"r2", [SetCell(b"f:q", b"v"), SetCell(b"g:q", b"v")])]
        locks = engine._writer.locks
        await locks.acquire(b"r2")
        writing = [asyncio.create_task(engine.write_many(batch)) for batch in (cells, rows)]
        await asyncio.sleep(0)
        await engine.drop_family("g")
        locks.release(b"r2")
        for found in await asyncio.gather(*writing, return_exceptions=True):
            assert isinstance(found, NotFound)
        assert await count_rows(engine) == 0
        await engine.write_many([(b"r2", [SetCell(b"f:q", b"v")])])
        assert await count_rows(engine) == 1


async def test_the_longest_row_and_the_largest_value_are_stored(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        row, value = b"r" * 65_536, b"v" * (14 << 20)
        await engine.put(row, b"f:q", value)
        await engine.put(b"r", b"f:q", b"")
        await engine.compact()
        assert await engine.get(row, b"f:q") == value
        assert await engine.get(b"r", b"f:q") == b""


async def test_a_full_disk_during_a_flush_leaves_everything_readable(tmp_path, monkeypatch):
    async with open_engine(tmp_path, Options(memtable_bytes=20_000)) as engine:
        await engine.create_family("f")
        await fill(engine, 40)
        full = fail_new_files(engine, monkeypatch, ".sst")
        with pytest.raises(NoSpace):
            await engine.flush()
        assert await count_rows(engine) == 40
        await fill(engine, 20, start=40)
        with pytest.raises(NoSpace):
            await fill(engine, 1000, start=60)
        written = await count_rows(engine)
        full.clear()
        await engine.flush()
        assert await count_rows(engine) == written
        assert "FlushFailed" in kinds_of_events(engine)
        assert not [name for name in await engine.state.storage.list() if name.endswith(".new")]
    async with open_engine(tmp_path) as engine:
        assert await count_rows(engine) == written


async def test_writers_are_told_why_the_background_flush_makes_no_room(tmp_path, monkeypatch):
    async with open_engine(tmp_path, Options(memtable_bytes=20_000), background=True) as engine:
        await engine.create_family("f")
        full = fail_new_files(engine, monkeypatch, ".sst")
        with pytest.raises(NoSpace):
            await fill(engine, 1000)
        full.clear()
        await engine.flush()
        await fill(engine, 10)


def fail_new_files(engine: Engine, monkeypatch: pytest.MonkeyPatch, suffix: str) -> list[bool]:
    """Files whose name contains the suffix cannot be created, until the returned list is emptied."""
    switch = [True]
    create = engine.state.storage.create

    async def failing(name: str):
        if switch and suffix in name:
            raise NoSpace(f"cannot create {name}: No space left on device")
        return await create(name)

    monkeypatch.setattr(engine.state.storage, "create", failing)
    return switch


async def test_opening_twice_is_refused(tmp_path):
    async with open_engine(tmp_path):
        with pytest.raises(Conflict, match="in use"):
            async with open_engine(tmp_path):
                pass
    async with open_engine(tmp_path):
        pass


async def test_closing_stops_a_compaction_between_two_slices_and_leaves_nothing_behind(tmp_path):
    async with open_engine(tmp_path, Options(policy_settings=PolicySettings(fan_in=2))) as engine:
        await engine.create_family("f")
        for number in range(2):
            await fill(engine, 2000, start=number * 2000, size=1000)
            await engine.flush()
        engine.start()
        while "CompactionStarted" not in kinds_of_events(engine):  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert "CompactionFinished" not in kinds_of_events(engine)
    async with open_engine(tmp_path) as engine:
        assert await count_rows(engine) == 4000
        assert len(list(tmp_path.glob("*.sst*"))) == 2


async def test_a_closed_engine_says_that_it_is_closed(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
    with pytest.raises(Conflict, match="closed"):
        await engine.put(b"r", b"f:q", b"")
    with pytest.raises(Conflict, match="closed"):
        await engine.read(b"r")
    await engine.close()


async def test_a_missing_or_damaged_sstable_is_refused_at_opening_and_nothing_is_lost(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await fill(engine, 10)
        await engine.flush()
    table = next(tmp_path.glob("*.sst"))
    whole = table.read_bytes()
    before = sorted(path.name for path in tmp_path.iterdir())
    table.write_bytes(whole[:-5])
    with pytest.raises(Exception, match=table.name):
        async with open_engine(tmp_path):
            pass
    table.unlink()
    with pytest.raises(Corrupted, match=table.name):
        async with open_engine(tmp_path):
            pass
    table.write_bytes(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    async with open_engine(tmp_path) as engine:
        assert await count_rows(engine) == 10


async def test_a_damaged_block_is_an_error_for_those_who_need_it_and_for_nobody_else(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.set_locality_group(LocalityGroup(block_bytes=512))
        await engine.create_family("f")
        for number in range(100):
            await engine.put(b"row%03d" % number, b"f:q", b"v%03d" % number * 10)
        await engine.flush()
    table = next(tmp_path.glob("*.sst"))
    data = bytearray(table.read_bytes())
    data[700] ^= 1
    table.write_bytes(data)
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"row000", b"f:q") is not None
        assert await engine.get(b"row099", b"f:q") is not None
        with pytest.raises(Corrupted, match=f"{table.name}: the block at offset"):
            await count_rows(engine)
        with pytest.raises(Corrupted):
            await engine.compact()
        assert await engine.get(b"row099", b"f:q") is not None


async def test_a_tablet_prepared_for_a_move_takes_no_writes_and_leaves_no_log_to_replay(tmp_path):
    async with open_engine(tmp_path, background=True) as engine:
        await engine.create_family("f")
        await fill(engine, 50)
        await engine.prepare_move()
        with pytest.raises(Conflict, match="move"):
            await engine.put(b"r", b"f:q", b"")
        assert await count_rows(engine) == 50
    async with open_engine(tmp_path) as engine:
        opened = [record.event for record in engine.state.world.events.sink.records]
        assert [event.replayed for event in opened if isinstance(event, TabletOpened)] == [0]
        assert await count_rows(engine) == 50


async def test_snapshots_keep_their_content_through_everything_that_follows(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await fill(engine, 20)
        await engine.save_snapshot("monday")
        with pytest.raises(AlreadyExists):
            await engine.save_snapshot("monday")
        await fill(engine, 30, start=20)
        await engine.create_family("g")
        await engine.compact()
        assert await engine.snapshots() == ["monday"]
        await engine.restore_snapshot("monday")
        assert await count_rows(engine) == 20
        assert list(engine.schema.families) == [b"f"]
        engine.check_invariants()
        await engine.put(b"after", b"f:q", b"")
    async with open_engine(tmp_path) as engine:
        assert await count_rows(engine) == 21
        await engine.compact()
        tables = len(list(tmp_path.glob("*.sst")))
        await engine.delete_snapshot("monday")
        assert len(list(tmp_path.glob("*.sst"))) == tables - 1 == 1
        with pytest.raises(NotFound, match="there are: none"):
            await engine.restore_snapshot("monday")
        for name in ("", "a/b", "x.new"):
            with pytest.raises(InvalidRequest):
                await engine.save_snapshot(name)


async def test_options_that_make_no_sense_are_refused(tmp_path):
    for options in (
        Options(memtable_bytes=1),
        Options(sync="never"),  # type: ignore[arg-type]
        Options(policy="lifo"),
        Options(stall_tables=3),
        Options(policy_settings=PolicySettings(fan_in=1)),
        Options(policy="everything", policy_settings=PolicySettings(fan_in=25)),
        Options(frozen_memtables=0),
    ):
        with pytest.raises(InvalidRequest):
            async with open_engine(tmp_path, options):
                pass
    with pytest.raises(NotFound):
        async with open_engine(tmp_path, Options(create=False)):
            pass


async def test_a_batch_with_long_row_keys_becomes_records_that_can_be_read_back(tmp_path: Path):
    rows = [b"%06d" % number + b"k" * 2000 for number in range(3000)]
    async with open_engine(tmp_path, Options(flush_on_close_bytes=1 << 30)) as engine:
        await engine.create_family("f")
        await engine.write_many([(row, [SetCell(b"f:x", b"v")]) for row in rows])
    records = 0
    for path in tmp_path.glob("*.log"):
        file = await DiskStorage(RealDisk(tmp_path)).open(path.name)
        async for record in LogReader(file, path.name):
            assert len(record.payload) < 2 * 1024 * 1024
            records += 1
        await file.close()
    assert records > 3
    async with open_engine(tmp_path) as engine:
        assert await engine.get(rows[-1], b"f:x") == b"v"


async def test_a_flipped_bit_in_an_older_log_never_costs_a_newer_one_that_was_synced(tmp_path: Path):
    world = RealWorld(node="test", root=tmp_path, token="", sink=MemorySink())
    engine = await Engine.open(DiskStorage(world.disk), world, Options(sync="os", memtable_bytes=4000))
    await engine.create_family("f")
    while len(engine.state.log.begun) < 2:
        await engine.put(b"row%d" % engine.state.log.last_sequence, b"f:q", b"x" * 500)
    await engine.put(b"newer", b"f:q", b"whole and durable")
    await engine.sync()
    await engine.state.close()  # As if it had been killed.
    await world.disk.unlock("")
    older, newer = sorted(tmp_path.glob("*.log"))
    data = bytearray(older.read_bytes())
    data[-1] ^= 1
    older.write_bytes(data)
    with pytest.raises(Corrupted, match=rf"{newer.name} says that all up to record \d+ had been durable"):
        async with open_engine(tmp_path):
            pass
    assert newer.exists()
    data[-1] ^= 1
    older.write_bytes(data)
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"newer", b"f:q") == b"whole and durable"


async def test_reads_refuse_rows_outside_the_tablets_range_as_writes_do(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for row in (b"a", b"m", b"z"):
            await engine.put(row, b"f:x", b"1")
        await engine.flush()
        assert await engine.get(b"a", b"f:x") == await engine.get(b"a", b"f:x") == b"1"
    storage = DiskStorage(RealDisk(tmp_path))
    manifest = await load_current(storage, await storage.list())
    assert manifest is not None
    number = manifest.number + 1
    await write_manifest(storage, replace(manifest, number=number, start_row=b"b", end_row=b"n"), manifest_name(number))
    async with open_engine(tmp_path) as engine:
        assert await engine.get(b"m", b"f:x") == b"1"
        for row in (b"a", b"z", b"n"):
            for _ in range(3):
                with pytest.raises(InvalidRequest, match="not in this tablet"):
                    await engine.get(row, b"f:x")
                with pytest.raises(InvalidRequest, match="not in this tablet"):
                    await engine.read(row)
        assert await count_rows(engine) == 1


async def test_of_two_snapshots_of_one_name_at_one_time_the_second_is_refused(tmp_path: Path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"a", b"f:x", b"1")
        answers = await asyncio.gather(engine.save_snapshot("s"), engine.save_snapshot("s"), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyExists", "NoneType"]


async def test_pinned_blocks_stay_within_their_budget(tmp_path: Path):
    async with open_engine(tmp_path, Options(pinned_bytes=100_000, scan_cache_bytes=0)) as engine:
        await engine.set_locality_group(LocalityGroup("hot", block_bytes=1024, in_memory=True))
        await engine.create_family("f", group="hot")
        for number in range(1000):
            await engine.put(b"row%06d" % number, b"f:q", b"%d" % number + b"x" * 300)
        await engine.flush()
        for number in range(1000):
            assert await engine.get(b"row%06d" % number, b"f:q") is not None
        assert 50_000 < engine.figures().pinned_blocks.bytes <= 100_000
