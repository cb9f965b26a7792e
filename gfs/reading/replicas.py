"""The chunkservers as a client sees them: which replica to try first, and their control faces."""

from typing import TYPE_CHECKING

from gfs.distance import nearest_first
from gfs.settings import ClientSettings
from runtime.wire.chunkserver_pb2_grpc import ChunkserverStub
from runtime.wire.common_pb2 import ChunkLocations, Location
from runtime.world import World

if TYPE_CHECKING:
    from runtime.wire.chunkserver_pb2_grpc import ChunkserverAsyncStub


class Replicas:
    """The order in which replicas are tried: nearest first, those that failed a moment ago last."""

    def __init__(self, world: World, settings: ClientSettings, *, turn: int) -> None:
        """`turn` is a number of this client's own: at which of several replicas that are equally near it begins."""
        self._world = world
        self._settings = settings
        self._turn = turn
        self._avoid_until: dict[str, float] = {}
        self._stubs: dict[str, ChunkserverAsyncStub] = {}

    def in_order(self, chunk: ChunkLocations) -> list[Location]:
        """A chunk's replicas, the one to try first at the front."""
        ordered = nearest_first(chunk.replicas, self._settings.own_spot, chunk.handle + self._turn)
        return sorted(ordered, key=self._is_avoided) if self._avoid_until else ordered

    def avoid(self, replica: Location) -> None:
        """Try this server last for a while."""
        self._avoid_until[replica.server] = self._world.clock.now() + self._settings.avoid_seconds

    def stub(self, server: Location) -> "ChunkserverAsyncStub":
        """The control face of a chunkserver."""
        address = server.control_address
        if address not in self._stubs:
            self._stubs[address] = ChunkserverStub(self._world.network.channel(address))
        return self._stubs[address]

    def _is_avoided(self, replica: Location) -> bool:
        until = self._avoid_until.get(replica.server)
        if until is not None and until <= self._world.clock.now():
            del self._avoid_until[replica.server]
            return False
        return until is not None
