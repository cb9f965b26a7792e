"""Faults on a cluster of real processes: imposed, listed and healed by number.

    kill, stop, empty the disk    the node's process ends, and is started when the last such fault on it is healed
    pause                         SIGSTOP, and SIGCONT when the last pause of it is healed
    damage                        bytes change in a file below the node's folder; there is no end
    links and disks               the nodes carry them out themselves, in a cluster that was started for experiments
                                  (runtime/real/experiments), and end them themselves after their time

The list of those that last lies in the cluster's folder (imposed_file.py), and each node reads it. A fault of a
process that is to last for some seconds is ended by the object that imposed it: nobody else is there to start one.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, get_args

import grpc.aio

from cluster.damage import damage_each, files_of_replica
from cluster.fault_log import note_fault
from cluster.fault_words import listed, sentence_of
from cluster.faultplan import (
    DiskTrouble,
    EmptyDisk,
    Kill,
    LogTrouble,
    NoEnd,
    Pause,
    ReplicaTrouble,
    RottenRecord,
    Stop,
    Target,
    What,
)
from cluster.faults import chunk_of
from cluster.folder import ClusterFolder
from cluster.imposed_file import ImposedFile, ImposedList, LastingFault
from cluster.imposing import no_such_fault, note_healed, note_imposed, require_no_trigger
from cluster.interface import Cluster, Imposed
from cluster.real_rules import SWITCHED, OfLinks
from cluster.real_targets import log_of, resolved
from cluster.telling import tell_all
from runtime.errors import Conflict, IncompatibleFormat, InvalidRequest, Unavailable
from runtime.events import Event
from runtime.faults.disk import SyncError
from runtime.faults.table import CLIENTS
from runtime.real.platter import RealPlatter

DOWN = Kill | Stop | EmptyDisk
"""What ends a process of the real world, and holds it down."""


class FaultyProcesses(Cluster, Protocol):
    """What faults need of a cluster of processes, beside what every cluster has."""

    folder: ClusterFolder

    def is_down(self) -> bool:
        """Whether no process of it lives."""

    def down_message(self) -> str:
        """What to say then."""

    def end_process(self, node: str) -> list[str]:
        """SIGKILL; returns the files that lost what lying syncs had not written. Raises Conflict if it does not run."""

    async def stop_process(self, node: str) -> None:
        """SIGTERM, and SIGKILL if it does not stop in time. Raises Conflict if it does not run."""

    def freeze_process(self, node: str) -> None:
        """SIGSTOP. Raises Conflict if it does not run."""

    def thaw_process(self, node: str) -> None:
        """SIGCONT, if it runs."""

    def plain_channel(self, address: str) -> grpc.aio.Channel:
        """A channel whose unary calls share no stream, so that no imposed fault concerns them."""

    async def start_again(self, node: str) -> None:
        """Start it on its disk, unless it runs; returns when it serves."""


class RealFaults:
    """The faults that were imposed on one cluster of processes."""

    def __init__(self, cluster: FaultyProcesses) -> None:
        self._cluster = cluster
        self._folder = cluster.folder
        self._file = ImposedFile(cluster.folder.path)
        self._timers: dict[int, asyncio.Task[None]] = {}

    async def impose(self, what: What, target: Target, seconds: float | None) -> Imposed:
        """See `Cluster.impose`."""
        require_no_trigger(what, target)
        self._require_real(what)
        nodes = await resolved(target, self._cluster, self._folder)
        if CLIENTS in nodes and not isinstance(what, OfLinks):
            raise InvalidRequest(f"{type(what).__name__} strikes a process of the cluster, and clients are none")
        ends_at = None if seconds is None or isinstance(what, NoEnd) else time.time() + seconds
        fault = LastingFault(Imposed(0, what, target, tuple(nodes), "", ends_at))
        if isinstance(what, SWITCHED):
            fault = self._numbered(await self._switched(fault), lasts=True)
            silent = await self._tell_nodes()
        else:
            fault = self._numbered(
                replace(fault, details=await self._strike(what, nodes)), lasts=not isinstance(what, NoEnd)
            )
            silent = []
        imposed = fault.imposed
        note_imposed(self._note, imposed, seconds)
        if ends_at is not None and seconds is not None and not isinstance(what, SWITCHED):
            work = self._heal_later(imposed.number, seconds)
            self._timers[imposed.number] = asyncio.get_running_loop().create_task(work, name=f"fault {imposed.number}")
        if silent:
            now = f"{imposed.words}; {listed(silent)} did not answer, and will know of it within a second of going on"
            return replace(imposed, words=now)
        return imposed

    def imposed(self) -> list[Imposed]:
        """See `Cluster.imposed`."""
        return [fault.imposed for fault in self._file.read().faults if not _is_over(fault.imposed)]

    async def heal(self, number: int | None) -> list[Imposed]:
        """See `Cluster.heal`."""
        healed = self._forget(lambda fault: number in (None, fault.number))
        if number is not None and not healed:
            raise no_such_fault(number, self.imposed())
        for fault in healed:
            timer = self._timers.pop(fault.number, None)
            if timer is not None and timer is not asyncio.current_task():
                timer.cancel()
        if any(isinstance(fault.what, SWITCHED) for fault in healed):
            await self._tell_nodes()
        for node in dict.fromkeys(name for fault in healed for name in fault.nodes):
            await self._let_go(node, [fault.what for fault in healed if node in fault.nodes])
        return healed

    def forget_node(self, node: str, *, pauses_only: bool = False) -> None:
        """Somebody has started a node by hand, or let it go on: no fault holds it down any more."""

        def change(found: ImposedList) -> ImposedList:
            kept = []
            for fault in found.faults:
                imposed = fault.imposed
                if isinstance(imposed.what, Pause if pauses_only else DOWN | Pause) and node in imposed.nodes:
                    nodes = tuple(name for name in imposed.nodes if name != node)
                    fault = _worded(replace(fault, imposed=replace(imposed, nodes=nodes)))
                kept += [fault] if fault.imposed.nodes else []
            return replace(found, faults=tuple(kept))

        if self._file.path.exists():
            before = self._file.change(change)
            kept = [fault.number for fault in self.imposed()]
            self._note_over([fault.imposed for fault in before.faults if fault.imposed.number not in kept])

    def forget_all(self) -> None:
        """The cluster was stopped: it will start without a fault."""
        try:
            if self._file.path.exists():
                self._forget(lambda _: True)
        except IncompatibleFormat:
            self._file.path.unlink(missing_ok=True)  # Whatever it said, it says no more.

    def is_ended_here(self, fault: Imposed) -> bool:
        """Whether it ends only if this object lives on."""
        return fault.number in self._timers

    async def until_over(self, fault: Imposed) -> None:
        """Return when a fault is over that this object has imposed for some seconds."""
        timer = self._timers.get(fault.number)
        if timer is not None:
            await asyncio.wait([timer])
        elif fault.ends_at is not None:
            await asyncio.sleep(max(0.0, fault.ends_at - time.time()))

    async def close(self) -> None:
        """End no more faults from here."""
        timers = list(self._timers.values())
        self._timers.clear()
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)

    # Striking.

    def _require_real(self, what: What) -> None:
        """Raise InvalidRequest or Conflict for what cannot be done to processes, or not to these."""
        if not isinstance(what, DOWN | Pause | NoEnd | SWITCHED):
            kinds = ", ".join(kind.__name__ for kind in get_args(DOWN | Pause | NoEnd | SWITCHED))
            raise InvalidRequest(f"{type(what).__name__} is a fault of the simulated world; the real one has {kinds}")
        fault = getattr(what, "fault", None)
        if isinstance(fault, SyncError) and fault.loses_pages:
            raise InvalidRequest("pages that a failed sync loses are of the simulated world; use a lying sync")
        if self._cluster.is_down():
            raise Unavailable(self._cluster.down_message(), definite=True)
        if isinstance(what, SWITCHED) and not self._cluster.settings.experiments:
            name = "" if self._cluster.name == "desk" else f" --cluster {self._cluster.name}"
            raise Conflict(
                f"cluster {self._cluster.name!r} was not started for experiments, and its nodes' networks and disks "
                f"cannot be broken: `tabletop down{name}`, then `tabletop up{name} --experiments`"
            )

    async def _switched(self, fault: LastingFault) -> LastingFault:
        """The fault with all that the nodes need to carry it out."""
        what = fault.imposed.what
        other: Target | None = getattr(what, "other", None)
        others = [] if other is None else await resolved(other, self._cluster, self._folder)
        if other is not None and set(others) <= set(fault.imposed.nodes):
            raise InvalidRequest(f"both ends are {listed(others)}; name two that are not the same")
        if isinstance(what, LogTrouble):
            what = ReplicaTrouble(what.fault, *await log_of(self._cluster, what.server))
        if isinstance(what, ReplicaTrouble):
            files = files_of_replica((await chunk_of(self._cluster, what.path, what.chunk)).handle)
            details = f"the replica of chunk {what.chunk} of {what.path} ({files}*)"
            return replace(fault, troubles=(replace(what.fault, path=files),), details=details)
        troubles = (what.fault,) if isinstance(what, DiskTrouble) else ()
        return replace(fault, others=tuple(others), troubles=troubles)

    async def _tell_nodes(self) -> list[str]:
        """Have every node that runs look at the list; returns those that run and do not answer."""
        return await tell_all(self._folder, self._cluster.settings.node_names(), self._cluster.plain_channel)

    async def _strike(self, what: What, nodes: list[str]) -> str:
        """Have a fault strike that is none of the switch; returns details for its sentence."""
        if isinstance(what, NoEnd):
            return await self._damage(what, nodes)
        lost: list[str] = []
        for node in nodes:
            match what:
                case Kill():
                    lost += [f"{path} on {node}" for path in self._cluster.end_process(node)]
                case Stop():
                    await self._cluster.stop_process(node)
                case EmptyDisk():
                    self._cluster.end_process(node)
                    await asyncio.to_thread(self._erase, node)
                case Pause():
                    self._cluster.freeze_process(node)
        return f"; what had not been written of {listed(lost)} is lost" if lost else ""

    def _erase(self, node: str) -> None:
        data = self._folder.node(node).data
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700, exist_ok=True)

    async def _damage(self, what: NoEnd, nodes: list[str]) -> str:
        handle = 0
        if not isinstance(what, RottenRecord):
            handle = (await chunk_of(self._cluster, what.path, what.chunk)).handle
        return damage_each(what, {node: RealPlatter(self._folder.node(node).data) for node in nodes}, handle)

    # Ending.

    async def _heal_later(self, number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.heal(number)

    async def _let_go(self, node: str, ended: list[What]) -> None:
        """Faults of a node have ended: start it, or let it go on, unless another fault holds it down."""
        lasting = [fault.what for fault in self.imposed() if node in fault.nodes]
        if any(isinstance(what, DOWN) for what in ended) and not any(isinstance(what, DOWN) for what in lasting):
            await self._cluster.start_again(node)
        elif any(isinstance(what, Pause) for what in ended) and not any(isinstance(what, Pause) for what in lasting):
            self._cluster.thaw_process(node)

    # The list.

    def _numbered(self, fault: LastingFault, *, lasts: bool) -> LastingFault:
        """The fault with its number and its words, and in the list if it lasts."""
        found: list[LastingFault] = []

        def change(before: ImposedList) -> ImposedList:
            found[:] = [_worded(replace(fault, imposed=replace(fault.imposed, number=before.count + 1)))]
            kept = (one for one in before.faults if not _is_over(one.imposed))
            return ImposedList(before.count + 1, (*kept, *(found if lasts else ())))

        self._file.change(change)
        return found[0]

    def _forget(self, wanted: Callable[[Imposed], bool]) -> list[Imposed]:
        """Take faults off the list; returns those that were not over."""

        def change(found: ImposedList) -> ImposedList:
            return replace(found, faults=tuple(fault for fault in found.faults if not wanted(fault.imposed)))

        found = [fault.imposed for fault in self._file.change(change).faults]
        gone = [fault for fault in found if wanted(fault) and not _is_over(fault)]
        self._note_over(gone)
        return gone

    def _note(self, event: Event) -> None:
        note_fault(self._folder.path, event)

    def _note_over(self, faults: list[Imposed]) -> None:
        for fault in faults:
            note_healed(self._note, fault)


def _is_over(fault: Imposed) -> bool:
    """Whether the nodes have ended it by themselves. What holds a process down is ended by a process alone."""
    return fault.ends_at is not None and fault.ends_at <= time.time() and isinstance(fault.what, SWITCHED)


def _worded(fault: LastingFault) -> LastingFault:
    imposed = fault.imposed
    words = sentence_of(imposed.what, list(imposed.nodes), list(fault.others), fault.details)
    return replace(fault, imposed=replace(imposed, words=words))
