"""`tabletop fs`: files and directories, with the commands and flags of `hdfs dfs` where it has them."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cluster.real import RealCluster
from gfs.client import Client
from gfs.reading.lengths import FileStatus
from runtime.errors import AlreadyExists, IsADirectory, NotFound, shown
from tabletop import copying, wording
from tabletop.console import output, perform, remark
from tabletop.globs import expanded
from tabletop.options import DESK, ClusterOption, HumanOption, JsonOption
from tabletop.tables import plain_table, print_table
from tabletop.waiting import LastTry, attended

app = typer.Typer(
    help="""Files and directories in the cluster, as with `hdfs dfs`. Paths begin with /.

    \b
    tabletop fs mkdir -p /courses/2024
    tabletop fs put lecture.pdf notes/ /courses/2024
    tabletop fs ls -R -h /courses
    tabletop fs cat '/courses/2024/*.txt'       patterns are quoted, so that the shell leaves them alone
    tabletop fs get /courses/2024/notes copy-of-notes
    tabletop fs rm -r /courses/2024/notes
    """,
    no_args_is_help=True,
)

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="A path in the cluster, from /.")]
PathsArgument = Annotated[list[str], typer.Argument(metavar="PATH", help="Paths in the cluster, from /.")]
T = TypeVar("T")
TRASH = "/.deleted"
WAYS_BACK = 5
"""To so many of the files that one command deleted the way back is told."""

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
    completely it has a temporary name (.writing-…); Ctrl-C removes it. What a killed command left under such a name the
    master deletes after an hour.

    Exit code 1 if something was left out: a pipe, a link to a folder, a file that vanished meanwhile.
    """
    *locals_, target = _with_target(sources, "tabletop fs put LOCAL... PATH")
    perform(with_cluster(cluster, lambda real: copying.put(real, locals_, target, force, replicas)), changes=True)


