"""The usual conditions of a read, in one filter, and which cells a row has under them (BT 2, 3).

`filter_tree.py` has the filters that are put together from parts; this one can be such a part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import Text, as_bytes, as_timestamp, check_column, check_timestamp
from tablet.engine.model.expressions import Expression
from tablet.engine.model.fragments import ALL_COLUMNS, PUT, Entries, Entry, Span, family_of
from tablet.engine.model.schema import Family

_set = object.__setattr__
_SPANS_LIMIT = 64


class RowFilter:
    """What every filter is: it takes the cells of one row and gives some of them, or makes others of them."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, init=False)
class ReadFilter(RowFilter):
    """Every condition that is given must hold. Columns are "family:qualifier"; `column_pattern` is an RE2 expression
    for the whole column (`expressions.py`); `versions` is how many of each column, newest first; start <= timestamp <
    end, microseconds. Names may be texts, in any collection. Raises InvalidRequest for what nothing could ever match.

    >>> ReadFilter(columns=["page:title"], versions=1).columns
    frozenset({b'page:title'})

    What readers want to know is worked out once: the compiled `expression`; `only_column`, if one is asked for; where
    columns of interest lie (`spans`); whether it takes `whole_rows`, but for versions and what `column_pattern` leaves
    out; whether the newest version of each column is enough (`wants_latest`); and the `times`, from the first one to
    the first that is not shown, None for no bound.
    """

    families: frozenset[bytes] | None = None
    columns: frozenset[bytes] | None = None
    column_pattern: bytes | None = None
    versions: int | None = None
    start_timestamp: int | None = None
    end_timestamp: int | None = None
    expression: Expression | None = field(default=None, repr=False, compare=False)
    only_column: bytes | None = field(default=None, repr=False, compare=False)
    spans: tuple[Span, ...] = field(default=ALL_COLUMNS, repr=False, compare=False)
    whole_rows: bool = field(default=True, repr=False, compare=False)
    wants_latest: bool = field(default=False, repr=False, compare=False)
    times: tuple[int | None, int | None] = field(default=(None, None), repr=False, compare=False)

    def __init__(
        self,
        families: Iterable[Text] | None = None,
        columns: Iterable[Text] | None = None,
        column_pattern: Text | None = None,
        versions: int | None = None,
        start_timestamp: int | None = None,
        end_timestamp: int | None = None,
    ) -> None:
        _set(self, "families", families if families is None else _families(families))
        _set(self, "columns", columns if columns is None else _columns(columns))
        expression = None if column_pattern is None else Expression("column_pattern", column_pattern)
        _set(self, "column_pattern", expression and expression.source)
        _set(self, "expression", expression)
        if versions is not None and (type(versions) is not int or versions < 1):
            raise InvalidRequest(
                f"versions is {versions!r}; give how many of each column you want, at least 1, or None"
            )
        _set(self, "versions", versions)
        _set(self, "start_timestamp", start_timestamp if start_timestamp is None else _timestamp(start_timestamp))
        _set(self, "end_timestamp", end_timestamp if end_timestamp is None else _timestamp(end_timestamp))
        only = self.columns is not None and len(self.columns) == 1
        _set(self, "only_column", next(iter(self.columns or ())) if only else None)
        _set(self, "spans", _spans(self.families, self.columns))
        any_time = start_timestamp is None and end_timestamp is None
        _set(self, "whole_rows", self.spans is ALL_COLUMNS and any_time)
        _set(self, "wants_latest", versions == 1 and any_time)
        _set(self, "times", (self.start_timestamp, self.end_timestamp))

    @property
    def wanted_families(self) -> frozenset[bytes] | None:
        """The families that can hold anything of interest; None for all."""
        if self.columns is None:
            return self.families
        named = frozenset(map(family_of, self.columns))
        return named if self.families is None else named & self.families

    def families_among(self, names: Iterable[bytes]) -> frozenset[bytes] | None:
        """Those of the families that can hold anything of interest; None for all."""
        return self.wanted_families

    def allows(self, column: bytes) -> bool:
        """Whether the conditions on families and columns hold."""
        return (
            (self.families is None or family_of(column) in self.families)
            and (self.columns is None or column in self.columns)
            and (self.expression is None or self.expression.matches_name(column))
        )


