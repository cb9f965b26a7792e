"""Scenarios as a swarm, so that what sweeps over the swarm (cluster/swarm/sweep.py) sweeps over them too.

The name of such a swarm is this module's name and where the scenario is found: workers load the file again, because a
coroutine cannot be sent to another process.
"""

from cluster.scenarios.loading import load_scenario
from cluster.scenarios.running import ScenarioPlan, ScenarioResult, run_simulated
from cluster.scenarios.telling import story
from cluster.swarm.bugs import BUGS
from cluster.swarm.swarms import Swarm
from runtime.errors import InvalidRequest


def kind_of(where: str) -> str:
    """The name of the swarm of a scenario, which FILE::NAME names."""
    return f"{__name__}:{where}"


def swarm(where: str) -> Swarm:
    """The swarm of a scenario: each seed is a plan without any plain choices. Raises as `load_scenario`."""
    scenario = load_scenario(where)

    def draw(seed: int) -> ScenarioPlan:
        return ScenarioPlan(scenario, seed)

    def watch(plan: ScenarioPlan) -> ScenarioResult:
        return run_simulated(plan, watched=True)

    def from_json(text: str) -> ScenarioPlan:
        raise InvalidRequest("a scenario's run is written as a tape: see cluster/scenarios/shrinking.py")

    return Swarm(
        name=scenario.name,
        option="",
        draw=draw,
        run=run_simulated,
        watch=watch,
        from_json=from_json,
        tell=story,
        bugs=BUGS,
        judges=(),
        marks=(),
    )
