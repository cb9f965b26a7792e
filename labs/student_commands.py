"""`tabletop drill list|start|hint|check|report|stop|enrol`: what students type."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from cluster.timeline.writing import write_whole
from labs import doing
from labs.drills.catalogue import DRILLS, drill_of
from labs.drills.drill import Judgement, Live
from labs.drills.evidence import Evidence
from labs.drills.questions import Kind, Mark
from labs.handing_in.classes import read_card
from labs.handing_in.reports import report_of
from labs.state import Attempt, Desk, State
from runtime.errors import Conflict, InvalidRequest, NotFound
from tabletop import wording
from tabletop.console import notes, output, perform, remark
from tabletop.options import JsonOption
from tabletop.tables import plain_table, print_table

app = typer.Typer(
    help="""Drills: break a cluster on purpose, predict, look, explain, and be judged by what the cluster says.

    \b
    tabletop drill list
    tabletop drill start rot                    starts a cluster, and shows the page
    tabletop drill check reader="right bytes"   notes an answer, and judges all
    tabletop drill hint                         costs points
    tabletop drill report                       writes the file that you hand in
    """,
    no_args_is_help=True,
)

DrillArgument = Annotated[str, typer.Argument(metavar="DRILL", help="Such as rot; `tabletop drill list` shows them.")]
OneDrillOption = Annotated[str, typer.Option("--drill", metavar="DRILL", help="Default: the one that runs.")]
PAGE_WIDTH = 100


@app.command("list")
def list_drills(as_json: JsonOption = False) -> None:
    """List the drills, and what you have of each: attempts, points by the last look."""
    state = Desk().read()
    if as_json:
        print(json.dumps([_listed(name, state) for name in DRILLS], indent=2))
        return
    table = plain_table("DRILL", "STATE", "POINTS", "OF", "TIME", "PAPER", "WHAT", folding=("WHAT",))
    for name in DRILLS:
        row = _listed(name, state)
        cells = ("drill", "state", "points", "of", "time", "paper", "title")
        table.add_row(*("-" if row[cell] is None else str(row[cell]) for cell in cells))
    print_table(table)


def _listed(name: str, state: State) -> dict[str, object]:
    page, attempt = drill_of(name).page, state.attempts.get(name)
    points = None
    if attempt is not None and attempt.evidence:
        points = doing.judged(attempt, Evidence.from_json(attempt.evidence)).points
    word = "new" if attempt is None else "running" if attempt.is_running else "stopped"
    return {"drill": name, "state": word, "points": points, "of": page.points, "time": page.time, "paper": page.paper,
            "title": page.title}  # fmt: skip


@app.command()
def start(
    drill: DrillArgument,
    again: Annotated[bool, typer.Option("--again", help="A new attempt: what you had of this drill is lost.")] = False,
) -> None:
    """Start a drill: its cluster or its files, and its page. Started twice, it goes on where it was.

    \b
        tabletop drill start rot
    """
    desk = Desk()
    with desk.locked() as state, notes.status(f"starting drill {drill} …"):
        done = perform(doing.start(desk, state, drill, again=again), changes=True)
    if done.is_new:
        remark(f"attempt {done.attempt.number} of drill {drill} has begun")
    else:
        remark(f"drill {drill} had been started: {done.note}")
    _print_page(desk, done.attempt)


def _print_page(desk: Desk, attempt: Attempt) -> None:
    drill = drill_of(attempt.drill)
    folder = desk.path / attempt.drill
    text = drill.page.text.replace("{cluster}", attempt.cluster).replace("{folder}", str(folder))
    if sys.stdout.isatty():
        output.print(Markdown(text), width=min(output.width, PAGE_WIDTH))
    else:
        output.print(text, markup=False)
    if isinstance(drill.stage, Live):
        remark(f"type first: export TABLETOP_CLUSTER={attempt.cluster}")


@app.command()
def page(drill: Annotated[str, typer.Argument(metavar="[DRILL]", help="Default: the one that runs.")] = "") -> None:
    """Show the page of a drill again."""
    desk = Desk()
    _print_page(desk, desk.read().chosen(drill))


@app.command()
def hint(drill: OneDrillOption = "") -> None:
    """Take the next hint. It costs points, once; those that you have had are shown again."""
    with Desk().locked() as state:
        attempt = state.chosen(drill)
        had = drill_of(attempt.drill).page.hints[: len(attempt.hints)]
        text, cost = doing.hint(attempt)
    for number, one in enumerate(had, start=1):
        output.print(f"{number}. {one.text}", markup=False)
    output.print(f"{len(had) + 1}. {text}", markup=False)
    remark(f"it costs {wording.count(cost, 'point')}")


@app.command()
def check(
    answers: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION=ANSWER", help="Such as version=2. None: only judge.")
    ] = None,
    drill: OneDrillOption = "",
    as_json: JsonOption = False,
) -> None:
    """Note answers, look at the cluster, and judge all questions.

    A prediction can be changed until the deed is done; said after it, it brings half. A wrong answer to another
    question may be corrected: for half of the points, then a quarter.

    \b
        tabletop drill check
        tabletop drill check wait="9 s or longer" version=1
    """
    given = _pairs(answers or [])
    desk = Desk()
    with desk.locked() as state, notes.status("looking at the evidence …"):
        attempt = state.chosen(drill)
        judgement = perform(doing.check(desk, attempt, given))
    if as_json:
        print(json.dumps(_values(attempt, judgement), indent=2))
    else:
        _print_judgement(attempt, judgement)


def _pairs(answers: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for answer in answers:
        name, sign, text = answer.partition("=")
        if not sign:
            raise InvalidRequest(f"{answer!r}: expected QUESTION=ANSWER, such as version=2")
        if name in given:
            raise InvalidRequest(f"two answers to {name}: expected one")
        given[name] = text
    return given


def _print_judgement(attempt: Attempt, judgement: Judgement) -> None:
    table = plain_table("QUESTION", "KIND", "POINTS", "OF", "VERDICT", "ANSWER", "NOTE", folding=("NOTE", "ANSWER"))
    page = drill_of(attempt.drill).page
    for one in judgement.marks:
        question = page.question(one.question)
        answer = one.answer or _wanted(one, question.kind, question.expected)
        table.add_row(
            one.question,
            question.kind.value,
            str(one.points),
            str(one.of),
            one.verdict,
            _safe(answer),
            _safe(one.remark),
        )
    print_table(table)
    hints = f", {judgement.hint_cost} of them paid for hints" if judgement.hint_cost else ""
    output.print(f"{judgement.points} of {judgement.of} points{hints}", markup=False)


def _wanted(one: Mark, kind: Kind, expected: str) -> str:
    return "" if kind is Kind.DO else f"({expected})"


def _safe(text: str) -> str:
    return text.replace("[", r"\[")


def _values(attempt: Attempt, judgement: Judgement) -> dict[str, object]:
    marks = [
        {"question": one.question, "points": one.points, "of": one.of, "verdict": one.verdict, "answer": one.answer,
         "remark": one.remark}
        for one in judgement.marks
    ]  # fmt: skip
    return {"drill": attempt.drill, "attempt": attempt.number, "points": judgement.points, "of": judgement.of,
            "hint_cost": judgement.hint_cost, "marks": marks}  # fmt: skip


@app.command()
def stop() -> None:
    """End the drill that runs: its cluster goes, with its files; your answers and the evidence stay."""
    desk = Desk()
    with desk.locked() as state, notes.status("stopping …"):
        attempt = perform(doing.stop(desk, state), changes=True)
    output.print(f"drill {attempt.drill} is stopped; `tabletop drill report` hands in what you have", markup=False)


@app.command()
def report(
    drills: Annotated[list[str] | None, typer.Argument(metavar="DRILL", help="Which. Default: all you began.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: report-STUDENT.json here.")
    ] = None,
) -> None:
    """Write the file that you hand in: answers, hints, and the evidence, signed with the key of your card.

    The evidence of the drill that runs is looked up now; that of a stopped one is what it was at its end.
    """
    desk = Desk()
    with desk.locked() as state, notes.status("gathering the evidence …"):
        chosen = [state.chosen(name) for name in drills or []] or list(state.attempts.values())
        if not chosen:
            raise NotFound("no drill was started yet; `tabletop drill list` shows them")
        points = {attempt.drill: _last_points(desk, attempt) for attempt in chosen}
        card = doing.card_of(state)
        values = report_of(chosen, points, card, now=time.time())
    path = out or Path(f"report-{card.student if card else 'alone'}.json")
    size = write_whole(path, [json.dumps(values, indent=1) + "\n"])
    total = sum(drill_of(name).page.points for name in points)
    output.print(
        f"{path}: {wording.count(len(chosen), 'drill')}, {sum(points.values())} of {total} points, "
        f"{wording.size(size)}",
        markup=False,
    )
    if card is None:
        remark("you are in no class: it is not signed (`tabletop drill enrol CARD`)")


def _last_points(desk: Desk, attempt: Attempt) -> int:
    if attempt.is_running or not attempt.evidence:
        evidence = perform(doing.look(desk, attempt))
    else:
        evidence = Evidence.from_json(attempt.evidence)
    return doing.judged(attempt, evidence).points


@app.command()
def enrol(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The file that your teacher gave you.")],
) -> None:
    """Put your card into your folder: what is drawn for you, and your signature, come from it.

    Do it before the first drill: what was drawn without a card is not yours.
    """
    found = read_card(card)
    with Desk().locked() as state:
        before = doing.card_of(state)
        if before is not None and before != found:
            raise Conflict(
                f"this folder belongs to {before.student} of class {before.class_name}; another student on this "
                "account sets TABLETOP_HOME to a folder of their own"
            )
        if before is None and state.attempts:
            raise Conflict(
                f"drills were begun here without a card: {', '.join(state.attempts)}; remove {Desk().path} to begin "
                "anew with the card"
            )
        state.card = found.to_json()
    output.print(f"you are {found.student} of class {found.class_name}", markup=False)
