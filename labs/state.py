"""What a student has done so far: one file below TABLETOP_HOME, held against other commands while one works.

    <home>/.drills/state.json     the student, the class, every attempt: answers, hints, times, facts
    <home>/.drills/lock           held by the command that works
    <home>/.drills/<drill>/       files that a drill gave to the student

No cluster can have the name `.drills`. Whoever shares a home shares the state: students that work under one account set
TABLETOP_HOME to a folder of their own.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.folder import read_json, write_json
from gfs.names.locate import home_folder
from labs.drills.questions import Answer
from runtime.errors import Conflict, IncompatibleFormat, NotFound

FORMAT = 1
FOLDER = ".drills"
LOCK_SECONDS = 20.0


@dataclass(slots=True)
class Attempt:
    """One try at one drill. `number` counts from 1; `is_running`: it was started and neither stopped nor replaced."""

    drill: str
    number: int
    started: float
    draw: int
    cluster: str = ""
    is_running: bool = True
    is_ready: bool = False
    hints: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """Everything. `card` is the class card as it was enrolled; empty for who works alone."""

    card: dict[str, Any] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)

    def running(self) -> Attempt | None:
        """The attempt that runs; there is one at most."""
        return next((attempt for attempt in self.attempts.values() if attempt.is_running), None)

    def chosen(self, name: str) -> Attempt:
        """The attempt at the named drill; without a name the one that runs. Raises NotFound."""
        if not name:
            found = self.running()
            if found is None:
                raise NotFound(
                    "no drill runs; `tabletop drill list` shows them, `tabletop drill start NAME` starts one"
                )
            return found
        if name not in self.attempts:
            raise NotFound(f"drill {name} was never started; `tabletop drill start {name}` starts it")
        return self.attempts[name]


class Desk:
    """The student's folder."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or home_folder()).resolve()
        self.path = self.home / FOLDER
        self._file = self.path / "state.json"

    def read(self) -> State:
        """What is noted. Raises IncompatibleFormat."""
        advice = "remove it to begin anew: all answers are lost"
        values = read_json(self._file, advice=advice)
        if values is None:
            return State()
        try:
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, expected {FORMAT}")
            attempts = {name: _attempt(one) for name, one in values["attempts"].items()}
            return State(dict(values["card"]), attempts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IncompatibleFormat(f"{self._file} is not what this version wrote: {error}; {advice}") from error

    def write(self, state: State) -> None:
        """Note everything, or nothing. Raises NoSpace, DiskFailure."""
        attempts = {name: asdict(attempt) for name, attempt in state.attempts.items()}
        write_json(self._file, {"format": FORMAT, "card": state.card, "attempts": attempts})

    @contextlib.contextmanager
    def locked(self, patience_seconds: float = LOCK_SECONDS) -> Iterator[State]:
        """Hold the folder against other commands; what the state is at the end of the block is noted. After an error
        nothing is noted. Raises Conflict after waiting in vain."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait(descriptor, patience_seconds)
            state = self.read()
            yield state
            self.write(state)
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"another `tabletop drill` has been working in {self.path} for more than "
                        f"{patience_seconds:.0f} seconds; wait for it or end it, then try again"
                    ) from None
                time.sleep(0.05)


def _attempt(values: dict[str, Any]) -> Attempt:
    answers = [Answer(**one) for one in values.pop("answers")]
    return Attempt(**values, answers=answers)
