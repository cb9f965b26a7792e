"""One run of the lock service's swarm as data. Anything may be taken out of a plan and the rest still has a meaning."""

import enum
from dataclasses import dataclass

from cluster import faultplan
from cluster.faultplan import Fault
from cluster.written import Codec, types_in
from runtime.faults import disk as disk_faults
from runtime.faults import links


class Kind(enum.Enum):
    """What a client can ask for."""

    ACQUIRE = "acquire"  # and wait for so long
    RELEASE = "release"  # what it holds
    CHECK = "check"  # the sequencer that it got last, its own or not
    FENCED = "fenced"  # write a register under the sequencer of a lock
    COMPARE = "compare"  # read a register, and write it if nobody else has
    WRITE = "write"  # a register, whatever it holds
    READ = "read"
    SHOW = "show"  # make an ephemeral file
    HIDE = "hide"  # delete it
    LOOK = "look"  # read it
    LEAVE = "leave"  # close the session; the next operation opens another


@dataclass(frozen=True, slots=True)
class Setup:
    """The service of one run, and how long the trouble lasts. Seconds."""

    clients: int = 3
    locks: int = 2
    registers: int = 2
    lease_seconds: float = 2.0
    grace_seconds: float = 1.0
    delay_seconds: float = 2.0
    log_bytes: int = 4096
    patience_seconds: float = 5.0
    trouble_seconds: float = 40.0


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What a client will do, `pause` seconds after its last operation ended. `number` chooses the lock or register.
    `wait_seconds` for a lock; `delay_share` of the longest lock-delay. `gives_up_after`: seconds after which the caller
    is cancelled; 0: never."""

    client: str
    pause: float
    kind: Kind
    number: int = 0
    wait_seconds: float = 0.0
    delay_share: float = 1.0
    gives_up_after: float = 0.0


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
    types_in((disk_faults, faultplan))
    | {
        "operation": Kind,
        "message": links.Kind,
        "LinkFaults": links.LinkFaults,
        "Setup": Setup,
        "PlannedOperation": PlannedOperation,
        "Plan": Plan,
    }
)
