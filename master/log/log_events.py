"""What the operation log records of itself, beside what stands in `master/events.py`."""

from dataclasses import dataclass
from typing import ClassVar

from runtime.events import Event


@dataclass(frozen=True, slots=True)
class LogMovedOn(Event):
    """The disk does not let the end of the newest log be written: another one follows it, with a checkpoint."""

    sentence: ClassVar[str] = "goes on in another log file from record {sequence} on: {problem}"
    sequence: int
    problem: str
