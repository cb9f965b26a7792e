"""Bigtable, section 5.4: minor, merging and major compactions."""

import asyncio

import pytest

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.world.options import Options, PolicySettings
from tests.unit.tablet_support import open_engine


@pytest.fixture
def table(tmp_path):
    with tablet.engine.open(tmp_path, Options(memtable_bytes=20_000)) as opened:
        opened.create_family("f")
        yield opened


def fill(table: EmbeddedTablet, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        table.put(f"row{number:05}", "f:q", b"v" * 100)


def test_a_full_memtable_is_frozen_and_becomes_an_sstable(table):
    fill(table, 100)
    assert table.figures().tables == ()
    fill(table, 300, 100)
    table.settle()
    figures = table.figures()
    assert len(figures.tables) >= 1
    assert figures.memtable_bytes < 20_000
    assert any(type(record.event).__name__ == "MemtableFrozen" for record in table.events)


def test_a_minor_compaction_shrinks_memory_and_the_log_to_be_read_after_a_death(table, tmp_path):
    fill(table, 60)
    assert table.figures().memtable_bytes > 10_000
    before = sum(path.stat().st_size for path in tmp_path.glob("*.log"))
    table.flush()
    assert table.figures().memtable_bytes == 0
    after = sum(path.stat().st_size for path in tmp_path.glob("*.log"))
    assert after < before / 10


async def test_writes_and_reads_continue_while_a_minor_compaction_runs(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for number in range(3000):
            await engine.put(b"row%05d" % number, b"f:q", b"v" * 500)
        flush = asyncio.create_task(engine.flush())
        served = 0
        while not flush.done():
            await engine.put(b"new%d" % served, b"f:q", b"")
            assert await engine.get(b"row%05d" % (served % 3000), b"f:q") == b"v" * 500
            served += 1
            await asyncio.sleep(0)
        await flush
        assert served > 3


def test_merging_compactions_bound_the_number_of_sstables(table):
    for number in range(40):
        fill(table, 30, number * 30)
        table.flush()
        table.settle()
        assert len(table.figures().tables) <= PolicySettings().max_tables
    assert table.figures().work.compactions > 5
    assert len(list(table.scan())) == 1200


def test_a_merging_compaction_keeps_deletions_that_still_hide_older_data(tmp_path):
    options = Options(policy_settings=PolicySettings(fan_in=2))
    with tablet.engine.open(tmp_path, options) as table:
        table.create_family("f")
        table.put("secret", "f:q", b"x" * 5000)
        fill(table, 300)
        table.flush()
        table.delete("secret")
        table.flush()
        table.put("other", "f:q", "")
        table.flush()
        table.settle()
        newest, *older = table.engine.state.view.tables["default"]
        assert older
        assert newest.properties.markers == 1
        assert table.get("secret", "f:q") is None


def test_a_major_compaction_makes_exactly_one_sstable_without_deletions_or_deleted_data(table, tmp_path):
    table.put("secret", "f:q", "the-password")
    fill(table, 50)
    table.flush()
    table.delete("secret")
    fill(table, 50, 50)
    table.flush()
    assert any(b"the-password" in path.read_bytes() for path in tmp_path.glob("*.sst"))
    table.compact()
    (only,) = table.engine.state.view.tables["default"]
    assert only.properties.markers == 0
    assert only.properties.rows == 100
    assert not any(b"the-password" in path.read_bytes() for path in tmp_path.iterdir() if path.name != "LOCK")


def test_a_major_compaction_of_nothing_but_deletions_leaves_no_file(table, tmp_path):
    fill(table, 20)
    table.flush()
    for number in range(20):
        table.delete(f"row{number:05}")
    table.compact()
    assert table.figures().tables == ()
    assert not list(tmp_path.glob("*.sst"))
