"""Faults on a cluster of real processes: imposed, listed and healed by number.

    kill, stop, empty the disk    the node's process ends, and is started when the last such fault on it is healed
    pause                         SIGSTOP, and SIGCONT when the last pause of it is healed
    damage                        bytes change in a file below the node's folder; there is no end

The list of those that last lies in the cluster's folder (imposed_file.py). A fault of a process that is to last for
some seconds is ended by the object that imposed it: nobody else is there that could start a process.
"""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from cluster.damage import damage_replica
from cluster.fault_log import note_fault
from cluster.fault_words import listed, sentence_of
from cluster.faultplan import Damage, EmptyDisk, Kill, Pause, Stop, Target, What
from cluster.faults import chunk_of
from cluster.folder import ClusterFolder
from cluster.imposed_file import ImposedFile, ImposedList
from cluster.imposing import no_such_fault, note_healed, note_imposed, require_no_trigger
from cluster.interface import Cluster, Imposed
from cluster.real_targets import CLIENTS, resolved
from runtime.errors import InvalidRequest, TabletopError
from runtime.real.platter import RealPlatter

DOWN = Kill | Stop | EmptyDisk
"""What ends a process of the real world, and holds it down."""


class FaultyProcesses(Cluster, Protocol):
    """What faults need of a cluster of processes, beside what every cluster has."""

    folder: ClusterFolder

    def end_process(self, node: str) -> None:
        """SIGKILL. Raises Conflict if it does not run."""

    async def stop_process(self, node: str) -> None:
        """SIGTERM, and SIGKILL if it does not stop in time. Raises Conflict if it does not run."""

    def freeze_process(self, node: str) -> None:
        """SIGSTOP. Raises Conflict if it does not run."""

    def thaw_process(self, node: str) -> None:
        """SIGCONT, if it runs."""

    async def start_again(self, node: str) -> None:
        """Start it on its disk, unless it runs; returns when it serves."""


class RealFaults:
    """The faults that were imposed on one cluster of processes."""

    def __init__(self, cluster: FaultyProcesses) -> None:
        self._cluster = cluster
        self._file = ImposedFile(cluster.folder.path)
        self._timers: dict[int, asyncio.Task[None]] = {}

    async def impose(self, what: What, target: Target, seconds: float | None) -> Imposed:
        """See `Cluster.impose`."""
        require_no_trigger(what, target)
        if not isinstance(what, DOWN | Pause | Damage):
            raise InvalidRequest(f"{type(what).__name__} is a fault of the simulated world; {_REAL}")
        nodes = await resolved(target, self._cluster, self._cluster.folder)
        if CLIENTS in nodes:
            raise InvalidRequest(f"{target}: clients are no processes of the cluster, and {what!r} needs one")
        details = await self._strike(what, nodes)
        words = sentence_of(what, nodes, [], details)
        if isinstance(what, Damage):
            fault = self._numbered(Imposed(0, what, target, tuple(nodes), words), lasts=False)
        else:
            ends_at = None if seconds is None else time.time() + seconds
            fault = self._numbered(Imposed(0, what, target, tuple(nodes), words, ends_at), lasts=True)
        note_imposed(lambda event: note_fault(self._cluster.folder.path, event), fault, seconds)
        if fault.ends_at is not None and seconds is not None:
            work = self._heal_later(fault.number, seconds)
            self._timers[fault.number] = asyncio.get_running_loop().create_task(work, name=f"fault {fault.number}")
        return fault

    def imposed(self) -> list[Imposed]:
        """See `Cluster.imposed`."""
        return list(self._file.read().faults)

    async def heal(self, number: int | None) -> list[Imposed]:
        """See `Cluster.heal`."""
        healed = self._forget(lambda fault: number in (None, fault.number))
        if number is not None and not healed:
            raise no_such_fault(number, self.imposed())
        for fault in healed:
            timer = self._timers.pop(fault.number, None)
            if timer is not None and timer is not asyncio.current_task():
                timer.cancel()
        for node in dict.fromkeys(name for fault in healed for name in fault.nodes):
            await self._let_go(node, [fault.what for fault in healed if node in fault.nodes])
        return healed

    def forget_node(self, node: str, *, pauses_only: bool = False) -> None:
        """Somebody has started a node by hand, or let it go on: no fault holds it down any more."""

        def change(found: ImposedList) -> ImposedList:
            kept = []
            for fault in found.faults:
                if isinstance(fault.what, Pause if pauses_only else DOWN | Pause) and node in fault.nodes:
                    nodes = tuple(name for name in fault.nodes if name != node)
                    kept += (
                        [replace(fault, nodes=nodes, words=sentence_of(fault.what, list(nodes), []))] if nodes else []
                    )
                else:
                    kept.append(fault)
            return replace(found, faults=tuple(kept))

        if self._file.path.exists():
            before = self._file.change(change)
            kept = {fault.number for fault in self.imposed()}
            self._note_over([fault for fault in before.faults if fault.number not in kept])

    def forget_all(self) -> None:
        """The cluster was stopped: it will start without a fault."""
        if self._file.path.exists():
            self._forget(lambda _: True)

    async def until_over(self, fault: Imposed) -> None:
        """Return when a fault has ended that this object has imposed for some seconds."""
        timer = self._timers.get(fault.number)
        if timer is not None:
            await asyncio.wait([timer])

    async def close(self) -> None:
        """End no more faults from here."""
        timers = list(self._timers.values())
        self._timers.clear()
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)

    # Striking.

    async def _strike(self, what: DOWN | Pause | Damage, nodes: list[str]) -> str:
        """Have a fault strike; returns details for its sentence."""
        if isinstance(what, Damage):
            return await self._damage(what, nodes)
        for node in nodes:
            match what:
                case Kill():
                    self._cluster.end_process(node)
                case Stop():
                    await self._cluster.stop_process(node)
                case EmptyDisk():
                    self._cluster.end_process(node)
                    await asyncio.to_thread(self._erase, node)
                case Pause():
                    self._cluster.freeze_process(node)
        return ""

    def _erase(self, node: str) -> None:
        data = self._cluster.folder.node(node).data
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700, exist_ok=True)

    async def _damage(self, what: Damage, nodes: list[str]) -> str:
        handle = (await chunk_of(self._cluster, what.path, what.chunk)).handle
        found: TabletopError | None = None
        done = []
        for node in nodes:
            try:
                platter = RealPlatter(self._cluster.folder.node(node).data)
                done.append(f"{damage_replica(what, platter, handle)} on {node}")
            except TabletopError as error:
                found = error
        if not done and found is not None:
            raise found
        return listed(done)

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

    def _numbered(self, fault: Imposed, *, lasts: bool) -> Imposed:
        """The fault with its number, and in the list if it lasts."""

        def change(found: ImposedList) -> ImposedList:
            numbered = replace(fault, number=found.count + 1)
            return ImposedList(numbered.number, (*found.faults, numbered) if lasts else found.faults)

        return replace(fault, number=self._file.change(change).count + 1)

    def _forget(self, wanted: Callable[[Imposed], bool]) -> list[Imposed]:
        """Take faults off the list."""

        def change(found: ImposedList) -> ImposedList:
            return replace(found, faults=tuple(fault for fault in found.faults if not wanted(fault)))

        gone = [fault for fault in self._file.change(change).faults if wanted(fault)]
        self._note_over(gone)
        return gone

    def _note_over(self, faults: list[Imposed]) -> None:
        for fault in faults:
            note_healed(lambda event: note_fault(self._cluster.folder.path, event), fault)


_REAL = "the real one has Kill, Stop, EmptyDisk, Pause and damage to stored bytes"
