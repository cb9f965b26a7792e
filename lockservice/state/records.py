"""What the lock service's log says.

Every record is a frozen dataclass. On disk it is one byte for its kind, then its fields in order, little-endian:

    int     8 bytes, unsigned
    str     2 bytes of length, then UTF-8
    bytes   4 bytes of length, then the bytes

A log file begins with LogBegun and the state before it: StateBegins, what there is, StateComplete. Then the changes
follow. Framing, checksums and numbers around a record are those of `runtime/record_log.py`.

>>> encode(LockReleased(session=3, number=7, oldest=6, path="/m")).hex()
'1103000000000000000700000000000000060000000000000002002f6d'
>>> decode(encode(FileKept("/a", 9, 0, b"x")))
FileKept(path='/a', generation=9, owner=0, contents=b'x')

Invariant: a kind's number and fields never change their meaning. A new need gets a new kind, and `FORMAT` rises.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields

from runtime.errors import Corrupted, IncompatibleFormat

FORMAT = 1
_INT = struct.Struct("<Q")
_TEXT_LENGTH = struct.Struct("<H")
_BYTES_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class LogBegun:
    """The first record of every log file: which format it is in, and whose it is."""

    format: int
    cluster: str


@dataclass(frozen=True, slots=True)
class StateBegins:
    """The state before the changes of this file: the last generation that was given away, and the epoch."""

    last_generation: int
    epoch: int


@dataclass(frozen=True, slots=True)
class SessionKept:
    """A session. `client` is the number that its client drew; every request below `oldest` has its answer."""

    session: int
    client: int
    oldest: int


@dataclass(frozen=True, slots=True)
class AnswerKept:
    """What a session's request was answered."""

    session: int
    number: int
    answer: int


@dataclass(frozen=True, slots=True)
class FileKept:
    """A file. `owner` is the session that an ephemeral one goes with, 0 for a permanent one."""

    path: str
    generation: int
    owner: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class LockKept:
    """A lock that is held, or, with a holder of 0, withheld because its holder's session was lost."""

    path: str
    generation: int
    holder: int
    delay_milliseconds: int


@dataclass(frozen=True, slots=True)
class StateComplete:
    """The state ends here."""


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """A lock service started: requests that were sent to an earlier run are refused (Chubby 2.9)."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A client began a session. Its number is the next generation, so that none is used twice."""

    session: int
    client: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over, and its ephemeral files with it. `is_lost`: it was not closed but not heard of in time, and
    its locks are withheld for their lock-delay (1), or it was closed, and they are free (0)."""

    session: int
    is_lost: int


@dataclass(frozen=True, slots=True)
class FileCreated:
    """`session`, `number` and `oldest` name the request; so in the other changes that clients ask for."""

    session: int
    number: int
    oldest: int
    path: str
    generation: int
    owner: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class FileWritten:
    """The contents of a file were replaced."""

    session: int
    number: int
    oldest: int
    path: str
    generation: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """A file is gone."""

    session: int
    number: int
    oldest: int
    path: str


@dataclass(frozen=True, slots=True)
class LockAcquired:
    """A session holds a lock. `delay_milliseconds`: for how long it is withheld should the session be lost."""

    session: int
    number: int
    oldest: int
    path: str
    generation: int
    delay_milliseconds: int


@dataclass(frozen=True, slots=True)
class LockReleased:
    """A lock is free."""

    session: int
    number: int
    oldest: int
    path: str


@dataclass(frozen=True, slots=True)
class DelayEnded:
    """A lock that was withheld is free."""

    path: str


Asked = FileCreated | FileWritten | FileDeleted | LockAcquired | LockReleased
Kept = StateBegins | SessionKept | AnswerKept | FileKept | LockKept
Change = EpochBegun | SessionOpened | SessionEnded | DelayEnded | Asked
Record = LogBegun | StateComplete | Kept | Change

KINDS: dict[int, type[Record]] = {
    1: LogBegun,
    2: StateBegins,
    3: SessionKept,
    4: AnswerKept,
    5: FileKept,
    6: LockKept,
    7: StateComplete,
    10: EpochBegun,
    11: SessionOpened,
    12: SessionEnded,
    13: FileCreated,
    14: FileWritten,
    15: FileDeleted,
    16: LockAcquired,
    17: LockReleased,
    18: DelayEnded,
}
_NUMBERS = {kind: number for number, kind in KINDS.items()}


def encode(record: Record) -> bytes:
    """A record as the payload of a log frame."""
    parts = [bytes([_NUMBERS[type(record)]])]
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, int):
            parts.append(_INT.pack(value))
        elif isinstance(value, str):
            text = value.encode()
            parts += [_TEXT_LENGTH.pack(len(text)), text]
        else:
            parts += [_BYTES_LENGTH.pack(len(value)), value]
    return b"".join(parts)


def decode(payload: bytes) -> Record:
    """The record in a payload. Raises Corrupted for bytes that are none, IncompatibleFormat for an unknown kind."""
    if not payload:
        raise Corrupted("an empty record; expected a byte for its kind")
    kind = KINDS.get(payload[0])
    if kind is None:
        raise IncompatibleFormat(f"a record of kind {payload[0]}, which this version does not know; use a newer one")
    values: list[int | str | bytes] = []
    offset = 1
    try:
        for field in fields(kind):
            value, offset = _READERS[field.type](payload, offset)  # type: ignore[index]
            values.append(value)
    except (struct.error, UnicodeDecodeError) as error:
        raise Corrupted(f"a {kind.__name__} record of {len(payload)} bytes: {error}") from error
    if offset != len(payload):
        raise Corrupted(f"a {kind.__name__} record of {len(payload)} bytes, expected {offset}")
    return kind(*values)  # type: ignore[arg-type]


def _int(payload: bytes, offset: int) -> tuple[int, int]:
    return _INT.unpack_from(payload, offset)[0], offset + _INT.size


def _text(payload: bytes, offset: int) -> tuple[str, int]:
    data, end = _piece(payload, offset, _TEXT_LENGTH)
    return data.decode(), end


def _bytes(payload: bytes, offset: int) -> tuple[bytes, int]:
    return _piece(payload, offset, _BYTES_LENGTH)


def _piece(payload: bytes, offset: int, length_of: struct.Struct) -> tuple[bytes, int]:
    begin = offset + length_of.size
    end = begin + length_of.unpack_from(payload, offset)[0]
    if end > len(payload):
        raise struct.error(f"a field ends at {end}")
    return payload[begin:end], end


_READERS: dict[type, Callable[[bytes, int], tuple[int | str | bytes, int]]] = {int: _int, str: _text, bytes: _bytes}
