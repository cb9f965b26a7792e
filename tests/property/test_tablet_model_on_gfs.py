"""The tablet engine against the same model as in `test_tablet_model.py`, its files in a simulated GFS.

A crash is the end of the client's process: the next owner of the tablet is another client, with a higher token.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from runtime.simulated.world import Simulation
from tablet.engine.engine import Engine
from tablet.engine.model.operations import Operation
from tablet.engine.model.rows import Row
from tablet.engine.world.options import Options
from tablet.storage.folders import GfsFolders, storage_settings
from tests.property.test_tablet_model import TabletAgainstModel

FOLDER = "t"


class TabletInGfs:
    """The synchronous face that the model's rules speak to: each call is a run of the simulation."""

    def __init__(self, simulation: Simulation, cluster: SimulatedCluster, options: Options, token: int) -> None:
        self._run = simulation.run
        world = cluster.client_world
        self.client = Client(world, cluster.master_address, storage_settings())
        folders = GfsFolders(self.client, "/tablets")

        async def begin() -> Engine:
            await folders.prepare()
            await folders.make(FOLDER)
            return await Engine.open(folders.storage(FOLDER), world, options, token=token)

        self.engine = self._run(begin())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.engine, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            async def work() -> Any:
                found = method(*arguments, **keywords)
                return await found if isinstance(found, Coroutine) else found

            return self._run(work())

        return call

    def write(self, row: bytes, *operations: Operation) -> None:
        self._run(self.engine.write(row, operations))

    def scan(self, start: bytes = b"", end: bytes = b"") -> list[Row]:
        async def rows() -> list[Row]:
            return [row async for row in self.engine.scan(start, end)]

        return self._run(rows())

    def items(self, column: bytes, start: bytes, *, limit: int | None) -> list[tuple[bytes, bytes]]:
        found = [(row.key, value) for row in self.scan(start) if (value := row.value(column)) is not None]
        return found[:limit]

    def settle(self) -> None:
        async def jobs() -> None:
            while await self.engine.do_some_housework():
                pass

        self._run(jobs())

    def close(self) -> None:
        self._run(self.engine.close())
        self._run(self.client.close())


class TabletInGfsAgainstModel(TabletAgainstModel):
    """The same rules; the tablet lives elsewhere."""

    sync = "fsync"

    def make_home(self):
        self.token = 0
        self.simulation = Simulation(7, quiet=True)
        self.cluster = SimulatedCluster(self.simulation, ClusterSettings(chunkservers=3, chunk_bytes=64 * 1024))
        self.simulation.run(self.cluster.start())

    def opened(self) -> Any:
        self.token += 1
        return TabletInGfs(self.simulation, self.cluster, self.options, self.token)

    def leave_behind(self):
        """It is not closed: whatever it has in memory is gone."""

    def teardown(self):
        if hasattr(self, "simulation"):
            self.simulation.close()


def test_a_tablet_in_gfs_holds_what_the_model_holds():
    run_state_machine_as_test(
        TabletInGfsAgainstModel,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
