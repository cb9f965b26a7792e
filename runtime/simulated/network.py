"""One simulated node's network: the interface of `runtime.world.Network` over the fabric."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from runtime.carried.channel import CarriedChannel
from runtime.errors import Conflict, InvalidRequest, Unavailable, shown
from runtime.events import EventLog
from runtime.guard import Guard
from runtime.rpc import NodeChannel, PlainChannel
from runtime.simulated.cards import Card, CardMaker
from runtime.simulated.carrier import Dialler
from runtime.simulated.fabric import Fabric, context_of
from runtime.simulated.loop import NANOSECONDS, Life
from runtime.simulated.rpc import SimulatedChannel
from runtime.simulated.rpc_server import SimulatedServer
from runtime.simulated.streams import SimulatedListener, SimulatedStream
from runtime.world import ByteStream, Random

CONNECT_SECONDS = 5.0


class Cards:
    """The network cards of all nodes: one for each direction."""

    def __init__(self, bytes_per_second: float, make: CardMaker = Card) -> None:
        self.bytes_per_second = bytes_per_second
        self._make = make
        self._cards: dict[str, tuple[Card, Card]] = {}

    def __call__(self, node: str) -> tuple[Card, Card]:
        """The node's (upward, downward) card."""
        found = self._cards.get(node)
        if found is None:
            found = self._cards[node] = (self._make(self.bytes_per_second), self._make(self.bytes_per_second))
        return found


class SimulatedRpcServer:
    """A server at an address of this node; see `runtime.world.RpcServer`."""

    def __init__(self, fabric: Fabric, life: Life, address: str, guard: Guard) -> None:
        self.address = address
        self._server = SimulatedServer(fabric, life, guard)

    @property
    def registrar(self) -> grpc.aio.Server:
        """What the generated functions are handed."""
        return self._server.registrar.as_server()

    async def start(self) -> None:
        """Listen. Raises Conflict if the port is taken."""
        if not self._server.start(self.address):
            raise Conflict(f"cannot listen on {self.address}: the port is in use; choose another, or 0 for any")
        self.address = self._server.address

    async def stop(self, grace_seconds: float) -> None:
        """Stop serving."""
        await self._server.stop(grace_seconds)


class SimulatedNetwork:
    """The way of one life of one node to the others. Hosts are node names: "cs1:7001"."""

    def __init__(
        self,
        fabric: Fabric,
        cards: Cards,
        life: Life,
        token: str,
        events: EventLog,
        spawn: Callable[..., Any],
        random: Random,
    ) -> None:
        self.token = token
        self._fabric = fabric
        self._cards = cards
        self._life = life
        self._guard = Guard(token, events)
        self._random = random
        self._spawn = spawn
        self._channels: dict[str, NodeChannel] = {}

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel to an address."""
        found = self._channels.get(address)
        if found is None:
            plain = PlainChannel(SimulatedChannel(self._fabric, self._life, address), address, self._guard)
            dial = Dialler(self._fabric, self._life, address, self._guard)
            carried = CarriedChannel(address, self._guard.events, self._random, dial)
            found = self._channels[address] = NodeChannel(carried, plain)
        return found.as_channel()

    def rpc_server(self, address: str) -> SimulatedRpcServer:
        """A server to be started at an address of this node."""
        return SimulatedRpcServer(self._fabric, self._life, self._own(address), self._guard)

    async def connect(self, address: str) -> SimulatedStream:
        """Open a stream: a round trip. Raises Unavailable, definite."""
        target, _, port = address.rpartition(":")
        if not target or not port.isdecimal():
            raise InvalidRequest(f"{shown(address)} is not an address; expected host:port, such as 127.0.0.1:0")
        if self._fabric.is_blocked(self._life.node, target) or self._fabric.is_blocked(target, self._life.node):
            await self._wait(int(CONNECT_SECONDS * NANOSECONDS))
            raise Unavailable(f"cannot connect to {address}: no answer in {CONNECT_SECONDS:g} seconds", definite=True)
        await self._wait(
            self._fabric.delay_nanoseconds(self._life.node, target)
            + self._fabric.delay_nanoseconds(target, self._life.node)
        )
        door = self._fabric.doors.get(address)
        if not isinstance(door, SimulatedListener) or not door.life.alive:
            raise Unavailable(f"cannot connect to {address}: Connection refused", definite=True)
        here = SimulatedStream(self._fabric, self._life, address, self._cards)
        there = SimulatedStream(self._fabric, door.life, f"{self._life.node}:0", self._cards)
        here.join(there)
        self._fabric.loop.call_soon(door.accept, there, context=context_of(door.life))
        return here

    async def listen(self, address: str, serve: Callable[[ByteStream], Awaitable[None]]) -> SimulatedListener:
        """Open a door. Raises Conflict if the port is taken."""
        listener = SimulatedListener(self._fabric, self._life, serve, self._spawn)
        if not listener.start(self._own(address)):
            raise Conflict(f"cannot listen on {address}: the port is in use; choose another, or 0 for any")
        return listener

    async def _wait(self, nanoseconds: int) -> None:
        loop = self._fabric.loop
        arrived = loop.create_future()
        timer = loop.call_at_nanoseconds(loop.nanoseconds + nanoseconds, _settle, arrived)
        try:
            await arrived
        finally:
            timer.cancel()

    def _own(self, address: str) -> str:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise InvalidRequest(f"{shown(address)} is not an address; expected host:port, such as 127.0.0.1:0")
        return f"{self._life.node}:{port}"


def _settle(future: Any) -> None:
    if not future.done():
        future.set_result(None)
