"""The faults of a torture run: what ends, freezes, restarts and rots, when, and what must not happen together.

An *episode* is one fault from begin to end: a node is killed and, some seconds later, started again. Episodes overlap:
up to two chunkservers are out at a time, and a master may be out with them; of several masters any, the acting one or a
shadow, and the lock service, if there is one. Now and then all chunkservers are killed at once, or every node: nothing
is lost by that, only time.

Bit rot has the cluster's chunkservers to itself. A chunk may lose one replica to damage and another to a version that
passed while its server was away, and with a goal of three replicas that is one fault too many. So an episode of rot
begins when no chunkserver is out and the chunk is at its goal, reads the damaged replica, which makes the server find
the damage (GFS 5.2), and ends when the master has replaced it.

The cluster is one for experiments, so that its network is broken, too: a node is isolated, or hears and is not heard,
or a server and the masters do not hear one another, or what a node says is late, lost, and overtaken. Such a node
counts as out, because a server that is cut off is as good as paused.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from chunkserver.storage.blocks import BLOCK_BYTES
from cluster.checkers import read_replica
from cluster.faultplan import BadLink, Group, Isolate, Node, Partition, What
from cluster.interface import wait_until
from cluster.real import RealCluster
from cluster.roles import LOCK, MASTER
from cluster.torture.history import History
from runtime.errors import TabletopError, TimedOut
from runtime.faults.links import LinkFaults
from runtime.wire import master_pb2

OUT_AT_ONCE = 2
LONGEST_OUT_SECONDS = 12.0
REPAIR_SECONDS = 90.0
CALM_SECONDS = 30.0

Files = Callable[[], Awaitable[list[tuple[str, int]]]]
"""Paths and lengths of files of which a block may rot."""


class Trouble:
    """All faults of one run, drawn from a seed."""

    def __init__(self, cluster: RealCluster, files: Files, seed: str, history: History) -> None:
        self.out: dict[str, str] = {}  # Nodes that do not work now, and why.
        self.cluster = cluster
        self._files = files
        self._history = history
        self.random = random.Random(seed)
        self._rotting = False
        self._starting = asyncio.Lock()
        self.chunkservers = cluster.settings.chunkserver_names()
        self._masters = cluster.settings.master_names()
        self._longest_out = min(LONGEST_OUT_SECONDS, 2 * cluster.settings.lease_seconds)
        self.episodes: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (30, self._kill_a_chunkserver),
            (20, self._pause_a_chunkserver),
            (10, self._restart_a_chunkserver),
            (10, self._kill_the_master),
            (8, self._pause_the_master),
            (10, self._isolate_a_chunkserver),
            (8, self._deafen_a_chunkserver),
            (8, self._part_a_chunkserver_from_the_masters),
            (10, self._delay_a_chunkserver),
            (4, self._isolate_the_master),
            (4, self._delay_the_master),
            (5, self._restart_the_master),
            (18, self._rot_a_block),
            (2, self._kill_all_chunkservers),
            (1, self._kill_everything),
        ]
        if cluster.settings.has_lock_service:
            self.episodes += [(5, self._kill_the_lock_service), (4, self._pause_the_lock_service)]

    async def run(self, stopping: asyncio.Event) -> None:
        """Begin one episode after the other until told to stop; returns when the last one is over."""
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                weights = [weight for weight, _ in self.episodes]
                episode = self.random.choices([work for _, work in self.episodes], weights)[0]
                group.create_task(self._told(episode))
                await _until(stopping, self.random.uniform(0.3, 4.0))

    async def _told(self, episode: Callable[[], Awaitable[None]]) -> None:
        try:
            await episode()
        except Exception as error:
            self._history.violation(f"a fault could not be carried out: {type(error).__name__}: {error}")

    # One node.

    async def _kill_a_chunkserver(self) -> None:
        await self.out_for_a_while(self._chunkserver(), "kill", self.cluster.kill, self.restart)

    async def _pause_a_chunkserver(self) -> None:
        await self.out_for_a_while(self._chunkserver(), "pause", self.cluster.pause, self.cluster.resume)

    async def _restart_a_chunkserver(self) -> None:
        await self.restarted(self._chunkserver())

    async def _kill_the_master(self) -> None:
        await self.out_for_a_while(self._master(), "kill", self.cluster.kill, self.restart)

    async def _pause_the_master(self) -> None:
        await self.out_for_a_while(self._master(), "pause", self.cluster.pause, self.cluster.resume)

    async def _restart_the_master(self) -> None:
        await self.restarted(self._master())

    async def restart(self, node: str) -> None:
        """Start a node. One at a time, in the order in which it is asked for: those who wait for the cluster's folder
        have no order, and on a machine with much to do some of them would wait longer than anybody does there."""
        async with self._starting:
            await self.cluster.restart(node)

    async def restarted(self, node: str) -> None:
        """An episode: a node is stopped in good order and started; none if there is no node."""
        await self.out_for_a_while(node, "restart", _nothing, self.restart, seconds=0.0)

    def _chunkserver(self) -> str:
        """One that may be taken out now; empty if none may."""
        out = sum(name in self.chunkservers for name in self.out)
        able = [name for name in self.chunkservers if name not in self.out]
        choice = self.random.choice(self.chunkservers)
        if self._rotting or out >= min(OUT_AT_ONCE, len(self.chunkservers) - 1):
            return ""
        return choice if choice in able else able[0]

    async def _kill_the_lock_service(self) -> None:
        await self.out_for_a_while(self._lock(), "kill", self.cluster.kill, self.restart)

    async def _pause_the_lock_service(self) -> None:
        await self.out_for_a_while(self._lock(), "pause", self.cluster.pause, self.cluster.resume)

    # The network.

    async def _isolate_a_chunkserver(self) -> None:
        await self.broken_for_a_while(self._chunkserver(), "isolate", Isolate())

    async def _deafen_a_chunkserver(self) -> None:
        what = Isolate(speaks=True) if self.random.random() < 0.5 else Isolate(hears=True)
        await self.broken_for_a_while(self._chunkserver(), "one-way isolate", what)

    async def _part_a_chunkserver_from_the_masters(self) -> None:
        others = Group(tuple(Node(name) for name in self._masters))
        await self.broken_for_a_while(self._chunkserver(), "partition", Partition(others))

    async def _delay_a_chunkserver(self) -> None:
        await self.broken_for_a_while(self._chunkserver(), "delay", BadLink(self.bad_link()))

    async def _isolate_the_master(self) -> None:
        await self.broken_for_a_while(self._master(), "isolate", Isolate())

    async def _delay_the_master(self) -> None:
        await self.broken_for_a_while(self._master(), "delay", BadLink(self.bad_link()))

    def bad_link(self) -> LinkFaults:
        """Messages are late, overtake one another, are lost and arrive twice."""
        late = self.random.uniform(0.0, 0.2)
        return LinkFaults(delay=late, jitter=late, loss=self.random.choice((0.0, 0.1)), duplication=0.2)

    async def broken_for_a_while(self, node: str, kind: str, what: What) -> None:
        """An episode: a fault is imposed on a node for a while; none if there is no node."""
        imposed: list[int] = []

        async def begin(name: str) -> None:
            imposed.append((await self.cluster.impose(what, Node(name))).number)

        async def end(name: str) -> None:
            for number in imposed:
                await self.cluster.heal(number)

        await self.out_for_a_while(node, kind, begin, end)

    def _master(self) -> str:
        choice = self.random.choice(self._masters) if len(self._masters) > 1 else MASTER
        return "" if choice in self.out else choice

    def _lock(self) -> str:
        return "" if LOCK in self.out else LOCK

    async def out_for_a_while(
        self,
        node: str,
        kind: str,
        begin: Callable[[str], Awaitable[None]],
        end: Callable[[str], Awaitable[None]],
        *,
        seconds: float | None = None,
    ) -> None:
        """An episode: a node is out from `begin` to `end`; none if there is no node."""
        # Drawn even when nothing comes of it, so that the next draws do not depend on how long things take.
        drawn = self.random.uniform(0.2, self._longest_out) if self.random.random() < 0.8 else 0.0
        if not node:
            return
        seconds = drawn if seconds is None else seconds
        self.out[node] = kind
        try:
            self._history.fault(kind, f"{kind} {node} for {seconds:.1f} s")
            await begin(node)
            await asyncio.sleep(seconds)
            await end(node)
        finally:
            del self.out[node]
        self._history.healed(f"{node} is back after {kind}")

    # Many nodes.

    async def _kill_all_chunkservers(self) -> None:
        await self.kill_together(self.chunkservers)

    async def _kill_everything(self) -> None:
        await self.kill_together(self.cluster.settings.node_names())

    async def kill_together(self, nodes: list[str]) -> None:
        """An episode: all of them are killed at once and started, unless one of them is out."""
        if self._rotting or any(node in self.out for node in nodes):
            return
        self.out.update(dict.fromkeys(nodes, "kill"))
        try:
            self._history.fault("kill", f"kill {', '.join(nodes)} at once")
            for node in nodes:
                await self.cluster.kill(node)
            for node in sorted(nodes, reverse=True):
                await self.restart(node)
        finally:
            for node in nodes:
                del self.out[node]
        self._history.healed("all of them are back")

    # Bits.

    async def _rot_a_block(self) -> None:
        if self._rotting:
            return
        self._rotting = True  # From here on no chunkserver is taken out.
        try:
            await wait_until(self._is_calm, what="no chunkserver is out", timeout_seconds=CALM_SECONDS)
            target = await wait_until(self._target, what="a chunk is at its goal", timeout_seconds=CALM_SECONDS)
            assert target is not None
            path, index, block, server = target
            done = await self.cluster.corrupt(path, index, block, server)
        except TabletopError as error:
            self._history.healed(f"no bits rot: {error.message}")
        else:
            where = f"block {block} of chunk {index} ({done.handle:#x}) of {path} on {server}"
            self._history.fault("rot", where)
            await self._repaired(done.handle, server, where)
        finally:
            self._rotting = False

    async def _repaired(self, handle: int, server: str, where: str) -> None:
        async def repaired() -> bool:
            return await self._is_repaired(handle, server)

        try:
            await wait_until(repaired, what="it is repaired", timeout_seconds=REPAIR_SECONDS)
            self._history.healed(f"the damage is repaired in {where}")
        except TimedOut:
            self._history.violation(f"{REPAIR_SECONDS:g} seconds after bits rotted in {where} it is not replaced")

    async def _is_calm(self) -> bool:
        return not any(name in self.chunkservers for name in self.out)

    async def _target(self) -> tuple[str, int, int, str] | None:
        """A path, an index of a chunk, a block of it and a server, if the chunk that is drawn is at its goal."""
        files = await self._files()
        if not files:
            return None
        path, length = self.random.choice(files)
        index, rest = divmod(self.random.randrange(length), self.cluster.settings.chunk_bytes)
        for found in (await self._chunks()).values():
            whole = len(found.chunk.replicas) >= found.replication_goal > 1
            if found.path == path and found.chunk.index == index and whole:
                server = self.random.choice(sorted(replica.server for replica in found.chunk.replicas))
                return path, index, rest // BLOCK_BYTES, server
        return None

    async def _is_repaired(self, handle: int, server: str) -> bool:
        """Whether the chunk is gone, or at its goal without damage on this server."""
        chunks = await self._chunks()
        if not chunks:
            return False
        found = chunks.get(handle)
        if found is None:
            return True
        here = [replica for replica in found.chunk.replicas if replica.server == server]
        try:
            for replica in here:
                await read_replica(self.cluster.client_world, replica, found.chunk)
        except TabletopError:
            return False  # Damaged still, or of another version since we asked: look again.
        return len(found.chunk.replicas) >= found.replication_goal

    async def _chunks(self) -> dict[int, master_pb2.ChunkStatus]:
        """All chunks as the master knows them; none if it does not answer."""
        try:
            return {found.chunk.handle: found for found in (await self.cluster.status(chunks=True)).chunks}
        except TabletopError:
            return {}


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def _nothing(node: str) -> None:
    """Restarting alone ends the node in good order first."""
