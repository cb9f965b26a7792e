"""Cells, mutations, and the one form that both take everywhere: the row fragment (BT 2).

The problem. A tablet maps (row, column, timestamp) to bytes. A mutation changes one row; the commit log carries it,
the memtable holds it, an SSTable stores it, a compaction merges it with older ones. Four encodings of one thing would
be four chances to disagree about what a deletion means.

The idea. A *fragment* is what one source knows about one row: some cells, and some deletion markers. A marker hides
cells of *older* sources only. So a mutation is a fragment, the memtable's row is a fragment, an SSTable's row is a
fragment, and laying a newer fragment over an older one gives a fragment again (`merge.py`). What is encoded for the
log is stored as it is in the memtable and in the SSTable, and is decoded only by those who look inside.

In memory an *entry* is a plain tuple `(column, minus_timestamp, kind, value)`; plain tuples sort in C, and the minus
puts the newest version first, as the paper asks. A fragment on disk is its entries one after another:

    u8 kind | u16 shared | u16 column length | i64 timestamp | u32 value length | column | value

`shared` is how many bytes of the column are those of the entry before (prefix compression within the row).

>>> entries = fragment_of([SetCell(b"page:html", b"<p>", timestamp=7), SetCell(b"page:lang", b"en", timestamp=5)])
>>> entries
((b'page:html', -7, 0, b'<p>'), (b'page:lang', -5, 0, b'en'))
>>> decode_fragment(encode_fragment(entries)) == entries
True

Invariants of a fragment: (1) sorted; (2) no two cells with one column and timestamp; (3) markers of the row and of
families stand before all cells, because their columns begin with a byte that no family name has.

What we simplify. Timestamps are not compressed inside a block.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import NamedTuple

from runtime.errors import Corrupted, InvalidRequest
from runtime.world import Buffer

Text = str | Buffer
"""What stands for bytes wherever people write: a text is taken as UTF-8."""

ROW_LIMIT_BYTES = 64 * 1024
"""The longest row key (BT 2)."""

COLUMN_LIMIT_BYTES = 16 * 1024
"""The longest "family:qualifier"."""

MUTATION_LIMIT_BYTES = 15 * 1024 * 1024
"""The largest mutation of one row, and so the largest cell: with its frame it fits into one GFS record append, which
takes a quarter of a 64 MB chunk (GFS 3.3)."""

EARLIEST_TIMESTAMP = -(2**63)
LATEST_TIMESTAMP = 2**63 - 1

PUT = 0
DELETE_CELLS = 1
DELETE_FAMILY = 2
DELETE_ROW = 3

Entry = tuple[bytes, int, int, bytes]
"""(column, minus timestamp, kind, value). DELETE_CELLS hides the timestamps from its value (packed) up to its own."""

Entries = tuple[Entry, ...]

CELL = struct.Struct("<BHHqI")
CELL_BYTES = CELL.size
_TIMESTAMP_OFFSET = 5
_TIMESTAMP = struct.Struct("<q")
_FAMILY_MARK = b"\0"


_set = object.__setattr__


@dataclass(frozen=True, slots=True, init=False)
class SetCell:
    """Write one cell. Without a timestamp (microseconds) the tablet assigns one. Raises InvalidRequest."""

    column: bytes
    value: bytes
    timestamp: int | None = None

    def __init__(self, column: Text, value: Text, timestamp: int | None = None) -> None:
        _set(self, "column", column if type(column) is bytes else as_bytes("the column", column))
        _set(self, "value", value if type(value) is bytes else as_bytes("the value", value))
        _set(self, "timestamp", timestamp if timestamp is None else as_timestamp(timestamp))


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


def encode_put(column: bytes, timestamp: int, value: bytes) -> bytes:
    """The fragment of one cell: the short way of the most common mutation."""
    return CELL.pack(PUT, 0, len(column), timestamp, len(value)) + column + value


def values_of_puts(rows: Sequence[bytes], fragments: Sequence[bytes], column: bytes) -> list[tuple[bytes, bytes]]:
    """(row, value) of those fragments that are of this column; each fragment is exactly one cell.

    >>> values_of_puts([b"r1", b"r2"], [encode_put(b"f:a", 1, b"A"), encode_put(b"f:b", 1, b"B")], b"f:b")
    [(b'r2', b'B')]
    """
    head, end = CELL.pack(PUT, 0, len(column), 0, 0)[:_TIMESTAMP_OFFSET], CELL_BYTES + len(column)
    return [
        (row, fragment[end:])
        for row, fragment in zip(rows, fragments, strict=True)
        if fragment[:_TIMESTAMP_OFFSET] == head and fragment[CELL_BYTES:end] == column
    ]


def encode_fragment(entries: Iterable[Entry]) -> bytes:
    """The bytes of sorted entries."""
    parts: list[bytes] = []
    before = b""
    for column, minus, kind, value in entries:
        shared = len(column) if column == before else _shared_length(before, column)
        parts += (CELL.pack(kind, shared, len(column) - shared, -minus, len(value)), column[shared:], value)
        before = column
    return b"".join(parts)


def decode_fragment(fragment: bytes) -> Entries:
    """The entries of a fragment. Raises Corrupted if its lengths do not add up."""
    entries: list[Entry] = []
    position, end, column = 0, len(fragment), b""
    unpack = CELL.unpack_from
    try:
        while position < end:
            kind, shared, suffix, timestamp, length = unpack(fragment, position)
            position += CELL_BYTES
            if shared > len(column) or kind > DELETE_ROW:
                raise Corrupted(f"a row fragment has a cell of kind {kind} that shares {shared} bytes of {column!r}")
            column_end = position + suffix
            column = column[:shared] + fragment[position:column_end] if shared else fragment[position:column_end]
            position = column_end + length
            entries.append((column, -timestamp, kind, fragment[column_end:position]))
    except struct.error as error:
        raise Corrupted(f"a row fragment of {end} bytes ends within the cell header at byte {position}") from error
    if position != end:
        raise Corrupted(f"a row fragment of {end} bytes has cells of {position} bytes")
    return tuple(entries)


def is_single_put(fragment: bytes) -> bool:
    """Whether the fragment is exactly one cell: then no version and no deletion needs a look.

    >>> is_single_put(encode_put(b"f:q", 1, b"v"))
    True
    >>> is_single_put(encode_fragment(fragment_of([DeleteRow()])))
    False
    """
    if len(fragment) < CELL_BYTES:
        return False
    kind, _, suffix, _, length = CELL.unpack_from(fragment)
    return bool(kind == PUT and CELL_BYTES + suffix + length == len(fragment))


def fragment_of(operations: Sequence[Operation], now: int = 0) -> Entries:
    """What the operations of one mutation, in their order, amount to. `now` is for cells without a timestamp.

    A cell that is set and then deleted within one mutation is gone, one that is deleted and then set is there:

    >>> fragment_of([SetCell(b"f:a", b"1", 5), DeleteRow(), SetCell(b"f:b", b"2", 5)])
    ((b'', 0, 3, b''), (b'f:b', -5, 0, b'2'))
    """
    cells: dict[tuple[bytes, int], bytes] = {}
    markers: list[Entry] = []
    for operation in operations:
        if isinstance(operation, SetCell):
            timestamp = now if operation.timestamp is None else operation.timestamp
            cells[operation.column, -timestamp] = operation.value
            continue
        marker = marker_of(operation)
        if marker is None:
            continue
        markers.append(marker)
        hidden = Hidden((marker,))
        cells = {key: value for key, value in cells.items() if not hidden.hides(*key)}
    entries = [(column, minus, PUT, value) for (column, minus), value in cells.items()]
    entries += _without_covered(markers)
    entries.sort()
    return tuple(entries)


def marker_of(operation: DeleteCells | DeleteFamily | DeleteRow) -> Entry | None:
    """The deletion marker of an operation; None for an empty range of timestamps."""
    if isinstance(operation, DeleteRow):
        return (b"", 0, DELETE_ROW, b"")
    if isinstance(operation, DeleteFamily):
        return (_FAMILY_MARK + operation.family, 0, DELETE_FAMILY, b"")
    oldest = EARLIEST_TIMESTAMP if operation.start is None else operation.start
    newest = LATEST_TIMESTAMP if operation.end is None else operation.end - 1
    if oldest > newest:
        return None
    return (operation.column, -newest, DELETE_CELLS, _TIMESTAMP.pack(oldest))


class Hidden:
    """What a set of deletion markers hides. Truthy if anything."""

    __slots__ = ("_families", "_ranges", "_row")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._row = False
        self._families: set[bytes] = set()
        self._ranges: dict[bytes, list[tuple[int, int]]] = {}
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take the markers among the entries into account."""
        for column, minus, kind, value in entries:
            if kind == PUT:
                continue
            if kind == DELETE_ROW:
                self._row = True
            elif kind == DELETE_FAMILY:
                self._families.add(column[1:])
            else:
                self._ranges.setdefault(column, []).append((minus, -_oldest(value)))

    def hides(self, column: bytes, minus: int) -> bool:
        """Whether a cell of an older source is deleted."""
        if self._row or (self._families and family_of(column) in self._families):
            return True
        ranges = self._ranges.get(column)
        return ranges is not None and any(newest <= minus <= oldest for newest, oldest in ranges)

    def covers(self, marker: Entry) -> bool:
        """Whether an older marker is needless beside these."""
        column, minus, kind, value = marker
        if self._row:
            return True
        if kind == DELETE_ROW:
            return False
        if kind == DELETE_FAMILY:
            return column[1:] in self._families
        if family_of(column) in self._families:
            return True
        oldest = -_oldest(value)
        return any(first <= minus and oldest <= last for first, last in self._ranges.get(column, ()))

    def __bool__(self) -> bool:
        return self._row or bool(self._families) or bool(self._ranges)


