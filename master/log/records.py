"""What the operation log says: one record for each change of the persistent state (GFS 2.6.3).

Every record is a frozen dataclass. On disk it is one byte for its kind, then its fields in order, little-endian:

    int     8 bytes, unsigned
    str     2 bytes of length, then UTF-8
    tuple   2 bytes of count, then that many str

The framing, checksums and numbers around a record are `runtime/record_log.py`'s. `docs/formats/operation-log.md` shows
a whole file.

>>> encode(VersionConfirmed(handle=42, version=2, members=("cs1",))).hex()
'092a00000000000000020000000000000001000300637331'
>>> decode(encode(DirectoriesMade(paths=("/a", "/a/b"), created_microseconds=7))).paths
('/a', '/a/b')

Invariant: a kind's number and fields never change their meaning. A new need gets a new kind, and `FORMAT` rises, so
that an older program refuses the log instead of misreading it.
"""

import struct
from dataclasses import dataclass, fields

from runtime.errors import Corrupted, IncompatibleFormat

FORMAT = 8
# Format 7 lacks kind 40; format 6 those from 20 on, and its hidden names have one part; format 5 lacks kind 18, format
# 4 those from 16 on, format 3 those from 15 on, format 2 those from 14 on; all are read as they are.
READABLE_FORMATS = (2, 3, 4, 5, 6, 7, 8)
_INT = struct.Struct("<Q")
_LENGTH = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class LogOpened:
    """The first record of every log file: which format it is in, and whose it is."""

    format: int
    cluster: str


@dataclass(frozen=True, slots=True)
class FileSystemFounded:
    """The log of a new namespace begins: chunkservers belong to it by this number (never 0), and all of its files have
    chunks of this size, bytes: with another one nobody would find what was written."""

    namespace: int
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class NamespaceFounded:
    """As FileSystemFounded, of the formats before 5, which do not say how large chunks are."""

    namespace: int


@dataclass(frozen=True, slots=True)
class EpochBegun:
    """A master started. Chunkservers refuse the orders of earlier epochs."""

    epoch: int


@dataclass(frozen=True, slots=True)
class FileCreated:
    """A file, without chunks. `client` and `number` name the request, `oldest` says what of that client may be
    forgotten; so in the other changes that clients ask for. A client of 0 is none."""

    path: str
    goal: int
    created_microseconds: int
    file_id: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class DirectoriesMade:
    """Directories, outermost first."""

    paths: tuple[str, ...]
    created_microseconds: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class EntryMoved:
    """A rename; or a deletion, to a hidden name; or an undeletion, from one (GFS 4.4). The directories that lead to a
    hidden name come and go with it (`hidden_names.py`).

    `replaced` is the hidden name for a file that stood at the target, empty if none did. `answer` is what the request
    was answered: the number of files that were deleted, 0 for a rename."""

    source: str
    target: str
    replaced: str
    answer: int = 0
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class EntryRemoved:
    """An entry and all below it are forgotten; their chunks become orphans. `answer` is the number of files."""

    path: str
    answer: int = 0
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class GoalChanged:
    """A file, and each of its chunks, shall have another number of replicas. `answer` is the number before."""

    path: str
    goal: int
    answer: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class HandlesReserved:
    """Handles below `limit` may have been sent to chunkservers: after a restart, begin there."""

    limit: int


@dataclass(frozen=True, slots=True)
class ChunkAllocated:
    """A chunk became the `index`-th of a file; its replicas exist on the servers `members`."""

    path: str
    index: int
    handle: int
    version: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionAttempted:
    """`version` is about to be sent to replicas of the chunk, and must never be used again (GFS 4.5)."""

    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class AdmissionAttempted:
    """As VersionAttempted, for an operator who wishes to go on with a replica below the confirmed version. If that
    fails, whoever has this number has no more than before. (In formats before 6 nothing says which numbers these
    are.)"""

    handle: int
    version: int


@dataclass(frozen=True, slots=True)
class VersionConfirmed:
    """Replicas with a lower version are stale from here on. `members` are the servers that were given the version: a
    fact of history, not a location (GFS 2.6.2), so that a restarted master knows for whom it has to wait."""

    handle: int
    version: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplicaAdded:
    """A clone at the chunk's confirmed version is complete on this server, which is a member from here on."""

    handle: int
    server: str


@dataclass(frozen=True, slots=True)
class ServerJoined:
    """A chunkserver of a new name registered. What it holds is never logged (GFS 2.6.2)."""

    server: str


