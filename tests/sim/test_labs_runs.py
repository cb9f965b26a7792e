"""Drills that are runs: what a draw decides, that it is the same again, and that the files give nothing away."""

from pathlib import Path

import pytest

from cluster.cords.tablet.image import TABLET_KINDS
from cluster.cords.terms import Effect
from cluster.swarm.bugs import BUGS
from labs.drills.catalogue import drill_of
from labs.drills.drill import FACTS, FILES, REVEALED, Simulated, judge
from labs.drills.evidence import Evidence
from labs.drills.questions import Answer
from labs.drills.simulated import cords, lying_disk
from labs.drills.simulated.broken_servers import BEGIN, BROKEN, FILE, letters
from labs.drills.simulated.planted import SEEDS, drawn, facts_of, files_of, run_with
from labs.drills.simulated.rules import LETTERS, lettered, rule
from labs.worker import run_apart
from runtime.errors import InternalError, TimedOut

TABLETS = [kind.name for kind in TABLET_KINDS]
GOOD = Path(__file__).with_name("labs_scenario.py").read_text(encoding="utf-8")


def judged(name: str, facts: dict[str, object], **answers: str) -> dict[str, int]:
    given = [Answer(question, text, 1.0) for question, text in answers.items()]
    return {one.question: one.points for one in judge(drill_of(name), Evidence(facts=facts), given, 0).marks}


@pytest.mark.parametrize("name", SEEDS)
def test_each_seed_of_a_planted_bug_shows_it(name: str):
    facts = facts_of(name, run_with(name, SEEDS[name][0]), draw=1)
    assert facts["operations"] and facts["clients"] and facts["rule"] == rule(name)


def test_the_files_of_a_planted_bug_do_not_name_it():
    name, draw = "requests-without-identity", 5
    seed = SEEDS[name][0]
    result = run_with(name, seed, watched=True)
    for file, text in files_of(name, result, draw).items():
        found = [bug for bug in BUGS if bug in text or bug.replace("-", "_") in text]
        assert not found, f"{file} names {found}"


def test_what_is_drawn_is_the_same_again_and_not_always_the_same():
    bugs = ("path-instead-of-file-id", "requests-without-identity")
    assert drawn(3, bugs) == drawn(3, bugs)
    assert len({drawn(draw, bugs) for draw in range(20)}) > 2
    assert list(lettered("first-write-in-place", 3)) == list(LETTERS)
    places = {next(at for at, bug in lettered("first-write-in-place", draw).items() if bug == "first-write-in-place")
              for draw in range(40)}  # fmt: skip
    assert len(places) > 4


def test_every_planted_bug_has_a_rule_of_its_own():
    rules = [rule(name) for name in BUGS]
    assert len(set(rules)) == len(rules) and all(rules)


@pytest.mark.parametrize(
    ("durability", "liars", "survive", "whole"),
    [
        ("fsync", ["cs2"], "all of them", "2"),
        ("fsync", ["cs1", "cs2", "cs3"], "none of them", "0"),
        ("replicated", ["cs1"], "some of them", "0"),
    ],
)
def test_a_lying_disk_leaves_what_the_paper_promises(durability: str, liars: list[str], survive: str, whole: str):
    told = {"durability": durability, "liars": liars, "lines": 31, "pause": 0.25, "seed": 7}
    facts, _ = lying_disk.play(told)
    assert judged("lying-disk", {**facts, "alike": 0}, survive=survive, whole=whole, alike="0") == {
        "survive": 4, "whole": 3, "alike": 2, "why": 0,
    }  # fmt: skip
    assert lying_disk.play(told)[0] == facts


def test_the_run_is_shown_only_when_it_is_asked_for():
    stage = drill_of("lying-disk").stage
    assert isinstance(stage, Simulated)
    assert list(stage.run({"draw": 4, "wants": FILES}).files) == ["plan.md"]
    assert list(stage.run({"draw": 4, "wants": REVEALED}).files) == ["run.html"]
    assert stage.run({"draw": 4, "wants": FACTS}).facts["acknowledged"] > 0