def family_of(column: bytes) -> bytes:
    """The family of "family:qualifier", or of a family's deletion marker."""
    if column[:1] == _FAMILY_MARK:
        return column[1:]
    return column.partition(b":")[0]


def as_bytes(what: str, given: object) -> bytes:
    """A text as UTF-8, or anything that holds bytes, as bytes: items larger than a byte give all of theirs.

    Raises InvalidRequest for anything else; `what` says what it should have been.

    >>> as_bytes("the row", "zeile"), as_bytes("the value", memoryview(b"ab"))
    (b'zeile', b'ab')
    """
    if isinstance(given, str):
        try:
            return given.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"{what} is the text {given[:80]!r}, which is not valid Unicode ({error.reason}); give bytes"
            ) from error
    if type(given) is bytes:
        return given
    try:
        return memoryview(given).tobytes()  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{what} is {_described(given)}; give a text or bytes") from error


def as_timestamp(given: object) -> int:
    """A timestamp in microseconds as an int. Raises InvalidRequest for what is no whole number, and for bools."""
    if type(given) is int:
        return given
    try:
        if isinstance(given, bool):
            raise TypeError
        return index(given)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidRequest(
            f"the timestamp is {_described(given)}; give whole microseconds since the epoch, or None for now"
        ) from None


def _described(given: object) -> str:
    shown = repr(given)
    return f"{shown[:80] + '…' if len(shown) > 80 else shown}, of type {type(given).__name__}"


