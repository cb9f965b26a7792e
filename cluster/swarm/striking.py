"""Letting the planned faults happen.

Each fault is a task that begins it, waits, and ends it; the end takes back this fault and no other. A fault that could
destroy the last good copy of a chunk is withheld, and says so in the diary: what it would cause is no mistake of the
servers.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from chunkserver import chunk_files
from chunkserver.blocks import BLOCK_BYTES
from cluster.swarm.insight import Replica
from cluster.swarm.losses import Hindrance
from cluster.swarm.mischief import MASTER
from cluster.swarm.plan import PlannedFault
from cluster.swarm.stage import Stage
from runtime.simulated.disk_faults import DiskFault, FullDisk, ReadError, SlowDisk, SyncError, WriteError
from runtime.simulated.fabric import LinkFaults
from runtime.simulated.undo import Undo, all_of

_EIO: dict[str, Callable[[], DiskFault]] = {"read": ReadError, "write": WriteError, "sync": SyncError}
_SLOT_BYTES = 512
# A server that comes back from trouble with its disk is not troubled again until it has had time to report.
_REST_SECONDS = 15.0


class Striker:
    """Strikes one stage with faults. `kill_client` ends a client and begins another in its place."""

    def __init__(self, stage: Stage, kill_client: Callable[[str], None]) -> None:
        self._stage = stage
        self._kill_client = kill_client
        self._tasks: list[asyncio.Task[None]] = []
        self._healed = asyncio.Event()
        self._troubled_disks: dict[str, float] = {}  # until when no other disk may be damaged
        self.struck: dict[str, int] = {}

    def begin(self, faults: tuple[PlannedFault, ...], started: float) -> None:
        """Let all of them happen at their times, counted from `started`."""
        loop = asyncio.get_running_loop()
        for number, fault in enumerate(faults):
            self._tasks.append(loop.create_task(self._strike(fault, started), name=f"fault {number}: {fault.kind}"))

    async def heal(self) -> None:
        """End all faults now, begun or not; returns when every node is being started again."""
        self._healed.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.result()
        simulation = self._stage.simulation
        simulation.heal()
        for node in simulation.nodes():
            self._stage.disk(node).heal()
        self._stage.tell("everything is healed")

    async def _strike(self, fault: PlannedFault, started: float) -> None:
        await self._wait(started + fault.at - self._stage.now)
        if self._healed.is_set():
            return
        await _HANDLERS[fault.kind](self, fault)

    async def _wait(self, seconds: float) -> None:
        """Wait, but not beyond the healing."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._healed.wait(), max(0.0, seconds))

    def _tell(self, fault: PlannedFault, text: str) -> None:
        self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
        self._stage.tell(text)

    async def _for_a_while(self, fault: PlannedFault, text: str, undo: Undo, hindered: tuple[str, ...] = ()) -> None:
        self._tell(fault, f"{text} for {fault.seconds:.1f} s")
        begun = self._stage.now
        await self._wait(fault.seconds)
        undo()
        self._stage.hindrances.extend(Hindrance(begun, self._stage.now, node) for node in hindered)

    # Nodes.

    async def _kill(self, fault: PlannedFault) -> None:
        await self._down(fault, "is killed", self._stage.kill)

    async def _power(self, fault: PlannedFault) -> None:
        await self._down(fault, "loses power", self._stage.power_cut)

    async def _stop(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        self._tell(fault, f"{node} is asked to stop")
        self._stage.hold_down(node)
        await self._stage.stop(node)
        self._stage.tell(f"{node} has stopped")
        await self._wait(fault.seconds)
        self._stage.release(node)

    async def _down(self, fault: PlannedFault, what: str, act: Callable[[str], None]) -> None:
        (node,) = fault.targets
        self._tell(fault, f"{node} {what}, for {fault.seconds:.1f} s")
        self._stage.hold_down(node)
        act(node)
        await self._wait(fault.seconds)
        self._stage.release(node)

    async def _power_all(self, fault: PlannedFault) -> None:
        nodes = self._stage.chunkserver_names() + ([MASTER] if fault.amount else [])
        self._tell(fault, f"{', '.join(nodes)} lose power, for {fault.seconds:.1f} s")
        for node in nodes:
            self._stage.hold_down(node)
            self._stage.power_cut(node)
        await self._wait(fault.seconds)
        for node in nodes:
            self._stage.release(node)

    async def _pause(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        if self._stage.world(node).life.alive:
            await self._for_a_while(fault, f"{node} stands still", self._stage.simulation.pause(node), (node,))

    async def _client_kill(self, fault: PlannedFault) -> None:
        (client,) = fault.targets
        self._tell(fault, f"{client} is killed, and another begins in its place")
        self._kill_client(client)

    # The network.

    async def _partition(self, fault: PlannedFault) -> None:
        cut = fault.targets.index("|")
        some, others = list(fault.targets[:cut]), list(fault.targets[cut + 1 :])
        undo = self._stage.simulation.partition(some, others)
        await self._for_a_while(fault, f"{', '.join(some)} and {', '.join(others)} do not reach each other", undo)

    async def _one_way(self, fault: PlannedFault) -> None:
        source, *others = fault.targets
        undo = self._stage.simulation.partition([source], others, one_way=True)
        await self._for_a_while(fault, f"what {source} sends to {', '.join(others)} is lost", undo)

    async def _messages(self, fault: PlannedFault) -> None:
        source, target = fault.targets
        way = f"from {_named(source)} to {_named(target)}"
        if fault.kind == "loss":
            faults, text = LinkFaults(loss=fault.amount), f"{fault.amount:.0%} of the messages {way} are lost"
        elif fault.kind == "double":
            faults, text = LinkFaults(duplication=fault.amount), f"{fault.amount:.0%} of the requests {way} come twice"
        else:
            faults, text = LinkFaults(jitter=fault.amount), f"messages {way} are late by up to {fault.amount:g} s"
        await self._for_a_while(fault, text, self._stage.simulation.impose(faults, source, target))

    async def _skew(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        clock = self._stage.world(node).simulated_clock
        undo = all_of([clock.drift(fault.amount), clock.offset_wall(fault.amount * 6000.0)])
        how = "fast" if fault.amount > 0 else "slow"
        await self._for_a_while(fault, f"the clock of {node} is {abs(fault.amount):.0%} {how}", undo)

    # Disks.

    async def _eio(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        if not self._may_trouble(fault, node):
            return
        undo = self._stage.disk(node).impose(_EIO[fault.detail]())
        self._troubled_disks[node] = self._stage.now + fault.seconds + _REST_SECONDS
        await self._for_a_while(fault, f"every {fault.detail} on the disk of {node} fails", undo, (node,))
        # What a failed sync has done to the memory of a process is mended by its end, as an operator would.
        self._stage.tell(f"{node} is killed, to begin anew on its disk")
        self._stage.kill(node)
        self._stage.revive(node)

    async def _full(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        disk = self._stage.disk(node)
        usage = await disk.usage()
        undo = disk.impose(FullDisk(taken_bytes=max(0, usage.free_bytes - int(fault.amount))))
        await self._for_a_while(fault, f"the disk of {node} has {fault.amount:g} bytes left", undo, (node,))

    async def _slow(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        undo = self._stage.disk(node).impose(SlowDisk(seconds_per_operation=fault.amount))
        text = f"the disk of {node} takes {fault.amount * 1000:g} ms for each operation"
        await self._for_a_while(fault, text, undo, (node,))

    async def _rot(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        victim = self._victim(fault, node, needs_bytes=True)
        if victim is None:
            return
        path, disk = chunk_files.data_path(victim.handle), self._stage.disk(node)
        place = int(fault.amount * 7919) % victim.length
        block = place // BLOCK_BYTES
        if fault.kind == "rot":
            disk.rot(path, place, count=min(4, victim.length - place))
            text = f"bytes {place} to {place + 4} of chunk {victim.handle:#x} rot on {node}"
        else:
            begin = block * BLOCK_BYTES
            count = min(BLOCK_BYTES, victim.length - begin)
            if count < 2:
                return
            disk.tear(path, begin, count)
            text = f"block {block} of chunk {victim.handle:#x} is torn on {node}"
        self._spoil(fault, victim, text)

    async def _header(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        victim = self._victim(fault, node)
        if victim is None:
            return
        disk, path = self._stage.disk(node), chunk_files.metadata_path(victim.handle)
        size = len(disk.content(path).cached)
        slots = [slot for slot in range(2) if (slot + 1) * _SLOT_BYTES <= size]
        if fault.detail != "both" and len(slots) == 2:
            slots = [slots[0] if fault.detail == "newer" else slots[1]]
        for slot in slots:
            disk.rot(path, slot * _SLOT_BYTES + 20, count=8)
        which = "both slots" if len(slots) == 2 else f"slot {slots[0] if slots else 'none'}"
        self._spoil(fault, victim, f"{which} of the header of chunk {victim.handle:#x} rot on {node}")

    async def _erase(self, fault: PlannedFault) -> None:
        (node,) = fault.targets
        if not self._may_trouble(fault, node):
            return
        self._tell(fault, f"{node} is killed and comes back with an empty disk after {fault.seconds:.1f} s")
        self._troubled_disks[node] = self._stage.now + fault.seconds + _REST_SECONDS
        self._stage.hold_down(node)
        self._stage.kill(node)
        self._stage.disk(node).erase()
        await self._wait(fault.seconds)
        self._stage.release(node)

    def _may_trouble(self, fault: PlannedFault, node: str, handles: list[int] | None = None) -> bool:
        """Whether a disk may be damaged: all others are sound, and hold good copies of what is on this one."""
        if node == MASTER:
            return not self._troubled_disks
        now = self._stage.now
        self._troubled_disks = {other: until for other, until in self._troubled_disks.items() if until > now}
        if any(other != node for other in self._troubled_disks) or not self._stage.insight.may_destroy(node, handles):
            self._stage.tell(f"({fault.kind} on {node} is withheld: it might destroy the last good copy)")
            return False
        return True

    def _victim(self, fault: PlannedFault, node: str, *, needs_bytes: bool = False) -> Replica | None:
        """The replica that the fault means, if it may be damaged."""
        replicas = [
            replica
            for _, replica in sorted(self._stage.insight.replicas_on(node).items())
            if replica.is_readable and len(replica.data) == replica.length and (replica.length or not needs_bytes)
        ]
        if not replicas:
            return None
        victim = replicas[int(fault.amount * len(replicas))]
        return victim if self._may_trouble(fault, node, [victim.handle]) else None

    def _spoil(self, fault: PlannedFault, victim: Replica, text: str) -> None:
        self._tell(fault, text)
        found = self._stage.insight.replicas_on(victim.server)[victim.handle]
        self._stage.spoiled[victim.server, victim.handle] = found.data


def _named(node: str) -> str:
    return "any node" if node == "*" else node


_Handler = Callable[[Striker, PlannedFault], Coroutine[Any, Any, None]]
_HANDLERS: dict[str, _Handler] = {
    "kill": Striker._kill,
    "power": Striker._power,
    "power_all": Striker._power_all,
    "stop": Striker._stop,
    "pause": Striker._pause,
    "client_kill": Striker._client_kill,
    "partition": Striker._partition,
    "one_way": Striker._one_way,
    "loss": Striker._messages,
    "double": Striker._messages,
    "delay": Striker._messages,
    "skew": Striker._skew,
    "eio": Striker._eio,
    "full": Striker._full,
    "slow": Striker._slow,
    "rot": Striker._rot,
    "torn": Striker._rot,
    "header": Striker._header,
    "erase": Striker._erase,
}
KINDS = tuple(_HANDLERS)
