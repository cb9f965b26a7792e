"""What people did to a real cluster on purpose, in a file of the cluster's own.

A node that is killed cannot record it, and who looks at the cluster later wants to know what was done to it, and when.
`RealCluster` notes every fault here; `tabletop timeline` marks them. In a simulation `FaultRunner` records faults.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from runtime.events import Event, EventLog
from runtime.real.event_file import EventFile, FileSink, read_events

FAULTS = "faults"
"""The node that records of faults are said to come from, in both worlds."""
FILE_NAME = "faults.jsonl"


@dataclass(frozen=True, slots=True)
class NodeKilled(Event):
    """Somebody ended a node without a warning."""

    sentence: ClassVar[str] = "killed {node}"
    node: str


@dataclass(frozen=True, slots=True)
class NodePaused(Event):
    """Somebody froze a node."""

    sentence: ClassVar[str] = "paused {node}"
    node: str


@dataclass(frozen=True, slots=True)
class NodeResumed(Event):
    """Somebody let a frozen node go on."""

    sentence: ClassVar[str] = "let {node} go on"
    node: str


@dataclass(frozen=True, slots=True)
class BlockFlipped(Event):
    """Somebody flipped bits in a stored block, behind its server's back."""

    sentence: ClassVar[str] = "flipped {count} bytes of block {block} of chunk {handle:#x} on {server}"
    server: str
    handle: int
    block: int
    count: int
    path: str


@dataclass(frozen=True, slots=True)
class FaultImposed(Event):
    """A fault began that somebody asked for on the spot, and lasts: for so many seconds, or until it is healed (0)."""

    sentence: ClassVar[str] = "fault {number} begins: {words}"
    number: int
    what: str
    nodes: str
    words: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FaultStruck(Event):
    """A fault struck that somebody asked for on the spot, and has no end: damage to stored bytes."""

    sentence: ClassVar[str] = "{words}"
    number: int
    what: str
    nodes: str
    words: str


@dataclass(frozen=True, slots=True)
class FaultHealed(Event):
    """A fault that was imposed is over: healed, or after its time."""

    sentence: ClassVar[str] = "fault {number} is over: {words}"
    number: int
    what: str
    nodes: str
    words: str


def note_fault(folder: Path, event: Event) -> None:
    """Append to the file of a cluster's folder. A fault that cannot be noted has happened all the same: no error."""
    with contextlib.suppress(OSError):
        sink = FileSink(folder / FILE_NAME)
        try:
            EventLog(FAULTS, sink, wall_microseconds=lambda: time.time_ns() // 1000).emit(event)
        finally:
            sink.close()


def read_faults(folder: Path) -> EventFile:
    """All that was noted."""
    return read_events(folder / FILE_NAME)
