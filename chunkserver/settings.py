"""How a chunkserver is set up.

>>> ChunkserverSettings.from_dict({"master_address": "127.0.0.1:7000", "scrub_bytes_per_second": 0}).durability
'replicated'
>>> ChunkserverSettings.from_dict({"durabilty": "fsync"})
Traceback (most recent call last):
...
runtime.errors.InvalidRequest: a chunkserver's settings have no field 'durabilty'; did you mean 'durability'?
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.settings import (
    CHUNK_BYTES,
    CHUNK_BYTES_BELOW,
    DURABILITIES,
    HEARTBEAT_SECONDS,
    MEBIBYTE,
    RESERVE_BYTES,
    SettingsCheck,
    settings_from,
)

WHOSE = "a chunkserver's"


@dataclass(frozen=True, slots=True)
class ChunkserverSettings:
    """Sizes are bytes, times are seconds. The server's name is its node's: `world.node`."""

    cluster: str = "tabletop"
    master_address: str = ""  # of several masters all addresses, with commas between
    control_address: str = "127.0.0.1:0"
    bulk_address: str = "127.0.0.1:0"
    rack: str = ""  # where it stands (GFS 4.2)
    data_centre: str = ""

    # What an answer to a write means: one of DURABILITIES.
    durability: str = "replicated"
    # The largest chunk; the master says its own number at registration, and that one counts.
    chunk_bytes: int = CHUNK_BYTES
    reserve_bytes: int = RESERVE_BYTES

    # Pushed data that waits for its mutation (GFS 3.1 step 3), and how long it may wait.
    push_buffer_bytes: int = 48 * MEBIBYTE
    push_age_seconds: float = 60.0
    # How long a transfer may stand still at the last hop before it is given up. Twice that, at the first server of a
    # chain of three, is less than a client waits: so it learns who stood still.
    stall_seconds: float = 4.0

    # As secondary: how long a mutation waits for the ones before it. As primary: how long a secondary may take, with
    # repetitions; less than a client waits for its write.
    turn_seconds: float = 5.0
    forward_seconds: float = 7.0

    # With durability "replicated": what was written is synced in the background this often, so that a loss of all power
    # loses at most the bytes of the last seconds.
    writeback_seconds: float = 5.0

    # Idle verification (GFS 5.2); 0 turns it off.
    scrub_bytes_per_second: int = 4 * MEBIBYTE

    # Chunks whose files are kept open, two descriptors each. One that is synced in the background while they are still
    # open costs half of what it costs to open them again.
    open_chunks: int = 128

    # Until the master says its own: between heartbeats. How long a call to the master may take.
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    call_seconds: float = 2.0
    # Replicas told to the master with each heartbeat, in turn, for garbage collection (GFS 4.4).
    sample_chunks: int = 200

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that can never work."""
        check = SettingsCheck(self, WHOSE)
        check.one_of(DURABILITIES, "durability")
        check.more_than_0("chunk_bytes", "push_age_seconds", "stall_seconds", "turn_seconds", "forward_seconds")
        check.more_than_0("heartbeat_seconds", "call_seconds", "writeback_seconds")
        check.at_least(1, "open_chunks")
        check.at_least(0, "reserve_bytes", "scrub_bytes_per_second", "sample_chunks")
        check.that(self.chunk_bytes < CHUNK_BYTES_BELOW, "chunk_bytes", "at most 4 GiB - 1")
        check.that(self.push_buffer_bytes >= MEBIBYTE, "push_buffer_bytes", f"{MEBIBYTE} (1 MiB) or more")

    def to_dict(self) -> dict[str, Any]:
        """A JSON object of the settings."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ChunkserverSettings":
        """The settings that `to_dict` wrote. Raises InvalidRequest for an unknown field or a value of a wrong type."""
        return settings_from(cls, values, WHOSE)
