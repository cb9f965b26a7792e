"""What the clients of one run asked for, when, and what they were told. Times are true virtual seconds.

What a write writes is its operation's number, so that each read says what it sees.
"""

import math
from dataclasses import dataclass, field

from cluster.swarm.history import Answer
from cluster.swarm.locks.plan import Kind, PlannedOperation

FIRST_VALUE = 0
"""What a register holds before the first write."""


@dataclass(slots=True)
class Operation:
    """One operation. `generation`: that of the file or lock that was answered; `expected`: that which a write was to
    replace, or the one of the sequencer that it showed; `value`: what was read, or whether a check said yes."""

    number: int
    client: str
    planned: PlannedOperation
    path: str
    session: int
    invoked: float
    responded: float = math.inf
    answer: Answer = Answer.NEVER
    error: str = ""
    message: str = ""
    generation: int = 0
    expected: int = 0
    value: int = 0
    lock: str = ""  # of the sequencer that was shown
    was_held: bool = False  # the client believed in the lock, or its session, from before the operation to its end

    @property
    def kind(self) -> Kind:
        """What was asked for."""
        return self.planned.kind

    @property
    def is_write(self) -> bool:
        """Whether it writes its number into a register."""
        return self.kind in (Kind.WRITE, Kind.COMPARE, Kind.FENCED)

    def call(self) -> str:
        """What was asked for, in words."""
        under = f" under {self.lock} at {self.expected}" if self.lock else ""
        if self.kind is Kind.COMPARE:
            under = f" if still at {self.expected}"
        return f"{self.kind.value} {self.path}{under}"

    def told(self) -> str:
        """The operation in words."""
        outcome = self.answer.value
        if self.answer is Answer.VALUE:
            outcome = f"-> generation {self.generation}, value {self.value}"
        elif self.error:
            outcome = f"{outcome}: {self.error}: {self.message[:120]}"
        return f"{self.client} (session {self.session}): {self.call()} [{self.number}] {outcome}"


@dataclass(slots=True)
class History:
    """All operations, in the order of their begin."""

    operations: list[Operation] = field(default_factory=list)

    def new(self, client: str, planned: PlannedOperation, path: str, session: int, now: float) -> Operation:
        """An operation that begins."""
        self.operations.append(Operation(len(self.operations) + 1, client, planned, path, session, now))
        return self.operations[-1]
