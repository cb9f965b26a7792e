"""`tabletop fs trash`: what was deleted, and how long it is kept (GFS 4.4)."""

import dataclasses
import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from gfs.client import Client
from gfs.operators import Deletion
from runtime.errors import NotADirectory, shown
from tabletop import wording
from tabletop.console import ExitCode, fail, output, perform
from tabletop.file_commands import PathArgument, kept_words, with_client
from tabletop.options import DESK, ClusterOption, HumanOption, JsonOption, span_seconds
from tabletop.tables import plain_table, print_table

app = typer.Typer(
    help="""What was deleted, with its whole path, and can be had back.

    \b
    tabletop fs trash ls /lab
    tabletop fs trash restore /lab/results.csv
    tabletop fs trash empty --older-than 1d
    tabletop fs trash policy /scratch 1h          from now on, what is deleted there is kept for an hour
    """,
    no_args_is_help=True,
)
BelowArgument = Annotated[str, typer.Argument(metavar="PATH", help="Only what was at this path or below it.")]


@app.command()
def ls(
    path: BelowArgument = "/",
    human: HumanOption = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """List what can be had back: bytes, files, when it was deleted, when it goes (local times), and the path it had."""
    perform(with_client(cluster, lambda client: _ls(client, path, human, as_json)))


@app.command()
def restore(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="The path that it had, or has in /.deleted.")],
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="Another place than the old one.")] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Bring back what was deleted, to its old place; of several deletions of one path, the last one.

    Directories that are missing above it are made. Something in a directory that was deleted can be had alone. Exit
    code 1, and nothing is changed, if something stands at the place now: give another one with --to.

    \b
        tabletop fs trash restore /lab/results.csv
        tabletop fs trash restore /lab/results.csv --to /lab/results-of-monday.csv
    """
    if to and len(paths) > 1:
        raise typer.BadParameter(f"--to names one place, and there are {len(paths)} paths")
    perform(with_client(cluster, lambda client: _restore(client, paths, to)), changes=True)


@app.command()
def empty(
    path: BelowArgument = "/",
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Only what was deleted so long ago: 90s, 30m, 12h, 7d.")
    ] = "0s",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Give back the space of what was deleted, now. Nothing of it can be had back then.

    \b
        tabletop fs trash empty
        tabletop fs trash empty /scratch --older-than 1d --yes
    """
    seconds = span_seconds(older_than)
    perform(with_client(cluster, lambda client: _empty(client, path, seconds, yes)), changes=True)


@app.command()
def policy(
    path: PathArgument,
    time: Annotated[
        str, typer.Argument(metavar="[TIME]", help="90s, 30m, 12h, 7d, 0 (not at all), or `inherit`.")
    ] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Say how long deleted files are kept that lie below a directory; without a time, show it.

    It holds for all below, but for directories that say something themselves, and is renamed with the directory. What
    was deleted before keeps the time that it had. `inherit`: as the directories above say, and at last the cluster
    (`tabletop up --trash-seconds`).

    \b
        tabletop fs trash policy /scratch 1h
        tabletop fs trash policy /scratch inherit
    """
    seconds = None if time in ("", "inherit") else span_seconds(time)
    perform(with_client(cluster, lambda client: _policy(client, path, time, seconds)), changes=bool(time))


async def _ls(client: Client, path: str, human: bool, as_json: bool) -> None:
    found = await client.operators.trash(path)
    if as_json:
        print(json.dumps([dataclasses.asdict(deletion) for deletion in found], indent=2))
        return
    if not found:
        output.print(f"nothing that was at or below {wording.printable(path)} can be had back", markup=False)
        return
    table = plain_table("BYTES", "FILES", "DELETED", "GOES", "PATH", folding=())
    for deletion in found:
        table.add_row(
            wording.size(deletion.length) if human else f"{deletion.length}",
            f"{deletion.files:,}",
            wording.moment(deletion.deleted_microseconds),
            wording.moment(deletion.goes_microseconds),
            escape(wording.printable(deletion.path or deletion.hidden)),
        )
    print_table(table)


async def _restore(client: Client, paths: list[str], to: str) -> None:
    for path in paths:
        place = await client.operators.restore(path, to or None)
        output.print(f"restored {wording.printable(place)}", markup=False)


async def _empty(client: Client, path: str, seconds: float, yes: bool) -> None:
    if not yes:
        found = await client.operators.trash(path)
        if not found:
            output.print("there is nothing to give back")
            return
        _ask(found, seconds)
    files = await client.operators.empty_trash(path, older_than_seconds=seconds)
    output.print(f"{wording.count(files, 'deleted file')} can be had back no more")


def _ask(found: list[Deletion], seconds: float) -> None:
    files, length = sum(one.files for one in found), sum(one.length for one in found)
    what = f"{wording.count(files, 'file')} ({wording.size(length)})"
    older = f", so far as deleted more than {wording.duration(seconds)} ago," if seconds else ""
    if not sys.stdin.isatty():
        fail(f"{what}{older} would be gone for good; repeat the command with --yes", ExitCode.USAGE)
    if not typer.confirm(f"{what}{older} will be gone for good. Continue?", err=True):
        fail("nothing was changed", ExitCode.FAILED)


async def _policy(client: Client, path: str, time: str, seconds: float | None) -> None:
    if time:
        whole = None if seconds is None else int(seconds)
        await client.operators.set_policy(path, trash_seconds=whole, inherit_trash=seconds is None)
    found = await client.stat(path)
    if not found.is_directory:
        raise NotADirectory(f"{shown(path)} is a file; name the directory that it is in")
    output.print(f"{wording.printable(path)}: {kept_words(found)}", markup=False)
