"""Is there an order of all operations on a row that explains every answer?

Each row is judged by itself: tables promise nothing across rows (BT 3). What was acknowledged must have happened
between its invocation and its answer; nothing may take it back. What is in doubt may have happened at any time since,
or never. What was refused for certain has not happened.
"""

import math
from collections.abc import Sequence

from cluster.swarm.engine import rows
from cluster.swarm.history import Answer
from cluster.swarm.linearizability import Step, explain
from cluster.swarm.names import Action
from cluster.swarm.tables.history import CHAIN, COLUMNS, COUNTER, NOTHING, History, Operation
from cluster.swarm.tables.plan import ORDERS, Kind
from cluster.swarm.verdicts import Verdict
from runtime.wire.tables_pb2 import TabletPlace

_PATHS = ("row",)


def judge_rows(history: History, count: int) -> tuple[list[Verdict], bool]:
    """Judge each row; also returns whether one was given up, because there are too many orders to try."""
    verdicts, is_undecided = [], False
    by_row: dict[int, list[Step]] = {}
    for one in history.operations:
        if one.row < count and (step := _step(one)) is not None:
            by_row.setdefault(one.row, []).append(step)
    for row, steps in sorted(by_row.items()):
        explained = explain(steps, initial=NOTHING)
        is_undecided = is_undecided or explained.is_undecided
        if explained.failed is not None:
            states = "; or ".join(str(sorted(state)) for state in explained.states)
            text = f"row{row:02}: no order explains: {explained.failed.text}. Before it the row could be {states}"
            verdicts.append(Verdict("rows", text, (explained.failed.operation,)))
    return verdicts, is_undecided


def judge_cover(table: str, places: Sequence[TabletPlace]) -> list[Verdict]:
    """Whether the tablets of a table have each row once."""
    starts, ends = [place.start_row for place in places], [place.end_row for place in places]
    if places and starts == [b"", *ends[:-1]] and ends[-1] == b"" and all(ends[:-1]):
        return []
    bounds = "; ".join(f"{place.tablet} [{place.start_row!r}, {place.end_row!r})" for place in places) or "nothing"
    return [Verdict("metadata", f"METADATA does not have each row of {table} once: {bounds}")]


def _step(one: Operation) -> Step | None:
    """One operation as a step; None if it says nothing."""
    is_open = one.answer in (Answer.NEVER, Answer.DOUBTFUL)
    if one.answer is Answer.REFUSED or (one.is_read and is_open) or one.kind in ORDERS:
        return None
    return Step(
        one.number,
        _action(one, has_answer=not is_open),
        _PATHS,
        one.invoked,
        math.inf if is_open else one.responded,
        is_required=not is_open,
        text=one.told(),
        may_have_been_done=not one.is_read,
    )


def _action(one: Operation, *, has_answer: bool) -> Action:
    match one.kind:
        case Kind.PUT | Kind.WRITE_ROWS:
            return rows.put({one.column: one.number})
        case Kind.WRITE:
            return rows.put(dict.fromkeys(COLUMNS, one.number))
        case Kind.DELETE:
            return rows.delete("")
        case Kind.CHECK:
            other = COLUMNS[1 - one.planned.column]
            found = bool(one.value) if has_answer else None
            return rows.check(one.column, {one.column: one.number}, {other: one.number}, found)
        case Kind.GET:
            return rows.get(one.column, one.value)
        case Kind.INCREMENT:
            return rows.increment(COUNTER, one.value if has_answer else None)
        case Kind.APPEND:
            return rows.append(CHAIN, one.number, one.value if has_answer else None)
        case _:
            return rows.read(one.found)
