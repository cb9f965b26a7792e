"""The records of a commit log: a header, and mutations that were logged together (BT 5.3).

The frames are those of `runtime/record_log.py`; the payload of a mutation is the row and its fragment, as the memtable
will keep it:

    u8 1 | u16 tablet length | u32 rows | tablet | i64 last timestamp |
        (u32 row length | u32 fragment length | row | fragment) …

The tablet's name is there because a tablet server writes one log for all its tablets (BT 6); a tablet that stands alone
has none. The timestamp is the highest that the tablet itself has given so far, so that none comes twice, whatever the
wall clock does between two openings. The first frame of each log, u8 0 and a `LogHeader` of `proto/tablet.proto`, says
what the log is, and how far earlier logs were durable and acknowledged when it was begun.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import Corrupted, IncompatibleFormat
from runtime.wire import tablet_pb2
from tablet.engine.world.names import log_name
from tablet.engine.world.small_files import BEGINNING, FileKind

HEADER_FILE = FileKind("tabletop commit log", 4, tablet_pb2.LogHeader)
HEADER_KIND = 0
ROWS_KIND = 1
SORTED_KIND = 2

RowFragment = tuple[bytes, bytes]
"""(row, encoded fragment)"""

ROWS_HEAD = struct.Struct("<BHI")
ROW_HEAD = struct.Struct("<II")
_SORTED_HEAD = struct.Struct("<QII")
_TIMESTAMP = struct.Struct("<q")
ONLY_ROW_HEAD = struct.Struct("<qII")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log, as it is named: its number, and the sequence of its header. `copied_for`: the number of the
    list whose owner has copied what was in it, for the file's writer may still be at work; 0: it is that file itself.
    """

    number: int
    first_sequence: int
    copied_for: int = 0

    @property
    def file_name(self) -> str:
        """What the file is called."""
        return log_name(self.number, self.copied_for)


@dataclass(frozen=True, slots=True)
class LogHeader:
    """The first record of a log. Every acknowledged record up to `durable_sequence` was durable when the log was begun.
    `acknowledged_sequence`: the records of earlier logs up to this one count, and those beyond it do not."""

    tablet: str
    number: int
    durable_sequence: int
    acknowledged_sequence: int

    def encode(self) -> bytes:
        """The record's payload."""
        message = tablet_pb2.LogHeader(
            tablet=self.tablet,
            number=self.number,
            durable_sequence=self.durable_sequence,
            acknowledged_sequence=self.acknowledged_sequence,
        )
        return bytes((HEADER_KIND,)) + HEADER_FILE.encode(message)


def may_be_header(payload: bytes) -> bool:
    """Whether this is the payload of a first record."""
    return payload[:1] == bytes((HEADER_KIND,))


def decode_header(payload: bytes, name: str) -> LogHeader:
    """The reverse. Raises IncompatibleFormat for a log that is not a tablet's or of a future version, Corrupted."""
    if payload[:1] in (BEGINNING, b"{"):
        raise IncompatibleFormat(f"{name} is not a tablet's commit log: it holds a manifest under a log's name")
    if not may_be_header(payload):
        raise IncompatibleFormat(f"{name} is not a tablet's commit log: its first record is no header")
    found = HEADER_FILE.decode(payload[1:], name)
    return LogHeader(found.tablet, found.number, found.durable_sequence, found.acknowledged_sequence)


def encode_rows(tablet: bytes, rows: Sequence[bytes], fragments: Sequence[bytes], last_timestamp: int = 0) -> bytes:
    """The payload of mutations that are logged together: of each row the fragment in the same place."""
    pack = ROW_HEAD.pack
    parts = [ROWS_HEAD.pack(ROWS_KIND, len(tablet), len(rows)), tablet, _TIMESTAMP.pack(last_timestamp)]
    for row, fragment in zip(rows, fragments, strict=True):
        parts += (pack(len(row), len(fragment)), row, fragment)
    return b"".join(parts)


