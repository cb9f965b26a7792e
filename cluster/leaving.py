"""Chunkservers that leave a cluster: what is the same in both worlds (GFS 4.3)."""

from collections.abc import Sequence

from cluster.interface import Cluster
from runtime.errors import Conflict, NotFound
from runtime.wire.master_pb2 import ClusterStatus, ServerStatus


async def require_drained(cluster: Cluster, node: str) -> None:
    """Raise Conflict unless the master says that a chunkserver is drained and that nothing is left on it."""
    found = server_in(await cluster.client().cluster_status(), node)
    if not found.draining:
        raise Conflict(f"{node} is not drained, and chunks may need it; `tabletop drain {node} --wait` comes first")
    if found.left_to_drain:
        raise Conflict(
            f"{found.left_to_drain} chunks need {node} yet; `tabletop drain {node} --wait` returns when it may go"
        )


def server_in(status: ClusterStatus, node: str) -> ServerStatus:
    """What the master says of one chunkserver. Raises NotFound."""
    for server in status.servers:
        if server.location.server == node:
            return server
    known = ", ".join(server.location.server for server in status.servers)
    raise NotFound(f"the master knows no chunkserver {node!r}; there are: {known or 'none'}")


def left_to_drain(status: ClusterStatus, nodes: Sequence[str]) -> int:
    """How many replicas on these chunkservers are needed yet."""
    return sum(server.left_to_drain for server in status.servers if server.location.server in nodes)
