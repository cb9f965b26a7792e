"""What must hold at the end of every torture run, whatever the clients did: the nodes run, the file system is at its
goals, no node has seen a bug of ours, and none has grown without end."""

import asyncio

from cluster.interface import NodeState, wait_until
from cluster.real import RealCluster
from cluster.torture.history import History
from runtime.errors import TabletopError, TimedOut
from runtime.events import TaskFailed
from runtime.settings import MEBIBYTE

HEAL_SECONDS = 120.0
LOOK_SECONDS = 2.0
MOST_RESIDENT_BYTES = 320 * MEBIBYTE


class Memory:
    """How much memory each node took at most. A run of this size has no use for more than `MOST_RESIDENT_BYTES`."""

    def __init__(self, cluster: RealCluster) -> None:
        self.most: dict[str, int] = {}
        self._cluster = cluster

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            for report in await self._cluster.nodes():
                self.most[report.node] = max(report.resident_bytes, self.most.get(report.node, 0))
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def largest(self) -> tuple[int, str]:
        """The most that any node took, and which one."""
        return max(((size, node) for node, size in self.most.items()), default=(0, ""))

    def complaints(self) -> list[str]:
        """What has grown too far."""
        return [
            f"{node} took {size:,} bytes of memory, expected at most {MOST_RESIDENT_BYTES:,}"
            for node, size in sorted(self.most.items())
            if size > MOST_RESIDENT_BYTES
        ]


class AtRest:
    """Looks at a cluster when all faults are healed."""

    def __init__(self, cluster: RealCluster, history: History) -> None:
        self._cluster = cluster
        self._history = history

    async def nodes_run(self) -> None:
        """Every node that was left alone still runs."""
        for report in await self._cluster.nodes():
            if report.state is not NodeState.SERVING:
                self._history.violation(f"{report.node} is {report.state.value} though nothing ended it: {report.note}")

    async def at_goals(self) -> None:
        """Every chunk has its replicas again within `HEAL_SECONDS`."""
        last = "the master does not answer"

        async def rested() -> bool:
            nonlocal last
            try:
                status = await self._cluster.status()
            except TabletopError as error:
                last = error.message
                return False
            alive = sum(server.alive for server in status.servers)
            last = (
                f"{alive} of {self._cluster.settings.chunkservers} chunkservers alive, "
                f"{status.under_replicated_chunks} chunks below their goal, {status.missing_chunks} missing"
            )
            below = status.under_replicated_chunks or status.missing_chunks
            return alive == self._cluster.settings.chunkservers and not below

        try:
            await wait_until(rested, what="all chunks are at their goals", timeout_seconds=HEAL_SECONDS)
        except TimedOut:
            self._history.violation(f"{HEAL_SECONDS:g} seconds after the last fault: {last}")

    def no_task_failed(self) -> None:
        """No node recorded a background task that failed."""
        for node in self._cluster.settings.node_names():
            for record in self._cluster.events(node):
                if isinstance(record.event, TaskFailed):
                    words = record.event.trace.strip().splitlines()[-1:]
                    self._history.violation(f"a task of {node} failed: {record.event.task}: {''.join(words)}")
