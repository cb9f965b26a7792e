"""What lasts: leases, down-times, pauses and faults, from the events at both of their ends.

A lease is drawn on the lane of the primary that holds it, from what this one recorded: what the master believes of it
may differ, and is among the master's moments. A node is down from its stop, or its kill, to its next start. Tablets
and the lives of their servers are in `tablets.py`.
"""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.timeline.model import Bar, BarKind, Tone
from cluster.timeline.subjects import chunk
from cluster.timeline.tablets import bars_of_tablets
from cluster.timeline.timed import Timed

_KILLS = ("Kill(", "PowerCut(", "EmptyDisk(", "WrongFolder(")
_BEGINS = {"FaultBegan": "FaultEnded", "FaultImposed": "FaultHealed"}  # and what says that it is over
# A node that starts records these before it says that it has started.
_OF_A_START = frozenset(
    {"StoreOpened", "LogReplayed", "WriteResolved", "ChunkPutAside", "ChunkUnreadable", "MetadataRepaired"}
)


def bars_of(
    timed: Sequence[Timed], lanes: dict[str, int], end: int, sent: Mapping[int, Sequence[int]] | None = None
) -> list[Bar]:
    """All bars of a run, in order of their begin. `timed` is in order of time, `end` is when the run ends, `sent` when
    each lane sent messages, as far as that is known: whoever sends is not down."""
    down = _down_times(timed, lanes, end, sent or {})
    bars = [*down, *_leases(timed, down, end), *_pauses(timed, lanes, end), *_faults(timed, end)]
    bars += bars_of_tablets(timed, down, end)
    return sorted(bars, key=lambda bar: (bar.begin, bar.lane))


def _down_times(
    timed: Sequence[Timed], lanes: dict[str, int], end: int, sent: Mapping[int, Sequence[int]]
) -> list[Bar]:
    bars: list[Bar] = []
    for node, lane in lanes.items():
        is_up, since, why = False, -1, ""
        last, given_up = -1, -1  # its last record; when the master, which has given it up, had last heard of it
        begun = -1  # when it recorded something for the first time that belongs to a start
        for one in timed:
            kind, event = one.kind, _fields(one)
            is_its_own = one.lane == lane
            if is_its_own and kind == "NodeStarted":
                if is_up:  # Nobody recorded its end.
                    before = one.time if begun < 0 else begun
                    since = max(last, given_up, _latest(sent.get(lane, ()), before))
                    why = "killed, at some time after its last sign of life"
                if since >= 0:
                    bars.append(_down(lane, node, since, one.time, why))
                is_up, since, last, given_up, begun = True, -1, one.time, -1, -1
            elif is_its_own and kind == "NodeStopped":
                is_up, since, why = False, one.time, "stopped in good order"
            elif is_up and _kills(kind, event, node):
                is_up, since, why = False, one.time, "killed"
            elif is_up and kind == "ChunkserverDied" and event.server == node:
                given_up = max(last, one.time - int(event.silence_seconds * 1e6))
            elif is_its_own and kind in _OF_A_START:
                begun = one.time if begun < 0 else begun
            elif is_its_own:
                last, given_up, begun = one.time, -1, -1  # It was cut off, or stood still, and lives.
        if is_up and given_up >= 0 and not _is_paused(timed, lanes, node, end):
            since, why = given_up, "the master heard nothing more of it"
        if since >= 0:
            bars.append(_down(lane, node, since, end, why, is_open=True))
    return bars


def _latest(times: Sequence[int], before: int) -> int:
    """The last of the times, which are sorted, before another; -1 if there is none."""
    place = bisect.bisect_left(times, before)
    return times[place - 1] if place else -1


def _is_paused(timed: Sequence[Timed], lanes: dict[str, int], node: str, end: int) -> bool:
    """Whether a node stands still at the end."""
    return any(bar.lane == lanes[node] and bar.end == end for bar in _pauses(timed, lanes, end))


def _down(lane: int, node: str, begin: int, end: int, why: str, *, is_open: bool = False) -> Bar:
    return Bar(begin, max(begin, end), lane, BarKind.DOWN, f"{node} is down: {why}", Tone.TROUBLE, "", (), is_open)


