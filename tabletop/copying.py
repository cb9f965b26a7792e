"""`tabletop fs put` and `get`: what goes where, checked before anything moves.

As with `hdfs dfs`: the last argument is a directory that the others are put into, or the name that the single other one
gets. A name that is taken is an error; with -f, files are replaced one by one and directories are kept.
"""

import asyncio
import os
import posixpath
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.interface import Cluster
from gfs.client import Client
from gfs.reading.lengths import FileStatus
from runtime.errors import (
    AlreadyExists,
    InvalidRequest,
    IsADirectory,
    NotADirectory,
    NotFound,
    shown,
)
from runtime.real.disk import LARGEST_WRITE_BYTES
from tabletop import transfer, wording
from tabletop.console import ExitCode, fail, flush_bytes, output, print_bytes, remark
from tabletop.globs import expanded
from tabletop.progress import Meter, SilentMeter, shown_progress
from tabletop.sources import PIECE_BYTES, ClusterTree, SourceFile, Tree, local_source, named

STANDARD = "-"
LEFT_OUT_SHOWN = 20


async def put(cluster: Cluster, sources: list[str], target: str, force: bool, replicas: int) -> None:
    """Store local files and folders, or standard input. Raises what was found wrong, before anything is stored."""
    if STANDARD in sources:
        await _put_input(cluster.client(), sources, target, force, replicas)
        return
    client = cluster.client()
    trees = [(source, local_source(Path(source))) for source in sources]
    into = await _is_directory_to_put_into(client, target, len(sources))
    places = [place_in(target, os.path.abspath(source)) if into else _plain(target) for source in sources]
    for (_, tree), place in zip(trees, places, strict=True):
        await _check_place(client, tree, place, force)
    left_out = [
        f"{name} (neither a file nor a folder, or a link to a folder)" for _, tree in trees for name in tree.skipped
    ]
    left_out += await _store(cluster, "stored", [tree for _, tree in trees], places, force, replicas)
    _tell_left_out(left_out)


async def copy(cluster: Cluster, sources: list[str], target: str, force: bool) -> None:
    """Copy files and directories within the cluster. Raises what was found wrong, before anything is stored."""
    client = cluster.client()
    found = [await client.stat(source) for source in await expanded(client, sources)]
    into = await _is_directory_to_put_into(client, target, len(found))
    places = [place_in(target, status.path) if into else _plain(target) for status in found]
    trees = []
    for status, place in zip(found, places, strict=True):
        if place == status.path or place.startswith(status.path.rstrip("/") + "/"):
            raise InvalidRequest(f"{shown(status.path)} cannot be copied to {shown(place)}, into itself")
        trees.append(ClusterTree(client, status.path, *await _files_of(client, status)))
    for tree, place in zip(trees, places, strict=True):
        await _check_place(client, tree, place, force)
    await _store(cluster, "copied", trees, places, force, 0)


async def _is_directory_to_put_into(client: Client, target: str, count: int) -> bool:
    into = await is_directory(client, target)
    if not into and target.endswith("/"):
        raise NotFound(
            f"no directory {shown(target)}; make it with `tabletop fs mkdir -p`, or leave out the / at the end"
        )
    if not into and count > 1:
        raise NotADirectory(f"{shown(target)} is not a directory, and {count} things cannot all get that name")
    return into


async def _store(
    cluster: Cluster, verb: str, trees: Sequence[Tree], places: list[str], force: bool, replicas: int
) -> list[str]:
    """Store trees and print a summary; returns what vanished meanwhile."""
    files = sum(len(tree.files) for tree in trees)
    total = sum(file.size for tree in trees for file in tree.files)
    started = asyncio.get_running_loop().time()
    vanished: list[str] = []
    with shown_progress(verb, total, files) as meter:
        for tree, place in zip(trees, places, strict=True):
            store = transfer.put_tree
            if force and await cluster.client().exists(place):
                store = transfer.replace_files
            vanished += await store(cluster, tree, place, meter, replicas=replicas)
    _print_summary(verb, files - len(vanished), total, asyncio.get_running_loop().time() - started)
    return [f"{name} (it vanished meanwhile)" for name in vanished]


def _tell_left_out(names: list[str]) -> None:
    for name in names[:LEFT_OUT_SHOWN]:
        remark(f"left out {name}")
    if names:
        more = len(names) - LEFT_OUT_SHOWN
        others = f", {more} of them not named here" if more > 0 else ""
        fail(f"stored, but {wording.count(len(names), 'entry', 'entries')} left out{others}", ExitCode.FAILED)


async def get_to_output(client: Client, sources: list[str]) -> None:
    """Write files to standard output. Raises before anything is written if one of them is no file."""
    for source in sources:
        if (await client.stat(source)).is_directory:
            raise IsADirectory(f"{shown(source)} is a directory, and standard output takes files only")
    for source in sources:
        await client.read_file_into(source, _print_bytes)
    flush_bytes()


async def _print_bytes(piece: memoryview) -> None:
    print_bytes(piece)


