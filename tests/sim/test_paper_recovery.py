"""A chunkserver dies in a cluster like the paper's, in small: what limits the recovery (GFS 6.2.5)."""

import pytest

from cluster.paper.printed import CLONE_BYTES_PER_SECOND, RECOVERIES
from cluster.paper.recovery import RecoveryPlan, measure_recovery
from master.maintenance import repair
from runtime.errors import InvalidRequest


def test_one_death_is_mended_at_nearly_the_rate_that_the_limits_allow():
    plan = RecoveryPlan(share=0.06, part=0.05)
    found = measure_recovery(plan)
    assert found.chunks == plan.chunks == 45 and found.single == 0
    assert 10 < found.noticed < 20
    copying = found.whole - found.noticed
    slot = found.bytes / found.chunks / CLONE_BYTES_PER_SECOND
    assert found.floor(plan) == pytest.approx(45 / plan.clones * slot)
    assert found.floor(plan) <= copying < 1.35 * found.floor(plan), "clones run one after another in every place"


@pytest.mark.parametrize("needs_in_one_look", [500, 20])
def test_what_is_down_to_one_replica_is_copied_first(needs_in_one_look: int, monkeypatch: pytest.MonkeyPatch):
    """Also if there are more chunks to be copied than a look of the master goes through."""
    monkeypatch.setattr(repair, "_NEEDS_IN_ONE_LOOK", needs_in_one_look)
    plan = RecoveryPlan(victims=2, share=0.06, part=0.05)
    found = measure_recovery(plan)
    assert found.single == plan.common > 0
    assert found.chunks == 2 * plan.chunks - plan.common
    assert found.two_each < found.noticed + 0.2 * (found.whole - found.noticed)


@pytest.mark.parametrize("wrong", [{"victims": 3}, {"share": 2.0}, {"part": 0.0}])
def test_what_the_paper_has_not_measured_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        RecoveryPlan(**wrong).check()
    assert set(RECOVERIES) == {1, 2}
