"""One experimental node's way to the others.

Who is reached at an address is asked of `name_of`, because a fault is between nodes and not between ports.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio

from runtime.errors import Unavailable
from runtime.events import EventLog
from runtime.faults.links import Kind
from runtime.faults.table import FaultTable
from runtime.guard import DEFAULT_TIMEOUT_SECONDS, Guard, Observer, unanswered
from runtime.real.carrier import Carrier, Dialler
from runtime.real.experiments.links import FaultyCarrier, FaultyDialler
from runtime.real.experiments.streams import FaultyStream, passes
from runtime.real.network import RealListener, RealNetwork, RealRpcServer, RealStream
from runtime.rpc import NodeRegistrar, PlainChannel, Ready
from runtime.world import ByteStream, Random

CONNECT_SECONDS = 5.0

AddServices = Callable[[grpc.aio.Server], None]


class FaultyPlainChannel(PlainChannel):
    """Calls with streams. Nobody judges their parts at the other end, so both directions are looked at here: a call
    begins, and an answer arrives, when neither is blocked."""

    def __init__(self, raw: Any, address: str, guard: Guard, ready: Ready, blocked: Callable[[], bool]) -> None:
        super().__init__(raw, address, guard, ready)
        self._address = address
        self._blocked = blocked

    def _stream(self, path: str, raw_call: Any) -> Callable[..., AsyncIterator[Any]]:
        inner = super()._stream(path, raw_call)

        async def call(request: Any, *, timeout: float | None = None) -> AsyncIterator[Any]:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + (timeout or DEFAULT_TIMEOUT_SECONDS)
            await self._opened(path, deadline, never_began=True)
            replies = inner(request, timeout=max(0.001, deadline - loop.time()))
            async with contextlib.aclosing(cast(Any, replies)):
                async for reply in replies:
                    await self._opened(path, deadline, never_began=False)
                    yield reply

        return call

    async def _opened(self, path: str, deadline: float, *, never_began: bool) -> None:
        loop = asyncio.get_running_loop()
        while self._blocked():
            if loop.time() >= deadline:
                code, words = grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time"
                raise unanswered(path, self._address, code, words, never_began=never_began)
            await asyncio.sleep(0.02)


class _FaultyRpcServer(RealRpcServer):
    """A server whose answers meet faults."""

    def __init__(self, address: str, guard: Guard, table: FaultTable, here: str) -> None:
        self._table = table
        self._here = here
        super().__init__(address, guard)

    def _carrier_of(self, registrar: NodeRegistrar, guard: Guard) -> Carrier:
        return FaultyCarrier(registrar, guard, self._table, self._here)


class FaultyNetwork(RealNetwork):
    """The real network with faults on its ways. `add_services` is handed each RPC server before it starts."""

    def __init__(
        self,
        token: str,
        events: EventLog,
        spawn: Any,
        random: Random,
        observer: Observer | None,
        *,
        node: str,
        table: FaultTable,
        name_of: Callable[[str], str],
        add_services: AddServices,
    ) -> None:
        super().__init__(token, events, spawn, random, observer)
        self._node = node
        self._table = table
        self._name_of = name_of
        self._add_services = add_services

    def rpc_server(self, address: str) -> RealRpcServer:
        """A server to be started at an address."""
        server = _FaultyRpcServer(address, self._guard, self._table, self._node)
        self._add_services(server.registrar)
        return server

    async def connect(self, address: str) -> ByteStream:  # type: ignore[override]  # A wrapped stream is one, too.
        """Open a TCP connection. Raises Unavailable (definite)."""
        here, there = self._node, partial(self._name_of, address)
        try:
            await passes(lambda: self._table.way(here, there(), Kind.BULK), CONNECT_SECONDS, address)
            await passes(lambda: self._table.way(there(), here, Kind.BULK), CONNECT_SECONDS, address)
        except Unavailable:
            raise Unavailable(
                f"cannot connect to {address}: no answer in {CONNECT_SECONDS:g} seconds", definite=True
            ) from None
        return FaultyStream(await super().connect(address), self._table, here, there)

    async def listen(self, address: str, serve: Callable[[ByteStream], Awaitable[None]]) -> RealListener:
        """Open a TCP port. Raises Conflict if it is taken."""

        async def serve_late(inner: ByteStream) -> None:
            stream = FaultyStream(cast(RealStream, inner), self._table, self._node, None)
            try:
                await serve(stream)
            finally:
                await stream.drained()

        return await super().listen(address, serve_late)

    def _plain_channel(self, raw: Any, address: str, ready: Ready) -> PlainChannel:
        here, there = self._node, partial(self._name_of, address)

        def blocked() -> bool:
            ways = self._table.way(here, there(), Kind.STREAM), self._table.way(there(), here, Kind.STREAM)
            return any(way.blocked for way in ways)

        return FaultyPlainChannel(raw, address, self._guard, ready, blocked)

    def _dialler(self, plain: PlainChannel, address: str) -> Dialler:
        there = partial(self._name_of, address)
        return FaultyDialler(plain, self._guard, self._spawn, self._table, self._node, there)
