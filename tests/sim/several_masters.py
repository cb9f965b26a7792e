"""Several masters in a simulation, and a lock service that only pretends: a lock and a file in the test's own memory.

The pretended service is fair: the lock of a master that was killed is free after `SESSION_SECONDS`, and a master that
is cut off from it knows `MARGIN_SECONDS` before that its lock is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from master.failover.mastership import Charter, Claim
from master.failover.replicated import ReplicatedMaster
from master.settings import MasterSettings
from runtime.errors import Conflict, Superseded, TabletopError, Unavailable
from runtime.simulated.world import SimulatedWorld, Simulation
from runtime.wire import master_pb2, master_pb2_grpc, masters_pb2, masters_pb2_grpc

T = TypeVar("T")
SESSION_SECONDS = 2.0
MARGIN_SECONDS = 0.5
NAMES = ("master", "master2", "master3")
ADDRESSES = {name: f"{name}:7000" for name in NAMES}


class PretendedClaim:
    def __init__(self, service: "PretendedService", world: SimulatedWorld) -> None:
        self.lost = asyncio.Event()
        self.world = world
        self._service = service

    @property
    def is_certain(self) -> bool:
        return not self.lost.is_set()

    def _check(self) -> None:
        self._service.check_reachable(self.world)
        if self._service.holder is not self:
            raise Superseded("the lock is not held any more")

    async def read(self) -> tuple[Charter | None, int]:
        self._check()
        return self._service.charter, self._service.generation

    async def write(self, charter: Charter, generation: int) -> int:
        self._check()
        service = self._service
        if generation != service.generation:
            raise Conflict(f"generation {service.generation}, expected {generation}")
        service.charter, service.generation = charter, generation + 1
        return service.generation

    async def release(self) -> None:
        self.lost.set()
        if self._service.holder is self:
            self._service.holder = None


class PretendedService:
    def __init__(self) -> None:
        self.charter: Charter | None = None
        self.generation = 0
        self.holder: PretendedClaim | None = None
        self.cut_off: dict[str, None] = {}

    def check_reachable(self, world: SimulatedWorld) -> None:
        if world.node in self.cut_off:
            raise Unavailable("the lock service does not answer")

    async def watch(self) -> None:
        """Loop: free the lock of a master that is dead or cut off."""
        while True:
            await asyncio.sleep(0.1)
            claim = self.holder
            if claim is None or (claim.world.life.alive and claim.world.node not in self.cut_off):
                continue
            await asyncio.sleep(SESSION_SECONDS - MARGIN_SECONDS)
            claim.lost.set()
            await asyncio.sleep(MARGIN_SECONDS)
            if self.holder is claim:
                self.holder = None


class PretendedMastership:
    def __init__(self, service: PretendedService, world: SimulatedWorld) -> None:
        self._service = service
        self._world = world

    async def read(self) -> Charter | None:
        self._service.check_reachable(self._world)
        return self._service.charter

    async def claim(self, wait_seconds: float) -> Claim | None:
        self._service.check_reachable(self._world)
        if self._service.holder is not None:
            await asyncio.sleep(wait_seconds)
            return None
        self._service.holder = PretendedClaim(self._service, self._world)
        return self._service.holder

    async def close(self) -> None:
        return None


class Masters:
    """Three masters of one cluster, without chunkservers."""

    def __init__(self, simulation: Simulation, **changes: Any) -> None:
        self.simulation = simulation
        self.service = PretendedService()
        self.settings = {"masters": ",".join(f"{name}={where}" for name, where in ADDRESSES.items()), **changes}
        self.servers: dict[str, ReplicatedMaster] = {}
        for name in NAMES:
            simulation.add_node(name)
        self.client = simulation.add_node("client")

    async def start(self, name: str) -> None:
        world = self.simulation.world(name)
        if not world.life.alive:
            world = self.simulation.restart(name)
        settings = MasterSettings.from_dict({**self.settings, "control_address": ADDRESSES[name]})
        server = ReplicatedMaster(world, settings, PretendedMastership(self.service, world))
        self.servers[name] = server
        await self.simulation.on(world, server.start())

    def kill(self, name: str) -> None:
        self.simulation.kill(name)
        del self.servers[name]

    def acting(self) -> list[str]:
        return [name for name, server in self.servers.items() if server.may_answer]

    def in_sync(self) -> tuple[str, ...]:
        return () if self.service.charter is None else tuple(sorted(self.service.charter.in_sync))

    def stub(self, name: str) -> "master_pb2_grpc.MasterAsyncStub":
        return master_pb2_grpc.MasterStub(self.client.network.channel(ADDRESSES[name]))

    async def make(self, name: str, path: str, seconds: float = 5.0) -> TabletopError | None:
        """Make a directory at this master; why it was not made."""
        try:
            await self.stub(name).MakeDirectory(master_pb2.MakeDirectoryRequest(path=path), timeout=seconds)
        except TabletopError as error:
            return error
        return None

    async def names(self, name: str) -> list[str]:
        """What this master lists in the root."""
        return [entry.path for entry in (await self.listed(name)).entries]

    async def listed(self, name: str) -> master_pb2.ListReply:
        return await self.stub(name).List(master_pb2.ListRequest(path="/", may_be_old=True), timeout=5)

    async def standing(self, name: str) -> masters_pb2.MasterStanding:
        stub = masters_pb2_grpc.MasterReplicaStub(self.client.network.channel(ADDRESSES[name]))
        return await stub.GetStanding(masters_pb2.StandingRequest(), timeout=5)

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        end = self.simulation.loop.time() + seconds
        while not condition():
            assert self.simulation.loop.time() < end, f"waited in vain until {what}"
            await asyncio.sleep(0.05)


def play(seed: int, story: Callable[[Masters], Awaitable[T]], **changes: Any) -> T:
    """Start three masters, and tell the story when all are in sync."""
    with Simulation(seed) as simulation:
        masters = Masters(simulation, **changes)

        async def begin() -> T:
            watch = asyncio.get_running_loop().create_task(masters.service.watch())
            for name in NAMES:
                await masters.start(name)
                await masters.until(lambda: bool(masters.acting()), "somebody acts")
            await masters.until(lambda: masters.in_sync() == NAMES, "all are in sync")
            found = await story(masters)
            watch.cancel()
            return found

        return simulation.run(begin())
