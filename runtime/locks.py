"""A read-write lock: many share it, or one has it alone; first come, first served.

The problem. The master locks paths (GFS 4.1), a chunkserver locks a chunk while its blocks and their checksums change
together. Both need readers to share and writers to exclude, neither a stream of readers that keeps a writer waiting
for ever, nor a cancelled task that takes the lock with it.

The idea. One queue. Whoever cannot be admitted at once waits at its end, and nobody overtakes: a reader that comes
after a waiting writer waits too, though the lock is only shared at that moment.

>>> async def two_readers(lock: ReadWriteLock) -> bool:
...     async with lock.shared(), lock.shared():
...         return lock.is_idle
>>> asyncio.run(two_readers(ReadWriteLock()))
False

Invariants: (1) there is one exclusive holder and no shared one, or any number of shared ones; (2) waiters are admitted
in the order in which they came; (3) the first one that waits could not be admitted now; (4) a waiter that is cancelled
holds nothing, even if it was admitted in the same turn.

What we simplify. All of it happens between the awaits of one event loop, so that the lock itself needs no lock. A task
that takes it twice, with a writer waiting in between, waits for itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReadWriteLock:
    """Shared by readers or held by one writer. `async with lock.shared():` or `lock.exclusive()`."""

    __slots__ = ("_exclusive", "_shared", "_waiting")

    def __init__(self) -> None:
        self._shared = 0
        self._exclusive = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds it or waits for it."""
        return not self._shared and not self._exclusive and not self._waiting

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it together with other readers."""
        await self.acquire(exclusive=False)
        try:
            yield
        finally:
            self.release(exclusive=False)

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold it alone."""
        await self.acquire(exclusive=True)
        try:
            yield
        finally:
            self.release(exclusive=True)

    async def acquire(self, *, exclusive: bool) -> None:
        """Wait for one's turn and take it. Whoever returns from here must `release` it in the same way."""
        if self.acquire_now(exclusive=exclusive):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((exclusive, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(exclusive=exclusive)  # It was granted in the same turn in which we were cancelled.
            else:
                self._admit_waiters()
            raise

    def acquire_now(self, *, exclusive: bool) -> bool:
        """Take it if that needs no waiting, and overtakes nobody; whether it was taken."""
        if self._waiting or not self._admits(exclusive):
            return False
        self._take(exclusive)
        return True

    def release(self, *, exclusive: bool) -> None:
        """Give it back."""
        if exclusive:
            self._exclusive = False
        else:
            self._shared -= 1
        self._admit_waiters()

    def check_invariants(self) -> None:
        """Raise AssertionError if a stated invariant does not hold."""
        assert self._shared >= 0 and not (self._exclusive and self._shared), "an exclusive and a shared holder"
        if self._waiting:
            exclusive, turn = self._waiting[0]  # One that was cancelled admits the others as soon as it runs.
            assert turn.done() or not self._admits(exclusive), "a waiter was forgotten"

    def _admits(self, exclusive: bool) -> bool:
        return not self._exclusive and not (exclusive and self._shared)

    def _take(self, exclusive: bool) -> None:
        if exclusive:
            self._exclusive = True
        else:
            self._shared += 1

    def _admit_waiters(self) -> None:
        while self._waiting:
            exclusive, turn = self._waiting[0]
            if not turn.done():  # Otherwise it was cancelled while it waited.
                if not self._admits(exclusive):
                    return
                self._take(exclusive)
                turn.set_result(None)
            self._waiting.popleft()
