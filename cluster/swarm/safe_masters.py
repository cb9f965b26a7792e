"""Whether safe mode outlives the master under which an operator has entered it (GFS 2.6.2 and 5.1.3 leave it open).

In some of the seeds with several masters an operator enters safe mode, the acting master is killed, perhaps more than
once, and the operator leaves safe mode much later. The judge looks at what clients were told: between the answer to the
one who enters and the next request to leave, no change of names that was asked for in that time may be done.
"""

import math
import random
from collections.abc import Iterator

from cluster.faultplan import At, Fault, Kill, TheMaster
from cluster.swarm.history import Answer, History, Kind, Operation
from cluster.swarm.plan import JUDGE, PlannedOperation, Setup

WITH_SAFE_FAILOVERS = 0.3
"""Of the seeds with several masters."""
_CHANGES = (Kind.CREATE, Kind.WRITE_FILE, Kind.RENAME, Kind.DELETE, Kind.SNAPSHOT)


def safe_failovers(seed: int, setup: Setup) -> tuple[tuple[PlannedOperation, ...], tuple[Fault, ...]]:
    """In some of the seeds: what the operator does, and the ends of acting masters. Drawn apart from all else."""
    chance = random.Random(f"safe failovers {seed}")
    if chance.random() >= WITH_SAFE_FAILOVERS:
        return (), ()
    when, seconds = chance.uniform(2.0, 0.5 * setup.trouble_seconds), chance.uniform(12.0, 30.0)
    enter = PlannedOperation(JUDGE, when, Kind.ENTER_SAFE_MODE)
    leave = PlannedOperation(JUDGE, seconds, Kind.LEAVE_SAFE_MODE)
    ends = [when + chance.uniform(0.5, 4.0), when + chance.uniform(6.0, seconds)][: chance.randint(1, 2)]
    kills = [Fault(At(round(end, 3)), Kill(), TheMaster(), chance.choice([1.0, 8.0])) for end in ends]
    return (enter, leave), tuple(kills)


def judge_kept_safe_mode(history: History) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Changes of names that were done while safe mode was certain: a sentence, and the operations."""
    leaves = [one for one in history.operations if one.kind is Kind.LEAVE_SAFE_MODE]
    for enter in history.operations:
        if enter.kind is not Kind.ENTER_SAFE_MODE or enter.answer is not Answer.VALUE:
            continue
        begin, end = (
            enter.responded,
            min((one.invoked for one in leaves if _end(one) > enter.invoked), default=math.inf),
        )
        for one in history.operations:
            is_within = begin < one.invoked and one.responded < end
            if is_within and one.kind in _CHANGES and one.answer is Answer.VALUE and one.path != one.target:
                text = f"{one.told()}: but {enter.client} had entered safe mode {one.invoked - begin:.3f} s before"
                yield text, (enter.number, one.number)


def _end(operation: Operation) -> float:
    """When it can have no effect any more."""
    return math.inf if operation.is_open_ended else operation.responded
