"""Find the planted bug from its timeline: one rule was taken out of the servers, and a judge of the swarm complains.

The student gets the run as a timeline and as a story, and eight rules of which one was taken out. What is asked is
found in the run itself: which operation saw what it must not see, whose it was, and whether the run goes wrong without
its faults as well. The answers are in no file: the run is made again whenever somebody wants to know.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from cluster.swarm.bugs import planted
from cluster.swarm.pictures import timeline_of
from cluster.swarm.run import Result, draw_plan, run_plan
from cluster.swarm.story import tell_of_files
from cluster.timeline.page import page_of
from labs.drills.drill import FILES, Answered, Drill, Facts, Simulated
from labs.drills.evidence import Evidence
from labs.drills.questions import Truth, values
from labs.drills.simulated.rules import lettered, rule
from runtime.errors import InternalError

REPLAY = "this run was made for you, with one rule taken out"

# Seeds in which a bug shows in an operation of a client, and which are clean without it. Only the seeds are written
# down: what there is to find in them is found by running them.
SEEDS = {
    "path-instead-of-file-id": (9200, 9207, 9377),
    "requests-without-identity": (9201, 9208, 9213, 9414),
    "first-write-in-place": (9207, 9224, 9246, 9278, 9377),
    "append-forgets-what-is-in-flight": (9260, 9370),
}


def drawn(draw: int, bugs: Sequence[str]) -> tuple[str, int]:
    """The bug and the seed of a draw."""
    chance = random.Random(f"planted {draw}")
    name = chance.choice(list(bugs))
    return name, chance.choice(SEEDS[name])


def run_with(name: str, seed: int, *, watched: bool = False, faults: bool = True) -> Result:
    """Run a seed with a bug planted."""
    plan = draw_plan(seed)
    with planted(name):
        return run_plan(plan if faults else replace(plan, faults=()), watched=watched)


def facts_of(name: str, result: Result, draw: int) -> Facts:
    """What there is to find in a run. Raises InternalError if the bug does not show in it."""
    numbers = sorted({number for verdict in result.verdicts for number in verdict.operations})
    if not numbers:
        raise InternalError(f"seed {result.plan.seed} does not show {name} any more")
    return {
        "letter": next(letter for letter, bug in lettered(name, draw).items() if bug == name),
        "rule": rule(name),
        "bug": name,
        "seed": result.plan.seed,
        "operations": numbers,
        "clients": sorted({one.client for one in result.history.operations if one.number in numbers}),
        "findings": [f"{one.judge}: {one.text[:300]}" for one in result.verdicts[:5]],
    }


def files_of(name: str, result: Result, draw: int) -> dict[str, str]:
    """What the student gets: nothing in it names the bug."""
    rules = [f"{letter}. {rule(bug)}" for letter, bug in lettered(name, draw).items()]
    return {
        "run.html": "".join(page_of(timeline_of(result, REPLAY))),
        "story.txt": "\n".join(tell_of_files(result, REPLAY)) + "\n",
        "rules.md": "\n\n".join(["One of these rules was taken out of the servers:", *rules]) + "\n",
    }


def _run(bugs: Sequence[str], parameters: Facts) -> Answered:
    draw = int(parameters["draw"])
    name, seed = drawn(draw, bugs)
    if parameters["wants"] == FILES:
        return Answered({}, files_of(name, run_with(name, seed, watched=True), draw))
    facts = facts_of(name, run_with(name, seed), draw)
    return Answered({**facts, "without_faults": run_with(name, seed, faults=False).failed}, {})


def _operation(evidence: Evidence) -> Truth:
    numbers = evidence.fact("operations")
    return values("a number", tuple(numbers), f"the judges speak of {', '.join(map(str, numbers))}")


def _client(evidence: Evidence) -> Truth:
    clients = evidence.fact("clients")
    return values("a node", tuple(clients), f"{', '.join(clients)} asked for it")


def _needs_faults(evidence: Evidence) -> Truth:
    word = "no" if evidence.fact("without_faults") else "yes"
    return values("one of", (word,), "the same work was run once more, without its faults")


def _rule(evidence: Evidence) -> Truth:
    return values("one of", (evidence.fact("letter"),), f"{evidence.fact('rule')} ({evidence.fact('bug')})")


def _drill(name: str, *bugs: str) -> Drill:
    return Drill(
        name,
        Simulated(lambda parameters: _run(bugs, parameters)),
        {"operation": _operation, "client": _client, "faults": _needs_faults, "rule": _rule},
    )


DRILLS = (
    _drill("bug-names", "path-instead-of-file-id", "requests-without-identity"),
    _drill("bug-snapshots", "first-write-in-place"),
    _drill("bug-records", "append-forgets-what-is-in-flight"),
)
