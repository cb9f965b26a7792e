"""Scans against a sorted reference: both directions, several ranges, bounds open and closed, over all that a tablet is.

Each example writes, overwrites and deletes cells in a random order, with flushes and compactions in between, in blocks
so small that every SSTable has many. The reference is a dictionary that is sorted when it is asked.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import tablet.engine
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, Operation, SetCell
from tablet.engine.model.ranges import RowRange
from tablet.engine.model.schema import LocalityGroup
from tablet.engine.serving import scanning
from tablet.engine.sstable import reader
from tablet.engine.tree import backwards, merge, sources

Cells = dict[tuple[bytes, int], bytes]

COLUMNS = [b"f:a", b"f:b", b"g:a"]
KEYS = [b"%02d" % number for number in range(60)] + [b"05\0", b"05\xff", b"\0", b"\xff", b"\xff\xff"]
keys = st.sampled_from(KEYS)
between = keys | st.sampled_from([b"0", b"1", b"05\x80", b"30x", b"\xfe"])
columns = st.sampled_from(COLUMNS)
stamps = st.integers(0, 3)
values = st.binary(max_size=2) | st.integers(0, 255).map(lambda byte: bytes((byte,)) * 200)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(SetCell, columns, values, stamps),
    st.builds(SetCell, columns, values, stamps),
    st.builds(SetCell, columns, values, stamps),
    st.builds(DeleteCells, columns, st.none() | stamps, st.none() | stamps),
    st.builds(DeleteFamily, st.sampled_from([b"f", b"g"])),
    st.just(DeleteRow()),
)
batches = st.lists(st.tuples(keys, operations), min_size=1, max_size=60)
steps = st.lists(st.tuples(batches, st.sampled_from(["nothing", "flush", "flush", "compact"])), min_size=1, max_size=6)


@dataclass(frozen=True)
class Bounds:
    """A range as a user writes it; empty: no bound."""

    start: bytes
    end: bytes
    start_open: bool
    end_closed: bool

    def range(self) -> RowRange:
        return RowRange(
            self.start,
            self.end,
            start_open=self.start_open and self.start != b"",
            end_closed=self.end_closed and self.end != b"",
        )

    def holds(self, row: bytes) -> bool:
        after_start = not self.start or (row > self.start if self.start_open else row >= self.start)
        before_end = not self.end or (row <= self.end if self.end_closed else row < self.end)
        return after_start and before_end


ends = st.just(b"") | between
ranges = st.builds(Bounds, ends, ends, st.booleans(), st.booleans())


@dataclass
class Reference:
    """What the tablet should hold."""

    rows: dict[bytes, Cells] = field(default_factory=dict)

    def apply(self, row: bytes, operation: Operation) -> None:
        cells = self.rows.setdefault(row, {})
        match operation:
            case SetCell(column, value, stamp):
                assert stamp is not None
                cells[column, stamp] = value
            case DeleteRow():
                cells.clear()
            case DeleteFamily(family):
                self._drop(cells, lambda column, _: column.startswith(family + b":"))
            case DeleteCells(column, start, end):
                self._drop(
                    cells,
                    lambda found, stamp: (
                        found == column and (start is None or stamp >= start) and (end is None or stamp < end)
                    ),
                )

    def shown(self, wanted, *, reverse: bool) -> list[tuple[bytes, list[tuple[bytes, int, bytes]]]]:
        found = [(row, cells) for row, cells in sorted(self.rows.items(), reverse=reverse) if cells and wanted(row)]
        return [
            (row, sorted([(*place, value) for place, value in cells.items()], key=lambda cell: (cell[0], -cell[1])))
            for row, cells in found
        ]

    @staticmethod
    def _drop(cells: Cells, deleted) -> None:
        for key in [key for key in cells if deleted(*key)]:
            del cells[key]


def shown(found) -> list[tuple[bytes, list[tuple[bytes, int, bytes]]]]:
    return [(row.key, [tuple(cell) for cell in row]) for row in found]


def write(table: EmbeddedTablet, reference: Reference, history) -> None:
    for batch, then in history:
        for row, operation in batch:
            table.write(row, operation)
            reference.apply(row, operation)
        if then == "flush":
            table.flush()
        elif then == "compact":
            table.compact()


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Chunks of a few rows, so that the sources of a merge end theirs at different rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_RUN_BYTES", 1)
        patch.setattr(merge, "_SPARSE", 2)
        patch.setattr(scanning, "FEW_ROWS", 2)
        patch.setattr(scanning, "MORE", 2)
        patch.setattr(scanning, "MANY_ROWS", 8)
        for module in (sources, backwards):
            patch.setattr(module, "MEMTABLE_ROWS", 4)
        yield


@given(
    history=steps,
    own_group=st.booleans(),
    one=ranges,
    several=st.lists(ranges | keys, max_size=5),
    limit=st.none() | st.integers(0, 5),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_a_scan_in_either_direction_gives_what_a_sorted_reference_holds(history, own_group, one, several, limit):
    with tempfile.TemporaryDirectory() as folder, tablet.engine.open(folder) as table:
        table.set_locality_group(LocalityGroup(block_bytes=256))
        table.set_locality_group(LocalityGroup("other", block_bytes=256))
        table.create_family("f")
        table.create_family("g", group="other" if own_group else "default")
        reference = Reference()
        write(table, reference, history)

        def in_one_of_several(row: bytes) -> bool:
            return any(part.holds(row) if isinstance(part, Bounds) else part == row for part in several)

        rows = [part.range() if isinstance(part, Bounds) else part for part in several]
        for reverse in (False, True):
            assert shown(table.scan(reverse=reverse)) == reference.shown(lambda row: True, reverse=reverse)
            expected = reference.shown(one.holds, reverse=reverse)
            assert shown(table.scan(rows=[one.range()], limit=limit, reverse=reverse)) == expected[:limit]
            plain = RowRange(one.start, one.end)
            expected = reference.shown(lambda row: Bounds(one.start, one.end, False, False).holds(row), reverse=reverse)
            assert shown(table.scan(plain.start, plain.end, reverse=reverse)) == expected
            expected = reference.shown(in_one_of_several, reverse=reverse)
            assert shown(table.scan(rows=rows, reverse=reverse)) == expected
            items = [(row, cells[0][2]) for row, found in expected if (cells := [c for c in found if c[0] == b"f:a"])]
            assert list(table.items("f:a", rows=rows, reverse=reverse)) == items


@given(history=steps, between_batches=steps, reverse=st.booleans())
@settings(deadline=None, max_examples=12, derandomize=True)
def test_a_scan_continues_in_new_files_when_the_tablet_has_changed_between_two_batches(
    history, between_batches, reverse
):
    with tempfile.TemporaryDirectory() as folder, tablet.engine.open(folder) as table:
        table.set_locality_group(LocalityGroup(block_bytes=256))
        table.create_family("f")
        table.create_family("g")
        reference = Reference()
        write(table, reference, history)
        before = dict(reference.shown(lambda row: True, reverse=reverse))
        scan = table.scan(reverse=reverse)
        first = next(scan, None)
        write(table, reference, between_batches)
        after = dict(reference.shown(lambda row: True, reverse=reverse))
        found = shown([first, *scan] if first is not None else scan)
        assert [row for row, _ in found] == sorted({row for row, _ in found}, reverse=reverse)
        assert all(cells in (before.get(row), after.get(row)) for row, cells in found)
        untouched = {row for row in before if before[row] == after.get(row)}
        assert untouched <= {row for row, _ in found}
