"""One run as data: the cluster, what each client will do, and which faults will strike.

A plan is drawn from a seed, and can be written down as JSON: a shrunk failure is a plan that no seed draws. Anything
may be taken out of a plan and the rest still has a meaning: an operation on a handle that is not open is left out, a
fault whose target does not exist does nothing.
"""

from dataclasses import dataclass

from cluster import faultplan
from cluster.faultplan import Fault
from cluster.roles import MASTER
from cluster.swarm import history
from cluster.swarm.history import Kind
from cluster.written import Codec, types_in
from runtime.faults import disk as disk_faults
from runtime.faults import links

JUDGE = "client4"
"""The client that works on its own while the others do, and judges at the end."""
MASTERS = (MASTER, "master2", "master3")


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
    patience_seconds: float = 30.0
    write_seconds: float = 10.0
    write_patience_seconds: float = 120.0
    client_host: str = ""  # where all clients are: beside a chunkserver, or ("") near none
    trouble_seconds: float = 60.0
    scrub_bytes_per_second: int = 4 * 1024 * 1024
    masters: int = 1
    shadow_memory_bytes: int = 8 * 1024 * 1024
    topology: str = ""
    placement: str = "paper"
    hot_bytes_per_second: int = 0
    lasting: bool = False  # its faults last, and it is judged before they are healed


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What a client will do, `pause` seconds after its last operation ended. `slot` names one of its open files. If
    `gives_up_after` is not 0, its caller cancels it after so many seconds. `together`: it begins in the same moment as
    the client's operation before it."""

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
    force: bool = False
    offset: int = 0
    count: int = 0
    gives_up_after: float = 0.0
    together: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All of one run. `plain_streams`: streams of the tape that choose nothing special ("*": all of them)."""

    seed: int
    setup: Setup
    operations: tuple[PlannedOperation, ...]
    faults: tuple[Fault, ...]
    plain_streams: tuple[str, ...] = ()

    def clients(self) -> list[str]:
        """Names, in order."""
        return sorted({operation.client for operation in self.operations})

    def to_json(self) -> str:
        """The plan as text."""
        return _CODEC.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote."""
        found = _CODEC.from_json(text)
        assert isinstance(found, cls), f"no plan but {type(found).__name__}"
        return found


_CODEC = Codec(
    types_in((links, history, disk_faults, faultplan))
    | {
        "operation": history.Kind,
        "message": links.Kind,
        "Setup": Setup,
        "PlannedOperation": PlannedOperation,
        "Plan": Plan,
    }
)
