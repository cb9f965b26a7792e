"""The disks of a cluster that has worked for a while: what every run of the matrix begins with.

As in the paper, the system is brought into a known state once, without any fault, and ended; each run starts on a copy
of these disks. Two clusters are needed: one with a single master, and one with three and a lock service.

    /data       70,000 bytes: one full block of a checksum, and a partial one (GFS 5.2)
    /records    a few records (GFS 3.3)
    /d/...      empty files to be renamed and deleted
    /names/...  directories, until the master's log has two checkpoints and two blocks behind them
"""

import asyncio
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cluster.cords.terms import Subject, Workload
from cluster.roles import CHUNKSERVER_ROLE, LOCK, LOCK_ROLE, MASTER, MASTER_ROLE
from cluster.settings import ClusterSettings
from cluster.simulated import LOCK_ADDRESS, SimulatedCluster
from gfs.settings import ClientSettings
from lockservice.client.session import OwnLockService
from runtime.simulated.world import Simulation

BUILDING_SEED, RUNNING_SEED = 17, 18  # Two, so that no client draws the number of one that has been before.
DATA, RECORDS, FIRST, OLD = "/data", "/records", "/d/first", "/d/old"
DATA_BYTES = 70_000
CHUNK_BYTES = 128 * 1024
STRUCK = "cs1"
"""The chunkserver that is struck: the client reads from it, as it stands in the same rack."""
_QUIET_SECONDS = 15.0  # in which what was written is synced, and anchors with it
_LOG_BYTES = 4500  # of the newest log: more than one block


class Deployment(enum.Enum):
    """Which cluster."""

    ONE_MASTER = 1
    THREE_MASTERS = 3

    @property
    def settings(self) -> ClusterSettings:
        """Four chunkservers, each in a rack of its own, so that a lost replica can be made again elsewhere."""
        return ClusterSettings(
            chunkservers=4, masters=self.value, chunk_bytes=CHUNK_BYTES, lease_seconds=8.0, topology="r1,r2,r3,r4"
        )


@dataclass(frozen=True, slots=True)
class NodeKind:
    """One row group of the matrix: a node that is struck. `node` is its name in its cluster."""

    name: str
    role: str
    deployment: Deployment
    node: str

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """What is done to it."""
        return tuple(workload for workload in Workload if workload.subject is Subject.FILES)


NODE_KINDS = (
    NodeKind("chunkserver", CHUNKSERVER_ROLE, Deployment.ONE_MASTER, STRUCK),
    NodeKind("only master", MASTER_ROLE, Deployment.ONE_MASTER, MASTER),
    NodeKind("acting master of three", MASTER_ROLE, Deployment.THREE_MASTERS, MASTER),
    NodeKind("shadow master of three", MASTER_ROLE, Deployment.THREE_MASTERS, "master2"),
    NodeKind("lock service", LOCK_ROLE, Deployment.THREE_MASTERS, LOCK),
)


@dataclass(frozen=True, slots=True)
class Image:
    """The disks, by node, and what was acknowledged: files, and records with their offsets in /records."""

    disks: Mapping[str, Mapping[str, bytes]]
    files: Mapping[str, bytes]
    directories: tuple[str, ...]
    records: Mapping[int, bytes]


def new_cluster(deployment: Deployment, seed: int = RUNNING_SEED) -> SimulatedCluster:
    """A cluster whose disks are empty yet, with a client beside the chunkserver that is struck."""
    return SimulatedCluster(
        Simulation(seed),
        deployment.settings,
        client_settings=ClientSettings(
            own_rack="r1", patience_seconds=10.0, write_patience_seconds=30.0, gone_seconds=6.0
        ),
        overrides={
            MASTER_ROLE: {"checkpoint_log_bytes": 6000, "repair_seconds": 0.5},
            CHUNKSERVER_ROLE: {"scrub_bytes_per_second": 128 * 1024, "writeback_seconds": 2.0},
        },
    )


def body(letter: str, count: int) -> bytes:
    """Bytes without zeros, no two neighbours of 7 alike."""
    piece = f"{letter}{letter.upper()}-cords-".encode()
    return (piece * (count // len(piece) + 1))[:count]


@cache
def image_of(deployment: Deployment) -> Image:
    """Bring a cluster into the known state, and end it."""
    cluster = new_cluster(deployment, BUILDING_SEED)
    with cluster.simulation as simulation:
        return simulation.run(_built(cluster))


async def _built(cluster: SimulatedCluster) -> Image:
    await cluster.start()
    client = cluster.client()
    files = {DATA: body("d", DATA_BYTES), FIRST: b"", OLD: b""}
    await client.make_directory("/d")
    for path, data in files.items():
        await client.write_file(path, data)
    await client.create(RECORDS)
    records: dict[int, bytes] = {}
    for number in range(3):
        record = body(f"{number}", 700)
        records[await client.record_append(RECORDS, record)] = record
    await client.make_directory("/names")
    await asyncio.sleep(_QUIET_SECONDS)
    directories = ["/d", "/names"]
    while not _has_history(cluster):
        directories.append(f"/names/{len(directories):03}")
        await client.make_directory(directories[-1])
    if cluster.settings.masters > 1:
        await _lengthen_lock_log(cluster)
    await asyncio.sleep(2.0)
    nodes = cluster.settings.node_names()
    for node in nodes:
        await cluster.kill(node)
    disks = {node: cluster.simulation.world(node).simulated_disk.files() for node in nodes}
    return Image(disks, files, tuple(directories), records)


def _has_history(cluster: SimulatedCluster) -> bool:
    disk = cluster.simulation.world(MASTER).simulated_disk
    names = disk.paths()
    logs = [name for name in names if name.endswith(".log")]
    return sum(name.endswith(".checkpoint") for name in names) == 2 and len(disk.content(logs[-1]).cached) > _LOG_BYTES


async def _lengthen_lock_log(cluster: SimulatedCluster) -> None:
    """Sessions come and go until the lock service's log has two blocks."""
    service = OwnLockService(cluster.client_world, LOCK_ADDRESS)
    disk = cluster.simulation.world(LOCK).simulated_disk
    while sum(map(len, disk.files().values())) < _LOG_BYTES:
        await (await service.open_session()).close()
