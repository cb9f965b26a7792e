"""`tabletop status` and `tabletop wait`: what the master knows, beside what the processes are, and what is waited for.

Two views meet here, and may differ for a while: the operating system knows at once that a process is gone, the master
only after some silence (GFS 4.3 names no number). So they stand in two columns, and where they differ, a sentence says
what happens next and when.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.text import Text

from cluster.interface import NodeReport, NodeState
from cluster.real import RealCluster
from runtime.errors import TimedOut, Unavailable
from runtime.wire import common_pb2, master_pb2
from tabletop import wording
from tabletop.console import ExitCode, fail, output, perform, remark
from tabletop.fault_answers import fault_values, print_experiments
from tabletop.masters_command import lag, masters_table, out_of_sync
from tabletop.node_table import STATE_STYLES, advice, node_table, node_values, remedy
from tabletop.options import DESK, ClusterOption, JsonOption
from tabletop.tables import plain_table, print_table
from tabletop.tables_report import print_tables_report, tables_report, tables_values

WATCH_SECONDS = 1.0
LOOK_SECONDS = 0.25
Reports = list[NodeReport]


def status(
    cluster: ClusterOption = DESK,
    as_json: JsonOption = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="Also every chunk and where its replicas are.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Report on the whole cluster, as `hdfs dfsadmin -report` does. Exit code 3 if the master does not answer.

    \b
        tabletop status
        tabletop status --watch                 in a second terminal, while you break things
        tabletop status --chunks                also why a chunk is not copied yet
    """
    perform(_watch(RealCluster(cluster), as_json, chunks) if watch else _status(RealCluster(cluster), as_json, chunks))


def wait(
    state: Annotated[str, typer.Argument(metavar="healed", help="What to wait for.")],
    cluster: ClusterOption = DESK,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long at most.")] = 120.0,
) -> None:
    """Return once the cluster is healed: the master knows of every server that is down, every chunk has as many good
    replicas as it should, and nothing is being copied. Exit code 1 if that takes too long.

    \b
        tabletop fault kill cs1 && tabletop wait healed
    """
    if state != "healed":
        raise typer.BadParameter(f"{state!r}: expected 'healed'")
    perform(_wait_healed(RealCluster(cluster), timeout))


async def _status(cluster: RealCluster, as_json: bool, chunks: bool) -> None:
    try:
        await _show(cluster, as_json, chunks)
    finally:
        await cluster.close()


async def _watch(cluster: RealCluster, as_json: bool, chunks: bool) -> None:
    try:
        cluster.settings  # noqa: B018 - raises if there is no such cluster
        while True:
            if output.is_terminal:
                output.clear()
            try:
                await _show(cluster, as_json, chunks)
            except Unavailable as error:
                remark(error.message)
            output.print()
            await asyncio.sleep(WATCH_SECONDS)
    finally:
        await cluster.close()


async def _show(cluster: RealCluster, as_json: bool, chunks: bool) -> None:
    reports = await cluster.nodes()
    (found, trouble), tables = await asyncio.gather(_ask_master(cluster, chunks), tables_report(cluster, reports))
    if as_json:
        nodes = [node_values(report) for report in reports]
        master = None if found is None else _master_values(found)
        values = {"cluster": cluster.name, "nodes": nodes, "master": master, "faults": fault_values(cluster)}
        values["tables"] = tables_values(tables)
        print(json.dumps(values, indent=2))
    elif found is not None:
        await _print_masters(cluster)
        _print_status(cluster, reports, found)
    else:
        print_table(node_table(reports))
    if not as_json:
        print_tables_report(tables)
        print_experiments(cluster)
    if found is None:
        raise Unavailable(_no_report(cluster, reports, trouble), definite=True)


def _no_report(cluster: RealCluster, reports: Reports, trouble: str) -> str:
    if cluster.is_down():
        return cluster.down_message()
    master = reports[0]
    if master.state is NodeState.SERVING:
        return f"the master of cluster {cluster.name!r} gives no report: {trouble}"
    because = f" ({master.note})" if master.note else ""
    return (
        f"the master of cluster {cluster.name!r} is {master.state.value}{because} and gives no report; mend it with "
        f"`{remedy(master)}`"
    )


def _master_values(found: master_pb2.ClusterStatus) -> dict[str, Any]:
    return MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


async def _ask_master(cluster: RealCluster, chunks: bool) -> tuple[master_pb2.ClusterStatus | None, str]:
    try:
        return await cluster.status(chunks=chunks), ""
    except (Unavailable, TimedOut) as error:
        return None, error.message


async def _print_masters(cluster: RealCluster) -> None:
    """Of several masters: which one acts, and how far the others are."""
    if found := await cluster.standings():
        print_table(masters_table(found))
        output.print()


