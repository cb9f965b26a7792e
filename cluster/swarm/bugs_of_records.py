"""Bugs in record append: who says where a record goes (GFS 3.3)."""

from dataclasses import replace
from typing import Any

from chunkserver.mutation import mutations
from chunkserver.mutation.appending import Place, Placed, plan_append
from chunkserver.mutation.leases import Lease
from chunkserver.storage.chunk_store import ChunkStore
from cluster.swarm.bug_tools import Planted, bug, replaced, together
from runtime.errors import MutationFailed

_write = ChunkStore.write


@bug
def secondary_appends_at_its_own_end() -> Planted:
    """A secondary writes a record at exactly the offset that the primary chose.

    Without the rule, it writes the record where its own replica ends. Once it has missed a mutation, each record that
    is acknowledged from then on is at another place there than its client was told (GFS 3.3)."""
    chosen: dict[tuple[int, int], None] = {}

    def choose(lease: Lease, length: int, capacity: int) -> Placed:
        placed = plan_append(lease, length, capacity)
        if placed.place is Place.HERE:
            chosen[lease.handle, placed.offset] = None
        return placed

    async def write(self: ChunkStore, handle: int, *, offset: int, **facts: Any) -> int:
        state = self.state(handle)
        if (handle, offset) in chosen and state is not None and state.length < offset:
            return await _write(self, handle, offset=state.length, **facts | {"reach": 0})
        return await _write(self, handle, offset=offset, **facts)

    return together(replaced(mutations, "plan_append", choose), replaced(ChunkStore, "write", write))


@bug
def append_forgets_what_is_in_flight() -> Planted:
    """A record is placed after everything that is in flight, not only after what was acknowledged.

    Without the rule, two records that are appended at the same moment get the same offset, and the one that was
    acknowledged first is written over (GFS 3.3)."""

    def choose(lease: Lease, length: int, capacity: int) -> Placed:
        return plan_append(replace(lease, undecided={}), length, capacity)

    return replaced(mutations, "plan_append", choose)


@bug
def failed_append_is_acknowledged() -> Planted:
    """A record is acknowledged only if every replica has written it.

    Without the rule, the client takes the offset of a try that failed somewhere: as the next record goes after it, that
    replica has padding there for ever (GFS 3.3)."""

    async def replicate(self: Any, lease: Lease, mutation: Any, payload: Any, reach: int) -> Any:
        outcome = await _replicate(self, lease, mutation, payload, reach)
        is_append = mutation.offset >= lease.sound_end == reach
        if isinstance(outcome, MutationFailed) and is_append:
            return mutations._Done(mutation.offset + mutation.length, lease.last_serial)
        return outcome

    _replicate = mutations.Mutations._replicate
    return replaced(mutations.Mutations, "_replicate", replicate)


@bug
def records_go_to_an_earlier_chunk() -> Planted:
    """Records are appended to the last chunk of a file only, also by a client that remembers an earlier one.

    Without the rule, a record is appended to a chunk that has room though its file goes on: a reader who follows the
    file has left that chunk, and never sees the record (GFS 3.3)."""

    def choose(lease: Lease, length: int, capacity: int) -> Placed:
        return plan_append(replace(lease, file_goes_on=False), length, capacity)

    return replaced(mutations, "plan_append", choose)