@dataclass(frozen=True, slots=True)
class AdmissionConfirmed:
    """A version was confirmed as by VersionConfirmed, because an operator admitted a replica; the version is also the
    answer to the request."""

    handle: int
    version: int
    members: tuple[str, ...]
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class FileWithChunkCreated:
    """A file with its first chunk, at version 1: as FileCreated and ChunkAllocated, both or neither."""

    path: str
    goal: int
    created_microseconds: int
    file_id: int
    handle: int
    members: tuple[str, ...]
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class TenureBegun:
    """As EpochBegun, of a master that has others beside it: this one acts from here on. `sequence` is the record's own
    number. Epoch and number together name every record of the tenure, so that two logs can be compared."""

    epoch: int
    sequence: int
    master: str


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The entry at `source` and all below it exist a second time at `target`, and share their chunks with the first
    (GFS 3.4). In the order of their paths the new files have the ids from `first_file_id` on, which are reserved with
    it. `answer` is the number of files."""

    source: str
    target: str
    first_file_id: int
    answer: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotTakenAt(SnapshotTaken):
    """The same, and when, in microseconds since the epoch by the master's clock. Logs before format 8 do not say when
    snapshots were taken."""

    taken_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class ChunkReplaced:
    """The `index`-th chunk of a file is another one from here on, which has the same content: its replicas exist on the
    servers `members`. The one before may be shared with other files, and stays with them."""

    path: str
    index: int
    handle: int
    version: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A directory says from here on what goal new files below it get (0: nothing), and, if `has_trash` is 1, for how
    long deleted files are kept (`policies.py`)."""

    path: str
    goal: int
    has_trash: int
    trash_seconds: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class SafeModeSet:
    """An operator has entered safe mode (`is_on` is 1) or left it."""

    is_on: int
    client: int = 0
    number: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class DrainChanged:
    """An operator wants this chunkserver to leave (1), or to stay after all (0)."""

    server: str
    is_draining: int


@dataclass(frozen=True, slots=True)
class ServerRemoved:
    """A chunkserver on which nothing was left is forgotten. One that registers under its name joins anew."""

    server: str


Record = (
    LogOpened
    | FileCreated
    | DirectoriesMade
    | EntryMoved
    | EntryRemoved
    | HandlesReserved
    | ChunkAllocated
    | VersionAttempted
    | AdmissionAttempted
    | VersionConfirmed
    | ServerJoined
    | NamespaceFounded
    | EpochBegun
    | ReplicaAdded
    | GoalChanged
    | AdmissionConfirmed
    | FileWithChunkCreated
    | FileSystemFounded
    | TenureBegun
    | SnapshotTaken
    | SnapshotTakenAt
    | ChunkReplaced
    | PolicySet
    | SafeModeSet
    | DrainChanged
    | ServerRemoved
)

KINDS: dict[int, type[Record]] = {
    1: LogOpened,
    2: FileCreated,
    3: DirectoriesMade,
    4: EntryMoved,
    5: EntryRemoved,
    6: HandlesReserved,
    7: ChunkAllocated,
    8: VersionAttempted,
    9: VersionConfirmed,
    10: ServerJoined,
    11: NamespaceFounded,
    12: EpochBegun,
    13: ReplicaAdded,
    14: GoalChanged,
    15: AdmissionConfirmed,
    16: FileWithChunkCreated,
    17: FileSystemFounded,
    18: AdmissionAttempted,
    31: TenureBegun,
    20: SnapshotTaken,
    40: SnapshotTakenAt,
    21: ChunkReplaced,
    24: PolicySet,
    25: SafeModeSet,
    28: DrainChanged,
    29: ServerRemoved,
}
_NUMBERS: dict[type[Record], int] = {kind: number for number, kind in KINDS.items()}
_FIELDS = {kind: tuple((field.name, field.type) for field in fields(kind)) for kind in _NUMBERS}


def encode(record: Record) -> bytes:
    """The record's bytes."""
    parts = [bytes((_NUMBERS[type(record)],))]
    for name, _ in _FIELDS[type(record)]:
        value = getattr(record, name)
        if isinstance(value, int):
            parts.append(_INT.pack(value))
        elif isinstance(value, str):
            parts.append(_text(value))
        else:
            parts.append(_LENGTH.pack(len(value)))
            parts.extend(map(_text, value))
    return b"".join(parts)


def decode(payload: bytes) -> Record:
    """The record in these bytes. Raises IncompatibleFormat (an unknown kind) or Corrupted (not its shape)."""
    kind = KINDS.get(payload[0]) if payload else None
    if kind is None:
        found = f"kind {payload[0]}" if payload else "nothing"
        raise IncompatibleFormat(f"found a record of {found}, this program knows kinds 1 to {max(KINDS)}; update it")
    at = 1
    values: list[int | str | tuple[str, ...]] = []
    try:
        for _, field_type in _FIELDS[kind]:
            if field_type is int:
                values.append(_INT.unpack_from(payload, at)[0])
                at += _INT.size
            elif field_type is str:
                text, at = _read_text(payload, at)
                values.append(text)
            else:
                (count,) = _LENGTH.unpack_from(payload, at)
                at += _LENGTH.size
                texts = []
                for _ in range(count):
                    text, at = _read_text(payload, at)
                    texts.append(text)
                values.append(tuple(texts))
    except (struct.error, UnicodeDecodeError) as error:
        raise Corrupted(f"a {kind.__name__} record of {len(payload)} bytes is malformed: {error}") from error
    if at != len(payload):
        raise Corrupted(f"a {kind.__name__} record has {len(payload)} bytes, expected {at}")
    make: type = kind
    record: Record = make(*values)
    return record


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def _read_text(payload: bytes, at: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(payload, at)
    start = at + _LENGTH.size
    if start + length > len(payload):
        raise Corrupted(f"a text of {length} bytes at {start} in a record of {len(payload)} bytes")
    return payload[start : start + length].decode(), start + length
