"""`tabletop story`: the life of one chunk, file or tablet in English, from the records of all nodes (GFS 5.3)."""

import datetime
from typing import Annotated

import typer

from cluster.real import RealCluster
from runtime.errors import NotFound, shown
from runtime.events import Record
from tabletop.console import endings, output, remark
from tabletop.file_commands import PathArgument
from tabletop.lives import life_of_chunk, lives_of_file, told
from tabletop.options import DESK, ClusterOption, chunk_handle
from tabletop.tablet_story import tell_tablet

app = typer.Typer(
    help="""The life of one chunk, file or tablet, as all nodes have recorded it. Also of a cluster that is down.

    \b
    tabletop story file /lab/results.csv
    tabletop story chunk 0x2a
    tabletop story tablet users-000003
    """,
    no_args_is_help=True,
)


@app.command()
def chunk(
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Such as 0x2a; `tabletop fs stat` shows them.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Tell the life of a chunk: created, leased, copied, damaged, mended, removed. Times are local.

    Causes stand above their effects, whatever the nodes' clocks say. Each node keeps the last 32 MB of its records.

    \b
        tabletop story chunk 0x2a
    """
    with endings():
        _tell_chunk(RealCluster(cluster), chunk_handle(handle))


@app.command("file")
def of_file(path: PathArgument, cluster: ClusterOption = DESK) -> None:
    """Tell the lives of all files that ever had a path, with their other names and their chunks. Times are local.

    \b
        tabletop story file /lab/results.csv
    """
    with endings():
        _tell_file(RealCluster(cluster), path)


@app.command()
def tablet(
    name: Annotated[str, typer.Argument(metavar="TABLET", help="As `tabletop table tablets` shows it.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Tell the life of a tablet: loaded, moved, split, taken over; the ends of its servers, and their logs.

    Then the log that METADATA keeps beside the tablet's place (BT 5.1), if the cluster is up. Times are local.

    \b
        tabletop story tablet users-000003
    """
    with endings():
        real = RealCluster(cluster)
        tell_tablet(real, _records(real), name)


def _tell_chunk(cluster: RealCluster, handle: int) -> None:
    life = life_of_chunk(_records(cluster), handle)
    if not life.records:
        raise NotFound(f"no node has recorded anything of chunk {handle:#x}; `tabletop fs stat` shows a file's chunks")
    _print([*told(life.records), life.summary()])


def _tell_file(cluster: RealCluster, path: str) -> None:
    lives = lives_of_file(_records(cluster), path)
    if not lives:
        raise NotFound(f"no node has recorded anything of a file {shown(path)}; see `tabletop fs ls`")
    for number, life in enumerate(lives, start=1):
        if len(lives) > 1:
            output.print(f"{chr(10) if number > 1 else ''}Life {number} of {len(lives)}", markup=False)
        _print([*told(life.records), life.summary()])


def _print(lines: list[str]) -> None:
    for line in lines:
        output.print(line, markup=False)


def _records(cluster: RealCluster) -> list[Record]:
    found = cluster.recorded(cluster.settings.node_names())
    for node, count in found.damaged_lines.items():
        remark(f"left out {count} damaged lines of {node}: its disk was full, or it was killed")
    remark(f"times are local, {datetime.datetime.now().astimezone().tzname()}")
    return found.records
