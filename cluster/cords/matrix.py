"""The whole matrix: every block of every structure, under every workload and fault.

A *group* is one entry of the printed matrix: all blocks of one structure of one node, under one workload and one fault.
Each of its blocks was struck in a run of its own; the group shows all local behaviours that were seen, and the worst
effect.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatchcase
from multiprocessing import get_context
from typing import Any

from cluster.cords.classify import global_effect, in_order, local_behaviour, what_was_seen, worst
from cluster.cords.explained import Explanation, explanation_of
from cluster.cords.observing import Observation
from cluster.cords.structures import structures_of
from cluster.cords.subjects import Kind, blocks_of_kind, kinds_of, run_cell_of
from cluster.cords.terms import Block, Cell, Effect, Fault, Local, Subject, Workload
from runtime.errors import InvalidRequest

WRITING_FAULTS = (Fault.WRITE_ERROR, Fault.NO_SPACE)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of which matrix; empty: all. Nodes, structures and blocks by their names, or patterns of them."""

    nodes: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    workloads: tuple[Workload, ...] = tuple(Workload)
    faults: tuple[Fault, ...] = tuple(Fault)
    subject: Subject = Subject.FILES
    blocks: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InvalidRequest for a name that fits nothing."""
        kinds = kinds_of(self.subject)
        nodes = [kind.name for kind in kinds]
        structures = [structure.name for kind in kinds for structure in structures_of(kind.role)]
        blocks = [str(block) for kind in kinds for block in blocks_of_kind(kind)] if self.blocks else []
        for what, patterns, names in (
            ("node", self.nodes, nodes),
            ("structure", self.structures, structures),
            ("block", self.blocks, blocks),
        ):
            for pattern in patterns:
                if not any(_fits(name, (pattern,)) for name in names):
                    known = ", ".join(dict.fromkeys(names))
                    raise InvalidRequest(f"there is no {what} {pattern!r} in the matrix; there are {known}")
        workloads = [workload for workload in Workload if workload.subject is self.subject]
        if not set(workloads) & set(self.workloads):
            listed = ", ".join(workload.value for workload in workloads)
            raise InvalidRequest(f"the matrix of {self.subject.value} has other workloads: {listed}")

    def has(self, node: str, block: Block) -> bool:
        """Whether this block is chosen."""
        is_chosen = _fits(node, self.nodes) and _fits(block.structure, self.structures)
        return is_chosen and _fits(str(block), self.blocks)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Result:
    """One run, in the words of the matrix."""

    kind: str
    cell: Cell
    local: tuple[Local, ...]
    effect: Effect
    seen: Observation


@dataclass(frozen=True, slots=True)
class Group:
    """One entry of the matrix."""

    kind: str
    structure: str
    workload: Workload
    fault: Fault
    results: tuple[Result, ...]

    @property
    def local(self) -> tuple[Local, ...]:
        """All that was seen of the node."""
        return in_order(local for result in self.results for local in result.local)

    @property
    def effect(self) -> Effect:
        """The worst of all blocks."""
        return worst(result.effect for result in self.results)

    @property
    def explanation(self) -> Explanation | None:
        """Why it is not correct."""
        return explanation_of(self.kind, self.structure, self.workload, self.fault, self.effect)

    @property
    def is_amiss(self) -> bool:
        """Whether it is neither correct nor explained."""
        return any(
            result.effect is not Effect.CORRECT
            and explanation_of(self.kind, self.structure, self.workload, self.fault, result.effect) is None
            for result in self.results
        )

    @property
    def note(self) -> str:
        """What was seen of the worst block."""
        return next((what_was_seen(one.seen) for one in self.results if one.effect is self.effect), "")

    def to_json(self) -> dict[str, Any]:
        """All of it, for other programs."""
        return {
            "node": self.kind,
            "structure": self.structure,
            "workload": self.workload.value,
            "fault": self.fault.value,
            "local": [local.name.lower() for local in self.local],
            "effect": self.effect.name.lower(),
            "explained": self.explanation.name if self.explanation is not None else "",
            "blocks": [
                {
                    "block": str(one.cell.block),
                    "local": [local.name.lower() for local in one.local],
                    "effect": one.effect.name.lower(),
                    "crashes": one.seen.crashes,
                    "seen": what_was_seen(one.seen),
                }
                for one in self.results
            ],
        }


@dataclass(frozen=True, slots=True)
class Matrix:
    """All groups, in the order of nodes, structures, workloads and faults."""

    groups: tuple[Group, ...]

    @property
    def runs(self) -> int:
        """How many blocks were struck, each time in a run of its own."""
        return sum(len(group.results) for group in self.groups)

    @property
    def cpu_seconds(self) -> float:
        """What the runs took together."""
        return sum(result.seen.cpu_seconds for group in self.groups for result in group.results)

    @property
    def amiss(self) -> tuple[Group, ...]:
        """What is neither correct nor explained."""
        return tuple(group for group in self.groups if group.is_amiss)

    def rows(self) -> list[tuple[str, str]]:
        """Nodes with their structures."""
        return list(dict.fromkeys((group.kind, group.structure) for group in self.groups))

    def to_json(self) -> dict[str, Any]:
        """All of it, for other programs."""
        return {"runs": self.runs, "groups": [group.to_json() for group in self.groups]}


def cells_of(kind: Kind, workload: Workload, selection: Selection) -> Iterator[Cell]:
    """The runs of one kind of node under one workload. A file that is there for a moment only can be struck by errors
    of writing, and by nothing else."""
    for block in blocks_of_kind(kind):
        for fault in selection.faults:
            if selection.has(kind.name, block) and _can_strike(fault, block):
                yield Cell(kind.node, block, workload, fault)


def _can_strike(fault: Fault, block: Block) -> bool:
    return fault in WRITING_FAULTS or not block.is_passing


def run_part(kind: Kind, workload: Workload, selection: Selection) -> list[Result]:
    """All runs of one kind of node under one workload."""
    return [_result(kind, cell) for cell in cells_of(kind, workload, selection)]


def _result(kind: Kind, cell: Cell) -> Result:
    seen = run_cell_of(kind, cell)
    return Result(kind.name, cell, local_behaviour(seen, cell.fault), global_effect(seen), seen)


def run_matrix(
    selection: Selection | None = None, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> Matrix:
    """Run what is selected, in so many processes. `progress` is told how many parts are done, and of how many.

    Raises InvalidRequest for a selection that fits nothing."""
    selection = selection or Selection()
    selection.check()
    kinds = [kind for kind in kinds_of(selection.subject) if _fits(kind.name, selection.nodes)]
    parts = [(kind, workload) for kind in kinds for workload in selection.workloads if workload in kind.workloads]
    results: list[Result] = []
    for done, found in enumerate(_each(parts, selection, jobs), 1):
        results += found
        if progress is not None:
            progress(done, len(parts))
    return Matrix(tuple(_grouped(kinds, results)))


def _each(parts: Sequence[tuple[Kind, Workload]], selection: Selection, jobs: int) -> Iterator[list[Result]]:
    if jobs <= 1:
        for kind, workload in parts:
            yield run_part(kind, workload, selection)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run_part, kind, workload, selection) for kind, workload in parts]):
            yield future.result()


def _grouped(kinds: Sequence[Kind], results: Iterable[Result]) -> Iterator[Group]:
    found: dict[tuple[str, str, Workload, Fault], list[Result]] = {}
    for result in results:
        cell = result.cell
        found.setdefault((result.kind, cell.block.structure, cell.workload, cell.fault), []).append(result)
    for kind in kinds:
        for structure in structures_of(kind.role):
            for workload in Workload:
                for fault in Fault:
                    key = (kind.name, structure.name, workload, fault)
                    if key in found:
                        yield Group(*key, tuple(found[key]))
