"""From a cluster's settings to the settings of each node, and from those to a server: the same in both worlds."""

from typing import Any, Protocol

from chunkserver.server import ChunkserverServer
from chunkserver.settings import ChunkserverSettings
from cluster.settings import ClusterSettings
from master.server import MasterServer
from master.settings import MasterSettings
from runtime.errors import InvalidRequest, shown
from runtime.world import World

MASTER = "master"
MASTER_ROLE = "master"
CHUNKSERVER_ROLE = "chunkserver"

# The paper names neither number. A server that missed two heartbeats gets no new replicas; one that missed five is
# given up, and what it held is copied from elsewhere.
SUSPECT_AFTER_HEARTBEATS = 2.5
DEAD_AFTER_HEARTBEATS = 5.0

# Also unstated. A copy of a chunk from a desk's lessons takes a few milliseconds, so that a master which looked only
# twice a second for the next one to make would be the slowest part of a recovery.
REPAIRS_PER_HEARTBEAT = 10
CLONES_AT_ONCE = 16
CLONES_PER_SERVER = 4


class Server(Protocol):
    """What starting and stopping a node needs of its server, whatever the role. Addresses are final after `start`."""

    @property
    def control_address(self) -> str:
        """host:port of the gRPC server."""

    @property
    def bulk_address(self) -> str:
        """host:port of the bulk listener; empty on a master."""

    async def start(self) -> None:
        """Return when it serves."""

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has asked it to stop (Node.Shutdown)."""

    async def stop(self) -> None:
        """Stop in good order."""


def role_of(node: str) -> str:
    """The role that goes with a node's name."""
    return MASTER_ROLE if node == MASTER else CHUNKSERVER_ROLE


def node_settings(
    node: str, cluster: str, settings: ClusterSettings, *, address: str, master_address: str
) -> dict[str, Any]:
    """The fields of the node's settings class, as a JSON object. `address` is where its control face listens."""
    if node == MASTER:
        return MasterSettings(
            cluster=cluster,
            control_address=address,
            chunk_bytes=settings.chunk_bytes,
            replication_goal=settings.replicas,
            lease_seconds=settings.lease_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            suspect_after_seconds=SUSPECT_AFTER_HEARTBEATS * settings.heartbeat_seconds,
            dead_after_seconds=DEAD_AFTER_HEARTBEATS * settings.heartbeat_seconds,
            repair_seconds=settings.heartbeat_seconds / REPAIRS_PER_HEARTBEAT,
            clones_at_once=CLONES_AT_ONCE,
            clones_per_server=CLONES_PER_SERVER,
        ).to_dict()
    host = address.rpartition(":")[0]
    return ChunkserverSettings(
        cluster=cluster,
        control_address=address,
        bulk_address=f"{host}:0",
        master_address=master_address,
        durability=settings.durability,
        heartbeat_seconds=settings.heartbeat_seconds,
    ).to_dict()


def make_server(world: World, role: str, settings: dict[str, Any]) -> Server:
    """The server of a role on a world, not started yet. Raises InvalidRequest for settings that make no sense."""
    if role == MASTER_ROLE:
        return MasterServer(world, MasterSettings.from_dict(settings))
    if role == CHUNKSERVER_ROLE:
        return ChunkserverServer(world, ChunkserverSettings.from_dict(settings))
    raise InvalidRequest(f"role {shown(role)}: expected {MASTER_ROLE!r} or {CHUNKSERVER_ROLE!r}")
