"""Bigtable, section 6: locality groups, compression, caches, Bloom filters, logs, moves, immutability."""

import random

import pytest

import tablet.engine
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.world.options import Options
from tests.unit.tablet_support import open_engine


@pytest.fixture
def webtable(tmp_path):
    with tablet.engine.open(tmp_path, Options(scan_cache_bytes=0)) as table:
        table.set_locality_group(LocalityGroup("metadata", block_bytes=1024, in_memory=True))
        table.create_family("contents")
        table.create_family("language", group="metadata")
        for number in range(200):
            row = f"page{number:03}"
            table.write(row, SetCell(b"contents:", b"<html>" * 200), SetCell(b"language:", b"EN"))
        table.flush()
        yield table


def test_each_locality_group_has_an_sstable_of_its_own(webtable):
    tables = {figures.group: figures for figures in webtable.figures().tables}
    assert sorted(tables) == ["default", "metadata"]
    assert tables["metadata"].rows == tables["default"].rows == 200


def test_who_reads_one_group_does_not_read_the_others(webtable):
    languages = ReadFilter(families=frozenset([b"language"]))
    assert len(list(webtable.scan(wanted=languages))) == 200
    assert webtable.figures().block_cache.misses == 0


def test_an_in_memory_group_is_loaded_when_needed_and_then_read_without_the_disk(webtable):
    assert webtable.figures().pinned_blocks.entries == 0
    for _ in range(3):
        for number in range(0, 200, 5):
            assert webtable.get(f"page{number:03}", "language:") == b"EN"
    figures = webtable.figures().pinned_blocks
    assert figures.misses == figures.entries > 3
    assert figures.hits > 100


def test_a_row_deletion_reaches_all_groups(webtable):
    webtable.delete("page007")
    webtable.compact()
    assert webtable.read("page007") is None
    assert [len(row) for row in webtable.scan("page006", "page009")] == [2, 2]


@pytest.mark.parametrize("compression", ["snappy", "lz4", "zstd"])
def test_blocks_are_compressed_one_by_one_so_that_one_can_be_read_without_the_rest(tmp_path, compression):
    with tablet.engine.open(tmp_path, Options(scan_cache_bytes=0)) as table:
        table.set_locality_group(LocalityGroup(block_bytes=8192, compression=compression))
        table.create_family("f")
        for number in range(500):
            table.put(f"com.example.www/{number:05}", "f:html", b"<p>boilerplate</p>" * 50)
        table.flush()
        (only,) = table.engine.state.view.tables["default"]
        assert only.properties.data_bytes < only.properties.row_bytes / 5
        assert table.get("com.example.www/00077", "f:html") is not None
        assert table.figures().block_cache.misses == 1


def test_the_scan_cache_serves_what_is_read_again_and_the_block_cache_what_lies_near(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        for number in range(500):
            table.put(f"row{number:05}", "f:q", b"v" * 100)
        table.flush()
        table.get("row00100", "f:q")
        assert (table.figures().block_cache.misses, table.figures().scan_cache.misses) == (1, 1)
        table.get("row00101", "f:q")
        assert (table.figures().block_cache.hits, table.figures().block_cache.misses) == (1, 1)
        table.get("row00100", "f:q")
        table.get("row00100", "f:q")
        assert table.figures().scan_cache.hits == 1
        table.put("row00100", "f:q", "new")
        table.flush()
        assert table.get("row00100", "f:q") == b"new"


def test_most_lookups_of_absent_rows_and_columns_touch_no_block(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        source = random.Random(6)
        rows = [f"{source.randrange(10**12):012}" for _ in range(2000)]
        for row in rows:
            table.put(row, "f:q", b"v" * 20)
        table.flush()
        for row in rows:
            assert table.get(row + "x", "f:q") is None
            assert table.get(row, "f:absent") is None
        figures = table.figures()
        assert figures.block_cache.hits + figures.block_cache.misses < 0.03 * 2 * len(rows)
        assert figures.tables[0].bloom_rejections > 0.97 * figures.tables[0].bloom_checks
        measured = figures.tables[0].bloom_mistakes / figures.tables[0].bloom_checks
        assert measured < 0.02


async def test_the_second_minor_compaction_before_a_move_leaves_nothing_to_recover(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        for number in range(100):
            await engine.put(b"r%d" % number, b"f:q", b"")
        await engine.prepare_move()
        assert len(engine.state.memtable) == 0
        manifest = engine.state.manifest
        assert manifest.flushed_sequence >= engine.state.log.last_sequence - 1
        assert manifest.log_numbers == (max(engine.state.log.begun),)


def test_an_sstable_is_never_changed_after_it_was_written(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put("r", "f:q", "1")
        table.flush()
        (path,) = tmp_path.glob("*.sst")
        before = (path.read_bytes(), path.stat().st_mtime_ns)
        table.put("r", "f:q", "2")
        table.delete("r")
        table.flush()
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before


async def test_a_reader_of_obsolete_sstables_finishes_before_they_are_swept(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await engine.put(b"r", b"f:q", b"v")
        await engine.flush()
        view = engine.state.view
        view.pins += 1
        await engine.compact()
        held = view.all_tables()[0]
        assert held.name in await engine.state.storage.list()
        assert await held.verify() == 1
        view.pins -= 1
        await engine.state.sweep()
        assert held.name not in await engine.state.storage.list()
