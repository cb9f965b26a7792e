"""Wide rows against a dictionary: in the memtable, in blocks of their own, and in several of both at once.

What makes a row wide, and the pieces it is cut into, are made so small here that a few cells are enough.
"""

import tempfile
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

import tablet.engine
from tablet.engine.model.filter_program import Program
from tablet.engine.model.filter_tree import (
    CellsPerColumn,
    CellsPerRow,
    CellsPerRowOffset,
    Chain,
    Condition,
    FamilyRegex,
    Interleave,
    PassAll,
    QualifierRange,
    QualifierRegex,
    Sink,
    StripValue,
    TimestampRange,
    ValueRegex,
)
from tablet.engine.model.filters import ReadFilter, RowFilter
from tablet.engine.model.fragments import PUT, Entries
from tablet.engine.model.mutations import fragment_of
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.schema import BloomKeys, BloomPolicy, LocalityGroup
from tablet.engine.serving import reading
from tablet.engine.sstable import reader, writer
from tablet.engine.tree import memtable, wide_row
from tablet.engine.tree.merge import lay_over
from tablet.engine.tree.wide_row import WideRow
from tablet.engine.world.options import Options

ROWS = [b"a", b"b", b"c"]
FAMILIES = [b"f", b"f-x", b"g"]
COLUMNS = [family + b":%02d" % number for family in FAMILIES for number in range(8)]
columns = st.sampled_from(COLUMNS)
qualifiers = st.sampled_from([b"", *(b"%02d" % number for number in range(8)), b"03x", b"9"])
stamps = st.integers(0, 3)
values = st.binary(max_size=2) | st.just(b"v" * 40)
operations: st.SearchStrategy[Operation] = st.one_of(
    *[st.builds(SetCell, columns, values, stamps)] * 12,
    st.builds(DeleteCells, columns, st.none() | stamps, st.none() | stamps),
    st.builds(DeleteCells, columns, st.none() | stamps, st.none() | stamps),
    st.builds(DeleteFamily, st.sampled_from(FAMILIES)),
    st.just(DeleteRow()),
)
mutations = st.lists(operations, min_size=1, max_size=30)
steps = st.lists(
    st.tuples(st.sampled_from(ROWS), mutations, st.sampled_from(["nothing", "flush", "flush", "compact"])),
    min_size=1,
    max_size=8,
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (memtable, wide_row):
            patch.setattr(module, "WIDE_CELLS", 3)
        patch.setattr(memtable, "_LONG_BYTES", 100)
        for module in (reader, writer):
            patch.setattr(module, "PIECE_BYTES", 60)
        patch.setattr(reading, "_FIRST_CELLS", 1)
        yield


def a_slice(family: bytes, start: bytes, end: bytes) -> RowFilter:
    return QualifierRange(family, min(start, end), max(start, end), end_closed=True)


parts: st.SearchStrategy[RowFilter] = st.one_of(
    st.builds(a_slice, st.sampled_from(FAMILIES), qualifiers, qualifiers),
    st.builds(QualifierRange, st.sampled_from(FAMILIES), qualifiers),
    st.builds(ReadFilter, columns=st.frozensets(columns, min_size=1, max_size=4), versions=st.none() | st.just(1)),
    st.builds(ReadFilter, families=st.frozensets(st.sampled_from(FAMILIES), min_size=1, max_size=2)),
    st.builds(FamilyRegex, st.sampled_from([b"f", b"g", b"f.*"])),
    st.builds(QualifierRegex, st.sampled_from([b"03", b"0[2-5]", b"0."])),
    st.builds(ValueRegex, st.sampled_from([b"v+", b"(?s).?"])),
    st.builds(CellsPerRow, st.integers(1, 6)),
    st.builds(CellsPerRow, st.integers(1, 6)),
    st.builds(CellsPerRowOffset, st.integers(1, 4)),
    st.builds(CellsPerColumn, st.integers(1, 2)),
    st.builds(TimestampRange, stamps),
    st.sampled_from([PassAll(), StripValue()]),
)
chains = st.lists(parts, min_size=1, max_size=4).map(lambda found: Chain(*found))
filters = st.one_of(
    parts,
    chains,
    chains,
    st.lists(chains, min_size=2, max_size=2).map(lambda found: Chain(Interleave(*found), CellsPerRow(3))),
    st.builds(lambda one, two: Chain(Condition(one, two), CellsPerRow(3)), parts, parts),
    st.builds(lambda one: Chain(Interleave(PassAll(), Chain(one, Sink())), CellsPerRow(2)), parts),
)


@given(
    history=steps,
    asked=st.lists(filters, min_size=1, max_size=12),
    bloom=st.sampled_from(["none", "row", "row+column", "row+column"]),
    policy=st.sampled_from(["pybloom-live", "blocked"]),
    compressed=st.booleans(),
    scan_cache=st.booleans(),
)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_reads_of_wide_rows_give_what_a_filter_makes_of_all_their_cells(
    history, asked, bloom: BloomKeys, policy: BloomPolicy, compressed, scan_cache
):
    options = Options(scan_cache_bytes=1 << 20 if scan_cache else 0)
    with tempfile.TemporaryDirectory() as folder, tablet.engine.open(folder, options) as table:
        compression = "zstd" if compressed else "none"
        table.set_locality_group(
            LocalityGroup(block_bytes=256, compression=compression, bloom_keys=bloom, bloom_policy=policy)
        )
        for family in FAMILIES:
            table.create_family(family.decode())
        held: dict[bytes, Entries] = {}
        for row, mutation, then in history:
            table.write(row, *mutation)
            held[row] = lay_over(fragment_of(mutation), held.get(row, ()))
            if then == "flush":
                table.flush()
            elif then == "compact":
                table.compact()
        table.engine.check_invariants()
        for row in ROWS:
            cells = tuple(entry for entry in held.get(row, ()) if entry[2] == PUT)
            assert [cell[:2] for cell in table.read(row) or ()] == [(entry[0], -entry[1]) for entry in cells]
            for wanted in asked * 2:  # Twice, for the caches.
                found = [(cell.column, cell.timestamp, cell.value) for cell in table.read(row, wanted) or ()]
                expected = Program(wanted).cells(row, cells)
                assert found == [(column, -minus, value) for column, minus, _, value in expected], wanted
            for column in COLUMNS:
                expected_value = next((entry[3] for entry in cells if entry[0] == column), None)
                assert table.get(row, column) == expected_value


@given(st.lists(mutations.map(fragment_of), min_size=1, max_size=8), columns, columns, st.integers(0, 5))
@example([fragment_of([DeleteCells(b"f:00")]), fragment_of([DeleteCells(b"f:00", 0)])], b"f:01", b"f:06", 4)
def test_a_wide_row_holds_what_its_mutations_laid_over_one_another_give(fragments, one, other, count):
    row, expected = WideRow(()), ()
    for number, newer in enumerate(fragments, 1):
        row.lay(newer)
        expected = lay_over(newer, expected)
        assert tuple(row) == expected
        assert row.changes == number
        row.check_invariants()
    low, high = min(one, other), max(one, other)
    assert row.part([(low, high)]) == tuple(e for e in expected if e[0] < b"\1" or low <= e[0] <= high)
    assert row.part([(b"", None)]) == expected
    after = [entry[0] for entry in expected if entry[0] > low]
    assert row.column_after(low, count) == (after[count] if count < len(after) else None)
