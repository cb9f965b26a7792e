"""Orders about where tablets are and how they lie in files, drawn from a stream of their own: an operator, beside the
clients, gives one after the other, while clients read and write and faults strike.
"""

import random
from dataclasses import replace
from typing import Any

from cluster.swarm.tables.plan import Kind, PlannedOperation, Setup
from tablet.client.client import TableClient
from tablet.location.places import holds

OPERATOR = "operator"
_WORK = ((Kind.MOVE, 4), (Kind.COMPACT, 2), (Kind.MERGE, 5), (Kind.SPLIT, 3))
_COMPACTIONS = (False, True)
"""By `count`: minor, major."""


def draw_merging(seed: int, setup: Setup) -> Setup:
    """Whether the master merges small tablets by itself."""
    return replace(setup, merge_bytes=random.Random(f"table merging {seed}").choice([0, 0, 0, 2000]))


def draw_orders(seed: int, setup: Setup) -> tuple[PlannedOperation, ...]:
    """What the operator will do; in some runs there is none."""
    chance = random.Random(f"table layout {seed}")
    if chance.random() < 0.25:
        return ()
    pause = chance.choice([0.5, 1.0, 2.0])
    kinds, weights = [kind for kind, _ in _WORK], [weight for _, weight in _WORK]
    return tuple(
        PlannedOperation(
            OPERATOR,
            round(chance.expovariate(1 / pause), 3),
            kind,
            chance.randrange(setup.rows),
            count=chance.randint(1, setup.tablet_servers if kind is Kind.MOVE else len(_COMPACTIONS)),
        )
        for kind in chance.choices(kinds, weights, k=round(setup.trouble_seconds / pause * 0.7))
    )


async def give_order(tables: TableClient, table: str, key: bytes, planned: PlannedOperation) -> None:
    """One order about the tablet that has a row, as METADATA has it now. Raises as these do."""
    places = await tables.tablets(table)
    place = next((place for place in places if holds(place, table, key)), None)
    if place is None:
        return  # METADATA was read while the tablet was split or merged.
    match planned.kind:
        case Kind.MERGE:
            if len(places) > 1:
                number = places.index(place)
                await tables.merge(place.tablet, places[number + (1 if place.end_row else -1)].tablet)
        case Kind.SPLIT:
            await tables.split(place.tablet, key)
        case Kind.MOVE:
            await tables.move(place.tablet, f"ts{planned.count}")
        case Kind.COMPACT:
            await tables.compact(place.tablet, major=_COMPACTIONS[planned.count - 1])


def layout_settings(setup: Setup) -> dict[str, Any]:
    """Of the tablet masters: there are sweeps and moves within the time of a run."""
    return {"merge_bytes": setup.merge_bytes, "sweep_seconds": 2.0, "rest_seconds": 3.0}
