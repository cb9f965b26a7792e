"""Whether the list of snapshots tells what there is (GFS 3.4): who took one finds it, and nobody finds another.

In half of the seeds in which clients take snapshots they ask for the list now and then. The judge looks for each
snapshot that had been answered before, if nobody can have renamed, deleted or replaced it or a directory above it: it
must be there, with its source. And whatever is listed must have been asked for.
"""

import dataclasses
import math
import random
from collections.abc import Iterator

from cluster.swarm.history import Answer, History, Kind, Operation
from cluster.swarm.plan import PlannedOperation
from gfs.client import Client

WITH_LISTS = 0.5
# A file that was opened to be replaced takes its name when it is closed.
_TOUCHING = (Kind.RENAME, Kind.DELETE, Kind.RESTORE, Kind.WRITE_FILE, Kind.OPEN, Kind.CLOSE)


def with_lists(chance: random.Random, operations: tuple[PlannedOperation, ...]) -> tuple[PlannedOperation, ...]:
    """In some seeds clients list snapshots after they have taken one. Drawn apart from all else."""
    if chance.random() >= WITH_LISTS:
        return operations
    found: list[PlannedOperation] = []
    for planned in operations:
        found.append(planned)
        if planned.kind is Kind.SNAPSHOT and chance.random() < 0.6:
            pause = chance.choice([0.0, 0.5, 6.0])
            found.append(dataclasses.replace(planned, pause=pause, kind=Kind.LIST_SNAPSHOTS, path="/", target=""))
    return tuple(found)


async def listed(client: Client) -> tuple[tuple[str, str], ...]:
    """All snapshots: of what, and where they are."""
    return tuple((one.source, one.target) for one in await client.operators.snapshots())


def judge_lists(history: History) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What is wrong with the lists: a sentence, and the operations."""
    taken = [one for one in history.operations if one.kind is Kind.SNAPSHOT and one.answer is not Answer.REFUSED]
    for look in history.operations:
        if look.kind is not Kind.LIST_SNAPSHOTS or look.answer is not Answer.VALUE:
            continue
        for one in taken:
            is_old = one.answer is Answer.VALUE and one.responded < look.invoked
            if is_old and (one.path, one.target) not in look.listed and not _is_touched(one, look, history):
                yield f"{look.told()}: the snapshot that {one.told()} is missing", (one.number, look.number)
        sources = {one.path for one in taken if one.invoked < look.responded}
        for source, target in look.listed:
            if source not in sources:
                yield f"{look.told()}: nobody took a snapshot of {source}, and {target} is called one", (look.number,)


def _is_touched(taken: Operation, look: Operation, history: History) -> bool:
    """Whether a snapshot may have another name, or be gone, or not be a snapshot any more."""
    for one in history.operations:
        end = math.inf if one.is_open_ended else one.responded
        may_matter = one.kind in _TOUCHING and one.answer is not Answer.REFUSED
        if may_matter and one.invoked < look.responded and end > taken.invoked:
            for path in filter(None, (one.path, one.target)):
                if taken.target == path or taken.target.startswith(path.rstrip("/") + "/"):
                    return True
    return False
