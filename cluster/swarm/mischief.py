"""Drawing the faults of one seed.

    kill, stop, power      a node ends at once, in good order, or with its machine; it is started again `seconds` later
    power_all              every chunkserver loses power at the same moment; amount 1: the master too
    pause                  a node freezes
    client_kill            a client dies with its open files; another begins in its place
    partition              two groups of nodes do not reach each other      targets: the one group, "|", the other
    one_way                what the first node sends to the others is lost
    loss, double, delay    messages from one node to another ("*": any) are lost or doubled with the chance `amount`, or
                           late by up to `amount` seconds
    skew                   a clock runs faster or slower by the part `amount`, and its wall clock is wrong by minutes
    eio                    operations of the kind `detail` (read, write, sync) fail on a disk
    full, slow             a disk has no space left, or takes `amount` seconds for each operation
    rot, torn, header      bytes of a stored block flip, a block is cut in two, slots of a chunk's header are spoiled;
                           `amount` picks the chunk among those of the server when the time comes
    erase                  a chunkserver ends, and comes back with an empty disk

A seed has only some of the kinds, and its own strength of each.
"""

import random

from cluster.swarm.plan import PlannedFault, Setup
from cluster.swarm.workload import CLIENTS

MASTER = "master"
# Faults that may destroy copies: withheld while they could destroy the last good one.
DESTROYING = frozenset({"rot", "torn", "header", "erase", "eio"})
_KINDS = (
    "kill",
    "kill",
    "stop",
    "power",
    "power_all",
    "pause",
    "pause",
    "client_kill",
    "partition",
    "one_way",
    "loss",
    "double",
    "delay",
    "delay",
    "skew",
    "eio",
    "full",
    "slow",
    "rot",
    "torn",
    "header",
    "erase",
)
_DOWN = (0.3, 1.0, 3.0, 8.0, 15.0)


def draw_faults(chance: random.Random, setup: Setup) -> tuple[PlannedFault, ...]:
    """What will strike, in order of time."""
    share = chance.choice([0.15, 0.3, 0.5])
    kinds = [kind for kind in _KINDS if chance.random() < share] or [chance.choice(_KINDS)]
    weights = [chance.choice([0.3, 1.0, 3.0]) for _ in kinds]
    spares_master = chance.random() < 0.25
    count = chance.randint(2, 14)
    found = []
    for _ in range(count):
        kind = chance.choices(kinds, weights)[0]
        at = chance.uniform(2.0, setup.trouble_seconds)
        found.append(_draw(chance, kind, at, setup, spares_master=spares_master))
    return tuple(sorted(found, key=lambda fault: fault.at))


def chunkservers(setup: Setup) -> list[str]:
    """Names."""
    return [f"cs{number}" for number in range(1, setup.chunkservers + 1)]


def _draw(chance: random.Random, kind: str, at: float, setup: Setup, *, spares_master: bool) -> PlannedFault:
    servers = chunkservers(setup)
    nodes = servers if spares_master else [*servers, MASTER, MASTER]
    seconds = chance.choice(_DOWN) * chance.uniform(0.5, 1.2)
    node = chance.choice(nodes)
    match kind:
        case "power_all":
            return PlannedFault(at, seconds, kind, (), amount=float(not spares_master and chance.random() < 0.5))
        case "client_kill":
            return PlannedFault(at, seconds, kind, (chance.choice(CLIENTS),))
        case "partition":
            everyone = [*servers, MASTER, *CLIENTS]
            some = chance.sample(everyone, chance.randint(1, len(everyone) // 2))
            others = [name for name in everyone if name not in some]
            return PlannedFault(at, seconds, kind, (*some, "|", *others))
        case "one_way":
            others = [name for name in (*servers, MASTER, *CLIENTS) if name != node]
            return PlannedFault(at, seconds, kind, (node, *chance.sample(others, chance.randint(1, len(others)))))
        case "loss" | "double" | "delay":
            amount = chance.choice([0.02, 0.1, 0.3]) if kind != "delay" else chance.choice([0.03, 0.3, 2.0, 5.0])
            return PlannedFault(at, seconds, kind, _draw_way(chance, servers), amount=amount)
        case "skew":
            return PlannedFault(at, 4.0 * seconds, kind, (node,), amount=chance.choice([-0.05, -0.01, 0.01, 0.05]))
        case "eio":
            what = chance.choice(["read", "write", "sync"])
            return PlannedFault(at, seconds, kind, (node,), detail=what)
        case "full":
            return PlannedFault(at, seconds, kind, (node,), amount=float(chance.choice([0, 1000, 70_000])))
        case "slow":
            return PlannedFault(at, seconds, kind, (node,), amount=chance.choice([0.002, 0.02, 0.15]))
        case "rot" | "torn":
            return PlannedFault(at, 0.0, kind, (chance.choice(servers),), amount=chance.random())
        case "header":
            which = chance.choice(["newer", "older", "both"])
            return PlannedFault(at, 0.0, kind, (chance.choice(servers),), amount=chance.random(), detail=which)
        case "erase":
            return PlannedFault(at, seconds, kind, (chance.choice(servers),))
        case _:
            return PlannedFault(at, seconds, kind, (node,))


def _draw_way(chance: random.Random, servers: list[str]) -> tuple[str, str]:
    """One way that messages take, of the kinds that protocols depend on."""
    one, other = chance.sample(servers, 2)
    return chance.choice(
        [
            ("*", "*"),
            (one, MASTER),
            (MASTER, one),
            ("*", MASTER),
            (MASTER, "*"),
            (one, other),
            (chance.choice(CLIENTS), "*"),
            ("*", chance.choice(CLIENTS)),
        ]
    )
