"""`tabletop fs cat`, `head`, `tail`, `checksum`, `count`, `test`: looking into files, as `hdfs dfs` has it."""

import asyncio
import shlex
from typing import Annotated

import typer

from cluster.real import RealCluster
from gfs.client import Client
from gfs.file import File
from gfs.reading.lengths import FileStatus
from runtime.errors import Conflict, IsADirectory, NotFound, TimedOut, Unavailable, shown
from tabletop import copying, record_commands, transfer, wording
from tabletop.console import ExitCode, flush_bytes, output, perform, print_bytes
from tabletop.file_commands import PathArgument, PathsArgument, require_file, with_client, with_cluster
from tabletop.globs import expanded
from tabletop.options import DESK, ClusterOption, HumanOption
from tabletop.progress import SilentMeter

KILOBYTE = 1024
PIECE_BYTES = 1024 * 1024
FOLLOW_SECONDS = 0.5

CountOption = Annotated[int, typer.Option("-c", min=0, metavar="BYTES", help="How many bytes.")]


def cat(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Write files to standard output, one after the other."""
    perform(with_client(cluster, lambda client: _cat(client, paths)))


def head(path: PathArgument, count: CountOption = KILOBYTE, cluster: ClusterOption = DESK) -> None:
    """Write the begin of a file to standard output."""
    perform(with_client(cluster, lambda client: _part(client, path, count, from_end=False)))


def tail(
    path: PathArgument,
    count: CountOption = KILOBYTE,
    follow: Annotated[bool, typer.Option("-f", help="Go on with what is appended, until Ctrl-C.")] = False,
    records: Annotated[bool, typer.Option("--records", help="The last records, one a line, each once.")] = False,
    number: Annotated[int, typer.Option("-n", min=0, metavar="RECORDS", help="With --records: how many.")] = 10,
    cluster: ClusterOption = DESK,
) -> None:
    """Write the end of a file to standard output; with --records, of a file that `tabletop fs append` has written.

    With -f, what is appended follows within a second, until Ctrl-C (exit code 130). A master that is away is waited
    for. The command ends with exit code 1 when the file is replaced, renamed or deleted.
    """
    if records and follow:
        perform(with_cluster(cluster, lambda real: record_commands.follow_records(real, path, number), gives_up=False))
    elif records:
        perform(with_client(cluster, lambda client: record_commands.print_records(client, path, number)))
    elif follow:
        perform(with_cluster(cluster, lambda real: _follow(real, path, count), gives_up=False))
    else:
        perform(with_client(cluster, lambda client: _part(client, path, count, from_end=True)))


def checksum(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Print the SHA-256 of files, as `sha256sum` prints that of local ones."""
    perform(with_client(cluster, lambda client: _checksum(client, paths)))


def count(paths: PathsArgument, human: HumanOption = False, cluster: ClusterOption = DESK) -> None:
    """Count: directories, files, bytes, path; a directory counts itself."""
    perform(with_client(cluster, lambda client: _count(client, paths, human)))


def test(
    path: PathArgument,
    exists: Annotated[bool, typer.Option("-e", help="Whether it exists (the default).")] = False,
    directory: Annotated[bool, typer.Option("-d", help="Whether it is a directory.")] = False,
    file: Annotated[bool, typer.Option("-f", help="Whether it is a file.")] = False,
    empty: Annotated[bool, typer.Option("-z", help="Whether it is a file of no bytes.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Answer by the exit code: 0 for yes, 1 for no.

    \b
        tabletop fs test -d /lab || tabletop fs mkdir /lab
    """
    found = perform(with_client(cluster, lambda client: _look(client, path)))
    fits = found is not None and not (
        (directory and not found.is_directory)
        or ((file or empty) and found.is_directory)
        or (empty and found.length > 0)
    )
    raise typer.Exit(ExitCode.DONE if fits else ExitCode.FAILED)


async def _cat(client: Client, paths: list[str]) -> None:
    paths = await expanded(client, paths)
    for path in paths:
        await require_file(client, path)
    await copying.get_to_output(client, paths)


async def _part(client: Client, path: str, count: int, *, from_end: bool) -> None:
    async with await client.open(path) as file:
        length = await file.length()
        position = max(length - count, 0) if from_end else 0
        end = length if from_end else min(count, length)
        while position < end and (printed := await _print_piece(file, position, end)):
            position += printed
    flush_bytes()


async def _print_piece(file: File, position: int, end: int) -> int:
    """Print bytes from a position, up to an end at most; returns how many."""
    piece = await file.pread(position, min(PIECE_BYTES, end - position))
    print_bytes(piece)
    return len(piece)


async def _follow(cluster: RealCluster, path: str, count: int) -> None:
    """Print the end of a file and what is appended to it. An open file stays the file that was opened, so that the
    master says when the path names another one."""
    async with await cluster.client().open(path) as file:
        position = max(await file.length() - count, 0)
        while True:
            try:
                end = await file.length()
                while position < end and (printed := await _print_piece(file, position, end)):
                    position += printed
                flush_bytes()
            except NotFound:
                raise NotFound(
                    f"{shown(path)} is there no more: it was deleted or renamed while it was followed"
                ) from None
            except Conflict:
                raise Conflict(
                    f"{shown(path)} is another file now: it was replaced while it was followed; "
                    f"`{shlex.join(['tabletop', 'fs', 'tail', '-f', path])}` follows the new one"
                ) from None
            except (Unavailable, TimedOut):
                if cluster.is_down():
                    raise Unavailable(cluster.down_message(), definite=True) from None
            await asyncio.sleep(FOLLOW_SECONDS)


async def _checksum(client: Client, paths: list[str]) -> None:
    paths = await expanded(client, paths)
    for path in paths:
        await require_file(client, path)
    for path in paths:
        digest = await transfer.digest_of(client, path, SilentMeter())
        output.print(f"{digest}  {wording.printable(path)}", markup=False)


async def _count(client: Client, paths: list[str], human: bool) -> None:
    for path in await expanded(client, paths):
        found = await client.stat(path)
        below = await client.list(path, recursive=True) if found.is_directory else []
        every = [found, *below]
        directories = sum(entry.is_directory for entry in every)
        size = sum(entry.length for entry in every)
        shown_size = wording.size(size) if human else str(size)
        output.print(
            f"{directories:>12} {len(every) - directories:>12} {shown_size:>16} {wording.printable(found.path)}",
            markup=False,
        )


async def _look(client: Client, path: str) -> FileStatus | None:
    try:
        return await client.stat(path)
    except (NotFound, IsADirectory):
        return None
