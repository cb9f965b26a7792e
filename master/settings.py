"""How a master is set up.

>>> MasterSettings.from_dict({"cluster": "desk", "lease_seconds": 5}).lease_seconds
5.0
>>> MasterSettings.from_dict({"lease_second": 5})
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: the master's settings have no field 'lease_second'; did you mean 'lease_seconds'?
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from master.balance.placement_policies import PAPER, POLICIES
from runtime.settings import (
    CHUNK_BYTES,
    CHUNK_BYTES_BELOW,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    MEBIBYTE,
    REPLICAS,
    RESERVE_BYTES,
    TRASH_SECONDS,
    SettingsCheck,
    settings_from,
)

LARGEST_GOAL = 100
WHOSE = "the master's"


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """Sizes are bytes, times are seconds. The defaults are the paper's where it names one."""

    cluster: str = "tabletop"
    control_address: str = "127.0.0.1:0"
    chunk_bytes: int = CHUNK_BYTES
    replication_goal: int = REPLICAS  # for files that do not ask for another
    lease_seconds: float = LEASE_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    suspect_after_seconds: float = 2.5
    dead_after_seconds: float = 5.0
    # After a restart a chunk without any known replica is "not known yet" rather than lost (safe_mode.py): for so long
    # at least, if not all servers have registered, and until such a share of the chunks has a replica, but no longer
    # than the last of these.
    settling_seconds: float = 5.0
    safe_mode_threshold: float = 0.999
    safe_mode_longest_seconds: float = 15.0
    reserve_bytes: int = RESERVE_BYTES
    call_seconds: float = 2.0  # how long a chunkserver may take to answer a small request
    revoke_seconds: float = 10.0  # how long a primary may take to give up a lease: it waits for mutations in flight
    checkpoint_log_bytes: int = 16 * MEBIBYTE
    kept_checkpoints: int = 2
    trash_grace_seconds: float = TRASH_SECONDS
    namespace_scan_seconds: float = 10.0
    clones_at_once: int = 8
    clones_per_server: int = 2
    clone_bytes_per_second: int = 0  # the destination's throttle (GFS 4.3); 0: none
    placement: str = PAPER  # the policy by which servers are chosen: one of POLICIES (GFS 4.2)
    survey_seconds: float = 5.0  # between looks at all chunks for copies that should be elsewhere (GFS 4.3)
    moves_at_once: int = 2  # of the clones: those that only even out the disks
    # Bytes a second that readers may take of each replica before a chunk gets another one (GFS 2.5); 0: never.
    hot_bytes_per_second: int = 64 * MEBIBYTE
    hot_copies: int = 3  # how many more than its goal a chunk may get
    heat_seconds: float = 10.0  # over how long the rate of reads is averaged
    clone_seconds: float = 600.0  # how long one clone may take while it makes progress, beside what the throttle takes
    clone_stall_seconds: float = 5.0  # how long a clone may make no progress, and one that mends or reads say nothing
    verify_seconds: float = 60.0  # how long a server may take to read one chunk and compare it with its checksums
    abandoned_seconds: float = 3600.0  # a temporary file or folder in which nothing has happened for so long is deleted
    repair_seconds: float = 0.5  # between looks for chunks that need a clone
    lease_wait_seconds: float = 10.0  # how long FindLeaseHolder waits for a lease to run out before it says: try again
    read_ahead_chunks: int = 4  # further chunks told to a reader (GFS 2.7.1)
    # Several masters (GFS 5.1.3): all of them, this one too, as "master=host:port,master2=host:port"; empty: one.
    # And where the lock service is reached that decides who acts.
    masters: str = ""
    lock_service: str = ""
    shadow_patience_seconds: float = 1.0  # a shadow that is silent for so long is not waited for any more
    shadow_heartbeat_seconds: float = 0.25  # a shadow hears so often at least, and measures its lag by it
    shadow_memory_bytes: int = 8 * MEBIBYTE  # of the log's last records, for shadows that follow closely
    election_seconds: float = 0.25  # between looks whether there is a master to take over from

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, WHOSE)
        check.that(0 < self.chunk_bytes < CHUNK_BYTES_BELOW, "chunk_bytes", "between 1 and 4 GiB - 1")
        check.that(1 <= self.replication_goal <= LARGEST_GOAL, "replication_goal", f"between 1 and {LARGEST_GOAL}")
        check.more_than_0("lease_seconds", "heartbeat_seconds", "call_seconds", "revoke_seconds", "clone_seconds")
        check.more_than_0("repair_seconds", "namespace_scan_seconds", "clones_at_once", "clones_per_server")
        check.more_than_0("clone_stall_seconds", "verify_seconds", "survey_seconds", "heat_seconds")
        check.one_of(POLICIES, "placement")
        check.at_least(0, "moves_at_once", "hot_bytes_per_second", "hot_copies")
        check.at_least(0, "abandoned_seconds", "trash_grace_seconds", "clone_bytes_per_second", "settling_seconds")
        check.at_least(0, "shadow_memory_bytes")
        check.at_least(0, "read_ahead_chunks", "reserve_bytes", "safe_mode_longest_seconds")
        check.that(0 <= self.safe_mode_threshold <= 1, "safe_mode_threshold", "between 0 and 1")
        check.at_least(1, "kept_checkpoints")
        check.more_than_0("shadow_patience_seconds", "shadow_heartbeat_seconds", "election_seconds")
        check.that(
            self.shadow_heartbeat_seconds < self.shadow_patience_seconds,
            "shadow_heartbeat_seconds",
            f"less than shadow_patience_seconds ({self.shadow_patience_seconds})",
        )
        check.at_least(1024, "checkpoint_log_bytes")
        check.that(
            self.heartbeat_seconds <= self.suspect_after_seconds <= self.dead_after_seconds,
            "suspect_after_seconds",
            f"between heartbeat_seconds ({self.heartbeat_seconds}) and dead_after_seconds ({self.dead_after_seconds})",
        )

    @property
    def longest_clone_seconds(self) -> float:
        """How long a clone of a whole chunk may take, at the rate to which it is slowed down.

        >>> MasterSettings(chunk_bytes=1 << 20, clone_bytes_per_second=1 << 10).longest_clone_seconds
        1624.0
        """
        rate = self.clone_bytes_per_second
        return self.clone_seconds + (self.chunk_bytes / rate if rate else 0.0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    def addresses(self) -> dict[str, str]:
        """All masters and where they are reached, if there are several.

        >>> MasterSettings(masters="master=h:1,master2=h:2").addresses()
        {'master': 'h:1', 'master2': 'h:2'}
        """
        pairs = (entry.partition("=") for entry in self.masters.split(",") if entry)
        return {name: address for name, _, address in pairs}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MasterSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        return settings_from(cls, values, WHOSE)
