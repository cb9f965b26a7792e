"""Cards, signatures, and a folder of hand-ins with all that students hand in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.fault_log import BlockFlipped
from labs.drills.drill import Answered
from labs.drills.evidence import Evidence
from labs.drills.questions import Answer
from labs.handing_in.classes import (
    Card,
    TeachersClass,
    draw_for,
    new_class,
    read_card,
    read_class,
    write_private,
)
from labs.handing_in.grading import GradedFile, Standing, grade_folder
from labs.handing_in.reports import canonical, is_signed_by, read_report, report_of
from labs.state import Attempt
from runtime.errors import IncompatibleFormat, InternalError, InvalidRequest, NotFound
from runtime.events import NodeStarted, Record

STARTED = 1_000.0
CLASS = new_class("ds", ["ada", "alan", "grace"], secret=bytes(range(32)))


def evidence(at: float) -> Evidence:
    """Of the drill `rot`, begun and not finished: one block was flipped."""
    records = [
        Record(1, int(at * 1e6), "cs1", "", NodeStarted("chunkserver")),
        Record(1, int((at + 5) * 1e6), "faults", "", BlockFlipped("cs1", 2, 3, 12, "/drill/book")),
    ]
    return Evidence(records, {"book": {"sha256": "00"}, "chunks": []})


def attempt(card: Card, at: float = STARTED) -> Attempt:
    found = Attempt("rot", 1, at, draw_for(card.key, "rot", 1), "drill-rot")
    found.answers = [Answer("reader", "the right bytes", at + 1)]
    found.evidence = evidence(at + 0.5).to_json()
    return found


def handed_in(student: str, *, now: float = 2_000.0, at: float = STARTED, teachers: TeachersClass = CLASS) -> Any:
    card = teachers.card(student)
    return report_of([attempt(card, at)], {"rot": 1}, card, now=now)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, values: Any) -> None:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")


def refuse(drill: str, parameters: dict[str, Any]) -> Answered:
    raise InternalError("nothing is to be run here")


def graded(folder: Path, run: Callable[[str, dict[str, Any]], Answered] = refuse) -> dict[str, GradedFile]:
    return {one.file: one for one in grade_folder(folder, CLASS, run, lambda path: None)}


def test_a_card_gives_away_no_other_key_and_the_teacher_needs_no_list():
    keys = {CLASS.card(student).key for student in CLASS.students}
    assert len(keys) == 3 and CLASS.secret not in keys
    assert new_class("ds", ["ada"], secret=bytes(range(32))).card("ada") == CLASS.card("ada")
    with pytest.raises(NotFound):
        CLASS.card("mallory")


@pytest.mark.parametrize("names", [["../x"], ["ada", "Ada"], [], [""], ["a" * 61]])
def test_a_class_of_impossible_names_is_refused(names: list[str]):
    with pytest.raises(InvalidRequest):
        new_class("ds", names)


def test_card_and_class_are_told_apart_and_private(folder: Path):
    write_private(folder / "teacher.json", CLASS.to_json())
    write_private(folder / "ada.json", CLASS.card("ada").to_json())
    assert read_card(folder / "ada.json") == CLASS.card("ada") and read_class(folder / "teacher.json") == CLASS
    assert (folder / "teacher.json").stat().st_mode & 0o077 == 0
    assert CLASS.secret not in (folder / "ada.json").read_text()
    with pytest.raises(InvalidRequest, match="teacher's file"):
        read_card(folder / "teacher.json")
    with pytest.raises(InvalidRequest, match="student's card"):
        read_class(folder / "ada.json")
    with pytest.raises(NotFound):
        read_card(folder / "nobody.json")
    write(folder, "broken.json", {"format": 1, "card": {"student": "ada"}})
    with pytest.raises(IncompatibleFormat):
        read_card(folder / "broken.json")


def test_a_report_is_signed_whatever_the_order_of_its_keys(folder: Path):
    values = handed_in("ada")
    shuffled = json.loads(json.dumps(dict(reversed(values.items())), indent=4))
    assert is_signed_by(shuffled, CLASS.card("ada").key) and not is_signed_by(shuffled, CLASS.card("alan").key)
    write(folder, "ada.json", shuffled)
    assert canonical(read_report(folder / "ada.json").values) == canonical(values)


def test_points_come_from_the_evidence(folder: Path):
    write(folder, "ada.json", handed_in("ada"))
    found = graded(folder)["ada.json"]
    assert (found.standing, found.points, found.remarks) == (Standing.GRADED, 1, [])  # The block is flipped: 1 point.


def test_points_that_the_file_claims_are_not_believed(folder: Path):
    card = CLASS.card("ada")
    write(folder, "ada.json", report_of([attempt(card)], {"rot": 10}, card, now=2_000.0))
    found = graded(folder)["ada.json"]
    assert found.points == 1 and "judged 1, the file says 10" in found.remarks[0]


def test_each_kind_of_bad_file_is_named_with_its_reason(folder: Path):
    edited = handed_in("ada")
    edited["attempts"][0]["answers"][0]["text"] = "an error"
    renamed = handed_in("ada") | {"student": "alan"}
    elsewhere = new_class("other", ["ada"], secret=bytes(32))
    unsigned = report_of([attempt(CLASS.card("ada"))], {"rot": 1}, None, now=1.0)
    write(folder, "edited.json", edited)
    write(folder, "renamed.json", renamed)
    write(folder, "elsewhere.json", handed_in("ada", teachers=elsewhere))
    write(folder, "unsigned.json", unsigned)
    write(folder, "torn.json", json.dumps(handed_in("ada"))[:500])
    write(folder, "list.json", "[1, 2]")
    write(folder, "essay.json", "my dog ate it")
    write(folder, "nan.json", json.dumps(handed_in("ada") | {"written": float("nan")}))
    write(folder, "deep.json", "[" * 100_000)
    write(folder, "half.json", handed_in("ada") | {"attempts": [{"drill": "rot"}]})
    (folder / "notes.txt").write_text("not looked at")
    found = graded(folder)
    standings = {name: one.standing.value for name, one in found.items()}
    assert standings == {
        "edited.json": "edited",
        "renamed.json": "edited",
        "elsewhere.json": "foreign",
        "unsigned.json": "foreign",
        "torn.json": "damaged",
        "list.json": "damaged",
        "essay.json": "damaged",
        "nan.json": "damaged",
        "deep.json": "damaged",
        "half.json": "damaged",
    }
    assert all(one.reason and one.points == 0 for one in found.values())


def test_of_two_files_of_one_student_the_later_one_counts(folder: Path):
    write(folder, "a.json", handed_in("ada", now=3_000.0))
    write(folder, "b.json", handed_in("ada", now=2_000.0))
    found = graded(folder)
    assert (found["a.json"].standing, found["b.json"].standing) == (Standing.GRADED, Standing.OLDER)
    assert "b.json" in found["a.json"].remarks[0]


def test_the_same_evidence_in_two_students_files_is_named_at_both(folder: Path):
    write(folder, "ada.json", handed_in("ada"))
    write(folder, "alan.json", handed_in("alan"))
    write(folder, "grace.json", handed_in("grace", at=STARTED + 7))
    found = graded(folder)
    assert found["ada.json"].remarks == ["rot: the same evidence as alan"]
    assert found["alan.json"].remarks == ["rot: the same evidence as ada"]
    assert found["grace.json"].remarks == []


def test_evidence_that_contradicts_itself_is_named(folder: Path):
    card = CLASS.card("ada")
    doubtful = attempt(card)
    doubtful.answers = [Answer("reader", "the right bytes", STARTED - 50)]
    doubtful.draw += 1
    write(folder, "ada.json", report_of([doubtful], {"rot": 1}, card, now=2_000.0))
    remarks = " ".join(graded(folder)["ada.json"].remarks)
    assert "not what this student's card draws" in remarks and "older than the attempt" in remarks


def test_what_can_be_run_again_is_run_with_what_the_card_draws(folder: Path):
    card, asked = CLASS.card("ada"), []
    work = Attempt("lying-disk", 1, STARTED, 0)  # A draw that was chosen, not drawn.
    work.answers = [Answer("survive", "all of them", STARTED + 1)]
    work.evidence = Evidence(facts={"read": 1, "acknowledged": 1}).to_json()  # Claims that nobody looks at.
    write(folder, "ada.json", report_of([work], {"lying-disk": 4}, card, now=2_000.0))

    def run(drill: str, parameters: dict[str, Any]) -> Answered:
        asked.append((drill, parameters["draw"]))
        return Answered({"read": 0, "acknowledged": 9, "stored": {}, "alike": 0}, {})

    found = graded(folder, run)["ada.json"]
    assert asked == [("lying-disk", draw_for(card.key, "lying-disk", 1))]
    assert found.points == 0 and "judged 0, the file says 4" in " ".join(found.remarks)


def test_a_run_that_fails_is_a_remark_and_the_rest_is_graded(folder: Path):
    card = CLASS.card("ada")
    work = [Attempt("lying-disk", 1, STARTED, draw_for(card.key, "lying-disk", 1)), attempt(card)]
    work[0].evidence = Evidence().to_json()
    write(folder, "ada.json", report_of(work, {"lying-disk": 0, "rot": 1}, card, now=2_000.0))
    found = graded(folder)["ada.json"]
    assert found.points == 1 and "nothing is to be run here" in found.remarks[0]
