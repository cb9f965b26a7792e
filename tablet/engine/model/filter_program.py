"""Programs: a tree of filters, ready to run, and what of it can be pushed down into the reading (BT 3).

The problem. Walking the tree anew for every row costs more than reading the row. And a filter that is applied to whole
rows comes too late: every block, family and value that it throws away has been read already.

The idea. Two things are made of a tree, once. The *step* is a function over a row's cells (`filter_steps.py`). The
*needs* say which cells can influence the result: their families, columns, timestamps and rows, each as an interval or a
test, and whether values are looked at. A reader may leave out cells outside the needs, and need not.

>>> from tablet.engine.model.filter_tree import CellsPerRow, Chain, FamilyRegex, QualifierRegex, TimestampRange
>>> program = program_of(Chain(TimestampRange(5, 9), FamilyRegex("page"), QualifierRegex("lang")))
>>> program.only_column, program.times
(b'page:lang', (5, 9))
>>> program_of(Chain(CellsPerRow(1), FamilyRegex("page"))).only_column is None  # Other families are counted, too.
True

Invariant: cells outside the needs, left out or not, make no difference to what the step gives.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache, reduce
from itertools import count

from tablet.engine.model.filter_steps import Cells, Step, place_of, step_of
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
    RowSample,
    Sink,
    StripValue,
    TimestampRange,
    ValueRange,
    ValueRegex,
    bounds_of,
    parts_of,
    walk,
)
from tablet.engine.model.filters import EVERYTHING, ReadFilter, RowFilter, check_filter, visible_cells
from tablet.engine.model.fragments import ALL_COLUMNS, Entries, Entry, Span
from tablet.engine.model.schema import Family

Test = Callable[[bytes], bool]
Bytes = tuple[bytes, bytes | None]
"""low <= x < high; None: no bound."""
Times = tuple[int | None, int | None]
"""start <= timestamp < end; None: no bound."""
ALL_BYTES: Bytes = (b"", None)
NO_BYTES: Bytes = (b"", b"")


@dataclass(frozen=True, slots=True)
class Needs:
    """Which cells can influence the result: those that pass every condition here. `test` is for the family, `row_test`
    for the row key; None lets all pass. `family`: the only family, where that is known."""

    test: Test | None = None
    row_test: Test | None = None
    family: bytes | None = None
    qualifiers: Bytes = ALL_BYTES
    columns: Bytes = ALL_BYTES
    times: Times = (None, None)
    rows: Bytes = ALL_BYTES

    def both(self, other: "Needs") -> "Needs":
        """Only cells that are in both."""
        test, row_test = _all_of(self.test, other.test), _all_of(self.row_test, other.row_test)
        family = other.family if self.family is None else self.family
        qualifiers, columns = _common(self.qualifiers, other.qualifiers), _common(self.columns, other.columns)
        starts = [start for start, _ in (self.times, other.times) if start is not None]
        ends = [end for _, end in (self.times, other.times) if end is not None]
        times = (max(starts, default=None), min(ends, default=None))
        return Needs(test, row_test, family, qualifiers, columns, times, _common(self.rows, other.rows))

    def either(self, other: "Needs") -> "Needs":
        """Cells that are in one of them at least."""
        test, row_test = _any_of(self.test, other.test), _any_of(self.row_test, other.row_test)
        family = self.family if self.family == other.family else None
        starts, ends = zip(self.times, other.times, strict=True)
        times = (
            None if None in starts else min(start for start in starts if start is not None),
            None if None in ends else max(end for end in ends if end is not None),
        )
        qualifiers, columns = _hull(self.qualifiers, other.qualifiers), _hull(self.columns, other.columns)
        return Needs(test, row_test, family, qualifiers, columns, times, _hull(self.rows, other.rows))

    def narrowed(self) -> "Needs":
        """With the columns that follow from the family and the qualifiers, where those are known."""
        if self.family is None:
            return self
        low, high = self.qualifiers
        head = self.family + b":"
        return replace(
            self, columns=_common(self.columns, (head + low, self.family + b";" if high is None else head + high))
        )


class Program:
    """A tree, ready to run. Has what a reader asks of a `ReadFilter`: `only_column`, `wants_latest`, `families_among`,
    `spans`, `times`, `whole_rows`; and `rows`, outside of which nothing is shown, and whether `values` are looked at.
    `first`: once this program gives so many cells of a row's first columns, its other columns need not be read."""

    __slots__ = (
        "_row_test",
        "_step",
        "_test",
        "columns_between",
        "first",
        "only_column",
        "rows",
        "spans",
        "times",
        "tree",
        "values",
        "wants_latest",
        "whole_rows",
    )

    def __init__(self, tree: RowFilter) -> None:
        needs = _needs(tree).narrowed()
        self.tree = tree
        self._step = step_of(tree, count())
        self._test = needs.test
        self._row_test = needs.row_test
        low, high = self.columns_between = needs.columns
        self.only_column = low if high == low + b"\0" and b":" in low else None
        self.wants_latest = _latest(tree)
        self.times = needs.times
        self.rows = needs.rows
        self.values = _looks_at_values(tree, True)
        self.spans: tuple[Span, ...] = ALL_COLUMNS if (low, high) == ALL_BYTES else ((low, high),)
        self.whole_rows = self.spans is ALL_COLUMNS and self.values and self.times == (None, None)
        self.first = _first(tree)

    def families_among(self, names: Iterable[bytes]) -> frozenset[bytes] | None:
        """Those of the families whose cells can influence the result; None for all."""
        return None if self._test is None else frozenset(filter(self._test, names))

    def may_show(self, row: bytes) -> bool:
        """False if nothing of the row is shown, whatever its cells are."""
        low, high = self.rows
        if row < low or (high is not None and row >= high):
            return False
        return self._row_test is None or self._row_test(row)

    def has_enough(self, row: bytes, entries: Cells) -> bool:
        """Whether a row's first columns, whole columns, are enough, because a limit cuts off what follows."""
        return self.first is not None and len(self.first[0](row, entries, [])) >= self.first[1]

    def cells(self, row: bytes, entries: Cells) -> Entries:
        """What the tree gives of a row's cells, which are sorted; entries with a label are `Labelled`."""
        sunk: list[Entry] = []
        found = self._step(row, entries, sunk)
        return tuple(sorted([*found, *sunk], key=place_of) if sunk else found)


