"""`tabletop cords`: one fault in one block of one node, for every block, and what comes of it (`cluster/cords`).

No cluster is needed: all runs are simulations. What is printed has one table for each workload; a cell is what the
struck node did, and what came of it for everybody. The exit code is 1 if a cell is neither correct nor explained.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.cords.explained import EXPLANATIONS
from cluster.cords.matrix import Group, Matrix, Selection, run_matrix
from cluster.cords.picture import svg_of
from cluster.cords.terms import Effect, Fault, Local, Subject, Workload
from runtime.errors import InvalidRequest
from tabletop import wording
from tabletop.console import ExitCode, fail, notes, output
from tabletop.tables import plain_table, print_table

_STYLES = {
    Effect.CORRUPTION: "bold red",
    Effect.DATA_LOSS: "bold red",
    Effect.UNAVAILABLE: "red",
    Effect.WRITE_UNAVAILABLE: "yellow",
    Effect.QUERY_FAILURE: "yellow",
    Effect.REDUCED_REDUNDANCY: "cyan",
    Effect.CORRECT: "green",
}


def cords(
    of: Annotated[Subject, typer.Option(help="What is struck: a cluster of files, or a tablet in a folder.")] = (
        Subject.FILES
    ),
    workload: Annotated[list[Workload] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    fault: Annotated[list[Fault] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    structure: Annotated[list[str] | None, typer.Option(help="Only this one, or a pattern; may be repeated.")] = None,
    node: Annotated[list[str] | None, typer.Option(help="Only this kind, or a pattern; may be repeated.")] = None,
    block: Annotated[list[str] | None, typer.Option(help="Only this one, or a pattern; may be repeated.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write every block, too.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the matrix, as SVG.")] = None,
) -> None:
    """Strike each block of each structure of each kind of node with one fault, and judge what comes of it.

    The method is that of "Redundancy Does Not Imply Fault Tolerance" (Ganesan et al., FAST 2017), in the simulated
    world. docs/cords.md tells how to read the matrix.

    \b
        tabletop cords --jobs 2 --picture cords.svg
        tabletop cords --node chunkserver --workload restart --fault garbage
        tabletop cords --structure 'operation log' --json log.json
        tabletop cords --of tablet --workload reopen
        tabletop cords --of tablet --block 't/000003.sst[0:4096]' --fault zeros
    """
    selection = Selection(
        nodes=tuple(node or ()),
        structures=tuple(structure or ()),
        workloads=tuple(workload or Workload),
        faults=tuple(fault or Fault),
        subject=of,
        blocks=tuple(block or ()),
    )
    try:
        with notes.status("") as status:
            matrix = run_matrix(
                selection, jobs=jobs, progress=lambda done, parts: status.update(f"{done} of {parts} parts are done")
            )
        if json_file is not None:
            json_file.write_text(json.dumps(matrix.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if picture is not None:
            picture.write_text(svg_of(matrix), encoding="utf-8")
    except InvalidRequest as error:
        fail(error.message, ExitCode.USAGE)
    _print_matrix(matrix)
    raise typer.Exit(ExitCode.FAILED if matrix.amiss else ExitCode.DONE)


def _print_matrix(matrix: Matrix) -> None:
    groups = {(group.kind, group.structure, group.workload, group.fault): group for group in matrix.groups}
    faults = [fault for fault in Fault if any(group.fault is fault for group in matrix.groups)]
    for workload in Workload:
        if not any(group.workload is workload for group in matrix.groups):
            continue
        output.print(f"\n{workload.value}", style="bold", markup=False)
        table = plain_table("NODE", "STRUCTURE", *(fault.value.upper() for fault in faults))
        for kind, structure in matrix.rows():
            found = [groups.get((kind, structure, workload, fault)) for fault in faults]
            if any(found):
                table.add_row(kind, structure, *map(_cell, found))
        print_table(table)
    output.print()
    for local in Local:
        output.print(f"{local.value:>4}  {local.words}", markup=False)
    for effect in Effect:
        output.print(f"{effect.value:>4}  {effect.words}", markup=False)
    _print_explained(matrix)
    for group in matrix.amiss:
        output.print(f"✘ {_title(group)}: {group.effect.words}: {group.note}", style="red", markup=False)
    verdict = "every cell is correct or explained"
    if matrix.amiss:
        verdict = f"{wording.count(len(matrix.amiss), 'cell')} amiss"
    output.print(
        f"{wording.count(matrix.runs, 'fault')} in {wording.count(len(matrix.groups), 'cell')}, "
        f"{matrix.cpu_seconds:.0f} s of processor time: {verdict}.",
        style="bold red" if matrix.amiss else "bold green",
        markup=False,
    )


def _cell(group: Group | None) -> str:
    if group is None:
        return ""
    mark = "*" if group.explanation is not None else "!" if group.is_amiss else ""
    symbols = "".join(local.value for local in group.local)
    return f"{symbols} [{_STYLES[group.effect]}]{group.effect.value}{mark}[/]"


def _print_explained(matrix: Matrix) -> None:
    used = {group.explanation.name for group in matrix.groups if group.explanation is not None}
    for explanation in EXPLANATIONS:
        if explanation.name in used:
            output.print(f"   *  {explanation.name} ({explanation.effect.value}): {explanation.reason}", markup=False)


def _title(group: Group) -> str:
    return f"{group.kind}, {group.structure}, {group.workload.value}, {group.fault.value}"
