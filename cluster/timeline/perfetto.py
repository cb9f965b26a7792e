"""A timeline in Chrome's trace-event format, which https://ui.perfetto.dev and chrome://tracing open.

The format ("Trace Event Format", a document of the Chromium project) is a JSON object with a list `traceEvents`. Each
has a phase `ph`, a process `pid`, a thread `tid` and a time `ts` in microseconds; we use

    M       metadata: the names of processes (our nodes) and of their threads
    i       an instant: a record; s says how far its mark reaches: "t", its thread
    X       a slice that lasts `dur`: a down-time, and the two ends of a message
    b, e    the begin and end of something that may overlap with others: a lease, a client's operation
    s, f    the begin and end of a flow: a message, from the slice that is open on its thread to the other one;
            bp "e" binds the end to the slice around it

Slices of one thread must nest. So the ends of messages, of which many fall on one microsecond, are slices of a
nanosecond that follow one another.
"""

import json
from collections.abc import Iterator
from typing import Any

from cluster.timeline.model import Bar, BarKind, Timeline

RECORDS, MESSAGES, STATE = 1, 2, 3
_THREADS = {RECORDS: "records", MESSAGES: "messages", STATE: "down or paused"}
_NANOSECOND = 0.001
Event = dict[str, Any]


def perfetto_of(timeline: Timeline) -> Iterator[str]:
    """The parts of the file, to be written one after the other."""
    head = {"displayTimeUnit": "ms", "otherData": {"title": timeline.title, "facts": timeline.facts}}
    yield json.dumps(head)[:-1] + ', "traceEvents": [\n'
    for number, event in enumerate(trace_events(timeline)):
        yield (",\n" if number else "") + json.dumps(event, separators=(",", ":"))
    yield "\n]}\n"


def trace_events(timeline: Timeline) -> Iterator[Event]:
    """All events, with times since the begin of the run."""
    for lane, name in enumerate(timeline.lanes):
        yield {"ph": "M", "name": "process_name", "pid": lane + 1, "tid": 0, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": lane + 1, "tid": 0, "args": {"sort_index": lane}}
        for thread, title in _THREADS.items():
            yield {"ph": "M", "name": "thread_name", "pid": lane + 1, "tid": thread, "args": {"name": title}}
    yield from _instants(timeline)
    for number, bar in enumerate(timeline.bars):
        yield from _bar(bar, number, timeline.begin)
    yield from _messages(timeline)


def _instants(timeline: Timeline) -> Iterator[Event]:
    for moment in timeline.moments:
        yield {
            "ph": "i",
            "s": "t",
            "name": moment.kind,
            "cat": moment.tone.name.lower(),
            "pid": moment.lane + 1,
            "tid": RECORDS,
            "ts": moment.time - timeline.begin,
            "args": {
                "text": moment.text,
                "cause": moment.cause,
                "lamport": moment.lamport,
                "about": list(moment.subjects),
            },
        }
    for finding in timeline.findings:
        if finding.time is not None:
            name = "a judge objects"
            at = {"pid": 1, "tid": RECORDS, "ts": finding.time - timeline.begin}
            yield {"ph": "i", "s": "g", "name": name, "cat": "violation", **at, "args": {"text": finding.text}}


def _bar(bar: Bar, number: int, begin: int) -> Iterator[Event]:
    common = {"name": bar.text.split(":")[0], "cat": bar.kind.name.lower(), "pid": bar.lane + 1}
    args = {"text": bar.text, "about": list(bar.subjects)}
    if bar.kind is BarKind.DOWN:
        yield {"ph": "X", **common, "tid": STATE, "ts": bar.begin - begin, "dur": bar.end - bar.begin, "args": args}
        return
    same = {**common, "tid": STATE, "id": f"{number:#x}"}
    yield {"ph": "b", **same, "ts": bar.begin - begin, "args": args}
    yield {"ph": "e", **same, "ts": bar.end - begin}


def _messages(timeline: Timeline) -> Iterator[Event]:
    latest: dict[int, float] = {}

    def free(lane: int, time: int) -> float:
        """A nanosecond of this lane that no message has yet, at or soon after the time."""
        at = round(max(float(time), latest.get(lane, -1.0) + 2 * _NANOSECOND), 3)
        latest[lane] = at
        return at

    ends = [(arrow.sent, number, True) for number, arrow in enumerate(timeline.arrows)]
    ends += [
        (arrow.arrived, number, False) for number, arrow in enumerate(timeline.arrows) if arrow.arrived is not None
    ]
    for time, number, is_begin in sorted(ends, key=lambda end: (end[0], not end[2])):
        arrow = timeline.arrows[number]
        lane, other = (arrow.source, arrow.target) if is_begin else (arrow.target, arrow.source)
        at = free(lane, time - timeline.begin)
        place = {"pid": lane + 1, "tid": MESSAGES, "ts": at}
        direction = "to" if is_begin else "from"
        args = {"detail": arrow.detail, direction: timeline.lanes[other], "about": list(arrow.subjects)}
        kind = arrow.kind.name.lower()
        yield {"ph": "X", "name": arrow.text, "cat": kind, **place, "dur": _NANOSECOND, "args": args}
        if arrow.arrived is not None:
            flow = {"name": "message", "cat": kind, "id": number + 1, **place}
            yield {"ph": "s", **flow} if is_begin else {"ph": "f", "bp": "e", **flow}