Wanted = ReadFilter | Program
"""What a reader works with."""


@lru_cache(maxsize=64)
def program_of(tree: RowFilter) -> Program:
    """The program of a tree. Those of the trees used last are kept."""
    return Program(tree)


def prepared(wanted: RowFilter) -> Wanted:
    """A filter as a reader wants it: a `ReadFilter` by itself has a quick way of its own. Raises InvalidRequest for
    what is no filter."""
    check_filter(wanted)
    return wanted if isinstance(wanted, ReadFilter) else program_of(wanted)


def visible(row: bytes, entries: Entries, families: Mapping[bytes, Family], now: int, wanted: Wanted) -> Entries:
    """The cells of one row that a reader sees: no markers, no garbage, and what the filter makes of the others.

    `now` is in microseconds.
    """
    if isinstance(wanted, ReadFilter):
        return visible_cells(entries, families, now, wanted)
    return wanted.cells(row, visible_cells(entries, families, now, EVERYTHING))


class Grain(IntEnum):
    """What a filter judges by: the cell alone; other cells of its column; of its row; or it has a sink, and what
    follows does not judge all of the result."""

    CELL = 0
    COLUMN = 1
    ROW = 2
    SINK = 3


def _grain(tree: RowFilter) -> Grain:
    match tree:
        case Sink():
            return Grain.SINK
        case Condition() | CellsPerRow() | CellsPerRowOffset():
            return Grain.ROW
        case CellsPerColumn():
            return Grain.COLUMN
        case ReadFilter():
            return Grain.CELL if tree.versions is None else Grain.COLUMN
    return max(map(_grain, parts_of(tree)), default=Grain.CELL)


def _needs(tree: RowFilter) -> Needs:
    """Which cells can influence what the filter gives."""
    match tree:
        case Chain(filters):
            return _needs_of_chain(filters)
        case Interleave(()) | BlockAll():
            return Needs(test=_never, row_test=_never, qualifiers=NO_BYTES, columns=NO_BYTES, rows=NO_BYTES)
        case Interleave() | Condition():
            return reduce(Needs.either, map(_needs, parts_of(tree)))
        case FamilyRegex():
            return Needs(tree.expression.matches_name, family=tree.expression.literal)
        case QualifierRegex():
            return Needs(qualifiers=(tree.expression.low, tree.expression.high))
        case QualifierRange(family):
            return Needs(family.__eq__, family=family, qualifiers=bounds_of(tree))
        case RowRegex():
            return Needs(row_test=tree.expression.matches, rows=(tree.expression.low, tree.expression.high))
        case TimestampRange(start, end):
            return Needs(times=(start, end))
        case ReadFilter():
            return _needs_of_conditions(tree)
    return Needs()