@pytest.mark.parametrize(
    ("pool", "effects"),
    [
        (cords.FATAL, {Effect.UNAVAILABLE}),
        (cords.COSTLY, {Effect.QUERY_FAILURE, Effect.WRITE_UNAVAILABLE, Effect.REDUCED_REDUNDANCY}),
        (cords.BORNE, {Effect.CORRECT}),
    ],
    ids=["fatal", "costly", "borne"],
)
def test_each_block_of_the_cords_drill_comes_to_what_it_is_drawn_for(
    pool: tuple[cords.Candidate, ...], effects: set[Effect]
):
    found = {cell.told(): cell.run().effect for cell in pool}
    assert {told: effect for told, effect in found.items() if effect not in effects} == {}


def test_the_cords_drill_is_judged_by_its_own_run():
    draw = next(draw for draw in range(100) if all(cell.node in TABLETS for cell in cords.drawn(draw).values()))
    stage = drill_of("cords").stage
    assert isinstance(stage, Simulated)
    plan = stage.run({"draw": draw, "wants": FILES}).files["plan.md"]
    assert all(f"{letter}. " in plan and cell.block() in plan for letter, cell in cords.drawn(draw).items())
    facts = stage.run({"draw": draw, "wants": FACTS}).facts
    fatal = next(letter for letter, cell in facts["cells"].items() if cell["effect"] == "unavailable")
    right = {"choose": fatal} | {f"effect-{letter}": facts["cells"][letter]["effect"] for letter in "ab"}
    right |= {f"local-{letter}": facts["cells"][letter]["local"][0] for letter in "cd"}
    page = drill_of("cords").page
    assert judged("cords", facts, **{name: page.question(name).read(text) for name, text in right.items()}) == {
        "choose": 4, "effect-a": 3, "effect-b": 3, "local-c": 2, "local-d": 2, "why": 0,
    }  # fmt: skip
    wrong = next(letter for letter in "abcd" if letter != fatal)
    assert judged("cords", facts, choose=wrong)["choose"] == 0
    assert "for everybody: unavailable" in stage.run({"draw": draw, "wants": REVEALED}).files["run.md"]


def test_neighbours_get_other_blocks_of_the_cords_drill():
    assert len({tuple(cords.drawn(draw).values()) for draw in range(30)}) == 30


def checked(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the drill `tell-apart` says of a scenario, in this process."""
    monkeypatch.chdir(folder)
    stage = drill_of("tell-apart").stage
    assert isinstance(stage, Simulated)
    return stage.run({"draw": 7, "wants": FACTS, FILE: text}).facts


def test_a_good_scenario_exposes_all_five_and_the_first_one_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    points = judged("tell-apart", checked(GOOD, tmp_path, monkeypatch))
    assert points.pop("rules") == 0 and set(points.values()) == {2}
    assert set(judged("tell-apart", checked(BEGIN, tmp_path, monkeypatch)).values()) == {0}
    assert sorted(letters(7).values()) == sorted(BROKEN)


UNJUST = """from cluster.scenarios import scenario

@scenario
async def blames_everybody(cluster, seed):
    assert False
"""


@pytest.mark.parametrize("text", ["def x(:", "x = 1", UNJUST])
def test_a_scenario_that_blames_sound_servers_or_is_none_brings_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    facts = checked(text, tmp_path, monkeypatch)
    assert set(judged("tell-apart", facts).values()) == {0}


def test_foreign_code_runs_apart_and_cannot_answer_by_printing():
    text = 'print(\'{"facts": {}, "files": {}}\')\n' + GOOD
    facts = run_apart("tell-apart", {"draw": 7, "wants": FACTS, FILE: text}).facts
    assert set(judged("tell-apart", facts).values()) == {0, 2}


def test_foreign_code_that_never_ends_or_ends_the_process_is_one_message():
    with pytest.raises(TimedOut, match="longer than 1 seconds"):
        run_apart("tell-apart", {"draw": 7, "wants": FACTS, FILE: "while True: pass"}, seconds=1.0)
    with pytest.raises(InternalError, match="exit code 7"):
        run_apart("tell-apart", {"draw": 7, "wants": FACTS, FILE: "import os; os._exit(7)"})
