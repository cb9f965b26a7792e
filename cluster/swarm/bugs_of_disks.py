"""Bugs in what a disk keeps: syncs, headers, copies, removals (GFS 3.1, 4.3, 4.4, 5.2)."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from chunkserver.heartbeats import Heartbeats
from chunkserver.mutation.authority import Obedience
from chunkserver.storage import chunk_files, chunk_format, headers, opening
from chunkserver.storage.placing import Placing
from chunkserver.storage.scrubber import Scrubber
from chunkserver.storage.writeback import WriteBack
from cluster.swarm.bug_tools import Planted, bug, nothing, replaced, together
from master.chunks.replicas import KEPT, ReplicaState
from master.maintenance.repair import Repair
from master.protocol.reporting import Reporting
from master.servers.chunkservers import Chunkservers
from runtime.errors import NotFound, Superseded, TabletopError

_decode = chunk_format.decode_metadata
_clone = Chunkservers.clone
_judge = Reporting._judge


@bug
def removal_below_goal() -> Planted:
    """A replica that does not count is removed only while the chunk has its goal of others that were just verified.

    Without the rule, a stale or damaged replica goes at once, also if the others are dead: two pauses leave one copy of
    three, or none (GFS 4.3, 4.5)."""

    async def look_at_leftovers(self: Repair) -> None:
        core = self._core
        for handle in core.replicas.exceptions():
            for replica in core.replicas.others(handle):
                if handle in core.state.chunks and replica.state in (*KEPT, ReplicaState.UNSURE):
                    if replica.state is ReplicaState.UNSURE:
                        core.judge(handle, replica.server, ReplicaState.STALE)
                    version = core.state.chunks.version(handle)
                    core.judge(handle, replica.server, ReplicaState.CONDEMNED, version=version)

    return replaced(Repair, "look_at_leftovers", look_at_leftovers)


@bug
def removal_unverified() -> Planted:
    """Before a copy too many or a stale one is removed, those that stay have read all their blocks.

    Without the rule, the copy that is removed may be the last one that is whole: the others may have rotted where
    nobody has read since (GFS 4.3, 5.2)."""

    async def verifies(self: Repair, server: str, handle: int, version: int) -> bool:
        return True

    return replaced(Repair, "_verifies", verifies)


@bug
def unreadable_chunk_deleted() -> Planted:
    """Files that a server cannot make sense of are put aside; it deletes nothing that it was not ordered to.

    Without the rule, a chunk whose headers have rotted is deleted with its intact data, even if it is the last copy
    (GFS 5.2)."""

    async def delete(self: Placing, handle: int) -> None:
        for path in (chunk_files.metadata_path(handle), chunk_files.data_path(handle)):
            with suppress(NotFound):
                await self._disk.remove(path)

    return replaced(Placing, "put_aside", delete)


@bug
def older_header_believed() -> Planted:
    """A replica with a header that cannot be read is unsure: that slot may have held a newer one.

    Without the rule, damage in the newest header leads back to the one before, and to its length (GFS 5.2)."""

    def believe(raw: bytes, handle: int, *, boot: int, data_bytes: int) -> Any:
        found = _decode(raw, handle, boot=boot, data_bytes=data_bytes)
        is_same_boot = found.header.boot == boot or found.header.is_synced
        return replace(found, is_unsure=found.is_unsure and not (found.unreadable and is_same_boot))

    return replaced(opening, "decode_metadata", believe)


@bug
def damage_unnoticed() -> Planted:
    """What is at rest is verified in idle moments: blocks against their checksums, headers against memory.

    Without the rule, damage shows only when somebody reads it, perhaps when it is in the last copy (GFS 5.2)."""
    return replaced(Scrubber, "run", nothing)


@bug
def empty_master_collects_strangers() -> Planted:
    """A server belongs to a namespace, and a master of another one is refused and refuses it.

    Without the rule, a master that comes up on an empty folder takes every chunk for an orphan and has it deleted
    (GFS 4.4)."""

    def require(self: Obedience, authority: Any) -> None:
        known = self._identity.now
        if authority.namespace == known.namespace and authority.epoch < known.epoch:
            raise Superseded("an older master")

    def collect(self: Reporting, server: str, state: Any, *, is_registration: bool) -> None:
        _judge(self, server, state, is_registration=is_registration)
        core = self._core
        if core.replicas.state(state.handle, server) is ReplicaState.ORPHAN:
            core.judge(state.handle, server, ReplicaState.CONDEMNED, version=state.version)

    return together(
        replaced(Obedience, "require", require),
        replaced(Reporting, "_refuse_stranger", lambda self, name, namespace: None),
        replaced(Reporting, "_judge", collect),
    )


@bug
def no_background_sync() -> Planted:
    """What was mutated is synced every few seconds also where a write does not wait for it.

    Without the rule, a loss of all power takes bytes that were acknowledged long ago (GFS 3.1)."""
    return replaced(WriteBack, "sync_all", nothing)


@bug
def failed_removal_forgotten() -> Planted:
    """A removal that fails is tried again until it succeeds.

    Without the rule, one error of a disk ends the removals of this server: garbage stays for ever (GFS 4.4)."""

    async def remove_all(self: Heartbeats) -> None:
        for handle, order in list(self._to_remove.items()):
            try:
                gone = await self._store.remove(handle, version=order.version)
            except TabletopError:
                return  # And nobody clears `_is_removing`.
            self._to_remove.pop(handle, None)
            self._forget(handle, gone or order.version)
        self._is_removing = False

    return replaced(Heartbeats, "_remove_all", remove_all)


@bug
def half_a_copy_stays() -> Planted:
    """A copy that is given up leaves nothing behind.

    Without the rule, the copies of clones that failed fill the disk (GFS 4.3)."""
    return replaced(Placing, "discard", nothing)


@bug
def clone_without_progress_bound() -> Planted:
    """A clone must show progress every few seconds, or it is given up.

    Without the rule, a destination that hangs keeps the chunk's writers out for as long as a clone may last
    (GFS 4.3)."""

    async def clone(self: Chunkservers, destination: str, **facts: Any) -> Any:
        return await _clone(self, destination, **{**facts, "stall_seconds": facts["seconds"]})

    return replaced(Chunkservers, "clone", clone)


@bug
def table_unchecked() -> Planted:
    """A replica whose table of checksums is not the one that its header speaks of is unsure.

    Without the rule, a checksum that has rotted is believed, and where replicas differ the good one may be left out
    (GFS 5.2)."""

    def believed(header: Any, checksums: Any) -> bool:
        return True

    return together(replaced(chunk_format, "is_table_of", believed), replaced(chunk_files, "is_table_of", believed))


@bug
def lost_pages_only_synced() -> Planted:
    """What the life before may have failed to sync is written again.

    Without the rule, it is only synced, and the system finds its pages clean: what is called durable is on no disk
    (GFS 3.1, and what it leaves open of a sync that fails)."""

    async def nothing_again(file: Any, begin: int, end: int) -> None:
        pass

    return together(replaced(headers, "write_again", nothing_again), replaced(opening, "write_again", nothing_again))
