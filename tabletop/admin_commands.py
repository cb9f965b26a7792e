"""`tabletop admin`: replicas read and compared now, on request (GFS 5.2).

A chunkserver verifies what it holds in idle moments, and replaces what is damaged without being asked. These commands
are for whoever wants to know now. Both ask the master for one chunk after the other, many at once, and it asks the
chunkservers (`master/protocol/checking.py`); so a progress bar needs no protocol of its own, and Ctrl-C ends the work.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from cluster.real import RealCluster
from gfs.client import Client
from runtime.errors import NotFound, TabletopError, Unavailable, shown
from runtime.wire.master_pb2 import ChunkStatus, VerifiedReplica
from tabletop import wording
from tabletop.console import ExitCode, fail, output, perform, remark
from tabletop.file_commands import with_cluster
from tabletop.options import DESK, ClusterOption
from tabletop.progress import Meter, shown_progress
from tabletop.tables import plain_table, print_table

app = typer.Typer(
    help="""What operators look at and do.

    \b
    tabletop admin report                    space, chunks and chunkservers, as the master sees them
    tabletop admin safemode enter            keep names and replicas as they are
    tabletop admin scrub                     every block of every chunkserver against its checksum
    tabletop admin compare /lab              the replicas of each chunk with one another
    tabletop admin masters                   which master acts, and how far its shadows are
    """,
    no_args_is_help=True,
)

AT_ONCE = 4
"""Chunks that are read at the same time, by each server or in all."""

LINES_SHOWN = 50
READ_STATES = ("corrupt", "surplus")
"""The states of replicas that are read besides those that count."""


@app.command()
def scrub(
    server: Annotated[str, typer.Option("--chunkserver", metavar="NODE", help="Only this one, such as cs2.")] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Have chunkservers compare every block that they hold with its checksum, now.

    They do so by themselves in idle moments (GFS 5.2). A damaged replica is replaced by the master, as always, if there
    is another one. Exit code 1 if anything is damaged, could not be read, or if a server was left out.

    \b
        tabletop admin scrub
        tabletop admin scrub --chunkserver cs2
    """
    perform(with_cluster(cluster, lambda real: _scrub(real, server)))


@app.command()
def compare(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, or a directory with all below it.")] = "/",
    cluster: ClusterOption = DESK,
) -> None:
    """Compare the replicas of each chunk with one another, byte for byte, now.

    Each server tells a digest of what it holds, so that no bytes are moved. A chunk that is being written is compared
    in a moment without a writer. Replicas may differ after a write that failed (GFS Table 1: inconsistent). Exit code 1
    if any differ, are damaged, or could not be read.

    \b
        tabletop admin compare
        tabletop admin compare /lab/results.csv
    """
    perform(with_cluster(cluster, lambda real: compare_replicas(real.client(), path)))


@dataclass(slots=True)
class Tally:
    """What a scrub has found at one server. `damaged` and `unread` are sentences, one a replica."""

    chunks: int = 0
    size: int = 0
    damaged_blocks: int = 0
    damaged: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


async def _scrub(cluster: RealCluster, wanted: str) -> None:
    client = cluster.client()
    status = await client.cluster_status(chunks=True)
    known = {found.location.server: found.alive for found in status.servers}
    if wanted and wanted not in known:
        raise NotFound(f"no chunkserver {shown(wanted)} in cluster {cluster.name!r}; there are: {', '.join(known)}")
    if wanted and not known[wanted]:
        raise Unavailable(
            f"the master counts {wanted} as dead; `tabletop fault restart {wanted}` starts it again", definite=True
        )
    names = [wanted] if wanted else [name for name, alive in known.items() if alive]
    held = {name: [chunk for chunk in status.chunks if name in holders(chunk)] for name in names}
    total = sum(chunk.chunk.length for chunks in held.values() for chunk in chunks)
    with shown_progress("verified", total, sum(map(len, held.values())), "replica") as meter:
        tallies = await asyncio.gather(*(_scrub_one(client, name, held[name], meter) for name in names))
    _print_tallies(names, tallies)
    left_out = [name for name, alive in known.items() if not wanted and not alive]
    for name in left_out:
        remark(f"left out {name}, which the master counts as dead; `tabletop fault restart {name}` starts it again")
    damaged = sum(len(tally.damaged) for tally in tallies)
    unread = sum(len(tally.unread) for tally in tallies)
    if damaged:
        replicas = wording.count(damaged, "replica is", "replicas are")
        fail(
            f"{replicas} damaged; the master replaces each that has a good copy elsewhere, and `tabletop wait healed` "
            "returns when that is done",
            ExitCode.FAILED,
        )
    if unread or left_out:
        fail("not everything could be read", ExitCode.FAILED)


async def _scrub_one(client: Client, name: str, chunks: Sequence[ChunkStatus], meter: Meter) -> Tally:
    tally = Tally()

    async def verify(chunk: ChunkStatus) -> None:
        try:
            [found] = await client.verify_chunk(chunk.chunk.handle, name)
        except NotFound:
            found = None  # The chunk or this replica of it was removed meanwhile, as it should be.
        except TabletopError as error:
            found = VerifiedReplica(server=name, problem=error.message)
        meter.advance(bytes_done=chunk.chunk.length, files_done=1)
        if found is None:
            return
        if found.problem:
            tally.unread.append(f"{name}: {described(chunk)} could not be read: {found.problem}")
            return
        tally.chunks += 1
        tally.size += found.length
        tally.damaged_blocks += found.damaged_blocks
        if found.damaged_blocks:
            blocks = wording.count(found.damaged_blocks, "damaged block")
            tally.damaged.append(f"{name}: {described(chunk)} has {blocks}")

    await for_each(chunks, verify)
    return tally


