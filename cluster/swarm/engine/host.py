"""The node of one run: a tablet server without a network, and what a master would know of it.

Its disk has the folder of the log and one folder for each tablet. When it starts it opens the log, then each tablet,
looks at all rows of it, and only then lets callers in: what a power cut has left is seen before anything is written
over it. A tablet that cannot be opened is tried again, while the others are served.

As a master would, the host remembers which folder has the log that counts. If another server is to take the tablets
over, it names a new folder, and the old log is sorted; until every tablet is taken over, each start goes on with that.

If the setup says so, the disk is one that several servers reach, without locks. Then a life that stands still for a
while has lost its session, as a lock service would say, and is succeeded by another one with a higher token, which
opens the same files, or sorts the log. The earlier one wakes up when the fault ends, and goes on with what it did.
"""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.faultplan import At, RottenEnd
from cluster.interface import NodeReport, NodeState
from cluster.swarm.engine.history import HOST, NOTHING, History, Operation, RowState
from cluster.swarm.engine.mischief import DISK_BYTES, HOME, SERVER
from cluster.swarm.engine.plan import Kind, Plan, PlannedOperation
from cluster.swarm.engine.shared import SharedFolders, SharedStorage
from cluster.swarm.engine.table import Table
from cluster.swarm.engine.workload import COUNTER
from cluster.swarm.history import Answer
from runtime.errors import TabletopError
from runtime.simulated.tape import Plain
from runtime.simulated.world import NodeEnded, SimulatedWorld, Simulation
from tablet.engine.engine import Engine
from tablet.engine.log.server_log import ServerLog
from tablet.engine.log.sorted_log import SortedLog, sort_log
from tablet.engine.model.filters import ReadFilter
from tablet.engine.model.rows import Row
from tablet.engine.model.schema import BloomPolicy, Family, LocalityGroup, MaxVersions, Schema
from tablet.engine.world.options import Options, PolicySettings
from tablet.engine.world.storage import DiskStorage
from tablet.server.folders import DiskFolders
from tablet.server.tablets import Tablets

NEWEST = ReadFilter(versions=1)
_ROLE = "tablet server"
_RETRY_SECONDS = 0.5
_SORTED = "sorted"
_POLICIES: tuple[BloomPolicy, ...] = ("pybloom-live", "blocked")
"""Bloom filter policies of the group "side", one life after the other."""
_LOOK_SECONDS = 0.1
_SESSION_SECONDS = 0.3
"""Who stands still for so long is succeeded."""
_ROT_SECONDS = 0.5
"""A fault may strike so much later than it is planned."""


@dataclass(slots=True)
class LifeSpan:
    """One life of the node: when it began and ended, whether the power was cut before the next one, and whether the
    next one opened a log whose newest bytes might be rotten."""

    began: float
    ended: float = float("inf")
    by_power_cut: bool = False
    by_rot: bool = False


@dataclass(frozen=True, slots=True)
class Orders:
    """What the master has told one life. `former`: the number of the log that it is to take over. A token of 0: the
    locks of the disk keep others out."""

    world: SimulatedWorld
    token: int
    log_number: int
    former: int | None


class ServerNames:
    """There is one server."""

    def node_names(self) -> list[str]:
        """Its name."""
        return [SERVER]


