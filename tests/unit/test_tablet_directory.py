"""The directory of SSTables denies nothing that they hold, and names no file for rows that are not its own."""

from collections.abc import Iterator

import pytest

from runtime.real.disk import RealDisk
from tablet.engine.model.fragments import Entries
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteFamily, DeleteRow, SetCell
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.model.spans import EVERYWHERE, Spans, contains
from tablet.engine.sstable import writer
from tablet.engine.sstable.block_cache import BlockCache
from tablet.engine.sstable.directory import Directory
from tablet.engine.sstable.reader import SSTable
from tablet.engine.world.storage import DiskStorage
from tests.unit.tablet_support import chunk_of, make_table

_ROWS = 120


@pytest.fixture
def storage(tmp_path) -> Iterator[DiskStorage]:
    yield DiskStorage(RealDisk(tmp_path))


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch) -> None:
    monkeypatch.setattr(writer, "PARTITION_KEYS", 40)


def row_of(number: int) -> bytes:
    return b"row%03d" % number


def rows_of(table: int) -> dict[bytes, Entries]:
    """Every third row: a cell or two; some are deleted, one is so wide that it has several partitions."""
    rows: dict[bytes, Entries] = {}
    for number in range(table, _ROWS, 3):
        rows[row_of(number)] = fragment_of([SetCell(b"f:a", b"v" * 50, 1), SetCell(b"f:%d" % table, b"w", 1)])
    rows[row_of(30)] = fragment_of([DeleteRow()])
    rows[row_of(31)] = fragment_of([DeleteFamily(b"f"), SetCell(b"f:a", b"v", 1)])
    rows[row_of(60)] = fragment_of([SetCell(b"f:%04d" % number, b"v" * 80, 1) for number in range(60 + table)])
    return rows


async def make(storage: DiskStorage, number: int, group: LocalityGroup, spans: Spans) -> SSTable:
    made = await make_table(storage, number, chunk_of(rows_of(number)), group)
    return await SSTable.open(storage, made.name, number, BlockCache(1 << 20), spans=spans)


SPANS = [EVERYWHERE, ((b"", b"row061"),), ((b"row010", b"row060"), (b"row061", b"row090")), ((b"row0300", b""),)]


@pytest.mark.parametrize("spans", SPANS)
@pytest.mark.parametrize("policies", [("blocked",) * 3, ("blocked", "pybloom-live", "blocked")])
@pytest.mark.parametrize("kinds", [("row+column",) * 3, ("row+column", "none", "row"), ("none",) * 3])
async def test_every_file_that_holds_anything_of_a_row_is_named_the_newest_first(storage, spans, policies, kinds):
    groups = [LocalityGroup("g", 512, bloom_keys=kinds[n], bloom_policy=policies[n]) for n in range(3)]
    tables = [await make(storage, number, groups[number], spans) for number in range(3)]
    assert len(tables[0].filters) > 2 or kinds[0] == "none"
    directory = Directory(tables[::-1])
    for number in range(_ROWS):
        row = row_of(number)
        for column in (None, b"f:a", b"f:0", b"f:0000", b"f:0059", b"f:0061"):
            holding = [table for table in tables[::-1] if contains(spans, row) and may_say(table.number, row, column)]
            asked = directory.asked(row, column)
            assert [table for table in asked if table in holding] == holding, (row, column)
            assert list(asked) == [table for table in tables[::-1] if table in asked]


def may_say(table: int, row: bytes, column: bytes | None) -> bool:
    """Whether a file has the row and, of it, the column or a deletion that may hide it."""
    entries = rows_of(table).get(row, ())
    return any(column is None or found == column or kind > 1 for found, _, kind, _ in entries)


@pytest.mark.parametrize("spans", SPANS)
async def test_no_file_is_named_for_a_row_that_is_not_the_tablets_or_outside_of_the_file(storage, spans):
    tables = [await make(storage, number, LocalityGroup("g", 512, bloom_keys="none"), spans) for number in range(3)]
    directory = Directory(tables)
    for row in (*map(row_of, range(_ROWS)), *(row_of(number) + b"x" for number in range(_ROWS)), b"", b"a", b"z"):
        within = [t for t in tables if contains(spans, row) and min(rows_of(t.number)) <= row <= max(rows_of(t.number))]
        assert list(directory.asked(row, b"f:a")) == within, row


async def test_questions_and_answers_of_the_filters_are_counted(storage):
    tables = [await make(storage, number, LocalityGroup("g", 512), EVERYWHERE) for number in range(2)]
    directory = Directory(tables)
    asked = [directory.asked(row_of(number), b"f:1") for number in range(4, _ROWS - 3, 3)]
    for _ in range(2):
        directory.count()
        assert [table.bloom_checks for table in tables] == [len(asked), len(asked)]
    assert tables[1].bloom_rejections == 0
    assert tables[0].bloom_rejections == sum(tables[0] not in found for found in asked) > len(asked) - 10


async def test_without_files_nothing_is_asked():
    assert Directory(()).asked(b"row", b"f:a") == ()
