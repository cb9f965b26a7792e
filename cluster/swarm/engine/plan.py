"""One run of the engine's swarm as data: the tablets, what each caller will do, and which faults will strike.

Anything may be taken out of a plan and the rest still has a meaning.
"""

import enum
from dataclasses import dataclass

from cluster import faultplan
from cluster.faultplan import Fault
from cluster.written import Codec, types_in
from runtime.faults import disk as disk_faults
from runtime.faults import links
from tablet.engine.world.options import SyncMode


class Kind(enum.Enum):
    """What a caller can ask for."""

    PUT = "put"
    WRITE = "write"  # some cells of one row, and the deletion of one
    WRITE_ROWS = "write_rows"  # a cell of each of some rows, logged together
    DELETE_CELL = "delete_cell"
    DELETE_FAMILY = "delete_family"
    DELETE_ROW = "delete_row"
    DELETE_ROWS = "delete_rows"  # neighbours, logged together
    DELETE_RANGE = "delete_range"  # all rows of a range, by one switch of the manifest
    INCREMENT = "increment"
    CHECK = "check"  # write one cell if there is another, else a third
    GET = "get"
    READ = "read"
    SCAN = "scan"
    SCAN_BACK = "scan_back"
    FLUSH = "flush"
    COMPACT = "compact"
    SYNC = "sync"
    SAVE = "save"  # a snapshot of each tablet of a table, in the place of an earlier one
    SPLIT = "split"  # the tablet of a row, there; only if the setup says that tables are split
    MERGE = "merge"  # the tablet of a row with the next one


@dataclass(frozen=True, slots=True)
class Setup:
    """The tablets of one run. `takes_over_every`: each so-manieth start after a death is that of another server, which
    sorts the log and begins one of its own; 0: none is. `reshapes`: each of the `tablets` is a table that is split into
    tablets, which are merged again. `fenced`: the disk has no locks, each life has a token, and one that stands still
    is succeeded by another while it is not dead."""

    tablets: int = 3
    rows: int = 6
    sync: SyncMode = "fsync"
    segment_bytes: int = 4000
    segment_limit: int = 0
    memtable_bytes: int = 3000
    frozen_memtables: int = 1
    policy: str = "size_tiered"
    fan_in: int = 2
    flush_on_close_bytes: int = 0
    value_bytes: int = 50
    takes_over_every: int = 0
    reshapes: bool = False
    fenced: bool = False
    piece_bytes: int = 4000
    trouble_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What a caller will do, `pause` seconds after its last operation ended. `rows`: how many neighbours, from `row`
    on. `patience_seconds`: after so long it gives up; 0: never. `patience_switches`: when so many manifests and
    catalogues have been renamed since it began; 0: never."""

    client: str
    pause: float
    kind: Kind
    tablet: int = 0
    row: int = 0
    column: int = 0
    rows: int = 1
    patience_seconds: float = 0.0
    patience_switches: int = 0


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
        "Setup": Setup,
        "PlannedOperation": PlannedOperation,
        "Plan": Plan,
    }
)