def _print_status(cluster: RealCluster, reports: Reports, found: master_pb2.ClusterStatus) -> None:
    if found.HasField("shadow"):
        shadow = found.shadow
        remark(f"no master acts: {shadow.master}, a shadow that is {lag(shadow.lag_seconds)} behind, tells this")
    for label, text in _figures(cluster, found):
        output.print(f"{label + ':':<27}{text}", markup=False)
    alive = sum(server.alive for server in found.servers)
    output.print(
        f"\nChunkservers: {len(found.servers)}, of which the master counts {alive} as live "
        f"and {len(found.servers) - alive} as dead",
        markup=False,
    )
    _print_servers(found, reports)
    for sentence in what_is_waited_for(found, reports):
        output.print(sentence, markup=False)
    for report in reports:
        if report.state is not NodeState.SERVING:
            remark(advice(report))
    if found.chunks:
        output.print()
        print_chunks(found.chunks)


def _figures(cluster: RealCluster, found: master_pb2.ClusterStatus) -> list[tuple[str, str]]:
    total, free, disks = capacity(found.servers, cluster.disks())
    stored = sum(server.stored_bytes for server in found.servers)
    shared = f", on {wording.count(disks, 'disk')} of this machine" if disks else ""
    lines = [
        ("Cluster", f"{found.cluster} (master {cluster.folder.read_record().master})"),
        ("Master up for", wording.duration(found.uptime_seconds)),
        ("Safe mode", safe_mode_words(found.safe_mode)),
        ("Configured capacity", f"{total} ({wording.size(total)}){shared}"),
        ("Remaining", f"{free} ({wording.size(free)})"),
        ("Used, all replicas", f"{stored} ({wording.size(stored)})"),
        ("Files", f"{found.file_count:,}, in {wording.count(found.directory_count, 'directory', 'directories')}"),
        ("Deleted, can be had back", f"{found.hidden_files:,}, for {wording.duration(found.trash_grace_seconds)}"),
        ("Chunks", f"{found.chunk_count:,} of up to {wording.size(found.chunk_bytes)}"),
        ("Replication goal", f"{found.replication_goal}"),
        ("Under-replicated chunks", f"{found.under_replicated_chunks:,}"),
        ("Missing chunks", f"{found.missing_chunks:,}"),
        ("  to be compared first", f"{found.unsure_chunks:,}"),
        ("  with damaged copies only", f"{found.corrupt_chunks:,}"),
        ("Damaged replicas", f"{found.corrupt_replicas:,}"),
        ("Copies being made", f"{found.clones_running:,}"),
        ("Placement", found.placement),
        ("  chunks not spread", f"{found.misplaced_chunks:,}"),
        ("  copies to be moved", f"{found.moves_planned:,}"),
        ("Hot chunks", f"{found.hot_chunks:,}"),
        ("Operation log", f"{found.log_sequence:,} records, {wording.size(found.log_bytes)} since the last checkpoint"),
        ("Leases", f"{found.lease_seconds:g} s"),
        ("Given up after", f"{found.dead_after_seconds:g} s of silence"),
    ]
    if found.recovery_note:
        lines.append(("Last recovery", found.recovery_note))
    return lines


def safe_mode_words(found: master_pb2.SafeMode) -> str:
    """Whether the master is in safe mode, and why.

    >>> safe_mode_words(master_pb2.SafeMode()), safe_mode_words(master_pb2.SafeMode(is_on=True, reason="it starts"))
    ('off', 'on: it starts (0.0% of the chunks have a replica)')
    """
    if not found.is_on:
        return "off"
    return f"on: {found.reason} ({found.chunks_found:.1%} of the chunks have a replica)"


def capacity(servers: Iterable[master_pb2.ServerStatus], disks: dict[str, int]) -> tuple[int, int, int]:
    """Bytes in total and free, of live servers, and the number of disks; several servers on one disk count once."""
    found: dict[object, tuple[int, int]] = {}
    for server in servers:
        if server.alive:
            name = server.location.server
            found[disks.get(name, name)] = (server.disk_total_bytes, server.disk_free_bytes)
    return sum(total for total, _ in found.values()), sum(free for _, free in found.values()), len(found)


def what_is_waited_for(found: master_pb2.ClusterStatus, reports: Reports) -> list[str]:
    """What happens next and when, where the cluster is not as it should be; empty if all is well."""
    states = {report.node: report.state for report in reports}
    sentences = []
    for server in found.servers:
        name, silence = server.location.server, server.seconds_since_heartbeat
        left = found.dead_after_seconds - silence
        if server.alive and states.get(name) is not NodeState.SERVING:
            held = wording.count(server.chunk_count, "chunk")
            sentences.append(
                f"{name} has been silent for {silence:.1f} s and may come back; in {max(left, 0):.0f} s the master "
                f"gives it up and has its {held} copied from elsewhere"
            )
    if found.clones_running:
        sentences.append(f"{wording.count(found.clones_running, 'copy is', 'copies are')} being made now")
    elif found.under_replicated_chunks and not sentences:
        live = sum(server.alive for server in found.servers)
        if live < found.replication_goal:
            servers = wording.count(live, "live chunkserver")
            sentences.append(f"{servers} cannot hold {found.replication_goal} copies; start more with `tabletop up`")
        else:
            sentences.append("`tabletop status --chunks` says what each chunk waits for")
    if found.corrupt_chunks:
        sentences.append(
            "`tabletop status --chunks` shows the damaged chunks, and older copies that `tabletop admit` accepts"
        )
    return sentences


