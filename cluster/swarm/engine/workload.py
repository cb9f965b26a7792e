"""Drawing the tablets of one seed, and what its callers do: often with the same few rows, so that they collide."""

import random
from dataclasses import replace

from cluster.swarm.engine.plan import Kind, PlannedOperation, Setup
from tablet.engine.world.options import POLICY_NAMES

CLIENTS = ("one", "two", "three", "four")
CUTTER = "cutter"
"""A caller of some seeds: see `draw_cut`."""
COLUMNS = ("f:a", "f:b", "g:c")
COUNTER = "n:count"

_WEIGHTS = {
    Kind.PUT: 30,
    Kind.WRITE: 10,
    Kind.WRITE_ROWS: 6,
    Kind.DELETE_CELL: 4,
    Kind.DELETE_FAMILY: 2,
    Kind.DELETE_ROW: 4,
    Kind.DELETE_ROWS: 2,
    Kind.DELETE_RANGE: 2,
    Kind.INCREMENT: 10,
    Kind.CHECK: 8,
    Kind.GET: 10,
    Kind.READ: 10,
    Kind.SCAN: 5,
    Kind.SCAN_BACK: 3,
    Kind.FLUSH: 1,
    Kind.COMPACT: 1,
    Kind.SYNC: 2,
    Kind.SPLIT: 3,
    Kind.MERGE: 3,
}
_CHANGES_OF_FILES = frozenset({Kind.DELETE_RANGE, Kind.FLUSH, Kind.COMPACT, Kind.SPLIT, Kind.MERGE})


def draw_setup(chance: random.Random) -> Setup:
    """The tablets."""
    segment_bytes = chance.choice([1000, 4000, 20_000])
    reshapes = chance.random() < 0.3
    return Setup(
        tablets=chance.choice([1, 2, 3, 5]),
        rows=chance.choice([2, 5, 12]),
        sync=chance.choice(["fsync", "fsync", "os"]),
        segment_bytes=segment_bytes,
        segment_limit=chance.choice([0, 3, 6]),
        memtable_bytes=chance.choice([1500, 3000, 10_000]),
        frozen_memtables=chance.choice([1, 3]),
        policy=chance.choice(POLICY_NAMES),
        fan_in=chance.choice([2, 3]),
        flush_on_close_bytes=chance.choice([0, 1 << 30]),
        value_bytes=chance.choice([4, 50, 300]),
        takes_over_every=0 if reshapes else chance.choice([0, 0, 1, 2, 3]),
        reshapes=reshapes,
        piece_bytes=chance.choice([500, 3000, 100_000]),
        trouble_seconds=chance.choice([5.0, 20.0, 60.0]),
    )


def draw_operations(chance: random.Random, setup: Setup) -> tuple[PlannedOperation, ...]:
    """What the callers do, each one thing after the other."""
    possible = [kind for kind in Kind if kind is not Kind.SAVE]
    if not setup.reshapes:
        possible = [kind for kind in possible if kind not in (Kind.SPLIT, Kind.MERGE)]
    kinds = [kind for kind in possible if chance.random() < 0.85 or kind in (Kind.PUT, Kind.READ)]
    weights = [_WEIGHTS[kind] * chance.choice([0.5, 1.0, 3.0]) for kind in kinds]
    count = chance.randint(60, 300)
    pause = setup.trouble_seconds * len(CLIENTS) / count
    gives_up = chance.choice([0.0, 0.1, 0.5])
    found = []
    for kind in chance.choices(kinds, weights, k=count):
        row = chance.randrange(setup.rows)
        many = kind in (Kind.WRITE_ROWS, Kind.DELETE_ROWS, Kind.DELETE_RANGE, Kind.SCAN, Kind.SCAN_BACK)
        found.append(
            PlannedOperation(
                client=chance.choice(CLIENTS),
                pause=round(chance.choice([0.0, 0.0, pause, 3.0 * pause]) * chance.random(), 4),
                kind=kind,
                tablet=chance.randrange(setup.tablets),
                row=row,
                column=chance.randrange(len(COLUMNS)),
                rows=chance.randint(1, setup.rows - row) if many else 1,
                patience_seconds=chance.choice([0.0002, 0.001, 0.005, 0.05]) if chance.random() < gives_up else 0.0,
            )
        )
    return tuple(found)


def with_cuts(chance: random.Random, operations: tuple[PlannedOperation, ...]) -> tuple[PlannedOperation, ...]:
    """The same work, of which some changes of a tablet's files are cut in the middle: their callers give up when a
    manifest is renamed."""
    share = chance.choice([0.0, 0.3, 0.8])
    return tuple(
        replace(planned, patience_seconds=0.0, patience_switches=chance.randint(1, 2))
        if planned.kind in _CHANGES_OF_FILES and chance.random() < share
        else planned
        for planned in operations
    )


def with_snapshots(chance: random.Random, operations: tuple[PlannedOperation, ...]) -> tuple[PlannedOperation, ...]:
    """The same work, in which some deletions of rows and some flushes make way for snapshots."""
    share = chance.choice([0.0, 0.1, 0.3])
    return tuple(
        replace(planned, kind=Kind.SAVE, rows=1)
        if planned.kind in (Kind.FLUSH, Kind.DELETE_ROW, Kind.DELETE_ROWS) and chance.random() < share
        else planned
        for planned in operations
    )


def draw_cut(chance: random.Random, setup: Setup) -> tuple[float, tuple[PlannedOperation, ...]]:
    """A caller deletes a range, gives up in the middle of it, and builds upon what it sees. Returns when it begins:
    a server that ends soon afterwards shows whether that is what the disk says."""
    when = round(chance.uniform(0.3, setup.trouble_seconds), 3)
    tablet, row = chance.randrange(setup.tablets), chance.randrange(setup.rows)
    kinds = (Kind.INCREMENT, Kind.PUT, Kind.DELETE_RANGE, Kind.READ, Kind.INCREMENT, Kind.READ)
    found = [PlannedOperation(CUTTER, 0.005, kind, tablet, row) for kind in kinds]
    found[0] = replace(found[0], pause=when)
    found[2] = replace(found[2], patience_switches=chance.choice([1, 2, 2, 3]))
    return when, tuple(found)
