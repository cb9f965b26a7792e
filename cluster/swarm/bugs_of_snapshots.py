"""Bugs in snapshots, and in the first write after one (GFS 3.4)."""

from collections.abc import Iterable
from typing import Any

from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from gfs.location_cache import LocationCache
from master import first_writes
from master.chunk_table import ChunkTable
from master.core import Core
from master.granting import Granting
from master.sharing import Owner, references
from master.snapshotting import Snapshotting
from master.state import MasterState

_change_owner = ChunkTable.change_owner
_share = ChunkTable.share


def _unnoticed() -> Planted:
    """The invariants of the master say nothing: clients have to see what is wrong."""
    return together(
        replaced(Core, "check_invariants", lambda self: None),
        replaced(MasterState, "check_invariants", lambda self: None),
    )


@bug
def snapshot_without_revoking() -> Planted:
    """Before a snapshot is taken, the leases on all chunks below its source are revoked.

    Without the rule, whoever has a lease writes on into the shared chunk, and both files change (GFS 3.4)."""
    return together(replaced(Snapshotting, "_end_writing", nothing), _unnoticed())


@bug
def first_write_in_place() -> Planted:
    """Before a file that shares a chunk is written, it gets a chunk of its own.

    Without the rule, the snapshot changes with its source (GFS 3.4)."""
    return together(replaced(ChunkTable, "is_frozen", lambda self, handle: False), _unnoticed())


@bug
def reference_count_forgotten() -> Planted:
    """A chunk is forgotten when the last of its files is gone.

    Without the rule, whoever deletes a file deletes the bytes of its snapshot (GFS 3.4)."""

    def release(self: ChunkTable, handle: int, owner: Owner) -> bool:
        if handle in self:
            self.forget(handle)
        return True

    def change_owner(self: ChunkTable, handle: int, before: Owner, after: Owner) -> None:
        if handle in self:
            _change_owner(self, handle, before, after)

    def share(self: ChunkTable, handles: Iterable[int], owner: Owner) -> None:
        _share(self, [handle for handle in handles if handle in self], owner)

    return together(
        replaced(ChunkTable, "release", release),
        replaced(ChunkTable, "change_owner", change_owner),
        replaced(ChunkTable, "share", share),
        _unnoticed(),
    )


@bug
def frozen_chunk_thaws() -> Planted:
    """A chunk that was ever shared is never written again, also when a single file is left.

    Without the rule, which is not the paper's, a reader who remembers where a chunk of his file was finds the bytes of
    another file there, whose chunk it is now alone (GFS 2.7.1, 3.4)."""

    def is_frozen(self: ChunkTable, handle: int) -> bool:
        return references(self.owners(handle)) > 1

    return together(replaced(ChunkTable, "is_frozen", is_frozen), _unnoticed())


@bug
def leases_of_the_run_before_forgotten() -> Planted:
    """Right after its start a master fences off every chunk below the source of a snapshot, as it does not know yet who
    has a lease from the run before.

    Without the rule, a primary that has not registered yet lets its writer write into the shared chunk (GFS 3.4)."""
    return together(
        replaced(Snapshotting, "_knows_all_leases", lambda self: True),
        replaced(Granting, "_knows_all_leases", lambda self: True),
        _unnoticed(),
    )


@bug
def own_write_hidden_by_the_old_chunk() -> Planted:
    """After a write was acknowledged, the same client reads the chunk that was written, not the one that it remembers.

    Without the rule, it reads the chunk of the snapshot, as if it had not written (GFS 2.7.1, 3.4)."""
    return replaced(LocationCache, "_least_handle", lambda self, file, index: 0)


@bug
def copies_not_compared() -> Planted:
    """The copies that are made of a shared chunk for a file that is to be written are compared before they count.

    Without the rule, what a failed write has left on one of the servers is there in its copy, and the file's replicas
    differ for ever (GFS 2.7.1, 3.4)."""

    def all_alike(answers: Any) -> tuple[str, ...]:
        return tuple(answer.server for answer in answers)

    return replaced(first_writes, "plan_members", all_alike)
