"""Bigtable, section 2: the data model, claim by claim."""

import asyncio

import pytest

import tablet.engine
from runtime.errors import InvalidRequest, NotFound
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import DAY_MICROSECONDS, MaxAge, MaxVersions
from tests.unit.tablet_support import open_engine


@pytest.fixture
def webtable(tmp_path):
    """Figure 1: pages under their reversed host name, with contents, and anchors as columns."""
    with tablet.engine.open(tmp_path) as table:
        table.create_family("contents", MaxVersions(3))
        table.create_family("anchor")
        table.write(
            "com.cnn.www",
            SetCell(b"contents:", b"<html>3", 3),
            SetCell(b"contents:", b"<html>5", 5),
            SetCell(b"contents:", b"<html>6", 6),
            SetCell(b"anchor:cnnsi.com", b"CNN", 9),
            SetCell(b"anchor:my.look.ca", b"CNN.com", 8),
        )
        yield table


def test_the_map_of_figure_1_can_be_written_down(webtable):
    row = webtable.read("com.cnn.www")
    assert [(cell.column, cell.timestamp) for cell in row] == [
        (b"anchor:cnnsi.com", 9),
        (b"anchor:my.look.ca", 8),
        (b"contents:", 6),
        (b"contents:", 5),
        (b"contents:", 3),
    ]


def test_rows_are_kept_in_lexicographic_order(webtable):
    for row in ("com.zebra", "com.cnn.money", "com.cnn.www/a"):
        webtable.put(row, "contents:", "x")
    assert [row.key for row in webtable.scan()] == [b"com.cnn.money", b"com.cnn.www", b"com.cnn.www/a", b"com.zebra"]


def test_a_row_key_is_any_string_of_up_to_64_kb(webtable):
    webtable.put(bytes(range(256)), "contents:", "x")
    webtable.put(b"k" * 65_536, "contents:", "x")
    with pytest.raises(InvalidRequest, match="65,537"):
        webtable.put(b"k" * 65_537, "contents:", "x")


async def test_every_write_under_one_row_key_is_atomic_whatever_the_columns(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        columns = [b"f:%d" % number for number in range(20)]
        done = asyncio.Event()

        async def write() -> None:
            for version in range(50):
                await engine.write(b"r", [SetCell(column, b"%d" % version, version) for column in columns])
                if version % 7 == 0:
                    await engine.flush()
            done.set()

        async def read() -> int:
            seen = 0
            while not done.is_set() and seen < 2000:  # No more: it would keep a slow machine from writing.
                row = await engine.read(b"r", ReadFilter(versions=1))
                if row is not None:
                    assert len({cell.value for cell in row}) == 1
                    assert len(row) == len(columns)
                    seen += 1
                await asyncio.sleep(0)
            return seen

        _, seen = await asyncio.gather(write(), read())
        assert seen > 0


def test_a_family_must_be_created_before_data_is_stored_under_it(webtable):
    with pytest.raises(NotFound, match="no column family 'language'"):
        webtable.put("com.cnn.www", "language:", "EN")
    webtable.create_family("language")
    webtable.put("com.cnn.www", "language:", "EN")


def test_the_columns_of_a_family_are_unbounded(webtable):
    webtable.write("com.cnn.www", *(SetCell(b"anchor:site%05d" % number, b"x") for number in range(5000)))
    assert len(webtable.read("com.cnn.www", ReadFilter(families=frozenset([b"anchor"])))) == 5002


def test_a_family_name_is_printable_and_a_qualifier_any_string(webtable):
    with pytest.raises(InvalidRequest):
        webtable.create_family("caf\u00e9")
    webtable.put("r", b"anchor:\x00\xff:", "x")
    assert webtable.get("r", b"anchor:\x00\xff:") == b"x"


def test_versions_are_stored_newest_first_in_any_order_of_writing(webtable):
    for timestamp in (40, 10, 30, 20):
        webtable.put("r", "anchor:a", str(timestamp), timestamp)
    assert [cell.timestamp for cell in webtable.read("r")] == [40, 30, 20, 10]
    assert webtable.get("r", "anchor:a") == b"40"


def test_timestamps_are_64_bit_integers_given_by_the_client_or_real_time_in_microseconds(webtable):
    for timestamp in (-(2**63), 0, 2**63 - 1):
        webtable.put("r", "anchor:a", "x", timestamp)
    with pytest.raises(InvalidRequest):
        webtable.put("r", "anchor:a", "x", 2**63)
    webtable.put("now", "anchor:a", "x")
    (cell,) = webtable.read("now")
    assert 1_600_000_000 * 10**6 < cell.timestamp < 10_000_000_000 * 10**6


def test_a_family_may_keep_only_the_last_n_versions(webtable):
    for timestamp in (7, 8):
        webtable.put("com.cnn.www", "contents:", f"<html>{timestamp}", timestamp)
    only_contents = ReadFilter(families=frozenset([b"contents"]))
    assert [cell.timestamp for cell in webtable.read("com.cnn.www", only_contents)] == [8, 7, 6]
    webtable.compact()
    assert sum(table.rows for table in webtable.figures().tables) == 1
    assert [cell.timestamp for cell in webtable.read("com.cnn.www", only_contents)] == [8, 7, 6]


def test_a_family_may_keep_only_versions_that_are_new_enough(webtable):
    webtable.create_family("recent", MaxAge(7 * DAY_MICROSECONDS))
    webtable.put("r", "recent:q", "now")
    (now,) = webtable.read("r")
    for days in (1, 6, 8):
        webtable.put("r", "recent:q", f"{days} days", now.timestamp - days * DAY_MICROSECONDS)
    assert [cell.value for cell in webtable.read("r")] == [b"now", b"1 days", b"6 days"]


def test_cells_columns_families_and_rows_can_be_deleted(webtable):
    webtable.write("com.cnn.www", DeleteCells(b"contents:", 4, 6))
    assert [cell.timestamp for cell in webtable.read("com.cnn.www") if cell.column == b"contents:"] == [6, 3]
    webtable.write("com.cnn.www", DeleteCells(b"anchor:cnnsi.com"))
    assert webtable.get("com.cnn.www", "anchor:cnnsi.com") is None
    assert webtable.get("com.cnn.www", "anchor:my.look.ca") == b"CNN.com"
    webtable.write("com.cnn.www", DeleteFamily(b"anchor"))
    assert {cell.column for cell in webtable.read("com.cnn.www")} == {b"contents:"}
    webtable.write("com.cnn.www", DeleteRow())
    assert webtable.read("com.cnn.www") is None
    webtable.put("com.cnn.www", "contents:", "again", 1)
    assert webtable.get("com.cnn.www", "contents:") == b"again"


async def test_single_row_transactions_read_and_write_in_one_step(tmp_path):
    async with open_engine(tmp_path) as engine:
        await engine.create_family("f")
        await asyncio.gather(
            *(engine.increment(b"r", b"f:visits") for _ in range(40)),
            *(engine.append(b"r", b"f:log", b"x") for _ in range(40)),
        )
        assert await engine.increment(b"r", b"f:visits", 0) == 40
        assert await engine.get(b"r", b"f:log") == b"x" * 40