class Host:
    """The node, its log and its tablets."""

    def __init__(self, simulation: Simulation, plan: Plan, history: History) -> None:
        self.simulation = simulation
        self.held_down: dict[str, int] = {}
        self.settings = ServerNames()
        self.history = history
        self.tablets = [f"tablet{number}" for number in range(plan.setup.tablets)]
        self.engines: dict[str, Engine | Table] = {}
        self.server: Tablets | None = None
        self.log: ServerLog | None = None
        self.lives: list[LifeSpan] = []
        self.log_number = 1
        self.former: int | None = None
        """The number of the log that is to be taken over."""
        self._setup = plan.setup
        self._faults = plan.faults
        self._starts = 0
        self._boots = 1
        self._successions: list[asyncio.Task[None]] = []
        simulation.add_node(SERVER, capacity_bytes=DISK_BYTES)
        simulation.kill(SERVER)

    @staticmethod
    def simulation_of(plan: Plan) -> Simulation:
        """The simulation that a plan asks for."""
        return Simulation(plan.seed, plain=[Plain(name) for name in plan.plain_streams])

    # What faults need: see cluster/faulty.py.

    def client_names(self) -> list[str]:
        """Callers are within the server."""
        return []

    def is_running(self, node: str) -> bool:
        """Whether it lives."""
        return self.simulation.world(node).life.alive

    async def nodes(self) -> Sequence[NodeReport]:
        """Dead or serving."""
        state = NodeState.SERVING if self.is_running(SERVER) else NodeState.DEAD
        return [NodeReport(SERVER, _ROLE, state)]

    async def start_node(self, node: str) -> None:
        """Begin a life: open the log and all tablets that can be opened."""
        await self._begin(self.simulation.restart(node))

    async def watch_session(self) -> None:
        """Whenever the present life stands still for too long, begin another one, which takes over from it."""
        loop, since = self.simulation.loop, math.inf
        while self._setup.fenced:
            await asyncio.sleep(_LOOK_SECONDS)
            life = self.simulation.world(SERVER).life
            since = min(since, self.now) if life.alive and life.paused else math.inf
            if self.now - since >= _SESSION_SECONDS:
                work = self._take_over(self.simulation.succeed(SERVER))
                self._successions.append(loop.create_task(work, name="take over"))
                since = math.inf

    async def _take_over(self, world: SimulatedWorld) -> None:
        with contextlib.suppress(TabletopError):  # A supervisor starts it again.
            await self._begin(world)

    def is_current(self, world: SimulatedWorld) -> bool:
        """Whether this is the life that serves, and not one that was succeeded."""
        return self.simulation.world(SERVER) is world

    async def _begin(self, world: SimulatedWorld) -> None:
        simulation, node = self.simulation, world.node
        self.engines, self.log, self.server = {}, None, None
        self._note_power_cut()
        span = LifeSpan(self.now)
        self.lives.append(span)
        self.history.life = len(self.lives) - 1

        def ended() -> None:
            span.ended = min(span.ended, self.now)

        simulation.fabric.when_ended(world.life, ended)
        self._starts += 1
        every = self._setup.takes_over_every
        if every and self._starts > 1 and self._starts % every == 0 and self.former is None:
            self.former, self.log_number = self.log_number, self.log_number + 1
        orders = Orders(world, self._starts * self._setup.fenced, self.log_number, self.former)
        try:
            await simulation.on(world, self._open(orders))
        except NodeEnded:
            return
        except TabletopError:
            if self.is_current(world):
                simulation.kill(node)
                raise

    async def stop_node(self, node: str) -> None:
        """Close everything in good order, and end."""
        simulation, world = self.simulation, self.simulation.world(node)
        with contextlib.suppress(NodeEnded, TabletopError):
            await simulation.on(world, self._close(world))
        if simulation.world(node) is world:
            simulation.kill(node)

    # Inside.

    @property
    def now(self) -> float:
        """True virtual seconds."""
        return self.simulation.loop.time()

    def _note_power_cut(self) -> None:
        """Whether the power was cut since the last life began, in it or after its end, which comes to the same."""
        boots, self._boots = self._boots, self.simulation.boots_of(SERVER)
        if self.lives and self._boots > boots:
            self.lives[-1].by_power_cut = True

    def fail(self) -> None:
        """The server gives up, for its log cannot be written any more: a supervisor starts it again."""
        self.simulation.kill(SERVER)

    def _note_rot(self) -> None:
        """Whether the end of the log that is opened may have rotted since the life before."""
        before = self.lives[-2] if len(self.lives) > 1 else None
        for fault in self._faults:
            if before is not None and isinstance(fault.what, RottenEnd) and isinstance(fault.when, At):
                before.by_rot = (
                    before.by_rot or before.began <= fault.when.seconds + _ROT_SECONDS <= self.now + _ROT_SECONDS
                )

    async def _open(self, orders: Orders) -> None:
        self._note_rot()
        if self._setup.reshapes:
            await self._open_tables(orders)
            return
        setup, former = self._setup, await self._sorted(orders)
        log = await ServerLog.open(
            await self._folder(orders, f"log-{orders.log_number}"),
            owner=f"server {orders.log_number}",
            sync=setup.sync,
            segment_bytes=setup.segment_bytes,
            segment_limit=setup.segment_limit,
            token=orders.token,
        )
        if not self._takes_office(orders):
            return
        self.log = log
        left = [name for name in self.tablets if not await self._try_to_open(orders, log, former, name)]
        orders.world.spawn(self._open_the_rest(orders, log, former, left), "open the rest")

    async def _open_tables(self, orders: Orders) -> None:
        world = orders.world
        shared = SharedFolders(world.simulated_disk, HOME)
        folders = shared if orders.token else DiskFolders(world.disk, HOME)
        await folders.prepare()
        server = await Tablets.open(
            folders, world, self._options(), token=orders.token, segment_bytes=self._setup.segment_bytes
        )
        if not self._takes_office(orders):
            return
        self.server = server
        for name in self.tablets:
            if not server.catalogue.of_table(name):
                await server.create_table(name, _schema())
        server.start()
        left = [name for name in self.tablets if not await self._try_table(orders, server, name)]
        world.spawn(self._mend_tables(orders, server, left), "mend the tables")

    def _takes_office(self, orders: Orders) -> bool:
        """A life has claimed the log: what those before it were asked for has happened, or never will. False if it was
        itself succeeded meanwhile."""
        if not self.is_current(orders.world):
            return False
        for span in self.lives[:-1]:
            span.ended = min(span.ended, self.now)
        return True

    async def _try_table(self, orders: Orders, server: Tablets, name: str) -> bool:
        try:
            await self._look_at_all(orders, Table(server, name), name)
        except TabletopError:
            return False
        if self.is_current(orders.world):
            self.engines[name] = Table(server, name)
        return True

    async def _mend_tables(self, orders: Orders, server: Tablets, left: list[str]) -> None:
        """Let callers into the tables that could not be read at once, and settle what was in doubt."""
        while self.is_current(orders.world):
            await orders.world.clock.sleep(_RETRY_SECONDS)
            with contextlib.suppress(TabletopError):
                await server.mend()
            left = [name for name in left if not await self._try_table(orders, server, name)]

    async def _sorted(self, orders: Orders) -> SortedLog | None:
        """The log that is to be taken over, sorted. Who is fenced sorts it for itself: another one, who is still at
        it, may remove what it finds in its own folder."""
        if orders.former is None:
            return None
        source = await self._folder(orders, f"log-{orders.former}")
        name = f"{_SORTED}-{orders.former}" + f"-{orders.token}" * bool(orders.token)
        return await sort_log(
            source,
            await self._folder(orders, name),
            orders.world,
            owner=f"server {orders.former}",
            piece_bytes=self._setup.piece_bytes,
            token=orders.token,
        )

    async def _open_the_rest(self, orders: Orders, log: ServerLog, former: SortedLog | None, left: list[str]) -> None:
        """Until every tablet is open; then nobody needs what was taken over."""
        while left:
            await orders.world.clock.sleep(_RETRY_SECONDS)
            left = [name for name in left if not await self._try_to_open(orders, log, former, name)]
            if not self.is_current(orders.world):
                return
        if former is not None and self.is_current(orders.world):
            self.former = None
            with contextlib.suppress(TabletopError):
                await former.remove()

    async def _try_to_open(self, orders: Orders, log: ServerLog, former: SortedLog | None, name: str) -> bool:
        engine, world = None, orders.world
        try:
            engine = await Engine.open(
                await self._folder(orders, name),
                world,
                self._options(),
                tablet=name,
                log=log,
                former=former,
                token=orders.token,
            )
            await self._complete_schema(engine)
            await self._look_at_all(orders, engine, name)
        except TabletopError:
            if engine is not None:
                with contextlib.suppress(TabletopError):
                    await engine.close()
            return False
        engine.start()
        if self.is_current(world):
            self.engines[name] = engine
        return True

    async def _complete_schema(self, engine: Engine) -> None:
        side = LocalityGroup("side", block_bytes=1024, bloom_policy=_POLICIES[self._starts % len(_POLICIES)])
        if engine.schema.groups.get("side") != side:
            await engine.set_locality_group(side)
        for family, group in (("f", "default"), ("g", "side"), ("n", "default")):
            if family.encode() not in engine.schema.families:
                await engine.create_family(family, MaxVersions(1), group=group)

    async def _look_at_all(self, orders: Orders, engine: Engine | Table, tablet: str) -> None:
        planned = PlannedOperation(HOST, 0.0, Kind.SCAN, self.tablets.index(tablet), rows=self._setup.rows)
        operation = self.history.new(HOST, planned, self.now, tablet, tuple(range(self._setup.rows)))
        await scan_all(engine, operation)
        if self.is_current(orders.world):
            operation.answer, operation.responded = Answer.VALUE, self.now

    async def _close(self, world: SimulatedWorld) -> None:
        if not self.is_current(world):
            return
        if self.server is not None:
            await self._close_tables(self.server)
            return
        if self.log is None:
            return  # It had only begun to open it.
        planned = PlannedOperation(HOST, 0.0, Kind.SYNC)
        operation = self.history.new(HOST, planned, self.now, "")
        engines, self.engines = self.engines, {}
        for engine in engines.values():
            assert isinstance(engine, Engine)
            await engine.close()
        await self.log.sync()
        await self.log.close()
        operation.answer, operation.responded = Answer.VALUE, self.now

    async def _close_tables(self, server: Tablets) -> None:
        operation = self.history.new(HOST, PlannedOperation(HOST, 0.0, Kind.SYNC), self.now, "")
        self.engines = {}
        await server.log.sync()
        operation.answer, operation.responded = Answer.VALUE, self.now
        await server.close()

    async def _folder(self, orders: Orders, name: str) -> DiskStorage:
        disk = orders.world.simulated_disk
        storage = SharedStorage(disk, name) if orders.token else DiskStorage(disk, name)
        await storage.prepare()
        return storage

    def _options(self) -> Options:
        setup = self._setup
        return Options(
            sync=setup.sync,
            memtable_bytes=setup.memtable_bytes,
            frozen_memtables=setup.frozen_memtables,
            block_cache_bytes=20_000,
            scan_cache_bytes=5_000,
            policy=setup.policy,
            policy_settings=PolicySettings(fan_in=setup.fan_in, max_tables=4),
            stall_tables=8,
            flush_on_close_bytes=setup.flush_on_close_bytes,
        )


