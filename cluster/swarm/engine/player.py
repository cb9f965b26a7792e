"""One caller: does what is planned for it, one operation after the other, and writes down what it was told.

Work runs in the node's own life, so that a kill ends it in the middle: the operation that was under way is never
answered, and the caller waits until the tablet is served again. Some give up by themselves after a short while.
"""

import asyncio
import traceback

from cluster.swarm.engine.history import History, Operation
from cluster.swarm.engine.host import NEWEST, Host, key_of, number_in, scan_all, state_of
from cluster.swarm.engine.mischief import SERVER
from cluster.swarm.engine.plan import Kind, PlannedOperation, Setup
from cluster.swarm.engine.table import Table
from cluster.swarm.engine.workload import COLUMNS, COUNTER
from cluster.swarm.history import Answer
from runtime.errors import TabletopError
from runtime.faults.disk import Operation as DiskOperation
from runtime.simulated.world import NodeEnded
from tablet.engine.engine import Engine
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.operations import DeleteCells, DeleteFamily, DeleteRow, SetCell

READS = frozenset({Kind.GET, Kind.READ, Kind.SCAN, Kind.SCAN_BACK})
LONGEST_SECONDS = 100.0
LONGEST_WAIT_SECONDS = 300.0
_LOOK_SECONDS = 0.02
_ROW_KINDS = frozenset(Kind) - {Kind.FLUSH, Kind.COMPACT, Kind.SYNC, Kind.SAVE, Kind.SPLIT, Kind.MERGE}


