"""What the master orders about versions and leases (GFS 3.1, 4.5).

The problem. A grant raises the version on every replica before anybody may write under it, and thousands of small files
mean thousands of grants. Orders may be repeated, come late, or come from a master that was replaced meanwhile. The
idea: one call carries many chunks, each of which succeeds or fails on its own, and each order names the version from
which and to which it leads, so that an outdated one is recognised and does nothing.

    version here   order from..to    what happens
    none           0..to             created, empty
    from <= v < to                   raised: the lease ends, all data is made durable, then the version
    v = to                           nothing is left to do; a lease may still be begun
    v > to, v < from                 StaleVersion; nothing is changed, no lease is ended

The answer says what the replica holds, as a digest, and how far it has come, so that the master can compare it with the
others. An unsure
replica takes versions too; `admit` makes it sure, after the comparison.

Invariants:
1. A version is on stable storage before the answer, and everything that was written before it. Every mutation under an
   older version is refused from then on.
2. A lease counts from the moment at which the request came.
3. When the lease on a chunk is revoked, the answer is sent only after every mutation under it has ended.
4. Orders about one chunk run one after the other, and to their end even if the caller goes away.
"""

import asyncio
from collections.abc import Callable, Sequence

from chunkserver.events import AppendsEnded, LeaseEnded, LeaseReceived, UnsureReplicaAdmitted
from chunkserver.mutation.authority import Obedience
from chunkserver.mutation.leases import LeaseTable, Secondary
from chunkserver.mutation.mutations import Mutations
from chunkserver.storage.chunk_format import Progress
from chunkserver.storage.chunk_store import ChunkStore, ReplicaState
from chunkserver.storage.keyed_locks import KeyedLocks
from runtime.errors import TabletopError, TimedOut
from runtime.wire.chunkserver_pb2 import Advance, AdvanceResult, LeaseName
from runtime.wire.common_pb2 import Authority, ChunkState
from runtime.wire.common_pb2 import Progress as WireProgress
from runtime.world import World

_AT_ONCE = 64
_REVOCATION_MARGIN_SECONDS = 1.0


