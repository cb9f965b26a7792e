"""The swarms that there are, as the command and its workers see them: a swarm draws a plan from a seed, runs it, judges
what came of it, and tells the story.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from cluster.swarm import marks, story
from cluster.swarm.bug_tools import Bug, Planted
from cluster.swarm.bugs import BUGS, planted
from cluster.swarm.engine import bugs as engine_bugs
from cluster.swarm.engine import marks as engine_marks
from cluster.swarm.engine import plan as engine_plan
from cluster.swarm.engine import run as engine_run
from cluster.swarm.engine import story as engine_story
from cluster.swarm.locks import bugs as lock_bugs
from cluster.swarm.locks import marks as lock_marks
from cluster.swarm.locks import plan as lock_plan
from cluster.swarm.locks import run as lock_run
from cluster.swarm.plan import Plan
from cluster.swarm.run import draw_plan, run_plan
from cluster.swarm.tables import bugs as table_bugs
from cluster.swarm.tables import bugs_of_layout as table_layout_bugs
from cluster.swarm.tables import bugs_of_snapshots as table_snapshot_bugs
from cluster.swarm.tables import bugs_of_values as value_bugs
from cluster.swarm.tables import marks as table_marks
from cluster.swarm.tables import plan as table_plan
from cluster.swarm.tables import run as table_run
from cluster.swarm.verdicts import Verdict


class RunResult(Protocol):
    """What came of one run, whichever swarm it belongs to."""

    plan: Any
    verdicts: list[Verdict]
    is_undecided: bool
    history: Any
    struck: dict[str, int]
    marks: dict[str, int]
    cpu_seconds: float
    virtual_seconds: float


@dataclass(frozen=True, slots=True)
class Swarm:
    """One of them. `option`: what is added to `./scripts/swarm` to mean it. `watch` runs a plan as `run` does, and
    keeps all messages. `judges`: those whose findings are worth shrinking for, the worst first. `marks`: the rare
    states that a sweep wants to have seen."""

    name: str
    option: str
    draw: Callable[[int], Any]
    run: Callable[[Any], Any]
    watch: Callable[[Any], Any]
    from_json: Callable[[str], Any]
    tell: Callable[[Any, str], list[str]]
    bugs: dict[str, Bug]
    judges: tuple[str, ...]
    marks: Sequence[str]

    def planted(self, name: str) -> Planted:
        """The bug of this name; none for "". Raises NotFound."""
        return planted(name, self.bugs)

    def worst(self, result: RunResult) -> str:
        """The judge whose finding is worth shrinking for: lost bytes before leftovers."""
        judges = [verdict.judge for verdict in result.verdicts]
        return next((judge for judge in self.judges if judge in judges), judges[0] if judges else "")


FILES = Swarm(
    name="files",
    option="",
    draw=draw_plan,
    run=run_plan,
    watch=partial(run_plan, watched=True),
    from_json=Plan.from_json,
    tell=story.tell_of_files,
    bugs=BUGS,
    judges=("contents", "lengths", "namespace", "definite failure", "final reads", "replay", "invariants"),
    marks=marks.all_marks(),
)

MASTERS = replace(FILES, name="masters", option=" --masters", draw=partial(draw_plan, share_with_masters=1.0))
"""The same, and every seed has several masters."""

ENGINE = Swarm(
    name="engine",
    option=" --engine",
    draw=engine_run.draw_plan,
    run=engine_run.run_plan,
    watch=engine_run.run_plan,
    from_json=engine_plan.Plan.from_json,
    tell=engine_story.tell,
    bugs=engine_bugs.BUGS,
    judges=("rows", "suffix", "untyped error", "invariants", "final opening", "final writes", "leavings"),
    marks=engine_marks.all_marks(),
)

LOCKS = Swarm(
    name="locks",
    option=" --locks",
    draw=lock_run.draw_plan,
    run=lock_run.run_plan,
    watch=partial(lock_run.run_plan, watched=True),
    from_json=lock_plan.Plan.from_json,
    tell=lock_marks.tell,
    bugs=lock_bugs.BUGS,
    judges=("mutual exclusion", "registers", "sequencers", "generations", "replay", "untyped error", "invariants"),
    marks=lock_marks.all_marks(),
)

TABLES = Swarm(
    name="tables",
    option=" --tables",
    draw=table_run.draw_plan,
    run=table_run.run_plan,
    watch=partial(table_run.run_plan, watched=True),
    from_json=table_plan.Plan.from_json,
    tell=table_marks.tell,
    bugs={**table_bugs.BUGS, **table_layout_bugs.BUGS, **table_snapshot_bugs.BUGS, **value_bugs.BUGS},
    judges=(
        "rows",
        "snapshots",
        "one server",
        "metadata",
        "final reads",
        "untyped error",
        "invariants",
        "leavings",
        "files",
    ),
    marks=table_marks.all_marks(),
)

SWARMS = {swarm.name: swarm for swarm in (FILES, MASTERS, ENGINE, LOCKS, TABLES)}


def swarm_of(kind: str) -> Swarm:
    """The swarm of this name, or "MODULE:NAME": what the function `swarm` of a module makes of the rest, so that rooms
    above this one can have swarms of their own."""
    if kind in SWARMS:
        return SWARMS[kind]
    module, _, name = kind.partition(":")
    found = importlib.import_module(module).swarm(name)
    assert isinstance(found, Swarm)
    return found
