"""A small fixed share of the tables' swarm, the same in every run of the tests; and what its judges find."""

import fnmatch

import pytest

from cluster.faultplan import OnMessage
from cluster.swarm.bugs import described, planted
from cluster.swarm.history import Answer
from cluster.swarm.swarms import TABLES
from cluster.swarm.tables.bugs import BUGS
from cluster.swarm.tables.history import NOTHING, History, Operation, RowState
from cluster.swarm.tables.judging import judge_cover, judge_rows
from cluster.swarm.tables.plan import Kind, Plan, PlannedOperation
from cluster.swarm.tables.run import Result, draw_plan, run_plan
from runtime.wire import chunkserver_pb2, lockservice_pb2, master_pb2, tables_pb2
from runtime.wire.tables_pb2 import TabletPlace

SEEDS = range(9000, 9006)
BUG_SEEDS = (9203, *range(9101, 9107))


def complaints(result: Result) -> str:
    found = [f"{verdict.judge}: {verdict.text}" for verdict in result.verdicts]
    return "\n".join([*found, f"./scripts/swarm --tables --replay {result.plan.seed}"]) if found else ""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_judge_finds_anything_in_this_seed(seed: int):
    assert not complaints(run_plan(draw_plan(seed)))


def told(result: Result) -> list[str]:
    history = [f"{one.invoked} {one.responded} {one.told()}" for one in result.history.operations]
    return history + [f"{time} {record.to_json()}" for time, record in result.records]


def test_the_same_seed_gives_the_same_history_and_the_same_events():
    assert told(run_plan(draw_plan(SEEDS[1]))) == told(run_plan(draw_plan(SEEDS[1])))


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_survives_being_written_down(seed: int):
    plan = draw_plan(seed)
    assert Plan.from_json(plan.to_json()) == plan


def test_seeds_use_every_kind_of_operation_and_many_faults():
    plans = [draw_plan(seed) for seed in range(60)]
    assert {one.kind for plan in plans for one in plan.operations} == set(Kind)
    kinds = {type(fault.what).__name__ for plan in plans for fault in plan.faults}
    assert kinds >= {"Kill", "Stop", "PowerCut", "Pause", "Isolate", "Partition", "BadLink", "MessageDoubled"}


def test_every_fault_at_a_message_waits_for_a_message_that_there_is():
    """A method without its service's name fits no message: for its first 300 seeds no such fault struck."""
    known = {
        f"{service.name}/{method.name}"
        for file in (tables_pb2, lockservice_pb2, master_pb2, chunkserver_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    faults = [fault for seed in range(200) for fault in draw_plan(seed).faults]
    methods = {fault.when.method for fault in faults if isinstance(fault.when, OnMessage)}
    assert len(methods) > 10
    assert all(fnmatch.filter(known, method) for method in methods)


def test_every_planted_bug_says_which_rule_goes():
    assert all(described(name, TABLES.bugs) for name in TABLES.bugs)


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        ("tablet-served-after-its-lock-is-lost", {"rows"}),
        ("log-of-the-dead-not-read", {"rows", "final reads", "metadata"}),
        ("silent-server-given-up-without-its-lock", {"one server", "rows"}),
    ],
)
def test_a_planted_bug_is_found_within_a_few_seeds(name: str, judges: set[str]):
    for seed in BUG_SEEDS:
        with planted(name, BUGS):
            found = run_plan(draw_plan(seed))
        if found.verdicts:
            assert judges & {verdict.judge for verdict in found.verdicts}, complaints(found)
            assert not complaints(run_plan(draw_plan(seed)))
            return
    pytest.fail(f"not found in {len(BUG_SEEDS)} seeds")


class Past:
    """Builds a history of one row, operation by operation, one after the other."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 0.0

    def add(self, kind: Kind, **facts: object) -> Operation:
        """An operation after the last one, answered unless `facts` say otherwise."""
        operation = self.history.new("one", PlannedOperation("one", 0.0, kind), 0, self.now)
        operation.answer, operation.responded = Answer.VALUE, self.now + 1.0
        self.now += 2.0
        for name, value in facts.items():
            setattr(operation, name, value)
        return operation

    def is_fine(self) -> bool:
        return judge_rows(self.history, 1) == ([], False)


def cells(**values: int) -> RowState:
    return frozenset((f"f:{name}", value) for name, value in values.items())


def test_reads_and_writes_in_order_are_fine():
    past = Past()
    past.add(Kind.READ, found=NOTHING)
    past.add(Kind.PUT)
    past.add(Kind.READ, found=cells(x=2))
    past.add(Kind.WRITE)
    past.add(Kind.CHECK, value=1)
    past.add(Kind.READ, found=cells(x=5, y=4))
    past.add(Kind.DELETE)
    past.add(Kind.GET, value=0)
    assert past.is_fine()


def test_an_acknowledged_write_that_is_lost_is_found():
    past = Past()
    past.add(Kind.PUT)
    past.add(Kind.READ, found=NOTHING)
    assert not past.is_fine()


def test_a_read_of_what_was_overwritten_before_is_found():
    past = Past()
    past.add(Kind.PUT)
    past.add(Kind.PUT)
    past.add(Kind.GET, value=1)
    assert not past.is_fine()


def test_a_write_in_doubt_may_be_there_or_not_and_a_refused_one_may_not():
    for answer, seen, is_fine in (
        (Answer.DOUBTFUL, True, True),
        (Answer.DOUBTFUL, False, True),
        (Answer.REFUSED, True, False),
        (Answer.REFUSED, False, True),
    ):
        past = Past()
        past.add(Kind.PUT, answer=answer)
        past.add(Kind.GET, value=1 if seen else 0)
        assert past.is_fine() is is_fine


def test_a_condition_that_did_not_hold_is_found():
    past = Past()
    past.add(Kind.CHECK, value=1)
    assert not past.is_fine()


def test_a_gap_and_an_overlap_in_metadata_are_found():
    def places(*bounds: tuple[bytes, bytes]) -> list[TabletPlace]:
        return [TabletPlace(table="users", start_row=start, end_row=end) for start, end in bounds]

    assert judge_cover("users", places((b"", b"m"), (b"m", b""))) == []
    for wrong in (places((b"", b"k"), (b"m", b"")), places((b"", b"m"), (b"k", b"")), places((b"", b"m")), []):
        assert [verdict.judge for verdict in judge_cover("users", wrong)] == ["metadata"]
