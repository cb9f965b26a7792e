"""`tabletop admin report` and `admin safemode`: the master's view in the manner of `hdfs dfsadmin`."""

import enum
import json
from typing import Annotated, Any

import typer

from cluster.real import RealCluster
from gfs.client import Client
from runtime.wire import master_pb2
from tabletop import wording
from tabletop.console import output, perform
from tabletop.file_commands import with_client, with_cluster
from tabletop.options import DESK, ClusterOption, JsonOption
from tabletop.status_command import capacity, safe_mode_words
from tabletop.tables import plain_table, print_table
from tabletop.tables_report import print_tables_report, tables_report, tables_values


class Change(enum.Enum):
    """What is to become of safe mode."""

    GET = "get"
    ENTER = "enter"
    LEAVE = "leave"


def report(as_json: JsonOption = False, cluster: ClusterOption = DESK) -> None:
    """Report what the master knows: space, what is short of copies, damaged or missing, and each chunkserver.

    As `hdfs dfsadmin -report`. `tabletop status` also looks at the processes, and says what happens next.

    \b
        tabletop admin report
        tabletop admin report --json
    """
    perform(with_cluster(cluster, lambda real: _report(real, as_json)))


def safemode(
    action: Annotated[Change, typer.Argument(metavar="get|enter|leave", help="Show, begin or end it.")] = Change.GET,
    cluster: ClusterOption = DESK,
) -> None:
    """Show, enter or leave safe mode, in which the master orders neither copies nor removals.

    A master that has started is in it until its chunkservers have reported. What an operator has entered stays, also
    over a restart of the master, until somebody leaves it; until then no file or directory can be made, renamed or
    deleted. What is there can be read and written.

    \b
        tabletop admin safemode enter
        tabletop admin safemode leave
    """
    perform(with_client(cluster, lambda client: _safemode(client, action)), changes=action is not Change.GET)


async def _safemode(client: Client, action: Change) -> None:
    operators = client.operators
    ask = {
        Change.GET: operators.safe_mode,
        Change.ENTER: operators.enter_safe_mode,
        Change.LEAVE: operators.leave_safe_mode,
    }
    output.print(f"safe mode is {safe_mode_words(await ask[action]())}", markup=False)


async def _report(cluster: RealCluster, as_json: bool) -> None:
    found = await cluster.client().cluster_status()
    disks = cluster.disks()
    tables = await tables_report(cluster, await cluster.nodes())
    if as_json:
        print(json.dumps({**_values(found, disks), "tables": tables_values(tables)}, indent=2))
        return
    for label, text in _figures(found, disks):
        output.print(f"{label + ':':<27}{text}", markup=False)
    alive = sum(server.alive for server in found.servers)
    output.print(f"\nLive chunkservers ({alive}), dead chunkservers ({len(found.servers) - alive})", markup=False)
    table = plain_table(
        "NODE", "STATE", "LAST CONTACT", "CAPACITY", "STORED", "REMAINING", "REMAINING %", "CHUNKS", "PRIMARY OF",
        "COPIES IN", "COPIES OUT",
    )  # fmt: skip
    for server in found.servers:
        style = {"live": "green", "suspect": "yellow"}.get(server.state, "red")
        share = server.disk_free_bytes / server.disk_total_bytes if server.disk_total_bytes else 0.0
        table.add_row(
            server.location.server,
            f"[{style}]{server.state}[/]",
            _contact(server),
            wording.size(server.disk_total_bytes),
            wording.size(server.stored_bytes),
            wording.size(server.disk_free_bytes),
            f"{share:.1%}",
            f"{server.chunk_count:,}",
            f"{server.lease_count:,}",
            f"{server.clones_in:,}",
            f"{server.clones_out:,}",
        )
    print_table(table)
    print_tables_report(tables)


def _contact(server: master_pb2.ServerStatus) -> str:
    if not server.location.control_address:
        return "never"
    return f"{wording.duration(server.seconds_since_heartbeat)} ago"


def _figures(found: master_pb2.ClusterStatus, disks: dict[str, int]) -> list[tuple[str, str]]:
    total, free, _ = capacity(found.servers, disks)
    stored = sum(server.stored_bytes for server in found.servers)
    return [
        ("Safe mode", safe_mode_words(found.safe_mode)),
        ("Configured capacity", f"{total} ({wording.size(total)})"),
        ("Remaining", f"{free} ({wording.size(free)})"),
        ("Used, all replicas", f"{stored} ({wording.size(stored)})"),
        ("Used of capacity", f"{stored / total:.2%}" if total else "-"),
        ("Files and directories", f"{found.file_count:,} and {found.directory_count:,}"),
        ("Deleted files, kept", f"{found.hidden_files:,}"),
        ("Chunks", f"{found.chunk_count:,}"),
        ("Under-replicated chunks", f"{found.under_replicated_chunks:,}"),
        ("Chunks damaged everywhere", f"{found.corrupt_chunks:,}"),
        ("Missing chunks", f"{found.missing_chunks:,}"),
        ("  to be compared first", f"{found.unsure_chunks:,}"),
        ("Damaged replicas", f"{found.corrupt_replicas:,}"),
        ("Copies being made", f"{found.clones_running:,}"),
    ]


def _values(found: master_pb2.ClusterStatus, disks: dict[str, int]) -> dict[str, Any]:
    total, free, _ = capacity(found.servers, disks)
    mode = found.safe_mode
    return {
        "cluster": found.cluster,
        "safe_mode": {"is_on": mode.is_on, "by_hand": mode.by_hand, "reason": mode.reason},
        "capacity_bytes": total,
        "remaining_bytes": free,
        "used_bytes": sum(server.stored_bytes for server in found.servers),
        "files": found.file_count,
        "directories": found.directory_count,
        "deleted_files": found.hidden_files,
        "chunks": found.chunk_count,
        "under_replicated_chunks": found.under_replicated_chunks,
        "missing_chunks": found.missing_chunks,
        "unsure_chunks": found.unsure_chunks,
        "damaged_chunks": found.corrupt_chunks,
        "damaged_replicas": found.corrupt_replicas,
        "copies_being_made": found.clones_running,
        "chunkservers": [
            {
                "node": server.location.server,
                "state": server.state,
                "seconds_since_contact": server.seconds_since_heartbeat,
                "capacity_bytes": server.disk_total_bytes,
                "remaining_bytes": server.disk_free_bytes,
                "stored_bytes": server.stored_bytes,
                "chunks": server.chunk_count,
                "leases": server.lease_count,
                "copies_in": server.clones_in,
                "copies_out": server.clones_out,
            }
            for server in found.servers
        ],
    }
