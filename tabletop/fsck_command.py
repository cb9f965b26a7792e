"""`tabletop fs fsck`: how well each file is stored (GFS 4.3 to 5.2), in the manner of `hdfs fsck`.

It asks the master what it knows of every chunk, page by page, and reads no data; `--verify` has the replicas read and
compared as well (`tabletop admin compare`)."""

import json
from typing import Annotated, Any

import typer

from cluster.real import RealCluster
from gfs.health import FileHealth, Health, Tally, by_file
from runtime.wire.master_pb2 import ChunkStatus
from tabletop import admin_commands, wording
from tabletop.console import ExitCode, fail, output, perform, remark
from tabletop.file_commands import with_cluster
from tabletop.options import DESK, ClusterOption, JsonOption

LINES_SHOWN = 50
"""So many chunks in trouble are told of without --blocks."""


def fsck(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, or a directory with all below it.")] = "/",
    blocks: Annotated[bool, typer.Option("--blocks", "-v", help="Every chunk, also those that are well.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Also have all replicas read and compared, now.")] = False,
    as_json: JsonOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Report how well files are stored: each chunk's goal, its replicas, and what is wrong with them.

    What was deleted and can be had back is looked at too, with /. Nothing is mended: the master does that by itself.
    Exit code 1 if something is lost or cannot be read now, 5 if everything can be read and some chunks have fewer
    copies than they should.

    \b
        tabletop fs fsck
        tabletop fs fsck /lab --blocks
        tabletop fs fsck /lab --verify
    """
    if verify and as_json:
        raise typer.BadParameter("--verify prints sentences; leave out --json, or see `tabletop admin compare`")
    perform(with_cluster(cluster, lambda real: _fsck(real, path, blocks, verify, as_json)))


async def _fsck(cluster: RealCluster, path: str, blocks: bool, verify: bool, as_json: bool) -> None:
    client = cluster.client()
    await client.stat(path)
    tally, told, kept = Tally(), 0, list[dict[str, Any]]()
    mode = ""
    async for page in client.operators.status_pages(path):
        mode, is_starting = page.safe_mode.reason or mode, page.safe_mode.is_on and not page.safe_mode.by_hand
        tally.files += page.files_seen
        for file in by_file(page.chunks, is_starting=is_starting):
            for chunk, health in file.chunks:
                tally.add(chunk, health)
                if not blocks and health in (Health.HEALTHY, Health.ABOVE_GOAL):
                    continue
                told += 1
                if as_json:
                    kept.append(_values(chunk, health))
                elif blocks or told <= LINES_SHOWN:
                    output.print(_line(file, chunk, health), markup=False)
    if as_json:
        print(json.dumps(_summary(path, tally) | {"chunks": kept}, indent=2))
    else:
        if not blocks and told > LINES_SHOWN:
            remark(f"and {told - LINES_SHOWN:,} more; all with --blocks")
        _print_summary(path, tally)
    if mode:
        remark(f"safe mode: {mode}")
    _fail_if_unread(tally)
    if verify:
        await admin_commands.compare_replicas(client, path)
    _fail_if_below(tally)


def _line(file: FileHealth, chunk: ChunkStatus, health: Health) -> str:
    """One chunk in words."""
    where = chunk.chunk
    current = " ".join(replica.server for replica in where.replicas) or "none"
    words = f"{wording.printable(file.path)}: chunk {where.index} ({where.handle:#x}, version {where.version}) is "
    words += f"{health.value}: {len(where.replicas)} of {chunk.replication_goal} replicas ({current})"
    notes = [f"{other.server} {other.state}" for other in chunk.others]
    notes += [f"{server} unreachable" for server in chunk.unreachable]
    if notes:
        words += f"; {', '.join(notes)}"
    return words + (f"; {chunk.waits_for}" if chunk.waits_for else "")


def _values(chunk: ChunkStatus, health: Health) -> dict[str, Any]:
    where = chunk.chunk
    return {
        "path": chunk.path,
        "index": where.index,
        "handle": f"{where.handle:#x}",
        "version": where.version,
        "length": where.length,
        "health": health.value,
        "goal": chunk.replication_goal,
        "current": [replica.server for replica in where.replicas],
        "others": {other.server: other.state for other in chunk.others},
        "unreachable": list(chunk.unreachable),
        "waits_for": chunk.waits_for,
    }


def _summary(path: str, tally: Tally) -> dict[str, Any]:
    return {
        "path": path,
        "verdict": tally.worst.value,
        "files": tally.files,
        "bytes": tally.length,
        "count": sum(tally.chunks.values()),
        "by_health": {health.value: count for health, count in tally.chunks.items()},
        "replicas": dict(sorted(tally.replicas.items())),
        "unreachable_replicas": tally.unreachable,
    }


def _print_summary(path: str, tally: Tally) -> None:
    aside = {state: count for state, count in sorted(tally.replicas.items()) if state != "current"}
    aside_words = f" ({', '.join(f'{count:,} {state}' for state, count in aside.items())})" if aside else ""
    lines = [
        ("Files", f"{tally.files:,}, {wording.size(tally.length)}"),
        ("Chunks", f"{sum(tally.chunks.values()):,}"),
        *((f"  {health.value}", f"{count:,}") for health, count in tally.chunks.items() if count),
        ("Replicas that count", f"{tally.replicas['current']:,}"),
        ("Other replicas", f"{sum(aside.values()):,}{aside_words}"),
        ("Replicas out of reach", f"{tally.unreachable:,}"),
    ]
    for label, text in lines:
        output.print(f"{label + ':':<27}{text}", markup=False)
    output.print(f"What is at and below {wording.printable(path)} is {tally.worst.value}", markup=False)


def _fail_if_unread(tally: Tally) -> None:
    lost = sum(count for health, count in tally.chunks.items() if health.is_lost)
    if lost:
        fail(
            f"{wording.count(lost, 'chunk has', 'chunks have')} lost acknowledged bytes; `tabletop status --chunks` "
            "shows older copies, which `tabletop admit` accepts",
            ExitCode.FAILED,
        )
    unread = sum(count for health, count in tally.chunks.items() if not health.can_be_read)
    if unread:
        fail(
            f"{wording.count(unread, 'chunk', 'chunks')} cannot be read in whole now; nothing is known to be lost",
            ExitCode.FAILED,
        )


def _fail_if_below(tally: Tally) -> None:
    if tally.chunks[Health.BELOW_GOAL]:
        few = wording.count(tally.chunks[Health.BELOW_GOAL], "chunk has", "chunks have")
        fail(f"everything can be read; {few} fewer copies than wanted", ExitCode.DEGRADED)