def _print_tallies(names: Sequence[str], tallies: Sequence[Tally]) -> None:
    table = plain_table("NODE", "CHUNKS", "BYTES", "DAMAGED CHUNKS", "DAMAGED BLOCKS", "NOT READ")
    for name, tally in zip(names, tallies, strict=True):
        table.add_row(
            name,
            f"{tally.chunks:,}",
            f"{tally.size:,}",
            f"{len(tally.damaged):,}",
            f"{tally.damaged_blocks:,}",
            f"{len(tally.unread):,}",
        )
    print_table(table)
    _print_some([line for tally in tallies for line in (*tally.damaged, *tally.unread)])


async def compare_replicas(client: Client, path: str) -> None:
    """Have the replicas of each chunk at and below a path read and compared; ends the command if any differ."""
    await client.stat(path)
    status = await client.cluster_status(chunks=True, path=path)
    verdicts: list[tuple[ChunkStatus, Sequence[VerifiedReplica], list[str]]] = []
    total = sum(chunk.chunk.length * len(holders(chunk)) for chunk in status.chunks)
    with shown_progress("compared", total, len(status.chunks), "chunk") as meter:

        async def verify(chunk: ChunkStatus) -> None:
            try:
                found = await client.verify_chunk(chunk.chunk.handle)
                verdicts.append((chunk, found, what_differs(found)))
            except NotFound:
                pass  # It was deleted meanwhile.
            except TabletopError as error:
                verdicts.append((chunk, (), [f"could not be compared: {error.message}"]))
            meter.advance(bytes_done=chunk.chunk.length * len(holders(chunk)), files_done=1)

        await for_each(status.chunks, verify)
    verdicts.sort(key=lambda verdict: (verdict[0].path, verdict[0].chunk.index))
    wrong = [(chunk, sentences) for chunk, _, sentences in verdicts if sentences]
    _print_some([f"{described(chunk)}: {'; '.join(sentences)}" for chunk, sentences in wrong])
    replicas = [replica for _, found, _ in verdicts for replica in found]
    read = wording.size(sum(replica.length for replica in replicas))
    what = f"{wording.count(len(verdicts), 'chunk')}, {wording.count(len(replicas), 'replica')}, {read}"
    alone = sum(len(found) == 1 for _, found, _ in verdicts)
    if alone:
        remark(f"{wording.count(alone, 'chunk has', 'chunks have')} one replica only: there is nothing to compare")
    if wrong:
        chunks = wording.count(len(wrong), "chunk is not as it should be", "chunks are not as they should be")
        fail(f"compared {what}: {chunks}", ExitCode.FAILED)
    output.print(f"compared {what}: all alike")


def what_differs(replicas: Sequence[VerifiedReplica]) -> list[str]:
    """What is not as it should be about the replicas of one chunk, in words; empty if all are alike and whole.

    >>> one, two = VerifiedReplica(server="cs1", length=5, digest=7), VerifiedReplica(server="cs2", length=5, digest=7)
    >>> what_differs([one, two])
    []
    >>> what_differs([one, two, VerifiedReplica(server="cs3", length=4, digest=8)])
    ['cs1, cs2 hold the same 5 bytes, cs3 holds 4 bytes']
    >>> what_differs([one, VerifiedReplica(server="cs4", length=5, digest=9)])
    ['cs1 holds 5 bytes, cs4 holds other 5 bytes']
    """
    if not replicas:
        return ["no replica of it can be read now"]
    sentences = []
    groups: dict[tuple[int, int], list[str]] = {}
    for replica in replicas:
        if not replica.problem:
            groups.setdefault((replica.length, replica.digest), []).append(replica.server)
    if len(groups) > 1:
        sentences.append(", ".join(_group_words(groups)))
    has_sound = any(not replica.problem and not replica.damaged_blocks for replica in replicas)
    for replica in replicas:
        if replica.damaged_blocks:
            blocks = wording.count(replica.damaged_blocks, "damaged block")
            sentences.append(f"{replica.server} has {blocks}{', and will be replaced' if has_sound else ''}")
        if replica.problem:
            sentences.append(f"{replica.server} could not be read: {replica.problem}")
    return sentences


def _group_words(groups: dict[tuple[int, int], list[str]]) -> Iterator[str]:
    lengths: dict[int, None] = {}
    for (length, _), servers in groups.items():
        other = "other " if length in lengths else ""
        lengths[length] = None
        verb = "hold the same" if len(servers) > 1 else "holds"
        yield f"{', '.join(servers)} {verb} {other}{wording.count(length, 'byte')}"


def holders(chunk: ChunkStatus) -> list[str]:
    """The servers whose replica of a chunk is read."""
    others = [other.server for other in chunk.others if other.state in READ_STATES]
    return [*(replica.server for replica in chunk.chunk.replicas), *others]


def described(chunk: ChunkStatus) -> str:
    """A chunk by its file and its handle."""
    return f"chunk {chunk.chunk.index} ({chunk.chunk.handle:#x}) of {wording.printable(chunk.path)}"


async def for_each(chunks: Sequence[ChunkStatus], work: Callable[[ChunkStatus], Awaitable[None]]) -> None:
    """Do the work for every chunk, a few at once."""
    left = iter(chunks)

    async def drain() -> None:
        for chunk in left:
            await work(chunk)

    await asyncio.gather(*(drain() for _ in range(AT_ONCE)))


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:LINES_SHOWN]:
        output.print(line, markup=False)
    if len(lines) > LINES_SHOWN:
        remark(f"and {len(lines) - LINES_SHOWN} more")
