"""What a drill is: a page, a stage to play on, and a function for each question.

A *live* drill plays on a cluster of real processes, a *simulated* one in a run that its parameters decide. Either way
the functions see evidence and nothing else, so that the grader can use them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.interface import Cluster
from cluster.settings import ClusterSettings
from labs.drills.evidence import Evidence
from labs.drills.page import Page, read_page
from labs.drills.questions import Answer, Kind, Mark, NotYet, Truth, mark

TruthOf = Callable[[Evidence], Truth]
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """A cluster of processes. `prepare` stores what the drill is about, and returns facts that never change; `look`
    asks for facts of now. `kinds`: of what is recorded, what goes into the evidence."""

    settings: ClusterSettings
    kinds: frozenset[str]
    prepare: Callable[[Cluster], Awaitable[Facts]]
    look: Callable[[Cluster, Facts], Awaitable[Facts]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a run gave: facts for the evidence, or files for the student by their names."""

    facts: Facts
    files: dict[str, str]


FILES, FACTS, REVEALED = "files", "facts", "revealed"
"""What is wanted of a run: files to begin with, facts, and files that show what there was to predict."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """A run that is decided by parameters: `draw`, a number that belongs to the student and the attempt; `wants`, which
    is FILES, FACTS or REVEALED; and the student's own file, if the drill is about one. `run` is called in a process of
    its own (`labs/worker.py`)."""

    run: Callable[[Facts], Answered]
    wants_file: str = ""
    """The file that the student writes, such as "scenario.py"; empty: none."""


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill."""

    name: str
    stage: Live | Simulated
    truths: Mapping[str, TruthOf]
    needs: str = ""

    @property
    def page(self) -> Page:
        """Its page."""
        return read_page(self.name)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an attempt is worth. `points`: of the marks, less what hints cost."""

    marks: list[Mark]
    hint_cost: int
    of: int
    explanations: dict[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Never below 0."""
        return max(0, sum(one.points for one in self.marks) - self.hint_cost)


def judge(drill: Drill, evidence: Evidence, answers: list[Answer], hints: int) -> Judgement:
    """Judge an attempt: the student's answers against the evidence. Pure: the grader does the same again."""
    marks = []
    for question in drill.page.questions:
        truth, missing = None, ""
        if question.kind is not Kind.EXPLAIN:
            try:
                truth = drill.truths[question.name](evidence)
            except NotYet as reason:
                missing = str(reason)
        marks.append(mark(question, answers, truth, missing))
    texts = {one.question: one.answer for one in marks if one.verdict == "for the teacher"}
    cost = sum(hint.cost for hint in drill.page.hints[:hints])
    return Judgement(marks, cost, drill.page.points, texts)