async def get(cluster: Cluster, sources: list[str], target: Path, force: bool) -> None:
    """Fetch files and directories. Raises what was found wrong, before anything is fetched."""
    client = cluster.client()
    found = [await client.stat(source) for source in sources]
    into = target.is_dir()
    if len(sources) > 1 and not into:
        raise NotADirectory(f"{str(target)!r} is not a folder, and {len(sources)} things cannot all get that name")
    places = [target / status.name if into else target for status in found]
    for place in places:
        if not place.absolute().parent.is_dir():
            raise NotFound(
                f"no local folder {str(place.absolute().parent)!r} to put {place.name!r} into; make it first"
            )
        if os.path.lexists(place) and not force:
            raise AlreadyExists(f"there is already a local {str(place)!r}; use -f to replace files, or another name")
    below = [await _files_of(client, status) for status in found]
    files = sum(len(found_files) for _, found_files in below)
    total = sum(file.size for _, found_files in below for file in found_files)
    started = asyncio.get_running_loop().time()
    with shown_progress("fetched", total, files) as meter:
        for status, place, (directories, inside) in zip(found, places, below, strict=True):
            await _get_one(client, status, place, directories, inside, meter)
    _print_summary("fetched", files, total, asyncio.get_running_loop().time() - started)


async def is_directory(client: Client, path: str) -> bool:
    """Whether there is a directory at `path`."""
    try:
        return (await client.stat(path)).is_directory
    except NotFound:
        return False


def place_in(directory: str, source: str) -> str:
    """Where something goes that is put into a directory.

    >>> place_in("/courses", "notes/"), place_in("/", "a.txt")
    ('/courses/notes', '/a.txt')
    """
    name = posixpath.basename(source.rstrip("/"))
    if not name:
        raise InvalidRequest(f"{shown(source)} has no name of its own; name the target in full")
    return f"{directory.rstrip('/')}/{name}"


async def _put_input(client: Client, sources: list[str], target: str, force: bool, replicas: int) -> None:
    if sources != [STANDARD]:
        raise InvalidRequest("standard input (-) can only be stored alone")
    if await is_directory(client, target):
        raise IsADirectory(f"{shown(target)} is a directory; name the file that standard input becomes")
    if not force:
        await transfer.require_absent(client, target)
    await transfer.put_pieces(client, _input_pieces(), target, SilentMeter(), replicas=replicas, overwrite=force)


async def _input_pieces() -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE_BYTES):
        yield piece


async def _check_place(client: Client, tree: Tree, place: str, force: bool) -> None:
    if not force or not await client.exists(place):
        await transfer.require_absent(client, place)
        return
    is_file = not (await client.stat(place)).is_directory
    if is_file and not transfer.is_one_file(tree):
        raise NotADirectory(f"there is a file {shown(place)} where a folder is to be put; delete it first")
    if not is_file and transfer.is_one_file(tree):
        raise IsADirectory(f"there is a directory {shown(place)} where a file is to be put; delete it first")


async def _files_of(client: Client, status: FileStatus) -> tuple[list[str], list[SourceFile]]:
    """The directories and files below a directory, by paths relative to it; or the file itself as ""."""
    if not status.is_directory:
        return [], [SourceFile("", status.length)]
    entries = await client.list(status.path, recursive=True)
    start = len(status.path.rstrip("/")) + 1
    directories = [entry.path[start:] for entry in entries if entry.is_directory]
    return directories, [SourceFile(entry.path[start:], entry.length) for entry in entries if not entry.is_directory]


async def _get_one(
    client: Client, status: FileStatus, place: Path, directories: list[str], files: list[SourceFile], meter: Meter
) -> None:
    merging = status.is_directory and place.is_dir()
    if status.is_directory and os.path.lexists(place) and not merging:
        raise NotADirectory(f"there is a local file {str(place)!r} where a folder is to be put; delete it first")
    if not status.is_directory and place.is_dir():
        raise IsADirectory(f"there is a local folder {str(place)!r} where a file is to be put; delete it first")
    with _local_temporary(place) as temporary:
        root = place if merging else temporary
        if status.is_directory:
            root.mkdir(exist_ok=merging)
        for directory in directories:
            (root / directory).mkdir(exist_ok=merging)

        async def fetch(file: SourceFile) -> None:
            source = f"{status.path.rstrip('/')}/{file.path}" if file.path else status.path
            if not merging:
                await _fetch_file(client, source, root / file.path if file.path else root, meter)
                return
            with _local_temporary(root / file.path) as partial:
                await _fetch_file(client, source, partial, meter)
                partial.replace(root / file.path)

        await transfer.for_each_file(files, fetch)
        if not merging:
            temporary.replace(place)


async def _fetch_file(client: Client, source: str, place: Path, meter: Meter) -> None:
    # Buffered: a bare file may take a part of what it is given, and say nothing.
    with named(place), place.open("xb") as file:

        async def take(piece: memoryview) -> None:
            for begin in range(0, len(piece), LARGEST_WRITE_BYTES):
                file.write(piece[begin : begin + LARGEST_WRITE_BYTES])
            meter.advance(bytes_done=len(piece))

        await client.read_file_into(source, take)
    meter.advance(files_done=1)


@contextmanager
def _local_temporary(place: Path) -> Iterator[Path]:
    """A local name beside `place` that is removed, with all below it, if the block fails or is cancelled."""
    temporary = place.absolute().parent / f"._COPYING_{secrets.token_hex(6)}"
    try:
        yield temporary
    except BaseException as error:
        if isinstance(error, OSError) and str(temporary) in str(error.filename):
            error.filename = str(error.filename).replace(str(temporary), str(place))
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def _plain(target: str) -> str:
    """A target without the slash at its end that people write after directories."""
    return target.rstrip("/") or "/"


def _print_summary(verb: str, files: int, total: int, seconds: float) -> None:
    rate = wording.size(total / seconds) if seconds > 0 else "-"
    output.print(
        f"{verb} {wording.count(files, 'file')}, {wording.size(total)} in {wording.duration(seconds)} ({rate}/s)"
    )
