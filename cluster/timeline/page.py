"""One HTML page with everything in it: no server, no network, no library.

The model goes into the page as columns: a list of all times, a list of all lanes. Texts that repeat (kinds, causes) are
listed once, and times are the steps from one row to the next; so 100,000 events with their sentences take about 15 MB,
and a browser reads them in half a second. The page's own rules forbid it to fetch anything (Content-Security-Policy).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Any, TypeVar

from cluster.timeline.model import Arrow, Bar, Moment, Timeline

T = TypeVar("T", Moment, Arrow, Bar)
SCRIPTS = ("data.js", "view.js", "draw.js", "panel.js", "input.js")


def page_of(timeline: Timeline) -> Iterator[str]:
    """The parts of the page, to be written one after the other."""
    data = json.dumps(columns(timeline), separators=(",", ":"), ensure_ascii=True)
    values = {
        "title": _escaped(timeline.title),
        "css": _asset("page.css"),
        "data": data.replace("<", "\\u003c"),  # Nothing in a text ends the element that it stands in.
        "js": "\n".join(_asset(name) for name in SCRIPTS),
    }
    for number, part in enumerate(_asset("page.html").split("@")):
        yield values[part] if number % 2 else part


def columns(timeline: Timeline) -> dict[str, Any]:
    """The model as it stands in the page. Texts and subjects are told by their places in lists."""
    begin = timeline.begin
    texts, subjects = _Places(), _Places()
    texts("")
    moments = _columns(
        timeline.moments,
        begin,
        lambda one: one.time,
        subjects,
        lane=lambda one: one.lane,
        tone=lambda one: int(one.tone),
        kind=lambda one: texts(one.kind),
        text=lambda one: texts(one.text),
        cause=lambda one: texts(one.cause),
    )
    arrows = _columns(
        timeline.arrows,
        begin,
        lambda one: one.sent,
        subjects,
        span=lambda one: -1 if one.arrived is None else one.arrived - one.sent,
        source=lambda one: one.source,
        target=lambda one: one.target,
        kind=lambda one: int(one.kind),
        trouble=lambda one: int(one.trouble),
        text=lambda one: texts(one.text),
        detail=lambda one: texts(one.detail),
    )
    bars = _columns(
        timeline.bars,
        begin,
        lambda one: one.begin,
        subjects,
        span=lambda one: one.end - one.begin,
        lane=lambda one: one.lane,
        kind=lambda one: int(one.kind),
        tone=lambda one: int(one.tone),
        open=lambda one: int(one.is_open),
        text=lambda one: texts(one.text),
        cause=lambda one: texts(one.cause),
    )
    parts = {subjects(whole): [subjects(part) for part in found] for whole, found in timeline.parts.items()}
    return {
        "title": timeline.title,
        "facts": timeline.facts,
        "virtual": timeline.is_virtual,
        "begin": begin,
        "end": timeline.end - begin,
        "lanes": timeline.lanes,
        "findings": [
            {"text": found.text, "time": None if found.time is None else found.time - begin}
            for found in timeline.findings
        ],
        "moments": moments,
        "arrows": arrows,
        "bars": bars,
        "parts": parts,
        "subjects": subjects.all(),
        "texts": texts.all(),
    }


class _Places:
    """A list in which each text stands once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        """The texts, each at its place."""
        return list(self._places)


def _columns(
    rows: Sequence[T], begin: int, time: Callable[[T], int], subjects: _Places, **values: Callable[[T], int]
) -> dict[str, list[int]]:
    """One list for each of the values, and the times and subjects of all rows, which are sorted by time."""
    found: dict[str, list[int]] = {name: [value(row) for row in rows] for name, value in values.items()}
    found["time"] = list(_steps(time(row) - begin for row in rows))
    found["abouts"] = [len(row.subjects) for row in rows]
    found["about"] = [subjects(subject) for row in rows for subject in row.subjects]
    return found


def _steps(times: Iterable[int]) -> Iterator[int]:
    before = 0
    for time in times:
        yield time - before
        before = time


def _asset(name: str) -> str:
    return (resources.files("cluster.timeline") / "web" / name).read_text(encoding="utf-8")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
