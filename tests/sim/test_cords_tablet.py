"""The whole matrix of a tablet: one fault in each block of each file of its folder (Ganesan et al., FAST 2017)."""

from functools import cache
from typing import Any

import pytest

from cluster.cords.explained import EXPLANATIONS, NEVER_EXPLAINED, Explanation
from cluster.cords.matrix import Group, Matrix, Selection, run_matrix
from cluster.cords.tablet.image import TABLET_KINDS
from cluster.cords.tablet.run import sound_tablet_run
from cluster.cords.terms import Effect, Fault, Local, Subject, Workload
from tablet.engine.serving import opening
from tablet.engine.sstable import reader

OF_TABLETS = [one for one in EXPLANATIONS if one.nodes[0] in [kind.name for kind in TABLET_KINDS]]
SYNCS = TABLET_KINDS[0].name


@cache
def whole_matrix() -> Matrix:
    return run_matrix(Selection(subject=Subject.TABLET))


def found(structure: str, workload: Workload, fault: Fault, kind: str = SYNCS) -> Group:
    wanted = (kind, structure, workload, fault)
    return next(one for one in whole_matrix().groups if (one.kind, one.structure, one.workload, one.fault) == wanted)


def test_every_cell_is_correct_or_explained_by_name():
    amiss = whole_matrix().amiss
    assert [f"{one.structure}, {one.workload.value}, {one.fault.value}: {one.note}" for one in amiss] == []


@pytest.mark.parametrize("explanation", OF_TABLETS, ids=lambda explanation: explanation.name)
def test_every_explanation_is_needed(explanation: Explanation):
    assert any(group.explanation is explanation for group in whole_matrix().groups)


def test_every_structure_is_come_upon():
    """A matrix of blocks that nobody reads would be green, too."""
    met = {group.structure for group in whole_matrix().groups if group.local != (Local.NOT_ACCESSED,)}
    assert met == {group.structure for group in whole_matrix().groups}


@pytest.mark.parametrize("kind", [kind.name for kind in TABLET_KINDS])
@pytest.mark.parametrize("fault", [Fault.ZEROS, Fault.GARBAGE])
def test_a_damaged_end_of_the_log_is_not_taken_for_a_torn_write(kind: str, fault: Fault):
    """It was: acknowledged rows were gone, in silence."""
    group = found("commit log", Workload.REOPEN, fault, kind)
    assert {result.effect for result in group.results} == {Effect.UNAVAILABLE}
    assert "DATA_LOSS" not in str(group.to_json())
    last = max(group.results, key=lambda result: result.cell.block.offset)
    assert "durable" in last.seen.last_problem


@pytest.mark.parametrize("fault", [Fault.WRITE_ERROR, Fault.NO_SPACE])
def test_a_log_whose_end_takes_no_more_writes_is_flushed(fault: Fault):
    group = found("commit log", Workload.REOPEN, fault)
    assert (group.effect, group.local) == (Effect.CORRECT, (Local.INTERNAL_REDUNDANCY,))
    assert any("LogEndNotWritten" in result.seen.events for result in group.results)


@pytest.mark.parametrize("part", ["filter", "properties"])
@pytest.mark.parametrize("fault", [Fault.ZEROS, Fault.GARBAGE, Fault.READ_ERROR])
def test_an_sstable_is_used_without_its_filters_and_properties(part: str, fault: Fault):
    group = found(f"SSTable {part}", Workload.REOPEN, fault)
    assert (group.effect, group.local) == (Effect.CORRECT, (Local.INTERNAL_REDUNDANCY,))


def test_a_snapshot_that_the_disk_cannot_read_keeps_nobody_from_opening_the_tablet():
    assert found("snapshot", Workload.REOPEN, Fault.READ_ERROR).effect is Effect.CORRECT


@pytest.fixture
def anew():
    """Sound runs are remembered: not those of an engine in which a rule is missing."""
    sound_tablet_run.cache_clear()
    yield
    sound_tablet_run.cache_clear()


def test_fragments_that_are_not_verified_give_wrong_answers(monkeypatch: pytest.MonkeyPatch, anew: None):
    """The matrix sees what it is there for."""
    check = reader.check_part

    def trust(part: bytes, checksum: int, what: str, name: str, offset: int) -> None:
        if "fragment" not in what:
            check(part, checksum, what, name, offset)

    monkeypatch.setattr(reader, "check_part", trust)
    chosen = Selection((SYNCS,), ("SSTable, whole",), (Workload.GET,), (Fault.ZEROS,), Subject.TABLET)
    assert {group.effect for group in run_matrix(chosen).amiss} & set(NEVER_EXPLAINED)


def test_a_log_without_its_mark_loses_acknowledged_rows(monkeypatch: pytest.MonkeyPatch, anew: None):
    async def no_mark(storage: Any) -> int:
        return 0

    monkeypatch.setattr(opening, "marked_sequence", no_mark)
    chosen = Selection((SYNCS,), ("commit log",), (Workload.REOPEN,), (Fault.ZEROS,), Subject.TABLET)
    matrix = run_matrix(chosen)
    assert [(group.effect, Local.TRUNCATED in group.local) for group in matrix.amiss] == [(Effect.DATA_LOSS, True)]
