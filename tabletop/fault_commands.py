"""`tabletop fault`: break things on purpose, and mend them. What each fault does is in docs/faults.md."""

import json
import time
from typing import Annotated

import typer

from cluster.aims import aim, stored
from cluster.fault_words import listed
from cluster.faultplan import Ending, Kill, Pause, Stop
from cluster.interface import Corruption, Imposed
from cluster.real import RealCluster
from runtime.errors import InvalidRequest
from tabletop import disk_fault_commands, link_fault_commands
from tabletop.console import endings, output, perform
from tabletop.fault_answers import AfterOption, AimArgument, EveryOption, ForOption, fault_values, impose, print_faults
from tabletop.options import DESK, ClusterOption, JsonOption

app = typer.Typer(
    help="""Break a running cluster on purpose, and mend it.

    \b
    tabletop fault kill cs2                              as a crash would
    tabletop fault pause cs3 --for 10s                   it keeps its connections, and answers nothing
    tabletop fault restart cs2                           start it again on its disk
    tabletop fault corrupt /notes/a.txt                  flip bits in one stored block
    tabletop fault corrupt "master log, record 5"        or in a record of a log

    \b
    In a cluster that was started with `tabletop up --experiments` also:
    tabletop fault partition cs1,cs2 / master            nothing passes between the two sides
    tabletop fault delay cs3 300ms --replies-to master
    tabletop fault eio "replica 2 of chunk 3 of /a" --on read
    tabletop fault full cs2 --for 1m

    \b
    tabletop fault list                                  what lasts
    tabletop fault heal 3                                end fault 3; without a number, all

    \b
    A target is a node (cs2, master, lock, client), "the master" that acts, "all servers", "a random chunkserver",
    "rack r1", "the primary of chunk 0 of /a", "replica 2 of chunk 3 of /a", or several of these with commas. Chunks
    and blocks count from 0, replicas and records from 1.
    """,
    no_args_is_help=True,
)

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="master, cs1, cs2, … (see `tabletop ps`)")]


@app.command()
def kill(
    target: AimArgument,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """End a node at once, without a goodbye (SIGKILL). Healed, it is started again."""
    impose(cluster, Kill(), aim(target), lasting, after, every)


@app.command()
def stop(
    target: AimArgument,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Stop a node in good order (SIGTERM). Healed, it is started again."""
    impose(cluster, Stop(), aim(target), lasting, after, every)


@app.command()
def restart(
    node: Annotated[str, typer.Argument(metavar="NODE", help="master, cs1, cs2, … (see `tabletop ps`)")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every node, one after the other.")] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Start a node again on its disk; a living one is stopped in good order first. Returns when it serves."""
    if bool(node) == every:
        raise typer.BadParameter("name a node, such as `tabletop fault restart cs1`, or ask for all with --all")
    perform(_restart(RealCluster(cluster), node))


@app.command()
def pause(
    target: AimArgument,
    lasting: ForOption = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Freeze a node: it keeps its connections and answers nothing (SIGSTOP)."""
    impose(cluster, Pause(), aim(target), lasting, after, every)


@app.command()
def resume(node: NodeArgument, cluster: ClusterOption = DESK) -> None:
    """Let a paused node go on (SIGCONT)."""
    perform(RealCluster(cluster).resume(node))
    output.print(f"{node} goes on")


@app.command()
def corrupt(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BYTES",
            help="A file in the cluster, 'replica 2 of chunk 3 of /a, block 1', 'master log, record 5'.",
        ),
    ],
    chunk: Annotated[int, typer.Option("--chunk", min=0, help="Of a file: which chunk, from 0.")] = 0,
    block: Annotated[int, typer.Option("--block", min=0, help="Of a file: which 64 KB block of it, from 0.")] = 0,
    server: Annotated[str, typer.Option("--server", metavar="NODE", help="Whose replica; default: the first.")] = "",
    after: AfterOption = "",
    every: EveryOption = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Flip stored bits, on disk, while the server runs.

    The chunkserver finds out when it reads the block (every read verifies the checksum, GFS 5.2) or when its scrubber
    comes by, reports to the master, and the chunk is copied from a good replica. Also "…, header" and "…, checksum of
    block 1". A master finds a rotten record of its log when it starts.

    \b
        tabletop fault corrupt /notes/a.txt --chunk 0 --block 0 --server cs2
        tabletop fs cat /notes/a.txt        still right
        tabletop status                     one replica less, then three again
    """
    if not what.startswith("/"):
        if chunk or block or server:
            raise InvalidRequest("--chunk, --block and --server are for a path; here the words say it all")
        damage, target = stored(what)
        impose(cluster, damage, target, "", after, every)
        return
    if after or every:
        raise InvalidRequest(
            "--after and --every need a target in words, such as 'replica 1 of chunk 0 of /a, block 0'"
        )
    output.print(described(perform(_corrupt(RealCluster(cluster), what, chunk, block, server))), markup=False)


@app.command("list")
def list_faults(as_json: JsonOption = False, cluster: ClusterOption = DESK) -> None:
    """List the faults that last, oldest first."""
    with endings():
        found = RealCluster(cluster)
        found.folder.require()
        if as_json:
            print(json.dumps(fault_values(found), indent=2))
        elif faults := found.imposed():
            print_faults(faults, time.time())
        else:
            output.print("no fault lasts")


@app.command()
def heal(
    number: Annotated[int, typer.Argument(metavar="[ID]", help="As `tabletop fault list` shows it; default: all.")] = 0,
    cluster: ClusterOption = DESK,
) -> None:
    """End one fault, or all; starts again what they had ended, and returns when it serves."""
    healed = perform(_heal(RealCluster(cluster), number))
    if not healed:
        output.print("no fault lasted")
    for fault in healed:
        again = f"; started {listed(list(fault.nodes))} again" if isinstance(fault.what, Ending) else ""
        output.print(f"fault {fault.number} is over: {fault.words}{again}", markup=False)


for found in (
    link_fault_commands.partition,
    link_fault_commands.isolate,
    link_fault_commands.delay,
    link_fault_commands.loss,
    link_fault_commands.duplicate,
    link_fault_commands.reorder,
    link_fault_commands.slow,
    disk_fault_commands.eio,
    disk_fault_commands.full,
    disk_fault_commands.empty,
    disk_fault_commands.torn,
):
    app.command()(found)
app.command("slow-disk")(disk_fault_commands.slow_disk)
app.command("lying-fsync")(disk_fault_commands.lying_fsync)
app.command("end-session")(link_fault_commands.end_session)


def described(done: Corruption) -> str:
    """One corruption in words."""
    return (
        f"flipped {done.flipped_bytes} bytes of block {done.block} of chunk {done.chunk_index} of {done.path} "
        f"(handle {done.handle:#x}) on {done.server}: at byte {done.file_offset} of {done.file}"
    )


async def _restart(cluster: RealCluster, node: str) -> None:
    try:
        for name in [node] if node else cluster.settings.node_names():
            await cluster.restart(name)
            report = next(found for found in await cluster.nodes() if found.node == name)
            output.print(
                f"{name} is {report.state.value} again at {report.control_address} (process {report.process_id})"
            )
    finally:
        await cluster.close()


async def _corrupt(cluster: RealCluster, path: str, chunk: int, block: int, server: str) -> Corruption:
    try:
        cluster.require_master()
        return await cluster.corrupt(path, chunk, block, server)
    finally:
        await cluster.close()


async def _heal(cluster: RealCluster, number: int) -> list[Imposed]:
    try:
        return await cluster.heal(number or None)
    finally:
        await cluster.close()
