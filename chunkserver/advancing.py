"""What the master tells of versions and leases (GFS 3.1, 4.5).

The problem. A grant raises the version on every replica before anybody may write under it, and thousands of small files
mean thousands of grants. The idea: one call carries many chunks, each of which succeeds or fails on its own. A version
is on disk before the answer; a lease counts from the moment at which the request came.

Invariant: when the lease on a chunk is revoked, the answer is sent only after every mutation under it has ended.
"""

import asyncio
from collections.abc import Callable

from chunkserver.chunk_store import ChunkStore, ReplicaState
from chunkserver.events import LeaseEnded, LeaseReceived
from chunkserver.leases import LeaseTable, Secondary
from chunkserver.mutations import Mutations
from runtime.errors import AlreadyExists, TabletopError
from runtime.wire.chunkserver_pb2 import Advance, AdvanceResult
from runtime.wire.common_pb2 import ChunkState
from runtime.world import World

_AT_ONCE = 8


class Advancing:
    """Creates replicas, raises versions, begins and ends leases."""

    def __init__(
        self,
        world: World,
        store: ChunkStore,
        leases: LeaseTable,
        mutations: Mutations,
        *,
        chunk_bytes: Callable[[], int],
    ) -> None:
        self._world = world
        self._store = store
        self._leases = leases
        self._mutations = mutations
        self._chunk_bytes = chunk_bytes

    async def advance(self, items: list[Advance]) -> list[AdvanceResult]:
        """Do what the items say; one result each, in their order. Never raises for one item."""
        now = self._world.clock.now()
        if len(items) == 1:
            return [await self._advance_one(items[0], now)]
        results: list[AdvanceResult | None] = [None] * len(items)
        waiting = iter(enumerate(items))

        async def work() -> None:
            for place, item in waiting:
                results[place] = await self._advance_one(item, now)

        await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(items)))))
        return [result for result in results if result is not None]

    async def revoke(self, handles: list[int]) -> list[ReplicaState]:
        """End leases; returns what is held of these chunks when nothing under the leases is in flight any more."""
        ended = [lease for handle in handles if (lease := self._leases.end(handle)) is not None]
        for lease in ended:
            self._world.events.emit(LeaseEnded(lease.handle, lease.version, "the master revoked it"))
        for lease in ended:
            await self._mutations.until_settled(lease)
        return [state for handle in handles if (state := self._store.state(handle)) is not None]

    async def _advance_one(self, item: Advance, now: float) -> AdvanceResult:
        result = AdvanceResult(handle=item.handle)
        try:
            await self._raise_version(item)
            self._begin_or_end_lease(item, now)
            result.done = True
        except TabletopError as error:
            result.error_kind = type(error).__name__
            result.message = error.message
        state = self._store.state(item.handle)
        if state is not None:
            result.state.CopyFrom(to_wire(state))
        return result

    async def _raise_version(self, item: Advance) -> None:
        handle, version = item.handle, item.to_version
        state = self._store.state(handle)
        if state is not None and state.version == version:
            return
        if item.from_version == 0:
            if state is not None:
                raise AlreadyExists(
                    f"chunk {handle:#x} is here at version {state.version}, so that it cannot be created at {version}"
                )
            await self._store.create(handle, version=version, capacity=self._chunk_bytes())
            return
        if (lease := self._leases.end(handle)) is not None:
            self._world.events.emit(LeaseEnded(handle, lease.version, f"version {version} was granted"))
        await self._store.advance(handle, from_version=item.from_version, to_version=version)
        self._leases.forget(handle)
        self._mutations.begin_version(handle)

    def _begin_or_end_lease(self, item: Advance, now: float) -> None:
        if not item.lease_milliseconds:
            if (lease := self._leases.find(item.handle)) is not None and not lease.is_revoked:
                self._leases.end(item.handle)
                self._world.events.emit(LeaseEnded(item.handle, lease.version, "another server is primary now"))
            return
        secondaries = [Secondary(other.server, other.control_address) for other in item.secondaries]
        seconds = item.lease_milliseconds / 1000
        self._leases.grant(
            item.handle,
            version=item.to_version,
            secondaries=secondaries,
            seconds=seconds,
            now=now,
            is_new=item.from_version != item.to_version,
        )
        names = tuple(secondary.server for secondary in secondaries)
        self._world.events.emit(LeaseReceived(item.handle, item.to_version, seconds, names))


def to_wire(state: ReplicaState) -> ChunkState:
    """A replica's state as a message."""
    return ChunkState(handle=state.handle, version=state.version, length=state.length)
