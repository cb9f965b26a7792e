"""The background of a server's tablet: flushes and compactions while it serves (BT 5.4).

Each kind of work has a task of its own. It does one job after the other, sleeps until somebody wakes it, and after
trouble tries again, later and later. Writers who wait for room wait for `progress`: a job is done, or came to nothing;
in the latter case `trouble_of` says why, and they are told. A third task looks for garbage in a tablet that is quiet.

At most one flush and one compaction run at a time, whoever asks for them: `flushing` and `compacting` see to that. Who
needs both takes `compacting` first: a major compaction flushes what is in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from runtime.errors import InternalError, Superseded, TabletopError
from tablet.engine.maintenance.housekeeping import Housekeeping, Interrupted
from tablet.engine.tree.state import TabletState

FLUSH, COMPACTION = "flush", "compaction"
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 16.0


class Background:
    """Does the housekeeping of one tablet, one job at a time of each kind: by itself once it is started."""

    def __init__(self, state: TabletState, housekeeping: Housekeeping) -> None:
        self.flushing = asyncio.Lock()
        self.compacting = asyncio.Lock()
        self._state = state
        self._housekeeping = housekeeping
        self._tasks: list[Any] = []
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._asked = asyncio.Event()
        self._trouble: dict[str, TabletopError] = {}

    @property
    def is_started(self) -> bool:
        """Whether jobs are done without being asked for."""
        return bool(self._tasks)

    def start(self, roll: Callable[[], Awaitable[None]]) -> None:
        """Flush and compact from here on. `roll` freezes the memtable."""
        assert not self._tasks, "started twice"
        name = self._state.manifest.tablet or "tablet"
        spawn = self._state.world.spawn
        self._tasks = [
            spawn(self._keep(FLUSH, self.flush_one, _RETRY_SECONDS), f"{name}: minor compactions"),
            spawn(self._keep(COMPACTION, self.compact_one, _LONGEST_RETRY_SECONDS), f"{name}: merging compactions"),
        ]
        if self._state.log.is_shared:
            self._tasks.append(spawn(self._flush_when_asked(roll), f"{name}: flushing for the log"))
            self._state.log.flushed_by(self._state.manifest.tablet, self._asked.set)
        if self._state.options.garbage_seconds:
            self._tasks.append(spawn(self._look_for_garbage(roll), f"{name}: looking for garbage"))

    async def stop(self) -> None:
        """Let the jobs under way end between two slices; a switch to a new manifest is never cut in two."""
        if not self._tasks:
            return
        self._housekeeping.stopping = True
        self._state.log.flushed_by(self._state.manifest.tablet, None)
        async with self.stopped():
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._housekeeping.stopping = False
        self._tasks = []

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """No flush and no compaction runs meanwhile, whoever asks for it."""
        async with self.compacting, self.flushing:
            yield

    async def flush_one(self) -> bool:
        """One minor compaction, if a memtable waits; whether there was. Raises NoSpace, DiskFailure."""
        async with self.flushing:
            if not self._state.frozen or self._state.is_closed:
                return False
            try:
                await self._housekeeping.flush_oldest()
            finally:
                self.dismiss()  # Also if the one who asked for it was cancelled: it may be done.
        self.note_progress(FLUSH)
        return True

    async def compact_one(self) -> bool:
        """One merging compaction, if there is to be one; whether there was. Raises NoSpace, DiskFailure."""
        async with self.compacting:
            try:
                if self._state.is_closed or not await self._housekeeping.compact_if_due():
                    return False
            except BaseException:
                self.dismiss()
                raise
        self.note_progress(COMPACTION)
        return True

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def note_progress(self, kind: str) -> None:
        """A job is done, so that there may be room, and more to do."""
        self._trouble.pop(kind, None)
        self._progress.set()
        self._wake.set()

    def dismiss(self) -> None:
        """Whoever waits for progress looks again."""
        self._progress.set()

    async def progress(self) -> None:
        """Return when the next job is done, or has come to nothing."""
        self._progress.clear()
        self._wake.set()
        await self._progress.wait()

    def trouble_of(self, kind: str) -> TabletopError | None:
        """Why the last job of this kind came to nothing; None if it did not."""
        return self._trouble.get(kind)

    async def _keep(self, kind: str, one_job: Callable[[], Awaitable[bool]], longest: float) -> None:
        """Do one kind of work for ever. After trouble it is tried again a second later, then twice as late each time,
        up to `longest` seconds."""
        delay = _RETRY_SECONDS
        while True:
            try:
                if await one_job():
                    delay = _RETRY_SECONDS
                    continue
                await self._wake.wait()
                self._wake.clear()
            except Interrupted:
                return
            except Superseded as error:  # For good: this tablet is another owner's.
                self._trouble[kind] = error
                self._progress.set()
                return
            except Exception as error:  # Also a bug of ours: writers that wait for this job must not wait for ever.
                self._trouble[kind] = as_trouble(kind, error)
                self._progress.set()
                await self._state.world.clock.sleep(delay)
                delay = min(2 * delay, longest)

    async def _flush_when_asked(self, roll: Callable[[], Awaitable[None]]) -> None:
        """The log grows too long, and this tablet keeps its oldest segment by what it has only in memory (BT 5.3)."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if not self._state.frozen:  # Else what is oldest is about to be flushed already.
                with suppress(TabletopError):  # The log asks again.
                    await roll()
            self._wake.set()

    async def _look_for_garbage(self, roll: Callable[[], Awaitable[None]]) -> None:
        """Where nothing is written, nothing else wakes the compactions; and a memtable that stays small is flushed by
        nobody, while its deletions are to take effect on the disk one day."""
        oldest_record = 0
        while True:
            await self._state.world.clock.sleep(self._state.options.garbage_seconds / 2)
            if oldest_record and self._state.memtable.first_sequence == oldest_record:
                with suppress(TabletopError):  # Tried again the next time.
                    await roll()
            oldest_record = self._state.memtable.first_sequence
            self._wake.set()


def as_trouble(kind: str, error: Exception) -> TabletopError:
    """What writers who wait for a job are told of the error that ended it."""
    if isinstance(error, TabletopError):
        return error
    return InternalError(f"the {kind} failed by a bug of this program ({error!r}); it is tried again; report it")
