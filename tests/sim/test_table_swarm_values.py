"""What the tables' swarm says of increments, appends and scans in reverse, and of bugs planted there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.faultplan import Fault, MessageLost, OnMessage
from cluster.swarm.bugs import described, planted
from cluster.swarm.history import Answer
from cluster.swarm.tables.bugs_of_values import BUGS
from cluster.swarm.tables.history import NOTHING
from cluster.swarm.tables.mischief import client_names
from cluster.swarm.tables.plan import Kind, Plan, PlannedOperation, Setup
from cluster.swarm.tables.promises import in_order
from cluster.swarm.tables.run import run_plan
from runtime.faults.links import Kind as MessageKind
from tests.sim.test_table_swarm import Past, cells, complaints


def test_increments_and_appends_in_order_are_fine():
    past = Past()
    past.add(Kind.INCREMENT, value=1)
    past.add(Kind.APPEND, value=2)
    past.add(Kind.INCREMENT, value=2)
    past.add(Kind.APPEND, value=2_000_004)
    past.add(Kind.READ, found=cells(n=2, a=2_000_004))
    past.add(Kind.DELETE)
    past.add(Kind.INCREMENT, value=1)
    past.add(Kind.REVERSE_SCAN, found=cells(n=1))
    assert past.is_fine()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 3), (2, 3)])
def test_a_lost_or_a_doubled_increment_is_found(first: int, second: int):
    past = Past()
    past.add(Kind.INCREMENT, value=first)
    past.add(Kind.INCREMENT, value=second)
    assert not past.is_fine()


def test_a_change_in_doubt_may_have_happened_once_and_not_twice():
    for value, is_fine in ((1, True), (2, True), (3, False)):
        past = Past()
        past.add(Kind.INCREMENT, answer=Answer.DOUBTFUL)
        past.add(Kind.INCREMENT, value=value)
        assert past.is_fine() is is_fine


def test_an_append_that_is_lost_or_made_twice_is_found():
    for answered in (2, 1_000_002_000_002):
        past = Past()
        past.add(Kind.APPEND, value=1)
        past.add(Kind.APPEND, value=answered)
        past.add(Kind.SCAN, found=NOTHING)
        assert not past.is_fine()


def test_a_scan_in_reverse_that_is_out_of_order_is_found():
    async def rows(keys: list[bytes]) -> AsyncIterator[tuple[bytes, int]]:
        for key in keys:
            yield key, 0

    async def judged(keys: list[bytes]) -> list[str]:
        one = Past().add(Kind.REVERSE_SCAN)
        await in_order(rows(keys), b"a", b"d", one, reverse=True)
        return one.wrong

    async def story() -> None:
        assert await judged([b"c", b"b", b"a"]) == [] == await judged([])
        assert [len(await judged(keys)) for keys in ([b"b", b"c"], [b"b", b"b"], [b"d"])] == [1, 1, 1]

    asyncio.run(story())


def test_every_planted_bug_says_which_rule_goes():
    assert all(described(name, BUGS) for name in BUGS)


LOST_ANSWER = Fault(OnMessage("TabletServer/ChangeValue", MessageKind.REPLY, nth=3), MessageLost())


def aimed(kind: Kind, *faults: Fault) -> Plan:
    """Two clients that do nothing but one kind of operation, without a pause."""
    setup = Setup(clients=2, rows=8, tablet_servers=2, memtable_bytes=1 << 20, tablets=2, trouble_seconds=4.0)
    work = [PlannedOperation(name, 0.0, Kind.WRITE_ROWS, 0, count=8) for name in client_names(setup)]
    work += [PlannedOperation(name, 0.0, kind, 0, count=8) for name in client_names(setup) for _ in range(10)]
    return Plan(630000, setup, tuple(work), faults)


@pytest.mark.parametrize(
    ("name", "judge", "plan"),
    [
        ("value-changed-without-the-lock-of-its-row", "rows", aimed(Kind.INCREMENT)),
        ("value-changed-without-the-lock-of-its-row", "rows", aimed(Kind.APPEND)),
        ("change-made-again-after-doubt", "rows", aimed(Kind.INCREMENT, LOST_ANSWER)),
        ("reverse-scan-continued-with-the-row-it-gave", "scans", aimed(Kind.REVERSE_SCAN)),
    ],
)
def test_a_planted_bug_is_found_by_a_plan_that_aims_at_it(name: str, judge: str, plan: Plan):
    with planted(name, BUGS):
        found = run_plan(plan)
    assert judge in {verdict.judge for verdict in found.verdicts}
    assert not complaints(run_plan(plan))
