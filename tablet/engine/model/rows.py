"""What a read gives: a row and its cells (BT 2).

A row is handed out as the bytes that were found, and decoded when somebody looks inside: a scan that only counts pays
for no cell.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tablet.engine.model.checks import Text, as_bytes
from tablet.engine.model.fragments import Entries, decode_fragment
from tablet.engine.model.labelled import Labelled


class Cell(NamedTuple):
    """One version of one column. `timestamp` is in microseconds."""

    column: bytes
    timestamp: int
    value: bytes


class Row:
    """What a read found in one row: its cells, sorted by column, newest first within a column.

    It is made of entries or of a fragment without markers; that is decoded when somebody looks inside.
    """

    __slots__ = ("_content", "key")

    def __init__(self, key: bytes, content: Entries | bytes) -> None:
        self.key = key
        self._content = content

    @property
    def _entries(self) -> Entries:
        content = self._content
        if isinstance(content, bytes):
            content = self._content = decode_fragment(content)
        return content

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells."""
        return tuple(Cell(column, -minus, value) for column, minus, _, value in self._entries)

    @property
    def labels(self) -> tuple[str, ...]:
        """For each cell the label that an `ApplyLabel` gave it, or an empty text."""
        return tuple(entry.label if isinstance(entry, Labelled) else "" for entry in self._entries)

    def value(self, column: Text) -> bytes | None:
        """The newest value of a column, or None."""
        wanted = as_bytes("the column", column)
        for found, _, _, value in self._entries:
            if found == wanted:
                return value
        return None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and (self.key, self._entries) == (other.key, other._entries)

    def __repr__(self) -> str:
        return f"Row({self.key!r}, {self.cells!r})"
