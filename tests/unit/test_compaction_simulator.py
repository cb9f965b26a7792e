"""The compaction simulator: known trees, known trade-offs, and the real engine as its judge."""

from pathlib import Path

import pytest

import tablet.engine
from runtime.errors import InvalidRequest
from tablet.embedded.inline import run_inline
from tablet.embedded.table import EmbeddedTablet
from tablet.engine.maintenance.policies import POLICIES
from tablet.engine.model.schema import LocalityGroup, MaxVersions
from tablet.engine.world.options import Options, PolicySettings
from tabletop.compaction_simulator import PATTERNS, Workload, plot, simulate, writes_of

SMALL = Workload(rows=2_000, updates=10_000, memtable_rows=200)


def test_a_tree_with_one_flush_amplifies_nothing():
    outcome = simulate(Workload(rows=100, updates=0, memtable_rows=100), "size_tiered")
    assert (outcome.flushes, outcome.compactions, outcome.write_amplification) == (1, 0, 1.0)
    assert (outcome.final.tables, outcome.final.space_amplification) == (1, 1.0)


def test_a_merge_of_equal_files_writes_each_row_once_more():
    outcome = simulate(Workload(rows=400, updates=0, memtable_rows=100), "size_tiered", PolicySettings(fan_in=4))
    assert (outcome.flushes, outcome.compactions, outcome.write_amplification) == (4, 1, 2.0)
    assert outcome.final.tables == 1
    assert outcome.final.peak_space_amplification == 2.0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_seed_gives_the_same_course_under_each_policy(policy: str, pattern: str):
    workload = Workload(rows=500, updates=2_000, memtable_rows=100, pattern=pattern, deletions=0.1)
    assert simulate(workload, policy) == simulate(workload, policy)


def test_fewer_files_to_read_cost_more_writing():
    tiered, leveled = simulate(SMALL, "size_tiered"), simulate(SMALL, "leveling")
    assert leveled.write_amplification > tiered.write_amplification
    assert leveled.mean(lambda sample: sample.tables) < tiered.mean(lambda sample: sample.tables)
    assert leveled.mean(lambda sample: sample.space_amplification) < tiered.mean(
        lambda sample: sample.space_amplification
    )


def test_a_read_of_a_live_row_touches_one_block_and_the_mistakes_of_the_filters():
    for policy in POLICIES:
        figures = [sample.blocks_read for sample in simulate(SMALL, policy).samples]
        assert all(1 <= figure < 1.1 for figure in figures)


def test_deleting_everything_leaves_nothing_after_a_full_merge():
    workload = Workload(rows=300, updates=300, memtable_rows=100, pattern="sequential", deletions=1.0)
    outcome = simulate(workload, "everything", PolicySettings(fan_in=2))
    assert outcome.final.tables == 0


def test_a_skewed_workload_writes_few_rows_often():
    workload = Workload(rows=1_000, updates=5_000, pattern="skewed")
    updated = [row for row, _ in writes_of(workload)][1_000:]
    assert max(map(updated.count, set(updated))) > 200


@pytest.mark.parametrize("policy", POLICIES)
def test_the_simulator_agrees_with_the_engine(policy: str, tmp_path: Path):
    """The same writes, the same flushes, the same policy: about the same merges, bytes and files.

    Not exactly: real files have an index and a footer, which decides where the simulator's sizes are equal.
    """
    workload = Workload(rows=600, updates=2_400, row_bytes=1_040, memtable_rows=100)
    predicted = simulate(workload, policy, PolicySettings(fan_in=3, max_tables=6))
    options = Options(policy=policy, policy_settings=PolicySettings(fan_in=3, max_tables=6))
    written: dict[int, None] = {}
    with tablet.engine.open(tmp_path, options) as table:
        table.set_locality_group(LocalityGroup(compression="none", bloom_keys="none"))
        table.create_family("f", MaxVersions(1))
        for number, (row, _) in enumerate(writes_of(workload)):
            table.put(f"{row:08}", "f:q", b"x" * 1_000, timestamp=number)
            written[row] = None
            if len(written) == workload.memtable_rows:
                written.clear()
                table.flush()
                while table.engine.housekeeping.next_compaction() is not None:
                    _compact_once(table)
        table.flush()
        while table.engine.housekeeping.next_compaction() is not None:
            _compact_once(table)
        figures = table.figures()
    work = figures.work
    assert work.flushes == predicted.flushes
    assert work.compactions == pytest.approx(predicted.compactions, rel=0.2)
    assert abs(len(figures.tables) - predicted.final.tables) <= 1
    found = (work.flushed_bytes + work.compaction_written_bytes) / (3_000 * 1_040)
    assert found == pytest.approx(predicted.write_amplification, rel=0.1)


def _compact_once(table: EmbeddedTablet) -> None:
    run_inline(table.engine.compact_one())


def test_the_picture_is_small_however_long_the_course():
    outcome = simulate(Workload(rows=100, updates=30_000, memtable_rows=10), "everything")
    assert len(outcome.samples) > 2_000
    assert len(plot([outcome], "a < b & c")) < 200_000


@pytest.mark.parametrize("workload", [Workload(rows=0), Workload(deletions=2), Workload(updates=10**9)])
def test_a_workload_without_sense_is_refused(workload: Workload):
    with pytest.raises(InvalidRequest):
        simulate(workload, "size_tiered")
