"""The judge of the engine's swarm refuses bad histories, and believes what may have happened."""

import pytest

from cluster.swarm.bugs import described, planted
from cluster.swarm.engine.bugs import BUGS
from cluster.swarm.engine.history import HOST, History, Operation
from cluster.swarm.engine.host import LifeSpan
from cluster.swarm.engine.judging import judge_rows
from cluster.swarm.engine.plan import Kind, Plan, PlannedOperation, Setup
from cluster.swarm.engine.run import draw_plan
from cluster.swarm.history import Answer
from tablet.engine.world.options import SyncMode

FIRST, SECOND, THIRD = "f:a", "f:b", "g:c"


class Past:
    """Builds a history of one row, operation by operation."""

    def __init__(self, sync: SyncMode = "fsync") -> None:
        self.history = History()
        self.lives = [LifeSpan(0.0)]
        self.setup = Setup(tablets=1, rows=1, sync=sync)
        self.now = 0.0

    def add(self, kind: Kind, *, client: str = "one", answer: Answer = Answer.VALUE, lasts: float = 1.0) -> Operation:
        """An operation after the last one."""
        rows = () if kind in (Kind.SYNC, Kind.FLUSH) else (0,)
        planned = PlannedOperation(client, 0.0, kind)
        operation = self.history.new(client, planned, self.now, "t", rows, (FIRST, SECOND, THIRD))
        self.now += lasts + 0.1
        operation.answer, operation.responded = answer, self.now - 0.1
        return operation

    def read(self, cells: dict[str, int], client: str = "one") -> Operation:
        """A read, or with the host as client the first look of a new life."""
        operation = self.add(Kind.SCAN if client == HOST else Kind.READ, client=client)
        operation.found = {0: frozenset(cells.items())}
        return operation

    def die(self, *, power: bool) -> None:
        """The end of a life, and the next one."""
        self.lives[-1].ended, self.lives[-1].by_power_cut = self.now, power
        self.now += 1.0
        self.lives.append(LifeSpan(self.now))
        self.history.life += 1

    def complaints(self) -> list[str]:
        """What the judge says."""
        judged = judge_rows(self.history, self.lives, self.setup, ["t"])
        assert not judged.is_undecided
        return [verdict.text for verdict in judged.verdicts]


def test_a_read_after_an_acknowledged_write_must_see_it():
    past = Past()
    number = past.add(Kind.PUT).number
    past.read({FIRST: number})
    assert past.complaints() == []
    past.read({})
    assert "no order explains: one: read t/row0 [3] -> row0: {}" in past.complaints()[0]


def test_a_refused_write_must_not_be_seen():
    past = Past()
    number = past.add(Kind.PUT, answer=Answer.REFUSED).number
    past.read({})
    assert past.complaints() == []
    past.read({FIRST: number})
    assert past.complaints()


@pytest.mark.parametrize("answer", [Answer.DOUBTFUL, Answer.NEVER])
def test_a_write_in_doubt_may_be_seen_or_not_but_not_first_one_and_then_the_other(answer: Answer):
    for seen in (True, False):
        past = Past()
        number = past.add(Kind.PUT, answer=answer).number
        past.read({FIRST: number} if seen else {})
        past.die(power=True)
        past.read({FIRST: number} if seen else {}, HOST)
        assert past.complaints() == []
        past.read({} if seen else {FIRST: number})
        assert past.complaints()


def test_a_write_in_doubt_may_show_only_after_a_death_but_not_after_two():
    past = Past()
    number = past.add(Kind.PUT, answer=Answer.DOUBTFUL).number
    past.read({})
    past.die(power=False)
    past.read({FIRST: number}, HOST)
    assert past.complaints() == []
    past = Past()
    number = past.add(Kind.PUT, answer=Answer.DOUBTFUL).number
    past.die(power=False)
    past.read({}, HOST)
    past.die(power=False)
    past.read({FIRST: number}, HOST)
    assert past.complaints()


def test_a_row_changes_in_one_step():
    past = Past()
    number = past.add(Kind.WRITE).number
    past.read({FIRST: number, SECOND: number})
    assert past.complaints() == []
    past = Past()
    number = past.add(Kind.WRITE, answer=Answer.NEVER).number
    past.read({FIRST: number})
    assert past.complaints()


def test_a_deletion_counts_though_there_was_nothing_to_delete_or_was_there():
    past = Past()
    number = past.add(Kind.WRITE, answer=Answer.DOUBTFUL).number
    past.add(Kind.DELETE_CELL)
    past.read({SECOND: number})
    assert past.complaints() == []


def test_counters_and_checks_must_have_answered_what_was_there():
    past = Past()
    past.add(Kind.INCREMENT).value = 1
    past.add(Kind.INCREMENT).value = 2
    past.add(Kind.CHECK).value = 1
    assert past.complaints() == []
    past.add(Kind.INCREMENT).value = 2
    assert past.complaints()
    past = Past()
    past.add(Kind.CHECK).value = 1
    assert past.complaints()


