"""Bigtable, section 5.3: how a tablet is served."""

import asyncio
import shutil

import pytest

import tablet.engine
from runtime.errors import InvalidRequest
from runtime.record_log import LogReader
from tablet.engine.log.records import decode_rows
from tablet.engine.model.fragments import decode_fragment
from tablet.engine.model.operations import SetCell
from tablet.engine.world.options import Options
from tests.unit.tablet_support import kinds_of_events, open_engine


async def test_a_mutation_is_in_the_commit_log_before_it_is_answered(tmp_path):
    async with open_engine(tmp_path, Options(sync="fsync")) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v", 7)
        (name,) = [name for name in await engine.state.storage.list() if name.endswith(".log")]
        file = await engine.state.storage.open(name)
        payloads = [record.payload async for record in LogReader(file, name)]
        await file.close()
        assert [(row, decode_fragment(fragment)) for row, fragment in decode_rows(payloads[-1]).rows] == [
            (b"r", ((b"f:q", -7, 0, b"v"),))
        ]
        assert engine.state.log.durable_sequence == engine.state.log.last_sequence


async def test_group_commit_shares_a_sync_among_many_small_mutations(tmp_path):
    async with open_engine(tmp_path, Options(sync="fsync")) as engine:
        await engine.create_family("f")
        await asyncio.gather(*(engine.put(b"r%03d" % number, b"f:q", b"") for number in range(200)))
        assert engine.figures().log_syncs < 20


async def test_a_mutation_that_is_not_well_formed_reaches_neither_log_nor_memtable(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        before = engine.state.log.last_sequence
        with pytest.raises(InvalidRequest):
            await engine.write(b"r", [SetCell(b"f:q", b""), SetCell(b"no-colon", b"")])
        assert engine.state.log.last_sequence == before
        assert len(engine.state.memtable) == 0


def test_a_read_sees_the_merged_view_of_memtable_and_sstables(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put("r", "f:a", "oldest", 1)
        table.put("r", "f:b", "kept", 1)
        table.flush()
        table.put("r", "f:a", "newer", 2)
        table.put("r", "f:c", "new", 1)
        table.flush()
        table.delete("r", "f:c")
        table.put("r", "f:d", "in the memtable", 1)
        assert [(cell.column, cell.value) for cell in table.read("r")] == [
            (b"f:a", b"newer"),
            (b"f:a", b"oldest"),
            (b"f:b", b"kept"),
            (b"f:d", b"in the memtable"),
        ]
        assert len(table.figures().tables) == 2


def test_recovery_reads_the_log_from_the_redo_point_and_no_more(tmp_path):
    table = tablet.engine.open(tmp_path / "before")
    table.create_family("f")
    for number in range(20):
        table.put(f"flushed{number}", "f:q", "")
    table.flush()
    for number in range(3):
        table.put(f"logged{number}", "f:q", "")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    table.close()
    with tablet.engine.open(tmp_path / "after") as recovered:
        opened = [record.event for record in recovered.events if type(record.event).__name__ == "TabletOpened"]
        assert [(event.tables, event.replayed) for event in opened] == [(1, 3)]
        assert len(list(recovered.scan())) == 23
        assert recovered.figures().memtable_rows == 3


async def test_reads_and_writes_go_on_during_compactions(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for number in range(4000):
            await engine.put(b"r%04d" % number, b"f:q", b"v" * 500)
        await engine.flush()
        compaction = asyncio.create_task(engine.compact())
        served = 0
        while not compaction.done():
            await engine.put(b"during%d" % served, b"f:q", b"")
            assert await engine.get(b"r%04d" % (served % 4000), b"f:q") is not None
            served += 1
            await asyncio.sleep(0)
        await compaction
        assert served > 5
        assert "CompactionFinished" in kinds_of_events(engine)
