"""The persistent state as a file (GFS 2.6.3).

A checkpoint is a sequence of frames as in `runtime/record_log.py`, numbered from 1. The first byte of each payload
says what it holds:

    H   u32 format, u64 first sequence of the log that follows, then the totals: 8 u64
    S   names of the chunkservers that ever joined, UTF-8, separated by NUL
    P   names of those that are to leave, likewise
    N   leaves of the namespace table, each as u32 length and bytes
    G   groups of servers that were given a version together: names separated by NUL, likewise
    C   segments of the chunk table, likewise
    A   versions attempted but not confirmed: u64 handle and u64 version each
    D   those of them that admissions used: u64 handle and u64 version each
    F   files of shared chunks: u64 handle, replication goal, 1 if hidden or 0, and number of such files each
    R   answers to the last requests of clients: u64 client, oldest, number and answer each
    M   tenures of several masters: u64 epoch and u64 number of its first record each
    T   rows, each as u32 length and bytes: "s" (an operator has entered safe mode), or "p" and a directory's policy:
        u8 goal (0: none), u8 1 if there is a trash time, u64 of that in seconds, and the path in UTF-8; or "o" and of
        what a snapshot was taken: u64 when, in microseconds (0: not known), u64 id of its first file, u64 files, u32
        length of the source's path, both paths in UTF-8
    E   u64 count of the frames before: the checkpoint is complete

The leaves are the very bytes that lie in memory, so restoring a million files parses nothing but lengths. A file
without its E frame, or with a frame whose checksum does not fit, is no checkpoint: recovery passes it over.
`docs/formats/checkpoint.md` shows a small one byte by byte.

Writing goes in slices of a quarter of a megabyte with a breath in between, while the master serves. The name becomes
valid by a rename, after everything in it is on stable storage.
"""

import contextlib
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice

from master.chunks.sharing import Row, Sharings
from master.log.records import FORMAT, READABLE_FORMATS
from master.log.state import MasterState, Snapshot, Totals
from master.namespace.origins import Origin
from master.namespace.policies import Policy
from runtime.errors import Conflict, Corrupted, IncompatibleFormat, TabletopError
from runtime.record_log import PAYLOAD_LIMIT_BYTES, LogReader, encode_frame
from runtime.world import World

_HEADER = struct.Struct("<IQ8Q")
_HEADER_BEFORE_5 = struct.Struct("<IQ7Q")  # without the size of chunks
_PAIR = struct.Struct("<QQ")
_POLICY = struct.Struct("<BBQ")
_ORIGIN = struct.Struct("<3QI")
_ROW = struct.Struct("<4Q")
_LENGTH = struct.Struct("<I")
_SLICE_BYTES = 256 * 1024
_ROWS_A_FRAME = _SLICE_BYTES // _ROW.size


async def write_checkpoint(world: World, path: str, snapshot: Snapshot, first_sequence: int) -> int:
    """Write a snapshot to `path`, durably and in one step; returns its bytes. Raises NoSpace, DiskFailure, Conflict (a
    part is too large): then nothing of it is left, so that a full disk has room for the log.

    `first_sequence` is the number of the first log record that the snapshot does not contain.
    """
    part = path + ".part"
    try:
        size = await _write_part(world, part, snapshot, first_sequence)
        await world.disk.rename(part, path)
    except TabletopError:
        with contextlib.suppress(TabletopError):  # Recovery removes what cannot be removed now.
            await world.disk.remove(part)
        raise
    await world.disk.sync_directory(path.rpartition("/")[0])
    return size


async def _write_part(world: World, part: str, snapshot: Snapshot, first_sequence: int) -> int:
    file = await world.disk.open(part, "replace")
    size = 0
    try:
        for number, payload in enumerate(_payloads(snapshot, first_sequence), start=1):
            if len(payload) > PAYLOAD_LIMIT_BYTES:
                raise Conflict(
                    f"{part}: a part of the checkpoint has {len(payload)} bytes, none above {PAYLOAD_LIMIT_BYTES} "
                    "could be read again; the log keeps everything"
                )
            frame = encode_frame(payload, number, 0)
            await file.append(frame)
            size += len(frame)
            await world.breathe()
        await file.sync()
    finally:
        await file.close()
    return size


async def read_checkpoint(world: World, path: str) -> tuple[MasterState, int]:
    """The state in a checkpoint, and the number of the first log record that it does not contain.

    Raises Corrupted if it is incomplete or damaged, IncompatibleFormat if a newer program wrote it.
    """
    file = await world.disk.open(path, "read")
    try:
        return await _restored(path, _frames(world, LogReader(file, path, first_sequence=1)))
    finally:
        await file.close()


async def _frames(world: World, reader: LogReader) -> AsyncIterator[bytes]:
    async for record in reader:
        yield record.payload
        await world.breathe()


