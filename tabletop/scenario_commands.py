"""`tabletop scenario`: fault drills as programs (cluster/scenarios). `tabletop sweep` runs them with many seeds."""

import enum
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cluster.scenarios import examples, telling
from cluster.scenarios.loading import load_scenario, load_scenarios
from cluster.scenarios.running import ScenarioPlan, ScenarioResult, run_real, run_simulated
from cluster.scenarios.shrinking import read_tape
from cluster.scenarios.stages import REAL, SIMULATED
from cluster.swarm.bugs import planted
from cluster.timeline.formats import Format, write_timeline
from runtime.errors import AlreadyExists, InvalidRequest
from tabletop import wording
from tabletop.console import ExitCode, endings, notes, output, perform

app = typer.Typer(
    help="""Fault drills as ten lines of Python, in the simulated world or with real processes.

    \b
    tabletop scenario new drill.py               write a first one, with comments
    tabletop scenario run drill.py               run it with seed 0, in the simulated world
    tabletop scenario run drill.py --world real  the same with processes on this machine
    tabletop sweep drill.py --seeds 1000         search: does it hold with every seed?

    See docs/scenarios.md.
    """,
    no_args_is_help=True,
)


class WorldName(enum.Enum):
    """The two worlds, by the words that people type."""

    SIM = SIMULATED
    REAL = REAL


FileArgument = Annotated[
    str, typer.Argument(metavar="FILE[::NAME]", help="A file with a scenario; if it has several, which one.")
]
BugOption = Annotated[
    str, typer.Option("--bug", metavar="NAME", help="Plant a bug of the swarm in the servers: see docs/swarm.md.")
]


@app.command()
def run(
    file: FileArgument,
    world: Annotated[WorldName, typer.Option("--world", help="sim: virtual time; real: processes.")] = WorldName.SIM,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything that is left to chance.")] = 0,
    tape: Annotated[
        Path | None, typer.Option("--tape", metavar="FILE", help="A shrunk run, as `tabletop sweep` has written it.")
    ] = None,
    story: Annotated[bool, typer.Option("--story", help="Tell the whole run, line by line.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Show GFS Table 1 as it came out, region by region.")] = False,
    timeline: Annotated[
        Path | None, typer.Option("--timeline", metavar="FILE", help="Draw the run: a page for a browser.")
    ] = None,
    bug: BugOption = "",
) -> None:
    """Run a scenario once, and judge it. The exit code is 0 if it holds, 1 if it does not.

    In the simulated world the seed decides the whole run. With processes it decides what the scenario itself draws; the
    cluster is one of its own, and nothing is left of it.

    \b
        tabletop scenario run drill.py --seed 7 --story
        tabletop scenario run drills.py::loses_a_primary --world real
        tabletop scenario run drill.py --seed 7 --timeline run.html
    """
    with endings():
        scenario = load_scenario(file)
        plan = ScenarioPlan(scenario, seed, world.value)
        if tape is not None:
            name, seed, plain = read_tape(tape)
            if name != scenario.name:
                raise InvalidRequest(f"{tape} is of scenario {name!r}, and {file} is {scenario.name!r}")
            plan = ScenarioPlan(scenario, seed, world.value, plain)
        if world is WorldName.REAL and (tape is not None or bug):
            raise InvalidRequest("--tape and --bug are for the simulated world: real processes have no tape")
        replay = replay_command(file, plan, tape, bug)
        if world is WorldName.SIM:
            with planted(bug):
                result = run_simulated(plan, watched=timeline is not None)
    if world is WorldName.REAL:
        result = perform(_run_real(plan))
    with endings():
        _print(result, replay, whole=story, table=table)
        if timeline is not None:
            size = write_timeline(telling.timeline(result, replay), timeline, Format.HTML)
            output.print(f"Timeline: {timeline}, {wording.size(size)}", markup=False)
    raise typer.Exit(ExitCode.FAILED if result.failed else ExitCode.DONE)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    like: Annotated[
        str, typer.Option("--like", metavar="NAME", help="Which example to copy: see `tabletop scenario examples`.")
    ] = examples.FIRST,
) -> None:
    """Write a first scenario, with comments, or a copy of one of the examples.

    \b
        tabletop scenario new drill.py
        tabletop scenario new rot.py --like reads_past_rot
    """
    with endings():
        text = examples.source(like)
        try:
            with file.open("x", encoding="utf-8") as target:
                target.write(text)
        except FileExistsError:
            raise AlreadyExists(f"{file} exists: name another file, or remove it first") from None
        output.print(f"{file} is written; run it with `tabletop scenario run {shlex.quote(str(file))}`", markup=False)


@app.command("examples")
def list_examples() -> None:
    """List the examples that come with Tabletop."""
    with endings():
        table = Table("name", "what it shows", border_style="dim", header_style="bold")
        for name in examples.names():
            for found in load_scenarios(examples.path(name)):
                table.add_row(name, escape(found.about))
        output.print(table)
        output.print("`tabletop scenario new FILE --like NAME` writes a copy of one.", markup=False)


def replay_command(file: str, plan: ScenarioPlan, tape: Path | None = None, bug: str = "") -> str:
    """The command that runs this again."""
    how = f"--tape {shlex.quote(str(tape))}" if tape is not None else f"--seed {plan.seed}"
    planted_bug = f" --bug {bug}" if bug else ""
    return f"tabletop scenario run {shlex.quote(file)} --world {plan.world} {how}{planted_bug}"


async def _run_real(plan: ScenarioPlan) -> ScenarioResult:
    with notes.status(f"{plan.scenario.name}: processes start, and the scenario runs …"):
        return await run_real(plan)


def _print(result: ScenarioResult, replay: str, *, whole: bool, table: bool) -> None:
    plan = result.plan
    if whole:
        for line in telling.story(result, replay):
            output.print(line, markup=False)
        return
    where = "the simulated world" if plan.world == SIMULATED else "real processes"
    output.print(f"{plan.scenario.name}, seed {plan.seed}, in {where}: {telling.summary(result)}", markup=False)
    if table:
        output.print(_table_1(result))
    for line in telling.verdict_lines(result):
        output.print(line, style="red" if line.startswith("✘") else "", markup=False)
    if result.failed:
        output.print(f"Again: {replay}    (--story tells all of it, --timeline run.html draws it)", markup=False)
    else:
        undecided = " The order of the changes of names is undecided." if result.is_undecided else ""
        output.print(f"✔ it holds: no judge found anything wrong.{undecided}", style="green", markup=False)


def _table_1(result: ScenarioResult) -> Table:
    table = Table("file", "bytes", "promised", "found", "evidence", border_style="dim", header_style="bold")
    for row in telling.table_1(result):
        table.add_row(*map(escape, row))
    return table
