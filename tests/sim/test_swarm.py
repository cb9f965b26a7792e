"""A small fixed share of the swarm, the same in every run of the tests; and what the swarm promises of itself."""

import pytest

from cluster.faultplan import Fault, Kill, OnDisk, TheSender
from cluster.swarm.history import Kind
from cluster.swarm.plan import Plan, PlannedOperation, Setup
from cluster.swarm.run import Result, draw_plan, run_plan
from cluster.swarm.shrink import Shrinker
from cluster.swarm.story import tell_of_files
from cluster.swarm.verdicts import Verdict

SEEDS = range(9000, 9025)
TWICE = (9003, 9017)


def complaints(result: Result) -> str:
    found = [f"{verdict.judge}: {verdict.text}" for verdict in result.verdicts]
    return "\n".join([*found, f"./scripts/swarm --replay {result.plan.seed}"]) if found else ""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_judge_finds_anything_in_this_seed(seed: int):
    assert not complaints(run_plan(draw_plan(seed)))


def told(result: Result) -> list[str]:
    history = [f"{one.invoked} {one.responded} {one.told()} {one.data!r}" for one in result.history.operations]
    return history + [f"{time} {record.to_json()}" for time, record in result.records]


@pytest.mark.parametrize("seed", TWICE)
def test_the_same_seed_gives_the_same_history_and_the_same_events(seed: int):
    first, second = told(run_plan(draw_plan(seed))), told(run_plan(draw_plan(seed)))
    different = next((pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]), None)
    assert different is None
    assert len(first) == len(second)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_survives_being_written_down(seed: int):
    plan = draw_plan(seed)
    assert Plan.from_json(plan.to_json()) == plan


def test_seeds_differ():
    plans = [draw_plan(seed) for seed in range(60)]
    assert len({plan.setup for plan in plans}) == 60
    assert {type(fault.what).__name__ for plan in plans for fault in plan.faults} >= {"Kill", "PowerCut", "Pause"}
    assert {operation.kind for plan in plans for operation in plan.operations} == set(Kind)


def test_a_story_tells_what_was_asked_and_what_was_found():
    result = run_plan(draw_plan(TWICE[0]))
    story = tell_of_files(result, "again")
    assert story[0].startswith(f"Seed {TWICE[0]}")
    assert any(result.history.operations[0].call() in line for line in story)
    assert story[-1] == "Again: again"


def test_a_failing_plan_is_shrunk_to_what_matters():
    plan = draw_plan(TWICE[0])
    needed = plan.operations[7]

    def run(some: Plan) -> Result:
        result = Result(some)
        if needed in some.operations:
            result.verdicts.append(Verdict("contents", "wrong"))
        return result

    smaller = Shrinker(plan, "contents", run, say=lambda text: None).shrink()
    assert smaller.operations == (needed,) and smaller.faults == ()


@pytest.mark.parametrize("nth", range(2, 10))
def test_a_file_whose_creation_the_master_did_not_live_to_tell_is_known_by_its_creator(nth: int):
    work = [
        PlannedOperation("client1", 0.0, Kind.WRITE_FILE, "/a", count=100),
        PlannedOperation("client1", 0.1, Kind.OPEN, "/b", mode="wb"),
        PlannedOperation("client1", 0.1, Kind.APPEND, count=100),
        PlannedOperation("client1", 0.1, Kind.CLOSE),
        *(PlannedOperation("client2", 20.0, Kind.READ_FILE, path) for path in ("/a", "/b")),
    ]
    dies = Fault(OnDisk("sync", "log/*", "master", nth=nth), Kill(), TheSender(), 2.0)
    result = run_plan(Plan(1, Setup(chunkservers=3, trouble_seconds=50.0), tuple(work), (dies,)))
    assert not result.verdicts
    assert all(operation.file for operation in result.history.operations if operation.kind is Kind.OPEN)
