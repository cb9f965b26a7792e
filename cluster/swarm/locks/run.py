"""One seed of the lock service's swarm, from its begin to its verdict.

trouble      clients work, faults strike; at each acquisition it is looked who else believes to hold the lock, by true
             time; every virtual second the service's invariants are checked
healing      all faults end, clients finish their work
judgement    watchers must have seen the last state; all sessions are closed or die, and must leave nothing; the service
             is ended once more, and its log must give the state that it had; then the history is judged
"""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace

from cluster.fault_runner import FaultBegan, FaultRunner
from cluster.swarm.history import Answer
from cluster.swarm.locks.history import FIRST_VALUE, History
from cluster.swarm.locks.host import Host
from cluster.swarm.locks.judging import judge_delays, judge_history
from cluster.swarm.locks.marks import marks_of
from cluster.swarm.locks.mischief import LOCK, draw_faults, draw_operations, draw_setup
from cluster.swarm.locks.plan import Kind, Plan, PlannedOperation
from cluster.swarm.locks.player import Player, followed, lock_path, look_at, register_path
from cluster.swarm.stage import TimedSink
from cluster.swarm.sweep import PROCESSOR_SECONDS
from cluster.swarm.verdicts import Verdict
from lockservice.client.session import OwnSession
from lockservice.interface import Sequencer, SessionState
from lockservice.state.records import Record as Kept
from lockservice.state.records import StateBegins
from runtime.errors import TabletopError
from runtime.events import Record, TaskFailed
from runtime.simulated.loop import SimulationDeadlock, SimulationStuck
from runtime.simulated.traffic import Traffic

JUDGE = "judge"
REVIVE_SECONDS = 0.5
FINISH_SECONDS = 600.0
REST_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


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
    chance = random.Random(f"lock swarm {seed}")
    setup = draw_setup(chance)
    return Plan(seed, setup, draw_operations(chance, setup), draw_faults(chance, setup))


