"""What a run stands on, in either world: a cluster and its clients, the records of all nodes, and the true time.

True time is in seconds since the stage was made. In the simulated world that is the virtual time, which no node knows;
in the real one the operating system's clock, which all processes of this machine share. Records come with it, so that
histories and records can be compared.

No shadow master answers a recorded client: what a shadow says may be old, and nobody could tell that from a mistake.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cluster.fault_log import read_faults
from cluster.interface import Cluster
from cluster.real import RealCluster
from cluster.scenarios.declaring import Scenario
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from gfs.settings import ClientSettings
from runtime.errors import InvalidRequest
from runtime.events import MemorySink, Record, in_causal_order
from runtime.real.world import RealWorld
from runtime.simulated.tape import Plain, Tape
from runtime.simulated.traffic import Traffic
from runtime.simulated.world import EPOCH_MICROSECONDS, Simulation

CLIENT_SETTINGS = ClientSettings(shadow_seconds=0.0)
MICROSECONDS = 1e6
SIMULATED, REAL = "sim", "real"


class Stage(Protocol):
    """One cluster for one run."""

    cluster: Cluster
    tape: Tape

    def now(self) -> float:
        """True seconds since the stage was made."""

    async def start(self) -> None:
        """Start every node."""

    def client(self, number: int) -> tuple[str, Client]:
        """A client and the name of its node, counted from 1. Raises InvalidRequest if there are not so many."""

    def records(self) -> list[tuple[float, Record]]:
        """What all nodes have recorded, with the true times, in their order."""

    async def close(self) -> None:
        """Leave nothing behind."""


class SimulatedStage:
    """A cluster in a simulation of its own. `watched` keeps all messages; the run is the same."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        plain: Sequence[Plain] = (),
        recorded: bool = False,
        watched: bool = False,
    ) -> None:
        self.simulation = Simulation(seed, plain=plain, recorded=recorded)
        self.tape = self.simulation.tape
        self.traffic = Traffic(self.simulation, self.simulation.sink.records) if watched else None
        self._scenario = scenario
        self._cluster = SimulatedCluster(
            self.simulation,
            scenario.settings,
            name="scenario",
            client_settings=CLIENT_SETTINGS,
            clients=scenario.clients + 1,
        )
        self.cluster: Cluster = self._cluster

    def now(self) -> float:
        """Virtual seconds."""
        return self.simulation.loop.time()

    async def start(self) -> None:
        """Start every node."""
        await self._cluster.start()

    def client(self, number: int) -> tuple[str, Client]:
        """One of the clients; the last one is the judges'."""
        _check(number, self._scenario)
        return self._cluster.client_names()[number - 1], self._cluster.client(number)

    def records(self) -> list[tuple[float, Record]]:
        """In the order in which they were written."""
        return [
            ((record.true_microseconds or 0) / MICROSECONDS - EPOCH_MICROSECONDS / MICROSECONDS, record)
            for record in self.simulation.sink.records
        ]

    async def close(self) -> None:
        """The simulation is closed by who runs it, outside of its loop."""


class RealStage:
    """A cluster of processes, in a folder of its own, which ends with this process however that ends."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.tape = Tape(seed)
        self._scenario = scenario
        self._home = Path(tempfile.mkdtemp(prefix="tabletop-scenario-"))
        self._sink = MemorySink()
        self._cluster = RealCluster("scenario", home=self._home, owned=True, sink=self._sink)
        self.cluster: Cluster = self._cluster
        self._clients: dict[int, tuple[RealWorld, Client]] = {}
        self._begun = time.time_ns() // 1000

    def now(self) -> float:
        """Seconds by the operating system's clock."""
        return (time.time_ns() // 1000 - self._begun) / MICROSECONDS

    async def start(self) -> None:
        """Start every process."""
        await self._cluster.start(self._scenario.settings)

    def client(self, number: int) -> tuple[str, Client]:
        """A client in this process, with connections of its own."""
        _check(number, self._scenario)
        name = f"client{number}"
        if number not in self._clients:
            folder = self._cluster.folder
            world = RealWorld(node=name, root=folder.path, token=folder.token(), sink=self._sink)
            self._clients[number] = world, Client(world, folder.require().master, CLIENT_SETTINGS)
        return name, self._clients[number][1]

    def records(self) -> list[tuple[float, Record]]:
        """By time, and causes before their effects."""
        nodes = self._cluster.recorded(self._cluster.settings.node_names()).records
        faults = read_faults(self._cluster.folder.path).records
        found = in_causal_order([*nodes, *self._sink.records])
        timed = [((one.wall_microseconds - self._begun) / MICROSECONDS, one) for one in [*faults, *found]]
        return sorted(timed, key=lambda one: one[0])

    async def close(self) -> None:
        """End the processes, and remove the folder."""
        for world, client in self._clients.values():
            await client.close()
            await world.close()
        await asyncio.shield(self._cluster.stop())
        shutil.rmtree(self._home, ignore_errors=True)


def _check(number: int, scenario: Scenario) -> None:
    if number > scenario.clients + 1:
        raise InvalidRequest(
            f"scenario {scenario.name} asks for {number - 1} recorded clients, and was declared with "
            f"{scenario.clients}: write @scenario(clients={number - 1})"
        )
