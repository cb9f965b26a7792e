"""Work on values and in reverse: increments, appends, and scans from the last row to the first.

It is drawn from a stream of its own and strewn among what the clients do anyway. One row has most of it, and changes
come in bursts, so that clients meet there.
"""

import random
from collections.abc import Sequence

from cluster.faultplan import Fault, MessageDoubled, MessageLost, OnMessage, What
from cluster.swarm.tables.plan import Kind, PlannedOperation, Setup
from runtime.faults.links import Kind as MessageKind

_WORK = ((Kind.INCREMENT, 4), (Kind.APPEND, 3), (Kind.REVERSE_SCAN, 3))
_SHARE = 0.15
_BURST = 4


def with_work_on_values(
    chance: random.Random, setup: Setup, operations: Sequence[PlannedOperation]
) -> tuple[PlannedOperation, ...]:
    """The operations, and more between them: a scan, or a burst of changes."""
    found: list[PlannedOperation] = []
    kinds, weights = [kind for kind, _ in _WORK], [weight for _, weight in _WORK]
    meeting = chance.randrange(setup.rows)
    for operation in operations:
        if chance.random() < _SHARE:
            [kind] = chance.choices(kinds, weights)
            row, count = chance.randrange(setup.rows), chance.randint(1, setup.rows)
            if kind is Kind.REVERSE_SCAN:
                found.append(PlannedOperation(operation.client, operation.pause, kind, row, count=count))
            else:
                row = meeting if chance.random() < 0.8 else row
                found += [PlannedOperation(operation.client, 0.0, kind, row)] * chance.randint(1, _BURST)
        found.append(operation)
    return tuple(found)


def draw_faults_of_changes(chance: random.Random) -> tuple[Fault, ...]:
    """Lost answers, and requests that come late or twice."""
    if chance.random() < 0.6:
        return ()
    found = []
    for nth in chance.sample(range(1, 30), k=chance.randint(1, 3)):
        kind = chance.choice([MessageKind.REPLY, MessageKind.REPLY, MessageKind.REQUEST])
        what: What = MessageLost() if kind is MessageKind.REPLY else MessageDoubled(chance.choice([0.1, 1.0]))
        found.append(Fault(OnMessage("TabletServer/ChangeValue", kind, nth=nth), what))
    return tuple(found)
