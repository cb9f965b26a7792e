"""A small fixed share of the engine's swarm, the same in every run of the tests; and what it promises of itself."""

import pytest

from cluster.swarm.bugs import planted
from cluster.swarm.engine.bugs import BUGS
from cluster.swarm.engine.run import Result, draw_plan, run_plan
from cluster.swarm.engine.story import tell
from cluster.swarm.shrink import Shrinker

SEEDS = range(9000, 9030)
BUG_SEEDS = range(9100, 9160)


def complaints(result: Result) -> str:
    found = [f"{verdict.judge}: {verdict.text}" for verdict in result.verdicts]
    return "\n".join([*found, f"./scripts/swarm --engine --replay {result.plan.seed}"]) if found else ""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_judge_finds_anything_in_this_seed(seed: int):
    assert not complaints(run_plan(draw_plan(seed)))


def told(result: Result) -> list[str]:
    history = [f"{one.invoked} {one.responded} {one.told()}" for one in result.history.operations]
    return history + [f"{time} {record.to_json()}" for time, record in result.records]


def test_the_same_seed_gives_the_same_history_and_the_same_events():
    first, second = told(run_plan(draw_plan(SEEDS[0]))), told(run_plan(draw_plan(SEEDS[0])))
    assert first == second


def found_by(name: str) -> int:
    """The first seed that finds a bug, and nothing without it."""
    for seed in BUG_SEEDS:
        with planted(name, BUGS):
            result = run_plan(draw_plan(seed))
        if result.verdicts:
            assert {"rows", "final opening"} & {verdict.judge for verdict in result.verdicts}
            assert not complaints(run_plan(draw_plan(seed)))
            return seed
    pytest.fail(f"{name} is not found in {len(BUG_SEEDS)} seeds")


@pytest.mark.parametrize(
    "name",
    [
        "log-not-synced",
        "segments-dropped-too-early",
        "filter-bits-moved",
        "spans-forgotten-by-reads",
        "unproven-end-only-synced",
        "switch-cut-with-its-caller",
        "log-not-fenced",
        "scan-steps-as-far-as-the-farthest",
    ],
)
def test_a_planted_bug_is_found_within_a_few_seeds(name: str):
    found_by(name)


def test_what_a_bug_breaks_is_shrunk_and_told():
    plan = draw_plan(found_by("segments-dropped-too-early"))
    with planted("segments-dropped-too-early", BUGS):
        smaller = Shrinker(plan, "rows", run_plan, seconds=10.0, say=lambda text: None).shrink()
        result = run_plan(smaller)
    assert len(smaller.operations) < len(plan.operations) / 2
    story = tell(result, "again")
    assert story[0].startswith(f"Seed {plan.seed}") and story[-1] == "Again: again"
    assert any("The judge of rows says" in line for line in story)
