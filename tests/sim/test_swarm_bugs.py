"""The swarm finds bugs that are planted, and nothing in the same seeds without them."""

import pytest

from cluster.swarm.bugs import planted
from cluster.swarm.run import draw_plan, run_plan

SEEDS = range(9240, 9272)


@pytest.mark.parametrize(
    ("name", "judges"),
    [
        ("path-instead-of-file-id", {"contents", "lengths", "namespace"}),
        ("version-not-durable", {"convergence"}),
        ("append-forgets-what-is-in-flight", {"appends"}),
        ("first-write-in-place", {"contents", "lengths", "namespace"}),
    ],
)
def test_a_planted_bug_is_found_within_a_few_seeds(name: str, judges: set[str]):
    for seed in SEEDS:
        with planted(name):
            found = run_plan(draw_plan(seed))
        if found.failed:
            assert judges & {verdict.judge for verdict in found.verdicts}
            assert not run_plan(draw_plan(seed)).failed
            return
    pytest.fail(f"not found in {len(SEEDS)} seeds")
