"""Snapshots in the tables' swarm: one client more, the keeper, which takes snapshots of the table, restores them into
new tables, reads these, and drops both. Its work and its faults are drawn from a stream of their own.

What a snapshot shows of a row is a read of that row, made at some moment between the begin and the end of the snapshot:
so it is judged with all other operations on the row. Every later restore must show the same; at the end also after the
drop of the table. A snapshot that was acknowledged is there, one that was refused is not, and when all of them are
deleted, nothing is left in GFS.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.faultplan import (
    Fault,
    Kill,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    OnMessage,
    Pause,
    Target,
    TheReceiver,
    TheSender,
    What,
)
from cluster.interface import wait_until
from cluster.simulated import SimulatedCluster
from cluster.swarm.history import Answer
from cluster.swarm.tables.history import History, RowState
from cluster.swarm.tables.plan import Kind, PlannedOperation, Setup
from cluster.swarm.tables.player import TABLE, note_error, row_key, state_of
from runtime.errors import TabletopError, TimedOut
from runtime.faults.links import Kind as MessageKind
from tablet.client.client import TableClient
from tablet.engine.model.filters import LATEST
from tablet.location.places import METADATA, GfsPaths

KEEPER = "keeper"
KINDS = (Kind.SNAPSHOT, Kind.RESTORE, Kind.FORGET)
Complain = Callable[[str], None]
_METHODS = (
    "TabletServer/AcquireSnapshot",
    "TabletServer/AcquireSnapshot",
    "TabletMaster/TakeSnapshot",
    "Master/Snapshot",
    "Master/MakeDirectory",
    "LockService/CreateLockFile",
    "LockService/WriteLockFile",
)
_REST_SECONDS = 60.0


def draw_keeper(chance: random.Random, setup: Setup) -> tuple[tuple[PlannedOperation, ...], tuple[Fault, ...]]:
    """What the keeper will do, and what will strike it. In some runs, nothing."""
    if chance.random() < 0.4:
        return (), ()
    kinds = [Kind.SNAPSHOT, *chance.choices(KINDS, (5, 3, 1), k=chance.randint(1, 5))]
    pause = setup.trouble_seconds / len(kinds) / 2
    operations = [
        PlannedOperation(KEEPER, round(chance.uniform(0.2, 2 * pause), 3), kind, row=chance.randrange(8))
        for kind in kinds
    ]
    faults = [_fault(chance) for _ in range(chance.choice([0, 0, 1, 2]))]
    return tuple(operations), tuple(faults)


def _fault(chance: random.Random) -> Fault:
    """Somebody dies, or a message goes wrong, at a step of a snapshot."""
    kind, nth = chance.choice([MessageKind.REQUEST, MessageKind.REPLY]), chance.choice([1, 1, 2, 3, 5])
    seconds = round(chance.choice([0.3, 1.0, 3.0, 6.0]) * chance.uniform(0.8, 1.2), 3)
    what: What = chance.choice((Kill(), Pause(), MessageLost(), MessageDelayed(seconds), MessageDoubled(seconds)))
    if not isinstance(what, Kill | Pause):
        return Fault(OnMessage(chance.choice(_METHODS), nth=nth), what)
    target: Target = chance.choice((TheSender(), TheReceiver()))
    return Fault(OnMessage(chance.choice(_METHODS), kind, nth=nth), what, target, seconds)


@dataclass(slots=True)
class Kept:
    """One snapshot, as the keeper knows it. `shown`: each row, as the first restore had it."""

    invoked: float
    responded: float
    answer: Answer
    is_to_be_deleted: bool = False
    shown: dict[int, RowState] = field(default_factory=dict)


class Keeper:
    """The client that takes snapshots; `complain` is told what contradicts them."""

    def __init__(self, tables: TableClient, history: History, rows: int, complain: Complain) -> None:
        self.kept: dict[str, Kept] = {}
        self._tables = tables
        self._history = history
        self._rows = rows
        self._complain = complain
        self._clones = 0

    async def play(self, operations: Sequence[PlannedOperation]) -> None:
        """All of it, one after the other."""
        loop = asyncio.get_running_loop()
        for planned in operations:
            await asyncio.sleep(planned.pause)
            noted = self._history.new(KEEPER, planned, planned.row, loop.time())
            try:
                await self._do(planned, f"s{noted.number}", noted.invoked)
                noted.answer = Answer.VALUE
            except TabletopError as error:
                note_error(noted, error)
            noted.responded = loop.time()

    async def _do(self, planned: PlannedOperation, fresh: str, invoked: float) -> None:
        if planned.kind is Kind.SNAPSHOT:
            one = self.kept[fresh] = Kept(invoked, invoked, Answer.NEVER)
            try:
                await self._tables.snapshot(TABLE, fresh)
                one.answer = Answer.VALUE
            except TabletopError as error:
                one.answer = Answer.REFUSED if error.definite else Answer.DOUBTFUL
                raise
            finally:
                one.responded = asyncio.get_running_loop().time()
            return
        names = [name for name, one in self.kept.items() if one.answer is Answer.VALUE and not one.is_to_be_deleted]
        if not names:
            return
        name = names[planned.row % len(names)]
        if planned.kind is Kind.RESTORE:
            await self._restore(name)
        else:
            self.kept[name].is_to_be_deleted = True
            await self._tables.delete_snapshot(name)

    async def _restore(self, name: str) -> None:
        """Restore a snapshot, look at the new table, and drop it. Raises what hinders that."""
        self._clones += 1
        clone, one = f"c{self._clones}", self.kept[name]
        await self._tables.restore(name, clone)
        if one.answer is not Answer.VALUE:
            one.responded = asyncio.get_running_loop().time()  # It was in doubt until now.
        found = {key: (key, cells) async for key, cells in self._tables.scan(clone, wanted=LATEST)}
        shown = {row: state_of(found.get(row_key(row))) for row in range(self._rows)}
        if not one.shown:
            one.shown = shown
            for row, state in shown.items():
                looked = PlannedOperation(KEEPER, 0.0, Kind.READ, row)
                read = self._history.new(f"snapshot {name}", looked, row, one.invoked)
                read.found, read.answer, read.responded = state, Answer.VALUE, one.responded
        for row, state in shown.items():
            if state != one.shown[row]:
                before, now = sorted(one.shown[row]), sorted(state)
                self._complain(f"snapshot {name} does not hold still: row{row:02} was {before}, and is {now}")
        await self._tables.delete_table(clone)

    async def tidy(self) -> None:
        """Drop the tables that restores in doubt have left, before it is judged what lies in GFS."""
        try:
            for table in await self._tables.tables():
                if table != TABLE:
                    await self._tables.delete_table(table)
        except TabletopError as error:
            self._complain(f"{type(error).__name__} though nothing is wrong any more: {error.message}")

    async def look(self, cluster: SimulatedCluster) -> None:
        """When nothing strikes any more: drop the table, look at every snapshot, delete all, and see what is left."""
        tables = self._tables
        try:
            there = {record.name for record in await tables.snapshots()}
            for name, one in self.kept.items():
                if name not in there and one.answer is Answer.VALUE and not one.is_to_be_deleted:
                    self._complain(f"snapshot {name} was acknowledged, and is not there")
                if name in there and one.answer is Answer.REFUSED:
                    self._complain(f"snapshot {name} was refused, and is there")
            await tables.delete_table(TABLE)
            for name in sorted(there):
                await self._restore(name)
                await tables.delete_snapshot(name)
        except TabletopError as error:
            self._complain(f"{type(error).__name__} though nothing is wrong any more: {error.message}")
            return
        await self.tidy()
        try:
            await wait_until(lambda: _is_bare(cluster), what="nothing is left of them", timeout_seconds=_REST_SECONDS)
        except TimedOut as error:
            self._complain(f"{error.message}: {await _left(cluster)}")


async def _is_bare(cluster: SimulatedCluster) -> bool:
    try:
        return not await _left(cluster)
    except TabletopError:
        return False


async def _left(cluster: SimulatedCluster) -> list[str]:
    """The folders of snapshots, and of tablets of tables that are no more."""
    client, paths = cluster.client(), GfsPaths()
    found = [status.path for folder in (paths.snapshots, paths.data) for status in await client.list(folder)]
    return [path for path in found if not path.startswith(f"{paths.data}/{METADATA}-")]
