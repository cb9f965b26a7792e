"""One run as data: the cluster, what each client will do, and which faults will strike.

A plan is drawn from a seed, and can be written down as JSON: a shrunk failure is a plan that no seed draws. Anything
may be taken out of a plan and the rest still has a meaning: an operation on a handle that is not open is left out, a
fault whose target does not exist does nothing.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from cluster.swarm.history import Kind


@dataclass(frozen=True, slots=True)
class Setup:
    """The cluster of one run. Bytes and seconds; `dead_after_heartbeats` is how many may be missed."""

    chunkservers: int = 5
    replicas: int = 3
    chunk_bytes: int = 65536
    lease_seconds: float = 10.0
    heartbeat_seconds: float = 1.0
    dead_after_heartbeats: float = 5.0
    durability: str = "replicated"
    trash_grace_seconds: float = 30.0
    namespace_scan_seconds: float = 5.0
    checkpoint_log_bytes: int = 16384
    inline_bytes: int = 65536
    write_piece_bytes: int = 4 * 1024 * 1024
    location_seconds: float = 30.0
    trouble_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What a client will do, `pause` seconds after its last operation ended. `slot` names one of its open files."""

    client: str
    pause: float
    kind: Kind
    path: str = ""
    target: str = ""
    mode: str = ""
    slot: int = 0
    recursive: bool = False
    immediately: bool = False
    replace: bool = False
    parents: bool = False
    offset: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault from `at` on, for `seconds`. What `targets` and `amount` mean depends on the kind (see `mischief.py`)."""

    at: float
    seconds: float
    kind: str
    targets: tuple[str, ...] = ()
    amount: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of one run."""

    seed: int
    setup: Setup
    operations: tuple[PlannedOperation, ...]
    faults: tuple[PlannedFault, ...]
    # Overrides of the tape: streams of choices that are all plain ("as asyncio would, nothing special").
    plain_streams: tuple[str, ...] = ()

    def clients(self) -> list[str]:
        """Names, in order."""
        return sorted({operation.client for operation in self.operations})

    def to_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self), default=lambda value: value.value)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(
            seed=found["seed"],
            setup=Setup(**found["setup"]),
            operations=tuple(PlannedOperation(**{**one, "kind": Kind(one["kind"])}) for one in found["operations"]),
            faults=tuple(PlannedFault(**{**one, "targets": tuple(one["targets"])}) for one in found["faults"]),
            plain_streams=tuple(found["plain_streams"]),
        )
