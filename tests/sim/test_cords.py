"""The whole matrix: one fault in each block of each structure of each kind of node (Ganesan et al., FAST 2017)."""

from functools import cache
from typing import Any

import crc32c
import pytest

from chunkserver.storage.verification import Verifier
from cluster.cords.explained import EXPLANATIONS, Explanation
from cluster.cords.image import NODE_KINDS
from cluster.cords.matrix import Group, Matrix, Selection, run_matrix
from cluster.cords.run import sound_run
from cluster.cords.terms import Effect, Fault, Local, Workload
from runtime.durable_mark import DurableMark

OF_CLUSTERS = [one for one in EXPLANATIONS if one.nodes[0] in [kind.name for kind in NODE_KINDS]]


@cache
def part_of_matrix(kind: str) -> Matrix:
    return run_matrix(Selection(nodes=(kind,)))


def all_groups() -> list[Group]:
    return [group for kind in NODE_KINDS for group in part_of_matrix(kind.name).groups]


@pytest.mark.parametrize("kind", [kind.name for kind in NODE_KINDS])
def test_every_cell_is_correct_or_explained_by_name(kind: str):
    amiss = part_of_matrix(kind).amiss
    assert [f"{one.structure}, {one.workload.value}, {one.fault.value}: {one.note}" for one in amiss] == []


@pytest.mark.parametrize("explanation", OF_CLUSTERS, ids=lambda explanation: explanation.name)
def test_every_explanation_is_needed(explanation: Explanation):
    assert any(group.explanation is explanation for group in all_groups())


def test_most_faults_are_come_upon():
    """A matrix of blocks that nobody reads would be green, too."""
    met = [group for group in all_groups() if group.local != (Local.NOT_ACCESSED,)]
    assert len(met) > len(all_groups()) / 3
    structures = {(group.kind, group.structure) for group in met}
    never = {(group.kind, group.structure) for group in all_groups()} - structures
    # Copies come and go only after a fault, and the lock service begins no other log in so short a time.
    assert {structure for _, structure in never} <= {
        "copy that arrives",
        "chunk that leaves",
        "new checkpoint",
        "reserve",
        "lock service's new log",
    }


@pytest.fixture
def anew():
    """Sound runs are remembered: not those of servers in which a rule is missing."""
    sound_run.cache_clear()
    yield
    sound_run.cache_clear()


def test_blocks_that_are_not_verified_give_wrong_answers(monkeypatch: pytest.MonkeyPatch, anew: None):
    """The matrix sees what it is there for: GFS 5.2 taken away."""

    def check(self: Verifier, chunk: Any, files: Any, block: int, data: memoryview) -> int:
        return int(crc32c.crc32c(data))

    monkeypatch.setattr(Verifier, "_check", check)
    matrix = run_matrix(
        Selection(("chunkserver",), ("chunk data",), workloads=(Workload.READ,), faults=(Fault.GARBAGE,))
    )
    assert [group.effect for group in matrix.amiss] == [Effect.CORRUPTION]


def test_a_log_without_its_mark_loses_acknowledged_names(monkeypatch: pytest.MonkeyPatch, anew: None):
    """As most systems of the paper did: a damaged end is taken for a torn one."""

    async def no_mark(self: DurableMark) -> int:
        return 0

    monkeypatch.setattr(DurableMark, "open", no_mark)
    matrix = run_matrix(
        Selection(("only master",), ("operation log",), workloads=(Workload.RESTART,), faults=(Fault.ZEROS,))
    )
    assert [(group.effect, Local.TRUNCATED in group.local) for group in matrix.amiss] == [(Effect.DATA_LOSS, True)]