def check_filter(wanted: object) -> None:
    """Raise InvalidRequest for what is no filter."""
    if not isinstance(wanted, RowFilter):
        raise InvalidRequest(
            f"{wanted!r} is no filter; write ReadFilter(columns=[...]) or FamilyRegex('page'), for example"
        )


def check_limit(limit: int | None) -> None:
    """Raise InvalidRequest unless `limit` is None or a number of rows."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidRequest(f"limit is {limit!r}; give how many rows you want at most, 0 or more, or None for all")


def _families(given: Iterable[Text]) -> frozenset[bytes]:
    found = _names("families", given)
    for family in found:
        if not family or b":" in family:
            raise InvalidRequest(
                f"{family[:80]!r} is not a family; a family is what stands before the colon of a column"
            )
    return found


def _columns(given: Iterable[Text]) -> frozenset[bytes]:
    found = _names("columns", given)
    for column in found:
        check_column(column)
    return found


def _names(what: str, given: Iterable[Text]) -> frozenset[bytes]:
    if isinstance(given, str | bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise InvalidRequest(
            f"{what} is {str(given)[:80]!r}; give a collection of names, for example {{name}} or [name]"
        )
    return frozenset([name if type(name) is bytes else as_bytes(f"one of the {what}", name) for name in given])


def _spans(families: frozenset[bytes] | None, columns: frozenset[bytes] | None) -> tuple[Span, ...]:
    """Where all columns of interest lie: in a span each, or, where they are many, in one."""
    found: list[tuple[bytes, bytes]] = []
    if columns:
        found = sorted([(column, column) for column in columns])
    elif families:
        found = sorted([(family + b":", family + b";") for family in families])
    if not found:
        return ALL_COLUMNS
    return tuple(found) if len(found) <= _SPANS_LIMIT else ((found[0][0], found[-1][1]),)


def _timestamp(given: int) -> int:
    timestamp = as_timestamp(given)
    check_timestamp(timestamp)
    return timestamp


@lru_cache(maxsize=64)
def newest_of(column: bytes) -> ReadFilter:
    """The newest version of one column. Those asked for last are kept."""
    return ReadFilter(columns=frozenset((column,)), versions=1)


EVERYTHING = ReadFilter()
LATEST = ReadFilter(versions=1)


def visible_cells(entries: Entries, families: Mapping[bytes, Family], now: int, wanted: ReadFilter) -> Entries:
    """The cells of one row that a reader sees: no markers, no garbage, and only what the conditions want.

    `now` is in microseconds.
    """
    kept: list[Entry] = []
    newest = None if wanted.end_timestamp is None else wanted.end_timestamp - 1
    column_before: bytes | None = None
    rank = taken = 0
    family: Family | None = None
    named, columns, expression = wanted.families, wanted.columns, wanted.expression
    interesting = False
    for entry in entries:
        column, minus, kind, _ = entry
        if kind != PUT:
            continue
        if column != column_before:
            column_before, rank, taken = column, 0, 0
            name = column.partition(b":")[0]
            family = families.get(name)
            interesting = (
                family is not None
                and (named is None or name in named)
                and (columns is None or column in columns)
                and (expression is None or expression.matches_name(column))
            )
        else:
            rank += 1
        if not interesting or family is None or (family.rule is not None and family.is_garbage(rank, now + minus)):
            continue
        if (newest is not None and -minus > newest) or (
            wanted.start_timestamp is not None and -minus < wanted.start_timestamp
        ):
            continue
        if wanted.versions is not None and taken >= wanted.versions:
            continue
        taken += 1
        kept.append(entry)
    return tuple(kept)
