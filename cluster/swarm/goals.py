"""How many replicas a file should have: each file's goal as a register that clients set and see (GFS 4.3).

A goal that was seen must be one that was set, and not one that was certainly set before another: a change that was
acknowledged hides all that had ended before it began. What is in doubt may happen up to `LATE_SECONDS` later.

>>> old, new = Change(1, "set", 2, 0.0, 1.0), Change(2, "set", 3, 2.0, 3.0)
>>> possible_goals([old, new], begin=4.0, end=5.0), possible_goals([old, new], begin=2.5, end=5.0)
([3], [2, 3])
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.swarm.copies import Copy, named
from cluster.swarm.history import Answer, History, Kind, Operation

LATE_SECONDS = 60.0
_SHOWS_GOALS = (Kind.CREATE, Kind.STAT, Kind.LIST)


@dataclass(frozen=True, slots=True)
class Change:
    """A file was, or may have been, given a goal between two moments. `number` is the operation, 0 for its creation."""

    number: int
    text: str
    goal: int
    begin: float
    end: float
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class _Look:
    """A goal that somebody was told of."""

    operation: Operation
    file: int
    goal: int


def judge_goals(history: History, first: int, copies: Iterable[Copy] = ()) -> Iterable[tuple[str, int]]:
    """What is wrong about goals that were seen, with the operation that saw it. Every file begins with the goal
    `first`; one of the copies that snapshots made, with what its source had."""
    made = {copy.file: copy for copy in copies}
    looks = [look for operation in history.operations for look in _looks(operation)]
    changes = {file: list(_changes(history, file, first, made)) for file in dict.fromkeys(look.file for look in looks)}
    for look in looks:
        operation = look.operation
        others = [change for change in changes[look.file] if change.number != operation.number]
        possible = possible_goals(others, begin=operation.invoked, end=operation.responded)
        if look.goal not in possible:
            expected = " or ".join(map(str, possible))
            text = f"{operation.told()}: file {named(look.file)} had the goal {look.goal}, possible here: {expected}"
            yield text, operation.number


def possible_goals(changes: Sequence[Change], *, begin: float, end: float) -> list[int]:
    """The goals that may be seen by who looks between two moments, each once, smallest first."""
    certain = [change for change in changes if change.is_certain and change.end < begin]
    hidden_until = max((change.begin for change in certain), default=-math.inf)
    return sorted({change.goal for change in changes if change.begin <= end and change.end >= hidden_until})


def _looks(operation: Operation) -> Iterable[_Look]:
    if operation.answer is not Answer.VALUE:
        return
    if operation.kind is Kind.SET_REPLICATION and operation.file:
        yield _Look(operation, operation.file, operation.goal_before)
    if operation.kind in _SHOWS_GOALS:
        for seen in operation.seen:
            if seen.file and seen.goal:
                yield _Look(operation, seen.file, seen.goal)


def _changes(history: History, file: int, first: int, copies: Mapping[int, Copy]) -> Iterable[Change]:
    if file in copies:
        source, moment = copies[file].source, copies[file].moment
        for change in _changes(history, source, first, copies):
            if change.begin <= moment:
                is_certain = change.is_certain and change.end <= moment
                yield dataclasses.replace(change, end=min(change.end, moment), is_certain=is_certain)
    else:
        yield Change(0, "created", first, -math.inf, -math.inf)
    for operation in history.operations:
        if operation.kind is not Kind.SET_REPLICATION or operation.answer is Answer.REFUSED:
            continue
        if operation.file not in (0, file):
            continue
        # Of an operation that does not know its file, it is only possible that it was this one.
        is_certain = operation.answer is Answer.VALUE and operation.file == file
        end = operation.responded if operation.answer is Answer.VALUE else operation.responded + LATE_SECONDS
        if not is_certain and not operation.file:
            end = math.inf
        yield Change(operation.number, operation.told(), operation.count, operation.invoked, end, is_certain)
