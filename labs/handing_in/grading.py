"""Judging what was handed in: one file, and a folder of them.

    damaged     it cannot be read as a report
    foreign     of another class, of nobody in this class, or unsigned
    edited      it was changed after it was signed
    graded      judged by its evidence; runs that can be repeated were repeated

Points come from the evidence, by the same functions as at the student's desk. Of two files of one student the later one
counts; two students with the same evidence are named. What needs to be run is run in a process of its own (worker.py).
"""

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labs.drills.catalogue import DRILLS
from labs.drills.drill import FACTS, Answered, Drill, Judgement, Simulated, judge
from labs.drills.evidence import Evidence
from labs.handing_in.classes import TeachersClass, draw_for
from labs.handing_in.reports import HandedAttempt, Report, canonical, is_signed_by, read_report
from runtime.errors import IncompatibleFormat, TabletopError

Run = Callable[[str, dict[str, Any]], Answered]


class Standing(enum.Enum):
    """What became of one file."""

    GRADED = "graded"
    DAMAGED = "damaged"
    FOREIGN = "foreign"
    EDITED = "edited"
    OLDER = "older"


@dataclass(slots=True)
class GradedFile:
    """One file. `remarks`: what a teacher should look at, one sentence each."""

    file: str
    standing: Standing
    reason: str = ""
    student: str = ""
    written: float = 0.0
    judgements: dict[str, Judgement] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    marks_of_evidence: dict[str, str] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Of all drills in it; a file that is not graded has none."""
        return sum(one.points for one in self.judgements.values()) if self.standing is Standing.GRADED else 0


def grade_file(path: Path, teachers: TeachersClass, run: Run) -> GradedFile:
    """Judge one file. Raises nothing for what a student can hand in."""
    try:
        report = read_report(path)
    except (IncompatibleFormat, OSError) as error:
        return GradedFile(path.name, Standing.DAMAGED, str(error))
    refused = _refused(path.name, report, teachers)
    if refused is not None:
        return refused
    found = GradedFile(path.name, Standing.GRADED, "", report.student, report.written)
    key = teachers.card(report.student).key
    for attempt in report.attempts:
        if attempt.drill not in DRILLS:
            found.remarks.append(f"{attempt.drill}: this version knows no such drill")
            continue
        try:
            found.judgements[attempt.drill] = _judged(DRILLS[attempt.drill], attempt, key, run, found)
        except (TabletopError, ValueError, KeyError, TypeError, IndexError, AttributeError, StopIteration) as error:
            found.remarks.append(f"{attempt.drill}: not judged: {type(error).__name__}: {str(error)[:200]}")
    return found


def _refused(name: str, report: Report, teachers: TeachersClass) -> GradedFile | None:
    if report.class_name != teachers.class_name:
        return GradedFile(name, Standing.FOREIGN, f"of class {report.class_name!r}", report.student, report.written)
    if report.student not in teachers.students:
        return GradedFile(name, Standing.FOREIGN, f"{report.student!r} is not in this class", report.student)
    if not is_signed_by(report.values, teachers.card(report.student).key):
        reason = "changed after it was signed, or signed with another student's key"
        return GradedFile(name, Standing.EDITED, reason, report.student, report.written)
    return None


def _judged(drill: Drill, attempt: HandedAttempt, key: str, run: Run, found: GradedFile) -> Judgement:
    if attempt.draw != draw_for(key, drill.name, attempt.number):
        found.remarks.append(f"{drill.name}: what was drawn is not what this student's card draws")
    if isinstance(drill.stage, Simulated):
        draw = draw_for(key, drill.name, attempt.number)
        parameters = {"draw": draw, "wants": FACTS, **_handed_over(drill.stage, attempt)}
        evidence = Evidence(facts=run(drill.name, parameters).facts)
    else:
        evidence = Evidence.from_json(attempt.evidence)
        found.marks_of_evidence[drill.name] = _fingerprint(evidence)
        found.remarks += [f"{drill.name}: {text}" for text in doubts(attempt, evidence)]
    judgement = judge(drill, evidence, attempt.answers, len(attempt.hints))
    if judgement.points != attempt.points:
        found.remarks.append(f"{drill.name}: judged {judgement.points}, the file says {attempt.points}")
    return judgement


def _handed_over(stage: Simulated, attempt: HandedAttempt) -> dict[str, Any]:
    """The student's own file, if the drill is about one."""
    return {stage.wants_file: str(attempt.evidence["facts"][stage.wants_file])} if stage.wants_file else {}


def doubts(attempt: HandedAttempt, evidence: Evidence) -> list[str]:
    """What speaks against the evidence of a real cluster: it contradicts itself, or the times."""
    found = []
    lamports: dict[str, int] = {}
    starts = {record.node for record in evidence.records if type(record.event).__name__ == "NodeStarted"}
    for record in evidence.records:
        if record.lamport < lamports.get(record.node, 0) and record.node not in starts and record.node != "faults":
            found.append(f"the logical clock of {record.node} goes back without a start of it")
            starts.add(record.node)
        lamports[record.node] = record.lamport
    times = [record.wall_microseconds / 1e6 for record in evidence.records]
    if times and min(times) < attempt.started - 1:
        found.append("records are older than the attempt")
    if any(answer.at < attempt.started for answer in attempt.answers):
        found.append("an answer is older than the attempt")
    if [answer.at for answer in attempt.answers] != sorted(answer.at for answer in attempt.answers):
        found.append("answers are not in the order of their times")
    return found


def _fingerprint(evidence: Evidence) -> str:
    """What two clusters never have in common: the times of their records, to the microsecond."""
    return hashlib.sha256(canonical([record.wall_microseconds for record in evidence.records])).hexdigest()


def grade_folder(folder: Path, teachers: TeachersClass, run: Run, told: Callable[[Path], None]) -> list[GradedFile]:
    """Judge every .json file of a folder, in the order of their names; `told` hears of each before it is judged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        told(path)
        found.append(grade_file(path, teachers, run))
    return with_doubles(found)


def with_doubles(found: list[GradedFile]) -> list[GradedFile]:
    """Set aside all but the last file of each student, and name students whose evidence is the same."""
    last: dict[str, GradedFile] = {}
    for one in (one for one in found if one.standing is Standing.GRADED):
        other = last.get(one.student)
        if other is None:
            last[one.student] = one
            continue
        older, newer = sorted((other, one), key=lambda file: file.written)
        older.standing, older.reason = Standing.OLDER, f"{newer.file} of the same student is later"
        newer.remarks.append(f"{older.file} is of the same student too")
        last[one.student] = newer
    seen: dict[tuple[str, str], GradedFile] = {}
    for one in last.values():
        for drill, fingerprint in one.marks_of_evidence.items():
            other = seen.setdefault((drill, fingerprint), one)
            if other is not one and one.judgements.get(drill):
                one.remarks.append(f"{drill}: the same evidence as {other.student}")
                other.remarks.append(f"{drill}: the same evidence as {one.student}")
    return found
