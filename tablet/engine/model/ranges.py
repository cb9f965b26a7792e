"""Sets of rows: ranges, and single keys, which are ranges of one (BT 3, 4).

>>> wanted = united([RowRange("m", "p"), "a", RowRange("c", "n"), RowRange.with_prefix("z")])
>>> [(part.start, part.end) for part in wanted]
[(b'a', b'a\\x00'), (b'c', b'p'), (b'z', b'{')]
"""

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import Text, as_bytes, check_row

_set = object.__setattr__


@dataclass(frozen=True, slots=True, init=False)
class RowRange:
    """The rows with start <= row < end; empty: no bound. `start_open`: the start is left out; `end_closed`: the end is
    taken in. A range that ends before it starts has no rows."""

    start: bytes
    end: bytes

    def __init__(
        self, start: Text = b"", end: Text = b"", *, start_open: bool = False, end_closed: bool = False
    ) -> None:
        low, high = as_bytes("the start of the range", start), as_bytes("the end of the range", end)
        for what, given, bound in (("start_open", start_open, low), ("end_closed", end_closed, high)):
            if type(given) is not bool or (given and not bound):
                raise InvalidRequest(f"{what} is {given!r}, the bound {bound!r}; give True with a bound, or False")
        _set(self, "start", low + b"\0" if start_open else low)
        _set(self, "end", high + b"\0" if end_closed else high)

    @classmethod
    def with_prefix(cls, prefix: Text) -> "RowRange":
        """The rows that begin with it."""
        start = as_bytes("the prefix", prefix)
        return _made(start, after_prefix(start))

    @property
    def only_row(self) -> bytes | None:
        """The one row that can be in it, if it is one."""
        return self.start if self.start and self.end == self.start + b"\0" else None

    def within(self, other: "RowRange") -> "RowRange":
        """The rows that are in both."""
        end = min(self.end, other.end) if self.end and other.end else self.end or other.end
        return _made(max(self.start, other.start), end)

    @property
    def is_empty(self) -> bool:
        """Whether no row can be in it."""
        return bool(self.end) and self.start >= self.end


def united(given: "Iterable[RowRange | Text]") -> list[RowRange]:
    """The rows of all the ranges and single keys, as ranges that are in order and apart. Raises InvalidRequest."""
    if isinstance(given, RowRange | str | bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise InvalidRequest(f"rows is {str(given)[:80]!r}; give a collection of row keys and RowRanges, such as [key]")
    found: list[RowRange] = []
    for part in sorted(map(_range, given), key=lambda part: part.start):
        if part.is_empty:
            continue
        last = found[-1] if found else None
        if last is None or (last.end and last.end < part.start):
            found.append(part)
        elif last.end and last.end == part.start:
            found.append(part)  # Neighbours stay apart: single keys are looked up, not scanned.
        elif last.end and (not part.end or part.end > last.end):
            found[-1] = RowRange(last.start, part.end)
    return found


def after_prefix(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix; empty if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""


def between(start: bytes, end: bytes, bounds: tuple[bytes, bytes]) -> RowRange:
    """The rows with start <= row < end that are within the bounds; empty: no bound.

    >>> between(b"c", b"", (b"a", b"x"))
    RowRange(start=b'c', end=b'x')
    """
    low, high = bounds
    return _made(max(start, low), min(end, high) if end and high else end or high)


def _made(start: bytes, end: bytes) -> RowRange:
    """A range of bounds that have been checked."""
    made = object.__new__(RowRange)
    _set(made, "start", start)
    _set(made, "end", end)
    return made


def _range(given: object) -> RowRange:
    if isinstance(given, RowRange):
        return given
    row = as_bytes("one of the rows", given)
    check_row(row)
    return RowRange(row, row + b"\0")