def _schema() -> Schema:
    schema = Schema().with_group(LocalityGroup("side", block_bytes=1024))
    for family, group in (("f", "default"), ("g", "side"), ("n", "default")):
        schema = schema.with_family(Family(family, MaxVersions(1), group))
    return schema


async def scan_all(engine: Engine | Table, operation: Operation) -> None:
    """Read the rows that an operation is about by one scan, and write down what is there."""
    first, last = operation.rows[0], operation.rows[-1]
    operation.found = dict.fromkeys(operation.rows, NOTHING)
    is_reversed = operation.kind is Kind.SCAN_BACK
    async for row in engine.scan(key_of(first), key_of(last) + b"\0", wanted=NEWEST, reverse=is_reversed):
        operation.found[int(row.key.removeprefix(b"row"))] = state_of(row)


def key_of(row: int) -> bytes:
    """The key of a row; keys are in the order of the numbers."""
    return b"row%03d" % row


def state_of(row: Row | None) -> RowState:
    """A row as the history has it."""
    return frozenset((cell.column.decode(), number_in(cell.column, cell.value)) for cell in row or ())


def number_in(column: bytes, value: bytes) -> int:
    """Which operation wrote a value; of a counter, what it counts."""
    return int.from_bytes(value, "big") if column.decode() == COUNTER else int(value.split(b" ")[0])
