"""One run of the matrix: a cluster on the copied disks, one fault, some work, and a look at everything.

    restart       the fault is there before any node starts; what was acknowledged is read
    the others    all nodes serve when the fault strikes

A node that ends by itself, or does not start, is started again every two seconds, as by a supervisor, until it has
failed to start three times in a row: then it is left alone. After the work the cluster is given time to find and mend
what it can; "available" means: within `SETTLED_SECONDS` of virtual time.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

from chunkserver.storage.chunk_files import data_path
from cluster.cords.image import Image, NodeKind, image_of, new_cluster
from cluster.cords.ledger import Ledger
from cluster.cords.observing import Observation, SoundRun, checked_sound, kind_told
from cluster.cords.striking import NO_BLOCK, Strike, strike
from cluster.cords.structures import claimed_by
from cluster.cords.terms import Cell, Fault, Workload
from cluster.cords.work import perform, probe
from cluster.interface import wait_until
from cluster.placement import PlacedChunk, Placement
from cluster.roles import CHUNKSERVER_ROLE, LOCK, MASTER
from runtime.errors import TabletopError, TimedOut
from runtime.events import Record
from runtime.faults.disk import Operation
from runtime.simulated.disk import SimulatedDisk

HEAD_START_SECONDS = 8.0
READY_SECONDS = 25.0
SETTLED_SECONDS = 45.0
_SUPERVISOR_SECONDS = 2.0
_POLL_SECONDS = 0.5
_MOST_STARTS = 3
# The background sync of chunks comes every two seconds here, and so does a round of the scrubber.
_LEAST_SECONDS = {CHUNKSERVER_ROLE: 4.5}
_LEAST_SECONDS_OF_OTHERS = 2.0


def run_cell(kind: NodeKind, cell: Cell) -> Observation:
    """Run one cell, unless it is known already what comes of it."""
    known = sound_run(kind, cell.workload).outcome_unless_met(cell)
    return known if known is not None else _CellRun(kind, cell.workload, cell).run()


@cache
def sound_run(kind: NodeKind, workload: Workload) -> SoundRun:
    """Do the work without a fault. Raises AssertionError if anything is amiss then."""
    run = _CellRun(kind, workload, None)
    return checked_sound(f"{kind.name}, {workload.value}", run.run(), run.operations)


class _CellRun:
    """`cell` of None: without a fault."""

    def __init__(self, kind: NodeKind, workload: Workload, cell: Cell | None) -> None:
        self.operations: list[Operation] = []
        self._kind = kind
        self._workload = workload
        self._cell = cell
        self._image: Image = image_of(kind.deployment)
        self._cluster = new_cluster(kind.deployment)
        self._simulation = self._cluster.simulation
        self._placement = Placement(self._cluster)
        self._ledger = Ledger(self._image)
        self._crashes = 0
        self._given_up: dict[str, None] = {}
        self._problem = ""
        self._strike = Strike(NO_BLOCK, Fault.ZEROS)
        self._struck_at: int | None = None

    def run(self) -> Observation:
        begun = time.process_time()
        with self._simulation as simulation:
            found = simulation.run(self._whole())
        return replace(found, cpu_seconds=time.process_time() - begun)

    async def _whole(self) -> Observation:
        nodes = self._cluster.settings.node_names()
        for node in nodes:
            self._disk(node).load(self._image.disks[node])
        if self._workload is Workload.RESTART:
            self._begin_fault()
        keepers = await self._start(nodes)
        await self._until(self._is_whole, READY_SECONDS)
        if self._workload is not Workload.RESTART:
            self._begin_fault()
        client = self._cluster.client()
        await perform(self._workload, client, self._ledger)
        await asyncio.sleep(_LEAST_SECONDS.get(self._kind.role, _LEAST_SECONDS_OF_OTHERS))
        await self._until(self._is_whole, SETTLED_SECONDS)
        reads, writes = await probe(client, self._ledger)
        if reads:
            await self._ledger.check(client)
        for keeper in keepers:
            keeper.cancel()
        return self._seen(reads, writes)

    async def _start(self, nodes: list[str]) -> list["asyncio.Task[None]"]:
        """Start all nodes; of several masters the one that acted before comes first, so that it acts again."""
        first = [node for node in nodes if node in (LOCK, MASTER)] if self._cluster.settings.masters > 1 else []
        keepers = [self._simulation.loop.create_task(self._keep_running(node)) for node in first]
        if first:
            await self._until(lambda: self._cluster.acting_master() is not None, HEAD_START_SECONDS)
        return keepers + [
            self._simulation.loop.create_task(self._keep_running(node)) for node in nodes if node not in first
        ]

    def _disk(self, node: str) -> SimulatedDisk:
        return self._simulation.world(node).simulated_disk

    def _begin_fault(self) -> None:
        self._struck_at = len(self._simulation.sink.records)
        if self._cell is not None:
            self._strike = strike(self._disk(self._kind.node), self._cell.block, self._cell.fault)
        else:
            self._disk(self._kind.node).on_operation(self._note)

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)

    async def _keep_running(self, node: str) -> None:
        was_up, failed = False, 0
        while failed < _MOST_STARTS:
            if not self._cluster.is_running(node):
                if was_up:
                    self._count_crash(node, "it ended by itself")
                was_up = False
                try:
                    await self._cluster.start_node(node)
                    was_up, failed = True, 0
                except TabletopError as error:
                    failed += 1
                    self._count_crash(node, error.message)
            await asyncio.sleep(_SUPERVISOR_SECONDS)
        self._given_up[node] = None

    def _count_crash(self, node: str, problem: str) -> None:
        if node == self._kind.node and self._struck_at is not None:
            self._crashes += 1
            self._problem = problem

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        async def is_so() -> bool:
            return condition()

        with suppress(TimedOut):
            await wait_until(is_so, what="all is well", timeout_seconds=seconds, poll_seconds=_POLL_SECONDS)

    def _is_whole(self) -> bool:
        """Whether every node serves that still may, and every chunk has its replicas, or nobody is left who could."""
        nodes = [node for node in self._cluster.settings.node_names() if node not in self._given_up]
        if any(self._cluster.server(node) is None for node in nodes):
            return False
        nobody_acts = self._cluster.acting_master() is None and bool(self._given_up)
        return nobody_acts or not self._below_goal()

    def _below_goal(self) -> list[str]:
        if self._cluster.acting_master() is None:
            return ["no master acts"]
        chunks = self._placement.chunks()
        goal = self._cluster.settings.replicas
        if not chunks:
            return ["no chunk is known"]
        return [f"{_name(chunk)} has {len(chunk.believed)} replicas" for chunk in chunks if len(chunk.believed) < goal]

    def _seen(self, reads: bool, writes: bool) -> Observation:
        strike, ledger = self._strike, self._ledger
        for path in self._disk(self._kind.node).paths():
            claimed_by(self._kind.role, path)
        differing = [
            f"{_name(chunk)} on {node}"
            for chunk in self._placement.chunks()
            for node in chunk.believed
            if not ledger.is_kept(chunk.path, chunk.index, self._stored(node, chunk.handle))
        ]
        return Observation(
            changed=strike.changed,
            reads=strike.reads,
            writes=strike.writes,
            read_first=strike.read_first,
            wrong=tuple(ledger.wrong),
            lost=tuple(ledger.lost),
            failed=tuple(ledger.failed),
            unread=tuple(ledger.unread),
            reads_go_on=reads,
            writes_go_on=writes,
            crashes=self._crashes,
            is_up=self._cluster.server(self._kind.node) is not None,
            last_problem=self._problem,
            events=frozenset(self._telling_events()),
            below_goal=tuple(self._below_goal()),
            differing=tuple(differing),
            virtual_seconds=self._simulation.loop.time(),
        )

    def _stored(self, node: str, handle: int) -> bytes:
        disk, path = self._disk(node), data_path(handle)
        return bytes(disk.content(path).cached) if path in disk.paths() else b""

    def _telling_events(self) -> list[str]:
        """What the struck node told since, and what others told about it."""
        node = self._kind.node
        return [
            kind_told(record)
            for record in self._simulation.sink.records[self._struck_at :]
            if record.node == node or node in _named_in(record)
        ]


def _named_in(record: Record) -> list[str]:
    event = record.event
    return [str(getattr(event, name, "")) for name in ("server", "source", "destination", "shadow")]


def _name(chunk: PlacedChunk) -> str:
    return f"{chunk.path}[{chunk.index}]"
