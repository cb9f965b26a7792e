"""A cell of a wide row costs what one of a small row costs: counted in cells and blocks, in memory and in files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filter_tree import CellsPerColumn, CellsPerRow, Chain, QualifierRange, ValueRegex
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.fragments import Entries, decode_fragment, decode_without_values
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.serving import reading
from tablet.engine.sstable.reader import SSTable
from tablet.engine.tree import memtable, wide_row
from tablet.engine.tree.merge import lay_over
from tablet.engine.tree.wide_row import WideRow
from tablet.engine.world.options import Options
from tabletop.application import app
from tests.unit.tablet_support import open_engine

WIDTHS = {"small": 100, "wide": 100_000}
_BATCH = 10_000


def column(number: int) -> bytes:
    return b"f:%06d" % number


def fill(table: EmbeddedTablet) -> None:
    table.create_family("f")
    table.create_family("g")
    for row, width in WIDTHS.items():
        for start in range(0, width, _BATCH):
            numbers = range(start, min(width, start + _BATCH))
            table.write(row, *(SetCell(column(number), b"value of %06d" % number, 5) for number in numbers))


@pytest.fixture(scope="module", params=["memtable", "sstable", "compressed", "both"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTablet]:
    folder = tmp_path_factory.mktemp("wide")
    with tablet.engine.open(folder, Options(scan_cache_bytes=0)) as opened:
        compression = "snappy" if request.param == "compressed" else "none"
        opened.set_locality_group(LocalityGroup(compression=compression))
        fill(opened)
        if request.param != "memtable":
            opened.flush()
        if request.param == "both":
            for row, width in WIDTHS.items():
                opened.write(row, *(SetCell(column(number), b"newer", 6) for number in range(0, width, 10)))
        yield opened


class Work:
    """What has been done: cells decoded, taken out of a row, or gone through by a write; and blocks asked for."""

    def __init__(self, table: EmbeddedTablet) -> None:
        self._table = table
        self.cells = 0

    def of(self, act: Callable[[], object]) -> tuple[int, int]:
        """Cells and blocks of one call."""
        cells, blocks = self.cells, self._blocks()
        act()
        return self.cells - cells, self._blocks() - blocks

    def counting(self, function: Callable[..., Entries]) -> Callable[..., Entries]:
        def counted(*arguments) -> Entries:
            entries = function(*arguments)
            self.cells += len(entries)
            return entries

        return counted

    def _blocks(self) -> int:
        figures = self._table.figures().block_cache
        return figures.hits + figures.misses


@pytest.fixture
def work(table: EmbeddedTablet, monkeypatch: pytest.MonkeyPatch) -> Work:
    counted = Work(table)
    for module, name, function in (
        (reading, "decode_fragment", decode_fragment),
        (reading, "decode_without_values", decode_without_values),
        (memtable, "decode_fragment", decode_fragment),
        (memtable, "lay_over", lay_over),
        (wide_row, "lay_over", lay_over),
        (WideRow, "part", WideRow.part),
    ):
        monkeypatch.setattr(module, name, counted.counting(function))
    return counted


def test_reading_one_cell_decodes_few_cells_however_wide_the_row(table, work):
    for row, width in WIDTHS.items():
        for number in (0, 1, width // 2 + 7, width - 1):
            cells, blocks = work.of(lambda row=row, number=number: table.get(row, column(number)))
            assert cells <= 120
            assert blocks <= 2
        value = table.get(row, column(width // 2 + 7))
        assert value == b"value of %06d" % (width // 2 + 7)
        cells, blocks = work.of(lambda row=row: table.get(row, b"f:000007x"))
        assert cells <= 120
        assert blocks <= 1
        wanted = ReadFilter(columns=[column(3), column(width - 3)])
        cells, blocks = work.of(lambda row=row, wanted=wanted: table.read(row, wanted))
        assert cells <= 200
        assert blocks <= 4


def test_a_slice_decodes_about_as_many_cells_as_it_shows(table, work):
    width = WIDTHS["wide"]
    for start in (0, width // 3, width - 500):
        wanted = QualifierRange("f", b"%06d" % start, b"%06d" % (start + 500))
        assert [cell.column for cell in table.read("wide", Chain(wanted, CellsPerColumn(1)))] == [
            column(number) for number in range(start, start + 500)
        ]
        cells, blocks = work.of(lambda wanted=wanted: table.read("wide", wanted))
        assert cells <= 700
        assert blocks <= 3


def test_a_limit_stops_the_reading_of_a_row(table, work):
    width = WIDTHS["wide"]
    for start in (0, width // 3):
        first = Chain(QualifierRange("f", b"%06d" % start), CellsPerColumn(1), CellsPerRow(10))
        assert [cell.column for cell in table.read("wide", first)] == [
            column(number) for number in range(start, start + 10)
        ]
        cells, blocks = work.of(lambda first=first: table.read("wide", first))
        assert cells <= 300
        assert blocks <= 8
    rare = Chain(QualifierRange("f", "000100"), ValueRegex("value of ...999"), CellsPerRow(2))
    assert [cell.column for cell in table.read("wide", rare)] == [column(999), column(1999)]
    cells, _ = work.of(lambda: table.read("wide", rare))
    assert cells <= 12_000, "it goes on until there are enough, and not to the end"


def test_writing_one_cell_goes_through_few_cells_however_wide_the_row(table, work):
    for row, width in WIDTHS.items():
        table.put(row, column(8), b"again", 5)  # The first one after a flush begins the row in the memtable.
        for operation in (
            SetCell(column(width // 2), b"new", 5),
            DeleteCells(column(width // 2 + 1)),
            SetCell(b"f:x", b""),
        ):
            cells, blocks = work.of(lambda row=row, operation=operation: table.write(row, operation))
            assert cells <= WIDTHS["small"] + 5
            assert blocks == 0
        assert table.get(row, column(width // 2)) in (b"new", b"newer")
        assert table.get(row, column(width // 2 + 1)) is None
        table.delete(row, "f:x")
    table.engine.check_invariants()


def test_deletions_of_the_row_and_of_a_family_hide_the_cells_of_a_wide_row_in_older_files(tmp_path):
    with tablet.engine.open(tmp_path, Options(scan_cache_bytes=0)) as opened:
        fill(opened)
        opened.flush()
        opened.write("wide", DeleteFamily(b"g"), *(SetCell(column(number), b"", 9) for number in range(0, 5000, 2)))
        opened.flush()
        assert opened.get("wide", column(7)) == b"value of 000007"
        opened.write("wide", DeleteRow(), *(SetCell(column(number), b"after", 1) for number in range(0, 5000, 5)))
        for _ in range(2):
            assert opened.get("wide", column(7)) is None
            assert opened.get("wide", column(10)) == b"after"
            slice_of_ten = Chain(QualifierRange("f", "000003"), CellsPerRow(2))
            assert [cell.column for cell in opened.read("wide", slice_of_ten)] == [column(5), column(10)]
            opened.flush()


async def test_a_row_that_is_written_to_while_its_first_columns_are_read_is_seen_as_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with open_engine(tmp_path, Options(scan_cache_bytes=0)) as engine:
        await engine.create_family("f")
        await engine.write(b"r", [SetCell(column(number), b"old", 1) for number in range(2000)])
        await engine.flush()
        calls = 0
        column_after = SSTable.column_after

        async def with_a_write_in_between(table: SSTable, row: bytes, low: bytes, cells: int) -> bytes | None:
            nonlocal calls
            calls += 1
            if calls == 2:
                await engine.write(row, [SetCell(column(number), b"new", 2) for number in (0, 150)])
            return await column_after(table, row, low, cells)

        monkeypatch.setattr(SSTable, "column_after", with_a_write_in_between)
        found = await engine.read(b"r", Chain(CellsPerColumn(1), CellsPerRow(1500)))
        assert found is not None
        assert calls == 2
        assert {found.value(column(0)), found.value(column(150))} == {b"new"}
        assert len(found) == 1500


def test_the_tools_show_and_verify_the_blocks_of_a_wide_row(tmp_path):
    folder = tmp_path / "data"
    with tablet.engine.open(folder) as opened:
        opened.create_family("f")
        opened.write("wide", *(SetCell(column(number), b"v" * 30, 5) for number in range(5000)))
        opened.put("zebra", "f:q", "stripes", 5)
        opened.flush()
        (name,) = (found.name for found in opened.figures().tables)

    def run(*arguments: str):
        return CliRunner().invoke(app, ["tablet", *arguments])

    assert run("verify", str(folder)).exit_code == 0
    dump = run("dump", str(folder / name)).output
    assert "fragments of a wide row" in dump
    assert "wide to wide, continues at f:" in dump
    assert run("get", str(folder), "wide", column(4321).decode()).stdout_bytes == b"v" * 30
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 4] ^= 1
    (folder / name).write_bytes(bytes(data))
    assert run("verify", str(folder)).exit_code != 0


@pytest.mark.parametrize("start, end", [("wide2", "wide9"), ("wide2", "")])
def test_a_scan_backwards_of_a_range_behind_a_wide_row_that_is_the_last_of_its_file(tmp_path, start, end):
    with tablet.engine.open(tmp_path) as opened:
        opened.create_family("f")
        opened.write("wide", *(SetCell(column(number), b"v" * 30, 5) for number in range(5000)))
        opened.flush()
        assert [row.key for row in opened.scan(start, end, reverse=True)] == []
        opened.write("wide5", SetCell(column(1), b"v"))
        assert [row.key for row in opened.scan(start, end, reverse=True)] == [b"wide5"]