class Advancing:
    """Creates replicas, raises versions, admits unsure replicas, begins and ends leases."""

    def __init__(
        self,
        world: World,
        store: ChunkStore,
        leases: LeaseTable,
        mutations: Mutations,
        obedience: Obedience,
        *,
        chunk_bytes: Callable[[], int],
        forward_seconds: float,
    ) -> None:
        self._world = world
        self._store = store
        self._leases = leases
        self._mutations = mutations
        self._obedience = obedience
        self._chunk_bytes = chunk_bytes
        self._forward_seconds = forward_seconds
        self._orders = KeyedLocks()

    async def advance(self, items: Sequence[Advance], authority: Authority) -> list[AdvanceResult]:
        """Do what the items say; one result each, in their order.

        Raises ForeignNamespace, Superseded, DiskFailure (the epoch cannot be made durable); nothing for single items.
        """
        now = self._world.clock.now()
        await self._obedience.check(authority)
        work = self._advance_all(items, authority, now)
        return await asyncio.shield(self._world.spawn(work, f"advance {len(items)} chunks"))

    async def revoke(self, names: Sequence[LeaseName], authority: Authority) -> list[ReplicaState]:
        """End leases; returns what is held of their chunks when nothing under the leases is in flight any more. Only of
        leases that this life has held: the last word of one that an earlier life held cannot be had. Nor does this
        replica speak for the others once a mutation has failed: only a raise of the version compares them.

        Raises ForeignNamespace, Superseded, TimedOut (the leases have ended, but something is still in flight).
        """
        await self._obedience.check(authority)
        ended = []
        for name in names:
            was_revoked = (held := self._leases.find(name.handle)) is not None and held.is_revoked
            lease = self._leases.end(name.handle, through_version=name.version)
            if lease is not None:
                ended.append(lease)
                if not was_revoked:
                    self._world.events.emit(LeaseEnded(lease.handle, lease.version, "the master revoked it"))
        seconds = self._forward_seconds + _REVOCATION_MARGIN_SECONDS
        for lease in ended:
            try:
                async with asyncio.timeout(seconds):
                    await self._mutations.until_settled(lease)
            except TimeoutError:
                raise TimedOut(
                    f"the lease on chunk {lease.handle:#x} has ended, but mutations under version {lease.version} are "
                    f"in flight after {seconds:g} seconds; raise the version"
                ) from None
        even = [lease.handle for lease in ended if not lease.is_uneven]
        return [state for handle in even if (state := self._store.state(handle)) is not None]

    async def end_appends(self, names: Sequence[LeaseName], authority: Authority) -> None:
        """From the answer on, no record is given a place in these chunks under these leases: their files are about to
        have later chunks (GFS 3.3). Records that have a place already are written.

        Raises ForeignNamespace, Superseded.
        """
        await self._obedience.check(authority)
        for name in names:
            if self._leases.end_appends(name.handle, through_version=name.version):
                self._world.events.emit(AppendsEnded(name.handle, name.version))

    async def _advance_all(self, items: Sequence[Advance], authority: Authority, now: float) -> list[AdvanceResult]:
        if len(items) == 1:
            return [await self._advance_one(items[0], authority, now)]
        results: list[AdvanceResult | None] = [None] * len(items)
        waiting = iter(enumerate(items))

        async def work() -> None:
            for place, item in waiting:
                results[place] = await self._advance_one(item, authority, now)

        await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(items)))))
        return [result for result in results if result is not None]

    async def _advance_one(self, item: Advance, authority: Authority, now: float) -> AdvanceResult:
        result = AdvanceResult(handle=item.handle)
        async with self._orders.hold(item.handle):
            try:
                self._obedience.require(authority)
                await self._follow(item)
                self._begin_lease(item, now)
                found = await self._store.compare(item.handle)
                result.digest, result.doubtful_blocks = found.digest, found.doubtful_blocks
                result.progress.CopyFrom(progress_to_wire(found.progress))
                result.durable_progress.CopyFrom(progress_to_wire(found.durable_progress))
                result.done = True
            except TabletopError as error:
                result.error_kind = type(error).__name__
                result.message = error.message
            state = self._store.state(item.handle)
            if state is not None:
                result.state.CopyFrom(to_wire(state))
        return result

    async def _follow(self, item: Advance) -> None:
        handle, version = item.handle, item.to_version
        state = self._store.state(handle)
        if item.admit:
            await self._store.admit(handle, version=version)
            if state is not None and state.is_unsure:
                self._world.events.emit(UnsureReplicaAdmitted(handle, version, state.length))
            return
        if item.from_version == 0:
            await self._store.create(handle, version=version, capacity=self._chunk_bytes())
            if state is None:
                self._leases.begin_version(handle, version)
            return
        is_raise = state is not None and item.from_version <= state.version < version
        if is_raise and (lease := self._leases.end(handle, through_version=version - 1)) is not None:
            self._world.events.emit(LeaseEnded(handle, lease.version, f"version {version} was granted"))
        await self._store.advance(handle, from_version=item.from_version, to_version=version)
        if is_raise:
            self._leases.begin_version(handle, version)
            self._mutations.begin_version(handle)

    def _begin_lease(self, item: Advance, now: float) -> None:
        if not item.lease_milliseconds:
            return
        secondaries = [Secondary(other.server, other.control_address) for other in item.secondaries]
        seconds = item.lease_milliseconds / 1000
        self._leases.grant(
            item.handle,
            version=item.to_version,
            secondaries=secondaries,
            seconds=seconds,
            now=now,
            is_renewal=item.from_version == item.to_version,
            file_goes_on=item.file_goes_on,
        )
        names = tuple(secondary.server for secondary in secondaries)
        self._world.events.emit(LeaseReceived(item.handle, item.to_version, seconds, names))


def progress_to_wire(progress: Progress) -> WireProgress:
    """How far a replica has come, as a message."""
    return WireProgress(version=progress.version, serial=progress.serial)


def to_wire(state: ReplicaState) -> ChunkState:
    """A replica's state as a message."""
    return ChunkState(
        handle=state.handle,
        version=state.version,
        length=state.length,
        unsure=state.is_unsure,
        damaged=state.is_damaged,
    )
