"""What is seen of one run, by somebody who sees everything: the input of the classification."""

from dataclasses import dataclass, replace

from cluster.cords.striking import Strike
from cluster.cords.terms import Cell, Fault
from runtime.events import Record
from runtime.faults.disk import Operation


@dataclass(frozen=True, slots=True)
class Observation:
    """One run. Texts are for people; the classification looks at whether there are any.

    `changed`: the fault was there: bytes were others, or an access was refused. `reads`, `writes`, `read_first`: the
    accesses to the block (`striking.py`). `crashes` counts failed starts and ends of the struck node by itself, `is_up`
    whether it serves at the end. `events`: the kinds of records that tell of damage or its mending, by the struck node
    or by another about it. `below_goal` and `differing` are about replicas, at the end, on the disks.
    """

    changed: bool = False
    reads: int = 0
    writes: int = 0
    read_first: bool = False
    wrong: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    reads_go_on: bool = True
    writes_go_on: bool = True
    crashes: int = 0
    is_up: bool = True
    last_problem: str = ""
    events: frozenset[str] = frozenset()
    below_goal: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SoundRun:
    """A workload without any fault: what came of it, and what the node's disk was asked for."""

    observation: Observation
    operations: tuple[Operation, ...]

    def outcome_unless_met(self, cell: Cell) -> Observation | None:
        """What comes of a cell whose block nobody comes upon; None if somebody does.

        Up to the first access to the block a run is that without any fault, event for event. So if there nobody reads
        the block, damage to it changes nothing, and if nobody writes it, neither does an error of writing."""
        strike = Strike(cell.block, cell.fault)
        for operation in self.operations:
            strike.on_operation(operation)
        if strike.writes if cell.fault in (Fault.WRITE_ERROR, Fault.NO_SPACE) else strike.reads:
            return None
        return replace(
            self.observation,
            changed=cell.fault.is_corruption,
            reads=strike.reads,
            writes=strike.writes,
            read_first=strike.read_first,
            cpu_seconds=0.0,
        )


def checked_sound(what: str, found: Observation, operations: list[Operation]) -> SoundRun:
    """A run without a fault. Raises AssertionError if anything is amiss in it."""
    well = Observation(events=found.events, cpu_seconds=found.cpu_seconds, virtual_seconds=found.virtual_seconds)
    assert found == well, f"{what}, without any fault: {found}"
    return SoundRun(found, tuple(operations))


def kind_told(record: Record) -> str:
    """The kind of an event; where its text says more than its kind, with that."""
    name = type(record.event).__name__
    note = getattr(record.event, "note", "")
    for words in ("passed over", "dropped the last", "dropped"):
        if words in note:
            return f"{name}: {words}"
    return name
