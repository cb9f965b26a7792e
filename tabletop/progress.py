"""Progress of long work: bytes, rate and time left.

In a terminal a bar; without one a plain line every few seconds, so that a log of the output stays readable. Both go to
standard error. Work that is done sooner than the first line is due prints nothing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tabletop import wording
from tabletop.console import notes

LINE_SECONDS = 2.0
COUNT_SECONDS = 0.2


class Meter(Protocol):
    """What long work tells about itself."""

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """So much more is done."""


class SilentMeter:
    """Counts, and shows nothing."""

    def __init__(self) -> None:
        self.bytes_done = 0
        self.files_done = 0

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count."""
        self.bytes_done += bytes_done
        self.files_done += files_done


class LineMeter(SilentMeter):
    """Prints a line every few seconds."""

    def __init__(self, verb: str, total_bytes: int, total_files: int, noun: str = "file") -> None:
        super().__init__()
        self._verb = verb
        self._noun = noun
        self._total_bytes = total_bytes
        self._total_files = total_files
        self._started = self._shown = asyncio.get_running_loop().time()

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count, and print when it is time."""
        super().advance(bytes_done=bytes_done, files_done=files_done)
        now = asyncio.get_running_loop().time()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            notes.print(self.line(now - self._started), markup=False)

    def line(self, seconds: float) -> str:
        """Where the work stands after so many seconds."""
        rate = self.bytes_done / seconds if seconds > 0 else 0.0
        left = max(self._total_bytes - self.bytes_done, 0) / rate if rate else 0.0
        of_files = f"{self.files_done:,} of {wording.count(self._total_files, self._noun)}, "
        return (
            f"{self._verb} {of_files if self._total_files > 1 else ''}{wording.size(self.bytes_done)} of "
            f"{wording.size(self._total_bytes)}, {wording.size(rate)}/s, {wording.duration(left)} left"
        )


class BarMeter(SilentMeter):
    """Moves a bar."""

    def __init__(self, progress: Progress, verb: str, total_bytes: int, total_files: int, noun: str = "file") -> None:
        super().__init__()
        self._noun = noun
        self._progress = progress
        self._total_files = total_files
        self._verb = verb
        self._task = progress.add_task(self._words(), total=total_bytes or 1)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count, and move the bar."""
        super().advance(bytes_done=bytes_done, files_done=files_done)
        self._progress.update(self._task, advance=bytes_done, description=self._words())

    def _words(self) -> str:
        return f"{self._verb} {self.files_done:,}/{wording.count(self._total_files, self._noun)}"


class CountMeter(SilentMeter):
    """Tells from time to time how much is done of something whose size nobody knows."""

    def __init__(self, verb: str, noun: str, show: Callable[[str], None]) -> None:
        super().__init__()
        self._verb = verb
        self._noun = noun
        self._show = show
        self._shown = asyncio.get_running_loop().time()

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count, and show it when it is time."""
        super().advance(bytes_done=bytes_done, files_done=files_done)
        now = asyncio.get_running_loop().time()
        if now - self._shown >= (COUNT_SECONDS if notes.is_terminal else LINE_SECONDS):
            self._shown = now
            done = f"{wording.count(self.files_done, self._noun)}, {wording.size(self.bytes_done)}"
            self._show(f"{self._verb} {done}")


@contextmanager
def shown_count(verb: str, noun: str) -> Iterator[Meter]:
    """A meter for work of unknown size: a line that changes, or lines."""
    if not notes.is_terminal:
        yield CountMeter(verb, noun, lambda text: notes.print(text, markup=False))
        return
    with notes.status(verb) as status:
        yield CountMeter(verb, noun, status.update)


@contextmanager
def shown_progress(verb: str, total_bytes: int, total_files: int, noun: str = "file") -> Iterator[Meter]:
    """A meter for work of this size, shown as fits where standard error goes. `verb` as in "stored"; `noun` is what is
    counted beside bytes."""
    if not notes.is_terminal:
        yield LineMeter(verb, total_bytes, total_files, noun)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notes, transient=True) as progress:
        yield BarMeter(progress, verb, total_bytes, total_files, noun)
