"""Filters against a reference: what a tree shows of a tablet is what a short plain function makes of the whole rows.

The tablet has its cells in two locality groups, in SSTables of different times and in the memtable, so a condition that
is wrongly pushed down into the reading leaves out cells that the reference shows. The reference sees all cells.
"""

import re
import tempfile
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.filter_program import Program
from tablet.engine.model.filter_tree import (
    ApplyLabel,
    BlockAll,
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
    RowRegex,
    Sink,
    StripValue,
    TimestampRange,
    ValueRange,
    ValueRegex,
)
from tablet.engine.model.filters import ReadFilter, RowFilter
from tablet.engine.model.fragments import PUT, Entry
from tablet.engine.model.operations import DeleteCells, DeleteRow, SetCell
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.schema import LocalityGroup, MaxVersions

Shown = tuple[bytes, int, bytes, str]
"""(column, timestamp, value, label)"""


def reference(tree: RowFilter, row: bytes, cells: list[Shown], sunk: list[Shown]) -> list[Shown]:
    """What a filter gives of a row's cells."""

    def matches(text: bytes) -> bool:
        return re.fullmatch(tree.pattern, text) is not None

    def within(value, start, end, start_open=False, end_closed=False) -> bool:
        return (start is None or (value > start if start_open else value >= start)) and (
            end is None or (value <= end if end_closed else value < end)
        )

    def of_each_column(count: int) -> list[Shown]:
        return [cell for place, cell in enumerate(cells) if [c[0] for c in cells[:place]].count(cell[0]) < count]

    match tree:
        case PassAll():
            return cells
        case BlockAll():
            return []
        case Chain(filters):
            for part in filters:
                cells = reference(part, row, cells, sunk)
            return cells
        case Interleave(filters):
            pooled = [cell for part in filters for cell in reference(part, row, cells, sunk)]
            return sorted(pooled, key=lambda cell: (cell[0], -cell[1]))
        case Condition(predicate, if_true, if_false):
            branch = if_true if reference(predicate, row, cells, sunk) else if_false
            return [] if branch is None else reference(branch, row, cells, sunk)
        case RowRegex():
            return cells if matches(row) else []
        case FamilyRegex():
            return [cell for cell in cells if matches(cell[0].split(b":", 1)[0])]
        case QualifierRegex():
            return [cell for cell in cells if matches(cell[0].split(b":", 1)[1])]
        case ValueRegex():
            return [cell for cell in cells if matches(cell[2])]
        case QualifierRange():
            bounds = (tree.start, tree.end, tree.start_open, tree.end_closed)
            named = [(cell, *cell[0].split(b":", 1)) for cell in cells]
            return [cell for cell, family, rest in named if family == tree.family and within(rest, *bounds)]
        case ValueRange(start, end, start_open, end_closed):
            return [cell for cell in cells if within(cell[2], start, end, start_open, end_closed)]
        case TimestampRange(start, end):
            return [cell for cell in cells if within(cell[1], start, end)]
        case CellsPerRow(count):
            return cells[:count]
        case CellsPerRowOffset(count):
            return cells[count:]
        case CellsPerColumn(count):
            return of_each_column(count)
        case StripValue():
            return [(column, timestamp, b"", label) for column, timestamp, _, label in cells]
        case ApplyLabel(label):
            return [(*cell[:3], label) for cell in cells]
        case Sink():
            sunk += cells
            return []
        case ReadFilter():
            cells = [cell for cell in cells if within(cell[1], tree.start_timestamp, tree.end_timestamp)]
            cells = [cell for cell in cells if tree.families is None or cell[0].split(b":")[0] in tree.families]
            cells = [cell for cell in cells if tree.columns is None or cell[0] in tree.columns]
            return cells if tree.versions is None else of_each_column(tree.versions)
    raise AssertionError(tree)


ROWS = [b"a", b"ab", b"b", b"ba", b"c"]
FAMILIES = [b"f", b"f-x", b"g"]
QUALIFIERS = [b"", b"a", b"ab", b"b", b"b:c", b"\xff"]
VALUES = [b"", b"1", b"12", b"2", b"\n"]
PATTERNS = [
    rb".*",
    rb"a.*",
    rb"[ab]+",
    rb"f|g",
    rb"f.*",
    rb"1\d?",
    rb"\C",
    rb"b:c",
    rb"",
    rb"\xff",
    rb"f\-x",
    rb"(?s).+",
]
COLUMNS = [family + b":" + qualifier for family in FAMILIES for qualifier in QUALIFIERS]


