"""One run of the tables' swarm as data. Anything may be taken out of a plan and the rest still has a meaning."""

import enum
from dataclasses import dataclass

from cluster import faultplan
from cluster.faultplan import Fault
from cluster.written import Codec, types_in
from runtime.faults import disk as disk_faults
from runtime.faults import links


class Kind(enum.Enum):
    """What a client can ask for."""

    PUT = "put"  # one cell
    WRITE = "write"  # both cells of a row, in one step
    WRITE_ROWS = "write rows"  # one cell in each of several rows, in one batch
    DELETE = "delete"  # a row
    CHECK = "check"  # write one cell if the row has it, the other one if not
    GET = "get"  # one cell
    READ = "read"  # a row
    SCAN = "scan"  # some rows in order
    SPLIT = "split"  # the tablet that has a row, at that row
    SNAPSHOT = "snapshot"  # the table
    RESTORE = "restore"  # a snapshot into a new table, look at it, and drop it
    FORGET = "forget"  # delete a snapshot
    MOVE = "move"  # the tablet that has a row, to the tablet server number `count`
    COMPACT = "compact"  # the tablet that has a row; `count` 1: a minor compaction, 2: a major one
    MERGE = "merge"  # the tablet that has a row, with the one above it; the last one, with the one below
    INCREMENT = "increment"  # a counter of the row
    APPEND = "append"  # to a value of the row
    REVERSE_SCAN = "reverse scan"  # as SCAN, from the last row to the first


LAYOUT = (Kind.SPLIT, Kind.MOVE, Kind.COMPACT, Kind.MERGE)
"""They change which tablets there are, who serves them, or their files."""
ORDERS = (*LAYOUT, Kind.SNAPSHOT, Kind.RESTORE, Kind.FORGET)
"""They change no row."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The cluster of one run, and how long the trouble lasts. Seconds and bytes."""

    clients: int = 3
    rows: int = 8
    tablet_servers: int = 3
    tablet_masters: int = 1
    masters: int = 1
    memtable_bytes: int = 4096
    segment_bytes: int = 6000
    split_bytes: int = 0
    tablets: int = 3
    trouble_seconds: float = 20.0
    call_seconds: float = 2.0  # how long a client waits for one answer
    merge_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What a client will do, `pause` seconds after its last operation ended, to `row` and, if it is about several, to
    the `count` rows from there on. `column`: which of the two."""

    client: str
    pause: float
    kind: Kind
    row: int = 0
    count: int = 1
    column: int = 0


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
