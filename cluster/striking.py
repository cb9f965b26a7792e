"""What strikes: carries out faults on the nodes of a simulation, and ends them.

A plan of faults (`FaultRunner`) and a fault that is asked for on the spot (`SimulatedCluster.impose`) do the same once
they strike. A node that several faults hold down is started when the last of them has ended, whoever imposed them;
a start that fails, because of another fault perhaps, is tried again.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.fault_targets import Trigger, resolved
from cluster.fault_words import sentence_of
from cluster.faultplan import Damage, Ending, Kill, OfTrigger, PowerCut, Stop, Target, What, WrongFolder
from cluster.faults_applied import damage, impose
from cluster.faulty import FaultyNodes
from cluster.placement import Placement
from runtime.errors import TabletopError
from runtime.events import Event, EventLog
from runtime.faults.undo import Undo, all_of
from runtime.simulated.tape import Stream

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NodeStartFailed(Event):
    """A node that a fault had ended could not be started again yet."""

    sentence: ClassVar[str] = "{node} does not start: {problem}"
    node: str
    problem: str


class Striker:
    """Faults on one set of nodes. `is_healing`: nodes whose faults end are not started from here any more."""

    def __init__(self, cluster: FaultyNodes, placement: Placement | None, choices: Stream, events: EventLog) -> None:
        self.is_healing = False
        self._cluster = cluster
        self._simulation = cluster.simulation
        self._placement = placement
        self._choices = choices
        self._events = events
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._tasks_made = 0

    def resolved(self, target: Target, trigger: Trigger | None = None) -> list[str]:
        """The nodes that a target means now; empty if there is none."""
        return resolved(target, self._cluster, self._placement, self._choices, trigger)

    def strike(self, what: What, nodes: list[str], trigger: Trigger | None = None) -> tuple[Undo | None, str]:
        """Have a fault begin. Returns what ends it, None for damage, which has no end; and a sentence that says what
        was done. Raises NotFound, and what a disk raises, for damage that found nothing to damage."""
        others: list[str] = []
        details, undo = "", None
        if isinstance(what, Damage):
            details = damage(what, self._cluster, self._placement, nodes)
        elif isinstance(what, Ending):
            undo = self._take_down(what, nodes)
        elif isinstance(what, OfTrigger):
            undo = _nothing
        else:
            target = getattr(what, "other", None)
            others = [] if target is None else self.resolved(target, trigger)
            undo, details = impose(what, self._cluster, self._placement, nodes, others)
        return undo, sentence_of(what, nodes, others, details)

    async def settled(self) -> None:
        """Return when no node is being stopped or started from here."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def start(self, node: str, attempts: int | None = None) -> None:
        """Start a node unless it runs or is held down; try again when that fails, in the end for good."""
        pause, tried = FIRST_RETRY_SECONDS, 0
        while not self._cluster.held_down.get(node) and not self._cluster.is_running(node):
            tried += 1
            try:
                await self._cluster.start_node(node)
            except TabletopError as error:
                if tried == attempts:
                    raise
                self._events.emit(NodeStartFailed(node=node, problem=error.message))
                if self.is_healing and attempts is None:
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in nobody's life."""
        self._tasks_made += 1
        number = self._tasks_made
        task = self._simulation.loop.create_task(work, name=f"faults {number}", context=Context())
        self._tasks[number] = task

        def forget(_: object) -> None:
            self._tasks.pop(number, None)

        task.add_done_callback(forget, context=Context())

    # Ending and starting nodes.

    def _take_down(self, what: Ending, nodes: list[str]) -> Undo:
        if isinstance(what, WrongFolder):
            return all_of([self._mislead(node) for node in nodes])
        held = self._cluster.held_down
        for node in nodes:
            held[node] = held.get(node, 0) + 1
            if isinstance(what, PowerCut):
                self._simulation.power_cut(node, loses_all=what.loses_all)
            elif isinstance(what, Stop):
                self.spawn(self._stop(node))
            else:
                self._simulation.kill(node)
                if not isinstance(what, Kill):
                    self._simulation.world(node).simulated_disk.erase()

        def undo() -> None:
            for node in nodes:
                held[node] -= 1
                if not held[node] and not self.is_healing:
                    self.spawn(self.start(node))

        return undo

    def _mislead(self, node: str) -> Undo:
        clients = self._cluster.client_names()
        self._simulation.kill(node)
        give_back = self._simulation.world(node).simulated_disk.exchange()
        join = self._simulation.partition([node], clients)
        self.spawn(self.start(node))

        def undo() -> None:
            self._simulation.kill(node)
            give_back()
            join()
            if not self.is_healing:
                self.spawn(self.start(node))

        return undo

    async def _stop(self, node: str) -> None:
        with contextlib.suppress(TabletopError):  # It does not run, or was killed while it stopped.
            await self._cluster.stop_node(node)
        if not self.is_healing:  # The fault may have ended before the stop did, and have found the node running.
            await self.start(node)


def _nothing() -> None:
    """A fault that ends by being asked no more."""
