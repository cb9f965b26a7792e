"""Stories that are told several times by tests/sim/test_determinism.py: the same seed must give the same bytes.

    python -m tests.sim.told_again chatter 7     prints everything that can be compared, a line each

The last lines say how many steps the loop made and how many choices each stream of the tape: two runs that differ
anywhere, even where no event tells of it, differ there.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from cluster.settings import ClusterSettings
from cluster.simulated import SimulatedCluster
from runtime.errors import TabletopError
from runtime.events import Event, because
from runtime.faults.links import LinkFaults
from runtime.node import NodeService
from runtime.simulated.world import SimulatedWorld, Simulation
from runtime.wire import node_pb2, node_pb2_grpc
from runtime.world import ByteStream

CHATTERING = 6
ROUNDS = 12
CLIENTS = 3
FILES = 5
CHUNK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Told(Event):
    """Something that a story wants compared."""

    sentence: ClassVar[str] = "{what}"
    what: str


def chatter(simulation: Simulation) -> Callable[[], Awaitable[None]]:
    """Nodes that call each other all at once, write files, send bytes, and are killed, cut off and woken up."""
    names = [f"node{number}" for number in range(CHATTERING)]
    for name in names:
        simulation.add_node(name)

    async def start(world: SimulatedWorld) -> None:
        server = world.network.rpc_server("127.0.0.1:7001")
        node_pb2_grpc.add_NodeServicer_to_server(
            NodeService(world, role="chatter", cluster="c", control_address=lambda: server.address), server.registrar
        )
        await server.start()

        async def echo(stream: ByteStream) -> None:
            await stream.write(await stream.read_exactly(200_000))

        await world.network.listen("127.0.0.1:7002", echo)
        await world.disk.make_directory("files")
        world.spawn(talk(world), "talk")

    async def ask(world: SimulatedWorld, other: str, number: int) -> None:
        stub = node_pb2_grpc.NodeStub(world.network.channel(f"{other}:7001"))
        try:
            answer = await stub.Describe(node_pb2.DescribeRequest(), timeout=0.05)
            world.events.emit(Told(f"{number} {answer.node} {answer.uptime_seconds!r}"))
        except TabletopError as error:
            world.events.emit(Told(f"{number} {other} {type(error).__name__} {error.definite}"))

    async def send(world: SimulatedWorld, other: str) -> None:
        try:
            stream = await world.network.connect(f"{other}:7002")
            await stream.write(world.random.getrandbits(8).to_bytes() * 200_000)
            echoed = await stream.read_exactly(200_000)
            world.events.emit(Told(f"{len(echoed)} bytes, all {echoed[0]}"))
            await stream.close()
        except (TabletopError, EOFError) as error:
            world.events.emit(Told(f"stream to {other}: {error}"))

    async def talk(world: SimulatedWorld) -> None:
        for number in range(ROUNDS):
            with because(world.events.new_cause()):
                others = [name for name in names if name != world.node]
                world.random.shuffle(others)
                async with asyncio.TaskGroup() as group:
                    for other in others:
                        group.create_task(ask(world, other, number))
                    group.create_task(send(world, others[0]))
                # What `wait` gives is a set of tasks, and its order reaches the log on purpose.
                done, _ = await asyncio.wait([asyncio.create_task(ask(world, other, -1)) for other in others[:3]])
                world.events.emit(Told(" ".join(task.get_name() for task in done)))
                file = await world.disk.open(f"files/{number}", "replace")
                await file.write_at(0, world.random.getrandbits(80_000).to_bytes(10_000))
                if world.random.random() < 0.5:
                    await file.sync()
                    await world.disk.sync_directory("files")
            await world.clock.sleep(world.random.uniform(0.0, 0.1))

    async def story() -> None:
        choices = simulation.tape.generator("story")
        simulation.impose(LinkFaults(jitter=0.001, loss=0.03, duplication=0.05))
        for name in names:
            await simulation.on(simulation.world(name), start(simulation.world(name)))
        for _ in range(5):
            await asyncio.sleep(choices.uniform(0.05, 0.2))
            victim, other = choices.sample(names, 2)
            simulation.power_cut(victim)
            simulation.partition([other], [names[0]], one_way=choices.random() < 0.5)
            simulation.pause(other)
            await asyncio.sleep(choices.uniform(0.05, 0.2))
            simulation.resume(other)
            simulation.heal()
            world = simulation.restart(victim)
            world.simulated_clock.drift(choices.uniform(-0.01, 0.01))
            for path in world.simulated_disk.paths():
                content = bytes(world.simulated_disk.content(path).cached)
                world.events.emit(Told(f"{path} has {len(content)} bytes that begin with {content[:8].hex()}"))
            await simulation.on(world, start(world))
        await asyncio.sleep(5)

    return story


def whole_cluster(simulation: Simulation) -> Callable[[], Awaitable[None]]:
    """A file system with clients, while chunkservers die and lose power and the network loses messages."""
    settings = ClusterSettings(chunkservers=4, chunk_bytes=CHUNK_BYTES)
    cluster = SimulatedCluster(simulation, settings)
    told = cluster.client_world.events

    async def store(number: int) -> None:
        for round_number in range(FILES):
            path = f"/{number}-{round_number}"
            try:
                await cluster.client().write_file(path, bytes([number]) * (CHUNK_BYTES * 3 // 2))
                told.emit(Told(f"wrote {path}"))
            except TabletopError as error:
                told.emit(Told(f"did not write {path}: {type(error).__name__}"))

    async def story() -> None:
        await cluster.start()
        simulation.impose(LinkFaults(jitter=0.002, loss=0.002))
        storing = [asyncio.create_task(store(number)) for number in range(CLIENTS)]
        await asyncio.sleep(0.05)
        await cluster.kill("cs2")
        await asyncio.sleep(1)
        await cluster.restart("cs2")
        simulation.power_cut("cs3")
        await asyncio.sleep(2)
        await cluster.restart("cs3")
        await asyncio.gather(*storing)
        simulation.heal()
        await cluster.restart("master")
        for number in range(CLIENTS):
            try:
                told.emit(Told(f"read {len(await cluster.client().read_file(f'/{number}-0'))} bytes"))
            except TabletopError as error:
                told.emit(Told(f"did not read: {type(error).__name__}"))
        await cluster.stop()

    return story


STORIES = {"chatter": chatter, "cluster": whole_cluster}


def told(story: str, seed: int) -> str:
    """Everything of one run that can be compared."""
    with Simulation(seed) as simulation:
        simulation.run(STORIES[story](simulation)())
        lines = [f"draws {purpose} {count}" for purpose, count in simulation.tape.draws().items()]
        lines.append(f"steps {simulation.loop.steps} nanoseconds {simulation.loop.nanoseconds}")
        return simulation.event_bytes().decode() + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(told(sys.argv[1], int(sys.argv[2])))
