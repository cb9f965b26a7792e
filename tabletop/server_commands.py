"""`tabletop add`, `drain`, `remove`: chunkservers that come and go (GFS 4.3).

The master does the work in the background: it fills a new server gradually, and empties one that is drained. These
commands say what is wanted, and `--wait` shows how far it has come, by asking for the master's status. So a command
that is interrupted interrupts nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from cluster.leaving import left_to_drain, require_drained, server_in
from cluster.real import RealCluster
from runtime.errors import TabletopError
from runtime.wire.master_pb2 import ClusterStatus
from tabletop import wording
from tabletop.console import notes, output, perform, remark
from tabletop.options import DESK, ClusterOption

LOOK_SECONDS = 0.5
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when it is done, and tell how far it has come.")]


def add(
    what: Annotated[str, typer.Argument(metavar="chunkserver", help="What to add.")],
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="How many.")] = 1,
    wait: WaitOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Add chunkservers to a running cluster; returns when the master knows them.

    They get their share of new replicas, and what is stored already is moved to them gradually, until all servers store
    about the same (GFS 4.3).

    \b
        tabletop add chunkserver
        tabletop add chunkserver --count 3 --wait
    """
    if what not in ("chunkserver", "chunkservers"):
        raise typer.BadParameter(f"{what!r}: expected 'chunkserver'")
    names = perform(_add(RealCluster(cluster), count))
    output.print(f"added {', '.join(names)} to cluster {cluster}", markup=False)
    if wait:
        perform(_until_even(RealCluster(cluster), names))


def drain(
    servers: Annotated[list[str], typer.Argument(metavar="NODE...", help="Chunkservers, such as cs3.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="They stay after all.")] = False,
    wait: WaitOption = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Let chunkservers leave: nothing new is placed on them, and what they hold is copied elsewhere (GFS 4.3).

    They serve readers and writers until nothing is only there; then `tabletop remove` ends them. It is refused if the
    servers that stay could not hold as many copies as some file is to have.

    \b
        tabletop drain cs3 --wait && tabletop remove cs3
        tabletop drain cs3 --cancel
    """
    perform(_drain(RealCluster(cluster), servers, cancel, wait and not cancel))


def remove(
    server: Annotated[str, typer.Argument(metavar="NODE", help="A drained chunkserver.")],
    cluster: ClusterOption = DESK,
) -> None:
    """Stop a drained chunkserver, have the master forget it, and remove its folder.

    Refused as long as a chunk needs it.
    """
    perform(_remove(RealCluster(cluster), server))


async def _add(cluster: RealCluster, count: int) -> list[str]:
    try:
        with notes.status(f"adding to cluster {cluster.name} …"):
            return await cluster.add_chunkservers(count)
    finally:
        await cluster.close()


async def _until_even(cluster: RealCluster, names: Sequence[str]) -> None:
    """Return when two looks of the master at all chunks have found nothing to move."""
    quiet_since: list[int] = []  # the number of the look after which nothing had to be moved

    def left(status: ClusterStatus) -> str:
        if status.moves_planned:
            quiet_since.clear()
        elif not quiet_since:
            quiet_since.append(status.looks)
        held = [f"{name} holds {wording.count(server_in(status, name).chunk_count, 'chunk')}" for name in names]
        moves = wording.count(status.moves_planned, "copy", "copies")
        is_done = bool(quiet_since) and status.looks >= quiet_since[0] + 2
        return "" if is_done else f"{moves} to be moved at the last look; {', '.join(held)}"

    try:
        await _tell_until(cluster, left)
        status = await cluster.status()
        held = [f"{name} {wording.count(server_in(status, name).chunk_count, 'chunk')}" for name in names]
        output.print(f"evened out: {', '.join(held)}", markup=False)
    finally:
        await cluster.close()


async def _drain(cluster: RealCluster, names: Sequence[str], cancel: bool, wait: bool) -> None:
    try:
        cluster.require_master()
        await cluster.client().operators.drain(*names, cancel=cancel)
        listed = ", ".join(names)
        if cancel:
            output.print(f"{listed} will stay", markup=False)
            return
        if not wait:
            count = left_to_drain(await cluster.client().cluster_status(), names)
            output.print(
                f"draining {listed}: {wording.count(count, 'chunk')} to be copied elsewhere; `tabletop status` "
                "shows how far it has come",
                markup=False,
            )
            return

        def left(status: ClusterStatus) -> str:
            count = left_to_drain(status, names)
            return f"{wording.count(count, 'chunk needs', 'chunks need')} {listed} yet" if count else ""

        await _tell_until(cluster, left)
        output.print(f"nothing is left on {listed}; `tabletop remove {names[0]}` ends it", markup=False)
    finally:
        await cluster.close()


async def _remove(cluster: RealCluster, server: str) -> None:
    try:
        await require_drained(cluster, server)
        with notes.status(f"removing {server} …"):
            await cluster.remove_chunkserver(server)
        output.print(f"{server} has left cluster {cluster.name}", markup=False)
    finally:
        await cluster.close()


async def _tell_until(cluster: RealCluster, left: Callable[[ClusterStatus], str]) -> None:
    """Ask the master until nothing is left, and print what is whenever that changes."""
    told = ""
    while True:
        try:
            now = left(await cluster.client().cluster_status())
        except TabletopError as error:
            now = error.message
        if not now:
            return
        if now != told:
            told = now
            remark(now)
        await asyncio.sleep(LOOK_SECONDS)
