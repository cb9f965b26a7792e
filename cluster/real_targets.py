"""Which processes a fault means, found out when it strikes.

The master is asked for the chunks of a file, and the cluster's folder for who holds a replica: a server has one if the
chunk's metadata file lies on its disk, whatever the master believes.
"""

import random

from chunkserver.storage.chunk_files import metadata_path
from cluster.faultplan import (
    AllServers,
    BusiestTabletServer,
    Group,
    InRack,
    LogOf,
    Node,
    OfTables,
    OutsideRack,
    RandomServer,
    Replica,
    ServerOfRow,
    ServerOfTablet,
    Target,
    TheMaster,
    ThePrimary,
    TheReceiver,
    TheSender,
    TheTabletMaster,
)
from cluster.faults import chunk_of
from cluster.folder import ClusterFolder
from cluster.interface import Cluster, NodeState
from cluster.roles import CHUNKSERVER_ROLE
from cluster.tablet_targets import newest_log, real_node
from cluster.topology import place_of
from runtime.errors import NotFound, shown
from runtime.faults.table import CLIENTS


async def resolved(target: Target, cluster: Cluster, folder: ClusterFolder) -> list[str]:
    """The nodes that a target means now, in a fixed order, none twice.

    Raises NotFound if there is none, and what `Cluster.status` raises where the master has to be asked."""
    names = cluster.settings.node_names()
    found: list[str] = []
    match target:
        case Node(name):
            if name not in (*names, CLIENTS):
                raise NotFound(f"no node {name!r} in cluster {cluster.name!r}; there are: {', '.join(names)}")
            found = [name]
        case TheMaster():
            found = [await cluster.who_acts()]
        case AllServers():
            found = names
        case RandomServer(running):
            servers = [report for report in await cluster.nodes() if report.role == CHUNKSERVER_ROLE]
            able = [one.node for one in servers if not running or one.state is NodeState.SERVING]
            found = [random.choice(able)] if able else []
        case Replica(path, chunk, number):
            holders = await holders_of(cluster, folder, path, chunk)
            if not 1 <= number <= len(holders):
                raise NotFound(
                    f"chunk {chunk} of {shown(path)} has no replica {number}; it has {len(holders)}, counted from 1: "
                    f"{', '.join(holders)}"
                )
            found = [holders[number - 1]]
        case ThePrimary(path, chunk):
            handle = (await chunk_of(cluster, path, chunk)).handle
            chunks = (await cluster.status(chunks=True)).chunks
            found = [one.primary for one in chunks if one.chunk.handle == handle and one.primary]
            if not found:
                raise NotFound(f"chunk {chunk} of {shown(path)} has no primary now: nobody holds a lease on it")
        case InRack(rack, centre):
            found = [name for name in cluster.settings.chunkserver_names() if _is_in(name, cluster, rack, centre)]
        case OutsideRack(rack, centre):
            inside = await resolved(InRack(rack, centre), cluster, folder)
            found = [name for name in [*names, CLIENTS] if name not in inside]
        case Group(members):
            each = [await resolved(member, cluster, folder) for member in members]
            found = list(dict.fromkeys(name for nodes in each for name in nodes))
        case LogOf(server):
            found = await _first_of(cluster, folder, *await log_of(cluster, server))
        case TheTabletMaster() | BusiestTabletServer() | ServerOfRow() | ServerOfTablet():
            found = await _of_tables(target, cluster)
        case TheSender() | TheReceiver():
            found = []
    if not found:
        raise NotFound(f"no node of cluster {cluster.name!r} is {target} now; its nodes are: {', '.join(names)}")
    return found


async def holders_of(cluster: Cluster, folder: ClusterFolder, path: str, index: int) -> list[str]:
    """The servers whose disks hold a replica of a chunk, in order of their names' numbers. Raises NotFound."""
    file = metadata_path((await chunk_of(cluster, path, index)).handle)
    holders = [name for name in cluster.settings.chunkserver_names() if (folder.node(name).data / file).exists()]
    if not holders:
        raise NotFound(f"no server holds a replica of chunk {index} of {shown(path)}")
    return holders


async def log_of(cluster: Cluster, server: str) -> tuple[str, int]:
    """The chunk to which a tablet server's log was written last: path and index. Raises NotFound."""
    chunks = (await cluster.status(chunks=True)).chunks
    return newest_log(((one.path, one.chunk.index) for one in chunks), server)


async def _first_of(cluster: Cluster, folder: ClusterFolder, path: str, index: int) -> list[str]:
    chunks = (await cluster.status(chunks=True)).chunks
    primaries = [one.primary for one in chunks if (one.path, one.chunk.index) == (path, index) and one.primary]
    return primaries or (await holders_of(cluster, folder, path, index))[:1]


async def _of_tables(target: OfTables, cluster: Cluster) -> list[str]:
    tables = cluster.table_client()
    try:
        node = await real_node(target, tables, cluster.client_world, await cluster.nodes())
        return [node] if node else []
    finally:
        await tables.close()


def _is_in(node: str, cluster: Cluster, rack: str, centre: str) -> bool:
    place = place_of(node, cluster.settings.topology)
    return place.rack == rack and centre in ("", place.data_centre)
