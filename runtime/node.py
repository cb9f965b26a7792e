"""The service that every node offers, whatever its role: say who you are, and stop when told to."""

from collections.abc import Callable, Mapping
from typing import Any

from runtime.wire import node_pb2, node_pb2_grpc
from runtime.world import World

VERSION = "0.1.0"


class NodeService(node_pb2_grpc.NodeServicer):
    """Answers Describe and Shutdown for one node.

    `counters` is asked at each Describe; `stop` is called, in a task of its own, at Shutdown.
    """

    def __init__(
        self,
        world: World,
        *,
        role: str,
        cluster: str,
        control_address: Callable[[], str],
        bulk_address: Callable[[], str] = lambda: "",
        counters: Callable[[], Mapping[str, int]] = dict,
        stop: Callable[[], Any] = lambda: None,
    ) -> None:
        self._world = world
        self._role = role
        self._cluster = cluster
        self._control_address = control_address
        self._bulk_address = bulk_address
        self._counters = counters
        self._stop = stop
        self._started = world.clock.now()

    async def Describe(self, request: node_pb2.DescribeRequest, context: Any) -> node_pb2.NodeDescription:
        """Who this node is, for how long, and what it counted."""
        return node_pb2.NodeDescription(
            node=self._world.node,
            role=self._role,
            cluster=self._cluster,
            process_id=self._world.process_id(),
            version=VERSION,
            uptime_seconds=self._world.clock.now() - self._started,
            resident_bytes=self._world.resident_bytes(),
            control_address=self._control_address(),
            bulk_address=self._bulk_address(),
            counters=dict(self._counters()),
        )

    async def Shutdown(self, request: node_pb2.ShutdownRequest, context: Any) -> node_pb2.ShutdownReply:
        """Answer, then stop in good order."""
        self._stop()
        return node_pb2.ShutdownReply()
