"""The chunkserver's control face: each method hands over to the module that knows."""

from typing import Any

from chunkserver.advancing import Advancing, to_wire
from chunkserver.chunk_store import ChunkStore
from chunkserver.cloning import Cloning
from chunkserver.heartbeats import Heartbeats
from chunkserver.mutations import Mutations
from runtime.wire import chunkserver_pb2 as wire
from runtime.wire.chunkserver_pb2_grpc import ChunkserverServicer
from runtime.wire.common_pb2 import ChunkState


class ChunkserverService(ChunkserverServicer):
    """Answers the master, clients and primaries."""

    def __init__(
        self, store: ChunkStore, advancing: Advancing, mutations: Mutations, cloning: Cloning, heartbeats: Heartbeats
    ) -> None:
        self._store = store
        self._advancing = advancing
        self._mutations = mutations
        self._cloning = cloning
        self._heartbeats = heartbeats

    async def AdvanceChunks(self, request: wire.AdvanceChunksRequest, context: Any) -> wire.AdvanceChunksReply:
        """Create replicas, raise versions, grant leases (GFS 3.1, 4.5)."""
        return wire.AdvanceChunksReply(results=await self._advancing.advance(list(request.items)))

    async def RevokeLeases(self, request: wire.RevokeLeasesRequest, context: Any) -> wire.RevokeLeasesReply:
        """End leases before their time (GFS 3.1)."""
        return wire.RevokeLeasesReply(states=map(to_wire, await self._advancing.revoke(list(request.handles))))

    async def Clone(self, request: wire.CloneRequest, context: Any) -> ChunkState:
        """Copy a chunk from another server (GFS 4.3)."""
        is_known_bad = self._heartbeats.is_known_bad(request.handle)
        return to_wire(await self._cloning.clone(request, is_known_bad=is_known_bad))

    async def Write(self, request: wire.WriteRequest, context: Any) -> wire.WriteReply:
        """Step 4 of a write (GFS 3.1)."""
        return await self._mutations.write(request)

    async def Apply(self, request: wire.ApplyRequest, context: Any) -> wire.ApplyReply:
        """Step 5 of a write (GFS 3.1)."""
        return await self._mutations.apply(request)

    async def GetChunkStates(self, request: wire.ChunkStatesRequest, context: Any) -> wire.ChunkStatesReply:
        """Versions and lengths of the chunks that are here."""
        states = (self._store.state(handle) for handle in request.handles)
        return wire.ChunkStatesReply(states=[to_wire(state) for state in states if state is not None])
