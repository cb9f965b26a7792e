"""Figure 3 of the GFS paper: what N clients read, write and append together (GFS 6.1).

    reads     each client reads 4 MB at a random place of a large set of files, again and again
    writes    each client writes a new file of its own, 1 MB at a time
    appends   all clients append records of 1 MB to one file (the paper does not say how large its records were)

First one client works without any cost of software. What the paper's one client took longer for each operation is the
*pause*: the one number that is taken from the paper. It is spent by the client before each operation, outside of cards
and disks. Then N clients work at the same time, each with that pause, and the rate is what they have done when the
first of them is through.

Where chunks go. With the policy "hashing" the three servers of a chunk are as good as random. With "paper" our master
keeps those that create chunks at the same time apart so well that writers meet less often than the paper's did.

What we simplify. Less is moved than in the paper, with smaller chunks, so that a file still changes its servers often:
a steady state does not depend on it. The files that are read have one copy of each chunk; a reader in the paper goes to
one of three, and here to the one, of as many servers. Regions do not cross the ends of chunks (of 64 MB chunks one in
16 would). The page caches hold a tenth of what is read, as the paper reckons.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cluster.paper.machines import Machines
from cluster.paper.printed import APPENDS, FIGURE_3, KINDS, MOST_CLIENTS, READS, WRITES
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from gfs.file import File
from gfs.settings import ClientSettings
from master.balance.placement_policies import HASHING
from runtime.errors import InvalidRequest
from runtime.settings import MEBIBYTE
from runtime.simulated.world import Simulation

MEGABYTE = 1_000_000
CALIBRATION_OPERATIONS = 24
FILE_BYTES = 64 * MEBIBYTE
CACHED_SHARE = 10  # "at most a 10% hit rate in the Linux buffer cache"

OPERATION_BYTES = {READS: 4 * MEBIBYTE, WRITES: MEBIBYTE, APPENDS: MEBIBYTE}
CHUNK_BYTES = {READS: 4 * MEBIBYTE, WRITES: 16 * MEBIBYTE, APPENDS: 64 * MEBIBYTE}

_DATA = bytes(range(256)) * (FILE_BYTES // 256)

T = TypeVar("T")
Operation = Callable[[], Awaitable[object]]
Progress = Callable[[str, int, float], None]
"""Told of each point: what kind, how many clients, MB/s."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. `operations` are those of each client at each point."""

    kinds: tuple[str, ...] = KINDS
    clients: tuple[int, ...] = tuple(range(1, MOST_CLIENTS + 1))
    operations: int = 32
    seed: int = 1
    placement: str = HASHING  # by chance: the paper's writers meet on servers as if nobody had kept them apart
    machines: Machines = field(default_factory=Machines)

    def check(self) -> None:
        """Raise InvalidRequest for what cannot be measured."""
        if not self.clients or not all(1 <= clients <= MOST_CLIENTS for clients in self.clients):
            raise InvalidRequest(f"{self.clients} clients: the paper has numbers for 1 to {MOST_CLIENTS}")
        if self.operations < 1:
            raise InvalidRequest(f"{self.operations} operations a client: expected 1 or more")


@dataclass(frozen=True, slots=True)
class Curve:
    """One of the three: MB/s by number of clients, and the seconds of software that one client was given."""

    kind: str
    pause_seconds: float
    rates: dict[int, float]


def measure(plan: Plan, progress: Progress = lambda kind, clients, rate: None) -> list[Curve]:
    """All curves of a plan, each in a simulation of its own."""
    plan.check()
    return [_measure_kind(plan, kind, progress) for kind in plan.kinds]


def _measure_kind(plan: Plan, kind: str, progress: Progress) -> Curve:
    machines = plan.machines
    with machines.simulation(plan.seed) as simulation:
        cluster = machines.cluster(
            simulation,
            ClusterSettings(
                chunkservers=machines.chunkservers, chunk_bytes=CHUNK_BYTES[kind], placement=plan.placement
            ),
            clients=MOST_CLIENTS,
            client_settings=ClientSettings(write_piece_bytes=MEBIBYTE),
            # Nothing is moved, and nothing verified, that no client has asked for.
            overrides={"chunkserver": {"scrub_bytes_per_second": 0}, "master": {"moves_at_once": 0}},
        )
        return simulation.run(_Measurement(plan, kind, simulation, cluster).run(progress))


