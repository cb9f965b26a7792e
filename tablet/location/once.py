"""Carrying out each request of a client once (BT 3: a row has one history).

The problem. A message may be late, and may come twice. A mutation that comes again writes over what was written since,
under a newer timestamp.

The idea. A client names its requests (`ChangeName`): a number of its own, numbers that rise, and the number below which
it waits for none any more. A server carries out a number that it has not seen, and none that nobody waits for; a number
that it has seen gets the first one's answer, for of two messages the second may be the one whose answer is taken. It
remembers that for as long as it lives; the name says which life is meant, so the next one, which remembers nothing,
refuses what was sent to the one before.

Invariant: a number is carried out at most once, and not after a request has come that calls it given up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runtime.errors import InvalidRequest, NotServed, Superseded, TabletopError, TimedOut
from runtime.wire.tables_pb2 import ChangeName
from runtime.world import World

_MANY_CLIENTS = 1000
_SILENT_SECONDS = 3600.0
"""Where there are many clients, those are forgotten that have asked for nothing for so long: no message is as late."""


T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    """What became of a request, as soon as `is_there`: a reply, or an error."""

    is_there: asyncio.Event = field(default_factory=asyncio.Event)
    reply: Any = None
    error: TabletopError | None = None


@dataclass(slots=True)
class _Client:
    oldest: int = 0
    answers: dict[int, _Answer] = field(default_factory=dict)
    asked_at: float = 0.0


class Once:
    """What one life of a server knows of requests."""

    def __init__(self, world: World, life: str) -> None:
        self._world = world
        self._life = life
        self._clients: dict[int, _Client] = {}

    async def run(self, name: ChangeName, work: Callable[[], Awaitable[T]]) -> T:
        """Do what a request asks for, or give the answer of the one that came before. Raises what the work raises,
        NotServed (another life was meant), Superseded (its client has given it up), InvalidRequest (no name)."""
        client = self._client(name)
        answer = client.answers.get(name.number)
        if answer is not None:
            await answer.is_there.wait()
            if answer.error is not None:
                raise answer.error
            found: T = answer.reply
            return found
        answer = client.answers[name.number] = _Answer()
        try:
            answer.reply = reply = await work()
            return reply
        except TabletopError as error:
            answer.error = error
            raise
        except BaseException:
            answer.error = TimedOut("the first of two equal requests was given up while it was carried out")
            raise
        finally:
            answer.is_there.set()

    def _client(self, name: ChangeName) -> _Client:
        if not name.client or not name.number:
            raise InvalidRequest("a request to change something has no name; ask through a TableClient")
        if name.server != self._life:
            raise NotServed(f"this is {self._life}, and {name.server} was asked; ask METADATA again")
        client = self._clients.get(name.client)
        if client is None:
            self._forget_the_silent()
            client = self._clients[name.client] = _Client()
        client.asked_at = self._world.clock.now()
        if name.oldest > client.oldest:
            client.oldest = name.oldest
            for number in [number for number in client.answers if number < name.oldest]:
                del client.answers[number]
        if name.number < client.oldest:
            raise Superseded(f"request {name.number} of a client was given up by it, or has its answer", definite=False)
        return client

    def _forget_the_silent(self) -> None:
        if len(self._clients) >= _MANY_CLIENTS:
            since = self._world.clock.now() - _SILENT_SECONDS
            self._clients = {key: client for key, client in self._clients.items() if client.asked_at >= since}
