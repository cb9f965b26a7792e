"""What a read wants to see of a row, and which cells that leaves (BT 2, 3)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import Text, as_bytes, as_timestamp, check_column, check_timestamp
from tablet.engine.model.fragments import PUT, Entries, Entry, family_of
from tablet.engine.model.schema import Family

_set = object.__setattr__


@dataclass(frozen=True, slots=True, init=False)
class ReadFilter:
    """Every condition that is given must hold. Columns are "family:qualifier"; `column_pattern` is a regular expression
    over the whole column; `versions` is how many of each column, newest first; start <= timestamp < end, microseconds.
    Names may be texts, in any collection. Raises InvalidRequest for what nothing could ever match.

    >>> ReadFilter(columns=["page:title"], versions=1).columns
    frozenset({b'page:title'})
    """

    families: frozenset[bytes] | None = None
    columns: frozenset[bytes] | None = None
    column_pattern: bytes | None = None
    versions: int | None = None
    start_timestamp: int | None = None
    end_timestamp: int | None = None

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
        _set(self, "column_pattern", column_pattern if column_pattern is None else _pattern(column_pattern))
        if versions is not None and (type(versions) is not int or versions < 1):
            raise InvalidRequest(
                f"versions is {versions!r}; give how many of each column you want, at least 1, or None"
            )
        _set(self, "versions", versions)
        _set(self, "start_timestamp", start_timestamp if start_timestamp is None else _timestamp(start_timestamp))
        _set(self, "end_timestamp", end_timestamp if end_timestamp is None else _timestamp(end_timestamp))

    @property
    def only_column(self) -> bytes | None:
        """The one column that is asked for, if it is one."""
        return next(iter(self.columns)) if self.columns is not None and len(self.columns) == 1 else None

    @property
    def wants_latest(self) -> bool:
        """Whether the newest version of each column is enough."""
        return self.versions == 1 and self.start_timestamp is None and self.end_timestamp is None

    @property
    def wanted_families(self) -> frozenset[bytes] | None:
        """The families that can hold anything of interest; None for all."""
        if self.columns is None:
            return self.families
        named = frozenset(map(family_of, self.columns))
        return named if self.families is None else named & self.families


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


def _pattern(given: Text) -> bytes:
    pattern = as_bytes("column_pattern", given)
    try:
        re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise InvalidRequest(f"column_pattern {pattern[:80]!r} is not a regular expression: {error}") from error
    return pattern


def _timestamp(given: int) -> int:
    timestamp = as_timestamp(given)
    check_timestamp(timestamp)
    return timestamp


EVERYTHING = ReadFilter()
LATEST = ReadFilter(versions=1)


def visible(entries: Entries, families: Mapping[bytes, Family], now: int, wanted: ReadFilter) -> Entries:
    """The cells of one row that a reader sees: no markers, no garbage, and only what the filter wants.

    `now` is in microseconds.
    """
    kept: list[Entry] = []
    pattern = re.compile(wanted.column_pattern, re.DOTALL) if wanted.column_pattern is not None else None
    newest = None if wanted.end_timestamp is None else wanted.end_timestamp - 1
    column_before: bytes | None = None
    rank = taken = 0
    family: Family | None = None
    interesting = False
    for entry in entries:
        column, minus, kind, _ = entry
        if kind != PUT:
            continue
        if column != column_before:
            column_before, rank, taken = column, 0, 0
            name = family_of(column)
            family = families.get(name)
            interesting = (
                family is not None
                and (wanted.families is None or name in wanted.families)
                and (wanted.columns is None or column in wanted.columns)
                and (pattern is None or pattern.fullmatch(column) is not None)
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
