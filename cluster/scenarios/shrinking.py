"""Making a failing run plainer while the same judge still finds something.

A scenario has no list of operations and faults that could be shortened: it is a program. What can be shrunk is its tape
(runtime/simulated/tape.py): the order in which nodes run, how long each message takes, what is lost, whom a random
fault strikes, and what the scenario drew by `chance`. Each choice has a plain value, and a run that failed has a few
thousand choices that were not plain. Which of them matter?

Delta debugging again (cluster/swarm/shrink.py): first all choices become plain, then those of whole streams, then
halves and quarters of the rest, as long as it still fails. What is left is the story: "everything as usual, except
that the 17th message took 8 ms". Bounded by wall time; whatever was reached by then is the answer.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.scenarios.running import ScenarioPlan, ScenarioResult
from cluster.swarm.shrink import SHRINK_SECONDS, minimise
from cluster.swarm.verdicts import Verdict
from runtime.errors import IncompatibleFormat
from runtime.simulated.tape import ALL_STREAMS, Plain

Draw = tuple[str, int]
"""A draw of a stream, by its number."""


@dataclasses.dataclass(frozen=True, slots=True)
class Shrunk:
    """What was reached: the plan, its result, the unusual choices before and those that are left, and the tries."""

    plan: ScenarioPlan
    result: ScenarioResult
    before: int
    left: tuple[Draw, ...]
    tries: int

    def in_words(self) -> str:
        """How many choices matter, and which."""
        if not self.left:
            return (
                f"none of its {self.before} unusual choices matters: it fails with the plainest schedule as well "
                f"({_times(self.tries)})"
            )
        shown = ", ".join(f"{stream} {number}" for stream, number in self.left[:6])
        more = f" and {len(self.left) - 6} more" if len(self.left) > 6 else ""
        return f"{len(self.left)} of its {self.before} unusual choices matter: {shown}{more} ({_times(self.tries)})"


class TapeShrinker:
    """Shrinks one plan that has failed. `run` runs a plan with a recorded tape."""

    def __init__(
        self, plan: ScenarioPlan, run: Callable[[ScenarioPlan], ScenarioResult], *, seconds: float = SHRINK_SECONDS
    ) -> None:
        self._run = run
        self._deadline = time.monotonic() + seconds
        self._best = run(plan)
        self._wanted = key_of(self._best.verdicts)
        self._before = len(_draws(self._best))
        self._tries = 0

    def shrink(self) -> Shrunk:
        """The plainest plan that was found in time."""
        if self._best.verdicts and not self._keep_if_fails([Plain(ALL_STREAMS)]):
            for stream in [name for name, draws in self._best.unusual.items() if draws]:
                self._keep_if_fails([*self._best.plan.plain, Plain(stream)])
            minimise(_draws(self._best), lambda rest: self._keep_if_fails(plain_but(rest, self._streams())))
        left = () if not self._best.verdicts else tuple(_draws(self._best))
        return Shrunk(self._best.plan, self._best, self._before, left, self._tries)

    def _streams(self) -> list[str]:
        return list(self._best.unusual)

    def _keep_if_fails(self, plain: Sequence[Plain]) -> bool:
        if time.monotonic() > self._deadline:
            return False
        self._tries += 1
        result = self._run(dataclasses.replace(self._best.plan, plain=tuple(plain)))
        if key_of(result.verdicts) != self._wanted:
            return False
        self._best = result
        return True


def key_of(verdicts: Sequence[Verdict]) -> str:
    """What makes two failures the same one: the judge that speaks first; of claims and exceptions also the place."""
    if not verdicts:
        return ""
    first = verdicts[0]
    place = first.text.rpartition("(")[2] if first.judge == "check" else ""
    return f"{first.judge} {place}"


def plain_but(kept: Sequence[Draw], streams: Sequence[str]) -> list[Plain]:
    """All draws of these streams plain, but for those that are kept.

    >>> [(one.begin, one.end) for one in plain_but([("disk", 2), ("disk", 3), ("disk", 7)], ["disk"])]
    [(0, 2), (4, 7), (8, None)]
    """
    found = []
    for stream in streams:
        numbers = sorted(number for name, number in kept if name == stream)
        begins = [0, *(number + 1 for number in numbers)]
        ends: list[int | None] = [*numbers, None]
        found += [Plain(stream, begin, end) for begin, end in zip(begins, ends, strict=True) if begin != end]
    return found


def _draws(result: ScenarioResult) -> list[Draw]:
    return [(stream, number) for stream, numbers in result.unusual.items() for number in numbers]


def _times(tries: int) -> str:
    return f"{tries} {'try' if tries == 1 else 'tries'}"


# A shrunk run as a file.


def write_tape(path: Path, plan: ScenarioPlan) -> None:
    """Write down what `tabletop scenario run --tape` takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [[one.stream, one.begin, one.end] for one in plan.plain]
    path.write_text(json.dumps({"scenario": plan.scenario.name, "seed": plan.seed, "plain": plain}) + "\n")


def read_tape(path: Path) -> tuple[str, int, tuple[Plain, ...]]:
    """The scenario's name, the seed, and the draws that are plain. Raises IncompatibleFormat, OSError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        plain = tuple(Plain(str(stream), int(begin), end) for stream, begin, end in found["plain"])
        return str(found["scenario"]), int(found["seed"]), plain
    except (ValueError, KeyError, TypeError) as error:
        raise IncompatibleFormat(f"{path} is no tape of a scenario: {error}") from None
