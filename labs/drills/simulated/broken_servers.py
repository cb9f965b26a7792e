"""Write a scenario that tells the correct servers from five broken ones.

The student writes `scenario.py`, with a scenario as `tabletop scenario run` takes it. It is run six times in the
simulated world with one seed: over the servers as they are, which it must not blame, and over servers from which one
rule was taken out. What counts is how many of the five it exposes by its own checks, or because it ends with an error.

A scenario is foreign code. It runs in the worker's process (labs/worker.py), one process for all six.
"""

import random
from functools import partial
from pathlib import Path

from cluster.scenarios.loading import load_scenario
from cluster.scenarios.running import ScenarioPlan, run_simulated
from cluster.swarm.bugs import planted
from labs.drills.drill import FILES, Answered, Drill, Facts, Simulated
from labs.drills.evidence import Evidence
from labs.drills.questions import NotYet, Truth, done
from runtime.errors import TabletopError

FILE = "scenario.py"
BROKEN = (
    "first-write-in-place",
    "snapshot-without-revoking",
    "reference-count-forgotten",
    "path-instead-of-file-id",
    "append-forgets-what-is-in-flight",
)
SOUND = "sound"
OWN = ("check", "exception", "endless")
"""What the scenario itself finds. The judges know only what recorded clients did, who take no snapshots."""
BEGIN = '''"""One scenario: it has to end well over sound servers, and badly over as many broken ones as it can."""

from cluster.scenarios import check, scenario


@scenario(chunkservers=4)
async def tells_them_apart(cluster, seed):
    """What I promise about sound servers."""
    client = cluster.client()
    await client.write_file("/a", b"hello")
    check(await client.read_file("/a") == b"hello", "what was written is read back")
'''
"""What the student begins with."""


def letters(draw: int) -> dict[str, str]:
    """The broken servers by letter, in an order that is drawn."""
    chosen = list(BROKEN)
    random.Random(f"broken servers {draw}").shuffle(chosen)
    return dict(zip("abcde", chosen, strict=True))


def _run(parameters: Facts) -> Answered:
    draw = int(parameters["draw"])
    if parameters["wants"] == FILES:
        return Answered({}, {FILE: BEGIN})
    path = Path(FILE)
    path.write_text(str(parameters[FILE]), encoding="utf-8")
    return Answered({"blamed": _blamed(path, draw), FILE: parameters[FILE]}, {})


def _blamed(path: Path, draw: int) -> dict[str, str]:
    """What the scenario objects to, for the sound servers and each of the broken ones; empty: nothing."""
    try:
        plan = ScenarioPlan(load_scenario(str(path)), seed=draw % 1000)
    except TabletopError as error:
        return {SOUND: error.message}
    found = {}
    for letter, name in {SOUND: "", **letters(draw)}.items():
        with planted(name):
            verdicts = [one for one in run_simulated(plan).verdicts if one.judge in OWN]
        found[letter] = f"{verdicts[0].judge}: {verdicts[0].text[:200]}" if verdicts else ""
    return found


def _sound(evidence: Evidence) -> Truth:
    blamed = evidence.fact("blamed")[SOUND]
    if blamed:
        raise NotYet(f"sound servers are blamed: {blamed}")
    if evidence.fact(FILE).strip() == BEGIN.strip():
        raise NotYet(f"{FILE} is as it was given to you")
    return done("sound servers are not blamed")


def _exposed(evidence: Evidence, letter: str) -> Truth:
    _sound(evidence)
    blamed = evidence.fact("blamed").get(letter, "")
    if not blamed:
        raise NotYet("it passes for a sound one")
    return done(blamed)


DRILLS = (
    Drill(
        "tell-apart",
        Simulated(_run, wants_file=FILE),
        {
            "sound": _sound,
            **{f"broken-{letter}": partial(_exposed, letter=letter) for letter in "abcde"},
        },
    ),
)
