"""Faults that are asked for on the spot, in a simulation: imposed, listed and healed by number.

In the real world the same is done by `cluster/real_faults.py`.
"""

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from cluster.fault_log import FAULTS, FaultHealed, FaultImposed, FaultStruck
from cluster.faultplan import Ending, Node, NoEnd, OfTrigger, Target, TheReceiver, TheSender, What, WrongFolder
from cluster.faulty import FaultyNodes
from cluster.interface import Imposed
from cluster.placement import Placement
from cluster.striking import Striker
from runtime.errors import InvalidRequest, NotFound
from runtime.events import EventLog
from runtime.faults.undo import Undo

START_ATTEMPTS = 20


@dataclass(slots=True)
class _Lasting:
    imposed: Imposed
    undo: Undo


class SimulatedFaults:
    """The faults that were imposed on one simulated cluster."""

    def __init__(self, cluster: FaultyNodes, placement: Placement) -> None:
        self._simulation = cluster.simulation
        time = cluster.simulation.true_microseconds
        self._events = EventLog(FAULTS, cluster.simulation.sink, time, time)
        choices = cluster.simulation.tape.stream("targets of imposed faults")
        self._striker = Striker(cluster, placement, choices, self._events)
        self._lasting: dict[int, _Lasting] = {}
        self._numbers = 0

    async def impose(self, what: What, target: Target, seconds: float | None) -> Imposed:
        """See `Cluster.impose`. A fault that stops a node returns when it has stopped."""
        require_no_trigger(what, target)
        nodes = self._striker.resolved(target)
        if not nodes:
            missing = f"there is no {target}" if isinstance(target, Node) else f"no node is {target}"
            raise NotFound(f"{missing} now, so nothing was struck")
        undo, words = self._striker.strike(what, nodes)
        self._numbers += 1
        lasts = undo is not None
        ends_at = self._simulation.true_microseconds() / 1e6 + seconds if seconds is not None and lasts else None
        imposed = Imposed(self._numbers, what, target, tuple(nodes), words, ends_at)
        note_imposed(self._events.emit, imposed, seconds)
        if undo is not None:
            self._lasting[imposed.number] = _Lasting(imposed, undo)
            if seconds is not None:
                self._simulation.loop.call_later(seconds, self._end, imposed.number, context=Context())
        if isinstance(what, Ending) and not isinstance(what, WrongFolder):
            await self._striker.settled()
        return imposed

    def imposed(self) -> list[Imposed]:
        """See `Cluster.imposed`."""
        return [lasting.imposed for lasting in self._lasting.values()]

    async def heal(self, number: int | None) -> list[Imposed]:
        """See `Cluster.heal`."""
        if number is not None and number not in self._lasting:
            raise no_such_fault(number, self.imposed())
        healed = [self._lasting[one].imposed for one in ([number] if number is not None else list(self._lasting))]
        for one in healed:
            self._end(one.number)
        await self._striker.settled()
        return healed

    def _end(self, number: int) -> None:
        lasting = self._lasting.pop(number, None)
        if lasting is not None:
            lasting.undo()
            note_healed(self._events.emit, lasting.imposed)


def require_no_trigger(what: What, target: Target) -> None:
    """Raise InvalidRequest for what makes sense only in a plan: there is no message that set this fault off."""
    if isinstance(what, OfTrigger) or isinstance(target, TheSender | TheReceiver):
        raise InvalidRequest(
            f"{what!r} at {target} is about the message or disk operation that sets a fault off, and a fault that is "
            "imposed strikes at once; put it into a plan (cluster/faultplan.py)"
        )


def no_such_fault(number: int, lasting: list[Imposed]) -> NotFound:
    """The error for a number that no fault has."""
    known = ", ".join(str(one.number) for one in lasting)
    return NotFound(f"no fault {number} lasts; {f'there are: {known}' if known else 'none does'}")


def note_imposed(emit: Callable[[FaultImposed | FaultStruck], object], fault: Imposed, seconds: float | None) -> None:
    """Record that a fault was imposed."""
    what, nodes = repr(fault.what), ", ".join(fault.nodes)
    if isinstance(fault.what, NoEnd):
        emit(FaultStruck(fault.number, what, nodes, fault.words))
    else:
        emit(FaultImposed(fault.number, what, nodes, fault.words, seconds or 0.0))


def note_healed(emit: Callable[[FaultHealed], object], fault: Imposed) -> None:
    """Record that a fault is over."""
    emit(FaultHealed(fault.number, repr(fault.what), ", ".join(fault.nodes), fault.words))
