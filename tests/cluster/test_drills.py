"""A drill with real processes, from the card to the grade, with the mistakes that people make on the way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from tests.cluster.command_line import Desk

pytestmark = pytest.mark.cluster


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "home")
    try:
        yield desk
    finally:
        processes.end_processes(desk.programs(), grace_seconds=0.0)


def test_a_drill_from_the_card_to_the_grade(desk: Desk, tmp_path: Path):
    (tmp_path / "names").write_text("ada\nalan\n")
    desk.run("drill", "class", "ds", "--students", str(tmp_path / "names"), "--out", str(tmp_path / "ds"))
    assert "teacher's file" in desk.run("drill", "enrol", str(tmp_path / "ds" / "teacher.json"), expect=2)
    desk.run("drill", "enrol", str(tmp_path / "ds" / "cards" / "ada.json"))
    assert "belongs to ada" in desk.run("drill", "enrol", str(tmp_path / "ds" / "cards" / "alan.json"), expect=1)
    assert "no drill runs" in desk.run("drill", "check", expect=1)
    assert "no drill 'rust'" in desk.run("drill", "start", "rust", expect=2)

    assert "attempt 1 of drill trash" in desk.run("drill", "start", "trash")
    assert "it runs since" in desk.run("drill", "start", "trash")
    assert "drill trash runs" in desk.run("drill", "start", "rot", expect=1)
    assert "no question 'mechanic'" in desk.run("drill", "check", "mechanic=rename", expect=2)
    assert "expected one of" in desk.run("drill", "check", "mechanism=magic", expect=2)
    desk.run("drill", "check", "mechanism=rename", "copied=0")
    desk.run("fs", "rm", "/drill/essay", "--cluster", "drill-trash")

    desk.run("down", "--cluster", "drill-trash")
    assert "is down; `tabletop drill start trash`" in desk.run("drill", "check", expect=3)
    assert "its cluster was down" in desk.run("drill", "start", "trash")
    desk.run("fs", "trash", "restore", "/drill/essay", "--cluster", "drill-trash")
    judged = json.loads(desk.run("drill", "check", "--json"))
    assert {one["question"]: one["points"] for one in judged["marks"]} == {
        "copied": 3, "mechanism": 2, "deleted": 1, "restored": 1, "why": 0,
    }  # fmt: skip
    assert "settled" in desk.run("drill", "check", "mechanism=copy", expect=2)

    assert "stopped" in desk.run("drill", "stop")
    assert not desk.programs()
    handed_in = tmp_path / "handed-in"
    handed_in.mkdir()
    desk.run("drill", "report", "--out", str(handed_in / "ada.json"))
    text = json.loads((handed_in / "ada.json").read_text())
    text["attempts"][0]["points"] = 70
    (handed_in / "better.json").write_text(json.dumps(text))
    grade = ("drill", "grade", str(handed_in), "--class", str(tmp_path / "ds" / "teacher.json"))
    found = {one["file"]: one for one in json.loads(desk.run(*grade, "--json", expect=5))}
    assert (found["ada.json"]["points"], found["ada.json"]["remarks"]) == (7, [])
    assert found["better.json"]["standing"] == "edited"
    (handed_in / "better.json").unlink()
    printed = desk.run(*grade, "--csv", str(tmp_path / "points.csv"))
    assert "1 student graded of 2" in printed and "nothing that counts from: alan" in printed
    rows = (tmp_path / "points.csv").read_text().splitlines()
    assert rows[1].startswith("ada,ada.json,graded,,7,7") and rows[-1].startswith("alan,,missing")
