"""A real network leaves no socket open, whatever its tasks were doing when it ended."""

import asyncio
import gc
import random
import socket
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import Unavailable
from runtime.events import EventLog, MemorySink
from runtime.real.network import RealNetwork
from runtime.real.world import RealWorld

ANY_PORT = "127.0.0.1:0"


@contextmanager
def every_socket_closed() -> Iterator[None]:
    """Fail if a socket is collected that nobody closed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


def client_of(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    client = socket.create_connection((host, int(port)))
    client.settimeout(5)
    return client


async def silence(stream: Any) -> None:
    """Serve a connection by waiting for a byte that never comes."""
    await stream.read_exactly(1)


def network(spawn: Any) -> RealNetwork:
    return RealNetwork("token", EventLog("test", MemorySink(), lambda: 0), spawn, random.Random(0))


def test_a_connection_whose_task_is_cancelled_before_it_starts_is_closed():
    def cancelled_at_once(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        if name.startswith("stream"):
            task.cancel()
        return task

    async def main() -> bytes:
        sockets = network(cancelled_at_once)
        listener = await sockets.listen(ANY_PORT, silence)
        with client_of(listener.address) as client:
            received = await asyncio.to_thread(client.recv, 1)
        await listener.close()
        return received

    with every_socket_closed():
        assert asyncio.run(main()) == b""


def test_a_connection_that_arrives_while_its_listener_closes_is_not_lost():
    async def main() -> None:
        world = RealWorld(node="test", root=".", token="token")
        listener = await world.network.listen(ANY_PORT, silence)
        await asyncio.sleep(0)
        with client_of(listener.address):
            # In the first turn the loop sees the connection; in the second the accepting task would be woken.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await listener.close()
        await world.close()

    with every_socket_closed():
        asyncio.run(main())


def test_the_end_of_a_world_closes_its_listeners_and_streams(tmp_path: Path):
    async def main() -> None:
        server = RealWorld(node="server", root=tmp_path / "server", token="token")
        desk = RealWorld(node="desk", root=tmp_path / "desk", token="token")
        listener = await server.network.listen(ANY_PORT, silence)
        await desk.network.connect(listener.address)
        stream = await desk.network.connect(listener.address)
        await server.close()
        with pytest.raises((EOFError, Unavailable)):
            await stream.read_exactly(1)
        with pytest.raises(Unavailable):
            await desk.network.connect(listener.address)
        await desk.close()

    with every_socket_closed():
        asyncio.run(main())
