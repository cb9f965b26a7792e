"""`tabletop fs setrep`: how many replicas files have (GFS 4.3), as with `hdfs dfs`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from gfs.client import Client
from runtime.errors import Conflict, InvalidRequest, NotFound
from runtime.wire.master_pb2 import ChunkStatus
from tabletop import wording
from tabletop.console import ExitCode, fail, output, perform, remark
from tabletop.file_commands import PathsArgument, new_file_words, with_client
from tabletop.globs import expanded
from tabletop.options import DESK, ClusterOption

LOOK_SECONDS = 0.5
REPEAT_SECONDS = 10.0
EXTRA_STATES = ("surplus", "condemned")


def setrep(
    count: Annotated[int, typer.Argument(metavar="N", min=0, help="How many replicas.")],
    paths: PathsArgument,
    recursive: Annotated[bool, typer.Option("-R", help="As hdfs has it: no effect.")] = False,
    wait: Annotated[bool, typer.Option("-w", help="Wait until every chunk has so many.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long at most.")] = 300.0,
    new_files: Annotated[
        bool, typer.Option("--new-files", help="Of directories: for files to come, not for those that are there.")
    ] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Set how many replicas files have; of a directory, all files in it.

    The master makes copies, or removes them, after the command has ended; -w waits for it. What is one too many goes
    when the lease of whoever wrote the chunk has ended (a minute by default), and the other copies have been verified.

    \b
        tabletop fs setrep 5 /lab/results.csv
        tabletop fs setrep -w 2 /scratch
        tabletop fs setrep --new-files 2 /scratch     and in all directories below that say nothing else
        tabletop fs setrep --new-files 0 /scratch     as the directories above say, or the cluster
    """
    if new_files:
        perform(with_client(cluster, lambda client: _set_for_new_files(client, count, paths)), changes=True)
        return
    if not count:
        raise typer.BadParameter("a file has at least one replica; 0 has a meaning with --new-files only")
    perform(with_client(cluster, lambda client: _setrep(client, count, paths, wait, timeout)), changes=True)


async def _setrep(client: Client, count: int, patterns: list[str], wait: bool, seconds: float) -> None:
    paths = await expanded(client, patterns)
    for path in paths:
        found = await client.stat(path)
        if found.is_directory:
            await _set_all_below(client, path, count)
        else:
            before = await client.set_replication(path, count)
            was = "as before" if before == count else f"it had {before}"
            output.print(f"{wording.printable(path)}: {wording.count(count, 'replica')}, {was}", markup=False)
    if wait:
        await _wait(client, paths, seconds)


async def _set_for_new_files(client: Client, count: int, patterns: list[str]) -> None:
    for path in await expanded(client, patterns):
        await client.operators.set_policy(path, new_file_goal=count)
        found = await client.stat(path)
        output.print(f"{wording.printable(path)}: new files get {new_file_words(found)}", markup=False)


async def _set_all_below(client: Client, path: str, count: int) -> None:
    files = changed = 0
    async for entry in client.scan(path, recursive=True):
        if entry.is_directory:
            continue
        try:
            before = await client.set_replication(entry.path, count, file_id=entry.file_id)
        except (NotFound, Conflict):
            continue  # It was deleted or replaced meanwhile.
        files += 1
        changed += before != count
    what = f"{wording.count(files, 'file')}, {wording.count(count, 'replica')} each, {changed:,} changed"
    output.print(f"{wording.printable(path)}: {what}", markup=False)


async def _wait(client: Client, paths: Sequence[str], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    due = began + LOOK_SECONDS
    while True:
        left = [chunk for path in paths for chunk in await _not_there_yet(client, path)]
        passed = loop.time() - began
        if not left:
            output.print(f"every chunk has as many replicas as it should after {wording.duration(passed)}")
            return
        if passed >= seconds:
            fail(f"{_told(left)}; it goes on without this command", ExitCode.FAILED)
        if loop.time() >= due:
            remark(_told(left))
            due = loop.time() + REPEAT_SECONDS
        await asyncio.sleep(LOOK_SECONDS)


async def _not_there_yet(client: Client, path: str) -> list[ChunkStatus]:
    try:
        status = await client.cluster_status(chunks=True, path=path)
    except (NotFound, InvalidRequest):
        return []
    return [chunk for chunk in status.chunks if not _is_there(chunk)]


def _is_there(chunk: ChunkStatus) -> bool:
    extra = [other for other in chunk.others if other.state in EXTRA_STATES]
    return len(chunk.chunk.replicas) == chunk.replication_goal and not extra and not chunk.waits_for


def _told(left: Sequence[ChunkStatus]) -> str:
    reasons = dict.fromkeys(chunk.waits_for for chunk in left if chunk.waits_for)
    why = f": {next(iter(reasons))}" if reasons else ""
    return f"{wording.count(len(left), 'chunk')} to go{why}"
