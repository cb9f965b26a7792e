"""Drawing snapshots, and what clients do around them (GFS 3.4).

A client opens a file and writes to it, takes a snapshot of it or of the tree that it is in, writes on, and looks at
both sides. Then something is done to one of them: it is written, renamed, deleted, given other replicas, or the source
is restored from the snapshot. The names of the copies are few, so that clients collide, and copies of copies arise.
"""

import random
from collections.abc import Sequence

from cluster.swarm.history import Kind
from cluster.swarm.plan import PlannedOperation, Setup
from cluster.swarm.workload import FEWEST_REPLICAS, SHARED, SHARED_SLOT

WITH_SNAPSHOTS = 0.4
"""The share of seeds in which clients take snapshots."""
_SLOT = SHARED_SLOT + 1
_RECORDS_SLOT = SHARED_SLOT + 2
_NAMES = 5
Operations = list[PlannedOperation]


def with_snapshots(
    chance: random.Random, setup: Setup, operations: tuple[PlannedOperation, ...], paths: Sequence[str]
) -> tuple[PlannedOperation, ...]:
    """In some seeds clients take snapshots. Drawn apart from all else, so that the other seeds are what they would be
    without."""
    if chance.random() >= WITH_SNAPSHOTS:
        return operations
    found = list(operations)
    files = [*paths, *(f"/snapshot{number}" for number in range(_NAMES))]
    trees = sorted({path.rpartition("/")[0] for path in paths if path.count("/") > 1})
    has_records = any(planned.kind is Kind.RECORD_APPEND for planned in operations)
    for _ in range(chance.randint(4, 14)):
        place = chance.randrange(1, len(found))
        client = found[place].client
        kind = chance.random()
        if has_records and kind < 0.25:
            burst = _of_records(chance, client)
        elif trees and kind < 0.6:
            burst = _of_a_tree(chance, setup, client, trees, files)
        else:
            source = chance.choice(paths) if chance.random() < 0.7 else chance.choice(files)
            burst = _of_a_file(chance, setup, client, source, chance.choice(files[len(paths) :]))
        found[place:place] = burst
    return tuple(found)


def _of_a_file(chance: random.Random, setup: Setup, client: str, source: str, target: str) -> Operations:
    found: Operations = []
    if chance.random() < 0.3:
        found.append(PlannedOperation(client, 0.0, Kind.DELETE, target, immediately=chance.random() < 0.5))
    taken = [PlannedOperation(client, _pause(chance), Kind.SNAPSHOT, source, target)]
    found += _around(chance, setup, client, source, taken)
    found.append(PlannedOperation(client, _pause(chance), Kind.READ_FILE, target))
    found += _aftermath(chance, setup, client, source, target)
    return found


def _of_a_tree(
    chance: random.Random, setup: Setup, client: str, trees: Sequence[str], files: Sequence[str]
) -> Operations:
    tree = chance.choice(trees)
    target = f"/trees{chance.randrange(3)}"
    inside = [path for path in files if path.startswith(tree + "/")]
    source = chance.choice(inside)
    copy = target + source[len(tree) :]
    found: Operations = []
    if chance.random() < 0.4:
        found.append(PlannedOperation(client, 0.0, Kind.DELETE, target, recursive=True, immediately=True))
    taken = [PlannedOperation(client, _pause(chance), Kind.SNAPSHOT, tree, target)]
    found += _around(chance, setup, client, source, taken)
    found.append(PlannedOperation(client, _pause(chance), Kind.LIST, target, recursive=True))
    found.append(PlannedOperation(client, 0.0, Kind.READ_FILE, copy))
    if chance.random() < 0.3:  # Go back to it as a whole.
        found.append(PlannedOperation(client, _pause(chance), Kind.DELETE, tree, recursive=True))
        found.append(PlannedOperation(client, 0.0, Kind.SNAPSHOT, target, tree))
    found += _aftermath(chance, setup, client, source, copy)
    if chance.random() < 0.3:
        victim = chance.choice([tree, target])
        at_once = chance.random() < 0.5
        found.append(PlannedOperation(client, _pause(chance), Kind.DELETE, victim, recursive=True, immediately=at_once))
    return found


