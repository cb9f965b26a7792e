"""The life of one tablet out of the records of all nodes (GFS 5.3, BT 5.1).

Its own events name it: loads, unloads, splits, compactions, what was taken over. Events of tablet servers belong to it
when they are about a life that served it: the end of that life, its burial, the sorting of its log.
"""

from collections.abc import Iterable

from runtime.events import Event, Record, in_causal_order
from tablet.engine.world.events import CompactionStarted, FlushStarted, MemtableFrozen, TabletFound
from tablet.hosting.events import (
    LogOfDeadServerSorted,
    ServerLifeBegan,
    ServerLifeEnded,
    TabletLoaded,
    TabletMergeCommitted,
    TabletSplitCommitted,
    TabletUnloaded,
)
from tablet.master.events import LogsOfTheDeadRemoved, TabletAssigned, TabletServerBuried
from tabletop import wording

_LEFT_OUT = (CompactionStarted, FlushStarted, MemtableFrozen, TabletFound)  # Their ends say more.
_OF_A_LIFE = (LogOfDeadServerSorted, LogsOfTheDeadRemoved, ServerLifeEnded, TabletServerBuried)


class TabletLife:
    """What one tablet lived through, and what became of it as of the last record."""

    def __init__(self, tablet: str) -> None:
        self.tablet = tablet
        self.records: list[Record] = []
        self.parents: tuple[str, ...] = ()
        self.children: tuple[str, ...] = ()
        self.loads = 0
        self.holder = ""  # the life that serves it
        self._lives: dict[str, None] = {}  # that served it
        self._present: dict[str, str] = {}  # by node

    def hear(self, record: Record) -> None:
        """Take note of a record."""
        event = record.event
        if isinstance(event, ServerLifeBegan):
            self._present[record.node] = event.life
        elif isinstance(event, _OF_A_LIFE):
            if event.life in self._lives:
                self.records.append(record)
            if event.life == self.holder and isinstance(event, ServerLifeEnded | TabletServerBuried):
                self.holder = ""
        elif self._is_about(event):
            self._note(record)
            if not isinstance(event, _LEFT_OUT):
                self.records.append(record)

    def _is_about(self, event: Event) -> bool:
        return any(getattr(event, name, None) == self.tablet for name in ("tablet", "lower", "upper"))

    def _note(self, record: Record) -> None:
        match record.event:
            case TabletLoaded():
                self.loads += 1
                self._serve(self._present.get(record.node, record.node))
            case TabletAssigned(life=life):
                self._serve(life)
            case TabletUnloaded():
                self.holder = ""
            case TabletSplitCommitted(tablet=self.tablet, lower=lower, upper=upper):
                self.children, self.holder = (lower, upper), ""
            case TabletSplitCommitted(tablet=parent):
                self.parents = (parent,)
            case TabletMergeCommitted(lower=lower, upper=upper, tablet=self.tablet):
                self.parents = (lower, upper)
            case TabletMergeCommitted(tablet=whole):
                self.children, self.holder = (whole,), ""

    def _serve(self, life: str) -> None:
        self.holder = life
        self._lives[life] = None

    def summary(self) -> str:
        """What became of it, in a few sentences."""
        events, loads = wording.count(len(self.records), "event"), wording.count(self.loads, "load")
        now = f"is served by {self.holder}" if self.holder else "is served by nobody"
        if self.children:
            now = f"is {' and '.join(self.children)} now"
        told = f"As of the last of {events}, tablet {self.tablet} {now}, after {loads}."
        if self.parents:
            told += f" It came of {' and '.join(self.parents)}: see `tabletop story tablet {self.parents[0]}`."
        return told


def life_of_tablet(records: Iterable[Record], tablet: str) -> TabletLife:
    """The records that name a tablet, or a life that served it, in causal order."""
    life = TabletLife(tablet)
    for record in in_causal_order(records):
        life.hear(record)
    return life
