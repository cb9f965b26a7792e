"""The deadlines of many calls with one timer.

Nearly every call is over long before its deadline, and a timer of asyncio for each would cost more than the call's
share of a message. So the deadlines lie in a heap, and one timer is set for the nearest. A call that is over stays in
the heap as a number, until its time comes or most of the heap is such numbers.

A loop that was kept from running finds the timer due and answers unread that came in time. It reads those first.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")
OVER_KEPT = 1000
LATE_SECONDS = 0.005  # A timer that rings later than this found the loop busy.
READING_SECONDS = 0.005  # What the loop is given then, to read what has come.


class Deadlines(Generic[T]):
    """Calls `expire(call)` at the deadline of each call that is still in the table by then."""

    def __init__(self, loop: asyncio.AbstractEventLoop, table: Mapping[int, T], expire: Callable[[T], None]) -> None:
        self._loop = loop
        self._table = table
        self._expire = expire
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = math.inf
        self._has_read = False

    def add(self, deadline: float, number: int) -> None:
        """Watch a call of the table. `deadline` is a time of the loop."""
        heappush(self._heap, (deadline, number))
        if deadline < self._set_for:
            self._set(deadline)
        if len(self._heap) > OVER_KEPT + 2 * len(self._table):
            self._heap = [entry for entry in self._heap if entry[1] in self._table]
            heapify(self._heap)

    def close(self) -> None:
        """Watch no more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_for = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        now = max(self._loop.time(), self._set_for)  # The loop may ring a little early.
        if now - self._set_for > LATE_SECONDS and not self._has_read:
            self._has_read = True
            self._timer = self._loop.call_later(READING_SECONDS, self._ring)
            return
        self._has_read = False
        self._timer, self._set_for = None, math.inf
        heap = self._heap
        while heap:
            when, number = heap[0]
            call = self._table.get(number)
            if call is not None and when > now:
                self._set(when)
                return
            heappop(heap)
            if call is not None:
                self._expire(call)