def _kills(kind: str, event: Any, node: str) -> bool:
    if kind == "NodeKilled":
        return bool(event.node == node)
    return kind in _BEGINS and event.what.startswith(_KILLS) and node in event.nodes.split(", ")


def _leases(timed: Sequence[Timed], down: Sequence[Bar], end: int) -> list[Bar]:
    """From the moment in which a server becomes primary to its end: by its own words, its death, or its next lease."""
    bars: list[Bar] = []
    held: dict[tuple[int, int], Timed] = {}

    def close(key: tuple[int, int], time: int, why: str, *, is_open: bool = False) -> None:
        begun = held.pop(key, None)
        if begun is not None:
            event = _fields(begun)
            text = f"lease on chunk {event.handle:#x}, version {event.version}, of {begun.record.node}: {why}"
            about = (chunk(event.handle),)
            bars.append(
                Bar(begun.time, time, begun.lane, BarKind.LEASE, text, Tone.PLAIN, begun.record.cause, about, is_open)
            )

    ends = sorted((bar.begin, bar.lane) for bar in down)
    for one in timed:
        while ends and ends[0][0] <= one.time:
            time, lane = ends.pop(0)
            for key in [key for key in held if key[0] == lane]:
                close(key, max(time, held[key].time), "ended with its server")
        if one.kind == "LeaseReceived":
            key = (one.lane, _fields(one).handle)
            close(key, one.time, "followed by another one")
            held[key] = one
        elif one.kind == "LeaseEnded":
            close((one.lane, _fields(one).handle), one.time, _fields(one).reason)
    for key in list(held):
        close(key, max(end, held[key].time), "held to the end of what was recorded", is_open=True)
    return bars


def _pauses(timed: Sequence[Timed], lanes: dict[str, int], end: int) -> list[Bar]:
    bars: list[Bar] = []
    since: dict[str, int] = {}

    def close(node: str, time: int, *, is_open: bool = False) -> None:
        if (begin := since.pop(node, None)) is not None and node in lanes:
            text = f"{node} stands still"
            bars.append(Bar(begin, time, lanes[node], BarKind.PAUSED, text, Tone.FAULT, "", (), is_open))

    for one in timed:
        event = _fields(one)
        if one.kind == "NodePaused":
            since.setdefault(event.node, one.time)
        elif one.kind in ("NodeResumed", "NodeKilled"):
            close(event.node, one.time)
        elif one.kind in _BEGINS and event.what.startswith("Pause("):
            for node in event.nodes.split(", "):
                since.setdefault(node, one.time)
        elif one.kind in _BEGINS.values() and event.what.startswith("Pause("):
            for node in event.nodes.split(", "):
                close(node, one.time)
        elif one.kind == "NodeStarted":
            close(one.record.node, one.time)
    for node in list(since):
        close(node, end, is_open=True)
    return bars


def _faults(timed: Sequence[Timed], end: int) -> list[Bar]:
    """The faults of a plan that last, and those that were imposed, on the lane of faults."""
    bars: list[Bar] = []
    begun: dict[tuple[str, int], Timed] = {}

    def close(first: Timed, time: int, *, is_open: bool = False) -> None:
        event = _fields(first)
        text = event.words if first.kind == "FaultImposed" else f"{event.what} at {event.nodes}"
        bars.append(Bar(first.time, time, first.lane, BarKind.FAULT, text, Tone.FAULT, "", (), is_open))

    for one in timed:
        if one.kind in _BEGINS:
            begun[_BEGINS[one.kind], _fields(one).number] = one
        elif (first := begun.pop((one.kind, getattr(one.record.event, "number", 0)), None)) is not None:
            close(first, one.time)
    for first in begun.values():
        if first.kind == "FaultImposed":  # One that ends by itself is noted only by its duration.
            due = first.time + int(_fields(first).seconds * 1_000_000)
            close(first, min(due, end) if due > first.time else end, is_open=not first.time < due <= end)
    return bars


def _fields(one: Timed) -> Any:
    """The event, whose fields its kind decides."""
    return one.record.event
