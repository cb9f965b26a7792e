"""SSTables that could not be read, and that compactions therefore leave alone (BT 5.4).

The problem. A compaction reads every block of its inputs, so one damaged block fails all of it. Tried again and again,
it reads and writes the same gigabytes for nothing, again and again; given up, the SSTables pile up until writes wait
for a compaction that never comes.

The idea. The SSTable that could not be read is *set aside*, and compactions continue among the runs of neighbours in
age on both sides of it. How long depends on why. Damage does not heal, since an SSTable never changes: it is set aside
until the tablet is opened again, perhaps with a copy of the file in its place. An error of the disk may pass: a second
the first time, and twice as long each time it comes back, up to an hour; then the next compaction that wants the file
tries again.

>>> from runtime.errors import Corrupted, DiskFailure
>>> quarantine = Quarantine()
>>> quarantine.set_aside(7, Corrupted("000007.sst: the block at offset 0 is damaged"), now=100.0)
inf
>>> [quarantine.set_aside(9, DiskFailure("cannot read 000009.sst"), now=100.0) for _ in range(3)]
[1.0, 2.0, 4.0]
>>> sorted(quarantine.left_out(now=103.0)), sorted(quarantine.left_out(now=200.0))
([7, 9], [7])

Reads never ask the quarantine: they give Corrupted for a row in a damaged block, and an answer for every other one.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from runtime.errors import Corrupted, IncompatibleFormat, TabletopError

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 3600.0


class Numbered(Protocol):
    """Anything that stands for an SSTable."""

    @property
    def number(self) -> int:
        """Its file number."""


T = TypeVar("T", bound=Numbered)


@dataclass(frozen=True, slots=True)
class SetAside:
    """Why an SSTable is left alone, and until when: seconds on the node's clock, or for ever."""

    reason: str
    attempts: int
    until: float


class Quarantine:
    """The SSTables of one open tablet that are set aside. Pure: `now` is an argument, in seconds."""

    def __init__(self) -> None:
        self._tables: dict[int, SetAside] = {}

    def set_aside(self, number: int, error: TabletopError, now: float) -> float:
        """Leave an SSTable alone from now on; returns for how many seconds, infinitely many for damage."""
        attempts = self._tables[number].attempts + 1 if number in self._tables else 1
        seconds = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempts - 1, 20))
        if isinstance(error, Corrupted | IncompatibleFormat):
            seconds = math.inf
        self._tables[number] = SetAside(error.message, attempts, now + seconds)
        return seconds

    def left_out(self, now: float) -> frozenset[int]:
        """The numbers of the SSTables that compactions must leave alone now."""
        return frozenset(number for number, found in self._tables.items() if now < found.until)

    def reason(self, number: int) -> str:
        """What was wrong with an SSTable when it was last read for a compaction; empty if nothing was."""
        found = self._tables.get(number)
        return found.reason if found is not None else ""

    def release(self, numbers: Sequence[int]) -> None:
        """These SSTables could be read after all."""
        for number in numbers:
            self._tables.pop(number, None)

    def check_invariants(self) -> None:
        """Assert what must hold between any two operations."""
        for found in self._tables.values():
            assert found.attempts > 0 and found.reason


def runs_between(tables: Sequence[T], left_out: Container[int]) -> list[list[T]]:
    """The runs of neighbours that remain between the SSTables that are left out, in their order.

    >>> from tablet.engine.maintenance.policies import TableSize
    >>> tables = [TableSize(f"{number}.sst", number, 10) for number in (9, 8, 7, 6, 5)]
    >>> [[table.number for table in run] for run in runs_between(tables, {9, 7})]
    [[8], [6, 5]]
    """
    runs: list[list[T]] = [[]]
    for table in tables:
        if table.number in left_out:
            runs.append([])
        else:
            runs[-1].append(table)
    return [run for run in runs if run]