class _Measurement:
    """One curve."""

    def __init__(self, plan: Plan, kind: str, simulation: Simulation, cluster: SimulatedCluster) -> None:
        self._plan = plan
        self._kind = kind
        self._simulation = simulation
        self._cluster = cluster
        self._random = random.Random(plan.seed)
        self._pause = 0.0
        self._runs = 0

    async def run(self, progress: Progress) -> Curve:
        """Calibrate with one client, then measure."""
        await self._cluster.start()
        if self._kind == READS:
            await self._make_files()
        alone = await self._rate(1, CALIBRATION_OPERATIONS)
        size = OPERATION_BYTES[self._kind] / MEGABYTE
        self._pause = max(0.0, size / FIGURE_3[self._kind][0] - size / alone)
        rates = {}
        for clients in self._plan.clients:
            rates[clients] = await self._rate(clients, self._plan.operations)
            progress(self._kind, clients, rates[clients])
        return Curve(self._kind, self._pause, rates)

    async def _rate(self, clients: int, operations: int) -> float:
        """MB/s of so many clients that begin at the same time, until the first has done all its operations."""
        self._runs += 1
        if self._kind == APPENDS:
            await self._as_client(1, self._client(1).create(self._appended()))
        numbers = range(1, clients + 1)
        works = [await self._as_client(number, self._operation(number)) for number in numbers]
        loop, done, ended = self._simulation.loop, 0, 0.0
        began = loop.time()

        async def work(operation: Operation) -> None:
            nonlocal done, ended
            for _ in range(operations):
                await asyncio.sleep(self._pause)
                await operation()
                done += not ended
            ended = ended or loop.time()

        pairs = zip(numbers, works, strict=True)
        await asyncio.gather(*(self._as_client(number, work(one)) for number, one in pairs))
        return done * OPERATION_BYTES[self._kind] / MEGABYTE / (ended - began)

    async def _operation(self, number: int) -> Operation:
        """What a client does again and again."""
        client, size = self._client(number), OPERATION_BYTES[self._kind]
        if self._kind == READS:
            files = [await client.open(path) for path in self._paths()]
            return lambda: self._read(files, size)
        if self._kind == WRITES:
            file = await client.open(f"/writes-{self._runs}-{number}", "xb")
            offsets = iter(range(0, self._plan.operations * size + CALIBRATION_OPERATIONS * size, size))
            return lambda: file.pwrite(next(offsets), _DATA[:size])
        return lambda: client.record_append(self._appended(), _DATA[:size])

    async def _read(self, files: Sequence[File], size: int) -> None:
        region = self._random.randrange(len(files) * (FILE_BYTES // size))
        file, place = divmod(region, FILE_BYTES // size)
        found = await files[file].pread(place * size, size)
        assert found == _DATA[:size], "a read gave other bytes than were written"

    async def _make_files(self) -> None:
        for path in self._paths():
            await self._as_client(1, self._client(1).write_file(path, _DATA, replication_goal=1))
        for name in self._cluster.settings.chunkserver_names():
            cache = self._simulation.world(name).simulated_disk.page_cache
            assert cache is not None
            cache.clear()

    def _paths(self) -> list[str]:
        machines = self._plan.machines
        total = machines.page_cache_bytes * machines.chunkservers * CACHED_SHARE
        return [f"/set-{number}" for number in range(-(-total // FILE_BYTES))]

    def _appended(self) -> str:
        return f"/appends-{self._runs}"

    def _client(self, number: int) -> Client:
        return self._cluster.client(number)

    async def _as_client(self, number: int, work: Coroutine[Any, Any, T]) -> T:
        world = self._simulation.world(self._cluster.client_names()[number - 1])
        return await self._simulation.on(world, work)
