"""What the callers of one run asked for, when, and what they were told.

Times are true virtual seconds. A value that is written begins with the number of the operation that writes it, so that
each read says what it sees. A row is written down as its cells: pairs of a column and that number, or of a counter and
what it counts.
"""

import math
from dataclasses import dataclass, field

from cluster.swarm.engine.plan import Kind, PlannedOperation
from cluster.swarm.history import Answer

RowState = frozenset[tuple[str, int]]
NOTHING: RowState = frozenset()
HOST = "the host"

_DOES = {
    Kind.WRITE_ROWS: "write {rows}",
    Kind.DELETE_ROWS: "delete {rows}",
    Kind.DELETE_RANGE: "delete the range {rows}",
    Kind.SCAN: "scan {rows}",
    Kind.SCAN_BACK: "scan backwards {rows}",
    Kind.PUT: "put {cell}",
    Kind.WRITE: "write {cell} and others",
    Kind.DELETE_CELL: "delete {cell}",
    Kind.DELETE_FAMILY: "delete the family of {cell}",
    Kind.DELETE_ROW: "delete {row}",
    Kind.INCREMENT: "increment the counter of {row}",
    Kind.CHECK: "check {cell} and write",
    Kind.GET: "get {cell}",
    Kind.READ: "read {row}",
    Kind.FLUSH: "flush {tablet}",
    Kind.COMPACT: "compact {tablet}",
    Kind.SYNC: "sync the log",
    Kind.SAVE: "save a snapshot of {tablet}",
    Kind.SPLIT: "split {tablet} at row{number}",
    Kind.MERGE: "merge the tablets of {tablet} from row{number} on",
}


@dataclass(slots=True)
class Operation:
    """One operation. `found`: the rows that a read gave; `value`: what a counter counts now, whether a check has found
    its cell, or what a get gave (0 for nothing). `rows`: which rows it is about; `life`: in which life of the node."""

    number: int
    client: str
    planned: PlannedOperation
    tablet: str
    rows: tuple[int, ...]
    columns: tuple[str, ...]
    life: int
    invoked: float
    responded: float = math.inf
    answer: Answer = Answer.NEVER
    error: str = ""
    message: str = ""
    found: dict[int, RowState] = field(default_factory=dict)
    value: int = 0

    @property
    def kind(self) -> Kind:
        """What was asked for."""
        return self.planned.kind

    @property
    def is_open_ended(self) -> bool:
        """Whether it may have happened, or not."""
        return self.answer in (Answer.DOUBTFUL, Answer.NEVER)

    def told(self) -> str:
        """The operation in words."""
        return f"{self.client}: {self.call()} [{self.number}] {self._outcome()}"

    def call(self) -> str:
        """What was asked for, in words."""
        row = f"{self.tablet}/row{self.planned.row}"
        rows = row if len(self.rows) < 2 else f"{self.tablet}/row{self.rows[0]} to row{self.rows[-1]}"
        cell = f"{row} {self.columns[0]}" if self.columns else row
        return _DOES[self.kind].format(row=row, rows=rows, cell=cell, tablet=self.tablet, number=self.planned.row)

    def _outcome(self) -> str:
        if self.answer is Answer.NEVER:
            return "-> no answer"
        if self.answer is not Answer.VALUE:
            return f"-> {self.error} ({'definite' if self.answer is Answer.REFUSED else 'in doubt'}): {self.message}"
        if self.kind in (Kind.READ, Kind.SCAN, Kind.SCAN_BACK):
            return f"-> {'; '.join(f'row{row}: {shown(state)}' for row, state in sorted(self.found.items())) or '{}'}"
        if self.kind is Kind.CHECK:
            return "-> found" if self.value else "-> not found"
        return f"-> {self.value}" if self.kind in (Kind.GET, Kind.INCREMENT) else "-> done"


def shown(state: RowState) -> str:
    """A row in words.

    >>> shown(frozenset({("f:b", 7), ("f:a", 3)}))
    '{f:a=3, f:b=7}'
    """
    return "{" + ", ".join(f"{column}={value}" for column, value in sorted(state)) + "}"


@dataclass(slots=True)
class History:
    """All operations of one run, in order of invocation; `life` is the present life of the node, counted from 0."""

    operations: list[Operation] = field(default_factory=list)
    life: int = 0

    def new(
        self,
        client: str,
        planned: PlannedOperation,
        now: float,
        tablet: str,
        rows: tuple[int, ...] = (),
        columns: tuple[str, ...] = (),
    ) -> Operation:
        """An operation that begins now."""
        operation = Operation(len(self.operations) + 1, client, planned, tablet, rows, columns, self.life, now)
        self.operations.append(operation)
        return operation
