"""How fast simulated time goes: calls a second, and how many heartbeating chunkservers keep up with real time.

    python -m bench.simulated_rpc

Calls are those of a generated stub to a generated servicer, with token, causes and Lamport clocks, one after the other
and from many tasks at once. Heartbeats are those of whole chunkservers to a whole master: a cluster of so many
idles for a virtual minute, and what that takes says how many of them would fit into real time.

Time is processor time: a simulation is one thread, and the machine may have other work.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.node import NodeService
from runtime.simulated.world import Simulation
from runtime.wire import node_pb2, node_pb2_grpc

IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SimulationFigures:
    """What was measured, in seconds of this machine's processor."""

    calls_a_second_alone: float
    calls_a_second_together: float
    chunkservers: int
    virtual_seconds: float
    real_seconds: float

    @property
    def chunkservers_in_real_time(self) -> int:
        """So many chunkservers idle at the speed of the clock on the wall, if their cost is in proportion."""
        return int(self.chunkservers * self.virtual_seconds / self.real_seconds)

    def lines(self) -> list[str]:
        """The figures, for people."""
        speed = self.virtual_seconds / self.real_seconds
        return [
            f"simulated calls, one after the other      {self.calls_a_second_alone:>12,.0f} a second",
            f"simulated calls, 100 at a time            {self.calls_a_second_together:>12,.0f} a second",
            f"{self.chunkservers:,} chunkservers with heartbeats         {speed:>12,.1f} times as fast as real time",
            f"chunkservers carried in real time         {self.chunkservers_in_real_time:>12,}",
        ]


def calls_a_second(calls: int, *, at_once: int) -> float:
    """Unary calls of a generated stub that the simulation carries in a second of this machine."""
    with Simulation(seed=1) as simulation:
        server, client = simulation.add_node("server"), simulation.add_node("client")

        async def serve() -> None:
            rpc = server.network.rpc_server("server:7000")
            service = NodeService(server, role="bench", cluster="bench", control_address=lambda: rpc.address)
            node_pb2_grpc.add_NodeServicer_to_server(service, rpc.registrar)
            await rpc.start()

        async def call(count: int) -> None:
            stub = node_pb2_grpc.NodeStub(client.network.channel("server:7000"))
            for _ in range(count):
                await stub.Describe(node_pb2.DescribeRequest(), timeout=5)

        async def story() -> float:
            await simulation.on(server, serve())
            await simulation.on(client, call(100))
            began = time.process_time()
            await asyncio.gather(*(simulation.on(client, call(calls // at_once)) for _ in range(at_once)))
            return time.process_time() - began

        return calls / simulation.run(story())


def idle_seconds(chunkservers: int, virtual_seconds: float) -> float:
    """What an idle cluster costs for so much virtual time."""
    with Simulation(seed=1) as simulation:
        cluster = SimulatedCluster(simulation, ClusterSettings(chunkservers=chunkservers))

        async def story() -> float:
            await cluster.start()
            began = time.process_time()
            await asyncio.sleep(virtual_seconds)
            return time.process_time() - began

        return simulation.run(story())


def measure(*, calls: int = 20_000, chunkservers: int = 100) -> SimulationFigures:
    """All figures."""
    return SimulationFigures(
        calls_a_second_alone=calls_a_second(calls, at_once=1),
        calls_a_second_together=calls_a_second(calls, at_once=100),
        chunkservers=chunkservers,
        virtual_seconds=IDLE_SECONDS,
        real_seconds=idle_seconds(chunkservers, IDLE_SECONDS),
    )


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="How fast simulated time goes.")
    arguments.add_argument("--calls", type=int, default=20_000)
    arguments.add_argument("--chunkservers", type=int, default=100)
    options = arguments.parse_args()
    print("\n".join(measure(calls=options.calls, chunkservers=options.chunkservers).lines()))


if __name__ == "__main__":
    main()
