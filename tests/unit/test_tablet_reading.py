"""Point reads: what is found while asking and reading as little as possible is what all of it says."""

import random
import tempfile
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import tablet.engine
from runtime.errors import Conflict
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filters import EVERYTHING
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.schema import BloomKeys, GarbageRule, LocalityGroup, MaxAge, MaxVersions
from tablet.engine.world.options import Options

COLUMNS = [b"f:a", b"f:b", b"g:a", b"two:a"]
ROW = b"row"
columns = st.sampled_from(COLUMNS)
times = st.integers(-3, 9)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(SetCell, columns, st.binary(max_size=2), times),
    st.builds(SetCell, columns, st.binary(max_size=2), times),
    st.builds(DeleteCells, columns, st.none() | times, st.none() | times),
    st.builds(DeleteFamily, st.sampled_from([b"f", b"g"])),
    st.just(DeleteRow()),
)
steps = st.lists(st.tuples(operations, st.sampled_from(["nothing", "flush", "flush", "settle"])), max_size=12)


def open_table(folder: str, bloom: BloomKeys, scan_cache_bytes: int, rule: GarbageRule | None) -> EmbeddedTablet:
    table = tablet.engine.open(folder, Options(scan_cache_bytes=scan_cache_bytes))
    table.set_locality_group(LocalityGroup("default", bloom_keys=bloom))
    table.set_locality_group(LocalityGroup("other", bloom_keys=bloom, in_memory=True))
    table.create_family("f")
    table.create_family("g", group="other")
    table.create_family("two", rule)
    return table


@given(steps, st.sampled_from(["none", "row", "row+column"]), st.sampled_from([0, 100_000]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_the_newest_value_is_that_of_the_newest_version_among_all_sources(taken, bloom, scan_cache_bytes, limited):
    with tempfile.TemporaryDirectory() as folder:
        table = open_table(folder, bloom, scan_cache_bytes, MaxVersions(1) if limited else None)
        with table:
            for operation, then in taken:
                table.write(ROW, operation)
                if then == "flush":
                    table.flush()
                elif then == "settle":
                    table.settle()
                everything = table.read(ROW)
                for column in COLUMNS:
                    expected = everything.value(column) if everything is not None else None
                    assert table.get(ROW, column) == expected


@given(
    st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(0, 700), min_size=1, max_size=40),
    st.lists(st.binary(min_size=1, max_size=3), max_size=20),
    st.sampled_from([256, 1024, 4096]),
    st.sampled_from([0, 4000, 1 << 20]),
)
@settings(deadline=None, max_examples=60)
def test_blocks_read_in_parts_say_what_whole_blocks_say(sizes, strangers, block_bytes, cache_bytes):
    values = {row: random.Random(size).randbytes(size) for row, size in sizes.items()}
    with tempfile.TemporaryDirectory() as folder:
        with tablet.engine.open(folder) as table:
            table.set_locality_group(LocalityGroup(block_bytes=block_bytes))
            table.create_family("f")
            table.write_many([(row, [SetCell(b"f:a", value)]) for row, value in values.items()])
            table.flush()
        for whole_blocks in (False, True):
            options = Options(block_cache_bytes=cache_bytes, scan_cache_bytes=0, whole_blocks=whole_blocks)
            with tablet.engine.open(folder, options) as table:
                for _ in range(2):
                    assert {row: table.get(row, "f:a") for row in values} == values
                    assert all(table.get(row, "f:a") == values.get(row) for row in strangers)
                    assert {row.key: row.value("f:a") for row in table.scan()} == values
                table.engine.check_invariants()


@pytest.mark.parametrize("flushed", [False, True])
def test_a_deletion_hides_newer_timestamps_of_older_sstables_even_if_an_older_version_was_written_since(
    tmp_path, flushed
):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put("row", "f:a", "of the future", timestamp=10)
        table.flush()
        table.delete("row")
        table.flush()
        table.put("row", "f:a", "of the past", timestamp=5)
        if flushed:
            table.flush()
        assert table.get("row", "f:a") == b"of the past"


def test_a_hot_row_is_answered_by_the_scan_cache_until_something_new_is_known_of_it(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.create_family("last", MaxVersions(1))

        def hot(expected: bytes | None) -> int:
            """Read until the cache has it; how often the cache answered."""
            before = table.engine.state.scan_cache.figures.hits
            for column in (b"f:a", b"last:a"):
                assert [table.get(ROW, column) for _ in range(5)] == [expected] * 5
            return table.engine.state.scan_cache.figures.hits - before

        def put(value: bytes) -> None:
            table.write(ROW, SetCell(b"f:a", value), SetCell(b"last:a", value))

        put(b"one")
        table.flush()
        hits = hot(b"one")
        assert hits >= 2
        put(b"two")
        assert hot(b"two") == 0, "the memtable knows better"
        table.flush()
        assert hot(b"two") == hits
        table.delete(ROW)
        hot(None)
        table.flush()
        assert hot(None) == hits


def test_another_version_policy_holds_for_what_is_cached_too(tmp_path):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put(ROW, b"f:a", b"of 1970", 5)
        table.flush()
        assert [table.get(ROW, b"f:a") for _ in range(5)] == [b"of 1970"] * 5
        table.set_garbage_rule("f", MaxAge(3600))
        assert table.get(ROW, b"f:a") is None
        table.set_garbage_rule("f", None)
        assert [table.get(ROW, b"f:a") for _ in range(5)] == [b"of 1970"] * 5
    with pytest.raises(Conflict, match="closed"):
        table.get(ROW, b"f:a")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.put(ROW, "f:a", "new"),
        lambda table: table.write(ROW, DeleteRow(), SetCell(b"f:a", b"new")),
        lambda table: table.write_many({ROW: [SetCell(b"f:a", b"new")]}),
        lambda table: table.check_and_mutate(ROW, EVERYTHING, [SetCell(b"f:a", b"new")]),
        lambda table: table.append(ROW, "f:b", "") or table.put(ROW, "f:a", "new"),
        lambda table: table.restore_snapshot("new"),
    ],
)
def test_a_hot_value_is_the_old_one_until_it_is_changed_and_never_after(
    tmp_path, change: Callable[[EmbeddedTablet], None]
):
    with tablet.engine.open(tmp_path) as table:
        table.create_family("f")
        table.put(ROW, "f:a", "new")
        table.save_snapshot("new")
        table.put(ROW, "f:a", "old")
        table.flush()
        assert [table.get(ROW, "f:a") for _ in range(5)] == [b"old"] * 5
        assert table.engine.state.scan_cache.settled_rows() == [ROW]
        change(table)
        assert [table.get(ROW, "f:a") for _ in range(5)] == [b"new"] * 5
        table.engine.check_invariants()
        table.flush()
        assert [table.get(ROW, "f:a") for _ in range(5)] == [b"new"] * 5
        table.compact()
        assert [table.get(ROW, "f:a") for _ in range(5)] == [b"new"] * 5
        table.engine.check_invariants()
