"""The rules of the formats that timelines are written in, as their own descriptions state them.

Perfetto: the Trace Event Format (a document of the Chromium project), as far as we use it, and what Perfetto's own
documentation demands beyond it: slices of one thread nest. ShiViz: the parser and the graph of its program, which
refuse clocks that begin elsewhere than at 1, have gaps, name hosts without lines, or lines that do not exist.
"""

import json
import re
from typing import Any

REQUIRED = {
    "M": {"name", "pid", "args"},
    "i": {"name", "pid", "tid", "ts", "s"},
    "X": {"name", "pid", "tid", "ts", "dur"},
    "b": {"name", "cat", "id", "pid", "ts"},
    "e": {"name", "cat", "id", "pid", "ts"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "pid", "tid", "ts"},
}
METADATA = {"process_name", "process_sort_index", "thread_name"}


def check_trace_events(text: str) -> list[dict[str, Any]]:
    """Raise AssertionError unless the text is a file in the Trace Event Format; returns its events."""
    whole = json.loads(text)
    events: list[dict[str, Any]] = whole["traceEvents"]
    assert whole["displayTimeUnit"] in ("ms", "ns")
    slices: dict[tuple[int, int], list[tuple[int, int]]] = {}
    open_spans: dict[tuple[str, str, int], int] = {}
    flows: dict[tuple[str, str, int], list[str]] = {}
    for event in events:
        phase = event["ph"]
        assert REQUIRED[phase] <= set(event), event
        if phase == "M":
            assert event["name"] in METADATA, event
            continue
        assert isinstance(event["ts"], int | float) and event["ts"] >= 0, event
        identity = (event.get("cat", ""), str(event.get("id", "")), event["pid"] if phase in "be" else 0)
        if phase == "i":
            assert event["s"] in ("g", "p", "t"), event
        elif phase == "X":
            begin = round(event["ts"] * 1000)
            slices.setdefault((event["pid"], event["tid"]), []).append((begin, begin + round(event["dur"] * 1000)))
        elif phase == "b":
            open_spans[identity] = open_spans.get(identity, 0) + 1
        elif phase == "e":
            open_spans[identity] -= 1
        else:
            flows.setdefault(identity, []).append(phase)
    assert set(open_spans.values()) <= {0}, "each span that begins ends"
    assert all(phases in (["s", "f"],) for phases in flows.values()), "each flow begins, then ends"
    for found in slices.values():
        _check_nesting(sorted(found))
    _check_flows_in_slices(events, slices)
    return events


def _check_nesting(slices: list[tuple[int, int]]) -> None:
    around: list[int] = []
    for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
        while around and around[-1] <= begin:
            around.pop()
        assert not around or end <= around[-1], "slices of one thread nest"
        around.append(end)


def _check_flows_in_slices(events: list[dict[str, Any]], slices: dict[tuple[int, int], list[tuple[int, int]]]) -> None:
    begins = {key: {begin for begin, _ in found} for key, found in slices.items()}
    for event in events:
        if event["ph"] in "sf":
            assert round(event["ts"] * 1000) in begins[event["pid"], event["tid"]], "a flow ends in a slice"
        if event["ph"] == "f":
            assert event["bp"] == "e"


def check_shiviz(text: str) -> list[tuple[str, str, dict[str, int]]]:
    """Raise AssertionError unless ShiViz would take the text as a file; returns events, hosts and clocks."""
    expression, delimiter, log = text.split("\n", 2)
    assert delimiter == ""
    # Named groups are written otherwise in Python.
    found = [
        (match["event"], match["host"], json.loads(match["clock"]))
        for match in re.finditer(expression.replace("(?<", "(?P<"), log)
    ]
    assert 2 * len(found) == len(log.splitlines()), "every line belongs to an event"
    lines: dict[str, list[dict[str, int]]] = {}
    for _, host, clock in found:
        assert host in clock, "a host knows itself"
        lines.setdefault(host, []).append(clock)
    for host, clocks in lines.items():
        own = sorted(clock[host] for clock in clocks)
        assert own == list(range(1, len(own) + 1)), f"the clock of {host} counts from 1 without a gap"
    for _, host, clock in found:
        for other, count in clock.items():
            assert other in lines and 1 <= count <= len(lines[other]), f"{host} knows of what {other} has no line for"
            known = next(one for one in lines[other] if one[other] == count)
            assert all(clock.get(third, 0) >= seen for third, seen in known.items()), "what is known of is known whole"
    return found
