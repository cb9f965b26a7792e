"""`tabletop up`, `down`, `ps`, `status`: a cluster's life. What they print is what they found at that moment."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.table import Table
from rich.text import Text

from cluster.interface import NodeReport, NodeState
from cluster.real import RealCluster
from cluster.settings import ClusterSettings, parse_bytes
from runtime.errors import TimedOut, Unavailable
from runtime.wire import master_pb2
from tabletop import wording
from tabletop.console import notes, output, perform, remark
from tabletop.options import DESK, ClusterOption, JsonOption, chunk_handle

DEFAULTS = ClusterSettings()
FOLDED_WIDTH = 12
"""A column of texts is never folded to less."""

COLUMN_GAP = 2

STATE_STYLES = {
    NodeState.SERVING: "green",
    NodeState.STARTING: "yellow",
    NodeState.PAUSED: "yellow",
    NodeState.HUNG: "red",
    NodeState.DEAD: "red",
    NodeState.STOPPED: "dim",
    NodeState.FAILED: "red",
}


def up(
    cluster: ClusterOption = DESK,
    chunkservers: Annotated[int | None, typer.Option(help=f"How many. Default: {DEFAULTS.chunkservers}.")] = None,
    replicas: Annotated[int | None, typer.Option(help=f"Copies of each chunk. Default: {DEFAULTS.replicas}.")] = None,
    chunk_size: Annotated[
        str | None, typer.Option(metavar="BYTES", help="Such as 64M (the default, GFS 2.5) or 256K; a multiple of 64K.")
    ] = None,
    lease_seconds: Annotated[
        float | None, typer.Option(help=f"Default: {DEFAULTS.lease_seconds:g} (GFS 3.1). Shorter heals sooner.")
    ] = None,
    heartbeat_seconds: Annotated[
        float | None, typer.Option(help=f"Between two heartbeats. Default: {DEFAULTS.heartbeat_seconds:g}.")
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(help="When a write is answered: 'replicated' (in every replica's memory; default) or 'fsync'."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The master's. Default: any free one.")] = None,
) -> None:
    """Start a cluster of real processes; returns when it serves.

    A cluster that exists is started again as it was made, with its files. Running `up` twice is harmless: the second
    reports what it finds.

    \b
        tabletop up
        tabletop up --cluster lesson --chunkservers 3 --chunk-size 1M --lease-seconds 10
    """
    perform(
        _up(
            RealCluster(cluster),
            port,
            {
                "chunkservers": chunkservers,
                "replicas": replicas,
                "chunk_bytes": None if chunk_size is None else parse_bytes(chunk_size),
                "lease_seconds": lease_seconds,
                "heartbeat_seconds": heartbeat_seconds,
                "durability": durability,
            },
        )
    )


def down(
    cluster: ClusterOption = DESK,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its files too, for good.")] = False,
) -> None:
    """Stop every process of a cluster. Its files stay, unless --purge is given."""
    perform(_down(RealCluster(cluster), purge))


def ps(cluster: ClusterOption = DESK, as_json: JsonOption = False) -> None:
    """List the nodes, as the operating system and the nodes themselves report them now.

    A node is serving, starting, paused (by a signal), hung (it runs and does not answer within a second), dead (it
    ended without a goodbye), stopped (in good order), or failed (it refused to go on).
    """
    perform(_ps(RealCluster(cluster), as_json))


def status(
    cluster: ClusterOption = DESK,
    as_json: JsonOption = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="Also every chunk and where its replicas are.")] = False,
) -> None:
    """Report on the whole cluster, as `hdfs dfsadmin -report` does. Exit code 3 if the master does not answer."""
    perform(_status(RealCluster(cluster), as_json, chunks))


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
        return await cluster.client().admit_replica(handle, server, force=force)
    finally:
        await cluster.close()


async def _up(cluster: RealCluster, port: int | None, given: dict[str, Any]) -> None:
    chosen = {key: value for key, value in given.items() if value is not None}
    made_with = cluster.settings if cluster.folder.exists() else ClusterSettings()
    settings = dataclasses.replace(made_with, **chosen)
    try:
        with notes.status(f"starting cluster {cluster.name} …"):
            started = await cluster.start(settings, port=port)
        reports = await cluster.nodes()
        if started:
            _print_reach(cluster, settings)
            return
        broken = [report for report in reports if report.state is not NodeState.SERVING]
        output.print(f"cluster {cluster.name} is already up; nothing was changed", markup=False)
        print_table(_node_table(reports))
        for report in broken:
            remark(_advice(report, cluster.name))
        if any(report.node == "master" for report in broken):
            raise Unavailable(f"cluster {cluster.name!r} does not serve: its master is not well", definite=True)
    finally:
        await cluster.close()


def _print_reach(cluster: RealCluster, settings: ClusterSettings) -> None:
    master = cluster.folder.read_record().master
    option = "" if cluster.name == DESK else f" --cluster {cluster.name}"
    output.print(
        f"cluster {cluster.name} serves: 1 master, {wording.count(settings.chunkservers, 'chunkserver')}, "
        f"{wording.count(settings.replicas, 'replica')}, chunks of {wording.size(settings.chunk_bytes)}, "
        f"leases of {settings.lease_seconds:g} s, durability {settings.durability!r}",
        markup=False,
    )
    output.print(f"master   {master}", markup=False)
    output.print(f"folder   {cluster.folder.path}", markup=False)
    output.print(f"try      tabletop fs put FILE /FILE{option}", markup=False)
    argument = "" if cluster.name == DESK else f"{cluster.name!r}"
    output.print(f"Python   import gfs; fs = gfs.connect({argument})", markup=False)
    output.print(f"stop     tabletop down{option}", markup=False)


async def _down(cluster: RealCluster, purge: bool) -> None:
    cluster.folder.require_exists()
    with notes.status(f"stopping cluster {cluster.name} …"):
        await cluster.stop(purge=purge)
    kept = "its files are gone" if purge else f"its files stay in {cluster.folder.path}"
    output.print(f"cluster {cluster.name} is down; {kept}", markup=False)


async def _ps(cluster: RealCluster, as_json: bool) -> None:
    try:
        reports = await cluster.nodes()
    finally:
        await cluster.close()
    if as_json:
        print(json.dumps([_node_values(report) for report in reports], indent=2))
    else:
        print_table(_node_table(reports))


async def _status(cluster: RealCluster, as_json: bool, chunks: bool) -> None:
    try:
        reports = await cluster.nodes()
        found, trouble = await _ask_master(cluster, chunks)
    finally:
        await cluster.close()
    if as_json:
        master = (
            None
            if found is None
            else MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        )
        values = {"cluster": cluster.name, "nodes": [_node_values(report) for report in reports], "master": master}
        print(json.dumps(values, indent=2))
    elif found is not None:
        _print_status(cluster, reports, found)
    else:
        print_table(_node_table(reports))
    if found is None:
        master_report = reports[0]
        raise Unavailable(
            f"the master of cluster {cluster.name!r} is {master_report.state.value} and gives no report: "
            f"{trouble or master_report.note}; mend it with `{_remedy(master_report, cluster.name)}`",
            definite=True,
        )


async def _ask_master(cluster: RealCluster, chunks: bool) -> tuple[master_pb2.ClusterStatus | None, str]:
    try:
        return await cluster.status(chunks=chunks), ""
    except (Unavailable, TimedOut) as error:
        return None, error.message


def _print_status(cluster: RealCluster, reports: list[NodeReport], found: master_pb2.ClusterStatus) -> None:
    total = sum(server.disk_total_bytes for server in found.servers if server.alive)
    free = sum(server.disk_free_bytes for server in found.servers if server.alive)
    stored = sum(server.stored_bytes for server in found.servers)
    lines = [
        ("Cluster", f"{found.cluster} (master {cluster.folder.read_record().master})"),
        ("Master up for", wording.duration(found.uptime_seconds)),
        ("Configured capacity", f"{total} ({wording.size(total)})"),
        ("Remaining", f"{free} ({wording.size(free)})"),
        ("Used, all replicas", f"{stored} ({wording.size(stored)})"),
        ("Files", f"{found.file_count:,}, in {wording.count(found.directory_count, 'directory', 'directories')}"),
        ("Deleted, kept for a while", f"{found.hidden_files:,}"),
        ("Chunks", f"{found.chunk_count:,} of up to {wording.size(found.chunk_bytes)}"),
        ("Replication goal", f"{found.replication_goal}"),
        ("Under-replicated chunks", f"{found.under_replicated_chunks:,}"),
        ("Missing chunks", f"{found.missing_chunks:,}"),
        ("  to be compared first", f"{found.unsure_chunks:,}"),
        ("Copies being made", f"{found.clones_running:,}"),
        ("Operation log", f"{found.log_sequence:,} records, {wording.size(found.log_bytes)} since the last checkpoint"),
        ("Leases", f"{found.lease_seconds:g} s"),
    ]
    if found.recovery_note:
        lines.append(("Last recovery", found.recovery_note))
    for label, text in lines:
        output.print(f"{label + ':':<27}{text}", markup=False)
    by_name = {report.node: report for report in reports}
    for alive, title in ((True, "Live"), (False, "Dead")):
        servers = [server for server in found.servers if server.alive is alive]
        if servers or alive:
            output.print(f"\n{title} chunkservers ({len(servers)}), as the master sees them:", markup=False)
        if servers:
            print_table(_server_table(servers, by_name))
    for report in reports:
        if report.state is not NodeState.SERVING:
            remark(_advice(report, cluster.name))
    if found.chunks:
        output.print()
        print_table(chunk_table(found.chunks))


def _server_table(servers: list[master_pb2.ServerStatus], reports: dict[str, NodeReport]) -> Table:
    table = plain_table("NODE", "STATE", "HEARTBEAT", "CHUNKS", "PRIMARY OF", "STORED", "DISK FREE", "ADDRESS")
    for server in servers:
        report = reports.get(server.location.server)
        state = report.state if report else NodeState.HUNG
        table.add_row(
            server.location.server,
            f"[{STATE_STYLES[state]}]{state.value}[/]",
            f"{wording.duration(server.seconds_since_heartbeat)} ago",
            f"{server.chunk_count:,}",
            f"{server.lease_count:,}",
            wording.size(server.stored_bytes),
            wording.size(server.disk_free_bytes),
            server.location.control_address,
        )
    return table


def chunk_table(chunks: Iterable[master_pb2.ChunkStatus]) -> Table:
    """Chunks and where they are."""
    table = plain_table("FILE", "CHUNK", "HANDLE", "VERSION", "LENGTH", "PRIMARY", "REPLICAS", "NOTE")
    for found in chunks:
        names = " ".join(replica.server for replica in found.chunk.replicas)
        few = len(found.chunk.replicas) < found.replication_goal
        table.add_row(
            found.path,
            str(found.chunk.index),
            f"{found.chunk.handle:#x}",
            str(found.chunk.version),
            wording.size(found.chunk.length),
            found.primary or "-",
            f"[red]{names or 'none'} ({len(found.chunk.replicas)} of {found.replication_goal})[/]" if few else names,
            "; ".join(
                [*(f"{other.server}: {other.state}" for other in found.others), *filter(None, [found.waits_for])]
            ),
        )
    return table


def _node_table(reports: list[NodeReport]) -> Table:
    table = plain_table("NODE", "ROLE", "STATE", "PID", "UP FOR", "MEMORY", "CONTROL", "BULK", "NOTE")
    for report in reports:
        serving = report.state is NodeState.SERVING
        table.add_row(
            report.node,
            report.role,
            f"[{STATE_STYLES[report.state]}]{report.state.value}[/]",
            str(report.process_id or "-"),
            wording.duration(report.uptime_seconds) if serving else "-",
            wording.size(report.resident_bytes) if serving else "-",
            report.control_address or "-",
            report.bulk_address or "-",
            report.note,
        )
    return table


def plain_table(*columns: str, folding: tuple[str, ...] = ("NOTE",)) -> Table:
    """A table without frames, that reads well in a pipe too. `folding`: texts that are broken where room is scarce."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = column.header not in folding
        column.overflow = "ellipsis" if column.no_wrap else "fold"
    return table


def print_table(table: Table) -> None:
    """Print a table so that every figure can be read: where it does not fit, texts are folded; then it goes on beyond
    the edge of the terminal."""
    least = _least_width(table)
    table.width = least if least > output.width else None
    output.print(table)


def _least_width(table: Table) -> int:
    widths = []
    for column in table.columns:
        cells = [Text.from_markup(str(cell)).cell_len for cell in (column.header, *column.cells)]
        widths.append(max(cells) if column.no_wrap else min(max(cells), max(cells[0], FOLDED_WIDTH)))
    return sum(widths) + COLUMN_GAP * (len(widths) - 1)


def _node_values(report: NodeReport) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "state": report.state.value}


def _advice(report: NodeReport, cluster: str) -> str:
    return f"{report.node} is {report.state.value}; mend it with `{_remedy(report, cluster)}`"


def _remedy(report: NodeReport, cluster: str) -> str:
    verb = "resume" if report.state is NodeState.PAUSED else "restart"
    option = "" if cluster == DESK else f" --cluster {cluster}"
    return f"tabletop fault {verb} {report.node}{option}"
