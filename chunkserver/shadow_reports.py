"""What masters hear that only look: where replicas are (GFS 5.1.3).

Shadow masters answer readers while nobody acts, so that each chunkserver tells every master what it holds: all of it
once, then what has changed. Nothing comes back but whether all of it is to be told again: a shadow gives no orders. The
acting master needs none of this, and is told little: that nothing has changed.
"""

from chunkserver.heartbeats import Heartbeats
from chunkserver.mutation.advancing import to_wire
from chunkserver.settings import ChunkserverSettings
from chunkserver.storage.chunk_store import ChunkStore
from runtime.errors import TabletopError
from runtime.wire.common_pb2 import Location
from runtime.wire.masters_pb2 import ReplicaReport
from runtime.wire.masters_pb2_grpc import MasterReplicaStub
from runtime.world import World

_CHANGES_AT_ONCE = 4096


class ShadowReports:
    """Tells each master of several what this server holds."""

    def __init__(self, world: World, settings: ChunkserverSettings, store: ChunkStore, heartbeats: Heartbeats) -> None:
        self._world = world
        self._settings = settings
        self._store = store
        self._incarnation = heartbeats.incarnation
        self._sequence = 0
        self._changed: dict[str, dict[int, None]] = {address: {} for address in heartbeats.masters}
        heartbeats.on_changed = self._note_change

    def _note_change(self, handle: int) -> None:
        for changed in self._changed.values():
            changed[handle] = None

    async def run(self, location: Location, address: str) -> None:
        """Loop: report to one master."""
        is_whole = True
        while True:
            try:
                is_whole = not await self._report(location, address, is_whole=is_whole)
            except TabletopError:
                is_whole = True  # Nobody knows what it has heard.
            await self._world.clock.sleep(self._settings.heartbeat_seconds)

    async def _report(self, location: Location, address: str, *, is_whole: bool) -> bool:
        """One report; false if the master wants to hear everything. Raises Unavailable, TimedOut."""
        changed = self._changed[address]
        usage = await self._world.disk.usage()
        if is_whole:
            states, gone = list(self._store.states()), list[int]()
            changed.clear()
        else:
            handles = [handle for handle, _ in zip(changed, range(_CHANGES_AT_ONCE), strict=False)]
            found = {handle: self._store.state(handle) for handle in handles}
            states = [state for state in found.values() if state is not None]
            gone = [handle for handle, state in found.items() if state is None]
            for handle in handles:
                del changed[handle]
        self._sequence += 1
        request = ReplicaReport(
            location=location,
            incarnation=self._incarnation,
            sequence=self._sequence,
            disk_total_bytes=usage.total_bytes,
            disk_free_bytes=usage.free_bytes,
            is_whole=is_whole,
            chunks=map(to_wire, states),
            gone=gone,
        )
        stub = MasterReplicaStub(self._world.network.channel(address))
        reply = await stub.ReportReplicas(request, timeout=self._settings.call_seconds)
        return reply.known