def _needs_of_chain(filters: Sequence[RowFilter]) -> Needs:
    """What the filters of a chain need together. A filter that counts cells needs those that filters after it drop, so
    their conditions only hold for what comes in as far as the grain of those before them allows."""
    needs, grain = Needs(), Grain.CELL
    for part in filters:
        found = _needs(part).narrowed()
        if grain == Grain.COLUMN:
            found = replace(found, times=(None, None))
        elif grain == Grain.ROW:
            found = Needs(row_test=found.row_test, rows=found.rows)
        elif grain == Grain.SINK:
            break
        needs = needs.both(found)
        grain = max(grain, _grain(part))
    return needs.narrowed()


def _needs_of_conditions(wanted: ReadFilter) -> Needs:
    families = wanted.wanted_families
    columns = ALL_BYTES
    if wanted.columns is not None:
        columns = (min(wanted.columns), max(wanted.columns) + b"\0") if wanted.columns else NO_BYTES
    family = next(iter(families)) if families is not None and len(families) == 1 else None
    test = families.__contains__ if families is not None else None
    return Needs(test, family=family, columns=columns, times=wanted.times)


_BY_COLUMN = (
    ApplyLabel, Chain, FamilyRegex, Interleave, PassAll, QualifierRange, QualifierRegex, RowRegex, RowSample, StripValue
)  # fmt: skip


def _latest(tree: RowFilter) -> bool:
    """Whether the newest version of each column is enough."""
    match tree:
        case CellsPerColumn(1):
            return True
        case ReadFilter():
            return tree.wants_latest
        case Interleave(filters):
            return bool(filters) and all(map(_latest, filters))
        case Chain(filters):
            for part in filters:
                if _latest(part):
                    return True
                if not all(isinstance(inner, _BY_COLUMN) for inner in walk(part)):
                    return False
    return False


def _first(tree: RowFilter) -> tuple[Step, int] | None:
    """The filters of a chain up to the first `CellsPerRow`, as a step, and its count. None if there is none, or if one
    of them may change what it gives of a row's first columns when it sees the others."""
    filters = tree.filters if isinstance(tree, Chain) else (tree,)
    for place, part in enumerate(filters):
        if isinstance(part, CellsPerRow):
            return step_of(Chain(*filters[: place + 1]), count()), part.count
        if any(isinstance(inner, Condition | Sink) for inner in walk(part)):
            break
    return None


def _looks_at_values(tree: RowFilter, shown: bool) -> bool:
    """Whether values of the cells that come in are looked at. `shown`: those that come out are."""
    match tree:
        case ValueRegex() | ValueRange() | Sink():
            return True
        case StripValue() | BlockAll():
            return False
        case Chain(filters):
            for part in reversed(filters):
                shown = _looks_at_values(part, shown)
            return shown
        case Interleave(filters):
            return any(_looks_at_values(part, shown) for part in filters)
        case Condition(predicate):
            branches = parts_of(tree)[1:]
            return _looks_at_values(predicate, False) or any(_looks_at_values(part, shown) for part in branches)
    return shown


def _never(name: bytes) -> bool:
    return False


def _all_of(mine: Test | None, theirs: Test | None) -> Test | None:
    return mine or theirs if mine is None or theirs is None else lambda name: mine(name) and theirs(name)


def _any_of(mine: Test | None, theirs: Test | None) -> Test | None:
    return None if mine is None or theirs is None else lambda name: mine(name) or theirs(name)


def _common(one: Bytes, other: Bytes) -> Bytes:
    low = max(one[0], other[0])
    high = one[1] if other[1] is None else other[1] if one[1] is None else min(one[1], other[1])
    return (low, high) if high is None or low < high else NO_BYTES


def _hull(one: Bytes, other: Bytes) -> Bytes:
    if NO_BYTES in (one, other):
        return other if one == NO_BYTES else one
    return min(one[0], other[0]), None if one[1] is None or other[1] is None else max(one[1], other[1])