def _print_servers(found: master_pb2.ClusterStatus, reports: Reports) -> None:
    by_name = {report.node: report for report in reports}
    has_racks = any(server.location.rack for server in found.servers)
    columns = ["NODE", *(["RACK"] if has_racks else []), "MASTER SEES", "PROCESS", "HEARTBEAT", "CHUNKS", "PRIMARY OF"]
    table = plain_table(*columns, "STORED", "DISK FREE", "ADDRESS")
    for server in found.servers:
        report = by_name.get(server.location.server)
        state = report.state if report else NodeState.STOPPED
        table.add_row(
            server.location.server,
            *([_rack(server.location)] if has_racks else []),
            _seen(server),
            f"[{STATE_STYLES[state]}]{state.value}[/]",
            f"{wording.duration(server.seconds_since_heartbeat)} ago",
            f"{server.chunk_count:,}",
            f"{server.lease_count:,}",
            wording.size(server.stored_bytes),
            wording.size(server.disk_free_bytes),
            server.location.control_address,
        )
    print_table(table)


def _seen(server: master_pb2.ServerStatus) -> str:
    """What the master thinks of a chunkserver, and what is left on one that is to leave."""
    state = "[green]live[/]" if server.alive else "[red]dead[/]"
    if not server.draining:
        return state
    left = server.left_to_drain
    return f"{state}, [yellow]draining, {left:,} left[/]" if left else f"{state}, [green]drained[/]"


def _rack(place: common_pb2.Location) -> str:
    return "/".join(filter(None, (place.data_centre, place.rack))) or "-"


def print_chunks(chunks: Iterable[master_pb2.ChunkStatus]) -> None:
    """Chunks and where they are, a line each. The path comes last, so that no line is longer than it has to be."""
    rows: list[tuple[str, ...]] = [("HANDLE", "VERSION", "LENGTH", "PRIMARY", "REPLICAS", "CHUNK", "FILE", "")]
    rows += [_chunk_row(found) for found in chunks]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    text = Text()
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        line = "  ".join([*cells, *filter(None, row[6:])])
        text.append(f"{line}\n", style="red" if " of " in row[4] else "")
    output.print(text, end="")


def _chunk_row(found: master_pb2.ChunkStatus) -> tuple[str, ...]:
    names = " ".join(replica.server for replica in found.chunk.replicas)
    few = len(found.chunk.replicas) < found.replication_goal
    note = "; ".join([*(f"{other.server}: {other.state}" for other in found.others), *filter(None, [found.waits_for])])
    return (
        f"{found.chunk.handle:#x}",
        str(found.chunk.version),
        wording.size(found.chunk.length),
        found.primary or "-",
        f"{names or 'none'} ({len(found.chunk.replicas)} of {found.replication_goal})" if few else names,
        str(found.chunk.index),
        wording.printable(found.path),
        f"({note})" if note else "",
    )


async def _wait_healed(cluster: RealCluster, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began, told = loop.time(), ""
    try:
        if cluster.is_down():
            raise Unavailable(cluster.down_message(), definite=True)
        while True:
            reports = await cluster.nodes()
            found, trouble = await _ask_master(cluster, chunks=False)
            left = [_no_report(cluster, reports, trouble)] if found is None else what_is_left(found, reports)
            left += out_of_sync(await cluster.standings())
            passed = loop.time() - began
            if not left:
                output.print(f"healed after {wording.duration(passed)}", markup=False)
                return
            if passed >= seconds:
                fail(f"not healed after {seconds:g} seconds: {'; '.join(left)}", ExitCode.FAILED)
            if (told_now := _without_figures(left)) != told:
                told = told_now
                remark("; ".join(left))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await cluster.close()


def _without_figures(sentences: list[str]) -> str:
    return "".join(character for character in "".join(sentences) if not character.isdigit())


def what_is_left(found: master_pb2.ClusterStatus, reports: Reports) -> list[str]:
    """What keeps the cluster from being healed; empty if nothing does."""
    left = []
    if found.HasField("shadow"):
        left.append("no master acts")
    if found.missing_chunks:
        left.append(f"{wording.count(found.missing_chunks, 'chunk')} missing")
    if found.under_replicated_chunks:
        left.append(f"{wording.count(found.under_replicated_chunks, 'chunk')} under-replicated")
    if found.corrupt_replicas:
        left.append(f"{wording.count(found.corrupt_replicas, 'damaged replica')} to be replaced")
    return left + [sentence for sentence in what_is_waited_for(found, reports) if "`" not in sentence]
