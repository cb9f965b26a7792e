"""The recoveries of the GFS paper: one chunkserver of cluster B killed, then two at once (GFS 6.2.5).

    one     15,000 chunks, 600 GB: all had their three replicas again in 23.2 minutes, at 440 MB/s
    two     16,000 chunks, 660 GB on each; 266 chunks were left with a single replica, and had two within 2 minutes

Limits of the paper: 91 clones at a time, which are 40 % of the servers, and 6.25 MB/s for each. So nothing can be
quicker than 18.0 minutes; what our master and servers add to it is measured: how soon a death is noticed, how quickly a
place that has become free is used again, what a clone needs beside its bytes.

A chunk of cluster B had 41 MB on the average. Here 64 KiB stand for it, and the throttle is lowered by the same factor:
so a clone takes as long as the paper's, and 45,000 replicas fit into memory. Messages are not scaled.

What we simplify. Only the chunks of the victims exist; the paper's other servers had as many of their own, which take
no part. Where a chunk's other replicas lie is drawn, each pair of servers as likely as another; the paper's two victims
had more in common than that gives, so as many chunks as the paper counted are put on both. How long the paper's master
waited before it called a server dead, and how often its servers sent heartbeats, it does not say: ours send one every
three seconds, and are dead when five did not come.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chunkserver.storage.blocks import BLOCK_BYTES
from cluster.paper.machines import Machines
from cluster.paper.printed import (
    CLONE_BYTES_PER_SECOND,
    RECOVERIES,
    RECOVERY_CLONES,
    RECOVERY_SERVERS,
    Recovery,
    floor_seconds,
)
from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from gfs.client import Client
from master.balance.placement import ByUse, Candidate, Move, Stored
from master.balance.racks import Topology
from master.server import MasterServer
from runtime.errors import InvalidRequest
from runtime.simulated.world import Simulation

STAND_IN_BYTES = BLOCK_BYTES
HEARTBEAT_SECONDS = 3.0
_GOAL = 3
_CLIENTS = 8
_CHUNKS_A_FILE = 50
_QUIET_SECONDS = 90.0  # Leases run out, and servers report what they have.
_LONGEST_SECONDS = 4 * 3600.0

Progress = Callable[[str, float, int], None]
"""Told now and then: what is done, the seconds since the kill, and how many chunks are below their goal."""


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What is measured.

    `share`: of the paper's cluster, that is of its servers, its clones at a time, and the chunks on a victim; the
    recovery takes as long. `part`: of the victims' chunks, so that the recovery is as much shorter.
    """

    victims: int = 1
    share: float = 1.0
    part: float = 1.0
    seed: int = 1

    def check(self) -> None:
        """Raise InvalidRequest for what cannot be measured."""
        if self.victims not in RECOVERIES:
            raise InvalidRequest(f"{self.victims} victims: the paper has killed one, and two at once")
        if not 0.05 <= self.share <= 1:
            raise InvalidRequest(f"a share of {self.share:g}: expected between 0.05 and 1")
        if not 0 < self.part <= 1 or self.chunks < 1:
            raise InvalidRequest(f"a part of {self.part:g}: expected more than 0 and at most 1, and a chunk at least")

    @property
    def papers(self) -> Recovery:
        """What the paper has measured."""
        return RECOVERIES[self.victims]

    @property
    def servers(self) -> int:
        """How many chunkservers there are."""
        return max(12, round(RECOVERY_SERVERS * self.share))

    @property
    def clones(self) -> int:
        """How many clones run at once at most."""
        return max(4, round(RECOVERY_CLONES * self.share))

    @property
    def chunks(self) -> int:
        """How many lie on each victim."""
        return round(self.papers.chunks * self.share * self.part)

    @property
    def common(self) -> int:
        """How many lie on both victims."""
        return round(self.papers.single * self.share * self.part)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was measured: seconds since the kill."""

    chunks: int  # that lost a replica
    bytes: float  # the paper's bytes that were copied
    noticed: float  # when the master called the last victim dead
    two_each: float  # when no chunk was down to a single replica any more
    whole: float  # when all had their goal
    single: int  # chunks that were down to a single replica
    course: tuple[tuple[float, int], ...]  # seconds, and how many chunks were below their goal

    @property
    def bytes_per_second(self) -> float:
        """The effective rate, from the kill on."""
        return self.bytes / self.whole

    def floor(self, plan: RecoveryPlan) -> float:
        """How long the copies take at the limit, if nothing is lost between them; seconds."""
        return floor_seconds(self.bytes, plan.clones)


def measure_recovery(plan: RecoveryPlan, progress: Progress = lambda what, seconds, chunks: None) -> Recovered:
    """Kill, and wait until every chunk has its goal again. Raises InvalidRequest."""
    plan.check()
    machines = Machines(chunkservers=plan.servers, link_bytes_per_second=0.0)
    per_chunk = plan.papers.bytes / plan.papers.chunks
    rate = CLONE_BYTES_PER_SECOND * STAND_IN_BYTES / per_chunk
    with machines.simulation(plan.seed) as simulation:
        cluster = machines.cluster(
            simulation,
            ClusterSettings(
                chunkservers=plan.servers,
                chunk_bytes=STAND_IN_BYTES,
                heartbeat_seconds=HEARTBEAT_SECONDS,
                clone_bytes_per_second=round(rate),
            ),
            clients=_CLIENTS,
            # Nothing is verified or moved that has nothing to do with the deaths.
            overrides={
                "chunkserver": {"scrub_bytes_per_second": 0},
                "master": {"clones_at_once": plan.clones, "moves_at_once": 0, "hot_bytes_per_second": 0},
            },
        )
        return simulation.run(_Measurement(plan, simulation, cluster).run(progress, per_chunk))


class _Measurement:
    """One run."""

    def __init__(self, plan: RecoveryPlan, simulation: Simulation, cluster: SimulatedCluster) -> None:
        self._plan = plan
        self._simulation = simulation
        self._cluster = cluster
        self._random = random.Random(plan.seed)

    async def run(self, progress: Progress, per_chunk: float) -> Recovered:
        """Fill the victims, kill them, and watch."""
        await self._cluster.start()
        master = self._cluster.server("master")
        assert isinstance(master, MasterServer)
        names = self._cluster.settings.chunkserver_names()
        victims, others = names[: self._plan.victims], names[self._plan.victims :]
        groups = self._groups(victims, others)
        usual, master.moving.policy = master.moving.policy, Drawn(groups)
        await self._fill(len(groups), progress)
        master.moving.policy = usual
        await asyncio.sleep(_QUIET_SECONDS)
        assert not master.core.state.chunks.needing_attention(), "every chunk has its goal before anybody dies"
        return await self._watch(master, victims, progress, per_chunk)

    def _groups(self, victims: Sequence[str], others: Sequence[str]) -> list[tuple[str, ...]]:
        """The servers of each chunk."""
        common = self._plan.common if len(victims) > 1 else 0
        groups = [(*victims, *self._random.sample(others, _GOAL - len(victims))) for _ in range(common)]
        for victim in victims:
            alone = self._plan.chunks - common
            groups += [(victim, *self._random.sample(others, _GOAL - 1)) for _ in range(alone)]
        self._random.shuffle(groups)
        return groups

    async def _fill(self, chunks: int, progress: Progress) -> None:
        """Write so many full chunks, in files of some dozens."""
        counts = [min(_CHUNKS_A_FILE, chunks - first) for first in range(0, chunks, _CHUNKS_A_FILE)]
        numbers = iter(enumerate(counts))
        written = 0

        async def write(client: Client) -> None:
            nonlocal written
            for number, count in numbers:
                await client.write_file(f"/file-{number:05}", bytes(count * STAND_IN_BYTES))
                written += count
                progress("written", 0.0, written)

        writers = []
        for number, name in enumerate(self._cluster.client_names(), start=1):
            work = write(self._cluster.client(number))
            writers.append(self._simulation.on(self._simulation.world(name), work))
        await asyncio.gather(*writers)

    async def _watch(
        self, master: MasterServer, victims: Sequence[str], progress: Progress, per_chunk: float
    ) -> Recovered:
        loop = self._simulation.loop
        chunks, servers = master.core.state.chunks, master.core.servers
        began = loop.time()
        for victim in victims:
            await self._cluster.kill(victim)
        noticed = two_each = 0.0
        lost = single = 0
        course: list[tuple[float, int]] = []
        while (seconds := loop.time() - began) < _LONGEST_SECONDS:
            await asyncio.sleep(0.5)
            lacking = chunks.needing_attention()
            seconds = loop.time() - began
            if not noticed:
                if any(server.name in victims for server in servers.alive()):
                    continue
                noticed, lost = seconds, len(lacking)
                single = sum(len(chunks.chunk(handle).replicas) < 2 for handle in lacking)
            if not two_each and not any(len(chunks.chunk(handle).replicas) < 2 for handle in lacking):
                two_each = seconds
            if not course or seconds - course[-1][0] >= 10.0 or not lacking:
                course.append((seconds, len(lacking)))
                progress("below their goal", seconds, len(lacking))
            if not lacking:
                # A chunk that both victims had is copied twice.
                copied = (lost + single) * per_chunk
                return Recovered(lost, copied, noticed, two_each, seconds, single, tuple(course))
        raise AssertionError(f"after {_LONGEST_SECONDS / 3600:g} hours {len(lacking)} chunks are below their goal")


class Drawn:
    """A policy that places each new chunk as it was drawn, and else does as the paper's does."""

    def __init__(self, groups: Sequence[tuple[str, ...]]) -> None:
        self._groups = iter(groups)
        self._usual = ByUse()

    def choose(
        self,
        candidates: Sequence[Candidate],
        *,
        handle: int,
        count: int,
        needed_bytes: int,
        present: Sequence[Candidate] = (),
    ) -> tuple[str, ...]:
        """The next group."""
        return next(self._groups)

    def remove(self, holders: Sequence[Candidate], *, handle: int, count: int, topology: Topology) -> tuple[str, ...]:
        """As usual."""
        return self._usual.remove(holders, handle=handle, count=count, topology=topology)

    def moves(
        self, servers: Sequence[Candidate], chunks: Sequence[Stored], *, loads: Mapping[str, int], most: int
    ) -> list[Move]:
        """As usual."""
        return self._usual.moves(servers, chunks, loads=loads, most=most)
