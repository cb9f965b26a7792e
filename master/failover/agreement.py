"""How far two logs agree, decided by the epochs in them and never by their lengths (GFS 5.1.3 leaves it open).

The problem. A master that died, or was cut off, may have written records that no other has, and that were never
answered. Meanwhile others have acted, and their logs have other records under the same numbers. When it comes back as a
shadow, what it has too many must go, and nothing else.

The idea. An epoch belongs to one master, which writes one log. So an epoch and a number name one record, wherever it
lies. A log is a row of *tenures*, each from its TenureBegun record to the one before the next. Two logs are equal up to
the last tenure that begins with the same number in both, and within that up to the end of the shorter one.

>>> ours = LogExtent(((1, 2), (2, 40)), last_sequence=90)
>>> agreed_through(ours, LogExtent(((1, 2),), 35)), agreed_through(ours, LogExtent(((1, 2),), 47))
(35, 39)
>>> agreed_through(ours, LogExtent(((1, 2), (3, 40)), 60)), agreed_through(ours, ours)
(39, 90)
>>> agreed_through(ours, LogExtent((), 1)), agreed_through(ours, LogExtent((), 0))
(1, 0)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogExtent:
    """What a log has: for each tenure its epoch and the number of its first record, in order; and its last record."""

    tenures: tuple[tuple[int, int], ...]
    last_sequence: int

    def end_of(self, place: int) -> int:
        """The last record of the tenure at this place; before the first (-1) lies the log's opening."""
        following = self.tenures[place + 1 :]
        return following[0][1] - 1 if following else self.last_sequence


def agreed_through(one: LogExtent, other: LogExtent) -> int:
    """The last record up to which both logs are the same; 0 if there is none.

    A log keeps its last tenures only: if no common one is left of both, nothing is known to be the same but the opening
    of two logs that have all of theirs."""
    last = -1
    places = {tenure: place for place, tenure in enumerate(other.tenures)}
    for place, tenure in enumerate(one.tenures):
        if tenure in places:
            last = place
    if last < 0:
        return min(one.end_of(-1), other.end_of(-1), 1)
    return min(one.end_of(last), other.end_of(places[one.tenures[last]]))
