"""What a cluster said: the records of its nodes, the faults that people made, and facts that were looked up.

It is what questions are answered from, at the student's desk and again at the teacher's.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cluster.fault_log import FAULTS
from labs.drills.questions import NotYet
from runtime.events import Event, Record, record_from_json

E = TypeVar("E", bound=Event)
ALWAYS = frozenset({"NodeStarted"})
"""With a start of its program a node's logical clock begins anew: the grader has to see it."""
MOST_RECORDS = 20_000
"""More than a drill's cluster records in an hour of the kinds that are kept."""


@dataclass(frozen=True, slots=True)
class Found(Generic[E]):
    """One event of a kind that was asked for. `at` is in seconds since the epoch."""

    at: float
    node: str
    event: E


@dataclass(slots=True)
class Evidence:
    """`records` are in the order of the clock on the wall, which all processes of one machine share."""

    records: list[Record] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def all_of(self, kind: type[E], where: Callable[[E], bool] = lambda event: True) -> Iterator[Found[E]]:
        """Every event of a kind."""
        for record in self.records:
            if isinstance(record.event, kind) and where(record.event):
                yield Found(record.wall_microseconds / 1e6, record.node, record.event)

    def first(
        self,
        kind: type[E],
        where: Callable[[E], bool] = lambda event: True,
        *,
        after: float = 0.0,
        missing: str,
    ) -> Found[E]:
        """The first event of a kind after a moment. Raises NotYet with `missing`."""
        for found in self.all_of(kind, where):
            if found.at >= after:
                return found
        raise NotYet(missing)

    def fact(self, name: str) -> Any:
        """A fact. Raises NotYet."""
        if self.facts.get(name) is None:
            raise NotYet(f"the evidence lacks {name!r}")
        return self.facts[name]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"facts": self.facts, "records": [json.loads(record.to_json()) for record in self.records]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Evidence":
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError for what is none."""
        return cls([record_from_json(json.dumps(one)) for one in values["records"]], dict(values["facts"]))


def kept(records: Iterable[Record], kinds: frozenset[str], since: float) -> list[Record]:
    """Those records that a drill needs, in the order of the wall clock; the oldest go if there are too many."""
    found = [
        record
        for record in records
        if record.wall_microseconds >= since * 1e6
        and (record.node == FAULTS or type(record.event).__name__ in kinds | ALWAYS)
    ]
    return sorted(found, key=lambda record: record.wall_microseconds)[-MOST_RECORDS:]