def one_row_head(tablet: bytes) -> bytes:
    """What the payload of a single mutation of this tablet begins with."""
    return ROWS_HEAD.pack(ROWS_KIND, len(tablet), 1) + tablet


@dataclass(frozen=True, slots=True)
class Mutations:
    """What a record holds: mutations of a tablet's rows, and the last timestamp that the tablet had given."""

    tablet: bytes
    rows: list[RowFragment]
    last_timestamp: int


def decode_rows(payload: bytes) -> Mutations:
    """The reverse. Raises Corrupted if the lengths do not add up.

    >>> found = decode_rows(encode_rows(b"users", [b"r1", b"r2"], [b"fragment", b""], 7))
    >>> found.tablet, found.rows, found.last_timestamp
    (b'users', [(b'r1', b'fragment'), (b'r2', b'')], 7)
    """
    try:
        kind, tablet_length, count = ROWS_HEAD.unpack_from(payload)
        position = ROWS_HEAD.size + tablet_length
        tablet = payload[ROWS_HEAD.size : position]
        rows: list[RowFragment] = []
        (last_timestamp,) = _TIMESTAMP.unpack_from(payload, position)
        position += _TIMESTAMP.size
        for _ in range(count if kind == ROWS_KIND else 0):
            row_length, fragment_length = ROW_HEAD.unpack_from(payload, position)
            position += ROW_HEAD.size
            row_end = position + row_length
            rows.append((payload[position:row_end], payload[row_end : (position := row_end + fragment_length)]))
    except struct.error as error:
        raise Corrupted(f"a log record of {len(payload)} bytes ends early ({error})") from error
    if kind != ROWS_KIND or position != len(payload):
        raise Corrupted(f"a log record of {len(payload)} bytes and kind {kind} has rows of {position} bytes")
    return Mutations(tablet, rows, last_timestamp)


SortedMutation = tuple[int, bytes, bytes]
"""(sequence, row, encoded fragment)"""


def encode_sorted(tablet: bytes, mutations: Sequence[tuple[bytes, int, bytes]]) -> bytes:
    """The payload of (row, sequence, fragment) of one tablet, in a log that was sorted."""
    parts = [ROWS_HEAD.pack(SORTED_KIND, len(tablet), len(mutations)), tablet]
    for row, sequence, fragment in mutations:
        parts += (_SORTED_HEAD.pack(sequence, len(row), len(fragment)), row, fragment)
    return b"".join(parts)


def decode_sorted(payload: bytes) -> tuple[bytes, list[SortedMutation]]:
    """The reverse: the tablet, and (sequence, row, fragment). Raises Corrupted if the lengths do not add up.

    >>> decode_sorted(encode_sorted(b"users", [(b"r1", 7, b"fragment"), (b"r2", 3, b"")]))
    (b'users', [(7, b'r1', b'fragment'), (3, b'r2', b'')])
    """
    mutations: list[SortedMutation] = []
    try:
        kind, tablet_length, count = ROWS_HEAD.unpack_from(payload)
        position = ROWS_HEAD.size + tablet_length
        for _ in range(count if kind == SORTED_KIND else 0):
            sequence, row_length, fragment_length = _SORTED_HEAD.unpack_from(payload, position)
            row_begin = position + _SORTED_HEAD.size
            row_end = row_begin + row_length
            position = row_end + fragment_length
            mutations.append((sequence, payload[row_begin:row_end], payload[row_end:position]))
    except struct.error as error:
        raise Corrupted(f"sorted mutations of {len(payload)} bytes end early ({error})") from error
    if kind != SORTED_KIND or position != len(payload):
        raise Corrupted(f"sorted mutations of {len(payload)} bytes and kind {kind} have {position} bytes")
    return payload[ROWS_HEAD.size : ROWS_HEAD.size + tablet_length], mutations
