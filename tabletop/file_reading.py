"""`tabletop fs cat`, `head`, `tail`, `checksum`, `count`, `test`: looking into files, as `hdfs dfs` has it."""

import sys
from typing import Annotated

import typer

from gfs.client import Client
from gfs.lengths import FileStatus
from runtime.errors import IsADirectory, NotFound
from tabletop import copying, transfer, wording
from tabletop.console import ExitCode, output, perform
from tabletop.file_commands import PathArgument, PathsArgument, require_file, with_client
from tabletop.globs import expanded
from tabletop.options import DESK, ClusterOption, HumanOption
from tabletop.progress import SilentMeter

KILOBYTE = 1024
PIECE_BYTES = 1024 * 1024

CountOption = Annotated[int, typer.Option("-c", min=0, metavar="BYTES", help="How many bytes.")]


def cat(paths: PathsArgument, cluster: ClusterOption = DESK) -> None:
    """Write files to standard output, one after the other."""
    perform(with_client(cluster, lambda client: _cat(client, paths)))


def head(path: PathArgument, count: CountOption = KILOBYTE, cluster: ClusterOption = DESK) -> None:
    """Write the begin of a file to standard output."""
    perform(with_client(cluster, lambda client: _part(client, path, count, from_end=False)))


def tail(path: PathArgument, count: CountOption = KILOBYTE, cluster: ClusterOption = DESK) -> None:
    """Write the end of a file to standard output."""
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
        while position < end:
            piece = await file.pread(position, min(PIECE_BYTES, end - position))
            if not piece:
                break
            sys.stdout.buffer.write(piece)
            position += len(piece)
    sys.stdout.buffer.flush()


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
