"""`tabletop fs`: files and directories, with the commands and flags of `hdfs dfs` where it has them."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from cluster.real import RealCluster
from gfs.client import Client
from gfs.lengths import FileStatus
from runtime.errors import IsADirectory, NotFound, shown
from tabletop import copying, wording
from tabletop.console import output, perform
from tabletop.options import DESK, ClusterOption, HumanOption
from tabletop.tables import plain_table, print_table
from tabletop.waiting import LastTry, told_while_waiting

app = typer.Typer(
    help="""Files and directories in the cluster, as with `hdfs dfs`. Paths begin with /.

    \b
    tabletop fs mkdir -p /courses/2024
    tabletop fs put lecture.pdf notes/ /courses/2024
    tabletop fs ls -R -h /courses
    tabletop fs get /courses/2024/notes copy-of-notes
    tabletop fs rm -r /courses/2024/notes
    """,
    no_args_is_help=True,
)

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="A path in the cluster, from /.")]
PathsArgument = Annotated[list[str], typer.Argument(metavar="PATH...", help="Paths in the cluster, from /.")]
ForceOption = Annotated[bool, typer.Option("-f", help="Replace files that are in the way.")]


@app.command()
def put(
    sources: Annotated[list[str], typer.Argument(metavar="LOCAL... PATH", help="Files or folders; - for input.")],
    force: ForceOption = False,
    replicas: Annotated[int, typer.Option("--replicas", min=0, help="Copies; 0: as the cluster was set up.")] = 0,
    cluster: ClusterOption = DESK,
) -> None:
    """Store local files and folders.

    The last argument is where: in it, if it is a directory; as it, otherwise. Until a file or folder is stored
    completely it has a temporary name; Ctrl-C removes it.
    """
    *locals_, target = _with_target(sources, "tabletop fs put LOCAL... PATH")
    perform(_with_cluster(cluster, lambda real: copying.put(real, locals_, target, force, replicas)), changes=True)


@app.command()
def get(
    sources: Annotated[list[str], typer.Argument(metavar="PATH... LOCAL", help="What, and the local place for it.")],
    force: ForceOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Fetch files and directories.

    The last argument is the local place: in it, if it is a folder; as it, otherwise. Until a file or folder is
    fetched completely it has a temporary name; Ctrl-C removes it.
    """
    *paths, target = _with_target(sources, "tabletop fs get PATH... LOCAL")
    perform(_with_cluster(cluster, lambda real: copying.get(real, paths, Path(target), force)))


