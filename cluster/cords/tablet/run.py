"""One run of the matrix: a tablet on the copied folder, one fault, some work, and a look at every row.

    reopen            the fault is there before the tablet is opened
    the others        the tablet serves when the fault strikes
    put, compaction   end with a kill and an opening: what they have changed must be found again

An opening that is refused is tried three times. Whoever works with the tablet does what an error says: it tries again,
and where it is told to restart, the tablet is killed and opened again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache

from cluster.cords.observing import Observation, SoundRun, checked_sound, kind_told
from cluster.cords.striking import NO_BLOCK, Strike, strike
from cluster.cords.structures import claimed_by
from cluster.cords.tablet.image import COLUMN, DESK, RUNNING_SEED, TabletKind, image_of_tablet, opened, row_of, value_of
from cluster.cords.tablet.ledger import TabletLedger
from cluster.cords.terms import Cell, Fault, Workload
from runtime.errors import TabletopError
from runtime.faults.disk import Operation
from runtime.simulated.world import Simulation
from tablet.engine.engine import Engine

_MOST_TRIES = 3
_PAUSE_SECONDS = 2.0
_SETTLING_SECONDS = 20.0
_LONGEST_SECONDS = 600.0
_PROBE = b"row99"
_PUT_ROWS = (3, 12, 25, 33, 60, 61)
_RESTART = "restart this node"


def run_tablet_cell(kind: TabletKind, cell: Cell) -> Observation:
    """Run one cell, unless it is known already what comes of it."""
    known = sound_tablet_run(kind, cell.workload).outcome_unless_met(cell)
    return known if known is not None else _TabletRun(kind, cell.workload, cell).run()


@cache
def sound_tablet_run(kind: TabletKind, workload: Workload) -> SoundRun:
    """Do the work without a fault. Raises AssertionError if anything is amiss then."""
    run = _TabletRun(kind, workload, None)
    return checked_sound(f"{kind.name}, {workload.value}", run.run(), run.operations)


class _TabletRun:
    """`cell` of None: without a fault."""

    def __init__(self, kind: TabletKind, workload: Workload, cell: Cell | None) -> None:
        self.operations: list[Operation] = []
        self._kind = kind
        self._workload = workload
        self._cell = cell
        self._image = image_of_tablet(kind)
        self._simulation = Simulation(RUNNING_SEED)
        self._world = self._simulation.add_node(DESK)
        self._disk = self._world.simulated_disk
        self._ledger = TabletLedger(self._image.rows)
        self._engine: Engine | None = None
        self._crashes = 0
        self._problem = ""
        self._strike = Strike(NO_BLOCK, Fault.ZEROS)
        self._struck_at = 0

    def run(self) -> Observation:
        begun = time.process_time()
        with self._simulation as simulation:
            found = simulation.run(self._whole())
        return replace(found, cpu_seconds=time.process_time() - begun)

    async def _whole(self) -> Observation:
        self._disk.load(self._image.files)
        writes = False
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                writes = await self._story()
        except TimeoutError:
            self._engine = None
            self._problem = f"no answer after {_LONGEST_SECONDS:.0f} s"
        return self._seen(writes)

    async def _story(self) -> bool:
        """All that happens; whether the tablet takes a write in the end."""
        if self._workload is Workload.REOPEN:
            self._begin_fault()
        await self._open()
        if self._workload is not Workload.REOPEN:
            self._begin_fault()
        if self._workload is Workload.PUT:
            for number in _PUT_ROWS:
                await self._put(row_of(number), value_of("p", number))
        if self._workload is Workload.COMPACT:
            await self._insist("flush", lambda engine: engine.flush())
            await self._insist("compaction", lambda engine: engine.compact())
        await asyncio.sleep(_SETTLING_SECONDS)
        if self._workload in (Workload.PUT, Workload.COMPACT):
            await self._reopen()
        await self._look()
        return await self._probe()

    def _begin_fault(self) -> None:
        self._struck_at = len(self._simulation.sink.records)
        if self._cell is not None:
            self._strike = strike(self._disk, self._cell.block, self._cell.fault)
        else:
            self._disk.on_operation(self._note)

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)

    async def _reopen(self) -> None:
        self._engine = None
        self._world = self._simulation.restart(DESK)
        await self._open()

    async def _open(self) -> None:
        for _ in range(_MOST_TRIES):
            try:
                self._engine = await self._simulation.on(self._world, opened(self._world, self._kind))
            except TabletopError as error:
                self._crashes += 1
                self._problem = f"{type(error).__name__}: {error.message}"
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def _insist(self, what: str, work: Callable[[Engine], Awaitable[None]]) -> bool:
        """Do it, and again if it fails; whether it was done."""
        problem = self._problem
        for _ in range(_MOST_TRIES):
            if self._engine is None:
                break
            try:
                await self._simulation.on(self._world, _as_coroutine(work(self._engine)))
            except TabletopError as error:
                problem = f"{type(error).__name__}: {error.message}"
                if _RESTART in error.message:
                    await self._reopen()
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return True
        self._ledger.failed.append(f"{what}: {problem}")
        return False

    async def _put(self, row: bytes, value: bytes) -> bool:
        async def work(engine: Engine) -> None:
            try:
                await engine.put(row, COLUMN, value)
            except TabletopError as error:
                if not error.definite:
                    self._ledger.doubt(row, value)
                raise

        done = await self._insist(f"put of {row.decode()}", work)
        if done:
            self._ledger.acknowledged(row, value)
        return done

    async def _look(self) -> None:
        if self._engine is None:
            return
        if self._workload is not Workload.SCAN:
            await self._simulation.on(self._world, self._ledger.check_gets(self._engine))
        if self._workload is not Workload.GET:
            await self._simulation.on(self._world, self._ledger.check_scans(self._engine))

    async def _probe(self) -> bool:
        failed = len(self._ledger.failed)
        if self._engine is None or not await self._put(_PROBE, value_of("p", 99)):
            del self._ledger.failed[failed:]
            return False
        found = await self._simulation.on(self._world, self._engine.get(_PROBE, COLUMN)) if self._engine else None
        self._ledger.compare(_PROBE, found, "get")
        return True

    def _seen(self, writes: bool) -> Observation:
        strike, ledger = self._strike, self._ledger
        for path in self._disk.paths():
            claimed_by(self._kind.role, path)
        struck = self._image.rows_in(strike.block)
        elsewhere = [row for row in ledger.unread_rows if row not in struck]
        records = self._simulation.sink.records[self._struck_at :]
        return Observation(
            changed=strike.changed,
            reads=strike.reads,
            writes=strike.writes,
            read_first=strike.read_first,
            wrong=tuple(ledger.wrong),
            lost=tuple(ledger.lost),
            failed=tuple(ledger.failed),
            unread=tuple(ledger.unread),
            reads_go_on=self._engine is not None and not elsewhere,
            writes_go_on=writes,
            crashes=self._crashes,
            is_up=self._engine is not None,
            last_problem=self._problem,
            events=frozenset(kind_told(record) for record in records),
            virtual_seconds=self._simulation.loop.time(),
        )


async def _as_coroutine(work: Awaitable[None]) -> None:
    await work
