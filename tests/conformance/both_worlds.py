"""What the conformance suite stands on: a story is told once in each world, and must come out the same.

A story is a coroutine `story(place, desk)`. It runs as the node "desk"; `place.node(name)` gives it further nodes, and
`place.on(world, work)` does some work as one of them. Stories touch nothing but the interfaces of `runtime.world`, so
that whatever they find is a property of both worlds, or else a fault of one.

Unary calls travel in two ways: carried in a stream, as those of our own stubs do, or as plain gRPC, as those of others
do. A story that is told `in_both_ways` is told in both, and `stub_for` gives it a stub of the way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from runtime.events import MemorySink, Record
from runtime.real.experiments.world import ExperimentalWorld
from runtime.real.world import RealWorld
from runtime.simulated.world import Simulation
from runtime.world import RpcServer, World

T = TypeVar("T")
TOKEN = "the token of this cluster"
SERVICE = "conformance.Echo"


WAYS = ("carried", "plain")
_way: ContextVar[str] = ContextVar("way", default="carried")


class RealPlace:
    """Nodes of the real world, all of them in this process."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._relays: list[Relay] = []
        self._worlds: list[RealWorld] = []
        self._servers: list[RpcServer] = []

    def node(self, name: str, *, token: str = TOKEN) -> World:
        """Another node, with a disk of its own."""
        self._worlds.append(RealWorld(node=name, root=self._folder / name, token=token))
        return self._worlds[-1]

    def address(self, world: World) -> str:
        """Where a server of this node may be bound: any free port."""
        return "127.0.0.1:0"

    async def on(self, world: World, work: Coroutine[Any, Any, T]) -> T:
        """Do some work as a node."""
        return await world.spawn(work, "work")

    def will_stop(self, server: RpcServer) -> None:
        """Stop this server when the story is over: gRPC waits at the program's end for one that still serves."""
        self._servers.append(server)

    def records(self, world: World) -> list[Record]:
        """What a node recorded."""
        return world.events.sink.records  # type: ignore[attr-defined,no-any-return]

    async def breakable(self, server: RpcServer) -> str:
        """An address at which the server is reached by connections that `break_connections` can break."""
        self._relays.append(Relay(server.address))
        return await self._relays[-1].start()

    def break_connections(self) -> None:
        """Break those that are open, though both ends live."""
        for relay in self._relays:
            relay.cut()

    def run(self, story: "Story") -> None:
        """Tell the story."""

        async def whole() -> None:
            try:
                desk = self.node("desk")
                await self.on(desk, story(self, desk))
            finally:
                for server in self._servers:
                    await server.stop(0)
                for relay in self._relays:
                    await relay.stop()
                for world in self._worlds:
                    await world.close()

        asyncio.run(whole())


