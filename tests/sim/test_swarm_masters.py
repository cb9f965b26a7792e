"""The swarm with three masters: bugs that are planted are found, and nothing in the same seeds without them."""

import pytest

from cluster.swarm.bugs import planted
from cluster.swarm.history import Kind
from cluster.swarm.narrow_faults import with_narrow_faults
from cluster.swarm.run import draw_plan, run_plan
from cluster.swarm.swarms import MASTERS

SAFE_MODE = (Kind.ENTER_SAFE_MODE, Kind.LEAVE_SAFE_MODE)
BUGS = {
    "takeover-by-one-that-is-behind": (9, "namespace"),
    "no-epoch-raise-at-takeover": (9, "two masters"),
    "answers-before-the-shadows": (470, "two masters"),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str):
    seed, judge = BUGS[name]
    with planted(name):
        found = run_plan(draw_plan(seed))
    assert judge in {verdict.judge for verdict in found.verdicts}


LATE_DECISION = 175555536
"""A master decided which replicas go when its tenure was over; the verification before that had taken long."""


@pytest.mark.parametrize("seed", sorted({seed for seed, _ in BUGS.values()} | {LATE_DECISION}))
def test_nothing_is_found_in_the_same_seeds_without_them(seed: int):
    plan = draw_plan(seed)
    assert plan.setup.masters == 3
    assert [verdict.text for verdict in run_plan(plan).verdicts] == []


def test_every_seed_of_the_sweep_with_masters_has_several_and_is_otherwise_the_same():
    for seed in range(40):
        plain, found = draw_plan(seed), MASTERS.draw(seed)
        assert found.setup.masters == 3
        others = [operation for operation in found.operations if operation.kind not in SAFE_MODE]
        assert others == [operation for operation in plain.operations if operation.kind not in SAFE_MODE]
        if not with_narrow_faults(seed, plain.setup, (), ["/a"]):  # Those come last, and depend on the masters.
            assert found.faults[: len(plain.faults)] == plain.faults
