"""`tabletop up`, `down`, `ps`, `clusters`, `admit`: a cluster's life.

What they print is what they found at that moment.
"""

import dataclasses
import json
from typing import Annotated, Any

import typer

from cluster.folder import cluster_names
from cluster.interface import NodeState
from cluster.real import RealCluster
from cluster.roles import DEAD_AFTER_HEARTBEATS
from cluster.settings import ClusterSettings, parse_bytes
from cluster.topology import racks
from runtime.errors import InvalidRequest, TabletopError, TooFewServers, Unavailable
from runtime.settings import LEASE_SECONDS
from tabletop import wording
from tabletop.console import notes, output, perform, remark
from tabletop.fault_answers import print_experiments
from tabletop.node_table import advice, node_table, node_values
from tabletop.options import DESK, ClusterOption, JsonOption, chunk_handle
from tabletop.tables import plain_table, print_table

DEFAULTS = ClusterSettings()
ExperimentsOption = Annotated[
    bool | None,
    typer.Option(
        "--experiments/--no-experiments",
        help="Let `tabletop fault` break the networks and disks of its nodes (docs/faults.md).",
    ),
]
TopologyOption = Annotated[
    str | None, typer.Option(help="The same with data centres: dc1:r1,r2/dc2:r3. Copies are spread over them.")
]
SmallOption = Annotated[
    bool, typer.Option("--small", help="Take little memory: six processes in under 250 MB (docs/drills.md).")
]

PlacementOption = Annotated[
    str | None,
    typer.Option(help="How servers are chosen for copies: 'paper' (GFS 4.2; default) or 'hashing' (a ring)."),
]
TabletServersOption = Annotated[
    int | None, typer.Option(help="How many serve tables (BT 5); a tablet master comes with them. Default: 0.")
]

TabletBytesOption = Annotated[
    str | None,
    typer.Option(metavar="BYTES", help="A tablet with more is split. Default: 128M (BT 5); small for lessons: 1M."),
]


def up(
    cluster: ClusterOption = DESK,
    chunkservers: Annotated[int | None, typer.Option(help=f"How many. Default: {DEFAULTS.chunkservers}.")] = None,
    replicas: Annotated[int | None, typer.Option(help=f"Copies of each chunk. Default: {DEFAULTS.replicas}.")] = None,
    chunk_size: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Such as 64M (the default, GFS 2.5) or 256K; a multiple of 64K.")
    ] = None,
    lease_seconds: Annotated[
        float | None,
        typer.Option(
            help=f"Of a primary. Default: {DEFAULTS.lease_seconds:g}; the paper's: {LEASE_SECONDS:g} (GFS 3.1)."
        ),
    ] = None,
    heartbeat_seconds: Annotated[
        float | None,
        typer.Option(
            help=f"Between heartbeats. Default: {DEFAULTS.heartbeat_seconds:g}; the paper names no number. A server "
            f"that missed {DEAD_AFTER_HEARTBEATS:g} is given up, and its chunks are copied."
        ),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(help="When a write is answered: 'replicated' (in every replica's memory; default) or 'fsync'."),
    ] = None,
    trash_seconds: Annotated[
        float | None,
        typer.Option(help=f"How long a deleted file can be had back. Default: {DEFAULTS.trash_seconds:g} (GFS 4.4)."),
    ] = None,
    masters: Annotated[
        int | None, typer.Option(help="How many: one acts, others take over (GFS 5.1.3). Default: 1.")
    ] = None,
    tablet_servers: TabletServersOption = None,
    tablet_bytes: TabletBytesOption = None,
    rack_count: Annotated[
        int | None,
        typer.Option("--racks", metavar="N", help="Put the chunkservers into so many racks in turn (GFS 4.2)."),
    ] = None,
    topology: TopologyOption = None,
    placement: PlacementOption = None,
    clone_rate: Annotated[
        str | None, typer.Option(metavar="BYTES", help="A second, for each copy that is made, such as 10M (GFS 4.3).")
    ] = None,
    small: SmallOption = False,
    experiments: ExperimentsOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The master's; 0: any free one, or the same again.")] = 0,
) -> None:
    """Start a cluster of real processes; returns when it serves.

    A cluster that exists is started again as it was made, with its files. Of one that runs in part, what is missing is
    started; one that runs is left alone.

    \b
        tabletop up
        tabletop up --cluster lesson --chunkservers 3 --chunk-size 1M --lease-seconds 10
        tabletop up --cluster three --masters 3 --tablet-servers 3
    """
    perform(
        _up(
            RealCluster(cluster),
            port,
            {
                "topology": _topology(rack_count, topology),
                "placement": placement,
                "clone_bytes_per_second": _bytes(clone_rate),
                "chunkservers": chunkservers,
                "replicas": replicas,
                "chunk_bytes": _bytes(chunk_size),
                "lease_seconds": lease_seconds,
                "heartbeat_seconds": heartbeat_seconds,
                "durability": durability,
                "trash_seconds": trash_seconds,
                "masters": masters,
                "small": small or None,
                "experiments": experiments,
                "tablet_servers": tablet_servers,
                "tablet_bytes": _bytes(tablet_bytes),
            },
        )
    )


