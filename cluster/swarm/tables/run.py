"""One seed of the tables' swarm, from its begin to its verdict.

trouble      clients work, faults strike; four times a virtual second it is looked who serves which rows, and all the
             time a client reads in METADATA where all tablets are
healing      all faults end, clients finish their work; within half a minute every tablet is served
judgement    METADATA covers every table, every row is read, one is written, nothing is left; then the history
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cluster.fault_runner import FaultBegan, FaultRunner
from cluster.interface import wait_until
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from cluster.swarm.history import Answer
from cluster.swarm.stage import TimedSink
from cluster.swarm.sweep import WALL_SECONDS
from cluster.swarm.tables.files import compact_all, leaked_files, missing_files
from cluster.swarm.tables.history import History
from cluster.swarm.tables.judging import judge_cover, judge_rows
from cluster.swarm.tables.late_messages import with_late_messages
from cluster.swarm.tables.layout import OPERATOR, draw_merging, draw_orders, layout_settings
from cluster.swarm.tables.marks import marks_of
from cluster.swarm.tables.mischief import (
    CHUNKSERVERS,
    client_names,
    draw_faults,
    draw_operations,
    draw_setup,
)
from cluster.swarm.tables.plan import Kind, Plan, PlannedOperation
from cluster.swarm.tables.player import TABLE, Player, row_key
from cluster.swarm.tables.promises import judge_promises, strays
from cluster.swarm.tables.snapshots import KEEPER, Keeper, draw_keeper
from cluster.swarm.tables.value_work import draw_faults_of_changes, with_work_on_values
from cluster.swarm.verdicts import Verdict
from lockservice.interface import SessionState
from runtime.errors import TabletopError, TimedOut
from runtime.events import Record, TaskFailed
from runtime.simulated.loop import SimulationDeadlock, SimulationStuck
from runtime.simulated.tape import Plain
from runtime.simulated.traffic import Traffic
from runtime.simulated.world import Simulation
from runtime.wire.tables_pb2 import TabletPlace
from tablet.client.settings import TableClientSettings
from tablet.engine.model.schema import Family, MaxVersions, Schema
from tablet.hosting.life import Life
from tablet.hosting.server import TabletServerNode
from tablet.location.places import METADATA, GfsPaths

JUDGE = "judge"
REVIVE_SECONDS = 0.5
FINISH_SECONDS = 600.0
REST_SECONDS = 30.0
GARBAGE_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_READ_SECONDS = 0.7
_SCHEMA = Schema().with_family(Family("f", MaxVersions(2)))


@dataclass(slots=True)
class Result:
    """What came of one run."""

    plan: Plan
    verdicts: list[Verdict] = field(default_factory=list)
    is_undecided: bool = False
    history: History = field(default_factory=History)
    records: list[tuple[float, Record]] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    traffic: Traffic | None = None


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"table swarm {seed}")
    setup = draw_merging(seed, draw_setup(chance))
    operations, faults = draw_operations(chance, setup), draw_faults(chance, setup)
    kept, strikes = draw_keeper(random.Random(f"table swarm snapshots {seed}"), setup)
    values = random.Random(f"table swarm values {seed}")
    operations = with_work_on_values(values, setup, operations)
    operations = (*operations, *draw_orders(seed, setup), *kept)
    return with_late_messages(Plan(seed, setup, operations, (*faults, *strikes, *draw_faults_of_changes(values))))


def run_plan(plan: Plan, *, watched: bool = False) -> Result:
    """Run a plan in a simulation of its own, and judge it. `watched`: keep all messages; the run is the same."""
    result = Result(plan)
    begun = time.process_time()
    simulation = Simulation(plan.seed, plain=[Plain(name) for name in plan.plain_streams])
    try:
        run = _Run(plan, simulation, result)
        if watched:
            result.traffic = Traffic(simulation, run.sink.records)
        try:
            simulation.run(run.play(), wall_seconds=WALL_SECONDS)
        except (SimulationDeadlock, SimulationStuck) as error:
            result.verdicts.append(Verdict("standstill", f"{type(error).__name__}: {error}"))
        run.finish()
    finally:
        result.virtual_seconds = simulation.loop.time()
        simulation.close()
        result.cpu_seconds = time.process_time() - begun
    return result


class _Run:
    def __init__(self, plan: Plan, simulation: Simulation, result: Result) -> None:
        setup = plan.setup
        self._plan = plan
        self._result = result
        self._simulation = simulation
        self.sink = simulation.sink = TimedSink(simulation.loop)
        settings = ClusterSettings(
            chunkservers=CHUNKSERVERS,
            chunk_bytes=256 * 1024,
            lease_seconds=4.0,
            heartbeat_seconds=0.5,
            masters=setup.masters,
            tablet_servers=setup.tablet_servers,
            tablet_masters=setup.tablet_masters,
        )
        server = {
            "memtable_bytes": setup.memtable_bytes,
            "memory_bytes": 2 * setup.memtable_bytes,
            "segment_bytes": setup.segment_bytes,
            "split_bytes": setup.split_bytes,
        }
        overrides: dict[str, dict[str, Any]] = {"tabletserver": server, "tabletmaster": layout_settings(setup)}
        self._cluster = SimulatedCluster(simulation, settings, clients=setup.clients, overrides=overrides)
        self._faults = FaultRunner(self._cluster, plan.faults, revive_seconds=REVIVE_SECONDS)
        self._broken: dict[str, None] = {}
        self._strays: list[Verdict] = []

    # The course of the run

    async def play(self) -> None:
        """The whole run."""
        loop, setup = asyncio.get_running_loop(), self._plan.setup
        await self._cluster.start()
        bounds = [row_key(setup.rows * number // setup.tablets) for number in range(1, setup.tablets)]
        judge = self._cluster.table_client(1)
        await judge.create_table(TABLE, _SCHEMA, bounds)
        watches = [loop.create_task(self._watch()), loop.create_task(self._watch_metadata())]
        self._faults.begin()
        patience = TableClientSettings(call_seconds=setup.call_seconds, patience_seconds=8.0, scan_rows=3)
        work = []
        for number, name in enumerate([*client_names(setup), OPERATOR]):
            player = Player(
                name, self._cluster.table_client(number % setup.clients + 1, patience), self._result.history, setup.rows
            )
            planned = [one for one in self._plan.operations if one.client == name]
            work.append(loop.create_task(player.play(planned), name=name))
        keepers = self._cluster.table_client(1, TableClientSettings(call_seconds=2.0, patience_seconds=15.0))
        keeper = Keeper(keepers, self._result.history, setup.rows, partial(self._complain, "snapshots"))
        kept = [one for one in self._plan.operations if one.client == KEEPER]
        work.append(loop.create_task(keeper.play(kept), name=KEEPER))
        await asyncio.sleep(setup.trouble_seconds)
        await self._heal()
        whole = loop.create_task(self._until_whole())
        is_whole = await whole
        _, unfinished = await asyncio.wait(work, timeout=FINISH_SECONDS if is_whole else 0.0)
        for task in work:
            if task not in unfinished:
                task.result()
                continue
            if is_whole:  # Nobody comes to an end soon where tablets are not served.
                self._complain("endless", f"{task.get_name()} did not come to its end")
            task.cancel()
        if is_whole:
            await keeper.tidy()
            await self._look()
        for watch in watches:
            watch.cancel()
        await asyncio.wait([*watches, *unfinished])
        if is_whole and keeper.kept:
            await keeper.look(self._cluster)

    async def _heal(self) -> None:
        try:
            await self._faults.heal_all()
        except TabletopError as error:
            self._complain("final start", f"a server does not start though nothing is wrong: {error.message}")

    # Watching

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look_at_servers()
            try:
                self._cluster.check_invariants()
            except AssertionError as error:
                self._complain_once("invariants", str(error))

    async def _watch_metadata(self) -> None:
        """Whoever reads all of METADATA, at whatever moment, finds each row of the table in one tablet."""
        tables = self._cluster.table_client(1, TableClientSettings(call_seconds=1.0, patience_seconds=1.0))
        while True:
            try:
                for verdict in judge_cover(TABLE, await tables.tablets(TABLE)):
                    self._complain_once(verdict.judge, verdict.text)
            except TabletopError:
                pass  # METADATA is on its way to another server.
            await asyncio.sleep(_READ_SECONDS)

    def _lives(self) -> list[Life]:
        servers = [self._cluster.server(name) for name in self._cluster.settings.tablet_node_names()]
        lives = [server.present for server in servers if isinstance(server, TabletServerNode)]
        return [
            life for life in lives if life is not None and not life.reason and life.session.state is SessionState.SAFE
        ]

    def _look_at_servers(self) -> None:
        """Nobody else may serve what a server serves that holds its lock, by its own clock."""
        served = [
            (place, life.name)
            for life in self._lives()
            for tablet, place in life.places.items()
            if not life.engines[tablet].state.superseded
        ]
        for number, (one, first) in enumerate(served):
            for other, second in served[number + 1 :]:
                starts = max(one.start_row, other.start_row)
                ends = [place.end_row for place in (one, other) if place.end_row]
                if one.table == other.table and all(starts < end for end in ends):
                    text = f"{first} serves {one.tablet} and {second} serves {other.tablet}, both have row {starts!r}"
                    self._complain_once("one server", text)

    # The end

    async def _until_whole(self) -> bool:
        try:
            await wait_until(self._is_whole, what="every tablet is served", timeout_seconds=REST_SECONDS)
        except TimedOut as error:
            self._complain("served again", error.message)
            return False
        return True

    async def _look(self) -> None:
        tables = self._cluster.table_client(1)
        try:  # Splits that clients have asked for last may be under way.
            await wait_until(self._is_whole, what="every tablet is served", timeout_seconds=REST_SECONDS)
        except TimedOut as error:
            self._complain("served again", error.message)
            return
        for table in (METADATA, TABLE):
            self._result.verdicts += judge_cover(table, await self._places(table))
        player = Player(JUDGE, tables, self._result.history, self._plan.setup.rows)
        every = PlannedOperation(JUDGE, 0.0, Kind.SCAN, 0, self._plan.setup.rows)
        backwards = PlannedOperation(JUDGE, 0.0, Kind.REVERSE_SCAN, 0, self._plan.setup.rows)
        write, read = PlannedOperation(JUDGE, 0.0, Kind.PUT), PlannedOperation(JUDGE, 0.0, Kind.READ)
        for planned in (every, backwards, write, read):
            for one in await player.do(planned):
                if one.answer is not Answer.VALUE:
                    self._complain("final reads", one.told())
        try:
            await wait_until(self._has_no_old_logs, what="no old log is left", timeout_seconds=GARBAGE_SECONDS)
        except TimedOut as error:
            self._complain("leavings", f"{error.message}: {await self._old_logs()}")
        try:
            await wait_until(self._has_no_strays, what="no server serves anything else", timeout_seconds=REST_SECONDS)
        except TimedOut:
            self._result.verdicts += self._strays
        await self._look_at_files()

    async def _look_at_files(self) -> None:
        """No file is missing, and when all was compacted, none is left over."""
        client, tables = self._cluster.client(), self._cluster.table_client(1)
        missing, leaked = list[str](), list[str]()

        async def is_nothing_missing() -> bool:
            nonlocal missing
            missing = await missing_files(client, self._all_places)
            return not missing

        async def is_nothing_left() -> bool:
            nonlocal leaked
            leaked = await leaked_files(client, self._all_places)
            return not leaked

        try:
            await wait_until(is_nothing_missing, what="every file is there", timeout_seconds=REST_SECONDS)
            await compact_all(tables, TABLE)
            await wait_until(is_nothing_left, what="no file is left over", timeout_seconds=GARBAGE_SECONDS)
        except TabletopError as error:
            found = f"; missing: {', '.join(missing) or 'none'}; left over: {', '.join(leaked) or 'none'}"
            self._complain("files", f"{type(error).__name__}: {error.message}{found}")

    async def _has_no_strays(self) -> bool:
        """Whether METADATA knows of everything that is served; the master may just be merging small tablets."""
        named = [(place.server, place.tablet) for place in await self._all_places()]
        self._strays = strays([(life.name, tablet) for life in self._lives() for tablet in life.engines], named)
        return not self._strays

    async def _all_places(self) -> list[TabletPlace]:
        """Of all tables: one that was made of a snapshot may still be there."""
        return [*await self._places(METADATA), *await self._cluster.table_client(1).tablets()]

    async def _places(self, table: str) -> list[TabletPlace]:
        tables = self._cluster.table_client(1)
        root = [await tables.locator.place_of(METADATA, b"0")] if table == METADATA else []
        return [*root, *await tables.tablets(table)]

    async def _is_whole(self) -> bool:
        """Whether METADATA and the servers agree about every tablet, and no split is half done."""
        try:
            places = await self._all_places()
            outdated = (await self._cluster.table_client(1).layout(TABLE))[1]
        except TabletopError:
            return False
        serving = {(life.name, tablet) for life in self._lives() for tablet in life.engines}
        are_served = all((place.server, place.tablet) in serving for place in places)
        return are_served and not outdated and not any(place.HasField("lower_half") for place in places)

    async def _has_no_old_logs(self) -> bool:
        try:
            return not await self._old_logs()
        except TabletopError:
            return False

    async def _old_logs(self) -> list[str]:
        """What is left of logs that nobody writes to."""
        paths, alive = GfsPaths(), {life.name for life in self._lives()}
        folders = (paths.logs, paths.closing, paths.closed, paths.sorting, paths.sorted)
        found = [status.path for folder in folders for status in await self._cluster.client().list(folder)]
        return [path for path in found if path not in {f"{paths.logs}/{name}" for name in alive}]

    def _complain(self, judge: str, text: str) -> None:
        self._result.verdicts.append(Verdict(judge, f"at {self._simulation.loop.time():.3f} s: {text}"))

    def _complain_once(self, judge: str, text: str) -> None:
        if text not in self._broken:
            self._broken[text] = None
            self._complain(judge, text)

    def finish(self) -> None:
        """Judge what was seen."""
        result = self._result
        result.records = list(zip(self.sink.times, self.sink.records, strict=True))
        result.verdicts += [Verdict("loop", text) for text in self._simulation.loop.unhandled]
        for moment, record in result.records:
            if isinstance(record.event, TaskFailed):
                last = record.event.trace.strip().splitlines()[-1]
                text = f"at {moment:.3f} s: {record.node}: {record.event.task} failed: {last}"
                result.verdicts.append(Verdict("untyped error", text))
            if isinstance(record.event, FaultBegan):
                kind = type(self._plan.faults[record.event.number].what).__name__
                result.struck[kind] = result.struck.get(kind, 0) + 1
        verdicts, result.is_undecided = judge_rows(result.history, self._plan.setup.rows)
        result.verdicts += [*verdicts, *judge_promises(result.history)]
        result.marks = marks_of(result.records, result.history, self._simulation.reached)
