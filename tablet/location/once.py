"""Carrying out each request of a client once (BT 3: a row has one history).

The problem. A message may be late, and may come twice. A mutation that comes again writes over what was written since,
under a newer timestamp.

The idea. A client names its requests (`ChangeName`): a number of its own, numbers that rise, and the number below which
it waits for none any more. A server carries out a number that it has not seen, and none that nobody waits for. It
remembers that for as long as it lives; the name says which life is meant, so the next one, which remembers nothing,
refuses what was sent to the one before.

Invariant: a number is carried out at most once, and not after a request has come that calls it given up.
"""

from dataclasses import dataclass, field

from runtime.errors import InvalidRequest, NotServed, Superseded
from runtime.wire.tables_pb2 import ChangeName
from runtime.world import World

_MANY_CLIENTS = 1000
_SILENT_SECONDS = 3600.0
"""Where there are many clients, those are forgotten that have asked for nothing for so long: no message is as late."""


@dataclass(slots=True)
class _Client:
    oldest: int = 0
    seen: set[int] = field(default_factory=set)
    asked_at: float = 0.0


class Once:
    """What one life of a server knows of requests."""

    def __init__(self, world: World, life: str) -> None:
        self._world = world
        self._life = life
        self._clients: dict[int, _Client] = {}

    def admit(self, name: ChangeName) -> None:
        """Return if the request is to be carried out, by whoever asked this; nobody else may from then on. Raises
        NotServed (another life was meant), Superseded (it came before, or was given up), InvalidRequest (no name)."""
        if not name.client or not name.number:
            raise InvalidRequest("a request to change rows has no name; ask through a TableClient")
        if name.server != self._life:
            raise NotServed(f"this is {self._life}, and {name.server} was asked; ask METADATA again")
        client = self._clients.get(name.client)
        if client is None:
            self._forget_the_silent()
            client = self._clients[name.client] = _Client()
        client.asked_at = self._world.clock.now()
        if name.oldest > client.oldest:
            client.oldest = name.oldest
            client.seen = {number for number in client.seen if number >= name.oldest}
        if name.number < client.oldest or name.number in client.seen:
            raise Superseded(f"request {name.number} of a client came before, or was given up by it", definite=False)
        client.seen.add(name.number)

    def _forget_the_silent(self) -> None:
        if len(self._clients) >= _MANY_CLIENTS:
            since = self._world.clock.now() - _SILENT_SECONDS
            self._clients = {key: client for key, client in self._clients.items() if client.asked_at >= since}
