"""One life out of the records of all nodes: that of a chunk, or of a file (GFS 5.3).

The problem. The paper's servers keep logs of "many significant events", and whoever wants to know what became of one
file reads all of them side by side. The idea: the records of all nodes are put in an order that respects cause (their
Lamport clocks), and those that name the chunk, or the file under whatever name it had at that moment, are its life.

A file is followed through its names: it is created, renamed, also with a directory above it, deleted to a hidden name,
restored from there, and at last forgotten. Another file that gets the same path later lives another life. What befell
the file's chunks belongs to its life.

What we simplify. A file from before the oldest record that is kept is known from its first rename or chunk on. Who made
a directory is not recorded, so that directories have no lives.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from master.events import (
    ChunkCreated,
    ChunkserverDied,
    CloneFinished,
    EntryRenamed,
    FileCreated,
    FileDeleted,
    FileReclaimed,
    FileReplaced,
    LeaseGranted,
    LogReplayed,
    ReplicaFound,
    ReplicaLost,
    ReplicationSet,
    VersionRaised,
)
from runtime.events import Event, Record, in_causal_order, sentence
from tabletop import wording

TOLD_AT_MOST = 3
"""The same kind of event of one chunk on one node, one after the other, is told so often, and then counted."""


class ChunkLife:
    """What one chunk lived through, and what became of it as of the last record."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.records: list[Record] = []
        self.version = 0
        self.holders: dict[str, None] = {}  # whose replicas count, as far as was recorded
        self.leases = 0
        self.copies = 0

    def hear(self, record: Record) -> bool:
        """Take note of a record if it is about this chunk; whether it is."""
        event = record.event
        is_about = names_chunk(event, self.handle)
        if isinstance(event, ChunkserverDied):
            is_about = event.server in self.holders
            self.holders.pop(event.server, None)
        elif isinstance(event, LogReplayed):
            self.holders.clear()  # A master that has started asks where everything is.
        elif is_about:
            self._note(event)
        if is_about:
            self.records.append(record)
        return is_about

    def _note(self, event: Event) -> None:
        match event:
            case ChunkCreated(servers=servers):
                self.version, self.holders = max(1, self.version), dict.fromkeys(servers)
            case LeaseGranted(version=version):
                self.version, self.leases = max(self.version, version), self.leases + 1
            case VersionRaised(version=version):
                self.version = max(self.version, version)
            case ReplicaFound(server=server, version=version):
                self.version = max(self.version, version)
                self.holders[server] = None
            case CloneFinished(destination=server):
                self.holders[server], self.copies = None, self.copies + 1
            case ReplicaLost(server=server):
                self.holders.pop(server, None)

    def summary(self) -> str:
        """What became of it, in one sentence."""
        where = ", ".join(sorted(self.holders))
        return (
            f"As of the last of {wording.count(len(self.records), 'event')}, chunk {self.handle:#x} has version "
            f"{self.version} and {'replicas that count on ' + where if where else 'no replica that counts'}, after "
            f"{wording.count(self.leases, 'lease')} and {wording.count(self.copies, 'copy', 'copies')}."
        )


@dataclass(slots=True)
class Life:
    """What one file lived through. `path` is its last known name, "" when it is forgotten."""

    path: str
    names: dict[str, None] = field(default_factory=dict)
    chunks: dict[int, ChunkLife] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names[self.path] = None

    def summary(self) -> str:
        """What became of it, in two sentences."""
        now = f"It is {wording.printable(self.path)} now" if self.path else "It is forgotten"
        chunks = ", ".join(f"{handle:#x}" for handle in self.chunks)
        return f"{now}. It had {wording.count(len(self.chunks), 'chunk')}{': ' + chunks if chunks else ''}."


def life_of_chunk(records: Iterable[Record], handle: int) -> ChunkLife:
    """The records that name a chunk, or the death of a server that had it, in causal order."""
    life = ChunkLife(handle)
    for record in in_causal_order(records):
        life.hear(record)
    return life


def names_chunk(event: Event, handle: int) -> bool:
    """Whether an event names this chunk."""
    fields: Any = event
    return getattr(fields, "handle", None) == handle or f"{handle:#x}" in getattr(fields, "handles", ())


def lives_of_file(records: Iterable[Record], path: str) -> list[Life]:
    """The lives of all files that ever had a path, in the order in which they had it."""
    lives: list[Life] = []
    for record in in_causal_order(records):
        _tell(lives, record)
    return [life for life in lives if path in life.names]


def _tell(lives: list[Life], record: Record) -> None:
    """Add a record to the lives that it belongs to."""
    match record.event:
        case FileCreated(path=path):
            lives.append(Life(path, records=[record]))
        case ChunkCreated(path=path, handle=handle):
            if _at(lives, path) is None:
                lives.append(Life(path))
            for life in _at_and_below(lives, path):
                life.chunks[handle] = ChunkLife(handle)
                life.chunks[handle].hear(record)
                life.records.append(record)
        case FileReplaced(path=path, hidden=hidden) | FileDeleted(path=path, hidden=hidden):
            _move(lives, path, hidden, record)
        case EntryRenamed(source=source, target=target):
            if not _move(lives, source, target, record):
                # Of something older than the oldest record: a file, or a directory without files that are known.
                lives.append(Life(source, records=[record]))
                _name(lives[-1], target)
        case FileReclaimed(path=path):
            for life in [*_at_and_below(lives, path)]:
                life.records.append(record)
                life.path = ""
        case ReplicationSet(path=path):
            for life in _at_and_below(lives, path):
                life.records.append(record)
        case _:
            for life in lives:
                heard = [chunk.hear(record) for chunk in life.chunks.values()]  # Each hears it.
                if any(heard):
                    life.records.append(record)


def _move(lives: list[Life], source: str, target: str, record: Record) -> bool:
    """Every file at and below a path gets another name; False if none is known."""
    moved = list(_at_and_below(lives, source))
    for life in moved:
        life.records.append(record)
        _name(life, target + life.path[len(source) :])
    return bool(moved)


def _name(life: Life, path: str) -> None:
    life.path = path
    life.names[path] = None


def _at(lives: list[Life], path: str) -> Life | None:
    return next((life for life in reversed(lives) if life.path == path), None)


def _at_and_below(lives: list[Life], path: str) -> Iterator[Life]:
    return (life for life in lives if life.path and (life.path == path or life.path.startswith(path + "/")))


# Telling it


def told(records: Sequence[Record]) -> list[str]:
    """One line a record: local time, node, and what happened; runs of the same are shortened."""
    lines: list[str] = []
    run: list[Record] = []
    for record in records:
        if run and _key(record) != _key(run[0]):
            lines.extend(_told_run(run))
            run = []
        run.append(record)
    lines.extend(_told_run(run))
    return lines


def _told_run(run: Sequence[Record]) -> Iterator[str]:
    for record in run[:TOLD_AT_MOST]:
        yield _line(record)
    left = run[TOLD_AT_MOST:]
    if left:
        events = wording.count(len(left), "more of this kind", "more of this kind")
        yield f"{'':24} {left[-1].node:<8} {events}, the last at {_time(left[-1])}"


def _key(record: Record) -> tuple[str, str, int]:
    return record.node, type(record.event).__name__, getattr(record.event, "handle", 0)


def _line(record: Record) -> str:
    cause = f" [{record.cause}]" if record.cause else ""
    return f"{_time(record):24} {record.node:<8} {sentence(record.event)}{cause}"


def _time(record: Record) -> str:
    time = datetime.datetime.fromtimestamp(record.wall_microseconds / 1e6)
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d}"