def bounds(values: list[bytes]) -> st.SearchStrategy[tuple[bytes | None, bytes | None]]:
    pairs = st.tuples(st.none() | st.sampled_from(values), st.none() | st.sampled_from(values))
    return pairs.map(lambda pair: pair if None in pair else (min(pair), max(pair)))


def python_takes(pattern: bytes) -> bytes:
    """RE2's name for any byte is not Python's."""
    return pattern.replace(rb"\C", rb"(?s:.)")


patterns = st.sampled_from(PATTERNS).map(python_takes)
times = st.none() | st.integers(0, 9)
time_ranges = st.tuples(times, times).map(
    lambda pair: TimestampRange(*(pair if None in pair else (min(pair), max(pair))))
)
leaves: st.SearchStrategy[RowFilter] = st.one_of(
    st.builds(RowRegex, patterns),
    st.builds(FamilyRegex, patterns),
    st.builds(QualifierRegex, patterns),
    st.builds(ValueRegex, patterns),
    st.builds(
        lambda family, ends, start_open, end_closed: QualifierRange(
            family, *ends, start_open=start_open, end_closed=end_closed
        ),
        st.sampled_from(FAMILIES),
        bounds(QUALIFIERS),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda ends, start_open, end_closed: ValueRange(*ends, start_open=start_open, end_closed=end_closed),
        bounds(VALUES),
        st.booleans(),
        st.booleans(),
    ),
    time_ranges,
    st.builds(CellsPerRow, st.integers(1, 5)),
    st.builds(CellsPerRowOffset, st.integers(0, 3)),
    st.builds(CellsPerColumn, st.integers(1, 2)),
    st.sampled_from([PassAll(), BlockAll(), StripValue(), Sink(), CellsPerColumn(1)]),
    st.builds(
        ReadFilter,
        families=st.none() | st.frozensets(st.sampled_from(FAMILIES)),
        columns=st.none() | st.frozensets(st.sampled_from(COLUMNS), max_size=3),
        versions=st.none() | st.integers(1, 2),
        start_timestamp=times,
        end_timestamp=times,
    ),
)


def without_sinks(tree: RowFilter) -> RowFilter:
    """What may stand in a condition."""
    match tree:
        case Sink():
            return PassAll()
        case Chain(filters):
            return Chain(*map(without_sinks, filters))
        case Interleave(filters):
            return Interleave(*map(without_sinks, filters))
    return tree


def larger(trees: st.SearchStrategy[RowFilter]) -> st.SearchStrategy[RowFilter]:
    pure = trees.map(without_sinks)
    parts = st.lists(trees, max_size=4)
    return st.one_of(
        parts.map(lambda found: Chain(*found)),
        parts.map(lambda found: Chain(*found)),
        parts.map(lambda found: Interleave(*found)),
        st.builds(Condition, pure, st.none() | pure, st.none() | pure),
        st.lists(leaves, max_size=3).map(
            lambda found: Interleave(*(Chain(part, ApplyLabel(f"l{place}")) for place, part in enumerate(found)))
        ),
    )


def has_no_label(tree: RowFilter) -> bool:
    """Only one of a chain's filters may give labels; here they stand at the top alone."""
    match tree:
        case ApplyLabel():
            return False
        case Chain(filters) | Interleave(filters):
            return all(map(has_no_label, filters))
        case Condition():
            return all(has_no_label(part) for part in (tree.predicate, tree.if_true, tree.if_false) if part is not None)
    return True


trees = st.recursive(leaves, lambda inner: larger(inner.filter(has_no_label)), max_leaves=12)


CELLS = [
    (column, -timestamp, PUT, VALUES[(place + timestamp) % len(VALUES)])
    for place, column in enumerate(sorted(COLUMNS))
    for timestamp in (9, 4, 2)
]
narrow_leaves = st.one_of(
    st.builds(FamilyRegex, st.sampled_from([b"f", b"g", rb"f.*"])),
    st.builds(QualifierRegex, st.sampled_from([b"a", b"ab?", b"b"])),
    st.builds(QualifierRange, st.sampled_from(FAMILIES), st.just(b"a"), st.just(b"b")),
    time_ranges,
    st.builds(RowRegex, st.sampled_from([b"b", b"a.*"])),
    st.builds(CellsPerColumn, st.integers(1, 2)),
    st.builds(CellsPerRow, st.integers(1, 5)),
    st.builds(CellsPerRowOffset, st.integers(1, 3)),
    st.just(Sink()),
    st.just(Interleave(PassAll(), Chain(StripValue(), Sink()))),
    leaves,
    trees,
)
chains = st.lists(narrow_leaves.filter(has_no_label), min_size=1, max_size=4).map(lambda found: Chain(*found))


