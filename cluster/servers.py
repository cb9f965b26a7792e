"""From a role and its settings to a server: the same in both worlds.

Each role is imported when a server of it is made: a process holds the code of one role, which is a tenth of its memory
(`python -m bench.small_cluster`).
"""

from collections.abc import Iterable
from typing import Any, Protocol

from cluster.roles import CHUNKSERVER_ROLE, LOCK_ROLE, MASTER_ROLE, TABLET_MASTER_ROLE, TABLET_SERVER_ROLE
from runtime.errors import InvalidRequest, shown
from runtime.measures import Measure
from runtime.world import World


class Server(Protocol):
    """What starting and stopping a node needs of its server, whatever the role. Addresses are final after `start`."""

    @property
    def control_address(self) -> str:
        """host:port of the gRPC server."""

    @property
    def bulk_address(self) -> str:
        """host:port of the bulk listener; empty on a master and a lock service."""

    def counters(self) -> dict[str, int]:
        """What it has counted since its start."""

    def measures(self) -> Iterable[Measure]:
        """What it can be measured by, beside that."""

    async def start(self) -> None:
        """Return when it serves."""

    async def wait_for_shutdown(self) -> None:
        """Return when somebody has asked it to stop (Node.Shutdown)."""

    async def stop(self) -> None:
        """Stop in good order."""


LEVELS = frozenset(
    {
        *("files", "chunks", "leases", "clones_running", "log_bytes", "push_buffer_bytes"),
        *("acting", "tablets", "tablet_servers", "rounds", "has_lock", "epoch", "sessions", "lock_files", "locks"),
    }
)
"""Those among the counters of all roles that rise and fall."""


def make_server(world: World, role: str, settings: dict[str, Any]) -> Server:
    """The server of a role on a world, not started yet. Raises InvalidRequest for settings that make no sense."""
    if role == MASTER_ROLE:
        from cluster.mastership import mastership
        from master.failover.replicated import ReplicatedMaster
        from master.server import MasterServer
        from master.settings import MasterSettings

        found = MasterSettings.from_dict(settings)
        if not found.masters:
            return MasterServer(world, found)
        return ReplicatedMaster(world, found, mastership(world, found.lock_service))
    if role == CHUNKSERVER_ROLE:
        from chunkserver.server import ChunkserverServer
        from chunkserver.settings import ChunkserverSettings

        return ChunkserverServer(world, ChunkserverSettings.from_dict(settings))
    if role == LOCK_ROLE:
        from lockservice.server.server import LockServer
        from lockservice.settings import LockServiceSettings

        return LockServer(world, LockServiceSettings.from_dict(settings))
    if role == TABLET_SERVER_ROLE:
        from tablet.hosting.server import TabletServerNode
        from tablet.hosting.settings import TabletServerSettings

        return TabletServerNode(world, TabletServerSettings.from_dict(settings))
    if role == TABLET_MASTER_ROLE:
        from tablet.master.server import TabletMasterNode
        from tablet.master.settings import TabletMasterSettings

        return TabletMasterNode(world, TabletMasterSettings.from_dict(settings))
    roles = (MASTER_ROLE, CHUNKSERVER_ROLE, LOCK_ROLE, TABLET_MASTER_ROLE, TABLET_SERVER_ROLE)
    raise InvalidRequest(f"role {shown(role)}: expected one of {', '.join(map(repr, roles))}")
