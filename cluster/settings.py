"""What a whole cluster is set up with, in both worlds, and which settings can never work.

Every refusal happens here, before a file is written or a process started.
"""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from chunkserver.storage.blocks import BLOCK_BYTES
from cluster.topology import places_in
from master.balance.placement_policies import PAPER, POLICIES
from runtime.errors import InvalidRequest, TooFewServers, shown
from runtime.settings import (
    CHUNK_BYTES,
    DURABILITIES,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    MEBIBYTE,
    REPLICAS,
    TRASH_SECONDS,
    settings_from,
)

LARGEST_CHUNK_BYTES = 1 << 30
TABLET_BYTES = 128 * MEBIBYTE
LEAST_TABLET_BYTES = 32 * 1024
MOST_MASTERS = 5
LARGEST_CLUSTER = 100  # Chunkservers as processes on one machine.
LARGEST_SIMULATED_CLUSTER = 1000


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How a cluster is built. Bytes and seconds. The paper's defaults, where it names one (GFS 2.3, 2.5, 3.1)."""

    chunkservers: int = 5
    replicas: int = REPLICAS
    chunk_bytes: int = CHUNK_BYTES  # a whole number of blocks, because checksums are kept for blocks (GFS 5.2)
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    durability: str = "replicated"
    trash_seconds: float = TRASH_SECONDS  # how long a deleted file can be had back (GFS 4.4)
    masters: int = 1  # one acts, the others are its shadows; with more than one there is a lock service (GFS 5.1.3)
    topology: str = ""  # racks and data centres, as in topology.py (GFS 4.2)
    placement: str = PAPER  # how servers are chosen for replicas
    clone_bytes_per_second: int = 0  # how fast each copy is made at most (GFS 4.3); 0: without limit
    small: bool = False  # little memory: small push buffers, one arena of the allocator
    tablet_servers: int = 0  # they serve tables, with a tablet master and a lock service (BT 5)
    tablet_masters: int = 1  # if there are tablet servers: one acts, the others wait for its lock (BT 5.2)
    tablet_bytes: int = TABLET_BYTES  # a tablet with more is split (BT 5); memtables and logs are in proportion
    experiments: bool = False  # whether networks and disks of its nodes can be broken on purpose (docs/faults.md)
    removed: str = ""  # chunkservers that have left for good, with commas: their names are not given again

    def check(self, *, largest: int = LARGEST_CLUSTER) -> None:
        """Raise InvalidRequest or TooFewServers for settings that can never work. `largest`: how many servers of a kind
        there may be."""
        if not 1 <= self.chunkservers <= largest:
            raise InvalidRequest(f"a cluster of {self.chunkservers} chunkservers: expected between 1 and {largest}")
        if not 1 <= self.masters <= MOST_MASTERS:
            raise InvalidRequest(f"a cluster of {self.masters} masters: expected between 1 and {MOST_MASTERS}")
        if not 0 <= self.tablet_servers <= largest:
            raise InvalidRequest(f"a cluster of {self.tablet_servers} tablet servers: expected between 0 and {largest}")
        if not 1 <= self.tablet_masters <= MOST_MASTERS:
            raise InvalidRequest(
                f"a cluster of {self.tablet_masters} tablet masters: expected between 1 and {MOST_MASTERS}"
            )
        if self.tablet_bytes < LEAST_TABLET_BYTES:
            raise InvalidRequest(f"tablets of {self.tablet_bytes} bytes: expected {LEAST_TABLET_BYTES} (32K) or more")
        if self.replicas < 1:
            raise InvalidRequest(f"a replication goal of {self.replicas}: expected 1 or more")
        if self.replicas > self.chunkservers:
            raise TooFewServers(
                f"{self.replicas} replicas need at least {self.replicas} chunkservers, but the cluster is to have "
                f"{self.chunkservers}: start it with --chunkservers {self.replicas} or more, or with "
                f"--replicas {self.chunkservers} or fewer"
            )
        if self.chunk_bytes % BLOCK_BYTES or not BLOCK_BYTES <= self.chunk_bytes <= LARGEST_CHUNK_BYTES:
            raise InvalidRequest(
                f"a chunk size of {self.chunk_bytes} bytes: expected a multiple of {BLOCK_BYTES} (64K) "
                f"up to {LARGEST_CHUNK_BYTES} (1G)"
            )
        if not 0 < self.heartbeat_seconds <= 60:
            raise InvalidRequest(f"a heartbeat every {self.heartbeat_seconds} seconds: expected between 0 and 60")
        if not self.heartbeat_seconds * 2 <= self.lease_seconds <= 3600:
            raise InvalidRequest(
                f"leases of {self.lease_seconds} seconds: expected at least two heartbeats "
                f"({self.heartbeat_seconds * 2} seconds), because extensions ride on heartbeats (GFS 3.1), "
                "and at most an hour"
            )
        if not self.trash_seconds >= 0:
            raise InvalidRequest(f"deleted files to be kept for {self.trash_seconds} seconds: expected 0 or more")
        if self.placement not in POLICIES:
            expected = " or ".join(repr(name) for name in POLICIES)
            raise InvalidRequest(f"placement {shown(self.placement)}: expected {expected}")
        if self.clone_bytes_per_second < 0:
            raise InvalidRequest(f"copies at {self.clone_bytes_per_second} bytes a second: expected 0 or more")
        places_in(self.topology)
        if self.durability not in DURABILITIES:
            raise InvalidRequest(
                f"durability {shown(self.durability)}: expected {' or '.join(repr(name) for name in DURABILITIES)}"
            )

    def node_names(self) -> list[str]:
        """All nodes, the master first: `["master", "cs1", "cs2", …]`. Of several masters, the others and the lock
        service come after it: `["master", "master2", "lock", "cs1", …]`; tablet masters and servers come last."""
        lock = ["lock"] if self.has_lock_service else []
        return [*self.master_names(), *lock, *self.chunkserver_names(), *self.tablet_node_names()]

    @property
    def has_lock_service(self) -> bool:
        """Whether there is one: several masters need it, and tablet servers do."""
        return self.masters > 1 or self.tablet_servers > 0

    def tablet_node_names(self) -> list[str]:
        """The tablet masters and the tablet servers: `["tm1", "ts1", "ts2", …]`; none without tablet servers."""
        if not self.tablet_servers:
            return []
        masters = [f"tm{number}" for number in range(1, self.tablet_masters + 1)]
        return [*masters, *(f"ts{number}" for number in range(1, self.tablet_servers + 1))]

    def stopping_order(self) -> list[str]:
        """All nodes; those that stand on others come first."""
        above = self.tablet_node_names()
        return [*above, *(name for name in self.node_names() if name not in above)]

    def master_names(self) -> list[str]:
        """The masters: `["master"]`, or `["master", "master2", …]`."""
        return ["master", *(f"master{number}" for number in range(2, self.masters + 1))]

    def chunkserver_names(self) -> list[str]:
        """The chunkservers: `["cs1", "cs2", …]`, without those that have left for good."""
        gone = self.removed.split(",")
        numbers = range(1, self.chunkservers + len(gone) + 1)
        names = [f"cs{number}" for number in numbers if f"cs{number}" not in gone]
        return names[: self.chunkservers]

    def without(self, node: str) -> "ClusterSettings":
        """The settings when a chunkserver has left for good."""
        gone = [*filter(None, self.removed.split(",")), node]
        return replace(self, chunkservers=self.chunkservers - 1, removed=",".join(gone))

    def to_json(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ClusterSettings":
        """The settings that `to_json` wrote. Raises InvalidRequest for a field that is unknown or of a wrong type."""
        return settings_from(cls, values, "a cluster's")


def check_cluster_name(name: str) -> None:
    """Raise InvalidRequest for a name that cannot be a folder, or would be awkward to type.

    >>> check_cluster_name("lecture-7")
    >>> check_cluster_name("../desk")
    Traceback (most recent call last):
    ...
    runtime.errors.InvalidRequest: cluster name '../desk': expected 1 to 40 letters, digits, '-' or '_', first a letter
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", name):
        raise InvalidRequest(
            f"cluster name {shown(name)}: expected 1 to 40 letters, digits, '-' or '_', first a letter"
        )


def parse_bytes(text: str) -> int:
    """A size with an optional unit of 1024: "65536", "64K", "64M", "1G". Raises InvalidRequest.

    >>> parse_bytes("64K"), parse_bytes("1.5M"), parse_bytes("100")
    (65536, 1572864, 100)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidRequest(f"size {shown(text)}: expected a number of bytes such as 1048576, 256K, 64M or 1G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
