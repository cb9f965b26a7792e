"""The row fragment: the one form that cells and mutations take everywhere (BT 2).

The problem. A tablet maps (row, column, timestamp) to bytes. A mutation changes one row; the commit log carries it,
the memtable holds it, an SSTable stores it, a compaction merges it with older ones. Four encodings of one thing would
be four chances to disagree about what a deletion means.

The idea. A *fragment* is what one source knows about one row: some cells, and some deletion markers. A marker hides
cells of *older* sources only. So a mutation is a fragment, the memtable's row is a fragment, an SSTable's row is a
fragment, and laying a newer fragment over an older one gives a fragment again (`tree/merge.py`). What is encoded for
the log is stored as it is in the memtable and in the SSTable, and is decoded only by those who look inside.

In memory an *entry* is a plain tuple `(column, minus_timestamp, kind, value)`; plain tuples sort in C, and the minus
puts the newest version first, as the paper asks. A fragment on disk is its entries one after another:

    u8 kind | u16 shared | u16 column length | i64 timestamp | u32 value length | column | value

`shared` is how many bytes of the column are those of the entry before (prefix compression within the row).

>>> entries = ((b'page:html', -7, PUT, b'<p>'), (b'page:lang', -5, PUT, b'en'))
>>> decode_fragment(encode_fragment(entries)) == entries
True

Invariants of a fragment: (1) sorted; (2) no two cells with one column and timestamp; (3) markers of the row and of
families stand before all cells, because their columns begin with a byte that no family name has.

What we simplify. Timestamps are not compressed inside a block.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

from runtime.errors import Corrupted

PUT = 0
DELETE_CELLS = 1
DELETE_FAMILY = 2
DELETE_ROW = 3

Entry = tuple[bytes, int, int, bytes]
"""(column, minus timestamp, kind, value). DELETE_CELLS hides the timestamps from its value (packed) up to its own."""

Entries = tuple[Entry, ...]


CELL = struct.Struct("<BHHqI")
CELL_BYTES = CELL.size
_unpack_cell = CELL.unpack_from
_LENGTH_OFFSET = 3
TIMESTAMP = struct.Struct("<q")
FAMILY_MARK = b"\0"
AFTER_MARKERS = b"\1"
"""Markers of the row and of families stand before this column, all cells after it."""

Span = tuple[bytes, bytes | None]
"""Columns from the first to the last, both included; None: to the end."""
ALL_COLUMNS: tuple[Span, ...] = ((b"", None),)


def encode_put(column: bytes, timestamp: int, value: bytes) -> bytes:
    """The fragment of one cell: the short way of the most common mutation."""
    return CELL.pack(PUT, 0, len(column), timestamp, len(value)) + column + value


def values_of_puts(rows: Sequence[bytes], fragments: Sequence[bytes], column: bytes) -> list[tuple[bytes, bytes]]:
    """(row, value) of those fragments that are of this column; each fragment is exactly one cell, so that only the
    length of its column and the column must be compared.

    >>> values_of_puts([b"r1", b"r2"], [encode_put(b"f:a", 1, b"A"), encode_put(b"f:b", 1, b"B")], b"f:b")
    [(b'r2', b'B')]
    """
    low, high = len(column).to_bytes(2, "little")
    start, end = CELL_BYTES, CELL_BYTES + len(column)
    return [
        (row, fragment[end:])
        for row, fragment in zip(rows, fragments, strict=True)
        if fragment[start:end] == column and fragment[_LENGTH_OFFSET] == low and fragment[_LENGTH_OFFSET + 1] == high
    ]


def encode_fragment(entries: Iterable[Entry]) -> bytes:
    """The bytes of sorted entries."""
    parts: list[bytes] = []
    before = b""
    for column, minus, kind, value in entries:
        if not before:
            shared = 0
        elif len(column) <= _SHORT_COLUMN_BYTES:
            shared = _known_shared_length(before, column)
        else:
            shared = _shared_length(before, column)
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


def first_value(fragment: bytes, column: bytes) -> bytes | None:
    """The value of the fragment's first entry if that is a cell of this column, and so its newest; else None, which
    says nothing.

    >>> first_value(encode_put(b"f:a", 1, b"A"), b"f:a"), first_value(encode_put(b"f:a", 1, b"A"), b"f:b")
    (b'A', None)
    """
    try:
        kind, _, suffix, _, length = _unpack_cell(fragment)
    except struct.error:
        return None
    start = CELL_BYTES + suffix
    if kind != PUT or fragment[CELL_BYTES:start] != column or start + length > len(fragment):
        return None
    return fragment[start : start + length]


def decode_without_values(fragment: bytes) -> Entries:
    """As `decode_fragment`, with the values of cells left empty and not copied."""
    entries: list[Entry] = []
    position, end, column = 0, len(fragment), b""
    unpack = CELL.unpack_from
    while position <= end - CELL_BYTES:
        kind, shared, suffix, timestamp, length = unpack(fragment, position)
        if shared > len(column) or kind > DELETE_ROW:
            break
        column_end = position + CELL_BYTES + suffix
        column = column[:shared] + fragment[column_end - suffix : column_end]
        position = column_end + length
        entries.append((column, -timestamp, kind, fragment[column_end:position] if kind else b""))
    if position != end:
        return decode_fragment(fragment)  # Which says what is wrong.
    return tuple(entries)


def is_single_put(fragment: bytes) -> bool:
    """Whether the fragment is exactly one cell: then no version and no deletion needs a look.

    >>> is_single_put(encode_put(b"f:q", 1, b"v"))
    True
    >>> is_single_put(encode_fragment([(b"", 0, DELETE_ROW, b"")]))
    False
    """
    if len(fragment) < CELL_BYTES:
        return False
    kind, _, suffix, _, length = CELL.unpack_from(fragment)
    return bool(kind == PUT and CELL_BYTES + suffix + length == len(fragment))


def newer_over_older(newer: bytes, older: bytes) -> bytes | None:
    """Two fragments of exactly one cell each, and of the same column, as one; None if they are anything else.

    >>> decode_fragment(newer_over_older(encode_put(b"f:q", 2, b"new"), encode_put(b"f:q", 1, b"old")) or b"")
    ((b'f:q', -2, 0, b'new'), (b'f:q', -1, 0, b'old'))
    """
    if len(newer) < CELL_BYTES or len(older) < CELL_BYTES:
        return None
    kind, _, length, timestamp, value_bytes = CELL.unpack_from(newer)
    kind_before, _, length_before, timestamp_before, value_bytes_before = CELL.unpack_from(older)
    end = CELL_BYTES + length
    if (
        kind != PUT
        or kind_before != PUT
        or length != length_before
        or end + value_bytes != len(newer)
        or end + value_bytes_before != len(older)
        or newer[CELL_BYTES:end] != older[CELL_BYTES:end]
    ):
        return None
    if timestamp > timestamp_before:
        return newer + CELL.pack(PUT, length, 0, timestamp_before, value_bytes_before) + older[end:]
    if timestamp < timestamp_before:
        return older + CELL.pack(PUT, length, 0, timestamp, value_bytes) + newer[end:]
    return newer


def newest_value_in(fragment: bytes, column: bytes) -> bytes | None:
    """The value of the newest cell of a column, or None. Raises Corrupted."""
    if (first := first_value(fragment, column)) is not None:
        return first
    for found, _, kind, value in decode_fragment(fragment):
        if found == column and kind == PUT:
            return value
    return None


def column_of(entry: Entry) -> bytes:
    """The column of an entry."""
    return entry[0]


def family_of(column: bytes) -> bytes:
    """The family of "family:qualifier", or of a family's deletion marker."""
    if column[:1] == FAMILY_MARK:
        return column[1:]
    return column.partition(b":")[0]


_SHORT_COLUMN_BYTES = 64
"""Of shorter columns it is remembered what they share with the one before: the same ones come in row after row."""


def _shared_length(before: bytes, column: bytes) -> int:
    if column.startswith(before):
        return len(before)
    shared = 0
    for mine, theirs in zip(before, column, strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared


_known_shared_length = lru_cache(maxsize=4096)(_shared_length)
