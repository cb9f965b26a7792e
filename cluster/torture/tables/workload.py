"""One client of a torture run on tables: what it asks for, and what it is told."""

import asyncio
import random

from cluster.swarm.history import Answer
from cluster.swarm.tables.history import History as Operations
from cluster.swarm.tables.history import Operation
from cluster.swarm.tables.plan import LAYOUT, Kind, PlannedOperation
from cluster.swarm.tables.player import Player
from cluster.torture.history import History
from cluster.torture.workload import PATIENCE_SECONDS, UNEXPLAINED
from runtime.errors import InternalError, TabletopError, error_from_wire
from tablet.client.client import TableClient

PLACES = 8  # in the space of keys: one row of each is worked on at a time
ROWS_OF_A_PLACE = 2000
NOTES_A_ROW = 50  # Then the next row of each place takes its turn.
NEIGHBOURS = 6
_WEIGHTS = {
    Kind.PUT: 26.0,
    Kind.WRITE: 10.0,
    Kind.WRITE_ROWS: 10.0,
    Kind.DELETE: 5.0,
    Kind.CHECK: 15.0,
    Kind.GET: 14.0,
    Kind.READ: 10.0,
    Kind.SCAN: 6.0,
    Kind.REVERSE_SCAN: 3.0,
    Kind.INCREMENT: 6.0,
    Kind.APPEND: 5.0,
    Kind.SPLIT: 1.0,
    Kind.MERGE: 0.7,
    Kind.COMPACT: 0.7,
}


class TableWorker:
    """One client. `operations` are those of all clients, on whose number it depends which rows have their turn."""

    def __init__(self, name: str, tables: TableClient, seed: str, operations: Operations, history: History) -> None:
        self.name = name
        self.tables = tables
        self.operations = operations
        self._player = Player(name, tables, operations, PLACES * ROWS_OF_A_PLACE)
        self._random = random.Random(seed)
        self._history = history

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; the operation that is under way then is finished."""
        while not stopping.is_set():
            await self.do(self._drawn())

    async def do(self, planned: PlannedOperation) -> list[Operation]:
        """One operation; what it was told is noted in both histories."""
        words = f"{planned.kind.value} {planned.count} from row {planned.row}, column {planned.column}"
        noted: list[Operation] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                noted = await self._player.do(planned)
        except TimeoutError:
            self._violation(words, f"had no answer after {PATIENCE_SECONDS:g} seconds")
        except Exception as error:
            self._violation(words, f"it broke with {type(error).__name__}: {error}")
        for one in noted:
            for complaint in one.wrong:
                self._violation(words, complaint)
        failed = [one for one in noted if one.answer is not Answer.VALUE]
        for failure in {one.error: _error(one) for one in failed}.values():
            self._history.failure(self.name, words, failure)
            is_unexplained = failure.definite and isinstance(failure, UNEXPLAINED) and planned.kind not in LAYOUT
            if is_unexplained or isinstance(failure, InternalError):
                self._violation(words, f"was told {type(failure).__name__}: {failure.message}")
        if noted and not failed:
            self._history.operation(self.name, f"{words} (operation {noted[0].number})", "done")
            self._history.acknowledged += not noted[0].is_read
            self._history.reads += noted[0].is_read
        return noted

    def _drawn(self) -> PlannedOperation:
        kind = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        turn, place = turn_of(self.operations), self._random.randrange(PLACES)
        back, column = self._random.randrange(min(NEIGHBOURS, turn + 1)), self._random.randrange(2)
        row = place * ROWS_OF_A_PLACE + turn
        if kind in (Kind.SCAN, Kind.REVERSE_SCAN, Kind.WRITE_ROWS):
            return PlannedOperation(self.name, 0.0, kind, row - back, back + 1, column)
        return PlannedOperation(self.name, 0.0, kind, row, 1, column)

    def _violation(self, words: str, complaint: str) -> None:
        self._history.violation(f"{self.name} asked to {words}, and {complaint}")


def turn_of(operations: Operations) -> int:
    """Which row of each place is worked on now."""
    return min(len(operations.operations) // (PLACES * NOTES_A_ROW), ROWS_OF_A_PLACE - 1)


def _error(one: Operation) -> TabletopError:
    return error_from_wire(one.error, one.message, definite=one.answer is Answer.REFUSED)
