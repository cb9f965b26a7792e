"""Small calls between two processes: as plain gRPC, and carried in one stream for each pair of peers.

    python -m bench.rpc

A generated stub calls a method of a generated servicer in another process, which answers at once; token, causes, clocks
and deadlines are as everywhere. There are 1, 4, 32 and 128 calls in flight. Each way has several rounds, by turns, and
the best of each is shown: calls a second, and the processor time of client and server for a call, in microseconds.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runtime.real.world import RealWorld
from runtime.wire import node_pb2, node_pb2_grpc

TOKEN = "bench"
WAYS = ("plain", "carried")
IN_FLIGHT = (1, 4, 32, 128)


@dataclass(frozen=True, slots=True)
class Figures:
    """One way with so many calls in flight."""

    way: str
    in_flight: int
    calls_a_second: float
    client_microseconds: float
    server_microseconds: float


class Ready(node_pb2_grpc.NodeServicer):
    """Has its answer ready: what a call costs beyond it is the transport's."""

    async def Describe(self, request: node_pb2.DescribeRequest, context: Any) -> node_pb2.NodeDescription:
        """A node of this name."""
        return node_pb2.NodeDescription(node="server", role="bench", cluster="bench")

    async def Shutdown(self, request: node_pb2.ShutdownRequest, context: Any) -> node_pb2.ShutdownReply:
        """Nothing: the process is killed."""
        return node_pb2.ShutdownReply()


async def serve(folder: Path) -> None:
    """Serve until the process is killed; say where first."""
    world = RealWorld(node="server", root=folder, token=TOKEN)
    rpc = world.network.rpc_server("127.0.0.1:0")
    node_pb2_grpc.add_NodeServicer_to_server(Ready(), rpc.registrar)
    await rpc.start()
    print(rpc.address, flush=True)
    await asyncio.Event().wait()


async def one_round(stub: Any, way: str, in_flight: int, seconds: float, server: psutil.Process) -> Figures:
    """Call for so many seconds."""
    calls = 0

    async def work() -> None:
        nonlocal calls
        while time.perf_counter() < end:
            await stub.Describe(node_pb2.DescribeRequest(), timeout=5)
            calls += 1

    server_before, client_before = spent(server), time.process_time()
    began = time.perf_counter()
    end = began + seconds
    await asyncio.gather(*(work() for _ in range(in_flight)))
    passed = time.perf_counter() - began
    client, there = time.process_time() - client_before, spent(server) - server_before
    return Figures(way, in_flight, calls / passed, client / calls * 1e6, there / calls * 1e6)


def spent(process: psutil.Process) -> float:
    """Processor seconds of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(*, rounds: int = 3, seconds: float = 1.0) -> list[Figures]:
    """All figures: the best round of each."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.rpc", "--serve", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            server = psutil.Process(process.pid)
            return asyncio.run(all_rounds(Path(folder), address, server, rounds, seconds))
        finally:
            process.kill()
            process.wait()


async def all_rounds(folder: Path, address: str, server: psutil.Process, rounds: int, seconds: float) -> list[Figures]:
    """Both ways by turns, so that neither has the quieter machine."""
    found: dict[tuple[str, int], Figures] = {}
    world = RealWorld(node="client", root=folder / "client", token=TOKEN)
    channel: Any = world.network.channel(address)
    stubs: dict[str, Any] = {
        "plain": node_pb2_grpc.NodeStub(channel.plain),
        "carried": node_pb2_grpc.NodeStub(channel),
    }
    for _ in range(rounds):
        for in_flight in IN_FLIGHT:
            for way in WAYS:
                figures = await one_round(stubs[way], way, in_flight, seconds, server)
                best = found.get((way, in_flight))
                if best is None or figures.calls_a_second > best.calls_a_second:
                    found[way, in_flight] = figures
    await world.close()
    return list(found.values())


def lines(figures: list[Figures]) -> list[str]:
    """The figures, for people."""
    shown = ["in flight   way       calls a second   client us   server us"]
    by_place = {(one.way, one.in_flight): one for one in figures}
    for in_flight in IN_FLIGHT:
        for way in WAYS:
            one = by_place[way, in_flight]
            shown.append(
                f"{in_flight:>9}   {way:<8} {one.calls_a_second:>15,.0f} {one.client_microseconds:>11,.0f}"
                f" {one.server_microseconds:>11,.0f}"
            )
        ratio = by_place["carried", in_flight].calls_a_second / by_place["plain", in_flight].calls_a_second
        shown.append(f"{'':>9}   {'':<8} {ratio:>14.1f}x")
    return shown


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description="Small calls between two processes.")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=1.0, help="for each round")
    arguments.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
    else:
        print("\n".join(lines(measure(rounds=options.rounds, seconds=options.seconds))))


if __name__ == "__main__":
    main()
