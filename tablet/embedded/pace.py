"""Background work without a background: flushes and compactions in slices that writes pay for (BT 5.4).

The problem. A tablet within a program that has no event loop, or must not wait for one, still has to flush and to
compact. A thread of its own would need locks everywhere, and would make every run another one.

The idea. A flush or a compaction is a coroutine that pauses between two slices of its work. `Pace` keeps such jobs, and
each write pays for a few slices, in proportion to the bytes that it wrote: quickly enough that a flush is done long
before the next memtable is full. A write that finds no room nevertheless brings the jobs to their end itself. A paused
job holds the engine's locks, so whoever wants to do another of its kind lets it `finish` first.

The coroutines must not wait for anything but these pauses: that is so on a disk that is used `inline`.
"""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from runtime.errors import TabletopError
from tablet.engine.engine import Engine

FLUSH_PACE = 3
"""Bytes of a memtable flushed for each byte written: a flush is done long before the next memtable is full."""

COMPACTION_PACE = 6
"""Bytes read by a compaction for each byte written."""

_SLICE_BYTES = 256 * 1024


class Pace:
    """The background work of an engine that nothing runs in the background: jobs that are kept, and slices of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: dict[str, Coroutine[Any, Any, bool]] = {}
        self._credit = 0
        self._held_back = False
        engine.make_room = self.make_room

    def advance(self, written: int) -> None:
        """Pay for what was written, in bytes, with slices of background work."""
        engine = self._engine
        if not self._jobs:
            if len(engine.state.view.memtables) == 1:  # Nothing is frozen.
                self._held_back = False
                return
            if self._held_back:
                return
            self._jobs["flush"] = engine.flush_one()
            self._credit = 0
        self._credit += written
        while self._jobs and (self._credit > 0 or engine.stall_reason()):
            self._credit -= _SLICE_BYTES // (FLUSH_PACE if self._first() == "flush" else COMPACTION_PACE)
            self._step()

    async def make_room(self, reason: str) -> None:
        """What a write does that finds no room: bring the jobs that are under way to their end, for they hold what
        another would need; if there are none, or that was not enough, do one. Raises what keeps it from it."""
        while self._jobs and self._engine.stall_reason():
            self._step()
        if self._engine.stall_reason():
            await self._engine.do_some_housework()

    async def finish(self) -> None:
        """Run what is under way to its end. Raises what the work raises."""
        self._held_back = False
        while self._jobs:
            job = self._jobs.pop(self._first())
            with suppress(StopIteration):
                while True:
                    job.send(None)

    def stop(self) -> None:
        """Give up what is under way."""
        while self._jobs:
            self._jobs.pop(self._first()).close()

    def _first(self) -> str:
        return "flush" if "flush" in self._jobs else "compaction"

    def _step(self) -> None:
        """One slice of a job; at its end, perhaps begin the next."""
        name = self._first()
        try:
            self._jobs[name].send(None)
            return
        except StopIteration:
            del self._jobs[name]
        except TabletopError:
            # The write that paid for this slice is done: it must not fail. The event tells what happened, and a write
            # that finds no room any more tries again, and is told.
            del self._jobs[name]
            self._held_back = True
            return
        except BaseException:
            del self._jobs[name]
            raise
        if self._engine.state.frozen and "flush" not in self._jobs:
            self._jobs["flush"] = self._engine.flush_one()
        elif "compaction" not in self._jobs and self._engine.housekeeping.next_compaction() is not None:
            self._jobs["compaction"] = self._engine.compact_one()
