"""An engine without an event loop: its world, and how its coroutines are driven to their end.

Files of the local disk never make anybody wait, so a coroutine of the engine runs to its end at the first `send(None)`,
but for the pauses between two slices of background work, where it gives the hand back to whoever drives it.
"""

from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from runtime.events import EventLog, Record
from runtime.real.clock import RealClock
from runtime.world import Clock

T = TypeVar("T")


class _Pause:
    """A pause: control goes back to whoever drives the coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class InlineWorld:
    """The engine's world without an event loop."""

    def __init__(self, sink: "RecentEvents") -> None:
        self.clock: Clock = RealClock()
        self.events = EventLog("embedded", sink, self.clock.wall_microseconds)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> Any:
        """Nothing runs in the background here."""
        work.close()
        raise AssertionError(f"{name}: an embedded engine is not started")

    async def breathe(self) -> None:
        """Give the hand back."""
        await _Pause()


class RecentEvents:
    """Keeps the last events."""

    def __init__(self, records: deque[Record]) -> None:
        self._records = records

    def write(self, record: Record) -> None:
        """Keep one, forget the oldest."""
        self._records.append(record)


def run_inline(work: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine to its end; its pauses take no time."""
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