class Relay:
    """Hands bytes on between its own port and another one, until it is cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> str:
        """Listen; returns the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def cut(self) -> None:
        """Reset what is open."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """Hand on no more."""
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._tasks.append(asyncio.create_task(self._hand_on(source, sink)))

    async def _hand_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


class SimulatedPlace:
    """Nodes of a simulation."""

    def __init__(self, folder: Path) -> None:
        self._simulation = Simulation(seed=1, token=TOKEN)

    def node(self, name: str, *, token: str = TOKEN) -> World:
        """Another node, with a disk of its own."""
        return self._simulation.add_node(name, token=token)

    def address(self, world: World) -> str:
        """Where a server of this node may be bound: any free port."""
        return f"{world.node}:0"

    async def on(self, world: World, work: Coroutine[Any, Any, T]) -> T:
        """Do some work as a node."""
        return await world.spawn(work, "work")

    def will_stop(self, server: RpcServer) -> None:
        """Nothing to do: a simulation leaves nothing behind."""

    def records(self, world: World) -> list[Record]:
        """What a node recorded."""
        return [record for record in self._simulation.sink.records if record.node == world.node]

    async def breakable(self, server: RpcServer) -> str:
        """An address at which the server is reached by connections that `break_connections` can break."""
        return server.address

    def break_connections(self) -> None:
        """Break those that are open, though both ends live."""
        self._simulation.reset("*")

    def run(self, story: "Story") -> None:
        """Tell the story."""
        with self._simulation as simulation:
            desk = self.node("desk")
            simulation.run(self.on(desk, story(self, desk)))


class ExperimentalPlace(RealPlace):
    """Nodes of the real world whose networks and disks may be broken on purpose, and are not."""

    def node(self, name: str, *, token: str = TOKEN) -> World:
        """Another node, with a disk of its own."""
        world = ExperimentalWorld(
            node=name,
            folder=self._folder / name,
            token=token,
            sink=MemorySink(),
            observer=None,
            read_rules=list,
            name_of=lambda address: address,
        )
        self._worlds.append(world)
        return world


Place = RealPlace | SimulatedPlace
PLACES: dict[str, Callable[[Path], Place]] = {
    "real": RealPlace,
    "experiments": ExperimentalPlace,
    "simulated": SimulatedPlace,
}
Story = Callable[[Any, Any], Coroutine[Any, Any, None]]


def in_both_worlds(story: Story) -> Callable[..., None]:
    """Make a story a test that runs once in each world."""

    @pytest.mark.parametrize("world", PLACES)
    def told(world: str, tmp_path: Path) -> None:
        place = PLACES[world](tmp_path)
        place.run(story)

    told.__name__, told.__doc__, told.__module__ = story.__name__, story.__doc__, story.__module__
    return told


def in_both_ways(story: Story) -> Callable[..., None]:
    """Make a story a test that runs once in each world for each way in which unary calls travel."""

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("world", PLACES)
    def told(world: str, way: str, tmp_path: Path) -> None:
        place = PLACES[world](tmp_path)
        context = copy_context()
        context.run(_way.set, way)
        context.run(place.run, story)

    told.__name__, told.__doc__, told.__module__ = story.__name__, story.__doc__, story.__module__
    return told


Behaviour = Callable[[Any, Any], Any]


def text(value: str) -> StringValue:
    """A message."""
    return StringValue(value=value)


class EchoStub:
    """What a generated stub does, by hand: four methods, one of each kind of streaming."""

    def __init__(self, channel: Any) -> None:
        self.unary = self._method(channel.unary_unary, "Unary")
        self.down = self._method(channel.unary_stream, "Down")
        self.up = self._method(channel.stream_unary, "Up")
        self.both = self._method(channel.stream_stream, "Both")

    def _method(self, make: Any, name: str) -> Any:
        return make(
            f"/{SERVICE}/{name}",
            request_serializer=StringValue.SerializeToString,
            response_deserializer=StringValue.FromString,
            _registered_method=True,
        )


def register(registrar: Any, behaviours: dict[str, Behaviour]) -> None:
    """What a generated `add_…Servicer_to_server` does, by hand."""
    makers = {
        "Unary": grpc.unary_unary_rpc_method_handler,
        "Down": grpc.unary_stream_rpc_method_handler,
        "Up": grpc.stream_unary_rpc_method_handler,
        "Both": grpc.stream_stream_rpc_method_handler,
    }
    handlers = {
        name: makers[name](
            behaviour, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
        )
        for name, behaviour in behaviours.items()
    }
    registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    registrar.add_registered_method_handlers(SERVICE, handlers)


async def serving(place: Place, world: World, **behaviours: Behaviour) -> RpcServer:
    """A server at the node with these behaviours under the names Unary, Down, Up and Both."""

    async def begin() -> RpcServer:
        server = world.network.rpc_server(place.address(world))
        place.will_stop(server)
        register(server.registrar, behaviours)
        await server.start()
        return server

    return await place.on(world, begin())


def stub_for(world: World, server: RpcServer | str) -> EchoStub:
    """A stub at the node that calls the server, or an address."""
    channel: Any = world.network.channel(server if isinstance(server, str) else server.address)
    return EchoStub(channel.plain if _way.get() == "plain" else channel)


async def echo(request: StringValue, context: Any) -> StringValue:
    """Answer what was asked."""
    return text(f"echo {request.value}")


async def several(*values: str) -> AsyncIterator[StringValue]:
    """A stream of messages."""
    for value in values:
        yield text(value)


async def settled(condition: Callable[[], Any], turns: int = 500) -> None:
    """Wait until the condition holds, a few milliseconds at a time, in either world's time."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition did not come true")


async def gathered(stream: AsyncIterator[StringValue]) -> list[str]:
    """All values of a stream."""
    return [message.value async for message in stream]


Serve = Callable[[Any], Awaitable[None]]
