"""Locks of rows: at most one mutation of a row at a time."""

import asyncio
from collections.abc import Iterable, Sequence


class RowLocks:
    """A lock for each row that is held; rows that nobody holds cost nothing."""

    __slots__ = ("_held", "_lent")

    def __init__(self) -> None:
        self._held: dict[bytes, asyncio.Event | None] = {}
        self._lent: set[bytes] = set()

    def __contains__(self, row: bytes) -> bool:
        """Whether somebody holds it."""
        return row in self._held

    def try_acquire(self, row: bytes) -> bool:
        """Take the lock if it is free."""
        if row in self._held:
            return False
        self._held[row] = None
        return True

    async def acquire(self, row: bytes) -> None:
        """Take the lock, when it is free."""
        while row in self._held:
            event = self._held[row]
            if event is None:
                event = self._held[row] = asyncio.Event()
            await event.wait()
        self._held[row] = None

    async def acquire_all(self, rows: Sequence[bytes]) -> dict[bytes, None]:
        """Take the locks of these rows, when they are free; returns the rows, each once, for `release_all`. One after
        the other, if some are not, in the rows' order: so two who want several do not block one another for ever."""
        wanted = dict.fromkeys(rows)
        if self._held.keys().isdisjoint(wanted):
            self._held.update(wanted)
            return wanted
        taken: dict[bytes, None] = {}
        try:
            for row in sorted(wanted):
                await self.acquire(row)
                taken[row] = None
        except BaseException:
            self.release_all(taken)
            raise
        return wanted

    def release_all(self, rows: Iterable[bytes]) -> None:
        """Let go of the locks of these rows."""
        if self._lent:
            for row in rows:
                self.release(row)
            return
        for event in filter(None, map(self._held.pop, rows)):
            event.set()

    def lend(self, row: bytes) -> None:
        """The holder leaves before the row's mutation has ended: the next `release` leaves the lock as it is, and the
        one after it releases it."""
        self._lent.add(row)

    def release(self, row: bytes) -> None:
        """Let go of the lock."""
        if row in self._lent:
            self._lent.discard(row)
            return
        event = self._held.pop(row)
        if event is not None:
            event.set()