@app.command()
def get(
    sources: Annotated[list[str], typer.Argument(metavar="PATH... LOCAL", help="What, and the local place for it.")],
    force: ForceOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Fetch files and directories.

    The last argument is the local place: in it, if it is a folder; as it, otherwise; - for standard output. Until a
    file or folder is fetched completely it has a temporary name; Ctrl-C removes it.
    """
    *paths, target = _with_target(sources, "tabletop fs get PATH... LOCAL")
    perform(with_cluster(cluster, lambda real: _get(real, paths, target, force)))


@app.command()
def ls(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Default: /.")] = None,
    recursive: Annotated[bool, typer.Option("-R", help="All that is below, too.")] = False,
    human: HumanOption = False,
    directory: Annotated[bool, typer.Option("-d", help="The directory itself, not what is in it.")] = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """List files and directories: kind, copies, bytes, time of creation (local), path. A directory shows how many
    copies new files in it get, if it says so itself (`setrep --new-files`)."""
    perform(with_client(cluster, lambda client: _ls(client, paths or ["/"], recursive, human, directory, as_json)))


@app.command()
def stat(paths: PathsArgument, as_json: JsonOption = False, cluster: ClusterOption = DESK) -> None:
    """Show all that is known of a file: its chunks, their versions, who is primary, and where the replicas are."""
    perform(with_client(cluster, lambda client: _stat(client, paths, as_json)))


@app.command()
def du(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Default: /.")] = None,
    summary: Annotated[bool, typer.Option("-s", help="One line for each path, not for each entry in it.")] = False,
    human: HumanOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Show the space that files take: bytes, bytes with all copies (at the replication goal), path."""
    perform(with_client(cluster, lambda client: _du(client, paths or ["/"], summary, human)))


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

    What is deleted lives on under a hidden name below /.deleted, three days by default, as in the paper (GFS 4.4). `rm`
    prints the command that brings it back; `tabletop fs trash` lists it, sets its time, and ends it.
    """
    perform(with_client(cluster, lambda client: _rm(client, paths, recursive, force, skip_trash)), changes=True)


@app.command()
def mv(
    sources: Annotated[list[str], typer.Argument(metavar="PATH... TARGET", help="What, and where to.")],
    force: ForceOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Rename a file or directory, or move several into a directory."""
    *paths, target = _with_target(sources, "tabletop fs mv PATH... TARGET")
    perform(with_client(cluster, lambda client: _mv(client, paths, target, force)), changes=True)


@app.command()
def snapshot(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file or a directory.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The name of the copy, which must not exist yet.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Copy a file or a whole directory at once, without copying a byte (GFS 3.4).

    The copy is the source at this moment: writers are held up for as long as it takes, and write on. Bytes are copied
    when one of the two is written, and only the chunks that are. A snapshot is an ordinary file or directory:

    \b
    tabletop fs snapshot /courses /save/courses-monday
    tabletop fs ls -R /save/courses-monday                          look into it
    tabletop fs cp /save/courses-monday/notes /courses/notes        have one file back
    tabletop fs rm -r /courses                                      go back to it as a whole
    tabletop fs snapshot /save/courses-monday /courses
    tabletop fs rm -r /save/courses-monday                          delete it: the other one keeps its chunks
    """
    perform(with_client(cluster, lambda client: _snapshot(client, source, target)), changes=True)


@app.command()
def cp(
    sources: Annotated[list[str], typer.Argument(metavar="PATH... TARGET", help="What, and where to.")],
    force: ForceOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Copy files and directories within the cluster. The bytes pass through this machine."""
    *paths, target = _with_target(sources, "tabletop fs cp PATH... TARGET")
    perform(with_cluster(cluster, lambda real: copying.copy(real, paths, target, force)), changes=True)


@app.command()
def touch(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Make empty files; what exists already stays as it is."""
    perform(with_client(cluster, lambda client: _touch(client, paths)), changes=True)


@app.command()
def mkdir(
    paths: PathsArgument,
    parents: Annotated[bool, typer.Option("-p", help="Missing parents too; no complaint about what exists.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Make directories."""
    perform(with_client(cluster, lambda client: _mkdir(client, paths, parents)), changes=True)


async def with_cluster(name: str, work: Callable[[RealCluster], Coroutine[Any, Any, T]], *, gives_up: bool = True) -> T:
    """Do the work with a cluster, and let go of it; say what is waited for if it takes long. Ends with Unavailable if
    that is a master that is gone, unless the work waits for one however long it takes."""
    tries = LastTry()
    cluster = RealCluster(name, sink=tries)
    try:
        cluster.require_master()
        return await attended(cluster, tries, work(cluster), gives_up=gives_up)
    finally:
        await cluster.close()


async def with_client(name: str, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
    """Do the work with the file system of a cluster."""
    return await with_cluster(name, lambda cluster: work(cluster.client()))


async def _get(cluster: RealCluster, paths: list[str], target: str, force: bool) -> None:
    paths = await expanded(cluster.client(), paths)
    if target == copying.STANDARD:
        await copying.get_to_output(cluster.client(), paths)
    else:
        await copying.get(cluster, paths, Path(target), force)


async def _ls(client: Client, paths: list[str], recursive: bool, human: bool, itself: bool, as_json: bool) -> None:
    every: list[FileStatus] = []
    for path in await expanded(client, paths):
        found = await client.stat(path)
        if found.is_directory and not itself:
            entries = await client.list(path, recursive=recursive)
            if not as_json:
                output.print(f"Found {wording.count(len(entries), 'item')}")
        else:
            entries = [found]
        every += entries
        if not as_json:
            _print_entries(entries, human)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in every], indent=2))
    if unsure := [entry for entry in every if not entry.length_is_exact]:
        remark(
            f"{wording.count(len(unsure), 'length is', 'lengths are')} as last reported: no replica of a last chunk "
            "could be asked; see `tabletop status`"
        )


def _print_entries(entries: list[FileStatus], human: bool) -> None:
    sizes = [wording.size(entry.length) if human else str(entry.length) for entry in entries]
    width = max(map(len, sizes), default=0)
    for entry, size in zip(entries, sizes, strict=True):
        kind, copies = ("d", _own_goal(entry)) if entry.is_directory else ("-", str(entry.replication_goal))
        time = wording.moment(entry.created_microseconds)
        output.print(f"{kind} {copies:>3} {size:>{width}} {time} {wording.printable(entry.path)}", markup=False)


def _own_goal(directory: FileStatus) -> str:
    """How many copies new files get, if the directory itself says so."""
    return str(directory.new_file_goal) if directory.new_file_goal_from == directory.path else "-"


def new_file_words(directory: FileStatus) -> str:
    """How many copies new files in a directory get, and who says so."""
    replicas = wording.count(directory.new_file_goal, "replica")
    return f"{replicas}, {_source(directory.new_file_goal_from, directory.path)}"


def kept_words(directory: FileStatus) -> str:
    """For how long what is deleted in a directory is kept, and who says so."""
    seconds = directory.trash_seconds
    kept = f"kept for {wording.duration(seconds)}" if seconds else "not kept"
    return f"deleted files are {kept}, {_source(directory.trash_from, directory.path)}"


def _source(said_by: str, path: str) -> str:
    """Who says what holds for a directory.

    >>> _source("", "/lab"), _source("/lab", "/lab"), _source("/lab", "/lab/a")
    ('as in the whole cluster', 'as it says itself', 'as /lab says')
    """
    if not said_by:
        return "as in the whole cluster"
    return "as it says itself" if said_by == path else f"as {wording.printable(said_by)} says"


async def _stat(client: Client, paths: list[str], as_json: bool) -> None:
    every = []
    for path in await expanded(client, paths):
        found = await client.stat(path)
        chunks = await _chunks_of(client, found)
        every.append({**dataclasses.asdict(found), "chunks": chunks})
        if not as_json:
            _print_status(found, chunks)
    if as_json:
        print(json.dumps(every, indent=2))


async def _chunks_of(client: Client, found: FileStatus) -> list[dict[str, Any]]:
    if not found.chunk_count:
        return []
    status = await client.cluster_status(chunks=True, path=found.path)
    return [
        {
            "index": known.chunk.index,
            "handle": f"{known.chunk.handle:#x}",
            "version": known.chunk.version,
            "length": known.chunk.length,
            "primary": known.primary,
            "replicas": [replica.server for replica in known.chunk.replicas],
            "others": {other.server: other.state for other in known.others},
        }
        for known in status.chunks
    ]


def _print_status(found: FileStatus, chunks: list[dict[str, Any]]) -> None:
    kind = "directory" if found.is_directory else "file"
    lines = [("Path", wording.printable(found.path)), ("Kind", kind)]
    lines.append(("Created", wording.moment(found.created_microseconds)))
    if found.is_directory:
        lines.append(("Entries", f"{found.entry_count:,}"))
        lines.append(("New files", new_file_words(found)))
        lines.append(("Trash", kept_words(found)))
    else:
        exact = "" if found.length_is_exact else " as last reported; a replica of the last chunk could not be asked"
        lines.append(("Length", f"{found.length} ({wording.size(found.length)}){exact}"))
        lines.append(("Replication goal", str(found.replication_goal)))
        lines.append(("Chunks", f"{found.chunk_count:,} of up to {wording.size(found.chunk_bytes)}"))
    for label, text in lines:
        output.print(f"{label + ':':<18}{text}", markup=False)
    if chunks:
        table = plain_table("CHUNK", "HANDLE", "VERSION", "LENGTH", "PRIMARY", "REPLICAS")
        for chunk in chunks:
            table.add_row(
                str(chunk["index"]),
                chunk["handle"],
                str(chunk["version"]),
                wording.size(chunk["length"]),
                chunk["primary"] or "-",
                (" ".join(chunk["replicas"]) or "[red]none[/]") + _others(chunk["others"]),
            )
        print_table(table)


def _others(states: dict[str, str]) -> str:
    """Replicas that do not count, and why, behind those that do."""
    return f" ({', '.join(f'{server}: {state}' for server, state in states.items())})" if states else ""


async def _du(client: Client, paths: list[str], summary: bool, human: bool) -> None:
    for path in await expanded(client, paths):
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
    for pattern in paths:
        try:
            found = [await client.stat(path) for path in await expanded(client, [pattern])]
        except NotFound:
            if force:
                continue
            raise
        for status in found:
            if status.is_directory and not recursive:
                raise IsADirectory(
                    f"{shown(status.path)} is a directory; use `tabletop fs rm -r` to delete it and all in it"
                )
            doomed.append(status.path)
    for path in doomed:
        files = await client.delete(path, recursive=recursive, immediately=skip_trash)
        output.print(f"deleted {wording.printable(path)} ({wording.count(files, 'file')})", markup=False)
    if not skip_trash:
        await _tell_the_way_back(client, [path for path in doomed if not is_below(path, TRASH)])


async def _tell_the_way_back(client: Client, deleted: list[str]) -> None:
    if not deleted:
        return
    kept = {one.path: one for one in await client.operators.trash()}  # The last deletion of a path counts.
    found = [kept[path] for path in deleted if path in kept]
    for one in found[:WAYS_BACK]:
        span = wording.duration((one.goes_microseconds - one.deleted_microseconds) / 1e6)
        back = shlex.join(["tabletop", "fs", "trash", "restore", one.path])
        remark(f"for {span} it can be had back: `{back}`")
    if len(found) > WAYS_BACK:
        remark(f"and {len(found) - WAYS_BACK} more, see `tabletop fs trash ls`")
    if len(found) < len(deleted):
        remark("what lies in a directory that keeps no deleted files is gone (`tabletop fs trash policy`)")


async def _touch(client: Client, paths: list[str]) -> None:
    for path in paths:
        try:
            await client.create(path)
        except AlreadyExists:
            if (await client.stat(path)).is_directory:
                raise


async def _mv(client: Client, paths: list[str], target: str, force: bool) -> None:
    paths = await expanded(client, paths)
    into = await copying.is_directory(client, target)
    if len(paths) > 1 and not into:
        raise NotFound(f"{shown(target)} is not a directory, and {len(paths)} things cannot all get that name")
    for path in paths:
        await client.stat(path)
    for path in paths:
        place = copying.place_in(target, path) if into else target
        await client.rename(path, place, replace=force)


async def _snapshot(client: Client, source: str, target: str) -> None:
    files = await client.snapshot(source, target)
    output.print(
        f"{wording.printable(target)} is {wording.printable(source)} as of now ({wording.count(files, 'file')})",
        markup=False,
    )


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
