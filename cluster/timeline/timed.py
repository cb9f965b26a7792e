"""A record at its place in a timeline."""

from dataclasses import dataclass

from runtime.events import Record


@dataclass(frozen=True, slots=True)
class Timed:
    """A record with the time at which it is drawn, in microseconds, and its lane."""

    time: int
    lane: int
    record: Record

    @property
    def kind(self) -> str:
        """The name of the event's class."""
        return type(self.record.event).__name__
