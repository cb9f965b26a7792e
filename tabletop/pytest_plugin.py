"""Scenarios as tests: a plugin of pytest, which is there wherever Tabletop is installed.

    # test_drills.py
    @scenario(chunkservers=4)
    async def test_survives_a_dead_primary(cluster, seed): ...

    pytest --seeds 200                                                  each scenario with 200 seeds
    pytest test_drills.py::test_survives_a_dead_primary --replay 17     one seed again

Every scenario that is defined in a collected file is a test, whatever its name. It fails with the first seed that
fails, says how to run that seed again, and has been shrunk. Without `--seeds` a scenario runs with `DEFAULT_SEEDS`
seeds.

The plugin costs nothing where there are no scenarios: it imports what it needs when it meets one. A scenario is
known by its class, so that a suite without scenarios is collected as it was.
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cluster.scenarios.running import ScenarioPlan, ScenarioResult

DEFAULT_SEEDS = 10
SHRINK_SECONDS = 10.0
_DECLARING = "cluster.scenarios.declaring"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("tabletop", "scenarios of Tabletop")
    group.addoption(
        "--seeds", type=int, metavar="N", help=f"how many seeds each scenario runs (default {DEFAULT_SEEDS})"
    )
    group.addoption("--first-seed", type=int, default=0, metavar="K", help="the first of them (default 0)")
    group.addoption("--replay", type=int, metavar="SEED", help="run each scenario with this seed alone")
    group.addoption(
        "--world", choices=("sim", "real"), default="sim", help="where scenarios run: sim (default), or real processes"
    )


def pytest_pycollect_makeitem(collector: pytest.Module, name: str, obj: object) -> "ScenarioItem | None":
    """A scenario that is defined in this file is a test."""
    declaring = sys.modules.get(_DECLARING)
    if declaring is None or not isinstance(obj, declaring.Scenario) or obj.file != str(collector.path):
        return None
    item: ScenarioItem = ScenarioItem.from_parent(collector, name=name)
    item.scenario = obj
    return item


class ScenarioFailed(Exception):
    """A seed of a scenario failed. Its text is the whole report."""


class ScenarioItem(pytest.Item):
    """One scenario, with some seeds."""

    scenario: Any

    def runtest(self) -> None:
        """Run the seeds, up to the first that fails."""
        from cluster.scenarios.running import ScenarioPlan

        world = self.config.getoption("--world")
        for seed in self._seeds(world):
            plan = ScenarioPlan(self.scenario, seed, world)
            result = _run(plan)
            if result.failed:
                raise ScenarioFailed("\n".join(self._report(result)))

    def _seeds(self, world: str) -> Iterator[int]:
        replay, first = self.config.getoption("--replay"), self.config.getoption("--first-seed")
        if replay is not None:
            yield replay
            return
        count = self.config.getoption("--seeds")
        if count is not None and count < 1:
            raise pytest.UsageError(f"--seeds {count}: expected 1 or more")
        # A cluster of processes takes seconds, and its seed decides little.
        usual = DEFAULT_SEEDS if world == "sim" else 1
        yield from range(first, first + (usual if count is None else count))

    def _report(self, result: "ScenarioResult") -> Iterator[str]:
        from cluster.scenarios.running import run_simulated
        from cluster.scenarios.shrinking import TapeShrinker
        from cluster.scenarios.telling import summary, verdict_lines

        plan = result.plan
        where = f"{self.nodeid.partition('::')[0]}::{self.scenario.name}"
        yield f"{self.scenario.name} fails with seed {plan.seed}: {summary(result)}"
        yield from verdict_lines(result)
        if plan.world == "sim":
            run = TapeShrinker(plan, lambda one: run_simulated(one, recorded=True), seconds=SHRINK_SECONDS)
            yield f"Shrunk: {run.shrink().in_words()}"
        yield f"Again: pytest {where} --replay {plan.seed}{' --world real' if plan.world == 'real' else ''}"
        yield f"Story: tabletop scenario run {where} --world {plan.world} --seed {plan.seed} --story"

    def repr_failure(self, excinfo: "pytest.ExceptionInfo[BaseException]", style: Any = None) -> Any:
        """What a scenario says of itself; a traceback would be one through the simulation."""
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int, str]:
        """Where it is defined."""
        return self.path, self.scenario.line - 1, self.name


def _run(plan: "ScenarioPlan") -> "ScenarioResult":
    import asyncio

    from cluster.scenarios.running import run_real, run_simulated

    return run_simulated(plan) if plan.world == "sim" else asyncio.run(run_real(plan))
