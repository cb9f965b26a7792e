"""Applies a plan of faults to the nodes of a simulation, and ends them.

Everything that a fault does at its beginning happens in the same instant as what set it off: a hook that sees the third
reply has killed its sender before that reply leaves. Only a stop in good order takes its time. Each fault ends by
itself after its time, and `heal_all` ends what is left and returns when every server serves again.

Faults overlap, and none ends another: those of disks, links and clocks are counted by the simulation (undo.py), and
those that end nodes where they strike (striking.py). A server that ended by itself is started by `heal_all`, or, with
`revive_seconds`, also before, as a supervisor would.

`forbid` may say of a fault and its nodes why it must not strike now ("" lets it): a judge that sees all disks does so
for damage that would destroy a last good copy. `placement` is what was seen of the cluster's files before.

What happened is recorded in the simulation's records, as events of the node "faults".
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar

from cluster.fault_log import FAULTS
from cluster.fault_targets import Trigger
from cluster.faultplan import (
    At,
    Damage,
    Fault,
    MessageDelayed,
    MessageDoubled,
    MessageLost,
    OfTrigger,
    OnDisk,
    OnMessage,
    OperationFails,
)
from cluster.faulty import FaultyNodes
from cluster.interface import NodeState
from cluster.placement import Placement
from cluster.simulated import SimulatedCluster
from cluster.striking import Striker
from runtime.errors import DiskFailure, TabletopError
from runtime.events import Event, EventLog
from runtime.faults.disk import Operation
from runtime.faults.undo import Undo, all_of
from runtime.simulated.messages import DROP, Delay, Double, Message, Verdict

HEAL_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class FaultBegan(Event):
    """A fault of a plan began. `number` is its place in the plan."""

    sentence: ClassVar[str] = "fault {number} begins: {what} at {nodes} ({why})"
    number: int
    what: str
    nodes: str
    why: str


@dataclass(frozen=True, slots=True)
class FaultEnded(Event):
    """A fault of a plan is over."""

    sentence: ClassVar[str] = "fault {number} ends: {what} at {nodes}"
    number: int
    what: str
    nodes: str


@dataclass(frozen=True, slots=True)
class FaultSkipped(Event):
    """A fault of a plan found nothing to strike, or was forbidden."""

    sentence: ClassVar[str] = "fault {number} does not strike: {reason}"
    number: int
    reason: str


@dataclass(slots=True)
class _Running:
    """A fault of the plan, from its arming to its end."""

    number: int
    fault: Fault
    disarm: Undo | None = None
    undo: Undo | None = None
    nodes: list[str] = field(default_factory=list)
    matches: int = 0
    has_begun: bool = False


class FaultRunner:
    """One plan on one cluster."""

    def __init__(
        self,
        cluster: FaultyNodes,
        plan: list[Fault] | tuple[Fault, ...],
        *,
        revive_seconds: float | None = None,
        forbid: Callable[[Fault, list[str]], str] | None = None,
        placement: Placement | None = None,
    ) -> None:
        self.cluster = cluster
        self.simulation = cluster.simulation
        if placement is None and isinstance(cluster, SimulatedCluster):
            placement = Placement(cluster)
        self.placement = placement
        self._running = [_Running(number, fault) for number, fault in enumerate(plan)]
        self._revive_seconds = revive_seconds
        self._forbid = forbid
        choices = self.simulation.tape.stream("fault targets")
        true_time = self.simulation.true_microseconds
        self._events = EventLog(FAULTS, self.simulation.sink, true_time, true_time)
        self._striker = Striker(cluster, self.placement, choices, self._events)

    def begin(self) -> None:
        """Arm every fault: their times count from now."""
        for running in self._running:
            self._arm(running)
        if self._revive_seconds is not None:
            self._striker.spawn(self._revive(self._revive_seconds))

    def began(self) -> list[Fault]:
        """The faults that have struck so far: a plan whose faults never begin tests nothing."""
        return [running.fault for running in self._running if running.has_begun]

    async def heal_all(self) -> None:
        """End every fault, disarm those that have not begun, start every server that does not run. Raises what a
        server raises that does not start although nothing is wrong any more."""
        self._striker.is_healing = True
        for running in self._running:
            self._disarm(running)
            self._end(running)
        await self._striker.settled()
        nodes = [*self.cluster.settings.node_names(), *self.cluster.client_names()]
        await asyncio.gather(*(self._striker.start(node, HEAL_ATTEMPTS) for node in nodes))

    # Arming.

    def _arm(self, running: _Running) -> None:
        when, what = running.fault.when, running.fault.what
        of_messages = (MessageLost, MessageDelayed, MessageDoubled)
        fits = {OperationFails: OnDisk} | dict.fromkeys(of_messages, OnMessage)
        assert isinstance(when, fits.get(type(what), object)), f"{what} {when} would never do anything"
        if isinstance(when, At):
            timer = self.simulation.loop.call_later(when.seconds, self._strike, running, None, context=Context())
            running.disarm = timer.cancel
        elif isinstance(when, OnMessage):
            running.disarm = self.simulation.on_message(lambda message: self._on_message(running, when, message))
        else:
            nodes = [node for node in self.simulation.nodes() if fnmatchcase(node, when.node)]
            running.disarm = all_of([self._listen(running, when, node) for node in nodes])

    def _listen(self, running: _Running, when: OnDisk, node: str) -> Undo:
        disk = self.simulation.world(node).simulated_disk
        return disk.on_operation(lambda operation: self._on_operation(running, when, node, operation))

    def _on_message(self, running: _Running, when: OnMessage, message: Message) -> Verdict | None:
        if not (
            (when.kind is None or message.kind is when.kind)
            and fnmatchcase(message.method, when.method)
            and fnmatchcase(message.source, when.source)
            and fnmatchcase(message.target, when.target)
        ):
            return None
        if not self._counts(running, when.nth, Trigger(message.source, message.target)):
            return None
        what = running.fault.what
        if isinstance(what, MessageLost):
            return DROP
        if isinstance(what, MessageDoubled):
            return Double(what.seconds)
        return Delay(what.seconds) if isinstance(what, MessageDelayed) else None

    def _on_operation(self, running: _Running, when: OnDisk, node: str, operation: Operation) -> TabletopError | None:
        if not (fnmatchcase(operation.verb, when.verb) and fnmatchcase(operation.path, when.path)):
            return None
        if not self._counts(running, when.nth, Trigger(node, node)) or not isinstance(
            running.fault.what, OperationFails
        ):
            return None
        return DiskFailure(
            f"cannot {operation.verb} {node}:/{operation.path}: Input/output error; look at the system's log, "
            "the disk may be failing"
        )

    def _counts(self, running: _Running, nth: int, trigger: Trigger) -> bool:
        """Count one that fits; whether the fault strikes it. The first that it strikes sets the fault off."""
        running.matches += 1
        if running.matches < nth:
            return False
        if running.matches == nth:
            self._strike(running, trigger)
            if running.undo is None or not isinstance(running.fault.what, OfTrigger):
                self._disarm(running)
        return running.has_begun

    # Striking.

    def _strike(self, running: _Running, trigger: Trigger | None) -> None:
        fault = running.fault
        nodes = self._striker.resolved(fault.target, trigger)
        if not nodes:
            self._events.emit(FaultSkipped(number=running.number, reason=f"no {fault.target} {fault.when}"))
            return
        running.nodes = nodes
        what = fault.what
        forbidden = "" if self._forbid is None else self._forbid(fault, nodes)
        if forbidden:
            self._events.emit(FaultSkipped(number=running.number, reason=forbidden))
            return
        if isinstance(what, Damage):
            try:
                self._striker.strike(what, nodes)
            except TabletopError as error:
                self._events.emit(FaultSkipped(number=running.number, reason=error.message))
                return
        running.has_begun = True
        self._events.emit(
            FaultBegan(
                number=running.number, what=repr(what), nodes=", ".join(nodes), why=f"{fault.target} {fault.when}"
            )
        )
        if isinstance(what, Damage):
            return
        running.undo, _ = self._striker.strike(what, nodes, trigger)
        if isinstance(what, OfTrigger) and fault.seconds is None:
            running.undo = None  # Once.
        if fault.seconds is not None:
            self.simulation.loop.call_later(fault.seconds, self._end, running, context=Context())

    def _end(self, running: _Running) -> None:
        undo, running.undo = running.undo, None
        if undo is not None:
            self._disarm(running)
            undo()
            self._events.emit(
                FaultEnded(number=running.number, what=repr(running.fault.what), nodes=", ".join(running.nodes))
            )

    def _disarm(self, running: _Running) -> None:
        disarm, running.disarm = running.disarm, None
        if disarm is not None:
            disarm()

    async def _revive(self, seconds: float) -> None:
        while not self._striker.is_healing:
            await asyncio.sleep(seconds)
            for report in await self.cluster.nodes() if not self._striker.is_healing else []:
                if report.state in (NodeState.FAILED, NodeState.DEAD):
                    self._striker.spawn(self._striker.start(report.node))
