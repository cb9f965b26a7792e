"""One chunk's lock: any number of readers, or one writer.

A read verifies blocks and checksums that belong together; a mutation changes both. Whoever comes first goes first, so
that a stream of readers does not keep a writer waiting for ever. All of it is between awaits of one event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ChunkLock:
    """Shared for readers, exclusive for mutations, first come first served."""

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds it or waits for it."""
        return not self._readers and not self._writing and not self._waiting

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it together with other readers."""
        await self._acquire(exclusive=False)
        try:
            yield
        finally:
            self._readers -= 1
            self._admit()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold it alone."""
        await self._acquire(exclusive=True)
        try:
            yield
        finally:
            self._writing = False
            self._admit()

    async def _acquire(self, *, exclusive: bool) -> None:
        if not self._waiting and not self._writing and not (exclusive and self._readers):
            self._take(exclusive)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((exclusive, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # It was ours already: give it on.
                if exclusive:
                    self._writing = False
                else:
                    self._readers -= 1
            self._admit()
            raise

    def _take(self, exclusive: bool) -> None:
        if exclusive:
            self._writing = True
        else:
            self._readers += 1

    def _admit(self) -> None:
        while self._waiting:
            exclusive, turn = self._waiting[0]
            if turn.done():  # Cancelled while it waited.
                self._waiting.popleft()
                continue
            if self._writing or (exclusive and self._readers):
                return
            self._waiting.popleft()
            self._take(exclusive)
            turn.set_result(None)