@pytest.mark.parametrize("sync", ["fsync", "os"])
@pytest.mark.parametrize("power", [False, True])
def test_an_acknowledged_write_outlives_a_kill_and_with_fsync_a_power_cut(sync: SyncMode, power: bool):
    past = Past(sync)
    past.add(Kind.PUT)
    past.die(power=power)
    past.read({}, HOST)
    assert bool(past.complaints()) is not (sync == "os" and power)


@pytest.mark.parametrize("durable", [Kind.SYNC, Kind.FLUSH])
def test_what_was_synced_outlives_every_power_cut(durable: Kind):
    past = Past("os")
    first = past.add(Kind.PUT).number
    past.add(durable)
    second = past.add(Kind.PUT).number
    for left, is_possible in (({FIRST: first}, True), ({FIRST: second}, True), ({}, False)):
        again = Past("os")
        again.add(Kind.PUT)
        again.add(durable)
        again.add(Kind.PUT)
        again.die(power=True)
        again.read(left, HOST)
        again.read(left)
        assert (again.complaints() == []) is is_possible


def test_a_power_cut_takes_no_write_and_leaves_a_later_one():
    def lost(first_is_left: bool, second_is_left: bool) -> list[str]:
        past = Past("os")
        past.setup = Setup(tablets=1, rows=2, sync="os")
        one, other = past.add(Kind.PUT), past.add(Kind.PUT)
        other.rows = (1,)
        past.die(power=True)
        look = past.read({}, HOST)
        look.rows = (0, 1)
        look.found = {0: frozenset({(FIRST, one.number)} if first_is_left else ()), 1: frozenset()}
        if second_is_left:
            look.found[1] = frozenset({(FIRST, other.number)})
        return past.complaints()

    assert lost(True, True) == lost(True, False) == lost(False, False) == []
    assert "a power cut took one: put t/row0 f:a [1]" in lost(False, True)[0]


def test_a_write_that_another_of_the_same_instant_has_replaced_is_not_lost():
    past = Past("os")
    past.setup = Setup(tablets=1, rows=2, sync="os")
    one, other, last = (past.add(Kind.PUT) for _ in range(3))
    for operation in (one, other):
        operation.invoked = operation.responded = 1.0
    last.rows = (1,)
    past.die(power=True)
    look = past.read({}, HOST)
    look.rows, look.found = (0, 1), {0: frozenset({(FIRST, other.number)}), 1: frozenset({(FIRST, last.number)})}
    assert past.complaints() == []


@pytest.mark.parametrize("seed", range(10))
def test_a_plan_survives_being_written_down(seed: int):
    plan = draw_plan(seed)
    assert Plan.from_json(plan.to_json()) == plan


def test_seeds_differ_and_draw_everything():
    plans = [draw_plan(seed) for seed in range(60)]
    assert len({plan.setup for plan in plans}) == 60
    assert {operation.kind for plan in plans for operation in plan.operations} == set(Kind)
    kinds = {type(fault.what).__name__ for plan in plans for fault in plan.faults}
    assert kinds >= {"Kill", "PowerCut", "Stop", "DiskTrouble", "OperationFails", "RottenFile", "WallOffset"}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_says_which_rule_it_takes_away_and_what_is_wrong_then(name: str):
    text = described(name, BUGS)
    assert "Without " in text and "BT" in text
    with planted(name, BUGS):
        pass


def test_what_rots_before_anybody_has_looked_after_a_power_cut_may_be_lost_though_it_was_synced():
    past = Past("os")
    past.add(Kind.INCREMENT).value = 1
    past.add(Kind.SYNC)
    past.die(power=True)
    past.die(power=False)  # It did not come so far as to look.
    past.read({}, HOST)
    assert past.complaints()
    past.lives[1].by_rot = True
    assert past.complaints() == []


def past_with_an_idle_life(*, writes: bool) -> Past:
    """A cell is written, the power goes, a life finds the cell and perhaps writes another one; then the log rots."""
    past = Past("os")
    first = past.add(Kind.PUT)
    past.die(power=True)
    past.read({FIRST: first.number}, HOST)
    if writes:
        past.add(Kind.DELETE_CELL).columns = (SECOND,)
    past.die(power=False)
    past.lives[1].by_rot = True
    past.read({}, HOST)
    return past


def test_where_nobody_has_written_since_rot_takes_the_newest_bytes_of_an_earlier_life():
    assert past_with_an_idle_life(writes=False).complaints() == []


def test_rot_of_the_newest_bytes_takes_nothing_that_stands_before_them():
    assert "is what rot left" in past_with_an_idle_life(writes=True).complaints()[0]
