"""Naming the requests by which a client changes rows, so that each is carried out once (`tablet/location/once.py`)."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lockservice.client.link import Numbers
from runtime.wire import tables_pb2 as wire
from runtime.world import World

Reply = TypeVar("Reply")


class Requests:
    """Those of one client. Each try has a number of its own: only what has certainly not happened is tried again."""

    def __init__(self, world: World) -> None:
        self._client = world.random.getrandbits(63) + 1
        self._numbers = Numbers()

    async def ask(self, call: Callable[..., Awaitable[Reply]], request: Any, *, server: str, seconds: float) -> Reply:
        """Ask one life of a tablet server; the request has a field for its `name`. Raises what the call raises."""
        number = self._numbers.begin()
        name = wire.ChangeName(client=self._client, number=number, oldest=self._numbers.oldest, server=server)
        request.name.CopyFrom(name)
        try:
            return await call(request, timeout=seconds)
        finally:
            self._numbers.end(number, is_answered=True)
