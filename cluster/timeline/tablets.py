"""Which tablet server served which tablet, and when (BT 5.2).

A *life* of a tablet server lasts from when it holds its lock to the end of its session; its tablets lie within it. Both
are drawn from what the server itself recorded. A server that is killed records no end: its bars end with it.
"""

from collections.abc import Sequence
from typing import Any

from cluster.timeline.model import Bar, BarKind, Tone
from cluster.timeline.timed import Timed

_ENDS = frozenset({"TabletUnloaded", "TabletClosed"})


def bars_of_tablets(timed: Sequence[Timed], down: Sequence[Bar], end: int) -> list[Bar]:
    """The lives, and the tablets. `timed` is in order of time, `down` are the times in which nodes were down."""
    found = _Bars()
    deaths = sorted((bar.begin, bar.lane) for bar in down)
    for one in timed:
        while deaths and deaths[0][0] <= one.time:
            time, lane = deaths.pop(0)
            found.end_lane(lane, time, "its server went down")
        event: Any = one.record.event
        if one.kind == "ServerLifeBegan":
            found.end_lane(one.lane, one.time, "another life began")
            found.begin(one, "", f"{event.life} holds its lock")
        elif one.kind == "ServerLifeEnded":
            found.end_lane(one.lane, one.time, event.reason)
        elif one.kind == "TabletLoaded":
            found.end(one.lane, event.tablet, one.time, "loaded anew")
            found.begin(one, event.tablet, f"tablet {event.tablet} on {one.record.node}, token {event.token}")
        elif one.kind == "TabletSplitCommitted":
            found.end(one.lane, event.tablet, one.time, f"split into {event.lower} and {event.upper}")
        elif one.kind in _ENDS:
            found.end(one.lane, event.tablet, one.time, getattr(event, "reason", "closed"))
    found.end_all(end, "served to the end of what was recorded")
    return found.bars


class _Bars:
    """`bars` are those that have ended."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self._open: dict[tuple[int, str], tuple[Timed, str]] = {}

    def begin(self, one: Timed, tablet: str, text: str) -> None:
        """From here on. `tablet` is empty for a life."""
        self._open[one.lane, tablet] = one, text

    def end(self, lane: int, tablet: str, time: int, why: str, *, is_open: bool = False) -> None:
        """Up to here, if it has begun."""
        begun = self._open.pop((lane, tablet), None)
        if begun is None:
            return
        one, text = begun
        kind, about = (BarKind.TABLET, (f"tablet {tablet}",)) if tablet else (BarKind.LIFE, ())
        time = max(time, one.time)
        self.bars.append(
            Bar(one.time, time, lane, kind, f"{text}: {why}", Tone.PLAIN, one.record.cause, about, is_open)
        )

    def end_lane(self, lane: int, time: int, why: str) -> None:
        """All of a server."""
        for other, tablet in list(self._open):
            if other == lane:
                self.end(lane, tablet, time, why)

    def end_all(self, time: int, why: str) -> None:
        """The run is over."""
        for lane, tablet in list(self._open):
            self.end(lane, tablet, time, why, is_open=True)