async def _restored(path: str, frames: AsyncIterator[bytes]) -> tuple[MasterState, int]:
    header: tuple[int, ...] | None = None
    servers: list[str] = []
    draining: list[str] = []
    leaves: list[bytes] = []
    segments: list[bytes] = []
    attempted: dict[int, int] = {}
    admissions: list[tuple[int, int]] = []
    groups: list[tuple[str, ...]] = []
    requests: list[tuple[int, int, int, int]] = []
    tenures: list[tuple[int, int]] = []
    rules: list[bytes] = []
    shared: list[Row] = []
    count = 0
    complete = False
    async for payload in frames:
        kind, body = payload[:1], payload[1:]
        if kind == b"H":
            header = _header(path, body)
        elif kind == b"S":
            servers = body.decode().split("\0")
        elif kind == b"P":
            draining = body.decode().split("\0")
        elif kind == b"N":
            leaves.extend(_unjoined(body))
        elif kind == b"G":
            groups.extend(tuple(group.decode().split("\0")) if group else () for group in _unjoined(body))
        elif kind == b"C":
            segments.extend(_unjoined(body))
        elif kind == b"A":
            attempted.update(_PAIR.iter_unpack(body))
        elif kind == b"D":
            admissions.extend((row[0], row[1]) for row in _PAIR.iter_unpack(body))
        elif kind == b"F":
            shared.extend((row[0], row[1], row[2], row[3]) for row in _ROW.iter_unpack(body))
        elif kind == b"R":
            requests.extend((row[0], row[1], row[2], row[3]) for row in _ROW.iter_unpack(body))
        elif kind == b"M":
            tenures.extend((row[0], row[1]) for row in _PAIR.iter_unpack(body))
        elif kind == b"T":
            rules.extend(_unjoined(body))
        elif kind == b"E":
            complete = int.from_bytes(body, "little") == count
        count += 1
    if header is None or not complete:
        raise Corrupted(f"{path}: the checkpoint is incomplete or damaged after {count} frames")
    snapshot = Snapshot(
        Totals(*header[2:]),
        tuple(servers),
        leaves,
        segments,
        attempted,
        admissions,
        groups,
        requests,
        Sharings.from_rows(shared),
        policies=tuple(_policy(row[1:]) for row in rules if row[:1] == b"p"),
        safe_mode=b"s" in rules,
        draining=tuple(draining),
        tenures=tuple(tenures),
        origins=tuple(_origin(row[1:]) for row in rules if row[:1] == b"o"),
    )
    return MasterState.restored(snapshot), header[1]


def _policy(row: bytes) -> tuple[str, Policy]:
    goal, has_trash, trash_seconds = _POLICY.unpack_from(row)
    return row[_POLICY.size :].decode(), Policy(goal, trash_seconds if has_trash else None)


def _origin(row: bytes) -> tuple[str, Origin]:
    taken, first, files, length = _ORIGIN.unpack_from(row)
    source, target = row[_ORIGIN.size : _ORIGIN.size + length], row[_ORIGIN.size + length :]
    return target.decode(), Origin(source.decode(), taken, first, files)


def _rules(snapshot: Snapshot) -> Iterator[bytes]:
    if snapshot.safe_mode:
        yield b"s"
    for path, policy in snapshot.policies:
        trash = policy.trash_seconds
        yield b"p" + _POLICY.pack(policy.goal, trash is not None, trash or 0) + path.encode()
    for target, origin in snapshot.origins:
        source = origin.source.encode()
        facts = _ORIGIN.pack(origin.taken_microseconds, origin.first_file_id, origin.files, len(source))
        yield b"o" + facts + source + target.encode()


def _header(path: str, body: bytes) -> tuple[int, ...]:
    (found,) = _LENGTH.unpack_from(body)
    if found not in READABLE_FORMATS:
        raise IncompatibleFormat(f"{path} is in format {found}, this program reads format {FORMAT}; use a newer one")
    fields: tuple[int, ...] = (
        (*_HEADER_BEFORE_5.unpack(body), 0) if len(body) == _HEADER_BEFORE_5.size else _HEADER.unpack(body)
    )
    return fields


def _payloads(snapshot: Snapshot, first_sequence: int) -> Iterator[bytes]:
    totals = snapshot.totals
    count = 1
    yield b"H" + _HEADER.pack(
        FORMAT,
        first_sequence,
        totals.files,
        totals.directories,
        totals.hidden_files,
        totals.handle_limit,
        totals.last_stamp,
        totals.namespace,
        totals.epoch,
        totals.chunk_bytes,
    )
    if snapshot.servers:
        count += 1
        yield b"S" + "\0".join(snapshot.servers).encode()
    if snapshot.draining:
        count += 1
        yield b"P" + "\0".join(snapshot.draining).encode()
    groups = ["\0".join(group).encode() for group in snapshot.groups]
    rules = list(_rules(snapshot))
    for kind, parts in ((b"N", snapshot.leaves), (b"G", groups), (b"C", snapshot.segments), (b"T", rules)):
        for body in _joined(parts):
            count += 1
            yield kind + body
    tables: tuple[tuple[bytes, Iterable[Row]], ...] = ((b"F", snapshot.sharings.rows()), (b"R", snapshot.requests))
    for kind, rows in tables:
        left = iter(rows)
        while some := b"".join([_ROW.pack(*row) for row in islice(left, _ROWS_A_FRAME)]):
            count += 1
            yield kind + some
    rows_by_kind = ((b"A", snapshot.attempted.items()), (b"D", snapshot.admissions), (b"M", snapshot.tenures))
    for kind, rows_of in rows_by_kind:
        pairs = b"".join(_PAIR.pack(first, second) for first, second in sorted(rows_of))
        if pairs:
            count += 1
            yield kind + pairs
    yield b"E" + count.to_bytes(8, "little")


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Byte strings with their lengths, in slices."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered += (_LENGTH.pack(len(part)), part)
        size += len(part)
        if size >= _SLICE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _unjoined(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        yield body[at : at + length]
        at += length
