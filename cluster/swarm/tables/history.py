"""What the clients of one run asked for, when, and what they were told: one entry for each row that an operation is
about. Times are true virtual seconds. A value that is written is the number of the operation that writes it.
"""

import math
from dataclasses import dataclass, field

from cluster.swarm.history import Answer
from cluster.swarm.tables.plan import Kind, PlannedOperation

COLUMNS = ("f:x", "f:y")
COUNTER, CHAIN = "f:n", "f:a"
"""A row's counter, and the value that is only appended to: what has been, six digits for each operation."""
_WITH_VALUE = (Kind.GET, Kind.CHECK, Kind.INCREMENT, Kind.APPEND)
RowState = frozenset[tuple[str, int]]
NOTHING: RowState = frozenset()


@dataclass(slots=True)
class Operation:
    """One operation on one row. `found`: the cells that a read gave; `value`: what a get gave (0 for nothing), whether
    a check has found its cell, or what a change has made of a value."""

    number: int
    client: str
    planned: PlannedOperation
    row: int
    invoked: float
    responded: float = math.inf
    answer: Answer = Answer.NEVER
    error: str = ""
    message: str = ""
    found: RowState = NOTHING
    value: int = 0
    wrong: list[str] = field(default_factory=list)  # What is wrong with the answer by itself.

    @property
    def kind(self) -> Kind:
        """What was asked for."""
        return self.planned.kind

    @property
    def column(self) -> str:
        """The one it is about."""
        return COLUMNS[self.planned.column]

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.kind is Kind.GET or self.is_of_rows

    @property
    def is_of_rows(self) -> bool:
        """Whether it reads whole rows."""
        return self.kind in (Kind.READ, Kind.SCAN, Kind.REVERSE_SCAN)

    def told(self) -> str:
        """In words."""
        what = f"operation {self.number}, {self.client}: {self.kind.value} row{self.row:02} {self.column}"
        match self.answer:
            case Answer.VALUE if self.is_of_rows:
                outcome = f"gave {sorted(self.found)}"
            case Answer.VALUE:
                outcome = f"gave {self.value}" if self.kind in _WITH_VALUE else "was acknowledged"
            case Answer.NEVER:
                outcome = "was never answered"
            case answer:
                outcome = f"{answer.value}: {self.error}: {self.message[:150]}"
        return f"{what} at {self.invoked:.3f} s {outcome}"


@dataclass(slots=True)
class History:
    """All operations."""

    operations: list[Operation] = field(default_factory=list)

    def new(self, client: str, planned: PlannedOperation, row: int, now: float) -> Operation:
        """An operation that begins now."""
        operation = Operation(len(self.operations) + 1, client, planned, row, now)
        self.operations.append(operation)
        return operation
