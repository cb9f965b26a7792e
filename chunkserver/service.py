"""The chunkserver's control face: each method hands over to the module that knows."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from chunkserver.mutation.advancing import Advancing, to_wire
from chunkserver.mutation.authority import Obedience
from chunkserver.mutation.mutations import Mutations
from chunkserver.storage.chunk_store import ChunkStore
from chunkserver.transfer.cloning import Cloning
from chunkserver.transfer.mending import Mending
from chunkserver.transfer.signs import with_signs
from runtime.errors import NotFound, TabletopError
from runtime.wire import chunkserver_pb2 as wire
from runtime.wire.chunkserver_pb2_grpc import ChunkserverServicer
from runtime.world import World


class ChunkserverService(ChunkserverServicer):
    """Answers the master, clients and primaries. Orders of the master are obeyed only if `obedience` says so."""

    def __init__(
        self,
        world: World,
        store: ChunkStore,
        advancing: Advancing,
        mutations: Mutations,
        cloning: Cloning,
        mending: Mending,
        obedience: Obedience,
    ) -> None:
        self._world = world
        self._store = store
        self._advancing = advancing
        self._mutations = mutations
        self._cloning = cloning
        self._mending = mending
        self._obedience = obedience

    async def AdvanceChunks(self, request: wire.AdvanceChunksRequest, context: Any) -> wire.AdvanceChunksReply:
        """Create replicas, raise versions, grant leases, admit replicas (GFS 3.1, 4.5)."""
        return wire.AdvanceChunksReply(results=await self._advancing.advance(request.items, request.authority))

    async def RevokeLeases(self, request: wire.RevokeLeasesRequest, context: Any) -> wire.RevokeLeasesReply:
        """End leases before their time (GFS 3.1), or only the right to append records (3.3)."""
        if request.appends_only:
            await self._advancing.end_appends(request.leases, request.authority)
            return wire.RevokeLeasesReply()
        states = await self._advancing.revoke(request.leases, request.authority)
        return wire.RevokeLeasesReply(states=map(to_wire, states))

    async def Clone(self, request: wire.CloneRequest, context: Any) -> AsyncIterator[wire.CloneProgress]:
        """Copy a chunk from other servers (GFS 4.3)."""
        await self._obedience.check(request.authority)
        async for progress in self._cloning.clone(request):
            yield progress

    async def VerifyReplica(self, request: wire.VerifyRequest, context: Any) -> AsyncIterator[wire.VerifyProgress]:
        """Compare every block with its checksum, now (GFS 5.2)."""
        await self._obedience.check(request.authority)
        work, name = self._verified(request), f"verify chunk {request.handle:#x}"
        async with aclosing(with_signs(self._world, work, name, ends_with_caller=True)) as signs:
            async for done in signs:
                yield wire.VerifyProgress(done=done)

    async def _verified(self, request: wire.VerifyRequest) -> wire.VerifyReply:
        """What is here is made durable first: the master removes copies that it needs no more when the others were
        verified, and these must not lose their last bytes then."""
        await self._store.write_back(request.handle)
        try:
            await self._store.check_metadata(request.handle)
        except NotFound:
            raise
        except TabletopError:
            pass  # It is noted as damage, which the state tells.
        found = await self._store.verify_all(request.handle, version=request.version)
        state = self._store.state(request.handle)
        return wire.VerifyReply(
            state=None if state is None else to_wire(state), digest=found.digest, damaged_blocks=found.doubtful_blocks
        )

    async def MendReplica(self, request: wire.MendRequest, context: Any) -> AsyncIterator[wire.MendProgress]:
        """Take blocks that are damaged here from other servers (GFS 5.2)."""
        await self._obedience.check(request.authority)
        async for progress in self._mending.mend(request):
            yield progress

    async def Write(self, request: wire.WriteRequest, context: Any) -> wire.WriteReply:
        """Step 4 of a write (GFS 3.1)."""
        return await self._mutations.write(request)

    async def AppendRecord(self, request: wire.AppendRecordRequest, context: Any) -> wire.AppendRecordReply:
        """A record whose place the primary chooses (GFS 3.3)."""
        return await self._mutations.append(request)

    async def Apply(self, request: wire.ApplyRequest, context: Any) -> wire.ApplyReply:
        """Step 5 of a write (GFS 3.1)."""
        return await self._mutations.apply(request)

    async def GetChunkStates(self, request: wire.ChunkStatesRequest, context: Any) -> wire.ChunkStatesReply:
        """Versions and lengths of the chunks that are here; those that nobody should rely on say so."""
        states = (self._store.state(handle) for handle in request.handles)
        return wire.ChunkStatesReply(states=[to_wire(state) for state in states if state is not None])
