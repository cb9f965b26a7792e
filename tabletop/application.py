"""All commands of `tabletop`, put together.

Each group of commands is a module with a typer app or with functions of its own. To add a group, write such a module
and register it here, as `fs` and `fault` are.
"""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated

import typer

from tabletop import (
    admin_commands,
    cluster_commands,
    cords_command,
    demo,
    fault_commands,
    file_commands,
    file_reading,
    fsck_command,
    log_command,
    masters_command,
    metrics_command,
    paper_command,
    record_commands,
    report_command,
    scenario_commands,
    server_commands,
    setrep_command,
    snapshots_command,
    status_command,
    story_command,
    sweep_command,
    table_commands,
    table_layout_commands,
    table_line_commands,
    table_row_commands,
    table_snapshot_commands,
    tablet_catalogue,
    tablet_commands,
    tablet_rows,
    timeline_command,
    torture,
    trash_commands,
    webtable_commands,
)
from tabletop.console import Commands, output
from tabletop.plugs import plug_in

HELP = """
A GFS and a Bigtable that fit on a desk: start them, break them on purpose, watch them recover.

\b
    tabletop up                          start a cluster
    tabletop fs put notes/ /notes        store a folder
    tabletop fault kill cs2              break something
    tabletop status                      watch it heal
    tabletop down --purge                leave nothing behind

Every command takes --cluster NAME, or the variable TABLETOP_CLUSTER; without, the cluster is called "desk".
State is kept below TABLETOP_HOME, or XDG_STATE_HOME/tabletop, or ~/.local/state/tabletop.

\b
Exit codes:
    0    done
    1    failed; nothing was changed unless the message says so
    2    the command line makes no sense
    3    there is no such cluster, it is down, or it does not answer
    4    failed, and may have happened all the same: look before you repeat it
    5    nothing is lost, and not everything is as it should be (`fs fsck`)
    130  interrupted by Ctrl-C
"""

app = typer.Typer(
    name="tabletop",
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help"]},
)

app.command("up")(cluster_commands.up)
app.command("down")(cluster_commands.down)
app.command("ps")(cluster_commands.ps)
app.command("clusters")(cluster_commands.clusters)
app.command("add")(server_commands.add)
app.command("drain")(server_commands.drain)
app.command("remove")(server_commands.remove)
app.command("status")(status_command.status)
app.command("wait")(status_command.wait)
app.command("log")(log_command.log)
app.command("metrics")(metrics_command.metrics)
app.command("timeline")(timeline_command.timeline)
app.command("admit")(cluster_commands.admit)
for command in (file_reading.cat, file_reading.head, file_reading.tail, file_reading.checksum, file_reading.count):
    file_commands.app.command()(command)
file_commands.app.command("test")(file_reading.test)
file_commands.app.command("append")(record_commands.append)
file_commands.app.command("setrep")(setrep_command.setrep)
file_commands.app.add_typer(trash_commands.app, name="trash")
file_commands.app.command("snapshots")(snapshots_command.snapshots)
app.add_typer(file_commands.app, name="fs")
app.add_typer(fault_commands.app, name="fault")
admin_commands.app.command("masters")(masters_command.masters)
file_commands.app.command("fsck")(fsck_command.fsck)
admin_commands.app.command("report")(report_command.report)
admin_commands.app.command("safemode")(report_command.safemode)
app.add_typer(admin_commands.app, name="admin")
tablet_commands.app.command("get")(tablet_rows.get)
tablet_commands.app.command("scan")(tablet_rows.scan)
tablet_commands.app.command("list")(tablet_catalogue.list_tablets)
app.add_typer(tablet_commands.app, name="tablet")
table_commands.app.command("merge")(table_layout_commands.merge)
table_commands.app.command("move")(table_layout_commands.move)
table_commands.app.command("compact")(table_layout_commands.compact)
table_commands.app.command("get")(table_row_commands.get)
table_commands.app.command("scan")(table_row_commands.scan)
table_commands.app.command("count")(table_row_commands.count)
table_commands.app.command("import")(table_line_commands.import_rows)
table_commands.app.command("export")(table_line_commands.export)
table_commands.app.add_typer(webtable_commands.app, name="webtable")
table_commands.app.command()(table_snapshot_commands.snapshot)
table_commands.app.command()(table_snapshot_commands.snapshots)
table_commands.app.command()(table_snapshot_commands.restore)
table_commands.app.command("drop-snapshot")(table_snapshot_commands.drop_snapshot)
app.add_typer(table_commands.app, name="table")
app.add_typer(story_command.app, name="story")
app.add_typer(paper_command.app, name="paper")
app.command("demo")(demo.demo)
app.command("torture")(torture.torture)
app.command("cords")(cords_command.cords)
app.add_typer(scenario_commands.app, name="scenario")
app.command("sweep")(sweep_command.sweep)
plug_in(app)


@app.callback(invoke_without_command=True)
def top(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if show_version:
        version()
        raise typer.Exit(0)


@app.command()
def version(
    verbose: Annotated[bool, typer.Option("--verbose", help="Also where it is installed, and the Python.")] = False,
) -> None:
    """Print the version of Tabletop."""
    try:
        found = importlib.metadata.version("tabletop-cluster")
    except importlib.metadata.PackageNotFoundError:
        found = "(a checkout that is not installed)"
    output.print(f"tabletop {found}", markup=False)
    if verbose:
        output.print(f"in {Path(__file__).resolve().parent.parent}, Python {sys.version.split()[0]}", markup=False)
