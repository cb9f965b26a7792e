"""One client of a run: it does what it was drawn to do, and notes what it was told."""

import asyncio
from collections.abc import Sequence

from cluster.swarm.history import Answer
from cluster.swarm.tables.history import CHAIN, COLUMNS, COUNTER, History, Operation, RowState
from cluster.swarm.tables.layout import give_order
from cluster.swarm.tables.plan import Kind, PlannedOperation
from cluster.swarm.tables.promises import in_order
from runtime.errors import TabletopError
from tablet.client.client import TableClient
from tablet.engine.model.filters import LATEST, ReadFilter
from tablet.engine.model.operations import DeleteRow, SetCell
from tablet.location.messages import FoundRow

TABLE = "users"


def row_key(row: int) -> bytes:
    """The key of a row; keys are in the order of their numbers, as long as those have six digits."""
    return b"row%02d" % row if row < 100 else b"row~%06d" % row


class Player:
    """`name` on `tables`; notes go to `history`."""

    def __init__(self, name: str, tables: TableClient, history: History, rows: int) -> None:
        self.name = name
        self._tables = tables
        self._history = history
        self._rows = rows

    async def play(self, operations: Sequence[PlannedOperation]) -> None:
        """All of it, one after the other."""
        for planned in operations:
            await asyncio.sleep(planned.pause)
            await self.do(planned)

    async def do(self, planned: PlannedOperation) -> list[Operation]:
        """One operation."""
        numbers = range(planned.row, min(planned.row + planned.count, self._rows))
        several = planned.kind in (Kind.SCAN, Kind.REVERSE_SCAN, Kind.WRITE_ROWS)
        loop = asyncio.get_running_loop()
        noted = [
            self._history.new(self.name, planned, row, loop.time()) for row in (numbers if several else [planned.row])
        ]
        try:
            await self._ask(planned, noted)
        except TabletopError as error:
            for one in noted:
                note_error(one, error)
        for one in noted:
            if one.answer is Answer.NEVER:
                one.answer = Answer.VALUE
            one.responded = loop.time()
        return noted

    async def _ask(self, planned: PlannedOperation, noted: Sequence[Operation]) -> None:
        one, key, tables = noted[0], row_key(planned.row), self._tables
        match planned.kind:
            case Kind.PUT:
                await tables.put(TABLE, key, one.column.encode(), _value(one))
            case Kind.WRITE:
                cells = [SetCell(column.encode(), _value(one)) for column in COLUMNS]
                await tables.mutate(TABLE, key, cells)
            case Kind.WRITE_ROWS:
                wanted = [(row_key(one.row), [SetCell(one.column.encode(), _value(one))]) for one in noted]
                for one, failure in zip(noted, await tables.mutate_many(TABLE, wanted), strict=True):
                    if failure is not None:
                        note_error(one, failure)
            case Kind.DELETE:
                await tables.mutate(TABLE, key, [DeleteRow()])
            case Kind.CHECK:
                other = COLUMNS[1 - planned.column]
                one.value = await tables.check_and_mutate(
                    TABLE,
                    key,
                    ReadFilter(columns=[one.column]),
                    [SetCell(one.column, _value(one))],
                    [SetCell(other, _value(one))],
                )
            case Kind.GET:
                found = await tables.get(TABLE, key, one.column.encode())
                one.value = 0 if found is None else _number(found)
            case Kind.READ:
                one.found = state_of(await tables.read(TABLE, key, LATEST))
            case Kind.SCAN | Kind.REVERSE_SCAN:
                await self._scan(noted, reverse=planned.kind is Kind.REVERSE_SCAN)
            case Kind.INCREMENT:
                one.value = await tables.increment(TABLE, key, COUNTER.encode())
            case Kind.APPEND:
                one.value = int(await tables.append(TABLE, key, CHAIN.encode(), b"%06d" % one.number))
            case _:
                await give_order(tables, TABLE, key, planned)

    async def _scan(self, noted: Sequence[Operation], *, reverse: bool) -> None:
        start, end = row_key(noted[0].row), row_key(noted[-1].row) + b"\0"
        scan = self._tables.scan(TABLE, start, end, wanted=LATEST, reverse=reverse)
        rows = await in_order(scan, start, end, noted[0], reverse=reverse)
        for one in noted:
            one.found = state_of(rows.get(row_key(one.row)))


def _value(one: Operation) -> bytes:
    """The number of the operation, and enough more that tablets grow."""
    return b"%d " % one.number + b"%x" % (one.number * 0x9E3779B97F4A7C15 % (1 << 400))


def _number(value: bytes, column: str = "") -> int:
    if column == COUNTER:
        return int.from_bytes(value, "big")
    return int(value.partition(b" ")[0])


def state_of(found: FoundRow | None) -> RowState:
    """What a row shows."""
    cells = () if found is None else found[1]
    return frozenset((cell.column.decode(), _number(cell.value, cell.column.decode())) for cell in cells)


def note_error(one: Operation, error: TabletopError) -> None:
    """An operation was not acknowledged."""
    one.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
    one.error, one.message = type(error).__name__, error.message
