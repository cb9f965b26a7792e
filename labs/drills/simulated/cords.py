"""Name the block that CORDS would choose: one fault in one block, and what comes of it (Ganesan et al., FAST 2017).

The student gets four cells of the matrix of `tabletop cords`, in an order that is drawn: two that the servers get over,
one that costs something, and one after which nobody is answered. What each of them comes to is in no file: the cells
are run whenever somebody wants to know, by the command's own code, so that the student can run them too.
"""

import random
from dataclasses import dataclass
from functools import partial

from cluster.cords.classify import what_was_seen, worst
from cluster.cords.explained import explanation_of
from cluster.cords.matrix import Result, Selection, run_matrix
from cluster.cords.subjects import blocks_of_kind, kinds_of
from cluster.cords.terms import Effect, Fault, Local, Subject, Workload
from labs.drills.drill import FACTS, FILES, Answered, Drill, Facts, Simulated
from labs.drills.evidence import Evidence
from labs.drills.questions import Truth, values

LETTERS = "abcd"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One cell that may be drawn: of a structure the first block, or the last one."""

    node: str
    structure: str
    workload: Workload
    fault: Fault
    is_last: bool = False

    @property
    def subject(self) -> Subject:
        """Which matrix it is of."""
        return self.workload.subject

    def block(self) -> str:
        """The name of the block."""
        kind = next(kind for kind in kinds_of(self.subject) if kind.name == self.node)
        found = [str(block) for block in blocks_of_kind(kind) if block.structure == self.structure]
        return found[-1 if self.is_last else 0]

    def run(self) -> Result:
        """Run it, and it alone."""
        matrix = run_matrix(
            Selection((self.node,), (self.structure,), (self.workload,), (self.fault,), self.subject, (self.block(),))
        )
        (result,) = matrix.groups[0].results
        return result

    def told(self) -> str:
        """What is struck, in words, and the command that does it."""
        return (
            f"{self.node}, {self.structure}: block `{self.block()}`\n"
            f"   {_FAULTS[self.fault]}, during `{self.workload.value}`\n\n"
            f"       tabletop cords --of {self.subject.value} --node '{self.node}' --structure '{self.structure}' \\\n"
            f"           --block '{self.block()}' --workload {self.workload.value} --fault '{self.fault.value}'\n"
        )


_FAULTS = {
    Fault.ZEROS: "holds zeros",
    Fault.GARBAGE: "holds random bytes",
    Fault.READ_ERROR: "cannot be read",
    Fault.WRITE_ERROR: "cannot be written",
    Fault.NO_SPACE: "cannot be written, for lack of room",
}
_SYNCS, _CLOSED = "tablet that syncs", "tablet closed in order"
_CHUNKS, _MASTER = "chunkserver", "only master"
FATAL = (
    Candidate(_SYNCS, "commit log", Workload.REOPEN, Fault.GARBAGE),
    Candidate(_CLOSED, "commit log", Workload.REOPEN, Fault.ZEROS, is_last=True),
    Candidate(_CLOSED, "manifest", Workload.REOPEN, Fault.ZEROS),
    Candidate(_SYNCS, "SSTable index", Workload.REOPEN, Fault.READ_ERROR),
    Candidate(_MASTER, "operation log", Workload.RESTART, Fault.ZEROS, is_last=True),
    Candidate(_MASTER, "operation log", Workload.RESTART, Fault.READ_ERROR, is_last=True),
)
COSTLY = (
    Candidate(_SYNCS, "SSTable data block", Workload.GET, Fault.GARBAGE),
    Candidate(_CLOSED, "SSTable data block", Workload.SCAN, Fault.READ_ERROR),
    Candidate(_CHUNKS, "identity", Workload.RESTART, Fault.ZEROS),
    Candidate(_CHUNKS, "format", Workload.RESTART, Fault.GARBAGE),
    Candidate(_MASTER, "operation log", Workload.NAMES, Fault.NO_SPACE, is_last=True),
)
BORNE = (
    Candidate(_CHUNKS, "chunk data", Workload.READ, Fault.GARBAGE),
    Candidate(_CHUNKS, "chunk metadata, whole", Workload.READ, Fault.ZEROS),
    Candidate(_CHUNKS, "checksum table", Workload.RESTART, Fault.ZEROS),
    Candidate(_MASTER, "checkpoint", Workload.RESTART, Fault.ZEROS, is_last=True),
    Candidate(_MASTER, "mark of what is durable", Workload.RESTART, Fault.GARBAGE),
    Candidate(_SYNCS, "SSTable filter", Workload.REOPEN, Fault.ZEROS),
    Candidate(_SYNCS, "SSTable properties", Workload.REOPEN, Fault.READ_ERROR),
    Candidate(_SYNCS, "commit log", Workload.REOPEN, Fault.WRITE_ERROR, is_last=True),
    Candidate(_CLOSED, "new manifest", Workload.PUT, Fault.NO_SPACE),
    Candidate(_CLOSED, "mark of what is durable", Workload.REOPEN, Fault.ZEROS),
)


def drawn(draw: int) -> dict[str, Candidate]:
    """The four cells of a draw, by letter."""
    chance = random.Random(f"cords {draw}")
    chosen = [chance.choice(FATAL), chance.choice(COSTLY), *chance.sample(BORNE, 2)]
    chance.shuffle(chosen)
    return dict(zip(LETTERS, chosen, strict=True))


def name_of(what: Local | Effect) -> str:
    """A behaviour or an effect, as an answer says it.

    >>> name_of(Local.INTERNAL_REDUNDANCY)
    'internal redundancy'
    """
    return what.name.lower().replace("_", " ")


def _run(parameters: Facts) -> Answered:
    cells = drawn(int(parameters["draw"]))
    if parameters["wants"] == FILES:
        return Answered({}, {"plan.md": _plan(cells)})
    results = {letter: cell.run() for letter, cell in cells.items()}
    if parameters["wants"] == FACTS:
        return Answered({"cells": {letter: _facts(result) for letter, result in results.items()}}, {})
    return Answered({}, {"run.md": "\n".join(_revealed(letter, result) for letter, result in results.items())})


def _facts(result: Result) -> Facts:
    return {
        "effect": name_of(result.effect),
        "local": [name_of(local) for local in result.local],
        "seen": what_was_seen(result.seen)[:300],
    }


def _plan(cells: dict[str, Candidate]) -> str:
    told = [f"{letter}. {cell.told()}" for letter, cell in cells.items()]
    return "\n".join(["# Four blocks, one of which CORDS would choose", "", *told])


def _revealed(letter: str, result: Result) -> str:
    found = explanation_of(
        result.kind, result.cell.block.structure, result.cell.workload, result.cell.fault, result.effect
    )
    lines = [
        f"## {letter}. {result.cell}",
        "",
        *(f"- the node: {local.words}" for local in result.local),
        f"- for everybody: {result.effect.words}",
    ]
    if seen := what_was_seen(result.seen):
        lines.append(f"- what was seen: {seen}")
    if found is not None:
        lines.append(f"- explained by name, {found.name}: {found.reason}")
    return "\n".join(lines) + "\n"


def _cell(evidence: Evidence, letter: str) -> Facts:
    cells: dict[str, Facts] = evidence.fact("cells")
    return cells[letter]


def _choose(evidence: Evidence) -> Truth:
    effects = {letter: Effect[_cell(evidence, letter)["effect"].upper().replace(" ", "_")] for letter in LETTERS}
    worst_one = worst(effects.values())
    accepted = tuple(letter for letter, effect in effects.items() if effect is worst_one)
    because = "; ".join(f"{letter}: {name_of(effect)}" for letter, effect in effects.items())
    return values("one of", accepted, because)


def _effect(evidence: Evidence, letter: str) -> Truth:
    cell = _cell(evidence, letter)
    said = f"{cell['effect']}: {cell['seen']}" if cell["seen"] else cell["effect"]
    return values("one of", (cell["effect"],), said)


def _local(evidence: Evidence, letter: str) -> Truth:
    found = _cell(evidence, letter)["local"]
    return values("one of", tuple(found), ", ".join(found))


DRILLS = (
    Drill(
        "cords",
        Simulated(_run),
        {
            "choose": _choose,
            "effect-a": partial(_effect, letter="a"),
            "effect-b": partial(_effect, letter="b"),
            "local-c": partial(_local, letter="c"),
            "local-d": partial(_local, letter="d"),
        },
    ),
)
