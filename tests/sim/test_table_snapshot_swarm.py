"""What the tables' swarm finds of snapshots: a small plan for each planted bug, which finds nothing without it."""

import random

import pytest

from cluster.faultplan import Fault, Kill, OnMessage, TheReceiver
from cluster.swarm.bugs import planted
from cluster.swarm.tables.bugs_of_snapshots import BUGS
from cluster.swarm.tables.plan import Kind, Plan, PlannedOperation, Setup
from cluster.swarm.tables.run import run_plan
from cluster.swarm.tables.snapshots import KEEPER, KINDS, draw_keeper
from runtime.faults.links import Kind as MessageKind

SETUP = Setup(clients=1, rows=4, memtable_bytes=1 << 20, segment_bytes=20_000, tablets=2, trouble_seconds=4.0)
MASTER_DIES = Fault(OnMessage("TabletServer/AcquireSnapshot", MessageKind.REPLY), Kill(), TheReceiver(), 1.0)
SERVER_DIES = Fault(OnMessage("TabletServer/AcquireSnapshot", MessageKind.REQUEST), Kill(), TheReceiver(), 1.0)


def plan(*faults: Fault) -> Plan:
    """Rows are written, snapshotted, written anew; and the snapshot is looked at."""
    write = [PlannedOperation("client", 0.1, Kind.WRITE, row) for row in range(4)]
    snapshot, restore = PlannedOperation(KEEPER, 1.0, Kind.SNAPSHOT), PlannedOperation(KEEPER, 1.5, Kind.RESTORE)
    later = [PlannedOperation("client", 0.5, Kind.PUT, row) for row in range(4)]
    return Plan(1, SETUP, (*write, *later, snapshot, restore), faults)


@pytest.mark.parametrize(
    ("name", "judge", "faults"),
    [
        ("snapshot-without-what-is-in-memory", "rows", []),
        ("snapshot-taken-before-all-have-reached-it", "snapshots", [SERVER_DIES]),
        ("snapshot-of-a-dead-master-not-aborted", "snapshots", [MASTER_DIES]),
    ],
)
def test_a_planted_bug_of_snapshots_is_found(name: str, judge: str, faults: list[Fault]):
    with planted(name, BUGS):
        found = run_plan(plan(*faults)).verdicts
    assert judge in {verdict.judge for verdict in found}, found


@pytest.mark.parametrize("faults", [[], [SERVER_DIES], [MASTER_DIES]])
def test_without_a_bug_nothing_is_found(faults: list[Fault]):
    assert run_plan(plan(*faults)).verdicts == []


def test_the_keeper_draws_every_kind_of_work_and_leaves_some_runs_alone():
    drawn = [draw_keeper(random.Random(f"keeper {seed}"), SETUP) for seed in range(60)]
    assert {one.kind for operations, _ in drawn for one in operations} == set(KINDS)
    assert any(not operations and not faults for operations, faults in drawn)
    assert {type(fault.what).__name__ for _, faults in drawn for fault in faults} >= {"Kill", "Pause", "MessageDelayed"}