def is_needed(program: Program, cell: Entry) -> bool:
    families = program.families_among(FAMILIES)
    low, high = program.columns_between
    start, end = program.times
    return (
        (families is None or cell[0].split(b":")[0] in families)
        and low <= cell[0]
        and (high is None or cell[0] <= high)
        and (start is None or -cell[1] >= start)
        and (end is None or -cell[1] < end)
    )


@given(tree=chains | trees, row=st.sampled_from(ROWS), kept=st.sets(st.integers(0, len(CELLS) - 1)))
@settings(deadline=None, max_examples=3000, derandomize=True)
def test_cells_outside_the_needs_make_no_difference(tree, row, kept):
    program = Program(tree)
    cells = [CELLS[place] for place in sorted(kept)]
    expected = program.cells(row, cells)
    low, high = program.rows
    if row < low or (high is not None and row >= high) or not program.may_show(row):
        assert not expected
    fewer = [cell for cell in cells if is_needed(program, cell)]
    assert program.cells(row, fewer) == expected
    if not program.values:
        assert program.cells(row, [(*cell[:3], b"") for cell in cells]) == expected
    if program.only_column is not None and program.wants_latest:
        newest = [cell for cell in fewer if cell[0] == program.only_column][:1]
        assert program.cells(row, newest) == expected


@pytest.fixture(scope="module", params=[None, MaxVersions(3)])
def table(request: pytest.FixtureRequest) -> Iterator[EmbeddedTablet]:
    with tempfile.TemporaryDirectory() as folder, tablet.engine.open(folder) as opened:
        opened.set_locality_group(LocalityGroup("other"))
        opened.create_family("f", request.param)
        opened.create_family("f-x")
        opened.create_family("g", group="other")
        number = 0
        for low, high in ((0, 3), (5, 8), (2, 6), (8, 10)):
            for row in ROWS:
                for column in COLUMNS:
                    for timestamp in range(low, high):
                        number = (number * 31 + 7) % 1009
                        if number % 5 < 2:
                            opened.put(row, column, VALUES[number % len(VALUES)], timestamp)
            if low == 2:
                opened.write("b", DeleteCells(b"f:a"), DeleteRow(), SetCell(b"g:b", b"1", 3))
                opened.write("c", DeleteCells(b"g:ab", 1, 3))
            if high < 10:
                opened.flush()
        yield opened


def shown(table: EmbeddedTablet, tree: RowFilter | None, *, reverse: bool = False) -> dict[bytes, list[Shown]]:
    rows = {row.key: row for row in table.scan(wanted=tree, reverse=reverse)}
    return {
        key: [(*cell, label) for cell, label in zip(row.cells, row.labels, strict=True)] for key, row in rows.items()
    }


@given(tree=chains | trees)
@settings(deadline=None, max_examples=400, derandomize=True)
def test_a_tree_shows_what_the_reference_makes_of_the_whole_rows(table, tree):
    expected = {}
    for row, cells in shown(table, None).items():
        sunk: list[Shown] = []
        found = reference(tree, row, cells, sunk)
        if found or sunk:
            expected[row] = sorted([*found, *sunk], key=lambda cell: (cell[0], -cell[1]))
    assert shown(table, tree) == expected
    assert list(shown(table, tree, reverse=True).items()) == sorted(expected.items(), reverse=True)
    assert [row.key for row in table.scan(wanted=tree, rows=[*ROWS, b"zz"])] == sorted(expected)
    for row in ROWS:
        found = table.read(row, tree)
        assert [tuple(cell) for cell in found or ()] == [cell[:3] for cell in expected.get(row, [])]


@given(
    st.lists(st.sampled_from(ROWS) | st.builds(RowRange, st.sampled_from(ROWS), st.sampled_from(ROWS))), st.booleans()
)
@settings(deadline=None)
def test_a_scan_over_several_ranges_gives_each_row_once_and_in_order(table, ranges, reverse):
    ends = [(part.start, part.end) if isinstance(part, RowRange) else (part, part + b"\0") for part in ranges]
    expected = [row for row in ROWS if any(start <= row < end for start, end in ends)]
    found = table.scan(rows=ranges, reverse=reverse)
    assert [row.key for row in found] == sorted(expected, reverse=reverse)
    items = [row for row, _ in table.items("f:a", rows=ranges, reverse=reverse)]
    assert items == [row for row in sorted(expected, reverse=reverse) if table.get(row, "f:a") is not None]
