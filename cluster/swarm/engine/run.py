"""One seed of the engine's swarm, from its begin to its verdict.

trouble      callers work, faults strike; every virtual second each tablet's invariants are checked
healing      all faults end, callers finish their work
judgement    the node is ended once more and opened; every row is read, each tablet takes a write, and nothing may lie
             on the disk that nobody needs; then each row's history is judged
"""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace

from cluster.fault_runner import FaultBegan, FaultRunner
from cluster.faultplan import At, Fault, Kill, Node
from cluster.swarm.engine.history import HOST, History
from cluster.swarm.engine.host import Host
from cluster.swarm.engine.judging import judge_rows
from cluster.swarm.engine.marks import marks_of
from cluster.swarm.engine.mischief import HOME, SERVER, draw_faults, draw_pauses, draw_sequences
from cluster.swarm.engine.plan import Kind, Plan, PlannedOperation
from cluster.swarm.engine.player import Player
from cluster.swarm.engine.workload import (
    CLIENTS,
    CUTTER,
    draw_cut,
    draw_operations,
    draw_setup,
    with_cuts,
    with_snapshots,
)
from cluster.swarm.history import Answer
from cluster.swarm.stage import TimedSink
from cluster.swarm.sweep import PROCESSOR_SECONDS
from cluster.swarm.verdicts import Verdict
from runtime.errors import TabletopError
from runtime.events import Record, TaskFailed
from runtime.simulated.loop import SimulationDeadlock, SimulationStuck
from tablet.engine.engine import Engine
from tablet.engine.tree.manifest import load_snapshot
from tablet.engine.world.names import LOCK_NAME, home_of, manifest_name, snapshot_file_name, sorted_out
from tablet.server.catalogue import tablet_number
from tablet.server.tablets import Tablets

REVIVE_SECONDS = 0.5
FINISH_SECONDS = 600.0
OPEN_SECONDS = 60.0
FENCED_SHARE = 0.25
"""Of the seeds, in which a server that stands still is succeeded."""
CUT_SHARE = 0.1
"""Of the seeds, in which a caller builds upon a change that it has cut."""


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
    tried: int = 0
    traffic: None = None  # A server of tablets is one node here, to which nobody sends messages.


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(f"engine swarm {seed}")
    setup = draw_setup(chance)
    operations, faults = draw_operations(chance, setup), draw_faults(chance, setup)
    chance = random.Random(f"owners of engine swarm {seed}")
    if chance.random() < FENCED_SHARE:
        setup = replace(setup, fenced=True)
        faults += draw_pauses(chance, setup)
    operations = with_cuts(random.Random(f"cuts of engine swarm {seed}"), operations)
    if setup.reshapes:
        operations = with_snapshots(random.Random(f"snapshots of engine swarm {seed}"), operations)
    chance = random.Random(f"sequences of engine swarm {seed}")
    faults += draw_sequences(chance, setup)
    if chance.random() < CUT_SHARE:
        when, cut = draw_cut(chance, setup)
        operations += cut
        faults += (Fault(At(round(when + chance.uniform(0.05, 0.3), 3)), Kill(), Node(SERVER), 0.1),)
    return Plan(seed, setup, operations, faults)


def run_plan(plan: Plan) -> Result:
    """Run a plan in a simulation of its own, and judge it."""
    result = Result(plan)
    begun = time.process_time()
    simulation = Host.simulation_of(plan)
    try:
        run = _Run(plan, Host(simulation, plan, result.history), result)
        try:
            simulation.run(run.play(), processor_seconds=PROCESSOR_SECONDS)
        except (SimulationDeadlock, SimulationStuck) as error:
            result.verdicts.append(Verdict("standstill", f"{type(error).__name__}: {error}"))
        run.finish()
    finally:
        result.virtual_seconds = simulation.loop.time()
        simulation.close()
        result.cpu_seconds = time.process_time() - begun
    return result


