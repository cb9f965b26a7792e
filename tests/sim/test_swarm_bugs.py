"""The swarm finds bugs that are planted, and nothing in the same seeds without them."""

import pytest

from cluster.swarm.bugs import planted
from cluster.swarm.run import draw_plan, run_plan

BUGS = {
    "path-instead-of-file-id": (9240, {"contents", "lengths", "namespace"}),
    "version-not-durable": (9240, {"convergence"}),
    "append-forgets-what-is-in-flight": (9260, {"appends"}),
    "first-write-in-place": (9246, {"contents", "lengths", "namespace"}),
    "expired-lease-orders-on": (16, {"appends", "lengths"}),
    "append-without-padding": (156, {"appends"}),
    "blocks-unverified": (205, {"contents", "convergence"}),
}
"""Seeds that find them, so that the suite need not look again."""


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_and_nothing_in_the_same_seed_without_it(name: str):
    seed, judges = BUGS[name]
    with planted(name):
        found = run_plan(draw_plan(seed))
    assert judges & {verdict.judge for verdict in found.verdicts}
    assert not run_plan(draw_plan(seed)).failed
