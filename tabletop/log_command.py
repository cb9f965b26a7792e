"""`tabletop log`: what the nodes have recorded of themselves, in words.

The records of one node stand in the order in which it made them. Those of several are merged by their Lamport clocks,
so that a cause always stands above its effect, whatever the nodes' clocks say. Times are local, as everywhere in
`tabletop`.
"""

import asyncio
import datetime
import re
from collections.abc import Callable
from typing import Annotated

import typer

from cluster.real import RealCluster
from runtime.events import Record, in_causal_order, rendered
from runtime.real.event_file import EventTail
from tabletop.console import output, perform, remark
from tabletop.options import DESK, ClusterOption, JsonOption, chunk_handle

FOLLOW_SECONDS = 0.25
Wanted = Callable[[Record], bool]


def log(
    node: Annotated[str, typer.Argument(metavar="NODE", help="master, cs1, cs2, … (see `tabletop ps`)")] = "",
    every: Annotated[bool, typer.Option("--all", help="All nodes, merged: causes stand above their effects.")] = False,
    cluster: ClusterOption = DESK,
    lines: Annotated[int, typer.Option("-n", min=1, help="How many events, from the end.")] = 50,
    chunk: Annotated[str, typer.Option("--chunk", metavar="HANDLE", help="Only what names this chunk: 0x2a.")] = "",
    containing: Annotated[
        str, typer.Option("--containing", metavar="TEXT", help="Only what has this text in it.")
    ] = "",
    follow: Annotated[bool, typer.Option("-f", help="Go on printing what is recorded, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a node has recorded of itself, in words, over all its lives. Times are local.

    What stands in brackets at the end of a line is the cause: all events of one client's write, on all nodes, share it.

    \b
        tabletop log master
        tabletop log cs1 -n 1000 --chunk 0x2a
        tabletop log --all -f                   watch the whole cluster
        tabletop log --all --containing cs1     a crash of cs1, and what came of it
    """
    if bool(node) == every:
        raise typer.BadParameter("name a node, such as `tabletop log master`, or ask for all: `tabletop log --all`")
    wanted = _filter(chunk, containing)
    real = RealCluster(cluster)
    perform(_log(real, node, lines, wanted, follow=follow, as_json=as_json))


async def _log(cluster: RealCluster, node: str, lines: int, wanted: Wanted, *, follow: bool, as_json: bool) -> None:
    nodes = [node] if node else cluster.settings.node_names()
    tails = [EventTail(cluster.event_path(name)) for name in nodes] if follow else []
    found = cluster.recorded(nodes)
    for name, count in found.damaged_lines.items():
        remark(f"left out {count} damaged lines of {name}: its disk was full, or it was killed")
    kept = [record for record in found.records if wanted(record)]
    if not kept and not follow:
        remark(f"no events{' of ' + node if node else ''} that fit; without options, `tabletop log` shows the last 50")
    if not as_json and kept:
        remark(f"times are local, {datetime.datetime.now().astimezone().tzname()}")
    _print(kept[-lines:], as_json=as_json)
    while follow:
        await asyncio.sleep(FOLLOW_SECONDS)
        fresh = [record for tail in tails for record in tail.new_records()]
        _print([record for record in in_causal_order(fresh) if wanted(record)], as_json=as_json)


def _filter(chunk: str, containing: str) -> Wanted:
    named = re.compile(rf"\b{chunk_handle(chunk):#x}\b") if chunk else None

    def wanted(record: Record) -> bool:
        line = rendered(record)
        return containing in line and (named is None or named.search(line) is not None)

    return wanted


def _print(records: list[Record], *, as_json: bool) -> None:
    for record in records:
        output.print(record.to_json() if as_json else rendered(record, zone=None), markup=False)
