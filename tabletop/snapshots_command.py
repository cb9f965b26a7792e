"""`tabletop fs snapshots`: what snapshots there are of a file or a tree (GFS 3.4)."""

import dataclasses
import json
from typing import Annotated

import typer
from rich.markup import escape

from gfs.client import Client
from tabletop import wording
from tabletop.console import output, perform
from tabletop.file_commands import with_client
from tabletop.options import DESK, ClusterOption, HumanOption, JsonOption
from tabletop.tables import plain_table, print_table


def snapshots(
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="Only snapshots of what was at this path or below it.")
    ] = "/",
    human: HumanOption = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """List snapshots: of what they were taken, where they are, when (local time), and what they still share.

    FROM is the path that the source had when the snapshot was taken, whatever is there now; SNAPSHOT is where the
    snapshot is now. FILES and CHUNKS are those of it that are still there. SHARED are the chunks and bytes that another
    file has, too: they take no space of their own, and are copied before one of the two is written. What lies in the
    trash is not listed.

    \b
        tabletop fs snapshots
        tabletop fs snapshots /courses --human
    """
    perform(with_client(cluster, lambda client: _snapshots(client, path, human, as_json)))


async def _snapshots(client: Client, path: str, human: bool, as_json: bool) -> None:
    found = await client.operators.snapshots(path)
    if as_json:
        print(json.dumps([dataclasses.asdict(snapshot) for snapshot in found], indent=2))
        return
    if not found:
        output.print(f"there is no snapshot of anything at or below {wording.printable(path)}", markup=False)
        return
    table = plain_table("TAKEN", "FILES", "CHUNKS", "SHARED", "BYTES", "SHARED BYTES", "FROM", "SNAPSHOT", folding=())
    for one in found:
        sizes = (one.length, one.shared_bytes)
        table.add_row(
            wording.moment(one.taken_microseconds) if one.taken_microseconds else "unknown",
            f"{one.files_left:,}" if one.files_left == one.files else f"{one.files_left:,} of {one.files:,}",
            f"{one.chunks:,}",
            f"{one.shared_chunks:,}",
            *(wording.size(size) if human else f"{size}" for size in sizes),
            escape(wording.printable(one.source)),
            escape(wording.printable(one.target)),
        )
    print_table(table)