class Player:
    """One caller of one run. `complain` takes what must not be, whatever the history says."""

    def __init__(self, name: str, host: Host, setup: Setup, complaints: list[str]) -> None:
        self.name = name
        self._host = host
        self._history: History = host.history
        self._setup = setup
        self._complaints = complaints

    async def play(self, operations: list[PlannedOperation]) -> None:
        """Do all of it."""
        for planned in operations:
            await asyncio.sleep(planned.pause)
            await self.perform(planned)

    async def perform(self, planned: PlannedOperation) -> Operation | None:
        """Do one operation and write it down; None if its tablet is not there for too long."""
        host = self._host
        name = host.tablets[planned.tablet % len(host.tablets)]
        engine = await self._served(name)
        if engine is None:
            return None
        operation = self._begun(planned, name)
        world = host.simulation.world(SERVER)
        try:
            await asyncio.wait_for(host.simulation.on(world, self._patiently(engine, operation)), LONGEST_SECONDS)
        except NodeEnded:
            pass
        except TimeoutError:
            is_patient = not planned.patience_seconds and not planned.patience_switches
            if is_patient or host.now - operation.invoked > LONGEST_SECONDS / 2:
                self._complain(operation, f"has no end: given up after {LONGEST_SECONDS:g} s")
            operation.answer, operation.error = Answer.DOUBTFUL, "Cancelled"
        except TabletopError as error:
            operation.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
            operation.error, operation.message = type(error).__name__, error.message
            if operation.error in ("TabletopError", "InternalError"):
                self._complain(operation, "this error has no type of its own")
            if "restart this node" in error.message and host.simulation.world(SERVER) is world:
                operation.responded = host.now
                host.fail()
        except Exception as error:
            operation.answer, operation.error, operation.message = Answer.DOUBTFUL, type(error).__name__, str(error)
            trace = "".join(traceback.format_exception(error)[-3:])
            self._complain(operation, f"an exception that is none of ours\n{trace}")
        else:
            # Who was succeeded may read what is old: nobody promises more without leases.
            is_old = operation.kind in READS and not host.is_current(world)
            operation.answer = Answer.DOUBTFUL if is_old else Answer.VALUE
        operation.responded = host.now
        return operation

    def _complain(self, operation: Operation, what: str) -> None:
        self._complaints.append(f"at {self._host.now:.3f} s: {operation.told()}: {what}")

    async def _served(self, tablet: str) -> Engine | Table | None:
        """The tablet, as soon as callers are let in."""
        begun = self._host.now
        while tablet not in self._host.engines or not self._host.is_running(SERVER):
            if self._host.now - begun > LONGEST_WAIT_SECONDS:
                what = f"{tablet} is not served for {LONGEST_WAIT_SECONDS:g} s"
                self._complaints.append(f"at {self._host.now:.3f} s: {what}")
                return None
            await asyncio.sleep(_LOOK_SECONDS)
        return self._host.engines[tablet]

    def _begun(self, planned: PlannedOperation, tablet: str) -> Operation:
        row = planned.row % self._setup.rows
        rows = tuple(range(row, min(row + planned.rows, self._setup.rows))) if planned.kind in _ROW_KINDS else ()
        column = planned.column % len(COLUMNS)
        columns = (*COLUMNS[column:], *COLUMNS[:column])
        if planned.kind is Kind.INCREMENT:
            columns = (COUNTER,)
        return self._history.new(self.name, planned, self._host.now, tablet, rows, columns)

    async def _patiently(self, engine: Engine | Table, operation: Operation) -> None:
        planned = operation.planned
        disk = self._host.simulation.world(SERVER).simulated_disk
        async with asyncio.timeout(planned.patience_seconds or None) as patience:
            left = planned.patience_switches

            def watch(step: DiskOperation) -> None:
                nonlocal left
                if step.verb == "rename" and ("manifest" in step.path or "catalogue" in step.path):
                    left -= 1
                    if not left:  # Cut between the renaming and what it means in memory.
                        patience.reschedule(self._host.now)

            forget = disk.on_operation(watch) if left else _nothing
            try:
                await self._todo(engine, operation)
            finally:
                forget()

    async def _todo(self, engine: Engine | Table, operation: Operation) -> None:
        """What is asked of the engine."""
        row = key_of(operation.rows[0]) if operation.rows else b""
        first, second, third = (*(column.encode() for column in operation.columns), b"", b"")[:3]
        value = b"%d %s" % (operation.number, b"x" * self._setup.value_bytes)
        match operation.kind:
            case Kind.PUT:
                await engine.put(row, first, value)
            case Kind.WRITE:
                await engine.write(row, [DeleteCells(third), SetCell(first, value), SetCell(second, value)])
            case Kind.WRITE_ROWS:
                await engine.write_many([(key_of(one), [SetCell(first, value)]) for one in operation.rows])
            case Kind.DELETE_CELL:
                await engine.write(row, [DeleteCells(first)])
            case Kind.DELETE_FAMILY:
                await engine.write(row, [DeleteFamily(first[:1])])
            case Kind.DELETE_ROW:
                await engine.write(row, [DeleteRow()])
            case Kind.DELETE_ROWS:
                await engine.write_many([(key_of(one), [DeleteRow()]) for one in operation.rows])
            case Kind.INCREMENT:
                operation.value = await engine.increment(row, first)
            case Kind.CHECK:
                wanted = ReadFilter(columns=frozenset((first,)), versions=1)
                found = await engine.check_and_mutate(row, wanted, [SetCell(second, value)], [SetCell(third, value)])
                operation.value = int(found)
            case Kind.GET:
                got = await engine.get(row, first)
                operation.value = 0 if got is None else number_in(first, got)
            case Kind.READ:
                operation.found = {operation.rows[0]: state_of(await engine.read(row, NEWEST))}
            case Kind.DELETE_RANGE:
                await engine.delete_rows(row, key_of(operation.rows[-1]) + b"\0")
            case Kind.SCAN | Kind.SCAN_BACK:
                await scan_all(engine, operation)
            case Kind.FLUSH:
                await engine.flush()
            case Kind.COMPACT:
                await engine.compact()
            case Kind.SYNC:
                await engine.sync()
            case Kind.SAVE if isinstance(engine, Table):
                await engine.save_snapshot(f"s{operation.planned.column}")
            case Kind.SPLIT if isinstance(engine, Table):
                await engine.split(key_of(operation.planned.row))
            case Kind.MERGE if isinstance(engine, Table):
                await engine.merge(key_of(operation.planned.row))


def _nothing() -> None:
    """Nobody watches the disk."""