def _bytes(text: str | None) -> int | None:
    return None if text is None else parse_bytes(text)


def _topology(rack_count: int | None, topology: str | None) -> str | None:
    """The topology that two options ask for. Raises BadParameter if they are two."""
    if rack_count is None:
        return topology
    if topology is not None:
        raise typer.BadParameter("--racks 3 is short for --topology r1,r2,r3: give one of them")
    return racks(rack_count)


def down(
    cluster: ClusterOption = DESK,
    every: Annotated[bool, typer.Option("--all", help="All clusters of this user on this machine.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its files too, for good.")] = False,
) -> None:
    """Stop every process of a cluster. Its files stay, unless --purge is given."""
    names = cluster_names() if every else [cluster]
    if not names:
        output.print("there is no cluster")
    for name in names:
        perform(_down(RealCluster(name), purge))


def clusters(as_json: JsonOption = False) -> None:
    """List all clusters of this user on this machine, running or not."""
    perform(_clusters(as_json))


def ps(cluster: ClusterOption = DESK, as_json: JsonOption = False) -> None:
    """List the nodes, as the operating system and the nodes themselves report them now.

    A node is serving, starting, paused (by a signal), hung (it runs and does not answer within a second), dead (it
    ended without a goodbye), stopped (in good order), or failed (it refused to go on).
    """
    perform(_ps(RealCluster(cluster), as_json))


