"""`tabletop drill class` and `tabletop drill grade`: what teachers type."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.timeline.writing import write_whole
from labs.drills.drill import Answered
from labs.handing_in.classes import TeachersClass, new_class, read_class, write_private
from labs.handing_in.grading import GradedFile, Standing, grade_folder
from labs.worker import SECONDS, run_apart
from runtime.errors import AlreadyExists, InvalidRequest, NotFound
from tabletop import wording
from tabletop.console import ExitCode, endings, notes, output, remark
from tabletop.options import JsonOption
from tabletop.tables import plain_table, print_table

TEACHERS_FILE = "teacher.json"


def new(
    name: Annotated[str, typer.Argument(metavar="CLASS", help="Its name, such as ds-2026.")],
    students: Annotated[
        Path, typer.Option("--students", metavar="FILE", help="A student's name or number in each line.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A new folder for what is made.")],
) -> None:
    """Make a class: a file that you keep, and a card for each student to hand out.

    \b
        tabletop drill class ds-2026 --students names.txt --out ds-2026
        ds-2026/teacher.json         keep it, and show it nobody: grading needs it
        ds-2026/cards/ada.json       for ada alone
    """
    with endings(changes=True):
        lines = [line.strip() for line in students.read_text(encoding="utf-8").splitlines()]
        teachers = new_class(name, [line for line in lines if line and not line.startswith("#")])
        if out.exists():
            raise AlreadyExists(f"{out} is there already: name a new folder, so that no secret is written over")
        cards = out / "cards"
        out.mkdir(mode=0o700, parents=True)
        cards.mkdir(mode=0o700)
        write_private(out / TEACHERS_FILE, teachers.to_json())
        for student in teachers.students:
            write_private(cards / f"{student}.json", teachers.card(student).to_json())
    output.print(f"{out / TEACHERS_FILE}: keep it; grading needs it", markup=False)
    output.print(f"{cards}: {wording.count(len(teachers.students), 'card')}, one for each student", markup=False)


def grade(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="With the files that were handed in, *.json.")],
    kept: Annotated[Path, typer.Option("--class", metavar="FILE", help="The teacher.json of the class.")],
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write all of it as CSV too.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long one repeated run may take.")] = SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Grade a folder of hand-ins, unattended: a line for each student, and each file that could not be graded.

    Evidence is judged again; simulated runs and students' scenarios are run again, each in a process with limits. The
    exit code is 0 if every file was graded, and 5 if some were not.

    \b
        tabletop drill grade handed-in --class ds-2026/teacher.json --csv points.csv
    """
    with endings():
        teachers = read_class(kept)
        if not folder.is_dir():
            raise NotFound(f"there is no folder {folder}")
        cache: dict[str, Answered] = {}

        def run(drill: str, parameters: dict[str, Any]) -> Answered:
            key = json.dumps([drill, parameters], sort_keys=True)
            if key not in cache:
                cache[key] = run_apart(drill, parameters, seconds=seconds)
            return cache[key]

        with notes.status("grading …") as status:
            found = grade_folder(folder, teachers, run, lambda path: status.update(f"grading {path.name} …"))
        if not found:
            raise InvalidRequest(f"{folder} holds no .json file")
        if table is not None:
            write_whole(table, [_csv(found, teachers)])
    if as_json:
        print(json.dumps([_values(one) for one in found], indent=2))
    else:
        _print(found, teachers)
    refused = [one for one in found if one.standing in (Standing.DAMAGED, Standing.FOREIGN, Standing.EDITED)]
    raise typer.Exit(ExitCode.DEGRADED if refused else ExitCode.DONE)


def _rows(found: list[GradedFile]) -> list[GradedFile]:
    """Students first, by name; then what was not graded."""
    return sorted(found, key=lambda one: (one.standing is not Standing.GRADED, one.student, one.file))


def _print(found: list[GradedFile], teachers: TeachersClass) -> None:
    lines = plain_table("STUDENT", "FILE", "STANDING", "POINTS", "DRILLS", "NOTE", folding=("NOTE", "DRILLS"))
    for one in _rows(found):
        drills = ", ".join(f"{name} {each.points}/{each.of}" for name, each in one.judgements.items())
        note = "; ".join([*([one.reason] if one.reason else []), *one.remarks])
        points = str(one.points) if one.standing is Standing.GRADED else "-"
        cells = (one.student or "-", one.file, one.standing.value, points, drills, note)
        lines.add_row(*(cell.replace("[", r"\[") for cell in cells))
    print_table(lines)
    graded = {one.student for one in found if one.standing is Standing.GRADED}
    missing = [student for student in teachers.students if student not in graded]
    output.print(f"{wording.count(len(graded), 'student')} graded of {len(teachers.students)}", markup=False)
    if missing:
        remark(f"nothing that counts from: {', '.join(missing)}")


def _values(one: GradedFile) -> dict[str, Any]:
    return {
        "student": one.student,
        "file": one.file,
        "standing": one.standing.value,
        "reason": one.reason,
        "points": one.points,
        "remarks": one.remarks,
        "drills": {
            name: {
                "points": each.points,
                "of": each.of,
                "hint_cost": each.hint_cost,
                "marks": {mark.question: [mark.points, mark.of, mark.verdict, mark.answer] for mark in each.marks},
                "explanations": each.explanations,
            }
            for name, each in one.judgements.items()
        },
    }


def _csv(found: list[GradedFile], teachers: TeachersClass) -> str:
    """A line for each file, and one for each student of whom there is none."""
    drills = list(dict.fromkeys(name for one in found for name in one.judgements))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "file", "standing", "reason", "points", *drills, "remarks", "explanations"])
    for one in _rows(found):
        points = [one.judgements[name].points if name in one.judgements else "" for name in drills]
        said = [f"{name}.{question}: {text}" for name, each in one.judgements.items()
                for question, text in each.explanations.items()]  # fmt: skip
        cells = [one.student, one.file, one.standing.value, one.reason, one.points, *points, "; ".join(one.remarks),
                 "\n".join(said)]  # fmt: skip
        writer.writerow([_plain(cell) for cell in cells])
    there = {one.student for one in found}
    for student in teachers.students:
        if student not in there:
            writer.writerow([student, "", "missing", "", 0, *("" for _ in drills), "", ""])
    return text.getvalue()


def _plain(cell: object) -> object:
    """A text that a spreadsheet does not take for a formula: some of these were written by students."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