@app.command()
def cat(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Write files to standard output, one after the other."""
    perform(_with_client(cluster, lambda client: _cat(client, paths)))


@app.command()
def ls(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH...]", help="Default: /.")] = None,
    recursive: Annotated[bool, typer.Option("-R", help="All that is below, too.")] = False,
    human: HumanOption = False,
    directory: Annotated[bool, typer.Option("-d", help="The directory itself, not what is in it.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """List files and directories: kind, copies, bytes, time of creation, path."""
    perform(_with_client(cluster, lambda client: _ls(client, paths or ["/"], recursive, human, directory)))


@app.command()
def stat(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Show all that is known of a file: its chunks, their versions, and where the replicas are."""
    perform(_with_client(cluster, lambda client: _stat(client, paths)))


@app.command()
def du(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH...]", help="Default: /.")] = None,
    summary: Annotated[bool, typer.Option("-s", help="One line for each path, not for each entry in it.")] = False,
    human: HumanOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Show the space that files take: bytes, bytes with all copies (at the replication goal), path."""
    perform(_with_client(cluster, lambda client: _du(client, paths or ["/"], summary, human)))


@app.command()
def rm(
    paths: PathsArgument,
    recursive: Annotated[bool, typer.Option("-r", "-R", help="Directories, with all that is in them.")] = False,
    force: Annotated[bool, typer.Option("-f", help="No complaint about what does not exist.")] = False,
    skip_trash: Annotated[
        bool, typer.Option("--skip-trash", help="Give the space back soon, instead of after the grace period.")
    ] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Delete files, or directories with -r.

    What is deleted lives on for a while under a hidden name below /.deleted, from where `mv` brings it back (GFS 4.4).
    """
    perform(_with_client(cluster, lambda client: _rm(client, paths, recursive, force, skip_trash)), changes=True)


@app.command()
def mv(
    sources: Annotated[list[str], typer.Argument(metavar="PATH... TARGET", help="What, and where to.")],
    force: ForceOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Rename a file or directory, or move several into a directory."""
    *paths, target = _with_target(sources, "tabletop fs mv PATH... TARGET")
    perform(_with_client(cluster, lambda client: _mv(client, paths, target, force)), changes=True)


@app.command()
def mkdir(
    paths: PathsArgument,
    parents: Annotated[bool, typer.Option("-p", help="Missing parents too; no complaint about what exists.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Make directories."""
    perform(_with_client(cluster, lambda client: _mkdir(client, paths, parents)), changes=True)


async def _with_cluster(name: str, work: Callable[[RealCluster], Awaitable[None]]) -> None:
    """Do the work with a cluster, and let go of it."""
    tries = LastTry()
    cluster = RealCluster(name, sink=tries)
    try:
        cluster.client()  # Raises if there is no such cluster, or it is down.
        async with told_while_waiting(cluster, tries):
            await work(cluster)
    finally:
        await cluster.close()


async def _with_client(name: str, work: Callable[[Client], Awaitable[None]]) -> None:
    """Do the work with the file system of a cluster."""
    await _with_cluster(name, lambda cluster: work(cluster.client()))


async def _cat(client: Client, paths: list[str]) -> None:
    for path in paths:
        await require_file(client, path)
    for path in paths:
        await client.read_file_into(path, _print_bytes)
    sys.stdout.buffer.flush()


async def _print_bytes(piece: memoryview) -> None:
    sys.stdout.buffer.write(piece)


async def _ls(client: Client, paths: list[str], recursive: bool, human: bool, itself: bool) -> None:
    for path in paths:
        found = await client.stat(path)
        if found.is_directory and not itself:
            entries = await client.list(path, recursive=recursive)
            output.print(f"Found {wording.count(len(entries), 'item')}")
        else:
            entries = [found]
        _print_entries(entries, human)


def _print_entries(entries: list[FileStatus], human: bool) -> None:
    sizes = [wording.size(entry.length) if human else str(entry.length) for entry in entries]
    width = max(map(len, sizes), default=0)
    for entry, size in zip(entries, sizes, strict=True):
        kind, copies = ("d", "-") if entry.is_directory else ("-", str(entry.replication_goal))
        time = wording.moment(entry.created_microseconds)
        output.print(f"{kind} {copies:>3} {size:>{width}} {time} {wording.printable(entry.path)}", markup=False)


async def _stat(client: Client, paths: list[str]) -> None:
    for path in paths:
        found = await client.stat(path)
        kind = "directory" if found.is_directory else "file"
        lines = [("Path", wording.printable(found.path)), ("Kind", kind)]
        lines.append(("Created", wording.moment(found.created_microseconds)))
        if found.is_directory:
            lines.append(("Entries", f"{found.entry_count:,}"))
        else:
            exact = "" if found.length_is_exact else " as last reported; a replica of the last chunk could not be asked"
            lines.append(("Length", f"{found.length} ({wording.size(found.length)}){exact}"))
            lines.append(("Replication goal", str(found.replication_goal)))
            lines.append(("Chunks", f"{found.chunk_count:,} of up to {wording.size(found.chunk_bytes)}"))
        for label, text in lines:
            output.print(f"{label + ':':<18}{text}", markup=False)
        if found.chunk_count:
            table = plain_table("CHUNK", "HANDLE", "VERSION", "LENGTH", "REPLICAS")
            for chunk in await client.locations(path):
                table.add_row(
                    str(chunk.index),
                    f"{chunk.handle:#x}",
                    str(chunk.version),
                    wording.size(chunk.length),
                    " ".join(replica.server for replica in chunk.replicas) or "[red]none[/]",
                )
            print_table(table)


async def _du(client: Client, paths: list[str], summary: bool, human: bool) -> None:
    for path in paths:
        found = await client.stat(path)
        below = await client.list(path, recursive=True) if found.is_directory else [found]
        tops = [found] if summary or not found.is_directory else await client.list(path)
        for top in tops:
            inside = [entry for entry in below if entry.path == top.path or is_below(entry.path, top.path)]
            length = sum(entry.length for entry in inside)
            stored = sum(entry.length * entry.replication_goal for entry in inside if not entry.is_directory)
            sizes = (wording.size(length), wording.size(stored)) if human else (str(length), str(stored))
            output.print(f"{sizes[0]:<12} {sizes[1]:<12} {wording.printable(top.path)}", markup=False)


async def _rm(client: Client, paths: list[str], recursive: bool, force: bool, skip_trash: bool) -> None:
    doomed = []
    for path in paths:
        try:
            found = await client.stat(path)
        except NotFound:
            if force:
                continue
            raise
        if found.is_directory and not recursive:
            raise IsADirectory(f"{shown(path)} is a directory; use `tabletop fs rm -r` to delete it and all in it")
        doomed.append(path)
    for path in doomed:
        files = await client.delete(path, recursive=recursive, immediately=skip_trash)
        kept = "" if skip_trash else ", kept below /.deleted for a while"
        output.print(f"deleted {wording.printable(path)} ({wording.count(files, 'file')}{kept})", markup=False)


async def _mv(client: Client, paths: list[str], target: str, force: bool) -> None:
    into = await copying.is_directory(client, target)
    if len(paths) > 1 and not into:
        raise NotFound(f"{shown(target)} is not a directory, and {len(paths)} things cannot all get that name")
    for path in paths:
        await client.stat(path)
    for path in paths:
        place = copying.place_in(target, path) if into else target
        await client.rename(path, place, replace=force)


async def _mkdir(client: Client, paths: list[str], parents: bool) -> None:
    for path in paths:
        await client.make_directory(path, parents=parents)


async def require_file(client: Client, path: str) -> FileStatus:
    """The file's status. Raises NotFound and IsADirectory."""
    found = await client.stat(path)
    if found.is_directory:
        raise IsADirectory(f"{shown(path)} is a directory, expected a file; see `tabletop fs ls {path}`")
    return found


def is_below(path: str, ancestor: str) -> bool:
    """Whether `path` lies below `ancestor`."""
    return path.startswith(ancestor.rstrip("/") + "/")


def _with_target(arguments: list[str], usage: str) -> list[str]:
    if len(arguments) < 2:
        raise typer.BadParameter(f"expected at least two: {usage}")
    return arguments
