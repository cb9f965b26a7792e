"""Who may apply which mutation now (GFS 3.1 step 5).

The problem. Mutations of one chunk reach a replica in any order, some twice, some never; it must apply them in the
order of their serial numbers. The idea: for each chunk, a replica remembers the last serial it has gone past. The next
one may go now, later ones wait for their predecessors, earlier ones are too late.

A replica may go *past* a mutation without having applied it: because it could not (its data was not in the buffer), or
because it never came within a bounded time. That is safe: the primary has no acknowledgement of it from here and will
never get one, so that the client is told of a failure, and the region is inconsistent (2.7.1).

>>> order = SerialOrder(version=3)
>>> order.judge(1), order.judge(2)
(<Turn.NOW: 'apply it'>, <Turn.WAIT: 'its predecessors come first'>)
>>> order.went_past(1)
>>> order.judge(2)
<Turn.NOW: 'apply it'>
"""

import enum
from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED = 64


class Turn(enum.Enum):
    """What to do with a serial number."""

    NOW = "apply it"
    WAIT = "its predecessors come first"
    LATE = "the replica has gone past it"


@dataclass(frozen=True, slots=True)
class Applied:
    """A mutation that was applied: what it was, and the chunk's length afterwards."""

    offset: int
    length: int
    crc32c: int
    chunk_length: int


class SerialOrder:
    """One chunk's progress under one version."""

    def __init__(self, version: int, *, last: int = 0) -> None:
        self.version = version
        self.last = last
        self._applied: OrderedDict[int, Applied] = OrderedDict()

    def judge(self, serial: int) -> Turn:
        """Whether it is this one's turn."""
        if serial <= self.last:
            return Turn.LATE
        return Turn.NOW if serial == self.last + 1 else Turn.WAIT

    def went_past(self, serial: int, applied: Applied | None = None) -> None:
        """This serial, and everything before it, is over."""
        self.last = max(self.last, serial)
        if applied is not None:
            self._applied[serial] = applied
            if len(self._applied) > _REMEMBERED:
                self._applied.popitem(last=False)

    def repeated(self, serial: int, *, offset: int, length: int, crc32c: int) -> Applied | None:
        """What became of exactly this mutation when it came the first time; None if it was another, or not applied."""
        found = self._applied.get(serial)
        if found is not None and (found.offset, found.length, found.crc32c) == (offset, length, crc32c):
            return found
        return None

    def check_invariants(self) -> None:
        """Raise AssertionError if something was applied that is still to come."""
        assert all(serial <= self.last for serial in self._applied)
