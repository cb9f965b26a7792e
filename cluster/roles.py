"""From a cluster's settings to the settings of each node: the same in both worlds."""

from typing import Any

from chunkserver.settings import ChunkserverSettings
from cluster.settings import ClusterSettings
from cluster.topology import place_of
from lockservice.settings import LockServiceSettings
from master.settings import MasterSettings
from runtime.settings import MEBIBYTE
from tablet.hosting.settings import TabletServerSettings
from tablet.master.settings import TabletMasterSettings

MASTER = "master"
MASTER_ROLE = "master"
CHUNKSERVER_ROLE = "chunkserver"
LOCK = "lock"
LOCK_ROLE = "lockservice"
TABLET_MASTER_ROLE = "tabletmaster"
TABLET_SERVER_ROLE = "tabletserver"
_TABLET_ROLES = {"tm": TABLET_MASTER_ROLE, "ts": TABLET_SERVER_ROLE}

# The paper names neither number. A server that missed two heartbeats gets no new replicas; one that missed five is
# given up, and what it held is copied from elsewhere.
SUSPECT_AFTER_HEARTBEATS = 2.5
DEAD_AFTER_HEARTBEATS = 5.0

# Also unstated. A copy of a chunk from a desk's lessons takes a few milliseconds, so that a master which looked only
# twice a second for the next one to make would be the slowest part of a recovery.
REPAIRS_PER_HEARTBEAT = 10
SURVEY_HEARTBEATS = 5.0
CLONES_AT_ONCE = 16
CLONES_PER_SERVER = 4

# Of a small cluster: room for the pieces that one client has under way. The default holds a dozen.
SMALL_PUSH_BUFFER_BYTES = 16 * MEBIBYTE

# Chubby's leases of 12 and its grace of 45 seconds are for a planet. On a desk another master is to be in charge two
# seconds after the one before has died, and a lock is withheld for as long as its holder may still come back: for a
# lease and the grace.
# Neither is shorter than a process of a busy desk may stand still without having died.
LOCK_LEASE_HEARTBEATS, LOCK_LEAST_LEASE_SECONDS = 1.2, 1.2
LOCK_GRACE_HEARTBEATS, LOCK_LEAST_GRACE_SECONDS = 0.6, 0.6

# A tablet of 128 MB (BT 5) goes with memtables of 16 MB and log segments of the same size; all memtables of a server
# take as much as four of them.
MEMTABLES_A_TABLET, MEMORIES_A_TABLET = 8, 2

# A tablet master looks so often for servers that have lost their locks.
TABLET_ROUNDS_PER_HEARTBEAT = 2


def role_of(node: str) -> str:
    """The role that goes with a node's name."""
    if node == LOCK:
        return LOCK_ROLE
    if (role := _TABLET_ROLES.get(node[:2])) is not None:
        return role
    return MASTER_ROLE if node.startswith(MASTER) else CHUNKSERVER_ROLE


def node_settings(
    node: str,
    cluster: str,
    settings: ClusterSettings,
    *,
    address: str,
    master_address: str,
    lock_address: str = "",
) -> dict[str, Any]:
    """The fields of the node's settings class, as a JSON object. `address` is where its control face listens,
    `master_address` where the master is reached: of several masters all addresses, with commas between."""
    if role_of(node) == MASTER_ROLE:
        names = settings.master_names()
        pairs = zip(names, master_address.split(","), strict=True) if len(names) > 1 else ()
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
            trash_grace_seconds=settings.trash_seconds,
            masters=",".join(f"{name}={where}" for name, where in pairs),
            lock_service=lock_address,
            placement=settings.placement,
            clone_bytes_per_second=settings.clone_bytes_per_second,
            survey_seconds=SURVEY_HEARTBEATS * settings.heartbeat_seconds,
        ).to_dict()
    if node == LOCK:
        return LockServiceSettings(
            cluster=cluster,
            control_address=address,
            lease_seconds=max(LOCK_LEASE_HEARTBEATS * settings.heartbeat_seconds, LOCK_LEAST_LEASE_SECONDS),
            grace_seconds=max(LOCK_GRACE_HEARTBEATS * settings.heartbeat_seconds, LOCK_LEAST_GRACE_SECONDS),
        ).to_dict()
    if role_of(node) in (TABLET_MASTER_ROLE, TABLET_SERVER_ROLE):
        return _tablet_settings(node, cluster, settings, address, master_address, lock_address)
    place = place_of(node, settings.topology)
    host = address.rpartition(":")[0]
    found = ChunkserverSettings(
        cluster=cluster,
        control_address=address,
        bulk_address=f"{host}:0",
        master_address=master_address,
        durability=settings.durability,
        chunk_bytes=settings.chunk_bytes,
        heartbeat_seconds=settings.heartbeat_seconds,
        rack=place.rack,
        data_centre=place.data_centre,
    ).to_dict()
    return {**found, "push_buffer_bytes": SMALL_PUSH_BUFFER_BYTES} if settings.small else found


def _tablet_settings(
    node: str, cluster: str, settings: ClusterSettings, address: str, master_address: str, lock_address: str
) -> dict[str, Any]:
    if role_of(node) == TABLET_MASTER_ROLE:
        return TabletMasterSettings(
            cluster=cluster,
            control_address=address,
            master_address=master_address,
            lock_service=lock_address,
            round_seconds=settings.heartbeat_seconds / TABLET_ROUNDS_PER_HEARTBEAT,
        ).to_dict()
    return TabletServerSettings(
        cluster=cluster,
        control_address=address,
        master_address=master_address,
        lock_service=lock_address,
        memtable_bytes=settings.tablet_bytes // MEMTABLES_A_TABLET,
        memory_bytes=settings.tablet_bytes // MEMORIES_A_TABLET,
        segment_bytes=settings.tablet_bytes // MEMTABLES_A_TABLET,
        split_bytes=settings.tablet_bytes,
    ).to_dict()
