"""`tabletop fault`: break things on purpose. What each fault does is in cluster/faults.py."""

from typing import Annotated

import typer

from cluster.interface import Corruption
from cluster.real import RealCluster
from tabletop.console import output, perform
from tabletop.options import DESK, ClusterOption

app = typer.Typer(
    help="""Break a running cluster on purpose, and mend it.

    \b
    tabletop fault kill cs2                 as a crash would
    tabletop fault pause cs3                it keeps its connections, and answers nothing
    tabletop fault resume cs3
    tabletop fault restart cs2              start it again on its disk
    tabletop fault corrupt /notes/a.txt     flip bits in one stored block
    """,
    no_args_is_help=True,
)

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="master, cs1, cs2, … (see `tabletop ps`)")]


@app.command()
def kill(node: NodeArgument, cluster: ClusterOption = DESK) -> None:
    """End a node at once, without a goodbye (SIGKILL)."""
    perform(RealCluster(cluster).kill(node))
    output.print(f"{node} is killed")


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
def pause(node: NodeArgument, cluster: ClusterOption = DESK) -> None:
    """Freeze a node: it keeps its connections and answers nothing (SIGSTOP)."""
    perform(RealCluster(cluster).pause(node))
    output.print(f"{node} is paused; `tabletop fault resume {node}` lets it go on")


@app.command()
def resume(node: NodeArgument, cluster: ClusterOption = DESK) -> None:
    """Let a paused node go on (SIGCONT)."""
    perform(RealCluster(cluster).resume(node))
    output.print(f"{node} goes on")


@app.command()
def corrupt(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file in the cluster.")],
    chunk: Annotated[int, typer.Option("--chunk", min=0, help="Which chunk of the file, from 0.")] = 0,
    block: Annotated[int, typer.Option("--block", min=0, help="Which 64 KB block of the chunk, from 0.")] = 0,
    server: Annotated[str, typer.Option("--server", metavar="NODE", help="Whose replica; default: the first.")] = "",
    cluster: ClusterOption = DESK,
) -> None:
    """Flip bits in one stored block, on disk, while the chunkserver runs.

    The chunkserver finds out when it reads the block (every read verifies the checksum, GFS 5.2) or when its scrubber
    comes by, reports to the master, and the chunk is copied from a good replica.

    \b
        tabletop fault corrupt /notes/a.txt --chunk 0 --block 0 --server cs2
        tabletop fs cat /notes/a.txt        still right
        tabletop status                     one replica less, then three again
    """
    output.print(described(perform(_corrupt(RealCluster(cluster), path, chunk, block, server))), markup=False)


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
