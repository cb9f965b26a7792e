r"""Filters as trees: what a read shows of a row, put together from small parts (BT 3).

The paper lets clients "limit the rows, columns, and timestamps produced by a scan". The parts and their meaning are
those that Cloud Bigtable documents for its `RowFilter`, so what is known of one holds for the other. A filter takes the
cells of one row, sorted by column and the newest first, and gives cells in the same order.

    ReadFilter                                      families, columns, versions and times in one: the usual conditions
    Chain, Interleave, Condition                    one after another; side by side; if, then, else
    RowRegex, FamilyRegex, QualifierRegex, ValueRegex   by RE2 byte expressions that must match in full
    QualifierRange, ValueRange, TimestampRange      by ranges
    CellsPerRow, CellsPerRowOffset, CellsPerColumn  by counting
    PassAll, BlockAll, RowSample                    all cells, none, or those of a part of the rows
    StripValue, ApplyLabel, Sink                    what changes cells, or where they go

>>> recent = Chain(FamilyRegex("page"), CellsPerColumn(1), Condition(QualifierRegex("lang"), StripValue(), PassAll()))
>>> recent.filters[0]
FamilyRegex(pattern=b'page')

`Interleave` gives a cell once for each filter that gives it; copies with one column and timestamp stand in the order of
the filters. `Sink` sends cells past all that follows into the result, and gives nothing on. `filter_program.py` says
how a tree is run.

What we simplify. A row sample is drawn by a hash of the key, so the same rows are shown each time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import Text, as_bytes, as_timestamp, check_column, check_timestamp
from tablet.engine.model.expressions import Expression
from tablet.engine.model.filters import ReadFilter, RowFilter

_set = object.__setattr__

DEPTH_LIMIT = 20
"""How deep filters may be nested."""
FILTERS_LIMIT = 1000
"""How many filters a tree may have."""
_LABEL = re.compile("[a-z0-9-]{1,15}")


@dataclass(frozen=True, init=False)
class Chain(RowFilter):
    """Each filter gets what the one before it gives. Without any, all cells pass."""

    filters: tuple[RowFilter, ...]

    def __init__(self, *filters: RowFilter) -> None:
        _set(self, "filters", _checked(self, filters))
        if sum(map(_labels, filters)) > 1:
            raise InvalidRequest(
                "a chain has more than one filter with an ApplyLabel in it, and a cell has one label: put them into an "
                "Interleave"
            )


@dataclass(frozen=True, init=False)
class Interleave(RowFilter):
    """Each filter gets all cells; the result is what they give together, copies included. Without any, no cell."""

    filters: tuple[RowFilter, ...]

    def __init__(self, *filters: RowFilter) -> None:
        _set(self, "filters", _checked(self, filters))


@dataclass(frozen=True, init=False)
class Condition(RowFilter):
    """If `predicate` gives any cell of the row, what `if_true` gives of it, else what `if_false` gives; None: nothing.

    All three see the row as of one moment.
    """

    predicate: RowFilter
    if_true: RowFilter | None = None
    if_false: RowFilter | None = None

    def __init__(
        self, predicate: RowFilter, if_true: RowFilter | None = None, if_false: RowFilter | None = None
    ) -> None:
        _set(self, "predicate", predicate)
        _set(self, "if_true", if_true)
        _set(self, "if_false", if_false)
        for part in _checked(self, parts_of(self)):
            if any(isinstance(inner, Sink) for inner in walk(part)):
                raise InvalidRequest("a Sink stands in a Condition, where none is allowed; put it after the Condition")


class _ByExpression(RowFilter):
    """What the filters by expressions share. Raises InvalidRequest for what RE2 does not take."""

    pattern: bytes
    expression: Expression

    def __init__(self, pattern: Text) -> None:
        expression = Expression(f"the pattern of {type(self).__name__}", pattern)
        _set(self, "pattern", expression.source)
        _set(self, "expression", expression)


@dataclass(frozen=True, init=False)
class RowRegex(_ByExpression):
    """All cells of rows whose key matches."""

    pattern: bytes


@dataclass(frozen=True, init=False)
class FamilyRegex(_ByExpression):
    """Cells whose family matches."""

    pattern: bytes


@dataclass(frozen=True, init=False)
class QualifierRegex(_ByExpression):
    """Cells whose qualifier, what stands after the first colon of the column, matches."""

    pattern: bytes


@dataclass(frozen=True, init=False)
class ValueRegex(_ByExpression):
    """Cells whose value matches."""

    pattern: bytes


@dataclass(frozen=True, init=False)
class QualifierRange(RowFilter):
    """Cells of one family with start <= qualifier < end; None for no bound. `start_open`: the start is left out;
    `end_closed`: the end is taken in."""

    family: bytes
    start: bytes | None
    end: bytes | None
    start_open: bool
    end_closed: bool

    def __init__(
        self,
        family: Text,
        start: Text | None = None,
        end: Text | None = None,
        *,
        start_open: bool = False,
        end_closed: bool = False,
    ) -> None:
        name = as_bytes("the family of QualifierRange", family)
        check_column(name + b":")
        if b":" in name:
            raise InvalidRequest(f"{name[:80]!r} is not a family; a family is what stands before the colon of a column")
        _set(self, "family", name)
        _set_bounds(self, start, end, start_open, end_closed)

    @property
    def columns(self) -> tuple[bytes, bytes]:
        """The first column that can be in it, and the first after it."""
        low, high = bounds_of(self)
        head = self.family + b":"
        return head + low, self.family + b";" if high is None else head + high


@dataclass(frozen=True, init=False)
class ValueRange(RowFilter):
    """Cells with start <= value < end; None for no bound. `start_open` and `end_closed` as for `QualifierRange`."""

    start: bytes | None
    end: bytes | None
    start_open: bool
    end_closed: bool

    def __init__(
        self,
        start: Text | None = None,
        end: Text | None = None,
        *,
        start_open: bool = False,
        end_closed: bool = False,
    ) -> None:
        _set_bounds(self, start, end, start_open, end_closed)


@dataclass(frozen=True, init=False)
class TimestampRange(RowFilter):
    """Cells with start <= timestamp < end, in microseconds; None for no bound. Raises InvalidRequest if the start is
    after the end."""

    start: int | None
    end: int | None

    def __init__(self, start: int | None = None, end: int | None = None) -> None:
        for name, given in (("start", start), ("end", end)):
            if given is not None:
                check_timestamp(given)
            _set(self, name, None if given is None else as_timestamp(given))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InvalidRequest(f"the start of TimestampRange, {self.start}, is after its end, {self.end}; swap them")


class _ByCount(RowFilter):
    """What the filters by counting share."""

    count: int
    _least = 1

    def __init__(self, count: int) -> None:
        if type(count) is not int or count < self._least:
            name = type(self).__name__
            raise InvalidRequest(f"the count of {name} is {count!r}; give a whole number, at least {self._least}")
        _set(self, "count", count)


@dataclass(frozen=True, init=False)
class CellsPerRow(_ByCount):
    """The first cells of the row, so many. Copies from an Interleave count, here and below."""

    count: int


@dataclass(frozen=True, init=False)
class CellsPerRowOffset(_ByCount):
    """All cells of the row but the first ones, so many."""

    count: int
    _least = 0


@dataclass(frozen=True, init=False)
class CellsPerColumn(_ByCount):
    """The newest cells of each column, so many."""

    count: int


@dataclass(frozen=True)
class PassAll(RowFilter):
    """All cells."""


@dataclass(frozen=True)
class BlockAll(RowFilter):
    """No cell."""


@dataclass(frozen=True, init=False)
class RowSample(RowFilter):
    """All cells of about this share of the rows, none of the others. Several samples in a tree are independent."""

    share: float

    def __init__(self, share: float) -> None:
        if type(share) is not float or not 0 < share < 1:
            raise InvalidRequest(f"the share of RowSample is {share!r}; give a number between 0 and 1, such as 0.01")
        _set(self, "share", share)


@dataclass(frozen=True)
class StripValue(RowFilter):
    """All cells, with empty values."""


@dataclass(frozen=True, init=False)
class ApplyLabel(RowFilter):
    """All cells, with a label (`Row.labels`) that tells which part of a tree they came through."""

    label: str

    def __init__(self, label: str) -> None:
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            raise InvalidRequest(f"the label is {label!r}; give 1 to 15 lower-case letters, digits and '-'")
        _set(self, "label", label)


@dataclass(frozen=True)
class Sink(RowFilter):
    """Puts all cells into the result of the read, past all filters that follow, and gives none on."""


def parts_of(tree: RowFilter) -> tuple[RowFilter, ...]:
    """The filters that a filter is made of."""
    match tree:
        case Chain(filters) | Interleave(filters):
            return filters
        case Condition():
            return tuple(part for part in (tree.predicate, tree.if_true, tree.if_false) if part is not None)
    return ()


def walk(tree: RowFilter) -> Iterator[RowFilter]:
    """The filter and all that it is made of."""
    yield tree
    for part in parts_of(tree):
        yield from walk(part)


def families_named(tree: RowFilter) -> frozenset[bytes]:
    """The families that a tree names, other than by expressions."""
    found: set[bytes] = set()
    for part in walk(tree):
        if isinstance(part, QualifierRange):
            found.add(part.family)
        elif isinstance(part, ReadFilter):
            found |= (part.families or frozenset()) | (part.wanted_families or frozenset())
    return frozenset(found)


def bounds_of(given: QualifierRange | ValueRange) -> tuple[bytes, bytes | None]:
    """A range of bytes as low <= x < high; None for no bound."""
    low, high = given.start or b"", given.end
    if given.start is not None and given.start_open:
        low += b"\0"
    if high is not None and given.end_closed:
        high += b"\0"
    return low, high


def _checked(parent: RowFilter, filters: tuple[RowFilter, ...]) -> tuple[RowFilter, ...]:
    """The filters. Raises InvalidRequest for what is none, and for a tree that is too large."""
    for part in filters:
        if not isinstance(part, RowFilter):
            raise InvalidRequest(
                f"{part!r} is no filter; give {type(parent).__name__} filters, such as FamilyRegex('page')"
            )
    depth = 1 + max(map(_depth, filters), default=0)
    if depth > DEPTH_LIMIT:
        raise InvalidRequest(f"the filters are nested {depth} deep; at most {DEPTH_LIMIT} are allowed")
    size = 1 + sum(sum(1 for _ in walk(part)) for part in filters)
    if size > FILTERS_LIMIT:
        raise InvalidRequest(f"the tree has {size:,} filters; at most {FILTERS_LIMIT:,} are allowed")
    return filters


def _depth(tree: RowFilter) -> int:
    return 1 + max(map(_depth, parts_of(tree)), default=0)


def _labels(tree: RowFilter) -> bool:
    return any(isinstance(part, ApplyLabel) for part in walk(tree))


def _set_bounds(
    target: QualifierRange | ValueRange, start: Text | None, end: Text | None, start_open: bool, end_closed: bool
) -> None:
    name = type(target).__name__
    low = None if start is None else as_bytes(f"the start of {name}", start)
    high = None if end is None else as_bytes(f"the end of {name}", end)
    for what, given in (("start_open", start_open), ("end_closed", end_closed)):
        if type(given) is not bool:
            raise InvalidRequest(f"{what} of {name} is {given!r}; choose True or False")
    if low is not None and high is not None and low > high:
        raise InvalidRequest(f"the start of {name}, {low[:80]!r}, is after its end, {high[:80]!r}; swap them")
    for what, value in (("start", low), ("end", high), ("start_open", start_open), ("end_closed", end_closed)):
        _set(target, what, value)
