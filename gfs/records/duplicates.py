"""Which records have been seen (GFS 2.7.2): the second copy of a record is left out. Pure.

The problem. A reader cannot remember the number of every record of a file that grows for years. The idea: a writer has
no more than `WINDOW` numbers under way, from the oldest that it still waits for. When it gives the number n, the
records before n - WINDOW are acknowledged, and stand before record n in the file, or have failed. So a number that is
so far below the highest that was seen is a copy, and need not be remembered.

>>> seen = Duplicates()
>>> [seen.is_new(7, number) for number in (1, 3, 2, 3)], seen.is_new(8, 3)
([True, True, True, False], True)
"""

from dataclasses import dataclass, field

WINDOW = 1024
"""How far a writer's numbers under way are apart at most."""


@dataclass(slots=True)
class _Seen:
    """The highest number of one writer, and those that were seen within the window below it."""

    highest: int = 0
    recent: set[int] = field(default_factory=set)


class Duplicates:
    """Tells the first copy of a record from the others."""

    def __init__(self) -> None:
        self.duplicates = 0
        self._writers: dict[int, _Seen] = {}

    def is_new(self, writer: int, sequence: int) -> bool:
        """Whether this is the first time that the record of this number is seen."""
        seen = self._writers.setdefault(writer, _Seen())
        if sequence <= seen.highest - WINDOW or sequence in seen.recent:
            self.duplicates += 1
            return False
        seen.recent.add(sequence)
        seen.highest = max(seen.highest, sequence)
        if len(seen.recent) > 2 * WINDOW:
            seen.recent = {number for number in seen.recent if number > seen.highest - WINDOW}
        return True

    def check_invariants(self) -> None:
        """Raise AssertionError if more is remembered than is needed."""
        assert all(len(seen.recent) <= 2 * WINDOW for seen in self._writers.values())
