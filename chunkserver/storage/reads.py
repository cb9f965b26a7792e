"""Which chunks readers take most from here, told to the master with each heartbeat (GFS 2.5).

The problem. The master decides how many copies a chunk that everybody reads shall have, and sees no read: clients ask
it where, and read elsewhere. The idea: each server counts the bytes that it sends of each chunk, and tells of the few
that it has sent most of. What is not told is forgotten: a chunk that is never among the first is not hot.

>>> reads = ReadCounts()
>>> for handle, count in ((1, 10), (2, 500), (1, 20)):
...     reads.note(handle, count)
>>> reads.take(1), reads.take(5)
([(2, 500)], [])
"""

import heapq

MOST_CHUNKS = 4096
TOLD_AT_ONCE = 16


class ReadCounts:
    """Bytes sent to readers since the last heartbeat, by chunk. Bounded: what comes when it is full is not counted."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def note(self, handle: int, count: int) -> None:
        """So many bytes of a chunk were sent."""
        if handle in self._counts or len(self._counts) < MOST_CHUNKS:
            self._counts[handle] = self._counts.get(handle, 0) + count

    def take(self, most: int = TOLD_AT_ONCE) -> list[tuple[int, int]]:
        """The chunks of which most was sent, and how many bytes, the most first; counting begins anew."""
        counts, self._counts = self._counts, {}
        return heapq.nlargest(most, counts.items(), key=lambda pair: (pair[1], -pair[0]))
