"""`tabletop metrics`: the figures of one node or all, as Prometheus reads them (GFS 5.3)."""

import json
import urllib.error
import urllib.request
from typing import Annotated

import typer

from cluster.interface import NodeReport, NodeState
from cluster.real import RealCluster
from runtime.errors import InvalidRequest, NotFound, Unavailable, shown
from tabletop.console import output, perform, remark
from tabletop.node_table import advice
from tabletop.options import DESK, ClusterOption

SECONDS = 5.0


def metrics(
    node: Annotated[str, typer.Argument(metavar="[NODE]", help="master, cs1, …; without: all that serve.")] = "",
    targets: Annotated[
        bool, typer.Option("--targets", help="Only where they are served: JSON for Prometheus' file_sd_configs.")
    ] = False,
    cluster: ClusterOption = DESK,
) -> None:
    """Print the metrics of nodes in Prometheus' text format.

    They tell of calls by method, bytes, chunks by state, heartbeats and syncs. Every node serves them at /metrics, on a
    port of its own on this machine, to whoever shows the cluster's token.

    \b
        tabletop metrics master
        tabletop metrics --targets > targets.json
    """
    perform(_metrics(RealCluster(cluster), node, targets))


async def _metrics(cluster: RealCluster, node: str, targets: bool) -> None:
    try:
        reports = await cluster.nodes()
        token = cluster.folder.token()
    finally:
        await cluster.close()
    if node and node not in [report.node for report in reports]:
        raise NotFound(f"no node {shown(node)} in cluster {cluster.name!r}; see `tabletop ps`")
    serving = [report for report in reports if report.state is NodeState.SERVING and node in ("", report.node)]
    for report in reports:
        if report not in serving and node in ("", report.node):
            remark(advice(report))
    if not serving:
        raise Unavailable("no node serves metrics now; see `tabletop ps`", definite=True)
    if targets:
        print(json.dumps([_target(cluster, report) for report in serving], indent=2))
        return
    for report in serving:
        if not node:
            output.print(f"# {report.node} at {report.metrics_address}", markup=False)
        output.print(fetched(report, token), markup=False, end="")


def _target(cluster: RealCluster, report: NodeReport) -> dict[str, object]:
    labels = {"cluster": cluster.name, "node": report.node, "role": report.role}
    return {"targets": [report.metrics_address], "labels": labels}


def fetched(report: NodeReport, token: str) -> str:
    """The metrics of one node. Raises Unavailable."""
    if not report.metrics_address:
        raise InvalidRequest(f"{report.node} serves no metrics: an older program runs there; restart it")
    request = urllib.request.Request(
        f"http://{report.metrics_address}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        raise Unavailable(f"{report.node} does not tell its metrics: {error}", definite=True) from error
