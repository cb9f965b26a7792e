"""The faults of links and disks that one node knows of, by number, each with its end.

A node of the real world asks this table about each message and each operation of its disk. Rules that end by themselves
are dropped when somebody asks after their end: nothing has to tick.

>>> table = FaultTable(lambda: 5.0)
>>> table.set([Rule(1, None, links=(LinkRule("cs1", ANY, blocked=True),))])
>>> table.way("cs1", "cs2", None).blocked, table.way("cs2", "cs1", None).blocked
(True, False)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.faults.disk import DiskFault, ImposedFaults
from runtime.faults.links import SOUND, Kind, LinkFaults
from runtime.faults.undo import Undo

ANY = "*"
CLIENTS = "client"
"""How all those are called that talk to nodes of a cluster of processes and are none: commands, applications."""


@dataclass(frozen=True, slots=True)
class LinkRule:
    """What is wrong with the way from one node to another, or to and from `ANY`; only for messages of one kind, or for
    all."""

    source: str
    target: str
    faults: LinkFaults = SOUND
    blocked: bool = False
    kind: Kind | None = None

    def covers(self, source: str, target: str, kind: Kind | None) -> bool:
        """Whether it is about a message."""
        return self.source in (source, ANY) and self.target in (target, ANY) and self.kind in (None, kind)


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault, as a node carries it out. `ends_at`: seconds since the epoch; None: until it is taken away."""

    number: int
    ends_at: float | None = None
    links: tuple[LinkRule, ...] = ()
    disk: tuple[DiskFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """What all rules together make of a way."""

    blocked: bool = False
    faults: LinkFaults = SOUND


OPEN = Way()


class FaultTable:
    """The rules in force. `now` is the time in seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rules: dict[int, Rule] = {}
        self._next_end: float | None = None
        self._ways: dict[tuple[str, str, Kind | None], Way] = {}
        self._disk = ImposedFaults()
        self._undo: dict[int, list[Undo]] = {}

    def set(self, rules: Sequence[Rule]) -> None:
        """These are the rules from now on. One that was there before goes on: what it has counted stays."""
        self._rules = {rule.number: rule for rule in rules}
        self._settle()

    def numbers(self) -> list[int]:
        """Those of the rules in force."""
        self._expire()
        return list(self._rules)

    def way(self, source: str, target: str, kind: Kind | None) -> Way:
        """What becomes of a message."""
        self._expire()
        if not self._rules:
            return OPEN
        key = (source, target, kind)
        found = self._ways.get(key)
        if found is None:
            blocked, faults = False, SOUND
            for rule in self._rules.values():
                for link in rule.links:
                    if link.covers(source, target, kind):
                        blocked, faults = blocked or link.blocked, faults.and_also(link.faults)
            found = self._ways[key] = Way(blocked, faults)
        return found

    def disk(self) -> ImposedFaults:
        """What is wrong with the disk."""
        self._expire()
        return self._disk

    def _expire(self) -> None:
        if self._next_end is not None and self._now() >= self._next_end:
            self._settle()

    def _settle(self) -> None:
        now = self._now()
        for number in [
            rule.number for rule in self._rules.values() if rule.ends_at is not None and rule.ends_at <= now
        ]:
            del self._rules[number]
        self._next_end = min((rule.ends_at for rule in self._rules.values() if rule.ends_at is not None), default=None)
        self._ways.clear()
        for number in [number for number in self._undo if number not in self._rules]:
            for undo in self._undo.pop(number):
                undo()
        for rule in self._rules.values():
            if rule.disk and rule.number not in self._undo:
                self._undo[rule.number] = [self._disk.add(fault) for fault in rule.disk]
