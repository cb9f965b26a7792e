"""What a mutation of one row can do: set a cell, delete versions of a column, a family, or the row (BT 2, 3).

They are what programs write. `mutations.py` makes a fragment of them, and below that nobody knows them.
"""

from dataclasses import dataclass

from tablet.engine.model.checks import Text, as_bytes, as_timestamp

_set = object.__setattr__


@dataclass(frozen=True, slots=True, init=False)
class SetCell:
    """Write one cell. Without a timestamp (microseconds) the tablet assigns one. Raises InvalidRequest."""

    column: bytes
    value: bytes
    timestamp: int | None = None

    def __init__(self, column: Text, value: Text, timestamp: int | None = None) -> None:
        _set_column(self, column if type(column) is bytes else as_bytes("the column", column))
        _set_value(self, value if type(value) is bytes else as_bytes("the value", value))
        _set_timestamp(self, timestamp if timestamp is None else as_timestamp(timestamp))


# The slots themselves: the most common mutation is made a fifth quicker than through `object.__setattr__`.
_set_column, _set_value, _set_timestamp = (vars(SetCell)[name].__set__ for name in ("column", "value", "timestamp"))


@dataclass(frozen=True, slots=True, init=False)
class DeleteCells:
    """Delete the versions of one column with start <= timestamp < end (microseconds; None is unbounded). Raises
    InvalidRequest."""

    column: bytes
    start: int | None = None
    end: int | None = None

    def __init__(self, column: Text, start: int | None = None, end: int | None = None) -> None:
        _set(self, "column", as_bytes("the column", column))
        _set(self, "start", start if start is None else as_timestamp(start))
        _set(self, "end", end if end is None else as_timestamp(end))


@dataclass(frozen=True, slots=True, init=False)
class DeleteFamily:
    """Delete all cells of one family in the row. Raises InvalidRequest."""

    family: bytes

    def __init__(self, family: Text) -> None:
        _set(self, "family", as_bytes("the family", family))


@dataclass(frozen=True, slots=True)
class DeleteRow:
    """Delete all cells of the row."""


Operation = SetCell | DeleteCells | DeleteFamily | DeleteRow
