"""The nodes of a cluster as a table, and what to do about one that does not serve."""

import dataclasses
from typing import Any

from rich.table import Table

from cluster.interface import NodeReport, NodeState
from cluster.roles import TABLET_MASTER_ROLE
from cluster.topology import place_of
from tabletop import wording
from tabletop.tables import plain_table

STATE_STYLES = {
    NodeState.SERVING: "green",
    NodeState.STARTING: "yellow",
    NodeState.PAUSED: "yellow",
    NodeState.HUNG: "red",
    NodeState.DEAD: "red",
    NodeState.STOPPED: "dim",
    NodeState.FAILED: "red",
}


def node_table(reports: list[NodeReport], topology: str = "") -> Table:
    """One line a node; with its rack, if the cluster has any."""
    racks = ["RACK"] if topology else []
    table = plain_table(
        "NODE", "ROLE", *racks, "STATE", "PID", "UP FOR", "MEMORY", "CONTROL", "BULK", "METRICS", "NOTE"
    )
    for report in reports:
        serving = report.state is NodeState.SERVING
        table.add_row(
            report.node,
            report.role,
            *([str(place_of(report.node, topology)) or "-"] if topology else []),
            f"[{STATE_STYLES[report.state]}]{report.state.value}[/]",
            str(report.process_id or "-"),
            wording.duration(report.uptime_seconds) if serving else "-",
            wording.size(report.resident_bytes) if serving else "-",
            report.control_address or "-",
            report.bulk_address or "-",
            report.metrics_address or "-",
            report.note or standing(report),
        )
    return table


def standing(report: NodeReport) -> str:
    """Of masters: whether this one acts; of a tablet server: how many tablets it serves; empty for all other nodes."""
    counters = report.counters
    if "has_lock" in counters:
        served = wording.count(counters.get("tablets", 0), "tablet")
        return f"serves {served}" if counters["has_lock"] else "serves nothing: it has no lock"
    acting = counters.get("acting")
    if acting is None:
        return ""
    return "acts" if acting else "waits for the lock" if report.role == TABLET_MASTER_ROLE else "shadow"


def node_values(report: NodeReport) -> dict[str, Any]:
    """A report as a JSON object."""
    return {**dataclasses.asdict(report), "state": report.state.value}


def advice(report: NodeReport) -> str:
    """What is wrong with a node, and the command that mends it."""
    if report.state is NodeState.STARTING:  # Or ending.
        return f"{report.node} is starting"
    return f"{report.node} is {report.state.value}; mend it with `{remedy(report)}`"


def remedy(report: NodeReport) -> str:
    """The command that brings a node back to serving."""
    verb = "resume" if report.state is NodeState.PAUSED else "restart"
    return f"tabletop fault {verb} {report.node}"
