"""Locks of rows: at most one mutation of a row at a time."""

import asyncio


class RowLocks:
    """A lock for each row that is held; rows that nobody holds cost nothing."""

    __slots__ = ("_held", "_lent")

    def __init__(self) -> None:
        self._held: dict[bytes, asyncio.Event | None] = {}
        self._lent: set[bytes] = set()

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
