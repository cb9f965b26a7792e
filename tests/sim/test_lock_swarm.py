"""A small fixed share of the lock service's swarm, the same in every run of the tests; and what its judges find."""

import pytest

from cluster.swarm.bugs import described, planted
from cluster.swarm.history import Answer
from cluster.swarm.locks.bugs import BUGS
from cluster.swarm.locks.history import History, Operation
from cluster.swarm.locks.judging import judge_history
from cluster.swarm.locks.marks import tell
from cluster.swarm.locks.plan import Kind, Plan, PlannedOperation
from cluster.swarm.locks.run import Result, draw_plan, run_plan

SEEDS = range(9000, 9030)
BUG_SEEDS = range(9100, 9130)


def complaints(result: Result) -> str:
    found = [f"{verdict.judge}: {verdict.text}" for verdict in result.verdicts]
    return "\n".join([*found, f"./scripts/swarm --locks --replay {result.plan.seed}"]) if found else ""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_judge_finds_anything_in_this_seed(seed: int):
    assert not complaints(run_plan(draw_plan(seed)))


def told(result: Result) -> list[str]:
    history = [f"{one.invoked} {one.responded} {one.told()}" for one in result.history.operations]
    return history + [f"{time} {record.to_json()}" for time, record in result.records]


def test_the_same_seed_gives_the_same_history_and_the_same_events():
    first, second = told(run_plan(draw_plan(SEEDS[0]))), told(run_plan(draw_plan(SEEDS[0])))
    assert first == second


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_survives_being_written_down(seed: int):
    plan = draw_plan(seed)
    assert Plan.from_json(plan.to_json()) == plan


def test_seeds_use_every_kind_of_operation_and_many_faults():
    plans = [draw_plan(seed) for seed in range(60)]
    assert {one.kind for plan in plans for one in plan.operations} == set(Kind)
    kinds = {type(fault.what).__name__ for plan in plans for fault in plan.faults}
    assert kinds >= {"Kill", "PowerCut", "Pause", "Isolate", "ClockDrift", "MessageDoubled", "DiskTrouble"}


def test_a_story_tells_what_was_asked():
    result = run_plan(draw_plan(SEEDS[0]))
    story = tell(result, "again")
    assert story[0].startswith(f"Seed {SEEDS[0]}") and story[-1] == "Again: again"


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        ("session-ended-before-its-grace", {"mutual exclusion", "sequencers", "ephemeral files"}),
        ("no-lock-delay", {"lock-delay"}),
        ("requests-made-twice", {"invariants", "registers", "mutual exclusion"}),
        ("log-not-synced", {"replay", "registers", "ephemeral files", "generations", "mutual exclusion"}),
        ("sequencers-not-compared", {"sequencers"}),
    ],
)
def test_a_planted_bug_is_found_within_a_few_seeds(name: str, judges: set[str]):
    assert described(name, BUGS)
    for seed in BUG_SEEDS:
        with planted(name, BUGS):
            found = run_plan(draw_plan(seed))
        if found.verdicts:
            assert judges & {verdict.judge for verdict in found.verdicts}, complaints(found)
            assert not complaints(run_plan(draw_plan(seed)))
            return
    pytest.fail(f"not found in {len(BUG_SEEDS)} seeds")


class Past:
    """Builds a history, operation by operation, one after the other."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 0.0

    def add(self, kind: Kind, path: str = "/registers/0", *, client: str = "one", **facts: object) -> Operation:
        """An operation after the last one, answered unless `facts` say otherwise."""
        session = 1 if client == "one" else 2
        operation = self.history.new(client, PlannedOperation(client, 0.0, kind), path, session, self.now)
        operation.answer, operation.responded = Answer.VALUE, self.now + 1.0
        self.now += 2.0
        for name, value in facts.items():
            setattr(operation, name, value)
        return operation

    def judges(self) -> list[str]:
        """Who finds something."""
        return sorted({verdict.judge for verdict in judge_history(self.history)})


def test_reads_and_writes_in_order_are_fine():
    past = Past()
    past.add(Kind.READ, generation=5, value=0)
    past.add(Kind.WRITE, generation=6)
    past.add(Kind.READ, generation=6, value=2)
    past.add(Kind.COMPARE, expected=6, generation=9)
    past.add(Kind.COMPARE, expected=6, answer=Answer.REFUSED, error="Conflict")
    assert past.judges() == []


def test_a_read_of_what_was_overwritten_before_is_found():
    past = Past()
    past.add(Kind.READ, generation=5, value=0)
    past.add(Kind.WRITE, generation=6)
    past.add(Kind.READ, generation=5, value=0)
    assert past.judges() == ["registers"]


def test_a_value_that_was_refused_is_found():
    past = Past()
    past.add(Kind.WRITE, answer=Answer.REFUSED, error="Superseded")
    past.add(Kind.READ, generation=6, value=1)
    assert past.judges() == ["registers"]


def test_a_value_that_was_in_doubt_may_be_there_or_not():
    for seen in (True, False):
        past = Past()
        past.add(Kind.WRITE, answer=Answer.DOUBTFUL)
        past.add(Kind.READ, generation=6 if seen else 5, value=1 if seen else 0)
        assert past.judges() == []


def test_a_compare_and_set_over_something_that_came_between_is_found():
    past = Past()
    past.add(Kind.WRITE, generation=7)
    past.add(Kind.COMPARE, expected=6, generation=8)
    assert past.judges() == ["registers"]


def test_a_compare_and_set_that_was_refused_for_its_own_write_is_found():
    past = Past()
    past.add(Kind.COMPARE, expected=6, answer=Answer.REFUSED, error="Conflict")
    assert past.judges() == ["registers"]


def test_generations_of_locks_that_fall_or_repeat_are_found():
    for second in (4, 5):
        past = Past()
        past.add(Kind.ACQUIRE, "/locks/0", generation=5)
        past.add(Kind.ACQUIRE, "/locks/0", client="two", generation=second)
        assert past.judges() == ["generations"]


def test_a_sequencer_that_was_passed_must_be_refused_and_one_that_is_held_must_not():
    past = Past()
    past.add(Kind.ACQUIRE, "/locks/0", generation=5)
    past.add(Kind.CHECK, "/locks/0", lock="/locks/0", expected=5, value=1, was_held=True)
    assert past.judges() == []
    past.add(Kind.ACQUIRE, "/locks/0", client="two", generation=6)
    past.add(Kind.CHECK, "/locks/0", lock="/locks/0", expected=5, value=0)
    assert past.judges() == []
    past.add(Kind.FENCED, lock="/locks/0", expected=5, generation=7)
    assert past.judges() == ["sequencers"]
    past = Past()
    past.add(Kind.CHECK, "/locks/0", lock="/locks/0", expected=5, value=0, was_held=True)
    assert past.judges() == ["sequencers"]


def test_an_ephemeral_file_that_goes_before_its_session_is_found():
    past = Past()
    past.add(Kind.SHOW, "/here/one", generation=4)
    past.add(Kind.LOOK, "/here/one", answer=Answer.REFUSED, error="NotFound", was_held=False)
    assert past.judges() == []
    past.add(Kind.LOOK, "/here/one", answer=Answer.REFUSED, error="NotFound", was_held=True)
    assert past.judges() == ["ephemeral files"]