def _of_records(chance: random.Random, client: str) -> Operations:
    """Of the file of records, to which nothing else is done either; records are appended to the copy as well."""
    target = f"{SHARED}-copy{chance.randrange(2)}"
    found = [PlannedOperation(client, _pause(chance), Kind.SNAPSHOT, SHARED, target)]
    found.append(PlannedOperation(client, _pause(chance), Kind.READ_FILE, target))
    found.append(PlannedOperation(client, 0.0, Kind.OPEN, target, mode="ab", slot=_RECORDS_SLOT))
    for _ in range(chance.randint(1, 3)):
        count = chance.randint(1, 3000)
        found.append(PlannedOperation(client, 0.0, Kind.RECORD_APPEND, slot=_RECORDS_SLOT, count=count))
    found.append(PlannedOperation(client, _pause(chance), Kind.CLOSE, slot=_RECORDS_SLOT))
    found.append(PlannedOperation(client, 0.0, Kind.READ_FILE, target))
    found.append(PlannedOperation(client, 0.0, Kind.READ_FILE, SHARED))
    if chance.random() < 0.4:
        found.append(PlannedOperation(client, _pause(chance), Kind.DELETE, target, immediately=chance.random() < 0.5))
    return found


def _around(chance: random.Random, setup: Setup, client: str, source: str, taken: Operations) -> Operations:
    """The snapshot, mostly in the midst of writes through one open file, of which one may run beside it."""
    if chance.random() < 0.25:
        return taken
    before, after = _write(chance, setup, client), _write(chance, setup, client)
    found = [PlannedOperation(client, _pause(chance), Kind.OPEN, source, mode="r+b", slot=_SLOT), before, *taken]
    if chance.random() < 0.4:
        found.append(_write(chance, setup, client, together=True))
    found += [after, PlannedOperation(client, 0.0, Kind.READ, slot=_SLOT, offset=after.offset, count=after.count)]
    found.append(PlannedOperation(client, _pause(chance), Kind.CLOSE, slot=_SLOT))
    return found


def _aftermath(chance: random.Random, setup: Setup, client: str, source: str, target: str) -> Operations:
    """What is done to one of the two files, and a look at both."""
    one, other = chance.sample([source, target], 2)
    pause = _pause(chance)
    found: Operations = []
    match chance.randrange(7):
        case 0 | 1:
            found.append(PlannedOperation(client, pause, Kind.OPEN, one, mode="r+b", slot=_SLOT))
            found.append(_write(chance, setup, client))
            found.append(PlannedOperation(client, 0.0, Kind.READ_FILE, other))
            found.append(PlannedOperation(client, 0.0, Kind.CLOSE, slot=_SLOT))
        case 2:
            found.append(PlannedOperation(client, pause, Kind.DELETE, one, immediately=chance.random() < 0.6))
        case 3:
            found.append(PlannedOperation(client, pause, Kind.RENAME, target, source, replace=True))
        case 4:
            found.append(PlannedOperation(client, pause, Kind.DELETE, source))
            found.append(PlannedOperation(client, 0.0, Kind.SNAPSHOT, target, source))
        case 5:
            goal = chance.randint(FEWEST_REPLICAS, setup.chunkservers)
            found.append(PlannedOperation(client, pause, Kind.SET_REPLICATION, one, count=goal))
        case _:
            found.append(
                PlannedOperation(client, pause, Kind.WRITE_FILE, one, replace=True, count=_size(chance, setup))
            )
    found += [PlannedOperation(client, _pause(chance), Kind.READ_FILE, path) for path in (one, other)]
    return found


def _write(chance: random.Random, setup: Setup, client: str, *, together: bool = False) -> PlannedOperation:
    offset = chance.choice([0, 0, chance.randint(0, 5000), setup.chunk_bytes + chance.choice([-40, 0, 900])])
    pause = 0.0 if together else _pause(chance)
    size = _size(chance, setup)
    return PlannedOperation(client, pause, Kind.WRITE, slot=_SLOT, offset=offset, count=size, together=together)


def _size(chance: random.Random, setup: Setup) -> int:
    return chance.choice([chance.randint(1, 300), chance.randint(300, 20_000), setup.chunk_bytes + 500])


def _pause(chance: random.Random) -> float:
    return chance.choice([0.0, 0.0, 0.2, 2.0])