class _Run:
    def __init__(self, plan: Plan, host: Host, result: Result) -> None:
        self._plan = plan
        self._host = host
        self._result = result
        self._complaints: list[str] = []
        self._sink = host.simulation.sink = TimedSink(host.simulation.loop)
        self._faults = FaultRunner(host, plan.faults, revive_seconds=REVIVE_SECONDS)
        self._broken: dict[str, None] = {}

    async def play(self) -> None:
        """The whole run."""
        loop = asyncio.get_running_loop()
        await self._host.start_node(SERVER)
        watch = loop.create_task(self._watch(), name="watch invariants")
        session = loop.create_task(self._host.watch_session(), name="watch the session")
        self._faults.begin()
        callers = [loop.create_task(self._play(name), name=f"play {name}") for name in (*CLIENTS, CUTTER)]
        await asyncio.sleep(self._plan.setup.trouble_seconds)
        await self._heal()
        _, unfinished = await asyncio.wait(callers, timeout=FINISH_SECONDS)
        self._complaints += [f"{task.get_name()} did not come to its end" for task in unfinished]
        for task in unfinished:
            task.cancel()
        for task in callers:
            if task.done() and not task.cancelled():
                task.result()
        await self._end_and_look()
        for task in (watch, session):
            task.cancel()
        await asyncio.wait([watch, session])

    async def _play(self, name: str) -> None:
        player = Player(name, self._host, self._plan.setup, self._complaints)
        await player.play([planned for planned in self._plan.operations if planned.client == name])

    async def _heal(self) -> None:
        try:
            await self._faults.heal_all()
        except TabletopError as error:
            self._complain("final opening", f"the server does not start though nothing is wrong: {error.message}")

    async def _end_and_look(self) -> None:
        """End the node a last time, and look whether all is there, and nothing else."""
        simulation, host = self._host.simulation, self._host
        await self._all_open()
        (simulation.power_cut if random.Random(f"end {self._plan.seed}").random() < 0.5 else simulation.kill)(SERVER)
        try:
            await host.start_node(SERVER)
        except TabletopError as error:
            self._complain("final opening", f"the server does not start though nothing is wrong: {error.message}")
            return
        await self._all_open()
        judge = Player(HOST, host, self._plan.setup, self._complaints)
        for number, name in enumerate(host.tablets):
            if name not in host.engines:
                continue
            for kind in (Kind.PUT, Kind.COMPACT):
                operation = await judge.perform(PlannedOperation(HOST, 0.0, kind, number))
                if operation is None or operation.answer is not Answer.VALUE:
                    told = operation.told() if operation is not None else f"{name} is not served"
                    self._complain("final writes", told)
            self._look_for_leavings(name)
        if host.server is not None:
            await self._look_for_leavings_of_all(host.server)
        self._check_invariants()

    async def _all_open(self) -> None:
        host, begun = self._host, self._host.now
        while missing := [name for name in host.tablets if name not in host.engines]:
            if host.now - begun > OPEN_SECONDS:
                self._complain("final opening", f"{', '.join(missing)} cannot be opened though nothing is wrong")
                return
            await asyncio.sleep(0.1)

    def _look_for_leavings(self, name: str) -> None:
        """A tablet's folder holds exactly the files that its manifest names."""
        engine = self._host.engines[name]
        if not isinstance(engine, Engine):
            return
        state = engine.state
        paths = self._host.simulation.world(SERVER).simulated_disk.paths()
        listing = sorted_out([path.removeprefix(f"{name}/") for path in paths if path.startswith(f"{name}/")])
        needed = {reference.name for reference in state.manifest.references()} | {manifest_name(state.manifest.number)}
        found = {*listing.tables.values(), *listing.manifests.values(), *listing.temporary, *listing.logs.values()}
        if found != needed:
            self._complain("leavings", f"{name} holds {sorted(found)}, and needs {sorted(needed)}")

    async def _look_for_leavings_of_all(self, server: Tablets) -> None:
        """The folders hold exactly the files to which some tablet refers."""
        await server.mend()
        await server.sweep()
        needed: set[tuple[str, str]] = set()
        for name, engine in server.engines.items():
            references = engine.state.manifest.references()
            for snapshot in await engine.snapshots():
                references += (await load_snapshot(engine.state.storage, snapshot)).references()
                needed.add((name, snapshot_file_name(snapshot)))
            needed |= {home_of(reference.name, name) for reference in references}
            needed.add((name, manifest_name(engine.state.manifest.number)))
        paths = self._host.simulation.world(SERVER).simulated_disk.paths()
        found: set[tuple[str, str]] = set()
        for path in paths:
            folder, _, name = path.removeprefix(f"{HOME}/").rpartition("/")
            if tablet_number(folder) and name != LOCK_NAME:
                found.add((folder, name))
        if found != needed:
            self._complain("leavings", f"there are {sorted(found - needed)}, and missing are {sorted(needed - found)}")
        for name, engine in server.engines.items():
            for snapshot in await engine.snapshots():
                try:
                    await engine.restore_snapshot(snapshot)
                    _ = [row.key async for row in engine.scan()]
                except TabletopError as error:
                    self._complain("snapshots", f"{name} cannot go back to {snapshot}: {error.message}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._check_invariants()

    def _check_invariants(self) -> None:
        for name, engine in self._host.engines.items():
            try:
                engine.check_invariants()
            except AssertionError as error:
                text = f"{name}: {error}"
                if text not in self._broken:
                    self._broken[text] = None
                    self._complain("invariants", text)

    def _complain(self, judge: str, text: str) -> None:
        self._result.verdicts.append(Verdict(judge, f"at {self._host.now:.3f} s: {text}"))

    def finish(self) -> None:
        """Judge what was seen."""
        result, host = self._result, self._host
        result.records = list(zip(self._sink.times, self._sink.records, strict=True))
        result.verdicts += [Verdict("endless", text) for text in self._complaints]
        result.verdicts += [Verdict("loop", text) for text in host.simulation.loop.unhandled]
        for moment, record in result.records:
            if isinstance(record.event, TaskFailed):
                last = record.event.trace.strip().splitlines()[-1]
                text = f"at {moment:.3f} s: {record.event.task} failed: {last}"
                result.verdicts.append(Verdict("untyped error", text))
            if isinstance(record.event, FaultBegan):
                kind = type(self._plan.faults[record.event.number].what).__name__
                result.struck[kind] = result.struck.get(kind, 0) + 1
        judged = judge_rows(result.history, host.lives, self._plan.setup, host.tablets)
        result.verdicts += judged.verdicts
        result.is_undecided, result.tried = judged.is_undecided, judged.tried
        result.marks = marks_of(result.records, result.history, host.simulation.reached)