def run_plan(plan: Plan, *, watched: bool = False) -> Result:
    """Run a plan in a simulation of its own, and judge it. `watched`: keep all messages; the run is the same."""
    result = Result(plan)
    begun = time.process_time()
    host = Host(plan)
    simulation = host.simulation
    try:
        run = _Run(plan, host, result)
        if watched:
            result.traffic = Traffic(simulation, run.sink.records)
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
        self._judge = host.simulation.add_node(JUDGE)
        self.sink = host.simulation.sink = TimedSink(host.simulation.loop)
        self._faults = FaultRunner(host, plan.faults, revive_seconds=REVIVE_SECONDS)
        self._broken: dict[str, None] = {}
        self._is_healed = False

    # The course of the run

    async def play(self) -> None:
        """The whole run."""
        loop, setup, host = asyncio.get_running_loop(), self._plan.setup, self._host
        await host.start_node(LOCK)
        await host.simulation.on(self._judge, self._prepare())
        watch = loop.create_task(self._watch(), name="watch invariants")
        self._faults.begin()
        players = [Player(name, host, setup, self._result.history, self._on_held) for name in host.client_names()]
        operations = self._plan.operations
        work = [
            loop.create_task(player.play([one for one in operations if one.client == player.name]), name=player.name)
            for player in players
        ]
        await asyncio.sleep(setup.trouble_seconds)
        await self._heal()
        _, unfinished = await asyncio.wait(work, timeout=FINISH_SECONDS)
        for task in work:
            if task in unfinished:
                self._complain("endless", f"{task.get_name()} did not come to its end")
                task.cancel()
            else:
                task.result()
        watch.cancel()
        await asyncio.wait([watch, *unfinished])
        await host.simulation.on(self._judge, self._look())

    async def _prepare(self) -> None:
        session = await self._host.service(self._judge).open_session()
        for number in range(self._plan.setup.registers):
            await session.create(register_path(number), str(FIRST_VALUE).encode())
        await session.close()

    async def _heal(self) -> None:
        try:
            await self._faults.heal_all()
        except TabletopError as error:
            self._complain("final start", f"the service does not start though nothing is wrong: {error.message}")
        self._is_healed = True

    async def _start_again(self) -> None:
        """A service whose log failed ends when it notices, and that may be after the disk is sound again."""
        try:
            await self._host.start_node(LOCK)
        except TabletopError as error:
            self._complain("final start", f"the service does not start though nothing is wrong: {error.message}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._check_invariants()
            if self._is_healed and not self._host.is_running(LOCK):
                await self._start_again()

    def _check_invariants(self) -> None:
        try:
            self._host.check_invariants()
        except AssertionError as error:
            if str(error) not in self._broken:
                self._broken[str(error)] = None
                self._complain("invariants", str(error))

    def _on_held(self, client: str, sequencer: Sequencer) -> None:
        """Somebody has just been given a lock: nobody else may believe in it at this moment, by any clock."""
        for other, life in self._host.lives.items():
            believed = life.believes(sequencer.path)
            if other != client and believed is not None:
                self._complain(
                    "mutual exclusion",
                    f"{client} was given {sequencer.path} at generation {sequencer.generation} while {other} believes "
                    f"to hold it at generation {believed.generation}, with a session that is "
                    f"{life.session.state.value if life.session else 'over'}",
                )

    # The end

    async def _look(self) -> None:
        """As the judge's node: is all that should be there, and nothing else?"""
        setup = self._plan.setup
        session = await self._host.service(self._judge).open_session()
        await self._look_at_registers(session)
        await self._look_at_watches(session)
        self._look_for_unknown_holders()
        await asyncio.gather(*(life.session.close() for life in self._host.lives.values() if life.session is not None))
        whole = setup.lease_seconds + setup.grace_seconds + setup.delay_seconds
        until = self._host.now + 1.5 * whole + REST_SECONDS
        left = self._leftovers(session.number)
        while left and self._host.now < until:
            await asyncio.sleep(_PAUSE_SECONDS)
            left = self._leftovers(session.number)
        if left:
            self._complain("leftovers", f"nobody has a session any more, and there is still {'; '.join(left[:5])}")
        for number in range(setup.locks):
            try:
                await session.acquire(lock_path(number), wait_seconds=REST_SECONDS)
            except TabletopError as error:
                self._complain("leftovers", f"the lock {lock_path(number)} cannot be had: {error.message}")
        await self._look_at_log()

    async def _look_at_registers(self, session: OwnSession) -> None:
        for number in range(self._plan.setup.registers):
            planned, path = PlannedOperation(JUDGE, 0.0, Kind.READ, number), register_path(number)
            operation = self._result.history.new(JUDGE, planned, path, session.number, self._host.now)
            contents, stat = await session.read(path)
            operation.value, operation.generation = int(contents), stat.generation
            operation.answer, operation.responded = Answer.VALUE, self._host.now

    async def _look_at_watches(self, session: OwnSession) -> None:
        """Nobody writes any more: who watches must soon have seen the last state."""
        await asyncio.sleep(REST_SECONDS)
        for path in followed(self._plan.setup):
            last = await look_at(session, path)
            for name, life in self._host.lives.items():
                is_living = life.session is not None and life.session.state is not SessionState.EXPIRED
                if is_living and life.seen.get(path) != last:
                    self._complain("watches", f"{name} watches {path}, saw {life.seen.get(path)} last; there is {last}")

    def _look_for_unknown_holders(self) -> None:
        """A lock that a living session has, and of which its client knows nothing, is lost to everybody."""
        locks = {} if self._host.server is None else self._host.server.core.state.locks
        for path, lock in locks.items():
            for name, life in self._host.lives.items():
                if life.session is not None and life.session.number == lock.holder and path not in life.held:
                    self._complain("leftovers", f"{name} has {path} at {lock.generation}, and does not know of it")

    def _leftovers(self, judge: int) -> list[str]:
        """What of other sessions than the judge's the service still has."""
        if self._host.server is None:
            return ["no service"]
        state = self._host.server.core.state
        left = [f"session {number}" for number in state.sessions if number != judge]
        left += [f"the ephemeral file {path}" for path, entry in state.files.items() if entry.owner not in (0, judge)]
        return left + [f"the lock {path}" for path, lock in state.locks.items() if lock.holder != judge]

    async def _look_at_log(self) -> None:
        """The log gives the state that it stands for."""
        before = self._kept()
        cuts = random.Random(f"end {self._plan.seed}").random() < 0.5
        (self._host.simulation.power_cut if cuts else self._host.simulation.kill)(LOCK)
        try:
            await self._host.start_node(LOCK)
        except TabletopError as error:
            self._complain("final start", f"the service does not start though nothing is wrong: {error.message}")
            return
        after = self._kept()
        if before != after:
            lost, gained = [one for one in before if one not in after], [one for one in after if one not in before]
            self._complain("replay", f"the log lacks {lost[:3]} and has {gained[:3]} too many")
        self._check_invariants()

    def _kept(self) -> list[Kept]:
        assert self._host.server is not None
        records = self._host.server.core.state.as_records()
        kept = [replace(one, epoch=0) if isinstance(one, StateBegins) else one for one in records]
        return sorted(kept, key=repr)

    def _complain(self, judge: str, text: str) -> None:
        self._result.verdicts.append(Verdict(judge, f"at {self._host.now:.3f} s: {text}"))

    def finish(self) -> None:
        """Judge what was seen."""
        result, host = self._result, self._host
        result.records = list(zip(self.sink.times, self.sink.records, strict=True))
        result.verdicts += [Verdict("loop", text) for text in host.simulation.loop.unhandled]
        for moment, record in result.records:
            if isinstance(record.event, TaskFailed):
                last = record.event.trace.strip().splitlines()[-1]
                text = f"at {moment:.3f} s: {record.event.task} failed: {last}"
                result.verdicts.append(Verdict("untyped error", text))
            if isinstance(record.event, FaultBegan):
                kind = type(self._plan.faults[record.event.number].what).__name__
                result.struck[kind] = result.struck.get(kind, 0) + 1
        result.verdicts += judge_history(result.history)
        result.verdicts += judge_delays(result.records)
        result.marks = marks_of(result.records, result.history, host.simulation.reached)
