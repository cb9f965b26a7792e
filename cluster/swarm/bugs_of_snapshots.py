"""Bugs in snapshots, and in the first write after one (GFS 3.4)."""

from collections.abc import Iterable, Iterator

from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from gfs.names.location_cache import LocationCache
from master.chunks.chunk_table import ChunkTable
from master.chunks.sharing import Owner
from master.core import Core
from master.log import checkpoint
from master.log.state import MasterState, Snapshot
from master.protocol.snapshotting import Snapshotting

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
def own_write_hidden_by_the_old_chunk() -> Planted:
    """After a write was acknowledged, the same client reads the chunk that was written, not the one that it remembers.

    Without the rule, it reads the chunk of the snapshot, as if it had not written (GFS 2.7.1, 3.4)."""
    return replaced(LocationCache, "_least_handle", lambda self, file, index: 0)


@bug
def checkpoints_forget_of_what_snapshots_were_taken() -> Planted:
    """Of what each snapshot was taken is in the log, and in the checkpoint that takes its place.

    Without the rule, the list of snapshots is empty after a start that has read a checkpoint, though all of them are
    there (GFS 2.6.3, 3.4)."""

    def rules(snapshot: Snapshot) -> Iterator[bytes]:
        yield from (row for row in _rules(snapshot) if not row.startswith(b"o"))

    _rules = checkpoint._rules
    return replaced(checkpoint, "_rules", rules)
