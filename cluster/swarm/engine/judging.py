"""Is there an order of all operations on a row that explains every answer, and did nothing get lost?

Each row is judged by itself, for the tablet promises nothing across rows. What was acknowledged must have happened
between its invocation and its answer. What was not answered, or in doubt, may have happened until the life of the node
ended in which it was asked for, or never. What was refused has not happened.

With `sync="os"` a power cut may take what was acknowledged last. So the history of a row is cut there: the row as it
was found afterwards must be one that it was at some moment since the last sync, and is what the history goes on with.
Rot of the newest bytes of a log looks like its torn end (decision 3), and is judged in the same way, whatever the mode.
Where nobody has written since the life before, the newest bytes are those of an earlier life, and the row may be as it
was then. What a tablet loses is a suffix: of two writes, one asked for after the other was acknowledged, the later one
is not there alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cluster.swarm.engine import rows
from cluster.swarm.engine.history import HOST, NOTHING, History, Operation, RowState, shown
from cluster.swarm.engine.host import LifeSpan
from cluster.swarm.engine.plan import Kind, Setup
from cluster.swarm.engine.workload import COUNTER
from cluster.swarm.history import Answer
from cluster.swarm.linearizability import Explained, Step, explain
from cluster.swarm.names import Action
from cluster.swarm.verdicts import Verdict
from tablet.engine.world.options import SyncMode

_READS = frozenset({Kind.GET, Kind.READ, Kind.SCAN, Kind.SCAN_BACK})
_DURABLE = frozenset({Kind.FLUSH, Kind.COMPACT, Kind.SYNC})
_PATHS = ("row",)


@dataclass(slots=True)
class Judged:
    """What came of all rows."""

    verdicts: list[Verdict]
    is_undecided: bool = False
    tried: int = 0


def judge_rows(history: History, lives: Sequence[LifeSpan], setup: Setup, tablets: Iterable[str]) -> Judged:
    """Judge each row of each tablet."""
    judged = Judged([])
    for tablet in tablets:
        for row in range(setup.rows):
            _judge_row(history, lives, setup.sync, tablet, row, judged)
        if not setup.reshapes:  # Of two tablets of a table, one may have been flushed.
            judged.verdicts += _judge_suffixes(history, lives, setup.sync, tablet)
    return judged


def _judge_row(
    history: History, lives: Sequence[LifeSpan], sync: SyncMode, tablet: str, row: int, judged: Judged
) -> None:
    about = [one for one in history.operations if one.tablet == tablet and row in one.rows]
    now, earlier = _Segment(NOTHING, []), list[_Segment]()
    first = 0
    for cut in (*_cuts(lives, sync), len(lives)):
        some = [one for one in about if first <= one.life <= cut]
        now.steps = [step for one in some if (step := _step(one, row, lives)) is not None]
        if _is_written(history, lives, sync, tablet, first, cut):
            earlier = []
        after = next((one for one in about if one.life > cut and one.client == HOST and _was_found(one)), None)
        if after is None:
            explained = explain(now.steps, initial=now.initial)
        else:
            # It may have rotted later, before a life that came so far as to look.
            by_rot = any(life.by_rot for life in lives[cut : after.life])
            synced = -math.inf if by_rot else _last_sync(history, tablet, first, cut)
            text = f"{shown(after.found[row])} is what {'rot' if by_rot else 'a power cut'} left"
            now.ended = lives[cut].ended
            explained = now.explained(_left(after, row, synced, now.ended, text))
            if by_rot and explained.failed is not None:
                found = (segment.explained(_left(after, row, synced, segment.ended, text)) for segment in earlier)
                if any(one.failed is None for one in found):
                    explained = explain(now.steps, initial=now.initial)
        judged.tried += explained.tried
        judged.is_undecided = judged.is_undecided or explained.is_undecided
        if explained.failed is not None:
            failed = explained.failed
            states = "; or ".join(shown(state) for state in explained.states)
            text = f"{tablet}/row{row}: no order explains: {failed.text}. Before it the row could be {states}"
            judged.verdicts.append(Verdict("rows", text, (failed.operation,)))
            return
        if after is not None:
            earlier.append(now)
            now, first = _Segment(after.found[row], []), cut + 1


@dataclass(slots=True)
class _Segment:
    """What was done to a row between two moments at which something may have been lost. `earlier` ones matter where rot
    hits the newest bytes of a log, and nobody has written since."""

    initial: RowState
    steps: list[Step]
    ended: float = math.inf

    def explained(self, left: Step) -> Explained:
        """Whether the row was at some moment as it was found afterwards."""
        return explain([*self.steps, left], initial=self.initial)


def _left(after: Operation, row: int, synced: float, ended: float, text: str) -> Step:
    return Step(after.number, rows.read(after.found[row]), _PATHS, synced, ended, text=text)


def _cuts(lives: Sequence[LifeSpan], sync: SyncMode) -> list[int]:
    """The lives of which the end may be lost."""
    return [number for number, life in enumerate(lives) if life.by_rot or (life.by_power_cut and sync == "os")]


def _is_written(
    history: History, lives: Sequence[LifeSpan], sync: SyncMode, tablet: str, first: int, last: int
) -> bool:
    """Whether something was written in these lives, and not lost at their end, that stands in the log after what this
    tablet had there, or in its place."""
    may_be_lost = sync == "os" and last < len(lives) and lives[last].by_power_cut
    kept = _last_sync(history, tablet, first, last) if may_be_lost else math.inf
    return any(
        first <= one.life <= last
        and one.answer is not Answer.REFUSED
        and one.kind not in _READS
        and (one.kind not in _DURABLE or (one.tablet == tablet and one.kind is not Kind.SYNC))
        and one.invoked <= kept
        for one in history.operations
    )


def _judge_suffixes(history: History, lives: Sequence[LifeSpan], sync: SyncMode, tablet: str) -> Iterator[Verdict]:
    """Whether a power cut took a write and left one that was asked for after that was acknowledged."""
    of_tablet = [one for one in history.operations if one.tablet == tablet]
    first = 0
    for cut in _cuts(lives, sync):
        after = next((one for one in of_tablet if one.life > cut and one.client == HOST and _was_found(one)), None)
        some = [one for one in of_tablet if first <= one.life <= cut and one.answer is not Answer.REFUSED]
        first = cut + 1
        if after is None:
            continue
        left = {number for state in after.found.values() for column, number in state if column != COUNTER}
        there = [one for one in some if one.number in left]
        if not there:
            continue
        latest = max(there, key=lambda one: one.invoked)
        lost = [one for one in some if one.responded < latest.invoked and _is_lost(one, after, some)]
        for one in lost[:1]:
            text = f"a power cut took {one.told()}, and left {latest.told()}"
            yield Verdict("suffix", text, (one.number, latest.number))


def _is_lost(one: Operation, after: Operation, some: Sequence[Operation]) -> bool:
    """Whether an acknowledged write is not there, though nothing else can have changed its row afterwards."""
    if one.answer is not Answer.VALUE or one.kind not in (Kind.PUT, Kind.WRITE, Kind.WRITE_ROWS):
        return False
    changes = [other for other in some if other is not one and other.kind not in _READS and _end(other) >= one.invoked]
    return any(
        (one.columns[0], one.number) not in after.found[row] and not any(row in other.rows for other in changes)
        for row in one.rows
    )


def _end(one: Operation) -> float:
    return math.inf if one.is_open_ended else one.responded


def _was_found(one: Operation) -> bool:
    return one.kind is Kind.SCAN and one.answer is Answer.VALUE


def _last_sync(history: History, tablet: str, first: int, last: int) -> float:
    """A moment in these lives of which all that was acknowledged before it is durable; minus infinity if none is known.
    What had been acknowledged when the first of them began was."""
    found = [
        one.invoked
        for one in history.operations
        if one.kind in _DURABLE
        and one.answer is Answer.VALUE
        and first <= one.life <= last
        and (one.kind is Kind.SYNC or one.tablet == tablet)
    ]
    return max(found, default=-math.inf)


def _step(one: Operation, row: int, lives: Sequence[LifeSpan]) -> Step | None:
    """One operation as a step of a row; None if it says nothing."""
    if one.answer is Answer.REFUSED or (one.kind in _READS and one.is_open_ended):
        return None
    return Step(
        one.number,
        _action(one, row),
        _PATHS,
        one.invoked,
        lives[one.life].ended if one.is_open_ended else one.responded,
        is_required=not one.is_open_ended,
        text=one.told(),
        may_have_been_done=one.kind not in _READS,
    )


def _action(one: Operation, row: int) -> Action:
    has_answer = one.answer is Answer.VALUE
    first, second, third = (*one.columns, "", "", "")[:3]
    match one.kind:
        case Kind.PUT | Kind.WRITE_ROWS:
            return rows.put({first: one.number})
        case Kind.WRITE:
            return rows.put({first: one.number, second: one.number}, deleted=third)
        case Kind.DELETE_CELL:
            return rows.delete(first)
        case Kind.DELETE_FAMILY:
            return rows.delete(first[:2])
        case Kind.DELETE_ROW | Kind.DELETE_ROWS | Kind.DELETE_RANGE:
            return rows.delete("")
        case Kind.INCREMENT:
            return rows.increment(first, one.value if has_answer else None)
        case Kind.CHECK:
            found = bool(one.value) if has_answer else None
            return rows.check(first, {second: one.number}, {third: one.number}, found)
        case Kind.GET:
            return rows.get(first, one.value)
        case _:
            return rows.read(one.found[row])
