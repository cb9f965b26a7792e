"""Tells the nodes of a cluster of processes that the list of imposed faults has changed."""

import asyncio
from collections.abc import Callable, Sequence

import grpc.aio

from cluster import processes
from cluster.folder import ClusterFolder
from cluster.processes import ProcessState
from runtime.errors import TabletopError
from runtime.wire import faults_pb2, faults_pb2_grpc

TELL_SECONDS = 2.0


async def tell_all(
    folder: ClusterFolder, nodes: Sequence[str], channel: Callable[[str], grpc.aio.Channel]
) -> list[str]:
    """Have every node that runs look at the list; returns those that run and do not answer.

    The calls go by a way of their own, which no imposed fault concerns."""

    async def answers(node: str) -> bool:
        ready = folder.node(node).read_ready()
        if ready is None:
            return True  # It reads the list when it starts.
        state = processes.state_of(ready.identity)
        if state is not ProcessState.RUNNING:
            return state is ProcessState.GONE
        try:
            stub = faults_pb2_grpc.FaultSwitchStub(channel(ready.control_address))
            await stub.LookAtFaults(faults_pb2.LookAtFaultsRequest(), timeout=TELL_SECONDS)
        except TabletopError:
            return False
        return True

    found = await asyncio.gather(*map(answers, nodes))
    return [node for node, answered in zip(nodes, found, strict=True) if not answered]