def admit(
    handle: Annotated[str, typer.Argument(metavar="HANDLE", help="A chunk, as `tabletop status --chunks` shows it.")],
    server: Annotated[str, typer.Argument(metavar="NODE", help="Whose replica the chunk is to continue with.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if a server that cannot be reached may hold a newer replica.")
    ] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Let a chunk that has no current replica left continue with one that was put aside.

    The master never deletes the last copies of a chunk, and never takes a stale, damaged or unsure one for the truth by
    itself. This is for a person who knows that nothing better will come back.

    \b
        tabletop status --chunks                what is left of each chunk, and what it waits for
        tabletop admit 0x2a cs3 --force         continue with the replica of cs3
    """
    number = chunk_handle(handle)
    version = perform(_admit(RealCluster(cluster), number, server, force))
    output.print(f"chunk {number:#x} continues with the replica on {server}, as version {version}", markup=False)


async def _admit(cluster: RealCluster, handle: int, server: str, force: bool) -> int:
    try:
        cluster.require_master()
        return await cluster.client().admit_replica(handle, server, force=force)
    finally:
        await cluster.close()


async def _up(cluster: RealCluster, port: int, given: dict[str, Any]) -> None:
    chosen = {key: value for key, value in given.items() if value is not None}
    made_with = cluster.made_with() or ClusterSettings()
    settings = dataclasses.replace(made_with, **chosen)
    try:
        settings.check()
    except TooFewServers as error:
        raise InvalidRequest(error.message) from None
    try:
        with notes.status(f"starting cluster {cluster.name} …"):
            started = await cluster.start(settings, port=port or None)
        reports = await cluster.nodes()
    finally:
        await cluster.close()
    broken = [report for report in reports if report.state is not NodeState.SERVING]
    if len(started) == len(reports):
        _print_reach(cluster, settings)
    else:
        what = f"started {', '.join(started)}" if started else "nothing was changed"
        output.print(f"cluster {cluster.name} was up already; {what}", markup=False)
        print_table(node_table(reports))
    for report in broken:
        remark(advice(report))
    if broken:
        names = ", ".join(f"{report.node} is {report.state.value}" for report in broken)
        raise Unavailable(f"cluster {cluster.name!r} does not serve as it should: {names}", definite=True)


def _print_reach(cluster: RealCluster, settings: ClusterSettings) -> None:
    master = cluster.folder.read_record().master
    output.print(
        f"cluster {cluster.name} serves: {wording.count(settings.masters, 'master')}, "
        f"{wording.count(settings.chunkservers, 'chunkserver')}, "
        f"{wording.count(settings.tablet_servers, 'tablet server') + ', ' if settings.tablet_servers else ''}"
        f"{wording.count(settings.replicas, 'replica')}, chunks of {wording.size(settings.chunk_bytes)}, "
        f"leases of {settings.lease_seconds:g} s, durability {settings.durability!r}",
        markup=False,
    )
    output.print(f"master   {master}", markup=False)
    output.print(f"folder   {cluster.folder.path}", markup=False)
    output.print("try      `tabletop fs put FILE /FILE`", markup=False)
    if settings.tablet_servers:
        output.print("         `tabletop table create users profile`", markup=False)
    argument = "" if cluster.name == DESK else f"{cluster.name!r}"
    output.print(f"Python   import gfs; fs = gfs.connect({argument})", markup=False)
    if settings.experiments:
        output.print("break    `tabletop fault partition cs1 / master`, `tabletop fault --help`", markup=False)
    output.print("stop     `tabletop down`", markup=False)


async def _down(cluster: RealCluster, purge: bool) -> None:
    cluster.folder.require_exists()
    with notes.status(f"stopping cluster {cluster.name} …"):
        await cluster.stop(purge=purge)
    kept = "its files are gone" if purge else f"its files stay in {cluster.folder.path}"
    output.print(f"cluster {cluster.name} is down; {kept}", markup=False)


async def _ps(cluster: RealCluster, as_json: bool) -> None:
    try:
        reports, topology = await cluster.nodes(), cluster.settings.topology
    finally:
        await cluster.close()
    if as_json:
        print(json.dumps([node_values(report) for report in reports], indent=2))
    else:
        print_table(node_table(reports, topology))
        print_experiments(cluster)


async def _clusters(as_json: bool) -> None:
    found = [await _one_cluster(name) for name in cluster_names()]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = plain_table("CLUSTER", "STATE", "NODES", "MASTER", "FOLDER")
    for one in found:
        table.add_row(*(str(one[key]) for key in ("cluster", "state", "nodes", "master", "folder")))
    print_table(table)


async def _one_cluster(name: str) -> dict[str, str]:
    cluster = RealCluster(name)
    try:
        reports = await cluster.nodes()
        serving = sum(report.state is NodeState.SERVING for report in reports)
        state = "up" if serving == len(reports) else "down" if cluster.is_down() else "in part"
        nodes, master = f"{serving} of {len(reports)} serve", cluster.folder.read_record().master or "-"
    except TabletopError as error:
        state, nodes, master = f"unreadable: {error.message}", "-", "-"
    finally:
        await cluster.close()
    return {"cluster": name, "state": state, "nodes": nodes, "master": master, "folder": str(cluster.folder.path)}