def check_row(row: bytes) -> None:
    """Raise InvalidRequest unless `row` can be a row key."""
    if not row:
        raise InvalidRequest("the row key is empty; a row key has 1 to 65,536 bytes")
    if len(row) > ROW_LIMIT_BYTES:
        raise InvalidRequest(f"the row key has {len(row):,} bytes; at most {ROW_LIMIT_BYTES:,} are allowed")


def check_column(column: bytes) -> None:
    """Raise InvalidRequest unless `column` reads "family:qualifier" and is not too long."""
    family, colon, _ = column.partition(b":")
    if not colon or not family:
        raise InvalidRequest(f"{column[:80]!r} is not a column; write it as family:qualifier")
    if len(column) > COLUMN_LIMIT_BYTES:
        raise InvalidRequest(
            f"the column of family {family[:80]!r} has {len(column):,} bytes, at most {COLUMN_LIMIT_BYTES:,} are "
            f"allowed; put long data into the value"
        )


def check_timestamp(timestamp: int) -> None:
    """Raise InvalidRequest unless the timestamp is a whole number that fits into 64 bits."""
    if not EARLIEST_TIMESTAMP <= as_timestamp(timestamp) <= LATEST_TIMESTAMP:
        raise InvalidRequest(f"timestamp {timestamp} does not fit into 64 bits; give microseconds since the epoch")


def check_fragment_size(row: bytes, size: int) -> None:
    """Raise InvalidRequest if a mutation of one row is too large for a log record."""
    if size > MUTATION_LIMIT_BYTES:
        raise InvalidRequest(
            f"the mutation of row {row[:80]!r} has {size:,} bytes; at most {MUTATION_LIMIT_BYTES:,} fit into one "
            f"log record: split it, or store the value as a file and a name"
        )


def _without_covered(markers: list[Entry]) -> list[Entry]:
    """The markers, newest last, less those that another covers."""
    kept: list[Entry] = []
    for marker in reversed(markers):
        if not Hidden(kept).covers(marker):
            kept = [other for other in kept if not Hidden((marker,)).covers(other)]
            kept.append(marker)
    return kept


def _oldest(value: bytes) -> int:
    if len(value) != _TIMESTAMP.size:
        raise Corrupted(f"a deletion marker holds {len(value)} bytes where a timestamp of 8 is expected")
    return int(_TIMESTAMP.unpack(value)[0])


def _shared_length(before: bytes, column: bytes) -> int:
    if column.startswith(before):
        return len(before)
    shared = 0
    for mine, theirs in zip(before, column, strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared
