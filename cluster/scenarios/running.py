"""One scenario with one seed in one world, from its begin to its verdict.

    setting up    the cluster starts
    the story     the scenario runs, for a stated time at most
    the end       everything is healed, the cluster comes to rest, all files and all replicas are read
    judgement     the judges look at the history and at the records

A scenario that fails has its end and its judgement too, but nobody waits for rest: what a claim says is explained best
by what the other judges see at that moment.
"""

import asyncio
import contextlib
import signal
import threading
import time
import traceback
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.scenarios import judging
from cluster.scenarios.declaring import CheckFailed, Scenario, current
from cluster.scenarios.facts import Known, known_facts
from cluster.scenarios.recording import Notebook, RecordedClient
from cluster.scenarios.stages import CLIENT_SETTINGS, SIMULATED, RealStage, SimulatedStage, Stage
from cluster.swarm.history import History
from cluster.swarm.regions import Region
from cluster.swarm.verdicts import Verdict
from runtime.errors import InvalidRequest, TabletopError
from runtime.events import Record
from runtime.simulated.loop import SimulationDeadlock, SimulationStuck
from runtime.simulated.tape import Plain
from runtime.simulated.traffic import Traffic

END_SECONDS = 900.0
"""For the end of a run to be over, by the cluster's clock: rest, and all last reads."""


ALARM_SECONDS = 2.0
"""The loop looks at the wall's clock between two steps; who never comes to the next is interrupted so much later."""


class WallTimeOver(BaseException):
    """A step of a simulation does not end."""


@dataclass(frozen=True, slots=True)
class ScenarioPlan:
    """A run as data: the seed, and the draws of the tape that are to choose nothing special."""

    scenario: Scenario
    seed: int
    world: str = SIMULATED
    plain: tuple[Plain, ...] = ()
    operations: tuple[()] = ()
    faults: tuple[()] = ()

    def clients(self) -> list[str]:
        """The recorded clients."""
        return [f"client{number}" for number in range(1, self.scenario.clients + 1)]

    @property
    def setup(self) -> Any:
        """The cluster's settings."""
        return self.scenario.settings


@dataclass(slots=True)
class ScenarioResult:
    """What came of one run. `unusual`: the draws of the tape that were not 0, if it was recorded."""

    plan: ScenarioPlan
    verdicts: list[Verdict] = field(default_factory=list)
    is_undecided: bool = False
    history: History = field(default_factory=History)
    records: list[tuple[float, Record]] = field(default_factory=list)
    known: Known | None = None
    regions: dict[str, list[Region]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    traffic: Traffic | None = None
    unusual: dict[str, list[int]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a judge found something."""
        return bool(self.verdicts)


def run_simulated(plan: ScenarioPlan, *, recorded: bool = False, watched: bool = False) -> ScenarioResult:
    """Run a plan in a simulation of its own, and judge it. `recorded` notes the unusual draws of its tape; `watched`
    keeps all messages. The run is the same."""
    begun = time.process_time()
    stage = SimulatedStage(plan.scenario, plan.seed, plain=plan.plain, recorded=recorded, watched=watched)
    run = _Run(plan, stage)
    try:
        try:
            with _alarm(plan.scenario.wall_seconds + ALARM_SECONDS):
                stage.simulation.run(run.play(), processor_seconds=plan.scenario.wall_seconds)
        except (SimulationDeadlock, SimulationStuck) as error:
            run.stuck(error)
        run.finish()
    finally:
        stage.simulation.close()
    run.result.verdicts += [Verdict("loop", text) for text in stage.simulation.loop.unhandled]
    run.result.traffic, run.result.unusual = stage.traffic, stage.tape.unusual()
    run.result.cpu_seconds = time.process_time() - begun
    return run.result


async def run_real(plan: ScenarioPlan) -> ScenarioResult:
    """Run a plan with processes on this machine, and judge it. Nothing is left of them, however it ends."""
    begun = time.process_time()
    stage = RealStage(plan.scenario, plan.seed)
    run = _Run(plan, stage)
    try:
        await run.play()
        run.finish()
    finally:
        await stage.close()
    run.result.cpu_seconds = time.process_time() - begun
    return run.result


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt whatever runs after so long, unless somebody else has set the alarm of this process."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise WallTimeOver

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


class _Run:
    """One run, in either world."""

    def __init__(self, plan: ScenarioPlan, stage: Stage) -> None:
        self.result = ScenarioResult(plan)
        self.seed = plan.seed
        self.tape = stage.tape
        self._scenario = plan.scenario
        self._stage = stage
        self._notebook = Notebook(stage.now, self.result.history)
        self._clients: list[RecordedClient] = []
        self._held: list[judging.Held] = []
        self._story: asyncio.Task[None] | None = None

    def new_client(self) -> RecordedClient:
        """Another recorded client of the scenario. Raises InvalidRequest."""
        number = len(self._clients) + 1
        if number > self._scenario.clients:
            raise InvalidRequest(
                f"scenario {self._scenario.name} asks for {number} recorded clients, and was declared with "
                f"{self._scenario.clients}: write @scenario(clients={number})"
            )
        self._clients.append(RecordedClient(*self._stage.client(number), self._notebook))
        return self._clients[-1]

    async def play(self) -> None:
        """All of it but the judgement."""
        await self._stage.start()
        with current(self):
            await self._tell()
        for client in self._clients:
            await self._in_time(client.close(), END_SECONDS)
        await self._in_time(self._end(), END_SECONDS)

    async def _tell(self) -> None:
        """The scenario itself."""
        self._story = asyncio.get_running_loop().create_task(self._play_scenario(), name=self._scenario.name)
        seconds = self._scenario.longest_seconds
        _, unfinished = await asyncio.wait([self._story], timeout=seconds)
        if unfinished:
            text = f"the scenario did not end within {seconds:g} s of the cluster's time: it waits at {self._where()}"
            self._blame("endless", text)
            self._story.cancel()
            await asyncio.wait([self._story])
            return
        error = None if self._story.cancelled() else self._story.exception()
        if isinstance(error, CheckFailed):
            self._blame("check", f"{error.sentence} ({error.place})")
        elif isinstance(error, TabletopError):
            certain = "definite" if error.definite else "in doubt"
            self._blame("exception", f"{type(error).__name__} ({certain}) at {self._place_of(error)}: {error.message}")
        elif isinstance(error, AssertionError):
            self._blame("check", f"{error or 'an assertion does not hold'} ({self._place_of(error)})")
        elif isinstance(error, WallTimeOver):
            seconds = self._scenario.wall_seconds
            self._blame("endless", f"after {seconds:g} s on the clock on the wall it is at {self._place_of(error)}")
        elif error is not None:
            text = f"{type(error).__name__} at {self._place_of(error)}: {error}"
            self._blame("exception", text)
        elif self._story.cancelled():
            self._blame("exception", "the scenario was cancelled")

    async def _play_scenario(self) -> None:
        await self._scenario.play(self._stage.cluster, self.seed)

    async def _end(self) -> None:
        """Heal, come to rest, and read everything."""
        result, cluster = self.result, self._stage.cluster
        result.verdicts += await judging.heal(cluster)
        if result.verdicts:
            return
        result.verdicts += await judging.come_to_rest(cluster)
        judge = RecordedClient(*self._stage.client(self._scenario.clients + 1), self._notebook, is_final=True)
        files = await judging.read_everything(judge)
        if not result.verdicts:
            self._held, complaints = await judging.read_replicas(cluster, files)
            result.verdicts += complaints

    async def _in_time(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            self._blame("endless", f"what follows the scenario did not end within {seconds:g} s")
        except TabletopError as error:
            self._blame("convergence", f"the cluster cannot be looked at at the end: {error.message}")

    def stuck(self, error: Exception) -> None:
        """Note that the simulation itself came to a standstill."""
        if self.result.verdicts:
            return  # It is known already what takes so long.
        if isinstance(error, SimulationDeadlock):
            text = "nothing is left to happen, and what the scenario waits for has not come"
        else:
            text = str(error).split("; next:")[0]
        place = self._where()
        self._blame("endless", f"{text}{f': it is at {place}' if place else ''}")

    def finish(self) -> None:
        """Judge what was seen."""
        result, stage = self.result, self._stage
        result.virtual_seconds = stage.now()
        result.records = stage.records()
        known = result.known = known_facts(self._notebook, result.records, self._scenario.settings, CLIENT_SETTINGS)
        found = judging.judge(result.history, known, result.records, self._held)
        result.verdicts += found.verdicts
        result.is_undecided, result.regions, result.remarks = found.is_undecided, found.regions, found.remarks
        result.struck = known.struck

    def _blame(self, judge: str, text: str) -> None:
        self.result.verdicts.append(Verdict(judge, text))

    def _where(self) -> str:
        """Where the scenario stands: the innermost line of its own file that is not done."""
        task, place = self._story, ""
        coroutine: Any = task.get_coro() if task is not None else None
        while coroutine is not None:
            frame: FrameType | None = getattr(coroutine, "cr_frame", None)
            if frame is not None and frame.f_code.co_filename == self._scenario.file:
                place = f"{Path(self._scenario.file).name}:{frame.f_lineno}"
            coroutine = getattr(coroutine, "cr_await", None)
        return place

    def _place_of(self, error: BaseException) -> str:
        """The innermost line of the scenario's own file from which an exception came."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == self._scenario.file]
        frame = (own or frames)[-1]
        return f"{Path(frame.filename).name}:{frame.lineno}"
